//! The limits, part by part.

use std::time::Duration;

use ipstack::tcp::{SMALLER_MTUS_MAX, TcpConfig};
use ipstack::{addresses, fib, heard, ip4_full_reassembly, neighbors, ping};

use super::{Limit, Unit, wide};
use crate::cli::{client, editor, server};
use crate::config::{Config, HttpServer, ROUTES_MAX, WORKERS_MAX};
use crate::sockets;
use crate::supervisor::server_options;
use crate::trace;

type Name = &'static str;

// Of what there is one.
const WORKER: &str = "worker";
const SERVER: &str = "server";
const CONNECTION: &str = "connection";
const REQUEST: &str = "request";
const OPERATOR: &str = "operator";
const PROCESS: &str = "process";

// What happens.
const REFUSED: &str = "the configuration is refused";
const UNCHANGED: &str = "the change is refused";
const CLOSED: &str = "the connection is closed";

/// The rows told so far.
#[derive(Default)]
struct Table(Vec<Limit>);

impl Table {
    fn count(&mut self, name: Name, of: Name, value: impl TryInto<u64>, full: Name) {
        self.row(name, of, wide(value), Unit::Count, full);
    }

    fn octets(&mut self, name: Name, of: Name, value: impl TryInto<u64>, full: Name) {
        self.row(name, of, wide(value), Unit::Octets, full);
    }

    fn seconds(&mut self, name: Name, of: Name, value: Duration, full: Name) {
        self.row(name, of, value.as_secs(), Unit::Seconds, full);
    }

    fn row(&mut self, name: Name, of: Name, value: u64, unit: Unit, full: Name) {
        self.0.push(Limit {
            name,
            of,
            value,
            unit,
            full,
        });
    }
}

/// Every limit of a server with this configuration.
pub(super) fn limits(config: &Config, tcp: &TcpConfig) -> Vec<Limit> {
    let mut table = Table::default();
    configuration(&mut table);
    connections(&mut table, tcp);
    packets(&mut table);
    traces(&mut table);
    for http in &config.http {
        requests(&mut table, http);
    }
    operators(&mut table);
    packet_sockets(&mut table);
    table.0
}

fn configuration(table: &mut Table) {
    table.count("workers", "interface", WORKERS_MAX, REFUSED);
    table.count("routes", PROCESS, ROUTES_MAX, REFUSED);
}

fn connections(table: &mut Table, tcp: &TcpConfig) {
    table.count(
        "connections",
        WORKER,
        tcp.connections_max,
        "the one idle longest is reset; if none is idle, the new one",
    );
    table.count(
        "connections of one address",
        WORKER,
        tcp.connections_per_source_max,
        "new ones of that address are reset",
    );
    table.count(
        "half-open connections",
        WORKER,
        tcp.half_open_max,
        "SYNs are answered with cookies and nothing is kept",
    );
    table.count(
        "TIME-WAIT records",
        WORKER,
        tcp.time_wait_max,
        "the oldest is forgotten",
    );
    table.octets(
        "buffers of connections",
        WORKER,
        tcp.buffers_max,
        "send buffers stay small, then requests get a 503",
    );
    table.octets(
        "receive buffer",
        CONNECTION,
        tcp.rx_buffer,
        "the window closes",
    );
    table.octets(
        "send buffer",
        CONNECTION,
        tcp.tx_buffer_max,
        "the writer waits",
    );
    table.count("listening ports", WORKER, tcp.listeners_max, UNCHANGED);
    table.count(
        "resets to strangers",
        WORKER,
        tcp.resets_per_second,
        "a second; more are not sent",
    );
    table.seconds(
        "unacknowledged data",
        CONNECTION,
        tcp.user_timeout,
        "the connection is reset",
    );
}

