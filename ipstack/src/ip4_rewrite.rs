//! `ip4-rewrite`: puts the Ethernet header on, and asks for neighbours it does not know.
//!
//! - Takes: routed frames that begin at the IPv4 header.
//! - Sends: `output`: Ethernet frames, without tags, and ARP requests.
//! - Drops: `not-routed`, `unknown-interface`, `interface-down`, `no-address`, `mtu-exceeded`,
//!   `no-headroom`, `neighbor-table-full`, `arp-throttled`, `queue-full`, `queue-replaced`,
//!   `neighbor-displaced`, `unresolved`, `no-buffer`.
//! - Spec: RFC 826; RFC 894; RFC 1122 sections 2.3.2.1 (one request a second) and 2.3.2.2 (one
//!   packet waits).
//!
//! Checksum and segmentation metadata pass through, so that TCP super-segments do.
#![warn(
    clippy::indexing_slicing,
    reason = "packets answer what came from the wire"
)]

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use dataplane::frame::ETHERNET_HEADER;
use dataplane::{
    Batch, Checksum, EtherType, Frame, IfIndex, Interface, MacAddr, Node, Offload, Outlets, Tags,
};

use crate::arp::{ARP_FRAME, ArpPacket, REQUEST};
use crate::neighbors::{Due, Found, Kept, NeighborSlot, Neighbors, Pending};
use crate::tables::Tables;
use crate::token_bucket::TokenBucket;

/// Neighbours seen to at most in one run of the timer.
const TIMERS_MAX: usize = 64;

/// Requests for new neighbours, all together: one a millisecond, after a burst of 256. What is
/// above is dropped, so that packets from spoofed sources on the link do not become a broadcast
/// storm.
const REQUEST_INTERVAL: Duration = Duration::from_millis(1);
const REQUEST_BURST: u32 = 256;

/// Octets of Ethernet header and two tags: what a super-segment has in front.
const ENCAPSULATION_MAX: usize = ETHERNET_HEADER + 8;

/// Puts the Ethernet header on, and asks for neighbours it does not know.
#[derive(Debug)]
pub struct Ip4Rewrite {
    tables: Tables,
    requests: TokenBucket,
}

dataplane::labels! {
    /// Where `ip4-rewrite` sends.
    pub enum Ip4RewriteNext {
        /// Ethernet frames.
        Output = "output",
    }
}

dataplane::labels! {
    /// Why `ip4-rewrite` drops.
    pub enum Ip4RewriteDrop {
        /// No next hop: the frame did not pass `ip4-lookup`.
        NotRouted = "not-routed",
        /// The interface was deleted.
        UnknownInterface = "unknown-interface",
        /// The interface is administratively down.
        InterfaceDown = "interface-down",
        /// The interface has no address to ask for a neighbour with.
        NoAddress = "no-address",
        /// Above the MTU, or a super-segment that the port would not split into frames below it.
        MtuExceeded = "mtu-exceeded",
        /// No room in front for the Ethernet header.
        NoHeadroom = "no-headroom",
        /// The neighbour is new, and the table full of neighbours worth more.
        NeighborTableFull = "neighbor-table-full",
        /// The neighbour is new, and too many new ones were asked for lately.
        ArpThrottled = "arp-throttled",
        /// The neighbour is not known yet, and the packet is too large to wait, or too much waits.
        QueueFull = "queue-full",
        /// It waited for its neighbour until a later packet took its place.
        QueueReplaced = "queue-replaced",
        /// It waited for a neighbour whose entry was displaced or deleted.
        NeighborDisplaced = "neighbor-displaced",
        /// It waited for a neighbour that did not answer.
        Unresolved = "unresolved",
        /// The port had no room for a request, or for a packet that had waited.
        NoBuffer = "no-buffer",
    }
}

type Out<'g, 'block> = Outlets<'g, 'block, Ip4RewriteNext, Ip4RewriteDrop>;

impl Ip4Rewrite {
    /// A node over the worker's tables.
    pub fn new(tables: &Tables) -> Self {
        Self {
            tables: tables.clone(),
            requests: TokenBucket::new(REQUEST_INTERVAL, REQUEST_BURST),
        }
    }

