//! What a segment is checked for before smoltcp sees it, and the feeding of it.
//!
//! | segment on a connection | done with it | why |
//! |---|---|---|
//! | RST, SEG.SEQ = RCV.NXT | the connection ends | RFC 5961, section 3.2 |
//! | RST elsewhere in the window | challenge ACK | smoltcp would end the connection |
//! | SYN | challenge ACK | RFC 5961, section 4.2; smoltcp is silent, and a restarted peer hangs |
//! | ACK beyond SND.MAX | challenge ACK | smoltcp takes it, up to what is queued |
//! | ACK before SND.UNA by more than a window | challenge ACK | RFC 5961, section 5.2 |
//! | ACK before SND.UNA, with data or FIN | fed, its ACK made SND.UNA | smoltcp drops it whole |
//! | ACK before SND.UNA, empty | dropped | an old duplicate |
//! | empty ACK that others follow in the batch | only the last is fed | cost |
//! | duplicate ACK, loss recovery being ours | its SACK blocks are taken, not fed | |
//! | duplicate ACK with SACK blocks, otherwise | fed with the last window | smoltcp would not count it |
//! | all else | fed | |

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use dataplane::{Checksum, Frame};

use super::conn::{Conn, State, Tcb};
use super::core::Core;
use super::segment::{
    ACK, FIN, Malformed, RST, SACK_BLOCKS_MAX, SYN, Segment, TCP_HEADER, checksum_is_valid, parse,
    patch_ack, patch_window, sack_blocks,
};
use super::sender;
use super::seq::Seq;
use super::table::{Key, Place};
use super::transmit::{Out, Reply, bring_up, send_octets};
use crate::smoltcp::{Engine, Path, Socket};
use crate::tcp4_input::Tcp4InputDrop as Drop;

/// Connections from which on they do not fit into the cache, and warming it pays.
const WARM_FROM: usize = 64;

/// No SACK blocks.
pub(super) const NO_BLOCKS: [Option<(Seq, Seq)>; SACK_BLOCKS_MAX] = [None; SACK_BLOCKS_MAX];

/// A segment read and looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Staged {
    segment: Segment,
    key: Key,
    hash: u64,
    place: Option<Place>,
}

impl Core {
    /// Reads the segment in `frame` and hashes its connection.
    pub(crate) fn stage(&self, frame: &Frame<'_>) -> Result<Staged, Drop> {
        let packet = frame.octets();
        let segment = parse(packet).map_err(|malformed| match malformed {
            Malformed::Truncated => Drop::Truncated,
            Malformed::Nonsense => Drop::Nonsense,
        })?;
        if !is_unicast(*segment.remote.ip()) || !is_unicast(*segment.local.ip()) {
            return Err(Drop::NotUnicast);
        }
        if frame.meta.destination.is_group() {
            return Err(Drop::NotUnicast);
        }
        // Only a checksum nobody has vouched for needs reading the payload.
        if frame.meta.checksum == Checksum::Unverified && !checksum_is_valid(packet, &segment) {
            return Err(Drop::BadChecksum);
        }
        let key = Key {
            remote: segment.remote,
            local: segment.local,
            interface: frame.meta.interface,
        };
        Ok(Staged {
            segment,
            key,
            hash: self.table.hash(&key),
            place: None,
        })
    }

    /// Looks up what [`Self::stage`] has read: all of a batch in a row, so that the misses of the
    /// cache overlap. Returns the table's version.
    pub(crate) fn look_up(&self, staged: &mut [Result<Staged, Drop>]) -> u64 {
        for staged in staged.iter_mut().flatten() {
            staged.place = self.table.find(staged.hash, &staged.key);
        }
        if self.flows.len() >= WARM_FROM {
            self.warm(staged);
        }
        self.table.version()
    }

