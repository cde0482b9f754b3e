//! What TCP tells of itself: its connections, and the most memory it takes.

use std::time::Duration;

use super::config::TcpConfig;
use super::conn::{Conn, SPARES_MAX, State};
use super::core::{Core, Flow, TimeWait};
use super::handle::ConnectionInfo;
use super::handshake::HalfOpen;
use super::sender::SACK_RANGES_MAX;
use super::seq::Seq;
use super::table::Key;

impl Core {
    /// Connections, half-open connections, TIME-WAIT records.
    pub(super) fn lens(&self) -> (usize, usize, usize) {
        (
            self.flows.len(),
            self.half_open.len(),
            self.time_waits.len(),
        )
    }

    /// Has every connection polled.
    pub(super) fn wake_all(&mut self) {
        let indices: Vec<u32> = self.flows.iter().map(|(index, _)| index).collect();
        for index in indices {
            if let Some(flow) = self.flows.get_mut(index) {
                flow.woken = true;
            }
            self.touch(index);
        }
    }

    pub(super) fn connections(&self, now: Duration, max: usize) -> Vec<ConnectionInfo> {
        let bare = |key: &Key, state: State| ConnectionInfo {
            local: key.local,
            remote: key.remote,
            interface: key.interface,
            state,
            age: Duration::ZERO,
            octets_in: 0,
            octets_out: 0,
            flight: 0,
            congestion_window: 0,
            send_window: 0,
            round_trip: None,
            retransmissions: 0,
            buffered: false,
        };
        let flows = self.flows.iter().map(|(_, flow)| {
            let conn = flow.conn.borrow();
            ConnectionInfo {
                age: now.saturating_sub(conn.opened_at),
                octets_in: conn.octets_in,
                octets_out: conn.octets_out,
                flight: conn.tcb.snd_max.since(conn.tcb.una),
                congestion_window: conn.sender.congestion.cwnd,
                send_window: conn.tcb.send_window(),
                round_trip: conn.sender.round_trip.smoothed(),
                retransmissions: conn.sender.retransmissions,
                buffered: conn.socket.is_some(),
                ..bare(&conn.key, conn.state)
            }
        });
        let half_open = self.half_open.iter();
        let half_open = half_open.map(|(_, record)| bare(&record.key, State::SynReceived));
        let time_waits = self.time_waits.iter();
        let time_waits = time_waits.map(|(_, record)| bare(&record.key, State::TimeWait));
        flows.chain(half_open).chain(time_waits).take(max).collect()
    }
}

/// Octets a connection takes without buffers, with who serves it: measured with 10,000 idle ones.
pub(super) const CONNECTION: usize = 2500;

/// The most memory TCP takes, in octets: see [`Limits::memory_max`](super::Limits::memory_max).
pub(super) fn memory_max(config: &TcpConfig) -> usize {
    // A table at its fullest has twice the rows it needs, and is copied when it grows.
    const ROW: usize = 24 * 4;
    const TIMER: usize = 32;
    // A smoltcp socket in its set, its slot, the waker, an entry in the orders and queues.
    const SOCKET: usize = 1024;
    // What the peer says it has, in a list that grows by doubling, and the count of its address.
    const PEER: usize = 2 * SACK_RANGES_MAX * size_of::<(Seq, Seq)>() + 4 * 16;
    let flow = size_of::<Flow>() + size_of::<Conn>() + SOCKET + PEER + ROW + TIMER;
    let half_open = size_of::<HalfOpen>() + 16 + ROW + TIMER;
    let time_wait = size_of::<TimeWait>() + 16 + ROW + TIMER;
    config.buffers_max
        + SPARES_MAX * (config.rx_buffer + config.tx_buffer_min)
        + config.connections_max * flow
        + config.half_open_max * half_open
        + config.time_wait_max * time_wait
}
