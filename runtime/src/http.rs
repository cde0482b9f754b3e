//! Joins TCP's connections to the HTTP server.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::Timer;
use ipstack::stream::TcpStream;
use ipstack::tcp::{Connection, Service};

use crate::timers::Timers;

/// Serves each connection of a listening port with a shared [`http_static::Server`].
#[derive(Debug)]
pub struct HttpService {
    server: http_static::Server,
    timers: Timers,
}

impl HttpService {
    /// Connections are served by `server`, with the worker's `timers`.
    pub fn new(server: http_static::Server, timers: Timers) -> Self {
        Self { server, timers }
    }
}

impl Service for HttpService {
    fn accept(&mut self, stream: TcpStream) -> Connection {
        let peer = stream.peer_addr().into();
        let stream = HttpStream(stream);
        Box::pin(Reported {
            connection: self.server.serve(stream, peer, self.timers.clone()),
            peer,
            server: self.server.clone(),
        })
    }

    fn drain(&mut self) {
        self.server.drain();
    }
}

/// A connection as the HTTP server wants it; what is cached goes to the wire without a copy.
pub(crate) struct HttpStream(pub(crate) TcpStream);

impl AsyncRead for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

impl http_static::Stream for HttpStream {
    fn poll_write_shared(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
        shared: &[Bytes],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_shared(cx, pieces, shared)
    }
}

/// A connection whose panic is reported, with what is needed to see it again, on its way to TCP,
/// which counts it and resets this connection only.
struct Reported<S, T>
where
    S: http_static::Stream + Unpin + 'static,
{
    connection: http_static::Connection<S, T>,
    peer: SocketAddr,
    server: http_static::Server,
}

impl<S, T> Future for Reported<S, T>
where
    S: http_static::Stream + Unpin + 'static,
    T: Timer + Clone + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let poll = || Pin::new(&mut this.connection).poll(cx);
        catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|panic| {
            let request = this.connection.request();
            tracing::error!(
                peer = %this.peer,
                request = request.as_deref().unwrap_or("none yet"),
                www_root = %this.server.www_root().display(),
                "a connection panicked and was reset; the message is above, all others go on"
            );
            resume_unwind(panic)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use http_static::AccessRecord;
    use http_static::testing::{ManualTimer, duplex};

    use super::*;
    use crate::log::tests::Lines;

    #[derive(Debug)]
    struct PanicsAt(&'static str);

    impl http_static::AccessLog for PanicsAt {
        fn record(&self, record: &AccessRecord<'_>) {
            assert!(
                record.target.is_none_or(|target| target.path() != self.0),
                "on purpose"
            );
        }
    }

    #[test]
    fn a_panic_is_reported_with_the_peer_and_the_request_and_goes_on_to_tcp() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = http_static::Options::new(folder.path());
        options.access_log = Some(Arc::new(PanicsAt("/boom")));
        let server = http_static::Server::new(options).unwrap();
        let (client, stream) = duplex();
        let peer = SocketAddr::from(([192, 168, 123, 1], 4711));
        let mut reported = Reported {
            connection: server.serve(stream, peer, ManualTimer::default()),
            peer,
            server: server.clone(),
        };
        client.send(b"GET /boom?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let panicked = tracing::subscriber::with_default(subscriber, || {
            // Loader threads answer in their own time.
            (0..10_000).any(|_| {
                let mut cx = Context::from_waker(Waker::noop());
                let poll = || Pin::new(&mut reported).poll(&mut cx).is_ready();
                std::thread::sleep(std::time::Duration::from_millis(1));
                catch_unwind(AssertUnwindSafe(poll)).is_err()
            })
        });
        assert!(panicked, "TCP did not hear of it");
        let said = lines.text();
        for word in [
            "192.168.123.1:4711",
            "GET /boom?x=1",
            &folder.path().display().to_string(),
        ] {
            assert!(said.contains(word), "{word} in {said}");
        }
    }
}
