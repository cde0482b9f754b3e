//! The commands, and how their lines are read.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use dataplane::MacAddr;

use super::http::http_server;
use super::options::Options;
use super::values::{
    ADDRESS, COUNT, HOST_NAME, IDS, INTERFACE, MAC, MTU, NEXT_HOP, PREFIX, QUEUES, SIZE, URI,
};
use crate::config::{HttpServer, Ipv4Prefix, Match, RingOptions, RingVersion};
use crate::words::{Cursor, Entry, Stop};

/// A command that edits a [`Config`](crate::config::Config).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `create host-interface`: take frames from an interface of the host.
    CreateHostInterface {
        /// Its name on the host.
        name: String,
        /// Our Ethernet address on it.
        hw_addr: Option<MacAddr>,
        /// Workers that share its flows.
        num_rx_queues: Option<u16>,
        /// Its rings.
        ring: RingOptions,
    },
    /// `delete host-interface`: and its sub-interfaces.
    DeleteHostInterface {
        /// Its name on the host.
        name: String,
    },
    /// `set interface mac address`.
    SetInterfaceMacAddress {
        /// The host interface.
        interface: String,
        /// Our Ethernet address on it.
        mac: MacAddr,
    },
    /// `set interface state`.
    SetInterfaceState {
        /// The interface.
        interface: String,
        /// Administratively up.
        up: bool,
    },
    /// `set interface mtu`.
    SetInterfaceMtu {
        /// The interface.
        interface: String,
        /// Largest IP packet in octets; `None`: inherited.
        mtu: Option<u16>,
    },
    /// `set interface ip address`.
    SetInterfaceIpAddress {
        /// The interface.
        interface: String,
        /// The address.
        address: Ipv4Prefix,
        /// Take it away.
        delete: bool,
    },
    /// `create sub-interfaces`: all but the last form make one or several exact matches.
    CreateSubInterfaces {
        /// The host interface.
        interface: String,
        /// The sub-interfaces' numbers.
        ids: RangeInclusive<u32>,
        /// Their frames; `None`: the number is the VLAN id of an exact 802.1Q match.
        matching: Option<Match>,
    },
    /// `delete sub-interfaces`.
    DeleteSubInterface {
        /// The sub-interface.
        interface: String,
    },
    /// `ip route`.
    IpRoute {
        /// The destination.
        prefix: Ipv4Prefix,
        /// The next hop; needed unless the route is deleted.
        via: Option<Ipv4Addr>,
        /// Where the next hop is.
        interface: Option<String>,
        /// Take it away.
        delete: bool,
    },
    /// `set ip neighbor`.
    SetIpNeighbor {
        /// The interface.
        interface: String,
        /// The neighbour.
        address: Ipv4Addr,
        /// Its Ethernet address; needed unless the entry is deleted.
        mac: Option<MacAddr>,
        /// Take it away.
        delete: bool,
    },
    /// `http static server`, `http static listener add`.
    CreateHttpServer(HttpServer),
    /// `http static listener del`.
    DeleteHttpServer {
        /// The address it listens on.
        address: Ipv4Addr,
        /// Its port.
        port: u16,
    },
    /// `http static server disable`: no servers any more.
    DisableHttpServers,
    /// A command of VPP that has nothing to do here; its note says why.
    Nothing,
}

