//! What one port's workers shall run: a host interface's part of the [`Config`], with interface
//! numbers assigned and words turned into the tables' terms.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use dataplane::interface::INTERFACES_MAX;
use dataplane::{IfIndex, MacAddr};
use ipstack::addresses::{InterfaceAddress, Prefix};
use vlan::{OuterTag, Tpid, VlanId};

use crate::config::{Config, HostInterface, Ipv4Prefix, Match, TagProtocol, VidMatch};

/// An interface as planned; its Ethernet address, MTU and link come from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedInterface {
    /// Its number.
    pub index: IfIndex,
    /// Its full name.
    pub name: String,
    /// The configured MTU, else the kernel's.
    pub mtu: Option<u16>,
    /// Administratively up, the port included.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<InterfaceAddress>,
}

/// A static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedRoute {
    /// Destination.
    pub prefix: Prefix,
    /// Next hop.
    pub via: Ipv4Addr,
    /// The interface, where it is given.
    pub interface: Option<IfIndex>,
}

/// A static neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedNeighbor {
    /// Where it is.
    pub interface: IfIndex,
    /// Who it is.
    pub address: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: MacAddr,
}

/// What one port's workers shall run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The host's name for the port.
    pub host_name: String,
    /// The configured Ethernet address, else the kernel's.
    pub mac: Option<MacAddr>,
    /// The port itself.
    pub port: PlannedInterface,
    /// Its sub-interfaces.
    pub subs: Vec<(PlannedInterface, vlan::Match)>,
    /// Static routes that leave by it.
    pub routes: Vec<PlannedRoute>,
    /// Static neighbours on it.
    pub neighbors: Vec<PlannedNeighbor>,
}

impl Plan {
    /// The port, then its sub-interfaces.
    pub fn interfaces(&self) -> impl Iterator<Item = &PlannedInterface> {
        std::iter::once(&self.port).chain(self.subs.iter().map(|(sub, _)| sub))
    }

    /// The part of a valid `config` that concerns `host`.
    ///
    /// # Errors
    /// What the tables cannot express.
    pub fn of(
        config: &Config,
        host: &HostInterface,
        numbers: &mut Numbers,
    ) -> Result<Self, PlanError> {
        let port = PlannedInterface {
            index: numbers.of(&host.full_name())?,
            name: host.full_name(),
            mtu: host.mtu,
            up: host.up,
            addresses: addresses(&host.addresses),
        };
        let mut subs = Vec::new();
        for sub in &host.sub_interfaces {
            let name = host.sub_name(sub.id);
            let Some(matches) = tags(sub.matching) else {
                return Err(PlanError::AnyOuterTag(name));
            };
            let planned = PlannedInterface {
                index: numbers.of(&name)?,
                name,
                mtu: sub.mtu.or(host.mtu),
                up: host.up && sub.up,
                addresses: addresses(&sub.addresses),
            };
            subs.push((planned, matches));
        }
        let mut plan = Self {
            host_name: host.name.clone(),
            mac: host.hw_addr,
            port,
            subs,
            routes: Vec::new(),
            neighbors: Vec::new(),
        };
        for route in &config.routes {
            let Some(index) = config
                .route_interface(route)
                .and_then(|interface| plan.index_of(&interface.name()))
            else {
                continue; // leaves by another port
            };
            plan.routes.push(PlannedRoute {
                prefix: Prefix::of(route.prefix.address(), route.prefix.length()),
                via: route.via,
                interface: route.interface.as_ref().map(|_| index),
            });
        }
        for neighbor in &config.neighbors {
            if let Some(interface) = plan.index_of(&neighbor.interface) {
                let (address, mac) = (neighbor.address, neighbor.mac);
                plan.neighbors.push(PlannedNeighbor {
                    interface,
                    address,
                    mac,
                });
            }
        }
        Ok(plan)
    }

    fn index_of(&self, name: &str) -> Option<IfIndex> {
        self.interfaces()
            .find(|interface| interface.name == name)
            .map(|found| found.index)
    }
}

fn addresses(configured: &[Ipv4Prefix]) -> Vec<InterfaceAddress> {
    let valid = |one: &Ipv4Prefix| InterfaceAddress::new(one.address(), one.length()).ok();
    configured.iter().filter_map(valid).collect()
}

/// `None` when the outer tag is left open, which the table does not know.
fn tags(matching: Match) -> Option<vlan::Match> {
    let wanted = match matching {
        Match::Untagged => return Some(vlan::Match::Untagged),
        Match::Default => return Some(vlan::Match::Default),
        Match::Tagged(wanted) => wanted,
    };
    let tpid = match wanted.outer {
        TagProtocol::Dot1q => Tpid::Dot1q,
        TagProtocol::Dot1ad => Tpid::Dot1ad,
    };
    let vid = |vid: VidMatch| match vid {
        VidMatch::Id(vid) => VlanId::new(vid).ok(),
        VidMatch::Any => None,
    };
    let outer = OuterTag {
        tpid,
        vid: vid(wanted.vid)?,
    };
    Some(match wanted.inner {
        None => vlan::Match::Single {
            outer,
            exact: wanted.exact,
        },
        Some(VidMatch::Any) => vlan::Match::InnerAny { outer },
        Some(inner) => vlan::Match::Double {
            outer,
            inner: vid(inner)?,
        },
    })
}

