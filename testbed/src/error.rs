//! What can go wrong while wiring: the step, and the kernel's reason.

use std::{fmt, io};

/// A step of building the wiring that failed.
#[derive(Debug)]
pub struct WiringError {
    step: String,
    source: io::Error,
}

impl WiringError {
    /// `step` says what was being done, as in `creating veth wire0`.
    pub fn new(step: impl Into<String>, source: io::Error) -> Self {
        Self {
            step: step.into(),
            source,
        }
    }

    /// The kernel's reason.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

impl fmt::Display for WiringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.source)?;
        if self.source.kind() == io::ErrorKind::PermissionDenied {
            f.write_str("; run it as root, or where the kernel allows user namespaces")?;
        }
        Ok(())
    }
}

impl std::error::Error for WiringError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Names the step of an `io::Result`.
pub(crate) trait Step<T> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, WiringError>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, WiringError> {
        self.map_err(|source| WiringError::new(step(), source))
    }
}
