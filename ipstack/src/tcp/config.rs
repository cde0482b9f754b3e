//! What an operator may set, and the bounds nobody may.

use std::time::Duration;

/// The largest receive buffer, in octets: with more, a peer can crash smoltcp 0.14 (it shifts the
/// unscaled window of its SYN-ACK).
pub const RX_BUFFER_MAX: usize = 65_535;

/// The smallest path MTU believed, in octets: what RFC 791 makes every host accept. Smaller ones
/// would let a forged ICMP error cut transfers into crumbs.
pub const MTU_MIN: u16 = 576;

/// Limits and times of one worker's TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// Connections at most. When all are taken, the one idle for longest is reset to make room;
    /// when none is idle, new ones are reset.
    pub connections_max: usize,
    /// Connections from one address at most; more are reset. The default is half of
    /// `connections_max`: enough for a load generator or a large NAT, too few to lock others out.
    pub connections_per_source_max: usize,
    /// Half-open connections at most (64 octets each). When all are taken, SYNs are answered with
    /// cookies and nothing is kept (RFC 4987).
    pub half_open_max: usize,
    /// TIME-WAIT records at most (32 octets each). When all are taken, the oldest is forgotten.
    pub time_wait_max: usize,
    /// Listening ports at most; more are refused.
    pub listeners_max: usize,
    /// Receive buffer in octets; at most [`RX_BUFFER_MAX`].
    pub rx_buffer: usize,
    /// Send buffer of a connection that has sent little, in octets.
    pub tx_buffer_min: usize,
    /// Send buffer of a connection that sends much, in octets; also the most in flight.
    pub tx_buffer_max: usize,
    /// All buffers together at most, in octets: `rx_buffer` and twice the send buffer (what is sent
    /// is kept beside it) of each connection that has any, and what those who serve connections
    /// [keep](crate::stream::TcpStream::keep) for them. From three quarters of it on, send buffers
    /// stay at `tx_buffer_min`; new connections are refused once not even these fit. Besides, up to
    /// 128 pairs of the least size are kept for connections that wake up.
    pub buffers_max: usize,
    /// When all buffers together are more than this, in octets, an idle connection gives its own
    /// back at once and not only after `hibernate_after`.
    pub buffers_idle_max: usize,
    /// How long a TIME-WAIT record is kept (RFC 9293 says 2 MSL; 60 s is customary).
    pub time_wait: Duration,
    /// How long a peer may take for its FIN after we sent ours and nobody reads any more.
    pub fin_wait_2: Duration,
    /// How long a closing connection may take in FIN-WAIT-1, CLOSING and LAST-ACK without
    /// progress.
    pub closing: Duration,
    /// How long sent data may stay unacknowledged without any progress (RFC 9293's R2, at least
    /// 100 s).
    pub user_timeout: Duration,
    /// How long a peer may be silent before it is probed.
    pub keepalive_idle: Duration,
    /// Between probes.
    pub keepalive_interval: Duration,
    /// Probes a silent peer may leave unanswered before it is given up.
    pub keepalive_probes: u8,
    /// How long a connection is idle before its buffers are given back.
    pub hibernate_after: Duration,
    /// How long an acknowledgement may wait for data to ride on.
    pub ack_delay: Duration,
    /// Resets sent to unknown connections, per second.
    pub resets_per_second: u32,
    /// Whether loss recovery and congestion control are ours (SACK, tail-loss probe, CUBIC);
    /// without, smoltcp's timeouts alone recover losses.
    pub sender_assist: bool,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            connections_max: 24_576,
            connections_per_source_max: 12_288,
            half_open_max: 16_384,
            time_wait_max: 32_768,
            listeners_max: 1024,
            rx_buffer: 16_384,
            tx_buffer_min: 16_384,
            tx_buffer_max: 1 << 20,
            buffers_max: 512 << 20,
            buffers_idle_max: 48 << 20,
            time_wait: Duration::from_mins(1),
            fin_wait_2: Duration::from_mins(1),
            closing: Duration::from_mins(1),
            user_timeout: Duration::from_secs(100),
            keepalive_idle: Duration::from_secs(75),
            keepalive_interval: Duration::from_secs(10),
            keepalive_probes: 5,
            hibernate_after: Duration::from_millis(250),
            ack_delay: Duration::from_millis(10),
            resets_per_second: 1000,
            sender_assist: true,
        }
    }
}

impl TcpConfig {
    /// The most memory one worker's TCP takes, in octets: buffers, connections and tables, but not
    /// what the services keep for their connections.
    pub fn memory_max(&self) -> usize {
        super::report::memory_max(&self.clone().clamped())
    }

    /// The same with every number in its range: buffers between 4,096 octets and their maximum,
    /// counts at least 1 and at most 2^24.
    #[must_use]
    pub fn clamped(mut self) -> Self {
        const COUNT_MAX: usize = 1 << 24;
        self.connections_max = self.connections_max.clamp(1, COUNT_MAX);
        self.connections_per_source_max = self.connections_per_source_max.max(1);
        self.half_open_max = self.half_open_max.clamp(1, COUNT_MAX);
        self.time_wait_max = self.time_wait_max.clamp(1, COUNT_MAX);
        self.rx_buffer = self.rx_buffer.clamp(4096, RX_BUFFER_MAX);
        self.tx_buffer_min = self.tx_buffer_min.clamp(4096, 1 << 26);
        self.tx_buffer_max = self.tx_buffer_max.clamp(self.tx_buffer_min, 1 << 26);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_configuration_has_a_receive_buffer_that_lets_a_peer_crash_smoltcp() {
        let config = TcpConfig {
            rx_buffer: 1 << 20,
            ..TcpConfig::default()
        };
        assert_eq!(config.clamped().rx_buffer, RX_BUFFER_MAX);
    }
}
