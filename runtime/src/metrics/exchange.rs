//! One connection to the metrics' socket: hyper over a stream that does not block.

use std::cell::Cell;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};

/// What a connection waits for, for `poll(2)`.
#[derive(Debug, Default)]
pub(super) struct Wants {
    pub(super) read: Cell<bool>,
    pub(super) write: Cell<bool>,
}

/// A stream that says `Pending` where the kernel says "would block". Nobody is woken: the thread
/// polls connections when their sockets are ready.
pub(super) struct Io {
    pub(super) stream: Rc<TcpStream>,
    pub(super) wants: Rc<Wants>,
}

const READ_MAX: usize = 4096;

fn or_pending<T>(result: io::Result<T>, wants: &Cell<bool>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            wants.set(true);
            Poll::Pending
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            wants.set(true); // at the next round
            Poll::Pending
        }
        other => Poll::Ready(other),
    }
}

impl Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut octets = [0; READ_MAX];
        let max = room.remaining().min(READ_MAX);
        let read = (&*self.stream).read(octets.get_mut(..max).unwrap_or_default());
        or_pending(read, &self.wants.read).map_ok(|count| {
            room.put_slice(octets.get(..count).unwrap_or_default());
        })
    }
}

impl Write for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        or_pending((&*self.stream).write(octets), &self.wants.write)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(std::net::Shutdown::Write))
    }
}

/// Answers a request; `page` is asked for when the metrics are.
pub(super) fn answer(
    request: &Request<Incoming>,
    page: impl FnOnce() -> Option<Bytes>,
) -> Response<Full<Bytes>> {
    let (status, text) = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            Bytes::from_static(b"use GET\n"),
        )
    } else if request.uri().path() == "/metrics" {
        match page() {
            Some(page) => (StatusCode::OK, page),
            None => (
                StatusCode::SERVICE_UNAVAILABLE,
                Bytes::from_static(b"it is ending\n"),
            ),
        }
    } else {
        (
            StatusCode::NOT_FOUND,
            Bytes::from_static(b"metrics are at /metrics\n"),
        )
    };
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    let kind = if status == StatusCode::OK {
        prometheus::TEXT_FORMAT
    } else {
        "text/plain; charset=utf-8"
    };
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allow = header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}
