//! `udp4-input`: checks UDP datagrams, which nobody here listens to.
//!
//! - Takes: checked IPv4 packets for us, beginning at the IPv4 header.
//! - Sends: `port-unreachable`: good datagrams, unchanged, for the error they cause.
//! - Drops: `too-short`, `bad-length`, `bad-checksum`.
//! - Spec: RFC 768; RFC 1122 section 4.1.3.
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use std::time::Duration;

use dataplane::checksum::Sum;
use dataplane::{Batch, Checksum, Frame, Node, Outlets};
use etherparse::{Ipv4HeaderSlice, UdpHeaderSlice};

use crate::ip4::protocol;

/// Checks UDP datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Udp4Input;

dataplane::labels! {
    /// Where `udp4-input` sends.
    pub enum Udp4InputNext {
        /// Datagrams to a port nobody listens to.
        PortUnreachable = "port-unreachable",
    }
}

dataplane::labels! {
    /// Why `udp4-input` drops.
    pub enum Udp4InputDrop {
        /// Shorter than its header.
        TooShort = "too-short",
        /// A length below the header's or above the packet's.
        BadLength = "bad-length",
        /// The checksum is wrong.
        BadChecksum = "bad-checksum",
    }
}

impl Node for Udp4Input {
    const NAME: &'static str = "udp4-input";
    type Next = Udp4InputNext;
    type Drop = Udp4InputDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Udp4InputNext, Udp4InputDrop>,
    ) {
        for frame in batch.drain() {
            match check(&frame) {
                Ok(()) => out.send(Udp4InputNext::PortUnreachable, frame),
                Err(reason) => out.drop(reason, frame),
            }
        }
    }
}

fn check(frame: &Frame<'_>) -> Result<(), Udp4InputDrop> {
    let octets = frame.octets();
    let header = Ipv4HeaderSlice::from_slice(octets).map_err(|_| Udp4InputDrop::TooShort)?;
    let datagram = octets.get(header.slice().len()..).unwrap_or(&[]);
    let udp = UdpHeaderSlice::from_slice(datagram).map_err(|_| Udp4InputDrop::TooShort)?;
    let len = usize::from(udp.length());
    if len < udp.slice().len() {
        return Err(Udp4InputDrop::BadLength);
    }
    let datagram = datagram.get(..len).ok_or(Udp4InputDrop::BadLength)?;
    // A checksum of 0 means that the sender made none (RFC 768).
    if frame.meta.checksum == Checksum::Unverified && udp.checksum() != 0 {
        let (source, destination) = (header.source_addr(), header.destination_addr());
        let sum = Sum::new()
            .with_pseudo_header(source, destination, protocol::UDP, udp.length())
            .with(datagram);
        if sum.finish() != 0 {
            return Err(Udp4InputDrop::BadChecksum);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
