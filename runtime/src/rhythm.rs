//! Frames that come in a rhythm, as pings and health checks do, are awaited awake.
//!
//! Waking an idle processor takes longer than all we do with a frame. After a few frames at equal
//! distances a worker wakes shortly before the next one is due and looks for it. When it does not
//! come, nothing is awaited until the next frame does: without traffic a worker wakes up once, and
//! then no more. One frame that was late or lost does not end a rhythm; several do.

use std::time::{Duration, Instant};

/// The shortest time before, and after, the moment a frame is due that is spent looking for it;
/// what two wake-ups in a row may differ by.
const REACH_MIN: Duration = Duration::from_micros(200);

/// The longest such time.
const REACH_MAX: Duration = Duration::from_micros(500);

/// The reach is this part of the interval, within its bounds.
const REACH_PART: u32 = 50;

/// At most this part of an interval is spent awake, however early we woke.
const AWAKE_PART: u32 = 20;

/// Intervals shorter than this are no rhythm.
const INTERVAL_MIN: Duration = Duration::from_millis(9);

/// Intervals longer than this are no rhythm: clocks drift apart.
const INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Trust from which the next frame is awaited; each frame on the beat adds one.
const TRUST_MIN: u8 = 1;

/// The most trust a rhythm earns.
const TRUST_MAX: u8 = 8;

/// Trust lost with a frame that is not on the beat, or does not come: a rhythm is kept where two of
/// three are.
const DISTRUST: u8 = 2;

/// How much later than asked a wake-up is taken to be before there was one.
const LATE_FIRST: Duration = Duration::from_micros(100);

/// The least lateness of a wake-up that is allowed for, whatever the interval.
const LATE_MIN: Duration = Duration::from_micros(400);

/// The most is this part of the interval, or [`LATE_MIN`]: the kernel rounds the end of a sleep by
/// a thousandth of it (`select_estimate_accuracy`).
const LATE_PART: u32 = 250;

/// What is known of when frames come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rhythm {
    /// When the last frame came.
    heard: Option<Instant>,
    /// When the last frame came that the next is counted from; none after one that did not come.
    beat: Option<Instant>,
    interval: Duration,
    trust: u8,
    /// How much later than asked the kernel wakes us, of late.
    late: Duration,
    /// Since when the next frame is awaited awake; until it comes, or is missed.
    awake: Option<Instant>,
    /// With one processor whoever would send the frame cannot run while we look.
    never: bool,
}

/// When to look for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// When to ask to be woken.
    pub(crate) wake: Instant,
    /// Until when to look.
    pub(crate) to: Instant,
}

impl Rhythm {
    /// None yet; with one processor there never is one.
    pub(crate) fn new(processors: usize) -> Self {
        Self {
            never: processors < 2,
            late: LATE_FIRST,
            ..Self::default()
        }
    }

    /// When the next frame is to be looked for.
    pub(crate) fn due(&self) -> Option<Due> {
        let beat = self.beat.filter(|_| self.trust >= TRUST_MIN)?;
        let due = beat + self.interval;
        let wake = due.checked_sub(self.reach() + self.late)?;
        let to = due + self.reach();
        Some(match self.awake {
            None => Due { wake, to },
            Some(awake) => Due {
                wake: wake.min(awake),
                to: to.min(awake + self.interval / AWAKE_PART),
            },
        })
    }

    /// A sleep that was to end at `asked`, when a frame was to be looked for, did at `now`.
    pub(crate) fn woken(&mut self, asked: Instant, now: Instant) {
        let most = LATE_MIN.max(self.interval / LATE_PART);
        let late = now.saturating_duration_since(asked).min(most);
        self.late = (self.late * 3 + late) / 4;
        self.awake = Some(now);
    }

    /// A frame came at `now`, after a rest.
    pub(crate) fn heard(&mut self, now: Instant) {
        if self.never {
            return;
        }
        let before = self.heard.replace(now);
        if let Some(due) = self.due() {
            if now < due.wake {
                return; // between two beats
            }
        } else if before.is_some_and(|before| now.duration_since(before) < INTERVAL_MIN / 2) {
            return; // another of the same beat
        }
        self.awake = None;
        let Some(beat) = self.beat.replace(now) else {
            return;
        };
        let passed = now.duration_since(beat);
        if !self.interval.is_zero() && passed.abs_diff(self.interval) <= self.reach() {
            self.trust = self.trust.saturating_add(1).min(TRUST_MAX);
            // A quarter of the way: what one wake-up took longer than another evens out.
            self.interval = (self.interval * 3 + passed) / 4;
        } else {
            self.distrust();
            if self.trust == 0 {
                let is_one = passed >= INTERVAL_MIN && passed <= INTERVAL_MAX;
                self.interval = if is_one { passed } else { Duration::ZERO };
            }
        }
    }

