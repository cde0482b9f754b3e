//! Where packet sockets come from: opened here, or by a parent that passes them, so that this
//! process needs no capability at all.
//!
//! The sockets a parent passes are all alike (`socket(AF_PACKET, SOCK_RAW, 0)`, not bound). Three
//! make a worker; what is over becomes the spares of workers that share an interface, which use two
//! each time it is deleted and made again, else of interfaces that are created later.

use std::fmt;
use std::os::fd::{OwnedFd, RawFd};

use af_packet::{InheritError, OpenError, Sockets};

use crate::config::Config;

/// Sockets of a worker: doorbell, receive ring, transmit ring.
pub const PER_WORKER: usize = 3;

/// Spare pairs of sockets a fanout member keeps at most: how often its interface may be deleted and
/// made again.
pub const SPARES_MAX: usize = 16;

/// The same of a worker of an interface that is created while the program runs.
pub const LATER_SPARES_MAX: usize = 4;

/// Descriptors a parent may pass.
pub const PASSED_MAX: usize = 4096;

/// The first descriptor of systemd's protocol (`sd_listen_fds(3)`).
const LISTEN_FDS_START: RawFd = 3;

/// What the name of a packet socket is in `LISTEN_FDNAMES`.
const LISTEN_NAME: &str = "packet";

/// Why what a parent passed cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum PassedError {
    /// One of them.
    Socket(InheritError),
    /// `LISTEN_FDS` is no number, or too large.
    ListenFds(String),
    /// More than [`PASSED_MAX`].
    TooMany(usize),
    /// Fewer than the configuration's workers need.
    TooFew {
        /// How many there are.
        passed: usize,
        /// How many workers there are.
        workers: usize,
    },
}

impl fmt::Display for PassedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => error.fmt(f),
            Self::ListenFds(value) => write!(
                f,
                "LISTEN_FDS={value}: expected the number of descriptors that were passed, at most \
                 {PASSED_MAX}"
            ),
            Self::TooMany(count) => {
                write!(
                    f,
                    "{count} packet sockets were passed; at most {PASSED_MAX}"
                )
            }
            Self::TooFew { passed, workers } => write!(
                f,
                "{passed} packet sockets were passed, and {workers} workers need {}: \
                 dataplane open-sockets --count {0}",
                workers * PER_WORKER
            ),
        }
    }
}

impl std::error::Error for PassedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Socket(error) => error.source(),
            _ => None,
        }
    }
}

/// Where packet sockets come from.
#[derive(Debug, Default)]
pub enum SocketSource {
    /// They are opened here, which needs CAP_NET_RAW.
    #[default]
    Open,
    /// A parent opened them.
    Passed {
        /// Those that are not used yet.
        sockets: Vec<OwnedFd>,
        /// Spare pairs for each worker that shares its interface.
        spares: usize,
    },
}

impl SocketSource {
    /// The descriptors `numbers`, else what `LISTEN_FDS` says was passed, else none: they are
    /// opened here.
    ///
    /// # Errors
    /// A descriptor that is no packet socket a parent passed; too few for `config`.
    pub fn find(numbers: &[RawFd], config: &Config) -> Result<Self, PassedError> {
        let var = |name| std::env::var(name).ok();
        let listen = if numbers.is_empty() {
            let pid = std::process::id().to_string();
            let ours = var("LISTEN_PID").is_some_and(|value| value == pid);
            let count = ours.then(|| var("LISTEN_FDS")).flatten();
            listen_fds(count.as_deref(), var("LISTEN_FDNAMES").as_deref())?
        } else {
            Vec::new()
        };
        let numbers = if numbers.is_empty() { &listen } else { numbers };
        if numbers.is_empty() {
            return Ok(Self::Open);
        }
        let workers: usize = config
            .interfaces
            .iter()
            .map(|host| usize::from(host.workers))
            .sum();
        if numbers.len() > PASSED_MAX {
            return Err(PassedError::TooMany(numbers.len()));
        }
        let passed = numbers.len();
        let Some(over) = passed.checked_sub(workers * PER_WORKER) else {
            return Err(PassedError::TooFew { passed, workers });
        };
        let sharing = config.interfaces.iter().filter(|host| host.workers > 1);
        let sharing: usize = sharing.map(|host| usize::from(host.workers)).sum();
        let sockets = numbers.iter().map(|number| af_packet::inherit(*number));
        Ok(Self::Passed {
            sockets: sockets
                .collect::<Result<_, _>>()
                .map_err(PassedError::Socket)?,
            spares: (over / 2).checked_div(sharing).unwrap_or(0).min(SPARES_MAX),
        })
    }