    /// Reads a little of what each connection of the batch will need, one kind of memory after the
    /// other: loads that do not depend on each other overlap, those of one connection do not.
    fn warm(&self, staged: &[Result<Staged, Drop>]) {
        let all = || {
            staged.iter().flatten().filter_map(|staged| {
                let Some(Place::Flow(index)) = staged.place else {
                    return None;
                };
                Some((&staged.segment, index, self.flows.get(index)?))
            })
        };
        let mut sum = 0;
        for (_, _, flow) in all() {
            sum ^= u64::from(flow.heard_at.subsec_nanos() ^ u32::from(flow.probes));
            sum ^= u64::from(flow.woken || flow.future.is_none());
        }
        for (_, _, flow) in all() {
            sum ^= u64::from(flow.conn.borrow().tcb.una.0);
        }
        // For the rest there is no need where the segment goes no further.
        let taken = || {
            all().filter(|(segment, _, flow)| {
                segment.len() > 0 || !segment.ack.before(flow.conn.borrow().tcb.una)
            })
        };
        for (_, index, flow) in taken() {
            sum ^= flow.conn.borrow().warm();
            sum ^= self.flow_timers.warm(index) ^ u64::from(self.idle.warm(index));
        }
        for (_, _, flow) in taken() {
            let conn = flow.conn.borrow();
            sum ^= conn.queue.warm();
            if let Some(socket) = &conn.socket {
                sum ^= socket.warm();
            }
        }
        std::hint::black_box(sum);
    }

