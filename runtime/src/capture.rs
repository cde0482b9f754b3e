//! Packet capture: whole packets, as they are on the wire, for a pcapng file.
//!
//! A worker never writes a file. Its [`Tap`] copies packets into a bounded ring of octets; the
//! thread of `writer` empties the rings of all workers into the file. When it cannot keep up,
//! packets are left out and counted, and nothing waits.

pub mod folder;
mod image;
pub(crate) mod writer;

use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dataplane::{Frame, IfIndex};
use rtrb::{Consumer, Producer, RingBuffer};
use serde::Serialize;
use vlan::SubInterfaces;

use crate::capture::image::Image;

/// Octets of packets a worker's ring holds: what it may receive at 6 Gb/s while the writer is away
/// for its 5 ms.
pub const RING_OCTETS_MAX: usize = 4 << 20;

/// Packets a worker's ring holds.
pub const RING_PACKETS_MAX: usize = 16 << 10;

/// Packets a capture takes at most.
pub const PACKETS_MAX: u64 = 10_000_000;

/// Packets a capture takes when nobody says how many, as in VPP.
pub const PACKETS_DEFAULT: u64 = 1000;

/// Octets of a packet that are kept at least, when fewer than all are asked for; as in VPP.
pub const SNAPLEN_MIN: u32 = 32;

/// Octets of a packet that are kept at most: a super-segment with two tags.
pub const SNAPLEN_MAX: u32 = 65_536 + 64;

/// Octets of a file. It may lie in memory, as `/run` does.
pub const FILE_OCTETS_MAX: u64 = 256 << 20;

/// Which packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Received ones.
    pub rx: bool,
    /// Transmitted ones.
    pub tx: bool,
    /// Dropped ones.
    pub drop: bool,
}

impl fmt::Display for Kinds {
    /// `rx tx drop`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.rx, "rx"), (self.tx, "tx"), (self.drop, "drop")];
        let wanted: Vec<_> = names
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, n)| *n)
            .collect();
        f.write_str(&wanted.join(" "))
    }
}

/// What to capture, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which packets.
    pub kinds: Kinds,
    /// So many, then it ends by itself; 1 to [`PACKETS_MAX`].
    pub packets: u64,
    /// So many octets of each; [`SNAPLEN_MIN`] to [`SNAPLEN_MAX`].
    pub snaplen: u32,
    /// Of this port with its sub-interfaces, or of this sub-interface; `None`: of all.
    pub interface: Option<String>,
    /// The file's name, see [`folder::CaptureFolder::create`].
    pub file: String,
}

/// How a capture is, or how it went.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// `rx tx drop`, those of them that were asked for.
    pub kinds: String,
    /// The most packets it takes.
    pub max: u64,
    /// The interface; `null`: any.
    pub interface: Option<String>,
    /// The file.
    pub file: String,
    /// Packets in the file.
    pub packets: u64,
    /// Packets that are missing, because the writer could not keep up.
    pub lost: u64,
    /// Why it ended; `null` while it goes on.
    pub ended: Option<String>,
}

/// What worker and writer share besides the rings.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Packets in the file.
    pub(crate) written: AtomicU64,
    /// Packets that found a ring full.
    pub(crate) lost: AtomicU64,
    /// The writer shall finish: no tap writes any more.
    pub(crate) stop: AtomicBool,
    /// The writer takes no more: taps may go.
    pub(crate) over: AtomicBool,
    /// Why it ended, once the file is closed.
    pub(crate) ended: OnceLock<String>,
}

/// What happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Received,
    Transmitted,
    /// Node and reason.
    Dropped(&'static str, &'static str),
    /// The port refused it after all: its octets are to be skipped.
    Nothing,
}

/// A packet whose octets are in the ring of octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) what: What,
    /// Since the epoch.
    pub(crate) at: Duration,
    pub(crate) interface: IfIndex,
    /// Octets in the ring.
    pub(crate) kept: usize,
    /// Octets on the wire.
    pub(crate) length: usize,
    /// A transport checksum left for the hardware: where summing starts, where the sum goes.
    pub(crate) checksum: Option<(usize, usize)>,
}

