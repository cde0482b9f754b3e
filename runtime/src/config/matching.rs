//! Which frames belong to a sub-interface, in VPP's words.

use std::fmt;
use std::str::FromStr;

use super::quantity::decimal;
use super::text::serde_as_text;
use crate::words::{Cursor, Kind, Stop, Word};

/// Which frames of a port belong to a sub-interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// Frames without a tag, and priority-tagged ones (VLAN id 0).
    Untagged,
    /// Tagged frames that no other sub-interface takes.
    Default,
    /// Frames with these tags.
    Tagged(TagMatch),
}

/// The tags of a frame, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TagMatch {
    /// The protocol of the outer tag.
    pub outer: TagProtocol,
    /// The VLAN id in the outer tag.
    pub vid: VidMatch,
    /// The VLAN id in a second, 802.1Q, tag.
    pub inner: Option<VidMatch>,
    /// No tags beyond these. Needed for an IP address: without it the tags to answer with are not
    /// known.
    pub exact: bool,
}

/// A tag's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagProtocol {
    /// 802.1Q, the customer tag: 0x8100.
    Dot1q,
    /// 802.1ad, the service tag: 0x88a8.
    Dot1ad,
}

/// A VLAN id to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VidMatch {
    /// This one, 1-4094.
    Id(u16),
    /// Every one.
    Any,
}

impl Match {
    /// One 802.1Q tag with this VLAN id and no other: what `create sub-interfaces IF ID` means.
    pub fn dot1q_exact(vid: u16) -> Self {
        Self::Tagged(TagMatch {
            outer: TagProtocol::Dot1q,
            vid: VidMatch::Id(vid),
            inner: None,
            exact: true,
        })
    }

    /// Whether an interface of this kind can have an address: the tags to answer with are known.
    pub fn takes_addresses(self) -> bool {
        match self {
            Self::Untagged => true,
            Self::Default => false,
            Self::Tagged(tags) => tags.exact,
        }
    }

    /// Whether both would claim the same frames with the same right.
    pub fn collides(self, other: Self) -> bool {
        match (self, other) {
            (Self::Tagged(one), Self::Tagged(two)) => {
                (one.outer, one.vid, one.inner) == (two.outer, two.vid, two.inner)
            }
            _ => self == other,
        }
    }

    /// Reads the end of a `create sub-interfaces` command. `None`: nothing is there.
    pub(crate) fn read(cursor: &mut Cursor<'_, '_>) -> Result<Option<Self>, Stop> {
        let start = cursor.choice(&[
            (
                "default",
                "tagged frames that no other sub-interface takes",
                Start::Default,
            ),
            ("untagged", "frames without a tag", Start::Untagged),
            ("dot1q", "an 802.1Q tag", Start::Tag(TagProtocol::Dot1q)),
            ("dot1ad", "an 802.1ad tag", Start::Tag(TagProtocol::Dot1ad)),
        ]);
        let outer = match start {
            None => return Ok(None),
            Some(Start::Default) => return Ok(Some(Self::Default)),
            Some(Start::Untagged) => return Ok(Some(Self::Untagged)),
            Some(Start::Tag(outer)) => outer,
        };
        let vid = cursor.value(&VID)?;
        let mut inner = None;
        if cursor.keyword("inner-dot1q", "a second, 802.1Q, tag") {
            inner = Some(cursor.value(&VID)?);
        }
        let exact = cursor.keyword("exact-match", "no tags beyond these; needed for an address");
        Ok(Some(Self::Tagged(TagMatch {
            outer,
            vid,
            inner,
            exact,
        })))
    }
}

#[derive(Clone, Copy)]
enum Start {
    Default,
    Untagged,
    Tag(TagProtocol),
}

const VID: Kind<VidMatch> = Kind {
    name: "<vlan>",
    what: "a VLAN id from 1 to 4094 or any",
    parse: |text| match text {
        "any" => Ok(VidMatch::Any),
        _ => vlan_id(text).map(VidMatch::Id),
    },
};

/// A VLAN id, or the end of a sentence that says why not (IEEE 802.1Q, table 9-2).
pub(crate) fn vlan_id(text: &str) -> Result<u16, String> {
    match decimal(text).and_then(|id| u16::try_from(id).ok()) {
        Some(id @ 1..=4094) => Ok(id),
        Some(0) => Err("VLAN id 0 means priority-tagged; use 1 to 4094, or untagged".to_owned()),
        Some(4095) => Err("VLAN id 4095 is reserved; use 1 to 4094".to_owned()),
        _ => Err("a VLAN id is a number from 1 to 4094".to_owned()),
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged => f.write_str("untagged"),
            Self::Default => f.write_str("default"),
            Self::Tagged(tags) => {
                let outer = match tags.outer {
                    TagProtocol::Dot1q => "dot1q",
                    TagProtocol::Dot1ad => "dot1ad",
                };
                write!(f, "{outer} {}", tags.vid)?;
                if let Some(inner) = tags.inner {
                    write!(f, " inner-dot1q {inner}")?;
                }
                f.write_str(if tags.exact { " exact-match" } else { "" })
            }
        }
    }
}

impl fmt::Display for VidMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(vid) => write!(f, "{vid}"),
            Self::Any => f.write_str("any"),
        }
    }
}

impl FromStr for Match {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = Word::split(text).map_err(|error| error.to_string())?;
        let mut cursor = Cursor::new(&words);
        let matching = Self::read(&mut cursor).and_then(|matching| {
            let matching = matching.ok_or_else(|| cursor.stop())?;
            cursor.end().map(|()| matching)
        });
        matching.map_err(|stop| cursor.explain(stop).to_string())
    }
}

serde_as_text!(
    Match,
    "VLAN tags such as \"dot1q 123 exact-match\", \"untagged\" or \"default\""
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_what_is_read() {
        for text in [
            "untagged",
            "default",
            "dot1q 123 exact-match",
            "dot1q 123",
            "dot1ad 100 inner-dot1q any",
            "dot1ad 100 inner-dot1q 200 exact-match",
            "dot1q any inner-dot1q 7",
        ] {
            let matching: Match = text.parse().expect(text);
            assert_eq!(matching.to_string(), text);
        }
    }

    #[test]
    fn what_was_expected_is_said() {
        let why = |text: &str| text.parse::<Match>().expect_err("refused");
        assert_eq!(
            why("dot1x 5"),
            "expected default, untagged, dot1q or dot1ad, found \"dot1x\""
        );
        assert_eq!(
            why("dot1q 4095"),
            "expected a VLAN id from 1 to 4094 or any, found \"4095\": \
             VLAN id 4095 is reserved; use 1 to 4094"
        );
        assert_eq!(
            why("dot1q 5 exact"),
            "expected inner-dot1q, exact-match or the end, found \"exact\""
        );
        assert_eq!(
            why(""),
            "expected default, untagged, dot1q or dot1ad, found the end"
        );
    }

    #[test]
    fn the_same_tags_collide_whether_exact_or_not() {
        let of = |text: &str| text.parse::<Match>().expect(text);
        assert!(of("dot1q 5").collides(of("dot1q 5 exact-match")));
        assert!(!of("dot1q 5").collides(of("dot1ad 5")));
        assert!(of("default").collides(of("default")));
        assert!(!of("default").collides(of("untagged")));
    }
}
