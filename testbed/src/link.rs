//! Devices, addresses and routes over netlink.
//!
//! A [`Links`] is a netlink socket of one namespace; it works there whichever thread uses it.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoVeth, InfoVlan, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage, MacVlanMode, VlanProtocol,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::error::{Step as _, WiringError};
use crate::netns::Netns;

/// A MAC address.
pub type Mac = [u8; 6];

/// A device as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name, as in `macvlan0`.
    pub name: String,
    /// MAC address; all zero where the device has none.
    pub mac: Mac,
    /// Largest payload of a frame, octets.
    pub mtu: u32,
    /// Set administratively.
    pub up: bool,
    /// Administratively up, with carrier, and put in operation by the kernel, which until then drops
    /// what is sent.
    pub running: bool,
}

/// The devices of one namespace.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
    sequence: u32,
}

impl Links {
    /// Opens a netlink socket in `namespace`.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn open(namespace: &Netns) -> Result<Self, WiringError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = namespace.run(open).and_then(|socket| socket);
        Ok(Self {
            socket: socket.step(|| "opening a netlink socket".into())?,
            sequence: 0,
        })
    }

    /// The device called `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&mut self, name: &str) -> Result<Link, WiringError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        let answer = self
            .exchange(RouteNetlinkMessage::GetLink(message), 0)
            .step(|| format!("looking for {name}"))?;
        answer.map(|answer| link_of(&answer)).ok_or_else(|| {
            WiringError::new(
                format!("looking for {name}"),
                io::ErrorKind::NotFound.into(),
            )
        })
    }

    /// Creates a veth pair: `name` here, `peer` in `peer_namespace`.
    ///
    /// # Errors
    /// A name is taken, or the kernel lacks veth.
    pub fn add_veth(
        &mut self,
        name: &str,
        peer: &str,
        peer_namespace: &Netns,
    ) -> Result<(), WiringError> {
        let mut other = LinkMessage::default();
        other.attributes.push(LinkAttribute::IfName(peer.into()));
        other
            .attributes
            .push(LinkAttribute::NetNsFd(peer_namespace.as_fd().as_raw_fd()));
        self.add(
            name,
            InfoKind::Veth,
            InfoData::Veth(InfoVeth::Peer(other)),
            Vec::new(),
        )
    }

    /// Creates a macvlan called `name` in `namespace`, in bridge mode, on `lower`, a device here.
    ///
    /// # Errors
    /// `lower` does not exist, `name` is taken, or the kernel lacks macvlan.
    pub fn add_macvlan(
        &mut self,
        lower: &str,
        name: &str,
        namespace: &Netns,
    ) -> Result<(), WiringError> {
        let lower = self.get(lower)?.index;
        let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]);
        let more = vec![
            LinkAttribute::Link(lower),
            LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd()),
        ];
        self.add(name, InfoKind::MacVlan, data, more)
    }

    /// Creates an 802.1Q (or, if `service`, 802.1ad) device called `name` on `lower`.
    ///
    /// # Errors
    /// `Unsupported` where the kernel has no 8021q module.
    pub fn add_vlan(
        &mut self,
        lower: &str,
        name: &str,
        vid: u16,
        service: bool,
    ) -> Result<(), WiringError> {
        let lower = self.get(lower)?.index;
        let protocol = if service {
            VlanProtocol::Ieee8021Ad
        } else {
            VlanProtocol::Ieee8021Q
        };
        let data = InfoData::Vlan(vec![InfoVlan::Id(vid), InfoVlan::Protocol(protocol)]);
        self.add(name, InfoKind::Vlan, data, vec![LinkAttribute::Link(lower)])
    }

    fn add(
        &mut self,
        name: &str,
        kind: InfoKind,
        data: InfoData,
        more: Vec<LinkAttribute>,
    ) -> Result<(), WiringError> {
        let step = format!("creating {kind} device {name}");
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message.attributes.extend(more);
        let info = vec![LinkInfo::Kind(kind), LinkInfo::Data(data)];
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.exchange(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .step(|| step)?;
        Ok(())
    }

    /// Sets `name` up.
    ///
    /// # Errors
    /// It does not exist.
    pub fn set_up(&mut self, name: &str) -> Result<(), WiringError> {
        self.change(name, "setting up", |message| {
            message.header.flags |= LinkFlags::Up;
            message.header.change_mask |= LinkFlags::Up;
        })
    }

    /// Sets `name` down.
    ///
    /// # Errors
    /// It does not exist.
    pub fn set_down(&mut self, name: &str) -> Result<(), WiringError> {
        self.change(name, "setting down", |message| {
            message.header.change_mask |= LinkFlags::Up;
        })
    }

    /// Sets the MTU of `name`, octets.
    ///
    /// # Errors
    /// The device does not take it.
    pub fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<(), WiringError> {
        self.change(name, "setting the MTU of", |message| {
            message.attributes.push(LinkAttribute::Mtu(mtu));
        })
    }

    /// Sets the MAC address of `name`.
    ///
    /// # Errors
    /// The device does not take it.
    pub fn set_mac(&mut self, name: &str, mac: Mac) -> Result<(), WiringError> {
        self.change(name, "setting the MAC address of", |message| {
            message
                .attributes
                .push(LinkAttribute::Address(mac.to_vec()));
        })
    }

    /// Renames `name`.
    ///
    /// # Errors
    /// The new name is taken.
    pub fn rename(&mut self, name: &str, to: &str) -> Result<(), WiringError> {
        self.change(name, "renaming", |message| {
            message.attributes.push(LinkAttribute::IfName(to.into()));
        })
    }

    /// Moves `name` to another namespace; it arrives there down and without addresses.
    ///
    /// # Errors
    /// It does not exist, or may not be moved.
    pub fn move_to(&mut self, name: &str, namespace: &Netns) -> Result<(), WiringError> {
        self.change(name, "moving", |message| {
            let to = LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd());
            message.attributes.push(to);
        })
    }

    fn change(
        &mut self,
        name: &str,
        what: &str,
        edit: impl FnOnce(&mut LinkMessage),
    ) -> Result<(), WiringError> {
        let mut message = LinkMessage::default();
        message.header.index = self.get(name)?.index;
        edit(&mut message);
        self.exchange(RouteNetlinkMessage::SetLink(message), 0)
            .step(|| format!("{what} {name}"))?;
        Ok(())
    }

    /// Deletes `name` (and the other end, of a veth pair).
    ///
    /// # Errors
    /// It does not exist.
    pub fn delete(&mut self, name: &str) -> Result<(), WiringError> {
        let mut message = LinkMessage::default();
        message.header.index = self.get(name)?.index;
        self.exchange(RouteNetlinkMessage::DelLink(message), 0)
            .step(|| format!("deleting {name}"))?;
        Ok(())
    }

    /// Gives `name` an IPv4 address.
    ///
    /// # Errors
    /// It has it already, or the device does not exist.
    pub fn add_address(
        &mut self,
        name: &str,
        address: Ipv4Addr,
        prefix_len: u8,
    ) -> Result<(), WiringError> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix_len;
        message.header.scope = AddressScope::Universe;
        message.header.index = self.get(name)?.index;
        message
            .attributes
            .push(AddressAttribute::Local(IpAddr::V4(address)));
        message
            .attributes
            .push(AddressAttribute::Address(IpAddr::V4(address)));
        self.exchange(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .step(|| format!("giving {name} the address {address}/{prefix_len}"))?;
        Ok(())
    }

    /// Adds an IPv4 route to `destination` through `gateway`.
    ///
    /// # Errors
    /// The gateway is not on a connected network, or the route exists.
    pub fn add_route(
        &mut self,
        destination: (Ipv4Addr, u8),
        gateway: Ipv4Addr,
    ) -> Result<(), WiringError> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: AddressFamily::Inet,
            destination_prefix_length: destination.1,
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::Inet(
                destination.0,
            )));
        message
            .attributes
            .push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        self.exchange(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .step(|| format!("routing {}/{} via {gateway}", destination.0, destination.1))?;
        Ok(())
    }

    /// Sends a request and waits for its acknowledgement; returns the link it carried, if any.
    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<LinkMessage>> {
        self.sequence += 1;
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut octets = vec![0; packet.buffer_len()];
        packet.serialize(&mut octets);
        self.socket.send(&octets, 0)?;
        let mut link = None;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                let length = (answer.header.length as usize).next_multiple_of(4);
                rest = rest.get(length.max(16)..).unwrap_or_default();
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            Some(_) => Err(error.to_io()),
                            None => Ok(link),
                        };
                    }
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => {
                        link = Some(message);
                    }
                    _ => {}
                }
            }
        }
    }
}

fn link_of(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(mac) => {
                link.mac = mac.as_slice().try_into().unwrap_or_default();
            }
            _ => {}
        }
    }
    link
}
