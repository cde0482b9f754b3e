//! What can be wrong with a configuration.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use dataplane::MacAddr;

use crate::config::{ByteSize, Ipv4Prefix, Match};

/// What is wrong with a [`Config`](crate::config::Config), or with a change to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// No interface is configured.
    NoInterface,
    /// A name that no interface of the host can have.
    InterfaceName {
        /// The name.
        name: String,
        /// The end of the sentence.
        why: &'static str,
    },
    /// A name that belongs to no configured interface.
    NoSuchInterface {
        /// The name.
        name: String,
    },
    /// Two interfaces with one name.
    DuplicateInterface {
        /// The name.
        name: String,
    },
    /// A sub-interface where only a host interface makes sense.
    NotAHostInterface {
        /// The name.
        name: String,
        /// What was asked of it.
        what: &'static str,
    },
    /// A host interface where only a sub-interface makes sense.
    NotASubInterface {
        /// The name.
        name: String,
    },
    /// An Ethernet address that no station can have.
    HwAddr {
        /// Whose.
        interface: String,
        /// The address.
        mac: MacAddr,
    },
    /// A VLAN id outside 1-4094.
    VlanId {
        /// The sub-interface.
        interface: String,
        /// The id.
        id: u32,
    },
    /// Tags that cannot be matched so.
    MatchUnsupported {
        /// The sub-interface.
        interface: String,
        /// The tags.
        matching: Match,
        /// The end of the sentence.
        why: &'static str,
    },
    /// Two sub-interfaces that claim the same frames.
    MatchTaken {
        /// The second.
        interface: String,
        /// The first.
        other: String,
        /// The tags.
        matching: Match,
    },
    /// An address on a sub-interface that does not know the tags to answer with.
    NeedsExactMatch {
        /// The sub-interface.
        interface: String,
        /// Its tags.
        matching: Match,
    },
    /// An address that no interface can have.
    Address {
        /// The interface.
        interface: String,
        /// The address.
        address: Ipv4Prefix,
        /// The end of the sentence.
        why: &'static str,
    },
    /// An address that is in use already.
    DuplicateAddress {
        /// The address.
        address: Ipv4Prefix,
        /// Who has it.
        interface: String,
    },
    /// The same network on two interfaces.
    SameNetwork {
        /// The second address.
        address: Ipv4Prefix,
        /// Its interface.
        interface: String,
        /// The interface that is in this network already.
        other: String,
    },
    /// An address to delete that is not there.
    NoSuchAddress {
        /// The address.
        address: Ipv4Prefix,
        /// The interface.
        interface: String,
    },
    /// An MTU that cannot carry IPv4.
    Mtu {
        /// The interface.
        interface: String,
        /// The MTU.
        mtu: u16,
    },
    /// A ring that the kernel cannot make.
    Ring {
        /// The interface.
        interface: String,
        /// The end of the sentence.
        why: String,
    },
    /// A number of workers outside the limits.
    Workers {
        /// The interface.
        interface: String,
        /// The number.
        workers: u16,
    },
    /// A destination with bits beyond its length.
    HostBits {
        /// The destination.
        prefix: Ipv4Prefix,
    },
    /// A next hop on no connected network.
    NextHopUnreachable {
        /// The destination.
        prefix: Ipv4Prefix,
        /// The next hop.
        next_hop: Ipv4Addr,
        /// The interface that was given.
        interface: Option<String>,
    },
    /// A next hop that is ourselves.
    NextHopIsOurs {
        /// The destination.
        prefix: Ipv4Prefix,
        /// The next hop.
        next_hop: Ipv4Addr,
    },
    /// Two routes to one destination.
    DuplicateRoute {
        /// The destination.
        prefix: Ipv4Prefix,
    },
    /// A route to delete that is not there.
    NoSuchRoute {
        /// The destination.
        prefix: Ipv4Prefix,
    },
    /// A neighbour that is on no network of its interface.
    NeighborUnreachable {
        /// The neighbour.
        address: Ipv4Addr,
        /// The interface.
        interface: String,
    },
    /// Two entries for one neighbour.
    DuplicateNeighbor {
        /// The neighbour.
        address: Ipv4Addr,
        /// The interface.
        interface: String,
    },
    /// A neighbour to delete that is not there.
    NoSuchNeighbor {
        /// The neighbour.
        address: Ipv4Addr,
        /// The interface.
        interface: String,
    },
    /// Port 0.
    Port {
        /// The server's folder.
        www_root: PathBuf,
    },
    /// A server on an address that no interface has.
    HttpAddress {
        /// The address.
        address: Ipv4Addr,
    },
    /// Two servers on one address and port.
    DuplicateHttp {
        /// The address.
        address: Ipv4Addr,
        /// The port.
        port: u16,
    },
    /// A server to delete that is not there.
    NoSuchHttp {
        /// The address.
        address: Ipv4Addr,
        /// The port.
        port: u16,
    },
    /// A folder that cannot be served.
    WwwRoot {
        /// The folder.
        path: PathBuf,
        /// The end of the sentence.
        why: String,
    },
    /// A time-out of nothing.
    KeepaliveTimeout {
        /// The server's folder.
        www_root: PathBuf,
    },
    /// A limit on request bodies that memory would not survive.
    MaxReqBodySize {
        /// The limit asked for.
        size: ByteSize,
        /// The largest allowed.
        max: ByteSize,
    },
    /// Too little memory for connections.
    TcpMemory {
        /// What was asked for.
        size: ByteSize,
        /// The least allowed.
        min: ByteSize,
    },
    /// More of something than is allowed.
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// The configuration cannot be written down.
    Unprintable {
        /// Why.
        why: String,
    },
}

