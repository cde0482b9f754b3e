//! What happened, as numbers, and the hook that is told of each request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, Uri, Version};

use crate::latency::{Histogram, Latency};

/// Totals since the server started, over all its threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections begun.
    pub connections: u64,
    /// Connections not ended.
    pub active: u64,
    /// Responses by status class: `[0]` is 1xx, `[4]` is 5xx.
    pub responses: [u64; 5],
    /// Heads hyper refused; their 400 or 431 is not among `responses`.
    pub malformed: u64,
    /// Connections ended because a time limit passed.
    pub timeouts: u64,
    /// Times hyper was made; all other requests were served by one used before.
    pub http1_made: u64,
    /// Octets read from peers.
    pub octets_received: u64,
    /// Octets written to peers.
    pub octets_sent: u64,
    /// The cache.
    pub cache: CacheStats,
    /// Memory in use for parts of streamed files, in octets.
    pub stream_memory: usize,
    /// From a request's head to the first octet of its response handed to the stream.
    pub first_octet: Latency,
    /// From a request's head to the last octet handed to the stream; responses cut short are not
    /// counted.
    pub whole: Latency,
}

/// The cache, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Bound on `used`, in octets.
    pub limit: usize,
    /// Octets of files and their overhead, evicted ones still being sent included.
    pub used: usize,
    /// Files held.
    pub files: usize,
    /// Redirects and refusals held.
    pub others: usize,
    /// Requests answered without asking a loader.
    pub hits: u64,
    /// Requests that waited for a loader.
    pub misses: u64,
    /// Files given up for others.
    pub evictions: u64,
    /// Times an entry was compared with its file.
    pub checks: u64,
}

/// One cached file, for `show http static server cache`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheEntry {
    /// Path below the www-root.
    pub path: String,
    /// Size of the file in octets.
    pub octets: usize,
    /// Since it was last found unchanged.
    pub checked: Duration,
    /// Since it was last asked for.
    pub used: Duration,
}

/// One answered request, told when the last octet of its response was handed to the stream, or
/// when the connection ended before that.
#[derive(Debug)]
#[non_exhaustive]
pub struct AccessRecord<'request> {
    /// Who asked.
    pub peer: SocketAddr,
    /// The method; `None` where the head was refused before it was parsed.
    pub method: Option<&'request Method>,
    /// The target as sent; `None` where the head was refused.
    pub target: Option<&'request Uri>,
    /// The version; `None` where the head was refused.
    pub version: Option<Version>,
    /// `Referer`, as sent.
    pub referer: Option<&'request HeaderValue>,
    /// `User-Agent`, as sent.
    pub user_agent: Option<&'request HeaderValue>,
    /// The answer.
    pub status: StatusCode,
    /// Length of the answer's body in octets. If the connection ended before: octets written, those
    /// of the answer's head included, at most that length.
    pub octets: u64,
    /// The whole answer was handed to the stream.
    pub complete: bool,
}

/// Is told of each request. Called between packets on the worker's thread, so it must not block:
/// put the record into a bounded queue and drop it when the queue is full.
pub trait AccessLog: fmt::Debug + Send + Sync {
    /// One request was answered.
    fn record(&self, record: &AccessRecord<'_>);
}

/// One thread's counters. Only that thread writes, so no addition is ever contended.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) responses: [AtomicU64; 5],
    pub(crate) malformed: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) http1_made: AtomicU64,
    pub(crate) octets_in: AtomicU64,
    pub(crate) octets_out: AtomicU64,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) first_octet: Histogram,
    pub(crate) whole: Histogram,
}

/// Adds as the only writer.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(more),
        Ordering::Relaxed,
    );
}

impl Counters {
    pub(crate) fn response(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).wrapping_sub(1);
        if let Some(counter) = self.responses.get(class) {
            add(counter, 1);
        }
    }

    pub(crate) fn add_to(&self, total: &mut Stats) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        total.connections += read(&self.opened);
        total.active += read(&self.opened).saturating_sub(read(&self.closed));
        for (sum, counter) in total.responses.iter_mut().zip(&self.responses) {
            *sum += read(counter);
        }
        total.malformed += read(&self.malformed);
        total.timeouts += read(&self.timeouts);
        total.http1_made += read(&self.http1_made);
        total.octets_received += read(&self.octets_in);
        total.octets_sent += read(&self.octets_out);
        total.cache.hits += read(&self.hits);
        total.cache.misses += read(&self.misses);
        self.first_octet.add_to(&mut total.first_octet);
        self.whole.add_to(&mut total.whole);
    }
}
