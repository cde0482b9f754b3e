//! How long requests take, as histograms of fixed buckets.
//!
//! One thread writes a histogram and any may read it: no locks, and nothing is allocated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::stats::add;

/// Upper edges of the buckets, in nanoseconds: six a decade from 1 us to 10 s, then 20, 30, 60 s.
/// What takes longer is in one more bucket.
pub const LATENCY_EDGES: [u64; 46] = edges();

const fn edges() -> [u64; 46] {
    let steps = [10, 15, 20, 30, 50, 70]; // tenths
    let mut edges = [0; 46];
    let mut at = 0;
    let mut unit = 100; // ns
    while at < 42 {
        edges[at] = steps[at % 6] * unit;
        at += 1;
        if at.is_multiple_of(6) {
            unit *= 10;
        }
    }
    [edges[42], edges[43], edges[44], edges[45]] = [
        10_000_000_000,
        20_000_000_000,
        30_000_000_000,
        60_000_000_000,
    ];
    edges
}

/// How long something took, how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// By bucket: `[n]` took at most [`LATENCY_EDGES`]`[n]` and more than the edge before; the last
    /// took longer than all edges.
    pub buckets: [u64; LATENCY_EDGES.len() + 1],
    /// All together.
    pub sum: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: [0; LATENCY_EDGES.len() + 1],
            sum: Duration::ZERO,
        }
    }
}

impl Latency {
    /// How often.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What `share` of 0 to 1 took at most, within the width of a bucket; `None` when nothing was
    /// measured. Of what took longer than all edges only that is known: the last edge.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts far below 2^52, shares of 0 to 1"
        )]
        let rank = ((count as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut below = 0;
        let mut low = 0;
        for (edge, here) in LATENCY_EDGES.into_iter().zip(self.buckets) {
            if below + here >= rank {
                // Evenly spread over the bucket.
                let width = u128::from(edge - low) * u128::from(rank - below) / u128::from(here);
                let within = u64::try_from(width).unwrap_or(u64::MAX);
                return Some(Duration::from_nanos(low + within));
            }
            below += here;
            low = edge;
        }
        Some(Duration::from_nanos(low))
    }
}

/// One thread's histogram. Only that thread writes.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; LATENCY_EDGES.len() + 1],
    nanoseconds: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; LATENCY_EDGES.len() + 1],
            nanoseconds: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = LATENCY_EDGES.partition_point(|edge| *edge < nanoseconds);
        if let Some(bucket) = self.buckets.get(bucket) {
            add(bucket, 1);
        }
        add(&self.nanoseconds, nanoseconds);
    }

    pub(crate) fn add_to(&self, total: &mut Latency) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        total.sum += Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: &[u64]) -> Latency {
        let histogram = Histogram::default();
        for time in times {
            histogram.record(Duration::from_nanos(*time));
        }
        let mut latency = Latency::default();
        histogram.add_to(&mut latency);
        latency
    }

    #[test]
    fn edges_rise_from_a_microsecond_to_a_minute() {
        assert_eq!(
            LATENCY_EDGES[..7],
            [1000, 1500, 2000, 3000, 5000, 7000, 10_000]
        );
        assert_eq!(LATENCY_EDGES[41], 7_000_000_000);
        assert_eq!(LATENCY_EDGES[45], 60_000_000_000);
        assert!(LATENCY_EDGES.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn an_edge_belongs_to_the_bucket_it_ends() {
        let latency = of(&[0, 1000, 1001, 60_000_000_000, 60_000_000_001]);
        assert_eq!(latency.buckets[0], 2);
        assert_eq!(latency.buckets[1], 1);
        assert_eq!(latency.buckets[45], 1);
        assert_eq!(latency.buckets[46], 1);
        assert_eq!(latency.sum, Duration::from_nanos(120_000_002_002));
    }

    #[test]
    fn nothing_has_no_quantile_and_what_is_off_the_scale_the_last_edge() {
        assert_eq!(Latency::default().quantile(0.5), None);
        let latency = of(&[u64::from(u32::MAX) * 100]);
        assert_eq!(latency.quantile(0.99), Some(Duration::from_mins(1)));
    }

    proptest! {
        #[test]
        fn a_quantile_is_in_the_bucket_of_the_true_one(
            mut times in prop::collection::vec(1_u64..60_000_000_000, 1..200),
            percent in 1_usize..=100,
        ) {
            times.sort_unstable();
            let truth = times[(times.len() * percent).div_ceil(100) - 1];
            let share = f64::from(u32::try_from(percent).unwrap()) / 100.0;
            let said = u64::try_from(of(&times).quantile(share).unwrap().as_nanos()).unwrap();
            let bucket = |time| LATENCY_EDGES.partition_point(|edge| *edge < time);
            // The share in floating point may be one rank off.
            let next = times[times.len().min((times.len() * percent).div_ceil(100) + 1) - 1];
            prop_assert!((bucket(truth)..=bucket(next)).contains(&bucket(said)));
        }
    }
}
