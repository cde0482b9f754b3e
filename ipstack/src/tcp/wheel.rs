//! A hierarchical timer wheel: one deadline per index, O(1) to set, move and cancel.
//!
//! Four levels of 64 slots, a tick of 1 ms: 64 ms, 4 s, 4.4 min, 4.7 h. What lies further waits in
//! the last slot and is looked at again. Entries are doubly linked by index, so memory is 24 octets
//! per index and nothing is allocated while time passes.

use std::time::Duration;

const LEVELS: usize = 4;
const SLOTS: usize = 64;
const BITS: u32 = 6;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
    /// `level * 64 + slot`, or [`NONE`].
    place: u32,
    tick: u64,
}

const FREE: Link = Link {
    previous: NONE,
    next: NONE,
    place: NONE,
    tick: 0,
};

/// One deadline per index.
#[derive(Debug)]
pub(crate) struct Wheel {
    heads: [[u32; SLOTS]; LEVELS],
    /// Bit `n` of a level: its slot `n` is not empty.
    occupied: [u64; LEVELS],
    links: Vec<Link>,
    /// Every tick before this one has been served.
    now: u64,
    len: usize,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            heads: [[NONE; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            links: Vec::new(),
            now: 0,
            len: 0,
        }
    }

    /// Deadlines set.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether `index` has a deadline.
    #[cfg(test)]
    pub(crate) fn contains(&self, index: u32) -> bool {
        let link = self.links.get(index as usize);
        link.is_some_and(|link| link.place != NONE)
    }

    /// Sets the deadline of `index`, in place of the one it had. It fires at the first whole
    /// millisecond not before `at`.
    pub(crate) fn set(&mut self, index: u32, at: Duration) {
        let tick = ticks_up(at).max(self.now);
        let size = index as usize + 1;
        if self.links.len() < size {
            self.links.resize(size, FREE);
        }
        let link = self.links[index as usize];
        if link.place != NONE {
            if link.tick == tick {
                return;
            }
            self.unlink(index);
        }
        self.links[index as usize].tick = tick;
        self.link(index);
    }

    /// Takes the deadline of `index` away.
    pub(crate) fn cancel(&mut self, index: u32) {
        if self
            .links
            .get(index as usize)
            .is_some_and(|link| link.place != NONE)
        {
            self.unlink(index);
        }
    }

    /// Reads what setting the deadline of `index` will, to have it in the cache.
    pub(crate) fn warm(&self, index: u32) -> u64 {
        let link = |index: u32| self.links.get(index as usize);
        let Some(own) = link(index) else { return 0 };
        let tick = |index| link(index).map_or(0, |link| link.tick);
        own.tick ^ tick(own.previous) ^ tick(own.next)
    }

    fn link(&mut self, index: u32) {
        let tick = self.links[index as usize].tick;
        let distance = tick - self.now;
        let mut level = 0;
        while level + 1 < LEVELS && distance >> (BITS * (low(level) + 1)) != 0 {
            level += 1;
        }
        // Beyond the last level: its furthest slot.
        let furthest = self.now + (1 << (BITS * low(LEVELS))) - 1;
        let slot = ((tick.min(furthest) >> (BITS * low(level))) & 63) as usize;
        let head = self.heads[level][slot];
        self.links[index as usize] = Link {
            previous: NONE,
            next: head,
            place: low(level * SLOTS + slot),
            tick,
        };
        if head != NONE {
            self.links[head as usize].previous = index;
        }
        self.heads[level][slot] = index;
        self.occupied[level] |= 1 << slot;
        self.len += 1;
    }

    fn unlink(&mut self, index: u32) {
        let link = self.links[index as usize];
        let (level, slot) = (link.place as usize / SLOTS, link.place as usize % SLOTS);
        if link.previous == NONE {
            self.heads[level][slot] = link.next;
            if link.next == NONE {
                self.occupied[level] &= !(1 << slot);
            }
        } else {
            self.links[link.previous as usize].next = link.next;
        }
        if link.next != NONE {
            self.links[link.next as usize].previous = link.previous;
        }
        self.links[index as usize].place = NONE;
        self.len -= 1;
    }

    /// Skips the time until `now` if no deadline is set: the clock may start anywhere.
    pub(crate) fn skip_to(&mut self, now: Duration) {
        if self.len == 0 {
            self.now = self.now.max(ticks_down(now));
        }
    }

