//! A thread that serves sockets of the kernel's until its handle is dropped: the operators', and
//! the metrics'.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::notify::Notify;

/// How long such a thread rests after it had much to do, so that a flood takes part of one CPU at
/// most, or when it could not sleep.
pub(crate) const REST: Duration = Duration::from_millis(1);

/// The running thread; ends when dropped.
#[derive(Debug)]
pub(crate) struct Service {
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

/// What wakes the thread, and tells it to end.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    notify: Notify,
    stop: Arc<AtomicBool>,
}

impl Service {
    /// Starts the thread `name` with its bell, which `notify` rings too. It is to end once it
    /// [is told to](Bell::is_over).
    ///
    /// # Errors
    /// No thread left.
    pub(crate) fn start(
        name: &str,
        notify: Notify,
        run: impl FnOnce(&Bell) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let bell = Bell { notify, stop };
        let its = bell.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&its))?;
        Ok(Self {
            bell,
            thread: Some(thread),
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.bell.stop.store(true, Ordering::SeqCst);
        self.bell.notify.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic was printed where it happened
        }
    }
}

impl Bell {
    /// Whether the thread is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Sleeps until the bell rings, one of `sockets` is ready or `timeout` is over.
    pub(crate) fn wait<'fd>(
        &'fd self,
        sockets: impl Iterator<Item = PollFd<'fd>>,
        timeout: Option<Duration>,
    ) {
        let bell = PollFd::new(self.notify.as_fd(), PollFlags::POLLIN);
        let mut fds: Vec<_> = std::iter::once(bell).chain(sockets).collect();
        self.notify.sleeping();
        // It may have been told before the bell was set.
        if !self.is_over() {
            match ppoll(&mut fds, timeout.map(TimeSpec::from_duration), None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "waiting for clients");
                    std::thread::sleep(REST);
                }
            }
        }
        self.notify.awake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_service_sleeps_wakes_by_its_bell_and_ends_with_its_handle() {
        let notify = Notify::new().unwrap();
        let (tell, told) = mpsc::channel();
        let service = Service::start("test", notify.clone(), move |bell| {
            while !bell.is_over() {
                bell.wait(std::iter::empty(), None);
                tell.send(()).unwrap();
            }
        })
        .unwrap();
        // Until it sleeps a ring is not needed, and lost.
        while told.try_recv().is_err() {
            notify.ring();
            std::thread::yield_now();
        }
        drop(service);
        while told.try_recv().is_ok() {}
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }
}
