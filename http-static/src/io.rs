//! A byte stream as hyper wants it, with the head check in between.
//!
//! Reads go through [`HeadScanner`]: hyper gets whole heads, and bodies as they come. A head that
//! is refused, or not whole in time, is replaced by one without a `Host`, so that nothing could be
//! served for it, and its number and fault are noted in [`Flow::fault`]; the service answers it
//! like any other, after all requests before it, and closes. Writes pass through, vectored.
//!
//! Empty lines are handed on with the head they precede, or not at all: hyper keeps nothing between
//! requests.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::Stream;
use crate::flow::Flow;
use crate::footprint::{Footprint, HAND_MAX};
use crate::head::{Fault, Framing, HeadScanner, Scan};

/// Octets read from the stream at once.
pub(crate) const READ_MAX: usize = 16 << 10;

/// Empty lines skipped before a request line (RFC 9112, 2.2).
const EMPTY_LINES_MAX: usize = 4;

/// What the next octet of the stream is.
#[derive(Debug)]
enum Next {
    /// Of a head, or of an empty line in front of it.
    Head,
    /// Of a body with this many octets to come.
    Body(u64),
    /// Of a chunked body, or whatever follows it; hyper reads it and then closes.
    Rest,
    /// Of no interest: the last head was refused.
    Refused,
}

/// A stream between hyper and its owner.
#[derive(Debug)]
pub(crate) struct Io<S> {
    stream: S,
    flow: Rc<Flow>,
    next: Next,
    scanner: HeadScanner,
    /// Octets read and not yet handed on.
    held: Vec<u8>,
    /// Octets of `held` that are checked and may be handed on.
    checked: usize,
    /// Octets that may be handed on and lie in the thread's scratch buffer: until the end of this
    /// poll.
    lent: usize,
    end: bool,
    /// The stream was asked in this poll and will wake us.
    waits: bool,
    /// hyper was handed a body.
    had_body: bool,
    footprint: Footprint,
    /// Octets the stream was told of last.
    told: usize,
}

impl<S> Io<S> {
    pub(crate) fn new(stream: S, flow: Rc<Flow>) -> Self {
        Self {
            stream,
            flow,
            next: Next::Head,
            scanner: HeadScanner::default(),
            held: Vec::new(),
            checked: 0,
            lent: 0,
            end: false,
            waits: false,
            had_body: false,
            footprint: Footprint::default(),
            told: 0,
        }
    }

    pub(crate) fn into_stream(mut self) -> S
    where
        S: Stream,
    {
        self.stream.keep(0);
        self.stream
    }

    pub(crate) fn flow(&self) -> &Rc<Flow> {
        &self.flow
    }

    /// hyper has gone; `octets` are what it has read and not used.
    pub(crate) fn rest(&mut self, octets: &[u8])
    where
        S: Stream,
    {
        if !octets.is_empty() {
            self.held.splice(..0, octets.iter().copied());
            self.checked += octets.len();
        }
        self.had_body = false;
        self.flow.marked.set(false);
        self.footprint.rest();
        // Less than before, which cannot be refused.
        let _ = self.tell(0);
    }

    /// Whether every head that came whole was answered to its end, and nothing is left to hand on.
    pub(crate) fn is_at_rest(&self) -> bool {
        let nothing = self.checked == 0 && self.lent == 0 && !self.end;
        nothing && matches!(self.next, Next::Head) && self.flow.is_at_rest()
    }

    /// Whether hyper, once at rest, is as good as new: it has read nothing but heads, no large
    /// ones, and none it remembers.
    pub(crate) fn leaves_no_trace(&self) -> bool {
        !self.had_body && !self.flow.marked.get() && !self.footprint.has_grown()
    }

    /// Whether there is something for hyper to read.
    pub(crate) fn has_checked(&self) -> bool {
        self.checked > 0 || self.lent > 0
    }

    /// Whether the stream will wake whoever polled.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// hyper is about to be polled.
    pub(crate) fn begin_poll(&mut self) {
        self.waits = false;
    }

    /// hyper was polled: what it has not read is kept, as others may use the scratch buffer now.
    pub(crate) fn end_poll(&mut self)
    where
        S: Stream,
    {
        if self.lent > 0 {
            let scratch = self.flow.local.scratch();
            let lent = std::mem::take(&mut self.lent);
            match self.hold(&scratch[..lent]) {
                Ok(()) => self.checked += lent,
                Err(_) => self.end = true,
            }
            self.flow.local.return_scratch(scratch);
        }
    }

    /// hyper is about to come; whether there is memory for it.
    pub(crate) fn rouse(&mut self) -> bool
    where
        S: Stream,
    {
        self.footprint.serve();
        self.tell(0).is_ok()
    }

    /// Tells the stream what memory is kept when `more` octets are held.
    fn tell(&mut self, more: usize) -> io::Result<()>
    where
        S: Stream,
    {
        let held = match self.held.len() + more {
            0 => 0,
            need => need.next_power_of_two().max(self.held.capacity()),
        };
        let octets = self.footprint.octets(held);
        if octets != self.told {
            if !self.stream.keep(octets) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.told = octets;
        }
        Ok(())
    }

