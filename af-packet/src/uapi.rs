//! `<linux/if_packet.h>` and the parts of `<linux/virtio_net.h>` that ride on it.
//!
//! Offsets, not structs: the kernel writes these words while we look, so the rings read each one
//! by itself. What libc knows as well is asserted below to be the same.
//!
//! <https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/if_packet.h>

use std::mem::offset_of;

/// Status bits of a received frame or block (`TP_STATUS_*`, lines 110-118).
pub(crate) mod rx_status {
    /// Ours now. Without it the kernel still owns the memory.
    pub(crate) const USER: u32 = 1 << 0;
    /// The checksum field holds the pseudo-header's sum only.
    pub(crate) const CSUM_NOT_READY: u32 = 1 << 3;
    /// `tp_vlan_tci` is a tag; the only way to tell VID 0 from none.
    pub(crate) const VLAN_VALID: u32 = 1 << 4;
    /// `tp_vlan_tpid` is set.
    pub(crate) const VLAN_TPID_VALID: u32 = 1 << 6;
    /// The kernel or the NIC verified the checksum.
    pub(crate) const CSUM_VALID: u32 = 1 << 7;
}

/// States of a transmit slot (lines 121-124).
pub(crate) mod tx_status {
    /// Ours.
    pub(crate) const AVAILABLE: u32 = 0;
    /// For the kernel to send.
    pub(crate) const SEND_REQUEST: u32 = 1;
    /// On its way: its memory is still read.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) const SENDING: u32 = 2;
    /// Refused; cannot happen while `PACKET_LOSS` is on.
    pub(crate) const WRONG_FORMAT: u32 = 4;
}

/// `struct tpacket_block_desc` of `TPACKET_V3`: the head of a block.
pub(crate) mod block {
    /// Who owns the block.
    pub(crate) const STATUS: usize = 8;
    /// Frames begun so far; final once the block is ours.
    pub(crate) const NUM_PKTS: usize = 12;
    /// Where the first frame's header is.
    pub(crate) const FIRST: usize = 16;
    /// Octets used, this head included.
    pub(crate) const LEN: usize = 20;
    /// Octets of the head.
    pub(crate) const SIZE: usize = 48;
}

/// `struct tpacket3_hdr` and the `struct sockaddr_ll` behind it.
pub(crate) mod v3 {
    /// From this header to the next; 0 on the last of a closed block.
    pub(crate) const NEXT: usize = 0;
    /// Octets kept.
    pub(crate) const SNAPLEN: usize = 12;
    /// Octets on the wire.
    pub(crate) const LEN: usize = 16;
    /// Status bits.
    pub(crate) const STATUS: usize = 20;
    /// `tp_mac` and `tp_net`, two 16-bit fields read as one word.
    pub(crate) const MAC_NET: usize = 24;
    /// Tag control information.
    pub(crate) const VLAN_TCI: usize = 32;
    /// Tag protocol identifier and padding.
    pub(crate) const VLAN_TPID: usize = 36;
    /// Octets of the header, and where a transmit slot's data may begin.
    pub(crate) const SIZE: usize = 48;
}

/// `struct tpacket2_hdr`.
pub(crate) mod v2 {
    /// Who owns the slot, and status bits.
    pub(crate) const STATUS: usize = 0;
    /// Octets on the wire.
    pub(crate) const LEN: usize = 4;
    /// Octets kept.
    pub(crate) const SNAPLEN: usize = 8;
    /// `tp_mac` and `tp_net`.
    pub(crate) const MAC_NET: usize = 12;
    /// `tp_vlan_tci` and `tp_vlan_tpid`.
    pub(crate) const VLAN: usize = 24;
    /// Octets of the header.
    pub(crate) const SIZE: usize = 32;
}

/// `struct sockaddr_ll`, relative to its start.
pub(crate) mod sll {
    /// The interface; the last field the kernel writes of a frame.
    pub(crate) const IFINDEX: usize = 4;
    /// `sll_hatype` and `sll_pkttype`, read as one word.
    pub(crate) const HATYPE_PKTTYPE: usize = 8;
    /// Octets.
    pub(crate) const SIZE: usize = 20;
    /// `PACKET_OUTGOING`: our own, on its way out.
    pub(crate) const OUTGOING: u8 = 4;
}

/// `struct virtio_net_hdr`, the plain one.
pub(crate) mod vnet {
    /// Octets.
    pub(crate) const SIZE: usize = 10;
    /// `flags`: the checksum is to be completed.
    pub(crate) const NEEDS_CSUM: u8 = 1;
    /// `flags`: the checksum was verified.
    pub(crate) const DATA_VALID: u8 = 2;
    /// `gso_type`: none.
    pub(crate) const GSO_NONE: u8 = 0;
    /// `gso_type`: TCP over IPv4.
    pub(crate) const GSO_TCPV4: u8 = 1;
    /// `gso_type`: TCP over IPv6.
    pub(crate) const GSO_TCPV6: u8 = 4;
    /// `gso_type`, or-ed: the segment carries CWR.
    pub(crate) const GSO_ECN: u8 = 0x80;
}

