//! The soak: load, loss, attacks and changes of the host at the same time, for as long as asked.
//!
//! Two servers run in wirings of their own. One has the plain wire: it is attacked, and its host
//! is changed under it. The other sits behind a wire whose loss and delay change. Clients on the
//! kernel's stack compare every octet they get. What a client does not get is unexplained, unless
//! the link was away meanwhile. Memory is looked at once a second, and must not grow.

pub mod chart;
pub mod clients;
pub mod memory;
pub mod report;
mod trouble;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::{Step as _, WiringError};
use crate::process::{Rights, Server};
use crate::relay::Impairment;
use crate::wiring::{SERVER_ADDRESS, Wiring};
use clients::Tally;
use memory::Sample;

/// Hours a soak may last.
pub const HOURS_MAX: u64 = 24;

/// Where the servers listen.
const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(SERVER_ADDRESS.0, 80);
/// The user they run as.
const SERVER_ID: u32 = 10_000;
/// How long one may take to become ready, and to answer when all is quiet again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_secs(1);
/// How often progress is told.
const PROGRESS: u32 = 10;

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `dataplane` binary.
    pub server: PathBuf,
    /// How long.
    pub duration: Duration,
    /// Decides files, attacks and changes.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// How long it took.
    pub elapsed: Duration,
    /// What decided it.
    pub seed: u64,
    /// What clients got, by server.
    pub clients: BTreeMap<&'static str, Tally>,
    /// Hostile frames sent, by kind.
    pub attacks: BTreeMap<&'static str, u64>,
    /// Changes of the host, of the configuration and of the wire.
    pub changes: BTreeMap<&'static str, u64>,
    /// What went wrong besides: a server that ended, one that is silent when all is quiet.
    pub failures: Vec<String>,
    /// Memory over time.
    pub memory: Vec<Sample>,
}

impl Results {
    /// Nothing is wrong, missing or growing.
    pub fn is_good(&self) -> bool {
        let clean = |tally: &Tally| tally.wrong == 0 && tally.unexplained == 0;
        self.failures.is_empty()
            && self.clients.values().all(clean)
            && self
                .growth()
                .is_none_or(|grown| grown <= memory::GROWTH_MAX)
    }

    /// Octets by which a server's memory grew from the second quarter of the time to the last;
    /// `None` while there is too little to tell.
    pub fn growth(&self) -> Option<u64> {
        memory::growth(&self.memory)
    }
}

/// One server and its network.
#[derive(Debug)]
struct Bed {
    // Dropped in this order: the server before what it stands on.
    server: Mutex<Server>,
    wiring: Wiring,
    folder: TempDir,
}

impl Bed {
    fn new(options: &Options, impaired: bool) -> Result<Self, WiringError> {
        let wiring = Wiring::poc(crate::wiring::Options {
            impairments: impaired.then_some([Impairment::default(); 2]),
            ..crate::wiring::Options::default()
        })?;
        let folder = clients::write_site().step(|| "writing the files to serve".into())?;
        trouble::write_configuration(folder.path(), 0)
            .step(|| "writing the configuration".into())?;
        let mut command = std::process::Command::new(&options.server);
        command.args(["serve", "-q", "--config"]);
        command.arg(folder.path().join("dataplane.toml"));
        command.arg("--cli-listen").arg(socket(&folder));
        let rights = Rights::NetRawOnly { id: SERVER_ID };
        let mut server = Server::start(wiring.pod(), command, rights)?;
        server
            .wait_until_ready(PATIENCE)
            .map_err(|error| WiringError::new("starting the server", io::Error::other(error)))?;
        Ok(Self {
            server: Mutex::new(server),
            wiring,
            folder,
        })
    }

