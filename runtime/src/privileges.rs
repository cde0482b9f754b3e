//! Gives privileges up once every socket is open.
//!
//! CAP_NET_RAW is needed in `socket()` only, so it is held for a moment. Capabilities belong to a
//! thread, and threads inherit them: call [`give_up`] while there is no other.

use std::fmt;

use caps::{CapSet, Capability};

/// Privileges that could not be given up. Nothing goes on with more than it needs.
#[derive(Debug)]
#[non_exhaustive]
pub enum PrivilegeError {
    /// A capability set could not be emptied.
    Capabilities(&'static str, caps::errors::CapsError),
    /// `PR_SET_NO_NEW_PRIVS` failed.
    NoNewPrivileges(nix::Error),
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capabilities(set, _) => {
                write!(
                    f,
                    "cannot empty the {set} capability set after opening the sockets"
                )
            }
            Self::NoNewPrivileges(_) => {
                write!(f, "cannot set no_new_privs, which Linux has since 3.5")
            }
        }
    }
}

impl std::error::Error for PrivilegeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Capabilities(_, error) => Some(error),
            Self::NoNewPrivileges(error) => Some(error),
        }
    }
}

/// Empties every capability set of this thread and of all threads it makes, and sets
/// `no_new_privs`, so that no file capability or set-user-ID program gives any back.
///
/// The bounding set is emptied where we may (CAP_SETPCAP); where we may not, `no_new_privs` makes
/// it moot.
///
/// # Errors
/// When the kernel refuses; the caller must not go on.
pub fn give_up() -> Result<(), PrivilegeError> {
    empty_bounding_set();
    for (set, name) in [
        (CapSet::Ambient, "ambient"),
        (CapSet::Inheritable, "inheritable"),
        (CapSet::Effective, "effective"),
        (CapSet::Permitted, "permitted"),
    ] {
        caps::clear(None, set).map_err(|error| PrivilegeError::Capabilities(name, error))?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(PrivilegeError::NoNewPrivileges)
}

/// Empties the bounding set, where we may.
pub(crate) fn empty_bounding_set() {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        for capability in caps::all() {
            // A capability this kernel does not know cannot be held either.
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn afterwards_no_set_holds_a_capability_and_none_can_come_back() {
        // A thread of its own: what is given up stays given up.
        std::thread::spawn(|| {
            give_up().unwrap();
            for set in [
                CapSet::Ambient,
                CapSet::Inheritable,
                CapSet::Effective,
                CapSet::Permitted,
            ] {
                assert!(caps::read(None, set).unwrap().is_empty(), "{set:?}");
            }
            assert!(nix::sys::prctl::get_no_new_privs().unwrap());
        })
        .join()
        .unwrap();
    }
}
