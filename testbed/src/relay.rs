//! Carries frames between raw sockets in userspace: retags, loses and delays them.
//!
//! For kernels that grant no BPF rights (a [`VlanClient`](crate::vlan_client::VlanClient) then
//! is a veth pair and a relay), and for bad networks without netem. A relay sleeps in `ppoll`
//! until a frame arrives or is due. The devices it sits on must send finished frames:
//! [`offload::disable`](crate::offload::disable).

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use crate::error::{Step as _, WiringError};
use crate::packet_socket::{FRAME_MAX, PacketSocket};
use crate::random::SplitMix64;
use crate::tag::{Tag, retag};

/// Most frames in flight in one direction of a channel; further ones are dropped and counted.
pub const IN_FLIGHT_MAX: usize = 16_384;

/// Frames taken from one socket before the others have their turn.
const TURN_MAX: usize = 64;

/// What a direction does to its frames.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Impairment {
    /// Share of frames that vanish, 0 to 1.
    pub loss: f64,
    /// Time each frame is held back; order is kept.
    pub delay: Duration,
    /// Start of the sequence that decides which frames vanish: the same seed, the same losses.
    pub seed: u64,
}

/// One side of a channel: a socket that hears the frames with `tags`, and sends with them.
#[derive(Debug)]
pub struct Side {
    /// Opened to hear exactly `tags`.
    pub socket: PacketSocket,
    /// Tags of the frames on this side, outermost first.
    pub tags: Vec<Tag>,
}

/// Two sides, and what happens to frames on the way.
#[derive(Debug)]
pub struct Channel {
    /// Both ends.
    pub sides: [Side; 2],
    /// What happens to frames from side 0, and from side 1.
    pub impairments: [Impairment; 2],
}

/// What a relay did, all channels and directions together.
#[derive(Debug, Default)]
pub struct RelayCounters {
    /// Frames handed on.
    pub carried: AtomicU64,
    /// Frames lost on purpose.
    pub lost: AtomicU64,
    /// Frames dropped because [`IN_FLIGHT_MAX`] was reached.
    pub overflowed: AtomicU64,
    /// Frames the other device did not take (down, too long, queue full).
    pub refused: AtomicU64,
}

