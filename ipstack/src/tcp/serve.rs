//! A connection's turn: its future is polled once, what it wrote is sent, its timers are looked at.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::conn::{Conn, State};
use super::core::Core;
use super::listen::{Connection, SharedService};
use super::sender::{self, Due, Resend};
use super::seq::Seq;
use super::transmit::{Egress, Out, fin, pass, payload_max, segment_max};
use crate::smoltcp::{Emitted, Path, Socket};
use crate::stream::TcpStream;

/// Packets one connection may send in one turn; it goes on in the next, after the others.
const PACKETS_PER_TURN: usize = 64;

/// Connections served, wake-ups and timers taken in one turn; the rest stays due.
pub(super) const SERVED_MAX: usize = 1024;

/// How soon a full port is asked again.
pub(super) const RETRY: Duration = Duration::from_millis(1);

/// Connections whose futures are polled one after the other, before what they wrote is sent: the
/// code of either does not fit into the instruction cache together with that of the other.
const TOGETHER: usize = 16;

/// Serves every connection that is ready, each once.
pub(crate) fn serve(core: &Rc<RefCell<Core>>, now: Duration, out: &mut Out<'_, '_>) {
    let mut waiting = core.borrow().ready.len().min(SERVED_MAX);
    while waiting > 0 {
        let mut polled = [None; TOGETHER];
        for place in polled.iter_mut().take(waiting) {
            *place = core.borrow_mut().ready.pop_front();
            if let Some(index) = *place {
                poll_one(core, index, now, out);
            }
        }
        for index in polled.into_iter().flatten() {
            core.borrow_mut().after(index, now, out);
        }
        bury(core);
        waiting = waiting.saturating_sub(TOGETHER);
    }
    bury(core);
}

/// Polls the future of flow `index`, if it has reason to be.
fn poll_one(core: &Rc<RefCell<Core>>, index: u32, now: Duration, out: &mut Out<'_, '_>) {
    let job = core.borrow_mut().begin(index, now, out);
    if let Some(job) = job {
        let outcome = poll(&job);
        job.conn.borrow_mut().app.polling = false;
        core.borrow_mut().finish(index, job, outcome, now, out);
    }
}

/// Drops futures that are done for and wakes tasks elsewhere, while nothing is borrowed: neither's
/// code is ours.
fn bury(core: &Rc<RefCell<Core>>) {
    loop {
        let other = core.borrow_mut().others.pop();
        let Some(other) = other else { break };
        other.wake();
    }
    loop {
        let dead = core.borrow_mut().dead.pop();
        let Some(dead) = dead else { return };
        if catch_unwind(AssertUnwindSafe(|| drop(dead))).is_err() {
            core.borrow().shared.count(|c| c.panics += 1);
        }
    }
}

/// A future to poll, or a service to get one from.
pub(super) struct Job {
    conn: Rc<RefCell<Conn>>,
    future: RefCell<Option<Connection>>,
    waker: Waker,
    service: Option<SharedService>,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Pending,
    Done,
    Panicked,
}

fn poll(job: &Job) -> Outcome {
    let mut cx = Context::from_waker(&job.waker);
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let mut slot = job.future.borrow_mut();
        if let Some(service) = &job.service {
            let stream = TcpStream::new(Rc::clone(&job.conn));
            *slot = Some(service.borrow_mut().accept(stream));
        }
        let done = slot
            .as_mut()
            .is_none_or(|future| future.as_mut().poll(&mut cx).is_ready());
        if done {
            // What it still holds goes now, the stream above all.
            *slot = None;
        }
        done
    }));
    match polled {
        Ok(true) => Outcome::Done,
        Ok(false) => Outcome::Pending,
        Err(_) => Outcome::Panicked,
    }
}

