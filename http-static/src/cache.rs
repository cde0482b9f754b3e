//! Files in memory: found by path, bounded, checked against the disk.
//!
//! An entry is served as it is for [`FRESH_MS`] after it was last checked; until [`STALE_MS`] it
//! is still served while a loader checks it; from then on requests wait for the check. So a busy
//! file never waits, and no change goes unseen for a second. Loads of one path are one load.
//!
//! The memory bound covers files that were evicted or replaced while responses still send them:
//! such a file keeps its [`Lease`], and files being sent are not evicted,
//! which would free nothing. What cannot be made to fit is streamed.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use http::StatusCode;

use crate::files::{OpenFile, Stamp};
use crate::memory::{Budget, Contents, Lease};
use crate::respond::{FileFields, Redirect};
use crate::stats::{CacheEntry, CacheStats};

/// Served without a check for this long after the last one.
pub(crate) const FRESH_MS: u64 = 500;

/// Not served without a check from this age on.
pub(crate) const STALE_MS: u64 = 950;

/// Redirects and refusals remembered; the one unused for longest makes way for a new one.
pub(crate) const OTHERS_MAX: usize = 1024;

/// Memory of one entry besides its contents and its path, in octets, rounded up: the entry, its
/// rendered fields, and its places in two tables of each cache level.
const OVERHEAD: usize = 1024;

/// Use is noted this coarsely, so that a busy entry is not written to all the time.
const USED_MS: u64 = 64;

/// Something a path can be answered with.
#[derive(Debug)]
pub(crate) enum Kind {
    File {
        contents: Arc<Contents>,
        fields: FileFields,
        stamp: Stamp,
    },
    Redirect(Redirect),
    Refused(StatusCode),
}

/// A cached answer.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Arc<[u8]>,
    pub(crate) kind: Kind,
    /// A change since it was read would show in the stamp.
    pub(crate) settled: bool,
    /// When it was last known to be true, in milliseconds since the server started.
    pub(crate) checked: AtomicU64,
    used: AtomicU64,
    /// A check without waiters is under way.
    checking: AtomicBool,
    /// A file's lease is with its contents.
    _lease: Option<Lease>,
}

/// How old an entry's last check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    Fresh,
    /// To be served, and checked; told to one asker per check.
    Due,
    Stale,
}

impl Entry {
    pub(crate) fn new(
        path: Arc<[u8]>,
        kind: Kind,
        settled: bool,
        now_ms: u64,
        lease: Option<Lease>,
    ) -> Self {
        Self {
            path,
            kind,
            settled,
            checked: AtomicU64::new(now_ms),
            used: AtomicU64::new(now_ms),
            checking: AtomicBool::new(false),
            _lease: lease,
        }
    }

    pub(crate) fn age(&self, now_ms: u64) -> Age {
        match now_ms.saturating_sub(self.checked.load(Ordering::Relaxed)) {
            0..FRESH_MS => Age::Fresh,
            FRESH_MS..STALE_MS if self.checking.swap(true, Ordering::Relaxed) => Age::Fresh,
            FRESH_MS..STALE_MS => Age::Due,
            _ => Age::Stale,
        }
    }

    pub(crate) fn touch(&self, now_ms: u64) {
        if now_ms >= self.used.load(Ordering::Relaxed).saturating_add(USED_MS) {
            self.used.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Confirmed as of `now_ms`.
    pub(crate) fn confirm(&self, now_ms: u64) {
        self.checked.fetch_max(now_ms, Ordering::Relaxed);
        self.checking.store(false, Ordering::Relaxed);
    }

    fn cost(&self) -> usize {
        let contents = match &self.kind {
            Kind::File { contents, .. } => contents.len(),
            Kind::Redirect(_) | Kind::Refused(_) => 0,
        };
        cost(self.path.len(), contents)
    }

    fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }

    /// Evicting it would free its contents.
    fn is_idle(&self) -> bool {
        match &self.kind {
            Kind::File { contents, .. } => Arc::strong_count(contents) == 1,
            Kind::Redirect(_) | Kind::Refused(_) => true,
        }
    }
}

/// Memory an entry takes.
pub(crate) fn cost(path: usize, contents: usize) -> usize {
    // The path is held by the entry and encoded in a redirect.
    contents.saturating_add(4 * path + OVERHEAD)
}

/// What a load came to.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Entry(Arc<Entry>),
    /// Too large for the cache.
    Stream(Arc<OpenFile>),
    Refused(StatusCode),
}

