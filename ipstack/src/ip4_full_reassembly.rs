//! `ip4-full-reassembly`: puts fragmented datagrams for us together again.
//!
//! - Takes: checked fragments, beginning at the IPv4 header.
//! - Sends: whole datagrams: `icmp`, `tcp`, `udp`, `unknown-protocol`, as `ip4-input` does;
//!   `time-exceeded`: the first fragment of a datagram whose rest did not come.
//! - Drops: `too-short`, `bad-fragment`, `too-large`, `duplicate`, `overlap`, `too-many-fragments`,
//!   `source-limit`, `displaced`, `timeout`, `no-buffer`.
//! - Spec: RFC 791 section 3.2; RFC 815; RFC 1122 section 3.3.2; RFC 5722 (overlaps, applied to
//!   IPv4); RFC 1858.
//!
//! Bounds: a datagram waits [`TIMEOUT`], not the 60 s of RFC 1122, as Linux waits 30: what is not
//! there after seconds does not come, and the memory is an attacker's. At most [`CONTEXTS_MAX`]
//! datagrams and [`OCTETS_MAX`] octets wait. When either is full an unpredictable datagram goes, so
//! that a flood cannot keep others out: a good datagram is whole within a millisecond, and in so
//! short a time a flood seldom draws it. A source has [`SOURCE_MAX`] of them; its oldest goes.
//! Overlapping fragments end the datagram, and its place stays taken until the time is over, so
//! that no later fragment begins it anew.
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

mod context;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::net::Ipv4Addr;
use std::time::Duration;

use dataplane::{Batch, Checksum, Frame, IfIndex, Node, Outlets};
use etherparse::Ipv4HeaderSlice;

use crate::ip4::protocol;
use context::{Added, Context, Piece};

/// Datagrams that wait for fragments at most.
pub const CONTEXTS_MAX: usize = 256;

/// Octets of fragments that wait at most, bookkeeping not counted.
pub const OCTETS_MAX: usize = 4 << 20;

/// The most memory reassembly takes, in octets: payloads in buffers that grow by doubling, and
/// bookkeeping with places in the indices (64 octets each), copied when they grow.
pub const MEMORY_MAX: usize = 2 * OCTETS_MAX + CONTEXTS_MAX * (context::MEMORY_MAX + 4 * 64);

/// Datagrams of one source that wait at most.
pub const SOURCE_MAX: usize = 16;

/// Time a datagram has to become whole.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// Datagrams given up at most in one run of the timer.
const EXPIRE_MAX: usize = 64;

/// What the fragments of a datagram have in common (RFC 791), and where they came in, so that
/// VLANs stay apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    identification: u16,
    protocol: u8,
    interface: IfIndex,
}

#[derive(Debug)]
struct Waiting {
    key: Key,
    /// When it is given up.
    until: Duration,
    context: Context,
}

/// Puts fragmented datagrams together again.
#[derive(Debug, Default)]
pub struct Ip4FullReassembly {
    /// At most [`CONTEXTS_MAX`] places.
    slots: Vec<Option<Waiting>>,
    free: Vec<u32>,
    /// Keyed: the peer chooses the keys.
    index: HashMap<Key, u32>,
    timers: BTreeSet<(Duration, u32)>,
    /// Octets all contexts hold.
    octets: usize,
    random: RandomState,
    drawn: u64,
}

dataplane::labels! {
    /// Where `ip4-full-reassembly` sends.
    pub enum Ip4FullReassemblyNext {
        /// Whole ICMP messages.
        Icmp = "icmp",
        /// Whole TCP segments.
        Tcp = "tcp",
        /// Whole UDP datagrams.
        Udp = "udp",
        /// Whole datagrams of another protocol.
        UnknownProtocol = "unknown-protocol",
        /// The first fragment of what did not become whole.
        TimeExceeded = "time-exceeded",
    }
}

