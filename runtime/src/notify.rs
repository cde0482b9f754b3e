//! Wakes a sleeping worker from another thread: an eventfd among the descriptors it waits on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::eventfd::EfdFlags;

use crate::sync::{AtomicBool, EventFd, Ordering};

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
        // Swaps have one order. Either the sleeper's came before, and we see it; or it comes later,
        // takes over what we release, and sees our work.
        if self.bell.asleep.swap(false, Ordering::AcqRel) {
            // EAGAIN means the counter is full, so it is readable already.
            let _ = self.bell.fd.write(1);
        }
    }

    /// Says that the worker is about to sleep. It must look for work once more after this, and
    /// call [`Self::awake`] in any case.
    pub fn sleeping(&self) {
        // A store would not do: it takes nothing over.
        self.bell.asleep.swap(true, Ordering::AcqRel);
    }

    /// Says that the worker is awake, and clears the bell.
    pub fn awake(&self) {
        if !self.bell.asleep.swap(false, Ordering::AcqRel) {
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

#[cfg(all(test, feature = "loom"))]
mod every_order {
    use super::*;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    /// Takes work as every thread with a bell does, until it has had `all`.
    fn work(notify: &Notify, published: &AtomicUsize, all: usize) {
        while published.load(Ordering::Relaxed) < all {
            notify.sleeping();
            if published.load(Ordering::Relaxed) < all {
                notify.bell.fd.wait();
            }
            notify.awake();
        }
    }

    #[test]
    fn a_sleeper_wakes_for_work_that_another_thread_publishes() {
        loom::model(|| {
            let notify = Notify::new().unwrap();
            let published = Arc::new(AtomicUsize::new(0));
            let other = {
                let (notify, published) = (notify.clone(), Arc::clone(&published));
                thread::spawn(move || {
                    for _ in 0..2 {
                        published.fetch_add(1, Ordering::Relaxed);
                        notify.ring();
                    }
                })
            };
            work(&notify, &published, 2);
            other.join().unwrap();
        });
    }

    #[test]
    fn a_sleeper_wakes_for_work_that_two_threads_publish() {
        loom::model(|| {
            let notify = Notify::new().unwrap();
            let published = Arc::new(AtomicUsize::new(0));
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let (notify, published) = (notify.clone(), Arc::clone(&published));
                    thread::spawn(move || {
                        published.fetch_add(1, Ordering::Relaxed);
                        notify.ring();
                    })
                })
                .collect();
            work(&notify, &published, 2);
            for other in others {
                other.join().unwrap();
            }
        });
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
