//! Entry points for fuzzing: see `fuzz/README.md`. Each runs packets through one node that has the
//! tables of [`tables`]; all check that the node's counters add up.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dataplane::fuzzing::{MAC, drive, interface};
use dataplane::testing::{Harness, Outcome};
use dataplane::{
    Checksum, IfIndex, Interfaces, MacAddr, Meta, Node, Segmentation, SharedInterfaces, checksum,
};
use futures_io::{AsyncRead, AsyncWrite};

use crate::neighbors::NEIGHBORS_MAX;
use crate::stream::TcpStream;
use crate::tcp::{Connection, Service, Tcp, TcpConfig};
use crate::tcp4_error::Tcp4Error;
use crate::tcp4_input::Tcp4Input;
use crate::{
    ArpInput, Ip4Frag, Ip4FullReassembly, Ip4IcmpError, Ip4IcmpInput, Ip4Input, Ip4Lookup,
    Ip4Rewrite, Ping, Pinger, Tables, Udp4Input, ip4_full_reassembly,
};

const SUB: IfIndex = IfIndex(1);
const OTHER: IfIndex = IfIndex(2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 1);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// 192.168.123.150/24 on interface 1, 10.0.0.1/8 on interface 2 with a small MTU, a gateway.
fn tables() -> Tables {
    let interfaces = Interfaces::shared();
    let mut small = interface("m0.2");
    small.mtu = 300;
    interfaces.borrow_mut().set(SUB, interface("m0.1"));
    interfaces.borrow_mut().set(OTHER, small);
    let tables = Tables::new(interfaces);
    for (index, address) in [(SUB, "192.168.123.150/24"), (OTHER, "10.0.0.1/8")] {
        let added = address
            .parse()
            .map(|address| tables.add_address(index, address));
        assert!(matches!(added, Ok(Ok(()))), "{address} is an address");
    }
    let all = "0.0.0.0/0".parse();
    let added = all.map(|all| tables.add_route(all, GATEWAY, None).is_ok());
    assert!(matches!(added, Ok(true)), "the gateway is on a network");
    let known = tables.set_neighbor(SUB, GATEWAY, PEER);
    assert!(known.is_ok(), "the gateway is a neighbour");
    tables
}

/// What the knob says: bits 0-1 the interface, 2 to make the header's checksum right, 3 that the
/// transport's was verified, 4 a frame for all, 5 routed to its destination, 6 a super-segment or a
/// checksum left to the port.
fn shape(knob: u8, octets: &mut [u8], meta: &mut Meta) {
    meta.interface = IfIndex([1, 2, 1, 7][usize::from(knob & 3)]);
    if knob & 4 != 0 {
        repair(octets);
    }
    if knob & 8 != 0 {
        meta.checksum = Checksum::Valid;
    }
    meta.source = PEER;
    meta.destination = if knob & 16 != 0 {
        MacAddr::BROADCAST
    } else {
        MAC
    };
    if let (true, Some(&[a, b, c, d])) = (knob & 32 != 0, octets.get(16..20)) {
        meta.next_hop = Some(Ipv4Addr::new(a, b, c, d));
    }
    if knob & 64 != 0 {
        let (size, header_len) = (200, 40);
        meta.segmentation = Some(Segmentation { size, header_len });
        meta.checksum = Checksum::Partial {
            start: 52,
            offset: 16,
        };
    }
}

