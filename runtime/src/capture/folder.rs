//! Where captures are written: one folder, fixed at the start.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

/// A folder that cannot be opened.
#[derive(Debug)]
pub struct FolderError {
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: captures cannot be written there; name a folder with --capture-dir",
            self.path.display()
        )
    }
}

impl std::error::Error for FolderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Why there is no file to write to.
#[derive(Debug, PartialEq, Eq)]
pub struct CreateError(String);

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CreateError {}

/// The folder, open: files are made in it and nowhere else, wherever its path may lead later.
#[derive(Debug)]
pub struct CaptureFolder {
    path: PathBuf,
    fd: OwnedFd,
}

impl CaptureFolder {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// There is none, or it may not be opened.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|error| FolderError {
            path: path.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            fd,
        })
    }

    /// Makes the file `name`, for its owner alone, and says its path. It must not exist: nothing
    /// is overwritten and no link is followed. `name` is a name without a folder, or the path of a
    /// file directly in this folder.
    ///
    /// # Errors
    /// One sentence.
    pub fn create(&self, name: &str) -> Result<(File, PathBuf), CreateError> {
        let wanted = Path::new(name);
        let wanted = wanted.strip_prefix(&self.path).unwrap_or(wanted);
        let mut components = wanted.components();
        let (Some(Component::Normal(plain)), None) = (components.next(), components.next()) else {
            return Err(CreateError(format!(
                "{name:?}: captures are written in {} only; give a name without a folder",
                self.path.display()
            )));
        };
        let path = self.path.join(plain);
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(self.fd.as_fd(), plain, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(fd) => Ok((File::from(fd), path)),
            Err(nix::Error::EEXIST) => Err(CreateError(format!(
                "{}: it exists already and is not overwritten; give another name",
                path.display()
            ))),
            Err(error) => Err(CreateError(format!(
                "{}: the file cannot be made: {}",
                path.display(),
                io::Error::from(error)
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_new_its_owners_and_directly_in_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let folder = CaptureFolder::open(home.path()).unwrap();
        let (_, path) = folder.create("a.pcapng").unwrap();
        assert_eq!(path, home.path().join("a.pcapng"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let in_full = home.path().join("b.pcapng");
        folder.create(in_full.to_str().unwrap()).unwrap();
        let again = folder.create("a.pcapng").unwrap_err().to_string();
        assert!(again.contains("not overwritten"), "{again}");
        symlink("/tmp/elsewhere.pcapng", home.path().join("link")).unwrap();
        folder.create("link").unwrap_err();
        for wrong in [
            "/tmp/x.pcapng",
            "../x.pcapng",
            "sub/x.pcapng",
            "..",
            ".",
            "",
            "/",
        ] {
            let why = folder.create(wrong).unwrap_err().to_string();
            assert!(why.contains("without a folder"), "{wrong}: {why}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_with_the_fix() {
        let error = CaptureFolder::open(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("--capture-dir"), "{error}");
    }
}
