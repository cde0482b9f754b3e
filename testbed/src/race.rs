//! The race: our server against nginx on the kernel's stack, on the same wiring, asked by the
//! same client.
//!
//! Each server has a wiring of its own, one after the other; the client is bound to one CPU and
//! the server to another. Every row of [`rows::METRICS`] is the median of some runs, in which the
//! servers take turns, so that a machine that grows slower does so for both.

pub mod chart;
pub mod contestant;
pub mod course;
pub mod histogram;
pub mod load;
pub mod report;
pub mod rows;
pub mod site;
pub mod statistics;
pub mod vitals;
pub mod wrk;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use contestant::{Contestant, Running};
use course::{Course, Findings, Ground};
use rows::{METRICS, Row, Samples};
use site::Site;

/// Runs at most, and seconds of each load at most: a race ends.
pub const RUNS_MAX: u32 = 100;
/// Seconds of each load at most.
pub const SECONDS_MAX: u32 = 60;

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
    /// `wrk`, for the rows it can do.
    pub wrk: Option<PathBuf>,
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
        let (_, samples) = self
            .contestants
            .iter()
            .find(|(name, _)| *name == contestant)?;
        rows::figure(samples, id)
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
    notes.extend(
        vitals::congestion_control()
            .map(|name| format!("the kernel's congestion control is {name}")),
    );
    // Whoever else wants a CPU slows both servers, and the one in userspace more.
    notes.extend(vitals::load_average().map(|load| format!("load average {load:.2} before")));
    let mut race = Race {
        options,
        stopped,
        tell,
        site,
        server_cpu,
        results: Results {
            machine: vitals::machine(),
            notes,
            seconds: options.seconds,
            contestants: (options.contestants.iter())
                .map(|contestant| (contestant.name(), Samples::new()))
                .collect(),
            ..Results::default()
        },
    };
    let mut retired = vec![false; options.contestants.len()];
    for run in 1..=options.runs {
        if race.is_stopped() {
            break;
        }
        race.results.runs = run;
        for (place, contestant) in options.contestants.iter().enumerate() {
            if let Some(retired) = retired.get_mut(place).filter(|retired| !**retired) {
                *retired = !race.run_one(run, place, contestant);
            }
        }
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

fn generators(options: &Options) -> String {
    let by_wrk = options.rows.iter().filter(|row| course::by_wrk(**row));
    let by_wrk: Vec<_> = by_wrk.map(|row| row.id()).collect();
    if options.wrk.is_none() || by_wrk.is_empty() {
        return "load generator: the built-in one".into();
    }
    format!(
        "load generator: wrk for {}, else the built-in one",
        by_wrk.join(", ")
    )
}

struct Race<'a> {
    options: &'a Options,
    stopped: &'a AtomicBool,
    tell: &'a mut dyn FnMut(&str),
    site: Site,
    server_cpu: Option<usize>,
    results: Results,
}

impl Race<'_> {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn fail(&mut self, failure: String) {
        (self.tell)(&failure);
        self.results.failures.push(failure);
    }

    /// One contestant's run; false if it cannot go on.
    fn run_one(&mut self, run: u32, place: usize, contestant: &Contestant) -> bool {
        let course = Course {
            seconds: self.options.seconds,
            wrk: self.options.wrk.clone(),
            run,
        };
        let grounds: BTreeSet<_> = self.options.rows.iter().copied().map(Ground::of).collect();
        for ground in grounds {
            if self.is_stopped() {
                return false;
            }
            let name = contestant.name();
            let options = ground.options(run);
            let started = Running::start(contestant, &self.site, options, self.server_cpu);
            let mut running = match started {
                Ok(running) => running,
                Err(error) => {
                    self.fail(format!("{name}: {error}"));
                    return false;
                }
            };
            self.note(&running);
            if !self.run_ground(&course, ground, place, name, &mut running) {
                return false;
            }
        }
        true
    }

    fn note(&mut self, running: &Running) {
        let note = format!("the client is on {}", running.client_method());
        if !self.results.notes.contains(&note) {
            self.results.notes.push(note);
        }
    }

    fn run_ground(
        &mut self,
        course: &Course,
        ground: Ground,
        place: usize,
        name: &'static str,
        running: &mut Running,
    ) -> bool {
        let with_memory = ground == Ground::Good && self.options.rows.contains(&Row::Memory);
        let rows: Vec<_> = Row::ALL
            .into_iter()
            .filter(|row| self.options.rows.contains(row) && Ground::of(*row) == ground)
            .collect();
        if with_memory {
            let findings = course::memory(running, "memory.start");
            self.take(course.run, place, name, Row::Memory, &findings);
        }
        let silent = running.first_answer.clone().err();
        for row in rows {
            if self.is_stopped() {
                return false;
            }
            let without_http = matches!(row, Row::Start | Row::Ping | Row::Idle);
            if silent.is_some() && !without_http {
                continue;
            }
            let findings = course.run(row, running);
            self.take(course.run, place, name, row, &findings);
            if !running.server.is_running() {
                let said = running.server.stderr_tail(STDERR_LINES);
                self.fail(format!("{name} ended in {}; it said:\n{said}", row.id()));
                return false;
            }
        }
        if let Some(error) = silent {
            self.fail(format!("{name} did not answer a first GET: {error}"));
            return false;
        }
        if with_memory {
            let findings = course::memory(running, "memory.load");
            self.take(course.run, place, name, Row::Memory, &findings);
        }
        true
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
            findings.put_into(samples);
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
    fn it_is_said_which_generator_made_which_rows() {
        let mut options = Options {
            contestants: Vec::new(),
            rows: BTreeSet::from([Row::Get1, Row::Connect64, Row::Get32]),
            runs: 1,
            seconds: 1,
            wrk: Some("/usr/bin/wrk".into()),
        };
        assert_eq!(
            generators(&options),
            "load generator: wrk for get1, get32, else the built-in one"
        );
        options.wrk = None;
        assert_eq!(generators(&options), "load generator: the built-in one");
    }
}
