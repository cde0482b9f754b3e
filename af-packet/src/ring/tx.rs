//! The transmit ring: frames are built in its slots, and one system call per turn sends them.
//!
//! A slot holds a `tpacket3_hdr`, [`HEADROOM`], the `virtio_net_hdr` and the frame. The kernel
//! looks at one slot only, its head, so no slot may be left out: those that were handed out and
//! not transmitted are taken back from the end, and the ones in between are committed with an
//! offset the kernel refuses, which under `PACKET_LOSS` it skips without a word.
//!
//! A frame with a tail leaves by a system call of its own, through a socket without a transmit
//! ring: the kernel then copies the tail from where it lies, once. (Through the ring it would be
//! copied into the slot, and from there once more by every virtual link.) Order is kept: while the
//! ring holds earlier frames it cannot get rid of, such a frame takes its slot after all.
//!
//! # Tags
//! A kick tells the kernel the outermost tag's EtherType of what it sends, so it is for frames that
//! begin alike: the first ones in the ring. The kernel could read it where it lies, but asks the
//! device to, and until Linux 6.10 a macvlan cannot; then it looks for the IP header four octets
//! early, and refuses super-segments.
//!
//! # Ownership
//! A slot's state says who has it: `Free`, `Held` by a frame, `Spent` when that frame has left
//! otherwise, `Ready` when it waits for a kick, or `Committed` to the kernel until its status is
//! `AVAILABLE` again (read with Acquire). Each slot is handed out at most once while it is `Held`;
//! it becomes ready only by taking that very frame, recognised by where its octets lie. A frame that
//! outlives its [`TxTurn`] still borrows the ring, so the slot cannot be handed out again before the
//! frame is gone; that its slot is skipped meanwhile is harmless, as the kernel then reads nothing
//! but the header.
#![expect(
    unsafe_code,
    reason = "frames borrow slots, whose owner is told by a status word"
)]

mod kick;

use std::fmt;
use std::io::IoSlice;

use dataplane::frame::ETHERNET_HEADER;
use dataplane::{EtherType, Frame, HEADROOM, Offload, Port, checksum};

use crate::region::{Geometry, Region};
use crate::ring::header::halves;
use crate::ring::vnet::{self, SEGMENTATION_MAX, link_room, outermost_tag};
use crate::uapi;
use crate::uapi::{tx_status, v3};

pub use kick::{Kick, KickError, TxCounters};

/// Where a frame's buffer begins in its slot: behind the header.
const BUFFER: usize = v3::SIZE;

/// Free octets in front of a frame handed out: what its owner may count on, and the
/// `virtio_net_hdr`, which is written right before the frame when it is transmitted.
const FRONT: usize = HEADROOM + uapi::vnet::SIZE;

/// Pieces of a frame sent past the ring; one with more goes through it.
const PIECES_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    Held,
    Spent,
    Ready,
    Committed,
}

/// What a slot that is `Ready` or `Committed` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Nothing: the kernel skips it.
    Skip,
    /// A frame, with the EtherType of its outermost tag.
    Frame(Option<EtherType>),
}

/// Frames of one kick.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The outermost tag of each.
    tag: Option<EtherType>,
}

/// How many frames are sent without segmentation left to the kernel, after it has refused a
/// super-segment for the first time. Twice as many each time it does again, up to `REST_MAX`: what
/// was short of memory recovers, and a kernel that cannot do it is seldom asked.
const REST_MIN: u64 = 1 << 10;
const REST_MAX: u64 = 1 << 20;

/// Whether the kernel splits super-segments.
#[derive(Clone, Copy, Debug)]
struct Splitting {
    /// Never.
    never: bool,
    /// Not before so many frames were sent.
    after: u64,
    /// Frames to wait after the next refusal.
    rest: u64,
}

/// A transmit ring.
pub struct TxRing {
    region: Region,
    geometry: Geometry,
    states: Box<[Slot]>,
    contents: Box<[Content]>,
    /// The oldest slot that is not `Free`.
    oldest: usize,
    /// Slots from `oldest` to the one handed out next; at most `states.len()`.
    used: usize,
    /// Of these, from the end: slots the kernel has not taken yet. Its head is the first.
    unsent: usize,
    /// `Held` slots.
    held: usize,
    /// The longest packet, in octets, behind the Ethernet header and one tag; 0 until it is
    /// known.
    mtu: usize,
    vnet: bool,
    splitting: Splitting,
    kick: Box<dyn Kick + Send>,
    counters: TxCounters,
}

