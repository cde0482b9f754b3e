//! `af-packet-input`: where received frames enter the graph.
//!
//! - Takes: frames from an [`RxTurn`](crate::RxTurn), beginning with the Ethernet header; the
//!   outer tag, checksum and segmentation state in their metadata.
//! - Sends: `ethernet-input`.
//! - Drops: `truncated`.
//! - Spec: packet(7); the kernel's `Documentation/networking/packet_mmap.rst`.

use std::time::Duration;

use dataplane::{Batch, Node, Outlets};

/// Where received frames enter the graph.
#[derive(Clone, Copy, Debug, Default)]
pub struct AfPacketInput;

dataplane::labels! {
    /// Where `af-packet-input` sends.
    pub enum AfPacketInputNext {
        /// Every whole frame.
        EthernetInput = "ethernet-input",
    }
}

dataplane::labels! {
    /// Why `af-packet-input` drops.
    pub enum AfPacketInputDrop {
        /// The ring had no room for all of its octets.
        Truncated = "truncated",
    }
}

impl Node for AfPacketInput {
    const NAME: &'static str = "af-packet-input";
    type Next = AfPacketInputNext;
    type Drop = AfPacketInputDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, AfPacketInputNext, AfPacketInputDrop>,
    ) {
        for frame in batch.drain() {
            let wire_len = usize::try_from(frame.meta.wire_len).unwrap_or(usize::MAX);
            if wire_len > frame.len() {
                out.drop(AfPacketInputDrop::Truncated, frame);
            } else {
                out.send(AfPacketInputNext::EthernetInput, frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dataplane::testing::Harness;

    use super::*;

    #[test]
    fn whole_frames_go_on_in_order() {
        let mut harness = Harness::new(AfPacketInput);
        harness.input(&[1; 60], |_| {}).input(&[2; 61], |_| {});
        let outcome = harness.run();
        assert_eq!(outcome.arcs(), ["ethernet-input", "ethernet-input"]);
        assert_eq!(outcome.sent[1].frame.octets, [2; 61]);
        assert_eq!(outcome.drops(), []);
    }

    #[test]
    fn a_frame_cut_short_is_dropped() {
        let mut harness = Harness::new(AfPacketInput);
        harness.input(&[1; 60], |meta| meta.wire_len = 61);
        let outcome = harness.run();
        assert_eq!(outcome.drops(), [("truncated", 1)]);
        assert!(outcome.sent.is_empty());
        assert_eq!(outcome.interfaces[0].drops, 1);
    }
}