    /// Asks for `target`, everybody or the holder of `to`.
    fn ask(
        &self,
        interface: IfIndex,
        target: Ipv4Addr,
        to: Option<MacAddr>,
        out: &mut Out<'_, '_>,
    ) {
        let interfaces = self.tables.interfaces.borrow();
        let addresses = self.tables.addresses.borrow();
        let Some(leaves) = interfaces.get(interface).filter(|leaves| leaves.up) else {
            return;
        };
        let first = || addresses.of(interface).first().copied();
        let Some(own) = addresses.connected(interface, target).or_else(first) else {
            return;
        };
        let Some(mut frame) = out.alloc(ARP_FRAME) else {
            out.drop_kept(Ip4RewriteDrop::NoBuffer, interface);
            return;
        };
        let request = ArpPacket {
            to: to.unwrap_or(MacAddr::BROADCAST),
            operation: REQUEST,
            sender_mac: leaves.mac,
            sender: own.address,
            target_mac: MacAddr::ZERO,
            target,
        };
        request.write(frame.octets_mut());
        frame.meta.interface = interface;
        frame.meta.ether_type = EtherType::ARP;
        out.send(Ip4RewriteNext::Output, frame);
    }

    /// Lets `frame` wait for its neighbour, and asks for that if nobody did.
    fn wait<'block>(
        &mut self,
        now: Duration,
        asked: Option<NeighborSlot>,
        frame: Frame<'block>,
        neighbors: &mut Neighbors,
        out: &mut Out<'_, 'block>,
    ) {
        let interface = frame.meta.interface;
        let slot = match asked {
            Some(slot) => Ok(slot),
            None => self.ask_for_new(now, &frame, neighbors, out),
        };
        match slot.map(|slot| neighbors.keep(slot, &frame)) {
            Ok(Kept::Waits) => out.consume(frame),
            Ok(Kept::Replaced) => {
                out.drop_kept(Ip4RewriteDrop::QueueReplaced, interface);
                out.consume(frame);
            }
            Ok(Kept::Refused) => out.drop(Ip4RewriteDrop::QueueFull, frame),
            Err(reason) => out.drop(reason, frame),
        }
    }

    /// Adds the neighbour `frame` goes to and asks for it.
    fn ask_for_new(
        &mut self,
        now: Duration,
        frame: &Frame<'_>,
        neighbors: &mut Neighbors,
        out: &mut Out<'_, '_>,
    ) -> Result<NeighborSlot, Ip4RewriteDrop> {
        let interface = frame.meta.interface;
        let next_hop = frame.meta.next_hop.ok_or(Ip4RewriteDrop::NotRouted)?;
        if self.tables.addresses.borrow().of(interface).is_empty() {
            return Err(Ip4RewriteDrop::NoAddress);
        }
        if !self.requests.take(now) {
            return Err(Ip4RewriteDrop::ArpThrottled);
        }
        let slot = neighbors
            .ask(now, interface, next_hop)
            .ok_or(Ip4RewriteDrop::NeighborTableFull)?;
        self.ask(interface, next_hop, None, out);
        Ok(slot)
    }

    /// Sends a packet that waited for the neighbour at `mac`.
    fn release(&self, interface: IfIndex, mac: MacAddr, pending: &Pending, out: &mut Out<'_, '_>) {
        let Some(mut frame) = out.alloc(pending.octets.len()) else {
            out.drop_kept(Ip4RewriteDrop::NoBuffer, interface);
            return;
        };
        frame.octets_mut().copy_from_slice(&pending.octets);
        frame.meta.interface = interface;
        frame.meta.segmentation = pending.segmentation;
        frame.meta.checksum = match pending.checksum {
            Checksum::Partial { start, offset } => Checksum::Partial {
                start: start.saturating_add(u16::try_from(frame.offset()).unwrap_or(u16::MAX)),
                offset,
            },
            other => other,
        };
        let interfaces = self.tables.interfaces.borrow();
        let leaves = interfaces.get(interface);
        let sent = check(&frame, leaves, out.offload())
            .and_then(|source| rewrite(&mut frame, mac, source));
        match sent {
            Ok(()) => out.send(Ip4RewriteNext::Output, frame),
            Err(reason) => out.drop(reason, frame),
        }
    }
}

impl Node for Ip4Rewrite {
    const NAME: &'static str = "ip4-rewrite";
    type Next = Ip4RewriteNext;
    type Drop = Ip4RewriteDrop;

