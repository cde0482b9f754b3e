//! Whether memory grows.

use std::time::Duration;

/// Octets by which a server's memory may grow once it is warm.
pub const GROWTH_MAX: u64 = 16 << 20;

/// Samples below which nothing is said about growth.
const SAMPLES_MIN: usize = 40;

/// Resident memory at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Since the beginning.
    pub at: Duration,
    /// Octets, by server.
    pub octets: [u64; 2],
}

/// By how much the median of the last quarter is above that of the second, of the server of which
/// it is more; the first quarter is for warming up.
pub fn growth(samples: &[Sample]) -> Option<u64> {
    if samples.len() < SAMPLES_MIN {
        return None;
    }
    let quarter = samples.len() / 4;
    let median = |from: usize, server: usize| {
        let part = samples.iter().skip(from).take(quarter);
        let mut octets: Vec<_> = part
            .filter_map(|sample| sample.octets.get(server).copied())
            .collect();
        octets.sort_unstable();
        octets.get(octets.len() / 2).copied().unwrap_or(0)
    };
    let last = samples.len() - quarter;
    let grown = |server| median(last, server).saturating_sub(median(quarter, server));
    Some(grown(0).max(grown(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(octets: impl Fn(u64) -> u64) -> Vec<Sample> {
        let sample = |second| Sample {
            at: Duration::from_secs(second),
            octets: [1000, octets(second)],
        };
        (0..100).map(sample).collect()
    }

    #[test]
    fn what_is_taken_while_warming_up_is_no_growth() {
        assert_eq!(growth(&samples(|second| second.min(20) << 20)), Some(0));
        assert_eq!(growth(&samples(|second| 1000 - second)), Some(0));
    }

    #[test]
    fn a_slow_leak_is_seen_and_a_spike_is_not() {
        assert_eq!(growth(&samples(|second| second << 20)), Some(50 << 20));
        let spike = |second| if second == 80 { 1 << 30 } else { 7 };
        assert_eq!(growth(&samples(spike)), Some(0));
    }

    #[test]
    fn of_little_nothing_is_said() {
        assert_eq!(growth(&samples(|second| second)[..39]), None);
    }
}
