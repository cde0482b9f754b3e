//! File contents in memory, counted until the last user lets go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// Octets read from a file.
#[derive(Debug)]
pub(crate) struct Contents {
    octets: Vec<u8>,
    _lease: Option<Lease>,
}

impl Contents {
    pub(crate) fn new(octets: Vec<u8>, lease: Option<Lease>) -> Arc<Self> {
        Arc::new(Self {
            octets,
            _lease: lease,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.octets.len()
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
        &self.0.octets
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
            Source::File { contents, at, end } => &contents.octets[*at..*end],
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