/// Frames and blocks begin at multiples of this (`TPACKET_ALIGNMENT`).
pub(crate) const ALIGNMENT: usize = 16;

/// `TPACKET_V2` and `TPACKET_V3` as `PACKET_VERSION` wants them.
pub(crate) const VERSION_V2: u32 = 1;
/// See [`VERSION_V2`].
pub(crate) const VERSION_V3: u32 = 2;

const _: () = {
    assert!(v3::NEXT == offset_of!(libc::tpacket3_hdr, tp_next_offset));
    assert!(v3::SNAPLEN == offset_of!(libc::tpacket3_hdr, tp_snaplen));
    assert!(v3::LEN == offset_of!(libc::tpacket3_hdr, tp_len));
    assert!(v3::STATUS == offset_of!(libc::tpacket3_hdr, tp_status));
    assert!(v3::MAC_NET == offset_of!(libc::tpacket3_hdr, tp_mac));
    assert!(v3::MAC_NET + 2 == offset_of!(libc::tpacket3_hdr, tp_net));
    assert!(v3::VLAN_TCI == offset_of!(libc::tpacket3_hdr, hv1.tp_vlan_tci));
    assert!(v3::VLAN_TPID == offset_of!(libc::tpacket3_hdr, hv1.tp_vlan_tpid));
    assert!(v3::SIZE == size_of::<libc::tpacket3_hdr>());
    assert!(v3::SIZE + sll::SIZE == libc::TPACKET3_HDRLEN);

    assert!(v2::STATUS == offset_of!(libc::tpacket2_hdr, tp_status));
    assert!(v2::LEN == offset_of!(libc::tpacket2_hdr, tp_len));
    assert!(v2::SNAPLEN == offset_of!(libc::tpacket2_hdr, tp_snaplen));
    assert!(v2::MAC_NET == offset_of!(libc::tpacket2_hdr, tp_mac));
    assert!(v2::VLAN == offset_of!(libc::tpacket2_hdr, tp_vlan_tci));
    assert!(v2::VLAN + 2 == offset_of!(libc::tpacket2_hdr, tp_vlan_tpid));
    assert!(v2::SIZE == size_of::<libc::tpacket2_hdr>());
    assert!(v2::SIZE + sll::SIZE == libc::TPACKET2_HDRLEN);

    assert!(block::STATUS == offset_of!(libc::tpacket_block_desc, hdr));
    assert!(block::NUM_PKTS - block::STATUS == offset_of!(libc::tpacket_hdr_v1, num_pkts));
    assert!(block::FIRST - block::STATUS == offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt));
    assert!(block::LEN - block::STATUS == offset_of!(libc::tpacket_hdr_v1, blk_len));
    assert!(block::SIZE == size_of::<libc::tpacket_block_desc>());

    assert!(sll::IFINDEX == offset_of!(libc::sockaddr_ll, sll_ifindex));
    assert!(sll::HATYPE_PKTTYPE == offset_of!(libc::sockaddr_ll, sll_hatype));
    assert!(sll::HATYPE_PKTTYPE + 2 == offset_of!(libc::sockaddr_ll, sll_pkttype));
    assert!(sll::SIZE == size_of::<libc::sockaddr_ll>());
    assert!(sll::OUTGOING == libc::PACKET_OUTGOING);

    assert!(rx_status::USER == libc::TP_STATUS_USER);
    assert!(rx_status::CSUM_NOT_READY == libc::TP_STATUS_CSUMNOTREADY);
    assert!(rx_status::VLAN_VALID == libc::TP_STATUS_VLAN_VALID);
    assert!(rx_status::VLAN_TPID_VALID == libc::TP_STATUS_VLAN_TPID_VALID);
    assert!(rx_status::CSUM_VALID == libc::TP_STATUS_CSUM_VALID);
    assert!(tx_status::AVAILABLE == libc::TP_STATUS_AVAILABLE);
    assert!(tx_status::SEND_REQUEST == libc::TP_STATUS_SEND_REQUEST);
    assert!(tx_status::WRONG_FORMAT == libc::TP_STATUS_WRONG_FORMAT);
    assert!(ALIGNMENT == libc::TPACKET_ALIGNMENT);
    assert!(VERSION_V2 == libc::tpacket_versions::TPACKET_V2 as u32);
    assert!(VERSION_V3 == libc::tpacket_versions::TPACKET_V3 as u32);
};