impl Core {
    /// The job of flow `index`, if its future has reason to be polled.
    fn begin(&mut self, index: u32, now: Duration, out: &mut Out<'_, '_>) -> Option<Job> {
        self.flows.get_mut(index)?.queued = false;
        self.feed_held(index, now, out);
        let mtu = self.path_mtu(index, now);
        let flow = self.flows.get_mut(index)?;
        let mut conn = flow.conn.borrow_mut();
        conn.now = now;
        if let Some(mtu) = mtu {
            conn.mtu = mtu;
        }
        let is_ready = conn.is_ready();
        if is_ready {
            self.others.extend(conn.take_others().into_iter().flatten());
        }
        let woken = std::mem::take(&mut flow.woken);
        let service = flow.service.take();
        if service.is_none() && (flow.future.is_none() || !(woken || is_ready)) {
            return None;
        }
        conn.app.want_read = false;
        conn.app.want_write = false;
        conn.app.polling = true;
        drop(conn);
        Some(Job {
            conn: Rc::clone(&flow.conn),
            future: RefCell::new(flow.future.take()),
            waker: std::mem::replace(&mut flow.waker, Waker::noop().clone()),
            service,
        })
    }

    /// The MTU of the flow's interface or path, when it differs from what the flow has.
    fn path_mtu(&mut self, index: u32, now: Duration) -> Option<u16> {
        let flow = self.flows.get_mut(index)?;
        if flow.pmtu.is_some_and(|(_, until)| until <= now) {
            flow.pmtu = None;
        }
        let path = flow.pmtu.map_or(u16::MAX, |(mtu, _)| mtu);
        let (interface, known) = {
            let conn = flow.conn.borrow();
            (conn.key.interface, conn.mtu)
        };
        let mtu = self.mtu(interface).min(path);
        (mtu != known).then_some(mtu)
    }

    /// Takes the future and its waker back.
    fn finish(
        &mut self,
        index: u32,
        job: Job,
        outcome: Outcome,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) {
        let future = job.future.into_inner();
        let Some(flow) = self.flows.get_mut(index) else {
            self.dead.extend(future);
            return;
        };
        flow.waker = job.waker;
        match outcome {
            Outcome::Pending => flow.future = future,
            Outcome::Done => {}
            Outcome::Panicked => {
                self.dead.extend(future);
                if flow.attached {
                    self.panicked(index, now, out);
                } else {
                    job.conn.borrow_mut().drop_socket();
                    self.shared.count(|c| c.panics += 1);
                }
            }
        }
    }

    /// Sends what there is to send, and sees where the connection stands.
    fn after(&mut self, index: u32, now: Duration, out: &mut Out<'_, '_>) {
        let Some(flow) = self.flows.get(index) else {
            return;
        };
        if !flow.attached {
            if flow.future.is_none() && flow.service.is_none() {
                self.remove(index);
            }
            return;
        }
        let conn = Rc::clone(&flow.conn);
        if conn.borrow().app.abort {
            self.abort(index, ErrorKind::ConnectionAborted, now, out);
            return;
        }
        {
            let mut conn = conn.borrow_mut();
            // A connection that cannot even get the buffers to close with is reset.
            if conn.app.close && conn.socket.is_none() && !conn.wake_up(0) {
                drop(conn);
                self.abort(index, ErrorKind::OutOfMemory, now, out);
                return;
            }
            let (close, gone) = (conn.app.close, conn.app.gone);
            if close {
                // Its FIN follows what it knows of.
                conn.tell_all();
            }
            if let Some(socket) = conn.socket.as_mut() {
                if close && socket.may_send() {
                    socket.close();
                }
                if gone {
                    socket.discard();
                }
                let state = socket.state();
                if state != State::Closed {
                    conn.state = state;
                }
            }
        }
        let sent = catch_unwind(AssertUnwindSafe(|| {
            self.transmit(&mut conn.borrow_mut(), now, out)
        }));
        match sent {
            Err(_) => return self.panicked(index, now, out),
            Ok(Sent::All) => {}
            Ok(Sent::More) => self.touch(index),
            Ok(Sent::Starved) => {
                self.shared.count(|c| c.port_full += 1);
                self.blocked.push(index);
                self.retry_at.get_or_insert(now + RETRY);
            }
        }
        let state = conn.borrow().socket.as_ref().map(Socket::state);
        match state {
            Some(State::TimeWait) => {
                self.shared.count(|c| c.closed += 1);
                self.enter_time_wait(index, now);
            }
            Some(State::Closed) => {
                self.shared.count(|c| c.closed += 1);
                self.end(index, None, now);
            }
            _ => self.look_at_timers(index, &conn, now, out),
        }
    }

