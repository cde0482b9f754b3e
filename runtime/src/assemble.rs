//! The graph of one worker, and the tables behind it: which node leads where, and how a change of
//! the [`Plan`] or of the link becomes a change of the tables.
//!
//! This file and a node's own are all there is to touch when a node is added.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use af_packet::{AfPacketInput, AfPacketInputNext, AfPacketOutput, LinkInfo};
use dataplane::ethernet_input::{EthernetInput, EthernetInputNext};
use dataplane::ethernet_input_type::{EthernetInputType, EthernetInputTypeNext};
use dataplane::{
    BuildError, Graph, GraphBuilder, IfIndex, Interface, Interfaces, NodeId, SharedInterfaces,
};
use ipstack::Tables;
use ipstack::arp_input::{ArpInput, ArpInputNext};
use ipstack::ip4_frag::{Ip4Frag, Ip4FragNext};
use ipstack::ip4_full_reassembly::{Ip4FullReassembly, Ip4FullReassemblyNext};
use ipstack::ip4_icmp_error::{Ip4IcmpError, Ip4IcmpErrorNext};
use ipstack::ip4_icmp_input::{Ip4IcmpInput, Ip4IcmpInputNext};
use ipstack::ip4_input::{Ip4Input, Ip4InputNext};
use ipstack::ip4_lookup::{Ip4Lookup, Ip4LookupNext};
use ipstack::ip4_rewrite::{Ip4Rewrite, Ip4RewriteNext};
use ipstack::ping::{Ping, PingNext, Pinger};
use ipstack::tcp::{RandomError, Service, Tcp, TcpConfig};
use ipstack::tcp4_error::Tcp4Error;
use ipstack::tcp4_input::{Tcp4Input, Tcp4InputNext};
use ipstack::udp4_input::{Udp4Input, Udp4InputNext};
use vlan::dot1q_demux::{Dot1qDemux, Dot1qDemuxNext};
use vlan::dot1q_push::{Dot1qPush, Dot1qPushNext};
use vlan::{SharedSubInterfaces, SubInterfaces};

use crate::plan::{Plan, PlannedInterface};

/// One worker's graph and tables.
pub struct Assembly {
    /// The graph.
    pub graph: Graph,
    /// Where received frames enter.
    pub entry: NodeId<AfPacketInput>,
    /// Addresses, routes, neighbours.
    pub tables: Tables,
    /// Connections and listening ports.
    pub tcp: Tcp,
    /// Echo requests of our own.
    pub pinger: Pinger,
    interfaces: SharedInterfaces,
    sub_interfaces: SharedSubInterfaces,
    /// What the tables hold now.
    plan: Option<Plan>,
    link: Option<LinkInfo>,
}

