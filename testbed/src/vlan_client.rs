//! A device on a VLAN, for the kernel's own TCP/IP stack to speak through.
//!
//! | method | what it is | needs |
//! |---|---|---|
//! | [`Method::Device`] | a VLAN device, `eth0.123` | the 8021q module |
//! | [`Method::Program`] | a BPF program on the device itself (TCX, or clsact before Linux 6.6) | root |
//! | [`Method::Relay`] | a veth pair, and a thread that retags frames in userspace | `CAP_NET_RAW` |
//!
//! The first that works is taken. With a relay, frames must arrive finished: whoever wires the
//! far side turns its offloads off ([`offload::disable`]).

use std::fmt;

use aya::Ebpf;

use crate::error::WiringError;
use crate::link::Links;
use crate::netns::Netns;
use crate::offload;
use crate::packet_socket::{Hear, PacketSocket};
use crate::relay::{Channel, Impairment, Relay, Side};
use crate::tag::{TAG_LEN, TPID_CTAG, TPID_STAG, Tag, describe};
use crate::vlan_program;

/// How a device is put on its VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The kernel's VLAN device.
    Device,
    /// A BPF program that pushes and pops the tags.
    Program,
    /// A thread that retags frames.
    Relay,
}

impl Method {
    /// In the order they are tried.
    pub const ALL: [Self; 3] = [Self::Device, Self::Program, Self::Relay];

    /// Octets of tags that come out of the MTU. Every device has room for one tag; but a raw
    /// socket is granted it for an outermost C-tag only (`packet_extra_vlan_len_allowed`).
    fn room(self, tags: &[Tag]) -> u32 {
        let granted = match (self, tags.first()) {
            (Self::Relay, Some(outermost)) => outermost.tpid == TPID_CTAG,
            _ => true,
        };
        let counted = tags.len().saturating_sub(usize::from(granted));
        u32::try_from(counted * TAG_LEN).unwrap_or_default()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "the kernel's VLAN device",
            Self::Program => "a BPF program that pushes and pops the tag",
            Self::Relay => "a relay thread that pushes and pops the tag",
        })
    }
}

/// Holds a device on its VLAN.
#[derive(Debug)]
pub struct VlanClient {
    interface: String,
    tags: Vec<Tag>,
    method: Method,
    _held: Held,
}

/// What must live as long as the client.
#[derive(Debug)]
enum Held {
    Nothing,
    Program { _loaded: Ebpf },
    Relay { _relay: Relay },
}

impl VlanClient {
    /// Puts `lower` in `namespace` on the VLAN of `tags` (outermost first), by the first of
    /// `methods` that works.
    ///
    /// # Errors
    /// None works: the reason of the last, and of those before it.
    pub fn attach(
        namespace: &Netns,
        lower: &str,
        tags: &[Tag],
        methods: &[Method],
    ) -> Result<Self, WiringError> {
        let mut links = Links::open(namespace)?;
        let mtu = links.get(lower)?.mtu;
        links.set_up(lower)?;
        let mut refused = Vec::new();
        for &method in methods {
            match Self::by(method, namespace, &mut links, lower, tags) {
                Ok((interface, held)) => {
                    let room = method.room(tags);
                    links.set_mtu(&interface, mtu.saturating_sub(room))?;
                    links.set_up(&interface)?;
                    return Ok(Self {
                        interface,
                        tags: tags.to_vec(),
                        method,
                        _held: held,
                    });
                }
                Err(error) => refused.push(error.to_string()),
            }
        }
        Err(WiringError::new(
            format!("putting {lower} on {}", describe(tags)),
            std::io::Error::other(refused.join("; ")),
        ))
    }

    fn by(
        method: Method,
        namespace: &Netns,
        links: &mut Links,
        lower: &str,
        tags: &[Tag],
    ) -> Result<(String, Held), WiringError> {
        match method {
            Method::Device => {
                let device = stack_devices(links, lower, tags)?;
                Ok((device, Held::Nothing))
            }
            Method::Program => {
                let loaded = vlan_program::attach(namespace, lower, tags).map_err(|error| {
                    WiringError::new(format!("attaching a BPF program to {lower}"), error)
                })?;
                Ok((lower.to_owned(), Held::Program { _loaded: loaded }))
            }
            Method::Relay => {
                let relay = relay(namespace, links, lower, tags)?;
                Ok((RELAYED.to_owned(), Held::Relay { _relay: relay }))
            }
        }
    }

    /// The device that carries the client's address.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The tags its frames bear, outermost first.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// How it is done.
    pub fn method(&self) -> Method {
        self.method
    }

    /// In words: `VLAN 123 by the kernel's VLAN device`.
    pub fn describe(&self) -> String {
        format!("{} by {}", describe(&self.tags), self.method)
    }
}

/// Stacks one VLAN device per tag; all or none, since a lone outer one would take frames away.
fn stack_devices(links: &mut Links, lower: &str, tags: &[Tag]) -> Result<String, WiringError> {
    let mut devices = vec![lower.to_owned()];
    for tag in tags {
        let below = devices.last().map_or(lower, String::as_str);
        // A name has at most 15 octets: the inner one does not repeat the outer one.
        let name = match devices.len() {
            1 => format!("{lower}.{}", tag.vid),
            _ => format!("vlan.{}", tag.vid),
        };
        let made = links
            .add_vlan(below, &name, tag.vid, tag.tpid == TPID_STAG)
            .and_then(|()| links.set_up(&name));
        devices.push(name);
        if let Err(error) = made {
            for device in devices.iter().skip(1) {
                let _ = links.delete(device); // the last may never have been there
            }
            return Err(error);
        }
    }
    Ok(devices.pop().unwrap_or_default())
}

/// The veth pair between the kernel's stack and the relay.
const RELAYED: &str = "vlan0";
const RELAY_END: &str = "vlan0-relay";

fn relay(
    namespace: &Netns,
    links: &mut Links,
    lower: &str,
    tags: &[Tag],
) -> Result<Relay, WiringError> {
    links.add_veth(RELAYED, RELAY_END, namespace)?;
    let mac = links.get(lower)?.mac; // a macvlan hears only what is sent to its own address
    links.set_mac(RELAYED, mac)?;
    links.set_up(RELAY_END)?;
    offload::disable(namespace, RELAYED)?;
    offload::disable(namespace, lower)?;
    let inner = PacketSocket::open(namespace, RELAY_END, Hear::Only(&[]))?;
    let outer = PacketSocket::open(namespace, lower, Hear::Only(tags))?;
    Relay::start(vec![Channel {
        sides: [
            Side {
                socket: inner,
                tags: Vec::new(),
            },
            Side {
                socket: outer,
                tags: tags.to_vec(),
            },
        ],
        impairments: [Impairment::default(); 2],
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_out_of_the_mtu_where_the_device_has_no_room_for_them() {
        let qinq = [Tag::service(200), Tag::customer(100)];
        for (method, tags, room) in [
            (Method::Program, &qinq[1..], 0),
            (Method::Program, &qinq[..], 4),
            (Method::Device, &qinq[..], 4),
            (Method::Relay, &qinq[1..], 0),
            (Method::Relay, &qinq[..1], 4),
            (Method::Relay, &qinq[..], 8),
        ] {
            assert_eq!(method.room(tags), room, "{method} {tags:?}");
        }
    }
}
