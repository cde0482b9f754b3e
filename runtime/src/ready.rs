//! A file that says whether a server is ready, for whoever supervises it: a Kubernetes probe runs
//! `dataplane ready FILE` in the server's container, where there is no shell and no other program.
//!
//! The server holds a lock on the file for as long as it lives, and the kernel takes the lock away
//! with the process, so a file that a killed server left behind says nothing.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Octets of a ready file that are read; what follows is not shown.
const READ_MAX: u64 = 4096;

/// The server's side.
#[derive(Debug)]
pub struct ReadyFile {
    file: File,
    path: PathBuf,
}

impl ReadyFile {
    /// Creates the file at `path`, or takes over what an earlier server left; it says "not ready".
    ///
    /// # Errors
    /// The file cannot be written, or another server holds it.
    pub fn create(path: &Path) -> Result<Self, ReadyFileError> {
        let write = |source| ReadyFileError::Write(path.to_owned(), source);
        // Truncated under the lock only: before, it may be another server's.
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let file = options.open(path).map_err(write)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ReadyFileError::Held(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(write(source)),
        }
        file.set_len(0).map_err(write)?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Says "ready", with a line for people.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn ready(&mut self, line: &str) -> Result<(), ReadyFileError> {
        self.rewrite(&format!("{line}\n"))
    }

    /// Says "not ready".
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn not_ready(&mut self) -> Result<(), ReadyFileError> {
        self.rewrite("")
    }

    fn rewrite(&mut self, text: &str) -> Result<(), ReadyFileError> {
        let mut rewrite = || {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(text.as_bytes())
        };
        rewrite().map_err(|source| ReadyFileError::Write(self.path.clone(), source))
    }
}

/// The line of the server that is ready and holds the file at `path`.
///
/// # Errors
/// Says why no server is ready.
pub fn look(path: &Path) -> Result<String, ReadyFileError> {
    let read = |source| ReadyFileError::Read(path.to_owned(), source);
    let file = File::open(path).map_err(read)?;
    match file.try_lock_shared() {
        Ok(()) => return Err(ReadyFileError::NoServer(path.to_owned())),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(source)) => return Err(read(source)),
    }
    let mut line = String::new();
    file.take(READ_MAX)
        .read_to_string(&mut line)
        .map_err(read)?;
    match line.trim_end() {
        "" => Err(ReadyFileError::NotReady),
        line => Ok(line.to_owned()),
    }
}

/// What is wrong with a ready file, or not ready.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadyFileError {
    /// It cannot be written.
    Write(PathBuf, io::Error),
    /// Another server holds it.
    Held(PathBuf),
    /// It cannot be read.
    Read(PathBuf, io::Error),
    /// Nobody holds it: no server runs.
    NoServer(PathBuf),
    /// The server runs but waits for something.
    NotReady,
}

impl fmt::Display for ReadyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(path, _) => write!(f, "cannot write the ready file {}", path.display()),
            Self::Held(path) => write!(
                f,
                "another server holds the ready file {}; give each its own",
                path.display()
            ),
            Self::Read(path, _) => write!(f, "cannot read the ready file {}", path.display()),
            Self::NoServer(path) => {
                write!(f, "no server holds the ready file {}", path.display())
            }
            Self::NotReady => f.write_str("the server runs but is not ready; its log says why"),
        }
    }
}

impl std::error::Error for ReadyFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Write(_, source) | Self::Read(_, source) => Some(source),
            Self::Held(_) | Self::NoServer(_) | Self::NotReady => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("dataplane-ready-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_server_is_ready_from_when_it_says_so_until_it_says_otherwise() {
        let scratch = Scratch::new("says");
        let mut server = ReadyFile::create(&scratch.0).unwrap();
        assert!(matches!(look(&scratch.0), Err(ReadyFileError::NotReady)));
        server.ready("ready: http://192.168.123.150/").unwrap();
        assert_eq!(look(&scratch.0).unwrap(), "ready: http://192.168.123.150/");
        server.ready("ready: twice").unwrap();
        assert_eq!(look(&scratch.0).unwrap(), "ready: twice");
        server.not_ready().unwrap();
        assert!(matches!(look(&scratch.0), Err(ReadyFileError::NotReady)));
    }

    #[test]
    fn what_a_killed_server_left_behind_does_not_count() {
        let scratch = Scratch::new("left");
        let mut server = ReadyFile::create(&scratch.0).unwrap();
        server.ready("ready: http://192.168.123.150/").unwrap();
        drop(server); // the kernel closes a killed process's files as this does
        assert!(matches!(look(&scratch.0), Err(ReadyFileError::NoServer(_))));
        let _next = ReadyFile::create(&scratch.0).unwrap();
        assert!(matches!(look(&scratch.0), Err(ReadyFileError::NotReady)));
    }

    #[test]
    fn two_servers_do_not_share_a_file() {
        let scratch = Scratch::new("two");
        let mut first = ReadyFile::create(&scratch.0).unwrap();
        first.ready("ready: first").unwrap();
        let second = ReadyFile::create(&scratch.0);
        assert!(matches!(second, Err(ReadyFileError::Held(_))));
        assert_eq!(look(&scratch.0).unwrap(), "ready: first");
    }

    #[test]
    fn without_a_file_no_server_is_ready() {
        let scratch = Scratch::new("none");
        assert!(matches!(look(&scratch.0), Err(ReadyFileError::Read(..))));
    }
}
