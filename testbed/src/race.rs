//! The race: our server against nginx on the kernel's stack, on the same wiring, asked by the
//! same client.
//!
//! Each server has a wiring of its own; the client is bound to one CPU and the servers to another.
//! They take turns in every row, and in who comes first, so that what else the machine does meets
//! both alike. What is told is the median of some runs: of the figures, and of their ratios.

pub mod chart;
pub mod contestant;
pub mod course;
pub mod histogram;
pub mod load;
pub mod machine;
pub mod ping;
pub mod program;
pub mod report;
pub mod rows;
pub mod site;
pub mod statistics;
pub mod wrk;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use contestant::{Contestant, Running};
use course::{Course, Findings, Ground, Programs};
use rows::{METRICS, Row, Samples};
use site::Site;
use statistics::median;

/// Runs at most, and seconds of each load at most: a race ends.
pub const RUNS_MAX: u32 = 100;
/// Seconds of each load at most.
pub const SECONDS_MAX: u32 = 60;

/// Workers of our server at most, as many as it takes.
pub const WORKERS_MAX: u16 = 64;

/// Lines of a server's standard error that are told.
const STDERR_LINES: usize = 10;

/// What to race.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who takes part.
    pub contestants: Vec<Contestant>,
    /// In which rows.
    pub rows: BTreeSet<Row>,
    /// How often.
    pub runs: u32,
    /// How long each load lasts.
    pub seconds: u32,
    /// Programs, for the rows they can do.
    pub programs: Programs,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// Processor and kernel.
    pub machine: String,
    /// How it was measured, a sentence each.
    pub notes: Vec<String>,
    /// Runs that were begun.
    pub runs: u32,
    /// How long each load lasted.
    pub seconds: u32,
    /// The measurements of each contestant, in the order they took part.
    pub contestants: Vec<(&'static str, Samples)>,
    /// What was not answered.
    pub failures: Vec<String>,
}

impl Results {
    /// The median of one metric of one contestant.
    pub fn figure(&self, contestant: &str, id: &str) -> Option<f64> {
        rows::figure(self.samples(contestant)?, id)
    }

    fn samples(&self, contestant: &str) -> Option<&Samples> {
        let mut all = self.contestants.iter();
        let (_, samples) = all.find(|(name, _)| *name == contestant)?;
        Some(samples)
    }

    /// The median of what one contestant's figure divided by the other's was, over the runs that
    /// have both.
    pub fn ratio(&self, [one, other]: [&str; 2], id: &str) -> Option<f64> {
        let (one, other) = (self.samples(one)?.get(id)?, self.samples(other)?.get(id)?);
        let ratios: Vec<f64> = one
            .iter()
            .filter_map(|(run, value)| Some(value / other.get(run)?))
            .collect();
        let ratio = median(&ratios)?;
        ratio.is_finite().then_some(ratio)
    }
}

/// The race cannot be held.
#[derive(Debug)]
pub struct RaceError {
    step: &'static str,
    source: io::Error,
}

impl fmt::Display for RaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the race failed while {}: {}", self.step, self.source)
    }
}

impl std::error::Error for RaceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Holds the race; tells its progress to `tell`, a line each. Ends early, with what it has, once
/// `stopped` is set. The calling thread is bound to the client's CPU.
///
/// # Errors
/// The race itself cannot be held. A server that does not answer is in [`Results::failures`].
pub fn run(
    options: &Options,
    stopped: &AtomicBool,
    tell: &mut dyn FnMut(&str),
) -> Result<Results, RaceError> {
    let site = Site::write().map_err(|source| RaceError {
        step: "writing the files to serve",
        source,
    })?;
    let (client_cpu, server_cpu) = match *contestant::cpus() {
        [client, server, ..] => (Some(client), Some(server)),
        _ => (None, None),
    };
    if let Some(cpu) = client_cpu {
        contestant::pin(cpu).map_err(|source| RaceError {
            step: "binding the client to a CPU",
            source,
        })?;
    }
    let mut notes = vec![pinning(client_cpu, server_cpu), generators(options)];
    notes.extend(team(options));
    notes.extend(
        machine::congestion_control()
            .map(|name| format!("the kernel's congestion control is {name}")),
    );
    // Whoever else wants a CPU slows both servers, and the one in userspace more.
    notes.extend(machine::load_average().map(|load| format!("load average {load:.2} before")));
    let mut race = Race {
        options,
        stopped,
        tell,
        site,
        server_cpu,
        retired: BTreeSet::new(),
        results: Results {
            machine: machine::describe(),
            notes,
            seconds: options.seconds,
            contestants: (options.contestants.iter())
                .map(|contestant| (contestant.name(), Samples::new()))
                .collect(),
            ..Results::default()
        },
    };
    for run in 1..=options.runs {
        if race.is_stopped() {
            break;
        }
        race.results.runs = run;
        race.run_once(run);
    }
    if race.is_stopped() {
        race.fail("the race was interrupted".to_owned());
    }
    Ok(race.results)
}

