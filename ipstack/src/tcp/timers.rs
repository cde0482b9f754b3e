//! Timers: what lasts too long ends, what is idle gives its buffers back, what smoltcp has forgotten
//! is done all the same.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use super::conn::{Conn, State};
use super::core::{Core, LINGER};
use super::serve::{RETRY, SERVED_MAX};
use super::transmit::{Egress, Out, fin};
use crate::smoltcp::Path;

/// How long smoltcp may owe something and name no time for it before it is prodded.
const STALL: Duration = Duration::from_secs(1);

/// How long a connection must have been idle to be closed when the worker shuts down.
const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// When what a connection waits for is due.
#[derive(Clone, Copy, Debug, Default)]
struct Deadlines {
    /// smoltcp sends.
    engine: Option<Duration>,
    /// The sender's half sends.
    sender: Option<Duration>,
    /// smoltcp has forgotten what it owes.
    stall: Option<Duration>,
    /// The connection ends, or gives its buffers back.
    patience: Option<Duration>,
    /// The peer is asked whether it is there.
    keepalive: Option<Duration>,
}

impl Deadlines {
    fn first(self) -> Option<Duration> {
        let all = [
            self.engine,
            self.sender,
            self.stall,
            self.patience,
            self.keepalive,
        ];
        all.into_iter().flatten().min()
    }
}

impl Core {
    /// Ends what has lasted too long, gives idle buffers back, and sets the next deadline.
    pub(super) fn look_at_timers(
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
        if conn.state != flow.state {
            flow.state = conn.state;
            flow.state_since = now;
        }
        let (active_at, is_idle) = (flow.active_at, conn.is_idle());
        let mut due = self.sends_at(&conn, active_at, now);
        due.patience = self.loses_patience_at(index, &conn);
        due.keepalive = self.probes_at(index);
        if !is_idle || conn.socket.is_some() {
            self.idle.remove(index);
        }
        if is_idle && self.fall_asleep(index, &mut conn, active_at, now) {
            (due.engine, due.sender, due.patience) = (None, None, None);
        }
        if is_idle && self.draining {
            due.patience = Some(active_at + DRAIN_IDLE);
        }
        let is_over = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        if is_over(due.stall) {
            due.stall = Some(now + STALL);
            self.end_stall(&mut conn, now, out);
        }
        let keepalive_interval = self.shared.config.keepalive_interval;
        if is_over(due.keepalive) {
            due.keepalive = Some(now + keepalive_interval);
            self.probe(index, &conn, out);
        }
        let next = due.first().unwrap_or(now + keepalive_interval);
        // Whatever was due has been done: never again at once, lest the worker spins.
        self.flow_timers.set(index, next.max(now + RETRY));
    }

    /// When smoltcp and the sender's half want to send, and when smoltcp has to be reminded.
    fn sends_at(&mut self, conn: &Conn, active_at: Duration, now: Duration) -> Deadlines {
        let mut due = Deadlines::default();
        let Some(socket) = &conn.socket else {
            return due;
        };
        let path = Path {
            local: *conn.key.local.ip(),
            mtu: conn.mtu,
            segment_max: 0,
        };
        let poll_at = self.engine.poll_at(socket, conn.sender.clock(now), path);
        // "At once" after everything was sent is a promise smoltcp does not keep.
        due.engine = poll_at.map(|at| conn.sender.unclock(at).max(now + RETRY));
        due.sender = conn.sender.deadline();
        // With the peer's window closed, smoltcp's probes alone keep the connection going.
        let own = due.sender.is_some() && conn.tcb.send_window() > 0;
        let owes = conn.tcb.una != conn.tcb.snd_max || !conn.queue.is_empty();
        if owes && due.engine.is_none() && !own {
            due.stall = Some(active_at.max(conn.sender.progress_at) + STALL);
        }
        due
    }

    /// When the connection has waited long enough, for its peer or for something to do.
    fn loses_patience_at(&self, index: u32, conn: &Conn) -> Option<Duration> {
        let flow = self.flows.get(index)?;
        let config = &self.shared.config;
        if conn.tcb.una != conn.tcb.snd_max || conn.state.awaits_ack_of_fin() {
            let limit = if conn.state.awaits_ack_of_fin() {
                config.closing.min(config.user_timeout)
            } else {
                config.user_timeout
            };
            Some(conn.sender.progress_at.max(flow.state_since) + limit)
        } else if conn.state == State::FinWait2 && conn.app.gone {
            Some(flow.state_since + config.fin_wait_2)
        } else if conn.is_idle() && !self.idle.contains(index) {
            Some(flow.active_at + config.hibernate_after)
        } else {
            None
        }
    }

    /// When a silent peer is asked whether it is there.
    fn probes_at(&self, index: u32) -> Option<Duration> {
        let flow = self.flows.get(index)?;
        let config = &self.shared.config;
        let probes = config.keepalive_interval * u32::from(flow.probes);
        Some(flow.heard_at + config.keepalive_idle + probes)
    }

    /// Gives an idle connection's buffers back when it has been idle long enough, or all together
    /// have too many. Whether it did.
    fn fall_asleep(
        &mut self,
        index: u32,
        conn: &mut Conn,
        active_at: Duration,
        now: Duration,
    ) -> bool {
        let config = &self.shared.config;
        let long_enough = active_at + config.hibernate_after <= now
            || self.shared.buffers.get() > config.buffers_idle_max;
        if !long_enough || self.idle.contains(index) {
            return false;
        }
        if conn.socket.is_some() {
            conn.sleep();
            self.shared.count(|c| c.hibernated += 1);
        }
        self.idle.push(index);
        true
    }

    /// Keep-alive (RFC 9293, section 3.8.4): numbered before what the peer expects, which has to
    /// answer.
    fn probe(&mut self, index: u32, conn: &Conn, out: &mut Out<'_, '_>) {
        let Some(flow) = self.flows.get_mut(index) else {
            return;
        };
        flow.probes += 1;
        self.shared.count(|c| c.keepalive_probes += 1);
        let mut probe = conn.ack();
        probe.seq = probe.seq.wrapping_sub(1);
        self.send(&probe, conn.key.interface, out);
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
        conn.tell_all();
        if conn.queue.is_empty() {
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
            let mut scratch = std::mem::take(&mut self.scratch);
            let mut egress = Egress::new(out, conn.key.interface, &mut scratch);
            self.prod(conn, &mut egress);
            egress.done();
            self.scratch = scratch;
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

/// Why a connection is given up.
#[derive(Clone, Copy, Debug)]
enum End {
    Closing,
    UserTimeout,
    Silent,
    Drained,
}
