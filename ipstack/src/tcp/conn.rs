//! One connection as the worker and its byte stream share it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::config::TcpConfig;
use super::counters::TcpCounters;
use super::segment::{ACK, Outgoing, SynOptions};
use super::send_queue::SendQueue;
use super::sender::Sender;
use super::seq::Seq;
use super::table::Key;
use super::wake::WakeQueue;
use crate::smoltcp::{Buffers, Received, Replay, Socket, establish};

/// A connection's state (RFC 9293, section 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Gone.
    Closed,
    /// Our SYN-ACK is not acknowledged yet.
    SynReceived,
    /// Open in both directions.
    Established,
    /// We have closed; our FIN is not acknowledged.
    FinWait1,
    /// We have closed; the peer has not.
    FinWait2,
    /// The peer has closed; we have not.
    CloseWait,
    /// Both have closed at once; our FIN is not acknowledged.
    Closing,
    /// The peer has closed, then we; our FIN is not acknowledged.
    LastAck,
    /// Closed; kept for what may still come.
    TimeWait,
}

impl State {
    /// The name RFC 9293 uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
        }
    }

    /// Whether our FIN is (to be) sent and not acknowledged.
    pub(crate) fn awaits_ack_of_fin(self) -> bool {
        matches!(self, Self::FinWait1 | Self::Closing | Self::LastAck)
    }

    /// Whether the peer's FIN has been taken.
    pub(crate) fn has_fin(self) -> bool {
        matches!(
            self,
            Self::CloseWait | Self::Closing | Self::LastAck | Self::TimeWait
        )
    }
}

/// What connections of one worker share besides the packet path.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: TcpConfig,
    pub(crate) counters: RefCell<TcpCounters>,
    /// Octets all connections have for their buffers and for who serves them, those of `spares`
    /// not counted.
    pub(crate) buffers: Cell<usize>,
    /// Sockets of connections that went to sleep or are gone, for those that come or wake up:
    /// clearing new buffers costs more than all else a small request does. At most
    /// [`SPARES_MAX`]; all have buffers of the least size. The last one in goes first, as it is in
    /// the cache.
    pub(crate) spares: RefCell<Vec<Socket>>,
    pub(crate) wakes: Arc<WakeQueue>,
}

impl Shared {
    pub(crate) fn count(&self, change: impl FnOnce(&mut TcpCounters)) {
        change(&mut self.counters.borrow_mut());
    }
}

/// Our view of the sequence space; smoltcp does not show its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcb {
    /// The oldest sequence number not acknowledged.
    pub(crate) una: Seq,
    /// The one after the highest ever sent; never before `una`.
    pub(crate) snd_max: Seq,
    /// The one after an octet sent to probe a closed window, which smoltcp does not count as sent;
    /// the peer may acknowledge it all the same.
    pub(crate) probed: Seq,
    /// The next one expected.
    pub(crate) rcv_nxt: Seq,
    /// The one after the highest ever received; never before `rcv_nxt`. Beyond it: a hole.
    pub(crate) rcv_max: Seq,
    /// The window field of the peer's last segment, unscaled.
    pub(crate) window: u16,
    /// The greatest there was.
    window_max: u16,
    pub(crate) wscale: Option<u8>,
    /// The peer's MSS.
    pub(crate) mss: u16,
    pub(crate) sack: bool,
}

impl Tcb {
    /// A connection that has just been opened.
    pub(crate) fn new(isn: Seq, irs: Seq, window: u16, options: SynOptions) -> Self {
        Self {
            una: isn.add(1),
            snd_max: isn.add(1),
            probed: isn.add(1),
            rcv_nxt: irs.add(1),
            rcv_max: irs.add(1),
            window,
            window_max: window,
            wscale: options.wscale,
            mss: options.mss.unwrap_or(MSS_DEFAULT),
            sack: options.sack_permitted,
        }
    }

    /// The peer's window in octets.
    pub(crate) fn send_window(&self) -> usize {
        usize::from(self.window) << self.wscale.unwrap_or(0)
    }

    /// The greatest window there was, in octets: MAX.SND.WND of RFC 5961, section 5.2.
    pub(crate) fn send_window_max(&self) -> usize {
        usize::from(self.window_max) << self.wscale.unwrap_or(0)
    }

