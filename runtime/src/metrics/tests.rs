use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use crossbeam_channel::unbounded;
use prometheus::proto::MetricType;

use super::*;
use crate::access_log;
use crate::cli::fixture::snapshot;
use crate::controller::{self, Controller};
use crate::log::Limit;
use crate::notify::Notify;
use crate::snapshot::Snapshot;

fn sources() -> (Sources, tempfile::TempDir, access_log::Writer) {
    let folder = tempfile::tempdir().unwrap();
    let log = access_log::open(&folder.path().join("log")).unwrap();
    let writer = log.start().unwrap();
    let sources = Sources {
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_238_385_500),
        access_log: Some(writer.queue()),
        limit: Limit::default(),
    };
    (sources, folder, writer)
}

fn families(snapshot: &Snapshot) -> Vec<Family> {
    sources().0.families(snapshot)
}

fn bless() -> bool {
    std::env::var_os("BLESS").is_some()
}

#[test]
fn the_exposition_is_the_golden_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.txt");
    let text = sources().0.text(&snapshot());
    if bless() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(
        text,
        std::fs::read_to_string(path).unwrap(),
        "run with BLESS=1 to accept"
    );
}

/// The table in docs/operate.md, as the metrics have it.
fn documentation() -> String {
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for family in families(&snapshot()) {
        let labels: BTreeSet<_> = family
            .get_metric()
            .iter()
            .flat_map(|sample| {
                sample
                    .get_label()
                    .iter()
                    .map(|label| label.name().to_owned())
            })
            .collect();
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        let (name, help) = (family.name(), family.help());
        writeln!(
            table,
            "| `{name}` | {kind} | {} | {help} |",
            labels.join(", ")
        )
        .unwrap();
    }
    table
}

#[test]
fn the_documentation_has_exactly_the_metrics_there_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operate.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once("<!-- metrics -->\n").unwrap();
    let (table, after) = rest.split_once("<!-- /metrics -->").unwrap();
    let wanted = documentation();
    if bless() {
        let text = format!("{before}<!-- metrics -->\n{wanted}<!-- /metrics -->{after}");
        std::fs::write(path, text).unwrap();
        return;
    }
    assert_eq!(table, wanted, "run with BLESS=1 to accept");
}

#[test]
fn names_and_help_follow_the_conventions() {
    let families = families(&snapshot());
    let names: BTreeSet<_> = families.iter().map(Family::name).collect();
    assert_eq!(names.len(), families.len(), "each family once");
    for family in &families {
        let name = family.name();
        assert!(
            name.bytes()
                .all(|octet| octet.is_ascii_lowercase() || octet == b'_'),
            "{name}"
        );
        let counts = family.get_field_type() == MetricType::COUNTER;
        assert_eq!(name.ends_with("_total"), counts, "{name}");
        assert!(family.help().ends_with('.'), "{name}: {}", family.help());
        assert!(!family.get_metric().is_empty(), "{name}");
        let mut labels: Vec<_> = family
            .get_metric()
            .iter()
            .map(|sample| format!("{:?}", sample.get_label()))
            .collect();
        labels.sort();
        assert!(labels.is_sorted_by(|a, b| a < b), "{name}: a sample twice");
    }
}

#[test]
fn a_port_with_a_silent_worker_has_no_counters_that_would_seem_to_fall() {
    let mut snapshot = snapshot();
    snapshot.ports[0].worker_count = 2;
    let families = families(&snapshot);
    let samples = |name: &str| {
        let family = families.iter().find(|family| family.name() == name);
        family.map(|family| {
            family
                .get_metric()
                .iter()
                .map(|one| one.get_gauge().get_value())
                .collect()
        })
    };
    assert_eq!(samples("dataplane_workers"), Some(vec![1.0, 1.0]));
    assert_eq!(samples("dataplane_interface_receive_packets_total"), None);
    assert_eq!(samples("dataplane_tcp_connections"), None);
    assert!(samples("dataplane_http_responses_total").is_some());
}

