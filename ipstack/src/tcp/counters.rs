//! What TCP did, in numbers beyond those of the nodes.

/// Declares the counters once: field, RFC-style name, meaning.
macro_rules! counters {
    ($( $(#[doc = $help:literal])+ $field:ident = $name:literal ),+ $(,)?) => {
        /// What one worker's TCP did.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct TcpCounters {
            $( $(#[doc = $help])+ pub $field: u64 ),+
        }

        impl TcpCounters {
            /// Names and values, in order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [ $( ($name, self.$field) ),+ ].into_iter()
            }

            /// Names and what they mean, a sentence each, in the order of [`Self::iter`].
            pub fn meanings() -> impl Iterator<Item = (&'static str, &'static str)> {
                [ $( ($name, concat!($($help),+).trim_ascii()) ),+ ].into_iter()
            }

            /// Adds another worker's.
            pub fn add(&mut self, other: &Self) {
                $( self.$field += other.$field; )+
            }
        }
    };
}

counters! {
    /// SYNs that made a half-open record.
    syns = "syns",
    /// SYNs answered with a cookie, for want of records.
    syn_cookies_sent = "syn-cookies-sent",
    /// Connections opened by a valid cookie.
    syn_cookies_accepted = "syn-cookies-accepted",
    /// SYN-ACKs sent again.
    syn_acks_retransmitted = "syn-acks-retransmitted",
    /// Half-open connections given up after the last retry.
    half_open_expired = "half-open-expired",
    /// Connections opened.
    accepted = "accepted",
    /// Connections closed by both sides in order.
    closed = "closed",
    /// Connections the peer reset.
    reset_by_peer = "reset-by-peer",
    /// Connections we reset: aborted by the application, or given up.
    reset_by_us = "reset-by-us",
    /// Connections refused because the table was full.
    refused_full = "refused-full",
    /// Connections refused because their address has too many.
    refused_per_source = "refused-per-source",
    /// Connections refused because the buffers were all in use.
    refused_memory = "refused-memory",
    /// Idle connections reset to make room.
    evicted_idle = "evicted-idle",
    /// Silent peers given up.
    keepalive_expired = "keepalive-expired",
    /// Keep-alive probes sent.
    keepalive_probes = "keepalive-probes",
    /// Connections given up because the peer acknowledged nothing for too long.
    user_timeouts = "user-timeouts",
    /// Connections given up while closing.
    closing_timeouts = "closing-timeouts",
    /// Connections a panic ended.
    panics = "panics",
    /// Resets sent to unknown connections.
    resets_sent = "resets-sent",
    /// Resets not sent, for rate.
    resets_limited = "resets-limited",
    /// Challenge acknowledgements sent (RFC 5961).
    challenge_acks_sent = "challenge-acks-sent",
    /// Challenge acknowledgements not sent, for rate.
    challenge_acks_limited = "challenge-acks-limited",
    /// Resets that did not hit the expected sequence number.
    blind_resets = "blind-resets",
    /// SYNs on a connection that exists.
    syns_on_connection = "syns-on-connection",
    /// Acknowledgements of what was never sent.
    acks_of_unsent = "acks-of-unsent",
    /// Old acknowledgements with data, made current.
    old_acks_patched = "old-acks-patched",
    /// Pure acknowledgements that a later one of the same batch made superfluous.
    acks_coalesced = "acks-coalesced",
    /// Segments sent again.
    retransmissions = "retransmissions",
    /// Retransmission timeouts.
    retransmission_timeouts = "retransmission-timeouts",
    /// Tail-loss probes sent.
    tail_loss_probes = "tail-loss-probes",
    /// Entries into fast recovery.
    fast_recoveries = "fast-recoveries",
    /// Stalls of smoltcp's state machine that were ended.
    stalls_ended = "stalls-ended",
    /// Connections whose idle buffers were given back.
    hibernated = "hibernated",
    /// Hibernated connections brought back.
    revived = "revived",
    /// TIME-WAIT records made.
    time_waits = "time-waits",
    /// TIME-WAIT records forgotten early, for want of room.
    time_waits_evicted = "time-waits-evicted",
    /// TIME-WAIT records a new SYN ended (RFC 6191).
    time_waits_reused = "time-waits-reused",
    /// Times a packet waited because the port had no room.
    port_full = "port-full",
    /// Path MTUs lowered by ICMP.
    pmtu_lowered = "pmtu-lowered",
}
