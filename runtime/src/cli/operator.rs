//! What each command does. One for all connections, on the socket's thread.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use af_packet::{KernelCounters, RxCounters, TxCounters};
use dataplane::IfIndex;
use dataplane::counters::{Counters, InterfaceDrop};

use super::command::{self, Clear, Command, ConfigFormat, Show};
use super::hardware::HardwareTable;
use super::http::HttpTable;
use super::interfaces::{AddressTable, InterfaceTable};
use super::ip::{NeighborTable, RouteTable};
use super::nodes::{ErrorTable, GraphTable, RuntimeTable, graphviz};
use super::pcap::{self, StatusTable};
use super::ping::Ping;
use super::session::SessionTable;
use super::system::{ThreadTable, Version};
use super::table::render;
use super::trace::TraceTable;
use crate::args::read_file;
use crate::config::Config;
use crate::controller::Controller;
use crate::notify::Notify;
use crate::snapshot::{PortSnapshot, Snapshot, WorkerSnapshot};
use crate::startup_conf;
use crate::trace::PACKETS_MAX;
use crate::words::Word;

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What to print; empty, or whole lines.
    pub text: String,
    /// The command could not be done.
    pub failed: bool,
    /// Close the connection.
    pub quit: bool,
}

impl Reply {
    /// Done.
    pub fn done(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            failed: false,
            quit: false,
        }
    }

    /// Not done, and why.
    pub fn failed(why: impl std::fmt::Display) -> Self {
        Self {
            text: format!("{why}\n"),
            failed: true,
            quit: false,
        }
    }
}

/// What became of a command.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Done(Reply),
    /// It goes on.
    Running(Ping),
}

/// Counters at the time somebody cleared them. The workers' own are never set back, so that
/// metrics only grow.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    workers: BTreeMap<usize, Mark>,
}

#[derive(Clone, Debug)]
struct Mark {
    uptime: Duration,
    turns: u64,
    counters: Counters,
    drops: Vec<InterfaceDrop>,
    kernel: KernelCounters,
    rx: RxCounters,
    tx: TxCounters,
}

impl Baseline {
    /// As `snapshot` says.
    pub fn of(snapshot: &Snapshot) -> Self {
        let workers = snapshot.ports.iter().flat_map(|port| &port.workers);
        let mark = |worker: &WorkerSnapshot| Mark {
            uptime: worker.uptime,
            turns: worker.turns,
            counters: worker.counters.clone(),
            drops: worker.drops.clone(),
            kernel: worker.kernel,
            rx: worker.rx,
            tx: worker.tx,
        };
        Self {
            workers: workers
                .map(|worker| (worker.number, mark(worker)))
                .collect(),
        }
    }

    pub(super) fn worker(&self, number: usize) -> Option<&Counters> {
        self.workers.get(&number).map(|mark| &mark.counters)
    }

    /// What `worker` dropped since, by interface, node and reason.
    pub(super) fn drops(&self, worker: &WorkerSnapshot) -> Vec<InterfaceDrop> {
        let key = |drop: &InterfaceDrop| (drop.interface, drop.node, drop.reason);
        let counts = worker.drops.iter().map(|drop| (key(drop), drop.count));
        let mut counts: BTreeMap<_, _> = counts.collect();
        let before = self.workers.get(&worker.number).map(|mark| &mark.drops[..]);
        for before in before.unwrap_or_default() {
            let now = counts.entry(key(before)).or_default();
            if let Some(less) = now.checked_sub(before.count) {
                *now = less;
            } else {
                // The interface is no more: what it had dropped is number 0's now.
                let none = (IfIndex(0), before.node, before.reason);
                let now = counts.entry(none).or_default();
                *now = now.saturating_sub(before.count);
            }
        }
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        counts
            .map(|((interface, node, reason), count)| InterfaceDrop {
                interface,
                node,
                reason,
                count,
            })
            .collect()
    }

    pub(super) fn time(&self, number: usize) -> Duration {
        self.workers
            .get(&number)
            .map_or(Duration::ZERO, |mark| mark.uptime)
    }

    pub(super) fn turns(&self, number: usize) -> u64 {
        self.workers.get(&number).map_or(0, |mark| mark.turns)
    }