    /// Sends what is lost, then what is new.
    fn transmit(&mut self, conn: &mut Conn, now: Duration, out: &mut Out<'_, '_>) -> Sent {
        conn.now = now;
        let mss = sender::mss(&conn.tcb, conn.mtu);
        let segment_max = segment_max(out, conn.mtu);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut egress = Egress::new(out, conn.key.interface, &mut scratch);
        // A closed window is smoltcp's to probe.
        let ahead = conn.sender.assists() && segment_max > 0 && egress.gathers();
        conn.set_ahead(ahead && conn.tcb.send_window() > 0);
        let due = if conn.tcb.send_window() == 0 {
            if conn.sender.deadline().is_some_and(|at| at <= now) {
                conn.sender.postpone(now);
            }
            Due::Nothing
        } else {
            let tcb = conn.tcb;
            conn.sender.due(&tcb, mss, now)
        };
        match due {
            Due::Nothing | Due::Loss { new: false } => {}
            Due::Loss { new: true } => self.shared.count(|c| c.fast_recoveries += 1),
            Due::Timeout => self.shared.count(|c| c.retransmission_timeouts += 1),
            Due::Probe(range) => {
                self.shared.count(|c| c.tail_loss_probes += 1);
                self.resend(conn, range, mss, &mut egress);
            }
        }
        if conn.tcb.send_window() > 0 {
            while let Some(range) = conn.sender.allowed_resend(&conn.tcb, mss) {
                let to = self.resend(conn, range, mss, &mut egress);
                if to == range.from {
                    break;
                }
                let tcb = conn.tcb;
                let from = range.from;
                conn.sender.on_resent(&tcb, Resend { from, to }, now);
            }
        }
        let sent = self.transmit_new(conn, mss, segment_max, &mut egress);
        egress.done();
        self.scratch = scratch;
        sent
    }

    fn transmit_new(
        &mut self,
        conn: &mut Conn,
        mss: usize,
        segment_max: u16,
        egress: &mut Egress<'_, '_, '_>,
    ) -> Sent {
        let path = Path {
            local: *conn.key.local.ip(),
            mtu: conn.mtu,
            segment_max,
        };
        let now = conn.now;
        let clock = conn.sender.clock(now);
        let tcb = conn.tcb;
        conn.sender.before_send(&tcb, now);
        for _ in 0..PACKETS_PER_TURN {
            let Some(socket) = conn.socket.as_mut() else {
                return Sent::All;
            };
            // Outside of a pass, what was sent before is not smoltcp's to send again. Probes of a
            // closed window are.
            let window_open = conn.tcb.send_window() > 0;
            egress.floor = (conn.sender.assists() && window_open).then_some(conn.tcb.snd_max);
            egress.next = Some(conn.tcb.snd_max);
            egress.expect(payload_max(socket.send_queue(), conn.mtu, segment_max));
            let emitted = self.engine.emit(socket, clock, path, egress);
            if conn.untold() > 0 {
                egress.stretch(conn, mss, segment_max);
            }
            let completed = egress.complete(&conn.queue);
            if egress.starved {
                return Sent::Starved;
            }
            if emitted == Emitted::Nothing {
                return transmit_ahead(conn, mss, segment_max, egress);
            }
            let Some((built, swallowed)) = completed else {
                continue;
            };
            if !window_open {
                conn.tcb.probed = conn.tcb.probed.max(built.end);
            } else if built.end.after(conn.tcb.snd_max) {
                if built.seq.before(conn.tcb.snd_max) {
                    self.count_resent(conn);
                }
                conn.on_sent(built.end, mss);
            } else if !swallowed && built.seq != built.end {
                self.count_resent(conn);
            }
            // Its last octet takes the acknowledgement and the FIN along: it has nothing else.
            let is_last = !built.end.before(conn.tcb.una.add(conn.told()));
            if window_open && !swallowed && !built.is_empty() && is_last {
                return transmit_ahead(conn, mss, segment_max, egress);
            }
        }
        Sent::More
    }

