//! Times, counted in classes less than 1 % wide: any number of them in 60 KB.

use std::time::Duration;

/// Classes of one power of two: 2^7, which makes a class at most 1/128 of its value wide.
const CLASS_BITS: u32 = 7;
const CLASSES: u64 = 1 << CLASS_BITS;
const INDEXES: u64 = (64 - CLASS_BITS as u64 + 1) * CLASSES;

/// Counts of times by their length.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; usize::try_from(INDEXES).unwrap_or_default()],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts one time; more than 584 years count as that.
    pub fn record(&mut self, time: Duration) {
        let index = index(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
            self.total += 1;
        }
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The time that `permille` thousandths of all do not exceed (500: the median), within 1 %.
    pub fn quantile(&self, permille: u32) -> Option<Duration> {
        if self.total == 0 {
            return None;
        }
        let rank = (u128::from(self.total) * u128::from(permille.min(1000)))
            .div_ceil(1000)
            .max(1);
        let mut seen = 0u128;
        let class = self.counts.iter().position(|count| {
            seen += u128::from(*count);
            seen >= rank
        })?;
        Some(Duration::from_nanos(middle(class as u64)))
    }
}

/// The class of `value`: exact below [`CLASSES`], then [`CLASSES`] for each power of two.
fn index(value: u64) -> usize {
    let shift = shift(value);
    let index = u64::from(shift) * CLASSES + (value >> shift);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// Low bits that do not tell classes apart.
fn shift(value: u64) -> u32 {
    (u64::BITS - value.leading_zeros()).saturating_sub(CLASS_BITS + 1)
}

/// The value in the middle of a class.
fn middle(index: u64) -> u64 {
    if index < 2 * CLASSES {
        return index;
    }
    let shift = index / CLASSES - 1;
    let lowest = (index - shift * CLASSES) << shift;
    lowest + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_median_of_one_to_a_hundred_is_fifty() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(500), None);
        for nanos in (1..=100).rev() {
            histogram.record(Duration::from_nanos(nanos));
        }
        for (permille, nanos) in [(0, 1), (500, 50), (990, 99), (1000, 100)] {
            assert_eq!(
                histogram.quantile(permille),
                Some(Duration::from_nanos(nanos))
            );
        }
        assert_eq!(histogram.total(), 100);
    }

    #[test]
    fn classes_follow_each_other_without_a_gap() {
        for value in 1..100_000 {
            let step = index(value) - index(value - 1);
            assert!(step <= 1, "{value}");
        }
        assert!(index(u64::MAX) < usize::try_from(INDEXES).unwrap());
    }

    proptest! {
        #[test]
        fn a_class_tells_its_values_within_one_percent(value: u64) {
            let told = middle(index(value) as u64);
            prop_assert!(told.abs_diff(value) <= value / 128);
        }
    }
}
