//! The `dataplane` command.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Write as _};
#[cfg(feature = "demo")]
use std::path::Path;
#[cfg(feature = "demo")]
use std::process::Command;
use std::process::ExitCode;

use clap::Parser as _;
use runtime::args::{Action, Args, Check, Ctl, Ready};
use runtime::words::Word;
use runtime::{ctl, launch, ready};

mod serve;

/// Exit status for what the caller can mend: a wrong configuration, a missing right.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    match Args::parse().action {
        Action::Serve(source) => serve::serve(&source),
        #[cfg(feature = "demo")]
        Action::Demo(demo) => demonstrate(demo.keep),
        Action::Check(check) => self::check(&check),
        Action::OpenSockets(args) => {
            complain(&launch::open_sockets(args.count, args.user, &args.command))
        }
        Action::Ctl(ctl) => control(&ctl),
        Action::Ready(ready) => look_whether_ready(&ready),
        Action::Completions(completions) => printed(completions.print(&mut io::stdout())),
        Action::Man(man) => printed(man.print(&mut io::stdout())),
    }
}

/// Prints one sentence, and what caused it, on standard error.
fn complain(error: &dyn Error) -> ExitCode {
    say(
        &mut io::stderr(),
        &format!("dataplane: {}", sentence(error)),
    );
    ExitCode::from(BAD_INPUT)
}

/// What happened, and what caused it.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A line for whoever reads; nobody may be there any more.
fn say(out: &mut dyn io::Write, text: &str) {
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// `dataplane ctl`.
fn control(args: &Ctl) -> ExitCode {
    let stream = match ctl::connect(args.socket.as_deref()) {
        Ok(stream) => stream,
        Err(error) => return complain(&error),
    };
    let words: Vec<_> = args.command.iter().map(|word| Word::quote(word)).collect();
    // One word with blanks is a whole line, as vppctl has it.
    let mut line = match args.command.as_slice() {
        [line] => line.clone(),
        _ => words.join(" "),
    };
    if args.json {
        line.push_str(" json");
    }
    let mut out = io::stdout();
    let outcome = if !args.command.is_empty() {
        ctl::command(&stream, &line, &mut out)
    } else if ctl::is_interactive() {
        ctl::interactive(&stream).map(|()| true)
    } else {
        ctl::lines(&stream, io::stdin().lock(), &mut out)
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => complain(&error),
    }
}

fn look_whether_ready(ready: &Ready) -> ExitCode {
    match ready::look(&ready.file) {
        Ok(line) => {
            say(&mut io::stdout(), &line);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// How printing went; a reader that has gone is content.
fn printed(result: io::Result<()>) -> ExitCode {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&error);
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn check(check: &Check) -> ExitCode {
    let loaded = match check.source.load() {
        Ok(loaded) => loaded,
        Err(error) => return complain(&error),
    };
    for note in &loaded.notes {
        say(&mut io::stderr(), &format!("note: {note}"));
    }
    match check.print.map(|language| language.print(&loaded.config)) {
        None => say(&mut io::stderr(), "the configuration is good"),
        Some(Ok(text)) => {
            let _ = io::stdout().write_all(text.as_bytes());
        }
        Some(Err(error)) => return complain(&error),
    }
    ExitCode::SUCCESS
}

#[cfg(feature = "demo")]
fn demonstrate(keep: bool) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return complain(&error),
    };
    let server = move |startup: &Path| {
        let mut command = Command::new(&program);
        command.arg("serve").arg("--startup-config").arg(startup);
        command
    };
    let demo = testbed::demo::Demo {
        server: &server,
        keep,
    };
    match testbed::demo::run(&demo, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}
