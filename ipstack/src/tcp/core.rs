//! All of one worker's TCP: tables, timers, and what connections need to come and go.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use dataplane::{IfIndex, SharedInterfaces};

use super::config::MTU_MIN;
use super::conn::{Conn, Shared, State, Tcb};
use super::handshake::HalfOpen;
use super::hash_key::HashKey;
use super::isn::Secrets;
use super::limit::RateLimit;
use super::listen::{Connection, Listeners, SharedService};
use super::order::Order;
use super::segment::{ACK, Outgoing, RST};
use super::seq::Seq;
use super::slab::Slab;
use super::smaller_mtu::{SMALLER_MTUS_MAX, SmallerMtu};
use super::sources::Sources;
use super::table::{Key, Place, Table};
use super::transmit::{self, Out};
use super::wake;
use super::wheel::Wheel;
use crate::heard::News;
use crate::smoltcp::Engine;

/// The MTU of an interface that has gone away, and the least anything is done with (RFC 791).
const MTU_FLOOR: u16 = 68;
const MTU_FALLBACK: u16 = 1500;

/// How long a connection that is gone may keep the future that serves it.
pub(super) const LINGER: Duration = Duration::from_secs(10);

/// How long a path MTU is believed (RFC 1191, section 6.3).
pub(super) const PMTU_AGE: Duration = Duration::from_mins(10);

/// Challenge acknowledgements are this far apart on one connection; one is enough for a peer that
/// restarted, which sends its SYN again after a second.
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);

/// A connection as the worker keeps it.
pub(super) struct Flow {
    pub(super) conn: Rc<RefCell<Conn>>,
    /// What serves it; `None` while it is being polled and when it is done.
    pub(super) future: Option<Connection>,
    /// The future's waker, the connection's own; elsewhere while it is being polled.
    pub(super) waker: Waker,
    /// Who is to serve it, until asked.
    pub(super) service: Option<SharedService>,
    /// A pure acknowledgement not fed yet: a later one of the batch may make it superfluous.
    pub(super) held: Option<(Seq, u16)>,
    /// In [`Core::ready`].
    pub(super) queued: bool,
    /// Its waker was called.
    pub(super) woken: bool,
    /// Segments still find it.
    pub(super) attached: bool,
    /// When the peer was last heard, and the keep-alive probes since.
    pub(super) heard_at: Duration,
    pub(super) probes: u8,
    /// When something last happened, either way.
    pub(super) active_at: Duration,
    /// When the state last changed.
    pub(super) state: State,
    pub(super) state_since: Duration,
    pub(super) challenged_at: Option<Duration>,
    /// The path's MTU, and until when it is believed.
    pub(super) pmtu: Option<(u16, Duration)>,
}

/// A closed connection, for what may still come (RFC 9293, section 3.6.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeWait {
    pub(super) key: Key,
    pub(super) snd_nxt: Seq,
    pub(super) rcv_nxt: Seq,
}

const _: () = assert!(size_of::<TimeWait>() <= 32);

/// All of one worker's TCP.
pub(crate) struct Core {
    pub(crate) shared: Rc<Shared>,
    pub(super) interfaces: SharedInterfaces,
    pub(super) secrets: Secrets,
    pub(super) engine: Engine,
    pub(super) table: Table,
    pub(super) flows: Slab<Flow>,
    pub(super) half_open: Slab<HalfOpen>,
    pub(super) time_waits: Slab<TimeWait>,
    /// Every flow, half-open connection and TIME-WAIT record has its deadline here.
    pub(super) flow_timers: Wheel,
    pub(super) half_open_timers: Wheel,
    pub(super) time_wait_timers: Wheel,
    pub(super) time_wait_order: Order,
    pub(super) sources: Sources,
    pub(crate) listeners: Listeners,
    /// Flows to serve.
    pub(super) ready: VecDeque<u32>,
    /// Flows the port had no room for, to try again.
    pub(super) blocked: Vec<u32>,
    pub(super) retry_at: Option<Duration>,
    /// Flows without buffers, longest first.
    pub(super) idle: Order,
    /// A packet of a pass.
    pub(super) scratch: Vec<u8>,
    pub(super) resets: RateLimit,
    pub(super) challenges: RateLimit,
    /// Until when acknowledgements are tried as cookies.
    pub(super) cookies_until: Option<Duration>,
    pub(crate) draining: bool,
    /// Addresses whose connections are to be reset.
    pub(super) doomed: Vec<(IfIndex, Ipv4Addr)>,
    /// Futures to drop once nothing is borrowed: they may do what they like then.
    pub(crate) dead: Vec<Connection>,
    /// Tasks elsewhere to wake then.
    pub(super) others: Vec<Waker>,
    /// Smaller path MTUs of connections nobody here knows.
    pub(super) smaller_mtus: News<SmallerMtu, SMALLER_MTUS_MAX>,
}

