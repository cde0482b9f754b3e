//! `dataplane serve`: what needs privileges is opened, they are given up, and it runs.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use runtime::args::Source;
use runtime::capture::folder::CaptureFolder;
use runtime::cli::listen::{self, Listener};
use runtime::cli::operator::Operator;
use runtime::cli::server::Server;
use runtime::config::{Config, LogFormat};
use runtime::limits::Limits;
use runtime::ready::{ReadyFile, ReadyFileError};
use runtime::sandbox::{Landlock, Sandbox, SandboxError};
use runtime::sockets::SocketSource;
use runtime::{Event, Prepared, Runtime, access_log, log, metrics, privileges};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{complain, printed, say, sentence};

/// How long connections may take to finish after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) fn serve(source: &Source) -> ExitCode {
    run(source).unwrap_or_else(|error| complain(&*error))
}

fn run(source: &Source) -> Result<ExitCode, Box<dyn Error>> {
    let loaded = source.load()?;
    let started = SystemTime::now();
    if let Some(format) = source.print_limits {
        let limits = Limits::of(&loaded.config, &loaded.config.tcp());
        return Ok(printed(match format {
            LogFormat::Text => write!(io::stdout(), "{limits}"),
            LogFormat::Json => writeln!(io::stdout(), "{}", limits.to_json()),
        }));
    }
    let limit = log::to_stderr(loaded.config.log);
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    let opened = Opened::open(source, loaded.config)?;
    privileges::give_up()?;
    // Before the threads: they inherit the signals' handlers, and one sent early is not lost.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    confine(source, opened.sandbox, opened.listener.as_ref())?;
    let access_log = opened.access_log.map(access_log::Opened::start);
    let access_log = access_log.transpose()?;
    let mut prepared = opened.prepared;
    if let Some(writer) = &access_log {
        prepared.tell_requests(writer.queue());
    }
    let runtime = prepared.start()?;
    let sources = metrics::Sources {
        started,
        access_log: access_log.as_ref().map(access_log::Writer::queue),
        limit: limit.clone(),
    };
    let sockets = (opened.listener, opened.metrics_listen);
    let attended = (signals, source, opened.ready_file);
    let code = attend(runtime, sockets, sources, attended);
    drop(access_log); // the last lines
    limit.report();
    Ok(code)
}

/// What may take privileges to open.
struct Opened {
    sandbox: Sandbox,
    ready_file: Option<ReadyFile>,
    prepared: Prepared,
    listener: Option<Listener>,
    metrics_listen: Option<metrics::Listener>,
    access_log: Option<access_log::Opened>,
}

impl Opened {
    fn open(source: &Source, config: Config) -> Result<Self, Box<dyn Error>> {
        let (cli_listen, capture_dir) = (config.cli_listen.clone(), config.capture_dir.clone());
        let (metrics_listen, access_log) = (config.metrics_listen, config.access_log.clone());
        let mut sandbox = source.sandbox(&config);
        let ready_file = source.ready_file.as_deref().map(ReadyFile::create);
        let ready_file = ready_file.transpose()?;
        let sockets = SocketSource::find(&source.packet_fd, &config)?;
        let mut prepared = Prepared::open_with(config, sockets)?;
        let listener = match cli_listen {
            None => default_listener(),
            Some(path) => Some(Listener::bind(&path)?),
        };
        // It may be another user's that root may read.
        if let Some(path) = capture_folder(capture_dir.as_deref(), listener.as_ref()) {
            match CaptureFolder::open(path) {
                Ok(folder) => {
                    sandbox.make_in(path);
                    prepared.capture_in(folder);
                }
                Err(error) if capture_dir.is_some() => return Err(error.into()),
                Err(error) => tracing::info!("no captures: {}", sentence(&error)),
            }
        }
        Ok(Self {
            sandbox,
            ready_file,
            prepared,
            listener,
            metrics_listen: metrics_listen.map(metrics::Listener::bind).transpose()?,
            access_log: access_log.as_deref().map(access_log::open).transpose()?,
        })
    }
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
