//! Every limit, what happens at it, and the most memory all of it can take.
//!
//! `dataplane serve --print-limits` prints this for a configuration. The bound is the sum of what
//! each part may allocate at its fullest, all at the same time; a running server is far below it.

use std::fmt;

use http_static::Connection;
use ipstack::tcp::TcpConfig;
use ipstack::{Route, addresses, fib, heard, ip4_full_reassembly, neighbors, ping};
use serde::Serialize;

use crate::cli::{client, editor, server};
use crate::config::{Config, HostInterface, ROUTES_MAX, WORKERS_MAX};
use crate::http::HttpStream;
use crate::rehearsal;
use crate::sockets;
use crate::start::ring_options;
use crate::supervisor::server_options;
use crate::timers::Timers;
use crate::trace;

/// Octets of a thread's stack, the standard library's default.
const STACK: u64 = 2 << 20;

/// Threads besides workers and loaders: the supervisor, operators, signals.
const OTHER_THREADS: u64 = 3;

/// Octets of the first thread's stack, the usual limit (`ulimit -s`).
const MAIN_STACK: u64 = 8 << 20;

/// What serving a connection takes besides it: who reports its panics, and allocation.
const FUTURE: usize = 256;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Things.
    Count,
    /// Octets.
    Octets,
    /// Seconds.
    Seconds,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limit {
    /// Its name.
    pub name: &'static str,
    /// Of what there is one: a worker, a server, the process.
    pub of: &'static str,
    /// How much.
    pub value: u64,
    /// Of what.
    pub unit: Unit,
    /// What happens when it is reached.
    pub full: &'static str,
}

/// A part of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Memory {
    /// What it is for.
    pub part: &'static str,
    /// How many there are of it.
    pub count: u64,
    /// Octets of one, at most.
    pub octets: u64,
}

/// All limits and the memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Every limit.
    pub limits: Vec<Limit>,
    /// The most memory each part takes.
    pub memory: Vec<Memory>,
    /// The sum.
    pub memory_max: u64,
}

