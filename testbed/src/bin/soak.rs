//! `soak`: load, loss, attacks and changes of the host, for as long as asked.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use testbed::build;
use testbed::soak::{HOURS_MAX, Options, chart, report};

/// Soaks two servers in network namespaces of their own: clients that compare every octet, a bad
/// wire, attacks, and a host that changes. As root.
///
/// Tells what was served and what was not, and writes soak.json and soak.svg (memory over time).
/// Exits with 1 on any wrong octet, unexplained failure, or growing memory.
#[derive(Debug, Parser)]
struct Args {
    /// How long
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=HOURS_MAX * 60))]
    minutes: u64,
    /// Decides files, attacks and changes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Our server's binary [default: built by cargo]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Directory for soak.json and soak.svg
    #[arg(long, value_name = "DIR", default_value = "target/soak")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match soak(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("soak: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Progress, for whoever watches.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}"); // nobody may be there any more
}

fn soak(args: &Args) -> Result<bool, Box<dyn Error>> {
    let server = build::server(args.server.as_deref(), say)?;
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The first asks it to end; the second ends it at once.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopped))?;
        flag::register(signal, Arc::clone(&stopped))?;
    }
    let options = Options {
        server,
        duration: Duration::from_mins(args.minutes),
        seed: args.seed,
    };
    let results = testbed::soak::run(&options, &stopped, &mut say)?;
    fs::create_dir_all(&args.out)?;
    let (json, svg) = (args.out.join("soak.json"), args.out.join("soak.svg"));
    fs::write(&json, format!("{:#}\n", report::json(&results)))?;
    fs::write(&svg, chart::svg(&results))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", report::text(&results))?;
    writeln!(out, "written: {}, {}", json.display(), svg.display())?;
    Ok(results.is_good())
}