/// What a worker is told at once.
#[derive(Debug)]
pub(crate) enum Lookup {
    Hit(Arc<Entry>),
    Wait(oneshot::Receiver<Outcome>),
    /// Too many loads under way.
    Busy,
}

/// The order of use: when last seen used, and a number that makes it unique.
type Place = (u64, u64);

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Arc<[u8]>, (Arc<Entry>, Place)>,
    /// Files and others by use, the longest unused first.
    files: BTreeMap<Place, Arc<[u8]>>,
    others: BTreeMap<Place, Arc<[u8]>>,
    /// Paths being loaded, and who waits.
    loads: HashMap<Arc<[u8]>, Vec<oneshot::Sender<Outcome>>>,
    next: u64,
}

/// The cache all workers share. They come here when their own first level has no answer.
#[derive(Debug)]
pub(crate) struct Cache {
    state: Mutex<State>,
    budget: Arc<Budget>,
    loads_max: usize,
    evictions: AtomicU64,
    checks: AtomicU64,
}

impl Cache {
    pub(crate) fn new(octets: usize, loads_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            budget: Budget::new(octets),
            loads_max,
            evictions: AtomicU64::new(0),
            checks: AtomicU64::new(0),
        }
    }

    /// A panic elsewhere leaves the tables usable: every change to them is complete or harmless.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Largest file kept in memory.
    pub(crate) fn file_max(&self) -> u64 {
        self.budget.limit() as u64 / 4
    }

    /// The answer for `path`, or a place in the queue for it; and the path to load, if any.
    pub(crate) fn look_up(&self, path: &[u8], now_ms: u64) -> (Lookup, Option<Arc<[u8]>>) {
        let mut state = self.lock();
        if let Some((entry, _)) = state.entries.get(path) {
            let entry = Arc::clone(entry);
            match entry.age(now_ms) {
                Age::Fresh => return (Lookup::Hit(entry), None),
                Age::Due => {
                    let start = state.load(&entry.path);
                    return (Lookup::Hit(entry), start);
                }
                Age::Stale => {}
            }
        }
        let (answer, wait) = oneshot::channel();
        if let Some(waiting) = state.loads.get_mut(path) {
            // Waiters whose connection ended make room for others.
            waiting.retain(|answer| !answer.is_canceled());
            waiting.push(answer);
            return (Lookup::Wait(wait), None);
        }
        if state.loads.len() >= self.loads_max {
            return (Lookup::Busy, None);
        }
        let path: Arc<[u8]> = path.into();
        state.loads.insert(Arc::clone(&path), vec![answer]);
        (Lookup::Wait(wait), Some(path))
    }

    /// The path to load for `entry`, which is due, unless that load is under way.
    pub(crate) fn check(&self, entry: &Entry) -> Option<Arc<[u8]>> {
        self.lock().load(&entry.path)
    }

    pub(crate) fn count_check(&self) {
        self.checks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, path: &[u8]) -> Option<Arc<Entry>> {
        self.lock()
            .entries
            .get(path)
            .map(|(entry, _)| Arc::clone(entry))
    }

    /// Memory for an entry, freed from others if need be. For loaders: this may take a while.
    pub(crate) fn lease(&self, octets: usize) -> Option<Lease> {
        if octets > self.budget.limit() {
            return None;
        }
        if let Some(lease) = self.budget.lease(octets) {
            return Some(lease);
        }
        let evicted = {
            let free = self.budget.limit().saturating_sub(self.budget.used());
            self.lock().evict(octets.saturating_sub(free))
        };
        self.evictions
            .fetch_add(evicted.len() as u64, Ordering::Relaxed);
        drop(evicted);
        self.budget.lease(octets)
    }

    /// Puts `entry` in the place of what its path had before.
    pub(crate) fn insert(&self, entry: &Arc<Entry>) {
        let mut state = self.lock();
        let before = state.remove(&entry.path);
        let mut surplus = None;
        if !entry.is_file() && state.others.len() >= OTHERS_MAX {
            surplus = state.oldest_other().and_then(|path| state.remove(&path));
        }
        state.next += 1;
        let place = (entry.used.load(Ordering::Relaxed), state.next);
        state.order(entry).insert(place, Arc::clone(&entry.path));
        state
            .entries
            .insert(Arc::clone(&entry.path), (Arc::clone(entry), place));
        drop(state);
        drop((before, surplus));
    }

    /// Forgets what `path` had.
    pub(crate) fn remove(&self, path: &[u8]) {
        let before = self.lock().remove(path);
        drop(before);
    }

    /// Ends the load of `path`: everyone who waits is told. Waiters whose connection ended need
    /// no answer. Nothing of the outcome stays with the caller, whose hold on it would count.
    pub(crate) fn loaded(&self, path: &[u8], outcome: Outcome) {
        let waiting = self.lock().loads.remove(path);
        let mut waiting = waiting.into_iter().flatten();
        let last = waiting.next();
        for answer in waiting {
            drop(answer.send(outcome.clone()));
        }
        if let Some(last) = last {
            drop(last.send(outcome));
        }
    }

    /// Forgets everything not being loaded.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        let entries = std::mem::take(&mut state.entries);
        state.files.clear();
        state.others.clear();
        drop(state);
        drop(entries);
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let state = self.lock();
        CacheStats {
            limit: self.budget.limit(),
            used: self.budget.used(),
            files: state.files.len(),
            others: state.others.len(),
            evictions: self.evictions.load(Ordering::Relaxed),
            checks: self.checks.load(Ordering::Relaxed),
            ..CacheStats::default()
        }
    }

    /// Up to `max` cached files in the order of their paths.
    pub(crate) fn list(&self, max: usize, now_ms: u64) -> Vec<CacheEntry> {
        let since = |then: &AtomicU64| {
            Duration::from_millis(now_ms.saturating_sub(then.load(Ordering::Relaxed)))
        };
        let mut list: Vec<_> = {
            let state = self.lock();
            state
                .entries
                .values()
                .map(|(entry, _)| Arc::clone(entry))
                .collect()
        };
        list.sort_by(|one, other| one.path.cmp(&other.path));
        list.iter()
            .filter_map(|entry| match &entry.kind {
                Kind::File { contents, .. } => Some(CacheEntry {
                    path: String::from_utf8_lossy(&entry.path).into_owned(),
                    octets: contents.len(),
                    checked: since(&entry.checked),
                    used: since(&entry.used),
                }),
                Kind::Redirect(_) | Kind::Refused(_) => None,
            })
            .take(max)
            .collect()
    }
}

