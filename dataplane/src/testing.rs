//! For tests and benches: a port in memory, a harness around one node, frame builders.

use std::time::Duration;

use crate::batch::{BATCH_MAX, Batch};
use crate::counters::{Counters, DropTable, InterfaceCounters, NodeCounters};
use crate::frame::{EtherType, Frame, HEADROOM, MacAddr, Meta, Tag};
use crate::interface::IfIndex;
use crate::label::Label;
use crate::node::Node;
use crate::outlets::{Context, Outlets};
use crate::port::{Offload, Port};

/// A frame that came out of a node or a port: its octets and metadata, copied.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The octets.
    pub octets: Vec<u8>,
    /// What was known besides.
    pub meta: Meta,
    /// The start of the octets in their buffer, as [`Checksum::Partial`](crate::Checksum::Partial) counts.
    pub offset: usize,
}

impl Captured {
    fn of(frame: &Frame<'_>) -> Self {
        let mut octets = Vec::with_capacity(frame.total_len());
        frame.copy_to(&mut octets);
        Self {
            octets,
            meta: frame.meta,
            offset: frame.offset(),
        }
    }
}

/// A port without a wire: hands out buffers, records what is transmitted.
#[derive(Debug)]
pub struct MemoryPort<'block> {
    free: std::slice::IterMut<'block, Vec<u8>>,
    /// Where a [`Room`] counts the slots taken.
    used: Option<&'block mut usize>,
    next_slot: u32,
    offload: Offload,
    /// What was transmitted, in order.
    pub transmitted: Vec<Captured>,
    /// Whether to keep copies in [`Self::transmitted`]; a bench may not want them.
    pub record: bool,
}

impl<'block> MemoryPort<'block> {
    /// A port whose slots are `slots`, each with [`HEADROOM`] octets kept free. Contents as they
    /// are; [`slots`] fills them with `0xa5`.
    pub fn new(slots: &'block mut [Vec<u8>], offload: Offload) -> Self {
        Self {
            free: slots.iter_mut(),
            used: None,
            next_slot: 0,
            offload,
            transmitted: Vec::new(),
            record: true,
        }
    }

    fn take(&mut self) -> Option<&'block mut Vec<u8>> {
        let slot = self.free.next()?;
        if let Some(used) = &mut self.used {
            **used += 1;
        }
        Some(slot)
    }
}

/// Memory for one [`MemoryPort`] after the other, each of which finds all of it `0xa5`. Only what
/// was used is filled again, which is most of the time otherwise.
#[derive(Debug)]
pub struct Room {
    slots: Vec<Vec<u8>>,
    used: usize,
}

impl Room {
    /// As [`slots`].
    pub fn new(count: usize, len: usize) -> Self {
        Self {
            slots: slots(count, len),
            used: 0,
        }
    }

    /// A port with all of the slots.
    pub fn port(&mut self, offload: Offload) -> MemoryPort<'_> {
        let Self { slots, used } = self;
        slots
            .iter_mut()
            .take(*used)
            .for_each(|slot| slot.fill(0xa5));
        *used = 0;
        MemoryPort {
            used: Some(used),
            ..MemoryPort::new(slots, offload)
        }
    }

    fn is(&self, count: usize, len: usize) -> bool {
        self.slots.len() == count && self.slots.iter().all(|slot| slot.len() == len)
    }
}

/// Memory for a [`MemoryPort`]: `count` slots of `len` octets, all `0xa5`.
pub fn slots(count: usize, len: usize) -> Vec<Vec<u8>> {
    vec![vec![0xa5; len]; count]
}

impl<'block> Port<'block> for MemoryPort<'block> {
    fn alloc(&mut self, len: usize) -> Option<Frame<'block>> {
        if self.free.as_slice().first()?.len() < HEADROOM + len {
            return None;
        }
        let buffer = self.take()?;
        let slot = self.next_slot;
        self.next_slot += 1;
        Some(Frame::in_slot(buffer, HEADROOM, len, slot))
    }

    fn transmit(&mut self, frame: Frame<'block>) -> Result<(), Frame<'block>> {
        if frame.slot().is_none() && self.take().is_none() {
            return Err(frame);
        }
        if self.record {
            self.transmitted.push(Captured::of(&frame));
        }
        Ok(())
    }

    fn offload(&self) -> Offload {
        self.offload
    }

    fn gathers(&self) -> bool {
        self.offload.segmentation_max > 0
    }
}

/// A frame that left the node under test.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The arc's name.
    pub arc: &'static str,
    /// What went along it.
    pub frame: Captured,
}

/// What one run of a [`Harness`] did.
#[derive(Debug)]
pub struct Outcome {
    /// Frames sent along arcs: arc by arc, each in order.
    pub sent: Vec<Sent>,
    /// Frames transmitted, in order.
    pub transmitted: Vec<Captured>,
    /// The node's counters, since the last run.
    pub counters: NodeCounters,
    /// The interfaces' counters, since the last run.
    pub interfaces: Vec<InterfaceCounters>,
    drop_names: Vec<&'static str>,
}

impl Outcome {
    /// The drop counters that moved, by name. Compare with all you expect: an unexpected one
    /// fails the test.
    pub fn drops(&self) -> Vec<(&'static str, u64)> {
        let counts = self.drop_names.iter().zip(&self.counters.drops);
        counts
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| (*name, *count))
            .collect()
    }

    /// The arcs of [`Self::sent`].
    pub fn arcs(&self) -> Vec<&'static str> {
        self.sent.iter().map(|sent| sent.arc).collect()
    }
}