impl ConfigError {
    /// The word of the configuration that this is about, as it would be written there.
    pub fn subject(&self) -> Option<String> {
        match self {
            Self::InterfaceName { name, .. }
            | Self::NoSuchInterface { name }
            | Self::DuplicateInterface { name }
            | Self::NotAHostInterface { name, .. }
            | Self::NotASubInterface { name } => Some(name.clone()),
            Self::HwAddr { mac, .. } => Some(mac.to_string()),
            Self::VlanId { id, .. } => Some(id.to_string()),
            Self::MatchUnsupported { interface, .. }
            | Self::MatchTaken { interface, .. }
            | Self::NeedsExactMatch { interface, .. }
            | Self::Ring { interface, .. }
            | Self::Workers { interface, .. } => Some(interface.clone()),
            Self::Address { address, .. }
            | Self::DuplicateAddress { address, .. }
            | Self::SameNetwork { address, .. }
            | Self::NoSuchAddress { address, .. } => Some(address.to_string()),
            Self::Mtu { mtu, .. } => Some(mtu.to_string()),
            Self::HostBits { prefix }
            | Self::DuplicateRoute { prefix }
            | Self::NoSuchRoute { prefix } => Some(prefix.to_string()),
            Self::NextHopUnreachable { next_hop, .. } | Self::NextHopIsOurs { next_hop, .. } => {
                Some(next_hop.to_string())
            }
            Self::NeighborUnreachable { address, .. }
            | Self::DuplicateNeighbor { address, .. }
            | Self::NoSuchNeighbor { address, .. }
            | Self::HttpAddress { address } => Some(address.to_string()),
            Self::Port { www_root }
            | Self::WwwRoot { path: www_root, .. }
            | Self::KeepaliveTimeout { www_root } => Some(www_root.display().to_string()),
            Self::DuplicateHttp { address, port } | Self::NoSuchHttp { address, port } => {
                Some(format!("tcp://{address}/{port}"))
            }
            Self::MaxReqBodySize { size, .. } | Self::TcpMemory { size, .. } => {
                Some(size.to_string())
            }
            Self::NoInterface | Self::TooMany { .. } | Self::Unprintable { .. } => None,
        }
    }
}

