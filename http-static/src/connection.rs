//! One connection: hyper, its time limits, and its end.
//!
//! hyper would allocate a sleep per request for its one time limit. Here each poll computes the
//! one deadline that matters now; the single sleep is re-armed only when that deadline is earlier
//! than the sleep, or when the sleep ends before the deadline.
//!
//! hyper is lent to the connection while a request is under way; see [`http1`](crate::http1).

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use http::StatusCode;
use hyper::rt::{Sleep, Timer};

use crate::flow::Flow;
use crate::http1::Http1;
use crate::io::Io;
use crate::local::Local;
use crate::server::Shared;
use crate::stats::add;
use crate::stream::Stream;

/// A connection being served; see [`Server::serve`](crate::Server::serve).
#[must_use = "a connection is served by polling it"]
pub struct Connection<S, T>
where
    S: Stream + Unpin + 'static,
{
    flow: Rc<Flow>,
    phase: Phase<S>,
    timer: T,
    sleep: Option<Pin<Box<dyn Sleep>>>,
    armed: Instant,
    /// Who polls, as known to the thread's list.
    waker: Option<Waker>,
    number: u64,
    drained: bool,
    counted: (u64, u64),
}

enum Phase<S>
where
    S: Stream + Unpin + 'static,
{
    /// Nothing is asked.
    Resting(Box<Io<S>>),
    /// hyper is at it.
    Serving(Http1<S>),
    Closing(S, Instant),
    Over,
}

/// The answer when there is no memory for a request.
const NO_MEMORY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
    Retry-After: 1\r\nContent-Length: 0\r\n\r\n";

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// The peer takes what it asked for.
    Write,
    /// A loader or a request body comes.
    Wait,
    /// A head is whole.
    Head,
    /// A request begins.
    Idle,
    /// The stream closes.
    Close,
}

impl<S, T> Connection<S, T>
where
    S: Stream + Unpin + 'static,
    T: Timer + Clone,
{
    pub(crate) fn new(
        shared: &Arc<Shared>,
        local: Rc<Local>,
        stream: S,
        peer: SocketAddr,
        timer: T,
    ) -> Self {
        let now = timer.now();
        let number = local.number();
        add(&local.thread.counters.opened, 1);
        let flow = Rc::new(Flow::new(Arc::clone(shared), local, peer, now));
        Self {
            phase: Phase::Resting(Box::new(Io::new(stream, Rc::clone(&flow)))),
            flow,
            timer,
            sleep: None,
            armed: now,
            waker: None,
            number,
            drained: false,
            counted: (0, 0),
        }
    }

    /// What the peer asked for last, for messages: `GET /index.html`. Nothing before it asked.
    pub fn request(&self) -> Option<String> {
        let request = self.flow.request.try_borrow().ok()?;
        (!request.is_empty()).then(|| request.clone())
    }

    /// Runs hyper as far as it gets, then closes the stream. Ready when that is done.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.drained && self.flow.shared.draining.load(Ordering::Acquire) {
            self.drained = true;
            // A connection that was just opened is let to ask once.
            if self.flow.heads.get() > 0 || self.waker.is_some() {
                self.shut_down();
            }
        }
        loop {
            if let Phase::Resting(io) = &mut self.phase {
                let woken = ready!(io.poll_wake(cx));
                if woken.is_ok() && !io.has_checked() {
                    // The peer sends no more.
                    self.close();
                } else if woken.is_ok() && io.rouse() {
                    self.serve();
                } else {
                    self.refuse(cx);
                }
            }
            let Phase::Serving(http1) = &mut self.phase else {
                break;
            };
            match http1.poll(cx) {
                Poll::Ready(result) => {
                    let malformed = result.as_ref().is_err_and(hyper::Error::is_parse);
                    if malformed {
                        add(&self.flow.local.thread.counters.malformed, 1);
                        self.flow.refused(StatusCode::BAD_REQUEST);
                    }
                    let answered = malformed || result.is_ok();
                    if answered && self.flow.blocked.get().is_some() {
                        // hyper is done once it has nothing to read and its last answer is in its
                        // buffer. Polled again it writes on.
                        return Poll::Pending;
                    }
                    self.close();
                }
                Poll::Pending if http1.is_at_rest() => {
                    if self.rest() {
                        return Poll::Pending;
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        match &mut self.phase {
            // Whether it closed well or not, it is over.
            Phase::Closing(stream, _) => Pin::new(stream).poll_close(cx).map(drop),
            Phase::Resting(_) | Phase::Serving(_) | Phase::Over => Poll::Ready(()),
        }
    }

    /// Takes a hyper for what has come.
    fn serve(&mut self) {
        if let Phase::Resting(io) = self.leave() {
            self.phase = Phase::Serving(Http1::serving(io));
        }
    }

    /// Answers what has come without hyper, for which there is no memory, and closes.
    fn refuse(&mut self, cx: &mut Context<'_>) {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.flow.local.thread.counters.response(status);
        self.flow.refused(status);
        self.close();
        if let Phase::Closing(stream, _) = &mut self.phase {
            // As far as it takes it: there is nothing to keep the rest in.
            let _ = Pin::new(stream).poll_write(cx, NO_MEMORY);
        }
    }

    /// Gives hyper back. Whether the stream will wake us.
    fn rest(&mut self) -> bool {
        let rested = match self.leave() {
            Phase::Serving(http1) => http1.rest(),
            _ => None,
        };
        match rested {
            Some(io) => {
                let waits = io.waits();
                self.phase = Phase::Resting(io);
                waits
            }
            None => false,
        }
    }

    /// Begins to close the stream.
    fn close(&mut self) {
        let now = self.flow.now.get();
        let io = match self.leave() {
            Phase::Serving(http1) => http1.end(),
            Phase::Resting(io) => Some(io),
            phase => {
                self.phase = phase;
                return;
            }
        };
        if let Some(io) = io {
            self.phase = Phase::Closing(io.into_stream(), now);
        }
    }

    /// Finishes the request it is in, if any, and closes.
    fn shut_down(&mut self) {
        match &mut self.phase {
            Phase::Serving(http1) => http1.shut_down(),
            Phase::Resting(_) => self.close(),
            Phase::Closing(..) | Phase::Over => {}
        }
    }

    fn deadline(&self) -> (Instant, Limit) {
        let flow = &self.flow;
        let limits = &flow.shared.options.limits;
        if let Phase::Closing(_, since) = &self.phase {
            return (*since + limits.write_stall, Limit::Close);
        }
        if let Some((since, _)) = flow.blocked.get() {
            return (since + limits.write_stall, Limit::Write);
        }
        if let Some(until) = flow.wait_until.get() {
            return (until, Limit::Wait);
        }
        if let Some(since) = flow.head_since.get() {
            return (since + limits.head, Limit::Head);
        }
        let first = flow.octets_in.get() == 0;
        let limit = if first {
            limits.first_octet
        } else {
            limits.keep_alive
        };
        (flow.active.get() + limit, Limit::Idle)
    }

    /// `limit` has passed. `true` if that ends the connection.
    fn pass(&mut self, limit: Limit) -> bool {
        add(&self.flow.local.thread.counters.timeouts, 1);
        match limit {
            Limit::Wait => {
                self.flow.wait_until.set(None);
                self.flow.expired.set(true);
                false
            }
            Limit::Head if !self.flow.head_late.get() => {
                self.flow.head_late.set(true);
                false
            }
            Limit::Idle => {
                self.shut_down();
                // Should hyper not think itself idle, it is given up.
                self.flow.active.set(self.flow.now.get());
                std::mem::replace(&mut self.drained, true)
            }
            Limit::Head | Limit::Write | Limit::Close => true,
        }
    }

    /// Sleeps until `deadline`, or earlier. `false` if that is already over.
    fn arm(&mut self, cx: &mut Context<'_>, deadline: Instant, waker_changed: bool) -> bool {
        let now = self.flow.now.get();
        match &mut self.sleep {
            Some(_) if self.armed <= deadline && self.armed > now && !waker_changed => return true,
            Some(sleep) => {
                if self.armed > deadline || self.armed <= now {
                    self.timer.reset(sleep, deadline);
                    self.armed = deadline;
                }
            }
            None => {
                self.sleep = Some(self.timer.sleep_until(deadline));
                self.armed = deadline;
            }
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx).is_pending(),
            None => true,
        }
    }

    /// Keeps the thread's list of wakers right.
    fn enlist(&mut self, waker: &Waker) -> bool {
        if self
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            return false;
        }
        self.flow.local.thread.enlist(self.number, waker.clone());
        self.waker = Some(waker.clone());
        true
    }
}

