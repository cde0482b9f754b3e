//! Sleeping until there is something to do.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::device::Device;
use crate::socket;

/// Descriptors of the caller's own that [`Device::wait`] takes at most.
pub const WAIT_FDS_MAX: usize = 13;

/// Why [`Device::wait`] returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// The receive ring has something.
    pub rx: bool,
    /// Bit `n`: descriptor `n` of the caller's is readable or failed.
    pub fds: u16,
    /// An error the kernel reported on a socket, for example `ENETDOWN` when the link went down
    /// or away. Reported once; [`LinkMonitor`](crate::LinkMonitor) tells when it is back.
    pub error: Option<i32>,
}

/// Our own descriptors: receive ring, doorbell, transmit ring.
const OWN: usize = 3;

impl Device {
    /// Sleeps until a frame arrives, one of `fds` (at most [`WAIT_FDS_MAX`]; more are ignored) is
    /// readable, an error is reported, or `timeout` is over; `None`: for as long as it takes.
    /// Without traffic nothing wakes it.
    ///
    /// # Errors
    /// The kernel's, which are ours; interruption by a signal returns an empty [`Wake`].
    pub fn wait(&mut self, timeout: Option<Duration>, fds: &[BorrowedFd<'_>]) -> io::Result<Wake> {
        // Looked at after draining the bell: a frame that comes later rings again.
        let timeout = if self.before_sleep() {
            Some(Duration::ZERO)
        } else {
            timeout
        };
        let own: [BorrowedFd<'_>; OWN] = [
            self.rx_fd.as_fd(),
            self.doorbell.as_fd(),
            self.tx_fd.as_fd(),
        ];
        let count = OWN + fds.len().min(WAIT_FDS_MAX);
        let mut polled: [PollFd<'_>; OWN + WAIT_FDS_MAX] = std::array::from_fn(|at| {
            let asked = if at < 2 {
                own.get(at)
            } else {
                fds.get(at.wrapping_sub(OWN))
            };
            match asked {
                Some(fd) => PollFd::new(*fd, PollFlags::POLLIN),
                // The transmit socket: errors only. Places behind `count` are not polled.
                None => PollFd::new(own[2], PollFlags::empty()),
            }
        });
        match ppoll(
            &mut polled[..count],
            timeout.map(TimeSpec::from_duration),
            None,
        ) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Wake::default()),
            Err(error) => return Err(error.into()),
        }
        let event = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::POLLERR);
        let mut wake = Wake {
            rx: self.is_ready() || event(&polled[0]).contains(PollFlags::POLLIN),
            ..Wake::default()
        };
        for (bit, fd) in polled[OWN..count].iter().enumerate() {
            wake.fds |= u16::from(!event(fd).is_empty()) << bit;
        }
        for (fd, polled) in own.into_iter().zip(&polled) {
            if event(polled).contains(PollFlags::POLLERR) {
                // Each is read, which clears it; they tell the same.
                match socket::take_error(fd)? {
                    0 => {}
                    error => wake.error = Some(error),
                }
            }
        }
        Ok(wake)
    }
}
