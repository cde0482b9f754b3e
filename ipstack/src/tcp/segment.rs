//! TCP segments in IPv4 packets: read, and those we build ourselves.
//!
//! - Spec: RFC 9293, section 3.1; options: RFC 7323 (window scale), RFC 2018 (SACK).
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use etherparse::checksum::Sum16BitWords;
use etherparse::{TcpHeaderSlice, TcpOptionElement};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::seq::Seq;

/// Control flags, as in octet 13 of the header.
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// Octets of an IPv4 header without options, and of a TCP header without options.
pub(crate) const IP_HEADER: usize = 20;
pub(crate) const TCP_HEADER: usize = 20;

/// The largest shift RFC 7323 allows.
const WSCALE_MAX: u8 = 14;

/// SACK blocks an option can hold.
pub(crate) const SACK_BLOCKS_MAX: usize = 4;

/// A received segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) remote: SocketAddrV4,
    pub(crate) local: SocketAddrV4,
    pub(crate) seq: Seq,
    pub(crate) ack: Seq,
    /// FIN, SYN, RST, PSH, ACK.
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// Octets of the IPv4 header.
    pub(crate) ip_header: usize,
    /// Octets of the TCP header, options included.
    pub(crate) tcp_header: usize,
    pub(crate) payload: usize,
}

impl Segment {
    /// Whether all of `flags` are set.
    #[inline]
    pub(crate) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Sequence numbers it takes: payload, SYN and FIN.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.payload + usize::from(self.flags & SYN != 0) + usize::from(self.flags & FIN != 0)
    }

    /// The sequence number after it.
    #[inline]
    pub(crate) fn end(&self) -> Seq {
        self.seq.add(self.len())
    }

    /// Whether it is an acknowledgement and nothing else, options apart.
    #[inline]
    pub(crate) fn is_pure_ack(&self) -> bool {
        self.payload == 0 && self.flags & !PSH == ACK
    }
}

/// Why octets are no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Shorter than its headers.
    Truncated,
    /// Contradicting flags, or a port of 0.
    Nonsense,
}

/// Reads the segment in `packet`, which begins with a valid IPv4 header.
///
/// # Errors
/// What is wrong with it.
#[inline]
pub(crate) fn parse(packet: &[u8]) -> Result<Segment, Malformed> {
    let ip = packet
        .first_chunk::<IP_HEADER>()
        .ok_or(Malformed::Truncated)?;
    let (source, destination) = addresses(ip);
    let [first, ..] = *ip;
    let ip_header = usize::from(first & 0x0f) * 4;
    let tcp_octets = packet.get(ip_header..).ok_or(Malformed::Truncated)?;
    let tcp = TcpHeaderSlice::from_slice(tcp_octets).map_err(|_| Malformed::Truncated)?;
    let tcp_header = tcp.slice().len();
    let flags = tcp.slice().get(13).copied().unwrap_or(0) & (FIN | SYN | RST | PSH | ACK);
    let controls = (flags & (FIN | SYN | RST)).count_ones();
    if controls > 1 || tcp.source_port() == 0 || tcp.destination_port() == 0 {
        return Err(Malformed::Nonsense);
    }
    Ok(Segment {
        remote: SocketAddrV4::new(source, tcp.source_port()),
        local: SocketAddrV4::new(destination, tcp.destination_port()),
        seq: Seq(tcp.sequence_number()),
        ack: Seq(tcp.acknowledgment_number()),
        flags,
        window: tcp.window_size(),
        ip_header,
        tcp_header,
        payload: tcp_octets.len() - tcp_header,
    })
}

/// The source and the destination of an IPv4 header.
#[inline]
pub(crate) fn addresses(header: &[u8; IP_HEADER]) -> (Ipv4Addr, Ipv4Addr) {
    let (_, addresses) = header.split_at(IP_HEADER - 8);
    let (source, destination) = addresses.split_at(4);
    let address = |octets: &[u8]| Ipv4Addr::from(<[u8; 4]>::try_from(octets).unwrap_or([0; 4]));
    (address(source), address(destination))
}

