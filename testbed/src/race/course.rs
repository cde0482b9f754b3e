//! The rows, run on one server.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{PING_SIZE, ping_every};
use crate::race::contestant::{ENDPOINT, Running};
use crate::race::load::{self, Load, Outcome, Reuse, Until};
use crate::race::rows::{Row, Samples};
use crate::race::site::{INDEX, KIB_64, MB_1, MB_10, MB_256, MIB_1, Page};
use crate::race::statistics::{mean, median, rate, real};
use crate::race::{ping, wrk};
use crate::relay::Impairment;
use crate::wiring::{Options, SERVER_ADDRESS};

const PINGS: u16 = 300;
const PING_INTERVAL: Duration = Duration::from_millis(10);
const IDLE_TIME: Duration = Duration::from_secs(5);
/// Between a row and the next, for what the last one leaves to be done.
const SETTLE: Duration = Duration::from_millis(300);
/// Until what the last request set going is over: its connection is idle, and the neighbour it
/// came from has been asked whether it is still there (five seconds after it was used).
const AFTERMATH: Duration = Duration::from_secs(8);

/// Before the memory of idle connections is read.
const IDLE_SETTLE: Duration = Duration::from_secs(5);
const IDLE_CONNECTIONS: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(5);
/// A lost segment costs up to a few retransmission time-outs.
const LOSSY_PATIENCE: Duration = Duration::from_secs(15);
const BIG_FILES: u64 = 3;
/// How long a turn of a load lasts: what else the machine does meets those who take turns alike.
const TURN: Duration = Duration::from_secs(1);
/// Half of the round trip of an impaired wire.
const DELAY: Duration = Duration::from_millis(15);

/// What a row found: figures, and what went wrong.
#[derive(Debug, Default)]
pub struct Findings {
    /// One value for each metric that was measured.
    pub figures: Vec<(&'static str, f64)>,
    /// Requests without an answer, or why nothing was measured.
    pub failure: Option<String>,
}

/// Programs that stand in for the built-in clients, where they are installed.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    /// `wrk`.
    pub wrk: Option<PathBuf>,
    /// `ping`.
    pub ping: Option<PathBuf>,
}

/// How the rows are run.
#[derive(Debug, Clone)]
pub struct Course {
    /// How long each load lasts, in turns of a second.
    pub seconds: u32,
    /// Programs, for the rows they can do.
    pub programs: Programs,
    /// Which run this is: it seeds the losses.
    pub run: u32,
}

/// Where a row is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ground {
    /// The wiring as it is.
    Good,
    /// A wire that loses so many of 1,000 frames in each direction, and delays all of them.
    Lossy {
        /// Frames lost.
        permille: u32,
    },
}

impl Ground {
    /// Where `row` is run.
    pub fn of(row: Row) -> Self {
        match row {
            Row::Loss1 => Self::Lossy { permille: 10 },
            Row::Loss01 => Self::Lossy { permille: 1 },
            _ => Self::Good,
        }
    }

    /// The wiring it takes. The same run loses by the same sequence, whoever serves.
    pub fn options(self, run: u32) -> Options {
        let impairments = match self {
            Self::Good => None,
            Self::Lossy { permille } => Some([1, 2].map(|direction| Impairment {
                loss: f64::from(permille) / 1000.0,
                delay: DELAY,
                seed: u64::from(run) * 2 + direction,
            })),
        };
        Options {
            impairments,
            ..Options::default()
        }
    }
}

/// Whether `wrk` runs the loads of `row`, where it is installed. Files are not for it: it reads
/// 8 KiB at a time, and would be the slower end.
pub fn by_wrk(row: Row) -> bool {
    matches!(row, Row::Get1 | Row::Get32 | Row::Get256)
}

impl Course {
    /// Turns that everybody has in `row`.
    pub fn turns(&self, row: Row) -> u32 {
        match row {
            Row::Get1
            | Row::Get32
            | Row::Get256
            | Row::Connect64
            | Row::Files1m
            | Row::Files64k => self.seconds,
            _ => 1,
        }
    }

