//! An IPv4 address with a prefix length.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::quantity::decimal;
use super::text::serde_as_text;

/// An IPv4 address and the length of its prefix: an interface's address (`192.168.123.150/24`) or
/// a route's destination (`0.0.0.0/0`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv4Prefix {
    address: Ipv4Addr,
    length: u8,
}

impl Ipv4Prefix {
    /// Every address: the destination of a default route.
    pub const ALL: Self = Self {
        address: Ipv4Addr::UNSPECIFIED,
        length: 0,
    };

    /// `None` when `length` is above 32.
    pub fn new(address: Ipv4Addr, length: u8) -> Option<Self> {
        (length <= 32).then_some(Self { address, length })
    }

    /// The address as it was written, host bits included.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// The prefix length, 0-32.
    pub fn length(self) -> u8 {
        self.length
    }

    /// The mask, host order.
    fn mask(self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.length))
            .unwrap_or(0)
    }

    /// The first address of the prefix.
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() & self.mask())
    }

    /// The last address of the prefix: the directed broadcast address up to length 30.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// The same prefix without host bits.
    #[must_use]
    pub fn truncated(self) -> Self {
        Self {
            address: self.network(),
            length: self.length,
        }
    }

    /// Whether `address` lies in the prefix.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.network().to_bits()
    }

    /// Why this cannot be the address of an interface, as the end of a sentence (RFC 1122,
    /// section 3.2.1.3; RFC 3021 for length 31).
    pub fn host_problem(self) -> Option<&'static str> {
        let address = self.address;
        if let Some(problem) = unicast_problem(address) {
            return Some(problem);
        }
        if self.length == 0 {
            return Some("needs a prefix length from 1 to 32");
        }
        if self.length <= 30 && address == self.network() {
            return Some("is the network's own address; use one inside the network");
        }
        if self.length <= 30 && address == self.broadcast() {
            return Some("is the network's broadcast address; use one inside the network");
        }
        None
    }
}

/// Why `address` cannot be a host's, as the end of a sentence.
pub(crate) fn unicast_problem(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_multicast() {
        Some("is a multicast address; use a unicast one")
    } else if address.is_broadcast() {
        Some("is the broadcast address; use a unicast one")
    } else if address.is_loopback() {
        Some("is a loopback address; use one of the network")
    } else if address.octets()[0] == 0 {
        Some("is not a host's address; use one of the network")
    } else if address.octets()[0] >= 240 {
        Some("is reserved (240.0.0.0/4); use a unicast address")
    } else {
        None
    }
}

impl fmt::Display for Ipv4Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Ipv4Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Ipv4Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((address, length)) = text.split_once('/') else {
            let address = ipv4(text)?;
            return Err(format!("the prefix length is missing, as in {address}/24"));
        };
        let address = ipv4(address)?;
        decimal(length)
            .and_then(|length| Self::new(address, u8::try_from(length).ok()?))
            .ok_or_else(|| "the prefix length must be from 0 to 32".to_owned())
    }
}

serde_as_text!(
    Ipv4Prefix,
    "an address with its prefix length such as \"192.168.123.150/24\""
);

/// An IPv4 address, or the end of a sentence that says why not.
pub(crate) fn ipv4(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| {
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            "IPv6 is not offered; use an IPv4 address".to_owned()
        } else {
            "not an IPv4 address such as 192.168.123.150".to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Ipv4Prefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn a_prefix_knows_its_ends() {
        let seed = prefix("192.168.123.150/24");
        assert_eq!(seed.network().to_string(), "192.168.123.0");
        assert_eq!(seed.broadcast().to_string(), "192.168.123.255");
        assert_eq!(seed.truncated().to_string(), "192.168.123.0/24");
        assert!(seed.contains(Ipv4Addr::new(192, 168, 123, 1)));
        assert!(!seed.contains(Ipv4Addr::new(192, 168, 124, 1)));
        assert!(Ipv4Prefix::ALL.contains(Ipv4Addr::BROADCAST));
        assert_eq!(
            prefix("10.0.0.1/32").broadcast(),
            Ipv4Addr::new(10, 0, 0, 1)
        );
    }

    #[test]
    fn an_interface_cannot_have_every_address() {
        for text in [
            "0.0.0.0/24",
            "192.168.1.0/24",
            "192.168.1.255/24",
            "224.0.0.1/24",
            "127.0.0.1/8",
            "255.255.255.255/32",
            "250.0.0.1/24",
            "10.0.0.1/0",
            "0.1.2.3/8",
        ] {
            assert!(prefix(text).host_problem().is_some(), "{text}");
        }
        for text in [
            "192.168.1.1/24",
            "10.0.0.0/31",
            "10.0.0.1/31",
            "10.0.0.0/32",
        ] {
            assert_eq!(prefix(text).host_problem(), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_prefix_is_said() {
        let why = |text: &str| text.parse::<Ipv4Prefix>().expect_err("refused");
        assert_eq!(why("10.0.0.1/33"), "the prefix length must be from 0 to 32");
        assert_eq!(
            why("10.0.0.1"),
            "the prefix length is missing, as in 10.0.0.1/24"
        );
        assert_eq!(
            why("10.0.0/8"),
            "not an IPv4 address such as 192.168.123.150"
        );
        assert_eq!(
            why("fe80::1/64"),
            "IPv6 is not offered; use an IPv4 address"
        );
    }

    proptest! {
        #[test]
        fn a_printed_prefix_is_the_prefix(bits: u32, length in 0u8..=32) {
            let prefix = Ipv4Prefix::new(Ipv4Addr::from_bits(bits), length);
            let prefix = prefix.expect("at most 32");
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
            prop_assert!(prefix.contains(prefix.address()));
            prop_assert!(prefix.contains(prefix.network()) && prefix.contains(prefix.broadcast()));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "[0-9a-f./: é]{0,24}") {
            let _ = text.parse::<Ipv4Prefix>();
        }
    }
}
