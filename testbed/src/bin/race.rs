//! `race`: our server against nginx on the kernel's stack.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use testbed::build;
use testbed::netns::{enter_user_namespace, may_wire};
use testbed::race::contestant::Contestant;
use testbed::race::course::Programs;
use testbed::race::program::find;
use testbed::race::rows::Row;
use testbed::race::{Options, RUNS_MAX, SECONDS_MAX, WORKERS_MAX, chart, report};

/// Descriptors for 10,000 connections, on either side.
const DESCRIPTORS: u64 = 16_384;

/// Races our server against nginx on the kernel's stack, in network namespaces of its own.
///
/// Prints a table, and writes race.json and race.svg. Without nginx (Debian: nginx-light), only
/// our server runs. Exits with 1 if a server failed to answer; never because one is slow.
#[derive(Debug, Parser)]
struct Args {
    /// Rows to run: start, ping, idle, get1, get32, get256, memory, connect64, file256m, files1m,
    /// files64k, loss1, loss01 [default: all]
    #[arg(long, value_delimiter = ',', value_name = "ROW,...")]
    rows: Vec<Row>,
    /// Runs, of which the median is told
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(RUNS_MAX)))]
    runs: u32,
    /// How long each load lasts, in seconds: as many turns
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(SECONDS_MAX)))]
    seconds: u32,
    /// Only this server
    #[arg(long)]
    only: Option<Only>,
    /// Workers of our server, which share the one CPU either server is bound to
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(WORKERS_MAX)))]
    workers: u16,
    /// Our server's binary [default: built by cargo]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Directory for race.json and race.svg
    #[arg(long, value_name = "DIR", default_value = "target/race")]
    out: PathBuf,
    /// Ask with the built-in clients alone, even where wrk and ping are installed
    #[arg(long)]
    built_in: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Ours,
    Nginx,
}

fn main() -> ExitCode {
    match race(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("race: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Progress, for whoever watches.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}"); // nobody may be there any more
}

fn race(args: &Args) -> Result<bool, Box<dyn Error>> {
    let begun = Instant::now();
    let contestants = contestants(args)?;
    let program = |name| find(name).filter(|_| !args.built_in);
    let programs = Programs {
        wrk: program("wrk"),
        ping: program("ping"),
    };
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The first asks it to end after the row it is in; the second ends it at once.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopped))?;
        flag::register(signal, Arc::clone(&stopped))?;
    }
    if !may_wire() {
        enter_user_namespace()?;
    }
    allow_descriptors()?;
    let rows: BTreeSet<Row> = match &*args.rows {
        [] => Row::ALL.into(),
        some => some.iter().copied().collect(),
    };
    let options = Options {
        contestants,
        rows,
        runs: args.runs,
        seconds: args.seconds,
        programs,
    };
    let results = testbed::race::run(&options, &stopped, &mut |line| {
        say(&format!("[{:3} s] {line}", begun.elapsed().as_secs()));
    })?;

    fs::create_dir_all(&args.out)?;
    let (json, svg) = (args.out.join("race.json"), args.out.join("race.svg"));
    fs::write(&json, format!("{:#}\n", report::json(&results)))?;
    fs::write(&svg, chart::svg(&results))?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "\n{}\n\n{}",
        report::heading(&results),
        report::table(&results)
    )?;
    for failure in &results.failures {
        writeln!(out, "failed: {failure}")?;
    }
    writeln!(out, "written: {}, {}", json.display(), svg.display())?;
    Ok(results.failures.is_empty())
}

/// Who takes part. Built before the network is gone, as in a user namespace it is.
fn contestants(args: &Args) -> Result<Vec<Contestant>, Box<dyn Error>> {
    let mut contestants = Vec::new();
    if args.only == Some(Only::Nginx) && args.workers != 1 {
        return Err("--workers is for our server, which --only nginx leaves out".into());
    }
    if args.only != Some(Only::Nginx) {
        contestants.push(Contestant::Ours {
            program: build::server(args.server.as_deref(), say)?,
            workers: args.workers,
        });
    }
    if args.only != Some(Only::Ours) {
        match find("nginx") {
            Some(nginx) => contestants.push(Contestant::Nginx(nginx)),
            None if args.only.is_some() => return Err("nginx is not installed".into()),
            None => say("nginx is not installed: ours runs alone, and there are no ratios"),
        }
    }
    Ok(contestants)
}

/// Raises the limit on open files, for this process and the servers.
fn allow_descriptors() -> Result<(), Box<dyn Error>> {
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= DESCRIPTORS);
    let maximum = if enough(limit.maximum) {
        limit.maximum
    } else {
        Some(DESCRIPTORS)
    };
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        format!("10,000 connections take {DESCRIPTORS} open files (see ulimit -n): {error}").into()
    })
}
