//! `ip4-frag`: cuts packets of our own to the MTU.
//!
//! - Takes: routed frames that begin at the IPv4 header and exceed the interface's MTU.
//! - Sends: `rewrite`: the fragments, in order.
//! - Drops: `too-short`, `dont-fragment`, `bad-checksum`, `mtu-too-small`, `unknown-interface`,
//!   `no-buffer`.
//! - Spec: RFC 791 section 3.2, the fragmentation procedure.
//!
//! Our packets carry no options; those of a header that does go into every fragment.
#![warn(
    clippy::indexing_slicing,
    reason = "packets answer what came from the wire"
)]

use std::time::Duration;

use dataplane::{Batch, Frame, Node, Outlets, checksum};
use etherparse::Ipv4HeaderSlice;

use crate::ip4::{self, DONT_FRAGMENT, MORE_FRAGMENTS};
use crate::tables::Tables;

/// The smallest MTU every link has: RFC 791 section 3.2.
const MTU_MIN: usize = 68;

/// Cuts packets of our own to the MTU.
#[derive(Debug)]
pub struct Ip4Frag {
    tables: Tables,
}

dataplane::labels! {
    /// Where `ip4-frag` sends.
    pub enum Ip4FragNext {
        /// Fragments.
        Rewrite = "rewrite",
    }
}

dataplane::labels! {
    /// Why `ip4-frag` drops.
    pub enum Ip4FragDrop {
        /// Not a whole IPv4 packet.
        TooShort = "too-short",
        /// Too large, and not to be cut.
        DontFragment = "dont-fragment",
        /// A checksum was left to the hardware and does not lie in the packet.
        BadChecksum = "bad-checksum",
        /// The interface's MTU is below the 68 octets of RFC 791.
        MtuTooSmall = "mtu-too-small",
        /// The interface was deleted.
        UnknownInterface = "unknown-interface",
        /// The port has no room for all fragments.
        NoBuffer = "no-buffer",
    }
}

impl Ip4Frag {
    /// A node over the worker's tables.
    pub fn new(tables: &Tables) -> Self {
        Self {
            tables: tables.clone(),
        }
    }
}

impl Node for Ip4Frag {
    const NAME: &'static str = "ip4-frag";
    type Next = Ip4FragNext;
    type Drop = Ip4FragDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Ip4FragNext, Ip4FragDrop>,
    ) {
        let interfaces = self.tables.interfaces.borrow();
        for mut frame in batch.drain() {
            let mtu = interfaces
                .get(frame.meta.interface)
                .map(|leaves| usize::from(leaves.mtu));
            let cut = mtu
                .ok_or(Ip4FragDrop::UnknownInterface)
                .and_then(|mtu| fragment(&mut frame, mtu, out));
            match cut {
                Ok(()) => out.consume(frame),
                Err(reason) => out.drop(reason, frame),
            }
        }
    }
}

/// Sends the pieces of `frame`, each at most `mtu` octets.
fn fragment(
    frame: &mut Frame<'_>,
    mtu: usize,
    out: &mut Outlets<'_, '_, Ip4FragNext, Ip4FragDrop>,
) -> Result<(), Ip4FragDrop> {
    // The hardware would complete it over the first fragment only.
    if !checksum::complete(frame) {
        return Err(Ip4FragDrop::BadChecksum);
    }
    let header = Ipv4HeaderSlice::from_slice(frame.octets()).map_err(|_| Ip4FragDrop::TooShort)?;
    if header.dont_fragment() {
        return Err(Ip4FragDrop::DontFragment);
    }
    if mtu < MTU_MIN {
        return Err(Ip4FragDrop::MtuTooSmall);
    }
    let len = header.slice().len();
    let more_before = header.more_fragments();
    let base = header.fragments_offset().value();
    let payload = frame
        .octets()
        .get(len..usize::from(header.total_len()))
        .ok_or(Ip4FragDrop::TooShort)?;
    let step = (mtu - len) & !7;
    let last = payload.len().div_ceil(step).saturating_sub(1);
    for (number, piece) in payload.chunks(step).enumerate() {
        let mut made = out.alloc(len + piece.len()).ok_or(Ip4FragDrop::NoBuffer)?;
        let (head, body) = made.octets_mut().split_at_mut(len);
        head.copy_from_slice(header.slice());
        body.copy_from_slice(piece);
        let more = more_before || number < last;
        // At most 65,535 / 8, and 13 bits hold 8,191.
        let offset = base + u16::try_from(number * step / 8).unwrap_or(0);
        let fragment =
            (offset & !(DONT_FRAGMENT | MORE_FRAGMENTS)) | if more { MORE_FRAGMENTS } else { 0 };
        ip4::set_length(head, len + piece.len(), fragment);
        made.meta.interface = frame.meta.interface;
        made.meta.next_hop = frame.meta.next_hop;
        made.meta.trace = frame.meta.trace;
        out.send(Ip4FragNext::Rewrite, made);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