/// The commands, by the words they begin with.
pub const COMMANDS: &[Entry<Command>] = &[
    Entry {
        path: &["create", "host-interface"],
        usage: "[v2|v3] name <ifname> [hw-addr <mac>] [num-rx-queues <n>] [rx-block-size <size>] \
                [rx-blocks <n>] [tx-slots <n>]",
        help: "take frames from an interface of the host, as host-<ifname>",
        parse: create_host_interface,
    },
    Entry {
        path: &["delete", "host-interface"],
        usage: "name <ifname>",
        help: "let go of an interface of the host, and of its sub-interfaces",
        parse: |cursor| {
            cursor.one_of(&[("name", "the interface's name on the host", ())])?;
            Ok(Command::DeleteHostInterface {
                name: cursor.value(&HOST_NAME)?,
            })
        },
    },
    Entry {
        path: &["set", "interface", "mac", "address"],
        usage: "<interface> <mac>",
        help: "use this Ethernet address; not needed, the kernel's is the default",
        parse: |cursor| {
            let interface = cursor.value(&INTERFACE)?;
            Ok(Command::SetInterfaceMacAddress {
                interface,
                mac: cursor.value(&MAC)?,
            })
        },
    },
    Entry {
        path: &["set", "interface", "state"],
        usage: "<interface> up|down",
        help: "take an interface up or down",
        parse: |cursor| {
            let interface = cursor.value(&INTERFACE)?;
            let up = cursor.one_of(&[("up", "take it up", true), ("down", "take it down", false)]);
            Ok(Command::SetInterfaceState { interface, up: up? })
        },
    },
    Entry {
        path: &["set", "interface", "mtu"],
        usage: "[packet|ip4] <mtu> <interface>",
        help: "limit the size of IP packets; 0 is the kernel's MTU again",
        parse: |cursor| {
            cursor.choice(&[
                ("packet", "of every network protocol", ()),
                ("ip4", "of IPv4, the only one here", ()),
            ]);
            let mtu = Some(cursor.value(&MTU)?).filter(|mtu| *mtu > 0);
            Ok(Command::SetInterfaceMtu {
                interface: cursor.value(&INTERFACE)?,
                mtu,
            })
        },
    },
    Entry {
        path: &["set", "interface", "ip", "address"],
        usage: "[del] <interface> <address>/<length>",
        help: "give an interface an address, or take it away",
        parse: |cursor| {
            let delete = cursor.keyword("del", "take the address away");
            let interface = cursor.value(&INTERFACE)?;
            let address = cursor.value(&PREFIX)?;
            Ok(Command::SetInterfaceIpAddress {
                interface,
                address,
                delete,
            })
        },
    },
    Entry {
        path: &["create", "sub-interfaces"],
        usage: "<interface> {<id> [default|untagged]} | {<id>-<id>} | \
                {<id> dot1q|dot1ad <vlan>|any [inner-dot1q <vlan>|any] [exact-match]}",
        help: "make sub-interfaces, for VLANs; <id> alone is VLAN <id> by exact match",
        parse: create_sub_interfaces,
    },
    Entry {
        path: &["delete", "sub-interfaces"],
        usage: "<interface>",
        help: "remove a sub-interface",
        parse: |cursor| {
            Ok(Command::DeleteSubInterface {
                interface: cursor.value(&INTERFACE)?,
            })
        },
    },
    Entry {
        path: &["ip", "route"],
        usage: "add|del <address>/<length> via <next-hop> [<interface>]",
        help: "add or delete a route; 0.0.0.0/0 is the default route",
        parse: ip_route,
    },
    Entry {
        path: &["set", "ip", "neighbor"],
        usage: "[del] <interface> <address> <mac> [static]",
        help: "set a neighbour's Ethernet address for good, or forget it",
        parse: set_ip_neighbor,
    },
    Entry {
        path: &["http", "static", "server"],
        usage: "www-root <path> [uri tcp://<address>/<port>] [cache-size <size>] \
                [max-age <time>] [keepalive-timeout <time>] [max-req-body-size <size>] | disable",
        help: "serve the files of a folder; without uri on port 80 of every address",
        parse: |cursor| {
            if cursor.keyword("disable", "stop all http servers") {
                return Ok(Command::DisableHttpServers);
            }
            http_server(cursor, false)
        },
    },
    Entry {
        path: &["http", "static", "listener"],
        usage: "add|del uri tcp://<address>/<port> [www-root <path>] [cache-size <size>] \
                [max-age <time>] [keepalive-timeout <time>] [max-req-body-size <size>]",
        help: "serve the files of a folder at another address or port, or stop that",
        parse: |cursor| {
            let add = ("add", "serve", false);
            if !cursor.one_of(&[add, ("del", "stop serving", true)])? {
                return http_server(cursor, true);
            }
            cursor.one_of(&[("uri", "where it listens", ())])?;
            let (address, port) = cursor.value(&URI)?;
            Ok(Command::DeleteHttpServer { address, port })
        },
    },
    Entry {
        path: &["set", "interface", "rx-mode"],
        usage: "<interface> [queue <n>] polling|interrupt|adaptive",
        help: "accepted without effect: workers sleep when idle and poll under load",
        parse: rx_mode,
    },
];