    /// Takes one frame. `version`: the table's when it was looked up.
    pub(crate) fn input<'block>(
        &mut self,
        staged: &Result<Staged, Drop>,
        mut frame: Frame<'block>,
        version: u64,
        now: Duration,
        out: &mut Out<'_, 'block>,
    ) {
        let staged = match staged {
            Ok(staged) => *staged,
            Err(reason) => return out.drop(*reason, frame),
        };
        let place = if version == self.table.version() {
            staged.place
        } else {
            self.table.find(staged.hash, &staged.key)
        };
        let mut segment = staged.segment;
        let opened = match place {
            Some(Place::Flow(index)) => Ok(index),
            Some(Place::HalfOpen(index)) => self.half_open_input(index, &segment, now, out),
            Some(Place::TimeWait(index)) => {
                Err(self.time_wait_input(index, &segment, frame.octets(), now, out))
            }
            None => self.unknown_input(staged.key, &segment, frame.octets(), now, out),
        };
        let reason = match opened {
            Ok(index) => self.flow_input(index, &mut segment, frame.octets_mut(), now, out),
            Err(reason) => reason,
        };
        match reason {
            Some(reason) => out.drop(reason, frame),
            None => out.consume(frame),
        }
    }

    /// A segment for a connection.
    fn flow_input(
        &mut self,
        index: u32,
        segment: &mut Segment,
        packet: &mut [u8],
        now: Duration,
        out: &mut Out<'_, '_>,
    ) -> Option<Drop> {
        let Some(flow) = self.flows.get(index) else {
            return Some(Drop::NoConnection);
        };
        let conn = Rc::clone(&flow.conn);
        let tcb = conn.borrow().tcb;
        if segment.has(RST) {
            let rx_window = self.rx_window(&conn.borrow());
            return self.reset_input(index, segment.seq, &tcb, rx_window, now, out);
        }
        if let Err(reason) = self.check(index, segment, &tcb, now, out) {
            return Some(reason);
        }
        let rx_window = self.rx_window(&conn.borrow());
        if let Some(flow) = self.flows.get_mut(index)
            && segment
                .seq
                .within(tcb.rcv_nxt.back(1), rx_window.max(1) + 1)
        {
            flow.heard_at = now;
            flow.active_at = now;
            flow.probes = 0;
        }
        self.touch(index);
        let pure = segment.is_pure_ack() && segment.seq == tcb.rcv_nxt;
        if pure && segment.tcp_header == TCP_HEADER && segment.ack.after(tcb.una) {
            return self.hold(index, segment);
        }
        self.feed_held(index, now, out);
        let mut conn = conn.borrow_mut();
        conn.now = now;
        // After what was held back, which may have made this one's acknowledgement old.
        let una = conn.tcb.una;
        if segment.len() > 0 && segment.ack.before(una) {
            self.shared.count(|c| c.old_acks_patched += 1);
            patch_ack(packet, segment, una);
        }
        let blocks = if segment.tcp_header > TCP_HEADER {
            sack_blocks(packet, segment)
        } else {
            NO_BLOCKS
        };
        if pure && !duplicate_ack(&mut conn, segment, packet, &blocks) {
            return None;
        }
        if conn.socket.is_none() {
            if pure {
                conn.tcb.set_window(segment.window);
                return None;
            }
            // A keep-alive probe is answered without waking anything.
            if segment.payload <= 1 && !segment.has(FIN) && segment.seq.before(tcb.rcv_nxt) {
                self.send(&conn.ack(), conn.key.interface, out);
                return None;
            }
            if !conn.wake_up(0) {
                return Some(Drop::NoMemory);
            }
            self.shared.count(|c| c.revived += 1);
        }
        let fed = feed(&mut self.engine, &mut conn, segment, packet, &blocks, out);
        drop(conn);
        if !fed {
            self.panicked(index, now, out);
        }
        None
    }

    /// Octets the connection takes from its peer.
    fn rx_window(&self, conn: &Conn) -> usize {
        let free = conn.socket.as_ref().map(Socket::recv_window);
        free.unwrap_or(self.shared.config.rx_buffer)
    }

    /// A reset: only at the expected number does it end the connection.
    fn reset_input(
        &mut self,
        index: u32,
        seq: Seq,
        tcb: &Tcb,
        rx_window: usize,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) -> Option<Drop> {
        if seq == tcb.rcv_nxt {
            self.shared.count(|c| c.reset_by_peer += 1);
            self.end(index, Some(ErrorKind::ConnectionReset), now);
            return None;
        }
        self.shared.count(|c| c.blind_resets += 1);
        if seq.within(tcb.rcv_nxt, rx_window) {
            self.challenge(index, now, out);
        }
        Some(Drop::BlindReset)
    }

    /// Refuses a segment that smoltcp must not see.
    fn check(
        &mut self,
        index: u32,
        segment: &Segment,
        tcb: &Tcb,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) -> Result<(), Drop> {
        if segment.has(SYN) {
            self.shared.count(|c| c.syns_on_connection += 1);
            self.challenge(index, now, out);
            return Err(Drop::SynOnConnection);
        }
        if !segment.has(ACK) {
            return Err(Drop::Nonsense);
        }
        if segment.ack.after(tcb.snd_max.max(tcb.probed)) {
            self.shared.count(|c| c.acks_of_unsent += 1);
            self.challenge(index, now, out);
            return Err(Drop::UnacceptableAck);
        }
        if segment.ack.before(tcb.una) {
            if tcb.una.since(segment.ack) > tcb.send_window_max() {
                self.challenge(index, now, out);
                return Err(Drop::UnacceptableAck);
            }
            if segment.len() == 0 {
                return Err(Drop::OldDuplicate);
            }
        }
        Ok(())
    }

    /// Holds a pure acknowledgement back, in place of the one before.
    fn hold(&mut self, index: u32, segment: &Segment) -> Option<Drop> {
        let flow = self.flows.get_mut(index)?;
        if let Some((held, _)) = flow.held {
            if segment.ack.before(held) {
                return Some(Drop::OldDuplicate);
            }
            self.shared.count(|c| c.acks_coalesced += 1);
        }
        flow.held = Some((segment.ack, segment.window));
        None
    }

    /// Feeds the acknowledgement held back, if there is one.
    pub(super) fn feed_held(&mut self, index: u32, now: Duration, out: &mut Out<'_, '_>) {
        let Some(flow) = self.flows.get_mut(index) else {
            return;
        };
        let Some((ack, window)) = flow.held.take() else {
            return;
        };
        let conn = Rc::clone(&flow.conn);
        let fed = self.feed_own(&mut conn.borrow_mut(), ack, window, now, out);
        if !fed {
            self.panicked(index, now, out);
        }
    }

    /// Feeds an acknowledgement of our own making, as if the peer had sent it; `false` when
    /// smoltcp panicked.
    pub(super) fn feed_own(
        &mut self,
        conn: &mut Conn,
        ack: Seq,
        window: u16,
        now: Duration,
        out: &mut Out<'_, '_>,
    ) -> bool {
        conn.now = now;
        if conn.socket.is_none() {
            conn.tcb.set_window(window);
            return true;
        }
        let mut packet = [0u8; 40];
        conn.ack_of_peer(ack, window).write(&mut packet);
        let Ok(segment) = parse(&packet) else {
            return true;
        };
        feed(&mut self.engine, conn, &segment, &packet, &NO_BLOCKS, out)
    }

    /// smoltcp or the application panicked in this connection: only it ends.
    pub(super) fn panicked(&mut self, index: u32, now: Duration, out: &mut Out<'_, '_>) {
        self.engine.clear();
        if let Some(flow) = self.flows.get(index) {
            flow.conn.borrow_mut().drop_socket();
        }
        self.shared.count(|c| c.panics += 1);
        self.abort(index, ErrorKind::ConnectionAborted, now, out);
    }
}

