//! `show version`, `show threads`.

use std::fmt;

use serde::Serialize;

use super::table::{left, seconds};
use crate::snapshot::Snapshot;

/// `show version`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Version {
    /// The program's version.
    pub version: &'static str,
    /// The kernel it runs on.
    pub kernel: String,
    /// The process.
    pub pid: u32,
}

impl Version {
    /// This program's.
    pub fn of_this() -> Self {
        let kernel = nix::sys::utsname::uname().map_or_else(
            |_| "unknown".to_owned(),
            |name| name.release().to_string_lossy().into_owned(),
        );
        Self {
            version: env!("CARGO_PKG_VERSION"),
            kernel,
            pid: std::process::id(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, kernel, pid) = (self.version, &self.kernel, self.pid);
        writeln!(f, "dataplane v{version}, Linux {kernel}, process {pid}")
    }
}

/// A worker's thread.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ThreadRow {
    /// The worker's number.
    pub id: usize,
    /// The thread's name.
    pub name: String,
    /// What it does.
    pub kind: &'static str,
    /// The interface whose rings it has.
    pub interface: Option<String>,
    /// Seconds since it started.
    pub uptime: f64,
    /// Turns taken.
    pub turns: u64,
}

/// `show threads`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct ThreadTable(pub Vec<ThreadRow>);

impl ThreadTable {
    /// The workers.
    pub fn of(snapshot: &Snapshot) -> Self {
        let workers = snapshot.ports.iter().flat_map(|port| {
            port.workers.iter().map(|worker| ThreadRow {
                id: worker.number,
                name: format!("{}-{}", port.plan.host_name, worker.number),
                kind: "worker",
                interface: Some(port.plan.port.name.clone()),
                uptime: seconds(worker.uptime),
                turns: worker.turns,
            })
        });
        Self(workers.collect())
    }
}

impl fmt::Display for ThreadTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}{}{}{}{}{}",
            left("ID", 7),
            left("Name", 20),
            left("Type", 12),
            left("Interface", 24),
            left("Uptime", 12),
            left("Turns", 12)
        )?;
        for row in &self.0 {
            writeln!(
                f,
                "{}{}{}{}{}{}",
                left(row.id, 7),
                left(&row.name, 20),
                left(row.kind, 12),
                left(row.interface.as_deref().unwrap_or("-"), 24),
                left(format_args!("{:.1}", row.uptime), 12),
                left(row.turns, 12)
            )?;
        }
        Ok(())
    }
}
