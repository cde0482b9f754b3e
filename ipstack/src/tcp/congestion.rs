//! How much may be in flight: slow start by octets, then CUBIC.
//!
//! - Spec: RFC 9438 (CUBIC), RFC 6928 (initial window of ten), RFC 3465 (byte counting).

use std::time::Duration;

/// Multiplicative decrease (RFC 9438, section 4.6).
const BETA: f64 = 0.7;
/// Aggressiveness (RFC 9438, section 5), in segments per cubic second.
const C: f64 = 0.4;
/// Of what is delivered, the part whose loss is forgiven: 2 %, as BBR version 3 has it.
const FORGIVEN: usize = 50;
/// Segments that may be forgiven at once.
const FORGIVEN_MAX: usize = 16;
/// Segments that may be forgiven before anything was delivered.
const FORGIVEN_FIRST: usize = 2;
/// Segments in the initial window.
const INITIAL_WINDOW: usize = 10;

/// The congestion window of one connection, in octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Congestion {
    /// At least one MSS.
    pub(crate) cwnd: usize,
    ssthresh: usize,
    mss: usize,
    /// Octets whose loss would be forgiven.
    forgiven: usize,
    /// The window before the last decrease, in segments.
    w_max: f64,
    /// When growth since the last decrease began.
    epoch: Option<Duration>,
    /// The window, in segments, and seconds from `epoch` to `w_max` at that time.
    origin: (f64, f64),
    /// What standard TCP would have (RFC 9438, section 4.3), in segments.
    w_est: f64,
}

impl Congestion {
    pub(crate) fn new(mss: usize) -> Self {
        Self {
            cwnd: INITIAL_WINDOW * mss,
            ssthresh: usize::MAX,
            mss,
            forgiven: FORGIVEN_FIRST * mss,
            w_max: 0.0,
            epoch: None,
            origin: (0.0, 0.0),
            w_est: 0.0,
        }
    }

    /// The path takes smaller segments.
    pub(crate) fn set_mss(&mut self, mss: usize) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(mss);
    }

    /// `acked` octets were acknowledged while the window was in use and nothing seemed lost.
    pub(crate) fn on_ack(&mut self, acked: usize, now: Duration, srtt: Duration) {
        if self.cwnd < self.ssthresh {
            self.cwnd = (self.cwnd + acked).min(self.ssthresh.max(self.cwnd));
            return;
        }
        let cwnd = self.segments(self.cwnd);
        let acked_segments = self.segments(acked);
        let epoch = *self.epoch.get_or_insert_with(|| {
            let w_max = self.w_max.max(cwnd);
            self.origin = (w_max, ((w_max - cwnd) / C).cbrt());
            self.w_est = cwnd;
            now
        });
        let elapsed = (now.saturating_sub(epoch) + srtt).as_secs_f64();
        let (w_max, k) = self.origin;
        let target = (C * (elapsed - k).powi(3) + w_max).clamp(cwnd, cwnd * 1.5);
        let alpha = 3.0 * (1.0 - BETA) / (1.0 + BETA);
        self.w_est += alpha * acked_segments / cwnd;
        let grown = (cwnd + (target - cwnd) * acked_segments / cwnd).max(self.w_est);
        self.cwnd = self.octets(grown).max(self.cwnd);
    }

    /// `octets` arrived.
    pub(crate) fn on_delivered(&mut self, octets: usize) {
        self.forgiven = (self.forgiven + octets / FORGIVEN).min(FORGIVEN_MAX * self.mss);
    }

    /// Whether `octets` lost are so few among what was delivered that they may be chance.
    pub(crate) fn forgives(&mut self, octets: usize) -> bool {
        let forgives = octets <= self.forgiven;
        self.forgiven = self.forgiven.saturating_sub(octets);
        forgives
    }

    /// Something was lost: one decrease per round trip, for the caller to see to.
    pub(crate) fn on_loss(&mut self, flight: usize) {
        let cwnd = self.segments(self.cwnd);
        // Fast convergence: leave room when the window shrinks twice in a row.
        self.w_max = if cwnd < self.w_max {
            cwnd * (1.0 + BETA) / 2.0
        } else {
            cwnd
        };
        self.epoch = None;
        let reduced = self.octets(self.segments(flight.min(self.cwnd)) * BETA);
        self.ssthresh = reduced.max(2 * self.mss);
        self.cwnd = self.ssthresh;
    }

    /// A timeout: start again from one segment.
    pub(crate) fn on_timeout(&mut self, flight: usize) {
        self.on_loss(flight);
        self.cwnd = self.mss;
    }

    /// Nothing was sent for longer than a timeout: what was learnt is half as good.
    pub(crate) fn on_idle(&mut self) {
        let initial = INITIAL_WINDOW * self.mss;
        self.cwnd = self.cwnd.min(initial.max(self.cwnd / 2));
        self.epoch = None;
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "windows are far below 2^52 octets"
    )]
    fn segments(&self, octets: usize) -> f64 {
        octets as f64 / self.mss as f64
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped between 0 and 2^30"
    )]
    fn octets(&self, segments: f64) -> usize {
        (segments * self.mss as f64).clamp(0.0, f64::from(1 << 30)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: usize = 1460;
    const RTT: Duration = Duration::from_millis(40);

    #[test]
    fn slow_start_doubles_per_round_trip_whatever_the_acks_cover() {
        let mut congestion = Congestion::new(MSS);
        assert_eq!(congestion.cwnd, 14_600);
        congestion.on_ack(14_600, RTT, RTT);
        assert_eq!(congestion.cwnd, 29_200);
    }

    #[test]
    fn a_loss_takes_three_tenths_and_cubic_brings_them_back() {
        let mut congestion = Congestion::new(MSS);
        congestion.cwnd = 100 * MSS;
        congestion.on_loss(100 * MSS);
        assert_eq!(congestion.cwnd, 70 * MSS);
        let mut now = Duration::ZERO;
        // K = cbrt(30 / 0.4) = 4.2 s until the old window is reached; the round trip is long
        // enough for standard TCP to be slower.
        let rtt = 5 * RTT;
        while now < Duration::from_millis(4300) {
            congestion.on_ack(congestion.cwnd, now, rtt);
            now += rtt;
        }
        let segments = congestion.cwnd / MSS;
        assert!((95..=110).contains(&segments), "{segments}");
    }

    #[test]
    fn one_loss_in_a_hundred_is_forgiven_and_one_in_twenty_is_not() {
        let forgiven = |interval: usize| {
            let mut congestion = Congestion::new(MSS);
            let losses = (1..=1000).filter(|at| {
                congestion.on_delivered(MSS);
                at % interval == 0 && congestion.forgives(MSS)
            });
            losses.count() * interval
        };
        assert_eq!(forgiven(100), 1000);
        assert!(forgiven(20) < 450, "{}", forgiven(20));
        assert!(!Congestion::new(MSS).forgives(3 * MSS));
    }

    #[test]
    fn a_timeout_starts_from_one_segment() {
        let mut congestion = Congestion::new(MSS);
        congestion.on_timeout(10 * MSS);
        assert_eq!(congestion.cwnd, MSS);
        congestion.on_ack(MSS, RTT, RTT);
        assert_eq!(congestion.cwnd, 2 * MSS);
    }
}
