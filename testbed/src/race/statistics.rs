//! What is made of several measurements.

use std::time::Duration;

/// The middle one, or the mean of the two in the middle; `None` of none. NaN counts as largest.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The arithmetic mean; `None` of none.
pub fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / real(samples.len() as u64))
}

/// `count` per second.
pub fn rate(count: u64, time: Duration) -> f64 {
    real(count) / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// As a real number: exact up to 2^53, far above anything measured here.
#[expect(clippy::cast_precision_loss, reason = "a rounded quantity is meant")]
pub fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "these are exact")]
    fn the_median_is_in_the_middle_and_an_outlier_does_not_move_it() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[3.0, 1.0, 1000.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 1000.0]), Some(3.0));
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
        assert_eq!(rate(500, Duration::from_millis(250)), 2000.0);
    }
}
