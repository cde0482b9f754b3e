//! VLAN tags as the testbed writes them.

use std::fmt;

/// TPID of a C-tag (IEEE 802.1Q).
pub const TPID_CTAG: u16 = 0x8100;
/// TPID of an S-tag (IEEE 802.1ad).
pub const TPID_STAG: u16 = 0x88a8;

/// Octets of one tag.
pub const TAG_LEN: usize = 4;

/// Where the outermost tag, or the EtherType, sits in a frame.
const TAG_AT: usize = 12;

/// One tag: its TPID and VLAN id; priority 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    /// [`TPID_CTAG`] or [`TPID_STAG`].
    pub tpid: u16,
    /// VLAN id.
    pub vid: u16,
}

impl Tag {
    /// An 802.1Q tag.
    pub const fn customer(vid: u16) -> Self {
        Self {
            tpid: TPID_CTAG,
            vid,
        }
    }

    /// An 802.1ad tag.
    pub const fn service(vid: u16) -> Self {
        Self {
            tpid: TPID_STAG,
            vid,
        }
    }

    fn octets(self) -> [u8; TAG_LEN] {
        let ([a, b], [c, d]) = (self.tpid.to_be_bytes(), self.vid.to_be_bytes());
        [a, b, c, d]
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.tpid == TPID_STAG {
            "802.1ad "
        } else {
            ""
        };
        write!(f, "{kind}VLAN {}", self.vid)
    }
}

/// A tag stack in words, outermost first: `802.1ad VLAN 200, VLAN 100`, or `untagged`.
pub fn describe(tags: &[Tag]) -> String {
    if tags.is_empty() {
        return "untagged".into();
    }
    tags.iter()
        .map(Tag::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// `frame` with `strip` inline tags taken off and `push` put on, outermost first; `None` if the
/// frame is too short to hold what is to be stripped.
pub fn retag(frame: &[u8], strip: usize, push: &[Tag]) -> Option<Vec<u8>> {
    let addresses = frame.get(..TAG_AT)?;
    let rest = frame.get(TAG_AT + strip * TAG_LEN..)?;
    let mut out = Vec::with_capacity(frame.len() + push.len() * TAG_LEN);
    out.extend_from_slice(addresses);
    for tag in push {
        out.extend_from_slice(&tag.octets());
    }
    out.extend_from_slice(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 16] = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0x08, 0x00, 0x45, 0x00];

    #[test]
    fn tags_go_between_the_addresses_and_the_ethertype_outermost_first() {
        let tagged = retag(&FRAME, 0, &[Tag::service(200), Tag::customer(0x123)]).unwrap();
        assert_eq!(tagged[..12], FRAME[..12]);
        assert_eq!(
            tagged[12..20],
            [0x88, 0xa8, 0x00, 0xc8, 0x81, 0x00, 0x01, 0x23]
        );
        assert_eq!(tagged[20..], FRAME[12..]);
        assert_eq!(retag(&tagged, 2, &[]).unwrap(), FRAME);
    }

    #[test]
    fn a_frame_too_short_for_its_tags_is_refused() {
        assert_eq!(retag(&FRAME[..14], 1, &[]), None);
        assert_eq!(retag(&FRAME[..11], 0, &[]), None);
    }

    #[test]
    fn stacks_are_described_as_people_say_them() {
        assert_eq!(describe(&[]), "untagged");
        assert_eq!(
            describe(&[Tag::service(200), Tag::customer(100)]),
            "802.1ad VLAN 200, VLAN 100"
        );
    }
}
