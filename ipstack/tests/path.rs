//! The whole IPv4 path in memory, from Ethernet frame to Ethernet frame.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::Ipv4Addr;
use std::time::Duration;

use dataplane::testing::{Captured, MemoryPort, ethernet, slots};
use dataplane::{
    Batch, ErrorDrop, EtherType, EthernetInput, EthernetInputType, Frame, Graph, GraphBuilder,
    HEADROOM, IfIndex, Interface, Interfaces, Label as _, MacAddr, Never, Node, NodeId, Offload,
    Outlets, checksum,
};
use ipstack::arp_input::ArpInputNext;
use ipstack::ip4::{Header, MORE_FRAGMENTS};
use ipstack::ip4_frag::Ip4FragNext;
use ipstack::ip4_full_reassembly::Ip4FullReassemblyNext as Whole;
use ipstack::ip4_icmp_error::Ip4IcmpErrorNext;
use ipstack::ip4_icmp_input::Ip4IcmpInputNext;
use ipstack::ip4_input::Ip4InputNext;
use ipstack::ip4_lookup::Ip4LookupNext;
use ipstack::ip4_rewrite::Ip4RewriteNext;
use ipstack::udp4_input::Udp4InputNext;
use ipstack::{
    ArpInput, Ip4Frag, Ip4FullReassembly, Ip4IcmpError, Ip4IcmpInput, Ip4Input, Ip4Lookup,
    Ip4Rewrite, Tables, Udp4Input,
};

const PORT: IfIndex = IfIndex(0);
const OURS: MacAddr = MacAddr([0x02, 0xfe, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([0x02, 0xfe, 0, 0, 0, 2]);
const OUR_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 150);
const PEER_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 7);

/// Stands for `dot1q-push` and `af-packet-output`.
struct Output;

dataplane::labels! {
    enum OutputDrop {
        Full = "full",
    }
}

impl Node for Output {
    const NAME: &'static str = "output";
    type Next = Never;
    type Drop = OutputDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Never, OutputDrop>,
    ) {
        for frame in batch.drain() {
            if let Err(frame) = out.transmit(frame) {
                out.drop(OutputDrop::Full, frame);
            }
        }
    }
}

struct Path {
    graph: Graph,
    entry: NodeId<EthernetInput>,
    now: Duration,
}

fn path() -> Path {
    let interfaces = Interfaces::shared();
    let port = Interface {
        name: "host-m0".into(),
        mac: OURS,
        mtu: 1500,
        up: true,
    };
    assert!(interfaces.borrow_mut().set(PORT, port));
    let tables = Tables::new(interfaces.clone());
    tables
        .add_address(PORT, "192.168.123.150/24".parse().unwrap())
        .unwrap();

    let mut graph = GraphBuilder::new();
    let entry = graph.add(EthernetInput::new(interfaces));
    let types = graph.add(EthernetInputType);
    let arp = graph.add(ArpInput::new(&tables));
    let input = graph.add(Ip4Input::new(&tables));
    let whole = graph.add(Ip4FullReassembly::new());
    let icmp = graph.add(Ip4IcmpInput::new(&tables));
    let udp = graph.add(Udp4Input);
    let error = graph.add(Ip4IcmpError::new(&tables));
    let lookup = graph.add(Ip4Lookup::new(&tables));
    let frag = graph.add(Ip4Frag::new(&tables));
    let rewrite = graph.add(Ip4Rewrite::new(&tables));
    let output = graph.add(Output);
    let end = graph.add(ErrorDrop);

    graph.connect(
        entry,
        dataplane::ethernet_input::EthernetInputNext::Tagged,
        end,
    );
    graph.connect(
        entry,
        dataplane::ethernet_input::EthernetInputNext::Untagged,
        types,
    );
    graph.connect(
        types,
        dataplane::ethernet_input_type::EthernetInputTypeNext::Arp,
        arp,
    );
    graph.connect(
        types,
        dataplane::ethernet_input_type::EthernetInputTypeNext::Ip4,
        input,
    );
    graph.connect(arp, ArpInputNext::Output, output);
    graph.connect(input, Ip4InputNext::Icmp, icmp);
    graph.connect(input, Ip4InputNext::Tcp, end);
    graph.connect(input, Ip4InputNext::Udp, udp);
    graph.connect(input, Ip4InputNext::Reassembly, whole);
    graph.connect(input, Ip4InputNext::UnknownProtocol, error);
    graph.connect(whole, Whole::Icmp, icmp);
    graph.connect(whole, Whole::Tcp, end);
    graph.connect(whole, Whole::Udp, udp);
    graph.connect(whole, Whole::UnknownProtocol, error);
    graph.connect(whole, Whole::TimeExceeded, error);
    graph.connect(icmp, Ip4IcmpInputNext::Reply, lookup);
    graph.connect(icmp, Ip4IcmpInputNext::Tcp, end);
    graph.connect(icmp, Ip4IcmpInputNext::EchoReply, end);
    graph.connect(udp, Udp4InputNext::PortUnreachable, error);
    graph.connect(error, Ip4IcmpErrorNext::Lookup, lookup);
    graph.connect(lookup, Ip4LookupNext::Rewrite, rewrite);
    graph.connect(lookup, Ip4LookupNext::Fragment, frag);
    graph.connect(frag, Ip4FragNext::Rewrite, rewrite);
    graph.connect(rewrite, Ip4RewriteNext::Output, output);
    let graph = graph.build().unwrap();
    let now = Duration::ZERO;
    let mut path = Path { graph, entry, now };
    assert_eq!(path.turn(&[]).len(), 1, "the announcement");
    path
}

