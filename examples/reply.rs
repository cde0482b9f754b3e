//! A graph of one's own, without the runtime: a ring, Ethernet, one VLAN, ARP and ping.
//!
//! `reply INTERFACE VLAN ADDRESS/PREFIX SECONDS`, as root or with CAP_NET_RAW.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::time::{Duration, Instant};

use af_packet::{AfPacketInput, AfPacketInputNext, AfPacketOutput, LinkInfo, Options, Sockets};
use dataplane::ethernet_input::EthernetInputNext;
use dataplane::ethernet_input_type::EthernetInputTypeNext;
use dataplane::{
    Batch, ErrorDrop, EthernetInput, EthernetInputType, Graph, GraphBuilder, IfIndex, Interface,
    Interfaces, NodeId,
};
use ipstack::arp_input::ArpInputNext;
use ipstack::ip4_icmp_input::Ip4IcmpInputNext;
use ipstack::ip4_input::Ip4InputNext;
use ipstack::ip4_lookup::Ip4LookupNext;
use ipstack::ip4_rewrite::Ip4RewriteNext;
use ipstack::{ArpInput, Ip4IcmpInput, Ip4Input, Ip4Lookup, Ip4Rewrite, Tables};
use vlan::dot1q_demux::{Dot1qDemux, Dot1qDemuxNext};
use vlan::dot1q_push::{Dot1qPush, Dot1qPushNext};
use vlan::{Match, SubInterfaces, VlanId};

/// The host's interface.
const PORT: IfIndex = IfIndex(1);
/// The VLAN on it.
const VLAN: IfIndex = IfIndex(2);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, vlan, address, seconds] = arguments.as_slice() else {
        return Err("usage: reply INTERFACE VLAN ADDRESS/PREFIX SECONDS".into());
    };
    let until = Instant::now() + Duration::from_secs(seconds.parse()?);
    let link = LinkInfo::by_name(interface)?;

    // The tables the nodes share: interfaces, tags, addresses.
    let interfaces = Interfaces::shared();
    let mtu = u16::try_from(link.mtu).unwrap_or(u16::MAX);
    for (index, name) in [
        (PORT, format!("host-{interface}")),
        (VLAN, format!("host-{interface}.{vlan}")),
    ] {
        interfaces.borrow_mut().set(
            index,
            Interface {
                name,
                mac: link.mac,
                mtu,
                up: true,
            },
        );
    }
    let subs = SubInterfaces::shared();
    subs.borrow_mut().add_port(PORT)?;
    subs.borrow_mut()
        .add(PORT, VLAN, Match::dot1q(VlanId::new(vlan.parse()?)?))?;
    let tables = Tables::new(interfaces.clone());
    tables.add_address(VLAN, address.parse()?)?;

    // The graph; an arc left out would be refused by name.
    let mut builder = GraphBuilder::new();
    let input = builder.add(AfPacketInput);
    let ethernet = builder.add(EthernetInput::new(interfaces.clone()));
    let demux = builder.add(Dot1qDemux::new(interfaces.clone(), subs.clone()));
    let types = builder.add(EthernetInputType);
    let arp = builder.add(ArpInput::new(&tables));
    let ip4 = builder.add(Ip4Input::new(&tables));
    let icmp = builder.add(Ip4IcmpInput::new(&tables));
    let lookup = builder.add(Ip4Lookup::new(&tables));
    let rewrite = builder.add(Ip4Rewrite::new(&tables));
    let push = builder.add(Dot1qPush::new(interfaces.clone(), subs));
    let output = builder.add(AfPacketOutput::new(interfaces, PORT));
    let not_wanted = builder.add(ErrorDrop);
    builder
        .connect(input, AfPacketInputNext::EthernetInput, ethernet)
        .connect(ethernet, EthernetInputNext::Tagged, demux)
        .connect(ethernet, EthernetInputNext::Untagged, not_wanted)
        .connect(demux, Dot1qDemuxNext::Type, types)
        .connect(types, EthernetInputTypeNext::Arp, arp)
        .connect(types, EthernetInputTypeNext::Ip4, ip4)
        .connect(arp, ArpInputNext::Output, push)
        .connect(ip4, Ip4InputNext::Icmp, icmp)
        .connect(ip4, Ip4InputNext::Tcp, not_wanted)
        .connect(ip4, Ip4InputNext::Udp, not_wanted)
        .connect(ip4, Ip4InputNext::Reassembly, not_wanted)
        .connect(ip4, Ip4InputNext::UnknownProtocol, not_wanted)
        .connect(icmp, Ip4IcmpInputNext::Reply, lookup)
        .connect(icmp, Ip4IcmpInputNext::Tcp, not_wanted)
        .connect(icmp, Ip4IcmpInputNext::EchoReply, not_wanted)
        .connect(lookup, Ip4LookupNext::Rewrite, rewrite)
        .connect(lookup, Ip4LookupNext::Fragment, not_wanted)
        .connect(rewrite, Ip4RewriteNext::Output, push)
        .connect(push, Dot1qPushNext::Output, output);
    let graph = builder.build()?;

    println!(
        "ready: {address} on VLAN {vlan} of {interface} ({})",
        link.mac
    );
    let graph = run(graph, input, interface, &link, until)?;
    for (info, node) in graph.nodes().iter().zip(&graph.counters().nodes) {
        println!(
            "{:20} {:6} frames, {:6} dropped",
            info.name,
            node.received,
            node.dropped()
        );
    }
    Ok(())
}

/// Turns the graph until `until`, asleep while there is nothing to do.
fn run(
    mut graph: Graph,
    input: NodeId<AfPacketInput>,
    interface: &str,
    link: &LinkInfo,
    until: Instant,
) -> Result<Graph, Box<dyn std::error::Error>> {
    let mut device = Sockets::open(interface)?.map(PORT, &Options::default())?;
    device.attach(link)?;
    let start = Instant::now();
    while Instant::now() < until {
        let (received, turn) = {
            let (mut rx, mut tx) = device.turn();
            let mut batch = Batch::new();
            let received = rx.fill(&mut batch);
            (
                received,
                graph.turn(start.elapsed(), input, &mut batch, &mut tx),
            )
        }; // here it sends, and gives the received blocks back
        if received == 0 {
            let due = turn.deadline.map_or(until, |at| until.min(start + at));
            device.wait(Some(due.saturating_duration_since(Instant::now())), &[])?;
        }
    }
    Ok(graph)
}
