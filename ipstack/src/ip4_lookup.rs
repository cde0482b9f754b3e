//! `ip4-lookup`: finds the interface and the neighbour an outgoing packet goes to.
//!
//! - Takes: frames of our own that begin at the IPv4 header.
//! - Sends: `rewrite`, with the interface in [`Meta::interface`](dataplane::Meta::interface) and
//!   the neighbour in [`Meta::next_hop`](dataplane::Meta::next_hop); `fragment`, the same for
//!   packets above the interface's MTU.
//! - Drops: `too-short`, `martian-destination`, `local-destination`, `no-route`,
//!   `unknown-interface`.
//! - Spec: RFC 1122 section 3.3.1; RFC 1812 section 5.2.4.3 (longest match).
#![warn(
    clippy::indexing_slicing,
    reason = "packets answer what came from the wire"
)]

use std::net::Ipv4Addr;
use std::time::Duration;

use dataplane::{Batch, Frame, Interfaces, Node, Outlets};

use crate::addresses::Addresses;
use crate::fib::{Fib, Hop};
use crate::ip4;
use crate::tables::Tables;

/// Finds the interface and the neighbour an outgoing packet goes to.
#[derive(Debug)]
pub struct Ip4Lookup {
    tables: Tables,
}

dataplane::labels! {
    /// Where `ip4-lookup` sends.
    pub enum Ip4LookupNext {
        /// Packets that fit.
        Rewrite = "rewrite",
        /// Packets above the MTU.
        Fragment = "fragment",
    }
}

dataplane::labels! {
    /// Why `ip4-lookup` drops.
    pub enum Ip4LookupDrop {
        /// Shorter than an IPv4 header.
        TooShort = "too-short",
        /// To an address no station can have, or a broadcast.
        MartianDestination = "martian-destination",
        /// To one of our own addresses.
        LocalDestination = "local-destination",
        /// No route.
        NoRoute = "no-route",
        /// The route leads to an interface that was deleted.
        UnknownInterface = "unknown-interface",
    }
}

impl Ip4Lookup {
    /// A node over the worker's tables.
    pub fn new(tables: &Tables) -> Self {
        Self {
            tables: tables.clone(),
        }
    }
}

impl Node for Ip4Lookup {
    const NAME: &'static str = "ip4-lookup";
    type Next = Ip4LookupNext;
    type Drop = Ip4LookupDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Ip4LookupNext, Ip4LookupDrop>,
    ) {
        let addresses = self.tables.addresses.borrow();
        let fib = self.tables.fib.borrow();
        let interfaces = self.tables.interfaces.borrow();
        // A batch is often for one peer.
        let mut last: Option<(Ipv4Addr, Hop)> = None;
        for mut frame in batch.drain() {
            let routed = match destination(&frame) {
                None => Err(Ip4LookupDrop::TooShort),
                Some(to) => match last {
                    Some((same, hop)) if same == to => Ok(hop),
                    _ => route(to, &addresses, &fib).inspect(|hop| last = Some((to, *hop))),
                },
            };
            match routed.and_then(|hop| aim(&mut frame, hop, &interfaces)) {
                Ok(next) => out.send(next, frame),
                Err(reason) => out.drop(reason, frame),
            }
        }
    }
}

fn destination(frame: &Frame<'_>) -> Option<Ipv4Addr> {
    let header = frame.octets().first_chunk::<{ ip4::HEADER }>()?;
    let octets = header.last_chunk::<4>()?;
    Some(Ipv4Addr::from(*octets))
}

fn route(to: Ipv4Addr, addresses: &Addresses, fib: &Fib) -> Result<Hop, Ip4LookupDrop> {
    if ip4::is_martian(to) {
        return Err(Ip4LookupDrop::MartianDestination);
    }
    if addresses.holder(to).is_some() {
        return Err(Ip4LookupDrop::LocalDestination);
    }
    let hop = fib.lookup(to).ok_or(Ip4LookupDrop::NoRoute)?;
    if addresses.is_broadcast(hop.interface, to) {
        return Err(Ip4LookupDrop::MartianDestination);
    }
    Ok(hop)
}

fn aim(
    frame: &mut Frame<'_>,
    hop: Hop,
    interfaces: &Interfaces,
) -> Result<Ip4LookupNext, Ip4LookupDrop> {
    let leaves = interfaces
        .get(hop.interface)
        .ok_or(Ip4LookupDrop::UnknownInterface)?;
    frame.meta.interface = hop.interface;
    frame.meta.next_hop = Some(hop.next_hop);
    let fits = frame.total_len() <= usize::from(leaves.mtu) || frame.meta.segmentation.is_some();
    Ok(if fits {
        Ip4LookupNext::Rewrite
    } else {
        Ip4LookupNext::Fragment
    })
}

#[cfg(test)]
mod tests;
