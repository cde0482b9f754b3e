//! Confines the process once it has what it needs: Landlock for the files, seccomp for the calls.
//!
//! [`Sandbox`] collects what has to stay within reach and [`Sandbox::confine`] closes the door. It
//! belongs after [`privileges::give_up`](crate::privileges::give_up), which sets `no_new_privs`,
//! and to a time without other threads. There is no way back, which is the point: who takes over
//! a worker by a hostile packet finds no shell to start, no socket to open and no other file to
//! read.
//!
//! A call that is not listed kills the process (`SIGSYS`). Landlock is used as far as the kernel
//! has it (5.13 and later; Landlock may be turned off), and [`Confined`] says how far that is.

mod calls;
mod files;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op,
    SeccompCondition as Condition, SeccompFilter, SeccompRule, TargetArch,
};

pub use calls::table;
use calls::{COMMON, Call, LEGACY, Test};

/// The folders and files this process confined itself to, once it has.
static REACH: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// What stays within reach.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    read: Vec<PathBuf>,
    make: Vec<PathBuf>,
}

/// How far the process was confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confined {
    /// Landlock's share.
    pub landlock: Landlock,
}

/// How much of Landlock the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// All that is asked for.
    Full,
    /// Less than that: an older kernel, that knows fewer rights.
    Partial,
    /// None: files are protected by their permissions only.
    Missing,
}

/// Confinement that failed. Nothing goes on half confined.
#[derive(Debug)]
#[non_exhaustive]
pub enum SandboxError {
    /// Landlock refused its rules.
    Landlock(landlock::RulesetError),
    /// The filter is no filter.
    Filter(BackendError),
    /// The kernel does not take the filter.
    Seccomp(seccompiler::Error),
    /// A core dump could still be made.
    Dump(nix::Error),
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Landlock(_) => "Landlock",
            Self::Filter(_) | Self::Seccomp(_) => "seccomp",
            Self::Dump(_) => "turning core dumps off",
        };
        write!(
            f,
            "the kernel refuses {what}, which confines this process; --no-sandbox runs without"
        )
    }
}

impl std::error::Error for SandboxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Landlock(error) => Some(error),
            Self::Filter(error) => Some(error),
            Self::Seccomp(error) => Some(error),
            Self::Dump(error) => Some(error),
        }
    }
}

impl Sandbox {
    /// Nothing within reach but what is open already.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves a file, or a folder and what is below it, to be read.
    pub fn read(&mut self, path: &Path) -> &mut Self {
        self.read.push(path.to_owned());
        self
    }

    /// Leaves the folder of a file to be read, because a changed file is often a new one that took
    /// the old one's name. Of a file in the root folder only the file itself.
    pub fn read_beside(&mut self, file: &Path) -> &mut Self {
        let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        match absolute.parent() {
            Some(folder) if folder.parent().is_some() => self.read(folder),
            _ => self.read(&absolute),
        }
    }

    /// Leaves files and sockets directly or anywhere below `folder` to be made, written, renamed
    /// within it and removed.
    pub fn make_in(&mut self, folder: &Path) -> &mut Self {
        self.make.push(folder.to_owned());
        self
    }

    /// Confines all threads of this process, for good. Needs `no_new_privs`. Also turns core dumps
    /// off, and keeps other processes of the same user from reading this one's memory.
    ///
    /// # Errors
    /// The kernel has no seccomp filters (a kernel without Landlock is no error).
    pub fn confine(self) -> Result<Confined, SandboxError> {
        no_dumps().map_err(SandboxError::Dump)?;
        let landlock = files::restrict(&self.read, &self.make).map_err(SandboxError::Landlock)?;
        if landlock != Landlock::Missing {
            let paths = self.read.iter().chain(&self.make);
            // Only the first confinement counts; later ones can but take away.
            let _ = REACH.set(paths.filter_map(|path| path.canonicalize().ok()).collect());
        }
        // The second needs what the first allows, so the stricter comes last.
        for program in filters().map_err(SandboxError::Filter)? {
            seccompiler::apply_filter_all_threads(&program).map_err(SandboxError::Seccomp)?;
        }
        Ok(Confined { landlock })
    }
}

/// Whether this process may still reach `path`: it is not confined, or `path` is within.
pub fn reaches(path: &Path) -> bool {
    let Some(reach) = REACH.get() else {
        return true;
    };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = absolute.canonicalize().unwrap_or(absolute);
    reach.iter().any(|within| real.starts_with(within))
}

/// What to say of a path that [`reaches`] denies; a sentence's end.
pub const OUT_OF_REACH: &str = "is outside the folders this server confined itself to when it \
    started; restart it, or start it with --allow-read and the folder";

/// No core file, which would hold the secrets, and no reading of our memory by other processes.
fn no_dumps() -> Result<(), nix::Error> {
    nix::sys::prctl::set_dumpable(false)?;
    // For good measure: a supervisor's own filter may refuse it.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    Ok(())
}

/// The allow-list; and the one that answers `clone3`.
fn filters() -> Result<[BpfProgram; 2], BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut allowed = BTreeMap::new();
    for call in COMMON.iter().chain(LEGACY) {
        allowed.insert(call.number, rules(call)?);
    }
    let allow_list = SeccompFilter::new(
        allowed,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        arch,
    )?;
    let clone3 = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        arch,
    )?;
    // Its own calls, seccomp and prctl, are gone with the allow-list.
    Ok([clone3.try_into()?, allow_list.try_into()?])
}

fn rules(call: &Call) -> Result<Vec<SeccompRule>, BackendError> {
    let tests = |tests: &&[Test]| {
        let conditions = tests.iter().map(Test::condition);
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    };
    call.when.iter().map(tests).collect()
}

impl Test {
    fn condition(&self) -> Result<Condition, BackendError> {
        let bits = |bits: i32| u64::from(bits.cast_unsigned());
        match *self {
            Self::Is(at, value) => Condition::new(at, Len::Dword, Op::Eq, value.cast_unsigned()),
            Self::Has(at, mask) => {
                Condition::new(at, Len::Dword, Op::MaskedEq(bits(mask)), bits(mask))
            }
            Self::HasNot(at, mask) => Condition::new(at, Len::Dword, Op::MaskedEq(bits(mask)), 0),
            Self::Null(at) => Condition::new(at, Len::Qword, Op::Eq, 0),
            Self::OurPid(at) => {
                Condition::new(at, Len::Dword, Op::Eq, u64::from(std::process::id()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
