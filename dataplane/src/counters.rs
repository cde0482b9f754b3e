//! What happened, in numbers: per node and per interface.
//!
//! Counters belong to one worker and are plain integers; a reader asks for a copy and sums over
//! workers.

use crate::interface::{INTERFACES_MAX, IfIndex};

/// What one node did. For every node, at any time between two turns:
/// `received + made == sent + transmitted + consumed + drops`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeCounters {
    /// Times the node was given a batch or its timer ran.
    pub calls: u64,
    /// Frames that came in ("vectors").
    pub received: u64,
    /// Frames the node allocated itself: answers, retransmissions, announcements.
    pub made: u64,
    /// Frames sent along an arc.
    pub sent: u64,
    /// Frames handed to the port.
    pub transmitted: u64,
    /// Frames whose octets the node took over.
    pub consumed: u64,
    /// Dropped frames, by index of the node's drop label.
    pub drops: Vec<u64>,
    /// Frames a node lost without saying so: a defect in that node, always 0.
    pub leaked: u64,
}

impl NodeCounters {
    /// Frames dropped, all reasons together.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }
}

/// Traffic of one interface or sub-interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Frames received.
    pub rx_packets: u64,
    /// Octets received, Ethernet header and tags included.
    pub rx_bytes: u64,
    /// Frames transmitted; a super-segment counts as one.
    pub tx_packets: u64,
    /// Octets transmitted, Ethernet header and tags included.
    pub tx_bytes: u64,
    /// Frames dropped, whatever the node and the reason.
    pub drops: u64,
}

/// All counters of one graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By node, in the order nodes were added.
    pub nodes: Vec<NodeCounters>,
    /// By [`IfIndex`].
    pub interfaces: Vec<InterfaceCounters>,
}

impl Counters {
    /// The counters of `interface`, made on first use. Indices past [`INTERFACES_MAX`] share the
    /// last place, so that nothing grows without bound.
    pub(crate) fn interface(&mut self, interface: IfIndex) -> &mut InterfaceCounters {
        let index = usize::from(interface.0).min(INTERFACES_MAX - 1);
        if index >= self.interfaces.len() {
            self.interfaces
                .resize(index + 1, InterfaceCounters::default());
        }
        &mut self.interfaces[index]
    }

    /// Adds another worker's counters, which come from the same assembly.
    pub fn add(&mut self, other: &Self) {
        if self.nodes.len() < other.nodes.len() {
            self.nodes
                .resize(other.nodes.len(), NodeCounters::default());
        }
        for (mine, theirs) in self.nodes.iter_mut().zip(&other.nodes) {
            mine.calls += theirs.calls;
            mine.received += theirs.received;
            mine.made += theirs.made;
            mine.sent += theirs.sent;
            mine.transmitted += theirs.transmitted;
            mine.consumed += theirs.consumed;
            mine.leaked += theirs.leaked;
            mine.drops
                .resize(mine.drops.len().max(theirs.drops.len()), 0);
            for (a, b) in mine.drops.iter_mut().zip(&theirs.drops) {
                *a += b;
            }
        }
        if self.interfaces.len() < other.interfaces.len() {
            self.interfaces
                .resize(other.interfaces.len(), InterfaceCounters::default());
        }
        for (mine, theirs) in self.interfaces.iter_mut().zip(&other.interfaces) {
            mine.rx_packets += theirs.rx_packets;
            mine.rx_bytes += theirs.rx_bytes;
            mine.tx_packets += theirs.tx_packets;
            mine.tx_bytes += theirs.tx_bytes;
            mine.drops += theirs.drops;
        }
    }
}
