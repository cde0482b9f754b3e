//! Landlock: the files within reach, and no TCP port, signal or abstract socket beside them.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::Landlock;

/// The newest version whose rights we ask for (Linux 6.12); an older kernel gives what it has.
const VERSION: ABI = ABI::V6;

/// Where a statically linked program gets its secrets: it finds no `getrandom` in the C library.
const RANDOM: [&str; 2] = ["/dev/urandom", "/dev/random"];

/// Confines this thread and the threads it makes: `read` may be read, files and sockets may be
/// made in `make`, and that is all. What is open already stays open.
pub(super) fn restrict(read: &[PathBuf], make: &[PathBuf]) -> Result<Landlock, RulesetError> {
    // Paths that do not exist are left out, and so out of reach.
    let read = read
        .iter()
        .map(PathBuf::as_path)
        .chain(RANDOM.map(Path::new));
    let reading = path_beneath_rules(read, AccessFs::ReadFile | AccessFs::ReadDir);
    let making = path_beneath_rules(make, making());
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(VERSION))?
        .handle_access(AccessNet::from_all(VERSION))?
        .scope(Scope::from_all(VERSION))?
        .create()?
        .add_rules(reading)?
        .add_rules(making)?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Full,
        RulesetStatus::PartiallyEnforced => Landlock::Partial,
        RulesetStatus::NotEnforced => Landlock::Missing,
    })
}

fn making() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::RemoveFile
}