impl Core {
    pub(crate) fn new(
        shared: Rc<Shared>,
        interfaces: SharedInterfaces,
        [isn, cookie, table, sources]: [HashKey; 4],
    ) -> Self {
        let config = &shared.config;
        Self {
            table: Table::new(table),
            sources: Sources::new(sources),
            resets: RateLimit::new(config.resets_per_second),
            challenges: RateLimit::new(config.resets_per_second),
            interfaces,
            secrets: Secrets::new([isn, cookie]),
            shared,
            engine: Engine::default(),
            flows: Slab::new(),
            half_open: Slab::new(),
            time_waits: Slab::new(),
            flow_timers: Wheel::new(),
            half_open_timers: Wheel::new(),
            time_wait_timers: Wheel::new(),
            time_wait_order: Order::new(),
            listeners: Listeners::default(),
            ready: VecDeque::new(),
            blocked: Vec::new(),
            retry_at: None,
            idle: Order::new(),
            scratch: Vec::new(),
            cookies_until: None,
            draining: false,
            doomed: Vec::new(),
            dead: Vec::new(),
            others: Vec::new(),
            smaller_mtus: News::default(),
        }
    }

    /// The MTU of `interface`.
    pub(super) fn mtu(&self, interface: IfIndex) -> u16 {
        let interfaces = self.interfaces.borrow();
        let mtu = interfaces
            .get(interface)
            .map_or(MTU_FALLBACK, |interface| interface.mtu);
        mtu.max(MTU_FLOOR)
    }