    /// The frame that was looked for did not come.
    pub(crate) fn missed(&mut self) {
        self.beat = None;
        self.awake = None;
        self.distrust();
    }

    fn distrust(&mut self) {
        self.trust = self.trust.saturating_sub(DISTRUST);
        if self.trust == 0 {
            self.interval = Duration::ZERO;
        }
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

    /// The next wake-up is `late` by so much, and its frame comes on the beat.
    fn wake(rhythm: &mut Rhythm, late: Duration) {
        let due = rhythm.due().unwrap();
        rhythm.woken(due.wake, due.wake + late);
        let beat = rhythm.beat.unwrap() + rhythm.interval;
        rhythm.heard(beat);
    }

    #[test]
    fn frames_at_equal_distances_are_awaited_around_the_next() {
        let (mut rhythm, origin) = heard(&[0, 10_000]);
        assert_eq!(rhythm.due(), None);
        rhythm.heard(origin + US(20_100));
        assert!(rhythm.due().is_some());
        rhythm.heard(origin + US(30_000));
        let due = rhythm.due().unwrap();
        assert_eq!(due.to.duration_since(due.wake), 2 * REACH_MIN + LATE_FIRST);
        let at = due.to.duration_since(origin + REACH_MIN);
        assert!(at.abs_diff(US(40_000)) < US(100), "{at:?}");
    }

    #[test]
    fn without_frames_nothing_is_awaited_twice() {
        let (mut rhythm, _) = heard(&[0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000]);
        assert!(rhythm.due().is_some());
        rhythm.missed();
        assert_eq!(rhythm.due(), None);
    }

    #[test]
    fn one_frame_that_is_late_or_lost_does_not_end_it() {
        let regular: Vec<u64> = (0..10).map(|at| at * 10_000).collect();
        let (mut rhythm, origin) = heard(&regular);
        rhythm.missed();
        rhythm.heard(origin + US(101_500));
        let due = rhythm.due().unwrap();
        let at = due.to.duration_since(origin + REACH_MIN);
        assert_eq!(at, US(111_500), "counted from the one that was late");
    }

    #[test]
    fn several_frames_that_do_not_come_end_it() {
        let regular: Vec<u64> = (0..20).map(|at| at * 10_000).collect();
        let (mut rhythm, origin) = heard(&regular);
        let mut misses = 0;
        while rhythm.due().is_some() {
            misses += 1;
            rhythm.missed();
            rhythm.heard(origin + MS(200 + 17 * misses));
        }
        assert_eq!(misses, u64::from(TRUST_MAX / DISTRUST));
    }

    #[test]
    fn what_a_wake_up_is_late_by_is_allowed_for() {
        let (mut rhythm, _) = heard(&[0, 10_000, 20_000, 30_000]);
        let ahead = |rhythm: &Rhythm| {
            let due = rhythm.due().unwrap();
            due.to.duration_since(due.wake + 2 * REACH_MIN)
        };
        assert_eq!(ahead(&rhythm), LATE_FIRST);
        (0..40).for_each(|_| wake(&mut rhythm, US(260)));
        assert!(ahead(&rhythm).abs_diff(US(260)) < US(2), "{rhythm:?}");
        (0..40).for_each(|_| wake(&mut rhythm, MS(5)));
        assert!(ahead(&rhythm).abs_diff(LATE_MIN) < US(2), "{rhythm:?}");
    }

    #[test]
    fn who_woke_early_stays_awake() {
        let (mut rhythm, _) = heard(&[0, 10_000, 20_000, 30_000]);
        (0..40).for_each(|_| wake(&mut rhythm, US(300)));
        let asked = rhythm.due().unwrap().wake;
        rhythm.woken(asked, asked);
        assert_eq!(rhythm.due().unwrap().wake, asked);
    }

    #[test]
    fn frames_between_two_beats_and_of_the_same_beat_change_nothing() {
        let (mut rhythm, origin) = heard(&[0, 10_000, 20_000, 30_000, 40_000]);
        let due = rhythm.due().unwrap();
        for at in [40_100, 41_000, 45_000, 46_000] {
            rhythm.heard(origin + US(at));
        }
        assert_eq!(rhythm.due(), Some(due));
        rhythm.heard(origin + US(50_050));
        assert!(rhythm.due().unwrap().wake > due.wake);
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
    fn of_a_processor_s_time_at_most_a_twentieth_is_spent_awake() {
        for interval in [9000u64, 10_000, 100_000, 1_000_000, 10_000_000] {
            let times: Vec<u64> = (0..6).map(|at| at * interval).collect();
            let (mut rhythm, _) = heard(&times);
            (0..40).for_each(|_| wake(&mut rhythm, MS(5)));
            let asked = rhythm.due().unwrap().wake;
            rhythm.woken(asked, asked);
            let awake = rhythm.due().unwrap().to.duration_since(asked);
            assert!(awake * 20 <= US(interval), "{interval}: {awake:?}");
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
