//! A static HTTP/1 server over any byte stream.
#![forbid(unsafe_code)]

mod body;
mod cache;
mod conditional;
mod connection;
mod error;
mod files;
mod flow;
mod head;
mod io;
mod loader;
mod local;
mod memory;
mod options;
mod respond;
mod serve;
mod server;
mod stats;
mod target;
#[cfg(feature = "testing")]
pub mod testing;

pub use connection::Connection;
pub use error::ServeError;
pub use options::{Limits, Options};
pub use server::Server;
pub use stats::{AccessLog, AccessRecord, CacheEntry, CacheStats, Stats};
