//! `af-packet-output`: where outgoing frames leave the graph.
//!
//! - Takes: frames beginning with their Ethernet header, tags inline, `interface` the one they
//!   leave by: the port or a sub-interface of it.
//! - Sends: nothing; hands them to the port, and counts them at their interface and, for a
//!   sub-interface, at the port as well.
//! - Drops: `link-down`, `mtu-exceeded`, `ring-full`.
//! - Spec: IEEE 802.3, clause 3; packet(7).

use std::time::Duration;

use dataplane::{
    Batch, Frame, IfIndex, Interfaces, Never, Node, Offload, Outlets, SharedInterfaces,
};

use crate::ring::vnet::{link_header, link_room};

/// Where outgoing frames leave the graph.
#[derive(Debug)]
pub struct AfPacketOutput {
    interfaces: SharedInterfaces,
    port: IfIndex,
}

dataplane::labels! {
    /// Why `af-packet-output` drops.
    pub enum AfPacketOutputDrop {
        /// The port or the frame's interface is down, or not there any more.
        LinkDown = "link-down",
        /// More octets than its interface takes, or the port with what a second tag adds; for a
        /// super-segment its pieces count.
        MtuExceeded = "mtu-exceeded",
        /// No slot is free, or the ring refused the frame.
        RingFull = "ring-full",
    }
}

impl AfPacketOutput {
    /// A node for the port `port` of `interfaces`.
    pub fn new(interfaces: SharedInterfaces, port: IfIndex) -> Self {
        Self { interfaces, port }
    }
}

impl Node for AfPacketOutput {
    const NAME: &'static str = "af-packet-output";
    type Next = Never;
    type Drop = AfPacketOutputDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Never, AfPacketOutputDrop>,
    ) {
        let interfaces = self.interfaces.borrow();
        let offload = out.offload();
        for frame in batch.drain() {
            if let Some(reason) = refusal(&frame, self.port, &interfaces, offload) {
                out.drop(reason, frame);
                continue;
            }
            let (interface, len) = (frame.meta.interface, frame.total_len());
            if let Err(frame) = out.transmit(frame) {
                out.drop(AfPacketOutputDrop::RingFull, frame);
                continue;
            }
            out.count_tx(interface, len);
            if interface != self.port {
                out.count_tx(self.port, len);
            }
        }
    }
}

/// Why `frame` cannot leave, if it cannot.
fn refusal(
    frame: &Frame<'_>,
    port: IfIndex,
    interfaces: &Interfaces,
    offload: Offload,
) -> Option<AfPacketOutputDrop> {
    let up = |index| interfaces.get(index).filter(|interface| interface.up);
    let (Some(port), Some(interface)) = (up(port), up(frame.meta.interface)) else {
        return Some(AfPacketOutputDrop::LinkDown);
    };
    let link = link_header(frame.octets()).0;
    // The port's MTU leaves room for one tag; a second one counts.
    let room = usize::from(port.mtu) + link_room(frame.octets());
    let mtu = usize::from(interface.mtu).min(room.saturating_sub(link));
    let fits = match frame.meta.segmentation {
        None => frame.total_len() <= mtu + link,
        Some(segmentation) => {
            frame.total_len() <= offload.segmentation_max
                && usize::from(segmentation.header_len) + usize::from(segmentation.size) <= mtu
        }
    };
    (!fits).then_some(AfPacketOutputDrop::MtuExceeded)
}

#[cfg(test)]
mod tests;
