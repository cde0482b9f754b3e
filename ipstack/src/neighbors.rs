//! The neighbour table: which Ethernet address an IPv4 address on a link has.
//!
//! States are those of RFC 4861 section 7.3.2, which Linux applies to ARP too:
//!
//! | state | usable | becomes |
//! |---|---|---|
//! | incomplete | no; one packet waits | reachable by an answer, stale by a request of the peer; gone after 3 requests, 1 s apart |
//! | reachable | yes | stale 30 s after the last answer |
//! | stale | yes | delay when used |
//! | delay | yes | probe after 5 s |
//! | probe | yes | reachable by an answer; gone after 3 requests to the peer alone, 1 s apart |
//! | static | yes | only by configuration |
//!
//! When the table is full, a new neighbour takes the place of another: of those in a window that
//! starts at an unpredictable place, the least valuable goes. What a peer says of itself never
//! displaces a neighbour that answered us; next hops of routes and static neighbours never go.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::BuildHasher;
use std::net::Ipv4Addr;
use std::time::Duration;

use dataplane::{Checksum, Frame, IfIndex, MacAddr, Segmentation};

/// Neighbours held at most; the policy when full is above.
pub const NEIGHBORS_MAX: usize = 4096;

/// Octets of a packet that may wait for its neighbour; larger ones are dropped. A jumbo frame.
pub const PENDING_PACKET_MAX: usize = 9216;

/// Octets of all waiting packets together; past that packets are dropped instead of kept.
pub const PENDING_OCTETS_MAX: usize = 1 << 20;

/// Time a neighbour counts as reachable after an answer: `REACHABLE_TIME`, RFC 4861 section 10.
const REACHABLE: Duration = Duration::from_secs(30);
/// Time between the first use of a stale entry and the first probe: `DELAY_FIRST_PROBE_TIME`.
const DELAY: Duration = Duration::from_secs(5);
/// Time between requests: `RETRANS_TIMER`.
const RETRANSMIT: Duration = Duration::from_secs(1);
/// Requests until a neighbour is given up: `MAX_UNICAST_SOLICIT`, `MAX_MULTICAST_SOLICIT`.
const REQUESTS_MAX: u8 = 3;
/// Entries looked at for one to displace.
const EVICT_WINDOW: usize = 64;
/// Buffers of packets that waited, kept for the next.
const SPARE_MAX: usize = 64;

/// A neighbour's state; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborState {
    /// Asked for, no answer yet.
    Incomplete,
    /// Answered lately.
    Reachable,
    /// Known, not confirmed lately.
    Stale,
    /// Known, in use, to be confirmed soon.
    Delay,
    /// Known, asked to confirm.
    Probe,
    /// Configured.
    Static,
}

impl fmt::Display for NeighborState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Delay => "delay",
            Self::Probe => "probe",
            Self::Static => "static",
        })
    }
}

/// A neighbour, as shown to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// The interface it is reached by.
    pub interface: IfIndex,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Its Ethernet address, once known.
    pub mac: Option<MacAddr>,
    /// Its state.
    pub state: NeighborState,
    /// Time since its Ethernet address was last heard, or since it was first asked for.
    pub age: Duration,
}

/// A packet that waits, or waited, for its neighbour: octets from the IPv4 header on.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) octets: Vec<u8>,
    /// A partial checksum's start counts from the first octet.
    pub(crate) checksum: Checksum,
    /// Present when it is a super-segment.
    pub(crate) segmentation: Option<Segmentation>,
}

#[derive(Debug)]
struct Entry {
    interface: IfIndex,
    address: Ipv4Addr,
    mac: MacAddr,
    state: NeighborState,
    /// When its Ethernet address was last heard, or when it was made.
    heard: Duration,
    /// Requests since the state was entered.
    requests: u8,
    /// When something is to be done, as in the timers.
    due: Option<Duration>,
    pending: Option<Pending>,
}

/// What [`Neighbors::find`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The Ethernet address.
    Known(MacAddr),
    /// Asked for, not answered; the packet may wait.
    Asked(NeighborSlot),
}

/// A place in the table, good until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeighborSlot(u32);

/// What became of a packet that was to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It waits.
    Waits,
    /// It waits in the place of an earlier one, which is lost.
    Replaced,
    /// It is too large, or too much waits already.
    Refused,
}

/// What is due.
#[derive(Debug)]
pub(crate) enum Due {
    /// Ask everybody.
    Request(IfIndex, Ipv4Addr),
    /// Ask the neighbour itself.
    Probe(IfIndex, Ipv4Addr, MacAddr),
    /// It did not answer; whether a packet waited for it.
    GaveUp(IfIndex, bool),
}

