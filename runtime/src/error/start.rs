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
    /// The change is about host interfaces, whose sockets need a capability that is gone.
    HostInterfacesFixed,
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
            Self::HostInterfacesFixed => f.write_str(
                "host interfaces, their rings and their workers cannot be changed while it runs: \
                 opening their sockets needs CAP_NET_RAW, which was given up; change the \
                 configuration file and start again",
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
            Self::HostInterfacesFixed | Self::Ended => None,
            Self::System(error) => Some(error),
        }
    }
}