    fn with_server<T>(&self, f: impl FnOnce(&mut Server) -> T) -> T {
        f(&mut self.server.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("run").join("cli.sock")
}

/// What all threads of a soak share.
#[derive(Debug)]
struct Stage {
    begun: Instant,
    /// Nobody begins anything new.
    over: AtomicBool,
    /// When the link of the attacked server was away.
    away: trouble::Away,
}

/// Soaks; tells progress to `tell`, a line each. Ends early once `stopped` is set.
///
/// # Errors
/// The networks cannot be built, or a server does not start. What goes wrong later is in the
/// results.
pub fn run(
    options: &Options,
    stopped: &AtomicBool,
    tell: &mut dyn FnMut(&str),
) -> Result<Results, WiringError> {
    let beds = [Bed::new(options, false)?, Bed::new(options, true)?];
    let [attacked, lossy] = &beds;
    let stage = Stage {
        begun: Instant::now(),
        over: AtomicBool::new(false),
        away: trouble::Away::default(),
    };
    let mut results = Results {
        seed: options.seed,
        ..Results::default()
    };
    let tallies = [Mutex::new(Tally::default()), Mutex::new(Tally::default())];
    let attacks = Mutex::new(BTreeMap::new());
    let changes = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for (place, (bed, tally)) in beds.iter().zip(&tallies).enumerate() {
            for nth in 0..clients::EACH {
                let seed = options.seed.wrapping_add(1 + nth + 100 * place as u64);
                let away = (place == 0).then_some(&stage.away);
                let over = &stage.over;
                scope.spawn(move || clients::load(bed, seed, over, away, tally));
            }
        }
        scope.spawn(|| trouble::attack(attacked, options.seed, &stage, &attacks));
        scope.spawn(|| trouble::change(attacked, options.seed, &stage, &changes));
        scope.spawn(|| trouble::impair(lossy, options.seed, &stage, &changes));
        watch(
            options,
            stopped,
            &stage,
            &beds,
            &tallies,
            &mut results,
            tell,
        );
        stage.over.store(true, Ordering::Relaxed);
    });
    results.attacks = taken(&attacks);
    results.changes = taken(&changes);
    for (name, (bed, tally)) in NAMES.into_iter().zip(beds.iter().zip(&tallies)) {
        if let Err(error) = clients::all_is_well(bed) {
            let said = bed.with_server(|server| server.stderr_tail(10));
            let failure = format!("{name}: when all was quiet again: {error}; it said:\n{said}");
            results.failures.push(failure);
        }
        results.clients.insert(name, taken(tally));
    }
    results.elapsed = stage.begun.elapsed();
    Ok(results)
}

/// The servers.
pub const NAMES: [&str; 2] = ["attacked", "lossy"];

fn taken<T: Clone>(value: &Mutex<T>) -> T {
    value.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Samples memory and tells progress until the time is over.
fn watch(
    options: &Options,
    stopped: &AtomicBool,
    stage: &Stage,
    beds: &[Bed; 2],
    tallies: &[Mutex<Tally>; 2],
    results: &mut Results,
    tell: &mut dyn FnMut(&str),
) {
    let mut nth = 0;
    while stage.begun.elapsed() < options.duration && !stopped.load(Ordering::Relaxed) {
        nth += 1;
        thread::sleep((SAMPLE * nth).saturating_sub(stage.begun.elapsed()));
        let mut octets = [0; 2];
        for (to, (name, bed)) in octets.iter_mut().zip(NAMES.into_iter().zip(beds)) {
            let looked = bed.with_server(|server| {
                let memory = server.resident_memory();
                memory.map_err(|_| server.stderr_tail(10))
            });
            match looked {
                Ok(memory) => *to = memory,
                Err(said) => {
                    results
                        .failures
                        .push(format!("{name}: the server ended; it said:\n{said}"));
                    return;
                }
            }
        }
        let at = stage.begun.elapsed();
        results.memory.push(Sample { at, octets });
        if nth % PROGRESS == 0 {
            tell(&report::progress(
                at,
                &tallies.each_ref().map(taken),
                octets,
            ));
        }
    }
}
