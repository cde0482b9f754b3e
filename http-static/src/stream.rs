//! What connections run over.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};

/// A byte stream. Nothing need be added to one that copies what is written to it and has no bound
/// on memory to keep.
pub trait Stream: AsyncRead + AsyncWrite {
    /// As `poll_write_vectored`. Octets of `pieces` that lie in one of `shared` (the same memory,
    /// not only the same contents) may be kept by reference instead of being copied:
    /// [`Bytes::slice_ref`] makes a handle of them.
    ///
    /// # Errors
    /// As writing.
    fn poll_write_shared(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
        shared: &[Bytes],
    ) -> Poll<io::Result<usize>> {
        let _ = shared;
        self.poll_write_vectored(cx, pieces)
    }

    /// Counts `octets` of memory the server keeps for this connection, in place of what it kept
    /// before. `false`, and nothing changes, when so many more are not to be had: the connection is
    /// then refused with 503, or broken off if that is too late.
    fn keep(&mut self, octets: usize) -> bool {
        let _ = octets;
        true
    }
}
