//! Frames that come in a rhythm, as pings and health checks do, are awaited awake.
//!
//! Waking an idle processor takes longer than all we do with a frame. After a few frames at equal
//! distances a worker wakes shortly before the next one is due and looks for it. When it does not
//! come, nothing is awaited until the next frame does: without traffic a worker wakes up once, and
//! then no more. A frame that was late or lost does not end a rhythm that has lasted; several do.

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

/// After so many beats without a frame on one of them, one that is on a beat again is chance.
const BEATS_MAX: u32 = 8;

/// How much later than asked a wake-up is taken to be before there was one.
const LATE_FIRST: Duration = Duration::from_micros(100);

/// The most lateness that is allowed for at short intervals.
const LATE_MAX: Duration = Duration::from_micros(400);

/// At long ones it is this part of the interval: the kernel lets a sleep end later by a thousandth
/// of it (`select_estimate_accuracy`), and a host by some more.
const LATE_PART: u32 = 250;

/// What is known of when frames come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rhythm {
    /// When the last frame came.
    heard: Option<Instant>,
    /// The last time between two frames that could be an interval.
    gap: Duration,
    /// When the frame came that the next is counted from.
    beat: Option<Instant>,
    /// When the last frame came that was on the beat: who sends by a timetable, and not so long
    /// after our answer, keeps to it after one that was late.
    steady: Option<Instant>,
    /// The frame after `beat` did not come: the next is not awaited.
    missing: bool,
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
    /// When it is there if it is on the beat.
    at: Instant,
    /// Until when to look.
    pub(crate) until: Instant,
}

impl Due {
    /// Whether there is time for something else at `now`, before the frame is there.
    pub(crate) fn leaves_time(&self, now: Instant) -> bool {
        now < self.at
    }
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
        if self.missing || self.trust < TRUST_MIN {
            return None;
        }
        let at = self.beat? + self.interval;
        let reach = reach(self.interval);
        let wake = at.checked_sub(reach + self.late.min(self.late_max()))?;
        let until = at + reach;
        Some(match self.awake {
            None => Due { wake, at, until },
            Some(awake) => Due {
                wake: wake.min(awake),
                at,
                until: until.min(awake + self.interval / AWAKE_PART),
            },
        })
    }

    /// A sleep that was to end at `asked`, to look for a frame, did at `now`, or a little earlier
    /// than it would have because the frame was there.
    pub(crate) fn woken(&mut self, asked: Instant, now: Instant, by_frame: bool) {
        let most = self.late_max();
        let late = now.saturating_duration_since(asked);
        self.late = if by_frame {
            self.late.max(late * 2).min(most)
        } else {
            (self.late.min(most) * 3 + late.min(most)) / 4
        };
        self.awake = Some(now);
    }

    /// A frame came at `now`, after a rest.
    pub(crate) fn heard(&mut self, now: Instant) {
        if self.never {
            return;
        }
        let before = self.heard.replace(now);
        let gap = before.map_or(Duration::ZERO, |before| now.duration_since(before));
        let faster = self.is_faster(gap);
        let Some(beat) = self.beat else {
            self.start(now);
            return;
        };
        let passed = now.duration_since(beat);
        if self.is_beat(beat, now, 1) {
            // A quarter of the way: what one wake-up took longer than another evens out.
            let interval = (self.interval * 3 + passed) / 4;
            self.interval = interval.clamp(INTERVAL_MIN, INTERVAL_MAX);
            self.agree(now);
        } else if self
            .steady
            .is_some_and(|steady| self.is_beat(steady, now, BEATS_MAX))
        {
            self.agree(now);
        } else if faster {
            self.interval = gap;
            self.trust = 0;
            self.agree(now);
        } else if gap < INTERVAL_MIN / 2 || self.due().is_some_and(|due| now < due.wake) {
            // Another of the same beat, or between two.
        } else {
            if !self.missing {
                self.trust = self.trust.saturating_sub(DISTRUST);
            }
            if self.trust == 0 {
                let is_one = passed >= INTERVAL_MIN && passed <= INTERVAL_MAX;
                self.interval = if is_one { passed } else { Duration::ZERO };
                self.steady = None;
            }
            self.start(now);
        }
    }

    /// The frame that was looked for did not come.
    pub(crate) fn missed(&mut self) {
        self.missing = true;
        self.awake = None;
        self.trust = self.trust.saturating_sub(DISTRUST);
        if self.trust == 0 {
            self.interval = Duration::ZERO;
            (self.beat, self.steady) = (None, None);
        }
    }

    /// The next frame is counted from `now`.
    fn start(&mut self, now: Instant) {
        self.beat = Some(now);
        self.missing = false;
        self.awake = None;
    }

    /// The frame at `now` is on the beat.
    fn agree(&mut self, now: Instant) {
        self.start(now);
        self.steady = Some(now);
        self.trust = self.trust.saturating_add(1).min(TRUST_MAX);
    }

    /// Whether `now` is a whole number of intervals, of up to `most`, after `from`.
    fn is_beat(&self, from: Instant, now: Instant, most: u32) -> bool {
        let (passed, reach) = (now.duration_since(from), reach(self.interval));
        let mut beats = (1..=most)
            .map(|count| self.interval * count)
            .take_while(|at| *at <= passed + reach);
        !self.interval.is_zero() && beats.any(|at| passed <= at + reach)
    }

    /// Whether this `gap` and the last tell of a rhythm at least twice as fast as the one there is,
    /// whose beats all of its frames would fall between.
    fn is_faster(&mut self, gap: Duration) -> bool {
        if gap < INTERVAL_MIN {
            return false;
        }
        let last = std::mem::replace(&mut self.gap, gap);
        gap * 2 <= self.interval && gap.abs_diff(last) <= reach(gap)
    }

    /// The most lateness that leaves time to look: who is woken punctually for once must not give
    /// up before the frame is due.
    fn late_max(&self) -> Duration {
        let most = LATE_MAX.max(self.interval / LATE_PART);
        most.min((self.interval / AWAKE_PART).saturating_sub(reach(self.interval)))
    }
}

