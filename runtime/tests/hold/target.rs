//! A server under attack, and what it says of itself.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use testbed::attack::{Attacker, Heard, read};
use testbed::wiring::Wiring;

use crate::bed::{Bed, Site, dataplane};

/// A ready server with an operator socket.
pub(crate) struct Target {
    pub(crate) bed: Bed,
    socket: PathBuf,
}

impl Deref for Target {
    type Target = Bed;

    fn deref(&self) -> &Bed {
        &self.bed
    }
}

impl Target {
    /// The proof of concept, by flags; `None` where the test must be skipped.
    pub(crate) fn new() -> Option<Self> {
        Self::with_flags(&[])
    }

    /// The proof of concept, with more flags.
    pub(crate) fn with_flags(more: &[&str]) -> Option<Self> {
        let bed = Bed::serving(|site, _| {
            let mut command = site.flags(more);
            command.arg("--cli-listen").arg(socket(site));
            command
        })?;
        Some(Self::of(bed))
    }

    /// The proof of concept on a wiring of one's own.
    pub(crate) fn on(wiring: Wiring, command: impl FnOnce(&Site) -> std::process::Command) -> Self {
        let site = Site::new();
        let mut command = command(&site);
        command.arg("--cli-listen").arg(socket(&site));
        let server = crate::bed::start(&wiring, command);
        Self::of(Bed::when_ready(wiring, site, server))
    }

    fn of(bed: Bed) -> Self {
        let socket = socket(&bed.site);
        Self { bed, socket }
    }

    pub(crate) fn attacker(&self, seed: u64) -> Attacker {
        Attacker::new(&self.bed.wiring, seed).unwrap()
    }

    /// What a command of the operator answers, as JSON.
    pub(crate) fn ask(&self, command: &str) -> Value {
        // What was asked a moment ago is answered again (`SNAPSHOT_AGE_MAX`).
        std::thread::sleep(Duration::from_millis(20));
        let mut ctl = dataplane(&["ctl", "--json", "-s"]);
        ctl.arg(&self.socket).args(command.split(' '));
        let output = ctl.output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{command}: {error}: {output:?}"))
    }

    /// `show errors`: counts by node and reason, as in `ip4-input too-short`.
    pub(crate) fn errors(&self) -> Errors {
        let rows = self.ask("show errors");
        let rows = rows.as_array().unwrap().iter().map(|row| {
            let text = |name: &str| row[name].as_str().unwrap();
            let name = format!("{} {}", text("node"), text("reason"));
            (name, row["count"].as_u64().unwrap())
        });
        Errors(rows.collect())
    }

    /// A counter of TCP's, all workers together.
    pub(crate) fn tcp(&self, counter: &str) -> u64 {
        let sessions = self.ask("show session verbose");
        let workers = sessions["workers"].as_array().unwrap();
        let counts = workers
            .iter()
            .map(|worker| worker["counters"][counter].as_u64().unwrap_or(0));
        counts.sum()
    }

    /// How many there are of `connections`, `half-open`, `time-wait` or octets of `buffers`.
    pub(crate) fn in_use(&self, what: &str) -> u64 {
        let sessions = self.ask("show session verbose");
        let workers = sessions["workers"].as_array().unwrap();
        let used = workers
            .iter()
            .map(|worker| worker[what][0].as_u64().unwrap());
        used.sum()
    }

    pub(crate) fn memory(&self) -> u64 {
        self.bed.server.resident_memory().unwrap()
    }
}

/// In a folder that the server's user may write to.
fn socket(site: &Site) -> PathBuf {
    let folder = site.www().with_file_name("run");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    folder.join("cli.sock")
}

/// Drops counted at one time.
#[derive(Debug)]
pub(crate) struct Errors(BTreeMap<String, u64>);

impl Errors {
    /// How often, of all these together.
    pub(crate) fn of(&self, names: &[&str]) -> u64 {
        names
            .iter()
            .filter_map(|name| self.0.get(*name))
            .sum::<u64>()
    }

    /// What was counted since.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let grown = self.0.iter().filter_map(|(name, count)| {
            let grown = count - before.0.get(name).copied().unwrap_or(0);
            (grown > 0).then(|| (name.clone(), grown))
        });
        Self(grown.collect())
    }
}

/// The server's last segment on `stream` so far, as the wire saw it: what it would send next is
/// its end, what it expects next its ACK.
pub(crate) fn last_heard(wire: &Attacker, stream: &TcpStream) -> Heard {
    let port = stream.local_addr().unwrap().port();
    let mut frame = vec![0; testbed::packet_socket::FRAME_MAX];
    let mut last = None;
    while let Some(length) = wire.socket().receive(&mut frame).unwrap() {
        let heard = read(&frame[..length]).filter(|heard| heard.tcp.to == port);
        last = heard.or(last);
    }
    last.unwrap()
}

/// Room for thousands of connections in this process.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}