    fn process<'block>(
        &mut self,
        now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Out<'_, 'block>,
    ) {
        let (interfaces, neighbors) = (
            Rc::clone(&self.tables.interfaces),
            Rc::clone(&self.tables.neighbors),
        );
        let interfaces = interfaces.borrow();
        let mut neighbors = neighbors.borrow_mut();
        let offload = out.offload();
        // A batch is often for one neighbour.
        let mut last: Option<(IfIndex, Ipv4Addr, MacAddr)> = None;
        for mut frame in batch.drain() {
            let interface = frame.meta.interface;
            let checked = check(&frame, interfaces.get(interface), offload);
            let (source, next_hop) = match (checked, frame.meta.next_hop) {
                (Ok(source), Some(next_hop)) => (source, next_hop),
                (Ok(_), None) => {
                    out.drop(Ip4RewriteDrop::NotRouted, frame);
                    continue;
                }
                (Err(reason), _) => {
                    out.drop(reason, frame);
                    continue;
                }
            };
            let known = match last {
                Some((index, address, mac)) if (index, address) == (interface, next_hop) => mac,
                _ => match neighbors.find(now, interface, next_hop) {
                    Some(Found::Known(mac)) => mac,
                    Some(Found::Asked(slot)) => {
                        self.wait(now, Some(slot), frame, &mut neighbors, out);
                        continue;
                    }
                    None => {
                        self.wait(now, None, frame, &mut neighbors, out);
                        continue;
                    }
                },
            };
            last = Some((interface, next_hop, known));
            match rewrite(&mut frame, known, source) {
                Ok(()) => out.send(Ip4RewriteNext::Output, frame),
                Err(reason) => out.drop(reason, frame),
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.tables.neighbors.borrow().deadline()
    }

    fn on_timer(&mut self, now: Duration, out: &mut Out<'_, '_>) {
        let neighbors = Rc::clone(&self.tables.neighbors);
        let mut neighbors = neighbors.borrow_mut();
        for _ in 0..TIMERS_MAX {
            if let Some((interface, mac, pending)) = neighbors.take_ready() {
                self.release(interface, mac, &pending, out);
                neighbors.recycle(Some(pending));
                continue;
            }
            if let Some(interface) = neighbors.take_lost() {
                out.drop_kept(Ip4RewriteDrop::NeighborDisplaced, interface);
                continue;
            }
            match neighbors.next_due(now) {
                None => return,
                Some(Due::Request(interface, target)) => self.ask(interface, target, None, out),
                Some(Due::Probe(interface, target, mac)) => {
                    self.ask(interface, target, Some(mac), out);
                }
                Some(Due::GaveUp(interface, true)) => {
                    out.drop_kept(Ip4RewriteDrop::Unresolved, interface);
                }
                Some(Due::GaveUp(_, false)) => {}
            }
        }
    }
}

/// The interface's Ethernet address, if `frame` may leave by it as it is.
///
/// Above the MTU it would not only be lost: the kernel refuses it at the head of the transmit
/// ring, and all behind it waits.
fn check(
    frame: &Frame<'_>,
    leaves: Option<&Interface>,
    offload: Offload,
) -> Result<MacAddr, Ip4RewriteDrop> {
    let leaves = leaves.ok_or(Ip4RewriteDrop::UnknownInterface)?;
    if !leaves.up {
        return Err(Ip4RewriteDrop::InterfaceDown);
    }
    let mtu = usize::from(leaves.mtu);
    let fits = match frame.meta.segmentation {
        None => frame.total_len() <= mtu,
        Some(split) => {
            usize::from(split.size) + usize::from(split.header_len) <= mtu
                && frame.total_len() + ENCAPSULATION_MAX <= offload.segmentation_max
        }
    };
    fits.then_some(leaves.mac)
        .ok_or(Ip4RewriteDrop::MtuExceeded)
}

/// Puts the Ethernet header to `mac` in front.
fn rewrite(frame: &mut Frame<'_>, mac: MacAddr, source: MacAddr) -> Result<(), Ip4RewriteDrop> {
    if !frame.push_front(ETHERNET_HEADER) {
        return Err(Ip4RewriteDrop::NoHeadroom);
    }
    if let Some(header) = frame.octets_mut().first_chunk_mut::<ETHERNET_HEADER>() {
        let [d0, d1, d2, d3, d4, d5] = mac.0;
        let [s0, s1, s2, s3, s4, s5] = source.0;
        let [t0, t1] = EtherType::IPV4.0.to_be_bytes();
        *header = [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1];
    }
    frame.meta.destination = mac;
    frame.meta.source = source;
    frame.meta.ether_type = EtherType::IPV4;
    frame.meta.tags = Tags::NONE;
    Ok(())
}

#[cfg(test)]
mod tests;