/// A thread that carries frames until it is dropped.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<(AtomicBool, EventFd)>,
    orders: Sender<[Impairment; 2]>,
    counters: Arc<RelayCounters>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts carrying.
    ///
    /// # Errors
    /// No thread or no event descriptor can be had.
    pub fn start(channels: Vec<Channel>) -> Result<Self, WiringError> {
        let start = || -> io::Result<Self> {
            let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
            let stop = Arc::new((AtomicBool::new(false), event));
            let counters = Arc::new(RelayCounters::default());
            let (orders, ordered) = channel();
            let (its_stop, its_counters) = (Arc::clone(&stop), Arc::clone(&counters));
            let thread = thread::Builder::new()
                .name("relay".into())
                .spawn(move || carry(channels, &ordered, &its_stop, &its_counters))?;
            Ok(Self {
                stop,
                orders,
                counters,
                thread: Some(thread),
            })
        };
        start().step(|| "starting a relay".into())
    }

    /// From now on, this happens to frames from side 0, and from side 1, of every channel. Frames
    /// on their way keep their time.
    pub fn impair(&self, impairments: [Impairment; 2]) {
        // An error: the thread has ended, and carries nothing.
        let _ = self.orders.send(impairments);
        let _ = self.stop.1.write(1); // fails only when it is full, which wakes as well
    }

    /// What it did so far.
    pub fn counters(&self) -> &RelayCounters {
        &self.counters
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.0.store(true, Ordering::Release);
        let _ = self.stop.1.write(1); // fails only when it is full, which wakes as well
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One direction of a channel: which side it leaves by, and the frames on their way.
struct Direction {
    impairment: Impairment,
    random: SplitMix64,
    in_flight: VecDeque<(Instant, Vec<u8>)>,
}

fn carry(
    channels: Vec<Channel>,
    ordered: &Receiver<[Impairment; 2]>,
    stop: &(AtomicBool, EventFd),
    counters: &RelayCounters,
) {
    let mut lanes: Vec<_> = channels
        .into_iter()
        .map(|channel| (channel.sides, channel.impairments.map(Direction::new)))
        .collect();
    let mut scratch = vec![0; FRAME_MAX];
    loop {
        // Before looking why, or a wake-up in between would be lost. An error: there was none.
        let _ = stop.1.read();
        if stop.0.load(Ordering::Acquire) {
            return;
        }
        if let Some(impairments) = ordered.try_iter().last() {
            for (_, directions) in &mut lanes {
                for (direction, impairment) in directions.iter_mut().zip(impairments) {
                    direction.impairment = impairment;
                    direction.random = SplitMix64::new(impairment.seed);
                }
            }
        }
        let due = lanes
            .iter()
            .flat_map(|(_, directions)| directions)
            .filter_map(|direction| direction.in_flight.front())
            .map(|(due, _)| *due)
            .min();
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
        let mut descriptors: Vec<_> = lanes
            .iter()
            .flat_map(|(sides, _)| sides)
            .map(|side| PollFd::new(side.socket.as_fd(), PollFlags::POLLIN))
            .collect();
        descriptors.push(PollFd::new(stop.1.as_fd(), PollFlags::POLLIN));
        let _ = ppoll(&mut descriptors, timeout.map(TimeSpec::from), None); // a signal: go round
        let ready: Vec<bool> = descriptors
            .iter()
            .map(|descriptor| descriptor.any().unwrap_or(true))
            .collect();
        drop(descriptors);
        let mut ready = ready.into_iter();
        for (sides, directions) in &mut lanes {
            let [a, b] = sides;
            for ((from, to), direction) in [(&*a, &*b), (&*b, &*a)].into_iter().zip(directions) {
                if ready.next() == Some(true) {
                    direction.take(from, to, &mut scratch, counters);
                }
                direction.deliver(to, counters);
            }
        }
    }
}

impl Direction {
    fn new(impairment: Impairment) -> Self {
        let random = SplitMix64::new(impairment.seed);
        Self {
            impairment,
            random,
            in_flight: VecDeque::new(),
        }
    }

    /// Takes what arrived on `from` and puts it on its way.
    fn take(&mut self, from: &Side, to: &Side, scratch: &mut [u8], counters: &RelayCounters) {
        let inline = from.tags.len().saturating_sub(1); // the outermost tag is off already
        for _ in 0..TURN_MAX {
            let Ok(Some(length)) = from.socket.receive(scratch) else {
                return;
            };
            let frame = scratch
                .get(..length)
                .and_then(|frame| retag(frame, inline, &to.tags));
            let Some(frame) = frame else {
                counters.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if self.random.unit() < self.impairment.loss {
                counters.lost.fetch_add(1, Ordering::Relaxed);
            } else if self.in_flight.len() >= IN_FLIGHT_MAX {
                counters.overflowed.fetch_add(1, Ordering::Relaxed);
            } else if self.impairment.delay.is_zero() && self.in_flight.is_empty() {
                send(&to.socket, &frame, counters);
            } else {
                self.in_flight
                    .push_back((Instant::now() + self.impairment.delay, frame));
            }
        }
    }

    /// Sends what is due.
    fn deliver(&mut self, to: &Side, counters: &RelayCounters) {
        let now = Instant::now();
        while self.in_flight.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, frame)) = self.in_flight.pop_front() {
                send(&to.socket, &frame, counters);
            }
        }
    }
}

fn send(socket: &PacketSocket, frame: &[u8], counters: &RelayCounters) {
    let counter = if socket.send(frame).is_ok() {
        &counters.carried
    } else {
        &counters.refused
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_which_frames_are_lost_and_about_how_many() {
        let lost = |seed| {
            let mut random = SplitMix64::new(seed);
            (0..100_000)
                .filter(|_| random.unit() < 0.01)
                .collect::<Vec<_>>()
        };
        assert_eq!(lost(7), lost(7));
        assert_ne!(lost(7), lost(8));
        assert!((900..1100).contains(&lost(7).len()));
    }
}
