//! What the benches share: a node on its own, a worker's whole graph, and the peer it talks to.
//!
//! Bench ids are `<crate>/<node>/<variant>/<size>`, the size being frames a batch, octets or flows
//! as the group says. `Alone` and `Whole` prepare frames, so what is measured is a graph's turn; what
//! they add to it is measured beside it, as a baseline.
#![forbid(unsafe_code)]

pub mod alone;
pub mod compare;
pub mod peer;
pub mod site;
pub mod whole;

/// Batches measured, in frames.
pub const BATCHES: [usize; 4] = [1, 16, 64, 256];

/// Frames measured, in octets: the smallest, one in between, and the largest of Ethernet with a
/// tag.
pub const FRAMES: [usize; 3] = [64, 512, 1518];