/// Makes an IPv4 header's checksum right.
fn repair(octets: &mut [u8]) {
    let len = octets
        .first()
        .map_or(0, |first| usize::from(first & 0x0f) * 4);
    let Some(header) = octets.get_mut(..len).filter(|header| header.len() >= 20) else {
        return;
    };
    header[10..12].fill(0);
    let sum = checksum::of(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn run<N: Node + 'static>(node: N, data: &[u8], check: impl FnMut(&mut N, &Outcome)) {
    let shape = |knob, octets: &mut Vec<u8>, meta: &mut Meta| shape(knob, octets, meta);
    drive(Harness::new(node), data, shape, check);
}

/// The neighbours stay within their bounds.
fn check_neighbors(tables: &Tables) {
    assert!(tables.neighbors.borrow().len() <= NEIGHBORS_MAX);
}

/// ARP packets; bit 7 of the knob gives them the sender the frame has.
///
/// # Panics
/// As [`drive`], as all below.
pub fn arp_input(data: &[u8]) {
    let tables = tables();
    let shape = |knob: u8, octets: &mut Vec<u8>, meta: &mut Meta| {
        shape(knob & 0x13, octets, meta);
        if let (true, Some(sender)) = (knob & 128 != 0, octets.get_mut(8..14)) {
            sender.copy_from_slice(&PEER.0);
        }
    };
    let node = ArpInput::new(&tables);
    drive(Harness::new(node), data, shape, |_, outcome| {
        check_neighbors(&tables);
        for sent in &outcome.sent {
            assert!(sent.frame.octets.len() >= 42, "a whole ARP frame");
        }
    });
}

/// IPv4 packets as frames carry them.
pub fn ip4_input(data: &[u8]) {
    run(Ip4Input::new(&tables()), data, |_, outcome| {
        for sent in &outcome.sent {
            let octets = &sent.frame.octets;
            let total = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
            assert_eq!(octets.len(), total, "the padding is cut off");
            assert_eq!(checksum::of(&octets[..usize::from(octets[0] & 15) * 4]), 0);
        }
    });
}

/// Fragments; what waits stays within its bounds, and what is whole has a valid header.
pub fn ip4_full_reassembly(data: &[u8]) {
    run(Ip4FullReassembly::new(), data, |node, outcome| {
        assert!(node.waiting() <= ip4_full_reassembly::CONTEXTS_MAX);
        assert!(node.octets() <= ip4_full_reassembly::OCTETS_MAX);
        assert!(node.waiting() > 0 || node.octets() == 0);
        for sent in &outcome.sent {
            let octets = &sent.frame.octets;
            assert_eq!(checksum::of(&octets[..usize::from(octets[0] & 15) * 4]), 0);
        }
    });
}

/// Packets that may be too large for where they go; what is sent is not.
pub fn ip4_frag(data: &[u8]) {
    let tables = tables();
    run(Ip4Frag::new(&tables), data, |_, outcome| {
        for sent in &outcome.sent {
            let interfaces = tables.interfaces().borrow();
            let mtu = interfaces.get(sent.frame.meta.interface).map(|one| one.mtu);
            assert!(mtu.is_some_and(|mtu| sent.frame.octets.len() <= usize::from(mtu)));
        }
    });
}

/// ICMP messages.
pub fn ip4_icmp_input(data: &[u8]) {
    run(Ip4IcmpInput::new(&tables()), data, |_, _| ());
}

/// Packets to complain about.
pub fn ip4_icmp_error(data: &[u8]) {
    run(Ip4IcmpError::new(&tables()), data, |_, outcome| {
        for sent in &outcome.sent {
            assert!(sent.frame.octets.len() <= 576, "RFC 1812, 4.3.2.3");
        }
    });
}

/// UDP datagrams.
pub fn udp4_input(data: &[u8]) {
    run(Udp4Input, data, |_, _| ());
}

/// Packets to be routed.
pub fn ip4_lookup(data: &[u8]) {
    run(Ip4Lookup::new(&tables()), data, |_, outcome| {
        for sent in &outcome.sent {
            assert!(sent.frame.meta.next_hop.is_some());
        }
    });
}

/// Packets on their way to neighbours, known and unknown.
pub fn ip4_rewrite(data: &[u8]) {
    let tables = tables();
    run(Ip4Rewrite::new(&tables), data, |_, outcome| {
        check_neighbors(&tables);
        for sent in &outcome.sent {
            assert!(sent.frame.octets.len() >= 14);
        }
    });
}

/// Echo replies, wanted and not.
pub fn ping(data: &[u8]) {
    let (tables, pinger) = (tables(), Pinger::new());
    assert!(pinger.expect(0x1234));
    let node = Ping::new(&tables, &pinger);
    run(node, data, |_, _| {
        assert!(pinger.events().len() <= crate::ping::EVENTS_MAX);
    });
}

/// Says what it hears, and closes when the peer does or says `q`.
struct Echo;

impl Service for Echo {
    fn accept(&mut self, stream: TcpStream) -> Connection {
        let mut stream = stream;
        let mut unsent = Vec::new();
        Box::pin(poll_fn(move |cx| echo(&mut stream, &mut unsent, cx)))
    }
}

fn echo(stream: &mut TcpStream, unsent: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        while !unsent.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, unsent) {
                Poll::Ready(Ok(octets)) => drop(unsent.drain(..octets)),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        let mut buffer = [0; 512];
        match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(octets)) if octets > 0 && buffer[0] != b'q' => {
                unsent.extend_from_slice(&buffer[..octets]);
            }
            Poll::Ready(_) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// TCP whose secrets are always the same, so that an input that fails does so again.
pub fn tcp_with(config: TcpConfig, interfaces: SharedInterfaces) -> Tcp {
    let keys = std::array::from_fn(|at| [u8::try_from(at).unwrap_or(0); 16]);
    Tcp::with_keys(config, interfaces, Arc::new(|| ()), &keys)
}

/// TCP with few places, so that their bounds are met.
fn tcp() -> Option<Tcp> {
    let config = TcpConfig {
        connections_max: 4,
        connections_per_source_max: 3,
        half_open_max: 4,
        time_wait_max: 4,
        buffers_max: 200_000,
        hibernate_after: Duration::from_millis(50),
        ..TcpConfig::default()
    };
    let tcp = tcp_with(config, Rc::clone(tables().interfaces()));
    tcp.listen(Ipv4Addr::UNSPECIFIED, 80, Echo).ok()?;
    Some(tcp)
}

/// Nothing is in use beyond what is allowed.
///
/// # Panics
/// When something is, or a connection's future panicked.
pub fn check_limits(tcp: &Tcp) {
    let limits = tcp.limits();
    for (used, max) in [
        limits.connections,
        limits.half_open,
        limits.time_wait,
        limits.buffers,
    ] {
        assert!(used <= max, "{limits:?}");
    }
    assert_eq!(tcp.counters().panics, 0);
}

/// TCP segments. Bit 7 of the knob makes one acknowledge what was sent last, without which nothing
/// gets past the handshake.
pub fn tcp4_input(data: &[u8]) {
    let Some(tcp) = tcp() else { return };
    let expected = Cell::new([0; 4]);
    let shape = |knob: u8, octets: &mut Vec<u8>, meta: &mut Meta| {
        if let (true, Some(ack)) = (knob & 128 != 0, octets.get_mut(28..32)) {
            ack.copy_from_slice(&expected.get());
        }
        shape(knob & 0x5f, octets, meta);
    };
    let node = Tcp4Input::new(&tcp);
    drive(Harness::new(node), data, shape, |_, outcome| {
        check_limits(&tcp);
        let last = outcome.sent.last().map(|sent| &sent.frame.octets);
        if let Some(octets) = last.filter(|octets| octets.len() >= 40) {
            let seq = u32::from_be_bytes([octets[24], octets[25], octets[26], octets[27]]);
            let header = usize::from(octets[32] >> 4) * 4 + 20;
            let payload = u32::try_from(octets.len() - header).unwrap_or(0);
            let ends = u32::from(octets[33] & 1) + u32::from(octets[33] >> 1 & 1);
            let next = seq.wrapping_add(payload).wrapping_add(ends);
            expected.set(next.to_be_bytes());
        }
    });
}

/// ICMP errors about TCP.
pub fn tcp4_error(data: &[u8]) {
    let Some(tcp) = tcp() else { return };
    run(Tcp4Error::new(&tcp), data, |_, _| check_limits(&tcp));
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::fuzzing::replay;

    #[test]
    fn the_corpora_pass() {
        replay("arp_input", arp_input);
        replay("ip4_input", ip4_input);
        replay("ip4_full_reassembly", ip4_full_reassembly);
        replay("ip4_frag", ip4_frag);
        replay("ip4_icmp_input", ip4_icmp_input);
        replay("ip4_icmp_error", ip4_icmp_error);
        replay("udp4_input", udp4_input);
        replay("ip4_lookup", ip4_lookup);
        replay("ip4_rewrite", ip4_rewrite);
        replay("ping", ping);
        replay("tcp4_input", tcp4_input);
        replay("tcp4_error", tcp4_error);
    }
}