/// The most memory a neighbour table takes, in octets: entries with their places in the index, the
/// timers and the lists (64 octets each), copied when they grow; waiting packets; spare buffers.
pub const MEMORY_MAX: usize = 3 * NEIGHBORS_MAX * (size_of::<Option<Entry>>() + 4 * 64)
    + PENDING_OCTETS_MAX
    + SPARE_MAX * PENDING_PACKET_MAX;

/// The neighbour table.
#[derive(Default)]
pub struct Neighbors {
    /// At most [`NEIGHBORS_MAX`] places.
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    index: HashMap<(IfIndex, Ipv4Addr), u32>,
    timers: BTreeSet<(Duration, u32)>,
    /// Resolved while a packet waited: places and interfaces.
    ready: Vec<u32>,
    /// Interfaces of packets that lost their entry.
    lost: Vec<IfIndex>,
    gateways: HashSet<Ipv4Addr>,
    pending_octets: usize,
    spare: Vec<Vec<u8>>,
    random: RandomState,
    drawn: u64,
}

impl fmt::Debug for Neighbors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Neighbors")
            .field("count", &self.index.len())
            .field("pending_octets", &self.pending_octets)
            .finish_non_exhaustive()
    }
}

/// How much an entry is worth when the table is full.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Did not answer the first request.
    Silent,
    /// Not confirmed lately.
    Stale,
    /// Asked for a moment ago.
    Fresh,
    /// Answered us lately, or is in use.
    Live,
    /// Never displaced.
    Fixed,
}

impl Neighbors {
    /// How many.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// All neighbours, by interface and address.
    pub fn list(&self, now: Duration) -> Vec<Neighbor> {
        let entries = self.slots.iter().flatten();
        let mut list: Vec<Neighbor> = entries
            .map(|entry| Neighbor {
                interface: entry.interface,
                address: entry.address,
                mac: (entry.state != NeighborState::Incomplete).then_some(entry.mac),
                state: entry.state_at(now),
                age: now.saturating_sub(entry.heard),
            })
            .collect();
        list.sort_unstable_by_key(|neighbor| (neighbor.interface, neighbor.address));
        list
    }

    /// Configures a neighbour; `false` when the table is full of ones worth more.
    pub fn set_static(&mut self, interface: IfIndex, address: Ipv4Addr, mac: MacAddr) -> bool {
        let Some(slot) = self.find_or_insert(Duration::ZERO, interface, address, Worth::Live)
        else {
            return false;
        };
        self.set_mac(Duration::ZERO, slot, mac, NeighborState::Static);
        true
    }

    /// Takes a neighbour away; `false` when there is no such one.
    pub fn remove(&mut self, interface: IfIndex, address: Ipv4Addr) -> bool {
        let slot = self.index.get(&(interface, address)).copied();
        slot.is_some_and(|slot| self.remove_slot(slot))
    }

