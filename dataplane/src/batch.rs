//! A batch: up to [`BATCH_MAX`] frames on their way to one node.

use std::fmt;

use crate::frame::Frame;

/// Frames a batch holds at most. A full batch goes on its way; the rest follows in the next.
pub const BATCH_MAX: usize = 256;

/// Up to [`BATCH_MAX`] frames, in order.
pub struct Batch<'block> {
    frames: Vec<Frame<'block>>,
    /// Frames from which on it is full; at most [`BATCH_MAX`].
    limit: usize,
}

impl Default for Batch<'_> {
    fn default() -> Self {
        Self {
            frames: Vec::new(),
            limit: BATCH_MAX,
        }
    }
}

impl<'block> Batch<'block> {
    /// An empty batch that never allocates again.
    pub fn new() -> Self {
        Self::limited(BATCH_MAX)
    }

    /// As [`Self::new`], full with `limit` frames; [`BATCH_MAX`] at most.
    pub fn limited(limit: usize) -> Self {
        Self {
            frames: Vec::with_capacity(BATCH_MAX),
            limit: limit.min(BATCH_MAX),
        }
    }

    /// Adds a frame at the end.
    ///
    /// # Errors
    /// The frame, when the batch is full.
    #[inline]
    pub fn push(&mut self, frame: Frame<'block>) -> Result<(), Frame<'block>> {
        if self.is_full() {
            return Err(frame);
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Takes every frame out, in order.
    #[inline]
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = Frame<'block>> + use<'_, 'block> {
        self.frames.drain(..)
    }

    /// The frames, to look at.
    pub fn iter(&self) -> std::slice::Iter<'_, Frame<'block>> {
        self.frames.iter()
    }

    /// The frames, to change.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Frame<'block>> {
        self.frames.iter_mut()
    }

    /// How many frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether another frame would be refused.
    pub fn is_full(&self) -> bool {
        self.frames.len() >= self.limit
    }

    /// The same memory, empty, for frames of another lifetime.
    pub fn recycle<'other>(self) -> Batch<'other> {
        Batch {
            frames: recycle(self.frames),
            limit: self.limit,
        }
    }

    /// Moves up to [`BATCH_MAX`] frames from the front of `queue` into this empty batch.
    pub(crate) fn fill_from(&mut self, queue: &mut Vec<Frame<'block>>) {
        if queue.len() <= BATCH_MAX {
            std::mem::swap(&mut self.frames, queue);
        } else {
            self.frames.extend(queue.drain(..BATCH_MAX));
        }
    }
}

impl<'a, 'block> IntoIterator for &'a Batch<'block> {
    type Item = &'a Frame<'block>;
    type IntoIter = std::slice::Iter<'a, Frame<'block>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, 'block> IntoIterator for &'a mut Batch<'block> {
    type Item = &'a mut Frame<'block>;
    type IntoIter = std::slice::IterMut<'a, Frame<'block>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.frames).finish()
    }
}

/// Empties `frames` and hands its memory on for another lifetime. Collecting a `Vec`'s own
/// iterator into a `Vec` of the same layout reuses the allocation, which a test below pins.
pub(crate) fn recycle<'other>(mut frames: Vec<Frame<'_>>) -> Vec<Frame<'other>> {
    frames.clear();
    frames
        .into_iter()
        .map(|_| -> Frame<'other> { unreachable!("the vector was cleared") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_gives_the_frame_back() {
        let mut memory = vec![[0u8; 4]; BATCH_MAX + 1];
        let mut batch = Batch::new();
        let mut refused = 0;
        for buffer in &mut memory {
            refused += usize::from(batch.push(Frame::new(buffer, 0, 4)).is_err());
        }
        assert_eq!((batch.len(), refused), (BATCH_MAX, 1));
    }

    #[test]
    fn a_limit_makes_it_full_earlier_also_when_it_is_recycled() {
        for (limit, expected) in [(3, 3), (BATCH_MAX + 9, BATCH_MAX)] {
            let mut memory = vec![[0u8; 4]; BATCH_MAX + 1];
            let mut batch = Batch::limited(limit).recycle();
            for buffer in &mut memory {
                let _ = batch.push(Frame::new(buffer, 0, 4));
            }
            assert_eq!((batch.len(), batch.is_full()), (expected, true));
        }
    }

    #[test]
    fn recycling_keeps_the_allocation() {
        let batch = Batch::new();
        let before = batch.frames.as_ptr().addr();
        let batch = batch.recycle();
        assert_eq!(batch.frames.as_ptr().addr(), before);
        assert_eq!(batch.frames.capacity(), BATCH_MAX);
    }
}
