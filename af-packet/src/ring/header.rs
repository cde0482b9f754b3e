//! What the kernel says of a received frame, before anything of it is believed.

use dataplane::{Checksum, EtherType, Frame, HEADROOM, IfIndex, Tag};

use crate::ring::vnet;
use crate::uapi::{rx_status, sll};

/// The fields both header versions have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Status bits.
    pub(super) status: u32,
    /// Octets on the wire, without the tag that was taken off.
    pub(super) len: u32,
    /// Octets kept.
    pub(super) snaplen: u32,
    /// Where the Ethernet header begins, from the start of this header.
    pub(super) mac: u16,
    /// Tag control information.
    pub(super) tci: u16,
    /// Tag protocol identifier.
    pub(super) tpid: u16,
    /// `PACKET_HOST`, `PACKET_OUTGOING` and so on.
    pub(super) packet_type: u8,
}

/// `tp_mac` and `tp_net`, read as one word: the first lies at the lower address.
pub(crate) fn halves(word: u32) -> (u16, u16) {
    let [a, b, c, d] = word.to_ne_bytes();
    (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]))
}

/// `sll_pkttype`, out of the word it shares with `sll_hatype`.
pub(super) fn packet_type(word: u32) -> u8 {
    word.to_ne_bytes()[2]
}

impl Header {
    /// Whether it is one of our own on its way out: kernels before 4.20 cannot leave them out.
    pub(super) fn is_outgoing(&self) -> bool {
        self.packet_type == sll::OUTGOING
    }

    /// The frame's octets from the start of the header, `(start, end)`, when they lie behind the
    /// header (`head` octets) and [`HEADROOM`], and before `room`.
    pub(super) fn span(&self, head: usize, room: usize) -> Option<(usize, usize)> {
        let start = usize::from(self.mac);
        let end = start.checked_add(usize::try_from(self.snaplen).ok()?)?;
        (start >= head + HEADROOM && end <= room && self.snaplen > 0).then_some((start, end))
    }

    /// The frame: `buffer[start..]`, its metadata filled in. The buffer begins behind the
    /// header, so the `virtio_net_hdr` lies in it, right before the frame.
    ///
    /// `start` and `len` come from [`Self::span`], and `buffer` is cut by it.
    pub(super) fn frame<'octets>(
        &self,
        buffer: &'octets mut [u8],
        (start, len): (usize, usize),
        interface: IfIndex,
        vnet: bool,
    ) -> Frame<'octets> {
        let offload = if vnet {
            vnet::Header::before(buffer, start)
        } else {
            None
        };
        let mut frame = Frame::new(buffer, start, len);
        frame.meta.interface = interface;
        frame.meta.wire_len = self.len;
        if self.status & rx_status::VLAN_VALID != 0 {
            let tpid = if self.status & rx_status::VLAN_TPID_VALID != 0 {
                EtherType(self.tpid)
            } else {
                EtherType::CTAG
            };
            frame.meta.tags.push(Tag {
                tpid,
                tci: self.tci,
            });
        }
        frame.meta.checksum = self.checksum(offload.as_ref(), &frame);
        frame.meta.segmentation = offload.and_then(|header| header.segmentation(frame.octets()));
        frame
    }

    fn checksum(&self, offload: Option<&vnet::Header>, frame: &Frame<'_>) -> Checksum {
        match offload.map(vnet::Header::checksum) {
            Some(Checksum::Partial { start, offset }) => {
                // From the frame's start to the buffer's; a position outside is no position.
                let at = usize::from(start) + frame.offset();
                let field = usize::from(start) + usize::from(offset) + 2;
                match u16::try_from(at) {
                    Ok(start) if field <= frame.len() => Checksum::Partial { start, offset },
                    _ => Checksum::Unverified,
                }
            }
            Some(Checksum::Valid) => Checksum::Valid,
            _ if self.status & rx_status::CSUM_VALID != 0 => Checksum::Valid,
            // A peer on this host vouches for it; where the field is, only vnet_hdr would say.
            None if self.status & rx_status::CSUM_NOT_READY != 0 => Checksum::Valid,
            _ => Checksum::Unverified,
        }
    }
}
