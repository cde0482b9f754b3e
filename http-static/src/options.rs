//! What an operator can choose, with its default.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::ServeError;
use crate::cache::{OTHERS_MAX, cost};
use crate::flow::{Flow, REQUEST_MAX};
use crate::footprint::SPARE;
use crate::http1::SPARES_MAX;
use crate::io::Io;
use crate::local::HOT_MAX;
use crate::stats::AccessLog;
use crate::target::PATH_MAX;

/// What to serve and within which bounds. Start from [`Options::new`] and change fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The directory served. Looked up anew for each file, so it may be replaced while serving.
    pub www_root: PathBuf,
    /// Memory for cached files, in octets, their overhead included. Default 10 MiB, VPP's. 0
    /// caches nothing; files larger than a quarter of it are streamed.
    pub cache_size: usize,
    /// Threads that open and read files, 1 to 64. Default 2.
    pub loaders: usize,
    /// Value of the `Server` header; empty leaves it out. Default `dataplane`.
    pub server: String,
    /// Seconds of `Cache-Control: max-age`; `None` leaves the header out. Default `None`.
    pub max_age: Option<u32>,
    /// Bounds on what a peer may cost.
    pub limits: Limits,
    /// Told about each request; must not block. Default `None`.
    pub access_log: Option<Arc<dyn AccessLog>>,
}

/// Bounds on what one peer, or all together, may cost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Octets of a request head, 1 Ki to 64 Ki; beyond it 431. Default 16 Ki.
    pub head_octets: usize,
    /// Header lines of a request, 1 to 100; beyond it 431. Default 100.
    pub header_lines: usize,
    /// Octets of a request target; beyond it 414. Default 8,190.
    pub target_octets: usize,
    /// Octets of a request body read and thrown away; beyond it 413. Default 64 Ki.
    pub body_octets: u64,
    /// Requests answered on one connection before it is closed. Default 100,000.
    pub requests_per_connection: u32,
    /// Wait for the first octet of a connection. Default 10 s.
    pub first_octet: Duration,
    /// Wait for a whole head, from its first octet; beyond it 408. Default 10 s.
    pub head: Duration,
    /// Wait for a whole body; beyond it 408. Default 10 s.
    pub body: Duration,
    /// Wait for the next request. Default 60 s, VPP's.
    pub keep_alive: Duration,
    /// Wait for the file system; beyond it 503, or the end of a stream under way. Default 10 s.
    pub load: Duration,
    /// Time in which a blocked peer must take [`write_octets`](Self::write_octets). Default 20 s.
    pub write_stall: Duration,
    /// Octets a blocked peer must take in [`write_stall`](Self::write_stall). Default 4,096.
    pub write_octets: u64,
    /// Distinct paths being loaded at once; beyond it 503. Default 1,024.
    pub loads: usize,
    /// Memory for parts of streamed files, all connections together, in octets. Default 64 MiB.
    /// When used up a stream goes on in parts of 16 KiB, which are among what the stream is told
    /// to [keep](crate::Stream::keep).
    pub stream_memory: usize,
}

impl Options {
    /// Serves `www_root` with every default.
    pub fn new(www_root: impl Into<PathBuf>) -> Self {
        Self {
            www_root: www_root.into(),
            cache_size: 10 << 20,
            loaders: 2,
            server: "dataplane".to_owned(),
            max_age: None,
            limits: Limits::default(),
            access_log: None,
        }
    }

    /// The most memory a server takes for all connections together, in octets: its cache, streamed
    /// files, answers other than files, and what each of `threads` threads remembers of paths and has
    /// ready for requests.
    pub fn memory_max(&self, threads: usize) -> usize {
        let others = OTHERS_MAX * cost(PATH_MAX, 0);
        // A path, and its place in a table that is copied when it grows.
        let hot = HOT_MAX * (PATH_MAX + 4 * 64);
        let ready = SPARES_MAX * SPARE;
        self.cache_size + self.limits.stream_memory + others + threads * (hot + ready)
    }

    /// The most memory one connection takes besides these and what its stream is told to
    /// [keep](crate::Stream::keep), in octets. [`Connection`](crate::Connection) itself comes on
    /// top.
    pub fn connection_memory_max(&self) -> usize {
        // The latest request, its sleep, and places in tables that are copied when they grow.
        const PLACES: usize = 1024;
        size_of::<Flow>() + size_of::<Io<[usize; 8]>>() + REQUEST_MAX + PLACES
    }

    /// Refuses values the server could not keep.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let limits = &self.limits;
        let rules = [
            ((1..=64).contains(&self.loaders), "loaders", "1 to 64"),
            (
                (1024..=65_536).contains(&limits.head_octets),
                "head_octets",
                "1,024 to 65,536",
            ),
            (
                (1..=100).contains(&limits.header_lines),
                "header_lines",
                "1 to 100",
            ),
            (
                (1..=limits.head_octets).contains(&limits.target_octets),
                "target_octets",
                "1 to head_octets",
            ),
            (
                limits.requests_per_connection > 0,
                "requests_per_connection",
                "at least 1",
            ),
            (limits.loads > 0, "loads", "at least 1"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, name, must)) => Err(ServeError::Option { name, must }),
            None => Ok(()),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_octets: 16 << 10,
            header_lines: 100,
            target_octets: 8190,
            body_octets: 64 << 10,
            requests_per_connection: 100_000,
            first_octet: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            keep_alive: Duration::from_mins(1),
            load: Duration::from_secs(10),
            write_stall: Duration::from_secs(20),
            write_octets: 4096,
            loads: 1024,
            stream_memory: 64 << 20,
        }
    }
}
