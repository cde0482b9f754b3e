//! The server: what all its connections share.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;
use hyper::rt::Timer;
use hyper::server::conn::http1;

use crate::body::PART;
use crate::cache::Cache;
use crate::files::Root;
use crate::loader::{self, Job, Loader};
use crate::local::{Local, Thread};
use crate::memory::Parts;
use crate::respond::Rendering;
use crate::stats::{CacheEntry, Stats};
use crate::{Connection, Options, ServeError, Stream};

/// Octets hyper may hold for writing before it stops asking for more; also more than any head.
pub(crate) const HYPER_BUFFER: usize = 128 << 10;

/// A static file server. Clones are handles to the same one: give each worker its own.
///
/// The loader threads end when the last handle and the last connection are gone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What handles and connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) cache: Arc<Cache>,
    pub(crate) streams: Arc<Parts>,
    pub(crate) loader: Arc<Loader>,
    pub(crate) http: http1::Builder,
    pub(crate) draining: AtomicBool,
    jobs: Sender<Job>,
    threads: Mutex<Vec<Arc<Thread>>>,
    epoch: Instant,
}

impl Server {
    /// Checks `options` and starts the loader threads.
    ///
    /// Threads inherit privileges and sandbox of their creator: drop the former and enter the
    /// latter before.
    ///
    /// # Errors
    /// When the www-root is not a directory this process may enter, `openat2(2)` is refused, an
    /// option is out of its range, or no thread can be started.
    pub fn new(options: Options) -> Result<Self, ServeError> {
        options.check()?;
        let rendering = Rendering::new(&options).ok_or(ServeError::Option {
            name: "server",
            must: "visible ASCII characters",
        })?;
        let root = Root::new(&options.www_root)?;
        let cache = Arc::new(Cache::new(options.cache_size, options.limits.loads));
        let loader = Arc::new(Loader {
            root,
            cache: Arc::clone(&cache),
            rendering,
            busy: AtomicUsize::new(0),
        });
        let jobs = loader::start(&loader, options.loaders)?;
        let mut http = http1::Builder::new();
        // Time limits are this crate's: one timer a connection instead of one a request.
        http.header_read_timeout(None)
            .half_close(true)
            .writev(true)
            .max_buf_size(HYPER_BUFFER);
        let shared = Shared {
            streams: Parts::new(options.limits.stream_memory, PART),
            options,
            cache,
            loader,
            http,
            draining: AtomicBool::new(false),
            jobs,
            threads: Mutex::default(),
            epoch: Instant::now(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Serves one connection. The future is to be polled on the thread that calls this; it ends
    /// when the connection ends, having closed `stream` or, when the peer does not keep to the
    /// [`Limits`](crate::Limits), by dropping it.
    ///
    /// `timer` is asked for the time at each poll, which may be that of the worker's batch, and
    /// for one sleep at a time.
    pub fn serve<S, T>(&self, stream: S, peer: SocketAddr, timer: T) -> Connection<S, T>
    where
        S: Stream + Unpin + 'static,
        T: Timer + Clone,
    {
        Connection::new(&self.shared, Local::of(&self.shared), stream, peer, timer)
    }

    /// Lets every connection finish the request it is in, with `Connection: close`, and end; idle
    /// ones end at once. Wakes all of them, from any thread. Connections begun later answer one
    /// request.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        for thread in self.shared.threads().iter() {
            thread.wake_all();
        }
    }

    /// Whether loaders have something to do: then their processor time is better spent by them than
    /// by a caller that busily waits for more requests.
    pub fn is_loading(&self) -> bool {
        self.shared.loader.busy.load(Ordering::Relaxed) > 0
    }

    /// The directory served.
    pub fn www_root(&self) -> &std::path::Path {
        &self.shared.options.www_root
    }

    /// Whether both are handles of one server.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            cache: self.shared.cache.stats(),
            stream_memory: self.shared.streams.used(),
            ..Stats::default()
        };
        for thread in self.shared.threads().iter() {
            thread.counters.add_to(&mut stats);
        }
        stats
    }

    /// Up to `max` cached files in the order of their paths.
    pub fn cache_entries(&self, max: usize) -> Vec<CacheEntry> {
        self.shared
            .cache
            .list(max, self.shared.millis(Instant::now()))
    }

    /// Forgets all cached files. Responses under way keep what they send.
    pub fn clear_cache(&self) {
        self.shared.cache.clear();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Milliseconds from the start to `now`.
    pub(crate) fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        since.as_secs() * 1000 + u64::from(since.subsec_millis())
    }

    /// Should all loaders have died, the asker learns it from its dropped answer.
    pub(crate) fn send(&self, job: Job) {
        self.loader.busy.fetch_add(1, Ordering::Relaxed);
        drop(self.jobs.send(job));
    }

    pub(crate) fn enlist_thread(&self) -> Arc<Thread> {
        let thread = Arc::new(Thread::default());
        self.threads().push(Arc::clone(&thread));
        thread
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Thread>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
