//! The desired state: what shall run, however it was written down.
//!
//! Command-line flags ([`crate::args`]), VPP's command language ([`crate::startup_conf`]) and TOML
//! ([`Config::from_toml`]) all produce a [`Config`]; applying it is the runtime's part. Nothing in
//! it needs the host: [`Config::validate`] checks it against itself, [`Config::check_host`] against
//! the file system.
//!
//! # The TOML file
//!
//! ```toml
//! [[interface]]
//! name = "macvlan0"              # as the host calls it; here it is host-macvlan0
//!
//! [[interface.sub-interface]]
//! id = 123                       # host-macvlan0.123, VLAN 123
//! addresses = ["192.168.123.150/24"]
//!
//! [[route]]
//! prefix = "0.0.0.0/0"
//! via = "192.168.123.1"
//!
//! [[http]]
//! www-root = "/www"
//! cache-size = "512m"
//! ```
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `cli-listen` | see right | operator socket, a path; `/run/dataplane/cli.sock` or the same below `$XDG_RUNTIME_DIR` where one can be made |
//! | `capture-dir` | the operator socket's folder | the folder `pcap trace` writes in |
//! | `spare-interfaces` | 4 | workers of host interfaces that can be created while it runs, 0-64 |
//! | `connections-max` | 24576 | TCP connections of each worker at most, from the start on, 1-16777216; one address has half of them |
//! | `tcp-memory` | 512m | memory for the buffers of each worker's connections, TCP's and HTTP's, from the start on; at least 1m |
//! | `metrics-listen` | none | address and port of metrics for Prometheus, `"127.0.0.1:9482"` |
//! | `access-log` | none | file that gets a line for each request; `"-"` is standard output |
//! | **`[log]`** | | |
//! | `level` | `"info"` | the least severe messages that are logged: `"error"`, `"warn"`, `"info"`, `"debug"` (single connections), `"trace"` |
//! | `format` | `"text"` | `"text"`, or `"json"`: an object a line |
//! | **`[[interface]]`** | | an interface of the host |
//! | `name` | needed | its name on the host; `host-NAME` here |
//! | `hw-addr` | the kernel's | our Ethernet address, see [`HostInterface::hw_addr`] |
//! | `up` | `true` | administrative state |
//! | `mtu` | the kernel's | largest IP packet in octets, 68-65535 |
//! | `workers` | `1` | threads with a ring each, sharing the flows (VPP's `num-rx-queues`) |
//! | `addresses` | none | addresses for frames without a tag, `["192.0.2.1/24"]` |
//! | `ring.version` | `"v3"` on x86-64, `"v2"` elsewhere | receive ring: `"v3"` or `"v2"` (`TPACKET_V3`, `TPACKET_V2`) |
//! | `ring.block-size` | 128 KiB; v2: 1 MiB | size of a receive block: a power of two from `"4k"` to `"4m"` |
//! | `ring.blocks` | 32; v2: 8; with several workers half | receive blocks of each worker, 2-4096 |
//! | `ring.tx-slots` | 60 | frames the transmit ring holds, 2-65536 |
//! | **`[[interface.sub-interface]]`** | | a VLAN of the interface above |
//! | `id` | needed | its name is `host-NAME.ID` |
//! | `match` | `"dot1q ID exact-match"` | its frames: `"untagged"`, `"default"`, `"dot1q\|dot1ad VLAN\|any [inner-dot1q VLAN\|any] [exact-match]"` |
//! | `up` | | as above |
//! | `mtu` | the interface's | as above |
//! | `addresses` | none | addresses for its frames |
//! | **`[[route]]`** | | |
//! | `prefix` | needed | destination; `"0.0.0.0/0"` is the default route |
//! | `via` | needed | next hop: an address on a connected network |
//! | `interface` | the next hop's | where the next hop is |
//! | **`[[neighbor]]`** | | a neighbour that is not asked for by ARP |
//! | `interface` | needed | where it is, by our name: `host-macvlan0.123` |
//! | `address` | needed | its IPv4 address |
//! | `mac` | needed | its Ethernet address |
//! | **`[[http]]`** | | a static HTTP server |
//! | `www-root` | needed | folder to serve |
//! | `address` | `"0.0.0.0"` | address to listen on; `0.0.0.0` is all of ours |
//! | `port` | `80` | TCP port |
//! | `cache-size` | `"10m"` | memory for file contents |
//! | `max-age` | `"10m"` | how long clients may keep a file without asking again |
//! | `keepalive-timeout` | `"1m"` | how long an idle connection is kept |
//! | `max-req-body-size` | `"8k"` | largest request body that is read |
//!
//! Sizes are numbers of octets or `"10k"`, `"512m"`, `"1g"`; times are seconds or `"60s"`, `"10m"`,
//! `"1h"`. Unknown keys are errors.

