//! ARP, IPv4, ICMP and UDP, as the client's kernel sees them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use testbed::client::{connect, ping};
use testbed::link::{Links, Mac};
use testbed::packet_socket::{FRAME_MAX, Hear, PacketSocket};
use testbed::tag::{Tag, retag};
use testbed::wiring::{CLIENT_ADDRESS, VLAN, WIRE};

use crate::bed::{Bed, HTTP, NOT_COMING, SERVER, SOON};

#[test]
fn frames_of_another_vlan_and_untagged_frames_are_not_answered() {
    let Some(mut bed) = Bed::new() else { return };
    let foreign = [
        vec![],
        vec![Tag::customer(124)],
        vec![Tag::service(123)],
        vec![Tag::service(123), Tag::customer(123)],
        vec![Tag::customer(123), Tag::customer(123)],
    ];
    for (tags, host) in foreign.iter().zip(2..) {
        let address = (Ipv4Addr::new(192, 168, 123, host), 24);
        let client = bed.wiring.add_client(tags, address).unwrap();
        let sniffer = PacketSocket::open(bed.wiring.wire(), WIRE, Hear::Only(tags)).unwrap();
        let client = bed.wiring.clients().get(client).unwrap().namespace();
        assert!(ping(client, SERVER, 1, 56, NOT_COMING).is_err(), "{tags:?}");
        assert!(connect(client, HTTP, NOT_COMING).is_err(), "{tags:?}");
        while let Some(frame) = sniffer.wait(NOT_COMING).unwrap() {
            // The pod's kernel may speak IPv6.
            assert_eq!(frame.get(12..14), Some(&[0x86, 0xdd][..]), "{tags:?}");
        }
    }
    bed.check();
}

#[test]
fn pings_of_every_size_are_answered() {
    let Some(bed) = Bed::new() else { return };
    for size in [0, 1, 56, 1472, 1473, 8000, 65_507] {
        bed.ping_with(size)
            .unwrap_or_else(|error| panic!("{size}: {error}"));
    }
}

#[test]
fn a_closed_tcp_port_refuses() {
    let Some(bed) = Bed::new() else { return };
    let refused = connect(bed.client(), SocketAddrV4::new(SERVER, 81), SOON).unwrap_err();
    assert_eq!(
        refused.kind(),
        io::ErrorKind::ConnectionRefused,
        "{refused}"
    );
}

/// Sends a datagram from `source` to a closed port; the error that comes back.
fn unreachable_port(bed: &Bed, source: Ipv4Addr) -> io::Error {
    let ask = || {
        let socket = UdpSocket::bind((source, 0)).unwrap();
        socket.connect((SERVER, 53)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.send(b"anybody?").unwrap();
        socket.recv(&mut [0; 8]).unwrap_err()
    };
    bed.client().run(ask).unwrap()
}

#[test]
fn a_closed_udp_port_is_unreachable() {
    let Some(bed) = Bed::new() else { return };
    let refused = unreachable_port(&bed, CLIENT_ADDRESS.0);
    assert_eq!(
        refused.kind(),
        io::ErrorKind::ConnectionRefused,
        "{refused}"
    );
}

#[test]
fn an_unknown_protocol_is_unreachable() {
    const ENOPROTOOPT: i32 = 92;
    let Some(bed) = Bed::new() else { return };
    let ask = || {
        let experimental = Some(Protocol::from(253)); // RFC 3692
        let socket = Socket::new(Domain::IPV4, Type::RAW, experimental).unwrap();
        let to = SocketAddr::V4(SocketAddrV4::new(SERVER, 0));
        socket.connect(&to.into()).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.send(b"anybody?").unwrap();
        io::Read::read(&mut &socket, &mut [0; 100]).unwrap_err()
    };
    let error = bed.client().run(ask).unwrap();
    assert_eq!(error.raw_os_error(), Some(ENOPROTOOPT), "{error}");
}

#[test]
fn a_client_beyond_the_vlan_is_answered_through_the_gateway() {
    const BEYOND: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
    let gateway = CLIENT_ADDRESS.0.to_string();
    let Some(bed) = Bed::with_flags(&["--gateway", &gateway]) else {
        return;
    };
    let mut links = Links::open(bed.client()).unwrap();
    links.add_address("lo", BEYOND, 32).unwrap();
    let get = || -> io::Result<String> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from((BEYOND, 0)).into())?;
        socket.connect_timeout(&SocketAddr::V4(HTTP).into(), SOON)?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(SOON))?;
        io::Write::write_all(&mut stream, b"GET / HTTP/1.0\r\n\r\n")?;
        io::read_to_string(stream)
    };
    let page = bed.client().run(get).unwrap().unwrap();
    assert!(page.ends_with("\r\n\r\nWelcome\n"), "{page}");
    let refused = unreachable_port(&bed, BEYOND);
    assert_eq!(
        refused.kind(),
        io::ErrorKind::ConnectionRefused,
        "{refused}"
    );
}