/// The wall clock as it was when the capture began, continued by the monotonic one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    epoch: Duration,
}

impl Clock {
    pub(crate) fn now() -> Self {
        Self {
            start: Instant::now(),
            epoch: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    fn read(self) -> Duration {
        self.epoch + self.start.elapsed()
    }
}

/// The writer's end of a worker's rings.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) heads: Consumer<Head>,
    pub(crate) octets: Consumer<u8>,
}

/// A worker's end: copies packets, on the packet path.
#[derive(Debug)]
pub struct Tap {
    kinds: Kinds,
    snaplen: usize,
    /// Only this interface.
    only: Option<IfIndex>,
    port: IfIndex,
    clock: Clock,
    left: u64,
    shared: Arc<Shared>,
    heads: Producer<Head>,
    octets: Producer<u8>,
    /// Transmitted, unless the port refuses it; its octets are in the ring already.
    pending: Option<Head>,
}

impl Tap {
    /// A tap for a worker of `port`, and the writer's end of it.
    pub(crate) fn new(
        order: &Order,
        port: IfIndex,
        only: Option<IfIndex>,
        clock: Clock,
        shared: &Arc<Shared>,
    ) -> (Self, Drain) {
        let (heads, heads_out) = RingBuffer::new(RING_PACKETS_MAX);
        let (octets, octets_out) = RingBuffer::new(RING_OCTETS_MAX);
        let tap = Self {
            kinds: order.kinds,
            snaplen: usize::try_from(order.snaplen).unwrap_or(usize::MAX),
            only,
            port,
            clock,
            left: order.packets,
            shared: Arc::clone(shared),
            heads,
            octets,
            pending: None,
        };
        let drain = Drain {
            heads: heads_out,
            octets: octets_out,
        };
        (tap, drain)
    }

    /// A frame as the ring gave it.
    pub(crate) fn received(&mut self, frame: &Frame<'_>, sub_interfaces: &SubInterfaces) {
        if !self.kinds.rx {
            return;
        }
        let image = Image::received(frame);
        let found = sub_interfaces.find(self.port, image.all_tags(frame));
        self.keep(What::Received, found.unwrap_or(self.port), frame, &image);
    }

    /// A frame that is handed to the port.
    pub(crate) fn transmitted(&mut self, frame: &Frame<'_>) {
        if self.kinds.tx {
            let image = Image::transmitted(frame);
            self.keep(What::Transmitted, frame.meta.interface, frame, &image);
        }
    }

    /// The port did not take what was transmitted last.
    pub(crate) fn refused(&mut self) {
        if let Some(head) = &mut self.pending {
            head.what = What::Nothing;
            self.left += 1;
        }
    }

    /// A frame `node` drops.
    pub(crate) fn dropped(&mut self, node: &'static str, reason: &'static str, frame: &Frame<'_>) {
        if self.kinds.drop {
            let image = Image::at(node, frame);
            let what = What::Dropped(node, reason);
            self.keep(what, frame.meta.interface, frame, &image);
        }
    }

    fn keep(&mut self, what: What, interface: IfIndex, frame: &Frame<'_>, image: &Image) {
        self.settle();
        if self.left == 0 || self.only.is_some_and(|only| only != interface) {
            return;
        }
        let kept = image.len(frame).min(self.snaplen);
        if self.heads.is_full() || self.octets.slots() < kept {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut left = kept;
        for piece in image.pieces(frame) {
            let piece = piece.get(..left).unwrap_or(piece);
            left -= piece.len();
            let _ = self.octets.write_all(piece); // there is room: it is taken whole
        }
        self.left -= 1;
        self.pending = Some(Head {
            what,
            at: self.clock.read(),
            interface,
            kept,
            length: image.wire_len(frame),
            checksum: image.checksum(frame),
        });
    }

    /// Hands over the packet before; to be called after each turn, when nothing can be refused
    /// any more.
    pub(crate) fn settle(&mut self) {
        if let Some(head) = self.pending.take() {
            // There was room when its octets were put there, and only this end fills it.
            let _ = self.heads.push(head);
        }
    }

    /// Whether more packets are wanted.
    pub(crate) fn is_wanted(&self) -> bool {
        self.left > 0 && !self.shared.over.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
