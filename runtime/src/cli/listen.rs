//! Where operators connect: a stream socket in the file system that only its owner may use.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};

/// A socket that cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// Another process answers there.
    InUse(PathBuf),
    /// Something that is no socket is there.
    NotASocket(PathBuf),
    /// The file system says no.
    Bind(PathBuf, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "{}: another dataplane answers there; give this one a --cli-listen of its own",
                path.display()
            ),
            Self::NotASocket(path) => {
                write!(f, "{}: this is a file; name another path", path.display())
            }
            Self::Bind(path, _) => {
                write!(f, "{}: the operator socket cannot be made", path.display())
            }
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind(_, error) => Some(error),
            _ => None,
        }
    }
}

/// The socket; the file goes with it.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`, with mode 0600, in place of a socket nobody answers at any more.
    ///
    /// The process's umask changes for a moment: call it before other threads make files.
    ///
    /// # Errors
    /// Somebody else listens there, or the file system says no.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let fail = |error| ListenError::Bind(path.to_owned(), error);
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ListenError::NotASocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(ListenError::InUse(path.to_owned()));
            }
            Ok(_) => fs::remove_file(path).map_err(fail)?,
            Err(_) => {} // bind tells better what is wrong
        }
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let socket = bound.map_err(fail)?;
        socket.set_nonblocking(true).map_err(fail)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // whoever comes next replaces it
    }
}

/// Where the socket is when nobody says: `/run/dataplane/cli.sock`, else the same below
/// `$XDG_RUNTIME_DIR`.
pub fn default_paths() -> Vec<PathBuf> {
    let xdg = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    let folders = [Some(PathBuf::from("/run")), xdg.map(PathBuf::from)];
    let folders = folders.into_iter().flatten();
    folders
        .map(|folder| folder.join("dataplane/cli.sock"))
        .collect()
}

/// Listens at the first of [`default_paths`] where that is possible; otherwise, why not.
///
/// # Errors
/// The reasons, one sentence each.
pub fn bind_default() -> Result<Listener, Vec<String>> {
    let mut reasons = Vec::new();
    for path in default_paths() {
        if let Some(folder) = path.parent() {
            // It may exist, and making it may fail; bind tells.
            let _ = fs::DirBuilder::new().mode(0o700).create(folder);
        }
        match Listener::bind(&path) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                reasons.push(format!("{error}{cause}"));
            }
        }
    }
    Err(reasons)
}
