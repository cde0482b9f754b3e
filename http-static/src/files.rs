//! Files below the www-root, and nothing else.
//!
//! `openat2(2)` with `RESOLVE_BENEATH` refuses every path that leaves the root, through `..`, an
//! absolute symlink or a relative one; symlinks that stay inside are followed, as ConfigMap
//! volumes need (`index.html -> ..data/index.html`, `..data -> ..2026_11_21`). The root itself is
//! opened anew for each look-up, so it may be replaced. Only loader threads come here, but
//! for what is in the page cache already: reading that does not wait.

use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::ServeError;

/// `RESOLVE_BENEATH` gives up when a rename races with `..`; this often it is tried again.
const RACES_MAX: u32 = 8;

/// Which state of which file this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Seconds and nanoseconds since the epoch.
    pub(crate) modified: (i64, u64),
    pub(crate) changed: (i64, u64),
}

impl Stamp {
    fn new(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// A further change would show: every change stamps `changed`, which nobody can set, with a
    /// clock of up to 10 ms. A file read right after a change may change again unseen.
    pub(crate) fn is_settled(&self) -> bool {
        let seconds = u64::try_from(self.changed.0).unwrap_or(0);
        let changed = Duration::from_secs(seconds) + Duration::from_nanos(self.changed.1);
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        // A change ahead of a clock that was set back is told from one made now, too.
        now.abs_diff(changed) > Duration::from_millis(100)
    }
}

/// A regular file, open for reading.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: OwnedFd,
    pub(crate) stamp: Stamp,
    /// The file system cannot tell whether a read would wait.
    may_wait: AtomicBool,
}

/// What a path names.
#[derive(Debug)]
pub(crate) enum Found {
    File(Stamp),
    Directory,
    /// Why it is not served: 403, 404, or 5xx.
    Refused(StatusCode),
}

/// The served directory.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
}

impl Root {
    /// Makes sure the root is there and `openat2` works.
    pub(crate) fn new(path: &Path) -> Result<Self, ServeError> {
        let refused = |source| ServeError::WwwRoot {
            path: path.to_owned(),
            source,
        };
        let root = Self {
            path: std::path::absolute(path).map_err(refused)?,
        };
        let directory = root.open().map_err(|errno| refused(errno.into()))?;
        rustix::fs::openat2(
            &directory,
            ".",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH,
        )
        .map_err(|errno| match errno {
            Errno::ACCESS => refused(errno.into()),
            errno => ServeError::Openat2 {
                source: errno.into(),
            },
        })?;
        Ok(root)
    }

    fn open(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.path, flags, Mode::empty())
    }

    fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let root = self.open()?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut races = 0;
        loop {
            match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
            {
                Err(Errno::AGAIN | Errno::INTR) if races < RACES_MAX => races += 1,
                opened => return opened,
            }
        }
    }

    /// Looks `path` up without opening what it names: a fifo or device is not touched.
    pub(crate) fn find(&self, path: &[u8]) -> Found {
        let stat = self
            .open_beneath(path, OFlags::PATH)
            .and_then(rustix::fs::fstat);
        match stat {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Found::File(Stamp::new(&stat)),
                FileType::Directory => Found::Directory,
                _ => Found::Refused(StatusCode::FORBIDDEN),
            },
            Err(errno) => Found::Refused(status(errno)),
        }
    }

    /// Opens the regular file at `path`, which [`find`](Self::find) found.
    pub(crate) fn open_file(&self, path: &[u8]) -> Result<OpenFile, StatusCode> {
        // Should a fifo or a terminal have taken its place: neither wait nor adopt it.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open_beneath(path, flags).map_err(status)?;
        let stat = rustix::fs::fstat(&file).map_err(status)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(StatusCode::FORBIDDEN);
        }
        Ok(OpenFile {
            file,
            stamp: Stamp::new(&stat),
            may_wait: AtomicBool::new(false),
        })
    }
}

impl OpenFile {
    /// Reads up to `octets` from `offset`; less only at the end of the file.
    pub(crate) fn read(&self, offset: u64, octets: usize) -> io::Result<Vec<u8>> {
        let mut read = vec![0; octets];
        let len = self.read_into(offset, &mut read)?;
        read.truncate(len);
        Ok(read)
    }

    /// Reads from `offset` into `octets` what is in the page cache; how many octets that is, 0
    /// also at the end of the file, on an error, or where the file system cannot tell.
    pub(crate) fn read_cached(&self, offset: u64, octets: &mut [u8]) -> usize {
        let read = rustix::io::preadv2(
            &self.file,
            &mut [IoSliceMut::new(octets)],
            offset,
            ReadWriteFlags::NOWAIT,
        );
        if matches!(read, Err(Errno::OPNOTSUPP | Errno::NOSYS)) {
            self.may_wait.store(true, Ordering::Relaxed);
        }
        read.unwrap_or(0)
    }

    /// Whether it is known that [`Self::read_cached`] cannot work: the file system is of a network,
    /// or of another process.
    pub(crate) fn may_wait(&self) -> bool {
        self.may_wait.load(Ordering::Relaxed)
    }

    /// As [`Self::read`], into `octets`; how many there were.
    pub(crate) fn read_into(&self, offset: u64, octets: &mut [u8]) -> io::Result<usize> {
        let mut len = 0;
        while let Some(rest) = octets.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(&self.file, rest, offset + len as u64) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(len)
    }

    /// The file's state now.
    pub(crate) fn restamp(&self) -> io::Result<Stamp> {
        Ok(Stamp::new(&rustix::fs::fstat(&self.file)?))
    }
}

fn status(errno: Errno) -> StatusCode {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::INVAL => {
            StatusCode::NOT_FOUND
        }
        // EXDEV: the path leaves the root.
        Errno::ACCESS | Errno::PERM | Errno::XDEV => StatusCode::FORBIDDEN,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests;
