//! A token bucket: a rate with a burst.

use std::time::Duration;

/// A rate with a burst.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// When the bucket would be empty had it been filling for ever: it holds
    /// `(now - empty_at) / interval` tokens, at most the burst.
    empty_at: Duration,
    /// Time one token takes to come back.
    interval: Duration,
    /// Time the whole burst takes to come back.
    span: Duration,
}

impl TokenBucket {
    /// A full bucket that gains a token every `interval` and holds `burst`.
    pub const fn new(interval: Duration, burst: u32) -> Self {
        Self {
            empty_at: Duration::ZERO,
            interval,
            span: interval.saturating_mul(burst),
        }
    }

    /// Takes a token; `false` when there is none.
    #[inline]
    pub fn take(&mut self, now: Duration) -> bool {
        // Time starts with the bucket full, so it is shifted by the span.
        let now = now.saturating_add(self.span);
        let floor = now.saturating_sub(self.span);
        let empty_at = self.empty_at.max(floor).saturating_add(self.interval);
        if empty_at > now {
            return false;
        }
        self.empty_at = empty_at;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_per_interval() {
        let second = Duration::from_secs(1);
        let mut bucket = TokenBucket::new(second, 6);
        let taken = |bucket: &mut TokenBucket, now| (0..10).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, Duration::ZERO), 6);
        assert_eq!(taken(&mut bucket, second / 2), 0);
        assert_eq!(taken(&mut bucket, second), 1);
        assert_eq!(taken(&mut bucket, second * 3), 2);
        assert_eq!(taken(&mut bucket, second * 100), 6);
    }
}
