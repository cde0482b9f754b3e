//! What a connection has been given to send and the peer has not acknowledged.
//!
//! smoltcp copies what it sends into a ring of its own. Here its ring only counts: the octets lie
//! in this queue, by reference where their owner shares them, and go from here into packets, so
//! that a file is copied once on its way from the cache to the wire.

use std::collections::VecDeque;

use bytes::Bytes;

use super::seq::Seq;

/// Octets that are copied are joined to pieces of this size, so that there are few.
const PIECE_MAX: usize = 16 * 1024;

/// Room of a new piece at least: a head comes first, and what it is the head of right after it.
const PIECE_MIN: usize = 512;

#[derive(Debug)]
enum Piece {
    /// Copied from a writer.
    Own(Vec<u8>),
    /// Shared with their owner.
    Shared(Bytes),
}

impl Piece {
    fn octets(&self) -> &[u8] {
        match self {
            Self::Own(octets) => octets,
            Self::Shared(octets) => octets,
        }
    }
}

/// Octets in order, the first of them with the sequence number `front`.
#[derive(Debug)]
pub(crate) struct SendQueue {
    pieces: VecDeque<Piece>,
    front: Seq,
    /// Octets of the first piece that are acknowledged already.
    gone: usize,
    len: usize,
    /// Memory of a piece that is gone, for the next.
    spare: Vec<u8>,
}

impl SendQueue {
    /// An empty queue; the first octet that comes will have the number `front`.
    pub(crate) fn new(front: Seq) -> Self {
        Self {
            pieces: VecDeque::new(),
            front,
            gone: 0,
            len: 0,
            spare: Vec::new(),
        }
    }

    /// Forgets everything.
    pub(crate) fn restart(&mut self, front: Seq) {
        *self = Self::new(front);
    }

    /// Reads what an acknowledgement of it will, to have it in the cache.
    pub(crate) fn warm(&self) -> u64 {
        let first = self.pieces.front();
        first.map_or(self.gone, |piece| piece.octets().len()) as u64
    }

    /// How many octets there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number after the last octet.
    pub(crate) fn end(&self) -> Seq {
        self.front.add(self.len)
    }

    /// Adds a copy of `octets`.
    pub(crate) fn push_copy(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        self.len += octets.len();
        if let Some(Piece::Own(last)) = self.pieces.back_mut()
            && last.len() + octets.len() <= PIECE_MAX
        {
            last.extend_from_slice(octets);
            return;
        }
        let mut piece = std::mem::take(&mut self.spare);
        piece.reserve(octets.len().max(PIECE_MIN));
        piece.extend_from_slice(octets);
        self.pieces.push_back(Piece::Own(piece));
    }

    /// Adds `octets` without copying them.
    pub(crate) fn push_shared(&mut self, octets: Bytes) {
        if !octets.is_empty() {
            self.len += octets.len();
            self.pieces.push_back(Piece::Shared(octets));
        }
    }

    /// The first `count` octets are acknowledged.
    pub(crate) fn advance(&mut self, count: usize) {
        let count = count.min(self.len);
        self.front = self.front.add(count);
        self.len -= count;
        self.gone += count;
        while let Some(first) = self.pieces.front() {
            let size = first.octets().len();
            if self.gone < size {
                return;
            }
            self.gone -= size;
            if let Some(Piece::Own(mut piece)) = self.pieces.pop_front()
                && piece.capacity() <= PIECE_MAX
            {
                piece.clear();
                self.spare = piece;
            }
        }
    }

    /// The pieces from sequence number `from` on, the first one cut.
    fn from(&self, from: Seq) -> impl Iterator<Item = (&Piece, &[u8])> {
        let mut skip = self.gone + from.since(self.front);
        self.pieces.iter().filter_map(move |piece| {
            let octets = piece.octets();
            let cut = skip.min(octets.len());
            skip -= cut;
            let rest = octets.get(cut..).filter(|rest| !rest.is_empty())?;
            Some((piece, rest))
        })
    }

