//! A byte stream as hyper wants it, with the head check in between.
//!
//! Reads go through [`HeadScanner`]: hyper gets whole heads, and bodies as they come. A head that
//! is refused, or not whole in time, is replaced by one without a `Host`, so that nothing could be
//! served for it, and its number and fault are noted in [`Flow::fault`]; the service answers it
//! like any other, after all requests before it, and closes. Writes pass through, vectored.

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
const EMPTY_LINES_MAX: u32 = 4;

/// What the next octet of the stream is.
#[derive(Debug)]
enum Next {
    /// Of a head, after this many empty lines.
    Head(u32),
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
    end: bool,
    footprint: Footprint,
    /// Octets the stream was told of last.
    told: usize,
}

impl<S> Io<S> {
    pub(crate) fn new(stream: S, flow: Rc<Flow>) -> Self {
        Self {
            stream,
            flow,
            next: Next::Head(0),
            scanner: HeadScanner::default(),
            held: Vec::new(),
            checked: 0,
            end: false,
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

    /// hyper has gone; `octets` are what it has read and not used.
    pub(crate) fn rest(&mut self, octets: &[u8])
    where
        S: Stream,
    {
        self.held.splice(..0, octets.iter().copied());
        self.checked += octets.len();
        self.footprint.rest();
        // Less than before, which cannot be refused.
        let _ = self.tell(0);
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
                Next::Head(skipped) => {
                    if rest.starts_with(b"\r\n") && *skipped < EMPTY_LINES_MAX {
                        // Handed on: hyper skips them too.
                        *skipped += 1;
                        at += 2;
                        continue;
                    }
                    if rest == b"\r" {
                        return Ok(at);
                    }
                    match self.scanner.scan(rest, &self.flow.shared.options.limits) {
                        Scan::Partial => return Ok(at),
                        Scan::Fault(fault) => return Err((at, fault)),
                        Scan::Complete { len, framing } => {
                            self.footprint.saw_head(len, self.scanner.lines());
                            self.scanner = HeadScanner::default();
                            self.flow.heads.set(self.flow.heads.get().saturating_add(1));
                            self.next = match framing {
                                Framing::Length(0) => Next::Head(0),
                                Framing::Length(length) => Next::Body(length),
                                Framing::Chunked => Next::Rest,
                            };
                            at += len;
                        }
                    }
                }
                Next::Body(left) => {
                    let take = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= take as u64;
                    if *left == 0 {
                        self.next = Next::Head(0);
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
        let partial = self.held.len() > self.checked;
        let since = self.flow.head_since.get().filter(|_| self.checked == 0);
        self.flow
            .head_since
            .set(partial.then(|| since.unwrap_or_else(|| self.flow.now.get())));
    }

    /// Puts a head that can only be refused in place of the one begun.
    fn refuse(&mut self, fault: Fault) {
        let is_head = self.held[self.checked..].starts_with(b"HEAD ");
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
        if matches!(self.next, Next::Head(_)) {
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
    /// Ready when there is something for hyper to read: octets, the end, or a head to refuse. An
    /// error when there is no memory for what has come.
    pub(crate) fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.flow.head_late.take() {
            self.time_out();
        }
        while self.checked == 0 && !self.end {
            let mut scratch = self.flow.local.scratch();
            let room = &mut scratch[..self.read_max()];
            let read = Pin::new(&mut self.stream).poll_read(cx, room);
            let mut held = Ok(());
            if let Poll::Ready(Ok(octets)) = read {
                let fresh = &scratch[..octets.min(scratch.len())];
                if fresh.is_empty() {
                    self.end = true;
                } else {
                    self.read_octets(octets);
                    held = self.hold(fresh);
                    self.check_held();
                }
            }
            self.flow.local.return_scratch(scratch);
            held?;
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(_)) => {}
                // It comes again when hyper reads.
                Poll::Ready(Err(_)) => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn read_octets(&self, octets: usize) {
        let flow = &self.flow;
        flow.octets_in
            .set(flow.octets_in.get().wrapping_add(octets as u64));
        flow.active.set(flow.now.get());
    }
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
            let mut scratch = io.flow.local.scratch();
            let most = io.read_max();
            let read = Pin::new(&mut io.stream).poll_read(cx, &mut scratch[..most]);
            let Poll::Ready(Ok(octets)) = read else {
                io.flow.local.return_scratch(scratch);
                return read.map_ok(|_| ());
            };
            let fresh = &scratch[..octets.min(scratch.len())];
            if fresh.is_empty() {
                io.end = true;
            } else {
                io.read_octets(octets);
                if io.held.is_empty() {
                    // The usual case copies once: what is checked goes straight to hyper.
                    let most = room.remaining().min(HAND_MAX);
                    match io.check(fresh) {
                        Ok(checked) if checked == fresh.len() && checked <= most => {
                            let told = io.tell(0);
                            if told.is_ok() {
                                room.put_slice(fresh);
                            }
                            io.flow.local.return_scratch(scratch);
                            return Poll::Ready(told);
                        }
                        Ok(checked) => {
                            io.hold(fresh)?;
                            io.checked = checked;
                        }
                        Err((checked, fault)) => {
                            io.hold(fresh)?;
                            io.checked = checked;
                            io.refuse(fault);
                        }
                    }
                    if io.held.len() > io.checked {
                        io.flow.head_since.set(Some(io.flow.now.get()));
                    }
                } else {
                    io.hold(fresh)?;
                    io.check_held();
                }
            }
            io.flow.local.return_scratch(scratch);
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
