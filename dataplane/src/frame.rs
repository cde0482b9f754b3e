//! A frame: octets borrowed from a ring block or a transmit slot, and what is known about them.
//!
//! Nothing is copied on the way in. The octets live in kernel-shared memory for as long as
//! `'block`; keeping them longer means copying, and the compiler insists:
//!
//! ```compile_fail
//! use dataplane::Frame;
//! fn keep(frame: Frame<'_>) -> Frame<'static> {
//!     frame // does not live long enough
//! }
//! ```

use std::fmt;
use std::net::Ipv4Addr;

use bytes::Bytes;

use crate::interface::IfIndex;

/// Free octets in front of the octets of every frame a [`Port`](crate::Port) allocates: room for
/// an Ethernet header and two tags, rounded up.
pub const HEADROOM: usize = 32;

/// Octets of an Ethernet header without tags.
pub const ETHERNET_HEADER: usize = 14;

/// An Ethernet address.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// `00:00:00:00:00:00`.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether the group bit is set: multicast or broadcast (IEEE 802, clause 8.2).
    pub fn is_group(self) -> bool {
        self.0[0] & 0x01 != 0
    }

    /// Whether this is the broadcast address.
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, octet) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A string that is not an Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseMacError;

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected six hex octets such as c6:b4:b5:74:11:88")
    }
}

impl std::error::Error for ParseMacError {}

impl std::str::FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let mut octets = [0u8; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or(ParseMacError)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        if parts.next().is_some() {
            return Err(ParseMacError);
        }
        Ok(Self(octets))
    }
}

/// An EtherType, host order (<https://www.iana.org/assignments/ieee-802-numbers>).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// The customer tag of IEEE 802.1Q, as a tag protocol identifier.
    pub const CTAG: Self = Self(0x8100);
    /// The service tag of IEEE 802.1ad, as a tag protocol identifier.
    pub const STAG: Self = Self(0x88a8);

    /// Smaller values are lengths of IEEE 802.3 LLC frames.
    pub const MIN: u16 = 0x0600;

    /// Whether this announces a tag.
    pub fn is_tag(self) -> bool {
        self == Self::CTAG || self == Self::STAG
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// One VLAN tag: protocol identifier and control information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tag {
    /// Tag protocol identifier: [`EtherType::CTAG`] or [`EtherType::STAG`].
    pub tpid: EtherType,
    /// Tag control information: PCP (3 bits), DEI (1 bit), VID (12 bits).
    pub tci: u16,
}

impl Tag {
    /// The VLAN identifier, 0-4095; 0 means "priority-tagged".
    pub fn vid(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The priority code point, 0-7.
    pub fn pcp(self) -> u8 {
        u8::try_from(self.tci >> 13).unwrap_or(0)
    }
}

/// Up to two tags, outermost first.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Tags {
    tags: [Tag; 2],
    len: u8,
}

impl Tags {
    /// No tag.
    pub const NONE: Self = Self {
        tags: [
            Tag {
                tpid: EtherType(0),
                tci: 0,
            },
            Tag {
                tpid: EtherType(0),
                tci: 0,
            },
        ],
        len: 0,
    };

    /// The tags as a slice, outermost first.
    pub fn as_slice(&self) -> &[Tag] {
        self.tags.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// Adds `tag` inside the others; `false` when there are two already.
    pub fn push(&mut self, tag: Tag) -> bool {
        let Some(place) = self.tags.get_mut(usize::from(self.len)) else {
            return false;
        };
        *place = tag;
        self.len += 1;
        true
    }

    /// How many.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl FromIterator<Tag> for Tags {
    /// Takes the first two.
    fn from_iter<I: IntoIterator<Item = Tag>>(iter: I) -> Self {
        let mut tags = Self::NONE;
        for tag in iter.into_iter().take(2) {
            tags.push(tag);
        }
        tags
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// What is known about the transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: verify it. On the way out: it is complete.
    #[default]
    Unverified,
    /// Somebody who saw the octets vouches for it (`VIRTIO_NET_HDR_F_DATA_VALID`).
    Valid,
    /// The field holds only the pseudo-header's sum (`VIRTIO_NET_HDR_F_NEEDS_CSUM`): on the way in
    /// nothing to verify, on the way out for the kernel to finish.
    Partial {
        /// Where summing starts, in octets from the start of the frame's **buffer**, so that
        /// advancing and pushing headers leaves it true.
        start: u16,
        /// Where the field lies, in octets from `start`.
        offset: u16,
    },
}

/// A TCP super-segment that the kernel or the NIC splits (TSO, GSO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// TCP payload octets of each piece but the last.
    pub size: u16,
    /// Octets of IP and TCP header, repeated on each piece.
    pub header_len: u16,
}

/// What is known about a frame besides its octets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta {
    /// The interface the frame came in on, or leaves by: the port until `dot1q-demux` knows the
    /// sub-interface.
    pub interface: IfIndex,
    /// Tags taken off, outermost first. Empty on frames that carry theirs inline again.
    pub tags: Tags,
    /// Ethernet destination.
    pub destination: MacAddr,
    /// Ethernet source.
    pub source: MacAddr,
    /// What follows the Ethernet header and the tags.
    pub ether_type: EtherType,
    /// The transport checksum.
    pub checksum: Checksum,
    /// Present on TCP super-segments.
    pub segmentation: Option<Segmentation>,
    /// Octets the frame had on the wire without the tag the kernel took; more than
    /// [`Frame::len`] when it was truncated.
    pub wire_len: u32,
    /// The neighbour an outgoing IPv4 packet goes to; unspecified until routed.
    pub next_hop: Option<Ipv4Addr>,
    /// Nonzero while an [`Observer`](crate::Observer) follows this frame.
    pub trace: u32,
}

