//! One worker's timers for its connections: what hyper's [`Timer`] asks for, fired by the worker's
//! own loop instead of an async runtime.
//!
//! The lock is there because hyper asks for `Send + Sync`; only the worker's thread takes it.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// Sleepers of one worker, by deadline. Bounded by the worker's connections, each of which has at
/// most a few.
#[derive(Clone, Debug, Default)]
pub struct Timers {
    sleepers: Arc<Mutex<Sleepers>>,
}

#[derive(Debug, Default)]
struct Sleepers {
    by_deadline: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
}

impl Timers {
    /// No sleeper yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// When the first sleeper is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.lock()
            .by_deadline
            .first_key_value()
            .map(|((at, _), _)| *at)
    }

    /// Wakes every sleeper that is due at `now`.
    pub fn fire(&self, now: Instant) {
        loop {
            let mut sleepers = self.lock();
            match sleepers.by_deadline.first_entry() {
                Some(entry) if entry.key().0 <= now => {
                    let waker = entry.remove();
                    drop(sleepers); // a waker may drop a sleeper, which takes the lock
                    waker.wake();
                }
                _ => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sleepers> {
        // A map of wakers is whole whatever panicked while it was held.
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timer for Timers {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Sleeper {
            timers: self.clone(),
            deadline,
            id: None,
        })
    }
}

struct Sleeper {
    timers: Timers,
    deadline: Instant,
    /// Present while it is among the worker's sleepers.
    id: Option<u64>,
}

impl Sleep for Sleeper {}

impl Future for Sleeper {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        let deadline = self.deadline;
        let mut sleepers = self.timers.lock();
        let id = self.id.unwrap_or_else(|| {
            sleepers.next_id += 1;
            sleepers.next_id
        });
        sleepers
            .by_deadline
            .insert((deadline, id), cx.waker().clone());
        drop(sleepers);
        self.id = Some(id);
        Poll::Pending
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.timers.lock().by_deadline.remove(&(self.deadline, id));
        }
    }
}

impl fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleeper")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_sleeper_is_woken_once_when_due_and_not_before() {
        let timers = Timers::new();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let start = Instant::now();
        let due = start + Duration::from_hours(1);
        let mut sleeper = timers.sleep_until(due);
        assert!(
            sleeper
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        assert!(
            sleeper
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        assert_eq!(timers.deadline(), Some(due));
        timers.fire(start);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        timers.fire(due);
        timers.fire(due);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_dropped_sleeper_leaves_nothing_behind() {
        let timers = Timers::new();
        let mut sleeper = timers.sleep(Duration::from_mins(1));
        assert!(
            sleeper
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        drop(sleeper);
        assert_eq!(timers.deadline(), None);
    }

    #[test]
    fn a_deadline_that_has_passed_is_ready_at_once() {
        let timers = Timers::new();
        let mut sleeper = timers.sleep_until(Instant::now());
        assert!(
            sleeper
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
        );
    }
}