/// One node alone in a graph whose arcs end in recorders.
#[derive(Debug)]
pub struct Harness<N: Node> {
    node: Option<N>,
    pub(crate) room: Room,
    drops: DropTable,
    /// Each has [`HEADROOM`] octets in front.
    inputs: Vec<(Vec<u8>, Meta)>,
    /// The time given to the node.
    pub now: Duration,
    /// What the port claims to do.
    pub offload: Offload,
    /// Slots the port has in one run.
    pub slots: usize,
    /// Octets of a slot.
    pub slot_len: usize,
}

/// Interfaces whose counters a [`Harness`] has; those of others count for number 0.
const INTERFACES: u16 = 8;

impl<N: Node + 'static> Harness<N> {
    /// A harness around `node`, with a port of 300 slots of 4,096 octets.
    pub fn new(node: N) -> Self {
        let mut drops = DropTable::new(std::iter::once(N::Drop::ALL.len()));
        (0..INTERFACES).for_each(|interface| drops.make(IfIndex(interface)));
        Self {
            node: Some(node),
            room: Room::new(0, 0),
            drops,
            inputs: Vec::new(),
            now: Duration::ZERO,
            offload: Offload::default(),
            slots: 300,
            slot_len: 4096,
        }
    }

    /// The node.
    ///
    /// # Panics
    /// Not between runs.
    pub fn node(&mut self) -> &mut N {
        self.node
            .as_mut()
            .unwrap_or_else(|| unreachable!("the node is back after each run"))
    }

    /// Adds a frame of `octets` to the next run, its metadata changed by `change`.
    pub fn input(&mut self, octets: &[u8], change: impl FnOnce(&mut Meta)) -> &mut Self {
        let wire_len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        let mut meta = Meta {
            wire_len,
            ..Meta::default()
        };
        change(&mut meta);
        let mut buffer = Vec::with_capacity(HEADROOM + octets.len());
        buffer.resize(HEADROOM, 0xa5);
        buffer.extend_from_slice(octets);
        self.inputs.push((buffer, meta));
        self
    }

    /// Gives the inputs to the node, then runs its timer if it is due.
    ///
    /// # Panics
    /// When the node leaves frames behind or its counters do not add up.
    pub fn run(&mut self) -> Outcome {
        if !self.room.is(self.slots, self.slot_len) {
            self.room = Room::new(self.slots, self.slot_len);
        }
        let mut inputs = std::mem::take(&mut self.inputs);
        let mut port = self.room.port(self.offload);
        let mut sent = Vec::new();
        let arcs: Vec<usize> = (0..N::Next::ALL.len()).collect();
        let mut totals = Counters {
            nodes: vec![NodeCounters {
                drops: vec![0; N::Drop::ALL.len()],
                ..NodeCounters::default()
            }],
            interfaces: vec![InterfaceCounters::default(); usize::from(INTERFACES)],
        };
        self.drops.clear();
        let mut frames = inputs.iter_mut().map(|(buffer, meta)| {
            let len = buffer.len() - HEADROOM;
            let mut frame = Frame::new(buffer, HEADROOM, len);
            frame.meta = *meta;
            frame
        });
        let mut node = self
            .node
            .take()
            .unwrap_or_else(|| unreachable!("back after each run"));
        loop {
            let mut batch = Batch::default();
            for frame in frames.by_ref().take(BATCH_MAX) {
                assert!(batch.push(frame).is_ok(), "a batch takes {BATCH_MAX}");
            }
            let last = batch.len() < BATCH_MAX;
            let mut ready = 0;
            let mut queues: Vec<Vec<Frame<'_>>> = N::Next::ALL.iter().map(|_| Vec::new()).collect();
            totals.nodes[0].calls += 1;
            totals.nodes[0].received += batch.len() as u64;
            let cx = Context {
                port: &mut port,
                queues: &mut queues,
                ready: &mut ready,
                counters: &mut totals,
                drops: &mut self.drops,
                observer: None,
                node: 0,
                name: N::NAME,
                now: self.now,
            };
            let mut outlets = Outlets::new(cx, &arcs);
            node.process(self.now, &mut batch, &mut outlets);
            if last && node.deadline().is_some_and(|at| at <= self.now) {
                node.on_timer(self.now, &mut outlets);
            }
            totals.nodes[0].leaked += batch.len() as u64;
            for (queue, next) in queues.iter().zip(N::Next::ALL) {
                sent.extend(queue.iter().map(|f| Sent {
                    arc: next.name(),
                    frame: Captured::of(f),
                }));
            }
            if last {
                break;
            }
        }
        let counters = totals.nodes.swap_remove(0);
        let interfaces = totals.interfaces;
        self.node = Some(node);
        assert_eq!(counters.leaked, 0, "{} left frames in its batch", N::NAME);
        assert_eq!(
            counters.received + counters.made,
            counters.sent + counters.transmitted + counters.consumed + counters.dropped(),
            "{}: what came in and was made must be sent, transmitted, consumed or dropped",
            N::NAME
        );
        Outcome {
            sent,
            transmitted: port.transmitted,
            counters,
            interfaces,
            drop_names: N::Drop::ALL.iter().map(|drop| drop.name()).collect(),
        }
    }
}

/// An Ethernet frame: header, `tags` inline (outermost first), `payload`, padded to 60 octets.
pub fn ethernet(
    destination: MacAddr,
    source: MacAddr,
    tags: &[Tag],
    ether_type: EtherType,
    payload: &[u8],
) -> Vec<u8> {
    let mut octets = Vec::with_capacity(64 + payload.len());
    octets.extend(destination.0);
    octets.extend(source.0);
    for tag in tags {
        octets.extend(tag.tpid.0.to_be_bytes());
        octets.extend(tag.tci.to_be_bytes());
    }
    octets.extend(ether_type.0.to_be_bytes());
    octets.extend(payload);
    if octets.len() < 60 {
        octets.resize(60, 0);
    }
    octets
}
