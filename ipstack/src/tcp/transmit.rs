//! The way out: packets built in frames of the port, and passes over what is in flight.
//!
//! smoltcp writes headers; the payload it puts behind them is not the connection's, which comes
//! from its [`SendQueue`] when a packet is completed. Where the port gathers, large packets get a
//! shared payload without copying it.

use bytes::Bytes;
use dataplane::{Checksum, EtherType, Frame, IfIndex, Outlets, Segmentation};

use super::conn::Conn;
use super::segment::{
    ACK, CHECKSUM_AT, FIN, IP_HEADER, Outgoing, PSH, SYN, TCP_HEADER, fill_checksum,
    set_ip_checksum,
};
use super::send_queue::SendQueue;
use super::sender::Resend;
use super::seq::Seq;
use super::serve::sendable;
use crate::smoltcp::{Emitted, Engine, Path, Transmit};
use crate::tcp4_input::{Tcp4InputDrop, Tcp4InputNext};

/// The outlets of `tcp4-input`.
pub(crate) type Out<'g, 'block> = Outlets<'g, 'block, Tcp4InputNext, Tcp4InputDrop>;

/// Octets a port's limit for super-segments counts besides the IP packet: an Ethernet header and
/// two tags.
const LINK_HEADERS: usize = 22;

/// The largest IPv4 packet.
const IP_PACKET_MAX: usize = 65_535;

/// Octets of the headers of a packet of ours at most: IPv4 without options, TCP with all.
const HEADERS_MAX: usize = IP_HEADER + 60;

/// The largest super-segment the port takes, in octets with the IP header; 0: none.
pub(crate) fn segment_max(out: &Out<'_, '_>, mtu: u16) -> u16 {
    let offload = out.offload();
    let max = offload.segmentation_max.saturating_sub(LINK_HEADERS);
    let max = u16::try_from(max.min(IP_PACKET_MAX)).unwrap_or(u16::MAX);
    if offload.checksum && max > mtu {
        max
    } else {
        0
    }
}

/// What a built packet contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Built {
    pub(crate) seq: Seq,
    /// The number after it.
    pub(crate) end: Seq,
    flags: u8,
    /// Where its payload starts.
    payload_at: usize,
}

impl Built {
    /// Reads back what lies in `packet`, which is of our own making.
    fn read(packet: &[u8]) -> Self {
        let word = |at: usize| {
            let octets = packet.get(at..at + 4).and_then(|o| o.try_into().ok());
            u32::from_be_bytes(octets.unwrap_or([0; 4]))
        };
        let octet = |at: usize| packet.get(at).copied().unwrap_or(0);
        let payload_at = IP_HEADER + usize::from(octet(IP_HEADER + 12) >> 4) * 4;
        let flags = octet(IP_HEADER + 13);
        let seq = Seq(word(IP_HEADER + 4));
        let controls = usize::from(flags & SYN != 0) + usize::from(flags & FIN != 0);
        Self {
            seq,
            end: seq.add(packet.len().saturating_sub(payload_at) + controls),
            flags,
            payload_at,
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.seq == self.end
    }
}

/// Takes the packets of one connection to the port.
pub(crate) struct Egress<'a, 'g, 'block> {
    out: &'a mut Out<'g, 'block>,
    interface: IfIndex,
    /// Octets the next packet has at most.
    pub(crate) bound: usize,
    /// What lies before this was sent already and is swallowed.
    pub(crate) floor: Option<Seq>,
    /// The sequence number of packets without any octet: SND.NXT.
    pub(crate) next: Option<Seq>,
    frame: Option<Frame<'block>>,
    /// The last packet built, to be [completed](Self::complete), and where it lies.
    built: Option<(Built, Place)>,
    /// What the last packet built is to carry besides what lies in its frame.
    more: Vec<Bytes>,
    /// The last packet built is to carry more than its headers say.
    stretched: bool,
    /// Memory for large packets, of which the headers are all that matters. It stays in the cache.
    scratch: &'a mut Vec<u8>,
    /// The port had no room.
    pub(crate) starved: bool,
}