    /// Takes out one index whose deadline is at or before `now`; `None` when there is no more.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<u32> {
        let until = ticks_down(now);
        self.skip_to(now);
        if self.len == 0 {
            return None;
        }
        while self.now <= until {
            let head = self.heads[0][(self.now & 63) as usize];
            if head != NONE {
                self.unlink(head);
                return Some(head);
            }
            if self.now == until {
                return None;
            }
            self.advance(until);
        }
        None
    }

    /// Moves on, at most to `until`, over ticks at which nothing is due and no slot of a higher
    /// level is reached that holds something; such a slot is spread over the lower ones.
    fn advance(&mut self, until: u64) {
        let next = self.next_tick().unwrap_or(until);
        self.now = next.max(self.now + 1).min(until);
        if self.now.is_multiple_of(64) {
            self.cascade();
        }
    }

    fn cascade(&mut self) {
        for level in 1..LEVELS {
            let shift = BITS * low(level);
            let slot = ((self.now >> shift) & 63) as usize;
            // Entries that come back to this very slot are a full turn away: detach first.
            let mut index = std::mem::replace(&mut self.heads[level][slot], NONE);
            self.occupied[level] &= !(1 << slot);
            while index != NONE {
                let next = self.links[index as usize].next;
                self.links[index as usize].place = NONE;
                self.len -= 1;
                self.link(index);
                index = next;
            }
            if slot != 0 {
                break;
            }
        }
    }

    /// When to call [`Self::expire`] next: never after the first deadline, sometimes before.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.next_tick().map(Duration::from_millis)
    }

    fn next_tick(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let mut best = u64::MAX;
        for level in 0..LEVELS {
            let occupied = self.occupied[level];
            if occupied == 0 {
                continue;
            }
            let shift = BITS * low(level);
            let base = self.now >> shift;
            let slot = (base & 63) as u32;
            // Slots in the order they come: this one (level 0 only; of higher levels it comes
            // after a full turn), then those ahead.
            let first = if level == 0 { slot } else { (slot + 1) & 63 };
            let offset =
                u64::from(occupied.rotate_right(first).trailing_zeros()) + u64::from(level != 0);
            best = best.min(((base + offset) << shift).max(self.now));
        }
        Some(best)
    }
}

fn ticks_up(at: Duration) -> u64 {
    u64::try_from(at.as_micros().div_ceil(1000)).unwrap_or(u64::MAX >> 1)
}

fn ticks_down(now: Duration) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX >> 1)
}

/// Level and slot numbers fit easily.
fn low(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn deadlines_fire_in_their_millisecond_and_not_before() {
        let mut wheel = Wheel::new();
        for (index, at) in [(1, 5), (2, 64), (3, 4096), (4, 70_000), (5, 20_000_000)] {
            wheel.set(index, MS(at));
            assert_eq!(wheel.expire(MS(at - 1)), None, "{index}");
            assert_eq!(wheel.expire(MS(at)), Some(index));
            assert_eq!((wheel.len(), wheel.next()), (0, None));
        }
    }

    #[test]
    fn a_clock_that_starts_late_costs_nothing() {
        let mut wheel = Wheel::new();
        let start = 1 << 40;
        wheel.skip_to(MS(start));
        wheel.set(1, MS(start + 5));
        assert_eq!(wheel.next(), Some(MS(start + 5)));
        assert_eq!(wheel.expire(MS(start + 5)), Some(1));
    }

    #[test]
    fn a_gap_of_years_is_passed_in_large_steps() {
        let mut wheel = Wheel::new();
        let far = 1 << 40;
        wheel.set(1, MS(far));
        assert_eq!(wheel.expire(MS(far - 1)), None);
        assert_eq!(wheel.expire(MS(far)), Some(1));
    }

    #[test]
    fn a_moved_deadline_fires_once() {
        let mut wheel = Wheel::new();
        wheel.set(7, MS(60_000));
        wheel.set(7, MS(10));
        assert!(wheel.contains(7));
        assert_eq!(
            (wheel.expire(MS(10)), wheel.expire(MS(90_000))),
            (Some(7), None)
        );
        wheel.set(7, MS(90_001));
        wheel.cancel(7);
        wheel.cancel(8);
        assert_eq!(wheel.expire(MS(100_000)), None);
    }

    proptest! {
        #[test]
        fn the_wheel_agrees_with_a_list(
            ops in prop::collection::vec(
                (
                    0u32..40,
                    prop_oneof![0u64..300_000, 0u64..40_000_000],
                    prop_oneof![9 => 0u64..5_000, 1 => 0u64..40_000_000],
                ),
                1..200,
            )
        ) {
            let mut wheel = Wheel::new();
            let mut model = std::collections::BTreeMap::new();
            let mut now = 0;
            for (index, after, step) in ops {
                wheel.set(index, MS(now + after));
                model.insert(index, now + after);
                now += step;
                if let Some(next) = wheel.next() {
                    let first = model.values().min().copied().unwrap_or(u64::MAX);
                    prop_assert!(next <= MS(first));
                }
                let mut fired = Vec::new();
                while let Some(index) = wheel.expire(MS(now)) {
                    fired.push(index);
                }
                fired.sort_unstable();
                let due: Vec<u32> = model
                    .iter()
                    .filter(|(_, at)| **at <= now)
                    .map(|(index, _)| *index)
                    .collect();
                model.retain(|_, at| *at > now);
                prop_assert_eq!(fired, due);
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