    /// Runs one turn of a row.
    pub fn run(&self, row: Row, running: &Running) -> Findings {
        let mut findings = Findings::default();
        let done = match row {
            Row::Start => Self::start(running, &mut findings),
            Row::Ping => self.ping(running, &mut findings),
            Row::Idle => Self::idle(running, &mut findings),
            Row::Get1 => self.keep_alive(running, 1, GET1, &mut findings),
            Row::Get32 => self.keep_alive(running, 32, GET32, &mut findings),
            Row::Get256 => self.keep_alive(running, 256, GET256, &mut findings),
            Row::Memory => Self::hold(running, &mut findings),
            Row::Connect64 => Self::connect(running, &mut findings),
            Row::File256m => Self::big_file(running, &mut findings),
            Row::Files1m => Self::files(running, MIB_1, FILES1M, &mut findings),
            Row::Files64k => Self::files(running, KIB_64, FILES64K, &mut findings),
            Row::Loss1 => Self::lossy(running, MB_1, 8, "loss1.time", &mut findings),
            Row::Loss01 => Self::lossy(running, MB_10, 4, "loss01.time", &mut findings),
        };
        if let Err(error) = done {
            findings.failure.get_or_insert(error);
        }
        thread::sleep(SETTLE);
        findings
    }

    fn start(running: &Running, findings: &mut Findings) -> Result<(), String> {
        let time = running.first_answer.clone()?;
        findings.add("start.first_get", time.as_secs_f64());
        Ok(())
    }

    fn ping(&self, running: &Running, findings: &mut Findings) -> Result<(), String> {
        let (client, address) = (running.client(), SERVER_ADDRESS.0);
        let times = match &self.programs.ping {
            Some(program) => {
                let requests = (PINGS, PING_SIZE);
                ping::run(client, program, address, requests, PING_INTERVAL).map_err(told)?
            }
            None => ping_every(client, address, PINGS, PING_SIZE, PATIENCE, PING_INTERVAL)
                .map_err(told)?,
        };
        let times: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
        findings.add_some("ping.avg", mean(&times));
        findings.add_some("ping.p50", median(&times));
        Ok(())
    }

    fn idle(running: &Running, findings: &mut Findings) -> Result<(), String> {
        thread::sleep(AFTERMATH);
        let read = || -> io::Result<_> {
            let server = &running.server;
            Ok((server.cpu_time()?, server.sleeps()?))
        };
        let start = Instant::now();
        let before = read().map_err(told)?;
        thread::sleep(IDLE_TIME);
        let after = read().map_err(told)?;
        let time = start.elapsed();
        let cpu = after.0.saturating_sub(before.0).as_secs_f64();
        findings.add("idle.cpu", 100.0 * cpu / time.as_secs_f64());
        let sleeps = after.1.saturating_sub(before.1);
        findings.add("idle.wakeups", rate(sleeps, time));
        Ok(())
    }

    fn keep_alive(
        &self,
        running: &Running,
        connections: usize,
        ids: LoadIds,
        findings: &mut Findings,
    ) -> Result<(), String> {
        let Some(program) = &self.programs.wrk else {
            let load = load_of(INDEX, connections, Reuse::KeepAlive);
            return Self::measure(running, &load, ids, findings);
        };
        let before = running.server.cpu_time().map_err(told)?;
        let (client, target) = (running.client(), (ENDPOINT, INDEX.path));
        let summary = wrk::run(client, program, target, connections, TURN).map_err(told)?;
        let after = running.server.cpu_time().map_err(told)?;
        if summary.answered == 0 {
            return Err("no request was answered".into());
        }
        if summary.errors > 0 {
            findings.failure = Some(format!("{} errors (wrk)", summary.errors));
        }
        findings.add(ids.rate, summary.rate);
        findings.add(ids.p50, summary.p50.as_secs_f64());
        findings.add(ids.p99, summary.p99.as_secs_f64());
        findings.add(ids.cpu, per_100k(before, after, summary.answered));
        Ok(())
    }

    fn connect(running: &Running, findings: &mut Findings) -> Result<(), String> {
        let load = load_of(INDEX, 64, Reuse::Close);
        Self::measure(running, &load, CONNECT64, findings)
    }