mod matching;
mod prefix;
mod quantity;
pub(crate) mod text;
mod toml_text;
mod validate;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use dataplane::MacAddr;
use ipstack::tcp::TcpConfig;
use serde::{Deserialize, Serialize};

pub(crate) use matching::vlan_id;
pub use matching::{Match, TagMatch, TagProtocol, VidMatch};
pub use prefix::Ipv4Prefix;
pub(crate) use prefix::{ipv4, unicast_problem};
pub(crate) use quantity::decimal;
pub use quantity::{ByteSize, Seconds};
pub(crate) use validate::name_problem;
pub use validate::{
    ADDRESSES_MAX, CONFIG_FILE_MAX, CONNECTIONS_MAX, HOST_INTERFACES_MAX, HTTP_SERVERS_MAX,
    NEIGHBORS_MAX, REQUEST_BODY_MAX, RING_MEMORY_MAX, ROUTES_MAX, SPARE_INTERFACES_DEFAULT,
    SPARE_INTERFACES_MAX, SUB_INTERFACES_MAX, TCP_MEMORY_MIN, WORKERS_MAX,
};

/// What shall run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Where operators connect; `None`: the first of
    /// [`default_paths`](crate::cli::listen::default_paths) where a socket can be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cli_listen: Option<PathBuf>,
    /// The folder captures are written in; `None`: that of the operator socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_dir: Option<PathBuf>,
    /// Sets of sockets opened beside those in use, one for each worker of a host interface that is
    /// created while it runs, at most [`SPARE_INTERFACES_MAX`]; `None`:
    /// [`SPARE_INTERFACES_DEFAULT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spare_interfaces: Option<u16>,
    /// TCP connections at most, of each worker, and half of them of one address; `None`:
    /// [`TcpConfig`]'s default. It applies from the start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<NonZeroU32>,
    /// Memory for the buffers of each worker's connections, TCP's and HTTP's, at least
    /// [`TCP_MEMORY_MIN`]; `None`: [`TcpConfig`]'s default. It applies from the start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_memory: Option<ByteSize>,
    /// Where metrics are served, on a socket of the kernel's; `None`: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<SocketAddr>,
    /// The file that gets a line for each request, `-` for standard output; `None`: none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<PathBuf>,
    /// What is logged, and how.
    #[serde(skip_serializing_if = "is_default")]
    pub log: Log,
    /// Interfaces of the host, at most [`HOST_INTERFACES_MAX`].
    #[serde(rename = "interface", skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<HostInterface>,
    /// Static routes, at most [`ROUTES_MAX`], each destination once.
    #[serde(rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Static neighbours, at most [`NEIGHBORS_MAX`].
    #[serde(rename = "neighbor", skip_serializing_if = "Vec::is_empty")]
    pub neighbors: Vec<Neighbor>,
    /// HTTP servers, at most [`HTTP_SERVERS_MAX`].
    #[serde(rename = "http", skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpServer>,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Log {
    /// The least severe messages that are logged.
    pub level: LogLevel,
    /// How they are written.
    pub format: LogFormat,
}

/// Severities of log messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What does not work.
    Error,
    /// What an operator should look at.
    Warn,
    /// Starts, stops and changes.
    #[default]
    Info,
    /// Single connections.
    Debug,
    /// Everything.
    Trace,
}

/// How log messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// An interface of the host that frames are taken from and sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostInterface {
    /// The name on the host: `macvlan0`. Ours is [`HostInterface::full_name`].
    pub name: String,
    /// Our Ethernet address on this interface; `None`: the kernel's, which is the normal case.
    ///
    /// Naming the kernel's own address (as VPP's `set interface mac address` line must) changes
    /// nothing. Another address is used as ours, in ARP and in every frame sent; the kernel's
    /// interface keeps its own. Frames to it arrive only if the interface lets them through: the
    /// packet socket has to ask for it (`PACKET_MR_UNICAST` or promiscuous mode), and a macvlan
    /// never does, because it picks its frames by the kernel's address. See
    /// [`HostInterface::hw_addr_note`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::option"
    )]
    pub hw_addr: Option<MacAddr>,
    /// Administratively up. VPP's command creates interfaces down; flags and TOML, up.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub up: bool,
    /// Largest IP packet in octets; `None`: the kernel's MTU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Threads that share this interface's flows, each with its own rings.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub workers: u16,
    /// Addresses for frames without a tag.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Ipv4Prefix>,
    /// The rings.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ring: RingOptions,
    /// The VLANs, at most [`SUB_INTERFACES_MAX`] over all interfaces.
    #[serde(
        default,
        rename = "sub-interface",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub sub_interfaces: Vec<SubInterface>,
}

