//! A connection in memory and a clock moved by hand, for tests and benches.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Sleep, Timer};

#[derive(Debug, Default)]
struct Wire {
    to_server: Vec<u8>,
    /// Octets of `to_server` already read.
    read: usize,
    to_client: Vec<u8>,
    /// Octets written that need not have been copied.
    shared: usize,
    /// Octets `to_client` may hold; writes beyond it wait.
    room: Option<usize>,
    /// Octets the server says it keeps, and may.
    kept: usize,
    keep_max: Option<usize>,
    half_closed: bool,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The server's end of a connection in memory.
#[derive(Debug)]
pub struct Stream(Rc<RefCell<Wire>>);

/// The client's end of a connection in memory. Never blocks.
#[derive(Clone, Debug)]
pub struct Client(Rc<RefCell<Wire>>);

/// A connection in memory, without bound on what is under way.
pub fn duplex() -> (Client, Stream) {
    let wire = Rc::new(RefCell::new(Wire::default()));
    (Client(Rc::clone(&wire)), Stream(wire))
}

impl Client {
    /// Sends octets to the server.
    pub fn send(&self, octets: &[u8]) {
        let mut wire = self.0.borrow_mut();
        wire.to_server.extend_from_slice(octets);
        if let Some(waker) = wire.reader.take() {
            waker.wake();
        }
    }

    /// Sends no more.
    pub fn half_close(&self) {
        let mut wire = self.0.borrow_mut();
        wire.half_closed = true;
        if let Some(waker) = wire.reader.take() {
            waker.wake();
        }
    }

    /// Lets at most `octets` be under way to this client; `None` for any number.
    pub fn set_room(&self, octets: Option<usize>) {
        let mut wire = self.0.borrow_mut();
        wire.room = octets;
        if let Some(waker) = wire.writer.take() {
            waker.wake();
        }
    }

    /// Takes what the server sent, replacing what `octets` held.
    pub fn receive_into(&self, octets: &mut Vec<u8>) {
        octets.clear();
        let mut wire = self.0.borrow_mut();
        std::mem::swap(octets, &mut wire.to_client);
        if let Some(waker) = wire.writer.take() {
            waker.wake();
        }
    }

    /// Takes what the server sent.
    pub fn receive(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        self.receive_into(&mut octets);
        octets
    }

    /// Octets the server offered to share, of all it sent.
    pub fn shared(&self) -> usize {
        self.0.borrow().shared
    }

    /// Lets the server keep at most `octets` of memory for this connection; `None` for any number.
    pub fn set_keep(&self, octets: Option<usize>) {
        self.0.borrow_mut().keep_max = octets;
    }

    /// Octets of memory the server says it keeps for this connection.
    pub fn kept(&self) -> usize {
        self.0.borrow().kept
    }

    /// The server closed its end, or dropped it.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.borrow_mut().closed = true;
    }
}

impl crate::Stream for Stream {
    fn poll_write_shared(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
        shared: &[Bytes],
    ) -> Poll<io::Result<usize>> {
        let wire = Rc::clone(&self.0);
        let written = self.poll_write_vectored(cx, pieces);
        if let Poll::Ready(Ok(mut left)) = written {
            for piece in pieces {
                let part = &piece[..left.min(piece.len())];
                left -= part.len();
                let inside = |owner: &Bytes| owner.as_ptr_range().contains(&part.as_ptr());
                if shared.iter().any(inside) {
                    wire.borrow_mut().shared += part.len();
                }
            }
        }
        written
    }

    fn keep(&mut self, octets: usize) -> bool {
        let mut wire = self.0.borrow_mut();
        let fits = octets <= wire.kept || wire.keep_max.is_none_or(|max| octets <= max);
        if fits {
            wire.kept = octets;
        }
        fits
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        let Wire {
            to_server, read, ..
        } = &mut *wire;
        let take = octets.len().min(to_server.len() - *read);
        if take == 0 {
            if wire.half_closed {
                return Poll::Ready(Ok(0));
            }
            wire.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        octets[..take].copy_from_slice(&to_server[*read..*read + take]);
        *read += take;
        if *read == to_server.len() {
            to_server.clear();
            *read = 0;
        }
        Poll::Ready(Ok(take))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(octets)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        let mut room = wire
            .room
            .map_or(usize::MAX, |room| room.saturating_sub(wire.to_client.len()));
        if room == 0 {
            wire.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = wire.to_client.len();
        for piece in pieces {
            let take = piece.len().min(room);
            wire.to_client.extend_from_slice(&piece[..take]);
            room -= take;
        }
        Poll::Ready(Ok(wire.to_client.len() - before))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().closed = true;
        Poll::Ready(Ok(()))
    }
}

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualTimer(Arc<Mutex<Clock>>);

#[derive(Debug)]
struct Clock {
    now: Instant,
    sleepers: Vec<(Instant, Waker)>,
    sleeps: u64,
}

impl ManualTimer {
    /// Moves the clock on and wakes whose time has come.
    pub fn advance(&self, by: Duration) {
        let mut clock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clock.now += by;
        let now = clock.now;
        let due: Vec<_> = clock
            .sleepers
            .extract_if(.., |(deadline, _)| *deadline <= now)
            .collect();
        drop(clock);
        for (_, waker) in due {
            waker.wake();
        }
    }

    /// Sleeps asked for so far.
    pub fn sleeps(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sleeps
    }
}

impl Default for ManualTimer {
    fn default() -> Self {
        let clock = Clock {
            now: Instant::now(),
            sleepers: Vec::new(),
            sleeps: 0,
        };
        Self(Arc::new(Mutex::new(clock)))
    }
}

impl Timer for ManualTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sleeps += 1;
        Box::pin(ManualSleep {
            clock: Arc::clone(&self.0),
            deadline,
        })
    }

    fn now(&self) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now
    }
}

#[derive(Debug)]
struct ManualSleep {
    clock: Arc<Mutex<Clock>>,
    deadline: Instant,
}

impl Sleep for ManualSleep {}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if clock.now >= self.deadline {
            return Poll::Ready(());
        }
        clock.sleepers.push((self.deadline, cx.waker().clone()));
        Poll::Pending
    }
}

/// A waker for futures polled by hand; [`wait`](Self::wait) sleeps until it is woken.
#[derive(Debug, Default)]
pub struct Alarm {
    woken: Mutex<bool>,
    bell: Condvar,
}

impl Alarm {
    /// Waits until woken since the last wait, at most `limit`; `false` if that passed.
    pub fn wait(&self, limit: Duration) -> bool {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut woken, _) = self
            .bell
            .wait_timeout_while(woken, limit, |woken| !*woken)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *woken)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_one();
    }
}
