//! Where outgoing frames get their memory and leave: a transmit ring, or a stand-in for one.

use crate::frame::Frame;

/// What the wire side does for us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// It finishes [`Checksum::Partial`](crate::Checksum::Partial) on the way out.
    pub checksum: bool,
    /// It splits TCP super-segments of up to this many octets, Ethernet header and tags included;
    /// 0: it does not.
    pub segmentation_max: usize,
}

/// Memory for outgoing frames, and their way out. The graph's only side effect.
pub trait Port<'block> {
    /// A frame of `len` octets (contents: whatever lay there) behind at least
    /// [`HEADROOM`](crate::HEADROOM) free ones; `None` when every slot is taken or `len` is more
    /// than a slot holds. A frame that is neither transmitted nor kept frees its slot by itself at
    /// the end of the turn.
    fn alloc(&mut self, len: usize) -> Option<Frame<'block>>;

    /// Queues `frame`, which begins with its Ethernet header, for the wire: in place when it lies
    /// in a slot of this port, else as a copy. Gives it back when there is no room.
    ///
    /// # Errors
    /// The frame, when it cannot be queued now.
    fn transmit(&mut self, frame: Frame<'block>) -> Result<(), Frame<'block>>;

    /// What is done for us on the way out.
    fn offload(&self) -> Offload;

    /// Whether frames may have a [tail](Frame::attach), which leaves without being copied into a
    /// slot. Such frames are super-segments; a slot must still be large enough for all of one.
    fn gathers(&self) -> bool {
        false
    }
}
