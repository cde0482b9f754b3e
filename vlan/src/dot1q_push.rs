//! `dot1q-push`: puts the tags of the sub-interface on outgoing frames.
//!
//! - Takes: Ethernet frames without tags, the interface they leave by in
//!   [`Meta::interface`](dataplane::Meta::interface).
//! - Sends: `output`, the tags inline between source address and EtherType.
//! - Drops: `unknown-interface`, `interface-down`, `no-exact-tags`, `too-short`, `no-headroom`.
//! - Spec: IEEE 802.1Q, clause 9.
//!
//! The interface stays the sub-interface, so that `af-packet-output` counts there. Priority is 0.
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use std::time::Duration;

use dataplane::frame::ETHERNET_HEADER;
use dataplane::{Batch, Frame, Interfaces, Node, Outlets, SharedInterfaces, Tags};

use crate::sub_interfaces::{SharedSubInterfaces, SubInterfaces};

/// Puts the tags of the sub-interface on outgoing frames.
#[derive(Debug)]
pub struct Dot1qPush {
    interfaces: SharedInterfaces,
    sub_interfaces: SharedSubInterfaces,
}

dataplane::labels! {
    /// Where `dot1q-push` sends.
    pub enum Dot1qPushNext {
        /// Frames ready for the wire.
        Output = "output",
    }
}

dataplane::labels! {
    /// Why `dot1q-push` drops.
    pub enum Dot1qPushDrop {
        /// Neither a port nor a sub-interface: it was deleted while the frame was on its way.
        UnknownInterface = "unknown-interface",
        /// The sub-interface or its port is administratively down.
        InterfaceDown = "interface-down",
        /// The sub-interface matches several tags, so which to put on is open.
        NoExactTags = "no-exact-tags",
        /// Shorter than an Ethernet header.
        TooShort = "too-short",
        /// No room in front for the tags.
        NoHeadroom = "no-headroom",
    }
}

impl Dot1qPush {
    /// A node over the worker's tables.
    pub fn new(interfaces: SharedInterfaces, sub_interfaces: SharedSubInterfaces) -> Self {
        Self {
            interfaces,
            sub_interfaces,
        }
    }
}

impl Node for Dot1qPush {
    const NAME: &'static str = "dot1q-push";
    type Next = Dot1qPushNext;
    type Drop = Dot1qPushDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Dot1qPushNext, Dot1qPushDrop>,
    ) {
        let interfaces = self.interfaces.borrow();
        let sub_interfaces = self.sub_interfaces.borrow();
        for mut frame in batch.drain() {
            match push(&mut frame, &interfaces, &sub_interfaces) {
                Ok(()) => out.send(Dot1qPushNext::Output, frame),
                Err(reason) => out.drop(reason, frame),
            }
        }
    }
}

fn push(
    frame: &mut Frame<'_>,
    interfaces: &Interfaces,
    sub_interfaces: &SubInterfaces,
) -> Result<(), Dot1qPushDrop> {
    let interface = frame.meta.interface;
    let Some(leaves) = sub_interfaces.encapsulation(interface) else {
        return Err(Dot1qPushDrop::UnknownInterface);
    };
    let up = |index| interfaces.get(index).is_some_and(|interface| interface.up);
    if !up(leaves.port) || !up(interface) {
        return Err(Dot1qPushDrop::InterfaceDown);
    }
    let tags = leaves.tags.ok_or(Dot1qPushDrop::NoExactTags)?;
    if frame.len() < ETHERNET_HEADER {
        return Err(Dot1qPushDrop::TooShort);
    }
    // Tags a received frame came with are none of the answer's.
    frame.meta.tags = Tags::NONE;
    let added = 4 * tags.len();
    if added == 0 {
        return Ok(());
    }
    if !frame.push_front(added) {
        return Err(Dot1qPushDrop::NoHeadroom);
    }
    let octets = frame.octets_mut();
    octets.copy_within(added..added + 12, 0);
    let places = octets.iter_mut().skip(12);
    let inline = tags.as_slice().iter().flat_map(|tag| {
        let [t0, t1] = tag.tpid.0.to_be_bytes();
        let [c0, c1] = tag.tci.to_be_bytes();
        [t0, t1, c0, c1]
    });
    for (place, octet) in places.zip(inline) {
        *place = octet;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