/// Octets borrowed from a ring block or a transmit slot, with a movable front. An outgoing frame
/// may have a tail: octets that follow its own, shared with their owner and not copied.
pub struct Frame<'block> {
    buffer: &'block mut [u8],
    start: u32,
    end: u32,
    slot: u32,
    tail: Vec<Bytes>,
    /// What is known besides the octets.
    pub meta: Meta,
}

/// `Frame::slot` of a frame that is not in a transmit slot.
const SLOT_NONE: u32 = u32::MAX;

impl<'block> Frame<'block> {
    /// A received frame: `buffer[start..start + len]`, with what lies before as headroom.
    ///
    /// # Panics
    /// When the range lies outside the buffer or the buffer is larger than 4 GiB: the driver
    /// checks the kernel's numbers before it makes a frame of them.
    pub fn new(buffer: &'block mut [u8], start: usize, len: usize) -> Self {
        Self::with_slot(buffer, start, len, SLOT_NONE)
    }

    /// A frame that lies in transmit slot number `slot`; made by a [`Port`](crate::Port).
    ///
    /// # Panics
    /// As [`Self::new`], and when `slot` is `u32::MAX`.
    pub fn in_slot(buffer: &'block mut [u8], start: usize, len: usize, slot: u32) -> Self {
        assert!(slot != SLOT_NONE, "slot numbers end before u32::MAX");
        Self::with_slot(buffer, start, len, slot)
    }

    fn with_slot(buffer: &'block mut [u8], start: usize, len: usize, slot: u32) -> Self {
        assert!(
            start <= buffer.len() && len <= buffer.len() - start,
            "a frame lies inside its buffer"
        );
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        assert!(
            u32::try_from(buffer.len()).is_ok(),
            "a frame's buffer is below 4 GiB"
        );
        Self {
            start: narrow(start),
            end: narrow(start + len),
            slot,
            tail: Vec::new(),
            meta: Meta {
                wire_len: narrow(len),
                ..Meta::default()
            },
            buffer,
        }
    }

    /// The frame's end: its octets are given up, what was known about them is left.
    #[inline]
    pub(crate) fn into_meta(self) -> Meta {
        self.meta
    }

    /// The octets.
    #[inline]
    pub fn octets(&self) -> &[u8] {
        self.buffer
            .get(self.start as usize..self.end as usize)
            .unwrap_or(&[])
    }

    /// The octets, to change in place.
    #[inline]
    pub fn octets_mut(&mut self) -> &mut [u8] {
        self.buffer
            .get_mut(self.start as usize..self.end as usize)
            .unwrap_or(&mut [])
    }

    /// How many octets.
    #[inline]
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Octets on the wire: the frame's own and its tail's.
    #[inline]
    pub fn total_len(&self) -> usize {
        if self.tail.is_empty() {
            return self.len();
        }
        self.len() + self.tail.iter().map(Bytes::len).sum::<usize>()
    }

    /// What follows the frame's own octets; empty for most frames.
    #[inline]
    pub fn tail(&self) -> &[Bytes] {
        &self.tail
    }

    /// Puts `tail` behind the frame's own octets. Only for a port that [gathers](crate::Port::gathers).
    pub fn attach(&mut self, tail: Vec<Bytes>) {
        self.tail = tail;
    }

    /// Copies the tail behind the frame's own octets, into the frame's buffer; `false`, and
    /// nothing changes, when it does not fit.
    #[must_use]
    pub fn flatten(&mut self) -> bool {
        let own = self.len();
        if !self.set_len(self.total_len()) {
            return false;
        }
        let mut at = own;
        for piece in std::mem::take(&mut self.tail) {
            if let Some(place) = self.octets_mut().get_mut(at..at + piece.len()) {
                place.copy_from_slice(&piece);
            }
            at += piece.len();
        }
        true
    }

