//! `show session`: TCP connections.

use std::fmt;

use serde::Serialize;

use super::interfaces::all;
use super::table::{left, seconds};
use crate::snapshot::{Snapshot, WorkerSnapshot};

/// A connection.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SessionRow {
    /// Our end.
    pub local: String,
    /// The peer's.
    pub remote: String,
    /// RFC 9293's name.
    pub state: &'static str,
    /// The sub-interface.
    pub interface: String,
    /// Seconds since it was opened.
    pub age: f64,
    /// Octets the server read.
    pub octets_in: u64,
    /// Octets the server wrote.
    pub octets_out: u64,
    /// Octets in flight.
    pub flight: usize,
    /// Our congestion window in octets.
    pub congestion_window: usize,
    /// The peer's receive window in octets.
    pub send_window: usize,
    /// Smoothed round-trip time in seconds, once measured.
    pub round_trip: Option<f64>,
    /// Times something was sent again.
    pub retransmissions: u64,
}

/// One worker's connections.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorkerSessions {
    /// The worker's number.
    pub worker: usize,
    /// Connections, and their maximum.
    pub connections: (usize, usize),
    /// Half-open connections, and their maximum.
    pub half_open: (usize, usize),
    /// TIME-WAIT records, and their maximum.
    pub time_wait: (usize, usize),
    /// Octets of buffers, and their maximum.
    pub buffers: (usize, usize),
    /// The first of them, at most
    /// [`CONNECTIONS_TOLD_MAX`](crate::snapshot::CONNECTIONS_TOLD_MAX).
    pub sessions: Vec<SessionRow>,
    /// TCP's counters that are not 0.
    pub counters: Vec<(&'static str, u64)>,
}

/// `show session`.
#[derive(Clone, Debug, Serialize)]
pub struct SessionTable {
    /// By worker.
    pub workers: Vec<WorkerSessions>,
    /// Show each connection's windows too, and TCP's counters.
    #[serde(skip)]
    pub verbose: bool,
}

impl SessionTable {
    /// Every worker's connections.
    pub fn of(snapshot: &Snapshot, verbose: bool) -> Self {
        let workers = snapshot.ports.iter().flat_map(|port| &port.workers);
        Self {
            workers: workers.map(|worker| of_worker(snapshot, worker)).collect(),
            verbose,
        }
    }
}

fn of_worker(snapshot: &Snapshot, worker: &WorkerSnapshot) -> WorkerSessions {
    let names = all(snapshot);
    let sessions = worker.connections.iter().map(|one| SessionRow {
        local: one.local.to_string(),
        remote: one.remote.to_string(),
        state: one.state.name(),
        interface: names
            .iter()
            .find(|(_, (_, interface))| interface.index == one.interface)
            .map_or_else(String::new, |(name, _)| (*name).to_owned()),
        age: seconds(one.age),
        octets_in: one.octets_in,
        octets_out: one.octets_out,
        flight: one.flight,
        congestion_window: one.congestion_window,
        send_window: one.send_window,
        round_trip: one.round_trip.map(seconds),
        retransmissions: one.retransmissions,
    });
    let limits = &worker.limits;
    WorkerSessions {
        worker: worker.number,
        connections: limits.connections,
        half_open: limits.half_open,
        time_wait: limits.time_wait,
        buffers: limits.buffers,
        sessions: sessions.collect(),
        counters: worker.tcp.iter().filter(|(_, count)| *count > 0).collect(),
    }
}

impl fmt::Display for SessionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for worker in &self.workers {
            writeln!(
                f,
                "{}{}{}{}{}",
                left("Connection", 60),
                left("State", 15),
                left("Octets-in", 12),
                left("Octets-out", 12),
                left("Retransmits", 12)
            )?;
            for (nth, row) in worker.sessions.iter().enumerate() {
                let name = format!("[{}:{nth}][T] {}->{}", worker.worker, row.local, row.remote);
                writeln!(
                    f,
                    "{}{}{}{}{}",
                    left(name, 60),
                    left(row.state, 15),
                    left(row.octets_in, 12),
                    left(row.octets_out, 12),
                    left(row.retransmissions, 12)
                )?;
                if self.verbose {
                    write!(
                        f,
                        "  {} age {:.1} flight {} cwnd {} snd-wnd {} srtt ",
                        row.interface, row.age, row.flight, row.congestion_window, row.send_window
                    )?;
                    match row.round_trip {
                        Some(time) => writeln!(f, "{:.3} ms", time * 1e3)?,
                        None => writeln!(f, "-")?,
                    }
                }
            }
            let total = worker.connections.0 + worker.half_open.0 + worker.time_wait.0;
            let hidden = total.saturating_sub(worker.sessions.len());
            if hidden > 0 {
                writeln!(f, "{hidden} more are not shown")?;
            }
            writeln!(
                f,
                "Thread {}: active sessions {} of {}, half-open {} of {}, time-wait {} of {}, \
                 buffers {} of {} octets",
                worker.worker,
                worker.connections.0,
                worker.connections.1,
                worker.half_open.0,
                worker.half_open.1,
                worker.time_wait.0,
                worker.time_wait.1,
                worker.buffers.0,
                worker.buffers.1
            )?;
            if self.verbose {
                for (name, count) in &worker.counters {
                    writeln!(f, "  {}{count}", left(name, 32))?;
                }
            }
        }
        Ok(())
    }
}