/// The options of a SYN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SynOptions {
    pub(crate) mss: Option<u16>,
    /// At most 14.
    pub(crate) wscale: Option<u8>,
    pub(crate) sack_permitted: bool,
}

/// Reads the options of a SYN; what follows a malformed one is ignored.
pub(crate) fn syn_options(packet: &[u8], segment: &Segment) -> SynOptions {
    let mut found = SynOptions::default();
    for option in options(packet, segment) {
        match option {
            TcpOptionElement::MaximumSegmentSize(mss) if mss > 0 => found.mss = Some(mss),
            TcpOptionElement::WindowScale(shift) => found.wscale = Some(shift.min(WSCALE_MAX)),
            TcpOptionElement::SelectiveAcknowledgementPermitted => found.sack_permitted = true,
            _ => {}
        }
    }
    found
}

/// The SACK blocks of a segment, in order; as the peer says, so not to be believed.
pub(crate) fn sack_blocks(
    packet: &[u8],
    segment: &Segment,
) -> [Option<(Seq, Seq)>; SACK_BLOCKS_MAX] {
    let pair = |(from, to): (u32, u32)| (Seq(from), Seq(to));
    for option in options(packet, segment) {
        if let TcpOptionElement::SelectiveAcknowledgement(first, [b, c, d]) = option {
            return [Some(pair(first)), b.map(pair), c.map(pair), d.map(pair)];
        }
    }
    [None; SACK_BLOCKS_MAX]
}

fn options<'p>(
    packet: &'p [u8],
    segment: &Segment,
) -> impl Iterator<Item = TcpOptionElement> + use<'p> {
    let from = segment.ip_header + TCP_HEADER;
    let to = segment.ip_header + segment.tcp_header;
    let octets = packet.get(from..to).unwrap_or(&[]);
    etherparse::TcpOptionsIterator::from_slice(octets).map_while(Result::ok)
}

/// Whether the TCP checksum of `packet` is right.
pub(crate) fn checksum_is_valid(packet: &[u8], segment: &Segment) -> bool {
    let tcp = packet.get(segment.ip_header..).unwrap_or(&[]);
    let sum = pseudo_header(*segment.remote.ip(), *segment.local.ip(), tcp.len()).add_slice(tcp);
    sum.ones_complement() == 0
}

/// The sum of the pseudo-header, not complemented.
fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, tcp_len: usize) -> Sum16BitWords {
    // An IPv4 packet carries fewer than 65,536 octets.
    let len = u16::try_from(tcp_len).unwrap_or(u16::MAX);
    let mut sum = Sum16BitWords::new();
    sum = sum.add_4bytes(source.octets());
    sum = sum.add_4bytes(destination.octets());
    sum.add_2bytes([0, PROTOCOL]).add_2bytes(len.to_be_bytes())
}

/// TCP's number in the IPv4 header.
const PROTOCOL: u8 = 6;

/// Where the checksum lies in a TCP header.
pub(crate) const CHECKSUM_AT: usize = 16;

/// Fills the TCP checksum of `packet`, an IPv4 packet of ours without IP options: the
/// pseudo-header's sum when `partial` (the kernel finishes it, over `tail` more octets), else all
/// of it.
pub(crate) fn fill_checksum(packet: &mut [u8], tail: usize, partial: bool) {
    let Some((ip, tcp)) = packet.split_first_chunk_mut::<IP_HEADER>() else {
        return;
    };
    let (source, destination) = addresses(ip);
    let at = CHECKSUM_AT..CHECKSUM_AT + 2;
    if let Some(field) = tcp.get_mut(at.clone()) {
        field.fill(0);
    }
    let mut sum = pseudo_header(source, destination, tcp.len() + tail);
    let value = if partial {
        !sum.ones_complement()
    } else {
        sum = sum.add_slice(tcp);
        sum.ones_complement()
    };
    if let Some(field) = tcp.get_mut(at) {
        // Octets were summed as they lie, so they go back as they are.
        field.copy_from_slice(&value.to_ne_bytes());
    }
}