    /// Appends all octets, the tail's too, to `octets`.
    pub fn copy_to(&self, octets: &mut Vec<u8>) {
        octets.extend_from_slice(self.octets());
        for piece in &self.tail {
            octets.extend_from_slice(piece);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where the octets begin in the buffer: what [`Checksum::Partial`] counts from.
    pub fn offset(&self) -> usize {
        self.start as usize
    }

    /// Octets that can be pushed in front.
    pub fn headroom(&self) -> usize {
        self.start as usize
    }

    /// The transmit slot it lies in, if any.
    pub fn slot(&self) -> Option<u32> {
        (self.slot != SLOT_NONE).then_some(self.slot)
    }

    /// Takes `count` octets off the front (they stay in the buffer, as headroom); `false`, and
    /// nothing changes, when there are fewer.
    #[must_use]
    pub fn advance(&mut self, count: usize) -> bool {
        if count > self.len() {
            return false;
        }
        // Fits: `count` is at most `end - start`, both u32.
        self.start += u32::try_from(count).unwrap_or(0);
        true
    }

    /// Puts `count` octets in front, their contents whatever lay there; `false`, and nothing
    /// changes, when the headroom is smaller.
    #[must_use]
    pub fn push_front(&mut self, count: usize) -> bool {
        if count > self.headroom() {
            return false;
        }
        self.start -= u32::try_from(count).unwrap_or(0);
        true
    }

    /// Cuts the octets to the first `len`, as padding is cut off; longer than the frame is no-op.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.end = self.start + u32::try_from(len).unwrap_or(0);
        }
    }

    /// Grows or shrinks at the back to `len` octets; new ones hold whatever lay there. `false`,
    /// and nothing changes, when the buffer ends before.
    #[must_use]
    pub fn set_len(&mut self, len: usize) -> bool {
        if len > self.buffer.len() - self.start as usize {
            return false;
        }
        self.end = self.start + u32::try_from(len).unwrap_or(0);
        true
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("len", &self.len())
            .field("headroom", &self.headroom())
            .field("slot", &self.slot())
            .field("tail", &self.tail.len())
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advancing_and_pushing_move_the_front_only() {
        let mut memory = [0xa5u8; 64];
        let mut frame = Frame::new(&mut memory, 16, 20);
        assert!(frame.advance(14));
        assert_eq!((frame.len(), frame.headroom()), (6, 30));
        assert!(!frame.advance(7));
        assert!(frame.push_front(30));
        assert!(!frame.push_front(1));
        assert_eq!(frame.len(), 36);
    }

    #[test]
    fn a_frame_grows_to_the_end_of_its_buffer_and_no_further() {
        let mut memory = [0u8; 64];
        let mut frame = Frame::new(&mut memory, 16, 20);
        assert!(frame.set_len(48));
        assert!(!frame.set_len(49));
        frame.truncate(4);
        assert_eq!(frame.len(), 4);
        frame.truncate(40);
        assert_eq!(frame.len(), 4);
    }

    #[test]
    fn a_tail_counts_and_is_copied_when_there_is_room() {
        let mut memory = [0xa5u8; 64];
        let mut frame = Frame::new(&mut memory, 16, 4);
        frame.octets_mut().copy_from_slice(b"head");
        frame.attach(vec![
            Bytes::from_static(b" and "),
            Bytes::from_static(b"tail"),
        ]);
        assert_eq!((frame.len(), frame.total_len()), (4, 13));
        let mut copy = Vec::new();
        frame.copy_to(&mut copy);
        assert!(frame.flatten());
        assert_eq!((frame.octets(), frame.tail().len()), (&copy[..], 0));
        assert_eq!(copy, b"head and tail");
        frame.attach(vec![Bytes::from(vec![7; 36])]);
        assert!(!frame.flatten());
        assert_eq!((frame.len(), frame.total_len()), (13, 49));
    }

    #[test]
    #[should_panic(expected = "inside its buffer")]
    fn a_range_outside_the_buffer_is_refused() {
        let mut memory = [0u8; 8];
        let _ = Frame::new(&mut memory, 4, 5);
    }

    #[test]
    fn mac_addresses_print_as_they_parse() {
        let mac: MacAddr = "c6:b4:b5:74:11:88".parse().unwrap();
        assert_eq!(mac.to_string(), "c6:b4:b5:74:11:88");
        for wrong in [
            "",
            "c6:b4:b5:74:11",
            "c6:b4:b5:74:11:88:00",
            "c6:b4:b5:74:11:+8",
            "zz:0:0:0:0:0",
        ] {
            assert_eq!(wrong.parse::<MacAddr>(), Err(ParseMacError), "{wrong}");
        }
    }

    #[test]
    fn a_third_tag_is_refused() {
        let tag = Tag {
            tpid: EtherType::CTAG,
            tci: 0x607b,
        };
        let mut tags: Tags = [tag, tag].into_iter().collect();
        assert!(!tags.push(tag));
        assert_eq!((tags.len(), tag.vid(), tag.pcp()), (2, 123, 3));
    }
}
