//! Wakes a sleeping worker from another thread: an eventfd among the descriptors it waits on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Rings a worker. Cheap while it is awake: the descriptor is written only when somebody sleeps.
#[derive(Clone, Debug)]
pub struct Notify {
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    fd: EventFd,
    /// Set by the worker before it looks for work a last time and sleeps.
    asleep: AtomicBool,
}

impl Notify {
    /// A bell nobody sleeps by yet.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let fd = EventFd::from_value_and_flags(0, flags)?;
        Ok(Self {
            bell: Arc::new(Bell {
                fd,
                asleep: AtomicBool::new(false),
            }),
        })
    }

    /// Wakes the worker if it sleeps. Publish the work first.
    pub fn ring(&self) {
        // SeqCst on both sides: either we see the sleeper, or it sees our work.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.bell.asleep.swap(false, Ordering::SeqCst) {
            // EAGAIN means the counter is full, so it is readable already.
            let _ = self.bell.fd.write(1);
        }
    }

    /// Says that the worker is about to sleep. It must look for work once more after this, and
    /// call [`Self::awake`] in any case.
    pub fn sleeping(&self) {
        self.bell.asleep.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Says that the worker is awake, and clears the bell.
    pub fn awake(&self) {
        if !self.bell.asleep.swap(false, Ordering::SeqCst) {
            // Somebody rang: take the ring off, or the next sleep ends at once.
            match self.bell.fd.read() {
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => tracing::error!(%error, "reading the worker's eventfd"),
            }
        }
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn readable(notify: &Notify) -> bool {
        let mut fds = [PollFd::new(notify.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn a_ring_reaches_a_sleeper_and_costs_nothing_when_nobody_sleeps() {
        let notify = Notify::new().unwrap();
        notify.ring();
        assert!(!readable(&notify));
        notify.sleeping();
        notify.ring();
        assert!(readable(&notify));
        notify.awake();
        assert!(!readable(&notify));
    }
}
