//! Whether a configuration makes sense in itself, and on this host.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::path::Path;

use super::{
    ByteSize, Config, HostInterface, HttpServer, InterfaceRef, Ipv4Prefix, Match, RingOptions,
    Seconds, SubInterface, TagMatch, VidMatch, unicast_problem,
};
use crate::error::ConfigError;
use crate::sandbox;

/// Octets of a configuration file at most; a larger one is refused.
pub const CONFIG_FILE_MAX: u64 = 1 << 20;
/// Host interfaces at most; more are refused.
pub const HOST_INTERFACES_MAX: usize = 64;
/// Sub-interfaces at most, over all host interfaces: what the workers' table holds besides these.
pub const SUB_INTERFACES_MAX: usize = dataplane::interface::INTERFACES_MAX - HOST_INTERFACES_MAX;
/// Addresses of one interface at most; more are refused.
pub const ADDRESSES_MAX: usize = 64;
/// Static routes at most; more are refused.
pub const ROUTES_MAX: usize = 4096;
/// Static neighbours at most; more are refused.
pub const NEIGHBORS_MAX: usize = 4096;
/// HTTP servers at most; more are refused.
pub const HTTP_SERVERS_MAX: usize = 64;
/// Workers of one interface at most; more are refused.
pub const WORKERS_MAX: u16 = 64;
/// Sets of sockets for host interfaces that are created later, unless said otherwise.
pub const SPARE_INTERFACES_DEFAULT: u16 = 4;
/// Sets of sockets for host interfaces that are created later.
pub const SPARE_INTERFACES_MAX: u16 = 64;
/// Memory of one worker's receive ring at most; a larger one is refused.
pub const RING_MEMORY_MAX: ByteSize = ByteSize::mib(1024);
/// The largest limit on request bodies: each connection may hold one.
pub const REQUEST_BODY_MAX: ByteSize = ByteSize::mib(16);
/// TCP connections of a worker.
pub const CONNECTIONS_MAX: u32 = 1 << 24;
/// The least memory for the buffers of a worker's connections: some connections can do their work.
pub const TCP_MEMORY_MIN: ByteSize = ByteSize::mib(1);

/// The smallest MTU that IPv4 works with (RFC 791, section 3.2).
const MTU_MIN: u16 = 68;
/// `IFNAMSIZ` without the terminating zero.
const NAME_MAX: usize = 15;

