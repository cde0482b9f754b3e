//! Why a server cannot start.

use std::path::PathBuf;
use std::{error, fmt, io};

/// Why [`Server::new`](crate::Server::new) refuses to start.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The www-root cannot be opened as a directory.
    WwwRoot {
        /// The path as configured.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel, or a seccomp filter, refuses `openat2(2)`, which keeps requests inside the
    /// www-root.
    Openat2 {
        /// What the kernel said.
        source: io::Error,
    },
    /// An option has a value it cannot have.
    Option {
        /// The option's name.
        name: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// A loader thread cannot be started.
    Thread {
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WwwRoot { path, .. } => {
                write!(
                    f,
                    "www-root {}: must be a directory this user may enter",
                    path.display()
                )
            }
            Self::Openat2 { .. } => f.write_str(
                "openat2 is refused: needs Linux 5.6 or a seccomp profile that allows it",
            ),
            Self::Option { name, must } => write!(f, "{name}: must be {must}"),
            Self::Thread { .. } => {
                f.write_str("starting a loader thread failed: raise the thread limit")
            }
        }
    }
}

impl error::Error for ServeError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::WwwRoot { source, .. } | Self::Openat2 { source } | Self::Thread { source } => {
                Some(source)
            }
            Self::Option { .. } => None,
        }
    }
}
