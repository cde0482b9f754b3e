//! The files both servers serve.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A file of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// What to ask for.
    pub path: &'static str,
    /// Octets.
    pub length: u64,
}

const fn page(path: &'static str, length: u64) -> Page {
    Page { path, length }
}

/// The page of 8 octets.
pub const INDEX: Page = page("/index.html", GREETING.len() as u64);
/// 64 KiB.
pub const KIB_64: Page = page("/64kib.bin", 64 << 10);
/// 1 MiB.
pub const MIB_1: Page = page("/1mib.bin", 1 << 20);
/// 1 MB.
pub const MB_1: Page = page("/1mb.bin", 1_000_000);
/// 10 MB.
pub const MB_10: Page = page("/10mb.bin", 10_000_000);
/// 256 MB.
pub const MB_256: Page = page("/256mb.bin", 256_000_000);

/// What `/index.html` says.
pub const GREETING: &str = "Welcome\n";

/// A directory of the race's own, removed when dropped.
#[derive(Debug)]
pub struct Site {
    directory: TempDir,
}

impl Site {
    /// Writes the files; readable for any user.
    ///
    /// # Errors
    /// The disk is full, or `/tmp` cannot be written to.
    pub fn write() -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("dataplane-race-")
            .tempdir()?;
        let site = Self { directory };
        fs::set_permissions(site.path(), Permissions::from_mode(0o755))?;
        fs::create_dir(site.www_root())?;
        fs::write(site.file(INDEX), GREETING)?;
        for page in [KIB_64, MIB_1, MB_1, MB_10, MB_256] {
            write_page(&site.file(page), page.length)?;
        }
        Ok(site)
    }

    /// Where other files of the race may be put.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What is served.
    pub fn www_root(&self) -> PathBuf {
        self.path().join("www")
    }

    fn file(&self, page: Page) -> PathBuf {
        self.www_root().join(page.path.trim_start_matches('/'))
    }
}

fn write_page(path: &Path, length: u64) -> io::Result<()> {
    let chunk: Vec<u8> = (0..=250u8).cycle().take(251 * 1024).collect();
    let mut file = File::create(path)?;
    let mut left = usize::try_from(length).map_err(io::Error::other)?;
    while left > 0 {
        let part = chunk.get(..left.min(chunk.len())).unwrap_or_default();
        file.write_all(part)?;
        left -= part.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_length_and_repeats_251_octets() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page");
        write_page(&path, 300_000).unwrap();
        let octets = fs::read(path).unwrap();
        assert_eq!(octets.len(), 300_000);
        assert!(octets.iter().zip((0..=250).cycle()).all(|(a, b)| *a == b));
    }
}