impl Config {
    /// Whether the configuration makes sense in itself. A configuration without interfaces does.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_limits()?;
        let mut names = HashSet::new();
        for interface in self.all_interfaces() {
            let name = interface.name();
            if !names.insert(name.clone()) {
                return Err(ConfigError::DuplicateInterface { name });
            }
        }
        for host in &self.interfaces {
            host.validate()?;
        }
        self.validate_addresses()?;
        self.validate_routes()?;
        self.validate_neighbors()?;
        self.validate_http()
    }

    /// Whether the files it names exist on this host.
    ///
    /// # Errors
    /// A www-root that is missing, is no directory, or cannot be read.
    pub fn check_host(&self) -> Result<(), ConfigError> {
        self.http
            .iter()
            .try_for_each(|server| check_www_root(&server.www_root))
    }

    /// What is allowed and probably not meant, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let down = self
            .all_interfaces()
            .filter(|i| !i.up() && !i.addresses().is_empty());
        for interface in down {
            let culprit = match interface {
                InterfaceRef::Sub(host, sub) if sub.up => host.full_name(),
                _ => interface.name(),
            };
            warnings.push(format!(
                "{} has an address but {culprit} is down, so it will not answer; \
                 take it up with: set interface state {culprit} up",
                interface.name()
            ));
        }
        if !self.http.is_empty() && self.all_interfaces().all(|i| i.addresses().is_empty()) {
            warnings.push(
                "a http server is configured but no interface has an address, so nobody can \
                 reach it; add one with: set interface ip address"
                    .to_owned(),
            );
        }
        warnings
    }

    fn validate_limits(&self) -> Result<(), ConfigError> {
        let subs = self
            .interfaces
            .iter()
            .map(|host| host.sub_interfaces.len())
            .sum();
        let addresses = self.all_interfaces().map(|i| i.addresses().len()).max();
        for (what, count, max) in [
            (
                "host interfaces",
                self.interfaces.len(),
                HOST_INTERFACES_MAX,
            ),
            ("sub-interfaces", subs, SUB_INTERFACES_MAX),
            (
                "addresses on one interface",
                addresses.unwrap_or(0),
                ADDRESSES_MAX,
            ),
            ("routes", self.routes.len(), ROUTES_MAX),
            ("neighbors", self.neighbors.len(), NEIGHBORS_MAX),
            ("http servers", self.http.len(), HTTP_SERVERS_MAX),
            (
                "spare interfaces",
                usize::from(self.spare_interfaces.unwrap_or(0)),
                usize::from(SPARE_INTERFACES_MAX),
            ),
            (
                "connections of a worker",
                self.connections_max.map_or(0, |count| {
                    usize::try_from(count.get()).unwrap_or(usize::MAX)
                }),
                CONNECTIONS_MAX as usize,
            ),
        ] {
            if count > max {
                return Err(ConfigError::TooMany { what, max });
            }
        }
        if let Some(size) = self.tcp_memory.filter(|size| *size < TCP_MEMORY_MIN) {
            let min = TCP_MEMORY_MIN;
            return Err(ConfigError::TcpMemory { size, min });
        }
        Ok(())
    }

    fn validate_addresses(&self) -> Result<(), ConfigError> {
        let mut owners: HashMap<Ipv4Addr, String> = HashMap::new();
        let mut networks: HashMap<Ipv4Prefix, String> = HashMap::new();
        for interface in self.all_interfaces() {
            for &address in interface.addresses() {
                let name = interface.name();
                if let Some(why) = address.host_problem() {
                    return Err(ConfigError::Address {
                        interface: name,
                        address,
                        why,
                    });
                }
                if let InterfaceRef::Sub(_, sub) = interface
                    && !sub.matching.takes_addresses()
                {
                    let matching = sub.matching;
                    return Err(ConfigError::NeedsExactMatch {
                        interface: name,
                        matching,
                    });
                }
                if let Some(owner) = owners.insert(address.address(), name.clone()) {
                    return Err(ConfigError::DuplicateAddress {
                        address,
                        interface: owner,
                    });
                }
                match networks.insert(address.truncated(), name.clone()) {
                    Some(other) if other != name => {
                        return Err(ConfigError::SameNetwork {
                            address,
                            interface: name,
                            other,
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether `address` is one of ours.
    fn is_ours(&self, address: Ipv4Addr) -> bool {
        self.all_interfaces()
            .flat_map(InterfaceRef::addresses)
            .any(|a| a.address() == address)
    }

    fn validate_routes(&self) -> Result<(), ConfigError> {
        let ours: HashSet<Ipv4Addr> = self
            .all_interfaces()
            .flat_map(|interface| interface.addresses().iter().map(|a| a.address()))
            .collect();
        let mut prefixes = HashSet::new();
        for route in &self.routes {
            let (prefix, next_hop) = (route.prefix, route.via);
            if prefix != prefix.truncated() {
                return Err(ConfigError::HostBits { prefix });
            }
            if !prefixes.insert(prefix) {
                return Err(ConfigError::DuplicateRoute { prefix });
            }
            if ours.contains(&next_hop) {
                return Err(ConfigError::NextHopIsOurs { prefix, next_hop });
            }
            let interface = self.route_interface(route);
            if let (None, Some(name)) = (interface, &route.interface) {
                return Err(ConfigError::NoSuchInterface { name: name.clone() });
            }
            if !interface.is_some_and(|interface| reaches(interface, next_hop)) {
                let interface = route.interface.clone();
                return Err(ConfigError::NextHopUnreachable {
                    prefix,
                    next_hop,
                    interface,
                });
            }
        }
        Ok(())
    }

    fn validate_neighbors(&self) -> Result<(), ConfigError> {
        let mut known = HashSet::new();
        for neighbor in &self.neighbors {
            let (name, address) = (neighbor.interface.clone(), neighbor.address);
            let Some(interface) = self.interface(&name) else {
                return Err(ConfigError::NoSuchInterface { name });
            };
            if !reaches(interface, address) || self.is_ours(address) {
                return Err(ConfigError::NeighborUnreachable {
                    address,
                    interface: name,
                });
            }
            if neighbor.mac.is_group() || neighbor.mac == dataplane::MacAddr::ZERO {
                let (interface, mac) = (format!("neighbor {address} on {name}"), neighbor.mac);
                return Err(ConfigError::HwAddr { interface, mac });
            }
            if !known.insert((name.clone(), address)) {
                return Err(ConfigError::DuplicateNeighbor {
                    address,
                    interface: name,
                });
            }
        }
        Ok(())
    }

    fn validate_http(&self) -> Result<(), ConfigError> {
        let mut listeners = HashSet::new();
        for server in &self.http {
            server.validate()?;
            let (address, port) = (server.address, server.port);
            if !address.is_unspecified() && !self.is_ours(address) {
                return Err(ConfigError::HttpAddress { address });
            }
            if !listeners.insert((address, port)) {
                return Err(ConfigError::DuplicateHttp { address, port });
            }
        }
        Ok(())
    }
}

/// Whether `address` is a host on a network of `interface`.
fn reaches(interface: InterfaceRef<'_>, address: Ipv4Addr) -> bool {
    let is_host = |network: &Ipv4Prefix| {
        let host = Ipv4Prefix::new(address, network.length());
        network.contains(address) && host.is_some_and(|host| host.host_problem().is_none())
    };
    unicast_problem(address).is_none() && interface.addresses().iter().any(is_host)
}

impl HostInterface {
    fn validate(&self) -> Result<(), ConfigError> {
        if let Some(why) = name_problem(&self.name) {
            return Err(ConfigError::InterfaceName {
                name: self.name.clone(),
                why,
            });
        }
        let name = || self.full_name();
        if let Some(mac) = self.hw_addr.filter(|mac| mac.is_group() || mac.0 == [0; 6]) {
            return Err(ConfigError::HwAddr {
                interface: name(),
                mac,
            });
        }
        check_mtu(self.mtu, name)?;
        if self.workers == 0 || self.workers > WORKERS_MAX {
            return Err(ConfigError::Workers {
                interface: name(),
                workers: self.workers,
            });
        }
        if let Some(why) = self.ring.problem() {
            return Err(ConfigError::Ring {
                interface: name(),
                why,
            });
        }
        let mut taken: HashMap<Match, u32> = HashMap::new();
        for sub in &self.sub_interfaces {
            let interface = self.sub_name(sub.id);
            sub.validate(&interface)?;
            check_mtu(sub.mtu, || interface.clone())?;
            if let Some(other) = taken.insert(sub.matching.inexact(), sub.id) {
                let (other, matching) = (self.sub_name(other), sub.matching);
                return Err(ConfigError::MatchTaken {
                    interface,
                    other,
                    matching,
                });
            }
        }
        Ok(())
    }
}

impl SubInterface {
    fn validate(&self, interface: &str) -> Result<(), ConfigError> {
        let Match::Tagged(TagMatch {
            vid, inner, exact, ..
        }) = self.matching
        else {
            return Ok(());
        };
        for id in [Some(vid), inner].into_iter().flatten() {
            if let VidMatch::Id(id @ (0 | 4095..)) = id {
                return Err(ConfigError::VlanId {
                    interface: interface.to_owned(),
                    id: id.into(),
                });
            }
        }
        if exact && (vid == VidMatch::Any || inner == Some(VidMatch::Any)) {
            return Err(ConfigError::MatchUnsupported {
                interface: interface.to_owned(),
                matching: self.matching,
                why: "says any and exact-match; exact-match needs VLAN ids",
            });
        }
        Ok(())
    }
}

impl Match {
    /// The same for all matches that [collide](Match::collides).
    fn inexact(self) -> Self {
        match self {
            Self::Tagged(tags) => Self::Tagged(TagMatch {
                exact: false,
                ..tags
            }),
            other => other,
        }
    }
}

impl RingOptions {
    /// What the kernel would refuse, as a sentence.
    fn problem(self) -> Option<String> {
        if let Some(size) = self.block_size
            && !(size.0.is_power_of_two() && (4 << 10..=4 << 20).contains(&size.0))
        {
            return Some(format!(
                "ring block size {size} cannot be; use a power of two from 4k to 4m"
            ));
        }
        if let Some(blocks) = self.blocks.filter(|blocks| !(2..=4096).contains(blocks)) {
            return Some(format!("{blocks} ring blocks cannot be; use 2 to 4096"));
        }
        if let Some(slots) = self.tx_slots.filter(|slots| !(2..=65536).contains(slots)) {
            return Some(format!("{slots} tx slots cannot be; use 2 to 65536"));
        }
        let (size, blocks) = (self.block_size?, self.blocks?);
        let memory = ByteSize(size.0 * u64::from(blocks));
        (memory > RING_MEMORY_MAX).then(|| {
            format!(
                "a ring of {blocks} blocks of {size} takes {memory}; use at most {RING_MEMORY_MAX}"
            )
        })
    }
}

impl HttpServer {
    fn validate(&self) -> Result<(), ConfigError> {
        let www_root = self.www_root.clone();
        if www_root.as_os_str().is_empty() {
            let why = "is empty; name the folder to serve".to_owned();
            return Err(ConfigError::WwwRoot {
                path: www_root,
                why,
            });
        }
        if self.port == 0 {
            return Err(ConfigError::Port { www_root });
        }
        if self.keepalive_timeout == Seconds(0) {
            return Err(ConfigError::KeepaliveTimeout { www_root });
        }
        let (size, max) = (self.max_req_body_size, REQUEST_BODY_MAX);
        if size > max {
            return Err(ConfigError::MaxReqBodySize { size, max });
        }
        Ok(())
    }
}

/// Why no interface of a Linux host has this name, as the end of a sentence
/// (`dev_valid_name`, <https://github.com/torvalds/linux/blob/v6.12/net/core/dev.c>).
pub(crate) fn name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty; give the name that ip link shows")
    } else if name.len() > NAME_MAX {
        Some("is longer than 15 octets; give the name that ip link shows")
    } else if name == "." || name == ".." {
        Some("is no interface's; give the name that ip link shows")
    } else if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        Some("has a character no interface name has; give the name that ip link shows")
    } else {
        None
    }
}

fn check_mtu(mtu: Option<u16>, name: impl Fn() -> String) -> Result<(), ConfigError> {
    match mtu {
        Some(mtu) if mtu < MTU_MIN => Err(ConfigError::Mtu {
            interface: name(),
            mtu,
        }),
        _ => Ok(()),
    }
}

fn check_www_root(path: &Path) -> Result<(), ConfigError> {
    let why = match std::fs::read_dir(path) {
        Ok(_) => return Ok(()),
        Err(error) => match error.kind() {
            std::io::ErrorKind::NotFound => {
                "does not exist; create it or name another folder".to_owned()
            }
            std::io::ErrorKind::NotADirectory => {
                "is not a directory; name the folder that holds the files".to_owned()
            }
            std::io::ErrorKind::PermissionDenied if !sandbox::reaches(path) => {
                sandbox::OUT_OF_REACH.to_owned()
            }
            std::io::ErrorKind::PermissionDenied => {
                "may not be read by this user; change its permissions or name another".to_owned()
            }
            _ => format!("cannot be opened: {error}"),
        },
    };
    Err(ConfigError::WwwRoot {
        path: path.to_owned(),
        why,
    })
}
