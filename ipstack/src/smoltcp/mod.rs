//! The seam: nothing outside this folder names smoltcp, the TCP state machine underneath.
//!
//! - `device`: octets in and out of one poll.
//! - `engine`: the few smoltcp interfaces all sockets of a worker are polled with.
//! - `socket`: one connection's socket, alone in its set.
//! - `establish`: a socket made from the few numbers that describe an idle connection.
//!
//! One set per connection: with all in one set a packet costs time in proportion to the number of
//! connections, and smoltcp offers no other way to a single socket.

mod device;
mod engine;
mod establish;
mod socket;

pub(crate) use device::Transmit;
pub(crate) use engine::{Emitted, Engine, Path};
pub(crate) use establish::{Buffers, Replay, establish};
pub(crate) use socket::{Received, Socket};

#[cfg(test)]
mod tests;
