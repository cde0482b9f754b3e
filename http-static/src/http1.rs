//! hyper, lent to one connection after the other.
//!
//! What hyper has for a connection, its buffers above all, is several times what the connection
//! itself needs, and most connections are idle most of the time. So hyper is lent: a connection
//! takes a seat when a head is whole, and leaves when everything it asked for is answered. The next
//! one, usually of the same batch, finds all of hyper's memory in the processor's cache; a thread
//! that serves thousands of connections has one hyper.
//!
//! # Nothing of one connection is left for the next
//! hyper between two requests differs from a new one in octets it has read and not used. There are
//! none: [`Io`] hands it whole heads, and what [`HeadScanner`](crate::head::HeadScanner) takes for
//! the end of a head is the first empty line, which ends it for hyper, too (`http_head` fuzzes
//! this); a connection leaves its seat to another only when each of those heads became a request,
//! none had a body, and the last was answered to its end. It also remembers the version of the last
//! head, which a 400 of its own is written in, and that another protocol was asked for: only after
//! HTTP/1.1 without `Upgrade` is it lent on. After anything else hyper is taken apart, or goes with
//! the connection.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;

use crate::flow::Flow;
use crate::io::Io;
use crate::serve::Serve;
use crate::stats::add;
use crate::stream::Stream;

/// hypers a thread keeps for later, of some 20 KiB each: more are needed at once only while as many
/// responses wait for their peers or for a loader.
pub(crate) const SPARES_MAX: usize = 16;

/// hyper, and the seat from which it serves.
pub(crate) struct Http1<S>
where
    S: Stream + Unpin + 'static,
{
    hyper: Box<http1::Connection<Place<S>, Serve<S>>>,
    seat: Rc<Seat<S>>,
}

/// Whom hyper serves.
pub(crate) struct Seat<S>(RefCell<Option<Box<Io<S>>>>);

/// The stream of whoever has the seat.
pub(crate) struct Place<S>(Rc<Seat<S>>);

/// hypers nobody needs at the moment, the last used first; for whatever stream they are.
#[derive(Default)]
pub(crate) struct Spares(RefCell<Option<Box<dyn Any>>>);

impl<S> Http1<S>
where
    S: Stream + Unpin + 'static,
{
    /// A hyper that serves `io`.
    pub(crate) fn serving(io: Box<Io<S>>) -> Self {
        let flow = Rc::clone(io.flow());
        let spare = flow.local.spares.take();
        let http1 = spare.unwrap_or_else(|| {
            add(&flow.local.thread.counters.http1_made, 1);
            let seat = Rc::new(Seat(RefCell::new(None)));
            let serve = Serve {
                seat: Rc::clone(&seat),
            };
            let place = Place(Rc::clone(&seat));
            let hyper = Box::new(flow.shared.http.serve_connection(place, serve));
            Self { hyper, seat }
        });
        http1.seat.0.replace(Some(io));
        http1
    }

    /// Runs hyper as far as it gets. Ready when the connection is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        if let Some(io) = self.seat.0.borrow_mut().as_mut() {
            io.begin_poll();
        }
        let over = self.hyper.poll_without_shutdown(cx);
        if let Some(io) = self.seat.0.borrow_mut().as_mut() {
            io.end_poll();
        }
        over
    }

    /// Finishes the request it is in, if any; then it is over.
    pub(crate) fn shut_down(&mut self) {
        Pin::new(&mut *self.hyper).graceful_shutdown();
    }

    /// Whether everything that was asked is answered.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.seat
            .0
            .borrow()
            .as_ref()
            .is_some_and(|io| io.is_at_rest())
    }

    /// The connection leaves, at rest: with what hyper has read of it and not used.
    pub(crate) fn rest(self) -> Option<Box<Io<S>>> {
        let mut io = self.seat.0.take()?;
        let mut left = None;
        if io.leaves_no_trace() {
            let local = Rc::clone(&io.flow().local);
            local.spares.put(self);
        } else {
            left = Some(self.hyper.into_parts().read_buf);
        }
        io.rest(left.as_deref().unwrap_or_default());
        Some(io)
    }

    /// The connection leaves, and takes hyper down with it.
    pub(crate) fn end(self) -> Option<Box<Io<S>>> {
        self.seat.0.take()
    }
}

impl<S> Seat<S> {
    /// The connection that has the seat. hyper calls nobody while it is empty.
    pub(crate) fn flow(&self) -> Option<Rc<Flow>> {
        self.0.borrow().as_ref().map(|io| Rc::clone(io.flow()))
    }
}

impl Spares {
    /// The one used last.
    fn take<S>(&self) -> Option<Http1<S>>
    where
        S: Stream + Unpin + 'static,
    {
        let mut spares = self.0.borrow_mut();
        spares.as_mut()?.downcast_mut::<Vec<Http1<S>>>()?.pop()
    }

    fn put<S>(&self, http1: Http1<S>)
    where
        S: Stream + Unpin + 'static,
    {
        let mut spares = self.0.borrow_mut();
        let spares = spares.get_or_insert_with(|| Box::new(Vec::<Http1<S>>::new()));
        if let Some(spares) = spares.downcast_mut::<Vec<Http1<S>>>()
            && spares.len() < SPARES_MAX
        {
            spares.push(http1);
        }
    }
}

impl fmt::Debug for Spares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spares").finish_non_exhaustive()
    }
}

impl<S: Stream + Unpin> Place<S> {
    /// An empty seat is one whose stream has nothing to say.
    fn with<R>(&self, act: impl FnOnce(Pin<&mut Io<S>>) -> Poll<R>) -> Poll<R> {
        match self.0.0.borrow_mut().as_mut() {
            Some(io) => act(Pin::new(&mut **io)),
            None => Poll::Pending,
        }
    }
}

impl<S: Stream + Unpin> Read for Place<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|io| io.poll_read(cx, room))
    }
}

impl<S: Stream + Unpin> Write for Place<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with(|io| io.poll_write(cx, octets))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|io| io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|io| io.poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|io| io.poll_write_vectored(cx, pieces))
    }
}
