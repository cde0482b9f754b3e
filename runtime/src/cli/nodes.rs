//! `show runtime`, `show errors`, `show vlib graph`.

use std::collections::BTreeMap;
use std::fmt;

use dataplane::counters::NodeCounters;
use dataplane::graph::NodeInfo;
use serde::Serialize;

use super::interfaces::{LOCAL0, all, is_wanted};
use super::operator::Baseline;
use super::table::{center, exponent, left, right, seconds};
use crate::snapshot::{Snapshot, WorkerSnapshot};

/// A node of one worker.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeRow {
    /// The node.
    pub name: &'static str,
    /// Times it was given a batch or its timer ran.
    pub calls: u64,
    /// Frames it was given.
    pub vectors: u64,
    /// Frames it made itself.
    pub made: u64,
    /// Frames it sent along an arc.
    pub sent: u64,
    /// Frames it handed to the port.
    pub transmitted: u64,
    /// Frames whose octets it took over.
    pub consumed: u64,
    /// Frames it dropped.
    pub drops: u64,
    /// Frames it lost without saying so: a defect, always 0.
    pub leaked: u64,
}

/// A worker's nodes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorkerNodes {
    /// The worker's number.
    pub worker: usize,
    /// Its port.
    pub port: String,
    /// Seconds counted.
    pub seconds: f64,
    /// Turns taken in that time.
    pub turns: u64,
    /// The nodes that had something to do.
    pub nodes: Vec<NodeRow>,
}

/// `show runtime`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct RuntimeTable(pub Vec<WorkerNodes>);

/// A reason for drops.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ErrorRow {
    /// Frames dropped.
    pub count: u64,
    /// By this node.
    pub node: String,
    /// For this reason.
    pub reason: String,
    /// How many of them on which interface; `local0` stands for those that are no more.
    #[serde(serialize_with = "super::table::as_object")]
    pub interfaces: Vec<(String, u64)>,
}

/// `show errors`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct ErrorTable {
    /// In the order of the graph.
    pub rows: Vec<ErrorRow>,
    /// Show the interfaces too.
    #[serde(skip)]
    pub verbose: bool,
}

/// A node and where it leads.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GraphRow {
    /// The node.
    pub name: &'static str,
    /// Its arcs: name and node.
    pub next: Vec<(&'static str, &'static str)>,
    /// The nodes that lead to it.
    pub previous: Vec<&'static str>,
}

/// `show vlib graph`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct GraphTable(pub Vec<GraphRow>);

fn less(now: &NodeCounters, before: Option<&NodeCounters>) -> NodeCounters {
    let Some(before) = before else {
        return now.clone();
    };
    NodeCounters {
        calls: now.calls.saturating_sub(before.calls),
        received: now.received.saturating_sub(before.received),
        made: now.made.saturating_sub(before.made),
        sent: now.sent.saturating_sub(before.sent),
        transmitted: now.transmitted.saturating_sub(before.transmitted),
        consumed: now.consumed.saturating_sub(before.consumed),
        drops: now
            .drops
            .iter()
            .zip(&before.drops)
            .map(|(now, before)| now.saturating_sub(*before))
            .collect(),
        leaked: now.leaked.saturating_sub(before.leaked),
    }
}

/// The nodes of `worker` and what they did since `since`.
fn nodes<'s>(
    worker: &'s WorkerSnapshot,
    since: &'s Baseline,
) -> impl Iterator<Item = (&'s NodeInfo, NodeCounters)> {
    let before = since.worker(worker.number);
    let counted = worker.nodes.iter().zip(&worker.counters.nodes).enumerate();
    counted.map(move |(at, (info, now))| {
        (
            info,
            less(now, before.and_then(|before| before.nodes.get(at))),
        )
    })
}