impl fmt::Display for ConfigError {
    #[expect(clippy::too_many_lines, reason = "a sentence for each variant")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface => f.write_str(
                "no interface is configured; name one, for example \
                 \"create host-interface name eth0\" or --interface eth0",
            ),
            Self::InterfaceName { name, why } => write!(f, "interface name {name:?} {why}"),
            Self::NoSuchInterface { name } => fmt_no_such_interface(f, name),
            Self::DuplicateInterface { name } => write!(
                f,
                "interface {name} exists already; remove the second one or give it another name"
            ),
            Self::NotAHostInterface { name, what } => {
                write!(
                    f,
                    "{name} is a sub-interface and cannot {what}; use its host interface"
                )
            }
            Self::NotASubInterface { name } => write!(
                f,
                "{name} is not a sub-interface; to remove it use delete host-interface name"
            ),
            Self::HwAddr { interface, mac } => write!(
                f,
                "{interface}: {mac} cannot be its Ethernet address; use a unicast address"
            ),
            Self::VlanId { interface, id } => {
                write!(f, "{interface}: VLAN id {id} cannot be used; use 1 to 4094")
            }
            Self::MatchUnsupported {
                interface,
                matching,
                why,
            } => {
                write!(f, "{interface}: match \"{matching}\" {why}")
            }
            Self::MatchTaken {
                interface,
                other,
                matching,
            } => write!(
                f,
                "{interface}: {other} takes the frames of \"{matching}\" already; \
                 remove one of the two"
            ),
            Self::NeedsExactMatch {
                interface,
                matching,
            } => write!(
                f,
                "{interface}: an address needs exact-match, so that the tags of answers are known, \
                 but the match is \"{matching}\""
            ),
            Self::Address {
                interface,
                address,
                why,
            } => {
                write!(f, "{interface}: address {address} {why}")
            }
            Self::DuplicateAddress { address, interface } => write!(
                f,
                "address {address} is on {interface} already; remove one of the two"
            ),
            Self::SameNetwork {
                address,
                interface,
                other,
            } => write!(
                f,
                "{interface}: {other} is in the network of {address} already; \
                 a network can be on one interface"
            ),
            Self::NoSuchAddress { address, interface } => {
                write!(f, "{interface} has no address {address} to delete")
            }
            Self::Mtu { interface, mtu } => {
                write!(
                    f,
                    "{interface}: MTU {mtu} is too small for IPv4; use 68 to 65535"
                )
            }
            Self::Ring { interface, why } => write!(f, "{interface}: {why}"),
            Self::Workers { interface, workers } => write!(
                f,
                "{interface}: {workers} workers cannot be; use 1 to {}",
                crate::config::WORKERS_MAX
            ),
            Self::HostBits { prefix } => write!(
                f,
                "route destination {prefix} has bits beyond its length; write {}",
                prefix.truncated()
            ),
            Self::NextHopUnreachable {
                prefix,
                next_hop,
                interface,
            } => fmt_next_hop(f, *prefix, *next_hop, interface.as_deref()),
            Self::NextHopIsOurs { prefix, next_hop } => write!(
                f,
                "route to {prefix}: next hop {next_hop} is our own address; \
                 use the address of a router"
            ),
            Self::DuplicateRoute { prefix } => {
                write!(f, "a route to {prefix} exists already; delete it first")
            }
            Self::NoSuchRoute { prefix } => write!(f, "there is no such route to {prefix}"),
            Self::NeighborUnreachable { address, interface } => write!(
                f,
                "neighbor {address} is on no network of {interface}; give the interface an \
                 address of that network"
            ),
            Self::DuplicateNeighbor { address, interface } => {
                write!(
                    f,
                    "neighbor {address} on {interface} exists already; delete it first"
                )
            }
            Self::NoSuchNeighbor { address, interface } => {
                write!(f, "{interface} has no configured neighbor {address}")
            }
            Self::Port { www_root } => {
                write!(
                    f,
                    "http server of {}: port 0 cannot be; use 1 to 65535",
                    www_root.display()
                )
            }
            Self::HttpAddress { address } => write!(
                f,
                "no interface has the http server's address {address}; \
                 use 0.0.0.0 or an interface's address"
            ),
            Self::DuplicateHttp { address, port } => write!(
                f,
                "a http server on {address} port {port} exists already; use another port"
            ),
            Self::NoSuchHttp { address, port } => {
                write!(f, "there is no http server on {address} port {port}")
            }
            Self::WwwRoot { path, why } => write!(f, "www-root {} {why}", path.display()),
            Self::KeepaliveTimeout { www_root } => write!(
                f,
                "http server of {}: keepalive-timeout 0 would close every connection at once; \
                 use at least 1",
                www_root.display()
            ),
            Self::MaxReqBodySize { size, max } => {
                write!(
                    f,
                    "max-req-body-size {size} is too large; use at most {max}"
                )
            }
            Self::TcpMemory { size, min } => {
                write!(f, "tcp-memory {size} is too little; use at least {min}")
            }
            Self::TooMany { what, max } => write!(f, "more than {max} {what} are not supported"),
            Self::Unprintable { why } => write!(f, "the configuration cannot be printed: {why}"),
        }
    }
}

fn fmt_no_such_interface(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    write!(f, "there is no interface {name}")?;
    match name.strip_prefix("host-") {
        Some(host) => match host.rsplit_once('.') {
            Some((port, id)) => {
                write!(
                    f,
                    "; create it before with: create sub-interfaces host-{port} {id}"
                )
            }
            None => write!(
                f,
                "; create it before with: create host-interface name {host}"
            ),
        },
        None => write!(f, "; the host's {name} is called host-{name} here"),
    }
}

fn fmt_next_hop(
    f: &mut fmt::Formatter<'_>,
    prefix: Ipv4Prefix,
    next_hop: Ipv4Addr,
    interface: Option<&str>,
) -> fmt::Result {
    match prefix {
        Ipv4Prefix::ALL => write!(f, "gateway {next_hop} is on no network")?,
        _ => write!(f, "route to {prefix}: next hop {next_hop} is on no network")?,
    }
    let whose = interface.unwrap_or("any interface");
    write!(
        f,
        " of {whose}; use a router's address on one, or add an address of its network"
    )
}

impl std::error::Error for ConfigError {}
