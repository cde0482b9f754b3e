//! Network namespaces held by a file descriptor.
//!
//! # Life cycle
//! A namespace without a name lives as long as a descriptor, a process or a device of another
//! namespace refers to it. [`Netns`] is that descriptor: when it is dropped, also by a panic or
//! by the death of the process, the kernel takes the namespace and its devices away.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Uid};

use crate::error::{Step as _, WiringError};

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    file: File,
}

impl Netns {
    /// Makes a namespace with nothing in it but a loopback device that is down.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_SYS_ADMIN` in the current user namespace.
    pub fn new() -> io::Result<Self> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Self::of_this_thread()
        })
    }

    /// The namespace the calling thread is in.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn of_this_thread() -> io::Result<Self> {
        Ok(Self {
            file: File::open("/proc/thread-self/ns/net")?,
        })
    }

    /// Runs `f` on a fresh thread inside the namespace. What `f` opens stays bound to it: a
    /// socket may be used from any thread afterwards.
    ///
    /// # Errors
    /// Entering the namespace failed.
    ///
    /// # Panics
    /// With the panic of `f`.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            self.enter()?;
            Ok(f())
        })
    }

    /// Starts `command` inside the namespace.
    ///
    /// # Errors
    /// Entering the namespace or starting the program failed.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| command.spawn())?
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_SYS_ADMIN`.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.file, CloneFlags::CLONE_NEWNET)?)
    }

    /// The path by which another process can enter, as in `nsenter --net=PATH`.
    pub fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.file.as_raw_fd()
        ))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Namespaces belong to threads: work in one is done on a thread of its own.
fn on_a_thread<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, f)?;
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Makes an ordinary user root of a new user and network namespace, where wiring is allowed.
///
/// To be called before any thread is started: the kernel refuses it otherwise.
///
/// # Errors
/// The kernel does not allow user namespaces to this user.
pub fn enter_user_namespace() -> Result<(), WiringError> {
    let (uid, gid) = (Uid::current(), Gid::current());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(io::Error::from)
        .step(|| {
            "entering a user namespace (this kernel may forbid it to ordinary users: see \
             user.max_user_namespaces, kernel.unprivileged_userns_clone and \
             kernel.apparmor_restrict_unprivileged_userns)"
                .into()
        })?;
    let map = || -> io::Result<()> {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
    };
    map().step(|| "mapping this user to root of the user namespace".into())
}

/// Whether this process may create network namespaces and devices.
pub fn may_wire() -> bool {
    Netns::new().is_ok()
}

/// Whether a test that needs wiring may run; prints that it is skipped otherwise.
///
/// # Panics
/// Where it may not although `CI=true` says that it must.
#[expect(
    clippy::print_stdout,
    reason = "a test that does not run has to say so"
)]
pub fn test_may_wire() -> bool {
    let allowed = may_wire();
    assert!(
        allowed || std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "with CI=true, this test needs root"
    );
    if !allowed {
        println!("skipped: needs root");
    }
    allowed
}