impl RuntimeTable {
    /// Every worker's nodes since `since`.
    pub fn of(snapshot: &Snapshot, since: &Baseline) -> Self {
        let mut workers = Vec::new();
        for port in &snapshot.ports {
            for worker in &port.workers {
                let mut rows: Vec<NodeRow> = nodes(worker, since)
                    .filter(|(_, counters)| counters.calls > 0)
                    .map(|(info, counters)| NodeRow {
                        name: info.name,
                        calls: counters.calls,
                        vectors: counters.received,
                        made: counters.made,
                        sent: counters.sent,
                        transmitted: counters.transmitted,
                        consumed: counters.consumed,
                        drops: counters.dropped(),
                        leaked: counters.leaked,
                    })
                    .collect();
                rows.sort_by_key(|row| row.name);
                workers.push(WorkerNodes {
                    worker: worker.number,
                    port: port.plan.port.name.clone(),
                    seconds: seconds(worker.uptime.saturating_sub(since.time(worker.number))),
                    turns: worker.turns.saturating_sub(since.turns(worker.number)),
                    nodes: rows,
                });
            }
        }
        Self(workers)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rates are shown with a few digits"
)]
fn ratio(count: u64, by: f64) -> f64 {
    if by > 0.0 { count as f64 / by } else { 0.0 }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rates are shown with a few digits"
)]
fn per_call(vectors: u64, calls: u64) -> f64 {
    ratio(vectors, calls as f64)
}

impl fmt::Display for RuntimeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, worker) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f, "---------------")?;
            }
            if self.0.len() > 1 {
                writeln!(f, "Thread {} {}", worker.worker, worker.port)?;
            }
            let sum = |of: fn(&NodeRow) -> u64| -> u64 { worker.nodes.iter().map(of).sum() };
            let received = worker
                .nodes
                .iter()
                .find(|row| row.name == "af-packet-input")
                .map_or(0, |row| row.vectors);
            let vectors = per_call(sum(|row| row.vectors), sum(|row| row.calls));
            let loops = ratio(worker.turns, worker.seconds);
            writeln!(
                f,
                "Time {:.1}, average vectors/node {vectors:.2} loops/sec {loops:.2}",
                worker.seconds
            )?;
            let rate = |count| exponent(ratio(count, worker.seconds), 4);
            writeln!(
                f,
                "  vector rates in {}, out {}, drop {}, punt {}",
                rate(received),
                rate(sum(|row| row.transmitted)),
                rate(sum(|row| row.drops)),
                rate(0)
            )?;
            writeln!(
                f,
                "{}{}{}{}{}{}{}{}{}",
                center("Name", 30),
                center("State", 13),
                center("Calls", 16),
                center("Vectors", 16),
                center("Made", 16),
                center("Transmitted", 16),
                center("Consumed", 16),
                center("Drops", 16),
                center("Vectors/Call", 16)
            )?;
            for row in &worker.nodes {
                writeln!(
                    f,
                    "{}{}{}{}{}{}{}{}{}",
                    left(row.name, 30),
                    center("active", 13),
                    right(row.calls, 16),
                    right(row.vectors, 16),
                    right(row.made, 16),
                    right(row.transmitted, 16),
                    right(row.consumed, 16),
                    right(row.drops, 16),
                    right(format_args!("{:.2}", per_call(row.vectors, row.calls)), 16)
                )?;
            }
        }
        Ok(())
    }
}