fn pinning(client: Option<usize>, server: Option<usize>) -> String {
    match (client, server) {
        (Some(client), Some(server)) => {
            format!("the client was bound to CPU {client}, the server to CPU {server}")
        }
        _ => "client and server shared the only CPU".into(),
    }
}

/// Says so where ours has several workers.
fn team(options: &Options) -> Option<String> {
    options.contestants.iter().find_map(|contestant| {
        let workers = contestant.workers();
        (workers > 1).then(|| format!("{} has {workers} workers", contestant.name()))
    })
}

fn generators(options: &Options) -> String {
    let mut programs = Vec::new();
    let by_wrk = options.rows.iter().filter(|row| course::by_wrk(**row));
    let by_wrk: Vec<_> = by_wrk.map(|row| row.id()).collect();
    if options.programs.wrk.is_some() && !by_wrk.is_empty() {
        programs.push(format!("wrk for {}", by_wrk.join(", ")));
    }
    if options.programs.ping.is_some() && options.rows.contains(&Row::Ping) {
        programs.push("ping(8) for ping".to_owned());
    }
    match &*programs {
        [] => "load generator: the built-in one".into(),
        some => format!("load generator: {}, else the built-in one", some.join(", ")),
    }
}

/// Everybody with their place, in the order of their turns in this run.
fn in_turn<T>(all: &[T], run: u32) -> Vec<(usize, &T)> {
    let places = order(all.len(), run);
    places
        .into_iter()
        .map(|place| (place, &all[place]))
        .collect()
}

/// Whoever came first comes last in the next turn.
fn order(count: usize, turn: u32) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).collect();
    if turn.is_multiple_of(2) {
        order.reverse();
    }
    order
}

struct Race<'a> {
    options: &'a Options,
    stopped: &'a AtomicBool,
    tell: &'a mut dyn FnMut(&str),
    site: Site,
    server_cpu: Option<usize>,
    /// Contestants that cannot go on, by their place.
    retired: BTreeSet<usize>,
    results: Results,
}

/// A contestant that runs.
struct Entrant {
    /// Its place among the contestants.
    place: usize,
    name: &'static str,
    running: Running,
}

