//! Round-trip times: smoothed, the least, and the timeout made of them.
//!
//! - Spec: RFC 6298, with Linux's least timeout of 200 ms.

use std::time::Duration;

use super::seq::Seq;

const RTO_MIN: Duration = Duration::from_millis(200);
/// The longest timeout.
pub(crate) const RTO_MAX: Duration = Duration::from_mins(1);
/// What is assumed of a path nothing is known of.
pub(crate) const RTO_INITIAL: Duration = Duration::from_secs(1);

/// How long the least round trip is believed; routes change.
const LEAST_AGE: Duration = Duration::from_secs(10);
/// A round trip longer than the least by a quarter and this shows a queue on the path.
const JITTER: Duration = Duration::from_millis(1);

/// The round-trip times of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    timeout: Duration,
    latest: Duration,
    least: Duration,
    least_at: Duration,
    /// A segment being timed: the number that acknowledges it, when it was sent.
    sample: Option<(Seq, Duration)>,
}

impl RoundTrip {
    pub(crate) fn new() -> Self {
        Self {
            smoothed: None,
            variation: Duration::ZERO,
            timeout: RTO_INITIAL,
            latest: Duration::ZERO,
            least: Duration::ZERO,
            least_at: Duration::ZERO,
            sample: None,
        }
    }

    /// The smoothed time; `None` until something was timed.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// How long an acknowledgement may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether the last round trip shows a queue on the path, or nothing is known of it.
    pub(crate) fn shows_queue(&self) -> bool {
        self.smoothed.is_none() || self.latest > self.least + self.least / 4 + JITTER
    }

    /// Reads a little of it here and there, to have it in the cache.
    pub(crate) fn warm(&self) -> u32 {
        self.timeout.subsec_nanos() ^ self.least.subsec_nanos()
    }

    /// A segment that ends before `end` is sent for the first time.
    pub(crate) fn on_sent(&mut self, end: Seq, now: Duration) {
        self.sample.get_or_insert((end, now));
    }

    /// `from..to` is sent again: an acknowledgement of it may mean either copy (Karn).
    pub(crate) fn on_resent(&mut self, from: Seq, to: Seq) {
        if self
            .sample
            .is_some_and(|(end, _)| from.before(end) && !to.before(end))
        {
            self.sample = None;
        }
    }

    /// Nothing under way can be timed any more.
    pub(crate) fn forget_sample(&mut self) {
        self.sample = None;
    }

    /// SND.UNA moved to `una`, from which the timeout recovers.
    pub(crate) fn on_progress(&mut self, una: Seq, now: Duration) {
        // Karn keeps a backed-off timeout until there is a sample. Without timestamps there may be
        // none while losses last, so it comes back by halves.
        self.timeout = self.base().max(self.timeout / 2);
        if let Some((end, sent_at)) = self.sample
            && !una.before(end)
        {
            self.measure(now.saturating_sub(sent_at), now);
        }
    }

    /// `from..to` was acknowledged selectively.
    pub(crate) fn on_sacked(&mut self, from: Seq, to: Seq, now: Duration) {
        if let Some((end, sent_at)) = self.sample
            && from.before(end)
            && !to.before(end)
        {
            self.measure(now.saturating_sub(sent_at), now);
        }
    }

    /// The timeout passed: the next is twice as long.
    pub(crate) fn back_off(&mut self) {
        self.timeout = (self.timeout * 2).min(RTO_MAX);
        self.sample = None;
    }

    fn measure(&mut self, rtt: Duration, now: Duration) {
        self.sample = None;
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variation = rtt / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(rtt)) / 4;
                self.smoothed = Some((smoothed * 7 + rtt) / 8);
            }
        }
        self.latest = rtt;
        if self.least.is_zero() || rtt <= self.least || self.least_at + LEAST_AGE <= now {
            self.least = rtt;
            self.least_at = now;
        }
        self.timeout = self.base();
    }

    /// The timeout without backing off.
    fn base(&self) -> Duration {
        self.smoothed.map_or(RTO_INITIAL, |smoothed| {
            (smoothed + 4 * self.variation).clamp(RTO_MIN, RTO_MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn timed(round_trip: &mut RoundTrip, rtt: u64, now: u64) {
        round_trip.on_sent(Seq(100), MS(now));
        round_trip.on_progress(Seq(100), MS(now + rtt));
    }

    #[test]
    fn the_timeout_follows_the_round_trip_and_is_at_least_200_ms() {
        let mut round_trip = RoundTrip::new();
        assert_eq!(round_trip.timeout(), MS(1000));
        timed(&mut round_trip, 10, 0);
        assert_eq!(round_trip.timeout(), MS(200));
        timed(&mut round_trip, 810, 100);
        assert_eq!(round_trip.smoothed(), Some(MS(110)));
        round_trip.back_off();
        let backed_off = round_trip.timeout();
        round_trip.on_progress(Seq(100), MS(2000));
        assert_eq!(round_trip.timeout(), backed_off / 2);
    }

    #[test]
    fn a_longer_round_trip_than_the_least_shows_a_queue_and_an_unknown_one_might() {
        let mut round_trip = RoundTrip::new();
        assert!(round_trip.shows_queue());
        timed(&mut round_trip, 40, 0);
        timed(&mut round_trip, 50, 100);
        assert!(!round_trip.shows_queue());
        timed(&mut round_trip, 60, 200);
        assert!(round_trip.shows_queue());
        // After ten seconds the old least is no yardstick any more.
        timed(&mut round_trip, 60, 10_300);
        assert!(!round_trip.shows_queue());
    }

    #[test]
    fn what_was_sent_twice_is_not_timed_and_what_was_sacked_is() {
        let mut round_trip = RoundTrip::new();
        round_trip.on_sent(Seq(100), MS(0));
        round_trip.on_resent(Seq(200), Seq(300));
        round_trip.on_resent(Seq(50), Seq(100));
        round_trip.on_progress(Seq(100), MS(30));
        assert_eq!(round_trip.smoothed(), None);
        round_trip.on_sent(Seq(400), MS(30));
        round_trip.on_sacked(Seq(200), Seq(300), MS(40));
        assert_eq!(round_trip.smoothed(), None);
        round_trip.on_sacked(Seq(300), Seq(400), MS(50));
        assert_eq!(round_trip.smoothed(), Some(MS(20)));
    }
}