dataplane::labels! {
    /// Why `ip4-full-reassembly` drops.
    pub enum Ip4FullReassemblyDrop {
        /// Shorter than its header says.
        TooShort = "too-short",
        /// Without octets, not a multiple of 8 of them though more follow, or past the end that
        /// another fragment gave.
        BadFragment = "bad-fragment",
        /// The datagram would exceed 65,535 octets ("ping of death").
        TooLarge = "too-large",
        /// Had that one already.
        Duplicate = "duplicate",
        /// It overlaps another ("teardrop"), or belongs to a datagram in which some did.
        Overlap = "overlap",
        /// The datagram has too many fragments.
        TooManyFragments = "too-many-fragments",
        /// A datagram that went because its source had too many.
        SourceLimit = "source-limit",
        /// A datagram that went because all together were too many.
        Displaced = "displaced",
        /// A datagram that did not become whole in time.
        Timeout = "timeout",
        /// The port has no room for the whole datagram.
        NoBuffer = "no-buffer",
    }
}

type Out<'g, 'block> = Outlets<'g, 'block, Ip4FullReassemblyNext, Ip4FullReassemblyDrop>;

impl Ip4FullReassembly {
    /// A node in which nothing waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many datagrams wait.
    pub fn waiting(&self) -> usize {
        self.index.len()
    }

    /// How many octets wait.
    pub fn octets(&self) -> usize {
        self.octets
    }

    fn remove(&mut self, slot: u32) -> Option<Waiting> {
        let waiting = self.slots.get_mut(slot as usize)?.take()?;
        self.octets -= waiting.context.octets();
        self.index.remove(&waiting.key);
        self.timers.remove(&(waiting.until, slot));
        self.free.push(slot);
        Some(waiting)
    }

    /// The place of the datagram, a new one if need be.
    fn slot(&mut self, now: Duration, key: Key, out: &mut Out<'_, '_>) -> u32 {
        if let Some(slot) = self.index.get(&key) {
            return *slot;
        }
        if let Some(oldest) = self.oldest_of_full(key.source) {
            self.remove(oldest);
            out.drop_kept(Ip4FullReassemblyDrop::SourceLimit, key.interface);
        } else if self.index.len() >= CONTEXTS_MAX {
            self.displace(None, out);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(0)
        });
        let until = now.saturating_add(TIMEOUT);
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Waiting {
                key,
                until,
                context: Context::default(),
            });
        }
        self.index.insert(key, slot);
        self.timers.insert((until, slot));
        slot
    }

    /// The oldest datagram of `source`, when it has as many as it may.
    fn oldest_of_full(&self, source: Ipv4Addr) -> Option<u32> {
        let slots = self.slots.iter().zip(0u32..);
        let all = slots.filter_map(|(waiting, slot)| Some((waiting.as_ref()?, slot)));
        let of_source = all.filter(|(waiting, _)| waiting.key.source == source);
        let (count, oldest) = of_source.fold((0, None), |(count, oldest), (waiting, slot)| {
            let this = (waiting.until, slot);
            (
                count + 1,
                Some(oldest.map_or(this, |oldest| this.min(oldest))),
            )
        });
        oldest.filter(|_| count >= SOURCE_MAX).map(|(_, slot)| slot)
    }

    /// Gives up an unpredictable datagram other than the one at `keep`; `false` when there is none.
    fn displace(&mut self, keep: Option<u32>, out: &mut Out<'_, '_>) -> bool {
        self.drawn = self.drawn.wrapping_add(1);
        let drawn = usize::try_from(self.random.hash_one(self.drawn) >> 33).unwrap_or(0);
        let len = self.slots.len();
        for step in 0..len {
            let slot = u32::try_from((drawn + step) % len).unwrap_or(0);
            if Some(slot) == keep {
                continue;
            }
            if let Some(waiting) = self.remove(slot) {
                out.drop_kept(Ip4FullReassemblyDrop::Displaced, waiting.key.interface);
                return true;
            }
        }
        false
    }

    /// Takes the fragment's octets; the datagram, when it is whole now.
    fn add(
        &mut self,
        now: Duration,
        frame: &Frame<'_>,
        out: &mut Out<'_, '_>,
    ) -> Result<Option<Waiting>, Ip4FullReassemblyDrop> {
        let (key, piece) = read(frame)?;
        let slot = self.slot(now, key, out);
        let place = self.slots.get_mut(slot as usize).and_then(Option::as_mut);
        let Some(waiting) = place else {
            return Err(Ip4FullReassemblyDrop::Displaced);
        };
        let before = waiting.context.octets();
        let added = waiting.context.add(&piece, frame.meta);
        self.octets = self.octets - before + waiting.context.octets();
        match added {
            Added::Whole => return Ok(self.remove(slot)),
            Added::Waits => {}
            Added::Refused(reason) => {
                if waiting.context.is_untouched() {
                    self.remove(slot);
                }
                return Err(reason);
            }
        }
        while self.octets > OCTETS_MAX && self.displace(Some(slot), out) {}
        Ok(None)
    }
}