/// A thread that answers as a supervisor does, and the metrics of it.
fn serve() -> (SocketAddr, Server) {
    let (commands, orders) = unbounded();
    let notify = Notify::new().unwrap();
    thread::spawn(move || {
        for order in orders {
            if let controller::Command::Snapshot(reply) = order {
                reply.send(snapshot()).unwrap();
            }
        }
    });
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.address().unwrap();
    let controller = Controller::new(commands, notify);
    let (sources, _folder, _writer) = sources();
    (
        address,
        Server::start(listener, controller, sources).unwrap(),
    )
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = dial(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A request that is not read to its end is answered, and then reset.
    let mut octets = vec![0; 65_536];
    while let Ok(count @ 1..) = stream.read(&mut octets) {
        answer.extend_from_slice(&octets[..count]);
    }
    String::from_utf8(answer).unwrap()
}

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_scrape_is_answered_with_the_text_and_all_else_refused() {
    let (address, _server) = serve();
    let answer = ask(address, SCRAPE);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert_eq!(body, sources().0.text(&snapshot()));
    let status = |request: &str| ask(address, request)[9..12].to_owned();
    assert_eq!(status("HEAD /metrics HTTP/1.0\r\n\r\n"), "200");
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "404");
    assert_eq!(
        status("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
        "405"
    );
    assert_eq!(status("\u{0}\r\n\r\n"), "400");
    let long = format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n",
        "a".repeat(2 * HEAD_MAX)
    );
    assert_eq!(status(&long), "431");
}

#[test]
fn clients_that_hang_or_flood_keep_no_one_from_the_metrics() {
    let (address, _server) = serve();
    let mut hanging = Vec::new();
    for nth in 0..8 * CONNECTIONS_MAX {
        let mut stream = dial(address);
        let _ = match nth % 4 {
            0 => stream.write(b"GET /metrics HT"),
            1 => stream.write(SCRAPE.repeat(50).as_bytes()), // and reads nothing
            2 => stream.shutdown(Shutdown::Write).map(|()| 0),
            _ => Ok(0),
        };
        hanging.push(stream);
        if nth % 16 == 0 {
            assert!(
                ask(address, SCRAPE).starts_with("HTTP/1.1 200 OK\r\n"),
                "{nth}"
            );
        }
    }
    // The oldest made room.
    let mut octets = [0];
    let gone = hanging[3].read(&mut octets);
    assert!(matches!(gone, Ok(0) | Err(_)), "{gone:?}");
}

/// Runs Prometheus' own parser for Python; `None` where it is missing, which CI does not accept.
fn parsed(text: &str) -> Option<serde_json::Value> {
    const SCRIPT: &str = "import sys, json; from prometheus_client.parser import *; \
        json.dump([[f.name, f.type, len(f.samples)] for f in \
        text_string_to_metric_families(sys.stdin.read())], sys.stdout)";
    for python in ["/usr/bin/python3", "python3"] {
        let mut command = Command::new(python);
        command.args(["-c", SCRIPT]).stderr(Stdio::null());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else { continue };
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(text.as_bytes()); // without the module it has gone already
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            return Some(serde_json::from_slice(&output.stdout).unwrap());
        }
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "python3-prometheus-client"
    );
    println!("skipped: needs python3-prometheus-client");
    None
}

#[test]
fn prometheus_own_parser_reads_every_family_with_its_type_and_samples() {
    let families = families(&snapshot());
    let Some(parsed) = parsed(&sources().0.text(&snapshot())) else {
        return;
    };
    let parsed = parsed.as_array().unwrap();
    assert_eq!(parsed.len(), families.len());
    for (read, family) in parsed.iter().zip(&families) {
        let name = family.name();
        assert_eq!(read[0], name.strip_suffix("_total").unwrap_or(name));
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        assert_eq!(read[1], kind, "{name}");
        let edges = http_static::LATENCY_EDGES.len();
        let each = if kind == "histogram" { edges + 3 } else { 1 };
        assert_eq!(read[2], family.get_metric().len() * each, "{name}");
    }
}
