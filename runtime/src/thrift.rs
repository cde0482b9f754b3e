//! When a worker gives back the memory its connections needed and need no longer.
//!
//! The allocator keeps what is freed, for the next crowd. Nothing tells whether one comes, so it is
//! given back some time after the last one has gone.

use std::time::Duration;

/// What has to be spare for it to be worth the while, octets.
const WORTH: usize = 16 << 20;

/// How long it has to be spare.
const CALM: Duration = Duration::from_secs(2);

/// What was in use at most, and since when much less is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Thrift {
    most: usize,
    due: Option<Duration>,
}

impl Thrift {
    /// `octets` are in use at `now`.
    pub(crate) fn uses(&mut self, octets: usize, now: Duration) {
        self.most = self.most.max(octets);
        if self.most - octets < WORTH {
            self.due = None;
        } else if self.due.is_none() {
            self.due = Some(now + CALM);
        }
    }

    /// When to give back what is spare.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// It is given back, and `octets` are in use.
    pub(crate) fn given(&mut self, octets: usize) {
        *self = Self {
            most: octets,
            due: None,
        };
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
        thrift.given(0);
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
}