impl State {
    /// A load without waiters, unless one is under way.
    fn load(&mut self, path: &Arc<[u8]>) -> Option<Arc<[u8]>> {
        if self.loads.contains_key(path) {
            return None;
        }
        self.loads.insert(Arc::clone(path), Vec::new());
        Some(Arc::clone(path))
    }

    fn order(&mut self, entry: &Entry) -> &mut BTreeMap<Place, Arc<[u8]>> {
        if entry.is_file() {
            &mut self.files
        } else {
            &mut self.others
        }
    }

    fn remove(&mut self, path: &[u8]) -> Option<Arc<Entry>> {
        let (entry, place) = self.entries.remove(path)?;
        self.order(&entry).remove(&place);
        Some(entry)
    }

    fn oldest_other(&mut self) -> Option<Arc<[u8]>> {
        self.others
            .first_key_value()
            .map(|(_, path)| Arc::clone(path))
    }

    /// Takes out the longest unused files, until `octets` are free or none is left to take. Each
    /// is looked at once: one used since it was put in order goes to its new place.
    fn evict(&mut self, octets: usize) -> Vec<Arc<Entry>> {
        let mut evicted = Vec::new();
        let mut freed = 0;
        let mut looks = 2 * self.files.len();
        while freed < octets && looks > 0 {
            looks -= 1;
            let Some((place, path)) = self.files.pop_first() else {
                break;
            };
            let Some((entry, at)) = self.entries.get_mut(&path) else {
                continue;
            };
            let used = entry.used.load(Ordering::Relaxed);
            if used > place.0 || !entry.is_idle() {
                self.next += 1;
                *at = (used.max(place.0 + 1), self.next);
                let place = *at;
                self.files.insert(place, path);
                continue;
            }
            if let Some((entry, _)) = self.entries.remove(&path) {
                freed += entry.cost();
                evicted.push(entry);
            }
        }
        evicted
    }
}

#[cfg(test)]
mod tests;
