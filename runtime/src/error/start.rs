//! Why a dataplane was not started or not changed.

use std::fmt;
use std::io;

use super::ConfigError;
use crate::plan::PlanError;

/// Why nothing was started, or nothing changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is not valid.
    Config(ConfigError),
    /// The configuration asks for what the tables do not know.
    Plan(PlanError),
    /// A socket or a ring could not be opened.
    Rings(af_packet::OpenError),
    /// The kernel's interfaces cannot be followed.
    Links(af_packet::LinkError),
    /// A server cannot serve.
    Http(http_static::ServeError),
    /// The rings or the workers of a host interface that runs.
    RingsFixed(String),
    /// There are no sockets for another host interface.
    NoSpares {
        /// The interface.
        interface: String,
        /// How many sets of sockets it needs: one for each worker.
        needed: usize,
        /// How many are left.
        left: usize,
    },
    /// The dataplane has ended.
    Ended,
    /// No thread or descriptor left.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Plan(error) => error.fmt(f),
            Self::Rings(error) => error.fmt(f),
            Self::Links(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
            Self::RingsFixed(name) => write!(
                f,
                "{name}: the rings and the workers of a host interface cannot be changed while it \
                 runs; delete it and create it anew"
            ),
            Self::NoSpares {
                interface,
                needed,
                left,
            } => write!(
                f,
                "{interface}: it needs {needed} of the sets of sockets opened at the start, and \
                 {left} are left, because opening more needs CAP_NET_RAW, which was given up; \
                 start again with --spare-interfaces N, or delete a host interface"
            ),
            Self::Ended => f.write_str("the dataplane has ended"),
            Self::System(_) => f.write_str("no thread or file descriptor left; raise the limits"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => error.source(),
            Self::Plan(error) => error.source(),
            Self::Rings(error) => error.source(),
            Self::Links(error) => error.source(),
            Self::Http(error) => error.source(),
            Self::RingsFixed(_) | Self::NoSpares { .. } | Self::Ended => None,
            Self::System(error) => Some(error),
        }
    }
}