fn create_host_interface(cursor: &mut Cursor<'_, '_>) -> Result<Command, Stop> {
    #[derive(Clone, Copy, PartialEq)]
    enum Key {
        Name,
        Version(RingVersion),
        HwAddr,
        Queues,
        BlockSize,
        Blocks,
        TxSlots,
        /// Its value is a number.
        Geometry,
        Switch,
    }
    const KEYS: &[(&str, &str, Key)] = &[
        ("name", "the interface's name on the host", Key::Name),
        (
            "v2",
            "TPACKET_V2 for the receive ring",
            Key::Version(RingVersion::V2),
        ),
        (
            "v3",
            "TPACKET_V3 for the receive ring",
            Key::Version(RingVersion::V3),
        ),
        (
            "hw-addr",
            "our Ethernet address; the kernel's is the default",
            Key::HwAddr,
        ),
        ("num-rx-queues", "workers that share its flows", Key::Queues),
        ("rx-block-size", "size of a receive block", Key::BlockSize),
        ("rx-blocks", "number of receive blocks", Key::Blocks),
        ("tx-slots", "frames the transmit ring holds", Key::TxSlots),
        ("num-tx-queues", "", Key::Geometry),
        ("rx-size", "", Key::Geometry),
        ("tx-size", "", Key::Geometry),
        ("rx-per-block", "", Key::Geometry),
        ("tx-per-block", "", Key::Geometry),
        ("qdisc-bypass-disable", "", Key::Switch),
        ("cksum-gso-disable", "", Key::Switch),
    ];
    let mut options = Options::new(KEYS);
    let (mut name, mut hw_addr, mut num_rx_queues) = (None, None, None);
    let mut ring = RingOptions::default();
    while let Some((word, key)) = options.next(cursor)? {
        match key {
            Key::Name => name = Some(cursor.value(&HOST_NAME)?),
            Key::Version(_) if ring.version.is_some() => {
                return Err(cursor.refuse("the ring has one version; say v2 or v3"));
            }
            Key::Version(version) => ring.version = Some(version),
            Key::HwAddr => hw_addr = Some(cursor.value(&MAC)?),
            Key::Queues => num_rx_queues = Some(cursor.value(&QUEUES)?),
            Key::BlockSize => ring.block_size = Some(cursor.value(&SIZE)?),
            Key::Blocks => ring.blocks = Some(cursor.value(&COUNT)?),
            Key::TxSlots => ring.tx_slots = Some(cursor.value(&COUNT)?),
            Key::Geometry => {
                cursor.value(&SIZE)?;
                cursor.note(format!(
                    "{word} has no effect; the rings are set by rx-block-size, rx-blocks and \
                     tx-slots, and every worker has one of each direction"
                ));
            }
            Key::Switch => {
                cursor.note(format!(
                    "{word} has no effect; the driver decides this by itself"
                ));
            }
        }
    }
    let Some(name) = name else {
        return Err(cursor.missing("name <ifname>"));
    };
    Ok(Command::CreateHostInterface {
        name,
        hw_addr,
        num_rx_queues,
        ring,
    })
}

fn create_sub_interfaces(cursor: &mut Cursor<'_, '_>) -> Result<Command, Stop> {
    let interface = cursor.value(&INTERFACE)?;
    let ids = cursor.value(&IDS)?;
    let is_range = ids.start() != ids.end();
    if is_range {
        return Ok(Command::CreateSubInterfaces {
            interface,
            ids,
            matching: None,
        });
    }
    let matching = Match::read(cursor)?;
    if matching.is_none() && !(1..=4094).contains(ids.start()) {
        let id = ids.start();
        return Err(cursor.refuse(format!(
            "{id} is no VLAN id (1 to 4094); for a sub-interface of this number say its VLAN, as \
             in: {id} dot1q 123 exact-match"
        )));
    }
    Ok(Command::CreateSubInterfaces {
        interface,
        ids,
        matching,
    })
}

fn ip_route(cursor: &mut Cursor<'_, '_>) -> Result<Command, Stop> {
    let add = ("add", "add a route", false);
    // VPP adds when neither is said.
    let delete = cursor
        .choice(&[add, ("del", "delete a route", true)])
        .unwrap_or(false);
    let prefix = cursor.value(&PREFIX)?;
    let key = ("via", "the next hop", ());
    if delete && cursor.choice(&[key]).is_none() {
        return Ok(Command::IpRoute {
            prefix,
            via: None,
            interface: None,
            delete,
        });
    }
    if !delete {
        cursor.one_of(&[key])?;
    }
    let via = Some(cursor.value(&NEXT_HOP)?);
    let interface = cursor.optional(&INTERFACE)?;
    Ok(Command::IpRoute {
        prefix,
        via,
        interface,
        delete,
    })
}

fn set_ip_neighbor(cursor: &mut Cursor<'_, '_>) -> Result<Command, Stop> {
    let delete = cursor.keyword("del", "forget the neighbour");
    let interface = cursor.value(&INTERFACE)?;
    let address = cursor.value(&ADDRESS)?;
    if delete {
        let mac = cursor.optional(&MAC)?;
        return Ok(Command::SetIpNeighbor {
            interface,
            address,
            mac,
            delete,
        });
    }
    let mac = Some(cursor.value(&MAC)?);
    if !cursor.keyword("static", "never asked for again; always so here") {
        cursor.note("the neighbor is kept for good, as if static were said");
    }
    Ok(Command::SetIpNeighbor {
        interface,
        address,
        mac,
        delete,
    })
}

fn rx_mode(cursor: &mut Cursor<'_, '_>) -> Result<Command, Stop> {
    cursor.value(&INTERFACE)?;
    if cursor.keyword("queue", "one queue of it") {
        cursor.value(&COUNT)?;
    }
    cursor.one_of(&[
        ("polling", "never sleep", ()),
        ("interrupt", "sleep when idle", ()),
        ("adaptive", "sleep when idle", ()),
    ])?;
    cursor.note("rx-mode has no effect; workers sleep when idle and poll under load");
    Ok(Command::Nothing)
}
