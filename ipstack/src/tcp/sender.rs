//! Loss recovery of our own: smoltcp ignores what selective acknowledgements say, waits at least a
//! second before it sends again, and then sends all of it.
//!
//! Everything unacknowledged lies in smoltcp's send buffer, which cannot be read. A *pass* gets at
//! it: the connection's clock jumps past smoltcp's timeout, so that it sends all again, and the
//! segments that are not wanted are swallowed. This module decides what is wanted and when; the
//! pass itself is in `transmit`.
//!
//! Losses are congestion, with two exceptions at once: a path whose round trip shows no queue, and
//! a few losses among much that arrives ([`Congestion::forgives`]), as radio links have them.
//!
//! - Spec: RFC 6675 (SACK), RFC 8985 (reordering window, tail-loss probe), RFC 5681.

use std::time::Duration;

use super::congestion::Congestion;
use super::conn::Tcb;
use super::round_trip::{RTO_INITIAL, RTO_MAX, RoundTrip};
use super::segment::SACK_BLOCKS_MAX;
use super::seq::Seq;

/// Ranges remembered that were acknowledged selectively. What a peer reports beyond is forgotten,
/// and sent again if need be.
pub(crate) const SACK_RANGES_MAX: usize = 64;

/// The tail-loss probe waits at least this long (RFC 8985 names no minimum; Linux's is 2 ticks).
const PROBE_MIN: Duration = Duration::from_millis(10);
/// A peer may delay its acknowledgement of a lone segment this long.
const PEER_ACK_DELAY: Duration = Duration::from_millis(200);
/// Segments that may overtake one sent again before it counts as lost again.
const REORDERED_MAX: usize = 3;
/// The reordering window is at least one tick of the wheel.
const REORDER_MIN: Duration = Duration::from_millis(1);

/// What is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resend {
    pub(crate) from: Seq,
    pub(crate) to: Seq,
}

/// What a timer has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing, yet.
    Nothing,
    /// Gaps below what was selectively acknowledged are losses; `new`: the first of a recovery.
    Loss {
        /// Whether the window was reduced for it.
        new: bool,
    },
    /// No acknowledgement for too long.
    Timeout,
    /// The last segment should be sent once more, to provoke an acknowledgement.
    Probe(Resend),
}

/// The sender's half of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// Without, smoltcp is left alone.
    assist: bool,
    pub(crate) congestion: Congestion,
    /// How far the connection's clock is ahead of the worker's.
    offset: Duration,
    pub(crate) round_trip: RoundTrip,
    /// Ranges acknowledged selectively, in order, apart, all after SND.UNA.
    board: Vec<(Seq, Seq)>,
    /// Recovery ends when this is acknowledged.
    recovery: Option<Seq>,
    /// The window was reduced in it.
    reduced: bool,
    /// Whatever lies before, and is not acknowledged selectively, is lost.
    lost_to: Seq,
    /// Of that, what lies before has been sent again.
    resent_to: Seq,
    /// The lost segment at this number was sent again when SND.NXT was that. Should it be missing
    /// still when later ones have arrived, it was lost again.
    first_resent: Option<(Seq, Seq)>,
    /// The first loss of a recovery is sent again whatever the window (RFC 6675, section 5).
    first_owed: bool,
    /// Duplicate acknowledgements in a row, from a peer without SACK.
    duplicates: u8,
    /// When gaps below `reorder_edge` become losses.
    reorder_at: Option<Duration>,
    reorder_edge: Seq,
    /// Running while something is in flight.
    rto_at: Option<Duration>,
    probe_at: Option<Duration>,
    /// When something was last sent, and SND.UNA last moved.
    sent_at: Duration,
    pub(crate) progress_at: Duration,
    pub(crate) retransmissions: u64,
}

