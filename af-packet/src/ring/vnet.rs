//! `struct virtio_net_hdr`: checksum and segmentation, between us and the kernel.
//!
//! Ten octets right before the frame, in both directions, in the machine's byte order.
//! <https://github.com/torvalds/linux/blob/v6.18/include/linux/virtio_net.h>
#![warn(
    clippy::indexing_slicing,
    reason = "the octets come from the wire and the kernel"
)]

use dataplane::frame::ETHERNET_HEADER;
use dataplane::{Checksum, EtherType, Frame, Segmentation};

use crate::uapi::vnet;

/// The largest frame the kernel splits: `gso_max_size` of every device counts to here, Ethernet
/// header and tags included. One octet more is split in software before the device sees it.
pub(crate) const SEGMENTATION_MAX: usize = 65_536;

/// The longest frame, in octets, that the kernel copies out of its slot at once. Of a longer one it
/// takes the slot's pages, which a virtual link has to copy after all, into pages it allocates. Up
/// to here the copy needs no more than one page, the socket buffer's own room included.
const COPIED_MAX: usize = 2048;

/// The header, decoded; positions count from the frame's first octet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) flags: u8,
    pub(crate) gso_type: u8,
    pub(crate) hdr_len: u16,
    pub(crate) gso_size: u16,
    pub(crate) csum_start: u16,
    pub(crate) csum_offset: u16,
}

impl Header {
    /// The header that ends where `buffer[start..]` begins.
    pub(crate) fn before(buffer: &[u8], start: usize) -> Option<Self> {
        let octets = buffer.get(start.checked_sub(vnet::SIZE)?..start)?;
        let &[flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = octets else {
            return None;
        };
        Some(Self {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([h0, h1]),
            gso_size: u16::from_ne_bytes([g0, g1]),
            csum_start: u16::from_ne_bytes([s0, s1]),
            csum_offset: u16::from_ne_bytes([o0, o1]),
        })
    }

    /// As the kernel reads it.
    pub(crate) fn to_octets(self) -> [u8; vnet::SIZE] {
        let [h0, h1] = self.hdr_len.to_ne_bytes();
        let [g0, g1] = self.gso_size.to_ne_bytes();
        let [s0, s1] = self.csum_start.to_ne_bytes();
        let [o0, o1] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    /// The checksum's state, counted from the frame's first octet.
    pub(crate) fn checksum(&self) -> Checksum {
        if self.flags & vnet::NEEDS_CSUM != 0 {
            Checksum::Partial {
                start: self.csum_start,
                offset: self.csum_offset,
            }
        } else if self.flags & vnet::DATA_VALID != 0 {
            Checksum::Valid
        } else {
            Checksum::Unverified
        }
    }

    /// What the kernel joined, when it is TCP. `hdr_len` is only what lay in the buffer's linear
    /// part, so the length of the headers is taken from the TCP header where one can be seen.
    pub(crate) fn segmentation(&self, octets: &[u8]) -> Option<Segmentation> {
        let tcp = matches!(
            self.gso_type & !vnet::GSO_ECN,
            vnet::GSO_TCPV4 | vnet::GSO_TCPV6
        );
        if !tcp || self.gso_size == 0 {
            return None;
        }
        let (link, _) = link_header(octets);
        let tcp_at = usize::from(self.csum_start);
        let seen = (self.flags & vnet::NEEDS_CSUM != 0)
            .then(|| octets.get(tcp_at + 12))
            .flatten();
        let end = match seen {
            Some(offset) => tcp_at + usize::from(offset >> 4) * 4,
            None => usize::from(self.hdr_len),
        };
        Some(Segmentation {
            size: self.gso_size,
            header_len: u16::try_from(end.saturating_sub(link)).unwrap_or(u16::MAX),
        })
    }

    /// What the kernel must know to send `frame`; `None` when its metadata contradicts it, which
    /// the kernel would refuse.
    pub(crate) fn of(frame: &Frame<'_>) -> Option<Self> {
        let octets = frame.octets();
        let mut header = Self::default();
        if let Checksum::Partial { start, offset } = frame.meta.checksum {
            let at = usize::from(start).checked_sub(frame.offset())?;
            if at + usize::from(offset) + 2 > octets.len() {
                return None;
            }
            header.flags = vnet::NEEDS_CSUM;
            header.csum_start = u16::try_from(at).ok()?;
            header.csum_offset = offset;
        }
        let Some(segmentation) = frame.meta.segmentation else {
            // Of a whole frame it says only what is copied (`tpacket_snd`, net/packet/af_packet.c).
            if frame.total_len() <= COPIED_MAX {
                header.hdr_len = u16::try_from(octets.len()).ok()?;
            }
            return Some(header);
        };
        let (link, ether_type) = link_header(octets);
        header.gso_type = match ether_type {
            EtherType::IPV4 => vnet::GSO_TCPV4,
            EtherType::IPV6 => vnet::GSO_TCPV6,
            _ => return None,
        };
        header.gso_size = segmentation.size;
        header.hdr_len = u16::try_from(link)
            .ok()?
            .checked_add(segmentation.header_len)?;
        // The kernel answers EINVAL to super-segments whose checksum is not left to it.
        let sound = header.flags == vnet::NEEDS_CSUM
            && segmentation.size > 0
            && header.hdr_len > header.csum_start
            && usize::from(header.hdr_len) <= octets.len()
            && frame.total_len() <= SEGMENTATION_MAX;
        sound.then_some(header)
    }
}

/// Octets of the Ethernet header with the tags that are inline, and what follows them.
pub(crate) fn link_header(octets: &[u8]) -> (usize, EtherType) {
    let mut end = ETHERNET_HEADER;
    for _ in 0..=2 {
        let Some(&[a, b]) = octets.get(end - 2..end) else {
            break;
        };
        let ether_type = EtherType(u16::from_be_bytes([a, b]));
        if !ether_type.is_tag() {
            return (end, ether_type);
        }
        end += 4;
    }
    (end, EtherType::default())
}

/// The EtherType of the outermost inline tag.
pub(crate) fn outermost_tag(octets: &[u8]) -> Option<EtherType> {
    let place = octets.get(ETHERNET_HEADER - 2..ETHERNET_HEADER)?;
    let ether_type = EtherType(u16::from_be_bytes(place.try_into().ok()?));
    ether_type.is_tag().then_some(ether_type)
}

/// Octets of the link header that a device sends beside a packet of its MTU: the Ethernet header
/// and one tag. `is_skb_forwardable` (net/core/dev.c) draws the line there for veth, and drivers
/// size their buffers so; a second tag is taken out of the packet.
pub(crate) fn link_room(octets: &[u8]) -> usize {
    link_header(octets).0.min(ETHERNET_HEADER + 4)
}

#[cfg(test)]
mod tests;
