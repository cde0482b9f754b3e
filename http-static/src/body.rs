//! Response bodies: nothing, something in memory, or a file streamed part by part.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

use bytes::Buf;
use futures_channel::oneshot;
use http_body::{Body, Frame, SizeHint};

use crate::files::OpenFile;
use crate::flow::Flow;
use crate::loader::Job;
use crate::memory::{Contents, Piece};
use crate::respond::Span;

/// Octets of a streamed file read at once. A connection holds at most three such parts: one at
/// hyper, one read ahead, and what is left of one being written.
///
/// What is in the page cache is read when it is needed, right into the processor's cache and out
/// again; all else is read by the loaders.
pub(crate) const PART: usize = 256 << 10;

/// Octets read at once while [`stream_memory`](crate::Limits::stream_memory) is used up.
pub(crate) const SMALL_PART: usize = 16 << 10;

/// The body of a response.
pub(crate) struct FileBody(Source);

enum Source {
    Empty,
    Whole(Piece),
    Stream(Box<Stream>),
}

struct Stream {
    flow: Rc<Flow>,
    file: Arc<OpenFile>,
    /// Where the next read begins.
    at: u64,
    end: u64,
    /// Octets not yet handed to hyper.
    left: u64,
    read: Option<oneshot::Receiver<io::Result<Arc<Contents>>>>,
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileBody").field(&self.length()).finish()
    }
}

impl FileBody {
    pub(crate) fn empty() -> Self {
        Self(Source::Empty)
    }

    pub(crate) fn whole(piece: Piece) -> Self {
        Self(if piece.has_remaining() {
            Source::Whole(piece)
        } else {
            Source::Empty
        })
    }

    /// The octets `at..end` of `file`.
    pub(crate) fn stream(flow: Rc<Flow>, file: Arc<OpenFile>, (at, end): Span) -> Self {
        let left = end.saturating_sub(at);
        if left == 0 {
            return Self::empty();
        }
        let stream = Box::new(Stream {
            flow,
            file,
            at,
            end,
            left,
            read: None,
        });
        stream.flow.streaming.set(true);
        Self(Source::Stream(stream))
    }

    pub(crate) fn length(&self) -> u64 {
        match &self.0 {
            Source::Empty => 0,
            Source::Whole(piece) => piece.remaining() as u64,
            Source::Stream(stream) => stream.left,
        }
    }
}

impl Stream {
    /// Asks for the next part. Ahead of need only as memory allows; when `needed`, a small one in
    /// any case, so that no stream waits for another's memory.
    fn read_on(&mut self, needed: bool) {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        if left == 0 {
            return;
        }
        let part = self.flow.shared.streams.take();
        if part.is_none() && !needed {
            return;
        }
        let octets = left.min(if part.is_some() { PART } else { SMALL_PART });
        let (answer, read) = oneshot::channel();
        let file = Arc::clone(&self.file);
        self.flow.shared.send(Job::Read {
            file,
            offset: self.at,
            octets,
            part,
            answer,
        });
        self.at += octets as u64;
        self.read = Some(read);
    }

    /// What the page cache has of the next part.
    fn read_cached(&mut self) -> Option<Arc<Contents>> {
        if self.file.may_wait() {
            return None;
        }
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let mut part = self.flow.shared.streams.take()?;
        let memory = part.octets_mut();
        let wanted = left.min(memory.len());
        let wanted = memory.get_mut(..wanted).unwrap_or(&mut []);
        let octets = self.file.read_cached(self.at, wanted);
        self.at += octets as u64;
        (octets > 0).then(|| Contents::part(part, octets))
    }

    /// Hands over what was read: all up to `at`.
    fn hand(&mut self, contents: Arc<Contents>) -> Poll<Option<io::Result<Piece>>> {
        self.left = self.end - self.at;
        self.flow.streaming.set(self.left > 0);
        self.flow.share(&contents);
        let len = contents.len();
        Poll::Ready(Some(Ok(Piece::file(contents, 0, len))))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Piece>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.read.is_none() {
            if let Some(contents) = self.read_cached() {
                return self.hand(contents);
            }
            self.read_on(true);
        }
        let Some(read) = &mut self.read else {
            return Poll::Ready(Some(Err(ended())));
        };
        match Pin::new(read).poll(cx) {
            Poll::Pending if self.flow.expired.get() => {
                Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
            }
            Poll::Pending => {
                self.flow.wait(self.flow.shared.options.limits.load);
                Poll::Pending
            }
            Poll::Ready(answer) => {
                self.flow.wait_over();
                self.read = None;
                let contents = answer.map_err(|_| ended()).flatten()?;
                let asked = self.left - (self.end - self.at);
                if contents.len() as u64 != asked {
                    // The file shrank: what was promised cannot be sent.
                    return Poll::Ready(Some(Err(ended())));
                }
                let handed = self.hand(contents);
                // The kernel reads ahead by itself where it can tell what it has read.
                if self.file.may_wait() {
                    self.read_on(false);
                }
                handed
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.flow.streaming.set(false);
    }
}

fn ended() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl Body for FileBody {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, io::Error>>> {
        let frame = match &mut self.0 {
            Source::Stream(stream) => stream.poll(cx),
            source => match std::mem::replace(source, Source::Empty) {
                Source::Whole(piece) => Poll::Ready(Some(Ok(piece))),
                _ => Poll::Ready(None),
            },
        };
        frame.map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}
