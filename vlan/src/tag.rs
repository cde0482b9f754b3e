//! VLAN identifiers, and what a sub-interface matches.

use std::fmt;
use std::str::FromStr;

use dataplane::{EtherType, Tag, Tags};

/// The VLAN identifier of a sub-interface: 1 to 4094. 0 means "priority-tagged, no VLAN" and 4095
/// is reserved (IEEE 802.1Q, table 9-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VlanId(u16);

/// A number or a text that is no VLAN identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VlanIdError {
    given: String,
}

impl fmt::Display for VlanIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "VLAN {}: an identifier is a number from 1 to 4094",
            self.given
        )
    }
}

impl std::error::Error for VlanIdError {}

impl VlanId {
    /// The lowest.
    pub const MIN: u16 = 1;
    /// The highest.
    pub const MAX: u16 = 4094;

    /// The identifier `vid`.
    ///
    /// # Errors
    /// A sentence, when it is not from 1 to 4094.
    pub fn new(vid: u16) -> Result<Self, VlanIdError> {
        if (Self::MIN..=Self::MAX).contains(&vid) {
            Ok(Self(vid))
        } else {
            Err(VlanIdError {
                given: vid.to_string(),
            })
        }
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for VlanId {
    type Error = VlanIdError;

    fn try_from(vid: u16) -> Result<Self, VlanIdError> {
        Self::new(vid)
    }
}

impl FromStr for VlanId {
    type Err = VlanIdError;

    fn from_str(text: &str) -> Result<Self, VlanIdError> {
        let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        let vid = if digits { text.parse().ok() } else { None };
        vid.and_then(|vid| Self::new(vid).ok())
            .ok_or_else(|| VlanIdError {
                given: format!("`{}`", text.escape_debug()),
            })
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which tag protocol: what precedes the VLAN identifier on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tpid {
    /// 0x8100, the customer tag of IEEE 802.1Q.
    Dot1q,
    /// 0x88a8, the service tag of IEEE 802.1ad.
    Dot1ad,
}

impl Tpid {
    /// The value on the wire.
    pub fn ether_type(self) -> EtherType {
        match self {
            Self::Dot1q => EtherType::CTAG,
            Self::Dot1ad => EtherType::STAG,
        }
    }

    pub(crate) fn of(tag: Tag) -> Option<Self> {
        match tag.tpid {
            EtherType::CTAG => Some(Self::Dot1q),
            EtherType::STAG => Some(Self::Dot1ad),
            _ => None,
        }
    }
}

impl fmt::Display for Tpid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dot1q => "dot1q",
            Self::Dot1ad => "dot1ad",
        })
    }
}

/// The outer tag of a sub-interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OuterTag {
    /// The tag protocol.
    pub tpid: Tpid,
    /// The identifier.
    pub vid: VlanId,
}

/// Which frames of a port belong to a sub-interface, in VPP's terms. Inner tags are customer tags
/// (0x8100).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// Frames without a tag, or with priority tags only.
    Untagged,
    /// Frames nothing else matches.
    Default,
    /// Frames with this tag.
    Single {
        /// The tag.
        outer: OuterTag,
        /// This tag and no other. Without, frames with further tags match too, but the
        /// sub-interface cannot send: it would not know which tags to put on.
        exact: bool,
    },
    /// Frames with exactly these two tags (`QinQ`).
    Double {
        /// The outer tag.
        outer: OuterTag,
        /// The inner identifier.
        inner: VlanId,
    },
    /// Frames with this outer tag and any inner one; such a sub-interface cannot send.
    InnerAny {
        /// The outer tag.
        outer: OuterTag,
    },
}

impl Match {
    /// One 802.1Q tag and no other: `dot1q VID exact-match`.
    pub fn dot1q(vid: VlanId) -> Self {
        let tpid = Tpid::Dot1q;
        Self::Single {
            outer: OuterTag { tpid, vid },
            exact: true,
        }
    }

    /// The tags outgoing frames carry, priority 0; `None` when this match leaves them open.
    pub fn tags(self) -> Option<Tags> {
        let outer_tag = |outer: OuterTag| Tag {
            tpid: outer.tpid.ether_type(),
            tci: outer.vid.get(),
        };
        match self {
            Self::Untagged => Some(Tags::NONE),
            Self::Single { outer, exact: true } => Some([outer_tag(outer)].into_iter().collect()),
            Self::Double { outer, inner } => {
                let inner = Tag {
                    tpid: EtherType::CTAG,
                    tci: inner.get(),
                };
                Some([outer_tag(outer), inner].into_iter().collect())
            }
            Self::Default | Self::Single { exact: false, .. } | Self::InnerAny { .. } => None,
        }
    }
}

impl fmt::Display for Match {
    /// As in VPP's `create sub-interfaces`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged => f.write_str("untagged"),
            Self::Default => f.write_str("default"),
            Self::Single { outer, exact } => {
                let exact = if *exact { " exact-match" } else { "" };
                write!(f, "{} {}{exact}", outer.tpid, outer.vid)
            }
            Self::Double { outer, inner } => write!(
                f,
                "{} {} inner-dot1q {inner} exact-match",
                outer.tpid, outer.vid
            ),
            Self::InnerAny { outer } => write!(f, "{} {} inner-dot1q any", outer.tpid, outer.vid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn identifiers_outside_1_to_4094_are_refused_with_a_sentence() {
        for vid in [0, 4095, 4096, 5000, u16::MAX] {
            assert_eq!(
                VlanId::new(vid).unwrap_err().to_string(),
                format!("VLAN {vid}: an identifier is a number from 1 to 4094")
            );
        }
        for text in [
            "",
            "+7",
            "-1",
            "0",
            "4095",
            "65536",
            "99999999999",
            " 1",
            "1\n",
            "x",
        ] {
            assert!(text.parse::<VlanId>().is_err(), "{text:?}");
        }
        assert_eq!(
            (
                VlanId::new(1).unwrap().get(),
                VlanId::new(4094).unwrap().get()
            ),
            (1, 4094)
        );
    }

    #[test]
    fn only_exact_matches_know_their_tags() {
        let vid = VlanId::new(123).unwrap();
        let outer = OuterTag {
            tpid: Tpid::Dot1ad,
            vid,
        };
        let s123 = Tag {
            tpid: EtherType::STAG,
            tci: 123,
        };
        let exact = Match::Single { outer, exact: true };
        assert_eq!(exact.tags().unwrap().as_slice(), [s123]);
        assert_eq!(
            Match::Single {
                outer,
                exact: false
            }
            .tags(),
            None
        );
        assert_eq!(Match::InnerAny { outer }.tags(), None);
        assert_eq!(Match::Default.tags(), None);
        assert_eq!(Match::Untagged.tags(), Some(Tags::NONE));
        assert_eq!(
            Match::Double { outer, inner: vid }.to_string(),
            "dot1ad 123 inner-dot1q 123 exact-match"
        );
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "takes minutes")]
        fn what_parses_prints_the_same(text in "[0-9]{0,6}") {
            if let Ok(vid) = text.parse::<VlanId>() {
                prop_assert_eq!(vid.to_string(), text.trim_start_matches('0'));
                prop_assert!((1..=4094).contains(&vid.get()));
            }
        }
    }
}
