//! The `dataplane` command.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;
#[cfg(feature = "demo")]
use std::process::Command;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser as _;
use runtime::args::{Action, Args, Check, Ctl, Ready, Source};
use runtime::capture::folder::CaptureFolder;
use runtime::cli::listen::{self, Listener};
use runtime::cli::operator::Operator;
use runtime::cli::server::Server;
use runtime::config::LogFormat;
use runtime::limits::Limits;
use runtime::ready::{self, ReadyFile, ReadyFileError};
use runtime::sandbox::{Landlock, Sandbox, SandboxError};
use runtime::sockets::SocketSource;
use runtime::words::Word;
use runtime::{Event, Prepared, Runtime, access_log, ctl, launch, log, metrics, privileges};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit status for what the caller can mend: a wrong configuration, a missing right.
const BAD_INPUT: u8 = 2;

/// How long connections may take to finish after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    match Args::parse().action {
        Action::Serve(source) => serve(&source),
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

fn serve(source: &Source) -> ExitCode {
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(error) => return complain(&error),
    };
    let started = SystemTime::now();
    if let Some(format) = source.print_limits {
        let limits = Limits::of(&loaded.config, &loaded.config.tcp());
        return printed(match format {
            LogFormat::Text => write!(io::stdout(), "{limits}"),
            LogFormat::Json => writeln!(io::stdout(), "{}", limits.to_json()),
        });
    }
    let limit = log::to_stderr(loaded.config.log);
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    let cli_listen = loaded.config.cli_listen.clone();
    let capture_dir = loaded.config.capture_dir.clone();
    let mut sandbox = source.sandbox(&loaded.config);
    let ready_file = match source
        .ready_file
        .as_deref()
        .map(ReadyFile::create)
        .transpose()
    {
        Ok(ready_file) => ready_file,
        Err(error) => return complain(&error),
    };
    let (metrics_listen, access_log) = (
        loaded.config.metrics_listen,
        loaded.config.access_log.clone(),
    );
    let sockets = match SocketSource::find(&source.packet_fd, &loaded.config) {
        Ok(sockets) => sockets,
        Err(error) => return complain(&error),
    };
    let mut prepared = match Prepared::open_with(loaded.config, sockets) {
        Ok(prepared) => prepared,
        Err(error) => return complain(&error),
    };
    // Before privileges are given up, which the folder may ask for.
    let listener = match cli_listen {
        None => default_listener(),
        Some(path) => match Listener::bind(&path) {
            Ok(listener) => Some(listener),
            Err(error) => return complain(&error),
        },
    };
    // It may be another user's that root may read, so before as well.
    if let Some(path) = capture_folder(capture_dir.as_deref(), listener.as_ref()) {
        match CaptureFolder::open(path) {
            Ok(folder) => {
                sandbox.make_in(path);
                prepared.capture_in(folder);
            }
            Err(error) if capture_dir.is_some() => return complain(&error),
            Err(error) => tracing::info!("no captures: {}", sentence(&error)),
        }
    }
    let metrics_listen = match metrics_listen.map(metrics::Listener::bind).transpose() {
        Ok(listener) => listener,
        Err(error) => return complain(&error),
    };
    let access_log = match access_log.as_deref().map(access_log::open).transpose() {
        Ok(opened) => opened,
        Err(error) => return complain(&error),
    };
    if let Err(error) = privileges::give_up() {
        return complain(&error);
    }
    // Before the threads: they inherit the signals' handlers, and one sent early is not lost.
    let signals = match Signals::new([SIGTERM, SIGINT, SIGHUP]) {
        Ok(signals) => signals,
        Err(error) => return complain(&error),
    };
    if let Err(error) = confine(source, sandbox, listener.as_ref()) {
        return complain(&error);
    }
    let access_log = match access_log.map(access_log::Opened::start).transpose() {
        Ok(writer) => writer,
        Err(error) => return complain(&error),
    };
    if let Some(writer) = &access_log {
        prepared.tell_requests(writer.queue());
    }
    let runtime = match prepared.start() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    let sources = metrics::Sources {
        started,
        access_log: access_log.as_ref().map(access_log::Writer::queue),
        limit: limit.clone(),
    };
    let sockets = (listener, metrics_listen);
    let code = attend(runtime, sockets, sources, (signals, source, ready_file));
    drop(access_log); // the last lines
    limit.report();
    code
}

/// Where captures are written: where it was said, else in the operator socket's folder.
fn capture_folder<'a>(named: Option<&'a Path>, listener: Option<&'a Listener>) -> Option<&'a Path> {
    let path = named.or_else(|| listener?.path().parent())?;
    // The socket's folder is the current one when its path is only a name.
    let is_here = path.as_os_str().is_empty();
    Some(if is_here { Path::new(".") } else { path })
}

