//! File contents in memory, counted until the last user lets go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};

/// A bound on memory, shared by all that draw on it.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit,
        })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `octets` out of the budget until the lease is dropped; `None` when they do not fit.
    pub(crate) fn lease(self: &Arc<Self>, octets: usize) -> Option<Lease> {
        let fits = |used: usize| used.checked_add(octets).filter(|sum| *sum <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .ok()?;
        Some(Lease {
            budget: Arc::clone(self),
            octets,
        })
    }
}

/// Part of a [`Budget`], given back on drop.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Arc<Budget>,
    octets: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

/// Parts kept to be used again, at most.
const SPARES_MAX: usize = 8;

/// Memory for the parts of files being streamed. What was sent is used again, the last one first,
/// as it is in the cache; new memory has to be cleared, which costs as much as reading into it.
#[derive(Debug)]
pub(crate) struct Parts {
    budget: Arc<Budget>,
    /// Octets of each part.
    size: usize,
    /// Counted in `budget`.
    spares: Mutex<Vec<(Vec<u8>, Lease)>>,
}

impl Parts {
    /// Parts of `size` octets, `limit` octets in all.
    pub(crate) fn new(limit: usize, size: usize) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(limit),
            size,
            spares: Mutex::default(),
        })
    }

    /// Octets in use.
    pub(crate) fn used(&self) -> usize {
        self.budget.used()
    }

    /// A part; `None` when that is more than there may be.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Part> {
        let spare = self.spares().pop();
        let (octets, lease) = if let Some(spare) = spare {
            spare
        } else {
            let lease = self.budget.lease(self.size)?;
            (vec![0; self.size], lease)
        };
        Some(Part {
            octets,
            lease: Some(lease),
            home: Arc::clone(self),
        })
    }

    /// Takes a part back; the last one in use takes all others along.
    fn give(&self, octets: Vec<u8>, lease: Lease) {
        let mut spares = self.spares();
        let others = self.used() > (spares.len() + 1) * self.size;
        if others && spares.len() < SPARES_MAX {
            spares.push((octets, lease));
        } else if !others {
            spares.clear();
        }
    }

    fn spares(&self) -> std::sync::MutexGuard<'_, Vec<(Vec<u8>, Lease)>> {
        // Nothing in here can be left half done.
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory for part of a file, to be read into; given back on drop.
#[derive(Debug)]
pub(crate) struct Part {
    octets: Vec<u8>,
    lease: Option<Lease>,
    home: Arc<Parts>,
}

impl Part {
    /// All of it, whatever it holds.
    pub(crate) fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.octets
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.home.give(std::mem::take(&mut self.octets), lease);
        }
    }
}

/// Octets read from a file.
#[derive(Debug)]
pub(crate) struct Contents {
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Own(Vec<u8>, #[expect(dead_code, reason = "held")] Option<Lease>),
    Part(Part),
}

impl Contents {
    pub(crate) fn new(octets: Vec<u8>, lease: Option<Lease>) -> Arc<Self> {
        Arc::new(Self {
            len: octets.len(),
            memory: Memory::Own(octets, lease),
        })
    }

    /// The first `len` octets of `part`.
    pub(crate) fn part(part: Part, len: usize) -> Arc<Self> {
        Arc::new(Self {
            len: len.min(part.octets.len()),
            memory: Memory::Part(part),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn octets(&self) -> &[u8] {
        let octets = match &self.memory {
            Memory::Own(octets, _) => octets,
            Memory::Part(part) => &part.octets,
        };
        octets.get(..self.len).unwrap_or(octets)
    }

    /// A handle that a stream can keep.
    pub(crate) fn share(self: &Arc<Self>) -> Bytes {
        Bytes::from_owner(Owner(Arc::clone(self)))
    }
}

/// What a shared handle keeps alive.
struct Owner(Arc<Contents>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.octets()
    }
}

/// A part of some contents, on its way to a peer.
#[derive(Debug)]
pub(crate) struct Piece(Source);

#[derive(Debug)]
enum Source {
    File {
        contents: Arc<Contents>,
        at: usize,
        end: usize,
    },
    Text(&'static [u8]),
}

impl Piece {
    /// The octets `at..end` of `contents`, as far as there are that many.
    pub(crate) fn file(contents: Arc<Contents>, at: usize, end: usize) -> Self {
        let end = end.min(contents.len());
        Self(Source::File {
            contents,
            at: at.min(end),
            end,
        })
    }

    pub(crate) fn text(text: &'static str) -> Self {
        Self(Source::Text(text.as_bytes()))
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match &self.0 {
            Source::File { at, end, .. } => end - at,
            Source::Text(text) => text.len(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match &self.0 {
            Source::File { contents, at, end } => &contents.octets()[*at..*end],
            Source::Text(text) => text,
        }
    }

    fn advance(&mut self, octets: usize) {
        assert!(
            octets <= self.remaining(),
            "a piece cannot advance past its end"
        );
        match &mut self.0 {
            Source::File { at, .. } => *at += octets,
            Source::Text(text) => *text = &text[octets..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1000;

    #[test]
    fn parts_are_used_again_while_others_are_in_use_and_freed_with_the_last() {
        let parts = Parts::new(100 * SIZE, SIZE);
        let kept = parts.take().unwrap();
        let mut used = parts.take().unwrap();
        used.octets_mut()[7] = 7;
        let at = used.octets.as_ptr();
        let contents = Contents::part(used, 9);
        assert_eq!(contents.share(), [0, 0, 0, 0, 0, 0, 0, 7, 0][..]);
        drop(contents);
        assert_eq!(parts.used(), 2 * SIZE);
        let again = parts.take().unwrap();
        assert_eq!(again.octets.as_ptr(), at);
        assert_eq!(parts.used(), 2 * SIZE);
        drop(again);
        drop(kept);
        assert_eq!((parts.used(), parts.spares().len()), (0, 0));
    }

    #[test]
    fn spare_parts_and_all_parts_are_bounded() {
        let parts = Parts::new(20 * SIZE, SIZE);
        let mut taken: Vec<Part> = std::iter::from_fn(|| parts.take()).collect();
        assert_eq!((taken.len(), parts.used()), (20, 20 * SIZE));
        taken.truncate(1);
        assert_eq!(parts.spares().len(), SPARES_MAX);
        assert_eq!(parts.used(), (SPARES_MAX + 1) * SIZE);
        // Spare ones are there for whoever needs one.
        let more: Vec<Part> = std::iter::from_fn(|| parts.take()).collect();
        assert_eq!(more.len(), 19);
        drop((taken, more));
        assert_eq!(parts.used(), 0);
    }
}
