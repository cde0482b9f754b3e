//! The only way out of a node: send, drop, transmit, consume. Counting happens here.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::counters::{Counters, DropTable};
use crate::frame::Frame;
use crate::interface::IfIndex;
use crate::label::Label;
use crate::observe::Observer;
use crate::port::{Offload, Port};

/// What the graph lends a node while it runs, untyped.
pub(crate) struct Context<'g, 'block> {
    pub(crate) port: &'g mut (dyn Port<'block> + 'g),
    pub(crate) queues: &'g mut [Vec<Frame<'block>>],
    /// Bit `n`: node `n` has frames waiting.
    pub(crate) ready: &'g mut u64,
    pub(crate) counters: &'g mut Counters,
    pub(crate) drops: &'g mut DropTable,
    pub(crate) observer: Option<&'g mut (dyn Observer + 'g)>,
    pub(crate) node: usize,
    pub(crate) name: &'static str,
    pub(crate) now: Duration,
}

impl<'g, 'block> Context<'g, 'block> {
    /// The same, lent for less long: trait objects behind `&mut` shorten field by field only.
    pub(crate) fn shorten<'s>(self) -> Context<'s, 'block>
    where
        'g: 's,
    {
        Context {
            port: self.port,
            queues: self.queues,
            ready: self.ready,
            counters: self.counters,
            drops: self.drops,
            observer: self
                .observer
                .map(|observer| observer as &mut (dyn Observer + 's)),
            node: self.node,
            name: self.name,
            now: self.now,
        }
    }
}

/// The only way out of a node.
pub struct Outlets<'g, 'block, Next, Drop> {
    cx: Context<'g, 'block>,
    arcs: &'g [usize],
    labels: PhantomData<(Next, Drop)>,
}

impl<'g, 'block, N: Label, D: Label> Outlets<'g, 'block, N, D> {
    pub(crate) fn new(cx: Context<'g, 'block>, arcs: &'g [usize]) -> Self {
        Self {
            cx,
            arcs,
            labels: PhantomData,
        }
    }

    /// Sends `frame` along arc `next`.
    #[inline]
    pub fn send(&mut self, next: N, frame: Frame<'block>) {
        let to = self.arcs[next.index()];
        self.cx.counters.nodes[self.cx.node].sent += 1;
        self.cx.queues[to].push(frame);
        *self.cx.ready |= 1 << to;
    }

    /// Drops `frame` for `reason`, counted at this node and at the frame's interface.
    #[inline]
    pub fn drop(&mut self, reason: D, frame: Frame<'block>) {
        if let Some(observer) = self.cx.observer.as_deref_mut() {
            observer.dropped(self.cx.name, reason.name(), self.cx.now, &frame);
        }
        let interface = frame.into_meta().interface;
        self.count_drop(reason, interface);
    }

    #[inline]
    fn count_drop(&mut self, reason: D, interface: IfIndex) {
        let (node, reason) = (self.cx.node, reason.index());
        self.cx.counters.nodes[node].drops[reason] += 1;
        let whose = self.cx.drops.count(interface, node, reason);
        self.cx.counters.interface(whose).drops += 1;
    }

    /// Counts a drop of something that is no frame any more, such as a packet that waited for a
    /// neighbour too long: it was consumed before, so it is made and dropped now.
    pub fn drop_kept(&mut self, reason: D, interface: IfIndex) {
        self.cx.counters.nodes[self.cx.node].made += 1;
        self.count_drop(reason, interface);
    }

    /// The node has taken what it needs of `frame`.
    #[inline]
    pub fn consume(&mut self, _frame: Frame<'block>) {
        self.cx.counters.nodes[self.cx.node].consumed += 1;
    }

    /// A frame of `len` octets of the node's own, behind [`HEADROOM`](crate::HEADROOM) free ones;
    /// `None` when the port has no room now. Like a received one it must be sent, dropped,
    /// transmitted or consumed.
    #[inline]
    pub fn alloc(&mut self, len: usize) -> Option<Frame<'block>> {
        let frame = self.cx.port.alloc(len)?;
        self.cx.counters.nodes[self.cx.node].made += 1;
        Some(frame)
    }

    /// Hands `frame` to the port.
    ///
    /// # Errors
    /// The frame, when the port has no room; it is still the node's.
    #[inline]
    pub fn transmit(&mut self, frame: Frame<'block>) -> Result<(), Frame<'block>> {
        if let Some(observer) = self.cx.observer.as_deref_mut() {
            observer.transmitted(self.cx.now, &frame);
        }
        let refused = self.cx.port.transmit(frame);
        if refused.is_err()
            && let Some(observer) = self.cx.observer.as_deref_mut()
        {
            observer.refused();
        }
        refused?;
        self.cx.counters.nodes[self.cx.node].transmitted += 1;
        Ok(())
    }

    /// What the port does for outgoing frames.
    pub fn offload(&self) -> Offload {
        self.cx.port.offload()
    }

    /// Whether frames may have a tail; see [`Port::gathers`].
    pub fn gathers(&self) -> bool {
        self.cx.port.gathers()
    }

    /// Counts a frame of `octets` received on `interface`.
    #[inline]
    pub fn count_rx(&mut self, interface: IfIndex, octets: usize) {
        let counters = self.cx.counters.interface(interface);
        counters.rx_packets += 1;
        counters.rx_bytes += octets as u64;
    }

    /// Counts a frame of `octets` transmitted on `interface`.
    #[inline]
    pub fn count_tx(&mut self, interface: IfIndex, octets: usize) {
        let counters = self.cx.counters.interface(interface);
        counters.tx_packets += 1;
        counters.tx_bytes += octets as u64;
    }
}

impl<N, D> fmt::Debug for Outlets<'_, '_, N, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlets")
            .field("node", &self.cx.name)
            .finish_non_exhaustive()
    }
}
