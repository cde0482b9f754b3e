//! Packet trace: what some packets looked like at every node they came to.
//!
//! The trace is an [`Observer`] that is there only while somebody wants packets, so a graph that is
//! not traced pays for nothing. Its memory is taken when it begins; on the packet path it copies a
//! few octets and counts.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dataplane::{Frame, Meta, Observer};

/// Packets that are traced at most until the trace is cleared.
pub const PACKETS_MAX: u32 = 1000;

/// Steps of all packets that are kept at most. When they are used up, packets are cut short.
pub const STEPS_MAX: usize = 16_384;

/// Octets of each step that are kept: Ethernet with two tags, IPv4 and TCP with all options.
pub const OCTETS_MAX: usize = 142;

/// What happened to a packet in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It came to the node.
    Arrived,
    /// The node dropped it, for this reason.
    Dropped(&'static str),
    /// The node handed it to the port.
    Transmitted,
}

/// A packet at a node.
#[derive(Clone, Debug)]
pub struct Step {
    /// The packet: 1 for the first.
    pub packet: u32,
    /// When, on the worker's clock.
    pub at: Duration,
    /// The node.
    pub node: &'static str,
    /// What happened.
    pub what: What,
    /// What was known besides the octets.
    pub meta: Meta,
    /// How long it was.
    pub len: usize,
    octets: [u8; OCTETS_MAX],
}

impl Step {
    fn of(node: &'static str, what: What, origin: Instant, frame: &Frame<'_>) -> Self {
        let mut octets = [0; OCTETS_MAX];
        for (place, octet) in octets.iter_mut().zip(frame.octets()) {
            *place = *octet;
        }
        Self {
            packet: frame.meta.trace,
            at: origin.elapsed(),
            node,
            what,
            meta: frame.meta,
            len: frame.total_len(),
            octets,
        }
    }

    /// Its first octets, as many as there are and were kept.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.len.min(OCTETS_MAX)).unwrap_or(&[])
    }
}

#[derive(Debug, Default)]
struct State {
    /// Nodes where packets are picked, and how many more.
    wanted: Vec<(&'static str, u32)>,
    packets: u32,
    steps: Vec<Step>,
}

/// One worker's trace. Clones share it.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The origin of [`Step::at`]. The clock is read at each step of a traced packet: the time a
    /// node is given is that of its turn.
    origin: Instant,
    state: Rc<RefCell<State>>,
    /// Whether the frame that was transmitted last is traced.
    sent: bool,
}

impl Trace {
    /// Nothing wanted; times will count from `origin`.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            state: Rc::default(),
            sent: false,
        }
    }

    /// Traces the next `count` packets that come to `node` and are not traced yet.
    pub fn add(&self, node: &'static str, count: u32) {
        let mut state = self.state.borrow_mut();
        let room = STEPS_MAX - state.steps.len();
        state.steps.reserve_exact(room);
        match state.wanted.iter_mut().find(|(known, _)| *known == node) {
            Some((_, left)) => *left = count,
            None => state.wanted.push((node, count)),
        }
    }

    /// Forgets everything, and wants nothing.
    pub fn clear(&self) {
        *self.state.borrow_mut() = State::default();
    }

    /// Whether more packets are wanted. Between two turns no packet is under way.
    pub fn is_wanted(&self) -> bool {
        let state = self.state.borrow();
        state.packets < PACKETS_MAX && state.wanted.iter().any(|(_, left)| *left > 0)
    }

    /// The steps of the first `packets` packets, in the order they happened.
    pub fn steps(&self, packets: u32) -> Vec<Step> {
        let state = self.state.borrow();
        let steps = state.steps.iter();
        steps
            .filter(|step| step.packet <= packets)
            .cloned()
            .collect()
    }
}

impl State {
    fn note(&mut self, step: Step) {
        if step.packet != 0 && self.steps.len() < STEPS_MAX {
            self.steps.push(step);
        }
    }
}

