//! Joins TCP's connections to the HTTP server.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
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
        Box::pin(self.server.serve(stream, peer, self.timers.clone()))
    }

    fn drain(&mut self) {
        self.server.drain();
    }
}

/// A connection as the HTTP server wants it; what is cached goes to the wire without a copy.
struct HttpStream(TcpStream);

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