impl Sender {
    /// Reads a little of it here and there, to have it in the cache.
    pub(crate) fn warm(&self) -> u64 {
        let times = [Some(self.progress_at), self.rto_at, self.reorder_at];
        let times = times.into_iter().flatten().map(|at| at.subsec_nanos());
        let sum = times.fold(0, |sum, nanos| sum ^ nanos) ^ self.lost_to.0;
        u64::from(sum ^ self.round_trip.warm()) ^ self.retransmissions ^ self.congestion.cwnd as u64
    }

    pub(crate) fn new(tcb: &Tcb, mtu: u16, assist: bool) -> Self {
        Self {
            assist,
            congestion: Congestion::new(mss(tcb, mtu)),
            offset: Duration::ZERO,
            round_trip: RoundTrip::new(),
            board: Vec::new(),
            recovery: None,
            reduced: false,
            lost_to: tcb.una,
            resent_to: tcb.una,
            first_resent: None,
            first_owed: false,
            duplicates: 0,
            reorder_at: None,
            reorder_edge: tcb.una,
            rto_at: None,
            probe_at: None,
            sent_at: Duration::ZERO,
            progress_at: Duration::ZERO,
            retransmissions: 0,
        }
    }

    /// Whether loss recovery is ours.
    pub(crate) fn assists(&self) -> bool {
        self.assist
    }

    /// The connection's clock.
    pub(crate) fn clock(&self, now: Duration) -> Duration {
        now + self.offset
    }

    /// A time on the connection's clock as one on the worker's.
    pub(crate) fn unclock(&self, at: Duration) -> Duration {
        at.saturating_sub(self.offset)
    }

    /// Moves the connection's clock past any timeout smoltcp may be waiting for: it never waits
    /// for more than 60 s.
    pub(crate) fn jump(&mut self) {
        self.offset += RTO_MAX + Duration::from_secs(1);
    }

    /// Octets the send buffer may hold (of `capacity`), and how many more of them there may be
    /// now: what fits into the window once everything lost is on its way again.
    pub(crate) fn room(&self, tcb: &Tcb, capacity: usize, queue: usize) -> (usize, usize) {
        let free = capacity.saturating_sub(queue);
        if !self.assist {
            return (capacity, free);
        }
        let limit = capacity.min(self.congestion.cwnd);
        if self.next_resend(tcb).is_some() {
            return (limit, 0);
        }
        // What is queued and not sent (the peer's window is small) will be in flight too.
        let flight = tcb.snd_max.since(tcb.una);
        let pipe = self.pipe(tcb) + queue.saturating_sub(flight);
        (limit, free.min(self.congestion.cwnd.saturating_sub(pipe)))
    }

    /// Octets in flight by RFC 6675: neither acknowledged selectively, nor lost and not yet sent
    /// again.
    fn pipe(&self, tcb: &Tcb) -> usize {
        let flight = tcb.snd_max.since(tcb.una);
        let sacked: usize = self.board.iter().map(|(from, to)| to.since(*from)).sum();
        let lost: usize = self
            .gaps(self.resent_to.max(tcb.una), self.lost_to)
            .map(len)
            .sum();
        flight.saturating_sub(sacked + lost)
    }

