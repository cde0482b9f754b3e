//! A frame as it is on the wire: the tags the kernel or `ethernet-input` took off put back.

use dataplane::frame::ETHERNET_HEADER;
use dataplane::{Checksum, EtherType, Frame, MacAddr, Tag, Tags};

/// Two addresses, two tags and a type.
const PREFIX_MAX: usize = 22;

/// Octets of two Ethernet addresses.
const ADDRESSES: usize = 12;

/// Nodes that drop a frame as the ring gave it.
const RECEIVED: &[&str] = &["af-packet-input", "ethernet-input"];

/// Nodes whose frames have a header with all tags.
const WITH_HEADER: &[&str] = &["dot1q-push", "af-packet-output"];

/// Nodes whose frames have no Ethernet header yet: what is known of one is of the frame that is
/// answered, if any.
const HEADLESS: &[&str] = &["ip4-lookup", "ip4-frag", "ip4-rewrite"];

/// What a frame looks like on the wire: octets put in front, and where its own octets go on.
#[derive(Debug)]
pub(super) struct Image {
    prefix: [u8; PREFIX_MAX],
    len: usize,
    /// Octets of the frame that the prefix stands for.
    skip: usize,
    /// Tags of the kernel's, not counted in what the kernel says of the length.
    tags: usize,
}

impl Image {
    fn new() -> Self {
        Self {
            prefix: [0; PREFIX_MAX],
            len: 0,
            skip: 0,
            tags: 0,
        }
    }

    fn put(&mut self, octets: &[u8]) {
        let places = self.prefix.iter_mut().skip(self.len);
        for (place, octet) in places.zip(octets) {
            *place = *octet;
            self.len += 1;
        }
    }

    fn put_tags(&mut self, tags: &Tags) {
        for tag in tags.as_slice() {
            self.put(&tag.tpid.0.to_be_bytes());
            self.put(&tag.tci.to_be_bytes());
        }
    }

    /// A frame with the header it came with, but for the tag the kernel took.
    pub(super) fn received(frame: &Frame<'_>) -> Self {
        let mut image = Self::new();
        let Some(addresses) = frame.octets().get(..ADDRESSES) else {
            return image; // too short to be a frame: as it is
        };
        image.put(addresses);
        image.put_tags(&frame.meta.tags);
        image.skip = ADDRESSES;
        image.tags = frame.meta.tags.len();
        image
    }

    /// A frame with its whole header.
    pub(super) fn transmitted(_frame: &Frame<'_>) -> Self {
        Self::new()
    }

    /// A frame that is dropped at `node`.
    pub(super) fn at(node: &str, frame: &Frame<'_>) -> Self {
        if RECEIVED.contains(&node) {
            return Self::received(frame);
        }
        if WITH_HEADER.contains(&node) {
            return Self::transmitted(frame);
        }
        let mut image = Self::new();
        let meta = &frame.meta;
        let headless = HEADLESS.contains(&node) || meta.ether_type == EtherType(0);
        if headless {
            image.put(&[0; ADDRESSES]);
            image.put(&EtherType::IPV4.0.to_be_bytes());
        } else {
            let MacAddr(destination) = meta.destination;
            let MacAddr(source) = meta.source;
            image.put(&destination);
            image.put(&source);
            image.put_tags(&meta.tags);
            image.put(&meta.ether_type.0.to_be_bytes());
        }
        image
    }

    /// The octets in front.
    pub(super) fn prefix(&self) -> &[u8] {
        self.prefix.get(..self.len).unwrap_or(&[])
    }

    /// The frame's own octets behind them.
    pub(super) fn body<'f>(&self, frame: &'f Frame<'_>) -> &'f [u8] {
        frame.octets().get(self.skip..).unwrap_or(&[])
    }

    /// All octets: those in front, the frame's own, and its tail.
    pub(super) fn pieces<'f>(&'f self, frame: &'f Frame<'_>) -> impl Iterator<Item = &'f [u8]> {
        let tail = frame.tail().iter().map(|piece| &piece[..]);
        [self.prefix(), self.body(frame)].into_iter().chain(tail)
    }

    /// How many octets there are.
    pub(super) fn len(&self, frame: &Frame<'_>) -> usize {
        self.pieces(frame).map(<[u8]>::len).sum()
    }

    /// Octets on the wire: more than there are when the frame was cut short.
    pub(super) fn wire_len(&self, frame: &Frame<'_>) -> usize {
        let here = self.len(frame);
        let said = usize::try_from(frame.meta.wire_len).unwrap_or(0) + 4 * self.tags;
        if self.skip == ADDRESSES {
            here.max(said)
        } else {
            here
        }
    }

    /// Where the transport checksum is to be summed from and to be put, when that is still to do.
    pub(super) fn checksum(&self, frame: &Frame<'_>) -> Option<(usize, usize)> {
        let Checksum::Partial { start, offset } = frame.meta.checksum else {
            return None;
        };
        // From the buffer's start to the image's.
        let start = (usize::from(start) + self.len).checked_sub(frame.headroom() + self.skip)?;
        Some((start, start + usize::from(offset)))
    }

    /// The tags of a received frame: the kernel's, then those among the octets.
    pub(super) fn all_tags(&self, frame: &Frame<'_>) -> Tags {
        let mut tags = frame.meta.tags;
        let mut rest = self.body(frame);
        debug_assert!(self.skip <= ETHERNET_HEADER);
        while let Some((&[t0, t1, c0, c1], behind)) = rest.split_first_chunk::<4>() {
            let tag = Tag {
                tpid: EtherType(u16::from_be_bytes([t0, t1])),
                tci: u16::from_be_bytes([c0, c1]),
            };
            if !tag.tpid.is_tag() || !tags.push(tag) {
                break;
            }
            rest = behind;
        }
        tags
    }
}