/// Where a packet lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the frame, to be sent as pieces of this size, if it is a super-segment.
    Frame(Option<u16>),
    /// In the scratch memory.
    Scratch(Option<u16>),
}

/// Octets of payload from which on it is worth while to share it: a packet with a shared tail costs
/// a system call of its own.
pub(crate) const GATHER_MIN: usize = 4096;

impl<'a, 'g, 'block> Egress<'a, 'g, 'block> {
    /// `scratch` holds packets meanwhile.
    pub(crate) fn new(
        out: &'a mut Out<'g, 'block>,
        interface: IfIndex,
        scratch: &'a mut Vec<u8>,
    ) -> Self {
        Self {
            out,
            interface,
            bound: HEADERS_MAX,
            floor: None,
            next: None,
            frame: None,
            built: None,
            more: Vec::new(),
            stretched: false,
            scratch,
            starved: false,
        }
    }

    /// Whether the port takes packets whose payload is shared.
    pub(crate) fn gathers(&self) -> bool {
        self.out.gathers()
    }

    /// Adds to the packet built last, if it is the last smoltcp has, what it has not been told of.
    pub(crate) fn stretch(&mut self, conn: &Conn, mss: usize, segment_max: u16) {
        let Some((built, Place::Frame(segment @ None))) = &mut self.built else {
            return;
        };
        let is_next = built.seq == conn.tcb.snd_max && !built.is_empty();
        if !is_next || built.end != conn.tcb.una.add(conn.told()) || built.flags & (SYN | FIN) != 0
        {
            return;
        }
        let payload = built.end.since(built.seq);
        let whole = sendable(conn, built.seq, mss, segment_max);
        let Some(octets) = whole.checked_sub(payload).filter(|octets| *octets > 0) else {
            return;
        };
        let Some(frame) = &mut self.frame else {
            return;
        };
        let own = apart(&conn.queue, built.end, octets, &mut self.more);
        if own.is_some_and(|own| frame.set_len(frame.len() + own)) {
            built.end = built.end.add(octets);
            *segment = pieces(whole, mss);
            self.stretched = true;
        } else {
            self.more.clear();
        }
    }

    /// Sends `octets` octets from `header`'s sequence number on, which has no payload of its own:
    /// a super-segment when longer than `mss`; few of them are copied. `false` when they cannot be
    /// shared, or the port has no room.
    pub(crate) fn send_shared(
        &mut self,
        header: &Outgoing,
        queue: &SendQueue,
        octets: usize,
        mss: usize,
    ) -> bool {
        let (from, mut tail) = (Seq(header.seq), Vec::new());
        let Some(own) = apart(queue, from, octets, &mut tail) else {
            return false;
        };
        let Some(mut frame) = self.out.alloc(header.len() + own) else {
            self.starved = true;
            return false;
        };
        let (head, body) = frame.octets_mut().split_at_mut(header.len());
        header.write(head);
        queue.copy(from, body);
        let is_last = from.add(octets) == queue.end();
        rewrite(head, octets, from, header.flags | PSH, is_last, false);
        frame.attach(tail);
        finish(self.out, frame, self.interface, pieces(octets, mss));
        true
    }

    /// Announces that the next packet carries at most `payload` octets.
    pub(crate) fn expect(&mut self, payload: usize) {
        self.bound = HEADERS_MAX + payload;
    }

    /// Sends a segment of our own making; `false` when the port has no room.
    pub(crate) fn send(&mut self, segment: &Outgoing) -> bool {
        let sent = send(self.out, self.interface, segment);
        self.starved |= !sent;
        sent
    }

