//! What "fragmentation needed" tells of a connection's path, also for the worker that has it.

use super::seq::Seq;
use super::table::Key;

/// How many wait to be told to other workers at most.
pub const SMALLER_MTUS_MAX: usize = 64;

/// The path of a connection takes smaller packets only.
#[derive(Clone, Copy, Debug)]
pub struct SmallerMtu {
    pub(crate) key: Key,
    /// Of the packet that was too large.
    pub(crate) seq: Seq,
    /// Octets of an IP packet.
    pub(crate) mtu: u16,
}