    /// Copies the octets from `from` on to `to`; how many there were.
    pub(crate) fn copy(&self, from: Seq, to: &mut [u8]) -> usize {
        let mut at = 0;
        for (_, octets) in self.from(from) {
            let Some(place) = to.get_mut(at..).filter(|place| !place.is_empty()) else {
                break;
            };
            let count = place.len().min(octets.len());
            let (Some(place), Some(octets)) = (place.get_mut(..count), octets.get(..count)) else {
                break;
            };
            place.copy_from_slice(octets);
            at += count;
        }
        at
    }

    /// Takes the `count` octets from `from` on apart: how many of them, from the first, are copies
    /// (for [`Self::copy`]), and the shared ones behind those. `None` when a copy follows what is
    /// shared, or not all are here.
    pub(crate) fn shared(&self, from: Seq, count: usize, tail: &mut Vec<Bytes>) -> Option<usize> {
        let (mut own, mut left) = (0, count);
        for (piece, octets) in self.from(from) {
            let take = left.min(octets.len());
            if take == 0 {
                break;
            }
            let octets = octets.get(..take)?;
            match piece {
                Piece::Own(_) if tail.is_empty() => own += take,
                Piece::Own(_) => return None,
                Piece::Shared(whole) => tail.push(whole.slice_ref(octets)),
            }
            left -= take;
        }
        (left == 0).then_some(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> SendQueue {
        let mut queue = SendQueue::new(Seq(u32::MAX - 3));
        queue.push_copy(b"head");
        queue.push_copy(b"er ");
        queue.push_shared(Bytes::from_static(b"the body"));
        queue.push_shared(Bytes::from_static(b" goes on"));
        queue.push_copy(b", next");
        queue
    }

    fn copied(queue: &SendQueue, skip: usize, count: usize) -> Vec<u8> {
        let mut to = vec![0xa5; count];
        let have = queue.copy(queue.front.add(skip), &mut to);
        to.truncate(have);
        to
    }

    #[test]
    fn octets_are_found_by_their_number_across_pieces_and_the_wrap() {
        let mut queue = queue();
        assert_eq!(queue.len(), 29);
        assert_eq!(copied(&queue, 0, 100), b"header the body goes on, next");
        assert_eq!(copied(&queue, 5, 6), b"r the ");
        queue.advance(9);
        assert_eq!(queue.front, Seq(5));
        assert_eq!(copied(&queue, 0, 10), b"e body goe");
        assert_eq!(copied(&queue, 19, 10), b"t");
        queue.advance(100);
        assert_eq!((queue.len(), queue.pieces.len()), (0, 0));
        queue.push_copy(b"more");
        assert_eq!(copied(&queue, 1, 10), b"ore");
    }

    #[test]
    fn copies_in_front_and_shared_octets_behind_come_apart() {
        let queue = queue();
        let apart = |skip, count| {
            let mut tail = Vec::new();
            let own = queue.shared(queue.front.add(skip), count, &mut tail)?;
            Some((own, tail.concat()))
        };
        assert_eq!(apart(3, 12), Some((4, b"the body".to_vec())));
        assert_eq!(apart(9, 9), Some((0, b"e body go".to_vec())));
        assert_eq!(apart(0, 7), Some((7, Vec::new())));
        assert_eq!(apart(20, 5), None);
        assert_eq!(apart(25, 5), None);
    }

    #[test]
    fn small_copies_are_joined_and_large_ones_are_not() {
        let mut queue = SendQueue::new(Seq(0));
        for _ in 0..100 {
            queue.push_copy(&[7; 1000]);
        }
        assert_eq!(queue.pieces.len(), 7);
        queue.push_copy(&vec![7; 100_000]);
        assert_eq!(queue.pieces.len(), 8);
        queue.restart(Seq(5));
        assert_eq!((queue.len(), queue.front), (0, Seq(5)));
    }
}