impl Assembly {
    /// The whole graph for the port with this number, with empty tables. `notify` is called, from
    /// other threads, when a connection wants to be polled.
    ///
    /// # Errors
    /// The system gives no random octets, or a wiring mistake in this file, which a test would
    /// have shown.
    pub fn new(
        port: IfIndex,
        config: TcpConfig,
        notify: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self, AssembleError> {
        let interfaces = Interfaces::shared();
        let tcp = Tcp::new(config, interfaces.clone(), notify).map_err(AssembleError::Random)?;
        Self::with_tcp(port, interfaces, tcp)
    }

    /// The same around a TCP that is there.
    pub(crate) fn with_tcp(
        port: IfIndex,
        interfaces: SharedInterfaces,
        tcp: Tcp,
    ) -> Result<Self, AssembleError> {
        let sub_interfaces = SubInterfaces::shared();
        let tables = Tables::new(interfaces.clone());

        // In the order a packet meets them.
        let mut builder = GraphBuilder::new();
        let entry = builder.add(AfPacketInput);
        let ethernet_input = builder.add(EthernetInput::new(interfaces.clone()));
        let dot1q_demux = builder.add(Dot1qDemux::new(interfaces.clone(), sub_interfaces.clone()));
        let ethernet_input_type = builder.add(EthernetInputType);
        let arp_input = builder.add(ArpInput::new(&tables));
        let ip4_input = builder.add(Ip4Input::new(&tables));
        let reassembly = builder.add(Ip4FullReassembly::new());
        let ip4_icmp_input = builder.add(Ip4IcmpInput::new(&tables));
        let pinger = Pinger::new();
        let ping = builder.add(Ping::new(&tables, &pinger));
        let udp4_input = builder.add(Udp4Input);
        let tcp4_error = builder.add(Tcp4Error::new(&tcp));
        let tcp4_input = builder.add(Tcp4Input::new(&tcp));
        let ip4_icmp_error = builder.add(Ip4IcmpError::new(&tables));
        let ip4_lookup = builder.add(Ip4Lookup::new(&tables));
        let ip4_frag = builder.add(Ip4Frag::new(&tables));
        let ip4_rewrite = builder.add(Ip4Rewrite::new(&tables));
        let dot1q_push = builder.add(Dot1qPush::new(interfaces.clone(), sub_interfaces.clone()));
        let af_packet_output = builder.add(AfPacketOutput::new(interfaces.clone(), port));

        builder
            .connect(entry, AfPacketInputNext::EthernetInput, ethernet_input)
            .connect(ethernet_input, EthernetInputNext::Tagged, dot1q_demux)
            .connect(ethernet_input, EthernetInputNext::Untagged, dot1q_demux)
            .connect(dot1q_demux, Dot1qDemuxNext::Type, ethernet_input_type)
            .connect(ethernet_input_type, EthernetInputTypeNext::Arp, arp_input)
            .connect(ethernet_input_type, EthernetInputTypeNext::Ip4, ip4_input)
            .connect(arp_input, ArpInputNext::Output, dot1q_push)
            .connect(ip4_input, Ip4InputNext::Reassembly, reassembly)
            .connect(ip4_input, Ip4InputNext::Icmp, ip4_icmp_input)
            .connect(ip4_input, Ip4InputNext::Tcp, tcp4_input)
            .connect(ip4_input, Ip4InputNext::Udp, udp4_input)
            .connect(ip4_input, Ip4InputNext::UnknownProtocol, ip4_icmp_error)
            .connect(reassembly, Ip4FullReassemblyNext::Icmp, ip4_icmp_input)
            .connect(reassembly, Ip4FullReassemblyNext::Tcp, tcp4_input)
            .connect(reassembly, Ip4FullReassemblyNext::Udp, udp4_input)
            .connect(
                reassembly,
                Ip4FullReassemblyNext::UnknownProtocol,
                ip4_icmp_error,
            )
            .connect(
                reassembly,
                Ip4FullReassemblyNext::TimeExceeded,
                ip4_icmp_error,
            )
            .connect(ip4_icmp_input, Ip4IcmpInputNext::Reply, ip4_lookup)
            .connect(ip4_icmp_input, Ip4IcmpInputNext::EchoReply, ping)
            .connect(ip4_icmp_input, Ip4IcmpInputNext::Tcp, tcp4_error)
            .connect(ping, PingNext::Lookup, ip4_lookup)
            .connect(udp4_input, Udp4InputNext::PortUnreachable, ip4_icmp_error)
            .connect(tcp4_input, Tcp4InputNext::Ip4Lookup, ip4_lookup)
            .connect(ip4_icmp_error, Ip4IcmpErrorNext::Lookup, ip4_lookup)
            .connect(ip4_lookup, Ip4LookupNext::Rewrite, ip4_rewrite)
            .connect(ip4_lookup, Ip4LookupNext::Fragment, ip4_frag)
            .connect(ip4_frag, Ip4FragNext::Rewrite, ip4_rewrite)
            .connect(ip4_rewrite, Ip4RewriteNext::Output, dot1q_push)
            .connect(dot1q_push, Dot1qPushNext::Output, af_packet_output);

        let graph = builder.build().map_err(AssembleError::Graph)?;
        let (plan, link) = (None, None);
        Ok(Self {
            graph,
            entry,
            tables,
            tcp,
            pinger,
            interfaces,
            sub_interfaces,
            plan,
            link,
        })
    }

    /// The plan the tables follow.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// Has the connections of addresses reset that `plan` no longer has; to be done before
    /// [`Self::apply`], while the resets still find their way.
    pub fn reset_removed(&self, plan: &Plan) {
        let Some(old) = &self.plan else { return };
        for interface in old.interfaces() {
            let kept = plan.interfaces().find(|one| one.index == interface.index);
            for own in &interface.addresses {
                if !kept.is_some_and(|kept| kept.addresses.contains(own)) {
                    self.tcp.reset_address(interface.index, own.address);
                }
            }
        }
    }

    /// Makes the tables follow `plan`: what it no longer has is taken away, what is new is added,
    /// and the rest is not touched.
    ///
    /// # Errors
    /// What a table refused; the rest is applied. A valid configuration is not refused.
    pub fn apply(&mut self, plan: Plan) -> Result<(), ApplyError> {
        let old = self.plan.take();
        if let Some(old) = &old {
            self.take_away(old, &plan);
        }
        for interface in plan.interfaces() {
            self.graph.make_interface(interface.index);
        }
        let result = self.add(old.as_ref(), &plan);
        self.plan = Some(plan);
        self.refresh();
        result
    }

    fn take_away(&mut self, old: &Plan, new: &Plan) {
        for route in old
            .routes
            .iter()
            .filter(|route| !new.routes.contains(route))
        {
            self.tables.remove_route(route.prefix);
        }
        for neighbor in old
            .neighbors
            .iter()
            .filter(|one| !new.neighbors.contains(one))
        {
            self.tables
                .remove_neighbor(neighbor.interface, neighbor.address);
        }
        for interface in old.interfaces() {
            let kept = new.interfaces().find(|one| one.index == interface.index);
            for own in &interface.addresses {
                if !kept.is_some_and(|kept| kept.addresses.contains(own)) {
                    self.tables.remove_address(interface.index, own.address);
                }
            }
        }
        for gone in old.subs.iter().filter(|old| {
            !new.subs
                .iter()
                .any(|new| (new.0.index, new.1) == (old.0.index, old.1))
        }) {
            self.sub_interfaces.borrow_mut().remove(gone.0.index);
            if !new.interfaces().any(|one| one.index == gone.0.index) {
                self.tables.remove_interface(gone.0.index);
                self.interfaces.borrow_mut().remove(gone.0.index);
                self.graph.remove_interface(gone.0.index);
            }
        }
    }

    fn add(&self, old: Option<&Plan>, new: &Plan) -> Result<(), ApplyError> {
        if old.is_none() {
            let added = self.sub_interfaces.borrow_mut().add_port(new.port.index);
            added.map_err(|error| ApplyError(error.to_string()))?;
        }
        let takes_untagged = !new.port.addresses.is_empty();
        let mut first_error = None;
        let mut note = |result: Result<(), String>| {
            if let Err(error) = result {
                first_error.get_or_insert(ApplyError(error));
            }
        };
        note(
            self.sub_interfaces
                .borrow_mut()
                .take_untagged(new.port.index, takes_untagged)
                .map_err(|error| error.to_string()),
        );
        for interface in new.interfaces() {
            self.set_interface(new, interface);
        }
        for (sub, matches) in &new.subs {
            let had = old.is_some_and(|old| {
                old.subs
                    .iter()
                    .any(|old| (old.0.index, old.1) == (sub.index, *matches))
            });
            if !had {
                let mut table = self.sub_interfaces.borrow_mut();
                let added = table.add(new.port.index, sub.index, *matches);
                note(added.map_err(|error| format!("{}: {error}", sub.name)));
            }
        }
        for interface in new.interfaces() {
            let had = old
                .and_then(|old| old.interfaces().find(|one| one.index == interface.index))
                .map_or(&[][..], |old| &old.addresses);
            for own in interface.addresses.iter().filter(|own| !had.contains(own)) {
                let added = self.tables.add_address(interface.index, *own);
                note(added.map_err(|error| format!("{}: {error}", interface.name)));
            }
        }
        for route in &new.routes {
            if !old.is_some_and(|old| old.routes.contains(route)) {
                let added = self
                    .tables
                    .add_route(route.prefix, route.via, route.interface);
                note(added.map_err(|error| error.to_string()));
            }
        }
        for one in &new.neighbors {
            if !old.is_some_and(|old| old.neighbors.contains(one)) {
                let set = self
                    .tables
                    .set_neighbor(one.interface, one.address, one.mac);
                note(set.map_err(|error| error.to_string()));
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Follows the kernel's interface: its Ethernet address, MTU and state; `None` when there is
    /// none.
    pub fn follow_link(&mut self, link: Option<LinkInfo>) {
        let mac = |link: &Option<LinkInfo>| link.as_ref().map(|link| link.mac);
        let up = |link: &Option<LinkInfo>| link.as_ref().is_some_and(LinkInfo::is_running);
        let came_up = up(&link) && !up(&self.link);
        let went_down = up(&self.link) && !up(&link);
        let moved = up(&link) && mac(&link) != mac(&self.link);
        self.link = link;
        self.refresh();
        let Some(plan) = &self.plan else { return };
        for interface in plan.interfaces() {
            if went_down {
                self.tables.flush_neighbors(interface.index);
            } else if came_up || moved {
                self.tables.announce(interface.index);
            }
        }
    }

    /// Whether the kernel's interface takes frames, as far as is known.
    pub fn link_runs(&self) -> bool {
        self.link.as_ref().is_some_and(LinkInfo::is_running)
    }

    /// Writes every interface's state anew, from the plan and the link.
    fn refresh(&self) {
        let Some(plan) = &self.plan else { return };
        for interface in plan.interfaces() {
            self.set_interface(plan, interface);
        }
    }

    fn set_interface(&self, plan: &Plan, planned: &PlannedInterface) {
        let link = self.link.as_ref();
        let kernel_mtu = link.map_or(0, |link| u16::try_from(link.mtu).unwrap_or(u16::MAX));
        // The kernel makes room for one tag beyond the MTU; a second one counts towards it.
        let pair = |(sub, matches): &(PlannedInterface, vlan::Match)| {
            sub.index == planned.index && matches!(matches, vlan::Match::Double { .. })
        };
        let room = kernel_mtu.saturating_sub(if plan.subs.iter().any(pair) { 4 } else { 0 });
        let interface = Interface {
            name: planned.name.clone(),
            mac: plan
                .mac
                .or_else(|| link.map(|link| link.mac))
                .unwrap_or_default(),
            // Never more than the kernel sends, whatever is configured.
            mtu: planned.mtu.map_or(room, |mtu| mtu.min(room)),
            up: planned.up && self.link_runs(),
        };
        self.interfaces.borrow_mut().set(planned.index, interface);
    }

    /// Listens on `address` (unspecified: all of ours) and `port`.
    ///
    /// # Errors
    /// Somebody listens there already, or there are too many.
    pub fn listen(
        &self,
        address: Ipv4Addr,
        port: u16,
        service: impl Service + 'static,
    ) -> Result<(), ApplyError> {
        let listening = self.tcp.listen(address, port, service);
        listening.map_err(|error| ApplyError(error.to_string()))
    }

    /// The port's sub-interfaces.
    pub fn sub_interfaces(&self) -> &SharedSubInterfaces {
        &self.sub_interfaces
    }

    /// The worker's interfaces.
    pub fn interfaces(&self) -> &SharedInterfaces {
        &self.interfaces
    }
}

impl fmt::Debug for Assembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly")
            .field("graph", &self.graph)
            .finish_non_exhaustive()
    }
}

/// Why a worker's graph cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum AssembleError {
    /// The system gives no random octets for secrets.
    Random(RandomError),
    /// The wiring is wrong.
    Graph(BuildError),
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(error) => error.fmt(f),
            Self::Graph(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AssembleError {}

/// What a table refused, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyError(String);

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ApplyError {}
