//! The most memory each part may take, all at the same time.

use http_static::Connection;
use ipstack::tcp::TcpConfig;
use ipstack::{Route, addresses, fib, ip4_full_reassembly, neighbors};

use super::{Memory, wide};
use crate::cli::{client, editor, server};
use crate::config::{Config, HostInterface};
use crate::http::HttpStream;
use crate::rehearsal;
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

/// The parts told so far.
#[derive(Default)]
struct Parts(Vec<Memory>);

impl Parts {
    fn add(&mut self, part: &'static str, count: impl TryInto<u64>, octets: impl TryInto<u64>) {
        let (count, octets) = (wide(count), wide(octets));
        self.0.push(Memory {
            part,
            count,
            octets,
        });
    }
}

/// The parts of a server with this configuration.
pub(super) fn memory(config: &Config, tcp: &TcpConfig) -> Vec<Memory> {
    let workers = config.interfaces.iter().map(|host| u64::from(host.workers));
    let workers = workers.sum();
    let mut parts = Parts::default();
    process(&mut parts, config, workers);
    connections(&mut parts, config, tcp, workers);
    tables(&mut parts, workers);
    operators(&mut parts);
    parts.0
}

fn process(parts: &mut Parts, config: &Config, workers: u64) {
    let program = std::env::current_exe().and_then(std::fs::metadata);
    let program = program.map_or(0, |found| found.len());
    parts.add("the program's file, mapped", 1, program);
    parts.add("stack of the main thread", 1, MAIN_STACK);
    let loaders = |http| wide(server_options(http).loaders);
    let loaders: u64 = config.http.iter().map(loaders).sum();
    let threads = OTHER_THREADS + workers + loaders;
    parts.add("stacks of other threads", threads, STACK);
    let ring = |host: &HostInterface| {
        let ring = wide(ring_options(host).footprint());
        ring.saturating_mul(host.workers.into())
    };
    let rings: u64 = config.interfaces.iter().map(ring).sum();
    parts.add("rings shared with the kernel", 1, rings);
}

fn connections(parts: &mut Parts, config: &Config, tcp: &TcpConfig, workers: u64) {
    let buffers = wide(tcp.buffers_max);
    parts.add("buffers of a worker's connections", workers, buffers);
    let tables = wide(tcp.memory_max()).saturating_sub(buffers);
    parts.add("TCP of a worker, without these", workers, tables);
    let own = size_of::<Connection<HttpStream, Timers>>() + FUTURE;
    let connection = |http| wide(server_options(http).connection_memory_max() + own);
    parts.add(
        "HTTP of a connection, without these",
        workers * wide(tcp.connections_max),
        config.http.iter().map(connection).max().unwrap_or(0),
    );
    let readers = usize::try_from(workers).unwrap_or(usize::MAX);
    let files = |http| wide(server_options(http).memory_max(readers));
    let files: u64 = config.http.iter().map(files).sum();
    parts.add("files of all servers", config.http.len().min(1), files);
}

fn tables(parts: &mut Parts, workers: u64) {
    let routes = 3 * fib::ROUTES_MAX * size_of::<Route>();
    // An interface's and an address's row with its places in the indices.
    let rows = dataplane::interface::INTERFACES_MAX + addresses::ADDRESSES_MAX;
    let rows = 3 * rows * (size_of::<dataplane::Interface>() + 4 * 64);
    let steps = 2 * trace::STEPS_MAX * size_of::<trace::Step>(); // a copy while it is shown
    parts.add("neighbours of a worker", workers, neighbors::MEMORY_MAX);
    parts.add(
        "fragments of a worker",
        workers,
        ip4_full_reassembly::MEMORY_MAX,
    );
    parts.add("routes of a worker", workers, routes);
    parts.add("interfaces of a worker", workers, rows);
    parts.add("trace of a worker", workers, steps);
    parts.add(
        "graph a worker rehearses on",
        workers,
        rehearsal::MEMORY_MAX,
    );
}

fn operators(parts: &mut Parts) {
    // Commands that wait, the history and the line being written, each of which may double.
    let lines = 2 * (client::WAITING_MAX + editor::HISTORY_MAX + 2) * editor::LINE_MAX;
    parts.add("input of an operator", server::CLIENTS_MAX, lines);
    let answers = 2 * wide(server::OUTPUT_MAX);
    parts.add("answers to all operators", 1, answers);
}
