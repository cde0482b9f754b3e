//! A ring's memory and its geometry: the one place where a pointer is made from an offset.
//!
//! # Ownership
//! The memory is shared with the kernel. Words (statuses, lengths, offsets) may change under us,
//! so they are only ever read and written as atomics. Octets belong to one side at a time: to us
//! from the moment a status word says so (read with Acquire) until we write that status back
//! (with Release). [`Region`] knows nothing of statuses; the rings do, and each of their calls
//! says why the octets are theirs.
#![expect(
    unsafe_code,
    reason = "the memory is shared with the kernel; offsets become pointers here and nowhere else"
)]

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fmt, io, ptr, slice};

use memmap2::{Advice, MmapOptions, MmapRaw};

/// How a ring's memory is cut: `blocks` blocks of `block_len` octets; in each as many slots of
/// `slot_len` as fit (a `TPACKET_V3` receive block is one slot of the block's length).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Octets of a block: a multiple of the page size.
    pub block_len: usize,
    /// How many blocks.
    pub blocks: usize,
    /// Octets of a slot: a multiple of 16, at most `block_len`.
    pub slot_len: usize,
}

impl Geometry {
    /// Slots in a block.
    pub(crate) fn slots_per_block(self) -> usize {
        self.block_len / self.slot_len
    }

    /// Slots in all.
    pub fn slots(self) -> usize {
        self.slots_per_block() * self.blocks
    }

    /// Octets in all: what the mapping costs.
    pub fn octets(self) -> usize {
        self.block_len * self.blocks
    }

    /// Where slot `slot` begins; slots do not straddle blocks.
    pub(crate) fn slot_at(self, slot: usize) -> usize {
        let per_block = self.slots_per_block();
        slot / per_block * self.block_len + slot % per_block * self.slot_len
    }
}

/// The mapping of one ring.
pub(crate) struct Region {
    memory: Memory,
}

enum Memory {
    Mapped(MmapRaw),
    /// For the fake kernel: atomics, so that writing through a shared reference is allowed.
    #[cfg(any(test, feature = "testing"))]
    Heap(std::sync::Arc<[std::sync::atomic::AtomicU64]>),
}