    /// The sockets of a worker of `interface`, with spares if it shares the interface.
    ///
    /// # Errors
    /// They cannot be opened.
    pub fn take(&mut self, interface: &str, shared: bool) -> Result<Sockets, OpenError> {
        match self {
            Self::Open => {
                let count = if shared { SPARES_MAX } else { 0 };
                Sockets::open_with_spares(interface, count)
            }
            Self::Passed { sockets, spares } => {
                let wanted = PER_WORKER + if shared { 2 * *spares } else { 0 };
                let left = sockets.split_off(wanted.min(sockets.len()));
                Sockets::from_fds(interface, std::mem::replace(sockets, left))
            }
        }
    }
}

impl SocketSource {
    /// The sockets of one more worker, for an interface that comes later, with
    /// [`LATER_SPARES_MAX`] spares should it share that interface; `None` when there are none. What
    /// a parent passed has no spares for it.
    pub fn spare(&mut self) -> Option<Sockets> {
        const NAME: &str = "a spare interface";
        match self {
            Self::Open => Sockets::open_with_spares(NAME, LATER_SPARES_MAX).ok(),
            Self::Passed { sockets, .. } if sockets.len() < PER_WORKER => None,
            Self::Passed { .. } => self.take(NAME, false).ok(),
        }
    }
}

/// The descriptors that `LISTEN_FDS` counts and `LISTEN_FDNAMES`, if it is there, calls `packet`.
fn listen_fds(count: Option<&str>, names: Option<&str>) -> Result<Vec<RawFd>, PassedError> {
    let Some(text) = count else {
        return Ok(Vec::new());
    };
    let count = text
        .parse::<u16>()
        .ok()
        .filter(|count| usize::from(*count) <= PASSED_MAX);
    let count = count.ok_or_else(|| PassedError::ListenFds(text.to_owned()))?;
    let numbers = LISTEN_FDS_START..LISTEN_FDS_START + RawFd::from(count);
    Ok(match names {
        None => numbers.collect(),
        Some(names) => {
            let pairs = numbers.zip(names.split(':'));
            let packet = pairs.filter(|(_, name)| *name == LISTEN_NAME);
            packet.map(|(number, _)| number).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostInterface;

    fn config(workers: u16) -> Config {
        let mut host = HostInterface::new("eth0");
        host.workers = workers;
        Config {
            interfaces: vec![host],
            ..Config::default()
        }
    }

    #[test]
    fn listen_fds_counts_from_three_and_names_choose() {
        assert!(listen_fds(None, None).unwrap().is_empty());
        assert_eq!(listen_fds(Some("3"), None).unwrap(), [3, 4, 5]);
        let names = Some("packet:metrics:packet");
        assert_eq!(listen_fds(Some("3"), names).unwrap(), [3, 5]);
        assert!(listen_fds(Some("1"), Some("other")).unwrap().is_empty());
        for wrong in ["", "-1", "4097", "99999999999"] {
            assert!(listen_fds(Some(wrong), None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_passed_means_opened_here() {
        let source = SocketSource::find(&[], &config(1)).unwrap();
        assert!(matches!(source, SocketSource::Open));
    }

    #[test]
    fn too_few_are_refused_with_the_number_that_is_needed() {
        let error = SocketSource::find(&[100, 101, 102, 103], &config(2)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "4 packet sockets were passed, and 2 workers need 6: dataplane open-sockets --count 6"
        );
    }

    #[test]
    fn a_number_that_is_not_open_is_named() {
        let error = SocketSource::find(&[9001, 9002, 9003], &config(1)).unwrap_err();
        assert!(error.to_string().starts_with("descriptor 9001 is not open"));
    }
}