    /// When there is work; [`Duration::ZERO`] means at once.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if !self.ready.is_empty() || !self.shared.wakes.is_empty() || !self.doomed.is_empty() {
            return Some(Duration::ZERO);
        }
        [
            self.flow_timers.next(),
            self.half_open_timers.next(),
            self.time_wait_timers.next(),
            self.retry_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A turn begins at `now`. Wheels without deadlines skip the time since the last.
    pub(crate) fn begin_turn(&mut self, now: Duration) {
        self.flow_timers.skip_to(now);
        self.half_open_timers.skip_to(now);
        self.time_wait_timers.skip_to(now);
    }

    /// Puts flow `index` among those to serve.
    pub(super) fn touch(&mut self, index: u32) {
        if let Some(flow) = self.flows.get_mut(index)
            && !flow.queued
        {
            flow.queued = true;
            self.ready.push_back(index);
        }
    }

    /// Makes a flow of a handshake that is complete; `None`, and a reset is sent, when there are
    /// too many.
    pub(super) fn accept(
        &mut self,
        key: Key,
        tcb: Tcb,
        service: SharedService,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) -> Option<u32> {
        if !self.has_room_for(&key, now, out) {
            self.send_reset(&key, tcb.snd_max, tcb.rcv_nxt, out);
            return None;
        }
        self.sources.add(*key.remote.ip());
        let mtu = self.mtu(key.interface);
        let shared = &self.shared;
        let id = self.flows.insert(|id| {
            let waker = wake::waker(id, &shared.wakes);
            let conn = Conn::new(key, Rc::clone(shared), tcb, waker.clone(), mtu, now);
            Flow {
                waker,
                conn: Rc::new(RefCell::new(conn)),
                future: None,
                service: Some(service),
                held: None,
                queued: false,
                woken: false,
                attached: true,
                heard_at: now,
                probes: 0,
                active_at: now,
                state: State::Established,
                state_since: now,
                challenged_at: None,
                pmtu: None,
            }
        });
        self.table.set(key, Place::Flow(id.index));
        self.shared.count(|c| c.accepted += 1);
        self.touch(id.index);
        Some(id.index)
    }

    /// Whether one more connection from the peer of `key` may be opened. When all places are
    /// taken, the connection idle for longest gives up its own.
    pub(super) fn has_room_for(&mut self, key: &Key, now: Duration, out: &mut Out<'_, '_>) -> bool {
        self.may_have_room_for(key)
            && (self.flows.len() < self.shared.config.connections_max || self.evict_idle(now, out))
    }

    /// Whether a SYN from the peer of `key` may be answered. No connection gives up its place for
    /// it: whoever sent it need not be there.
    pub(super) fn may_have_room_for(&mut self, key: &Key) -> bool {
        let shared = Rc::clone(&self.shared);
        let config = &shared.config;
        if self.sources.count(*key.remote.ip()) >= config.connections_per_source_max {
            shared.count(|c| c.refused_per_source += 1);
            return false;
        }
        if self.flows.len() < config.connections_max || self.longest_idle().is_some() {
            return true;
        }
        shared.count(|c| c.refused_full += 1);
        false
    }

    /// The connection idle for longest.
    fn longest_idle(&mut self) -> Option<u32> {
        while let Some(index) = self.idle.first() {
            let is_idle = self
                .flows
                .get(index)
                .is_some_and(|flow| flow.attached && flow.conn.borrow().socket.is_none());
            if is_idle {
                return Some(index);
            }
            self.idle.remove(index);
        }
        None
    }

    /// Resets the connection idle for longest; `false` when none is idle.
    fn evict_idle(&mut self, now: Duration, out: &mut Out<'_, '_>) -> bool {
        let Some(index) = self.longest_idle() else {
            return false;
        };
        self.shared.count(|c| c.evicted_idle += 1);
        self.abort(index, ErrorKind::ConnectionAborted, now, out);
        // Its place is free at once: what served it ends with it.
        self.remove(index);
        true
    }

    /// Sends a reset and ends the connection.
    pub(super) fn abort(
        &mut self,
        index: u32,
        fate: ErrorKind,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) {
        if let Some(flow) = self.flows.get(index) {
            let (key, tcb) = {
                let conn = flow.conn.borrow();
                (conn.key, conn.tcb)
            };
            self.send_reset(&key, tcb.snd_max, tcb.rcv_nxt, out);
        }
        self.shared.count(|c| c.reset_by_us += 1);
        self.end(index, Some(fate), now);
    }

    /// Takes the connection out of the table. With an error as its `fate` its buffers go too;
    /// otherwise it closed in order, and what was received can still be read.
    pub(super) fn end(&mut self, index: u32, fate: Option<ErrorKind>, now: Duration) {
        let Some(flow) = self.flows.get_mut(index) else {
            return;
        };
        if !flow.attached {
            return;
        }
        flow.attached = false;
        flow.held = None;
        let conn = Rc::clone(&flow.conn);
        let served = flow.future.is_some() || flow.service.is_some();
        let key = {
            let mut conn = conn.borrow_mut();
            self.others.extend(conn.take_others().into_iter().flatten());
            if let Some(kind) = fate {
                conn.state = State::Closed;
                conn.fate = Some(kind);
                conn.sleep();
            } else {
                conn.fate = Some(ErrorKind::BrokenPipe);
                let unread = conn.socket.as_ref().is_some_and(|s| s.recv_queue() > 0);
                if !unread || conn.app.gone {
                    conn.sleep();
                }
            }
            conn.key
        };
        flow.woken = true;
        self.table.remove(&key, Place::Flow(index));
        self.sources.remove(*key.remote.ip());
        if served {
            self.flow_timers.set(index, now + LINGER);
            self.touch(index);
        } else {
            self.remove(index);
        }
    }

    /// Forgets the flow; its future, if it has one, is dropped when nothing is borrowed.
    pub(super) fn remove(&mut self, index: u32) {
        self.flow_timers.cancel(index);
        self.idle.remove(index);
        if let Some(flow) = self.flows.remove(index) {
            self.dead.extend(flow.future);
        }
    }

    /// Ends the connection in order and keeps a record of it.
    pub(super) fn enter_time_wait(&mut self, index: u32, now: Duration) {
        let Some(flow) = self.flows.get(index) else {
            return;
        };
        let record = {
            let conn = flow.conn.borrow();
            TimeWait {
                key: conn.key,
                snd_nxt: conn.tcb.snd_max,
                rcv_nxt: conn.tcb.rcv_nxt,
            }
        };
        self.end(index, None, now);
        let shared = Rc::clone(&self.shared);
        let config = &shared.config;
        while self.time_waits.len() >= config.time_wait_max {
            let Some(index) = self.time_wait_order.first() else {
                return;
            };
            self.remove_time_wait(index);
            self.shared.count(|c| c.time_waits_evicted += 1);
        }
        let id = self.time_waits.insert(|_| record);
        self.table.set(record.key, Place::TimeWait(id.index));
        self.time_wait_timers.set(id.index, now + config.time_wait);
        self.time_wait_order.push(id.index);
        self.shared.count(|c| c.time_waits += 1);
    }

    pub(super) fn remove_time_wait(&mut self, index: u32) {
        self.time_wait_timers.cancel(index);
        self.time_wait_order.remove(index);
        if let Some(record) = self.time_waits.remove(index) {
            self.table.remove(&record.key, Place::TimeWait(index));
        }
    }

    /// Sends a reset with our next sequence number, as a connection does.
    pub(super) fn send_reset(&self, key: &Key, seq: Seq, ack: Seq, out: &mut Out<'_, '_>) {
        self.send(
            &Outgoing {
                local: key.local,
                remote: key.remote,
                seq: seq.0,
                ack: ack.0,
                flags: RST | ACK,
                window: 0,
                mss: None,
                wscale: None,
                sack_permitted: false,
            },
            key.interface,
            out,
        );
    }

    /// Sends a segment of our own making. When the port has no room it is lost: the peer asks
    /// again.
    pub(super) fn send(&self, segment: &Outgoing, interface: IfIndex, out: &mut Out<'_, '_>) {
        if !transmit::send(out, interface, segment) {
            self.shared.count(|c| c.port_full += 1);
        }
    }

    /// Sends a challenge acknowledgement on flow `index`, unless there was one just now
    /// (RFC 5961, section 7). The limit is per connection: a common one would tell an attacker
    /// whether a guess was right.
    pub(super) fn challenge(&mut self, index: u32, now: Duration, out: &mut Out<'_, '_>) {
        let Some(flow) = self.flows.get_mut(index) else {
            return;
        };
        let recent = |at: Duration| now < at + CHALLENGE_INTERVAL;
        if flow.challenged_at.is_some_and(recent) {
            self.shared.count(|c| c.challenge_acks_limited += 1);
            return;
        }
        flow.challenged_at = Some(now);
        let (ack, interface) = {
            let conn = flow.conn.borrow();
            (conn.ack(), conn.key.interface)
        };
        self.shared.count(|c| c.challenge_acks_sent += 1);
        self.send(&ack, interface, out);
    }

    /// The path of a flow takes smaller packets only. Returns whether that was news.
    pub(crate) fn lower_mtu(&mut self, smaller: &SmallerMtu, now: Duration) -> bool {
        let SmallerMtu {
            key,
            seq: quoted,
            mtu,
        } = *smaller;
        let Some(Place::Flow(index)) = self.table.find(self.table.hash(&key), &key) else {
            return false;
        };
        let Some(flow) = self.flows.get_mut(index) else {
            return false;
        };
        let mtu = mtu.max(MTU_MIN);
        let mut conn = flow.conn.borrow_mut();
        let flight = conn.tcb.snd_max.since(conn.tcb.una);
        // RFC 5927, section 4.1: only about what is in flight.
        if !quoted.within(conn.tcb.una, flight) || mtu >= conn.mtu {
            return false;
        }
        conn.mtu = mtu;
        let mss = super::sender::mss(&conn.tcb, mtu);
        let tcb = conn.tcb;
        conn.sender.on_smaller_mtu(&tcb, mss);
        drop(conn);
        flow.pmtu = Some((mtu, now + PMTU_AGE));
        self.shared.count(|c| c.pmtu_lowered += 1);
        self.touch(index);
        true
    }

    /// Keeps what is about no connection of this worker for the others, if there are any.
    pub(crate) fn keep_smaller_mtu(&mut self, smaller: SmallerMtu) {
        let hash = self.table.hash(&smaller.key);
        if self.table.find(hash, &smaller.key).is_none() {
            self.smaller_mtus.note(smaller);
        }
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("flows", &self.flows.len())
            .field("half_open", &self.half_open.len())
            .field("time_waits", &self.time_waits.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Core {
    /// Octets queued on the first connection that smoltcp does not know of.
    pub(crate) fn untold(&self) -> usize {
        let flow = self.flows.get(0);
        flow.map_or(0, |flow| flow.conn.borrow().untold())
    }

    pub(crate) fn deadlines(&self) -> String {
        format!(
            "ready {}, wakes {}, flows {:?}, half-open {:?}, time-wait {:?}, retry {:?}",
            self.ready.len(),
            self.shared.wakes.is_empty(),
            self.flow_timers.next(),
            self.half_open_timers.next(),
            self.time_wait_timers.next(),
            self.retry_at
        )
    }

    /// Whether nothing can be forgotten: every flow, half-open connection and TIME-WAIT record has
    /// a deadline.
    pub(crate) fn all_have_deadlines(&self) -> bool {
        let flows = self.flows.iter();
        let half_open = self.half_open.iter();
        let time_waits = self.time_waits.iter();
        flows
            .map(|(at, _)| at)
            .all(|at| self.flow_timers.contains(at))
            && half_open
                .map(|(at, _)| at)
                .all(|at| self.half_open_timers.contains(at))
            && time_waits
                .map(|(at, _)| at)
                .all(|at| self.time_wait_timers.contains(at))
            && self.flow_timers.len() == self.flows.len()
    }
}
