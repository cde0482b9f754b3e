//! What threads share: as the system has it, or, for the models (feature `loom`), as loom has it,
//! which runs every order that the memory model allows.

#[cfg(not(all(test, feature = "loom")))]
pub(crate) use nix::sys::eventfd::EventFd;
#[cfg(not(all(test, feature = "loom")))]
pub(crate) use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(all(test, feature = "loom"))]
pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};

#[cfg(all(test, feature = "loom"))]
mod eventfd {
    use std::os::fd::{AsFd, BorrowedFd};
    use std::sync::PoisonError;

    use loom::sync::{Condvar, Mutex};
    use nix::errno::Errno;
    use nix::sys::eventfd::EfdFlags;

    /// A counter one can wait for, as the kernel's. The descriptor is for types only.
    #[derive(Debug)]
    pub(crate) struct EventFd {
        counter: Mutex<u64>,
        rung: Condvar,
        fd: nix::sys::eventfd::EventFd,
    }

    impl EventFd {
        pub(crate) fn from_value_and_flags(value: u32, flags: EfdFlags) -> nix::Result<Self> {
            Ok(Self {
                counter: Mutex::new(value.into()),
                rung: Condvar::new(),
                fd: nix::sys::eventfd::EventFd::from_value_and_flags(value, flags)?,
            })
        }

        pub(crate) fn write(&self, more: u64) -> nix::Result<usize> {
            *self.counter.lock().unwrap_or_else(PoisonError::into_inner) += more;
            self.rung.notify_all();
            Ok(8)
        }

        pub(crate) fn read(&self) -> nix::Result<u64> {
            let mut counter = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
            match std::mem::take(&mut *counter) {
                0 => Err(Errno::EAGAIN),
                count => Ok(count),
            }
        }

        /// As `poll(2)`.
        #[cfg(test)]
        pub(crate) fn wait(&self) {
            let mut counter = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
            while *counter == 0 {
                counter = self
                    .rung
                    .wait(counter)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    impl AsFd for EventFd {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.fd.as_fd()
        }
    }
}

#[cfg(all(test, feature = "loom"))]
pub(crate) use eventfd::EventFd;