impl Observer for Trace {
    fn arrive(&mut self, node: &'static str, _now: Duration, frame: &mut Frame<'_>) {
        let mut state = self.state.borrow_mut();
        if frame.meta.trace == 0 {
            if state.packets >= PACKETS_MAX {
                return;
            }
            // Names are the same statics in every graph; comparing them by value is safe anyway.
            let Some((_, left)) = state
                .wanted
                .iter_mut()
                .find(|(wanted, left)| *left > 0 && *wanted == node)
            else {
                return;
            };
            *left -= 1;
            state.packets += 1;
            frame.meta.trace = state.packets;
        }
        state.note(Step::of(node, What::Arrived, self.origin, frame));
    }

    fn dropped(
        &mut self,
        node: &'static str,
        reason: &'static str,
        _now: Duration,
        frame: &Frame<'_>,
    ) {
        if frame.meta.trace == 0 {
            return; // before the clock is read
        }
        let step = Step::of(node, What::Dropped(reason), self.origin, frame);
        self.state.borrow_mut().note(step);
    }

    fn transmitted(&mut self, _now: Duration, frame: &Frame<'_>) {
        self.sent = frame.meta.trace != 0;
        if !self.sent {
            return;
        }
        let step = Step::of("af-packet-output", What::Transmitted, self.origin, frame);
        self.state.borrow_mut().note(step);
    }

    fn refused(&mut self) {
        // Its drop follows.
        let mut state = self.state.borrow_mut();
        let last = state.steps.last();
        if self.sent && last.is_some_and(|step| step.what == What::Transmitted) {
            state.steps.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(trace: &mut Trace, node: &'static str, frame: &mut Frame<'_>) {
        trace.arrive(node, Duration::ZERO, frame);
    }

    #[test]
    fn a_packet_is_followed_from_where_it_was_picked() {
        let mut trace = Trace::new(Instant::now());
        trace.add("ip4-input", 1);
        let (mut a, mut b) = ([1u8; 40], [2u8; 40]);
        let mut first = Frame::new(&mut a, 0, 40);
        let mut second = Frame::new(&mut b, 0, 40);
        step(&mut trace, "ethernet-input", &mut first);
        step(&mut trace, "ip4-input", &mut first);
        step(&mut trace, "ip4-input", &mut second);
        assert!(!trace.is_wanted());
        trace.dropped("ip4-input", "bad", Duration::ZERO, &first);
        trace.dropped("ip4-input", "bad", Duration::ZERO, &second);
        let steps: Vec<_> = trace
            .steps(u32::MAX)
            .iter()
            .map(|step| (step.packet, step.node, step.what))
            .collect();
        assert_eq!(
            steps,
            [
                (1, "ip4-input", What::Arrived),
                (1, "ip4-input", What::Dropped("bad"))
            ]
        );
    }

    #[test]
    fn a_refused_frame_was_not_transmitted() {
        let mut trace = Trace::new(Instant::now());
        trace.add("af-packet-output", 1);
        let mut octets = [0u8; 60];
        let mut frame = Frame::new(&mut octets, 0, 60);
        step(&mut trace, "af-packet-output", &mut frame);
        trace.transmitted(Duration::ZERO, &frame);
        trace.refused();
        assert!(trace.steps(9).iter().all(|step| step.what == What::Arrived));
    }

    #[test]
    fn packets_and_steps_are_bounded() {
        let mut trace = Trace::new(Instant::now());
        trace.add("a", u32::MAX);
        let mut octets = [0u8; 60];
        for _ in 0..2 * PACKETS_MAX {
            let mut frame = Frame::new(&mut octets, 0, 60);
            for _ in 0..20 {
                step(&mut trace, "a", &mut frame);
            }
        }
        let steps = trace.steps(u32::MAX);
        assert_eq!(steps.len(), STEPS_MAX);
        assert!(steps.iter().all(|step| step.packet <= PACKETS_MAX));
        assert!(!trace.is_wanted());
    }
}