    fn measure(
        running: &Running,
        load: &Load<'_>,
        ids: LoadIds,
        findings: &mut Findings,
    ) -> Result<(), String> {
        let before = running.server.cpu_time().map_err(told)?;
        let outcome = answered(running, load, findings)?;
        let after = running.server.cpu_time().map_err(told)?;
        findings.add(ids.rate, rate(outcome.answered, outcome.elapsed));
        findings.add_time(ids.p50, outcome.times.quantile(500));
        findings.add_time(ids.p99, outcome.times.quantile(990));
        findings.add(ids.cpu, per_100k(before, after, outcome.answered));
        Ok(())
    }

    fn files(
        running: &Running,
        page: Page,
        (rate_id, p99_id): (&'static str, &'static str),
        findings: &mut Findings,
    ) -> Result<(), String> {
        let load = load_of(page, 16, Reuse::KeepAlive);
        let outcome = answered(running, &load, findings)?;
        findings.add(rate_id, rate(outcome.answered, outcome.elapsed));
        findings.add_time(p99_id, outcome.times.quantile(990));
        Ok(())
    }

    fn big_file(running: &Running, findings: &mut Findings) -> Result<(), String> {
        let load = fetches(MB_256, 1, 1, PATIENCE);
        answered(running, &load, findings)?; // the server may have to read it first
        let load = fetches(MB_256, 1, BIG_FILES, PATIENCE);
        let outcome = answered(running, &load, findings)?;
        let time = outcome.times.quantile(500).unwrap_or_default();
        findings.add("file256m.rate", rate(MB_256.length, time));
        Ok(())
    }

    fn hold(running: &Running, findings: &mut Findings) -> Result<(), String> {
        let load = Load {
            reuse: Reuse::Hold,
            ..fetches(INDEX, 256, IDLE_CONNECTIONS, PATIENCE)
        };
        let outcome = answered(running, &load, findings)?;
        thread::sleep(IDLE_SETTLE);
        let memory = running.server.resident_memory().map_err(told)?;
        let held = outcome.held.len() as u64;
        if held == IDLE_CONNECTIONS {
            findings.add("memory.idle10k", real(memory));
            Ok(())
        } else {
            Err(format!(
                "only {held} of {IDLE_CONNECTIONS} connections held"
            ))
        }
    }

    /// Several at a time: the wire has no limit they would share, and losses strike each.
    fn lossy(
        running: &Running,
        page: Page,
        at_once: usize,
        id: &'static str,
        findings: &mut Findings,
    ) -> Result<(), String> {
        let load = fetches(page, at_once, at_once as u64, LOSSY_PATIENCE);
        let outcome = answered(running, &load, findings)?;
        findings.add_time(id, outcome.times.quantile(500));
        Ok(())
    }
}

/// Resident memory now, as the metric `id`.
pub fn memory(running: &Running, id: &'static str) -> Findings {
    let mut findings = Findings::default();
    match running.server.resident_memory() {
        Ok(memory) => findings.add(id, real(memory)),
        Err(error) => findings.failure = Some(error.to_string()),
    }
    findings
}

/// `count` fetches, each on its connection.
fn fetches(page: Page, at_once: usize, count: u64, patience: Duration) -> Load<'static> {
    Load {
        to: ENDPOINT,
        path: page.path,
        length: page.length,
        at_once,
        reuse: Reuse::Close,
        until: Until::Requests(count),
        patience,
    }
}

/// Runs a load; an error if nothing was answered.
fn answered(
    running: &Running,
    load: &Load<'_>,
    findings: &mut Findings,
) -> Result<Outcome, String> {
    let outcome = load::run(running.client(), load).map_err(told)?;
    if outcome.errors > 0 {
        let first = outcome.first_error.as_deref().unwrap_or_default();
        findings.failure = Some(format!("{} errors, the first: {first}", outcome.errors));
    }
    if outcome.answered == 0 {
        return Err("no request was answered".into());
    }
    Ok(outcome)
}

fn per_100k(before: Duration, after: Duration, requests: u64) -> f64 {
    after.saturating_sub(before).as_secs_f64() * 1e5 / real(requests)
}

fn told(error: impl Display) -> String {
    error.to_string()
}

/// A load of one turn.
fn load_of(page: Page, at_once: usize, reuse: Reuse) -> Load<'static> {
    Load {
        reuse,
        until: Until::Elapsed(TURN),
        ..fetches(page, at_once, 0, PATIENCE)
    }
}