    /// Holds `fresh` octets, too.
    fn hold(&mut self, fresh: &[u8]) -> io::Result<()>
    where
        S: Stream,
    {
        self.tell(fresh.len())?;
        let need = self.held.len() + fresh.len();
        if need > self.held.capacity() {
            self.held
                .reserve_exact(need.next_power_of_two() - self.held.len());
        }
        self.held.extend_from_slice(fresh);
        Ok(())
    }

    /// Octets to read at once: no more of a head than may be.
    fn read_max(&self) -> usize {
        if self.held.is_empty() {
            return READ_MAX;
        }
        let most = self.flow.shared.options.limits.head_octets;
        most.saturating_sub(self.held.len()).clamp(1, READ_MAX)
    }

    /// Hands on what is checked, as far as there is room.
    fn hand_on(&mut self, room: &mut ReadBufCursor<'_>) {
        let take = self.checked.min(room.remaining()).min(HAND_MAX);
        room.put_slice(&self.held[..take]);
        self.checked -= take;
        if take == self.held.len() {
            // An idle connection keeps no buffer.
            self.held = Vec::new();
        } else {
            self.held.drain(..take);
        }
    }

    /// How many of `octets`, which follow what was checked, may be handed on.
    fn check(&mut self, octets: &[u8]) -> Result<usize, (usize, Fault)> {
        let mut at = 0;
        while at < octets.len() {
            let rest = &octets[at..];
            match &mut self.next {
                Next::Head => {
                    let head = &rest[empty_lines(rest)..];
                    if !begins(head) {
                        return Ok(at);
                    }
                    match self.scanner.scan(head, &self.flow.shared.options.limits) {
                        Scan::Partial => return Ok(at),
                        Scan::Fault(fault) => return Err((at, fault)),
                        Scan::Complete { len, framing } => {
                            self.footprint.saw_head(len, self.scanner.lines());
                            self.scanner = HeadScanner::default();
                            self.flow.heads.set(self.flow.heads.get().saturating_add(1));
                            self.next = match framing {
                                Framing::Length(0) => Next::Head,
                                Framing::Length(length) => Next::Body(length),
                                Framing::Chunked => Next::Rest,
                            };
                            self.had_body |= !matches!(self.next, Next::Head);
                            at += rest.len() - head.len() + len;
                        }
                    }
                }
                Next::Body(left) => {
                    let take = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= take as u64;
                    if *left == 0 {
                        self.next = Next::Head;
                    }
                    at += take;
                }
                Next::Rest => return Ok(octets.len()),
                Next::Refused => return Ok(at),
            }
        }
        Ok(at)
    }

    /// Checks what is held and not yet checked.
    fn check_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        let checked = self.check(&held[self.checked..]);
        self.held = held;
        match checked {
            Ok(more) => self.checked += more,
            Err((more, fault)) => {
                self.checked += more;
                self.refuse(fault);
            }
        }
        let partial = self.has_begun();
        let since = self.flow.head_since.get().filter(|_| self.checked == 0);
        self.flow
            .head_since
            .set(partial.then(|| since.unwrap_or_else(|| self.flow.now.get())));
    }

    /// Whether a head is here in part; empty lines are not.
    fn has_begun(&self) -> bool {
        let rest = &self.held[self.checked..];
        begins(&rest[empty_lines(rest)..])
    }

    /// Puts a head that can only be refused in place of the one begun.
    fn refuse(&mut self, fault: Fault) {
        let rest = &self.held[self.checked..];
        let is_head = rest[empty_lines(rest)..].starts_with(b"HEAD ");
        self.held.truncate(self.checked);
        let replacement: &[u8] = if is_head {
            b"HEAD / HTTP/1.1\r\n\r\n"
        } else {
            b"GET / HTTP/1.1\r\n\r\n"
        };
        self.held.extend_from_slice(replacement);
        self.checked = self.held.len();
        self.next = Next::Refused;
        let number = self.flow.heads.get().saturating_add(1);
        self.flow.heads.set(number);
        self.flow.fault.set(Some((number, fault)));
    }

    /// The head begun was not whole in time.
    fn time_out(&mut self) {
        self.flow.head_since.set(None);
        if matches!(self.next, Next::Head) {
            self.refuse(Fault::Timeout);
        }
    }

    fn wrote(&self, octets: usize) {
        let flow = &self.flow;
        flow.octets_out
            .set(flow.octets_out.get().wrapping_add(octets as u64));
        flow.active.set(flow.now.get());
        flow.wrote_response();
        if let Some((_, before)) = flow.blocked.get() {
            let taken = flow.octets_out.get().wrapping_sub(before);
            if taken >= flow.shared.options.limits.write_octets {
                flow.blocked.set(None);
            }
        }
    }

    fn count_write(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(octets)) => self.wrote(*octets),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.blocked(),
        }
        written
    }

    /// Counts what hyper has to write. Its heads come first, and are the one thing large enough to
    /// count that is not shared.
    fn see_write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()>
    where
        S: Stream,
    {
        if let Some(first) = pieces.first().filter(|piece| piece.len() > HAND_MAX) {
            let sharing = self.flow.sharing.borrow();
            let at = first.as_ptr();
            if !sharing
                .iter()
                .any(|owner| owner.as_ptr_range().contains(&at))
            {
                self.footprint.saw_written(first.len());
            }
        }
        self.footprint.saw_streaming(self.flow.streaming.get());
        self.tell(0)
    }

    fn blocked(&self) {
        if self.flow.blocked.get().is_none() {
            self.flow
                .blocked
                .set(Some((self.flow.now.get(), self.flow.octets_out.get())));
        }
    }
}

