//! Addresses of interfaces, and prefixes.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use dataplane::IfIndex;
use hashbrown::HashMap;

/// Addresses held at most, one for each interface there can be; more are refused.
pub const ADDRESSES_MAX: usize = 8192;

/// Addresses one interface holds at most; more are refused. Few, so that walking them is cheap.
pub const INTERFACE_ADDRESSES_MAX: usize = 16;

/// A text that is no prefix or address with prefix length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// Not `A.B.C.D/LENGTH`.
    Syntax(String),
    /// Bits are set behind the prefix.
    HostBits {
        /// What was given.
        given: String,
        /// The prefix it lies in.
        meant: Prefix,
    },
    /// No station can have this address.
    NotAStation(InterfaceAddress),
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(given) => write!(
                f,
                "`{}`: expected an address and a prefix length from 0 to 32, such as \
                 192.168.123.150/24",
                given.escape_debug()
            ),
            Self::HostBits { given, meant } => {
                write!(
                    f,
                    "`{given}`: bits are set behind the prefix; {meant} is meant?"
                )
            }
            Self::NotAStation(address) => write!(
                f,
                "{address}: no station can have this address; it is a network, broadcast, \
                 loopback, multicast or reserved one"
            ),
        }
    }
}

impl std::error::Error for PrefixError {}

fn parse(text: &str) -> Result<(Ipv4Addr, u8), PrefixError> {
    let syntax = || PrefixError::Syntax(text.to_owned());
    let (address, len) = text.split_once('/').ok_or_else(syntax)?;
    let address = address.parse().map_err(|_| syntax())?;
    let digits = !len.is_empty() && len.len() <= 2 && len.bytes().all(|b| b.is_ascii_digit());
    let len: u8 = if digits { len.parse().ok() } else { None }.ok_or_else(syntax)?;
    if len > 32 {
        return Err(syntax());
    }
    Ok((address, len))
}

/// The network mask of a prefix of `len` bits.
fn mask(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

/// A prefix: a network and how many bits of it count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    network: Ipv4Addr,
    len: u8,
}

impl Prefix {
    /// 0.0.0.0/0, what a default gateway serves.
    pub const DEFAULT: Self = Self {
        network: Ipv4Addr::UNSPECIFIED,
        len: 0,
    };

    /// The prefix of `len` bits that `address` lies in; lengths above 32 count as 32.
    pub fn of(address: Ipv4Addr, len: u8) -> Self {
        let len = len.min(32);
        Self {
            network: Ipv4Addr::from_bits(address.to_bits() & mask(len)),
            len,
        }
    }

    /// The network: all bits behind the prefix 0.
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    /// How many bits, 0 to 32.
    #[expect(clippy::len_without_is_empty, reason = "a prefix length, not a count")]
    pub fn len(self) -> u8 {
        self.len
    }

    /// Whether `address` lies in it.
    #[inline]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.len) == self.network.to_bits()
    }

    /// Whether `address` is the prefix's directed broadcast or its network address, which once
    /// was a broadcast too (RFC 1812 section 5.3.5). Prefixes of 31 and 32 bits have neither (RFC
    /// 3021).
    #[inline]
    pub fn is_broadcast(self, address: Ipv4Addr) -> bool {
        let host = address.to_bits() & !mask(self.len);
        self.len < 31 && self.contains(address) && (host == 0 || host == !mask(self.len))
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, len) = parse(text)?;
        let meant = Self::of(address, len);
        if meant.network != address {
            let given = text.to_owned();
            return Err(PrefixError::HostBits { given, meant });
        }
        Ok(meant)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.len)
    }
}

/// An interface's address and the prefix it is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceAddress {
    /// The address.
    pub address: Ipv4Addr,
    prefix: Prefix,
}

impl InterfaceAddress {
    /// `address`, connected to its prefix of `len` bits.
    ///
    /// # Errors
    /// A sentence, when no station can have the address.
    pub fn new(address: Ipv4Addr, len: u8) -> Result<Self, PrefixError> {
        let prefix = Prefix::of(address, len);
        let new = Self { address, prefix };
        if crate::ip4::is_martian(address) || prefix.is_broadcast(address) {
            return Err(PrefixError::NotAStation(new));
        }
        Ok(new)
    }

    /// The prefix it is connected to.
    pub fn prefix(self) -> Prefix {
        self.prefix
    }
}

impl FromStr for InterfaceAddress {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, len) = parse(text)?;
        Self::new(address, len)
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix.len)
    }
}

/// Which interface has which addresses. An address belongs to one interface only, and is served on
/// that one alone: RFC 1122's strong end system (section 3.3.4.2), so that VLANs stay apart.
#[derive(Debug, Default)]
pub struct Addresses {
    /// At most [`ADDRESSES_MAX`] addresses.
    by_address: HashMap<Ipv4Addr, IfIndex>,
    /// By interface index; at most [`INTERFACE_ADDRESSES_MAX`] each, in the order they came.
    by_interface: Vec<Vec<InterfaceAddress>>,
}

