//! When a worker gives back the memory its connections needed and need no longer.
//!
//! The allocator keeps what is freed, for the next crowd. Nothing tells whether one comes, so it is
//! given back some time after the last one has gone.

use std::time::Duration;

/// What has to be spare for it to be worth the while, octets.
const WORTH: usize = 16 << 20;

/// How long it has to be spare; twice as long each time it turns out that a crowd came back soon.
const CALM: Duration = Duration::from_secs(2);
const CALM_MAX: Duration = Duration::from_secs(64);

/// How many times as long nobody came back for `CALM` to be enough again.
const SOON: u32 = 8;

/// What was in use at most, and since when much less is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thrift {
    most: usize,
    due: Option<Duration>,
    calm: Duration,
    /// When something was given back last.
    given_at: Option<Duration>,
}

impl Default for Thrift {
    fn default() -> Self {
        Self {
            most: 0,
            due: None,
            calm: CALM,
            given_at: None,
        }
    }
}

impl Thrift {
    /// `octets` are in use at `now`.
    pub(crate) fn uses(&mut self, octets: usize, now: Duration) {
        self.most = self.most.max(octets);
        if self.most - octets < WORTH {
            self.due = None;
        } else if self.due.is_none() {
            self.due = Some(now + self.calm);
        }
    }

    /// When to give back what is spare.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// It is given back at `now`, and `octets` are in use.
    pub(crate) fn given(&mut self, octets: usize, now: Duration) {
        let soon = |at: Duration| now.saturating_sub(at) <= self.calm * SOON;
        self.calm = if self.given_at.is_some_and(soon) {
            (self.calm * 2).min(CALM_MAX)
        } else {
            CALM
        };
        (self.most, self.due, self.given_at) = (octets, None, Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn what_a_crowd_needed_is_given_back_some_time_after_it_has_gone() {
        let mut thrift = Thrift::default();
        thrift.uses(WORTH + 100, S(1));
        thrift.uses(101, S(2));
        assert_eq!(thrift.due(), None);
        thrift.uses(100, S(3));
        thrift.uses(0, S(4));
        assert_eq!(thrift.due(), Some(S(3) + CALM));
        thrift.given(0, S(5));
        assert_eq!(thrift.due(), None);
        thrift.uses(0, S(60));
        assert_eq!(thrift.due(), None, "there is nothing more to give");
    }

    #[test]
    fn a_crowd_that_comes_again_soon_finds_its_memory() {
        let mut thrift = Thrift::default();
        for second in 0..100 {
            let octets = if second % 2 == 0 { WORTH } else { 0 };
            thrift.uses(octets, S(second));
            assert!(thrift.due().is_none_or(|due| due > S(second)), "{second}");
        }
    }

    #[test]
    fn crowds_that_come_and_go_all_the_time_keep_most_of_it() {
        let mut thrift = Thrift::default();
        let mut given = Vec::new();
        for second in 0..600 {
            let octets = if second % 10 < 5 { WORTH } else { 0 };
            thrift.uses(octets, S(second));
            if thrift.due().is_some_and(|due| due <= S(second)) {
                thrift.given(octets, S(second));
                given.push(second);
            }
        }
        assert_eq!(given, [7, 17, 29], "nobody is away for 8 seconds");
        // They have all gone.
        thrift.uses(0, S(1000));
        assert_eq!(thrift.due(), Some(S(595) + 4 * CALM));
    }
}
