//! What every `show` command prints, against files. Run with BLESS=1 to accept changes; look at
//! them first.

use std::fmt::Display;

use serde::Serialize;

use super::fixture::snapshot;
use super::hardware::HardwareTable;
use super::http::{HttpTable, Parts};
use super::interfaces::{AddressTable, InterfaceTable};
use super::ip::{NeighborTable, RouteTable};
use super::nodes::{ErrorTable, GraphTable, RuntimeTable};
use super::operator::{Baseline, help};
use super::session::SessionTable;
use super::system::ThreadTable;
use super::table::render;

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
        &ErrorTable::of(&snapshot(), &Baseline::default()),
    );
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
    let graph = GraphTable::of(&snapshot());
    golden("show_vlib_graph", &graph);
    compare("show_vlib_graphviz.txt", &graph.graphviz());
}

#[test]
fn show_threads() {
    golden("show_threads", &ThreadTable::of(&snapshot()));
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
    assert!(ErrorTable::of(&snapshot, &since).0.is_empty());
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
