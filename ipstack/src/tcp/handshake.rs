//! From a SYN to a connection: half-open records, and cookies when there are no more of them.
//!
//! - Spec: RFC 9293, section 3.10.7.2-4; RFC 4987.

use std::time::Duration;

use super::conn::Tcb;
use super::core::Core;
use super::segment::{ACK, FIN, Outgoing, RST, SYN, Segment, SynOptions, syn_options};
use super::seq::Seq;
use super::table::{Key, Place};
use super::transmit::Out;
use crate::tcp4_input::Tcp4InputDrop as Drop;

/// When the SYN-ACK is sent again: 1, 2 and 4 s after the one before; 8 s later the record goes.
const RETRIES: u8 = 3;
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// How long after the last cookie acknowledgements are still tried as one.
const COOKIES_LAST: Duration = Duration::from_secs(128);

/// A connection whose SYN-ACK is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct HalfOpen {
    pub(super) key: Key,
    /// The peer's and our initial sequence number.
    pub(super) irs: Seq,
    pub(super) isn: Seq,
    retries: u8,
    options: SynOptions,
}

const _: () = assert!(size_of::<HalfOpen>() <= 64);

impl Core {
    /// A SYN for which there is no connection. `after`: the number our new ones must come after,
    /// when they follow on a connection in TIME-WAIT.
    pub(super) fn syn(
        &mut self,
        key: Key,
        segment: &Segment,
        packet: &[u8],
        after: Option<Seq>,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) -> Option<Drop> {
        let listening = self
            .listeners
            .find(*key.local.ip(), key.local.port())
            .is_some();
        if !listening || self.draining {
            self.reset_unknown(&key, segment, now, out);
            return Some(Drop::NoListener);
        }
        if !self.may_have_room_for(&key) {
            self.reset_unknown(&key, segment, now, out);
            return Some(Drop::Refused);
        }
        let options = syn_options(packet, segment);
        let full = self.half_open.len() >= self.shared.config.half_open_max;
        let isn = if full {
            self.secrets.cookie(&key, segment.seq, options, now)
        } else {
            let isn = self.secrets.isn(&key, now);
            // RFC 6191: beyond what the connection before may have used.
            after.map_or(isn, |after| isn.max(after.add(0x1_0000)))
        };
        let record = HalfOpen {
            key,
            irs: segment.seq,
            isn,
            retries: 0,
            options,
        };
        if full {
            self.cookies_until = Some(now + COOKIES_LAST);
            self.shared.count(|c| c.syn_cookies_sent += 1);
        } else {
            let id = self.half_open.insert(|_| record);
            self.table.set(key, Place::HalfOpen(id.index));
            self.half_open_timers.set(id.index, now + RETRY_FIRST);
            self.shared.count(|c| c.syns += 1);
        }
        self.send_syn_ack(&record, out);
        None
    }

    /// What smoltcp, to which the handshake is replayed, will believe it said: the window is the
    /// receive buffer, and its shift is 0.
    fn send_syn_ack(&self, record: &HalfOpen, out: &mut Out<'_, '_>) {
        let window = self.shared.config.rx_buffer;
        let syn_ack = Outgoing {
            local: record.key.local,
            remote: record.key.remote,
            seq: record.isn.0,
            ack: record.irs.add(1).0,
            flags: SYN | ACK,
            window: u16::try_from(window).unwrap_or(u16::MAX),
            mss: Some(self.mtu(record.key.interface).saturating_sub(40)),
            wscale: record.options.wscale.map(|_| 0),
            sack_permitted: record.options.sack_permitted,
        };
        self.send(&syn_ack, record.key.interface, out);
    }

    /// A segment for a half-open connection. `Ok`: it is the flow's now.
    pub(super) fn half_open_input(
        &mut self,
        index: u32,
        segment: &Segment,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) -> Result<u32, Option<Drop>> {
        let Some(record) = self.half_open.get(index).copied() else {
            return Err(Some(Drop::NoConnection));
        };
        let expected = record.irs.add(1);
        let in_window = segment.seq.within(expected, self.shared.config.rx_buffer);
        if segment.has(RST) {
            if segment.seq == expected {
                self.remove_half_open(index);
                return Err(None);
            }
            self.shared.count(|c| c.blind_resets += 1);
            if in_window {
                self.challenge_record(&record.key, record.isn.add(1), expected, now, out);
            }
            return Err(Some(Drop::BlindReset));
        }
        if segment.has(SYN) {
            if segment.seq == record.irs && !segment.has(ACK) {
                self.send_syn_ack(&record, out);
                return Err(None);
            }
            // Somebody new at this address: the answer makes it reset the old attempt.
            self.shared.count(|c| c.syns_on_connection += 1);
            self.challenge_record(&record.key, record.isn.add(1), expected, now, out);
            return Err(Some(Drop::SynOnConnection));
        }
        if !segment.has(ACK) {
            return Err(Some(Drop::Nonsense));
        }
        if segment.ack != record.isn.add(1) {
            self.reset_unknown(&record.key, segment, now, out);
            return Err(Some(Drop::UnacceptableAck));
        }
        if !in_window {
            self.challenge_record(&record.key, record.isn.add(1), expected, now, out);
            return Err(Some(Drop::OutOfWindow));
        }
        self.remove_half_open(index);
        self.open(&record, segment, now, out)
    }

