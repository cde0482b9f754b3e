//! The byte stream of a TCP connection.

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use std::cell::RefCell;
use std::fmt;
use std::io::{IoSlice, Result};
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use dataplane::IfIndex;

use crate::tcp::Conn;

/// The byte stream of a TCP connection, on the worker's thread that owns it.
///
/// Reading ends with 0 octets once the peer has closed and all was read; a reset or a peer that
/// was given up is an error. Writing takes what may be in flight and then waits for
/// acknowledgements. What was written is sent when the connection's future yields; there is no
/// Nagle delay, and `poll_flush` has nothing to do. `poll_close` sends a FIN after all that was
/// written and does not wait for the peer. Dropping the stream closes it: what was written is still
/// delivered, what still comes is thrown away.
pub struct TcpStream {
    conn: Rc<RefCell<Conn>>,
}

impl TcpStream {
    pub(crate) fn new(conn: Rc<RefCell<Conn>>) -> Self {
        Self { conn }
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddrV4 {
        self.conn.borrow().key.remote
    }

    /// Our address.
    pub fn local_addr(&self) -> SocketAddrV4 {
        self.conn.borrow().key.local
    }

    /// The sub-interface the connection came in on.
    pub fn interface(&self) -> IfIndex {
        self.conn.borrow().key.interface
    }

    /// As `poll_write_vectored`. Octets of `slices` that lie in one of `shared` may be kept by
    /// reference until they are acknowledged, and are then not copied.
    ///
    /// # Errors
    /// As writing: a connection that is gone or closed, no memory.
    pub fn poll_write_shared(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        shared: &[Bytes],
    ) -> Poll<Result<usize>> {
        self.conn.borrow_mut().poll_write(cx, slices, shared)
    }

    /// Counts `octets` of memory that whoever serves the connection keeps for it, in place of what
    /// it kept before, among the worker's [buffers](crate::tcp::TcpConfig::buffers_max). `false`,
    /// and nothing changes, when so many more do not fit. They are given back with the stream's
    /// connection.
    pub fn keep(&self, octets: usize) -> bool {
        self.conn.borrow_mut().keep(octets)
    }

    /// Resets the connection; what was written and not sent is lost.
    pub fn abort(self) {
        self.conn.borrow_mut().abort();
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize>> {
        self.conn.borrow_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.poll_write_shared(cx, slices, &[])
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.conn.borrow_mut().close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.conn.borrow_mut().stream_gone();
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conn = self.conn.borrow();
        f.debug_struct("TcpStream")
            .field("local", &conn.key.local)
            .field("remote", &conn.key.remote)
            .field("state", &conn.state)
            .finish()
    }
}