/// How far from the beat a frame may be.
fn reach(interval: Duration) -> Duration {
    (interval / REACH_PART).clamp(REACH_MIN, REACH_MAX)
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

    /// `count` frames, so many microseconds apart.
    fn regular(count: u64, interval: u64) -> (Rhythm, Instant) {
        heard(&(0..count).map(|at| at * interval).collect::<Vec<_>>())
    }

    /// The next wake-up is `late` by so much, and its frame comes on the beat.
    fn wake(rhythm: &mut Rhythm, late: Duration) {
        let due = rhythm.due().unwrap();
        rhythm.woken(due.wake, due.wake + late, false);
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
        assert_eq!(
            due.until.duration_since(due.wake),
            2 * REACH_MIN + LATE_FIRST
        );
        let at = due.until.duration_since(origin + REACH_MIN);
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
        let (mut rhythm, origin) = regular(10, 10_000);
        rhythm.missed();
        rhythm.heard(origin + US(101_500));
        let due = rhythm.due().unwrap();
        let at = due.until.duration_since(origin + REACH_MIN);
        assert_eq!(at, US(111_500), "counted from the one that was late");
    }

    #[test]
    fn several_frames_that_do_not_come_end_it() {
        let (mut rhythm, origin) = regular(20, 10_000);
        let mut misses = 0;
        while rhythm.due().is_some() {
            misses += 1;
            rhythm.missed();
            rhythm.heard(origin + MS(200 + 17 * misses));
        }
        assert_eq!(misses, u64::from(TRUST_MAX / DISTRUST));
    }

    #[test]
    fn there_is_time_for_something_else_until_the_frame_is_due() {
        for interval in [10u64, 1000] {
            let (rhythm, origin) = regular(8, interval * 1000);
            let due = rhythm.due().unwrap();
            let at = 8000 * interval;
            assert!(due.leaves_time(origin + US(at - 10)), "{interval} ms");
            assert!(!due.leaves_time(origin + US(at + 10)), "{interval} ms");
        }
    }

    #[test]
    fn what_a_wake_up_is_late_by_is_allowed_for() {
        let (mut rhythm, _) = heard(&[0, 10_000, 20_000, 30_000]);
        let ahead = |rhythm: &Rhythm| {
            let due = rhythm.due().unwrap();
            due.until.duration_since(due.wake + 2 * REACH_MIN)
        };
        assert_eq!(ahead(&rhythm), LATE_FIRST);
        (0..40).for_each(|_| wake(&mut rhythm, US(260)));
        assert!(ahead(&rhythm).abs_diff(US(260)) < US(2), "{rhythm:?}");
        (0..40).for_each(|_| wake(&mut rhythm, MS(5)));
        assert!(
            ahead(&rhythm).abs_diff(US(300)) < US(2),
            "punctual for once, it would still look when the frame is due: {rhythm:?}"
        );
    }

    #[test]
    fn a_frame_that_was_there_first_tells_that_wake_ups_are_later() {
        let (mut rhythm, _) = regular(8, 1_000_000);
        let asked = rhythm.due().unwrap().wake;
        rhythm.woken(asked, asked + US(600), true);
        rhythm.missed();
        rhythm.heard(asked + MS(1));
        let due = rhythm.due().unwrap();
        assert_eq!(due.until.duration_since(due.wake), 2 * REACH_MAX + US(1200));
    }

    #[test]
    fn what_was_learned_of_long_sleeps_does_not_spoil_short_ones() {
        let (mut rhythm, origin) = heard(&[0, 9_000_000, 18_000_000, 27_000_000]);
        (0..40).for_each(|_| wake(&mut rhythm, MS(9)));
        while rhythm.due().is_some() {
            rhythm.missed();
            rhythm.heard(rhythm.heard.unwrap() + MS(11));
        }
        let start = rhythm.heard.unwrap().duration_since(origin);
        for at in 1..5 {
            rhythm.heard(origin + start + MS(10 * at));
        }
        let due = rhythm.due().unwrap();
        assert!(due.wake > rhythm.heard.unwrap() + MS(9), "{rhythm:?}");
    }

    #[test]
    fn a_faster_rhythm_takes_over_at_once() {
        for slow in [100u64, 1000, 9900] {
            let (mut rhythm, origin) = regular(10, slow * 1000);
            rhythm.missed();
            let mut now = origin + MS(slow * 60);
            for _ in 0..5 {
                rhythm.heard(now);
                now += MS(10);
            }
            let due = rhythm.due().unwrap();
            assert!(due.wake < now && now < due.until, "{slow}: {rhythm:?}");
        }
    }

    #[test]
    fn who_sends_by_a_timetable_is_awaited_again_after_one_that_was_late() {
        let (mut rhythm, origin) = regular(10, 10_000);
        rhythm.missed();
        rhythm.heard(origin + US(101_000));
        rhythm.heard(origin + US(110_000));
        let due = rhythm.due().unwrap();
        let at = due.until.duration_since(origin + REACH_MIN);
        assert_eq!(at, US(120_000));
    }

    #[test]
    fn a_rhythm_with_every_third_frame_lost_is_kept() {
        let (mut rhythm, origin) = regular(10, 10_000);
        for at in 10..100 {
            if at % 3 == 0 {
                rhythm.missed();
            } else {
                rhythm.heard(origin + MS(10 * at));
                assert!(rhythm.due().is_some(), "{at}: {rhythm:?}");
            }
        }
    }

    #[test]
    fn who_sends_a_little_early_each_time_does_not_make_us_look_more_often() {
        let (mut rhythm, mut now) = heard(&[0, 9000, 18_000, 27_000]);
        now += MS(27);
        for _ in 0..1000 {
            now += rhythm.interval.saturating_sub(US(190));
            rhythm.heard(now);
            assert!(rhythm.interval >= INTERVAL_MIN || rhythm.due().is_none());
        }
    }

    #[test]
    fn who_woke_early_stays_awake() {
        let (mut rhythm, _) = heard(&[0, 10_000, 20_000, 30_000]);
        (0..40).for_each(|_| wake(&mut rhythm, US(300)));
        let asked = rhythm.due().unwrap().wake;
        rhythm.woken(asked, asked, false);
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
            let (mut rhythm, _) = regular(6, interval);
            (0..40).for_each(|_| wake(&mut rhythm, MS(5)));
            let asked = rhythm.due().unwrap().wake;
            rhythm.woken(asked, asked, false);
            let awake = rhythm.due().unwrap().until.duration_since(asked);
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
