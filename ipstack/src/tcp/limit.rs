//! How often something may happen: a token bucket.

use std::time::Duration;

/// Lets `rate` events a second pass, with bursts of a tenth of that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    per_second: u32,
    tokens: u32,
    filled_at: Duration,
}

impl RateLimit {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            tokens: Self::burst(per_second),
            filled_at: Duration::ZERO,
        }
    }

    fn burst(per_second: u32) -> u32 {
        (per_second / 10).max(1)
    }

    /// Whether one more event may happen at `now`.
    pub(crate) fn allow(&mut self, now: Duration) -> bool {
        let since = now.saturating_sub(self.filled_at).as_micros();
        let new = since * u128::from(self.per_second) / 1_000_000;
        if new > 0 {
            let burst = Self::burst(self.per_second);
            let new = u32::try_from(new).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(new).min(burst);
            self.filled_at = now;
        }
        if self.tokens == 0 {
            return false;
        }
        self.tokens -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut limit = RateLimit::new(100);
        let passed = |limit: &mut RateLimit, at| {
            (0..50)
                .filter(|_| limit.allow(Duration::from_millis(at)))
                .count()
        };
        assert_eq!(passed(&mut limit, 1000), 10);
        assert_eq!(passed(&mut limit, 1005), 0);
        assert_eq!(passed(&mut limit, 1030), 3);
        assert_eq!(passed(&mut limit, 9000), 10);
    }
}
