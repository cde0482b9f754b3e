//! Walking `TPACKET_V3`: blocks in which the kernel packs frames end to end.
//!
//! A block is ours once it is closed: full, or older than the retire timeout. On x86-64 frames
//! are also taken from the block the kernel still fills, because a lone frame would otherwise
//! wait for that timeout (`early`). The kernel counts a frame before it writes its header, and
//! writes the header's fields, `TP_STATUS_USER` among them, after the octets but with no barrier
//! in between. What makes the early read sound:
//!
//! 1. x86-64 makes stores visible in program order, and the octets are copied by calls the
//!    compiler cannot move the header's stores across.
//! 2. The used part of a block is zeroed before the block goes back, so that nothing left in it
//!    can pass for a header.
//! 3. A frame is taken when its status has `USER` and its length, kept length, both offsets and
//!    the interface, written last, are all nonzero. Until then the walk waits there.
//! 4. `num_pkts` bounds the walk; `tp_next_offset` is not trusted to, as closing sets the last
//!    one to 0.
//! 5. A frame the kernel gave up on (a hole) holds the walk until the block closes.
//!
//! # Ownership
//! The kernel writes a frame's octets once, before what point 3 asks for, and not again until
//! the block goes back. Headers and the block's head are read as words, and no slice covers
//! them: the walk only moves forward, each header begins at or behind the end of the last frame
//! made, and a frame's buffer begins behind its header.
#![expect(
    unsafe_code,
    reason = "frames borrow the block, whose owner is told by a status word"
)]

use dataplane::{Frame, IfIndex};

use crate::region::{Geometry, Region};
use crate::ring::header::{Header, halves, packet_type};
use crate::ring::rx::RxCounters;
use crate::uapi::{block, rx_status, sll, v3};

/// Octets before a frame's buffer: its header and the address behind it.
const HEAD: usize = v3::SIZE + sll::SIZE;

/// Where the walk is. `done` blocks before `block` are read and wait to go back.
#[derive(Debug)]
pub(super) struct Walk {
    geometry: Geometry,
    early: bool,
    /// The block read next.
    block: usize,
    /// Frames of it that are behind us; at most its `num_pkts`.
    taken: u32,
    /// Where its next header is, from the block's start; read from the block while nothing is
    /// taken.
    at: usize,
    /// Blocks read to their end and not given back; at most `geometry.blocks`.
    done: usize,
}

/// What stands at the walk's place.
enum Step {
    /// A frame, its octets' `(start, end)` from the header, and the next header's distance.
    Frame(Header, (usize, usize), usize),
    /// Counted but given up by the kernel; the next header's distance.
    Hole(usize),
    /// Not written yet.
    NotYet,
    /// Numbers that cannot be: the rest of the block is unreadable.
    Malformed,
}

impl Walk {
    pub(super) fn new(geometry: Geometry, early: bool) -> Self {
        Self {
            geometry,
            early,
            block: 0,
            taken: 0,
            at: 0,
            done: 0,
        }
    }

