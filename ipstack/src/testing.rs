//! The wiring of the unit tests: 192.168.123.150/24 on interface 1, 10.0.0.1/8 on interface 2, a
//! default gateway at 192.168.123.1.

use std::net::Ipv4Addr;

use dataplane::checksum::{self, Sum};
use dataplane::{IfIndex, Interface, Interfaces, MacAddr};

use crate::ip4::Header;
use crate::tables::Tables;

pub(crate) const SUB: IfIndex = IfIndex(1);
pub(crate) const OTHER: IfIndex = IfIndex(2);
pub(crate) const OURS: MacAddr = MacAddr([0x02, 0xfe, 0, 0, 0, 1]);
pub(crate) const PEER: MacAddr = MacAddr([0x02, 0xfe, 0, 0, 0, 2]);
pub(crate) const OUR_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 150);
pub(crate) const PEER_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 7);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 1);

pub(crate) fn tables() -> Tables {
    let interfaces = Interfaces::shared();
    for index in [SUB, OTHER] {
        let interface = Interface {
            name: format!("host-m0.{}", index.0),
            mac: OURS,
            mtu: 1500,
            up: true,
        };
        assert!(interfaces.borrow_mut().set(index, interface));
    }
    let tables = Tables::new(interfaces);
    tables
        .add_address(SUB, "192.168.123.150/24".parse().unwrap())
        .unwrap();
    tables
        .add_address(OTHER, "10.0.0.1/8".parse().unwrap())
        .unwrap();
    tables
        .add_route("0.0.0.0/0".parse().unwrap(), GATEWAY, None)
        .unwrap();
    tables
}

/// A packet from [`PEER_IP`] to us.
pub(crate) fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    packet_with(protocol, payload, |_| ())
}

pub(crate) fn packet_with(
    protocol: u8,
    payload: &[u8],
    change: impl FnOnce(&mut Header),
) -> Vec<u8> {
    let mut header = Header {
        tos: 0,
        total_len: u16::try_from(20 + payload.len()).unwrap(),
        identification: 0x1234,
        fragment: 0,
        protocol,
        source: PEER_IP,
        destination: OUR_IP,
    };
    change(&mut header);
    let mut octets = header.octets().to_vec();
    octets.extend(payload);
    octets
}

/// Inserts `options`, a multiple of 4 octets, behind the header of `packet`.
pub(crate) fn with_options(mut packet: Vec<u8>, options: &[u8]) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4));
    packet.splice(20..20, options.iter().copied());
    packet[0] = 0x40 | u8::try_from((20 + options.len()) / 4).unwrap();
    let total_len = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&total_len.to_be_bytes());
    fix_header(&mut packet);
    packet
}

/// Makes the header's checksum right again.
pub(crate) fn fix_header(packet: &mut [u8]) {
    let len = usize::from(packet[0] & 0x0f) * 4;
    packet[10..12].fill(0);
    let sum = checksum::of(&packet[..len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// An ICMP message with its checksum.
pub(crate) fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    message.extend(payload);
    let sum = checksum::of(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// A UDP datagram from [`PEER_IP`] to us, with its checksum.
pub(crate) fn udp(payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    let mut datagram = vec![0x30, 0x39, 0x00, 0x35];
    datagram.extend(len.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let sum = Sum::new()
        .with_pseudo_header(PEER_IP, OUR_IP, 17, len)
        .with(&datagram)
        .finish();
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}