    /// What the kernel counted for `worker` since.
    pub(super) fn kernel(&self, worker: &WorkerSnapshot) -> KernelCounters {
        let before = self.workers.get(&worker.number).map(|mark| mark.kernel);
        let before = before.unwrap_or_default();
        KernelCounters {
            packets: worker.kernel.packets.saturating_sub(before.packets),
            drops: worker.kernel.drops.saturating_sub(before.drops),
            freezes: worker.kernel.freezes.saturating_sub(before.freezes),
        }
    }

    /// What the rings of `worker` lost since; the other fields are not subtracted.
    pub(super) fn rings(&self, worker: &WorkerSnapshot) -> (RxCounters, TxCounters) {
        let (mut rx, mut tx) = (worker.rx, worker.tx);
        if let Some(mark) = self.workers.get(&worker.number) {
            rx.holes = rx.holes.saturating_sub(mark.rx.holes);
            rx.malformed = rx.malformed.saturating_sub(mark.rx.malformed);
            tx.wrong_format = tx.wrong_format.saturating_sub(mark.tx.wrong_format);
        }
        (rx, tx)
    }

    /// Frames the kernel dropped at `port` since.
    pub(super) fn kernel_drops(&self, port: &PortSnapshot) -> u64 {
        port.workers
            .iter()
            .map(|worker| self.kernel(worker).drops)
            .sum()
    }

    /// Received frames that could not be read.
    pub(super) fn rx_errors(&self, port: &PortSnapshot) -> u64 {
        let lost = |worker| {
            let (rx, _) = self.rings(worker);
            rx.holes + rx.malformed
        };
        port.workers.iter().map(lost).sum()
    }

    /// Frames the kernel refused to send.
    pub(super) fn tx_errors(&self, port: &PortSnapshot) -> u64 {
        let refused = |worker| self.rings(worker).1.wrong_format;
        port.workers.iter().map(refused).sum()
    }
}

/// How old a snapshot may be that a command is answered from: however many operators ask, workers
/// are asked this often at most.
pub const SNAPSHOT_AGE_MAX: Duration = Duration::from_millis(10);

/// Does what operators say.
#[derive(Debug)]
pub struct Operator {
    controller: Controller,
    /// Is rung when a command that goes on has something to say.
    notify: Notify,
    /// The identifier of the next ping.
    next_ping: u16,
    snapshot: Option<(Instant, Snapshot)>,
    interfaces: Baseline,
    runtime: Baseline,
    errors: Baseline,
}

