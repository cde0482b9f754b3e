//! What the parts of one connection tell each other.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Uri};

use crate::head::Fault;
use crate::local::Local;
use crate::server::Shared;

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
    /// Octets read from and written to the stream.
    pub(crate) octets_in: Cell<u64>,
    pub(crate) octets_out: Cell<u64>,
    /// The latest request, for messages.
    pub(crate) request: RefCell<Option<(Method, Uri)>>,
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
            octets_in: Cell::new(0),
            octets_out: Cell::new(0),
            request: RefCell::new(None),
        }
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
