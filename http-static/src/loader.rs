//! The threads that touch the file system.
//!
//! Jobs come over one channel; it needs no bound of its own, because each connection has at most
//! one read and each path at most one load under way, and both are bounded.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use futures_channel::oneshot;
use http::StatusCode;

use crate::ServeError;
use crate::cache::{Cache, Entry, Kind, Outcome, cost};
use crate::files::{Found, OpenFile, Root};
use crate::memory::{Contents, Lease, Part};
use crate::respond::{FileFields, Redirect, Rendering};

/// Reads of a file that changes while it is read.
const READS_MAX: u32 = 3;

/// Work for a loader.
#[derive(Debug)]
pub(crate) enum Job {
    /// Find out what `path` is answered with, as of `now_ms`.
    Load { path: Arc<[u8]>, now_ms: u64 },
    /// Read part of a file that is being streamed.
    Read {
        file: Arc<OpenFile>,
        offset: u64,
        octets: usize,
        /// To read into; `None`: memory of its own.
        part: Option<Part>,
        answer: oneshot::Sender<io::Result<Arc<Contents>>>,
    },
}

/// What every loader has.
#[derive(Debug)]
pub(crate) struct Loader {
    pub(crate) root: Root,
    pub(crate) cache: Arc<Cache>,
    pub(crate) rendering: Rendering,
    /// Jobs that wait or are being done.
    pub(crate) busy: AtomicUsize,
}

/// Starts `threads` loaders. They end when every sender is gone.
pub(crate) fn start(loader: &Arc<Loader>, threads: usize) -> Result<Sender<Job>, ServeError> {
    let (jobs, queue) = crossbeam_channel::unbounded();
    for number in 0..threads {
        let loader = Arc::clone(loader);
        let queue = queue.clone();
        thread::Builder::new()
            .name(format!("http-loader-{number}"))
            .spawn(move || loader.run(&queue))
            .map_err(|source| ServeError::Thread { source })?;
    }
    Ok(jobs)
}

impl Loader {
    fn run(&self, queue: &Receiver<Job>) {
        for job in queue {
            match job {
                Job::Load { path, now_ms } => {
                    let outcome = self.load(&path, now_ms);
                    self.busy.fetch_sub(1, Ordering::Relaxed);
                    self.cache.loaded(&path, outcome);
                }
                Job::Read {
                    file,
                    offset,
                    octets,
                    part,
                    answer,
                } => {
                    // A stream whose connection ended needs no read.
                    let wanted = !answer.is_canceled();
                    let read = wanted.then(|| read(&file, offset, octets, part));
                    self.busy.fetch_sub(1, Ordering::Relaxed);
                    if let Some(read) = read {
                        drop(answer.send(read));
                    }
                }
            }
        }
    }

    fn load(&self, path: &Arc<[u8]>, now_ms: u64) -> Outcome {
        let known = self.cache.get(path);
        let found = self.root.find(path);
        if let Some(entry) = known {
            self.cache.count_check();
            if entry.settled && is_still(&entry.kind, &found) {
                entry.confirm(now_ms);
                return Outcome::Entry(entry);
            }
        }
        let outcome = match found {
            Found::File(_) => self.load_file(path, now_ms),
            Found::Directory => {
                let redirect = Redirect::new(path);
                self.remember(
                    path,
                    Kind::Redirect(redirect),
                    true,
                    now_ms,
                    StatusCode::NOT_FOUND,
                )
            }
            Found::Refused(status) if status.is_server_error() => Outcome::Refused(status),
            Found::Refused(status) => {
                self.remember(path, Kind::Refused(status), true, now_ms, status)
            }
        };
        if !matches!(outcome, Outcome::Entry(_)) {
            self.cache.remove(path);
        }
        outcome
    }

    fn load_file(&self, path: &Arc<[u8]>, now_ms: u64) -> Outcome {
        let file = match self.root.open_file(path) {
            Ok(file) => file,
            Err(status) if status.is_server_error() => return Outcome::Refused(status),
            Err(status) => {
                // Unreadable, which a change of its mode, and so of its stamp, may end.
                return self.remember(path, Kind::Refused(status), false, now_ms, status);
            }
        };
        let mut stamp = file.stamp;
        let lease = usize::try_from(stamp.size)
            .ok()
            .filter(|_| stamp.size <= self.cache.file_max())
            .and_then(|size| Some((size, self.cache.lease(cost(path.len(), size))?)));
        let Some((size, lease)) = lease else {
            return Outcome::Stream(Arc::new(file));
        };
        let mut reads = 0;
        let octets = loop {
            reads += 1;
            let read = file
                .read(0, size)
                .and_then(|octets| Ok((octets, file.restamp()?)));
            let Ok((octets, after)) = read else {
                return Outcome::Refused(StatusCode::INTERNAL_SERVER_ERROR);
            };
            let whole = after == stamp && octets.len() == size;
            if whole || reads == READS_MAX {
                // A file that never keeps still is served as read and read again when due.
                break octets;
            }
            if after.size != stamp.size {
                // The lease no longer fits; a stream has its own way with changing sizes.
                return Outcome::Stream(Arc::new(file));
            }
            stamp = after;
        };
        if octets.len() != size {
            return Outcome::Stream(Arc::new(file));
        }
        let settled = stamp.is_settled();
        let fields = FileFields::new(path, &stamp);
        let contents = Contents::new(octets, Some(lease));
        let kind = Kind::File {
            contents,
            fields,
            stamp,
        };
        Outcome::Entry(self.keep(path, kind, settled, now_ms, None))
    }

    fn remember(
        &self,
        path: &Arc<[u8]>,
        kind: Kind,
        settled: bool,
        now_ms: u64,
        otherwise: StatusCode,
    ) -> Outcome {
        match self.cache.lease(cost(path.len(), 0)) {
            Some(lease) => Outcome::Entry(self.keep(path, kind, settled, now_ms, Some(lease))),
            None => Outcome::Refused(otherwise),
        }
    }

    fn keep(
        &self,
        path: &Arc<[u8]>,
        kind: Kind,
        settled: bool,
        now_ms: u64,
        lease: Option<Lease>,
    ) -> Arc<Entry> {
        let entry = Arc::new(Entry::new(Arc::clone(path), kind, settled, now_ms, lease));
        self.cache.insert(&entry);
        entry
    }
}

/// Reads `octets` octets from `offset`, fewer only at the end of the file.
fn read(
    file: &OpenFile,
    offset: u64,
    octets: usize,
    part: Option<Part>,
) -> io::Result<Arc<Contents>> {
    let Some(mut part) = part else {
        return Ok(Contents::new(file.read(offset, octets)?, None));
    };
    let memory = part.octets_mut();
    let octets = octets.min(memory.len());
    let len = file.read_into(offset, memory.get_mut(..octets).unwrap_or(&mut []))?;
    Ok(Contents::part(part, len))
}

/// What was found is what the entry was made from.
fn is_still(kind: &Kind, found: &Found) -> bool {
    match (kind, found) {
        (Kind::File { stamp, .. }, Found::File(now)) => stamp == now,
        (Kind::Redirect(_), Found::Directory) => true,
        (Kind::Refused(status), Found::Refused(now)) => status == now,
        _ => false,
    }
}
