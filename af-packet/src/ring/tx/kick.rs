//! What tells the kernel to send, and what is counted of it.

use std::io::IoSlice;

use dataplane::EtherType;

/// Tells the kernel to look at the ring.
pub trait Kick {
    /// Sends what is committed, without waiting. `tag`: what the outermost tag of each of these
    /// frames is, if they have one.
    ///
    /// # Errors
    /// Why the kernel stopped before the end; what it sent until then is sent.
    fn kick(&mut self, tag: Option<EtherType>) -> Result<(), KickError>;

    /// Whether [`Self::gather`] can be tried.
    fn gathers(&self) -> bool {
        false
    }

    /// Sends one frame, its `virtio_net_hdr` first, past the ring and without waiting. `tag`: as
    /// for [`Self::kick`].
    ///
    /// # Errors
    /// Why not. After [`KickError::QueueFull`] the frame may be lost.
    fn gather(&mut self, pieces: &[IoSlice<'_>], tag: Option<EtherType>) -> Result<(), KickError> {
        let _ = (pieces, tag);
        Err(KickError::Other(libc::EOPNOTSUPP))
    }
}

/// Why a kick ended early. The frames stay in the ring, for the next kick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KickError {
    /// `EAGAIN`: the socket's send buffer is full.
    SendBufferFull,
    /// `ENOBUFS`: the device's queue is full, or it has no carrier.
    QueueFull,
    /// `ENETDOWN`, `ENXIO`: the interface is down, or gone.
    LinkDown,
    /// `ENOMEM`, `EINVAL`: the kernel cannot split or finish a frame as it is asked to; there may
    /// also be no memory.
    Refused,
    /// Another error, by number.
    Other(i32),
}

/// What a transmit ring did, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxCounters {
    /// Frames given to the kernel.
    pub frames: u64,
    /// Of these, frames copied in because they lay elsewhere.
    pub copied: u64,
    /// Frames sent past the ring because they have a tail.
    pub gathered: u64,
    /// Frames refused because no slot was free.
    pub ring_full: u64,
    /// Frames refused, or thrown out after the MTU shrank, because they are longer than it
    /// allows. In the ring they would block everything behind them.
    pub oversize: u64,
    /// Frames refused because their checksum or segmentation metadata is contradictory.
    pub invalid: u64,
    /// Super-segments the kernel refused to split: thrown out, and after them segmentation is not
    /// left to it for some time. In the ring they would block everything behind them.
    pub refused: u64,
    /// Slots handed out, not transmitted, and skipped.
    pub skipped: u64,
    /// Slots the kernel called malformed.
    pub wrong_format: u64,
    /// Kicks.
    pub kicks: u64,
    /// Kicks that ended because the send buffer or the device's queue was full.
    pub back_pressure: u64,
    /// Kicks that ended because the interface was down or gone.
    pub link_down: u64,
    /// Kicks that failed otherwise.
    pub kick_errors: u64,
}

impl TxCounters {
    /// Frames that were not sent for a fault of their own: refused here for their length or
    /// metadata, or by the kernel.
    pub fn wrong(&self) -> u64 {
        self.oversize + self.invalid + self.refused + self.wrong_format
    }

    pub(super) fn count_error(&mut self, error: KickError) {
        match error {
            KickError::LinkDown => self.link_down += 1,
            KickError::SendBufferFull | KickError::QueueFull => self.back_pressure += 1,
            KickError::Refused | KickError::Other(_) => self.kick_errors += 1,
        }
    }
}
