//! Wiring nodes, carrying batches between them, counting, drawing.

use std::fmt;
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::time::Duration;

use crate::batch::{Batch, recycle};
use crate::counters::{Counters, DropTable, InterfaceCounters, InterfaceDrop, NodeCounters};
use crate::frame::Frame;
use crate::interface::{INTERFACES_MAX, IfIndex};
use crate::label::Label;
use crate::node::Node;
use crate::observe::Observer;
use crate::outlets::{Context, Outlets};
use crate::port::Port;

/// Nodes a graph holds at most.
pub const NODES_MAX: usize = 64;

/// A node's place in its graph; typed, so that only its own arcs can be connected.
pub struct NodeId<N> {
    index: usize,
    node: PhantomData<fn() -> N>,
}

impl<N> NodeId<N> {
    /// The place in [`Counters::nodes`] and [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.index
    }
}

impl<N> Clone for NodeId<N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for NodeId<N> {}

impl<N> fmt::Debug for NodeId<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.index)
    }
}

/// A graph that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// An arc leads nowhere.
    Unconnected {
        /// The node.
        node: &'static str,
        /// Its arc.
        arc: &'static str,
    },
    /// Two nodes have the same name.
    Duplicate {
        /// The name.
        node: &'static str,
    },
    /// More nodes than [`NODES_MAX`].
    TooManyNodes,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unconnected { node, arc } => {
                write!(
                    f,
                    "{node}: arc `{arc}` leads nowhere; connect it, to `error-drop` if need be"
                )
            }
            Self::Duplicate { node } => {
                write!(f, "{node}: added twice; a name stands for one node")
            }
            Self::TooManyNodes => write!(f, "more than {NODES_MAX} nodes in one graph"),
        }
    }
}

impl std::error::Error for BuildError {}

/// A node as the graph sees it, its labels erased.
trait Wired {
    fn process<'block>(&mut self, batch: &mut Batch<'block>, cx: Context<'_, 'block>);
    fn on_timer(&mut self, cx: Context<'_, '_>);
    fn deadline(&self) -> Option<Duration>;
}

struct WiredNode<N> {
    node: N,
    arcs: Box<[usize]>,
}

impl<N: Node> Wired for WiredNode<N> {
    fn process<'block>(&mut self, batch: &mut Batch<'block>, cx: Context<'_, 'block>) {
        let now = cx.now;
        self.node
            .process(now, batch, &mut Outlets::new(cx.shorten(), &self.arcs));
    }

    fn on_timer(&mut self, cx: Context<'_, '_>) {
        let now = cx.now;
        self.node
            .on_timer(now, &mut Outlets::new(cx.shorten(), &self.arcs));
    }

    fn deadline(&self) -> Option<Duration> {
        self.node.deadline()
    }
}

/// A node's names, for counters and drawings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// [`Node::NAME`].
    pub name: &'static str,
    /// The node's type with its path, for example `vlan::dot1q_demux::Dot1qDemux`: in a tree with
    /// a file per node it tells the file.
    pub type_name: &'static str,
    /// Each arc's name and the node it leads to.
    pub arcs: Vec<(&'static str, usize)>,
    /// The drop reasons, in the order of [`NodeCounters::drops`].
    pub drops: Vec<&'static str>,
}

/// Makes the node of a draft, given where its arcs lead.
type Finish = Box<dyn FnOnce(Box<[usize]>) -> Box<dyn Wired>>;

struct Draft {
    info: NodeInfo,
    arcs: Vec<Option<usize>>,
    arc_names: Vec<&'static str>,
    finish: Finish,
}

/// Collects nodes and arcs; [`GraphBuilder::build`] checks them.
#[derive(Default)]
pub struct GraphBuilder {
    drafts: Vec<Draft>,
}

