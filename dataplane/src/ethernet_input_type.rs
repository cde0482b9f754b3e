//! `ethernet-input-type`: sends each frame to its protocol.
//!
//! - Takes: frames that begin after the Ethernet header and the tags, their EtherType in
//!   [`Meta::ether_type`](crate::Meta::ether_type).
//! - Sends: `arp`, `ip4`.
//! - Drops: `ip6`, `unknown-type`.
//! - Spec: the IEEE's EtherType registry.

use std::time::Duration;

use crate::batch::Batch;
use crate::frame::EtherType;
use crate::node::Node;
use crate::outlets::Outlets;

/// Sends each frame to its protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct EthernetInputType;

crate::labels! {
    /// Where `ethernet-input-type` sends.
    pub enum EthernetInputTypeNext {
        /// 0x0806.
        Arp = "arp",
        /// 0x0800.
        Ip4 = "ip4",
    }
}

crate::labels! {
    /// Why `ethernet-input-type` drops.
    pub enum EthernetInputTypeDrop {
        /// 0x86dd, which this stack does not speak.
        Ip6 = "ip6",
        /// Anything else.
        UnknownType = "unknown-type",
    }
}

impl Node for EthernetInputType {
    const NAME: &'static str = "ethernet-input-type";
    type Next = EthernetInputTypeNext;
    type Drop = EthernetInputTypeDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, EthernetInputTypeNext, EthernetInputTypeDrop>,
    ) {
        for frame in batch.drain() {
            match frame.meta.ether_type {
                EtherType::IPV4 => out.send(EthernetInputTypeNext::Ip4, frame),
                EtherType::ARP => out.send(EthernetInputTypeNext::Arp, frame),
                EtherType::IPV6 => out.drop(EthernetInputTypeDrop::Ip6, frame),
                _ => out.drop(EthernetInputTypeDrop::UnknownType, frame),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Harness;

    #[test]
    fn each_type_goes_its_own_way_and_others_are_dropped_by_name() {
        let mut harness = Harness::new(EthernetInputType);
        for ether_type in [0x0800, 0x0806, 0x86dd, 0x88cc] {
            harness.input(&[0; 46], |meta| meta.ether_type = EtherType(ether_type));
        }
        let result = harness.run();
        assert_eq!(result.arcs(), ["arp", "ip4"]);
        assert_eq!(result.drops(), [("ip6", 1), ("unknown-type", 1)]);
        assert_eq!(result.counters.received, 4);
    }
}