/// A segment of our own making, without payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    pub(crate) local: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) mss: Option<u16>,
    pub(crate) wscale: Option<u8>,
    pub(crate) sack_permitted: bool,
}

impl Outgoing {
    /// Octets of the packet.
    pub(crate) fn len(&self) -> usize {
        IP_HEADER + TCP_HEADER + self.options_len()
    }

    /// MSS 4, window scale 3 + 1, SACK-permitted 2 + 2: multiples of four.
    fn options_len(&self) -> usize {
        4 * (usize::from(self.mss.is_some())
            + usize::from(self.wscale.is_some())
            + usize::from(self.sack_permitted))
    }

    /// Writes the packet, its TCP checksum 0; the number of octets, or 0 when `buffer` is shorter.
    pub(crate) fn write(&self, buffer: &mut [u8]) -> usize {
        let len = self.len();
        let Some(packet) = buffer.get_mut(..len) else {
            return 0;
        };
        packet.fill(0);
        let total = u16::try_from(len).unwrap_or(0).to_be_bytes();
        let words = u8::try_from((TCP_HEADER + self.options_len()) / 4).unwrap_or(5);
        let (source, destination) = (self.local.ip().octets(), self.remote.ip().octets());
        let mut put = Put { packet, at: 0 };
        // Version 4, five words, TOS 0, length, identification 0, DF, TTL 64, TCP, checksum below.
        put.put(&[0x45, 0])
            .put(&total)
            .put(&[0, 0, 0x40, 0, 64, PROTOCOL, 0, 0]);
        put.put(&source).put(&destination);
        put.put(&self.local.port().to_be_bytes());
        put.put(&self.remote.port().to_be_bytes());
        put.put(&self.seq.to_be_bytes())
            .put(&self.ack.to_be_bytes());
        put.put(&[words << 4, self.flags]);
        put.put(&self.window.to_be_bytes()).put(&[0, 0, 0, 0]);
        if let Some(mss) = self.mss {
            put.put(&[2, 4]).put(&mss.to_be_bytes());
        }
        if self.sack_permitted {
            put.put(&[1, 1, 4, 2]);
        }
        if let Some(shift) = self.wscale {
            put.put(&[1, 3, 3, shift]);
        }
        set_ip_checksum(packet);
        len
    }
}

/// Fills the header checksum of an IPv4 packet without options.
pub(crate) fn set_ip_checksum(packet: &mut [u8]) {
    let Some(ip) = packet.first_chunk_mut::<IP_HEADER>() else {
        return;
    };
    let [.., high, low, _, _, _, _, _, _, _, _] = ip;
    (*high, *low) = (0, 0);
    let [high_sum, low_sum] = Sum16BitWords::new()
        .add_slice(&*ip)
        .ones_complement()
        .to_ne_bytes();
    let [.., high, low, _, _, _, _, _, _, _, _] = ip;
    (*high, *low) = (high_sum, low_sum);
}

/// Writes one field after the other.
struct Put<'p> {
    packet: &'p mut [u8],
    at: usize,
}

impl Put<'_> {
    fn put(&mut self, octets: &[u8]) -> &mut Self {
        if let Some(place) = self.packet.get_mut(self.at..self.at + octets.len()) {
            place.copy_from_slice(octets);
        }
        self.at += octets.len();
        self
    }
}

/// Overwrites the acknowledgement number of a received packet.
pub(crate) fn patch_ack(packet: &mut [u8], segment: &mut Segment, ack: Seq) {
    segment.ack = ack;
    let at = segment.ip_header + 8;
    if let Some(field) = packet.get_mut(at..at + 4) {
        field.copy_from_slice(&ack.0.to_be_bytes());
    }
}

/// Overwrites the window field of a received packet.
pub(crate) fn patch_window(packet: &mut [u8], segment: &mut Segment, window: u16) {
    segment.window = window;
    let at = segment.ip_header + 14;
    if let Some(field) = packet.get_mut(at..at + 2) {
        field.copy_from_slice(&window.to_be_bytes());
    }
}