    /// The next frame, if there is one. Frames stay valid until [`Self::release`].
    ///
    /// # Safety
    /// The region outlives `'octets`, and every frame made since the last release is gone before
    /// the next.
    pub(super) unsafe fn next<'octets>(
        &mut self,
        region: &Region,
        interface: IfIndex,
        vnet: bool,
        counters: &mut RxCounters,
    ) -> Option<Frame<'octets>> {
        while self.done < self.geometry.blocks {
            let base = self.geometry.slot_at(self.block);
            let closed = word(region, base + block::STATUS) & rx_status::USER != 0;
            if !closed && !self.early {
                return None;
            }
            // Read after the status: final if closed.
            let count = word(region, base + block::NUM_PKTS);
            if self.taken >= count {
                if !closed {
                    return None;
                }
                self.finish_block();
                continue;
            }
            self.at = self.place(region, base);
            match self.step(region, base, closed) {
                Step::Frame(header, (start, end), next) => {
                    let at = base + self.at;
                    self.taken += 1;
                    self.at += next;
                    if header.is_outgoing() {
                        counters.outgoing += 1;
                        continue;
                    }
                    counters.early += u64::from(!closed);
                    // SAFETY:
                    // 1. `HEAD..end` from the header lies inside the block (`step` checked).
                    // 2. The kernel is done with the octets: the block is closed, or the module's
                    //    point 3 holds for this frame.
                    // 3. No other slice covers them: the walk moves forward, by at least `end`
                    //    (`step` checked), and frames before the last release are gone.
                    // 4. The region outlives `'octets`, by the caller's promise.
                    let buffer = unsafe { region.octets(at + HEAD, end - HEAD) };
                    return Some(header.frame(
                        buffer,
                        (start - HEAD, end - start),
                        interface,
                        vnet,
                    ));
                }
                Step::Hole(next) => {
                    counters.holes += 1;
                    self.taken += 1;
                    self.at += next;
                }
                Step::NotYet => return None,
                Step::Malformed => {
                    counters.malformed += u64::from(count - self.taken);
                    self.taken = count;
                }
            }
        }
        None
    }

    /// Where the next header of the block at `base` is.
    fn place(&self, region: &Region, base: usize) -> usize {
        if self.taken > 0 {
            return self.at;
        }
        usize::try_from(word(region, base + block::FIRST)).unwrap_or(usize::MAX)
    }

    /// Reads the header at the walk's place and checks every number in it.
    fn step(&self, region: &Region, base: usize, closed: bool) -> Step {
        let doubt = if closed {
            Step::Malformed
        } else {
            Step::NotYet
        };
        let len = self.geometry.block_len;
        if self.at < block::SIZE || !self.at.is_multiple_of(8) || self.at >= len - HEAD {
            return doubt;
        }
        let room = len - self.at;
        let at = base + self.at;
        let field = |offset| word(region, at + offset);
        let status = field(v3::STATUS);
        let next = match usize::try_from(field(v3::NEXT)) {
            // The block's last: any further one would lie behind the block.
            Ok(0) => room,
            Ok(next) if next < room => next,
            _ => return doubt,
        };
        if status & rx_status::USER == 0 {
            return if closed && next >= HEAD {
                Step::Hole(next)
            } else {
                doubt
            };
        }
        let (mac, network) = halves(field(v3::MAC_NET));
        let header = Header {
            status,
            len: field(v3::LEN),
            snaplen: field(v3::SNAPLEN),
            mac,
            tci: u16::try_from(field(v3::VLAN_TCI) & 0xffff).unwrap_or(0),
            tpid: halves(field(v3::VLAN_TPID)).0,
            packet_type: packet_type(field(v3::SIZE + sll::HATYPE_PKTTYPE)),
        };
        let written = header.len != 0
            && header.snaplen != 0
            && mac != 0
            && network != 0
            && field(v3::SIZE + sll::IFINDEX) != 0;
        if !closed && !written {
            return Step::NotYet;
        }
        match header.span(HEAD, room) {
            // The next header may not lie in this frame.
            Some(span) if next >= span.1 => Step::Frame(header, span, next),
            _ => doubt,
        }
    }

    fn finish_block(&mut self) {
        self.done += 1;
        self.block = (self.block + 1) % self.geometry.blocks;
        self.taken = 0;
    }

    /// Gives the blocks that were read to their end back to the kernel, in order.
    ///
    /// # Safety
    /// No frame made by [`Self::next`] is alive.
    pub(super) unsafe fn release(&mut self, region: &Region) {
        let blocks = self.geometry.blocks;
        while self.done > 0 {
            let base = self
                .geometry
                .slot_at((self.block + blocks - self.done) % blocks);
            if self.early {
                let used = usize::try_from(word(region, base + block::LEN)).unwrap_or(usize::MAX);
                let used = used.clamp(block::SIZE, self.geometry.block_len);
                // SAFETY: the block is ours (it was closed) until the store below, and its
                // frames are gone, by the caller's promise.
                unsafe { region.zero(base + block::SIZE, used - block::SIZE) };
                // Until the kernel opens the block again its old count would still stand there.
                store(region, base + block::NUM_PKTS, 0);
            }
            store(region, base + block::STATUS, 0);
            self.done -= 1;
        }
    }

    /// Whether [`Self::next`] would find something, or a block waits to be given back.
    pub(super) fn is_ready(&self, region: &Region) -> bool {
        let base = self.geometry.slot_at(self.block);
        if word(region, base + block::STATUS) & rx_status::USER != 0 {
            return true;
        }
        if !self.early || word(region, base + block::NUM_PKTS) <= self.taken {
            return false;
        }
        let here = Self {
            at: self.place(region, base),
            ..*self
        };
        matches!(here.step(region, base, false), Step::Frame(..))
    }
}

/// The word at `at`, which lies in a head or a header.
fn word(region: &Region, at: usize) -> u32 {
    // SAFETY: no slice covers heads and headers (the module's "Ownership").
    unsafe { region.load(at) }
}

fn store(region: &Region, at: usize, value: u32) {
    // SAFETY: no slice covers heads and headers (the module's "Ownership").
    unsafe { region.store(at, value) };
}
