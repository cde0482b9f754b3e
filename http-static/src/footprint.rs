//! What one connection takes of memory beside what all share, told to its stream.
//!
//! hyper does not say how large its buffers are, so they are bounded from outside: it is handed
//! less at once than it makes room for, which keeps it from asking for larger reads, and what it
//! has to write is seen when it writes.

use crate::body::SMALL_PART;

/// Octets handed to hyper at once.
pub(crate) const HAND_MAX: usize = 4096;

/// What each of hyper's two buffers begins with, and makes room for before it reads.
const HYPER_BUFFER_MIN: usize = 8192;

/// Lines of a head for which hyper keeps memory.
const LINES_USUAL: usize = 24;

/// hyper itself and a request that waits, rounded up.
pub(crate) const SERVING: usize = 4096;

/// Octets of a hyper that [has not grown](Footprint::has_grown).
pub(crate) const SPARE: usize = Footprint {
    serving: true,
    head: HAND_MAX,
    lines: LINES_USUAL,
    written: HYPER_BUFFER_MIN,
    streaming: false,
}
.octets(0);

/// What a connection has seen so far, which says what it has memory for.
#[derive(Debug, Default)]
pub(crate) struct Footprint {
    /// hyper is there.
    serving: bool,
    /// Octets and lines of the largest heads since.
    head: usize,
    lines: usize,
    /// The most octets of heads hyper had to write at once.
    written: usize,
    /// A file is being streamed.
    streaming: bool,
}

impl Footprint {
    /// hyper is made.
    pub(crate) fn serve(&mut self) {
        self.serving = true;
    }

    /// hyper is gone.
    pub(crate) fn rest(&mut self) {
        *self = Self::default();
    }

    /// A head of so many octets and lines is about to be handed on.
    pub(crate) fn saw_head(&mut self, octets: usize, lines: usize) {
        self.head = self.head.max(octets);
        self.lines = self.lines.max(lines);
    }

    /// hyper has so many octets of heads to write.
    pub(crate) fn saw_written(&mut self, octets: usize) {
        self.written = self.written.max(octets);
    }

    /// Whether a file is being streamed.
    pub(crate) fn saw_streaming(&mut self, streaming: bool) {
        self.streaming = streaming;
    }

    /// Whether hyper may have taken more memory than it begins with.
    pub(crate) fn has_grown(&self) -> bool {
        self.head > HAND_MAX || self.lines > LINES_USUAL || self.written > HYPER_BUFFER_MIN
    }

    /// Octets of memory, `held` of them with heads in part.
    pub(crate) const fn octets(&self, held: usize) -> usize {
        if !self.serving {
            return held;
        }
        // A buffer grows by doubling, and requests that are being served keep the one before.
        let read = 2 * (HYPER_BUFFER_MIN + self.head + HAND_MAX);
        let write = if 2 * self.written > HYPER_BUFFER_MIN {
            2 * self.written
        } else {
            HYPER_BUFFER_MIN
        };
        // `http`'s map holds up to 3/4 of a power of two, and each entry less than 128 octets.
        let lines = 128 * (2 * self.lines).next_power_of_two();
        // Parts that fit no other budget: one that was read, one at hyper, one being sent.
        let parts = if self.streaming { 3 } else { 1 } * SMALL_PART;
        SERVING + read + write + lines + parts + held
    }
}