impl TxRing {
    /// A ring over `region`, sent by `kick`. `vnet`: the kernel expects a `virtio_net_hdr`.
    pub(crate) fn new(
        region: Region,
        geometry: Geometry,
        vnet: bool,
        kick: Box<dyn Kick + Send>,
    ) -> Self {
        assert!(
            geometry.octets() <= region.len() && geometry.slots() > 0,
            "the ring lies inside its region"
        );
        assert!(
            geometry.slot_len >= BUFFER + FRONT + ETHERNET_HEADER,
            "a slot holds a frame"
        );
        Self {
            states: vec![Slot::Free; geometry.slots()].into_boxed_slice(),
            contents: vec![Content::Skip; geometry.slots()].into_boxed_slice(),
            region,
            geometry,
            oldest: 0,
            used: 0,
            unsent: 0,
            held: 0,
            mtu: 0,
            vnet,
            splitting: Splitting {
                never: !vnet,
                after: 0,
                rest: REST_MIN,
            },
            kick,
            counters: TxCounters::default(),
        }
    }

    /// Kicks though there is nothing to send, as for a frame behind a tag; what waits in the ring is
    /// for the next turn.
    pub(crate) fn rehearse(&mut self) {
        if !self.pending() {
            let _ = self.kick.kick(Some(EtherType::CTAG));
        }
    }

    /// Leaves no segmentation to the kernel.
    pub(crate) fn split_nothing(&mut self) {
        self.splitting.never = true;
    }

    /// Kicks by `kick` from now on; another device may split what the last one did not.
    pub(crate) fn set_kick(&mut self, kick: Box<dyn Kick + Send>) {
        self.kick = kick;
        self.splitting.after = 0;
        self.splitting.rest = REST_MIN;
    }

    /// Whether super-segments are taken.
    fn splits(&self) -> bool {
        !self.splitting.never && self.counters.frames >= self.splitting.after
    }

