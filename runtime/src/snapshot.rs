//! How the dataplane is, copied between two turns: what `show` commands and metrics are made from.

use std::time::Duration;

use af_packet::{Device, LinkInfo};
use dataplane::counters::{Counters, InterfaceDrop};
use dataplane::graph::NodeInfo;
use dataplane::{IfIndex, Interface};
use ipstack::addresses::InterfaceAddress;
use ipstack::fib::Route;
use ipstack::neighbors::Neighbor;
use ipstack::tcp::{ConnectionInfo, Limits, TcpCounters};

use crate::assemble::Assembly;
use crate::config::{Config, HttpServer};
use crate::plan::Plan;

/// Connections a worker tells of at most in one snapshot: copying them takes its time.
pub const CONNECTIONS_TOLD_MAX: usize = 1024;

/// Cached files a snapshot tells of at most, by path.
pub const CACHE_ENTRIES_TOLD_MAX: usize = 256;

/// How everything is.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The desired state.
    pub config: Config,
    /// The ports, in the order of the configuration.
    pub ports: Vec<PortSnapshot>,
    /// The HTTP servers, in the order of the configuration.
    pub http: Vec<HttpSnapshot>,
}

/// How one host interface is.
#[derive(Clone, Debug)]
pub struct PortSnapshot {
    /// What it shall run.
    pub plan: Plan,
    /// The kernel's interface, while there is one.
    pub link: Option<LinkInfo>,
    /// Workers there are; [`Self::workers`] has those that answered in time.
    pub worker_count: usize,
    /// The workers.
    pub workers: Vec<WorkerSnapshot>,
}

/// How one HTTP server is.
#[derive(Clone, Debug)]
pub struct HttpSnapshot {
    /// What it shall do.
    pub server: HttpServer,
    /// What it did.
    pub stats: http_static::Stats,
    /// Up to [`CACHE_ENTRIES_TOLD_MAX`] cached files.
    pub cache: Vec<http_static::CacheEntry>,
}

/// How a worker is. Everything in it is of one moment.
#[derive(Clone, Debug)]
pub struct WorkerSnapshot {
    /// Its number among all workers.
    pub number: usize,
    /// The worker's clock: since it started.
    pub uptime: Duration,
    /// Turns it took.
    pub turns: u64,
    /// The graph's nodes.
    pub nodes: Vec<NodeInfo>,
    /// What they and the interfaces did.
    pub counters: Counters,
    /// Why and where interfaces dropped frames.
    pub drops: Vec<InterfaceDrop>,
    /// The interfaces.
    pub interfaces: Vec<(IfIndex, Interface)>,
    /// Their addresses.
    pub addresses: Vec<(IfIndex, InterfaceAddress)>,
    /// Connected and static routes.
    pub routes: Vec<Route>,
    /// Neighbours.
    pub neighbors: Vec<Neighbor>,
    /// Connections, at most [`CONNECTIONS_TOLD_MAX`].
    pub connections: Vec<ConnectionInfo>,
    /// What of TCP is in use.
    pub limits: Limits,
    /// TCP's counters.
    pub tcp: TcpCounters,
    /// The rings' geometry.
    pub rings: af_packet::Options,
    /// Whether the kernel takes and gives checksum and segmentation state.
    pub offloads: bool,
    /// What the receive ring saw.
    pub rx: af_packet::RxCounters,
    /// What the transmit ring did.
    pub tx: af_packet::TxCounters,
    /// What the kernel counted; zero when it does not tell.
    pub kernel: af_packet::KernelCounters,
}

impl WorkerSnapshot {
    pub(crate) fn of(
        number: usize,
        turns: u64,
        assembly: &Assembly,
        device: &mut Device,
        now: Duration,
    ) -> Self {
        Self {
            number,
            uptime: now,
            turns,
            nodes: assembly.graph.nodes().to_vec(),
            counters: assembly.graph.counters().clone(),
            drops: assembly.graph.interface_drops().collect(),
            interfaces: assembly
                .interfaces()
                .borrow()
                .iter()
                .map(|(index, interface)| (index, interface.clone()))
                .collect(),
            addresses: assembly.tables.addresses(),
            routes: assembly.tables.routes(),
            neighbors: assembly.tables.neighbors(now),
            connections: assembly.tcp.connections_up_to(now, CONNECTIONS_TOLD_MAX),
            limits: assembly.tcp.limits(),
            tcp: assembly.tcp.counters(),
            rings: device.options().clone(),
            offloads: device.offloads(),
            rx: device.rx_counters(),
            tx: device.tx_counters(),
            kernel: device.kernel_counters(),
        }
    }
}
