//! What every `show` command prints, against files. Run with BLESS=1 to accept changes; look at
//! them first.

use std::fmt::Display;
use std::time::{Duration, Instant};

use dataplane::{EtherType, Frame, IfIndex, MacAddr, Observer as _, Tag, Tags};
use serde::Serialize;

use super::fixture::snapshot;
use super::hardware::HardwareTable;
use super::http::{HttpTable, Parts};
use super::interfaces::{AddressTable, InterfaceTable};
use super::ip::{NeighborTable, RouteTable};
use super::nodes::{ErrorTable, GraphTable, RuntimeTable, graphviz};
use super::operator::{Baseline, help};
use super::pcap::{self, StatusTable};
use super::session::SessionTable;
use super::system::{ThreadTable, Version};
use super::table::render;
use super::trace::TraceTable;
use crate::capture::Status;
use crate::trace::Trace;

fn compare(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{name}: run with BLESS=1 to accept");
}

fn golden<T: Serialize + Display>(name: &str, table: &T) {
    compare(&format!("{name}.txt"), &render(table, false));
    let json = render(table, true);
    serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
    compare(&format!("{name}.json"), &json);
}

#[test]
fn show_interface() {
    let since = Baseline::default();
    golden(
        "show_interface",
        &InterfaceTable::of(&snapshot(), &since, &[]),
    );
}

#[test]
fn show_interface_address() {
    golden(
        "show_interface_address",
        &AddressTable::of(&snapshot(), &[]),
    );
}

#[test]
fn show_hardware_interfaces() {
    let since = Baseline::default();
    golden(
        "show_hardware_interfaces",
        &HardwareTable::of(&snapshot(), &since, &[]),
    );
}

#[test]
fn show_runtime() {
    golden(
        "show_runtime",
        &RuntimeTable::of(&snapshot(), &Baseline::default()),
    );
}

#[test]
fn show_errors() {
    golden(
        "show_errors",
        &ErrorTable::of(&snapshot(), &Baseline::default(), &[]),
    );
    let verbose = ErrorTable {
        verbose: true,
        ..ErrorTable::of(&snapshot(), &Baseline::default(), &[])
    };
    golden("show_errors_verbose", &verbose);
}

#[test]
fn show_ip_neighbors() {
    golden("show_ip_neighbors", &NeighborTable::of(&snapshot(), None));
}

#[test]
fn show_ip_fib() {
    golden("show_ip_fib", &RouteTable::of(&snapshot()));
}

#[test]
fn show_session() {
    golden("show_session", &SessionTable::of(&snapshot(), false));
    golden("show_session_verbose", &SessionTable::of(&snapshot(), true));
}

#[test]
fn show_http_static_server() {
    golden(
        "show_http_static_server",
        &HttpTable::of(&snapshot(), Parts::default()),
    );
    let parts = Parts {
        sessions: true,
        cache: true,
        ..Parts::default()
    };
    golden(
        "show_http_static_server_sessions_cache",
        &HttpTable::of(&snapshot(), parts),
    );
}

#[test]
fn show_vlib_graph() {
    golden("show_vlib_graph", &GraphTable::of(&snapshot()));
    compare("show_vlib_graphviz.txt", &graphviz(&snapshot()));
}

#[test]
fn show_threads() {
    golden("show_threads", &ThreadTable::of(&snapshot()));
}

