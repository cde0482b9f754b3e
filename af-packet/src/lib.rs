//! Frames in and out of a Linux interface through `AF_PACKET` rings shared with the kernel.
//!
//! [`Sockets::open`] is the one moment that needs `CAP_NET_RAW`; what follows does not, so a
//! program opens, drops its capabilities, and then maps the rings and attaches them to an
//! interface, which may appear only later, and may be deleted and created again.
//!
//! ```no_run
//! use std::time::Duration;
//! use af_packet::{LinkInfo, Options, Sockets};
//! use dataplane::{Batch, IfIndex, Port};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sockets = Sockets::open("eth0")?; // the last thing that needs CAP_NET_RAW
//! let mut device = sockets.map(IfIndex(0), &Options::default())?;
//! device.attach(&LinkInfo::by_name("eth0")?)?;
//! loop {
//!     device.wait(Some(Duration::from_secs(1)), &[])?;
//!     let (mut rx, mut tx) = device.turn();
//!     let mut batch = Batch::new(); // after the turns: it borrows from them
//!     rx.fill(&mut batch);
//!     for frame in batch.drain() {
//!         // Each frame lies in the ring: send it back where it came from.
//!         let Some(mut reply) = tx.alloc(frame.len()) else { break };
//!         reply.octets_mut().copy_from_slice(frame.octets());
//!         let (destination, rest) = reply.octets_mut().split_at_mut(6);
//!         destination.swap_with_slice(&mut rest[..6]);
//!         let _ = tx.transmit(reply); // no room: it is dropped
//!     }
//! } // one system call sends them all, and the received blocks go back
//! # }
//! ```
//!
//! In a graph, [`AfPacketInput`] and [`AfPacketOutput`] are the first and the last node, and a
//! [`TxTurn`] is the graph's [`Port`](dataplane::Port).
//!
//! # Reception
//! The kernel takes the outer VLAN tag off and tells it out of band; it is the first of
//! [`Meta::tags`](dataplane::Meta::tags). With `PACKET_VNET_HDR` a frame also says whether its
//! checksum was verified or is yet to be made, and may be a TCP super-segment of up to 64 KiB.
//! A frame the ring had no room for in full has [`wire_len`](dataplane::Meta::wire_len) above its
//! length; [`AfPacketInput`] drops it. Lengths and offsets the kernel gives are compared with the
//! ring's before they index anything; what does not fit is counted in [`RxCounters`].
//!
//! # Which receive ring
//! | ring | mapped | round trip p50 / p99 | flood: sent / received a second |
//! |---|---|---|---|
//! | `TPACKET_V2` | 12 MiB | 11 / 23 us | 570,000 / 202,000 |
//! | `TPACKET_V3`, doorbell and early read | 8 MiB | 12 / 31 us | 542,000 / 542,000 |
//! | `TPACKET_V3` by its timer, 1 ms | 8 MiB | 1,000 / 3,035 us | 333,000 / 333,000 |
//!
//! (Frames of 60 octets over a veth pair, echoed by a thread that sleeps in [`Device::wait`];
//! 10,000 round trips, then 2 s of flood; `cargo run --release -p dataplane-af-packet --example
//! ring_latency`; two shared vCPUs of an Intel Xeon, Linux 6.18.44. Between runs on this busy
//! machine the round trips differed by 4 us either way.) Version 3 answers a lone frame as fast
//! as version 2 and holds many times the frames in less memory, so it is the default where early
//! reading is sound: on x86-64. Elsewhere it is version 2, as a block would have to wait for its
//! timer. The doorbell costs the sender's CPU about a tenth in a flood, and nothing when idle.
//!
//! # Transmission
//! Frames are built in the ring ([`Port::alloc`](dataplane::Port::alloc)) or copied into it, and
//! sent with one system call when the [`TxTurn`] ends, or earlier when the slots run out. What the
//! kernel cannot take now stays and is tried again each turn: end a turn soon while
//! [`Device::pending`]. Nothing is lost to a full queue or a missing carrier; when all slots wait,
//! frames are refused, and [`AfPacketOutput`] counts `ring-full`.
//!
//! # Memory
//! See [`Options`]: 8 MiB by default. The kernel does not charge it to the memory cgroup.
//!
//! # A security note
//! Who holds `CAP_NET_RAW` can reach the kernel's `af_packet` code, which had many faults of the
//! kind that gives away the host (CVE-2016-8655, CVE-2017-7308, CVE-2020-14386, CVE-2021-22600,
//! CVE-2025-38617, CVE-2026-31700, CVE-2026-98850). Keep the kernel current, drop the capability
//! after [`Sockets::open`], and forbid `socket(AF_PACKET)` by seccomp afterwards.

mod af_packet_input;
mod af_packet_output;
mod device;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod heap;
mod inherit;
mod link;
mod options;
mod region;
mod ring;
mod socket;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod uapi;

pub use af_packet_input::{AfPacketInput, AfPacketInputDrop, AfPacketInputNext};
pub use af_packet_output::{AfPacketOutput, AfPacketOutputDrop};
pub use device::{Device, Fanout, FanoutGroup, KernelCounters, WAIT_FDS_MAX, Wake};
pub use error::{AttachError, LinkError, OpenError};
pub use inherit::{InheritError, inherit, open_for_child};
pub use link::{LinkEvent, LinkInfo, LinkMonitor, NAME_MAX, WATCHED_MAX};
pub use options::{Options, RING_LEN_MAX, RX_BLOCK_LEN_MIN, RxVersion, TX_SLOT_LEN};
pub use region::Geometry;
pub use ring::{Kick, KickError, RxCounters, RxRing, RxTurn, TxCounters, TxRing, TxTurn};
pub use socket::{SPARES_MAX, Sockets};
