//! `ping`: asks others for echoes, when an operator wants to.
//!
//! - Takes: echo replies for us, checked, beginning at the IPv4 header.
//! - Sends: `lookup`: the echo requests that were ordered, beginning at the IPv4 header.
//! - Drops: `too-short`, `not-asked`.
//! - Spec: RFC 792; RFC 6864 (identification).
//!
//! Orders come and answers go by a [`Pinger`] between turns. An answer counts when its identifier
//! is one that is waited for, whoever of the workers asked.
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use dataplane::{Batch, Frame, Node, Outlets, checksum};
use etherparse::{Icmpv4Slice, Ipv4HeaderSlice, icmpv4};

use crate::ip4::{self, Header, protocol};
use crate::tables::Tables;

/// Orders that wait at most; more are refused.
pub const ORDERS_MAX: usize = 64;

/// Identifiers waited for at most; more are refused.
pub const IDENTIFIERS_MAX: usize = 64;

/// Events kept until somebody takes them; more are forgotten.
pub const EVENTS_MAX: usize = 256;

/// Octets of data in an echo request at most, so that it fits any Ethernet.
pub const DATA_MAX: usize = 1472;

/// Octets of the ICMP header of an echo.
const ICMP_HEADER: usize = 8;

/// An echo request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// To whom.
    pub destination: Ipv4Addr,
    /// Tells this ping from others.
    pub identifier: u16,
    /// Tells this request from others of the same ping.
    pub sequence: u16,
    /// Octets of data, at most [`DATA_MAX`].
    pub data_len: usize,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The ping.
    pub identifier: u16,
    /// The request.
    pub sequence: u16,
    /// What happened.
    pub what: Happened,
    /// When, on the clock the nodes are given.
    pub at: Duration,
}

/// What can become of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was sent, though it may still wait for its neighbour's address.
    Sent,
    /// There is no route to its destination, or no address of ours to send from.
    NoRoute,
    /// The port had no room.
    NoRoom,
    /// It was answered.
    Answered {
        /// By whom.
        source: Ipv4Addr,
        /// The time to live that was left.
        ttl: u8,
        /// Octets of the ICMP message.
        octets: usize,
    },
}

#[derive(Debug, Default)]
struct State {
    orders: VecDeque<Order>,
    identifiers: Vec<u16>,
    events: Vec<Event>,
}

impl State {
    fn note(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }
}

/// The handle to one worker's `ping`. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Pinger {
    state: Rc<RefCell<State>>,
}

impl Pinger {
    /// Nothing ordered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for answers with `identifier`; `false` when there are too many already.
    pub fn expect(&self, identifier: u16) -> bool {
        let known = &mut self.state.borrow_mut().identifiers;
        if known.contains(&identifier) {
            return true;
        }
        let room = known.len() < IDENTIFIERS_MAX;
        if room {
            known.push(identifier);
        }
        room
    }

    /// Waits for no more answers with `identifier`.
    pub fn forget(&self, identifier: u16) {
        let mut state = self.state.borrow_mut();
        state.identifiers.retain(|known| *known != identifier);
    }

    /// Sends an echo request at the next turn; `false` when too many wait.
    pub fn order(&self, order: Order) -> bool {
        let orders = &mut self.state.borrow_mut().orders;
        let room = orders.len() < ORDERS_MAX;
        if room {
            orders.push_back(order);
        }
        room
    }

    /// What happened since it was asked last.
    pub fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.state.borrow_mut().events)
    }

    /// Whether [`Self::events`] has any.
    pub fn has_events(&self) -> bool {
        !self.state.borrow().events.is_empty()
    }
}

/// Asks others for echoes.
pub struct Ping {
    tables: Tables,
    state: Rc<RefCell<State>>,
    identification: u16,
}

dataplane::labels! {
    /// Where `ping` sends.
    pub enum PingNext {
        /// Echo requests.
        Lookup = "lookup",
    }
}

dataplane::labels! {
    /// Why `ping` drops.
    pub enum PingDrop {
        /// Shorter than its headers.
        TooShort = "too-short",
        /// An answer nobody waits for.
        NotAsked = "not-asked",
    }
}

impl Ping {
    /// The node of `pinger`.
    pub fn new(tables: &Tables, pinger: &Pinger) -> Self {
        Self {
            tables: tables.clone(),
            state: Rc::clone(&pinger.state),
            identification: 0,
        }
    }
}

impl Node for Ping {
    const NAME: &'static str = "ping";
    type Next = PingNext;
    type Drop = PingDrop;

