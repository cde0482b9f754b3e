//! What the parts of one connection tell each other, and the course of its request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};

use crate::head::Fault;
use crate::local::Local;
use crate::memory::Contents;
use crate::server::Shared;
use crate::stats::AccessRecord;

/// Contents one connection offers its stream at a time: what hyper holds, and the next part. More
/// (of pipelined requests) are copied.
const SHARED_MAX: usize = 4;

/// Octets of a request's method and target kept for messages.
pub(crate) const REQUEST_MAX: usize = 256;

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
    /// How far the request is.
    pub(crate) course: Cell<Course>,
    /// hyper keeps something of a request that was answered: that it was of HTTP/1.0, or wanted
    /// another protocol.
    pub(crate) marked: Cell<bool>,
    /// Part of the response's body is not read yet.
    pub(crate) streaming: Cell<bool>,
    /// The latest request, for messages, cut to [`REQUEST_MAX`] octets. A copy: what hyper read it
    /// from can be used again.
    pub(crate) request: RefCell<String>,
    /// The request, while there is a log to tell of it.
    asked: RefCell<Option<Box<Asked>>>,
}

/// How far the connection's request is. hyper serves one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Course {
    /// There is none, or it was told.
    None,
    /// Its head is here, since.
    Asked(Instant),
    /// hyper has the response of the request of that time.
    Answered(Instant),
    /// Of the response of the request of that time, octets were written; last at the second time,
    /// if that is known.
    Writing(Instant, Option<Instant>),
}

/// What the log is told of a request.
#[derive(Debug)]
struct Asked {
    /// What was asked; `None` where the head was refused.
    line: Option<(Method, Uri, Version)>,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    status: StatusCode,
    octets: u64,
    /// `octets_out` when the response began.
    out_before: u64,
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
            course: Cell::new(Course::None),
            marked: Cell::new(false),
            streaming: Cell::new(false),
            asked: RefCell::default(),
            request: RefCell::default(),
        }
    }

    /// Keeps what was asked, for messages, as far as there is room.
    pub(crate) fn remember(&self, parts: &Parts) {
        let target = parts.uri.path_and_query();
        let target = target.map_or("", |target| target.as_str());
        let mut request = self.request.borrow_mut();
        request.clear();
        for part in [parts.method.as_str(), " ", target] {
            let room = REQUEST_MAX.saturating_sub(request.len());
            let part = &part[..part.floor_char_boundary(room)];
            request.reserve_exact(part.len());
            request.push_str(part);
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

    /// Whether everything that was asked is answered, to its last octet.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.heads.get() == self.answered.get()
            && matches!(self.course.get(), Course::None)
            && !self.streaming.get()
            && self.blocked.get().is_none()
            && self.wait_until.get().is_none()
            && self.fault.get().is_none()
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

    /// A request has come.
    pub(crate) fn begin(&self, parts: &Parts) {
        self.course.set(Course::Asked(self.now.get()));
        if self.shared.options.access_log.is_some() {
            let value = |name| parts.headers.get(name).cloned();
            self.asked.replace(Some(Box::new(Asked {
                line: Some((parts.method.clone(), parts.uri.clone(), parts.version)),
                referer: value(header::REFERER),
                user_agent: value(header::USER_AGENT),
                status: StatusCode::OK,
                octets: 0,
                out_before: 0,
            })));
        }
    }

    /// The head of the request is not what the peer sent.
    pub(crate) fn forget_head(&self) {
        if let Some(asked) = self.asked.borrow_mut().as_mut() {
            asked.line = None;
            asked.referer = None;
            asked.user_agent = None;
        }
    }

    /// hyper gets the response.
    pub(crate) fn answered(&self, status: StatusCode, octets: u64) {
        if let Course::Asked(since) = self.course.get() {
            self.course.set(Course::Answered(since));
        }
        if let Some(asked) = self.asked.borrow_mut().as_mut() {
            asked.status = status;
            asked.octets = octets;
            asked.out_before = self.octets_out.get();
        }
    }

    /// Octets were written. The clock is read for the first of a response only.
    pub(crate) fn wrote_response(&self) {
        match self.course.get() {
            Course::Answered(since) => {
                let now = Instant::now();
                let took = now.saturating_duration_since(since);
                self.local.thread.counters.first_octet.record(took);
                self.course.set(Course::Writing(since, Some(now)));
            }
            Course::Writing(since, Some(_)) => self.course.set(Course::Writing(since, None)),
            Course::None | Course::Asked(_) | Course::Writing(_, None) => {}
        }
    }

    /// hyper has nothing left to write.
    pub(crate) fn flushed(&self) {
        if let Course::Writing(since, last) = self.course.get()
            && !self.streaming.get()
        {
            let last = last.unwrap_or_else(Instant::now);
            let took = last.saturating_duration_since(since);
            self.local.thread.counters.whole.record(took);
            self.course.set(Course::None);
            self.tell(true);
        }
    }

    /// The connection ends. A response under way was cut short.
    pub(crate) fn end(&self) {
        if let Course::Answered(_) | Course::Writing(..) = self.course.get() {
            self.course.set(Course::None);
            self.tell(false);
        }
    }

    /// What came was answered with `status` and did not become a request.
    pub(crate) fn refused(&self, status: StatusCode) {
        if self.shared.options.access_log.is_some() {
            self.asked.replace(Some(Box::new(Asked {
                line: None,
                referer: None,
                user_agent: None,
                status,
                octets: 0,
                out_before: 0,
            })));
            self.tell(true);
        }
    }

    fn tell(&self, complete: bool) {
        let (Some(log), Some(asked)) = (&self.shared.options.access_log, self.asked.take()) else {
            return;
        };
        let written = self.octets_out.get().wrapping_sub(asked.out_before);
        log.record(&AccessRecord {
            peer: self.peer,
            method: asked.line.as_ref().map(|(method, ..)| method),
            target: asked.line.as_ref().map(|(_, target, _)| target),
            version: asked.line.as_ref().map(|(.., version)| *version),
            referer: asked.referer.as_ref(),
            user_agent: asked.user_agent.as_ref(),
            status: asked.status,
            octets: if complete {
                asked.octets
            } else {
                asked.octets.min(written)
            },
            complete,
        });
    }

    /// The wait brought what it waited for, or its end was noticed.
    pub(crate) fn wait_over(&self) {
        self.wait_until.set(None);
        self.expired.set(false);
    }
}