impl Findings {
    /// The means of what turns found, of the figures all of them have: without an answer there is
    /// none.
    pub fn of_turns(turns: &[Self]) -> Self {
        let value = |turn: &Self, id| {
            let mut figures = turn.figures.iter();
            figures
                .find(|(known, _)| *known == id)
                .map(|(_, value)| *value)
        };
        let figures = turns.first().map_or(&[][..], |turn| &turn.figures).iter();
        let means = figures.filter_map(|(id, _)| {
            let values: Option<Vec<f64>> = turns.iter().map(|turn| value(turn, *id)).collect();
            Some((*id, mean(&values?)?))
        });
        let mut failures = turns.iter().filter_map(|turn| turn.failure.as_deref());
        let first = failures.next().map(str::to_owned);
        Self {
            figures: means.collect(),
            failure: first.map(|first| match failures.count() {
                0 => first,
                more => format!("{first}; {more} more of its turns failed"),
            }),
        }
    }

    fn add(&mut self, id: &'static str, value: f64) {
        self.figures.push((id, value));
    }

    fn add_some(&mut self, id: &'static str, value: Option<f64>) {
        self.figures.extend(value.map(|value| (id, value)));
    }

    fn add_time(&mut self, id: &'static str, time: Option<Duration>) {
        self.add_some(id, time.map(|time| time.as_secs_f64()));
    }

    /// Adds the figures of `run` to `samples`.
    pub fn put_into(&self, samples: &mut Samples, run: u32) {
        for (id, value) in &self.figures {
            samples.entry(id).or_default().insert(run, *value);
        }
    }
}

/// The metrics of a load of small requests.
#[derive(Debug, Clone, Copy)]
struct LoadIds {
    rate: &'static str,
    p50: &'static str,
    p99: &'static str,
    cpu: &'static str,
}

macro_rules! load_ids {
    ($row:literal) => {
        LoadIds {
            rate: concat!($row, ".rate"),
            p50: concat!($row, ".p50"),
            p99: concat!($row, ".p99"),
            cpu: concat!($row, ".cpu"),
        }
    };
}

const GET1: LoadIds = load_ids!("get1");
const GET32: LoadIds = load_ids!("get32");
const GET256: LoadIds = load_ids!("get256");
const CONNECT64: LoadIds = load_ids!("connect64");
const FILES1M: (&str, &str) = ("files1m.rate", "files1m.p99");
const FILES64K: (&str, &str) = ("files64k.rate", "files64k.p99");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_losses_of_a_run_are_the_same_for_every_server_and_other_ones_in_the_next_run() {
        let seeds = |run| {
            let impairments = Ground::of(Row::Loss1).options(run).impairments.unwrap();
            impairments.map(|its| its.seed)
        };
        assert_eq!(seeds(1), seeds(1));
        let mut all: Vec<u64> = (0..10).flat_map(seeds).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 20);
        assert_eq!(Ground::of(Row::Get1).options(1).impairments, None);
    }

    #[test]
    fn a_turn_without_an_answer_leaves_no_figure_of_the_others() {
        let turn = |rate: Option<f64>, failure: Option<&str>| Findings {
            figures: rate.map(|rate| ("get1.rate", rate)).into_iter().collect(),
            failure: failure.map(str::to_owned),
        };
        let good = [turn(Some(100.0), None), turn(Some(300.0), None)];
        let found = Findings::of_turns(&good);
        assert_eq!(
            (found.figures, found.failure),
            (vec![("get1.rate", 200.0)], None)
        );
        let stalled = turn(None, Some("no request was answered"));
        for turns in [
            [turn(Some(100.0), Some("1 error")), stalled],
            [
                turn(None, Some("1 error")),
                turn(Some(100.0), Some("2 errors")),
            ],
        ] {
            let found = Findings::of_turns(&turns);
            assert_eq!(found.figures, []);
            assert_eq!(
                found.failure.unwrap(),
                "1 error; 1 more of its turns failed"
            );
        }
    }

    #[test]
    fn cpu_time_is_told_for_100_000_requests() {
        let cpu = per_100k(Duration::from_secs(1), Duration::from_secs(3), 50_000);
        assert!((cpu - 4.0).abs() < 1e-9);
    }
}
