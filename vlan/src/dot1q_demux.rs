//! `dot1q-demux`: finds the sub-interface each frame belongs to.
//!
//! - Takes: frames from `ethernet-input`, tagged and untagged, the tags in
//!   [`Meta::tags`](dataplane::Meta::tags).
//! - Sends: `type`, with the sub-interface in [`Meta::interface`](dataplane::Meta::interface).
//! - Drops: `unknown-vid`, `unknown-qinq`, `untagged-not-wanted`, `interface-down`.
//! - Spec: IEEE 802.1Q, clause 9; precedence in [`crate::sub_interfaces`].
//!
//! A frame counts as received on its sub-interface, dropped there or not; frames without one are
//! dropped on the port.
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use std::time::Duration;

use dataplane::frame::ETHERNET_HEADER;
use dataplane::{Batch, Node, Outlets, SharedInterfaces};

use crate::sub_interfaces::{NoMatch, SharedSubInterfaces};

/// Finds the sub-interface each frame belongs to.
#[derive(Debug)]
pub struct Dot1qDemux {
    interfaces: SharedInterfaces,
    sub_interfaces: SharedSubInterfaces,
}

dataplane::labels! {
    /// Where `dot1q-demux` sends.
    pub enum Dot1qDemuxNext {
        /// Frames of a sub-interface that is up.
        Type = "type",
    }
}

dataplane::labels! {
    /// Why `dot1q-demux` drops.
    pub enum Dot1qDemuxDrop {
        /// No sub-interface has this outer tag.
        UnknownVid = "unknown-vid",
        /// Some have this outer tag, none together with this inner one.
        UnknownQinq = "unknown-qinq",
        /// No tag, and neither the port nor a sub-interface takes such frames.
        UntaggedNotWanted = "untagged-not-wanted",
        /// The sub-interface is administratively down.
        InterfaceDown = "interface-down",
    }
}

impl Dot1qDemux {
    /// A node over the worker's tables.
    pub fn new(interfaces: SharedInterfaces, sub_interfaces: SharedSubInterfaces) -> Self {
        Self {
            interfaces,
            sub_interfaces,
        }
    }
}

impl Node for Dot1qDemux {
    const NAME: &'static str = "dot1q-demux";
    type Next = Dot1qDemuxNext;
    type Drop = Dot1qDemuxDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Dot1qDemuxNext, Dot1qDemuxDrop>,
    ) {
        let interfaces = self.interfaces.borrow();
        let sub_interfaces = self.sub_interfaces.borrow();
        for mut frame in batch.drain() {
            let port = frame.meta.interface;
            let tags = frame.meta.tags;
            let found = match sub_interfaces.find(port, tags) {
                Ok(found) => found,
                Err(no) => {
                    let reason = match no {
                        NoMatch::UnknownVid => Dot1qDemuxDrop::UnknownVid,
                        NoMatch::UnknownQinq => Dot1qDemuxDrop::UnknownQinq,
                        NoMatch::Untagged => Dot1qDemuxDrop::UntaggedNotWanted,
                    };
                    out.drop(reason, frame);
                    continue;
                }
            };
            if found != port {
                // The port's count is ethernet-input's.
                out.count_rx(found, frame.len() + ETHERNET_HEADER + 4 * tags.len());
                frame.meta.interface = found;
            }
            if interfaces.get(found).is_some_and(|interface| interface.up) {
                out.send(Dot1qDemuxNext::Type, frame);
            } else {
                out.drop(Dot1qDemuxDrop::InterfaceDown, frame);
            }
        }
    }
}

#[cfg(test)]
mod tests;