/// An acknowledgement of nothing new while something is in flight: takes its SACK blocks when loss
/// recovery is ours. Returns whether smoltcp is to see it.
fn duplicate_ack(
    conn: &mut Conn,
    segment: &mut Segment,
    packet: &mut [u8],
    blocks: &[Option<(Seq, Seq)>; SACK_BLOCKS_MAX],
) -> bool {
    let tcb = conn.tcb;
    if segment.ack != tcb.una || tcb.una == tcb.snd_max {
        return true;
    }
    let has_blocks = blocks[0].is_some();
    let unchanged = segment.window == tcb.window;
    if !conn.sender.assists() {
        if has_blocks && !unchanged {
            patch_window(packet, segment, tcb.window);
        }
        return true;
    }
    let mss = sender::mss(&tcb, conn.mtu);
    if unchanged && !has_blocks {
        conn.sender.on_duplicate(&tcb, mss);
    }
    conn.sender.on_ack(&tcb, tcb.una, blocks, mss, conn.now);
    if unchanged && tcb.send_window() == 0 {
        // It answers our probes: it lives.
        conn.sender.progress_at = conn.now;
    }
    !unchanged
}

/// Gives `packet` to the connection's socket and brings our view of the sequence space up to date;
/// `false` when smoltcp panicked.
fn feed(
    engine: &mut Engine,
    conn: &mut Conn,
    segment: &Segment,
    packet: &[u8],
    blocks: &[Option<(Seq, Seq)>; SACK_BLOCKS_MAX],
    out: &mut Out<'_, '_>,
) -> bool {
    let path = Path {
        local: *conn.key.local.ip(),
        mtu: conn.mtu,
        segment_max: 0,
    };
    let clock = conn.sender.clock(conn.now);
    if segment.ack.after(conn.tcb.una) {
        conn.tell(segment.ack.since(conn.tcb.una));
    }
    let Some(socket) = conn.socket.as_mut() else {
        return true;
    };
    if segment.len() == 0 && segment.ack == conn.tcb.una && conn.tcb.una != conn.tcb.snd_max {
        socket.had_duplicate();
    }
    let before = (socket.send_queue(), socket.recv_queue(), socket.state());
    let window = socket.recv_window();
    let mut reply = Reply::new();
    let fed = catch_unwind(AssertUnwindSafe(|| {
        engine.feed(socket, clock, path, packet, &mut reply);
    }));
    if fed.is_err() {
        return false;
    }
    let after = (socket.send_queue(), socket.recv_queue(), socket.state());
    let (state_before, state) = (before.2, after.2);
    let fin_acked = state_before.awaits_ack_of_fin() && !state.awaits_ack_of_fin();
    let fin_taken = !state_before.has_fin() && state.has_fin();
    let una_before = conn.tcb.una;
    conn.queue.advance(before.0.saturating_sub(after.0));
    let tcb = &mut conn.tcb;
    let acceptable = segment.seq.within(tcb.rcv_nxt, window.max(1));
    let edge = tcb.rcv_nxt.add(window + 1);
    tcb.una = if fin_acked {
        tcb.snd_max
    } else {
        tcb.una.add(before.0.saturating_sub(after.0))
    };
    tcb.rcv_nxt = tcb
        .rcv_nxt
        .add(after.1.saturating_sub(before.1) + usize::from(fin_taken));
    if acceptable {
        tcb.set_window(segment.window);
        tcb.rcv_max = tcb.rcv_max.max(segment.end().min(edge));
    }
    tcb.rcv_max = tcb.rcv_max.max(tcb.rcv_nxt);
    tcb.snd_max = tcb.snd_max.max(tcb.una);
    // LAST-ACK ends in CLOSED; the connection keeps the former, for its end of stream to be read.
    if state != State::Closed {
        conn.state = state;
    }
    let tcb = conn.tcb;
    let mss = sender::mss(&tcb, conn.mtu);
    if tcb.una != una_before || blocks[0].is_some() {
        conn.sender.on_ack(&tcb, una_before, blocks, mss, conn.now);
    }
    if tcb.send_window() == 0 {
        conn.sender.progress_at = conn.now;
    }
    if let Some(packet) = reply.packet() {
        bring_up(packet, tcb.snd_max);
        // Without room it is lost: the peer asks again.
        send_octets(out, conn.key.interface, packet);
    }
    true
}

/// Whether one host alone can have this address (RFC 1122, section 3.2.1.3). A subnet's own
/// broadcast address is the business of `ip4-input`.
fn is_unicast(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.octets()[0] >= 240)
}