    /// Takes the window field of a segment.
    pub(crate) fn set_window(&mut self, window: u16) {
        self.window = window;
        self.window_max = self.window_max.max(window);
    }
}

/// Spare sockets kept at most: half of what a batch can wake, 4 MiB with buffers as configured by
/// default.
pub(crate) const SPARES_MAX: usize = 128;

/// The MSS of a peer that does not say (RFC 9293, section 3.7.1).
const MSS_DEFAULT: u16 = 536;

/// What the application side wants and has done.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Default)]
pub(crate) struct App {
    /// A read waits for octets, a write for room.
    pub(crate) want_read: bool,
    pub(crate) want_write: bool,
    /// Whom to wake besides the connection's own future, should the stream live elsewhere.
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
    /// The connection's own future is being polled: what it does is looked at afterwards.
    pub(crate) polling: bool,
    /// The stream is dropped: nobody reads any more.
    pub(crate) gone: bool,
    /// Our direction is to be closed.
    pub(crate) close: bool,
    /// The connection is to be reset.
    pub(crate) abort: bool,
}

/// One connection as the worker and its byte stream share it.
pub(crate) struct Conn {
    pub(crate) key: Key,
    pub(crate) shared: Rc<Shared>,
    /// `None` while there is nothing to buffer, and when the connection is gone.
    pub(crate) socket: Option<Socket>,
    /// What there is to send. The socket only knows of how much, and not yet of what is sent
    /// without it: see [`Self::tell`].
    pub(crate) queue: SendQueue,
    /// What is written may be sent without the socket, which would copy as many octets.
    ahead: bool,
    pub(crate) state: State,
    pub(crate) tcb: Tcb,
    pub(crate) sender: Sender,
    pub(crate) app: App,
    pub(crate) waker: Waker,
    /// Why the connection is gone.
    pub(crate) fate: Option<ErrorKind>,
    /// The time of the turn that is going on.
    pub(crate) now: Duration,
    /// The interface's MTU, or the path's when that is smaller.
    pub(crate) mtu: u16,
    pub(crate) opened_at: Duration,
    pub(crate) octets_in: u64,
    pub(crate) octets_out: u64,
    /// Octets of the socket's buffers, as counted in [`Shared::buffers`].
    buffered: usize,
    /// Octets who serves the connection keeps for it, counted there too.
    kept: usize,
}

impl Conn {
    pub(crate) fn new(
        key: Key,
        shared: Rc<Shared>,
        tcb: Tcb,
        waker: Waker,
        mtu: u16,
        now: Duration,
    ) -> Self {
        Self {
            key,
            sender: Sender::new(&tcb, mtu, shared.config.sender_assist),
            shared,
            socket: None,
            queue: SendQueue::new(tcb.snd_max),
            ahead: false,
            state: State::Established,
            tcb,
            app: App::default(),
            waker,
            fate: None,
            now,
            mtu,
            opened_at: now,
            octets_in: 0,
            octets_out: 0,
            buffered: 0,
            kept: 0,
        }
    }

    /// Reads a little of it here and there, to have it in the cache.
    pub(crate) fn warm(&self) -> u64 {
        let numbers = self.tcb.una.0 ^ self.queue.end().0 ^ self.now.subsec_nanos();
        let wants = u64::from(self.app.want_read) ^ u64::from(self.mtu);
        u64::from(numbers) ^ self.octets_in ^ wants ^ self.sender.warm()
    }