impl GraphBuilder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node. Frames waiting at several nodes are taken in the order nodes were added, so
    /// add them in the order a packet meets them.
    pub fn add<N: Node + 'static>(&mut self, node: N) -> NodeId<N> {
        let index = self.drafts.len();
        self.drafts.push(Draft {
            info: NodeInfo {
                name: N::NAME,
                type_name: std::any::type_name::<N>(),
                arcs: Vec::new(),
                drops: N::Drop::ALL.iter().map(|drop| drop.name()).collect(),
            },
            arcs: vec![None; N::Next::ALL.len()],
            arc_names: N::Next::ALL.iter().map(|next| next.name()).collect(),
            finish: Box::new(|arcs| Box::new(WiredNode { node, arcs })),
        });
        NodeId {
            index,
            node: PhantomData,
        }
    }

    /// Leads arc `next` of `from` to `to`; the last call for an arc counts.
    pub fn connect<N: Node, M>(
        &mut self,
        from: NodeId<N>,
        next: N::Next,
        to: NodeId<M>,
    ) -> &mut Self {
        let draft = &mut self.drafts[from.index];
        draft.arcs[next.index()] = Some(to.index);
        let name = next.name();
        draft.info.arcs.retain(|(arc, _)| *arc != name);
        draft.info.arcs.push((name, to.index));
        self
    }

    /// The graph.
    ///
    /// # Errors
    /// An arc that leads nowhere, two nodes of one name, more than [`NODES_MAX`] nodes.
    pub fn build(self) -> Result<Graph, BuildError> {
        if self.drafts.len() > NODES_MAX {
            return Err(BuildError::TooManyNodes);
        }
        let mut graph = Graph {
            nodes: Vec::new(),
            infos: Vec::new(),
            queues: Vec::new(),
            batch: Some(Batch::new()),
            counters: Counters::default(),
            drops: DropTable::default(),
            observer: None,
        };
        for draft in self.drafts {
            let node = draft.info.name;
            if graph.infos.iter().any(|info| info.name == node) {
                return Err(BuildError::Duplicate { node });
            }
            let mut arcs = Vec::with_capacity(draft.arcs.len());
            for (to, arc) in draft.arcs.iter().zip(draft.arc_names) {
                let Some(to) = *to else {
                    return Err(BuildError::Unconnected { node, arc });
                };
                arcs.push(to);
            }
            graph.counters.nodes.push(NodeCounters {
                drops: vec![0; draft.info.drops.len()],
                ..NodeCounters::default()
            });
            graph.nodes.push((draft.finish)(arcs.into_boxed_slice()));
            graph.infos.push(draft.info);
            graph.queues.push(Vec::with_capacity(crate::BATCH_MAX));
        }
        graph.drops = DropTable::new(graph.infos.iter().map(|info| info.drops.len()));
        graph.counters.interfaces.push(InterfaceCounters::default());
        Ok(graph)
    }
}

impl fmt::Debug for GraphBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.drafts.iter().map(|draft| &draft.info))
            .finish()
    }
}

/// What a turn did, and when the next is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Frames given to nodes, counted once per node.
    pub dispatched: usize,
    /// When a node's timer is due next; at or before `now` means at once.
    pub deadline: Option<Duration>,
}

/// Wired nodes, run to completion one turn at a time.
pub struct Graph {
    nodes: Vec<Box<dyn Wired>>,
    infos: Vec<NodeInfo>,
    /// One per node, empty between turns; kept for their memory.
    queues: Vec<Vec<Frame<'static>>>,
    batch: Option<Batch<'static>>,
    counters: Counters,
    drops: DropTable,
    observer: Option<Box<dyn Observer>>,
}