impl Node for Ip4FullReassembly {
    const NAME: &'static str = "ip4-full-reassembly";
    type Next = Ip4FullReassemblyNext;
    type Drop = Ip4FullReassemblyDrop;

    fn process<'block>(
        &mut self,
        now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Out<'_, 'block>,
    ) {
        for frame in batch.drain() {
            let added = self.add(now, &frame, out);
            match added {
                Ok(None) => out.consume(frame),
                Err(reason) => out.drop(reason, frame),
                Ok(Some(waiting)) => {
                    deliver(&waiting, out);
                    out.consume(frame);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.timers.first().map(|(until, _)| *until)
    }

    fn on_timer(&mut self, now: Duration, out: &mut Out<'_, '_>) {
        for _ in 0..EXPIRE_MAX {
            let Some((until, slot)) = self.timers.first().copied() else {
                return;
            };
            if until > now {
                return;
            }
            if let Some(waiting) = self.remove(slot) {
                tell(&waiting, out);
                out.drop_kept(Ip4FullReassemblyDrop::Timeout, waiting.key.interface);
            }
        }
    }
}

fn read<'f>(frame: &'f Frame<'_>) -> Result<(Key, Piece<'f>), Ip4FullReassemblyDrop> {
    let octets = frame.octets();
    let header =
        Ipv4HeaderSlice::from_slice(octets).map_err(|_| Ip4FullReassemblyDrop::TooShort)?;
    let payload = octets
        .get(header.slice().len()..usize::from(header.total_len()))
        .ok_or(Ip4FullReassemblyDrop::TooShort)?;
    let more = header.more_fragments();
    if payload.is_empty() || (more && !payload.len().is_multiple_of(8)) {
        return Err(Ip4FullReassemblyDrop::BadFragment);
    }
    let key = Key {
        source: header.source_addr(),
        destination: header.destination_addr(),
        identification: header.identification(),
        protocol: header.protocol().0,
        interface: frame.meta.interface,
    };
    let piece = Piece {
        header: octets.get(..header.slice().len()).unwrap_or(&[]),
        offset: usize::from(header.fragments_offset().value()) * 8,
        payload,
        more,
    };
    Ok((key, piece))
}

/// Sends a whole datagram on.
fn deliver(waiting: &Waiting, out: &mut Out<'_, '_>) {
    let Some(mut frame) = out.alloc(waiting.context.whole_len()) else {
        out.drop_kept(Ip4FullReassemblyDrop::NoBuffer, waiting.key.interface);
        return;
    };
    waiting.context.write_whole(frame.octets_mut());
    set_meta(&mut frame, waiting);
    let next = match waiting.key.protocol {
        protocol::ICMP => Ip4FullReassemblyNext::Icmp,
        protocol::TCP => Ip4FullReassemblyNext::Tcp,
        protocol::UDP => Ip4FullReassemblyNext::Udp,
        _ => Ip4FullReassemblyNext::UnknownProtocol,
    };
    out.send(next, frame);
}

/// Sends the first fragment, if it came, to have its sender told.
fn tell(waiting: &Waiting, out: &mut Out<'_, '_>) {
    let Some(len) = waiting.context.first_len() else {
        return;
    };
    let Some(mut frame) = out.alloc(len) else {
        out.drop_kept(Ip4FullReassemblyDrop::NoBuffer, waiting.key.interface);
        return;
    };
    waiting.context.write_first(frame.octets_mut());
    set_meta(&mut frame, waiting);
    out.send(Ip4FullReassemblyNext::TimeExceeded, frame);
}

/// The first fragment's metadata, with nothing vouched for: the sum is over all of them.
fn set_meta(frame: &mut Frame<'_>, waiting: &Waiting) {
    let wire_len = frame.meta.wire_len;
    frame.meta = waiting.context.meta();
    frame.meta.interface = waiting.key.interface;
    frame.meta.wire_len = wire_len;
    frame.meta.checksum = Checksum::Unverified;
    frame.meta.segmentation = None;
}

#[cfg(test)]
mod tests;
