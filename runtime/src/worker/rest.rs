//! What a worker does with nothing to do: it looks a little longer where that pays, and sleeps.

use std::os::fd::AsFd;
use std::time::Instant;

use super::{Listen, Worker};
use crate::rehearsal::Rehearsal;

/// When a worker has to look again at the latest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// Only when it is woken.
    Woken,
    /// At this time.
    Time(Instant),
}

impl Until {
    /// The same, or `at` if that is earlier.
    fn or_at(self, at: Instant) -> Self {
        Self::Time(match self {
            Self::Woken => at,
            Self::Time(already) => already.min(at),
        })
    }
}

impl Worker {
    /// Looks for work where that has paid or a frame is due, else sleeps, until a frame, a message
    /// or `until`.
    pub(super) fn rest(&mut self, mut until: Until) {
        let now = Instant::now();
        if let Some(due) = self.rhythm.due() {
            if now >= due.wake {
                if !self.look(now, due.until, until) && Instant::now() >= due.until {
                    self.rhythm.missed();
                }
                return;
            }
            if self.rehearsal.is_none() {
                self.rehearsal = Rehearsal::new();
            }
            until = until.or_at(due.wake);
        }
        let window = self.spin.window();
        let is_loading = |listen: &Listen| listen.server.is_loading();
        if !window.is_zero()
            && !self.listening.iter().any(is_loading)
            && self.look(now, now + window, until)
        {
            return;
        }
        self.notify.sleeping();
        // Work that was published before the bell was set is seen here.
        if !self.has_orders() {
            self.sleep(until);
        }
        self.notify.awake();
    }

    /// Looks for work from `now` to `to`, or until it is time for something else; whether there is
    /// some.
    fn look(&mut self, mut now: Instant, to: Instant, until: Until) -> bool {
        let to = match until {
            Until::Time(at) => at.min(to),
            Until::Woken => to,
        };
        while now < to {
            if self.device.is_ready() || self.has_orders() {
                return true;
            }
            std::hint::spin_loop();
            now = Instant::now();
        }
        false
    }

    /// Whether somebody told us something, or a connection wants to be polled.
    fn has_orders(&self) -> bool {
        !self.messages.is_empty() || self.assembly.tcp.is_woken()
    }

    fn sleep(&mut self, until: Until) {
        let start = Instant::now();
        let timeout = match until {
            Until::Woken => None,
            Until::Time(at) => Some(at.saturating_duration_since(start)),
        };
        match self.device.wait(timeout, &[self.notify.as_fd()]) {
            Ok(wake) => {
                let now = Instant::now();
                self.spin.slept(now.duration_since(start), wake.rx);
                let due = self.rhythm.due().filter(|due| now >= due.wake);
                if let Some(due) = due {
                    self.rhythm.woken(due.wake, now, wake.rx);
                }
                if !wake.rx && wake.fds == 0 && due.is_some_and(|due| due.leaves_time(now)) {
                    self.rehearse(now);
                }
                // The supervisor hears of the interface from the kernel and tells us.
                if let Some(errno) = wake.error {
                    tracing::debug!(interface = self.host_name, errno, "the link reported");
                }
            }
            Err(error) => tracing::error!(interface = self.host_name, %error, "waiting"),
        }
    }

    /// Has at hand what answering a frame takes, of our code and of the kernel's.
    fn rehearse(&mut self, now: Instant) {
        if let Some(rehearsal) = &mut self.rehearsal {
            rehearsal.run(now.duration_since(self.origin));
        }
        if !self.device.is_ready() {
            self.device.rehearse();
        }
    }
}
