//! A socket made from the few numbers that describe an idle connection.
//!
//! smoltcp offers no such thing, so the handshake is replayed to a new socket: a SYN, the SYN-ACK
//! swallowed, an ACK. The socket's sequence number comes from the interface's random numbers; a
//! seed is computed for which the right one comes out. Both a connection that just proved its
//! handshake and one that slept without buffers come to life this way.

use ::smoltcp::socket::tcp;
use ::smoltcp::time::Duration as Span;
use std::net::SocketAddrV4;
use std::time::Duration;

use super::device::{Poll, Transmit};
use super::engine::{Path, instant, interface};
use super::socket::Socket;
use crate::tcp::segment::{ACK, Outgoing, SYN};
use crate::tcp::{RX_BUFFER_MAX, State};

/// An established connection with nothing in flight, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Our end.
    pub(crate) local: SocketAddrV4,
    /// The peer's.
    pub(crate) remote: SocketAddrV4,
    /// The next sequence number we send; everything before is acknowledged.
    pub(crate) snd_nxt: u32,
    /// The next one we expect.
    pub(crate) rcv_nxt: u32,
    /// The window field of the peer's last segment, unscaled.
    pub(crate) window: u16,
    /// The shift for it, when window scaling was agreed; at most 14.
    pub(crate) wscale: Option<u8>,
    /// The peer's MSS.
    pub(crate) mss: u16,
    /// Whether selective acknowledgements were agreed.
    pub(crate) sack: bool,
}

/// Sizes of a socket's buffers, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffers {
    /// Receive: at most [`RX_BUFFER_MAX`].
    pub(crate) rx: usize,
    /// Send.
    pub(crate) tx: usize,
}

/// A socket in state ESTABLISHED that continues `replay`; `None` when smoltcp refused it, which
/// its PRNG or its handshake having changed would cause. `spare`: one to make it of, whose buffers
/// have these sizes and which [is reusable](Socket::is_reusable): smoltcp's own reset, part of
/// listening, leaves alone what duplicate acknowledgements made it owe.
///
/// # Panics
/// When the receive buffer is larger than [`RX_BUFFER_MAX`]: a peer could crash smoltcp then.
pub(crate) fn establish(
    replay: &Replay,
    buffers: Buffers,
    spare: Option<Socket>,
    ack_delay: Duration,
    now: Duration,
    mtu: u16,
) -> Option<Socket> {
    assert!(
        buffers.rx <= RX_BUFFER_MAX,
        "a receive buffer above 65,535 octets lets a peer crash smoltcp"
    );
    let mut socket = spare.unwrap_or_else(|| {
        Socket::new(tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; buffers.rx]),
            tcp::SocketBuffer::new(vec![0; buffers.tx]),
        ))
    });
    let raw = socket.get_mut();
    raw.abort();
    raw.set_nagle_enabled(false);
    let ack_delay_us = u64::try_from(ack_delay.as_micros()).unwrap_or(u64::MAX);
    raw.set_ack_delay((ack_delay_us > 0).then(|| Span::from_micros(ack_delay_us)));
    raw.listen((*replay.local.ip(), replay.local.port())).ok()?;

    let path = Path {
        local: *replay.local.ip(),
        mtu,
        segment_max: 0,
    };
    let isn = replay.snd_nxt.wrapping_sub(1);
    let mut face = interface(path, seed_for(isn), instant(now));
    let mut swallowed = Swallow(None);
    let mut packet = [0u8; 64];
    let syn = Outgoing {
        local: replay.remote,
        remote: replay.local,
        seq: replay.rcv_nxt.wrapping_sub(1),
        ack: 0,
        flags: SYN,
        window: replay.window,
        mss: Some(replay.mss),
        wscale: replay.wscale,
        sack_permitted: replay.sack,
    };
    let len = syn.write(&mut packet);
    let mut poll = Poll {
        packet: packet.get(..len),
        transmit: &mut swallowed,
    };
    face.poll_ingress_single(instant(now), &mut poll, &mut socket.set);
    face.poll_egress(instant(now), &mut poll, &mut socket.set);
    if swallowed.0 != Some(isn) {
        return None;
    }
    let ack = Outgoing {
        seq: replay.rcv_nxt,
        ack: replay.snd_nxt,
        flags: ACK,
        mss: None,
        wscale: None,
        sack_permitted: false,
        ..syn
    };
    let len = ack.write(&mut packet);
    let mut poll = Poll {
        packet: packet.get(..len),
        transmit: &mut swallowed,
    };
    face.poll_ingress_single(instant(now), &mut poll, &mut socket.set);
    (socket.state() == State::Established).then_some(socket)
}

/// Takes the SYN-ACK and remembers its sequence number.
struct Swallow(Option<u32>);

impl Transmit for Swallow {
    fn reserve(&mut self) -> bool {
        true
    }

    fn emit<R>(&mut self, len: usize, _: Option<u16>, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut packet = [0u8; 128];
        let Some(packet) = packet.get_mut(..len) else {
            return fill(&mut vec![0; len]);
        };
        let result = fill(packet);
        self.0 = packet
            .get(24..28)
            .and_then(|octets| octets.try_into().ok())
            .map(u32::from_be_bytes);
        result
    }
}

/// smoltcp's generator: `state = state * M + A`, output the top bits shifted down by `29 - top3`.
const M: u64 = 0xbb2e_fcec_3c39_611d;
const A: u64 = 0x7590_ef39;
/// The inverse of `M` modulo 2^64, by Newton's iteration (each step doubles the exact bits).
const M_INVERSE: u64 = {
    let mut inverse = M;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(M.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
};

/// The seed with which an interface gives the first socket that gets a SYN the number `isn`. An
/// interface draws once for its IP identification (again while that is 0), then once per SYN.
fn seed_for(isn: u32) -> u64 {
    // A state below 2^61 shifts by 29, so these 32 bits come out whatever lies below them.
    let mut salt = 0;
    loop {
        let second = (u64::from(isn) << 29) | salt;
        let first = second.wrapping_sub(A).wrapping_mul(M_INVERSE);
        let shift = 29 - (first >> 61);
        let output = (first >> shift) & 0xffff_ffff;
        if (output ^ (output >> 16)) & 0xffff != 0 {
            return first.wrapping_sub(A).wrapping_mul(M_INVERSE);
        }
        salt += 1;
    }
}