/// Starts to follow the signals and the dataplane, and those who ask about it, until the end.
fn attend(
    runtime: Runtime,
    (listener, metrics_listen): (Option<Listener>, Option<metrics::Listener>),
    sources: metrics::Sources,
    (signals, source, ready_file): (Signals, &Source, Option<ReadyFile>),
) -> ExitCode {
    let limit = sources.limit.clone();
    let operators = listener.map(|listener| {
        let path = listener.path().display().to_string();
        tracing::info!("operators: dataplane ctl -s {path}");
        Operator::new(runtime.controller().clone())
            .and_then(|operator| Server::start(listener, operator))
    });
    let scrapers = metrics_listen.map(|listener| {
        tracing::info!("metrics: http://{}/metrics", listener.address()?);
        metrics::Server::start(listener, runtime.controller().clone(), sources)
    });
    match (operators.transpose(), scrapers.transpose()) {
        // Operators and scrapers are served until the end of this.
        (Ok(_operators), Ok(_scrapers)) => follow(runtime, signals, source, ready_file, &limit),
        (Err(error), _) | (_, Err(error)) => complain(&error),
    }
}

/// Leaves the running server what it needs, and says so when that is more than usual.
fn confine(
    source: &Source,
    mut sandbox: Sandbox,
    listener: Option<&Listener>,
) -> Result<(), SandboxError> {
    if source.no_sandbox {
        tracing::warn!(
            "--no-sandbox: whoever takes over this process has every system call and file of its \
             user"
        );
        return Ok(());
    }
    if let Some(folder) = listener.and_then(|listener| listener.path().parent()) {
        sandbox.make_in(folder); // to remove the socket in the end
    }
    if let Ok(program) = std::env::current_exe() {
        sandbox.read(&program); // for the backtrace of a panic
    }
    match sandbox.confine()?.landlock {
        Landlock::Full => tracing::debug!("confined by seccomp and Landlock"),
        Landlock::Partial => tracing::debug!("confined by seccomp and by what Landlock has here"),
        Landlock::Missing => tracing::info!(
            "confined by seccomp; this kernel has no Landlock, so only permissions keep this \
             process from other files"
        ),
    }
    Ok(())
}

/// The operator socket where nobody said where; none, if it can be nowhere.
fn default_listener() -> Option<Listener> {
    match listen::bind_default() {
        Ok(listener) => Some(listener),
        Err(reasons) => {
            for reason in reasons {
                tracing::info!("no operator socket at its default place: {reason}");
            }
            None
        }
    }
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

/// Tells what happens until a signal or the end.
fn follow(
    runtime: Runtime,
    mut signals: Signals,
    source: &Source,
    mut ready_file: Option<ReadyFile>,
    limit: &log::Limit,
) -> ExitCode {
    let window = crossbeam_channel::tick(log::WINDOW);
    let (tell_signal, told) = crossbeam_channel::unbounded();
    let handle = signals.handle();
    let listener = std::thread::spawn(move || {
        for signal in signals.forever() {
            let _ = tell_signal.send(signal);
        }
    });
    let code = loop {
        crossbeam_channel::select_biased! {
            recv(told) -> signal => {
                if signal == Ok(SIGHUP) {
                    reload(&runtime, source);
                    continue;
                }
                let name = if signal == Ok(SIGINT) { "SIGINT" } else { "SIGTERM" };
                tracing::info!("{name}: finishing what is being served");
                break ExitCode::SUCCESS;
            }
            recv(window) -> _ => limit.report(),
            recv(runtime.events()) -> event => match event {
                Ok(Event::Waiting(what)) => tracing::warn!("{what}"),
                Ok(Event::Notice(what)) => tracing::warn!("{what}"),
                Ok(Event::Ready(endpoints)) => {
                    let list: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
                    let list = if list.is_empty() { "no HTTP server configured".to_owned() }
                        else { list.join(", ") };
                    let line = format!("ready: {list}");
                    tell(&mut ready_file, |file| file.ready(&line));
                    say(&mut io::stdout(), &line);
                }
                Ok(Event::Died(why)) => {
                    tracing::error!("{why}");
                    break ExitCode::FAILURE;
                }
                Ok(_) => {}
                Err(_) => {
                    tracing::error!("the supervisor ended without a word");
                    break ExitCode::FAILURE;
                }
            },
        }
    };
    tell(&mut ready_file, ReadyFile::not_ready);
    runtime.shutdown(PATIENCE);
    handle.close();
    let _ = listener.join();
    code
}

/// Brings the ready file up to date, if there is one; a full disk is no reason to stop serving.
fn tell(
    file: &mut Option<ReadyFile>,
    what: impl FnOnce(&mut ReadyFile) -> Result<(), ReadyFileError>,
) {
    if let Some(Err(error)) = file.as_mut().map(what) {
        tracing::error!("{}", sentence(&error));
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

/// Reads the configuration anew, and runs it if it can be run.
fn reload(runtime: &Runtime, source: &Source) {
    let outcome = match source.load() {
        Ok(loaded) => {
            for note in &loaded.notes {
                tracing::warn!("{note}");
            }
            let configured = runtime.configure(loaded.config);
            configured.map_err(|error| sentence(&error))
        }
        Err(error) => Err(sentence(&error)),
    };
    match outcome {
        Ok(()) => tracing::info!("SIGHUP: the configuration was read and applied"),
        Err(why) => tracing::error!("SIGHUP: nothing was changed: {why}"),
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