    /// Takes away every neighbour for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(IfIndex, Ipv4Addr, NeighborState) -> bool) {
        for at in 0..self.slots.len() {
            if let Some(entry) = &self.slots[at]
                && !keep(entry.interface, entry.address, entry.state)
            {
                self.remove_slot(u32::try_from(at).unwrap_or(0));
            }
        }
    }

    /// Next hops of routes, whose entries are not displaced.
    pub(crate) fn set_gateways(&mut self, gateways: impl Iterator<Item = Ipv4Addr>) {
        self.gateways = gateways.collect();
    }

    /// The neighbour a packet goes to, which counts as used; `None` when it is new.
    #[inline]
    pub(crate) fn find(
        &mut self,
        now: Duration,
        interface: IfIndex,
        address: Ipv4Addr,
    ) -> Option<Found> {
        let slot = *self.index.get(&(interface, address))?;
        let entry = self.slots[slot as usize].as_mut()?;
        let mac = entry.mac;
        match entry.state_at(now) {
            NeighborState::Incomplete => return Some(Found::Asked(NeighborSlot(slot))),
            NeighborState::Stale => {
                entry.state = NeighborState::Delay;
                self.set_due(slot, Some(now.saturating_add(DELAY)));
            }
            _ => {}
        }
        Some(Found::Known(mac))
    }

    /// Adds a neighbour that the caller asks for now; `None` when the table is full of neighbours
    /// worth more.
    pub(crate) fn ask(
        &mut self,
        now: Duration,
        interface: IfIndex,
        address: Ipv4Addr,
    ) -> Option<NeighborSlot> {
        let slot = self.find_or_insert(now, interface, address, Worth::Live)?;
        if let Some(entry) = &mut self.slots[slot as usize] {
            entry.requests = 1;
        }
        self.set_due(slot, Some(now.saturating_add(RETRANSMIT)));
        Some(NeighborSlot(slot))
    }

    /// Lets a copy of `frame` wait for the neighbour at `slot`: the latest packet waits, as RFC
    /// 1122 section 2.3.2.2 asks.
    pub(crate) fn keep(&mut self, slot: NeighborSlot, frame: &Frame<'_>) -> Kept {
        let len = frame.total_len();
        let Some(Some(entry)) = self.slots.get_mut(slot.0 as usize) else {
            return Kept::Refused;
        };
        let before = entry.pending.as_ref().map_or(0, |kept| kept.octets.len());
        let after = self.pending_octets - before + len;
        if len > PENDING_PACKET_MAX || after > PENDING_OCTETS_MAX {
            return Kept::Refused;
        }
        self.pending_octets = after;
        let (mut buffer, kept) = match entry.pending.take() {
            Some(earlier) => (earlier.octets, Kept::Replaced),
            None => (self.spare.pop().unwrap_or_default(), Kept::Waits),
        };
        buffer.clear();
        frame.copy_to(&mut buffer);
        let checksum = match frame.meta.checksum {
            Checksum::Partial { start, offset } => Checksum::Partial {
                start: u16::try_from(usize::from(start).saturating_sub(frame.offset()))
                    .unwrap_or(u16::MAX),
                offset,
            },
            other => other,
        };
        entry.pending = Some(Pending {
            octets: buffer,
            checksum,
            segmentation: frame.meta.segmentation,
        });
        kept
    }

    /// A peer told its address in a request to us. `false` when the table is full.
    pub(crate) fn learn_from_request(
        &mut self,
        now: Duration,
        interface: IfIndex,
        address: Ipv4Addr,
        mac: MacAddr,
    ) -> bool {
        let Some(slot) = self.find_or_insert(now, interface, address, Worth::Stale) else {
            return false;
        };
        self.hear(now, slot, mac);
        true
    }

    /// A peer told everybody its address: changes what is known, adds nothing.
    pub(crate) fn update_known(
        &mut self,
        now: Duration,
        interface: IfIndex,
        address: Ipv4Addr,
        mac: MacAddr,
    ) -> bool {
        let Some(&slot) = self.index.get(&(interface, address)) else {
            return false;
        };
        self.hear(now, slot, mac);
        true
    }

    /// A peer answered. `false` when nobody asked.
    pub(crate) fn learn_from_answer(
        &mut self,
        now: Duration,
        interface: IfIndex,
        address: Ipv4Addr,
        mac: MacAddr,
    ) -> bool {
        let Some(&slot) = self.index.get(&(interface, address)) else {
            return false;
        };
        let state = self.slots[slot as usize].as_ref().map(|entry| entry.state);
        let asked = matches!(
            state,
            Some(NeighborState::Incomplete | NeighborState::Probe)
        );
        if asked {
            self.set_mac(now, slot, mac, NeighborState::Reachable);
        }
        asked
    }

    /// When [`Self::next_due`], [`Self::take_ready`] or [`Self::take_lost`] has something.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.ready.is_empty() && self.lost.is_empty() {
            return self.timers.first().map(|(due, _)| *due);
        }
        Some(Duration::ZERO)
    }

    /// The next thing due at `now`; the entry is moved on.
    pub(crate) fn next_due(&mut self, now: Duration) -> Option<Due> {
        loop {
            let (due, slot) = *self.timers.first()?;
            if due > now {
                return None;
            }
            let Some(entry) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
                self.timers.pop_first();
                continue;
            };
            let (interface, address, mac) = (entry.interface, entry.address, entry.mac);
            if entry.state == NeighborState::Delay {
                entry.state = NeighborState::Probe;
                entry.requests = 0;
            }
            let probe = entry.state == NeighborState::Probe;
            if entry.requests >= REQUESTS_MAX {
                let waited = self.take_pending(slot);
                let had_one = waited.is_some();
                self.recycle(waited);
                self.remove_slot(slot);
                return Some(Due::GaveUp(interface, had_one));
            }
            entry.requests += 1;
            self.set_due(slot, Some(now.saturating_add(RETRANSMIT)));
            return Some(if probe {
                Due::Probe(interface, address, mac)
            } else {
                Due::Request(interface, address)
            });
        }
    }

    /// A packet whose neighbour became known, with the way to it. Hand the buffer back with
    /// [`Self::recycle`].
    pub(crate) fn take_ready(&mut self) -> Option<(IfIndex, MacAddr, Pending)> {
        while let Some(slot) = self.ready.pop() {
            let Some(Some(entry)) = self.slots.get(slot as usize) else {
                continue;
            };
            let (interface, mac) = (entry.interface, entry.mac);
            if entry.state == NeighborState::Incomplete {
                continue;
            }
            if let Some(pending) = self.take_pending(slot) {
                return Some((interface, mac, pending));
            }
        }
        None
    }

    /// The interface of a packet that waited for an entry that was displaced or removed.
    pub(crate) fn take_lost(&mut self) -> Option<IfIndex> {
        self.lost.pop()
    }

    /// Takes the buffer of a packet that waits no more.
    pub(crate) fn recycle(&mut self, pending: Option<Pending>) {
        if let Some(pending) = pending
            && self.spare.len() < SPARE_MAX
        {
            self.spare.push(pending.octets);
        }
    }

    fn take_pending(&mut self, slot: u32) -> Option<Pending> {
        let pending = self.slots[slot as usize].as_mut()?.pending.take()?;
        self.pending_octets -= pending.octets.len();
        Some(pending)
    }

    /// What a peer said unasked: its word makes an entry stale at best, and changes no static one.
    fn hear(&mut self, now: Duration, slot: u32, mac: MacAddr) {
        let Some(entry) = &mut self.slots[slot as usize] else {
            return;
        };
        match entry.state {
            NeighborState::Static => {}
            NeighborState::Incomplete => self.set_mac(now, slot, mac, NeighborState::Stale),
            _ if entry.mac != mac => self.set_mac(now, slot, mac, NeighborState::Stale),
            _ => {}
        }
    }

    fn set_mac(&mut self, now: Duration, slot: u32, mac: MacAddr, state: NeighborState) {
        let Some(entry) = &mut self.slots[slot as usize] else {
            return;
        };
        entry.mac = mac;
        entry.state = state;
        entry.heard = now;
        entry.requests = 0;
        if entry.pending.is_some() {
            self.ready.push(slot);
        }
        self.set_due(slot, None);
    }

    fn set_due(&mut self, slot: u32, due: Option<Duration>) {
        let Some(entry) = &mut self.slots[slot as usize] else {
            return;
        };
        if let Some(before) = entry.due.take() {
            self.timers.remove(&(before, slot));
        }
        entry.due = due;
        if let Some(due) = due {
            self.timers.insert((due, slot));
        }
    }

    /// The place of a neighbour, made as incomplete if need be, in the place of one worth at most
    /// `displace` when the table is full.
    fn find_or_insert(
        &mut self,
        now: Duration,
        interface: IfIndex,
        address: Ipv4Addr,
        displace: Worth,
    ) -> Option<u32> {
        if let Some(slot) = self.index.get(&(interface, address)) {
            return Some(*slot);
        }
        if self.index.len() >= NEIGHBORS_MAX {
            self.evict(now, displace)?;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(0)
        });
        self.slots[slot as usize] = Some(Entry {
            interface,
            address,
            mac: MacAddr::ZERO,
            state: NeighborState::Incomplete,
            heard: now,
            requests: 0,
            due: None,
            pending: None,
        });
        self.index.insert((interface, address), slot);
        Some(slot)
    }

    /// Takes away the least valuable entry of an unpredictable window.
    fn evict(&mut self, now: Duration, displace: Worth) -> Option<()> {
        self.drawn = self.drawn.wrapping_add(1);
        let drawn = usize::try_from(self.random.hash_one(self.drawn) >> 33).unwrap_or(0);
        let len = self.slots.len();
        let window = (0..EVICT_WINDOW.min(len)).map(|step| (drawn + step) % len);
        let worth = |at: usize| Some((self.worth(now, self.slots[at].as_ref()?), at));
        let (worth, at) = window.filter_map(worth).min_by_key(|(worth, _)| *worth)?;
        if worth > displace {
            return None;
        }
        self.remove_slot(u32::try_from(at).ok()?);
        Some(())
    }

    fn worth(&self, now: Duration, entry: &Entry) -> Worth {
        match entry.state_at(now) {
            NeighborState::Static => Worth::Fixed,
            _ if self.gateways.contains(&entry.address) => Worth::Fixed,
            NeighborState::Incomplete if entry.requests > 1 => Worth::Silent,
            NeighborState::Incomplete => Worth::Fresh,
            NeighborState::Stale => Worth::Stale,
            NeighborState::Reachable | NeighborState::Delay | NeighborState::Probe => Worth::Live,
        }
    }

    fn remove_slot(&mut self, slot: u32) -> bool {
        self.set_due(slot, None);
        let pending = self.take_pending(slot);
        let Some(entry) = self.slots[slot as usize].take() else {
            return false;
        };
        if pending.is_some() {
            self.lost.push(entry.interface);
            self.recycle(pending);
        }
        // A place that is used again must not find the old one's packet announced.
        self.ready.retain(|ready| *ready != slot);
        self.index.remove(&(entry.interface, entry.address));
        self.free.push(slot);
        true
    }
}

impl Entry {
    /// The state, with reachable entries turned stale in time.
    fn state_at(&self, now: Duration) -> NeighborState {
        let old = now.saturating_sub(self.heard) >= REACHABLE;
        if self.state == NeighborState::Reachable && old {
            return NeighborState::Stale;
        }
        self.state
    }
}

#[cfg(test)]
mod tests;
