//! ARP packets of our own, with their Ethernet header.

use std::net::Ipv4Addr;

use dataplane::frame::ETHERNET_HEADER;
use dataplane::{EtherType, MacAddr};

/// Octets of an ARP packet for Ethernet and IPv4.
pub(crate) const ARP_PACKET: usize = 28;

/// Octets of an Ethernet frame with an ARP packet, padded to the shortest frame there is (64 with
/// the check sequence; IEEE 802.3, clause 4A.4.2).
pub(crate) const ARP_FRAME: usize = 60;

/// `ares_op$request`.
pub(crate) const REQUEST: u16 = 1;
/// `ares_op$reply`.
pub(crate) const REPLY: u16 = 2;

/// An ARP packet and whom it goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArpPacket {
    /// Ethernet destination.
    pub(crate) to: MacAddr,
    pub(crate) operation: u16,
    pub(crate) sender_mac: MacAddr,
    pub(crate) sender: Ipv4Addr,
    pub(crate) target_mac: MacAddr,
    pub(crate) target: Ipv4Addr,
}

impl ArpPacket {
    /// An announcement of RFC 5227 section 3: a request for the sender's own address.
    pub(crate) fn announcement(mac: MacAddr, address: Ipv4Addr) -> Self {
        Self {
            to: MacAddr::BROADCAST,
            operation: REQUEST,
            sender_mac: mac,
            sender: address,
            target_mac: MacAddr::ZERO,
            target: address,
        }
    }

    /// Writes the frame to the front of `octets`, which hold header and packet at least, and
    /// clears what is behind.
    pub(crate) fn write(&self, octets: &mut [u8]) {
        let pieces: [&[u8]; 9] = [
            &self.to.0,
            &self.sender_mac.0,
            &EtherType::ARP.0.to_be_bytes(),
            // Ethernet, IPv4, and the octets of their addresses.
            &[0, 1, 8, 0, 6, 4],
            &self.operation.to_be_bytes(),
            &self.sender_mac.0,
            &self.sender.octets(),
            &self.target_mac.0,
            &self.target.octets(),
        ];
        debug_assert!(octets.len() >= ETHERNET_HEADER + ARP_PACKET);
        let (packet, padding) = octets.split_at_mut(octets.len().min(ETHERNET_HEADER + ARP_PACKET));
        for (place, octet) in packet.iter_mut().zip(pieces.into_iter().flatten()) {
            *place = *octet;
        }
        padding.fill(0);
    }
}