impl Path {
    fn turn(&mut self, frames: &[Vec<u8>]) -> Vec<Captured> {
        let mut memory = slots(64, 70_000);
        let mut inputs: Vec<Vec<u8>> = frames
            .iter()
            .map(|octets| [&[0xa5; HEADROOM][..], octets].concat())
            .collect();
        let mut port = MemoryPort::new(&mut memory, Offload::default());
        let mut batch = Batch::new();
        for buffer in &mut inputs {
            let len = buffer.len() - HEADROOM;
            batch.push(Frame::new(buffer, HEADROOM, len)).unwrap();
        }
        self.graph.turn(self.now, self.entry, &mut batch, &mut port);
        drop(batch);
        for (info, counters) in self.graph.nodes().iter().zip(&self.graph.counters().nodes) {
            assert_eq!(
                counters.received + counters.made,
                counters.sent + counters.transmitted + counters.consumed + counters.dropped(),
                "{}",
                info.name
            );
        }
        port.transmitted
    }
}

fn arp(operation: u8, target: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
    packet.extend(PEER.0);
    packet.extend(PEER_IP.octets());
    packet.extend(OURS.0);
    packet.extend(target.octets());
    ethernet(MacAddr::BROADCAST, PEER, &[], EtherType::ARP, &packet)
}

fn ip4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        tos: 0,
        total_len: u16::try_from(20 + payload.len()).unwrap(),
        identification: 99,
        fragment,
        protocol,
        source: PEER_IP,
        destination: OUR_IP,
    };
    let packet = [&header.octets()[..], payload].concat();
    ethernet(OURS, PEER, &[], EtherType::IPV4, &packet)
}

fn echo(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0, 0x12, 0x34, 0, 1], data].concat();
    let sum = checksum::of(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn ping(data: &[u8]) -> Vec<Vec<u8>> {
    let message = echo(8, data);
    let count = message.chunks(1480).len();
    let cut = message.chunks(1480).enumerate().map(|(number, piece)| {
        let offset = u16::try_from(number * 185).unwrap();
        let more = if number + 1 < count {
            MORE_FRAGMENTS
        } else {
            0
        };
        ip4(1, offset | more, piece)
    });
    cut.collect()
}

/// The payload of fragments in order.
fn join(frames: &[Captured]) -> Vec<u8> {
    let mut payload = Vec::new();
    for frame in frames {
        assert!(frame.octets.len() <= 1514);
        assert_eq!(frame.octets[..6], PEER.0);
        let packet = &frame.octets[14..];
        let offset = usize::from(u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff) * 8;
        assert_eq!(offset, payload.len());
        payload.extend(&packet[20..]);
    }
    payload
}

#[test]
fn pings_of_any_size_are_answered_in_the_turn_they_arrive_in() {
    let mut path = path();
    assert_eq!(path.turn(&[arp(1, OUR_IP)]).len(), 1);
    for len in [0, 56, 1472, 1473, 8000, 65_000] {
        let data: Vec<u8> = (0..len).map(|n: usize| n.to_le_bytes()[0]).collect();
        let answer = path.turn(&ping(&data));
        assert_eq!(join(&answer), echo(0, &data), "{len} octets");
    }
}

#[test]
fn an_answer_to_an_unknown_neighbor_waits_for_one_request_and_goes_when_it_is_answered() {
    let mut path = path();
    let request = path.turn(&ping(b"first"));
    assert_eq!(request.len(), 1);
    assert_eq!(request[0].octets[12..14], [0x08, 0x06]);
    let answer = path.turn(&[arp(2, OUR_IP)]);
    assert_eq!(join(&answer), echo(0, b"first"));
}

#[test]
fn closed_ports_and_unknown_protocols_are_told() {
    let mut path = path();
    path.turn(&[arp(1, OUR_IP)]);
    let udp = ip4(17, 0, &[0x30, 0x39, 0, 53, 0, 8, 0, 0]);
    for (about, code) in [(udp, 3), (ip4(47, 0, b"gre"), 2)] {
        let told = path.turn(&[about]);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].octets[34..36], [3, code]);
    }
}

#[test]
fn the_names_of_the_nodes_are_the_operators() {
    let path = path();
    let names: Vec<&str> = path.graph.nodes().iter().map(|node| node.name).collect();
    assert_eq!(
        names[2..11],
        [
            "arp-input",
            "ip4-input",
            "ip4-full-reassembly",
            "ip4-icmp-input",
            "udp4-input",
            "ip4-icmp-error",
            "ip4-lookup",
            "ip4-frag",
            "ip4-rewrite"
        ]
    );
    assert_eq!(OutputDrop::Full.name(), "full");
}