/// The geometry of a worker's rings; what is `None` is the driver's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RingOptions {
    /// The receive ring's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<RingVersion>,
    /// Octets of a receive block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<ByteSize>,
    /// Receive blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u32>,
    /// Frames the transmit ring holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_slots: Option<u32>,
}

/// A version of the kernel's packet ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RingVersion {
    /// `TPACKET_V2`: a slot for every frame.
    V2,
    /// `TPACKET_V3`: blocks of frames.
    V3,
}

/// A VLAN of a host interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "toml_text::SubInterfaceText",
    into = "toml_text::SubInterfaceText"
)]
pub struct SubInterface {
    /// Its number in the name `host-macvlan0.123`; often, not always, the VLAN id.
    pub id: u32,
    /// Its frames.
    pub matching: Match,
    /// Administratively up.
    pub up: bool,
    /// Largest IP packet in octets; `None`: the host interface's.
    pub mtu: Option<u16>,
    /// Its addresses.
    pub addresses: Vec<Ipv4Prefix>,
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Route {
    /// The destination, without host bits.
    pub prefix: Ipv4Prefix,
    /// The next hop, on a connected network.
    pub via: Ipv4Addr,
    /// The interface the next hop is on; `None`: the one whose network it belongs to
    /// ([`Config::route_interface`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// A neighbour whose Ethernet address is given and never asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Neighbor {
    /// The interface it is on.
    pub interface: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its Ethernet address.
    #[serde(with = "text")]
    pub mac: MacAddr,
}

/// A static HTTP server. The defaults are those of VPP's `http static server`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpServer {
    /// The folder that is served.
    pub www_root: PathBuf,
    /// The address to listen on; `0.0.0.0`: every one of ours.
    #[serde(default = "any_address")]
    pub address: Ipv4Addr,
    /// The TCP port.
    #[serde(default = "http_port")]
    pub port: u16,
    /// Memory for file contents.
    #[serde(default = "cache_size")]
    pub cache_size: ByteSize,
    /// How long a client may keep a file without asking again (`Cache-Control: max-age`).
    #[serde(default = "max_age")]
    pub max_age: Seconds,
    /// How long an idle connection is kept.
    #[serde(default = "keepalive_timeout")]
    pub keepalive_timeout: Seconds,
    /// The largest request body that is read; a larger one gets 413.
    #[serde(default = "max_req_body_size")]
    pub max_req_body_size: ByteSize,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_yes(value: &bool) -> bool {
    *value
}

fn one() -> u16 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_one(value: &u16) -> bool {
    *value == 1
}

fn any_address() -> Ipv4Addr {
    Ipv4Addr::UNSPECIFIED
}

fn http_port() -> u16 {
    80
}

fn cache_size() -> ByteSize {
    ByteSize::mib(10)
}

fn max_age() -> Seconds {
    Seconds(600)
}

fn keepalive_timeout() -> Seconds {
    Seconds(60)
}

fn max_req_body_size() -> ByteSize {
    ByteSize::kib(8)
}

impl Config {
    /// TCP's limits of each worker.
    pub fn tcp(&self) -> TcpConfig {
        let mut tcp = TcpConfig::default();
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(count) = self.connections_max {
            tcp.connections_max = number(count.get().into());
            tcp.connections_per_source_max = tcp.connections_max.div_ceil(2);
        }
        if let Some(size) = self.tcp_memory {
            tcp.buffers_max = number(size.0);
            // What is idle makes room before anybody is refused.
            tcp.buffers_idle_max = tcp.buffers_idle_max.min(tcp.buffers_max / 8);
        }
        tcp
    }
}

impl HttpServer {
    /// A server of `www_root` with VPP's defaults: port 80 on every address.
    pub fn new(www_root: impl Into<PathBuf>) -> Self {
        Self {
            www_root: www_root.into(),
            address: any_address(),
            port: http_port(),
            cache_size: cache_size(),
            max_age: max_age(),
            keepalive_timeout: keepalive_timeout(),
            max_req_body_size: max_req_body_size(),
        }
    }
}

impl HostInterface {
    /// An interface that is up, with everything else at its default.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            hw_addr: None,
            up: true,
            mtu: None,
            workers: 1,
            addresses: Vec::new(),
            ring: RingOptions::default(),
            sub_interfaces: Vec::new(),
        }
    }

    /// Our name for it: `host-macvlan0`.
    pub fn full_name(&self) -> String {
        format!("host-{}", self.name)
    }

    /// Our name for a sub-interface of it: `host-macvlan0.123`.
    pub fn sub_name(&self, id: u32) -> String {
        format!("host-{}.{id}", self.name)
    }

    /// A warning when the configured Ethernet address is not the `kernel`'s.
    pub fn hw_addr_note(&self, kernel: MacAddr) -> Option<String> {
        let ours = self.hw_addr.filter(|ours| *ours != kernel)?;
        Some(format!(
            "{}: using the configured address {ours} instead of the kernel's {kernel}; frames to \
             it arrive only if the interface passes them on (promiscuous mode; a macvlan never \
             does), so leave hw-addr out unless you know it does",
            self.full_name()
        ))
    }
}

