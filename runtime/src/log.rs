//! What the program says of itself, on standard error: as text or JSON, and never more than
//! [`REPEATS_MAX`] messages a [`WINDOW`] from one place in the program, so that a flood of anything
//! cannot fill a disk.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat, LogLevel};

/// Messages from one place of the program that are logged in a [`WINDOW`]; more are counted and
/// left out, and [`Limit::report`] tells how many.
pub const REPEATS_MAX: u64 = 60;

/// See [`REPEATS_MAX`].
pub const WINDOW: Duration = Duration::from_mins(1);

/// The target of reports, which are not limited: there is at most one a place and [`WINDOW`].
const REPORT: &str = "left-out";

/// Limits messages by their place. Clones share the count.
///
/// Bounded by the places in the program's text that log.
#[derive(Clone, Debug, Default)]
pub struct Limit {
    places: Arc<Mutex<HashMap<tracing::callsite::Identifier, Place>>>,
    left_out: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Place {
    name: String,
    since: Instant,
    logged: u64,
    left_out: u64,
}

impl Limit {
    /// Messages left out so far.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Whether there is room for one more message from the place of `metadata`.
    fn admits(&self, metadata: &tracing::Metadata<'_>, now: Instant) -> bool {
        let mut places = self.lock();
        let place = places.entry(metadata.callsite()).or_insert_with(|| Place {
            name: format!(
                "{}:{}",
                metadata.file().unwrap_or_else(|| metadata.target()),
                metadata.line().unwrap_or(0)
            ),
            since: now,
            logged: 0,
            left_out: 0,
        });
        if now.saturating_duration_since(place.since) >= WINDOW {
            place.since = now;
            place.logged = 0;
        }
        if place.logged < REPEATS_MAX {
            place.logged += 1;
            return true;
        }
        place.left_out += 1;
        self.left_out.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Logs how many messages were left out since the last report, by place. To be called once in a
    /// [`WINDOW`] and at the end.
    pub fn report(&self) {
        let mut left_out: Vec<_> = self
            .lock()
            .values_mut()
            .filter(|place| place.left_out > 0)
            .map(|place| (place.name.clone(), std::mem::take(&mut place.left_out)))
            .collect();
        left_out.sort();
        for (place, count) in left_out {
            tracing::warn!(
                target: REPORT,
                count,
                place,
                "too many messages from one place; {count} were left out"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<tracing::callsite::Identifier, Place>> {
        // Counters are whole whatever panicked while they were held.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        metadata.target() == REPORT || self.admits(metadata, Instant::now())
    }
}

/// Logs to standard error from now on, as `log` says; to be called once.
pub fn to_stderr(log: Log) -> Limit {
    let limit = Limit::default();
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let to = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let base = tracing_subscriber::registry().with(level);
    match log.format {
        LogFormat::Text => {
            let ansi = io::IsTerminal::is_terminal(&io::stderr());
            let to = to.with_target(false).with_ansi(ansi);
            base.with(to).with(limit.clone()).init();
        }
        LogFormat::Json => base.with(to.json()).with(limit.clone()).init(),
    }
    limit
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Lines somebody logged.
    #[derive(Clone, Default)]
    pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        /// All of them.
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        fn log(&self, what: impl FnOnce(&Limit)) -> Vec<serde_json::Value> {
            let (limit, lines) = (Limit::default(), self.clone());
            let to = tracing_subscriber::fmt::layer().json();
            let to = to.with_writer(move || lines.clone());
            let subscriber = tracing_subscriber::registry().with(to).with(limit.clone());
            tracing::subscriber::with_default(subscriber, || what(&limit));
            let text = self.text();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            lines.collect()
        }
    }

    #[test]
    fn a_flood_from_one_place_is_cut_and_counted_and_other_places_are_heard() {
        let lines = Lines::default().log(|limit| {
            for number in 0..100_000 {
                tracing::warn!(number, "bad packet");
            }
            tracing::info!("something else");
            limit.report();
            limit.report();
            assert_eq!(limit.left_out(), 100_000 - REPEATS_MAX);
        });
        let said = |what: &str| {
            let of = |line: &&serde_json::Value| line["fields"]["message"] == what;
            lines.iter().filter(of).count() as u64
        };
        assert_eq!(said("bad packet"), REPEATS_MAX);
        assert_eq!(said("something else"), 1);
        let count = 100_000 - REPEATS_MAX;
        assert_eq!(
            said(&format!(
                "too many messages from one place; {count} were left out"
            )),
            1
        );
        assert_eq!(lines.len() as u64, REPEATS_MAX + 2);
    }

    #[test]
    fn a_place_is_heard_again_in_the_next_window() {
        let lines = Lines::default().log(|_| tracing::warn!("here"));
        assert_eq!(lines.len(), 1);
        let limit = Limit::default();
        let callsite = {
            static META: std::sync::OnceLock<&'static tracing::Metadata<'static>> =
                std::sync::OnceLock::new();
            struct Keep;
            impl<S: Subscriber> Layer<S> for Keep {
                fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                    META.get_or_init(|| event.metadata());
                }
            }
            let subscriber = tracing_subscriber::registry().with(Keep);
            tracing::subscriber::with_default(subscriber, || tracing::warn!("again"));
            META.get().unwrap()
        };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let admitted = |now| (0..200).filter(|_| limit.admits(callsite, now)).count() as u64;
        assert_eq!(admitted(at(0)), REPEATS_MAX);
        assert_eq!(admitted(at(59)), 0);
        assert_eq!(admitted(at(60)), REPEATS_MAX);
    }
}