    /// Gives the packet built last its payload from `queue` and sends of it what was not sent
    /// before; what that is, and whether it was nothing.
    pub(crate) fn complete(&mut self, queue: &SendQueue) -> Option<(Built, bool)> {
        let (mut built, place) = self.built.take()?;
        let mut tail = std::mem::take(&mut self.more);
        let stretched = std::mem::take(&mut self.stretched);
        // smoltcp has not heard of all that was sent, and may be behind.
        let (from, skipped) = if built.is_empty() {
            (self.next.unwrap_or(built.seq), 0)
        } else {
            let from = self.floor.map_or(built.seq, |floor| floor.max(built.seq));
            if !built.end.after(from) {
                return Some((built, true));
            }
            (from, from.since(built.seq))
        };
        let mut frame = self.frame.take()?;
        let at = built.payload_at;
        let (len, segment) = match place {
            Place::Frame(segment) => (frame.octets().len(), segment),
            Place::Scratch(segment) => (self.scratch.len(), segment),
        };
        let payload = len.saturating_sub(at + skipped);
        let more: usize = tail.iter().map(Bytes::len).sum();
        let own = match place {
            Place::Frame(_) => payload,
            Place::Scratch(_) => queue.shared(from, payload, &mut tail).unwrap_or_else(|| {
                tail.clear();
                payload
            }),
        };
        if !frame.set_len(at + own) {
            debug_assert!(false, "a packet larger than announced");
        }
        let (head, body) = frame.octets_mut().split_at_mut(at);
        if let (Place::Scratch(_), Some(made)) = (place, self.scratch.get(..at)) {
            head.copy_from_slice(made);
        }
        queue.copy(from, body);
        let octets = payload + more;
        if from != built.seq || stretched {
            let flags = if stretched {
                built.flags | PSH
            } else {
                built.flags
            };
            let is_last = from.add(octets) == queue.end();
            rewrite(head, octets, from, flags, is_last, flags & FIN != 0);
        }
        if built.is_empty() {
            built.end = from;
        }
        built.seq = from;
        frame.attach(tail);
        let segment = segment.filter(|size| octets > usize::from(*size));
        finish(self.out, frame, self.interface, segment);
        Some((built, false))
    }

    /// Sends the part of `packet` that lies in `range`, with the payload from `queue`, in pieces of
    /// at most `piece` octets of payload that are super-segments when longer than `mss`. Returns
    /// where it stopped: the end of the part, or earlier when the port had no room.
    fn send_part(
        &mut self,
        (packet, queue): (&[u8], &SendQueue),
        built: Built,
        range: Resend,
        piece: usize,
        mss: usize,
    ) -> Seq {
        let data_end = built.seq.add(packet.len().saturating_sub(built.payload_at));
        let mut at = built.seq.max(range.from);
        let end = built.end.min(range.to);
        while at.before(end) {
            let to = data_end.min(end).min(at.add(piece));
            let octets = to.since(at);
            let is_last = to == data_end;
            let fin = built.flags & FIN != 0 && is_last && end.after(data_end);
            let Some(mut frame) = self.out.alloc(built.payload_at + octets) else {
                self.starved = true;
                return at;
            };
            let (head, body) = frame.octets_mut().split_at_mut(built.payload_at);
            head.copy_from_slice(packet.get(..built.payload_at).unwrap_or(&[]));
            queue.copy(at, body);
            rewrite(head, octets, at, built.flags, is_last, fin);
            finish(self.out, frame, self.interface, pieces(octets, mss));
            at = to.add(usize::from(fin));
            if octets == 0 && !fin {
                break;
            }
        }
        at
    }

    /// Gives back what was taken and not used.
    pub(crate) fn done(self) {
        if let Some(frame) = self.frame {
            self.out.consume(frame);
        }
    }
}

/// Sends a segment of our own making; `false` when the port has no room.
pub(crate) fn send(out: &mut Out<'_, '_>, interface: IfIndex, segment: &Outgoing) -> bool {
    let Some(mut frame) = out.alloc(segment.len()) else {
        return false;
    };
    segment.write(frame.octets_mut());
    finish(out, frame, interface, None);
    true
}

/// Sends a packet without payload whose TCP checksum is not filled yet; `false` when the port has
/// no room.
pub(crate) fn send_octets(out: &mut Out<'_, '_>, interface: IfIndex, packet: &[u8]) -> bool {
    let Some(mut frame) = out.alloc(packet.len()) else {
        return false;
    };
    frame.octets_mut().copy_from_slice(packet);
    finish(out, frame, interface, None);
    true
}

