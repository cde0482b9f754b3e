//! The access log: a line for each request, in the combined format of Apache and nginx.
//!
//! Workers put lines into a queue of at most [`LINES_MAX`] and never wait: when it is full, the line
//! is lost and counted. A thread of its own writes them, appended to a file that was opened before
//! privileges went. The file stays the same until the end: to rotate it, copy it and truncate it in
//! place (logrotate's `copytruncate`); lines are appended, so none overwrites another.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};
use http::Version;
use http_static::{AccessLog, AccessRecord};
use httpdate::HttpDate;

/// Lines waiting to be written at most, all workers together; one more is lost and counted.
pub const LINES_MAX: usize = 8192;

/// Octets of a target, a referer or a user agent in a line at most, escapes included; what is
/// longer is cut and ends in `...`.
pub const FIELD_MAX: usize = 1024;

/// Octets written at once at most, but for the last line.
const WRITE_MAX: usize = 256 << 10;

/// How long the thread gathers lines after the first, so that it is woken a hundred times a second
/// at most, however many requests there are.
const GATHER: Duration = Duration::from_millis(10);

/// How often the log tells of lost lines at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How long the end waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The access log cannot be written.
#[derive(Debug)]
pub struct AccessLogError {
    path: PathBuf,
    source: Option<io::Error>,
}

impl fmt::Display for AccessLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.source {
            Some(_) => write!(
                f,
                "access-log {path}: cannot be opened for appending; name a file in a folder this \
                 user may write, or - for standard output"
            ),
            None => write!(
                f,
                "access-log {path}: this is a pipe or a socket; name a file, or - for standard \
                 output"
            ),
        }
    }
}

impl std::error::Error for AccessLogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.source {
            Some(error) => Some(error),
            None => None,
        }
    }
}

/// A request, as a worker tells of it.
#[derive(Debug)]
struct Line {
    at: SystemTime,
    peer: std::net::IpAddr,
    /// All behind the time.
    rest: String,
}

/// What workers put lines into.
#[derive(Debug)]
pub struct Queue {
    lines: Sender<Line>,
    written: AtomicU64,
    lost: AtomicU64,
}

impl Queue {
    /// Lines written, and lines lost.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.written.load(Ordering::Relaxed),
            self.lost.load(Ordering::Relaxed),
        )
    }

    fn put(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl AccessLog for Queue {
    fn record(&self, record: &AccessRecord<'_>) {
        self.put(Line {
            at: SystemTime::now(),
            peer: record.peer.ip(),
            rest: rest(record),
        });
    }
}

/// `"GET /a HTTP/1.1" 200 8 "-" "curl/8"`
fn rest(record: &AccessRecord<'_>) -> String {
    let mut text = String::with_capacity(128);
    text.push('"');
    match (record.method, record.target, record.version) {
        (Some(method), Some(target), Some(version)) => {
            escape(&mut text, method.as_str().as_bytes());
            text.push(' ');
            escape(&mut text, target.to_string().as_bytes());
            text.push_str(if version == Version::HTTP_10 {
                " HTTP/1.0"
            } else {
                " HTTP/1.1"
            });
        }
        _ => text.push('-'),
    }
    let _ = write!(text, "\" {} {} \"", record.status.as_u16(), record.octets); // to a string
    escape(
        &mut text,
        record.referer.map_or(b"-", |value| value.as_bytes()),
    );
    text.push_str("\" \"");
    escape(
        &mut text,
        record.user_agent.map_or(b"-", |value| value.as_bytes()),
    );
    text.push_str("\"\n");
    text
}

/// Appends `octets` so that they can neither end their field nor their line, nor command a terminal:
/// what is not visible ASCII, quotes and backslashes become `\xHH`, as nginx has it.
fn escape(text: &mut String, octets: &[u8]) {
    let end = text.len() + FIELD_MAX;
    for octet in octets {
        if text.len() + 4 > end {
            text.push_str("...");
            return;
        }
        match octet {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => {
                let _ = write!(text, "\\x{octet:02X}"); // to a string
            }
            octet => text.push(char::from(*octet)),
        }
    }
}

impl Line {
    fn append_to(&self, text: &mut Vec<u8>) -> io::Result<()> {
        // "Sun, 06 Nov 1994 08:49:37 GMT"
        let date = HttpDate::from(self.at).to_string();
        let part = |range| date.get(range).unwrap_or("-");
        let (day, month, year, time) = (part(5..7), part(8..11), part(12..16), part(17..25));
        write!(
            text,
            "{} - - [{day}/{month}/{year}:{time} +0000] {}",
            self.peer, self.rest
        )
    }
}

/// The opened log; nothing writes yet.
pub struct Opened {
    to: Box<dyn Write + Send>,
    path: PathBuf,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opened").field(&self.path).finish()
    }
}

