//! TCP: connections, what keeps them apart, and what keeps them honest.
//!
//! smoltcp runs the state machine of one connection at a time; everything around it is here.
//!
//! - [`Tcp`]: the handle: listen, look, shut down.
//! - `core`: tables and timers; `input`: checks and feeding; `handshake`: SYN to connection;
//!   `serve`: a connection's turn; `timers`; `transmit`: the way out; `send_queue`: what is
//!   to be sent; `sender`, `congestion`, `round_trip`: loss recovery.
//! - `conn`: one connection, shared by the worker and its [`TcpStream`](crate::stream::TcpStream).
//! - `smaller_mtu`: what ICMP tells of a path.
//! - `table`, `slab`, `order`, `wheel`, `sources`, `limit`, `isn`, `seq`, `segment`, `wake`: tools.

mod config;
mod congestion;
mod conn;
mod core;
mod counters;
mod handle;
mod handshake;
mod hash_key;
mod input;
mod isn;
mod limit;
mod listen;
mod order;
mod report;
mod reset;
mod round_trip;
pub(crate) mod segment;
mod send_queue;
mod sender;
mod seq;
mod serve;
mod slab;
mod smaller_mtu;
mod sources;
mod table;
mod timers;
mod transmit;
mod wake;
mod wheel;

pub use config::{MTU_MIN, RX_BUFFER_MAX, TcpConfig};
pub use conn::State;
pub use counters::TcpCounters;
pub use handle::{ConnectionInfo, Limits, RandomError, Tcp};
pub use listen::{Connection, ListenError, Service};
pub use smaller_mtu::{SMALLER_MTUS_MAX, SmallerMtu};
pub use wake::Notify;

pub(crate) use conn::Conn;
#[cfg(test)]
pub(crate) use conn::SPARES_MAX;
pub(crate) use core::Core;
pub(crate) use input::Staged;
pub(crate) use seq::Seq;
pub(crate) use serve::serve;
pub(crate) use table::Key;