    /// The ranges of `from..to` that are not acknowledged selectively.
    fn gaps(&self, from: Seq, to: Seq) -> impl Iterator<Item = Resend> + use<'_> {
        let ends = self.board.iter().copied().chain(std::iter::once((to, to)));
        ends.scan(from, move |at, (start, end)| {
            let gap = Resend {
                from: *at,
                to: start.min(to),
            };
            *at = at.max(end);
            Some(gap)
        })
        .filter(|gap| gap.from.before(gap.to))
    }

    /// The next range to send again, as far as the window allows.
    pub(crate) fn next_resend(&self, tcb: &Tcb) -> Option<Resend> {
        self.gaps(self.resent_to.max(tcb.una), self.lost_to).next()
    }

    /// As [`Self::next_resend`], cut to the window; a segment is allowed in any case when nothing
    /// is in flight or the recovery has just begun.
    pub(crate) fn allowed_resend(&self, tcb: &Tcb, mss: usize) -> Option<Resend> {
        let gap = self.next_resend(tcb)?;
        let pipe = self.pipe(tcb);
        let mut allowed = self.congestion.cwnd.saturating_sub(pipe);
        if pipe == 0 || self.first_owed {
            allowed = allowed.max(mss);
        }
        // Whole segments, unless the gap ends before.
        let gap_len = gap.to.since(gap.from);
        let allowed = if allowed >= gap_len {
            gap_len
        } else {
            allowed - allowed % mss
        };
        (allowed > 0).then(|| Resend {
            from: gap.from,
            to: gap.from.add(allowed),
        })
    }

    /// `range` was sent again.
    pub(crate) fn on_resent(&mut self, tcb: &Tcb, range: Resend, now: Duration) {
        self.resent_to = self.resent_to.max(range.to);
        if self
            .first_resent
            .is_none_or(|(from, _)| from.before(tcb.una))
        {
            self.first_resent = Some((range.from, tcb.snd_max));
        }
        self.first_owed = false;
        self.sent_at = now;
        if tcb.sack {
            self.round_trip.on_resent(range.from, range.to);
        } else {
            // What comes after a hole is acknowledged late, and cumulatively.
            self.round_trip.forget_sample();
        }
        self.rto_at = Some(now + self.round_trip.timeout());
    }

    /// New data up to `end` was sent, `flight` octets (FIN included) being out now.
    pub(crate) fn on_sent(&mut self, end: Seq, flight: usize, mss: usize, now: Duration) {
        self.round_trip.on_sent(end, now);
        self.sent_at = now;
        if self.rto_at.is_none() {
            self.progress_at = now;
        }
        let timeout = self.round_trip.timeout();
        self.rto_at.get_or_insert(now + timeout);
        self.arm_probe(flight, mss, now);
    }

    /// Before new data is sent: after a pause the window is not to be trusted wholly.
    pub(crate) fn before_send(&mut self, tcb: &Tcb, now: Duration) {
        if tcb.una == tcb.snd_max
            && self.sent_at != Duration::ZERO
            && now.saturating_sub(self.sent_at) > self.round_trip.timeout()
        {
            self.congestion.on_idle();
            self.sent_at = now;
        }
    }

    fn arm_probe(&mut self, flight: usize, mss: usize, now: Duration) {
        self.probe_at = None;
        if !self.assist || self.recovery.is_some() || !self.board.is_empty() || flight == 0 {
            return;
        }
        let srtt = self.round_trip.smoothed().unwrap_or(RTO_INITIAL / 2);
        let mut wait = (2 * srtt).max(PROBE_MIN);
        if flight <= mss {
            wait += PEER_ACK_DELAY;
        }
        if self.rto_at.is_some_and(|rto_at| now + wait < rto_at) {
            self.probe_at = Some(now + wait);
        }
    }

    /// An acknowledgement that moved SND.UNA from `una_before` to `tcb.una`, or brought `blocks`.
    pub(crate) fn on_ack(
        &mut self,
        tcb: &Tcb,
        una_before: Seq,
        blocks: &[Option<(Seq, Seq)>; SACK_BLOCKS_MAX],
        mss: usize,
        now: Duration,
    ) {
        let acked = tcb.una.since(una_before);
        let flight_before = tcb.snd_max.since(una_before);
        let flight = tcb.snd_max.since(tcb.una);
        if acked > 0 {
            self.progress_at = now;
            self.round_trip.on_progress(tcb.una, now);
        }
        if !self.assist {
            self.rto_at = (flight > 0).then(|| now + self.round_trip.timeout());
            return;
        }
        self.forget_before(tcb.una);
        for (from, to) in blocks.iter().flatten() {
            if self.mark_sacked(*from, *to, tcb) {
                self.round_trip.on_sacked(*from, *to, now);
            }
        }
        self.resent_to = self.resent_to.max(tcb.una);
        self.look_for_lost_again(tcb, mss);
        self.lost_to = self.lost_to.max(tcb.una);
        if self.recovery.is_some_and(|point| !tcb.una.before(point)) {
            self.recovery = None;
            (self.first_resent, self.first_owed) = (None, false);
        }
        if acked > 0 {
            self.duplicates = 0;
            if self.recovery.is_some() && !tcb.sack {
                // A partial acknowledgement shows the next hole (RFC 6582).
                self.lost_to = self.lost_to.max(tcb.una.add(mss).min(tcb.snd_max));
                self.first_owed = true;
            }
        }
        if acked > 0 {
            self.congestion.on_delivered(acked);
            let in_use = flight_before * 2 >= self.congestion.cwnd;
            // After a timeout recovery is slow start; a fast recovery that reduced the window
            // keeps it.
            if in_use && (self.recovery.is_none() || !self.reduced || self.timed_out()) {
                let srtt = self.round_trip.smoothed().unwrap_or(Duration::ZERO);
                self.congestion.on_ack(acked, now, srtt);
            }
            self.rto_at = (flight > 0).then(|| now + self.round_trip.timeout());
        }
        self.watch_gaps(now);
        if acked > 0 || flight == 0 {
            self.arm_probe(flight, mss, now);
        }
    }

    /// A duplicate acknowledgement without SACK blocks. The third, from a peer that has no SACK,
    /// means a loss (RFC 5681).
    pub(crate) fn on_duplicate(&mut self, tcb: &Tcb, mss: usize) {
        if tcb.sack {
            return;
        }
        self.duplicates = self.duplicates.saturating_add(1);
        if self.duplicates == 3 && self.recovery.is_none() {
            let flight = tcb.snd_max.since(tcb.una);
            self.recovery = Some(tcb.snd_max);
            (self.reduced, self.first_owed) = (true, true);
            self.lost_to = tcb.una.add(mss).min(tcb.snd_max);
            self.resent_to = tcb.una;
            self.congestion.on_loss(flight);
        }
    }

    /// Whether the recovery going on began with a timeout: then everything up to its end is lost.
    fn timed_out(&self) -> bool {
        self.recovery.is_some_and(|point| self.lost_to == point)
    }

    /// The first gap was sent again, and what was sent after that has arrived: send it once more.
    fn look_for_lost_again(&mut self, tcb: &Tcb, mss: usize) {
        let (Some((from, then)), Some((_, edge))) = (self.first_resent, self.board.last()) else {
            return;
        };
        if from == tcb.una && edge.after(then.add(REORDERED_MAX * mss)) {
            self.first_resent = None;
            self.resent_to = tcb.una;
            self.first_owed = true;
        }
    }

    fn forget_before(&mut self, una: Seq) {
        self.board.retain_mut(|(from, to)| {
            *from = from.max(una);
            from.before(*to)
        });
    }

    /// Adds a block to the board. One outside of what is in flight is a lie, or a duplicate's
    /// report (RFC 2883), and changes nothing; `false` then.
    fn mark_sacked(&mut self, from: Seq, to: Seq, tcb: &Tcb) -> bool {
        if !from.after(tcb.una) || !from.before(to) || to.after(tcb.snd_max) {
            return false;
        }
        let at = self.board.partition_point(|(_, end)| end.before(from));
        let overlaps = self.board[at..]
            .iter()
            .take_while(|(start, _)| !start.after(to))
            .count();
        if overlaps == 0 {
            if self.board.len() < SACK_RANGES_MAX {
                self.board.insert(at, (from, to));
            }
            return true;
        }
        let merged = (
            self.board[at].0.min(from),
            self.board[at + overlaps - 1].1.max(to),
        );
        self.board[at] = merged;
        self.board.drain(at + 1..at + overlaps);
        true
    }

    /// Gives gaps below the highest octet on the board a quarter of a round trip to be mere
    /// reordering.
    fn watch_gaps(&mut self, now: Duration) {
        let Some((_, edge)) = self.board.last().copied() else {
            self.reorder_at = None;
            return;
        };
        if self.reorder_at.is_none() && edge.after(self.lost_to) {
            let srtt = self.round_trip.smoothed().unwrap_or(Duration::ZERO);
            let window = (srtt / 4).max(REORDER_MIN);
            self.reorder_at = Some(now + window);
            self.reorder_edge = edge;
        }
    }

    /// When [`Self::due`] has something to say.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if !self.assist {
            return None;
        }
        [self.rto_at, self.probe_at, self.reorder_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// What the timers say at `now`. `flight` is not empty while any of them runs.
    pub(crate) fn due(&mut self, tcb: &Tcb, mss: usize, now: Duration) -> Due {
        let flight = tcb.snd_max.since(tcb.una);
        if !self.assist || flight == 0 {
            (self.rto_at, self.probe_at, self.reorder_at) = (None, None, None);
            return Due::Nothing;
        }
        if self.rto_at.is_some_and(|at| at <= now) {
            self.on_timeout(tcb, flight, now);
            return Due::Timeout;
        }
        if self.reorder_at.is_some_and(|at| at <= now) {
            self.reorder_at = None;
            let lost_before = self.lost_to;
            self.lost_to = self.lost_to.max(self.reorder_edge.min(tcb.snd_max));
            let found: usize = self.gaps(lost_before, self.lost_to).map(len).sum();
            let lost = self.next_resend(tcb).is_some();
            let new = lost && self.recovery.is_none();
            if new {
                (self.reduced, self.first_owed) = (false, true);
                self.recovery = Some(tcb.snd_max);
            }
            let noise = self.congestion.forgives(found) && !self.round_trip.shows_queue();
            if self.recovery.is_some() && !self.reduced && !noise {
                self.reduced = true;
                self.congestion.on_loss(flight);
            }
            self.watch_gaps(now);
            self.probe_at = None;
            return if lost {
                Due::Loss { new }
            } else {
                Due::Nothing
            };
        }
        if self.probe_at.is_some_and(|at| at <= now) {
            self.probe_at = None;
            let from = tcb.una.max(tcb.snd_max.back(mss));
            return Due::Probe(Resend {
                from,
                to: tcb.snd_max,
            });
        }
        Due::Nothing
    }

    fn on_timeout(&mut self, tcb: &Tcb, flight: usize, now: Duration) {
        self.congestion.on_timeout(flight);
        self.round_trip.back_off();
        self.rto_at = Some(now + self.round_trip.timeout());
        self.recovery = Some(tcb.snd_max);
        (self.reduced, self.first_resent) = (true, None);
        self.lost_to = tcb.snd_max;
        self.resent_to = tcb.una;
        // A peer may drop what it SACKed (RFC 2018, section 8): believe nothing any more.
        self.board.clear();
        (self.probe_at, self.reorder_at) = (None, None);
    }

    /// Puts the timeout off: nothing can be sent, the peer's window being closed.
    pub(crate) fn postpone(&mut self, now: Duration) {
        self.rto_at = Some(now + self.round_trip.timeout());
        (self.probe_at, self.reorder_at) = (None, None);
    }

    /// The path takes smaller packets: all in flight was lost, though not to congestion.
    pub(crate) fn on_smaller_mtu(&mut self, tcb: &Tcb, mss: usize) {
        self.congestion.set_mss(mss);
        if self.assist {
            self.recovery = Some(tcb.snd_max);
            self.lost_to = tcb.snd_max;
            self.resent_to = tcb.una;
            self.reduced = true;
            self.round_trip.forget_sample();
        }
    }
}

fn len(gap: Resend) -> usize {
    gap.to.since(gap.from)
}

/// Payload octets of a full segment.
pub(crate) fn mss(tcb: &Tcb, mtu: u16) -> usize {
    usize::from(mtu.saturating_sub(40).min(tcb.mss)).max(MSS_MIN)
}

/// smoltcp sends no smaller segments, whatever the peer asks (Linux's `TCP_MIN_SND_MSS`).
const MSS_MIN: usize = 48;

#[cfg(test)]
mod tests;