/// An echo request that is answered, and a frame that is dropped, walked through by hand.
#[test]
fn show_trace() {
    let mut trace = Trace::new(Instant::now());
    trace.add("af-packet-input", 2);
    let mut walk = |frame: &mut Frame<'_>, nodes: &[&'static str]| {
        for node in nodes {
            if *node == "ethernet-input-type" {
                assert!(frame.advance(14));
                frame.meta.destination = MacAddr([2, 0, 0, 0, 0, 2]);
                frame.meta.source = MacAddr([2, 0, 0, 0, 0, 1]);
                frame.meta.ether_type = EtherType::IPV4;
                frame.meta.interface = IfIndex(2);
            }
            trace.arrive(node, Duration::ZERO, frame);
        }
    };
    let mut octets = *b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\0\
        \x45\0\0\x1c\x30\x39\x40\0\x40\x01\x92\x4b\xc0\xa8\x7b\x01\xc0\xa8\x7b\x96\
        \x08\0\xf7\xfc\0\x01\0\x02";
    let len = octets.len();
    let mut frame = Frame::new(&mut octets, 0, len);
    frame.meta.interface = IfIndex(1);
    frame.meta.wire_len = u32::try_from(len).unwrap();
    frame.meta.tags = Tags::from_iter([Tag {
        tpid: EtherType::CTAG,
        tci: 0x607b,
    }]);
    let first = ["af-packet-input", "ethernet-input"];
    walk(&mut frame, &first);
    walk(
        &mut frame,
        &["ethernet-input-type", "ip4-input", "ip4-icmp-input"],
    );
    let mut other = *b"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x88\xcc\x02\x07";
    let len = other.len();
    let mut other = Frame::new(&mut other, 0, len);
    walk(&mut other, &first);
    trace.dropped("ethernet-input", "interface-down", Duration::ZERO, &other);
    let mut steps = trace.steps(2);
    for (nth, step) in (1u64..).zip(&mut steps) {
        step.at = Duration::from_secs(3600 + 61) + Duration::from_micros(nth);
    }
    let workers = [(0, "host-macvlan0".to_owned(), steps)];
    golden("show_trace", &TraceTable::of(&workers, None, 50));
    let only = TraceTable::of(&workers, Some("ip4-input"), 50);
    assert_eq!(only.0[0].packets.len(), 1);
    let one = TraceTable::of(&workers, Some("ethernet-input"), 1);
    assert_eq!(one.0[0].packets.len(), 1);
    golden(
        "show_trace_empty",
        &TraceTable::of(&[(0, "w".to_owned(), Vec::new())], None, 50),
    );
}

#[test]
fn show_config() {
    let config = snapshot().config;
    compare("show_config.txt", &config.to_startup_conf());
    compare("show_config.toml", &config.to_toml().expect("printable"));
}

#[test]
fn show_version() {
    let version = Version {
        version: "0.1.0",
        kernel: "6.1.0".to_owned(),
        pid: 4711,
    };
    golden("show_version", &version);
}

#[test]
fn pcap_trace_status() {
    let status = Status {
        kinds: "rx drop".to_owned(),
        max: 35,
        interface: Some("host-macvlan0.123".to_owned()),
        file: "/run/dataplane/a.pcapng".to_owned(),
        packets: 20,
        lost: 0,
        ended: None,
    };
    golden("pcap_trace_status", &StatusTable(Some(status.clone())));
    golden("pcap_trace_status_none", &StatusTable(None));
    let over = Status {
        lost: 3,
        ended: Some("the file was removed".to_owned()),
        interface: None,
        ..status
    };
    golden("pcap_trace_status_off", &StatusTable(Some(over.clone())));
    compare("pcap_trace_off.txt", &pcap::ended(&over));
}

#[test]
fn the_list_of_commands() {
    compare("help.txt", &help(""));
}

#[test]
fn what_was_cleared_counts_from_zero() {
    let snapshot = snapshot();
    let since = Baseline::of(&snapshot);
    let interfaces = InterfaceTable::of(&snapshot, &since, &[]);
    assert!(interfaces.0.iter().all(|row| row.counters.is_empty()));
    assert!(ErrorTable::of(&snapshot, &since, &[]).rows.is_empty());
    assert!(RuntimeTable::of(&snapshot, &since).0[0].nodes.is_empty());
}

/// The seed's own output, but for our figures: same columns, same order.
#[test]
fn show_interface_has_vpps_columns() {
    let text = InterfaceTable::of(&snapshot(), &Baseline::default(), &[]).to_string();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some(
            "              Name               Idx    State  MTU (L3/IP4/IP6/MPLS)     Counter          Count     "
        )
    );
    assert_eq!(
        lines.next(),
        Some(
            "host-macvlan0                     1      up          1500/0/0/0     rx packets                  5936"
        )
    );
}