    /// Whether the connection could live without buffers: nothing queued, in flight or missing.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Established
            && self.tcb.una == self.tcb.snd_max
            && self.tcb.rcv_nxt == self.tcb.rcv_max
            && self.queue.is_empty()
            && self
                .socket
                .as_ref()
                .is_none_or(|socket| socket.recv_queue() == 0)
    }

    /// Octets of the queue's beginning that the socket has been told of.
    pub(crate) fn told(&self) -> usize {
        let told = self.socket.as_ref().map_or(0, Socket::send_queue);
        told.min(self.queue.len())
    }

    /// Octets of the queue's end that the socket has not been told of.
    pub(crate) fn untold(&self) -> usize {
        self.queue.len() - self.told()
    }

    /// What lies before `end` was sent for the first time.
    pub(crate) fn on_sent(&mut self, end: Seq, mss: usize) {
        self.tcb.snd_max = end;
        let flight = end.since(self.tcb.una);
        self.sender.on_sent(end, flight, mss, self.now);
    }

    /// Tells the socket of the queue's first `octets`, if it does not know of as many: before it
    /// is to send them, or to hear that they were received.
    pub(crate) fn tell(&mut self, octets: usize) {
        let octets = octets.min(self.queue.len());
        if let Some(socket) = &mut self.socket {
            let told = socket.send_queue();
            if octets > told {
                socket.send(octets - told);
            }
        }
    }

    /// Tells the socket of all that is queued.
    pub(crate) fn tell_all(&mut self) {
        self.tell(usize::MAX);
    }

    /// Whether what is written may be sent without the socket from now on.
    pub(crate) fn set_ahead(&mut self, ahead: bool) {
        self.ahead = ahead;
        if !ahead {
            self.tell_all();
        }
    }

    /// Makes sure there is a socket, with a send buffer for `octets` if there is none. `false`
    /// when there is no memory for it, or the connection is gone.
    pub(crate) fn wake_up(&mut self, octets: usize) -> bool {
        if self.socket.is_some() {
            return true;
        }
        if self.fate.is_some() || !self.is_idle() {
            return false;
        }
        let tx = self.tx_buffer(octets);
        self.make_socket(tx)
    }

    /// The send buffer for a write of `octets`: the smallest of three sizes that takes it whole.
    fn tx_buffer(&self, octets: usize) -> usize {
        let config = &self.shared.config;
        let middle = (TX_BUFFER_MIDDLE).clamp(config.tx_buffer_min, config.tx_buffer_max);
        if octets <= config.tx_buffer_min {
            config.tx_buffer_min
        } else if octets <= middle {
            middle
        } else {
            config.tx_buffer_max
        }
    }

    fn make_socket(&mut self, tx: usize) -> bool {
        let shared = Rc::clone(&self.shared);
        let config = &shared.config;
        let rx = config.rx_buffer;
        self.sleep();
        let tx = if cost(rx, tx) <= self.left_for(tx) {
            tx
        } else {
            config.tx_buffer_min
        };
        if cost(rx, tx) > self.left_for(tx) {
            shared.count(|c| c.refused_memory += 1);
            return false;
        }
        let replay = Replay {
            local: self.key.local,
            remote: self.key.remote,
            snd_nxt: self.tcb.snd_max.0,
            rcv_nxt: self.tcb.rcv_nxt.0,
            window: self.tcb.window,
            wscale: self.tcb.wscale,
            mss: self.tcb.mss,
            sack: self.tcb.sack,
        };
        let now = self.sender.clock(self.now);
        let spare = (tx == config.tx_buffer_min)
            .then(|| shared.spares.borrow_mut().pop())
            .flatten();
        let buffers = Buffers { rx, tx };
        self.socket = establish(&replay, buffers, spare, config.ack_delay, now, self.mtu);
        if self.socket.is_none() {
            return false;
        }
        self.queue.restart(self.tcb.snd_max);
        self.buffered = cost(rx, tx);
        shared.buffers.set(shared.buffers.get() + self.buffered);
        true
    }

    /// Gives the buffers back: the connection [is idle](Self::is_idle), or gone.
    pub(crate) fn sleep(&mut self) {
        let config = &self.shared.config;
        let mut spares = self.shared.spares.borrow_mut();
        let least = cost(config.rx_buffer, config.tx_buffer_min);
        if self.buffered == least && spares.len() < SPARES_MAX {
            spares.extend(self.socket.take().filter(Socket::is_reusable));
        }
        drop(spares);
        self.drop_socket();
    }

    /// Octets this connection may have for its buffers if it sends from one of `tx`. A quarter of
    /// all is for the smallest: else a thousand readers that are slow leave nothing for a new one.
    fn left_for(&self, tx: usize) -> usize {
        let config = &self.shared.config;
        let max = if tx > config.tx_buffer_min {
            config.buffers_max / 4 * 3
        } else {
            config.buffers_max
        };
        (max + self.buffered).saturating_sub(self.shared.buffers.get())
    }

    /// Counts `octets` that whoever serves the connection keeps for it, in place of what it kept
    /// before. `false`, and nothing changes, when they do not fit.
    pub(crate) fn keep(&mut self, octets: usize) -> bool {
        let shared = &self.shared;
        let others = shared.buffers.get() - self.kept;
        if octets > self.kept && octets > shared.config.buffers_max.saturating_sub(others) {
            shared.count(|c| c.refused_memory += 1);
            return false;
        }
        shared.buffers.set(others + octets);
        self.kept = octets;
        true
    }

    /// Gives the buffers back; the socket serves nobody else.
    pub(crate) fn drop_socket(&mut self) {
        self.socket = None;
        self.queue.restart(self.tcb.snd_max);
        let buffers = &self.shared.buffers;
        buffers.set(buffers.get() - self.buffered);
        self.buffered = 0;
    }

    /// Octets the application may write now; 0 while less would come of it than is worth a segment
    /// or a quarter of what can be in flight, so that segments become large.
    fn room(&self) -> usize {
        let Some(socket) = &self.socket else {
            return self.shared.config.tx_buffer_min;
        };
        let queue = self.queue.len();
        let (limit, room) = self.sender.room(&self.tcb, socket.send_capacity(), queue);
        let worthwhile = (limit / 4).clamp(1, ROOM_LARGE);
        if room >= worthwhile || queue == 0 {
            room
        } else {
            0
        }
    }

    /// Whether the future that waits has reason to be polled.
    pub(crate) fn is_ready(&self) -> bool {
        let gone = self.fate.is_some();
        let readable = || match &self.socket {
            Some(socket) => socket.recv_queue() > 0 || self.state.has_fin(),
            None => self.state != State::Established,
        };
        (self.app.want_read && (gone || readable()))
            || (self.app.want_write && (gone || self.room() > 0 || !self.may_send()))
    }

    fn may_send(&self) -> bool {
        matches!(self.state, State::Established | State::CloseWait) && !self.app.close
    }

    /// Whom to wake besides the connection's own future: a stream may live elsewhere.
    pub(crate) fn take_others(&mut self) -> [Option<Waker>; 2] {
        [self.app.read_waker.take(), self.app.write_waker.take()]
    }

    /// Something was done to the stream. The worker looks after the poll of the connection's own
    /// future; outside of it, it has to be told.
    fn touched(&self) {
        if !self.app.polling {
            self.waker.wake_by_ref();
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Some(socket) = &mut self.socket {
            match socket.recv(buffer) {
                Received::Octets(0) => {}
                Received::Octets(octets) => {
                    self.app.want_read = false;
                    self.octets_in += octets as u64;
                    // Room was made: the peer may have to be told.
                    self.touched();
                    return Poll::Ready(Ok(octets));
                }
                Received::Finished => return Poll::Ready(Ok(0)),
                Received::Closed => {
                    let kind = self.fate.unwrap_or(ErrorKind::ConnectionReset);
                    return Poll::Ready(Err(Error::from(kind)));
                }
            }
        }
        if let Some(kind) = self.fate {
            return Poll::Ready(if self.state.has_fin() {
                Ok(0)
            } else {
                Err(Error::from(kind))
            });
        }
        self.app.want_read = true;
        if !cx.waker().will_wake(&self.waker) {
            self.app.read_waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Octets of `slices` that lie in one of `shared` are not copied.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        shared: &[Bytes],
    ) -> Poll<Result<usize>> {
        if let Some(kind) = self.fate {
            return Poll::Ready(Err(Error::from(kind)));
        }
        if !self.may_send() {
            return Poll::Ready(Err(Error::from(ErrorKind::BrokenPipe)));
        }
        let octets: usize = slices.iter().map(|slice| slice.len()).sum();
        if octets == 0 {
            return Poll::Ready(Ok(0));
        }
        if !self.enlarge(octets) {
            return Poll::Ready(Err(Error::from(ErrorKind::OutOfMemory)));
        }
        let mut room = self.room();
        let mut written = 0;
        let mut untold = self.untold() > 0;
        if let Some(socket) = &mut self.socket {
            for slice in slices {
                let mut sent = slice.len().min(room);
                let part = slice.get(..sent).unwrap_or(slice);
                let owner = shared.iter().find(|owner| contains(owner, part));
                let owner = owner.filter(|_| sent >= SHARED_MIN);
                // What the socket is told of is always the queue's beginning. Of what is sent
                // without it, that is one octet: it makes a packet, which the rest is added to.
                if !untold {
                    let told = socket.send(if self.ahead { sent.min(1) } else { sent });
                    untold = self.ahead && told > 0;
                    sent = if untold { sent } else { told };
                }
                let part = slice.get(..sent).unwrap_or(slice);
                match owner {
                    Some(owner) => self.queue.push_shared(owner.slice_ref(part)),
                    None => self.queue.push_copy(part),
                }
                written += sent;
                room -= sent;
                if sent < slice.len() {
                    break;
                }
            }
        }
        if written == 0 {
            self.app.want_write = true;
            if !cx.waker().will_wake(&self.waker) {
                self.app.write_waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        self.octets_out += written as u64;
        self.touched();
        Poll::Ready(Ok(written))
    }

    /// Sees to a send buffer fit for a write of `octets`. A buffer cannot grow, so while the
    /// connection has nothing in it the socket is made anew.
    fn enlarge(&mut self, octets: usize) -> bool {
        match &self.socket {
            None => return self.wake_up(octets),
            Some(socket) if octets <= socket.send_capacity() => return true,
            Some(_) => {}
        }
        let wanted = self.tx_buffer(octets);
        let capacity = self.socket.as_ref().map_or(0, Socket::send_capacity);
        let left = self.left_for(wanted);
        let fits = cost(self.shared.config.rx_buffer, wanted) <= left;
        if wanted > capacity && self.is_idle() && fits {
            return self.make_socket(wanted);
        }
        true
    }

    /// Closes our direction.
    pub(crate) fn close(&mut self) {
        if !self.app.close {
            self.app.close = true;
            self.touched();
        }
    }

    pub(crate) fn abort(&mut self) {
        if !self.app.abort {
            self.app.abort = true;
            self.touched();
        }
    }

    /// The stream is dropped.
    pub(crate) fn stream_gone(&mut self) {
        self.app.gone = true;
        self.app.want_read = false;
        self.app.want_write = false;
        self.close();
    }

    /// An acknowledgement of our own: what we have, nothing new.
    pub(crate) fn ack(&self) -> Outgoing {
        let window = match &self.socket {
            Some(socket) => socket.recv_window(),
            None => self.shared.config.rx_buffer,
        };
        Outgoing {
            local: self.key.local,
            remote: self.key.remote,
            seq: self.tcb.snd_max.0,
            ack: self.tcb.rcv_nxt.0,
            flags: ACK,
            window: u16::try_from(window).unwrap_or(u16::MAX),
            mss: None,
            wscale: None,
            sack_permitted: false,
        }
    }

    /// An acknowledgement as the peer would send it, to set smoltcp's state machine going.
    pub(crate) fn ack_of_peer(&self, ack: Seq, window: u16) -> Outgoing {
        Outgoing {
            local: self.key.remote,
            remote: self.key.local,
            seq: self.tcb.rcv_nxt.0,
            ack: ack.0,
            window,
            ..self.ack()
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.sleep();
        self.keep(0);
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("key", &self.key)
            .field("state", &self.state)
            .field("tcb", &self.tcb)
            .field("socket", &self.socket)
            .field("app", &self.app)
            .field("fate", &self.fate)
            .finish_non_exhaustive()
    }
}

/// Octets of a connection's buffers: what comes, room for what is sent, and copies of it.
fn cost(rx: usize, tx: usize) -> usize {
    rx + 2 * tx
}

/// Whether `part` lies in `owner`, and not only looks like it.
fn contains(owner: &Bytes, part: &[u8]) -> bool {
    let (all, part) = (owner.as_ptr_range(), part.as_ptr_range());
    all.start <= part.start && part.end <= all.end
}

/// Fewer octets are copied even where they are shared: cheaper than keeping track of them.
const SHARED_MIN: usize = 2048;

/// The middle of the three send buffer sizes: a page of the web with its pictures.
const TX_BUFFER_MIDDLE: usize = 128 * 1024;

/// Room worth waking a writer for, however large the window: one super-segment.
const ROOM_LARGE: usize = 64 * 1024;
