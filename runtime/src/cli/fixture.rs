//! A dataplane as the proof of concept has it, with invented figures.

use std::time::Duration;

use af_packet::{KernelCounters, LinkInfo, Options, RxCounters, TxCounters};
use dataplane::counters::{Counters, InterfaceCounters, InterfaceDrop, NodeCounters};
use dataplane::graph::NodeInfo;
use dataplane::{IfIndex, Interface, MacAddr};
use ipstack::addresses::{InterfaceAddress, Prefix};
use ipstack::fib::Route;
use ipstack::neighbors::{Neighbor, NeighborState};
use ipstack::tcp::{ConnectionInfo, Limits, State, TcpCounters};

use crate::plan::{Numbers, Plan};
use crate::snapshot::{HttpSnapshot, PortSnapshot, Snapshot, WorkerSnapshot};
use crate::startup_conf;

const STARTUP: &str = "\
create host-interface name macvlan0
set int state host-macvlan0 up
create sub-interfaces host-macvlan0 123
set interface state host-macvlan0.123 up
set int ip address host-macvlan0.123 192.168.123.150/24
ip route add 0.0.0.0/0 via 192.168.123.1
http static server www-root /www uri tcp://0.0.0.0/80 cache-size 512m
";

const MAC: MacAddr = MacAddr([0xc6, 0xb4, 0xb5, 0x74, 0x11, 0x88]);

fn interface(name: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        mac: MAC,
        mtu: 1500,
        up: true,
    }
}

fn nodes() -> (Vec<NodeInfo>, Vec<NodeCounters>) {
    let infos = vec![
        NodeInfo {
            name: "af-packet-input",
            type_name: "fixture",
            arcs: vec![("ethernet-input", 1)],
            drops: vec!["truncated"],
        },
        NodeInfo {
            name: "ethernet-input",
            type_name: "fixture",
            arcs: vec![("tagged", 2), ("untagged", 2)],
            drops: vec!["too-short", "l3-mac-mismatch"],
        },
        NodeInfo {
            name: "dot1q-demux",
            type_name: "fixture",
            arcs: vec![],
            drops: vec!["unknown-vid"],
        },
    ];
    let counters = vec![
        NodeCounters {
            calls: 4000,
            received: 5936,
            sent: 5936,
            drops: vec![0],
            ..Default::default()
        },
        NodeCounters {
            calls: 4000,
            received: 5936,
            sent: 5906,
            drops: vec![0, 30],
            ..Default::default()
        },
        NodeCounters {
            calls: 3990,
            received: 5906,
            consumed: 24,
            drops: vec![5882],
            ..Default::default()
        },
    ];
    (infos, counters)
}

fn connection() -> ConnectionInfo {
    ConnectionInfo {
        local: "192.168.123.150:80".parse().expect("an address"),
        remote: "192.168.123.1:40000".parse().expect("an address"),
        interface: IfIndex(2),
        state: State::Established,
        age: Duration::from_millis(1500),
        octets_in: 78,
        octets_out: 1_000_200,
        flight: 14_480,
        congestion_window: 28_960,
        send_window: 65_160,
        round_trip: Some(Duration::from_micros(240)),
        retransmissions: 1,
        buffered: true,
    }
}

/// On the port.
fn drop(node: usize, reason: usize, count: u64) -> InterfaceDrop {
    InterfaceDrop {
        interface: IfIndex(1),
        node,
        reason,
        count,
    }
}

fn worker() -> WorkerSnapshot {
    let (nodes, node_counters) = nodes();
    let traffic = |rx_packets, rx_bytes, tx_packets, tx_bytes, drops| InterfaceCounters {
        rx_packets,
        rx_bytes,
        tx_packets,
        tx_bytes,
        drops,
    };
    let own = InterfaceAddress::new([192, 168, 123, 150].into(), 24).expect("a station's");
    WorkerSnapshot {
        number: 0,
        uptime: Duration::from_millis(94_100),
        turns: 9410,
        nodes,
        counters: Counters {
            nodes: node_counters,
            interfaces: vec![
                InterfaceCounters::default(),
                traffic(5936, 563_213, 24, 1440, 5912),
                traffic(24, 1440, 24, 1440, 0),
            ],
        },
        drops: vec![drop(1, 1, 30), drop(2, 0, 5882)],
        interfaces: vec![
            (IfIndex(1), interface("host-macvlan0")),
            (IfIndex(2), interface("host-macvlan0.123")),
        ],
        addresses: vec![(IfIndex(2), own)],
        routes: vec![
            Route {
                prefix: Prefix::DEFAULT,
                next_hop: Some([192, 168, 123, 1].into()),
                interface: Some(IfIndex(2)),
                interface_given: false,
            },
            Route {
                prefix: own.prefix(),
                next_hop: None,
                interface: Some(IfIndex(2)),
                interface_given: true,
            },
        ],
        neighbors: vec![
            Neighbor {
                interface: IfIndex(2),
                address: [192, 168, 123, 1].into(),
                mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
                state: NeighborState::Reachable,
                age: Duration::from_micros(12_345_600),
            },
            Neighbor {
                interface: IfIndex(2),
                address: [192, 168, 123, 7].into(),
                mac: None,
                state: NeighborState::Incomplete,
                age: Duration::from_millis(40),
            },
        ],
        connections: vec![
            connection(),
            ConnectionInfo {
                remote: "192.168.123.1:40002".parse().expect("an address"),
                state: State::TimeWait,
                round_trip: None,
                ..connection()
            },
        ],
        limits: Limits {
            connections: (1, 65_536),
            half_open: (0, 8192),
            time_wait: (2, 32_768),
            buffers: (131_072, 268_435_456),
            memory_max: 0,
        },
        tcp: TcpCounters {
            accepted: 3,
            retransmissions: 1,
            ..TcpCounters::default()
        },
        rings: Options::v3(),
        offloads: true,
        rx: RxCounters {
            frames: 5936,
            early: 5000,
            ..RxCounters::default()
        },
        tx: TxCounters {
            frames: 24,
            kicks: 24,
            ..TxCounters::default()
        },
        kernel: KernelCounters {
            packets: 5939,
            drops: 3,
            freezes: 1,
        },
    }
}

/// The proof of concept.
pub(crate) fn snapshot() -> Snapshot {
    let (config, _) = startup_conf::parse(STARTUP, "startup.conf").expect("valid");
    let mut numbers = Numbers::default();
    let plan = Plan::of(&config, &config.interfaces[0], &mut numbers).expect("planned");
    let link = LinkInfo {
        index: 3,
        ..LinkInfo::stand_in("macvlan0", MAC)
    };
    let mut stats = http_static::Stats::default();
    stats.connections = 3;
    stats.active = 1;
    stats.responses = [0, 12, 1, 2, 0];
    stats.octets_received = 1024;
    stats.octets_sent = 4096;
    stats.cache.limit = 536_870_912;
    stats.cache.used = 8;
    stats.cache.files = 1;
    stats.cache.hits = 11;
    stats.cache.misses = 1;
    // 14 answers between 15 and 20 us, one of 2 to 3 ms.
    stats.first_octet.buckets[3] = 15;
    stats.first_octet.sum = Duration::from_micros(40);
    stats.whole.buckets[8] = 14;
    stats.whole.buckets[21] = 1;
    stats.whole.sum = Duration::from_micros(2745);
    Snapshot {
        ports: vec![PortSnapshot {
            plan,
            link: Some(link),
            worker_count: 1,
            workers: vec![worker()],
        }],
        http: vec![HttpSnapshot {
            server: config.http[0].clone(),
            stats,
            cache: Vec::new(),
        }],
        config,
    }
}
