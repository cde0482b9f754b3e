//! Why a capture was not begun.

use std::fmt;
use std::io;

use crate::capture::folder::CreateError;

/// Why a capture was not begun.
#[derive(Debug)]
#[non_exhaustive]
pub enum CaptureError {
    /// One goes on.
    Running,
    /// There is no folder for captures.
    NoFolder,
    /// There is no such interface.
    NoInterface(String),
    /// The file cannot be made.
    File(CreateError),
    /// No thread left.
    System(io::Error),
    /// The dataplane has ended.
    Ended,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("a capture goes on; end it with pcap trace off"),
            Self::NoFolder => {
                f.write_str("there is no folder for captures; name one with --capture-dir")
            }
            Self::NoInterface(name) => write!(f, "there is no interface {name:?}"),
            Self::File(error) => error.fmt(f),
            Self::System(_) => f.write_str("no thread left; raise the limits"),
            Self::Ended => f.write_str("the dataplane has ended"),
        }
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System(error) => Some(error),
            _ => None,
        }
    }
}
