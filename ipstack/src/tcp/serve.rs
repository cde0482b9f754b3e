//! A connection's turn: its future is polled once, what it wrote is sent, its timers are looked at.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use super::conn::{Conn, State};
use super::core::{Core, LINGER};
use super::listen::{Connection, SharedService};
use super::sender::{self, Due, Resend};
use super::transmit::{Egress, Out, fin, pass, payload_max, segment_max};
use crate::smoltcp::{Emitted, Path};
use crate::stream::TcpStream;

/// Packets one connection may send in one turn; it goes on in the next, after the others.
const PACKETS_PER_TURN: usize = 64;

/// Connections served, wake-ups and timers taken in one turn; the rest stays due.
pub(super) const SERVED_MAX: usize = 1024;

/// How soon a full port is asked again.
const RETRY: Duration = Duration::from_millis(1);

/// How long smoltcp may owe something and name no time for it before it is prodded.
const STALL: Duration = Duration::from_secs(1);

/// How long a connection must have been idle to be closed when the worker shuts down.
const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// Serves every connection that is ready, each once.
pub(crate) fn serve(core: &Rc<RefCell<Core>>, now: Duration, out: &mut Out<'_, '_>) {
    let waiting = core.borrow().ready.len().min(SERVED_MAX);
    for _ in 0..waiting {
        let index = core.borrow_mut().ready.pop_front();
        let Some(index) = index else { break };
        let job = core.borrow_mut().begin(index, now, out);
        if let Some(job) = job {
            let outcome = poll(&job);
            core.borrow_mut().finish(index, job, outcome, now, out);
        }
        core.borrow_mut().after(index, now, out);
        bury(core);
    }
    bury(core);
}

/// Drops futures that are done for, while nothing is borrowed: a destructor may do anything.
fn bury(core: &Rc<RefCell<Core>>) {
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
    service: Option<SharedService>,
}

/// What became of it.
pub(super) enum Outcome {
    Pending,
    Done,
    Panicked,
}

