//! The proof of concept's wiring, in namespaces of its own.
//!
//! ```text
//!  client (VLAN 123)          wire                     node            pod
//!  eth0 192.168.123.1/24 --- wire0 ======= veth ======= eth0 --------- macvlan0
//!        macvlan                                              macvlan
//! ```
//! Clients share one wire: each is a macvlan on `wire0`, as the pod's device is one on `eth0`.
//! With impairments, a relay in the namespace `wire` sits in the middle of the veth cable.

use std::net::Ipv4Addr;
use std::{fs, io};

use crate::error::{Step as _, WiringError};
use crate::link::{Link, Links};
use crate::netns::Netns;
use crate::offload;
use crate::packet_socket::{Hear, PacketSocket};
use crate::relay::{Channel, Impairment, Relay, RelayCounters, Side};
use crate::tag::{Tag, describe};
use crate::vlan_client::{Method, VlanClient};

/// The clients' end of the cable.
pub const WIRE: &str = "wire0";
/// The node's end, under the pods' macvlan devices.
pub const NODE_DEVICE: &str = "eth0";
/// A client's, or a second pod's, device.
pub const CLIENT_DEVICE: &str = "eth0";
/// The pod's device.
pub const POD_DEVICE: &str = "macvlan0";

/// The proof of concept's addresses.
pub const CLIENT_ADDRESS: (Ipv4Addr, u8) = (Ipv4Addr::new(192, 168, 123, 1), 24);
/// The server's address on VLAN 123.
pub const SERVER_ADDRESS: (Ipv4Addr, u8) = (Ipv4Addr::new(192, 168, 123, 150), 24);
/// The proof of concept's VLAN.
pub const VLAN: Tag = Tag::customer(123);

/// What to build.
#[derive(Debug, Clone)]
pub struct Options {
    /// Tags of the first client; none means untagged.
    pub tags: Vec<Tag>,
    /// Address of the first client.
    pub address: (Ipv4Addr, u8),
    /// Payload octets of a frame on the wire.
    pub mtu: u32,
    /// What the wire does to frames towards the node, and towards the clients.
    pub impairments: Option<[Impairment; 2]>,
    /// Tag stacks an impaired wire carries beside the first client's and untagged frames.
    pub impaired_tags: Vec<Vec<Tag>>,
    /// How clients may be put on their VLANs.
    pub methods: Vec<Method>,
}

impl Default for Options {
    /// VLAN 123, 192.168.123.1/24, MTU 1500, a good wire, any method.
    fn default() -> Self {
        Self {
            tags: vec![VLAN],
            address: CLIENT_ADDRESS,
            mtu: 1500,
            impairments: None,
            impaired_tags: Vec::new(),
            methods: Method::ALL.to_vec(),
        }
    }
}

impl Options {
    /// Every tag stack an impaired wire carries.
    fn impaired_stacks(&self) -> Vec<Vec<Tag>> {
        let mut stacks = vec![Vec::new()];
        for tags in self.impaired_tags.iter().chain([&self.tags]) {
            if !stacks.contains(tags) {
                stacks.push(tags.clone());
            }
        }
        stacks
    }

    /// Refuses tags that an impaired wire would swallow.
    fn check_carried(&self, tags: &[Tag]) -> Result<(), WiringError> {
        if self.impairments.is_none() || self.impaired_stacks().iter().any(|its| its == tags) {
            return Ok(());
        }
        Err(WiringError::new(
            format!("putting a host on {}", describe(tags)),
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the impaired wire does not carry it; list it in `impaired_tags`",
            ),
        ))
    }
}

/// A namespace whose kernel stack speaks on the wire.
#[derive(Debug)]
pub struct Host {
    // Fields drop in this order: the relay before its devices.
    vlan: Option<VlanClient>,
    namespace: Netns,
    interface: String,
}

impl Host {
    /// The namespace it lives in.
    pub fn namespace(&self) -> &Netns {
        &self.namespace
    }

    /// The device with the address.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// How it is on its VLAN; `None` when untagged.
    pub fn vlan(&self) -> Option<&VlanClient> {
        self.vlan.as_ref()
    }

