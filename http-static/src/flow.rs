//! What the parts of one connection tell each other.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::head::Fault;
use crate::local::Local;
use crate::memory::Contents;
use crate::server::Shared;

/// Contents one connection offers its stream at a time: what hyper holds, and the next part. More
/// (of pipelined requests) are copied.
const SHARED_MAX: usize = 4;

/// Octets from which on sharing is cheaper than copying.
const SHARED_MIN: usize = 4096;

/// State of one connection, shared by its stream, its service and its response body; all of them
/// are polled by the connection, on one thread.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) shared: Arc<Shared>,
    pub(crate) local: Rc<Local>,
    pub(crate) peer: SocketAddr,
    /// The time of this poll.
    pub(crate) now: Cell<Instant>,
    /// Last time an octet moved.
    pub(crate) active: Cell<Instant>,
    /// Heads handed to hyper.
    pub(crate) heads: Cell<u32>,
    /// Requests hyper handed to the service; the n-th is the n-th head.
    pub(crate) answered: Cell<u32>,
    /// The head with this number is refused; none follows it.
    pub(crate) fault: Cell<Option<(u32, Fault)>>,
    /// Since when a head is here in part.
    pub(crate) head_since: Cell<Option<Instant>>,
    /// The head begun was not whole in time.
    pub(crate) head_late: Cell<bool>,
    /// Until when a loader or a request body is waited for.
    pub(crate) wait_until: Cell<Option<Instant>>,
    /// That wait is over; whoever waits gives up.
    pub(crate) expired: Cell<bool>,
    /// The peer blocks: since when, and what it had taken then.
    pub(crate) blocked: Cell<Option<(Instant, u64)>>,
    /// What is being written and may be kept by the stream, the oldest first; at most
    /// [`SHARED_MAX`].
    pub(crate) sharing: RefCell<Vec<Bytes>>,
    /// Octets read from and written to the stream.
    pub(crate) octets_in: Cell<u64>,
    pub(crate) octets_out: Cell<u64>,
}

impl Flow {
    pub(crate) fn new(
        shared: Arc<Shared>,
        local: Rc<Local>,
        peer: SocketAddr,
        now: Instant,
    ) -> Self {
        Self {
            shared,
            local,
            peer,
            now: Cell::new(now),
            active: Cell::new(now),
            heads: Cell::new(0),
            answered: Cell::new(0),
            fault: Cell::new(None),
            head_since: Cell::new(None),
            head_late: Cell::new(false),
            wait_until: Cell::new(None),
            expired: Cell::new(false),
            blocked: Cell::new(None),
            sharing: RefCell::default(),
            octets_in: Cell::new(0),
            octets_out: Cell::new(0),
        }
    }

    /// `contents` will be written soon: the stream may keep it instead of a copy.
    pub(crate) fn share(&self, contents: &Arc<Contents>) {
        if contents.len() < SHARED_MIN {
            return;
        }
        let mut sharing = self.sharing.borrow_mut();
        if sharing.len() == SHARED_MAX {
            sharing.remove(0);
        }
        sharing.push(contents.share());
    }

    /// Everything is written.
    pub(crate) fn written(&self) {
        self.blocked.set(None);
        self.sharing.borrow_mut().clear();
    }

    /// Milliseconds since the server started; what cache entries are stamped with.
    pub(crate) fn now_ms(&self) -> u64 {
        self.shared.millis(self.now.get())
    }

    /// Starts a wait of `limit` unless one runs.
    pub(crate) fn wait(&self, limit: Duration) {
        if self.wait_until.get().is_none() && !self.expired.get() {
            self.wait_until.set(Some(self.now.get() + limit));
        }
    }

    /// The wait brought what it waited for, or its end was noticed.
    pub(crate) fn wait_over(&self) {
        self.wait_until.set(None);
        self.expired.set(false);
    }
}