impl Graph {
    /// Gives the frames of `input` to `entry`, runs every timer that is due at `now`, and carries
    /// frames from node to node until none is left. `input` is empty afterwards.
    ///
    /// Queues are bounded by the frames in existence: those of `input`, and the port's slots.
    pub fn turn<'block, N>(
        &mut self,
        now: Duration,
        entry: NodeId<N>,
        input: &mut Batch<'block>,
        port: &mut dyn Port<'block>,
    ) -> Turn {
        let mut queues: Vec<Vec<Frame<'block>>> = std::mem::take(&mut self.queues)
            .into_iter()
            .map(recycle)
            .collect();
        let mut batch: Batch<'block> = self.batch.take().map_or_else(Batch::new, Batch::recycle);
        let mut ready = 0u64;
        if !input.is_empty() {
            queues[entry.index].extend(input.drain());
            ready |= 1 << entry.index;
        }
        let mut dispatched = self.drain(now, &mut ready, &mut queues, &mut batch, port);
        for node in 0..self.nodes.len() {
            if self.nodes[node].deadline().is_some_and(|at| at <= now) {
                self.counters.nodes[node].calls += 1;
                let cx = Context {
                    port: &mut *port,
                    queues: &mut queues,
                    ready: &mut ready,
                    counters: &mut self.counters,
                    drops: &mut self.drops,
                    observer: self.observer.as_deref_mut().map(|o| o as &mut dyn Observer),
                    node,
                    name: self.infos[node].name,
                    now,
                };
                self.nodes[node].on_timer(cx);
            }
        }
        dispatched += self.drain(now, &mut ready, &mut queues, &mut batch, port);
        self.queues = queues.into_iter().map(recycle).collect();
        self.batch = Some(batch.recycle());
        let deadline = self.nodes.iter().filter_map(|node| node.deadline()).min();
        Turn {
            dispatched,
            deadline,
        }
    }

    /// Dispatches the first ready node in order of addition until no frame is left, so that
    /// batches gather behind the slower nodes.
    fn drain<'block>(
        &mut self,
        now: Duration,
        ready: &mut u64,
        queues: &mut [Vec<Frame<'block>>],
        batch: &mut Batch<'block>,
        port: &mut dyn Port<'block>,
    ) -> usize {
        let mut dispatched = 0;
        while *ready != 0 {
            let node = ready.trailing_zeros() as usize;
            batch.fill_from(&mut queues[node]);
            if queues[node].is_empty() {
                *ready &= !(1 << node);
            }
            let received = batch.len();
            dispatched += received;
            let name = self.infos[node].name;
            if let Some(observer) = self.observer.as_deref_mut() {
                for frame in &mut *batch {
                    observer.arrive(name, now, frame);
                }
            }
            let counters = &mut self.counters.nodes[node];
            counters.calls += 1;
            counters.received += received as u64;
            let cx = Context {
                port: &mut *port,
                queues: &mut *queues,
                ready: &mut *ready,
                counters: &mut self.counters,
                drops: &mut self.drops,
                observer: self.observer.as_deref_mut().map(|o| o as &mut dyn Observer),
                node,
                name,
                now,
            };
            self.nodes[node].process(batch, cx);
            // A frame left in the batch would come back to life in the next node's.
            let left = batch.drain().len();
            self.counters.nodes[node].leaked += left as u64;
            debug_assert_eq!(left, 0, "{name} left frames in its batch");
        }
        dispatched
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sets every counter to 0.
    pub fn clear_counters(&mut self) {
        for node in &mut self.counters.nodes {
            let drops = node.drops.len();
            *node = NodeCounters {
                drops: vec![0; drops],
                ..NodeCounters::default()
            };
        }
        self.counters.interfaces.fill(InterfaceCounters::default());
        self.drops.clear();
    }

    /// Takes the memory to count the traffic and the drops of `interface`, if it has none. Traffic
    /// and drops of an interface that was not made count for number 0. Those past
    /// [`INTERFACES_MAX`] cannot be made.
    pub fn make_interface(&mut self, interface: IfIndex) {
        let at = usize::from(interface.0);
        if at >= INTERFACES_MAX {
            return;
        }
        let interfaces = &mut self.counters.interfaces;
        let len = interfaces.len().max(at + 1);
        interfaces.resize(len, InterfaceCounters::default());
        self.drops.make(interface);
    }

    /// Sets the counters of `interface` to 0: its number is about to mean another one. Its drops
    /// go over to number 0, so that the sums over interfaces remain those of the nodes.
    pub fn remove_interface(&mut self, interface: IfIndex) {
        let at = usize::from(interface.0);
        if at == 0 || at >= self.counters.interfaces.len() {
            return;
        }
        let gone = std::mem::take(&mut self.counters.interfaces[at]);
        self.counters.interfaces[0].drops += gone.drops;
        self.drops.remove(interface);
    }

    /// The drops so far that are not 0, by interface, node and reason.
    pub fn interface_drops(&self) -> impl Iterator<Item = InterfaceDrop> + '_ {
        self.drops.iter()
    }

    /// The nodes' names, in the order of [`Counters::nodes`].
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.infos
    }

    /// The count of drop `reason` at `node`, by name; 0 when there is no such node or reason.
    pub fn dropped(&self, node: &str, reason: &str) -> u64 {
        let Some(at) = self.infos.iter().position(|info| info.name == node) else {
            return 0;
        };
        let Some(drop) = self.infos[at].drops.iter().position(|name| *name == reason) else {
            return 0;
        };
        self.counters.nodes[at].drops[drop]
    }

    /// Who sees the frames go by; `None` for nobody.
    pub fn observe(&mut self, observer: Option<Box<dyn Observer>>) -> Option<Box<dyn Observer>> {
        std::mem::replace(&mut self.observer, observer)
    }

    /// The graph as a Mermaid flowchart.
    pub fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for info in &self.infos {
            let _ = writeln!(text, "    {0}[\"{0}\"]", info.name);
        }
        for info in &self.infos {
            for (arc, to) in &info.arcs {
                let _ = writeln!(
                    text,
                    "    {} -->|{arc}| {}",
                    info.name, self.infos[*to].name
                );
            }
        }
        text
    }

    /// The graph in Graphviz's language.
    pub fn graphviz(&self) -> String {
        graphviz(&self.infos)
    }
}

/// The graph of `nodes` in Graphviz's language.
pub fn graphviz(nodes: &[NodeInfo]) -> String {
    let mut text = String::from("digraph dataplane {\n  rankdir=LR;\n  node [shape=box];\n");
    for info in nodes {
        for (arc, to) in &info.arcs {
            let to = nodes.get(*to).map_or("", |to| to.name);
            let _ = writeln!(text, "  \"{}\" -> \"{to}\" [label=\"{arc}\"];", info.name);
        }
    }
    text.push_str("}\n");
    text
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph")
            .field("nodes", &self.infos)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