    /// Begins a turn.
    pub fn turn(&mut self) -> TxTurn<'_> {
        // Nothing to do unless the last turn was leaked.
        self.settle();
        TxTurn { ring: self }
    }

    /// Whether frames wait in the ring for another kick: begin and end a turn soon, in some
    /// hundred microseconds, even if there is nothing to send. Completion wakes nobody.
    pub fn pending(&self) -> bool {
        self.unsent > 0
    }

    /// What this ring did.
    pub fn counters(&self) -> TxCounters {
        self.counters
    }

    /// What is done for outgoing frames.
    pub fn offload(&self) -> Offload {
        Offload {
            checksum: self.vnet,
            segmentation_max: if self.splits() {
                SEGMENTATION_MAX.min(self.room())
            } else {
                0
            },
        }
    }

    /// Sets the largest IP packet, in octets, that the interface takes. Frames with more behind
    /// their Ethernet header and first tag are refused: a second tag counts, as drivers make room
    /// for one. Those already in the ring are thrown out, as the kernel would stop at the first
    /// for ever.
    pub fn set_mtu(&mut self, mtu: u32) {
        self.mtu = usize::try_from(mtu).unwrap_or(usize::MAX >> 1);
        self.note_taken();
        for back in 1..=self.unsent {
            let slot = self.slot_before_next(back);
            if self.blocks_the_head(slot) {
                self.skip(slot);
                self.counters.oversize += 1;
            }
        }
    }

    /// The longest frame, in octets, that begins like `octets` and is no super-segment.
    fn frame_max(&self, octets: &[u8]) -> usize {
        // Without virtio_net_hdr af_packet itself checks, and makes room for a C-tag only.
        let ctag = octets.get(12..14) == Some(&[0x81, 0x00]);
        if self.vnet || ctag {
            self.mtu + link_room(octets)
        } else {
            self.mtu + ETHERNET_HEADER
        }
    }

    /// The slot `back` places before the one handed out next.
    fn slot_before_next(&self, back: usize) -> usize {
        (self.oldest + self.used - back) % self.states.len()
    }

    /// Octets a frame may have, behind its headroom.
    fn room(&self) -> usize {
        self.geometry.slot_len - BUFFER - FRONT
    }

    /// Whether the frame that waits in `slot` is one the device would refuse for its length.
    fn blocks_the_head(&self, slot: usize) -> bool {
        let frame = self.waiting(slot);
        frame.is_some_and(|(whole, octets)| whole && octets.len() > self.frame_max(octets))
    }

    /// Whether a super-segment waits in `slot`.
    fn is_super_segment(&self, slot: usize) -> bool {
        self.waiting(slot).is_some_and(|(whole, _)| !whole)
    }

    /// The frame that waits in `slot` for the kernel, and whether it is sent whole.
    fn waiting(&self, slot: usize) -> Option<(bool, &[u8])> {
        let waits = matches!(self.states[slot], Slot::Ready | Slot::Committed);
        if !waits || self.contents[slot] == Content::Skip {
            return None;
        }
        let at = self.geometry.slot_at(slot);
        let len = usize::try_from(self.word(at + v3::LEN)).unwrap_or(0);
        let start = usize::from(halves(self.word(at + v3::MAC_NET)).0);
        if start < BUFFER || len > self.geometry.slot_len.saturating_sub(start) {
            return None;
        }
        // SAFETY:
        // 1. We wrote both numbers, and checked again that they lie in the slot.
        // 2. The slot waits, so no frame has it; the kernel only reads it, and only in system
        //    calls of ours.
        let octets = unsafe { self.region.octets(at + start, len) };
        if !self.vnet {
            return Some((true, octets));
        }
        let (header, octets) = octets.split_at_checked(uapi::vnet::SIZE)?;
        Some((header.get(1) == Some(&uapi::vnet::GSO_NONE), octets))
    }

    fn word(&self, at: usize) -> u32 {
        // SAFETY: `at` lies in a slot's header, which no slice covers.
        unsafe { self.region.load(at) }
    }

    fn store(&mut self, at: usize, value: u32) {
        // SAFETY: `at` lies in a slot's header, which no slice covers.
        unsafe { self.region.store(at, value) };
    }

    /// Takes the slots back that the kernel has sent. It completes out of order; slots are
    /// reused in order.
    fn reap(&mut self) {
        while self.used > self.unsent && self.states[self.oldest] == Slot::Committed {
            let status = self.geometry.slot_at(self.oldest) + v3::STATUS;
            if self.word(status) != tx_status::AVAILABLE {
                break;
            }
            self.states[self.oldest] = Slot::Free;
            self.oldest = (self.oldest + 1) % self.states.len();
            self.used -= 1;
        }
    }

    /// Whether frames wait for a kick.
    fn has_waiting(&self) -> bool {
        let mut unsent = (1..=self.unsent).map(|back| self.slot_before_next(back));
        unsent.any(|slot| matches!(self.states[slot], Slot::Ready | Slot::Committed))
    }

    /// Lets the kernel skip spent slots it would have to look at next.
    fn skip_spent(&mut self) {
        for back in (1..=self.unsent).rev() {
            let slot = self.slot_before_next(back);
            match self.states[slot] {
                Slot::Spent => {
                    self.skip(slot);
                    self.counters.skipped += 1;
                }
                Slot::Ready | Slot::Committed => {}
                Slot::Held | Slot::Free => return,
            }
        }
    }

    /// Sends `frame` past the ring, after everything that is in it; `false`, and the frame is as
    /// it was, when that cannot be done now.
    fn gather(&mut self, frame: &mut Frame<'_>, header: vnet::Header) -> bool {
        if !self.vnet || !self.kick.gathers() || frame.tail().len() >= PIECES_MAX {
            return false;
        }
        if self.has_waiting() {
            self.send();
            if self.has_waiting() {
                return false;
            }
        }
        let tag = outermost_tag(frame.octets());
        let slot = self.slot_of(frame);
        if !frame.push_front(uapi::vnet::SIZE) {
            return false;
        }
        if let Some(place) = frame.octets_mut().first_chunk_mut() {
            *place = header.to_octets();
        }
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let tail = frame.tail().iter().map(|piece| &piece[..]);
        let octets = std::iter::once(frame.octets()).chain(tail);
        for (place, octets) in pieces.iter_mut().zip(octets) {
            *place = IoSlice::new(octets);
        }
        let sent = self.kick.gather(&pieces[..=frame.tail().len()], tag);
        if let Err(error) = sent {
            self.counters.count_error(error);
            let advanced = frame.advance(uapi::vnet::SIZE);
            debug_assert!(advanced, "what was pushed can be taken off");
            return false;
        }
        if let Some((slot, _)) = slot {
            self.states[slot] = Slot::Spent;
            self.held -= 1;
        }
        self.counters.frames += 1;
        self.counters.gathered += 1;
        true
    }

    /// The next slot, now `Held`.
    fn take_slot(&mut self) -> Option<usize> {
        if self.used == self.states.len() {
            self.reap();
        }
        if self.used == self.states.len() {
            self.skip_spent();
            self.send();
            self.reap();
        }
        if self.used == self.states.len() {
            self.counters.ring_full += 1;
            return None;
        }
        let slot = (self.oldest + self.used) % self.states.len();
        self.states[slot] = Slot::Held;
        self.used += 1;
        self.unsent += 1;
        self.held += 1;
        Some(slot)
    }

    /// The slot in which `frame` lies and where in it, if the slot was handed out and not
    /// committed since. Anybody can make a frame that claims a slot, hence the look at the octets:
    /// what borrows those of a `Held` slot is, or comes from, the frame it was handed out as.
    fn slot_of(&self, frame: &Frame<'_>) -> Option<(usize, u16)> {
        let slot = usize::try_from(frame.slot()?).ok()?;
        if self.states.get(slot) != Some(&Slot::Held) || frame.is_empty() {
            return None;
        }
        let at = self.region.offset_of(frame.octets())?;
        let start = at.checked_sub(self.geometry.slot_at(slot))?;
        let inside = start >= BUFFER && start + frame.len() <= self.geometry.slot_len;
        Some((slot, u16::try_from(start).ok().filter(|_| inside)?))
    }

    /// Commits `frame` where it lies, if that is a slot of this ring with room for the
    /// `virtio_net_hdr` in front of the frame.
    fn commit_in_place(&mut self, frame: &mut Frame<'_>, header: vnet::Header) -> bool {
        if self.slot_of(frame).is_none() {
            return false;
        }
        let tag = outermost_tag(frame.octets());
        if self.vnet {
            if !frame.push_front(uapi::vnet::SIZE) {
                return false;
            }
            let octets = frame.octets_mut();
            if let Some(place) = octets.first_chunk_mut::<{ uapi::vnet::SIZE }>() {
                *place = header.to_octets();
            }
        }
        let Some((slot, start)) = self.slot_of(frame) else {
            unreachable!("the front moved inside the slot's buffer");
        };
        self.commit(slot, (start, frame.len()), tag);
        true
    }

    /// Makes `slot` ready for the kernel: `len` octets from `start` in the slot, the
    /// `virtio_net_hdr` among them if there is one, of a frame with `tag`.
    fn commit(&mut self, slot: usize, (start, len): (u16, usize), tag: Option<EtherType>) {
        self.make_ready(slot, (start, len), Content::Frame(tag));
        self.held -= 1;
        self.counters.frames += 1;
    }

    /// Makes `slot` one the kernel skips: with `PACKET_TX_HAS_OFF` an offset of 0 is refused.
    fn skip(&mut self, slot: usize) {
        self.make_ready(slot, (0, ETHERNET_HEADER), Content::Skip);
    }

    fn make_ready(&mut self, slot: usize, (start, len): (u16, usize), content: Content) {
        let at = self.geometry.slot_at(slot);
        let len = u32::try_from(len).unwrap_or(0);
        let [a, b] = start.to_ne_bytes();
        self.store(at + v3::NEXT, 0);
        self.store(at + v3::LEN, len);
        self.store(at + v3::SNAPLEN, len);
        self.store(at + v3::MAC_NET, u32::from_ne_bytes([a, b, 0, 0]));
        self.store(at + v3::STATUS, tx_status::AVAILABLE);
        self.states[slot] = Slot::Ready;
        self.contents[slot] = content;
    }

    /// Gives the kernel what waits at its head and has the same outermost tag; `None`: nothing
    /// does.
    fn release(&mut self) -> Option<Run> {
        let mut common = None;
        let mut released = false;
        for back in (1..=self.unsent).rev() {
            let slot = self.slot_before_next(back);
            if !matches!(self.states[slot], Slot::Ready | Slot::Committed) {
                break;
            }
            if let Content::Frame(tag) = self.contents[slot]
                && *common.get_or_insert(tag) != tag
            {
                break;
            }
            if self.states[slot] == Slot::Ready {
                let status = self.geometry.slot_at(slot) + v3::STATUS;
                self.store(status, tx_status::SEND_REQUEST);
                self.states[slot] = Slot::Committed;
            }
            released = true;
        }
        let tag = common.flatten();
        released.then_some(Run { tag })
    }

    /// Ends a turn: no handed-out slot stays in the kernel's way, and what is committed is sent.
    fn settle(&mut self) {
        while self.unsent > 0 {
            let slot = self.slot_before_next(1);
            match self.states[slot] {
                Slot::Held => self.held -= 1,
                Slot::Spent => {}
                Slot::Ready | Slot::Committed | Slot::Free => break,
            }
            self.states[slot] = Slot::Free;
            self.used -= 1;
            self.unsent -= 1;
        }
        for back in 1..=self.unsent {
            if self.held == 0 {
                break;
            }
            let slot = self.slot_before_next(back);
            if self.states[slot] == Slot::Held {
                self.skip(slot);
                self.held -= 1;
                self.counters.skipped += 1;
            }
        }
        self.send();
        self.reap();
    }

    /// Kicks as long as there is something to send and the kernel takes it. A link that flapped
    /// reports `ENETDOWN` once though it is up again, hence the second try.
    fn send(&mut self) {
        let mut flapped = false;
        self.note_taken();
        if self.has_waiting() {
            self.skip_spent();
        }
        while let Some(Run { tag }) = self.release() {
            let before = self.unsent;
            self.counters.kicks += 1;
            let kicked = self.kick.kick(tag);
            self.note_taken();
            let again = match kicked {
                Ok(()) => self.unsent < before,
                Err(error) => {
                    self.counters.count_error(error);
                    match error {
                        KickError::LinkDown => !std::mem::replace(&mut flapped, true),
                        KickError::Refused => self.throw_out_super_segments(),
                        _ => false,
                    }
                }
            };
            if !again {
                return;
            }
        }
    }

    /// After a kick was refused: if the kernel stopped at a super-segment, it and all others are
    /// thrown out, and for some time there are no more. Else nothing is done, and `false` returned.
    fn throw_out_super_segments(&mut self) -> bool {
        if self.unsent == 0 || !self.is_super_segment(self.slot_before_next(self.unsent)) {
            return false;
        }
        for back in 1..=self.unsent {
            let slot = self.slot_before_next(back);
            if self.is_super_segment(slot) {
                self.skip(slot);
                self.counters.refused += 1;
            }
        }
        let splitting = &mut self.splitting;
        if self.counters.frames > splitting.after + REST_MAX {
            splitting.rest = REST_MIN; // the last time is long ago
        }
        splitting.after = self.counters.frames + splitting.rest;
        splitting.rest = (splitting.rest * 2).min(REST_MAX);
        true
    }

    /// Follows the kernel's head: behind every slot it has taken.
    fn note_taken(&mut self) {
        while self.unsent > 0 {
            let slot = self.slot_before_next(self.unsent);
            if self.states[slot] != Slot::Committed {
                return;
            }
            match self.word(self.geometry.slot_at(slot) + v3::STATUS) {
                tx_status::SEND_REQUEST => return,
                tx_status::WRONG_FORMAT => {
                    // The kernel stays here until the slot is asked for again.
                    self.skip(slot);
                    self.counters.wrong_format += 1;
                    return;
                }
                _ => self.unsent -= 1,
            }
        }
    }
}