impl<S: Stream + Unpin> Io<S> {
    /// Ready when there is something for hyper to read, or nothing will be any more. An error when
    /// there is no memory for what has come.
    pub(crate) fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.flow.head_late.take() {
            self.time_out();
        }
        while !self.has_checked() && !self.end {
            match ready!(self.poll_fresh(cx)) {
                Fresh::Taken(taken) => taken?,
                Fresh::Failed(_) => self.end = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads from the stream, checks what came, and keeps it: where it was read to if that will do.
    fn poll_fresh(&mut self, cx: &mut Context<'_>) -> Poll<Fresh> {
        let mut scratch = self.flow.local.scratch();
        let room = &mut scratch[..self.read_max()];
        let read = Pin::new(&mut self.stream).poll_read(cx, room);
        self.waits = read.is_pending();
        let fresh = read.map(|read| match read {
            Ok(octets) => Fresh::Taken(self.take(&scratch[..octets.min(scratch.len())])),
            Err(error) => Fresh::Failed(error),
        });
        self.flow.local.return_scratch(scratch);
        fresh
    }

    fn take(&mut self, fresh: &[u8]) -> io::Result<()> {
        if fresh.is_empty() {
            self.end = true;
            return Ok(());
        }
        let flow = &self.flow;
        let octets = fresh.len() as u64;
        flow.octets_in
            .set(flow.octets_in.get().wrapping_add(octets));
        flow.active.set(flow.now.get());
        if !self.held.is_empty() {
            self.hold(fresh)?;
            self.check_held();
            return Ok(());
        }
        match self.check(fresh) {
            // The usual case copies once: what is checked goes straight to hyper.
            Ok(checked) if checked == fresh.len() && checked <= HAND_MAX => {
                self.lent = checked;
                return Ok(());
            }
            Ok(checked) => {
                self.hold(fresh)?;
                self.checked = checked;
            }
            Err((checked, fault)) => {
                self.hold(fresh)?;
                self.checked = checked;
                self.refuse(fault);
            }
        }
        if self.has_begun() {
            self.flow.head_since.set(Some(self.flow.now.get()));
        }
        Ok(())
    }

    /// Hands on what lies in the scratch buffer.
    fn hand_on_lent(&mut self, room: &mut ReadBufCursor<'_>) -> io::Result<()> {
        let scratch = self.flow.local.scratch();
        let lent = std::mem::take(&mut self.lent);
        let (now, later) = scratch[..lent].split_at(lent.min(room.remaining()));
        room.put_slice(now);
        let mut held = Ok(());
        if !later.is_empty() {
            held = self.hold(later);
            self.checked = later.len();
        }
        self.flow.local.return_scratch(scratch);
        held
    }
}

/// What reading brought.
enum Fresh {
    /// Something, or the end; kept, if there is memory for it.
    Taken(io::Result<()>),
    Failed(io::Error),
}

/// Octets of empty lines that `octets` begins with, as far as they are skipped.
fn empty_lines(octets: &[u8]) -> usize {
    let lines = octets.chunks_exact(2).take(EMPTY_LINES_MAX);
    2 * lines.take_while(|line| line == b"\r\n").count()
}

/// Whether what follows empty lines is of a head, and not of one more of them.
fn begins(head: &[u8]) -> bool {
    !matches!(head, b"" | b"\r")
}

impl<S: Stream + Unpin> Read for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let io = &mut *self;
        loop {
            if io.flow.head_late.take() {
                io.time_out();
            }
            if io.lent > 0 {
                io.tell(0)?;
                return Poll::Ready(io.hand_on_lent(&mut room));
            }
            if io.checked > 0 {
                io.tell(0)?;
                io.hand_on(&mut room);
                return Poll::Ready(Ok(()));
            }
            if matches!(io.next, Next::Refused) {
                return Poll::Pending;
            }
            if io.end {
                return Poll::Ready(Ok(()));
            }
            match ready!(io.poll_fresh(cx)) {
                Fresh::Taken(taken) => taken?,
                Fresh::Failed(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl<S: Stream + Unpin> Write for Io<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, octets);
        self.count_write(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes only when it has nothing left to write.
        self.flow.flushed();
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => {
                self.blocked();
                Poll::Pending
            }
            Poll::Ready(flushed) => {
                self.flow.written();
                Poll::Ready(flushed)
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_close(cx))?;
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io = &mut *self;
        io.see_write(pieces)?;
        let sharing = io.flow.sharing.borrow();
        let written = Pin::new(&mut io.stream).poll_write_shared(cx, pieces, &sharing);
        drop(sharing);
        self.count_write(written)
    }
}
