//! Packets octet by octet: right by default, and as wrong as an attack wants them.

use std::net::Ipv4Addr;

use crate::link::Mac;
use crate::tag::{Tag, retag};

/// Ethernet types.
pub const IP4: u16 = 0x0800;
/// ARP's.
pub const ARP: u16 = 0x0806;

/// IP protocols.
pub const ICMP: u8 = 1;
/// TCP's.
pub const TCP: u8 = 6;
/// UDP's.
pub const UDP: u8 = 17;

/// The broadcast address.
pub const EVERYBODY: Mac = [0xff; 6];

/// TCP flags.
pub const FIN: u8 = 0x01;
/// Synchronise.
pub const SYN: u8 = 0x02;
/// Reset.
pub const RST: u8 = 0x04;
/// Push.
pub const PSH: u8 = 0x08;
/// Acknowledge.
pub const ACK: u8 = 0x10;

/// "More fragments" in the flags and offset of an IPv4 header.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// "Don't fragment" there.
pub const DONT_FRAGMENT: u16 = 0x4000;

/// A frame; the tags go between the addresses and the type.
pub fn ethernet(to: Mac, from: Mac, tags: &[Tag], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend(to);
    frame.extend(from);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    retag(&frame, 0, tags).unwrap_or_default()
}

/// What is chosen in an IPv4 header.
#[derive(Debug, Clone)]
pub struct Ip4 {
    /// From whom.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
    /// Of what.
    pub protocol: u8,
    /// Hops left.
    pub ttl: u8,
    /// Identification.
    pub id: u16,
    /// Flags, and offset in units of 8 octets.
    pub fragment: u16,
    /// Options, a multiple of 4 octets.
    pub options: Vec<u8>,
}

impl Ip4 {
    /// An ordinary one: TTL 64, whole, no options.
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Self {
        Self {
            source,
            destination,
            protocol,
            ttl: 64,
            id: 0,
            fragment: 0,
            options: Vec::new(),
        }
    }

    /// The packet with `payload`, its length and checksum right.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let words = u8::try_from(header / 4).unwrap_or(5) & 0x0f;
        let length = u16::try_from(header + payload.len()).unwrap_or(u16::MAX);
        let mut packet = Vec::with_capacity(header + payload.len());
        packet.extend([0x40 | words, 0]);
        packet.extend(length.to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, self.protocol, 0, 0]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(&self.options);
        let sum = checksum(&packet);
        put(&mut packet, 10, sum);
        packet.extend(payload);
        packet
    }
}

/// What is chosen in a TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// From which port.
    pub from: u16,
    /// To which port.
    pub to: u16,
    /// SEG.SEQ.
    pub seq: u32,
    /// SEG.ACK.
    pub ack: u32,
    /// [`FIN`], [`SYN`], [`RST`], [`PSH`], [`ACK`].
    pub flags: u8,
    /// SEG.WND.
    pub window: u16,
}

impl Tcp {
    /// The IPv4 packet of a segment from `source` to `destination`.
    pub fn packet(&self, source: Ipv4Addr, destination: Ipv4Addr, data: &[u8]) -> Vec<u8> {
        let mut segment = Vec::with_capacity(20 + data.len());
        segment.extend(self.from.to_be_bytes());
        segment.extend(self.to.to_be_bytes());
        segment.extend(self.seq.to_be_bytes());
        segment.extend(self.ack.to_be_bytes());
        segment.extend([0x50, self.flags]);
        segment.extend(self.window.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend(data);
        let sum = checksum_with_addresses(source, destination, TCP, &segment);
        put(&mut segment, 16, sum);
        let mut ip4 = Ip4::new(source, destination, TCP);
        ip4.fragment = DONT_FRAGMENT;
        ip4.packet(&segment)
    }
}

/// An ICMP message: type, code, the second word, and what follows.
pub fn icmp(kind: u8, code: u8, word: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(8 + data.len());
    message.extend([kind, code, 0, 0]);
    message.extend(word);
    message.extend(data);
    let sum = checksum(&message);
    put(&mut message, 2, sum);
    message
}

/// A UDP datagram.
pub fn udp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap_or(u16::MAX);
    let mut datagram = Vec::with_capacity(8 + data.len());
    datagram.extend(source.1.to_be_bytes());
    datagram.extend(destination.1.to_be_bytes());
    datagram.extend(length.to_be_bytes());
    datagram.extend([0; 2]);
    datagram.extend(data);
    let sum = checksum_with_addresses(source.0, destination.0, UDP, &datagram);
    put(&mut datagram, 6, sum);
    datagram
}

/// An ARP packet (RFC 826): 1 asks, 2 answers.
pub fn arp(operation: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut packet = vec![0, 1, 0x08, 0x00, 6, 4, 0, operation];
    for (mac, address) in [sender, target] {
        packet.extend(mac);
        packet.extend(address.octets());
    }
    packet
}

/// The checksum of RFC 1071.
pub fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let mut sum = words.fold(0_u64, |sum, word| sum + u64::from(word));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

fn checksum_with_addresses(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    segment: &[u8],
) -> u16 {
    let length = u16::try_from(segment.len()).unwrap_or(0);
    let mut all = Vec::with_capacity(12 + segment.len());
    all.extend(source.octets());
    all.extend(destination.octets());
    all.extend([0, protocol]);
    all.extend(length.to_be_bytes());
    all.extend(segment);
    checksum(&all)
}

fn put(octets: &mut [u8], at: usize, value: u16) {
    if let Some(place) = octets.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    #[test]
    fn what_is_built_sums_to_zero() {
        let tcp = Tcp {
            from: 1,
            to: 80,
            seq: 7,
            ack: 9,
            flags: ACK,
            window: 100,
        };
        let packet = tcp.packet(A, B, b"odd");
        assert_eq!(checksum(&packet[..20]), 0);
        assert_eq!(checksum_with_addresses(A, B, TCP, &packet[20..]), 0);
        assert_eq!(packet.len(), 43);
        assert_eq!(packet[2..4], [0, 43]);
        assert_eq!(checksum(&icmp(8, 0, [1, 2, 3, 4], b"abc")), 0);
        let datagram = udp((A, 1), (B, 53), b"hello");
        assert_eq!(checksum_with_addresses(A, B, UDP, &datagram), 0);
    }

    #[test]
    fn options_count_in_the_header_length() {
        let mut ip4 = Ip4::new(A, B, UDP);
        ip4.options = vec![1; 8];
        let packet = ip4.packet(&[5]);
        assert_eq!((packet[0], packet.len()), (0x47, 29));
        assert_eq!(checksum(&packet[..28]), 0);
    }
}
