//! `dataplane open-sockets`: opens packet sockets, gives up everything, and becomes another program.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use crate::privileges::{self, PrivilegeError};

/// The variable `serve` reads like `--packet-fd`.
pub const PACKET_FD: &str = "DATAPLANE_PACKET_FD";

/// A user and group to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
}

impl User {
    /// Reads `UID` or `UID:GID`; the group is the user's number when it is not said.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (user, group) = text.split_once(':').unwrap_or((text, text));
        match (user.parse(), group.parse()) {
            (Ok(user), Ok(group)) => Ok(Self { user, group }),
            _ => Err("expected UID or UID:GID, in numbers".to_owned()),
        }
    }
}

/// Why the program was not started.
#[derive(Debug)]
#[non_exhaustive]
pub enum LaunchError {
    /// The sockets cannot be opened.
    Sockets(af_packet::OpenError),
    /// The user or its groups cannot be changed.
    User(User, nix::Error),
    /// A privilege cannot be given up.
    Privileges(PrivilegeError),
    /// The program cannot be executed.
    Exec(OsString, io::Error),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sockets(error) => error.fmt(f),
            Self::User(user, _) => write!(
                f,
                "cannot become user {} and group {}; only root can",
                user.user, user.group
            ),
            Self::Privileges(error) => error.fmt(f),
            Self::Exec(program, _) => write!(f, "cannot execute {}", program.display()),
        }
    }
}

impl std::error::Error for LaunchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Sockets(error) => error.source(),
            Self::User(_, error) => Some(error),
            Self::Privileges(error) => error.source(),
            Self::Exec(_, error) => Some(error),
        }
    }
}

/// Opens `count` packet sockets, becomes `user`, gives up all capabilities, and executes `command`,
/// which finds the sockets' numbers in [`PACKET_FD`]. Comes back only when that failed.
pub fn open_sockets(count: u16, user: Option<User>, command: &[OsString]) -> LaunchError {
    match prepare(count, user, command) {
        // The sockets are the program's; here they close only when it was not started.
        Ok((mut program, _sockets)) => {
            let error = program.exec();
            LaunchError::Exec(program.get_program().to_owned(), error)
        }
        Err(error) => error,
    }
}

fn prepare(
    count: u16,
    user: Option<User>,
    command: &[OsString],
) -> Result<(Command, Vec<OwnedFd>), LaunchError> {
    let sockets = af_packet::open_for_child(usize::from(count)).map_err(LaunchError::Sockets)?;
    privileges::empty_bounding_set(); // while we may
    if let Some(user) = user {
        setgroups(&[])
            .and_then(|()| setgid(Gid::from_raw(user.group)))
            .and_then(|()| setuid(Uid::from_raw(user.user)))
            .map_err(|error| LaunchError::User(user, error))?;
    }
    privileges::give_up().map_err(LaunchError::Privileges)?;
    let numbers: Vec<_> = sockets
        .iter()
        .map(|fd| fd.as_raw_fd().to_string())
        .collect();
    let (program, arguments) = command
        .split_first()
        .unwrap_or((const { &OsString::new() }, &[]));
    let mut program = Command::new(program);
    program.args(arguments).env(PACKET_FD, numbers.join(","));
    Ok((program, sockets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_one_or_two_numbers() {
        let user = |user, group| Ok(User { user, group });
        assert_eq!(User::parse("10000"), user(10_000, 10_000));
        assert_eq!(User::parse("10000:0"), user(10_000, 0));
        for wrong in ["", "root", "1:", ":1", "-1", "1:2:3"] {
            assert!(User::parse(wrong).is_err(), "{wrong}");
        }
    }
}
