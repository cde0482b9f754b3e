//! Somebody at the operator socket.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::bed::{Bed, dataplane};

/// A folder for the socket and the captures, in which the server's user may write.
pub(crate) struct Desk {
    folder: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("cli.sock")
    }

    /// The proof of concept with its socket here, and more flags.
    pub(crate) fn bed(&self, more: &[&str]) -> Option<Bed> {
        Bed::serving(|site, _| {
            let mut command = site.flags(more);
            command.arg("--cli-listen").arg(self.socket());
            command
        })
    }

    fn ctl(&self, line: &str) -> (bool, String) {
        let mut command = dataplane(&["ctl", "-s"]);
        command.arg(self.socket()).args(line.split(' '));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), text)
    }

    /// What a command says that works.
    pub(crate) fn ok(&self, line: &str) -> String {
        let (done, text) = self.ctl(line);
        assert!(done, "{line}: {text}");
        text
    }

    /// What a command says that does not.
    pub(crate) fn refused(&self, line: &str) -> String {
        let (done, text) = self.ctl(line);
        assert!(!done, "{line}: {text}");
        text
    }

    pub(crate) fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(&format!("{line} json"))).unwrap()
    }

    /// A row of `show interface`.
    pub(crate) fn counters(&self, interface: &str) -> serde_json::Value {
        self.json(&format!("show interface {interface}"))[0]["counters"].clone()
    }
}
