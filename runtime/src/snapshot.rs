//! How a worker is, copied between two turns: what `show` commands and metrics are made from.

use std::time::Duration;

use af_packet::Device;
use dataplane::counters::Counters;
use dataplane::graph::NodeInfo;
use dataplane::{IfIndex, Interface};
use ipstack::addresses::InterfaceAddress;
use ipstack::fib::Route;
use ipstack::neighbors::Neighbor;
use ipstack::tcp::{ConnectionInfo, TcpCounters};

use crate::assemble::Assembly;

/// How a worker is. Everything in it is of one moment.
#[derive(Clone, Debug)]
pub struct WorkerSnapshot {
    /// The worker's clock: since it started.
    pub uptime: Duration,
    /// The graph's nodes.
    pub nodes: Vec<NodeInfo>,
    /// What they and the interfaces did.
    pub counters: Counters,
    /// The interfaces.
    pub interfaces: Vec<(IfIndex, Interface)>,
    /// Their addresses.
    pub addresses: Vec<(IfIndex, InterfaceAddress)>,
    /// Connected and static routes.
    pub routes: Vec<Route>,
    /// Neighbours.
    pub neighbors: Vec<Neighbor>,
    /// Connections.
    pub connections: Vec<ConnectionInfo>,
    /// TCP's counters.
    pub tcp: TcpCounters,
    /// What the receive ring saw.
    pub rx: af_packet::RxCounters,
    /// What the transmit ring did.
    pub tx: af_packet::TxCounters,
    /// What the kernel counted; zero when it does not tell.
    pub kernel: af_packet::KernelCounters,
}

impl WorkerSnapshot {
    pub(crate) fn of(assembly: &Assembly, device: &mut Device, now: Duration) -> Self {
        Self {
            uptime: now,
            nodes: assembly.graph.nodes().to_vec(),
            counters: assembly.graph.counters().clone(),
            interfaces: assembly
                .interfaces()
                .borrow()
                .iter()
                .map(|(index, interface)| (index, interface.clone()))
                .collect(),
            addresses: assembly.tables.addresses(),
            routes: assembly.tables.routes(),
            neighbors: assembly.tables.neighbors(now),
            connections: assembly.tcp.connections(now),
            tcp: assembly.tcp.counters(),
            rx: device.rx_counters(),
            tx: device.tx_counters(),
            kernel: device.kernel_counters().unwrap_or_default(),
        }
    }
}