impl Region {
    /// Maps the ring of the socket `fd`, which is `len` octets long.
    pub(crate) fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // The pages are in memory already; populating saves the faults of the first lap.
        let mapped = MmapOptions::new().len(len).populate().map_raw(&fd)?;
        // Peers' packets belong in no core file. It is for good measure only, so it may fail.
        let _ = mapped.advise(Advice::DontDump);
        Ok(Self {
            memory: Memory::Mapped(mapped),
        })
    }

    /// Two views of the same zeroed memory: the ring's and the fake kernel's.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn heap_pair(len: usize) -> (Self, Self) {
        let words: std::sync::Arc<[_]> = (0..len.div_ceil(8))
            .map(|_| std::sync::atomic::AtomicU64::new(0))
            .collect();
        let other = std::sync::Arc::clone(&words);
        let region = |words| Self {
            memory: Memory::Heap(words),
        };
        (region(words), region(other))
    }

    /// Octets.
    pub(crate) fn len(&self) -> usize {
        match &self.memory {
            Memory::Mapped(mapped) => mapped.len(),
            #[cfg(any(test, feature = "testing"))]
            Memory::Heap(words) => std::sync::Arc::as_ptr(words).len() * 8,
        }
    }

    fn base(&self) -> *mut u8 {
        match &self.memory {
            Memory::Mapped(mapped) => mapped.as_mut_ptr(),
            #[cfg(any(test, feature = "testing"))]
            Memory::Heap(words) => std::sync::Arc::as_ptr(words).cast_mut().cast(),
        }
    }

    /// Where `octets` lie in this region, if they do.
    pub(crate) fn offset_of(&self, octets: &[u8]) -> Option<usize> {
        let at = octets.as_ptr().addr().checked_sub(self.base().addr())?;
        (at <= self.len() && octets.len() <= self.len() - at).then_some(at)
    }

    /// The word at `at`.
    ///
    /// # Panics
    /// When it is not inside, or `at` is no multiple of 4.
    ///
    /// # Safety
    /// No slice of this region that covers the word is alive.
    unsafe fn word(&self, at: usize) -> &AtomicU32 {
        let len = self.len();
        assert!(
            at.is_multiple_of(4) && at < len && len - at >= 4,
            "a word lies inside its region"
        );
        // SAFETY: inside the allocation, checked above.
        let place = unsafe { self.base().add(at) };
        // SAFETY:
        // 1. The pointer is valid for as long as `self`, and aligned: the base is aligned to a
        //    page (the heap's to 8) and `at` is a multiple of 4.
        // 2. Both sides access words atomically only, or, by the caller's promise, through slices
        //    that are gone; the kernel's plain stores are of the same size.
        unsafe { AtomicU32::from_ptr(place.cast()) }
    }

    /// Reads the word at `at`; what the other side wrote before it is visible afterwards.
    ///
    /// # Safety
    /// No slice of this region that covers the word is alive.
    pub(crate) unsafe fn load(&self, at: usize) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { self.word(at) }.load(Ordering::Acquire)
    }

    /// Writes the word at `at`; what we wrote before it is visible to whoever reads it.
    ///
    /// # Safety
    /// No slice of this region that covers the word is alive.
    pub(crate) unsafe fn store(&self, at: usize, value: u32) {
        // SAFETY: the caller's promise.
        unsafe { self.word(at) }.store(value, Ordering::Release);
    }

    /// Sets `len` octets from `at` to zero.
    ///
    /// # Panics
    /// When they are not inside.
    ///
    /// # Safety
    /// The octets are ours (the kernel neither reads nor writes them), and no slice that covers
    /// any of them is alive.
    pub(crate) unsafe fn zero(&self, at: usize, len: usize) {
        assert!(
            at <= self.len() && len <= self.len() - at,
            "octets lie inside their region"
        );
        // SAFETY: inside the allocation, checked above.
        let place = unsafe { self.base().add(at) };
        // SAFETY: inside the allocation, and nobody else's, by the caller's promise.
        unsafe { ptr::write_bytes(place, 0, len) };
    }

    /// `len` octets from `at`, to read and write.
    ///
    /// # Panics
    /// When they are not inside.
    ///
    /// # Safety
    /// For all of `'octets`: the mapping lives; the octets are ours (the kernel does not write
    /// them, and reads nothing it was not asked to); no other slice covers any of them, and no
    /// word in them is accessed.
    pub(crate) unsafe fn octets<'octets>(&self, at: usize, len: usize) -> &'octets mut [u8] {
        assert!(
            at <= self.len() && len <= self.len() - at,
            "octets lie inside their region"
        );
        // SAFETY: inside the allocation, checked above.
        let place = unsafe { self.base().add(at) };
        // SAFETY: inside the allocation, initialised (the kernel hands out zeroed pages), and
        // exclusively ours, by the caller's promise.
        unsafe { slice::from_raw_parts_mut(place, len) }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_do_not_straddle_blocks() {
        let geometry = Geometry {
            block_len: 1 << 20,
            blocks: 2,
            slot_len: 69_632,
        };
        assert_eq!((geometry.slots_per_block(), geometry.slots()), (15, 30));
        assert_eq!(geometry.slot_at(14), 14 * 69_632);
        assert_eq!(geometry.slot_at(15), 1 << 20);
    }

    #[test]
    #[should_panic(expected = "inside its region")]
    fn a_word_over_the_edge_is_refused() {
        let (region, _other) = Region::heap_pair(64);
        // SAFETY: there are no slices.
        let _ = unsafe { region.load(64) };
    }

    #[test]
    fn foreign_octets_have_no_offset() {
        let (region, _other) = Region::heap_pair(64);
        // SAFETY: nobody else has this memory.
        let octets = unsafe { region.octets(16, 8) };
        assert_eq!(region.offset_of(octets), Some(16));
        assert_eq!(region.offset_of(&[0; 8]), None);
    }
}