fn packets(table: &mut Table) {
    table.count(
        "neighbours",
        WORKER,
        neighbors::NEIGHBORS_MAX,
        "the least worthy of 64 makes room; those in use stay",
    );
    table.octets(
        "packets waiting for neighbours",
        WORKER,
        neighbors::PENDING_OCTETS_MAX,
        "the packet is dropped",
    );
    table.count(
        "datagrams in fragments",
        WORKER,
        ip4_full_reassembly::CONTEXTS_MAX,
        "one nobody can predict is given up",
    );
    table.octets(
        "octets in fragments",
        WORKER,
        ip4_full_reassembly::OCTETS_MAX,
        "one nobody can predict is given up",
    );
    table.count(
        "datagrams in fragments of one address",
        WORKER,
        ip4_full_reassembly::SOURCE_MAX,
        "its oldest is given up",
    );
    table.seconds(
        "time for all fragments",
        "datagram",
        ip4_full_reassembly::TIMEOUT,
        "the datagram is given up",
    );
    table.count("routing table", WORKER, fib::ROUTES_MAX, UNCHANGED);
    table.count(
        "interfaces",
        WORKER,
        dataplane::interface::INTERFACES_MAX,
        REFUSED,
    );
    table.count("addresses", WORKER, addresses::ADDRESSES_MAX, REFUSED);
    table.count(
        "neighbours heard for other workers",
        WORKER,
        heard::HEARD_MAX,
        "the other worker hears of it later, by itself",
    );
    table.count(
        "paths heard for other workers",
        WORKER,
        SMALLER_MTUS_MAX,
        "the connection waits for the router's next word",
    );
    table.count(
        "pings",
        WORKER,
        ping::IDENTIFIERS_MAX,
        "the new one hears no answers",
    );
}

fn traces(table: &mut Table) {
    table.count(
        "traced packets",
        WORKER,
        trace::PACKETS_MAX,
        "no more are traced",
    );
    table.count(
        "trace steps",
        WORKER,
        trace::STEPS_MAX,
        "no more are traced",
    );
}

fn requests(table: &mut Table, http: &HttpServer) {
    let options = server_options(http);
    let limits = &options.limits;
    table.octets(
        "cache",
        SERVER,
        options.cache_size,
        "the file used longest ago goes",
    );
    table.octets(
        "streamed files",
        SERVER,
        limits.stream_memory,
        "parts of 16 KiB instead",
    );
    table.count("loads at once", SERVER, limits.loads, "503");
    table.seconds("time for a load", REQUEST, limits.load, "503");
    table.octets("request head", REQUEST, limits.head_octets, "431");
    table.count("header lines", REQUEST, limits.header_lines, "431");
    table.octets("request target", REQUEST, limits.target_octets, "414");
    table.octets("request body", REQUEST, limits.body_octets, "413");
    table.count(
        "requests",
        CONNECTION,
        limits.requests_per_connection,
        CLOSED,
    );
    table.seconds(
        "time to the first octet",
        CONNECTION,
        limits.first_octet,
        CLOSED,
    );
    table.seconds("time for a head", REQUEST, limits.head, "408");
    table.seconds("time for a body", REQUEST, limits.body, "408");
    table.seconds("idle time", CONNECTION, limits.keep_alive, CLOSED);
    table.seconds("time to take 4 KiB", CONNECTION, limits.write_stall, CLOSED);
}

fn operators(table: &mut Table) {
    table.count(
        "operators",
        PROCESS,
        server::CLIENTS_MAX,
        "the one silent longest goes",
    );
    table.octets(
        "unread answers",
        PROCESS,
        server::OUTPUT_MAX,
        "the operator who has most goes",
    );
    table.seconds("time to read answers", OPERATOR, server::STALL_MAX, CLOSED);
    table.count(
        "waiting commands",
        OPERATOR,
        client::WAITING_MAX,
        "no more are read",
    );
    table.octets("line", OPERATOR, editor::LINE_MAX, "the rest is left out");
}

fn packet_sockets(table: &mut Table) {
    table.count(
        "passed packet sockets",
        PROCESS,
        sockets::PASSED_MAX,
        "the start is refused",
    );
    table.count(
        "spare socket pairs",
        "shared worker",
        sockets::SPARES_MAX,
        "an interface made again stays unused until a restart",
    );
    table.count(
        "the same of interfaces created later",
        "shared worker",
        sockets::LATER_SPARES_MAX,
        "the same",
    );
}
