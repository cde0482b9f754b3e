//! IPv4 headers of our own, and kinds of addresses.

use std::net::Ipv4Addr;

use dataplane::checksum;

/// Octets of a header without options.
pub const HEADER: usize = 20;

/// The time to live of packets of our own: the recommended default of RFC 1700.
pub const TTL: u8 = 64;

/// Protocol numbers (<https://www.iana.org/assignments/protocol-numbers>).
pub mod protocol {
    /// RFC 792.
    pub const ICMP: u8 = 1;
    /// RFC 9293.
    pub const TCP: u8 = 6;
    /// RFC 768.
    pub const UDP: u8 = 17;
}

/// Do not fragment, in the 16 bits of flags and offset.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments follow, in the same place.
pub const MORE_FRAGMENTS: u16 = 0x2000;

/// A header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// Octets of header and payload.
    pub total_len: u16,
    /// Which datagram fragments belong to.
    pub identification: u16,
    /// Flags and fragment offset as on the wire.
    pub fragment: u16,
    /// The protocol of the payload.
    pub protocol: u8,
    /// From whom.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
}

impl Header {
    /// The octets, with a time to live of [`TTL`] and the checksum in place.
    pub fn octets(&self) -> [u8; HEADER] {
        let [l0, l1] = self.total_len.to_be_bytes();
        let [i0, i1] = self.identification.to_be_bytes();
        let [f0, f1] = self.fragment.to_be_bytes();
        let [s0, s1, s2, s3] = self.source.octets();
        let [d0, d1, d2, d3] = self.destination.octets();
        let mut octets = [
            0x45,
            self.tos,
            l0,
            l1,
            i0,
            i1,
            f0,
            f1,
            TTL,
            self.protocol,
            0,
            0,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ];
        let [c0, c1] = checksum::of(&octets).to_be_bytes();
        octets[10] = c0;
        octets[11] = c1;
        octets
    }
}

/// Writes total length, flags and fragment offset (as on the wire) and the checksum into a copied
/// header, of [`HEADER`] octets at least.
pub(crate) fn set_length(header: &mut [u8], total_len: usize, fragment: u16) {
    let total_len = u16::try_from(total_len).unwrap_or(u16::MAX);
    let mut set = |at: usize, value: u16| {
        if let Some(field) = header.get_mut(at..at + 2) {
            field.copy_from_slice(&value.to_be_bytes());
        }
    };
    set(2, total_len);
    set(6, fragment);
    set(10, 0);
    let sum = checksum::of(header);
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// Whether no station can have `address`: 0.0.0.0/8, 127.0.0.0/8, and 224.0.0.0 up, which takes
/// in multicast, the reserved class E and the limited broadcast (RFC 1122 section 3.2.1.3).
#[inline]
pub fn is_martian(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [0 | 127 | 224..=255, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::Ipv4HeaderSlice;

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let header = Header {
            tos: 0x2e,
            total_len: 84,
            identification: 0x1234,
            fragment: DONT_FRAGMENT,
            protocol: protocol::ICMP,
            source: Ipv4Addr::new(192, 168, 123, 150),
            destination: Ipv4Addr::new(192, 168, 123, 1),
        };
        let octets = header.octets();
        let read = Ipv4HeaderSlice::from_slice(&octets).unwrap();
        assert_eq!(
            (read.total_len(), read.identification(), read.ttl()),
            (84, 0x1234, 64)
        );
        assert_eq!((read.dont_fragment(), read.more_fragments()), (true, false));
        assert_eq!(
            (read.source_addr(), read.destination_addr()),
            (header.source, header.destination)
        );
        assert_eq!(checksum::of(&octets), 0);
    }

    #[test]
    fn martians_are_those_of_rfc_1122() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(is_martian(text.parse().unwrap()), "{text}");
        }
        for text in ["1.0.0.1", "126.255.255.255", "128.0.0.1", "223.255.255.255"] {
            assert!(!is_martian(text.parse().unwrap()), "{text}");
        }
    }
}
