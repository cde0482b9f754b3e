//! One connection's socket, alone in its set.

use ::smoltcp::iface::{SocketHandle, SocketSet};
use ::smoltcp::socket::tcp;
use std::fmt;

use crate::tcp::State;

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many octets; 0: none yet.
    Octets(usize),
    /// The peer has closed and all was read.
    Finished,
    /// The connection is gone.
    Closed,
}

/// One connection's socket, alone in its set.
pub(crate) struct Socket {
    pub(super) set: SocketSet<'static>,
    handle: SocketHandle,
    /// Whether another connection may have it later.
    reusable: bool,
}

impl Socket {
    pub(super) fn new(socket: tcp::Socket<'static>) -> Self {
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Self {
            set,
            handle,
            reusable: true,
        }
    }

    /// The socket was given a duplicate acknowledgement. It may owe a fast retransmission then,
    /// which smoltcp does not forget when it starts anew.
    pub(crate) fn had_duplicate(&mut self) {
        self.reusable = false;
    }

    /// Whether another connection may have it.
    pub(crate) fn is_reusable(&self) -> bool {
        self.reusable
    }

    #[inline]
    fn get(&self) -> &tcp::Socket<'static> {
        self.set.get(self.handle)
    }

    #[inline]
    pub(super) fn get_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// The state; LISTEN and SYN-SENT, which no socket of ours is in for long, count as CLOSED.
    pub(crate) fn state(&self) -> State {
        match self.get().state() {
            tcp::State::Closed | tcp::State::Listen | tcp::State::SynSent => State::Closed,
            tcp::State::SynReceived => State::SynReceived,
            tcp::State::Established => State::Established,
            tcp::State::FinWait1 => State::FinWait1,
            tcp::State::FinWait2 => State::FinWait2,
            tcp::State::CloseWait => State::CloseWait,
            tcp::State::Closing => State::Closing,
            tcp::State::LastAck => State::LastAck,
            tcp::State::TimeWait => State::TimeWait,
        }
    }

    /// Reads a little of the socket here and there, to have it in the cache.
    pub(crate) fn warm(&self) -> u64 {
        let socket = self.get();
        let queues = socket.send_queue() ^ socket.recv_queue() ^ socket.send_capacity();
        let first = socket.timeout().map_or(0, |timeout| timeout.total_micros());
        let second = socket.ack_delay().map_or(0, |delay| delay.total_micros());
        let tuple = socket.remote_endpoint().map_or(0, |remote| remote.port);
        let last = u64::from(socket.nagle_enabled());
        queues as u64 ^ first ^ second ^ u64::from(tuple) ^ last
    }

    /// Octets accepted from us and not acknowledged, sent or not.
    pub(crate) fn send_queue(&self) -> usize {
        self.get().send_queue()
    }

    /// Octets the send buffer holds.
    pub(crate) fn send_capacity(&self) -> usize {
        self.get().send_capacity()
    }

    /// Octets received in order and not read.
    pub(crate) fn recv_queue(&self) -> usize {
        self.get().recv_queue()
    }

    /// Octets the receive buffer has room for.
    pub(crate) fn recv_window(&self) -> usize {
        self.get().recv_capacity() - self.get().recv_queue()
    }

    /// Whether our direction is still open.
    pub(crate) fn may_send(&self) -> bool {
        self.get().may_send()
    }

    /// Queues up to `octets` octets, whatever they are: how many there was room for; 0 also when
    /// our direction is closed.
    pub(crate) fn send(&mut self, octets: usize) -> usize {
        let mut queued = 0;
        // Twice where the room goes around the ring's end.
        while queued < octets {
            let more = self.get_mut().send(|room| {
                let count = room.len().min(octets - queued);
                (count, count)
            });
            match more {
                Ok(1..) => queued += more.unwrap_or(0),
                Ok(0) | Err(_) => break,
            }
        }
        queued
    }

    /// Reads into `buffer`.
    pub(crate) fn recv(&mut self, buffer: &mut [u8]) -> Received {
        match self.get_mut().recv_slice(buffer) {
            Ok(octets) => Received::Octets(octets),
            Err(tcp::RecvError::Finished) => Received::Finished,
            Err(tcp::RecvError::InvalidState) => Received::Closed,
        }
    }

    /// Throws away what was received and not read.
    pub(crate) fn discard(&mut self) {
        while self.recv_queue() > 0 {
            if self.get_mut().recv(|octets| (octets.len(), ())).is_err() {
                return;
            }
        }
    }

    /// Closes our direction: a FIN follows what is queued.
    pub(crate) fn close(&mut self) {
        self.get_mut().close();
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("state", &self.state())
            .field("send_queue", &self.send_queue())
            .field("recv_queue", &self.recv_queue())
            .finish_non_exhaustive()
    }
}