impl SubInterface {
    /// VLAN `vid` by exact match, up, without addresses.
    pub fn dot1q(vid: u16) -> Self {
        Self {
            id: u32::from(vid),
            matching: Match::dot1q_exact(vid),
            up: true,
            mtu: None,
            addresses: Vec::new(),
        }
    }
}

/// An interface by its full name.
#[derive(Clone, Copy, Debug)]
pub enum InterfaceRef<'c> {
    /// A host interface.
    Host(&'c HostInterface),
    /// A sub-interface, after its host interface.
    Sub(&'c HostInterface, &'c SubInterface),
}

impl<'c> InterfaceRef<'c> {
    /// The full name.
    pub fn name(self) -> String {
        match self {
            Self::Host(host) => host.full_name(),
            Self::Sub(host, sub) => host.sub_name(sub.id),
        }
    }

    /// The addresses.
    pub fn addresses(self) -> &'c [Ipv4Prefix] {
        match self {
            Self::Host(host) => &host.addresses,
            Self::Sub(_, sub) => &sub.addresses,
        }
    }

    /// Whether it is administratively up, as its host interface must be too.
    pub fn up(self) -> bool {
        match self {
            Self::Host(host) => host.up,
            Self::Sub(host, sub) => host.up && sub.up,
        }
    }

    /// Whether `name` is its full name.
    pub fn is_named(self, name: &str) -> bool {
        let (host, id) = match self {
            Self::Host(host) => (host, None),
            Self::Sub(host, sub) => (host, Some(sub.id)),
        };
        let rest = name
            .strip_prefix("host-")
            .and_then(|rest| rest.strip_prefix(&*host.name));
        match (rest, id) {
            (Some(rest), None) => rest.is_empty(),
            (Some(rest), Some(id)) => rest.strip_prefix('.').is_some_and(|digits| {
                // "007" is not the name of 7.
                decimal(digits) == Some(id.into()) && (digits == "0" || !digits.starts_with('0'))
            }),
            (None, _) => false,
        }
    }
}

impl Config {
    /// Every interface: each host interface, then its sub-interfaces.
    pub fn all_interfaces(&self) -> impl Iterator<Item = InterfaceRef<'_>> {
        self.interfaces.iter().flat_map(|host| {
            let subs = host
                .sub_interfaces
                .iter()
                .map(move |sub| InterfaceRef::Sub(host, sub));
            std::iter::once(InterfaceRef::Host(host)).chain(subs)
        })
    }

    /// The interface with this full name.
    pub fn interface(&self, name: &str) -> Option<InterfaceRef<'_>> {
        self.all_interfaces()
            .find(|interface| interface.is_named(name))
    }

    /// The interface a route leaves by: the given one, or the one whose network the next hop
    /// belongs to (the longest prefix wins).
    pub fn route_interface(&self, route: &Route) -> Option<InterfaceRef<'_>> {
        if let Some(name) = &route.interface {
            return self.interface(name);
        }
        let connected = self.all_interfaces().flat_map(|interface| {
            interface
                .addresses()
                .iter()
                .map(move |address| (interface, *address))
        });
        connected
            .filter(|(_, address)| address.contains(route.via))
            .max_by_key(|(_, address)| address.length())
            .map(|(interface, _)| interface)
    }
}

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;