/// How many of the `octets` from `from` on are copied; those behind go to `tail`, when sharing them
/// is worth while. `None` where that cannot be.
fn apart(queue: &SendQueue, from: Seq, octets: usize, tail: &mut Vec<Bytes>) -> Option<usize> {
    if octets < GATHER_MIN {
        Some(octets)
    } else {
        queue.shared(from, octets, tail)
    }
}

/// The size of the pieces that so many octets of payload are to be sent as, if in more than one.
fn pieces(octets: usize, mss: usize) -> Option<u16> {
    (octets > mss).then(|| u16::try_from(mss).unwrap_or(u16::MAX))
}

/// Gives a packet of smoltcp's making that has no octet the sequence number `next`, SND.NXT: smoltcp
/// may be behind, and a peer takes no acknowledgement that is.
pub(crate) fn bring_up(packet: &mut [u8], next: Seq) {
    let built = Built::read(packet);
    if built.is_empty() && packet.len() == built.payload_at {
        rewrite(packet, 0, next, built.flags, true, false);
    }
}

/// Makes the headers of a piece from those of the whole.
fn rewrite(head: &mut [u8], payload: usize, seq: Seq, flags: u8, is_last: bool, fin: bool) {
    let total = u16::try_from(head.len() + payload).unwrap_or(u16::MAX);
    let flags =
        (flags & !(FIN | PSH)) | if is_last { flags & PSH } else { 0 } | if fin { FIN } else { 0 };
    if let Some(field) = head.get_mut(2..4) {
        field.copy_from_slice(&total.to_be_bytes());
    }
    if let Some(field) = head.get_mut(IP_HEADER + 4..IP_HEADER + 8) {
        field.copy_from_slice(&seq.0.to_be_bytes());
    }
    if let Some(field) = head.get_mut(IP_HEADER + 13) {
        *field = flags;
    }
    set_ip_checksum(head);
}

/// Completes the checksum and the metadata of a packet, and sends it.
fn finish<'block>(
    out: &mut Out<'_, 'block>,
    mut frame: Frame<'block>,
    interface: IfIndex,
    segment: Option<u16>,
) {
    let partial = out.offload().checksum;
    let tail = frame.tail().iter().map(Bytes::len).sum();
    fill_checksum(frame.octets_mut(), tail, partial);
    frame.meta.interface = interface;
    frame.meta.ether_type = EtherType::IPV4;
    frame.meta.checksum = if partial {
        Checksum::Partial {
            start: u16::try_from(frame.offset() + IP_HEADER).unwrap_or(u16::MAX),
            offset: u16::try_from(CHECKSUM_AT).unwrap_or(0),
        }
    } else {
        Checksum::Unverified
    };
    frame.meta.segmentation = segment.map(|size| Segmentation {
        size,
        header_len: u16::try_from(Built::read(frame.octets()).payload_at).unwrap_or(0),
    });
    out.send(Tcp4InputNext::Ip4Lookup, frame);
}

impl Transmit for Egress<'_, '_, '_> {
    fn reserve(&mut self) -> bool {
        if let Some(frame) = &mut self.frame
            && frame.set_len(self.bound)
        {
            return true;
        }
        if let Some(small) = self.frame.take() {
            self.out.consume(small);
        }
        self.frame = self.out.alloc(self.bound);
        self.starved |= self.frame.is_none();
        self.frame.is_some()
    }

    fn emit<R>(
        &mut self,
        len: usize,
        segment: Option<u16>,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        if len > GATHER_MIN && segment.is_some() && self.out.gathers() {
            self.scratch.resize(len, 0);
            let result = fill(self.scratch);
            self.built = Some((Built::read(self.scratch), Place::Scratch(segment)));
            return result;
        }
        let fits = self.frame.as_mut().is_some_and(|frame| frame.set_len(len));
        let Some(frame) = self.frame.as_mut().filter(|_| fits) else {
            debug_assert!(false, "a packet larger than announced");
            return fill(&mut vec![0; len]);
        };
        let result = fill(frame.octets_mut());
        self.built = Some((Built::read(frame.octets()), Place::Frame(segment)));
        result
    }
}

/// Keeps the one packet smoltcp may answer a segment with.
pub(crate) struct Reply {
    packet: [u8; 128],
    len: usize,
}

