//! What the kernel says of an interface: address, MTU, state, index; and when that changes.
//!
//! Read over rtnetlink, which needs no capability.

mod monitor;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use dataplane::MacAddr;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::LinkError;

pub use monitor::{LinkEvent, LinkMonitor, WATCHED_MAX};

/// The longest interface name, in octets (`IFNAMSIZ` less its NUL).
pub const NAME_MAX: usize = 15;

/// Octets of one netlink answer; the kernel sends links in pieces of at most 32 KiB.
const ANSWER_MAX: usize = 32 << 10;

/// How long the kernel may take to answer, in milliseconds.
const ANSWER_TIMEOUT_MS: u16 = 2000;

/// An interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The name.
    pub name: String,
    /// The kernel's number for it; a link that was deleted and created again has another.
    pub index: u32,
    /// The Ethernet address; zero when it has none.
    pub mac: MacAddr,
    /// The largest IP packet, in octets.
    pub mtu: u32,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// It has a carrier (`IFF_LOWER_UP`: a cable, a peer) and the kernel has put it in operation
    /// (`IFF_RUNNING`, RFC 2863's `ifOperStatus`). Between the two, for as long as a work queue
    /// takes, the kernel drops without a word what is sent (`noop_qdisc`). A state the kernel does
    /// not know, as that of many virtual links, counts as operation.
    pub running: bool,
    /// Its frames have Ethernet headers.
    pub ethernet: bool,
}

impl LinkInfo {
    /// An Ethernet link that is up and carries packets of 1,500 octets, for what runs without the
    /// kernel's: benches, rehearsals, graphs in memory. Its number is 1.
    pub fn stand_in(name: &str, mac: MacAddr) -> Self {
        Self {
            name: name.to_owned(),
            index: 1,
            mac,
            mtu: 1500,
            up: true,
            running: true,
            ethernet: true,
        }
    }

    /// The interface called `name`.
    ///
    /// # Errors
    /// [`LinkError::NoSuchInterface`], a name that cannot be one, or netlink's failure.
    pub fn by_name(name: &str) -> Result<Self, LinkError> {
        check_name(name)?;
        get(&mut connect(0)?, name)
    }

    /// Up, with a carrier, and in operation.
    pub fn is_running(&self) -> bool {
        self.up && self.running
    }

    fn of(message: &LinkMessage) -> Option<Self> {
        // Bridges announce their ports in messages of their own family.
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let flags = message.header.flags;
        let layer = message.header.link_layer_type;
        let mut info = Self {
            name: String::new(),
            index: message.header.index,
            mac: MacAddr::ZERO,
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::LowerUp | LinkFlags::Running),
            ethernet: layer == LinkLayerType::Ether || layer == LinkLayerType::Loopback,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => info.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => info.mtu = *mtu,
                LinkAttribute::Address(octets) => {
                    info.mac = octets.as_slice().try_into().map_or(MacAddr::ZERO, MacAddr);
                }
                _ => {}
            }
        }
        (!info.name.is_empty()).then_some(info)
    }
}

fn netlink(step: &'static str) -> impl Fn(io::Error) -> LinkError {
    move |source| LinkError::Netlink { step, source }
}

/// A netlink socket that hears `groups`.
fn connect(groups: u32) -> Result<Socket, LinkError> {
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(netlink("opening a socket"))?;
    socket
        .bind(&SocketAddr::new(0, groups))
        .map_err(netlink("binding"))?;
    socket
        .set_non_blocking(true)
        .map_err(netlink("making the socket non-blocking"))?;
    Ok(socket)
}

fn check_name(name: &str) -> Result<(), LinkError> {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > NAME_MAX || name == "." || name == ".." || name.contains(odd)
    {
        return Err(LinkError::BadName {
            interface: name.to_owned(),
        });
    }
    Ok(())
}

/// Asks for one link by name.
fn get(socket: &mut Socket, name: &str) -> Result<LinkInfo, LinkError> {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    header.sequence_number = 1;
    let mut message = NetlinkMessage::new(
        header,
        NetlinkPayload::from(RouteNetlinkMessage::GetLink(link)),
    );
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    socket
        .send_to(&octets, &SocketAddr::new(0, 0), 0)
        .map_err(netlink("asking for a link"))?;
    let mut buffer = vec![0u8; ANSWER_MAX];
    loop {
        wait_for(socket.as_fd())?;
        let mut answer = None;
        receive(socket, &mut buffer, |payload| match payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                if let Some(link) = LinkInfo::of(&link) {
                    answer = Some(Ok(link));
                }
            }
            NetlinkPayload::Error(error) => {
                let source = error.to_io();
                answer = Some(Err(match source.raw_os_error() {
                    Some(libc::ENODEV) => LinkError::NoSuchInterface {
                        interface: name.to_owned(),
                    },
                    _ => netlink("asking for a link")(source),
                }));
            }
            _ => {}
        })
        .map_err(netlink("reading a link"))?;
        if let Some(answer) = answer {
            return answer;
        }
    }
}

fn wait_for(fd: BorrowedFd<'_>) -> Result<(), LinkError> {
    let step = "waiting for an answer";
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(ANSWER_TIMEOUT_MS)) {
        Ok(0) => Err(netlink(step)(io::ErrorKind::TimedOut.into())),
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(netlink(step)(error.into())),
    }
}

/// Reads one datagram and hands its messages to `each`; `false` when there is none.
fn receive(
    socket: &Socket,
    buffer: &mut [u8],
    mut each: impl FnMut(NetlinkPayload<RouteNetlinkMessage>),
) -> io::Result<bool> {
    let (len, from) = match socket.recv_from(&mut &mut *buffer, 0) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error),
    };
    // Any process may write to a netlink socket; only the kernel's port is 0.
    if from.port_number() != 0 {
        return Ok(true);
    }
    let mut rest = buffer.get(..len).unwrap_or(&[]);
    // Attributes this library does not know are no error; a message it cannot read is left out.
    while rest.len() >= 16 {
        let Some(Ok(len)) = rest
            .first_chunk::<4>()
            .map(|len| usize::try_from(u32::from_ne_bytes(*len)))
        else {
            break;
        };
        let Some(message) = rest.get(..len).filter(|_| len >= 16) else {
            break;
        };
        if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) {
            each(message.payload);
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_names_are_refused_without_asking() {
        for name in ["", "sixteen-octets-x", "a/b", "a b", "..", "a:1"] {
            let refused = LinkInfo::by_name(name);
            assert!(matches!(refused, Err(LinkError::BadName { .. })), "{name}");
        }
    }

    #[test]
    fn a_link_with_a_carrier_runs_when_the_kernel_has_put_it_in_operation() {
        let of = |flags| {
            let mut message = LinkMessage::default();
            message.header.flags = flags;
            message.attributes = vec![LinkAttribute::IfName("a".into())];
            LinkInfo::of(&message).unwrap()
        };
        let carrier = LinkFlags::Up | LinkFlags::LowerUp;
        assert!(!of(carrier).is_running());
        assert!(of(carrier | LinkFlags::Running).is_running());
        // The state of a link that is new is unknown, which the kernel tells as running.
        assert!(!of(LinkFlags::Up | LinkFlags::Running).is_running());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no netlink")]
    fn an_interface_that_does_not_exist_is_named() {
        let refused = LinkInfo::by_name("no-such-link0").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "no-such-link0: no such interface here; create it or correct the name"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no netlink")]
    fn loopback_is_described() {
        let link = LinkInfo::by_name("lo").unwrap();
        assert_eq!((link.name.as_str(), link.ethernet), ("lo", true));
        assert!(link.index > 0 && link.mtu > 0);
    }
}
