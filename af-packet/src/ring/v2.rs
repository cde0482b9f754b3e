//! Walking `TPACKET_V2`: slots of one size, each handed over by itself.
//!
//! # Ownership
//! A slot is ours from the moment its status has `USER` (read with Acquire) until the status is
//! set to 0 (with Release). Headers are read as words; a frame's buffer begins behind its header
//! and ends inside its slot, so slices of two slots never meet.
#![expect(
    unsafe_code,
    reason = "frames borrow the slot, whose owner is told by a status word"
)]

use dataplane::{Frame, IfIndex};

use crate::region::{Geometry, Region};
use crate::ring::header::{Header, halves, packet_type};
use crate::ring::rx::RxCounters;
use crate::uapi::{rx_status, sll, v2};

/// Octets before a frame's buffer: its header and the address behind it.
const HEAD: usize = v2::SIZE + sll::SIZE;

/// Where the walk is. `done` slots before `slot` are read and wait to go back.
#[derive(Debug)]
pub(super) struct Walk {
    geometry: Geometry,
    slots: usize,
    /// The slot read next.
    slot: usize,
    /// Slots read and not given back; at most `slots`.
    done: usize,
}

impl Walk {
    pub(super) fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            slots: geometry.slots(),
            slot: 0,
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
        while self.done < self.slots {
            let at = self.geometry.slot_at(self.slot);
            let field = |offset| word(region, at + offset);
            let status = field(v2::STATUS);
            if status & rx_status::USER == 0 {
                return None;
            }
            let (mac, _) = halves(field(v2::MAC_NET));
            let (tci, tpid) = halves(field(v2::VLAN));
            let header = Header {
                status,
                len: field(v2::LEN),
                snaplen: field(v2::SNAPLEN),
                mac,
                tci,
                tpid,
                packet_type: packet_type(field(v2::SIZE + sll::HATYPE_PKTTYPE)),
            };
            self.slot = (self.slot + 1) % self.slots;
            self.done += 1;
            let Some((start, end)) = header.span(HEAD, self.geometry.slot_len) else {
                counters.malformed += 1;
                continue;
            };
            if header.is_outgoing() {
                counters.outgoing += 1;
                continue;
            }
            // SAFETY:
            // 1. `HEAD..end` lies inside the slot (`span` checked).
            // 2. The slot is ours: `USER` was read with Acquire above.
            // 3. No other slice covers it: each slot is visited once between two releases, and
            //    frames before the last release are gone.
            // 4. The region outlives `'octets`, by the caller's promise.
            let buffer = unsafe { region.octets(at + HEAD, end - HEAD) };
            return Some(header.frame(buffer, (start - HEAD, end - start), interface, vnet));
        }
        None
    }

    /// Gives the slots that were read back to the kernel, in order.
    ///
    /// # Safety
    /// No frame made by [`Self::next`] is alive.
    pub(super) unsafe fn release(&mut self, region: &Region) {
        while self.done > 0 {
            let at = self
                .geometry
                .slot_at((self.slot + self.slots - self.done) % self.slots);
            // SAFETY: no slice covers headers (the module's "Ownership").
            unsafe { region.store(at + v2::STATUS, 0) };
            self.done -= 1;
        }
    }

    /// Whether [`Self::next`] would find something.
    pub(super) fn is_ready(&self, region: &Region) -> bool {
        let at = self.geometry.slot_at(self.slot);
        self.done < self.slots && word(region, at + v2::STATUS) & rx_status::USER != 0
    }
}

/// The word at `at`, which lies in a header.
fn word(region: &Region, at: usize) -> u32 {
    // SAFETY: no slice covers headers (the module's "Ownership").
    unsafe { region.load(at) }
}