    fn open(
        &mut self,
        record: &HalfOpen,
        segment: &Segment,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) -> Result<u32, Option<Drop>> {
        let key = record.key;
        let service = self
            .listeners
            .find(*key.local.ip(), key.local.port())
            .cloned();
        let Some(service) = service.filter(|_| !self.draining) else {
            self.reset_unknown(&key, segment, now, out);
            return Err(Some(Drop::NoListener));
        };
        let tcb = Tcb::new(record.isn, record.irs, segment.window, record.options);
        self.accept(key, tcb, service, now, out)
            .ok_or(Some(Drop::Refused))
    }

    /// A segment for which there is nothing at all. `Ok`: it opened a connection by a cookie.
    pub(super) fn unknown_input(
        &mut self,
        key: Key,
        segment: &Segment,
        packet: &[u8],
        now: Duration,
        out: &mut Out<'_, '_>,
    ) -> Result<u32, Option<Drop>> {
        if segment.has(RST) {
            return Err(Some(Drop::NoConnection));
        }
        if segment.has(SYN) && !segment.has(ACK) {
            return self
                .syn(key, segment, packet, None, now, out)
                .map_or(Err(None), |reason| Err(Some(reason)));
        }
        let (irs, isn) = (segment.seq.back(1), segment.ack.back(1));
        if segment.flags & (ACK | SYN | FIN) == ACK
            && self.cookies_until.is_some_and(|until| now < until)
            && let Some(options) = self.secrets.read_cookie(&key, irs, isn, now)
        {
            self.shared.count(|c| c.syn_cookies_accepted += 1);
            let record = HalfOpen {
                key,
                irs,
                isn,
                retries: 0,
                options,
            };
            return self.open(&record, segment, now, out);
        }
        self.reset_unknown(&key, segment, now, out);
        Err(Some(Drop::NoConnection))
    }

    /// A segment for a connection in TIME-WAIT (RFC 9293, section 3.10.7.4; RFC 6191).
    pub(super) fn time_wait_input(
        &mut self,
        index: u32,
        segment: &Segment,
        packet: &[u8],
        now: Duration,
        out: &mut Out<'_, '_>,
    ) -> Option<Drop> {
        let Some(record) = self.time_waits.get(index).copied() else {
            return Some(Drop::NoConnection);
        };
        // A reset must not cut TIME-WAIT short (RFC 1337).
        if segment.has(RST) {
            return Some(Drop::BlindReset);
        }
        if segment.has(SYN) && !segment.has(ACK) {
            if segment.seq.after(record.rcv_nxt) {
                self.remove_time_wait(index);
                self.shared.count(|c| c.time_waits_reused += 1);
                return self.syn(record.key, segment, packet, Some(record.snd_nxt), now, out);
            }
            self.shared.count(|c| c.syns_on_connection += 1);
            self.challenge_record(&record.key, record.snd_nxt, record.rcv_nxt, now, out);
            return Some(Drop::SynOnConnection);
        }
        if segment.len() == 0 {
            return Some(Drop::OldDuplicate);
        }
        // The FIN again: our last acknowledgement was lost.
        if segment.has(FIN) {
            let until = now + self.shared.config.time_wait;
            self.time_wait_timers.set(index, until);
        }
        self.challenge_record(&record.key, record.snd_nxt, record.rcv_nxt, now, out);
        None
    }

    /// Acknowledges what a record has, within the rate for all records.
    fn challenge_record(
        &mut self,
        key: &Key,
        seq: Seq,
        ack: Seq,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) {
        if !self.challenges.allow(now) {
            self.shared.count(|c| c.challenge_acks_limited += 1);
            return;
        }
        self.shared.count(|c| c.challenge_acks_sent += 1);
        let window = self.shared.config.rx_buffer;
        let ack = Outgoing {
            local: key.local,
            remote: key.remote,
            seq: seq.0,
            ack: ack.0,
            flags: ACK,
            window: u16::try_from(window).unwrap_or(u16::MAX),
            mss: None,
            wscale: None,
            sack_permitted: false,
        };
        self.send(&ack, key.interface, out);
    }

    /// Resets a connection we do not know (RFC 9293, section 3.10.7.1), within the rate.
    pub(super) fn reset_unknown(
        &mut self,
        key: &Key,
        segment: &Segment,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) {
        if !self.resets.allow(now) {
            self.shared.count(|c| c.resets_limited += 1);
            return;
        }
        self.shared.count(|c| c.resets_sent += 1);
        let (seq, ack, flags) = if segment.has(ACK) {
            (segment.ack, Seq(0), RST)
        } else {
            (Seq(0), segment.end(), RST | ACK)
        };
        let reset = Outgoing {
            local: key.local,
            remote: key.remote,
            seq: seq.0,
            ack: ack.0,
            flags,
            window: 0,
            mss: None,
            wscale: None,
            sack_permitted: false,
        };
        self.send(&reset, key.interface, out);
    }

    pub(super) fn remove_half_open(&mut self, index: u32) {
        self.half_open_timers.cancel(index);
        if let Some(record) = self.half_open.remove(index) {
            self.table.remove(&record.key, Place::HalfOpen(index));
        }
    }

    /// The deadline of a half-open connection.
    pub(super) fn half_open_timer(&mut self, index: u32, now: Duration, out: &mut Out<'_, '_>) {
        let Some(record) = self.half_open.get_mut(index) else {
            return;
        };
        if record.retries >= RETRIES {
            self.remove_half_open(index);
            self.shared.count(|c| c.half_open_expired += 1);
            return;
        }
        record.retries += 1;
        let record = *record;
        self.half_open_timers
            .set(index, now + RETRY_FIRST * (1 << record.retries));
        self.shared.count(|c| c.syn_acks_retransmitted += 1);
        self.send_syn_ack(&record, out);
    }
}