impl fmt::Debug for TxRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxRing")
            .field("geometry", &self.geometry)
            .field("used", &self.used)
            .field("unsent", &self.unsent)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// One turn of transmission: hands out slots, and sends what was transmitted when it is dropped.
pub struct TxTurn<'ring> {
    /// What frames from here borrow, too.
    ring: &'ring mut TxRing,
}

impl TxTurn<'_> {
    /// Sends what was transmitted so far. Slots whose frames are still alive, and what lies
    /// behind them, wait for the end of the turn.
    pub fn flush(&mut self) {
        self.ring.send();
        self.ring.reap();
    }

    /// Whether frames wait for another kick; see [`TxRing::pending`].
    pub fn pending(&self) -> bool {
        self.ring.pending()
    }

    fn refusal(&mut self, frame: &Frame<'_>) -> bool {
        // Made before the kernel refused another.
        if frame.meta.segmentation.is_some() && self.ring.vnet && !self.ring.splits() {
            self.ring.counters.refused += 1;
            return true;
        }
        let max = match frame.meta.segmentation {
            None => self.ring.frame_max(frame.octets()),
            Some(_) => SEGMENTATION_MAX,
        };
        if frame.total_len() > max.min(self.ring.room()) {
            self.ring.counters.oversize += 1;
            return true;
        }
        false
    }
}