    /// Puts `device`, which is in `namespace`, on the VLAN of `tags` and gives it `address`.
    fn settle(
        namespace: Netns,
        device: &str,
        tags: &[Tag],
        address: (Ipv4Addr, u8),
        methods: &[Method],
    ) -> Result<Self, WiringError> {
        let mut links = Links::open(&namespace)?;
        links.set_up("lo")?;
        let vlan = if tags.is_empty() {
            links.set_up(device)?;
            None
        } else {
            Some(VlanClient::attach(&namespace, device, tags, methods)?)
        };
        let interface = vlan
            .as_ref()
            .map_or(device, VlanClient::interface)
            .to_owned();
        links.add_address(&interface, address.0, address.1)?;
        Ok(Self {
            vlan,
            namespace,
            interface,
        })
    }
}

/// The wiring. Dropping it takes everything away.
#[derive(Debug)]
pub struct Wiring {
    clients: Vec<Host>,
    kernel_pods: Vec<Host>,
    impaired: Option<Relay>,
    pod: Netns,
    node: Netns,
    wire: Netns,
    options: Options,
}

impl Wiring {
    /// Builds the proof of concept's wiring.
    ///
    /// # Errors
    /// Names the step the kernel refused; nothing is left behind.
    pub fn poc(options: Options) -> Result<Self, WiringError> {
        let (wire, node, pod) = (quiet_namespace()?, quiet_namespace()?, new_namespace()?);
        let mut wire_links = Links::open(&wire)?;
        let mut node_links = Links::open(&node)?;
        let mut impaired = None;
        if let Some(impairments) = options.impairments {
            wire_links.add_veth(WIRE, CLIENT_CABLE, &wire)?;
            wire_links.add_veth(NODE_CABLE, NODE_DEVICE, &node)?;
            for cable in [CLIENT_CABLE, NODE_CABLE] {
                wire_links.set_mtu(cable, options.mtu + TAG_ROOM)?;
                wire_links.set_up(cable)?;
            }
            offload::disable(&wire, WIRE)?;
            offload::disable(&node, NODE_DEVICE)?;
            impaired = Some(impair(&wire, &options, impairments)?);
        } else {
            wire_links.add_veth(WIRE, NODE_DEVICE, &node)?;
        }
        for (links, device) in [(&mut wire_links, WIRE), (&mut node_links, NODE_DEVICE)] {
            links.set_mtu(device, options.mtu)?;
            links.set_up(device)?;
        }
        node_links.add_macvlan(NODE_DEVICE, POD_DEVICE, &pod)?;
        let mut pod_links = Links::open(&pod)?;
        pod_links.set_up("lo")?;
        pod_links.set_up(POD_DEVICE)?;
        let mut wiring = Self {
            clients: Vec::new(),
            kernel_pods: Vec::new(),
            impaired,
            pod,
            node,
            wire,
            options,
        };
        let (tags, address) = (wiring.options.tags.clone(), wiring.options.address);
        wiring.add_client(&tags, address)?;
        Ok(wiring)
    }

    /// Adds a client on the VLAN of `tags` (untagged if empty), in its own namespace; returns
    /// its place among [`clients`](Self::clients).
    ///
    /// # Errors
    /// Names the step the kernel refused; or an impaired wire does not carry these tags.
    pub fn add_client(
        &mut self,
        tags: &[Tag],
        address: (Ipv4Addr, u8),
    ) -> Result<usize, WiringError> {
        self.options.check_carried(tags)?;
        let namespace = quiet_namespace()?;
        allow_ping(&namespace)?;
        Links::open(&self.wire)?.add_macvlan(WIRE, CLIENT_DEVICE, &namespace)?;
        let methods = &self.options.methods;
        let client = Host::settle(namespace, CLIENT_DEVICE, tags, address, methods)?;
        self.finish_frames_if_relayed(&client)?;
        self.clients.push(client);
        Ok(self.clients.len() - 1)
    }

    /// Adds a pod whose kernel stack is on the VLAN of `tags`, beside ours on the node's device
    /// (the yardstick: another server on the same wiring); returns its place among
    /// [`kernel_pods`](Self::kernel_pods).
    ///
    /// # Errors
    /// Names the step the kernel refused; or an impaired wire does not carry these tags.
    pub fn add_kernel_pod(
        &mut self,
        tags: &[Tag],
        address: (Ipv4Addr, u8),
    ) -> Result<usize, WiringError> {
        self.options.check_carried(tags)?;
        let namespace = quiet_namespace()?;
        Links::open(&self.node)?.add_macvlan(NODE_DEVICE, POD_DEVICE, &namespace)?;
        let methods = &self.options.methods;
        let pod = Host::settle(namespace, POD_DEVICE, tags, address, methods)?;
        self.finish_frames_if_relayed(&pod)?;
        self.kernel_pods.push(pod);
        Ok(self.kernel_pods.len() - 1)
    }