impl ErrorTable {
    /// Why frames were dropped since `since`, over all workers, in the order of the graph: on the
    /// interfaces called `wanted`, or on all. What the kernel and the rings lost comes first.
    pub fn of(snapshot: &Snapshot, since: &Baseline, wanted: &[String]) -> Self {
        let mut rows: Vec<ErrorRow> = Vec::new();
        let mut add = |count: u64, node: &str, reason: &str, interface: &str| {
            if count == 0 || !is_wanted(wanted, interface) {
                return;
            }
            let known = rows
                .iter()
                .position(|row| row.node == node && row.reason == reason);
            let at = known.unwrap_or_else(|| {
                rows.push(ErrorRow {
                    count: 0,
                    node: node.to_owned(),
                    reason: reason.to_owned(),
                    interfaces: Vec::new(),
                });
                rows.len() - 1
            });
            let Some(row) = rows.get_mut(at) else { return };
            row.count += count;
            let mut own = row.interfaces.iter_mut();
            match own.find(|(known, _)| known == interface) {
                Some((_, sum)) => *sum += count,
                None => row.interfaces.push((interface.to_owned(), count)),
            }
        };
        for port in &snapshot.ports {
            let name = &port.plan.port.name;
            add(
                since.kernel_drops(port),
                "kernel",
                "receive ring full",
                name,
            );
            for worker in &port.workers {
                let (rx, tx) = since.rings(worker);
                add(rx.holes, "af-packet-input", "given up by the kernel", name);
                add(rx.malformed, "af-packet-input", "malformed", name);
                add(
                    tx.wrong_format,
                    "af-packet-output",
                    "refused by the kernel",
                    name,
                );
            }
        }
        let names: BTreeMap<_, _> = all(snapshot)
            .into_iter()
            .map(|(name, (_, interface))| (interface.index, name))
            .collect();
        for port in &snapshot.ports {
            for worker in &port.workers {
                let mut drops = since.drops(worker);
                drops.sort_by_key(|drop| (drop.node, drop.reason, drop.interface));
                for drop in drops {
                    let info = worker.nodes.get(drop.node);
                    let reason = info.and_then(|info| info.drops.get(drop.reason));
                    let name = names.get(&drop.interface).unwrap_or(&LOCAL0);
                    if let (Some(info), Some(reason)) = (info, reason) {
                        add(drop.count, info.name, reason, name);
                    }
                }
                for (info, counters) in nodes(worker, since) {
                    let reason = "leaked (a defect; please report it)";
                    add(counters.leaked, info.name, reason, &port.plan.port.name);
                }
            }
        }
        Self {
            rows,
            verbose: false,
        }
    }
}

impl fmt::Display for ErrorTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = format!(
            "{}{}{}{}",
            center("Count", 10),
            center("Node", 28),
            center("Reason", 36),
            center("Severity", 9)
        );
        if self.verbose {
            writeln!(f, "{head}{}", center("Interface", 32))?;
        } else {
            writeln!(f, "{head}")?;
        }
        let line = |f: &mut fmt::Formatter<'_>, row: &ErrorRow, count: u64| {
            write!(
                f,
                "{}{}{}{}",
                right(count, 10),
                center(&row.node, 28),
                center(&row.reason, 36),
                center("error", 9)
            )
        };
        for row in &self.rows {
            if !self.verbose {
                line(f, row, row.count)?;
                writeln!(f)?;
                continue;
            }
            for (interface, count) in &row.interfaces {
                line(f, row, *count)?;
                writeln!(f, "{}", left(interface, 32))?;
            }
        }
        Ok(())
    }
}

/// The nodes of the graph, which is the same in every worker.
fn graph(snapshot: &Snapshot) -> &[NodeInfo] {
    let worker = snapshot.ports.iter().find_map(|port| port.workers.first());
    worker.map_or(&[], |worker| &worker.nodes)
}

/// `show vlib graphviz`.
pub fn graphviz(snapshot: &Snapshot) -> String {
    dataplane::graph::graphviz(graph(snapshot))
}

impl GraphTable {
    /// The graph, which is the same in every worker.
    pub fn of(snapshot: &Snapshot) -> Self {
        let nodes = graph(snapshot);
        let name = |at: usize| nodes.get(at).map_or("", |info| info.name);
        let rows = nodes.iter().enumerate().map(|(at, info)| GraphRow {
            name: info.name,
            next: info
                .arcs
                .iter()
                .map(|(arc, to)| (*arc, name(*to)))
                .collect(),
            previous: nodes
                .iter()
                .filter(|from| from.arcs.iter().any(|(_, to)| *to == at))
                .map(|from| from.name)
                .collect(),
        });
        Self(rows.collect())
    }
}

impl fmt::Display for GraphTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}{}{}",
            center("Name", 26),
            center("Next", 46),
            center("Previous", 26)
        )?;
        for row in &self.0 {
            let lines = row.next.len().max(row.previous.len()).max(1);
            for line in 0..lines {
                let name = if line == 0 { row.name } else { "" };
                let next = row.next.get(line);
                let next = next
                    .map(|(arc, to)| format!("{to} [{arc}]"))
                    .unwrap_or_default();
                let previous = row.previous.get(line).copied().unwrap_or("");
                writeln!(
                    f,
                    "{}{}{}",
                    left(name, 26),
                    left(next, 46),
                    left(previous, 26)
                )?;
            }
        }
        Ok(())
    }
}