impl Reply {
    pub(crate) fn new() -> Self {
        Self {
            packet: [0; 128],
            len: 0,
        }
    }

    /// The packet, if there was one.
    pub(crate) fn packet(&mut self) -> Option<&mut [u8]> {
        self.packet
            .get_mut(..self.len)
            .filter(|packet| !packet.is_empty())
    }
}

impl Transmit for Reply {
    fn reserve(&mut self) -> bool {
        true
    }

    fn emit<R>(&mut self, len: usize, _: Option<u16>, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        match self.packet.get_mut(..len) {
            Some(packet) => {
                self.len = len;
                fill(packet)
            }
            None => fill(&mut vec![0; len]),
        }
    }
}

/// Collects one packet of a pass.
struct Collect<'s> {
    packet: &'s mut Vec<u8>,
}

impl Transmit for Collect<'_> {
    fn reserve(&mut self) -> bool {
        true
    }

    fn emit<R>(&mut self, len: usize, _: Option<u16>, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.packet.clear();
        self.packet.resize(len, 0);
        fill(self.packet)
    }
}

/// Packets a pass looks at: more than a send buffer fills.
const PASS_MAX: usize = 2048;

/// What a pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Everything wanted before this was sent again.
    pub(crate) to: Seq,
    /// smoltcp sent nothing at all: it has forgotten that it owes something.
    pub(crate) forgotten: bool,
}

/// Sends `wanted`, a range in flight, again: lets smoltcp's timeout fire, so that it sends all
/// that is in flight, and swallows the rest.
pub(crate) fn pass(
    engine: &mut Engine,
    conn: &mut Conn,
    egress: &mut Egress<'_, '_, '_>,
    wanted: Resend,
    mss: usize,
) -> Passed {
    let snd_max = conn.tcb.snd_max;
    let mut passed = Passed {
        to: wanted.from,
        forgotten: true,
    };
    let piece = match segment_max(egress.out, conn.mtu) {
        0 => mss,
        max => usize::from(max) - HEADERS_MAX,
    };
    conn.sender.jump();
    let now = conn.sender.clock(conn.now);
    let path = Path {
        local: *conn.key.local.ip(),
        mtu: conn.mtu,
        segment_max: u16::MAX,
    };
    let mut scratch = std::mem::take(egress.scratch);
    for _ in 0..PASS_MAX {
        let Some(socket) = conn.socket.as_mut() else {
            break;
        };
        scratch.clear();
        let mut collect = Collect {
            packet: &mut scratch,
        };
        if engine.emit(socket, now, path, &mut collect) == Emitted::Nothing || scratch.is_empty() {
            break;
        }
        let built = Built::read(&scratch);
        if built.is_empty() {
            // An acknowledgement that was due; smoltcp takes it for sent.
            bring_up(&mut scratch, snd_max);
            egress.starved |= !send_octets(egress.out, egress.interface, &scratch);
            continue;
        }
        passed.forgotten = false;
        if passed.to.before(built.end) && built.seq.before(wanted.to) {
            let reached = egress.send_part((&scratch, &conn.queue), built, wanted, piece, mss);
            passed.to = passed.to.max(reached);
        }
        if built.end.after(snd_max) {
            // What the peer's window held back until now.
            let new = Resend {
                from: snd_max,
                to: built.end,
            };
            egress.send_part((&scratch, &conn.queue), built, new, piece, mss);
            conn.tcb.snd_max = built.end;
        }
        if !built.end.before(snd_max) {
            break;
        }
    }
    *egress.scratch = scratch;
    passed
}

/// The FIN alone, which smoltcp can forget to send again.
pub(crate) fn fin(conn: &Conn) -> Outgoing {
    Outgoing {
        seq: conn.tcb.snd_max.back(1).0,
        flags: FIN | ACK,
        ..conn.ack()
    }
}

/// Octets of payload the next packet of `queue` octets can carry at most.
pub(crate) fn payload_max(queue: usize, mtu: u16, segment_max: u16) -> usize {
    let packet = usize::from(mtu.max(segment_max));
    queue.min(packet.saturating_sub(IP_HEADER + TCP_HEADER))
}