impl Operator {
    /// An operator of the dataplane behind `controller`.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn new(controller: Controller) -> io::Result<Self> {
        Ok(Self {
            controller,
            notify: Notify::new()?,
            // Not from 0, so that a restart does not meet its own late answers.
            next_ping: u16::try_from(std::process::id() & 0xffff).unwrap_or(0),
            snapshot: None,
            interfaces: Baseline::default(),
            runtime: Baseline::default(),
            errors: Baseline::default(),
        })
    }

    /// The bell that commands which go on ring.
    pub fn notify(&self) -> &Notify {
        &self.notify
    }

    /// Does what `line` says.
    pub fn run(&mut self, line: &str) -> Answer {
        let words = match Word::split(line) {
            Ok(words) if words.is_empty() => return Answer::Done(Reply::done("")),
            Ok(words) => words,
            Err(error) => return Answer::Done(Reply::failed(error)),
        };
        let parsed = match command::tree().parse(&words) {
            Ok(parsed) => parsed,
            Err(error) => return Answer::Done(Reply::failed(error)),
        };
        if let Command::Ping(request) = parsed.command {
            self.next_ping = self.next_ping.wrapping_add(1);
            let (controller, notify) = (self.controller.clone(), self.notify.clone());
            let ping = Ping::begin(request, self.next_ping, controller, notify);
            return Answer::Running(ping);
        }
        let mut reply = self.obey(parsed.command);
        for note in parsed.notes {
            let _ = writeln!(reply.text, "note: {note}");
        }
        Answer::Done(reply)
    }

    fn obey(&mut self, command: Command) -> Reply {
        match command {
            Command::Show { what, json } => self.show(&what, json),
            Command::Clear(what) => self.clear(what),
            Command::Edit(edit) => self.edit(&edit),
            Command::Exec(path) => self.exec(&path),
            Command::TraceAdd { node, count } => self.trace(&node, count),
            Command::Capture(order) => match self.controller.capture(order) {
                Ok(()) => Reply::done(""),
                Err(error) => Reply::failed(sentence(&error)),
            },
            Command::CaptureEnd => match self.controller.end_capture() {
                Some(status) => Reply::done(pcap::ended(&status)),
                None => {
                    Reply::failed("there is no capture; begin one with pcap trace rx tx file NAME")
                }
            },
            Command::Ping(_) => Reply::done(""), // goes on, see above
            Command::Help => Reply::done(help("")),
            Command::Quit => Reply {
                text: String::new(),
                failed: false,
                quit: true,
            },
        }
    }

    /// How everything is, seen a moment ago at the earliest.
    fn snapshot(&mut self) -> Result<&Snapshot, Reply> {
        let fresh = self
            .snapshot
            .as_ref()
            .is_some_and(|(at, _)| at.elapsed() < SNAPSHOT_AGE_MAX);
        if !fresh {
            let snapshot = self.controller.snapshot();
            self.snapshot = snapshot.map(|snapshot| (Instant::now(), snapshot));
        }
        match &self.snapshot {
            Some((_, snapshot)) => Ok(snapshot),
            None => Err(Reply::failed("the dataplane has ended")),
        }
    }

    fn show(&mut self, what: &Show, json: bool) -> Reply {
        if let Show::Version = what {
            return Reply::done(render(&Version::of_this(), json));
        }
        if let Show::Trace { max, node } = what {
            return self.show_trace(*max, node.as_deref(), json);
        }
        if let Show::Capture = what {
            let status = self.controller.capture_status();
            return Reply::done(render(&StatusTable(status), json));
        }
        let (interfaces, runtime, errors) = (
            self.interfaces.clone(),
            self.runtime.clone(),
            self.errors.clone(),
        );
        let snapshot = match self.snapshot() {
            Ok(snapshot) => snapshot,
            Err(reply) => return reply,
        };
        if let Show::Interface(names)
        | Show::Errors { names, .. }
        | Show::InterfaceAddress(names)
        | Show::HardwareInterfaces(names) = what
        {
            let unknown = names.iter().find(|name| {
                *name != "local0" && !super::interfaces::all(snapshot).contains_key(name.as_str())
            });
            if let Some(name) = unknown {
                return Reply::failed(format_args!("there is no interface {name:?}"));
            }
        }
        let mut text = match what {
            Show::Interface(names) => {
                render(&InterfaceTable::of(snapshot, &interfaces, names), json)
            }
            Show::InterfaceAddress(names) => render(&AddressTable::of(snapshot, names), json),
            Show::HardwareInterfaces(names) => {
                render(&HardwareTable::of(snapshot, &interfaces, names), json)
            }
            Show::Runtime => render(&RuntimeTable::of(snapshot, &runtime), json),
            Show::Errors { names, verbose } => {
                let table = ErrorTable::of(snapshot, &errors, names);
                render(
                    &ErrorTable {
                        verbose: *verbose,
                        ..table
                    },
                    json,
                )
            }
            Show::IpNeighbors(interface) => {
                render(&NeighborTable::of(snapshot, interface.as_deref()), json)
            }
            Show::IpFib => render(&RouteTable::of(snapshot), json),
            Show::Session { verbose } => render(&SessionTable::of(snapshot, *verbose), json),
            Show::HttpStaticServer(parts) => render(&HttpTable::of(snapshot, *parts), json),
            Show::VlibGraph => render(&GraphTable::of(snapshot), json),
            Show::VlibGraphviz => graphviz(snapshot),
            Show::Version => render(&Version::of_this(), json),
            Show::Trace { .. } | Show::Capture => String::new(), // done above
            Show::Threads => render(&ThreadTable::of(snapshot), json),
            Show::Config(format) => match config(&snapshot.config, *format, json) {
                Ok(text) => text,
                Err(reply) => return reply,
            },
        };
        let silent: usize = snapshot
            .ports
            .iter()
            .map(|port| port.worker_count - port.workers.len())
            .sum();
        if silent > 0 && !json {
            let _ = writeln!(
                text,
                "note: {silent} worker(s) did not answer and are left out"
            );
        }
        Reply::done(text)
    }

    fn clear(&mut self, what: Clear) -> Reply {
        if what == Clear::Trace {
            self.controller.clear_trace();
            return Reply::done("");
        }
        self.snapshot = None;
        let baseline = match self.snapshot() {
            Ok(snapshot) => Baseline::of(snapshot),
            Err(reply) => return reply,
        };
        match what {
            Clear::Interfaces => self.interfaces = baseline,
            Clear::Runtime => self.runtime = baseline,
            Clear::Errors => self.errors = baseline,
            Clear::Trace => {} // done above
        }
        Reply::done("")
    }

    /// Changes the desired state by one command.
    fn edit(&mut self, edit: &startup_conf::Command) -> Reply {
        let Some(mut config) = self.controller.config() else {
            return Reply::failed("the dataplane has ended");
        };
        let mut text = String::new();
        match edit.apply(&mut config) {
            Ok(notes) => {
                for note in notes {
                    let _ = writeln!(text, "note: {note}");
                }
            }
            Err(error) => return Reply::failed(error),
        }
        self.configure(config, text)
    }

    fn configure(&mut self, config: Config, text: String) -> Reply {
        self.snapshot = None;
        match self.controller.configure(config) {
            Ok(()) => Reply::done(text),
            Err(error) => Reply::failed(sentence(&error)),
        }
    }

    /// The node called `name`.
    fn node(&mut self, name: &str) -> Result<&'static str, Reply> {
        let workers = self.snapshot()?.ports.iter().flat_map(|port| &port.workers);
        let mut nodes = workers.flat_map(|worker| &worker.nodes);
        let known = nodes.find(|known| known.name == name);
        known.map(|known| known.name).ok_or_else(|| {
            Reply::failed(format_args!(
                "there is no node {name:?}; show vlib graph lists them"
            ))
        })
    }

    fn trace(&mut self, node: &str, count: u32) -> Reply {
        match self.node(node) {
            Ok(node) => {
                self.controller.trace(node, count);
                Reply::done("")
            }
            Err(reply) => reply,
        }
    }

    fn show_trace(&mut self, max: u32, node: Option<&str>, json: bool) -> Reply {
        let node = match node.map(|node| self.node(node)).transpose() {
            Ok(node) => node,
            Err(reply) => return reply,
        };
        // Which came to the node is known when all are seen.
        let looked_at = node.map_or(max, |_| PACKETS_MAX);
        match self.controller.traced(looked_at) {
            Some(workers) => Reply::done(render(&TraceTable::of(&workers, node, max), json)),
            None => Reply::failed("the dataplane has ended"),
        }
    }

    fn exec(&mut self, path: &Path) -> Reply {
        let Some(mut config) = self.controller.config() else {
            return Reply::failed("the dataplane has ended");
        };
        // A pipe would hold up every operator.
        if !std::fs::metadata(path).is_ok_and(|found| found.is_file()) {
            return Reply::failed(format_args!("{}: there is no such file", path.display()));
        }
        let file = path.display().to_string();
        let text = match read_file(path) {
            Ok(text) => text,
            Err(error) => return Reply::failed(sentence(&error)),
        };
        match startup_conf::edit(&mut config, &text, &file) {
            Ok(notes) => {
                let mut said = String::new();
                for note in notes {
                    let _ = writeln!(said, "note: {note}");
                }
                self.configure(config, said)
            }
            Err(error) => Reply::failed(sentence(&error)),
        }
    }
}

fn config(config: &Config, format: ConfigFormat, json: bool) -> Result<String, Reply> {
    if json {
        let text = serde_json::to_string_pretty(config).map_err(Reply::failed)?;
        return Ok(text + "\n");
    }
    match format {
        ConfigFormat::StartupConf => Ok(config.to_startup_conf()),
        ConfigFormat::Toml => config.to_toml().map_err(Reply::failed),
    }
}

/// The commands that begin as `line`, and what each does.
pub fn help(line: &str) -> String {
    let commands = command::tree().help(line);
    let lines = commands
        .iter()
        .map(|(usage, what)| format!("{usage}\n    {what}\n"));
    lines.collect()
}

/// An error and its causes.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
