//! One datagram on its way to being whole.

use dataplane::Meta;

use super::Ip4FullReassemblyDrop;
use crate::ip4::{self, MORE_FRAGMENTS};

/// Octets of the largest IPv4 packet, header included.
const PACKET_MAX: usize = 65_535;

/// Fragments of one datagram at most: enough for 65,535 octets over links of 296, the smallest
/// MTU in use.
const FRAGMENTS_MAX: usize = 256;

/// A fragment, read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'f> {
    pub(super) header: &'f [u8],
    /// Where the payload lies in the datagram's, in octets.
    pub(super) offset: usize,
    /// At least one octet; a multiple of 8 when more follow.
    pub(super) payload: &'f [u8],
    pub(super) more: bool,
}

/// What adding a fragment did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// Something is missing still.
    Waits,
    /// Nothing is missing.
    Whole,
    /// The fragment was not taken.
    Refused(Ip4FullReassemblyDrop),
}

/// Where a fragment's payload lies.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// In the datagram's payload.
    start: usize,
    len: usize,
    /// In [`Context::octets`].
    at: usize,
}

impl Span {
    fn end(self) -> usize {
        self.start + self.len
    }
}

/// One datagram on its way to being whole.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// Payloads in the order they came.
    octets: Vec<u8>,
    /// By start, without overlaps; at most [`FRAGMENTS_MAX`].
    spans: Vec<Span>,
    /// The first fragment's header, once that came.
    header: Vec<u8>,
    meta: Meta,
    /// Octets of the whole payload, once the last fragment came.
    total: Option<usize>,
    /// Fragments overlapped: nothing is taken any more.
    spoiled: bool,
}

/// The most memory one of them takes besides its payload, in octets.
pub(super) const MEMORY_MAX: usize =
    size_of::<Context>() + 2 * FRAGMENTS_MAX * size_of::<Span>() + IP_HEADER_MAX;

/// The longest IPv4 header, in octets.
const IP_HEADER_MAX: usize = 60;

impl Context {
    /// Whether no fragment was taken.
    pub(super) fn is_untouched(&self) -> bool {
        self.spans.is_empty() && !self.spoiled
    }

    /// Octets held.
    pub(super) fn octets(&self) -> usize {
        self.octets.capacity()
    }

    /// The metadata of the first fragment, or of any while that is missing.
    pub(super) fn meta(&self) -> Meta {
        self.meta
    }

    pub(super) fn add(&mut self, piece: &Piece<'_>, meta: Meta) -> Added {
        if self.spoiled {
            return Added::Refused(Ip4FullReassemblyDrop::Overlap);
        }
        let (start, len) = (piece.offset, piece.payload.len());
        let end = start + len;
        let header_len = if start == 0 {
            piece.header.len()
        } else {
            self.header.len()
        };
        // The smallest header while the first fragment is missing.
        if end.max(self.end()) + header_len.max(20) > PACKET_MAX {
            return Added::Refused(Ip4FullReassemblyDrop::TooLarge);
        }
        let past_total = self.total.is_some_and(|total| end > total);
        let other_total = !piece.more && self.total.is_some_and(|total| end != total);
        let short_total = !piece.more && self.end() > end;
        if past_total || other_total || short_total {
            return Added::Refused(Ip4FullReassemblyDrop::BadFragment);
        }
        let at = self.spans.partition_point(|span| span.start < start);
        if let Some(same) = self.spans.get(at)
            && (same.start, same.len) == (start, len)
            && self.octets.get(same.at..same.at + len) == Some(piece.payload)
        {
            return Added::Refused(Ip4FullReassemblyDrop::Duplicate);
        }
        let before = at.checked_sub(1).and_then(|at| self.spans.get(at));
        let after = self.spans.get(at);
        if before.is_some_and(|span| span.end() > start)
            || after.is_some_and(|span| span.start < end)
        {
            *self = Self {
                spoiled: true,
                ..Self::default()
            };
            return Added::Refused(Ip4FullReassemblyDrop::Overlap);
        }
        if self.spans.len() >= FRAGMENTS_MAX {
            return Added::Refused(Ip4FullReassemblyDrop::TooManyFragments);
        }
        let span = Span {
            start,
            len,
            at: self.octets.len(),
        };
        self.spans.insert(at, span);
        self.octets.extend_from_slice(piece.payload);
        if start == 0 {
            self.header = piece.header.to_vec();
        }
        if start == 0 || self.header.is_empty() {
            self.meta = meta;
        }
        if !piece.more {
            self.total = Some(end);
        }
        // Without overlaps, as many octets as the whole has are the whole.
        if self.total == Some(self.octets.len()) {
            Added::Whole
        } else {
            Added::Waits
        }
    }

    /// Where the last fragment so far ends.
    fn end(&self) -> usize {
        self.spans.last().map_or(0, |span| span.end())
    }

    /// Octets of the whole packet.
    pub(super) fn whole_len(&self) -> usize {
        self.header.len() + self.octets.len()
    }

    /// Fills `packet`, of [`Self::whole_len`] octets.
    pub(super) fn write_whole(&self, packet: &mut [u8]) {
        let (header, mut payload) = packet.split_at_mut(self.header.len().min(packet.len()));
        header.copy_from_slice(&self.header);
        for span in &self.spans {
            let Some((place, rest)) = payload.split_at_mut_checked(span.len) else {
                return;
            };
            if let Some(octets) = self.octets.get(span.at..span.at + span.len) {
                place.copy_from_slice(octets);
            }
            payload = rest;
        }
        ip4::set_length(header, self.whole_len(), 0);
    }

    /// Octets of the first fragment, if that came.
    pub(super) fn first_len(&self) -> Option<usize> {
        let first = self.spans.first().filter(|span| span.start == 0)?;
        Some(self.header.len() + first.len)
    }

    /// Fills `packet`, of [`Self::first_len`] octets.
    pub(super) fn write_first(&self, packet: &mut [u8]) {
        let (header, payload) = packet.split_at_mut(self.header.len().min(packet.len()));
        header.copy_from_slice(&self.header);
        if let Some(span) = self.spans.first()
            && let Some(octets) = self.octets.get(span.at..span.at + payload.len())
        {
            payload.copy_from_slice(octets);
        }
        let len = header.len() + payload.len();
        ip4::set_length(header, len, MORE_FRAGMENTS);
    }
}
