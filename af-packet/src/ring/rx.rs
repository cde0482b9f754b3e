//! The receive ring, whichever header version it uses.
//!
//! # Ownership
//! [`RxTurn`] borrows the ring exclusively, and frames borrow the turn: while a frame lives
//! nobody can walk on or give memory back. What was read goes back when the turn is dropped, or,
//! had it been leaked, when the next begins.
#![expect(
    unsafe_code,
    reason = "ties the frames' lifetime to the turn that keeps their memory"
)]

use dataplane::{Batch, IfIndex};

use crate::region::{Geometry, Region};
use crate::ring::{v2, v3};

/// What a receive ring saw, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxCounters {
    /// Frames handed out.
    pub frames: u64,
    /// Of these, frames taken from a block the kernel had not closed yet.
    pub early: u64,
    /// Frames the kernel counted in a block and then gave up, mostly because `virtio_net_hdr`
    /// has no word for their segmentation. They are lost.
    pub holes: u64,
    /// Frames whose lengths or offsets cannot be, or lie behind one whose do. They are lost.
    pub malformed: u64,
    /// Our own frames on their way out, from kernels without `PACKET_IGNORE_OUTGOING`. Skipped.
    pub outgoing: u64,
}

/// Which headers the kernel writes.
#[derive(Debug)]
enum Walk {
    V2(v2::Walk),
    V3(v3::Walk),
}

/// A receive ring.
#[derive(Debug)]
pub struct RxRing {
    region: Region,
    walk: Walk,
    interface: IfIndex,
    vnet: bool,
    counters: RxCounters,
}

impl RxRing {
    /// A `TPACKET_V2` ring. `vnet`: each frame is preceded by a `virtio_net_hdr`.
    pub(crate) fn v2(region: Region, geometry: Geometry, interface: IfIndex, vnet: bool) -> Self {
        Self::new(
            region,
            geometry,
            Walk::V2(v2::Walk::new(geometry)),
            interface,
            vnet,
        )
    }

    /// A `TPACKET_V3` ring. `early`: frames are also taken from the block being filled; only
    /// x86-64 can.
    pub(crate) fn v3(
        region: Region,
        geometry: Geometry,
        interface: IfIndex,
        vnet: bool,
        early: bool,
    ) -> Self {
        let early = early && cfg!(target_arch = "x86_64");
        Self::new(
            region,
            geometry,
            Walk::V3(v3::Walk::new(geometry, early)),
            interface,
            vnet,
        )
    }

    fn new(region: Region, geometry: Geometry, walk: Walk, interface: IfIndex, vnet: bool) -> Self {
        assert!(
            geometry.octets() <= region.len() && geometry.slots() > 0,
            "the ring lies inside its region"
        );
        Self {
            region,
            walk,
            interface,
            vnet,
            counters: RxCounters::default(),
        }
    }

    /// Begins a turn.
    pub fn turn(&mut self) -> RxTurn<'_> {
        // Nothing to do unless the last turn was leaked.
        self.release();
        RxTurn { ring: self }
    }

    /// Whether a turn would find frames now, or has memory to give back.
    pub fn is_ready(&self) -> bool {
        match &self.walk {
            Walk::V2(walk) => walk.is_ready(&self.region),
            Walk::V3(walk) => walk.is_ready(&self.region),
        }
    }

    /// What this ring saw.
    pub fn counters(&self) -> RxCounters {
        self.counters
    }

    fn release(&mut self) {
        match &mut self.walk {
            // SAFETY: frames borrow a turn, which borrows the ring; it is ours again.
            Walk::V2(walk) => unsafe { walk.release(&self.region) },
            // SAFETY: as above.
            Walk::V3(walk) => unsafe { walk.release(&self.region) },
        }
    }
}

/// One look at the ring: takes frames out, and gives their memory back when it is dropped.
#[derive(Debug)]
pub struct RxTurn<'ring> {
    ring: &'ring mut RxRing,
}

impl RxTurn<'_> {
    /// Fills `batch` up with received frames, and says how many were added. Each begins with its
    /// Ethernet header behind at least [`HEADROOM`](dataplane::HEADROOM) free octets, or is
    /// [malformed](RxCounters::malformed); the outer tag, the checksum's state and the rest are in
    /// its metadata.
    ///
    /// The batch borrows the turn, so it has to be declared after it, and this can be called once.
    pub fn fill<'turn>(&'turn mut self, batch: &mut Batch<'turn>) -> usize {
        let RxRing {
            region,
            walk,
            interface,
            vnet,
            counters,
        } = &mut *self.ring;
        let before = batch.len();
        while !batch.is_full() {
            let frame = match walk {
                // SAFETY: the frame borrows this turn, which keeps the ring and its region, and
                // which is dropped, and so released, only after the frame is gone.
                Walk::V2(walk) => unsafe { walk.next(region, *interface, *vnet, counters) },
                // SAFETY: as above.
                Walk::V3(walk) => unsafe { walk.next(region, *interface, *vnet, counters) },
            };
            let Some(frame) = frame else { break };
            counters.frames += 1;
            if batch.push(frame).is_err() {
                unreachable!("the batch was not full");
            }
        }
        batch.len() - before
    }
}

impl Drop for RxTurn<'_> {
    fn drop(&mut self) {
        self.ring.release();
    }
}

#[cfg(test)]
mod tests;
