//! How long a worker looks at its rings before it sleeps.
//!
//! Waking a sleeper costs more than a frame. When the last sleeps were short, looking a little
//! longer would have saved them, so the window grows; when a sleep was long, looking was in vain,
//! and the window closes. A worker without traffic therefore never spins.

use std::time::Duration;

/// The longest a worker looks before it sleeps.
pub const SPIN_MAX: Duration = Duration::from_micros(50);

/// What the window opens to first.
const SPIN_MIN: Duration = Duration::from_micros(10);

/// The window, from what sleeping was like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spin {
    window: Duration,
    /// With one processor whoever would send the frame cannot run while we look.
    never: bool,
}

impl Spin {
    /// A closed window. With one processor it never opens.
    pub fn new(processors: usize) -> Self {
        Self {
            window: Duration::ZERO,
            never: processors < 2,
        }
    }

    /// How long to look now; zero: sleep at once.
    pub fn window(self) -> Duration {
        self.window
    }

    /// Learns from a sleep that a frame ended, or did not.
    pub fn slept(&mut self, slept: Duration, frame: bool) {
        if self.never {
            return;
        }
        self.window = if frame && slept <= SPIN_MAX {
            (self.window * 2).clamp(SPIN_MIN, SPIN_MAX)
        } else {
            Duration::ZERO
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_sleeps_open_the_window_up_to_its_maximum() {
        let mut spin = Spin::new(2);
        let mut windows = Vec::new();
        for _ in 0..4 {
            spin.slept(Duration::from_micros(20), true);
            windows.push(spin.window().as_micros());
        }
        assert_eq!(windows, [10, 20, 40, 50]);
    }

    #[test]
    fn a_long_sleep_or_one_without_a_frame_closes_it() {
        for (slept, frame) in [(Duration::from_millis(1), true), (Duration::ZERO, false)] {
            let mut spin = Spin::new(2);
            spin.slept(Duration::ZERO, true);
            spin.slept(slept, frame);
            assert_eq!(spin.window(), Duration::ZERO);
        }
    }

    #[test]
    fn one_processor_never_spins() {
        let mut spin = Spin::new(1);
        spin.slept(Duration::ZERO, true);
        assert_eq!(spin.window(), Duration::ZERO);
    }
}