fn poll(job: &Job) -> Outcome {
    let waker = job.conn.borrow().waker.clone();
    let mut cx = Context::from_waker(&waker);
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
            for waker in conn.take_others().into_iter().flatten() {
                waker.wake();
            }
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

    /// Takes the future back.
    fn finish(
        &mut self,
        index: u32,
        job: Job,
        outcome: Outcome,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) {
        job.conn.borrow_mut().app.polling = false;
        let future = job.future.into_inner();
        let Some(flow) = self.flows.get_mut(index) else {
            self.dead.extend(future);
            return;
        };
        match outcome {
            Outcome::Pending => flow.future = future,
            Outcome::Done => {}
            Outcome::Panicked => {
                self.dead.extend(future);
                if flow.attached {
                    self.panicked(index, now, out);
                } else {
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
        let state = conn.borrow().socket.as_ref().map(|socket| socket.state());
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
        let mut egress = Egress::new(out, conn.key.interface);
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
            Due::Nothing => {}
            Due::Loss => self.shared.count(|c| c.fast_recoveries += 1),
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
                conn.sender.on_resent(
                    Resend {
                        from: range.from,
                        to,
                    },
                    now,
                );
            }
        }
        let sent = self.transmit_new(conn, mss, segment_max, &mut egress);
        egress.done();
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
            egress.expect(payload_max(socket.send_queue(), conn.mtu, segment_max));
            egress.last = None;
            let emitted = self.engine.emit(socket, clock, path, egress);
            if egress.starved {
                return Sent::Starved;
            }
            if emitted == Emitted::Nothing {
                return Sent::All;
            }
            let Some((built, swallowed)) = egress.last else {
                continue;
            };
            if !window_open {
                conn.tcb.probed = conn.tcb.probed.max(built.end);
            } else if built.end.after(conn.tcb.snd_max) {
                if built.seq.before(conn.tcb.snd_max) {
                    self.count_resent(conn);
                }
                conn.tcb.snd_max = built.end;
                let flight = conn.tcb.snd_max.since(conn.tcb.una);
                conn.sender.on_sent(built.end, flight, mss, now);
            } else if !swallowed && built.seq != built.end {
                self.count_resent(conn);
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
    ) -> super::seq::Seq {
        let queue = conn.socket.as_ref().map_or(0, |s| s.send_queue());
        if queue == 0 {
            // Only the FIN is out.
            let sent = conn.state.awaits_ack_of_fin() && egress.send(&fin(conn));
            if sent {
                self.count_resent(conn);
            }
            return if sent { range.to } else { range.from };
        }
        let scratch = &mut self.scratch;
        let mut passed = pass(&mut self.engine, conn, egress, scratch, range, mss);
        if passed.forgotten && !egress.starved {
            self.prod(conn, egress);
            passed = pass(
                &mut self.engine,
                conn,
                egress,
                &mut self.scratch,
                range,
                mss,
            );
        }
        if passed.to != range.from {
            self.count_resent(conn);
        }
        passed.to
    }

    /// Makes smoltcp, whose timer has stopped with data in flight, send the first segment again:
    /// three duplicate acknowledgements do. A changed window before them sets its count to 0.
    fn prod(&mut self, conn: &mut Conn, egress: &mut Egress<'_, '_, '_>) {
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
                self.engine.feed(socket, clock, path, &packet, &mut reply);
            }
        }
        // The segment itself is swallowed or not, as the caller's floor says; the timer runs.
        if let Some(socket) = conn.socket.as_mut() {
            egress.expect(payload_max(socket.send_queue(), conn.mtu, 0));
            egress.floor = Some(conn.tcb.snd_max);
            self.engine.emit(socket, clock, path, egress);
        }
    }

    /// Ends what has lasted too long, gives idle buffers back, and sets the next deadline.
    fn look_at_timers(
        &mut self,
        index: u32,
        conn: &Rc<RefCell<Conn>>,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) {
        let mut conn = conn.borrow_mut();
        if let Some(end) = self.overdue(index, &conn, now) {
            drop(conn);
            self.give_up(index, end, now, out);
            return;
        }
        let Some(flow) = self.flows.get_mut(index) else {
            return;
        };
        let shared = Rc::clone(&self.shared);
        let config = &shared.config;
        if conn.state != flow.state {
            flow.state = conn.state;
            flow.state_since = now;
        }
        let mut at = [None; 5];
        let owes = conn.tcb.una != conn.tcb.snd_max
            || conn.socket.as_ref().is_some_and(|s| s.send_queue() > 0);
        // What smoltcp and the sender's half want.
        if let Some(socket) = &conn.socket {
            let path = Path {
                local: *conn.key.local.ip(),
                mtu: conn.mtu,
                segment_max: 0,
            };
            let clock = conn.sender.clock(now);
            let poll_at = self.engine.poll_at(socket, clock, path);
            // "At once" after everything was sent is a promise smoltcp does not keep.
            at[0] = poll_at.map(|at| conn.sender.unclock(at).max(now + RETRY));
            at[1] = conn.sender.deadline();
            if owes && at[0].is_none() && at[1].is_none() {
                at[2] = Some(flow.active_at.max(conn.sender.progress_at) + STALL);
            }
        }
        if owes || conn.state.awaits_ack_of_fin() {
            let limit = if conn.state.awaits_ack_of_fin() {
                config.closing.min(config.user_timeout)
            } else {
                config.user_timeout
            };
            at[3] = Some(conn.sender.progress_at.max(flow.state_since) + limit);
        } else if conn.state == State::FinWait2 && conn.app.gone {
            at[3] = Some(flow.state_since + config.fin_wait_2);
        } else if conn.is_idle() && flow.idle_stamp == 0 {
            at[3] = Some(flow.active_at + config.hibernate_after);
        }
        let probe_after =
            config.keepalive_idle + config.keepalive_interval * u32::from(flow.probes);
        at[4] = Some(flow.heard_at + probe_after);
        let is_idle = conn.is_idle();
        if flow.idle_stamp != 0 && (!is_idle || conn.socket.is_some()) {
            flow.idle_stamp = 0;
        }
        if is_idle && flow.idle_stamp == 0 && flow.active_at + config.hibernate_after <= now {
            if conn.socket.is_some() {
                conn.drop_socket();
                shared.count(|c| c.hibernated += 1);
            }
            self.idle_stamps = self.idle_stamps.wrapping_add(1).max(1);
            flow.idle_stamp = self.idle_stamps;
            let (id, stamp) = (flow.id, flow.idle_stamp);
            let flows = &self.flows;
            self.idle.push(id, stamp, flows.len(), |id, stamp| {
                flows
                    .get(id.index)
                    .is_some_and(|flow| flow.id == id && flow.idle_stamp == stamp)
            });
            (at[0], at[1], at[3]) = (None, None, None);
        }
        if at[2].is_some_and(|at| at <= now) {
            at[2] = Some(now + STALL);
            self.end_stall(&mut conn, now, out);
        }
        if at[4].is_some_and(|at| at <= now)
            && let Some(flow) = self.flows.get_mut(index)
        {
            flow.probes += 1;
            at[4] = Some(now + config.keepalive_interval);
            shared.count(|c| c.keepalive_probes += 1);
            let mut probe = conn.ack();
            probe.seq = probe.seq.wrapping_sub(1);
            self.send(&probe, conn.key.interface, out);
        }
        let next = at.into_iter().flatten().min();
        let next = next.unwrap_or(now + config.keepalive_interval);
        self.flow_timers.set(index, next.max(now));
    }

    /// Why the connection is to be given up, if it is.
    fn overdue(&self, index: u32, conn: &Conn, now: Duration) -> Option<End> {
        let flow = self.flows.get(index)?;
        let config = &self.shared.config;
        let since = |at: Duration| now.saturating_sub(at);
        let owes = conn.tcb.una != conn.tcb.snd_max;
        let progress_at = conn.sender.progress_at.max(flow.state_since);
        if conn.state.awaits_ack_of_fin() && since(progress_at) >= config.closing {
            return Some(End::Closing);
        }
        if owes && since(progress_at) >= config.user_timeout {
            return Some(End::UserTimeout);
        }
        if conn.state == State::FinWait2
            && conn.app.gone
            && since(flow.state_since) >= config.fin_wait_2
        {
            return Some(End::Closing);
        }
        let patience =
            config.keepalive_idle + config.keepalive_interval * u32::from(config.keepalive_probes);
        if flow.probes >= config.keepalive_probes && since(flow.heard_at) >= patience {
            return Some(End::Silent);
        }
        if self.draining && conn.is_idle() && since(flow.active_at) >= DRAIN_IDLE {
            return Some(End::Drained);
        }
        None
    }

    fn give_up(&mut self, index: u32, end: End, now: Duration, out: &mut Out<'_, '_>) {
        let shared = Rc::clone(&self.shared);
        match end {
            End::Closing => {
                shared.count(|c| c.closing_timeouts += 1);
                self.end(index, Some(ErrorKind::TimedOut), now);
            }
            End::UserTimeout => {
                shared.count(|c| c.user_timeouts += 1);
                self.abort(index, ErrorKind::TimedOut, now, out);
            }
            End::Silent => {
                shared.count(|c| c.keepalive_expired += 1);
                self.abort(index, ErrorKind::TimedOut, now, out);
            }
            End::Drained => {
                // Dropping what serves it closes it in order.
                if let Some(flow) = self.flows.get_mut(index) {
                    flow.active_at = now;
                    self.dead.extend(flow.future.take());
                }
                self.flow_timers.set(index, now);
            }
        }
    }

    /// smoltcp owes something and has forgotten it.
    fn end_stall(&mut self, conn: &mut Conn, now: Duration, out: &mut Out<'_, '_>) {
        let queue = conn.socket.as_ref().map_or(0, |s| s.send_queue());
        if queue == 0 {
            if conn.state.awaits_ack_of_fin() {
                self.shared.count(|c| c.stalls_ended += 1);
                self.send(&fin(conn), conn.key.interface, out);
            }
        } else if conn.tcb.send_window() == 0 {
            // The same acknowledgement once more starts its probes of the closed window.
            self.shared.count(|c| c.stalls_ended += 1);
            let (una, window) = (conn.tcb.una, conn.tcb.window);
            self.feed_own(conn, una, window, now, out);
        } else {
            let mut egress = Egress::new(out, conn.key.interface);
            self.prod(conn, &mut egress);
            egress.done();
        }
    }

    /// Wake-ups and timers, as many as one turn takes.
    pub(crate) fn timers(&mut self, now: Duration, out: &mut Out<'_, '_>) {
        self.reset_doomed(now, out);
        for _ in 0..SERVED_MAX {
            let Some(id) = self.shared.wakes.pop() else {
                break;
            };
            if let Some(flow) = self.flows.get_id(id) {
                flow.woken = true;
                self.touch(id.index);
            }
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            for index in std::mem::take(&mut self.blocked) {
                self.touch(index);
            }
        }
        for _ in 0..SERVED_MAX {
            let Some(index) = self.flow_timers.expire(now) else {
                break;
            };
            self.flow_timer(index, now);
        }
        for _ in 0..SERVED_MAX {
            let Some(index) = self.half_open_timers.expire(now) else {
                break;
            };
            self.half_open_timer(index, now, out);
        }
        for _ in 0..SERVED_MAX {
            let Some(index) = self.time_wait_timers.expire(now) else {
                break;
            };
            self.remove_time_wait(index);
        }
    }

    fn flow_timer(&mut self, index: u32, now: Duration) {
        let Some(flow) = self.flows.get(index) else {
            return;
        };
        if flow.attached {
            // Until it is served it must not be without a deadline.
            self.flow_timers.set(index, now + LINGER);
            self.touch(index);
        } else {
            // What serves it had its time to notice.
            self.remove(index);
        }
    }
}

/// How far sending got.
enum Sent {
    All,
    More,
    Starved,
}

/// Why a connection is given up.
#[derive(Clone, Copy, Debug)]
enum End {
    Closing,
    UserTimeout,
    Silent,
    Drained,
}
