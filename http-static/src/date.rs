//! The date of responses while the clock is behind what it was.
//!
//! hyper writes the `Date` field, from a copy that it renews when the time is later than the
//! copy's. When an operator or NTP has set the clock back, it would go on writing the old date
//! until the clock has caught up, be it days; until then the field is written here.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;

/// How often the clock is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How far hyper's copy may be ahead of the latest date seen here.
const SLACK: Duration = Duration::from_secs(2);

/// What one thread knows of the date.
#[derive(Debug)]
pub(crate) struct Dates {
    looked: Cell<Option<Instant>>,
    /// The latest date seen, from before the clock was set back.
    latest: Cell<SystemTime>,
    /// The date, while the clock is behind the latest.
    own: RefCell<Option<HeaderValue>>,
}

impl Default for Dates {
    fn default() -> Self {
        Self {
            looked: Cell::new(None),
            latest: Cell::new(SystemTime::UNIX_EPOCH),
            own: RefCell::default(),
        }
    }
}

impl Dates {
    /// The date for a response, when hyper's would be wrong.
    pub(crate) fn own(&self, now: Instant) -> Option<HeaderValue> {
        let looked = self.looked.get();
        if looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_EVERY) {
            self.looked.set(Some(now));
            self.look(SystemTime::now());
        }
        self.own.borrow().clone()
    }

    fn look(&self, date: SystemTime) {
        let latest = self.latest.get();
        let mut own = self.own.borrow_mut();
        let behind = if own.is_some() {
            date <= latest + SLACK
        } else {
            date + SLACK < latest
        };
        *own = behind
            .then(|| HeaderValue::try_from(httpdate::fmt_http_date(date)).ok())
            .flatten();
        if !behind {
            self.latest.set(latest.max(date));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_has_its_date_until_it_has_caught_up() {
        let dates = Dates::default();
        let noon = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let own = |seconds: i64| {
            let span = Duration::from_secs(seconds.unsigned_abs());
            dates.look(if seconds < 0 {
                noon - span
            } else {
                noon + span
            });
            let own = dates.own.borrow().clone();
            own.map(|date| httpdate::parse_http_date(date.to_str().unwrap()).unwrap())
        };
        assert_eq!(own(0), None);
        assert_eq!(own(86_400), None, "hyper follows a clock set forward");
        assert_eq!(own(86_399), None, "a second is nothing");
        assert_eq!(own(10), Some(noon + Duration::from_secs(10)));
        assert_eq!(own(-10), Some(noon - Duration::from_secs(10)));
        assert_eq!(own(86_401), Some(noon + Duration::from_secs(86_401)));
        assert_eq!(own(86_403), None, "hyper's is right again");
        assert_eq!(own(86_400), Some(noon + Duration::from_hours(24)));
    }
}