impl Limits {
    /// Of a server with this configuration.
    pub fn of(config: &Config, tcp: &TcpConfig) -> Self {
        let tcp = tcp.clone().clamped();
        let memory = memory(config, &tcp);
        let octets = |part: &Memory| part.count.saturating_mul(part.octets);
        Self {
            limits: limits(config, &tcp),
            memory_max: memory.iter().map(octets).fold(0, u64::saturating_add),
            memory,
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        // Numbers and names only, which cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn memory(config: &Config, tcp: &TcpConfig) -> Vec<Memory> {
    let workers: u64 = config
        .interfaces
        .iter()
        .map(|host| u64::from(host.workers))
        .sum();
    let http = wide(config.http.len());
    let part = |part, count, octets| Memory {
        part,
        count,
        octets,
    };
    let program = std::env::current_exe().and_then(std::fs::metadata);
    let ring =
        |host: &HostInterface| u64::from(host.workers) * wide(ring_options(host).footprint());
    let routes = 3 * fib::ROUTES_MAX * size_of::<Route>();
    // An interface's and an address's row with its places in the indices.
    let rows = dataplane::interface::INTERFACES_MAX + addresses::ADDRESSES_MAX;
    let rows = 3 * rows * (size_of::<dataplane::Interface>() + 4 * 64);
    let steps = 2 * trace::STEPS_MAX * size_of::<trace::Step>(); // a copy while it is shown
    // Commands that wait, the history and the line being written, each of which may double.
    let lines = 2 * (client::WAITING_MAX + editor::HISTORY_MAX + 2) * editor::LINE_MAX;
    let mut parts = vec![
        part(
            "the program's file, mapped",
            1,
            program.map_or(0, |found| found.len()),
        ),
        part("stack of the main thread", 1, MAIN_STACK),
    ];
    let loaders = config
        .http
        .iter()
        .map(|http| wide(server_options(http).loaders));
    let threads = OTHER_THREADS + workers + loaders.sum::<u64>();
    parts.push(part("stacks of other threads", threads, STACK));
    let rings: u64 = config.interfaces.iter().map(ring).sum();
    parts.push(part("rings shared with the kernel", 1, rings));
    let buffers = wide(tcp.buffers_max);
    parts.push(part("buffers of a worker's connections", workers, buffers));
    let tables = wide(tcp.memory_max()).saturating_sub(buffers);
    parts.push(part("TCP of a worker, without these", workers, tables));
    let connection = config.http.iter().map(|http| {
        let own = size_of::<Connection<HttpStream, Timers>>() + FUTURE;
        wide(server_options(http).connection_memory_max() + own)
    });
    let connections = workers * wide(tcp.connections_max);
    parts.push(part(
        "HTTP of a connection, without these",
        connections,
        connection.max().unwrap_or(0),
    ));
    let cache = |http| wide(server_options(http).memory_max(usize::try_from(workers).unwrap_or(0)));
    parts.push(part(
        "files of all servers",
        http.min(1),
        config.http.iter().map(cache).sum(),
    ));
    parts.push(part(
        "neighbours of a worker",
        workers,
        wide(neighbors::MEMORY_MAX),
    ));
    parts.push(part(
        "fragments of a worker",
        workers,
        wide(ip4_full_reassembly::MEMORY_MAX),
    ));
    parts.push(part("routes of a worker", workers, wide(routes)));
    parts.push(part("interfaces of a worker", workers, wide(rows)));
    parts.push(part("trace of a worker", workers, wide(steps)));
    parts.push(part(
        "graph a worker rehearses on",
        workers,
        wide(rehearsal::MEMORY_MAX),
    ));
    parts.push(part(
        "input of an operator",
        wide(server::CLIENTS_MAX),
        wide(lines),
    ));
    parts.push(part(
        "answers to all operators",
        1,
        2 * wide(server::OUTPUT_MAX),
    ));
    parts
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn limits(config: &Config, tcp: &TcpConfig) -> Vec<Limit> {
    use Unit::{Count, Octets, Seconds};
    let mut all = Vec::new();
    let mut limit = |name, of, value, unit, full| {
        all.push(Limit {
            name,
            of,
            value,
            unit,
            full,
        });
    };
    let (w, s, p) = ("worker", "server", "process");
    let slow = "the connection is closed";
    limit(
        "workers",
        "interface",
        WORKERS_MAX.into(),
        Count,
        "the configuration is refused",
    );
    limit(
        "routes",
        p,
        wide(ROUTES_MAX),
        Count,
        "the configuration is refused",
    );
    limit(
        "connections",
        w,
        wide(tcp.connections_max),
        Count,
        "the one idle longest is reset; if none is idle, the new one",
    );
    limit(
        "connections of one address",
        w,
        wide(tcp.connections_per_source_max),
        Count,
        "new ones of that address are reset",
    );
    limit(
        "half-open connections",
        w,
        wide(tcp.half_open_max),
        Count,
        "SYNs are answered with cookies and nothing is kept",
    );
    limit(
        "TIME-WAIT records",
        w,
        wide(tcp.time_wait_max),
        Count,
        "the oldest is forgotten",
    );
    limit(
        "buffers of connections",
        w,
        wide(tcp.buffers_max),
        Octets,
        "send buffers stay small, then requests get a 503",
    );
    limit(
        "receive buffer",
        "connection",
        wide(tcp.rx_buffer),
        Octets,
        "the window closes",
    );
    limit(
        "send buffer",
        "connection",
        wide(tcp.tx_buffer_max),
        Octets,
        "the writer waits",
    );
    limit(
        "listening ports",
        w,
        wide(tcp.listeners_max),
        Count,
        "the change is refused",
    );
    limit(
        "resets to strangers",
        w,
        tcp.resets_per_second.into(),
        Count,
        "a second; more are not sent",
    );
    limit(
        "unacknowledged data",
        "connection",
        tcp.user_timeout.as_secs(),
        Seconds,
        "the connection is reset",
    );
    limit(
        "neighbours",
        w,
        wide(neighbors::NEIGHBORS_MAX),
        Count,
        "the least worthy of 64 makes room; those in use stay",
    );
    limit(
        "packets waiting for neighbours",
        w,
        wide(neighbors::PENDING_OCTETS_MAX),
        Octets,
        "the packet is dropped",
    );
    limit(
        "datagrams in fragments",
        w,
        wide(ip4_full_reassembly::CONTEXTS_MAX),
        Count,
        "one nobody can predict is given up",
    );
    limit(
        "octets in fragments",
        w,
        wide(ip4_full_reassembly::OCTETS_MAX),
        Octets,
        "one nobody can predict is given up",
    );
    limit(
        "datagrams in fragments of one address",
        w,
        wide(ip4_full_reassembly::SOURCE_MAX),
        Count,
        "its oldest is given up",
    );
    limit(
        "time for all fragments",
        "datagram",
        ip4_full_reassembly::TIMEOUT.as_secs(),
        Seconds,
        "the datagram is given up",
    );
    limit(
        "routing table",
        w,
        wide(fib::ROUTES_MAX),
        Count,
        "the change is refused",
    );
    limit(
        "interfaces",
        w,
        wide(dataplane::interface::INTERFACES_MAX),
        Count,
        "the configuration is refused",
    );
    limit(
        "addresses",
        w,
        wide(addresses::ADDRESSES_MAX),
        Count,
        "the configuration is refused",
    );
    limit(
        "neighbours heard for other workers",
        w,
        wide(heard::HEARD_MAX),
        Count,
        "the other worker hears of it later, by itself",
    );
    limit(
        "pings",
        w,
        wide(ping::IDENTIFIERS_MAX),
        Count,
        "the new one hears no answers",
    );
    limit(
        "traced packets",
        w,
        trace::PACKETS_MAX.into(),
        Count,
        "no more are traced",
    );
    limit(
        "trace steps",
        w,
        wide(trace::STEPS_MAX),
        Count,
        "no more are traced",
    );
    for http in &config.http {
        let options = server_options(http);
        let limits = &options.limits;
        limit(
            "cache",
            s,
            wide(options.cache_size),
            Octets,
            "the file used longest ago goes",
        );
        limit(
            "streamed files",
            s,
            wide(limits.stream_memory),
            Octets,
            "parts of 16 KiB instead",
        );
        limit("loads at once", s, wide(limits.loads), Count, "503");
        limit(
            "time for a load",
            "request",
            limits.load.as_secs(),
            Seconds,
            "503",
        );
        limit(
            "request head",
            "request",
            wide(limits.head_octets),
            Octets,
            "431",
        );
        limit(
            "header lines",
            "request",
            wide(limits.header_lines),
            Count,
            "431",
        );
        limit(
            "request target",
            "request",
            wide(limits.target_octets),
            Octets,
            "414",
        );
        limit("request body", "request", limits.body_octets, Octets, "413");
        limit(
            "requests",
            "connection",
            limits.requests_per_connection.into(),
            Count,
            slow,
        );
        limit(
            "time to the first octet",
            "connection",
            limits.first_octet.as_secs(),
            Seconds,
            slow,
        );
        limit(
            "time for a head",
            "request",
            limits.head.as_secs(),
            Seconds,
            "408",
        );
        limit(
            "time for a body",
            "request",
            limits.body.as_secs(),
            Seconds,
            "408",
        );
        limit(
            "idle time",
            "connection",
            limits.keep_alive.as_secs(),
            Seconds,
            slow,
        );
        limit(
            "time to take 4 KiB",
            "connection",
            limits.write_stall.as_secs(),
            Seconds,
            slow,
        );
    }
    limit(
        "operators",
        p,
        wide(server::CLIENTS_MAX),
        Count,
        "the one silent longest goes",
    );
    limit(
        "unread answers",
        p,
        wide(server::OUTPUT_MAX),
        Octets,
        "the operator who has most goes",
    );
    limit(
        "time to read answers",
        "operator",
        server::STALL_MAX.as_secs(),
        Seconds,
        slow,
    );
    limit(
        "waiting commands",
        "operator",
        wide(client::WAITING_MAX),
        Count,
        "no more are read",
    );
    limit(
        "line",
        "operator",
        wide(editor::LINE_MAX),
        Octets,
        "the rest is left out",
    );
    limit(
        "passed packet sockets",
        p,
        wide(sockets::PASSED_MAX),
        Count,
        "the start is refused",
    );
    limit(
        "spare socket pairs",
        "shared worker",
        wide(sockets::SPARES_MAX),
        Count,
        "an interface made again stays unused until a restart",
    );
    limit(
        "the same of interfaces created later",
        "shared worker",
        wide(sockets::LATER_SPARES_MAX),
        Count,
        "the same",
    );
    all
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<38} {:<14} {:>13} {:<8} when reached",
            "limit", "of each", "", ""
        )?;
        for limit in &self.limits {
            let unit = match limit.unit {
                Unit::Count => "",
                Unit::Octets => "octets",
                Unit::Seconds => "s",
            };
            let Limit {
                name,
                of,
                value,
                full,
                ..
            } = limit;
            writeln!(f, "{name:<38} {of:<14} {value:>13} {unit:<8} {full}")?;
        }
        writeln!(
            f,
            "\n{:<38} {:>8} {:>15} {:>17}",
            "memory at most", "count", "octets", "together"
        )?;
        for Memory {
            part,
            count,
            octets,
        } in &self.memory
        {
            let together = count.saturating_mul(*octets);
            writeln!(f, "{part:<38} {count:>8} {octets:>15} {together:>17}")?;
        }
        let mib = self.memory_max.div_ceil(1 << 20);
        writeln!(f, "{:<38} {:>42} ({mib} MiB)", "all", self.memory_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ByteSize, HttpServer};

    fn config(workers: u16) -> Config {
        let mut host = HostInterface::new("eth0");
        host.workers = workers;
        Config {
            interfaces: vec![host],
            http: vec![HttpServer::new("/www")],
            ..Config::default()
        }
    }

    #[test]
    fn the_bound_is_the_sum_of_its_parts_and_follows_the_configuration() {
        let tcp = TcpConfig::default();
        let one = Limits::of(&config(1), &tcp);
        let sum: u64 = one.memory.iter().map(|part| part.count * part.octets).sum();
        assert_eq!(one.memory_max, sum);
        assert!(Limits::of(&config(2), &tcp).memory_max > one.memory_max + (512 << 20));
        // The program's file is that of these tests.
        let program = one.memory[0].octets;
        assert!(one.memory_max - program < 1000 << 20, "{one}");
        let mut larger = config(1);
        larger.http[0].cache_size = ByteSize::mib(110);
        let more = Limits::of(&larger, &tcp).memory_max - one.memory_max;
        assert_eq!(more, 100 << 20);
        let fewer = TcpConfig {
            connections_max: 100,
            buffers_max: 8 << 20,
            ..TcpConfig::default()
        };
        assert!(Limits::of(&config(1), &fewer).memory_max < one.memory_max / 2);
    }

    #[test]
    fn every_limit_says_what_happens_and_both_forms_hold_all() {
        let limits = Limits::of(&config(1), &TcpConfig::default());
        let text = limits.to_string();
        let json: serde_json::Value = serde_json::from_str(&limits.to_json()).unwrap();
        assert_eq!(
            json["limits"].as_array().unwrap().len(),
            limits.limits.len()
        );
        assert_eq!(json["memory-max"], limits.memory_max);
        for limit in &limits.limits {
            assert!(limit.value > 0 && !limit.full.is_empty(), "{limit:?}");
            assert!(
                text.contains(limit.name) && text.contains(limit.full),
                "{limit:?}"
            );
        }
        for part in &limits.memory {
            assert!(part.octets > 0, "{part:?}");
        }
        assert!(text.contains(&limits.memory_max.to_string()));
    }
}
