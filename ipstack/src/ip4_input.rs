//! `ip4-input`: checks IPv4 headers and hands packets for us to their protocol.
//!
//! - Takes: frames that begin at the IPv4 header, Ethernet padding behind.
//! - Sends: `icmp`, `tcp`, `udp`, `reassembly` (fragments), `unknown-protocol`. Frames still begin
//!   at the IPv4 header and end with the packet.
//! - Drops: `too-short`, `bad-version`, `bad-header-length`, `bad-length`, `bad-checksum`,
//!   `ttl-zero`, `bad-options`, `source-route`, `martian-source`, `source-is-ours`,
//!   `martian-destination`, `multicast-all-hosts`, `multicast`, `broadcast`, `not-local`,
//!   `unicast-in-group-frame`.
//! - Spec: RFC 791; RFC 1122 section 3.2.1; RFC 1812 sections 5.2.2 and 5.3.7.
//!
//! An address is served on its own interface only (RFC 1122 section 3.3.4.2, the strong model).
//! Nothing here listens to groups, so broadcast and multicast end here, counted: they are never
//! answered, neither by an echo reply nor by an error or a reset.
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use std::time::Duration;

use dataplane::{Batch, Frame, IfIndex, Node, Outlets, checksum};
use etherparse::Ipv4HeaderSlice;
use etherparse::err::ipv4::{HeaderError, HeaderSliceError};

use crate::addresses::Addresses;
use crate::ip4::{self, protocol};
use crate::tables::Tables;

/// Checks IPv4 headers and hands packets for us to their protocol.
#[derive(Debug)]
pub struct Ip4Input {
    tables: Tables,
}

dataplane::labels! {
    /// Where `ip4-input` sends.
    pub enum Ip4InputNext {
        /// ICMP.
        Icmp = "icmp",
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
        /// Fragments.
        Reassembly = "reassembly",
        /// Anything else, to be told so.
        UnknownProtocol = "unknown-protocol",
    }
}

dataplane::labels! {
    /// Why `ip4-input` drops.
    pub enum Ip4InputDrop {
        /// Shorter than its header.
        TooShort = "too-short",
        /// Not version 4.
        BadVersion = "bad-version",
        /// A header length below 20 octets.
        BadHeaderLength = "bad-header-length",
        /// A total length below the header's or above what arrived.
        BadLength = "bad-length",
        /// The header's checksum is wrong.
        BadChecksum = "bad-checksum",
        /// A time to live of 0, which should not have been on a wire.
        TtlZero = "ttl-zero",
        /// Options that run over their length.
        BadOptions = "bad-options",
        /// A source route, which lets the sender borrow somebody's address (RFC 7126).
        SourceRoute = "source-route",
        /// From an address no station can have, or a broadcast.
        MartianSource = "martian-source",
        /// From our own address ("land").
        SourceIsOurs = "source-is-ours",
        /// To an address no station can have.
        MartianDestination = "martian-destination",
        /// To 224.0.0.1, which every host is a member of and nothing here listens to.
        MulticastAllHosts = "multicast-all-hosts",
        /// To another group.
        Multicast = "multicast",
        /// To the limited or a directed broadcast.
        Broadcast = "broadcast",
        /// To an address this interface does not have.
        NotLocal = "not-local",
        /// To one station, in a frame for many (RFC 1122 section 3.3.6).
        UnicastInGroupFrame = "unicast-in-group-frame",
    }
}

impl Ip4Input {
    /// A node over the worker's tables.
    pub fn new(tables: &Tables) -> Self {
        Self {
            tables: tables.clone(),
        }
    }
}

impl Node for Ip4Input {
    const NAME: &'static str = "ip4-input";
    type Next = Ip4InputNext;
    type Drop = Ip4InputDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Ip4InputNext, Ip4InputDrop>,
    ) {
        let addresses = self.tables.addresses.borrow();
        for mut frame in batch.drain() {
            match check(&mut frame, &addresses) {
                Ok(next) => out.send(next, frame),
                Err(reason) => out.drop(reason, frame),
            }
        }
    }
}

/// Checks the header, cuts the padding off, and says where the packet goes.
fn check(frame: &mut Frame<'_>, addresses: &Addresses) -> Result<Ip4InputNext, Ip4InputDrop> {
    let header = Ipv4HeaderSlice::from_slice(frame.octets()).map_err(|error| match error {
        HeaderSliceError::Len(_) => Ip4InputDrop::TooShort,
        HeaderSliceError::Content(HeaderError::UnexpectedVersion { .. }) => {
            Ip4InputDrop::BadVersion
        }
        HeaderSliceError::Content(HeaderError::HeaderLengthSmallerThanHeader { .. }) => {
            Ip4InputDrop::BadHeaderLength
        }
    })?;
    let total_len = usize::from(header.total_len());
    if total_len < header.slice().len() || total_len > frame.len() {
        return Err(Ip4InputDrop::BadLength);
    }
    if checksum::of(header.slice()) != 0 {
        return Err(Ip4InputDrop::BadChecksum);
    }
    if header.ttl() == 0 {
        return Err(Ip4InputDrop::TtlZero);
    }
    check_options(header.options())?;
    check_addresses(&header, frame, addresses)?;
    let next = if header.is_fragmenting_payload() {
        Ip4InputNext::Reassembly
    } else {
        match header.protocol().0 {
            protocol::TCP => Ip4InputNext::Tcp,
            protocol::ICMP => Ip4InputNext::Icmp,
            protocol::UDP => Ip4InputNext::Udp,
            _ => Ip4InputNext::UnknownProtocol,
        }
    };
    frame.truncate(total_len);
    Ok(next)
}

fn check_addresses(
    header: &Ipv4HeaderSlice<'_>,
    frame: &Frame<'_>,
    addresses: &Addresses,
) -> Result<(), Ip4InputDrop> {
    let interface: IfIndex = frame.meta.interface;
    let (source, destination) = (header.source_addr(), header.destination_addr());
    if ip4::is_martian(source) || addresses.is_broadcast(interface, source) {
        return Err(Ip4InputDrop::MartianSource);
    }
    if addresses.holder(source).is_some() {
        return Err(Ip4InputDrop::SourceIsOurs);
    }
    if addresses.holder(destination) == Some(interface) {
        if frame.meta.destination.is_group() {
            return Err(Ip4InputDrop::UnicastInGroupFrame);
        }
        return Ok(());
    }
    Err(match destination.octets() {
        [224, 0, 0, 1] => Ip4InputDrop::MulticastAllHosts,
        [224..=239, ..] => Ip4InputDrop::Multicast,
        [255, 255, 255, 255] => Ip4InputDrop::Broadcast,
        _ if ip4::is_martian(destination) => Ip4InputDrop::MartianDestination,
        _ if addresses.is_broadcast(interface, destination) => Ip4InputDrop::Broadcast,
        _ => Ip4InputDrop::NotLocal,
    })
}

/// Walks the options (RFC 791 section 3.1); all are ignored but source routes.
fn check_options(mut options: &[u8]) -> Result<(), Ip4InputDrop> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    while let [kind, rest @ ..] = options {
        options = match (*kind, rest) {
            (END, _) => return Ok(()),
            (NO_OPERATION, _) => rest,
            (LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, _) => {
                return Err(Ip4InputDrop::SourceRoute);
            }
            (_, [len, ..]) if *len >= 2 => options
                .get(usize::from(*len)..)
                .ok_or(Ip4InputDrop::BadOptions)?,
            _ => return Err(Ip4InputDrop::BadOptions),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
