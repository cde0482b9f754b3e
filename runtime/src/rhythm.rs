//! Frames that come in a rhythm, as pings and health checks do, are awaited awake.
//!
//! Waking an idle processor takes longer than all we do with a frame. After a few frames at equal
//! distances a worker wakes shortly before the next one is due and looks for it. When it does not
//! come the rhythm is over: without traffic a worker wakes up once, and then no more.

use std::time::{Duration, Instant};

/// The shortest time before, and after, the moment a frame is due that is spent looking for it;
/// what two wake-ups in a row may differ by.
const REACH_MIN: Duration = Duration::from_micros(200);

/// The longest such time.
const REACH_MAX: Duration = Duration::from_micros(500);

/// The reach is this part of the interval, within its bounds: of a processor's time at most a
/// twenty-fifth is spent looking.
const REACH_PART: u32 = 50;

/// Intervals shorter than this are no rhythm.
const INTERVAL_MIN: Duration = Duration::from_millis(9);

/// Intervals longer than this are no rhythm: clocks drift apart.
const INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Intervals in a row that agree before the next one is counted on.
const AGREEING: u8 = 3;

/// What is known of when frames come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rhythm {
    /// When the last frame came.
    heard: Option<Instant>,
    /// When the last frame came that was on the beat.
    beat: Option<Instant>,
    interval: Duration,
    /// Intervals in a row that agreed with `interval`.
    agreed: u8,
    /// With one processor whoever would send the frame cannot run while we look.
    never: bool,
}

impl Rhythm {
    /// None yet; with one processor there never is one.
    pub(crate) fn new(processors: usize) -> Self {
        Self {
            never: processors < 2,
            ..Self::default()
        }
    }

    /// From when to when the next frame is to be looked for.
    pub(crate) fn due(&self) -> Option<(Instant, Instant)> {
        let beat = self.beat.filter(|_| self.agreed >= AGREEING)?;
        let due = beat + self.interval;
        Some((due.checked_sub(self.reach())?, due + self.reach()))
    }

    /// A frame came at `now`, after a rest.
    pub(crate) fn heard(&mut self, now: Instant) {
        if self.never {
            return;
        }
        let before = self.heard.replace(now);
        if let Some((from, _)) = self.due() {
            if now < from {
                return; // between two beats
            }
        } else if before.is_some_and(|before| now.duration_since(before) < INTERVAL_MIN / 2) {
            return; // another of the same beat
        }
        let Some(beat) = self.beat else {
            self.beat = Some(now);
            return;
        };
        let passed = now.duration_since(beat);
        if !self.interval.is_zero() && passed.abs_diff(self.interval) <= self.reach() {
            self.agreed = self.agreed.saturating_add(1).min(AGREEING);
            // A quarter of the way: what one wake-up took longer than another evens out.
            self.interval = (self.interval * 3 + passed) / 4;
        } else {
            self.agreed = 0;
            let is_one = passed >= INTERVAL_MIN && passed <= INTERVAL_MAX;
            self.interval = if is_one { passed } else { Duration::ZERO };
        }
        self.beat = Some(now);
    }

    /// The frame that was looked for did not come.
    pub(crate) fn missed(&mut self) {
        *self = Self {
            never: self.never,
            ..Self::default()
        };
    }

    fn reach(&self) -> Duration {
        if self.interval.is_zero() {
            return Duration::ZERO;
        }
        (self.interval / REACH_PART).clamp(REACH_MIN, REACH_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const US: fn(u64) -> Duration = Duration::from_micros;

    /// A rhythm that heard frames at these times, in microseconds, and the origin of time.
    fn heard(times: &[u64]) -> (Rhythm, Instant) {
        let origin = Instant::now();
        let mut rhythm = Rhythm::new(2);
        for at in times {
            rhythm.heard(origin + US(*at));
        }
        (rhythm, origin)
    }

    #[test]
    fn frames_at_equal_distances_are_awaited_around_the_next() {
        let (mut rhythm, origin) = heard(&[0, 10_000, 20_100, 29_950]);
        assert_eq!(rhythm.due(), None);
        rhythm.heard(origin + US(40_000));
        let (from, to) = rhythm.due().unwrap();
        assert_eq!(to.duration_since(from), 2 * REACH_MIN);
        let due = (from + REACH_MIN).duration_since(origin);
        assert!(due.abs_diff(US(50_000)) < US(100), "{due:?}");
    }

    #[test]
    fn a_frame_that_does_not_come_ends_it() {
        let (mut rhythm, origin) = heard(&[0, 10_000, 20_000, 30_000, 40_000]);
        assert!(rhythm.due().is_some());
        rhythm.missed();
        assert_eq!(rhythm.due(), None);
        rhythm.heard(origin + MS(60));
        rhythm.heard(origin + MS(70));
        assert_eq!(rhythm.due(), None);
    }

    #[test]
    fn frames_between_two_beats_and_of_the_same_beat_change_nothing() {
        let (mut rhythm, origin) = heard(&[0, 10_000, 20_000, 30_000, 40_000]);
        let due = rhythm.due();
        for at in [40_100, 41_000, 45_000, 46_000] {
            rhythm.heard(origin + US(at));
        }
        assert_eq!(rhythm.due(), due);
        rhythm.heard(origin + US(50_050));
        assert!(rhythm.due() > due);
    }

    #[test]
    fn what_is_irregular_or_too_fast_or_too_slow_is_none() {
        let cases: [&[u64]; 4] = [
            &[0, 10_000, 21_000, 30_000, 41_000, 50_000],
            &[0, 1000, 2000, 3000, 4000, 5000],
            &[0, 8000, 16_000, 24_000, 32_000, 40_000],
            &[0, 11_000_000, 22_000_000, 33_000_000, 44_000_000],
        ];
        for times in cases {
            assert_eq!(heard(times).0.due(), None, "{times:?}");
        }
    }

    #[test]
    fn of_a_processor_s_time_at_most_a_twentieth_is_spent_looking() {
        for interval in [9000u64, 10_000, 100_000, 1_000_000, 10_000_000] {
            let times: Vec<u64> = (0..6).map(|at| at * interval).collect();
            let (from, to) = heard(&times).0.due().unwrap();
            assert!(to.duration_since(from) * 20 <= US(interval), "{interval}");
        }
    }

    #[test]
    fn one_processor_never_looks() {
        let origin = Instant::now();
        let mut rhythm = Rhythm::new(1);
        for at in 0..10 {
            rhythm.heard(origin + MS(10 * at));
        }
        assert_eq!(rhythm.due(), None);
    }
}
