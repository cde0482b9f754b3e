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
    /// Frames dropped, whatever the node and the reason. Of number 0: frames of no interface, and
    /// what interfaces dropped that are no more.
    pub drops: u64,
}

/// Frames one node dropped on one interface for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceDrop {
    /// The interface; number 0 for those that are no more, and for frames of none.
    pub interface: IfIndex,
    /// The node's place in [`Counters::nodes`].
    pub node: usize,
    /// The reason's place in [`NodeCounters::drops`].
    pub reason: usize,
    /// How many.
    pub count: u64,
}

/// Drops by interface, node and reason. The memory for an interface is taken when the interface is
/// made: 8 octets for each reason of each node.
#[derive(Clone, Debug, Default)]
pub(crate) struct DropTable {
    /// By interface; empty where none was made. Number 0 is always there.
    rows: Vec<Box<[u64]>>,
    /// By node: where its reasons begin in a row.
    first: Vec<usize>,
    /// Places in a row: one for each reason of each node.
    places: usize,
}

impl DropTable {
    /// A table for nodes with so many reasons each, and the row of number 0.
    pub(crate) fn new(reasons: impl Iterator<Item = usize>) -> Self {
        let mut table = Self::default();
        for count in reasons {
            table.first.push(table.places);
            table.places += count;
        }
        table.make(IfIndex(0));
        table
    }

    /// Takes the memory for `interface`, if it has none; past [`INTERFACES_MAX`] it gets none.
    pub(crate) fn make(&mut self, interface: IfIndex) {
        let at = usize::from(interface.0);
        if at >= INTERFACES_MAX {
            return;
        }
        if at >= self.rows.len() {
            self.rows.resize_with(at + 1, Box::default);
        }
        if self.rows[at].is_empty() {
            self.rows[at] = vec![0; self.places].into_boxed_slice();
        }
    }

    /// Counts a drop and says whose it is: `interface`'s, or that of number 0.
    #[inline]
    pub(crate) fn count(&mut self, interface: IfIndex, node: usize, reason: usize) -> IfIndex {
        let at = usize::from(interface.0);
        let has_row = self.rows.get(at).is_some_and(|row| !row.is_empty());
        let whose = if has_row { interface } else { IfIndex(0) };
        self.rows[usize::from(whose.0)][self.first[node] + reason] += 1;
        whose
    }

    /// Gives the memory of `interface` back; what it dropped is number 0's from now on.
    pub(crate) fn remove(&mut self, interface: IfIndex) {
        let at = usize::from(interface.0);
        if at == 0 || at >= self.rows.len() {
            return;
        }
        let gone = std::mem::take(&mut self.rows[at]);
        for (sum, count) in self.rows[0].iter_mut().zip(gone) {
            *sum += count;
        }
    }

    /// Sets all to 0.
    pub(crate) fn clear(&mut self) {
        for row in &mut self.rows {
            row.fill(0);
        }
    }

    /// The counts that are not 0, by interface, node and reason.
    pub(crate) fn iter(&self) -> impl Iterator<Item = InterfaceDrop> + '_ {
        let rows = (0..).map(IfIndex).zip(&self.rows);
        let firsts = &self.first;
        rows.flat_map(move |(interface, row)| {
            let counts = row.iter().enumerate().filter(|(_, count)| **count > 0);
            counts.map(move |(place, count)| {
                // Nodes without reasons begin where the next one does: the last is meant.
                let node = firsts.partition_point(|first| *first <= place) - 1;
                InterfaceDrop {
                    interface,
                    node,
                    reason: place - firsts[node],
                    count: *count,
                }
            })
        })
    }
}

/// All counters of one graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By node, in the order nodes were added.
    pub nodes: Vec<NodeCounters>,
    /// By [`IfIndex`], as far as interfaces were made; number 0 is always there.
    pub interfaces: Vec<InterfaceCounters>,
}

impl Counters {
    /// The counters of `interface`; those of number 0 when there are none.
    pub(crate) fn interface(&mut self, interface: IfIndex) -> &mut InterfaceCounters {
        let index = usize::from(interface.0);
        let last = self.interfaces.len().saturating_sub(1);
        &mut self.interfaces[if index <= last { index } else { 0 }]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_found_where_they_were_counted_and_stay_when_the_interface_goes() {
        let mut table = DropTable::new([2, 0, 3].into_iter());
        table.make(IfIndex(5));
        assert_eq!(table.count(IfIndex(5), 2, 1), IfIndex(5));
        assert_eq!(table.count(IfIndex(5), 0, 1), IfIndex(5));
        assert_eq!(table.count(IfIndex(5), 2, 1), IfIndex(5));
        // Nobody made it.
        assert_eq!(table.count(IfIndex(3), 2, 1), IfIndex(0));
        assert_eq!(table.count(IfIndex(u16::MAX), 2, 1), IfIndex(0));
        let drop = |interface, node, reason, count| InterfaceDrop {
            interface: IfIndex(interface),
            node,
            reason,
            count,
        };
        let all: Vec<_> = table.iter().collect();
        assert_eq!(all, [drop(0, 2, 1, 2), drop(5, 0, 1, 1), drop(5, 2, 1, 2)]);
        table.remove(IfIndex(5));
        let all: Vec<_> = table.iter().collect();
        assert_eq!(all, [drop(0, 0, 1, 1), drop(0, 2, 1, 4)]);
        table.make(IfIndex(5));
        assert_eq!(table.iter().filter(|drop| drop.interface.0 == 5).count(), 0);
    }
}