    fn count_resent(&self, conn: &mut Conn) {
        conn.sender.retransmissions += 1;
        self.shared.count(|c| c.retransmissions += 1);
    }

    /// Sends `range` again; how far it got.
    fn resend(
        &mut self,
        conn: &mut Conn,
        range: Resend,
        mss: usize,
        egress: &mut Egress<'_, '_, '_>,
    ) -> Seq {
        conn.tell_all();
        if conn.queue.is_empty() {
            // Only the FIN is out.
            let sent = conn.state.awaits_ack_of_fin() && egress.send(&fin(conn));
            if sent {
                self.count_resent(conn);
            }
            return if sent { range.to } else { range.from };
        }
        let mut passed = pass(&mut self.engine, conn, egress, range, mss);
        if passed.forgotten && !egress.starved {
            self.prod(conn, egress);
            passed = pass(&mut self.engine, conn, egress, range, mss);
        }
        if passed.to != range.from {
            self.count_resent(conn);
        }
        passed.to
    }

    /// Makes smoltcp, whose timer has stopped with data in flight, send the first segment again:
    /// three duplicate acknowledgements do. A changed window before them sets its count to 0.
    pub(super) fn prod(&mut self, conn: &mut Conn, egress: &mut Egress<'_, '_, '_>) {
        let (una, window) = (conn.tcb.una, conn.tcb.window);
        let other = window ^ 1;
        self.shared.count(|c| c.stalls_ended += 1);
        let clock = conn.sender.clock(conn.now);
        let path = Path {
            local: *conn.key.local.ip(),
            mtu: conn.mtu,
            segment_max: 0,
        };
        for window in [other, window, window, window, window] {
            let mut packet = [0u8; 40];
            conn.ack_of_peer(una, window).write(&mut packet);
            let mut reply = super::transmit::Reply::new();
            if let Some(socket) = conn.socket.as_mut() {
                socket.had_duplicate();
                self.engine.feed(socket, clock, path, &packet, &mut reply);
            }
        }
        // The segment itself is swallowed or not, as the caller's floor says; the timer runs.
        if let Some(socket) = conn.socket.as_mut() {
            egress.expect(payload_max(socket.send_queue(), conn.mtu, 0));
            egress.floor = Some(conn.tcb.snd_max);
            self.engine.emit(socket, clock, path, egress);
            egress.complete(&conn.queue);
        }
    }
}

/// Sends what smoltcp has not been told of, once it has sent all it knows of.
fn transmit_ahead(
    conn: &mut Conn,
    mss: usize,
    segment_max: u16,
    egress: &mut Egress<'_, '_, '_>,
) -> Sent {
    for _ in 0..PACKETS_PER_TURN {
        let from = conn.tcb.snd_max;
        if conn.untold() == 0 || from.since(conn.tcb.una) < conn.told() {
            return Sent::All;
        }
        let octets = sendable(conn, from, mss, segment_max);
        if octets == 0 {
            return Sent::All;
        }
        let packet = conn.ack();
        if !egress.send_shared(&packet, &conn.queue, octets, mss) {
            if egress.starved {
                return Sent::Starved;
            }
            // Copies lie among what is shared, as when requests are pipelined.
            conn.tell_all();
            return Sent::More;
        }
        conn.on_sent(from.add(octets), mss);
    }
    Sent::More
}

/// Octets from `from` on that the next packet may carry: as the peer's window allows, and no
/// fraction of a segment while the answer to others may open it (RFC 1122, section 4.2.3.4).
pub(super) fn sendable(conn: &Conn, from: Seq, mss: usize, segment_max: u16) -> usize {
    let unsent = conn.queue.end().since(from);
    let flight = from.since(conn.tcb.una);
    let window = conn.tcb.send_window().saturating_sub(flight);
    let octets = payload_max(unsent, conn.mtu, segment_max).min(window);
    if octets == unsent {
        octets
    } else if octets >= mss {
        octets - octets % mss
    } else if flight == 0 {
        octets
    } else {
        0
    }
}

/// How far sending got.
enum Sent {
    All,
    More,
    Starved,
}