const STRANGER: Mac = [2, 0, 0, 0, 0, 0x99];
const ARP_LEN: usize = 42;

/// An ARP request of `STRANGER`, tagged for the VLAN (RFC 826).
fn arp_request(sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = [0xff; 6].to_vec();
    frame.extend(STRANGER);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend(STRANGER);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    retag(&frame, 0, &[VLAN]).unwrap()
}

/// What the pod says in ARP.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    to: [u8; 6],
    operation: u8,
    sender: Mac,
    sender_address: Ipv4Addr,
    target_address: Ipv4Addr,
}

/// The next ARP packet from the pod that `wanted` accepts.
fn hear_arp(wire: &PacketSocket, wanted: impl Fn(&Said) -> bool) -> Said {
    let start = Instant::now();
    while start.elapsed() < SOON {
        let Some(frame) = wire.wait(Duration::from_millis(100)).unwrap() else {
            continue;
        };
        let Some(frame) = frame.first_chunk::<ARP_LEN>() else {
            continue;
        };
        if frame[12..20] != [0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4] {
            continue;
        }
        let address = |at: usize| Ipv4Addr::from(*frame[at..].first_chunk::<4>().unwrap());
        let said = Said {
            to: *frame.first_chunk().unwrap(),
            operation: frame[21],
            sender: *frame[22..].first_chunk().unwrap(),
            sender_address: address(28),
            target_address: address(38),
        };
        if wanted(&said) {
            return said;
        }
    }
    panic!("the pod did not say it in ARP");
}

fn is_announcement(said: &Said) -> bool {
    said.sender_address == said.target_address
}

#[test]
fn its_address_is_announced_at_the_start_and_defended() {
    announced_and_defended("1");
}

#[test]
fn one_of_two_workers_announces_their_address_and_one_defends_it() {
    announced_and_defended("2");
}

fn announced_and_defended(workers: &str) {
    let Some((wiring, site)) = crate::bed::nothing_yet() else {
        return;
    };
    let wire = PacketSocket::open(wiring.wire(), WIRE, Hear::Only(&[VLAN])).unwrap();
    let _server = crate::bed::start(&wiring, site.flags(&["--workers", workers]));
    let mac = wiring.pod_link().unwrap().mac;
    let announcement = Said {
        to: [0xff; 6],
        operation: 1,
        sender: mac,
        sender_address: SERVER,
        target_address: SERVER,
    };
    // RFC 5227, 2.3: ANNOUNCE_NUM is 2, and ANNOUNCE_INTERVAL 2 s.
    assert_eq!(hear_arp(&wire, |_| true), announcement);
    let first = Instant::now();
    assert_eq!(hear_arp(&wire, |_| true), announcement);
    assert!(first.elapsed() > Duration::from_secs(1), "by one only");
    // RFC 5227, 2.1.1: a host that probes for our address is told that it is taken.
    wire.send(&arp_request(Ipv4Addr::UNSPECIFIED, SERVER))
        .unwrap();
    let answer = Said {
        to: STRANGER,
        operation: 2,
        sender: mac,
        sender_address: SERVER,
        target_address: Ipv4Addr::UNSPECIFIED,
    };
    assert_eq!(hear_arp(&wire, |said| !is_announcement(said)), answer);
    // RFC 5227, 2.4: a host that uses our address all the same.
    wire.send(&arp_request(SERVER, SERVER)).unwrap();
    assert_eq!(hear_arp(&wire, is_announcement), announcement);
    let mut frame = vec![0; FRAME_MAX];
    assert_eq!(wire.receive(&mut frame).unwrap(), None, "defended once");
}
