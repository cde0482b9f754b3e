//! Packet sockets from one process to the next: a parent with `CAP_NET_RAW` opens them, and a
//! program without any capability finds them by their numbers.
//!
//! # Ownership
//! A number from a command line or an environment says nothing of who owns the descriptor. It is
//! taken over only when it was inherited: the standard library and this crate open everything
//! close-on-exec, so a descriptor that is not so came through `exec` and belongs to nobody here.
//! Taking it over sets the flag, so it cannot be taken twice.
#![expect(
    unsafe_code,
    reason = "a number becomes an owned descriptor here and nowhere else"
)]

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::error::OpenError;
use crate::socket::{is_raw_packet_socket, open_error, packet_socket, set_flags};

/// Why a descriptor cannot be taken over.
#[derive(Debug)]
#[non_exhaustive]
pub enum InheritError {
    /// No descriptor has this number.
    NotOpen(RawFd),
    /// It is open, but was not inherited, or was taken over before.
    NotInherited(RawFd),
    /// It is no `AF_PACKET` socket of type `SOCK_RAW`.
    NotPacketSocket(RawFd),
    /// Its flags cannot be set.
    Flags(RawFd, io::Error),
}

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen(number) => write!(
                f,
                "descriptor {number} is not open; the parent must open it and leave it open"
            ),
            Self::NotInherited(number) => write!(
                f,
                "descriptor {number} was not inherited, or is named twice; name each once"
            ),
            Self::NotPacketSocket(number) => write!(
                f,
                "descriptor {number} is no raw packet socket; the parent opens one with \
                 socket(AF_PACKET, SOCK_RAW, 0)"
            ),
            Self::Flags(number, _) => write!(f, "descriptor {number} cannot be configured"),
        }
    }
}

impl std::error::Error for InheritError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Flags(_, error) => Some(error),
            _ => None,
        }
    }
}

/// Takes over the packet socket that this process inherited as `number`, for
/// [`Sockets::from_fds`](crate::Sockets::from_fds).
///
/// # Errors
/// No such descriptor, one that was not inherited, one that is something else.
pub fn inherit(number: RawFd) -> Result<OwnedFd, InheritError> {
    if number < 0 {
        return Err(InheritError::NotOpen(number));
    }
    // SAFETY: used for two system calls that fail when nothing has this number, and change nothing.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl(borrowed, FcntlArg::F_GETFD).map_err(|_| InheritError::NotOpen(number))?;
    if FdFlag::from_bits_truncate(flags).contains(FdFlag::FD_CLOEXEC) {
        return Err(InheritError::NotInherited(number));
    }
    if !is_raw_packet_socket(borrowed) {
        return Err(InheritError::NotPacketSocket(number));
    }
    set_flags(borrowed).map_err(|error| InheritError::Flags(number, error))?;
    // SAFETY:
    // 1. It is open (the calls above), and stays so: it is nobody else's to close.
    // 2. It is nobody else's: it was not close-on-exec, so it was inherited (see "Ownership").
    // 3. Nobody gets it again: it is close-on-exec now.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Opens `count` packet sockets to hand to a child: like those of
/// [`Sockets::open`](crate::Sockets::open), neither configured nor bound, but left open by `exec`.
/// All are alike.
///
/// # Errors
/// As [`Sockets::open`](crate::Sockets::open).
pub fn open_for_child(count: usize) -> Result<Vec<OwnedFd>, OpenError> {
    let open = || {
        let socket = packet_socket()?;
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(socket)
    };
    (0..count)
        .map(|_| open().map_err(|source| open_error("packet sockets", source)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd as _, IntoRawFd as _};

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no such descriptors")]
    fn what_is_no_inherited_packet_socket_is_refused() {
        assert!(matches!(inherit(-1), Err(InheritError::NotOpen(-1))));
        assert!(matches!(inherit(9999), Err(InheritError::NotOpen(9999))));
        // The standard library opens close-on-exec.
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        assert!(matches!(
            inherit(number),
            Err(InheritError::NotInherited(_))
        ));
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        assert!(matches!(
            inherit(number),
            Err(InheritError::NotPacketSocket(_))
        ));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no such descriptors")]
    fn a_socket_for_a_child_can_be_taken_over_once() {
        let Ok(mut opened) = open_for_child(1) else {
            return; // no CAP_NET_RAW here; the end-to-end tests have it
        };
        let number = opened.remove(0).into_raw_fd(); // as exec leaves it: open, and nobody's
        let taken = inherit(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert!(matches!(
            inherit(number),
            Err(InheritError::NotInherited(_))
        ));
    }
}