/// Opens the log at `path`, made with mode 0640 if it is not there; `-` is standard output.
///
/// # Errors
/// The file system says no, or it is no file.
pub fn open(path: &Path) -> Result<Opened, AccessLogError> {
    let fail = |source| AccessLogError {
        path: path.to_owned(),
        source,
    };
    let to: Box<dyn Write + Send> = if path == Path::new("-") {
        Box::new(io::stdout())
    } else {
        // Opening a pipe nobody reads would wait for a reader.
        let kind = path.metadata().map(|found| found.file_type());
        if kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket()) {
            return Err(fail(None));
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o640);
        let file: File = options.open(path).map_err(|error| fail(Some(error)))?;
        Box::new(file)
    };
    Ok(Opened {
        to,
        path: path.to_owned(),
    })
}

/// The running thread; what was asked before it is dropped is written, within a second.
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue>,
    stop: Option<Sender<()>>,
    done: Receiver<()>,
}

impl Opened {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread left.
    pub fn start(self) -> io::Result<Writer> {
        let (lines, waiting) = bounded(LINES_MAX);
        let (stop, stopped) = bounded(0);
        let (done, told) = bounded(0);
        let queue = Arc::new(Queue {
            lines,
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let mut thread = Writing {
            to: self.to,
            path: self.path,
            queue: Arc::clone(&queue),
            waiting,
            told: (0, None),
        };
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                thread.run(&stopped);
                drop(done);
            })?;
        Ok(Writer {
            queue,
            stop: Some(stop),
            done: told,
        })
    }
}

impl Writer {
    /// What servers are given.
    pub fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Whoever reads standard output may have stopped reading: it is not waited for for ever.
        let _ = self.done.recv_timeout(LAST_LINES);
    }
}

struct Writing {
    to: Box<dyn Write + Send>,
    path: PathBuf,
    queue: Arc<Queue>,
    waiting: Receiver<Line>,
    /// Lost lines that were told of, and when.
    told: (u64, Option<std::time::Instant>),
}

impl Writing {
    fn run(&mut self, stopped: &Receiver<()>) {
        loop {
            let first = select_biased! {
                recv(self.waiting) -> line => line.ok(),
                recv(stopped) -> _ => None,
            };
            let Some(first) = first else {
                self.tell_of_lost(true);
                return;
            };
            let _ = stopped.recv_timeout(GATHER); // the time, or the end
            self.write(first);
        }
    }

    /// Writes `first` and what waits behind it.
    fn write(&mut self, first: Line) {
        let mut next = Some(first);
        loop {
            let (mut text, mut count) = (Vec::new(), 0);
            while text.len() < WRITE_MAX
                && let Some(line) = next.take().or_else(|| self.waiting.try_recv().ok())
            {
                let _ = line.append_to(&mut text); // to memory
                count += 1;
            }
            if count == 0 {
                return;
            }
            let written = self.to.write_all(&text).and_then(|()| self.to.flush());
            let counter = match written {
                Ok(()) => &self.queue.written,
                Err(error) => {
                    let path = self.path.display();
                    tracing::error!("access-log {path}: lines were not written: {error}");
                    &self.queue.lost
                }
            };
            counter.fetch_add(count, Ordering::Relaxed);
            self.tell_of_lost(false);
        }
    }

    fn tell_of_lost(&mut self, at_once: bool) {
        let (_, lost) = self.queue.counts();
        let (before, at) = self.told;
        let due = at.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if lost > before && (due || at_once) {
            self.told = (lost, Some(std::time::Instant::now()));
            let (path, more) = (self.path.display(), lost - before);
            tracing::warn!("access-log {path}: {more} lines were lost, {lost} in all");
        }
    }
}

#[cfg(test)]
mod tests;