impl Race<'_> {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn fail(&mut self, failure: String) {
        (self.tell)(&failure);
        self.results.failures.push(failure);
    }

    fn run_once(&mut self, run: u32) {
        let course = Course {
            seconds: self.options.seconds,
            programs: self.options.programs.clone(),
            run,
        };
        let grounds: BTreeSet<_> = self.options.rows.iter().copied().map(Ground::of).collect();
        for ground in grounds {
            let mut entrants = self.start(ground, run);
            self.run_ground(&course, ground, &mut entrants);
        }
    }

    /// Starts everybody who can go on, in the order of their turns.
    fn start(&mut self, ground: Ground, run: u32) -> Vec<Entrant> {
        let mut entrants = Vec::new();
        for (place, contestant) in in_turn(&self.options.contestants, run) {
            if self.is_stopped() || self.retired.contains(&place) {
                continue;
            }
            let name = contestant.name();
            let options = ground.options(run);
            match Running::start(contestant, &self.site, options, self.server_cpu) {
                Ok(running) => {
                    self.note(&running);
                    let entrant = Entrant {
                        place,
                        name,
                        running,
                    };
                    if self.reads_memory(ground) {
                        self.read_memory(run, &entrant, "memory.start");
                    }
                    entrants.push(entrant);
                }
                Err(error) => {
                    self.fail(format!("{name}: {error}"));
                    self.retired.insert(place);
                }
            }
        }
        entrants
    }

    fn note(&mut self, running: &Running) {
        let note = format!("the client is on {}", running.client_method());
        if !self.results.notes.contains(&note) {
            self.results.notes.push(note);
        }
    }

    fn run_ground(&mut self, course: &Course, ground: Ground, entrants: &mut [Entrant]) {
        let rows = Row::ALL
            .into_iter()
            .filter(|row| self.options.rows.contains(row) && Ground::of(*row) == ground);
        for row in rows {
            if self.is_stopped() {
                break;
            }
            let mut found: Vec<Vec<Findings>> = entrants.iter().map(|_| Vec::new()).collect();
            for turn in 1..=course.turns(row) {
                for number in order(entrants.len(), turn) {
                    found[number].extend(self.run_row(course, row, &mut entrants[number]));
                }
            }
            for (entrant, found) in entrants.iter().zip(&found) {
                if !found.is_empty() {
                    let findings = Findings::of_turns(found);
                    self.take(course.run, entrant.place, entrant.name, row, &findings);
                }
            }
        }
        for entrant in &*entrants {
            if self.is_stopped() || self.retired.contains(&entrant.place) {
                continue;
            }
            if let Err(error) = &entrant.running.first_answer {
                let name = entrant.name;
                self.fail(format!("{name} did not answer a first GET: {error}"));
                self.retired.insert(entrant.place);
            } else if self.reads_memory(ground) {
                self.read_memory(course.run, entrant, "memory.load");
            }
        }
    }

    /// One turn of an entrant, if it takes part.
    fn run_row(&mut self, course: &Course, row: Row, entrant: &mut Entrant) -> Option<Findings> {
        if self.retired.contains(&entrant.place) {
            return None;
        }
        let (name, running) = (entrant.name, &mut entrant.running);
        let without_http = matches!(row, Row::Start | Row::Ping | Row::Idle);
        if running.first_answer.is_err() && !without_http {
            return None;
        }
        let findings = course.run(row, running);
        if !running.server.is_running() {
            let said = running.server.stderr_tail(STDERR_LINES);
            self.fail(format!("{name} ended in {}; it said:\n{said}", row.id()));
            self.retired.insert(entrant.place);
        }
        Some(findings)
    }

    fn reads_memory(&self, ground: Ground) -> bool {
        ground == Ground::of(Row::Memory) && self.options.rows.contains(&Row::Memory)
    }

    fn read_memory(&mut self, run: u32, entrant: &Entrant, id: &'static str) {
        let findings = course::memory(&entrant.running, id);
        self.take(run, entrant.place, entrant.name, Row::Memory, &findings);
    }

    /// Keeps what a row found, and tells it.
    fn take(&mut self, run: u32, place: usize, name: &str, row: Row, findings: &Findings) {
        let mut line = format!("run {run}/{} {name:5} {:9}", self.options.runs, row.id());
        for (id, value) in &findings.figures {
            let metric = METRICS.iter().find(|metric| metric.id == *id);
            let shown = metric.map(|metric| metric.unit.show(*value));
            let label = id.split_once('.').map_or(*id, |(_, label)| label);
            for part in ["  ", label, " ", shown.as_deref().unwrap_or_default()] {
                line.push_str(part);
            }
        }
        (self.tell)(&line);
        if let Some((_, samples)) = self.results.contestants.get_mut(place) {
            findings.put_into(samples, run);
        }
        if let Some(failure) = &findings.failure {
            self.fail(format!("{name}, {}, run {run}: {failure}", row.id()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_the_same_run() {
        let samples = |values: &[(u32, f64)]| {
            Samples::from([("get1.rate", values.iter().copied().collect())])
        };
        let mut results = Results {
            contestants: vec![
                ("one", samples(&[(1, 10.0), (2, 30.0), (3, 100.0)])),
                ("other", samples(&[(1, 20.0), (2, 15.0), (3, 40.0)])),
            ],
            ..Results::default()
        };
        let ratio = |results: &Results| results.ratio(["one", "other"], "get1.rate");
        assert_eq!(ratio(&results), Some(2.0));
        results.contestants[0].1 = samples(&[(2, 30.0), (3, 100.0)]);
        results.contestants[1].1 = samples(&[(1, 20.0), (3, 40.0)]);
        assert_eq!(ratio(&results), Some(2.5), "only of the third");
        results.contestants[1].1 = samples(&[(3, 0.0)]);
        assert_eq!(ratio(&results), None);
        assert_eq!(results.ratio(["one", "third"], "get1.rate"), None);
    }

    #[test]
    fn whoever_came_first_comes_last_in_the_next_run() {
        let order = |run| in_turn(&["ours", "nginx"], run);
        assert_eq!(order(1), [(0, &"ours"), (1, &"nginx")]);
        assert_eq!(order(2), [(1, &"nginx"), (0, &"ours")]);
        assert_eq!(order(3), order(1));
    }

    #[test]
    fn it_is_said_which_generator_made_which_rows() {
        let mut options = Options {
            contestants: Vec::new(),
            rows: BTreeSet::from([Row::Ping, Row::Get1, Row::Connect64, Row::Get32]),
            runs: 1,
            seconds: 1,
            programs: Programs {
                wrk: Some("/usr/bin/wrk".into()),
                ping: Some("/usr/bin/ping".into()),
            },
        };
        assert_eq!(
            generators(&options),
            "load generator: wrk for get1, get32, ping(8) for ping, else the built-in one"
        );
        options.programs.wrk = None;
        assert_eq!(
            generators(&options),
            "load generator: ping(8) for ping, else the built-in one"
        );
        options.rows.remove(&Row::Ping);
        assert_eq!(generators(&options), "load generator: the built-in one");
    }
}