/// The interfaces' numbers: the same name keeps its number while the process lives, and a number
/// is given again only when all others are taken.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    by_name: BTreeMap<String, IfIndex>,
}

impl Numbers {
    /// The number of `name`, given now if it has none. VPP starts at 1, after `local0`.
    ///
    /// # Errors
    /// [`INTERFACES_MAX`] names have one.
    pub fn of(&mut self, name: &str) -> Result<IfIndex, PlanError> {
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let next = self.by_name.values().max().map_or(1, |last| last.0 + 1);
        let free = if usize::from(next) < INTERFACES_MAX {
            Some(IfIndex(next))
        } else {
            let taken: std::collections::BTreeSet<_> = self.by_name.values().copied().collect();
            (1..next).map(IfIndex).find(|index| !taken.contains(index))
        };
        let index = free.ok_or(PlanError::TooManyInterfaces)?;
        self.by_name.insert(name.to_owned(), index);
        Ok(index)
    }

    /// Forgets the names that `keep` does not know, so that their numbers can be given again.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.by_name.retain(|name, _| keep(name));
    }

    /// Every name and its number.
    pub fn iter(&self) -> impl Iterator<Item = (&str, IfIndex)> {
        self.by_name
            .iter()
            .map(|(name, index)| (name.as_str(), *index))
    }
}

/// A configuration that cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// A sub-interface leaves its outer tag open.
    AnyOuterTag(String),
    /// More interfaces than [`INTERFACES_MAX`].
    TooManyInterfaces,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyOuterTag(name) => write!(
                f,
                "{name}: an outer tag of any VLAN is not supported; name the VLAN, or use \
                 `default` for what no other sub-interface takes"
            ),
            Self::TooManyInterfaces => {
                write!(
                    f,
                    "more than {} interfaces; delete some",
                    INTERFACES_MAX - 1
                )
            }
        }
    }
}

impl std::error::Error for PlanError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Neighbor, Route, SubInterface};

    fn config() -> Config {
        let mut host = HostInterface::new("macvlan0");
        let mut sub = SubInterface::dot1q(123);
        sub.addresses.push("192.168.123.150/24".parse().unwrap());
        host.sub_interfaces.push(sub);
        let mut other = HostInterface::new("eth1");
        other.addresses.push("10.0.0.1/8".parse().unwrap());
        let via = "192.168.123.1".parse().unwrap();
        Config {
            interfaces: vec![host, other],
            routes: vec![Route {
                prefix: "0.0.0.0/0".parse().unwrap(),
                via,
                interface: None,
            }],
            neighbors: vec![Neighbor {
                interface: "host-eth1".into(),
                address: "10.0.0.9".parse().unwrap(),
                mac: MacAddr([2, 0, 0, 0, 0, 9]),
            }],
            ..Config::default()
        }
    }

    #[test]
    fn each_port_gets_its_own_routes_and_neighbours() {
        let config = config();
        let mut numbers = Numbers::default();
        let first = Plan::of(&config, &config.interfaces[0], &mut numbers).unwrap();
        let second = Plan::of(&config, &config.interfaces[1], &mut numbers).unwrap();
        assert_eq!(
            (first.port.index, first.subs[0].0.index),
            (IfIndex(1), IfIndex(2))
        );
        assert_eq!((first.routes.len(), first.neighbors.len()), (1, 0));
        assert_eq!((second.routes.len(), second.neighbors.len()), (0, 1));
    }

    #[test]
    fn a_name_keeps_its_number_and_a_forgotten_one_gives_it_back_last() {
        let mut numbers = Numbers::default();
        let a = numbers.of("a").unwrap();
        let b = numbers.of("b").unwrap();
        numbers.retain(|name| name == "b");
        let c = numbers.of("c").unwrap();
        assert_eq!((a, b, c), (IfIndex(1), IfIndex(2), IfIndex(3)));
        assert_eq!(numbers.of("b").unwrap(), b);
    }

    #[test]
    fn numbers_run_out_with_a_sentence_and_come_back_when_forgotten() {
        let mut numbers = Numbers::default();
        for n in 1..INTERFACES_MAX {
            numbers.of(&n.to_string()).unwrap();
        }
        assert_eq!(numbers.of("one more"), Err(PlanError::TooManyInterfaces));
        numbers.retain(|name| name != "17");
        assert_eq!(numbers.of("one more"), Ok(IfIndex(17)));
    }
}