impl Addresses {
    /// The interface that has `address`.
    #[inline]
    pub fn holder(&self, address: Ipv4Addr) -> Option<IfIndex> {
        self.by_address.get(&address).copied()
    }

    /// The addresses of `interface`, the primary one first.
    #[inline]
    pub fn of(&self, interface: IfIndex) -> &[InterfaceAddress] {
        self.by_interface
            .get(usize::from(interface.0))
            .map_or(&[], Vec::as_slice)
    }

    /// The connected address of `interface` whose prefix `peer` lies in: the longest prefix
    /// first, then the one that came first.
    #[inline]
    pub fn connected(&self, interface: IfIndex, peer: Ipv4Addr) -> Option<InterfaceAddress> {
        let mut best: Option<InterfaceAddress> = None;
        for own in self.of(interface) {
            let longer = best.is_none_or(|best| own.prefix.len > best.prefix.len);
            if own.prefix.contains(peer) && longer {
                best = Some(*own);
            }
        }
        best
    }

    /// Whether `address` is the directed broadcast of a prefix `interface` is connected to.
    #[inline]
    pub fn is_broadcast(&self, interface: IfIndex, address: Ipv4Addr) -> bool {
        let mut own = self.of(interface).iter();
        own.any(|own| own.prefix.is_broadcast(address))
    }

    /// All addresses, by interface.
    pub fn iter(&self) -> impl Iterator<Item = (IfIndex, InterfaceAddress)> + '_ {
        self.by_interface.iter().enumerate().flat_map(|(at, own)| {
            let index = IfIndex(u16::try_from(at).unwrap_or(u16::MAX));
            own.iter().map(move |own| (index, *own))
        })
    }

    /// Whether another address would be too many for `interface`, or for all together.
    pub(crate) fn is_full(&self, interface: IfIndex) -> bool {
        self.by_address.len() >= ADDRESSES_MAX
            || self.of(interface).len() >= INTERFACE_ADDRESSES_MAX
    }

    /// The caller has checked that nobody has the address and that there is room.
    pub(crate) fn insert(&mut self, interface: IfIndex, new: InterfaceAddress) {
        let at = usize::from(interface.0);
        if at >= self.by_interface.len() {
            self.by_interface.resize_with(at + 1, Vec::new);
        }
        self.by_interface[at].push(new);
        self.by_address.insert(new.address, interface);
    }

    /// Takes `address` away from `interface`.
    pub(crate) fn remove(
        &mut self,
        interface: IfIndex,
        address: Ipv4Addr,
    ) -> Option<InterfaceAddress> {
        let own = self.by_interface.get_mut(usize::from(interface.0))?;
        let at = own.iter().position(|own| own.address == address)?;
        self.by_address.remove(&address);
        Some(own.remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_prefix_is_refused_with_a_sentence() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0/8",
            "x/8",
        ] {
            assert!(
                matches!(text.parse::<Prefix>(), Err(PrefixError::Syntax(_))),
                "{text}"
            );
        }
        assert_eq!(
            "10.0.0.1/8".parse::<Prefix>().unwrap_err().to_string(),
            "`10.0.0.1/8`: bits are set behind the prefix; 10.0.0.0/8 is meant?"
        );
        for text in [
            "0.0.0.0/0",
            "127.0.0.1/8",
            "224.0.0.1/24",
            "10.0.0.0/24",
            "10.0.0.255/24",
        ] {
            let refused = text.parse::<InterfaceAddress>();
            assert!(
                matches!(refused, Err(PrefixError::NotAStation(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn prefixes_of_31_and_32_bits_have_no_broadcast() {
        for text in ["10.0.0.0/31", "10.0.0.1/31", "10.0.0.0/32", "10.0.0.255/32"] {
            let own: InterfaceAddress = text.parse().unwrap();
            assert!(!own.prefix().is_broadcast(own.address), "{text}");
        }
    }

    #[test]
    fn the_longest_connected_prefix_answers_for_a_peer() {
        let mut addresses = Addresses::default();
        let interface = IfIndex(3);
        for text in ["10.0.0.1/8", "10.1.0.1/16", "192.168.0.1/24"] {
            addresses.insert(interface, text.parse().unwrap());
        }
        let from = |peer: &str| {
            let found = addresses.connected(interface, peer.parse().unwrap());
            found.map(|own| own.to_string())
        };
        assert_eq!(from("10.1.2.3").as_deref(), Some("10.1.0.1/16"));
        assert_eq!(from("10.2.2.3").as_deref(), Some("10.0.0.1/8"));
        assert_eq!(from("172.16.0.1"), None);
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC{0,24}") {
            let _ = text.parse::<Prefix>();
            let _ = text.parse::<InterfaceAddress>();
        }

        #[test]
        fn prefixes_print_as_they_parse(bits in any::<u32>(), len in 0u8..=32) {
            let prefix = Prefix::of(Ipv4Addr::from_bits(bits), len);
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
            prop_assert!(prefix.contains(Ipv4Addr::from_bits(bits)));
        }
    }
}