    fn process<'block>(
        &mut self,
        now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, PingNext, PingDrop>,
    ) {
        for frame in batch.drain() {
            match answer(&frame, now) {
                Some(event) => {
                    let mut state = self.state.borrow_mut();
                    if state.identifiers.contains(&event.identifier) {
                        state.note(event);
                        out.consume(frame);
                    } else {
                        out.drop(PingDrop::NotAsked, frame);
                    }
                }
                None => out.drop(PingDrop::TooShort, frame),
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let waits = !self.state.borrow().orders.is_empty();
        waits.then_some(Duration::ZERO)
    }

    fn on_timer(&mut self, now: Duration, out: &mut Outlets<'_, '_, PingNext, PingDrop>) {
        while let Some(order) = self.next_order() {
            let len = ip4::HEADER + ICMP_HEADER + order.data_len.min(DATA_MAX);
            let source = self.tables.source_for(order.destination);
            let what = match source.map(|source| (source, out.alloc(len))) {
                None => Happened::NoRoute,
                Some((_, None)) => Happened::NoRoom,
                Some((source, Some(mut frame))) => {
                    self.identification = self.identification.wrapping_add(1);
                    let header = Header {
                        tos: 0,
                        total_len: u16::try_from(len).unwrap_or(u16::MAX),
                        identification: self.identification,
                        fragment: 0,
                        protocol: protocol::ICMP,
                        source,
                        destination: order.destination,
                    };
                    write_request(
                        frame.octets_mut(),
                        &header,
                        order.identifier,
                        order.sequence,
                    );
                    out.send(PingNext::Lookup, frame);
                    Happened::Sent
                }
            };
            let (identifier, sequence) = (order.identifier, order.sequence);
            self.state.borrow_mut().note(Event {
                identifier,
                sequence,
                what,
                at: now,
            });
        }
    }
}

impl Ping {
    fn next_order(&self) -> Option<Order> {
        self.state.borrow_mut().orders.pop_front()
    }
}

impl fmt::Debug for Ping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ping")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What an echo reply says.
fn answer(frame: &Frame<'_>, at: Duration) -> Option<Event> {
    let header = Ipv4HeaderSlice::from_slice(frame.octets()).ok()?;
    let message = frame.octets().get(header.slice().len()..)?;
    let [i0, i1, s0, s1] = Icmpv4Slice::from_slice(message).ok()?.bytes5to8();
    Some(Event {
        identifier: u16::from_be_bytes([i0, i1]),
        sequence: u16::from_be_bytes([s0, s1]),
        what: Happened::Answered {
            source: header.source_addr(),
            ttl: header.ttl(),
            octets: message.len(),
        },
        at,
    })
}

/// Fills `octets` with an echo request (RFC 792) behind `header`; its data counts up, as ping's does
/// everywhere. What does not fit is left out.
pub fn write_request(octets: &mut [u8], header: &Header, identifier: u16, sequence: u16) {
    let Some((head, message)) = octets.split_first_chunk_mut::<{ ip4::HEADER }>() else {
        return;
    };
    *head = header.octets();
    let Some((icmp, data)) = message.split_first_chunk_mut::<ICMP_HEADER>() else {
        return;
    };
    let ([i0, i1], [s0, s1]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
    *icmp = [icmpv4::TYPE_ECHO_REQUEST, 0, 0, 0, i0, i1, s0, s1];
    for (octet, value) in data.iter_mut().zip((0..=u8::MAX).cycle()) {
        *octet = value;
    }
    let sum = checksum::of(message);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use dataplane::testing::Harness;

    fn harness() -> (Pinger, Harness<Ping>) {
        let pinger = Pinger::new();
        let harness = Harness::new(Ping::new(&tables(), &pinger));
        (pinger, harness)
    }

    fn order(destination: Ipv4Addr) -> Order {
        Order {
            destination,
            identifier: 0x1234,
            sequence: 7,
            data_len: 56,
        }
    }

    #[test]
    fn an_order_becomes_an_echo_request() {
        let (pinger, mut harness) = harness();
        assert!(pinger.order(order(PEER_IP)));
        harness.now = Duration::from_millis(5);
        let result = harness.run();
        assert_eq!(result.arcs(), ["lookup"]);
        let octets = &result.sent[0].frame.octets;
        let header = Ipv4HeaderSlice::from_slice(octets).unwrap();
        assert_eq!(
            (header.source_addr(), header.destination_addr()),
            (OUR_IP, PEER_IP)
        );
        assert_eq!((octets.len(), checksum::of(&octets[20..])), (84, 0));
        assert_eq!(octets[20..22], [8, 0]);
        assert_eq!(octets[24..28], [0x12, 0x34, 0, 7]);
        assert_eq!((result.counters.made, result.counters.sent), (1, 1));
        let events = pinger.events();
        assert_eq!(
            (events[0].what, events[0].at),
            (Happened::Sent, Duration::from_millis(5))
        );
    }

    #[test]
    fn an_order_without_a_route_is_said_so() {
        let pinger = Pinger::new();
        let interfaces = dataplane::Interfaces::shared();
        let mut harness = Harness::new(Ping::new(&Tables::new(interfaces), &pinger));
        pinger.order(order([10, 9, 9, 9].into()));
        assert_eq!(harness.run().arcs(), [""; 0]);
        assert_eq!(pinger.events()[0].what, Happened::NoRoute);
    }

    #[test]
    fn only_awaited_answers_are_taken() {
        let (pinger, mut harness) = harness();
        let reply = packet(1, &icmp(0, 0, [0x12, 0x34, 0, 7], b"data"));
        harness.input(&reply, |meta| meta.interface = SUB);
        assert_eq!(harness.run().drops(), [("not-asked", 1)]);
        assert!(pinger.expect(0x1234));
        harness.input(&reply, |meta| meta.interface = SUB);
        let result = harness.run();
        assert_eq!((result.drops(), result.counters.consumed), (vec![], 1));
        let what = pinger.events()[0].what;
        let source = PEER_IP;
        assert!(
            matches!(what, Happened::Answered { source: from, octets: 12, .. } if from == source)
        );
        pinger.forget(0x1234);
        harness.input(&reply, |meta| meta.interface = SUB);
        assert_eq!(harness.run().drops(), [("not-asked", 1)]);
    }

    #[test]
    fn orders_identifiers_and_events_are_bounded() {
        let (pinger, _) = harness();
        let orders = (0..100).filter(|_| pinger.order(order(PEER_IP))).count();
        let identifiers = (0..100).filter(|id| pinger.expect(*id)).count();
        assert_eq!((orders, identifiers), (ORDERS_MAX, IDENTIFIERS_MAX));
    }
}
