//! A static HTTP/1 server over any byte stream.
//!
//! A [`Server`] owns a folder's cache and the threads that read files. For each connection
//! [`Server::serve`] makes a future, which the owner of the byte stream polls on its own thread:
//! there is no executor, nothing needs to be `Send`, and that thread never touches the file
//! system, takes no contended lock, and on a cached file makes no system call.
//!
//! ```
//! use std::net::SocketAddr;
//! use std::task::{Context, Waker};
//!
//! use http_static::testing::{ManualTimer, duplex};
//! use http_static::{Options, Server};
//!
//! # let folder = std::env::temp_dir().join(format!("http-static-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! std::fs::write(folder.join("index.html"), "Welcome\n")?;
//! let server = Server::new(Options::new(&folder))?;
//!
//! let (client, stream) = duplex();
//! let peer: SocketAddr = "192.0.2.1:40000".parse()?;
//! let mut connection = Box::pin(server.serve(stream, peer, ManualTimer::default()));
//! client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
//! // A worker polls when it is woken; here, until a loader has brought the file.
//! while connection.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
//!     std::thread::yield_now();
//! }
//! let answer = String::from_utf8(client.receive())?;
//! assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nWelcome\n"));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The way of a request: `io` finds a whole head and refuses one of doubtful framing
//! (`head`); hyper parses it; `serve` maps it to a path (`target`), asks the thread's own
//! table (`local`), then the shared `cache`, then a `loader`, which resolves the path inside
//! the root (`files`); `conditional` judges, `respond` renders, `body` streams; and
//! `connection` minds the time.
//!
//! # Who refuses what
//!
//! | status | when | by |
//! |---|---|---|
//! | 400, closes | no CR before LF, obs-fold, more than one length, length beside a coding | `head` |
//! | 400, closes | bad tokens or octets in method, name, value, target; bad chunks | hyper |
//! | 400, closes | `Host` missing (HTTP/1.1), twice, or malformed | `serve` |
//! | 400 | `..`, NUL or a malformed percent-encoding in the path | `target` |
//! | 403 | outside the root, unreadable, not a regular file | `files` |
//! | 404 | everything else that is not there; `%2F` in a path; no index in a directory | `files` |
//! | 405 | known methods but GET, HEAD, OPTIONS | `serve` |
//! | 408, closes | a head or body not whole in time | `connection` |
//! | 412, 416 | conditions, ranges | `conditional` |
//! | 413, closes | body too large | `serve` |
//! | 414, 431, closes | target too long; head too large or too many lines | `head` |
//! | 501 | unknown methods; closes: codings other than `chunked` | `serve`, `head` |
//! | 503 | too many loads, or none in time; closes: no memory for the request | `serve`, `connection` |
//! | 505, closes | versions other than 1.0 and 1.1 | `head` |
//!
//! hyper's own 400 has an empty body and no `Server`. A request with a chunked body is answered
//! and its connection closed, so the end of such a body never decides where a head begins.
#![forbid(unsafe_code)]

mod body;
mod cache;
mod conditional;
mod connection;
mod date;
mod error;
mod files;
mod flow;
mod footprint;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod http1;
mod io;
mod latency;
mod loader;
mod local;
mod memory;
mod options;
mod respond;
mod serve;
mod server;
mod stats;
mod stream;
mod sync;
mod target;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use connection::Connection;
pub use error::ServeError;
pub use latency::{LATENCY_EDGES, Latency};
pub use options::{Limits, Options};
pub use server::Server;
pub use stats::{AccessLog, AccessRecord, CacheEntry, CacheStats, Stats};
pub use stream::Stream;
