//! `show trace`: packets node by node, their headers in words.

mod headers;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::trace::{Step, What};

/// Packets shown when nobody says how many, as in VPP.
pub const SHOWN_DEFAULT: u32 = 50;

/// One node's part in a packet's walk.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepRow {
    /// Microseconds since the worker started.
    pub at_us: u64,
    /// The node.
    pub node: &'static str,
    /// The reason, when it dropped the packet here.
    pub dropped: Option<&'static str>,
    /// What the packet was there, line by line.
    pub lines: Vec<String>,
}

/// One packet's walk.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PacketRow {
    /// 1 for the first.
    pub packet: u32,
    /// Its steps.
    pub steps: Vec<StepRow>,
}

/// One worker's packets.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorkerTrace {
    /// The worker's number.
    pub worker: usize,
    /// The worker's name.
    pub name: String,
    /// Its packets.
    pub packets: Vec<PacketRow>,
}

/// `show trace`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct TraceTable(pub Vec<WorkerTrace>);

impl TraceTable {
    /// The walks in the `steps` of each worker: number, name, steps. With a `node`, those that
    /// came to it; of each worker the first `max`.
    pub fn of(workers: &[(usize, String, Vec<Step>)], node: Option<&str>, max: u32) -> Self {
        let of_worker = |(worker, name, steps): &(usize, String, Vec<Step>)| {
            let mut packets: Vec<PacketRow> = Vec::new();
            for step in steps {
                let row = row(step);
                match packets.iter_mut().find(|known| known.packet == step.packet) {
                    Some(known) => known.steps.push(row),
                    None => packets.push(PacketRow {
                        packet: step.packet,
                        steps: vec![row],
                    }),
                }
            }
            if let Some(node) = node {
                packets.retain(|packet| packet.steps.iter().any(|step| step.node == node));
            }
            packets.truncate(usize::try_from(max).unwrap_or(usize::MAX));
            WorkerTrace {
                worker: *worker,
                name: name.clone(),
                packets,
            }
        };
        Self(workers.iter().map(of_worker).collect())
    }
}

fn row(step: &Step) -> StepRow {
    let (dropped, lines) = match step.what {
        What::Arrived => (None, headers::lines(step)),
        What::Dropped(reason) => (Some(reason), Vec::new()),
        What::Transmitted => (None, vec![format!("transmitted, {} octets", step.len)]),
    };
    StepRow {
        at_us: u64::try_from(step.at.as_micros()).unwrap_or(u64::MAX),
        node: step.node,
        dropped,
        lines,
    }
}

/// `00:17:04:099260`, as VPP has it.
fn clock(at_us: u64) -> String {
    let at = Duration::from_micros(at_us);
    let seconds = at.as_secs();
    format!(
        "{:02}:{:02}:{:02}:{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        at.subsec_micros()
    )
}

impl fmt::Display for TraceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for worker in &self.0 {
            let line = "-".repeat(19);
            writeln!(
                f,
                "{line} Start of thread {} {} {line}",
                worker.worker, worker.name
            )?;
            if worker.packets.is_empty() {
                writeln!(f, "No packets in trace buffer")?;
            }
            for packet in &worker.packets {
                writeln!(f, "Packet {}\n", packet.packet)?;
                for step in &packet.steps {
                    match step.dropped {
                        Some(reason) => {
                            writeln!(f, "{}: error-drop", clock(step.at_us))?;
                            writeln!(f, "  {}: {reason}", step.node)?;
                        }
                        None => writeln!(f, "{}: {}", clock(step.at_us), step.node)?,
                    }
                    for line in &step.lines {
                        writeln!(f, "  {line}")?;
                    }
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
