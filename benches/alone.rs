//! One node alone in a graph: all its arcs lead to `error-drop`.

use std::time::Duration;

use dataplane::testing::{MemoryPort, slots};
use dataplane::{
    BATCH_MAX, Batch, ErrorDrop, Frame, Graph, GraphBuilder, HEADROOM, Label, Meta, Node, NodeId,
    Offload, Outlets,
};

/// Octets at the front of a frame that nodes change, written anew before each turn.
const CHANGED_MAX: usize = 128;

/// A node, the frames it is given, and a port with room for as many answers.
#[derive(Debug)]
pub struct Alone<N> {
    graph: Graph,
    entry: NodeId<N>,
    frames: Vec<(Vec<u8>, Meta)>,
    memory: Vec<Vec<u8>>,
    slots: Vec<Vec<u8>>,
    batch: Option<Batch<'static>>,
    /// The time given to the node.
    pub now: Duration,
}

impl<N: Node + 'static> Alone<N> {
    /// `node`, and `count` frames like `octets` with `meta`.
    ///
    /// # Panics
    /// When more than a batch holds are asked for.
    pub fn new(node: N, count: usize, octets: &[u8], meta: Meta) -> Self {
        Self::with_frames(node, vec![(octets.to_vec(), meta); count])
    }

    /// `node`, and `frames` with what is known of each besides its octets.
    ///
    /// # Panics
    /// When more than a batch holds are asked for.
    pub fn with_frames(node: N, mut frames: Vec<(Vec<u8>, Meta)>) -> Self {
        assert!(frames.len() <= BATCH_MAX, "one batch");
        let mut builder = GraphBuilder::new();
        let entry = builder.add(node);
        let end = builder.add(ErrorDrop);
        for next in N::Next::ALL {
            builder.connect(entry, *next, end);
        }
        let graph = builder
            .build()
            .unwrap_or_else(|error| unreachable!("{error}"));
        for (octets, meta) in &mut frames {
            meta.wire_len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        }
        let memory = frames.iter().map(|(octets, _)| {
            let mut buffer = vec![0; HEADROOM];
            buffer.extend(octets);
            buffer
        });
        Self {
            memory: memory.collect(),
            graph,
            entry,
            // A packet of 4,000 octets becomes three; two of 1,500 become one.
            slots: slots(3 * frames.len() + 1, 4096),
            frames,
            batch: Some(Batch::new()),
            now: Duration::from_secs(1),
        }
    }

    /// Gives the node its frames, once.
    pub fn turn(&mut self) {
        let mut port = MemoryPort::new(&mut self.slots, Offload::default());
        port.record = false;
        let mut batch = self.batch.take().unwrap_or_default().recycle();
        for (buffer, (octets, meta)) in self.memory.iter_mut().zip(&self.frames) {
            let changed = octets.len().min(CHANGED_MAX);
            buffer[HEADROOM..HEADROOM + changed].copy_from_slice(&octets[..changed]);
            let mut frame = Frame::new(buffer, HEADROOM, octets.len());
            frame.meta = *meta;
            let _ = batch.push(frame); // never more than a batch holds
        }
        self.graph.turn(self.now, self.entry, &mut batch, &mut port);
        self.batch = Some(batch.recycle());
    }

    /// Lets time pass until the node's timers, if it has any, have nothing to do.
    #[must_use]
    pub fn settled(mut self) -> Self {
        for _ in 0..8 {
            self.now += Duration::from_secs(10);
            self.turn();
        }
        self.graph.clear_counters();
        self
    }

    /// Runs a turn and compares what became of the frames: a bench that measures something else
    /// than its name says must not go unnoticed.
    ///
    /// # Panics
    /// When other numbers of frames were sent, consumed and dropped.
    #[must_use]
    pub fn checked(mut self, sent: usize, consumed: usize, dropped: usize) -> Self {
        self.graph.clear_counters();
        self.turn();
        let counters = &self.graph.counters().nodes[0];
        assert_eq!(
            (counters.sent, counters.consumed, counters.dropped()),
            (sent as u64, consumed as u64, dropped as u64),
            "{}: sent, consumed, dropped ({:?})",
            N::NAME,
            counters.drops
        );
        self
    }
}

dataplane::labels! {
    /// Where `pass-through` sends.
    pub enum PassThroughNext {
        /// Everything.
        Next = "next",
    }
}

/// The baseline of nodes: sends every frame on without looking at it.
#[derive(Clone, Copy, Debug)]
pub struct PassThrough;

impl Node for PassThrough {
    const NAME: &'static str = "pass-through";
    type Next = PassThroughNext;
    type Drop = dataplane::Never;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, PassThroughNext, dataplane::Never>,
    ) {
        for frame in batch.drain() {
            out.send(PassThroughNext::Next, frame);
        }
    }
}