    /// A relay cannot finish frames for others, so everybody has to.
    fn finish_frames_if_relayed(&self, host: &Host) -> Result<(), WiringError> {
        if host.vlan().map(VlanClient::method) != Some(Method::Relay) {
            return Ok(());
        }
        offload::disable(&self.wire, WIRE)?;
        offload::disable(&self.node, NODE_DEVICE)?;
        offload::disable(&self.pod, POD_DEVICE)
    }

    /// The first client.
    pub fn client(&self) -> &Host {
        #[expect(
            clippy::indexing_slicing,
            reason = "`poc` adds the first client or fails"
        )]
        &self.clients[0]
    }

    /// All clients.
    pub fn clients(&self) -> &[Host] {
        &self.clients
    }

    /// Pods on the kernel's stack.
    pub fn kernel_pods(&self) -> &[Host] {
        &self.kernel_pods
    }

    /// The pod: a namespace with `macvlan0` and no address.
    pub fn pod(&self) -> &Netns {
        &self.pod
    }

    /// The pod's device.
    ///
    /// # Errors
    /// Somebody deleted it.
    pub fn pod_link(&self) -> Result<Link, WiringError> {
        Links::open(&self.pod)?.get(POD_DEVICE)
    }

    /// The node: a namespace with `eth0`, under `macvlan0`.
    pub fn node(&self) -> &Netns {
        &self.node
    }

    /// The clients' end of the cable, `wire0`: frames sent there reach the node as they are.
    pub fn wire(&self) -> &Netns {
        &self.wire
    }

    /// From now on, an impaired wire does this to frames towards the node, and towards the clients.
    pub fn impair(&self, impairments: [Impairment; 2]) {
        if let Some(relay) = &self.impaired {
            relay.impair(impairments);
        }
    }

    /// What an impaired wire did so far.
    pub fn impaired(&self) -> Option<&RelayCounters> {
        self.impaired.as_ref().map(Relay::counters)
    }
}

/// The two ends between which an impaired wire's relay sits.
const CLIENT_CABLE: &str = "cable0";
const NODE_CABLE: &str = "cable1";
/// Inline tags of the frames a relay sends count against the device's MTU.
const TAG_ROOM: u32 = 8;

fn impair(
    wire: &Netns,
    options: &Options,
    impairments: [Impairment; 2],
) -> Result<Relay, WiringError> {
    let mut channels = Vec::new();
    for tags in options.impaired_stacks() {
        let side = |device| -> Result<Side, WiringError> {
            let socket = PacketSocket::open(wire, device, Hear::Only(&tags))?;
            Ok(Side {
                socket,
                tags: tags.clone(),
            })
        };
        channels.push(Channel {
            sides: [side(CLIENT_CABLE)?, side(NODE_CABLE)?],
            impairments,
        });
    }
    Relay::start(channels)
}

fn new_namespace() -> Result<Netns, WiringError> {
    Netns::new().step(|| "making a network namespace".into())
}

/// A namespace without IPv6, so that nothing is on the wire but what a test puts there.
fn quiet_namespace() -> Result<Netns, WiringError> {
    let namespace = new_namespace()?;
    // Absent where the kernel has no IPv6: then there is nothing to quieten.
    let quieten = || {
        for scope in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
            let _ = fs::write(path, "1");
        }
    };
    namespace
        .run(quieten)
        .step(|| "entering a network namespace".into())?;
    Ok(namespace)
}

/// Lets every group open ICMP sockets; in a user namespace only group 0 exists.
fn allow_ping(namespace: &Netns) -> Result<(), WiringError> {
    const RANGE: &str = "/proc/sys/net/ipv4/ping_group_range";
    namespace
        .run(|| fs::write(RANGE, "0 2147483647").or_else(|_| fs::write(RANGE, "0 0")))
        .and_then(|written| written)
        .step(|| "allowing ICMP sockets".into())
}