impl<'ring> Port<'ring> for TxTurn<'ring> {
    fn alloc(&mut self, len: usize) -> Option<Frame<'ring>> {
        let ring = &mut *self.ring;
        if len > ring.room() {
            return None;
        }
        let slot = ring.take_slot()?;
        let at = ring.geometry.slot_at(slot) + BUFFER;
        // SAFETY:
        // 1. The slot is ours: it was `Free`, so the kernel never had it or gave it back.
        // 2. It is handed out once: it is `Held` now, and becomes `Free` again only after its
        //    frame was taken by `transmit`, or after `'ring`, which frames cannot outlive.
        // 3. The slice begins behind the slot's header and ends with the slot.
        // 4. The region lives as long as the ring, which is borrowed for `'ring`.
        let buffer = unsafe { ring.region.octets(at, ring.geometry.slot_len - BUFFER) };
        let number = u32::try_from(slot).unwrap_or(0);
        Some(Frame::in_slot(buffer, FRONT, len, number))
    }

    fn transmit(&mut self, mut frame: Frame<'ring>) -> Result<(), Frame<'ring>> {
        if frame.len() < ETHERNET_HEADER {
            self.ring.counters.invalid += 1;
            return Err(frame);
        }
        if self.refusal(&frame) {
            return Err(frame);
        }
        let header = if self.ring.vnet {
            vnet::Header::of(&frame)
        } else {
            let plain = frame.meta.segmentation.is_none()
                && frame.flatten()
                && checksum::complete(&mut frame);
            plain.then(vnet::Header::default)
        };
        let Some(header) = header else {
            self.ring.counters.invalid += 1;
            return Err(frame);
        };
        if !frame.tail().is_empty() {
            if self.ring.gather(&mut frame, header) {
                return Ok(());
            }
            if !frame.flatten() {
                self.ring.counters.invalid += 1;
                return Err(frame);
            }
        }
        if self.ring.commit_in_place(&mut frame, header) {
            return Ok(());
        }
        let Some(mut copy) = self.alloc(frame.len()) else {
            return Err(frame);
        };
        copy.octets_mut().copy_from_slice(frame.octets());
        let committed = self.ring.commit_in_place(&mut copy, header);
        debug_assert!(committed, "a frame just handed out lies in its slot");
        self.ring.counters.copied += 1;
        Ok(())
    }

    fn offload(&self) -> Offload {
        self.ring.offload()
    }

    fn gathers(&self) -> bool {
        self.ring.vnet && self.ring.kick.gathers()
    }
}

impl fmt::Debug for TxTurn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TxTurn").field(&self.ring).finish()
    }
}

impl Drop for TxTurn<'_> {
    fn drop(&mut self) {
        self.ring.settle();
    }
}

#[cfg(test)]
mod tests;