impl<S, T> Connection<S, T>
where
    S: Stream + Unpin + 'static,
{
    /// Takes the phase out, for another.
    fn leave(&mut self) -> Phase<S> {
        std::mem::replace(&mut self.phase, Phase::Over)
    }

    /// Adds what moved since the last time to the thread's counters.
    fn count(&mut self) {
        let counters = &self.flow.local.thread.counters;
        let now = (self.flow.octets_in.get(), self.flow.octets_out.get());
        if now != self.counted {
            add(&counters.octets_in, now.0.wrapping_sub(self.counted.0));
            add(&counters.octets_out, now.1.wrapping_sub(self.counted.1));
            self.counted = now;
        }
    }
}

impl<S, T> Future for Connection<S, T>
where
    S: Stream + Unpin + 'static,
    T: Timer + Clone + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let connection = &mut *self;
        connection.flow.now.set(connection.timer.now());
        let over = loop {
            if connection.run(cx).is_ready() {
                break true;
            }
            let (deadline, limit) = connection.deadline();
            if connection.flow.now.get() >= deadline {
                if connection.pass(limit) {
                    break true;
                }
                continue;
            }
            let waker_changed = connection.enlist(cx.waker());
            if connection.arm(cx, deadline, waker_changed) {
                break false;
            }
            connection.flow.now.set(connection.timer.now());
        };
        connection.count();
        if !over {
            return Poll::Pending;
        }
        connection.flow.end();
        drop(connection.leave());
        Poll::Ready(())
    }
}

impl<S, T> Drop for Connection<S, T>
where
    S: Stream + Unpin + 'static,
{
    fn drop(&mut self) {
        self.flow.end(); // before the rest of its body goes
        drop(self.leave());
        self.count();
        let thread = &self.flow.local.thread;
        add(&thread.counters.closed, 1);
        if self.waker.is_some() {
            thread.strike(self.number);
        }
    }
}

impl<S, T> fmt::Debug for Connection<S, T>
where
    S: Stream + Unpin + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("flow", &self.flow)
            .finish_non_exhaustive()
    }
}
