//! Why a configuration cannot be used, or a dataplane not started.

mod capture;
mod config;
mod start;

use std::fmt;
use std::io;
use std::path::PathBuf;

pub use capture::CaptureError;
pub use config::ConfigError;
pub use start::StartError;

/// Why a configuration cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text is not what it should be.
    Parse {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// The text is well-formed; what it says cannot be done.
    Invalid {
        /// Where, if it can be told: file, line, column.
        place: Option<Place>,
        /// What is wrong.
        error: ConfigError,
    },
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// Line and column, from 1, if they can be told.
    pub position: Option<(usize, usize)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, source } => {
                write!(f, "{}: the file cannot be read: {source}", file.display())
            }
            Self::Parse {
                file,
                line,
                column,
                message,
            } => {
                write!(f, "{file}:{line}:{column}: {message}")
            }
            Self::Invalid {
                place: Some(place),
                error,
            } => write!(f, "{place}: {error}"),
            Self::Invalid { place: None, error } => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Invalid { error, .. } => Some(error),
            Self::Parse { .. } => None,
        }
    }
}

impl From<ConfigError> for LoadError {
    fn from(error: ConfigError) -> Self {
        Self::Invalid { place: None, error }
    }
}

/// Golden files: wrong configurations, and what is said of each.
#[cfg(test)]
pub(crate) mod testing {
    use super::LoadError;

    /// The cases of `golden` with what `read` says of each now.
    pub(crate) fn retell(golden: &str, read: impl Fn(&str) -> Result<(), LoadError>) -> String {
        let cases = golden.split("----\n").filter(|case| !case.is_empty());
        let retold = cases.map(|case| {
            let lines = case.lines().filter(|line| !line.starts_with("=> "));
            let text: String = lines.flat_map(|line| [line, "\n"]).collect();
            let said = match read(&text) {
                Ok(()) => "accepted".to_owned(),
                Err(error) => error.to_string(),
            };
            format!("----\n{text}=> {said}\n")
        });
        retold.collect()
    }

    /// Fails when they differ; with `BLESS` in the environment, accepts `told` instead.
    pub(crate) fn compare(told: &str, golden: &str, path: &str) {
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, told).expect("written");
        } else {
            assert_eq!(told, golden, "run with BLESS=1 to accept");
        }
    }
}
