//! What a hostile neighbour puts on the wire.
//!
//! An [`Attacker`] is a raw socket on the clients' end of the cable, so what it sends reaches the
//! node as it is. [`Kind`] lists the floods; each frame of one is a function of the seed.

pub mod packets;
mod peer;

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use peer::{Handmade, Heard, Peer, read};

use crate::error::WiringError;
use crate::link::Mac;
use crate::packet_socket::{Hear, PacketSocket};
use crate::random::SplitMix64;
use crate::tag::Tag;
use crate::wiring::{CLIENT_ADDRESS, SERVER_ADDRESS, VLAN, WIRE, Wiring};
use packets::{
    ACK, ARP, EVERYBODY, ICMP, IP4, Ip4, MORE_FRAGMENTS, PSH, RST, SYN, TCP, Tcp, UDP, arp,
    ethernet, icmp, udp,
};

/// Who sends: a raw socket, and who is meant.
#[derive(Debug)]
pub struct Attacker {
    socket: PacketSocket,
    random: SplitMix64,
    mac: Mac,
    target: Mac,
    server: (Ipv4Addr, u8),
    client: Ipv4Addr,
    tags: Vec<Tag>,
}

/// What a flood came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Frames on the wire.
    pub frames: u64,
    /// Frames the device did not take.
    pub refused: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Sent {
    /// Frames per second.
    pub fn rate(&self) -> u64 {
        let micros = self.elapsed.as_micros().max(1);
        u64::try_from(u128::from(self.frames) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }
}

/// A kind of hostile frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// SYNs to port 80 from random addresses.
    Syns,
    /// RST, SYN, data and acknowledgements with random numbers, in the client's name.
    BlindSegments,
    /// ARP requests for the server, each from another sender on the link.
    ArpRequests,
    /// ARP answers nobody asked for, which say that the client is at another Ethernet address.
    SpoofedReplies,
    /// ARP packets whose sender has the server's address.
    Conflicts,
    /// Frames that end too early.
    Runts,
    /// Headers whose lengths say more, or less, than there is.
    LyingLengths,
    /// Wrong checksums: IPv4, ICMP, UDP and TCP.
    BadChecksums,
    /// Sources that cannot be.
    Martians,
    /// Segments from the server to itself.
    Land,
    /// Fragments that overlap.
    Teardrop,
    /// First fragments of datagrams that never become whole.
    Fragments,
    /// IP options: routes, timestamps, broken ones.
    IpOptions,
    /// Echo requests to everybody, in the client's name.
    BroadcastPings,
    /// ICMP errors about what was never sent.
    IcmpErrors,
    /// Datagrams to closed ports and of unknown protocols.
    ClosedPorts,
    /// Frames of other VLANs.
    ForeignVlans,
    /// Random octets behind an Ethernet header.
    Garbage,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Syns,
        Self::BlindSegments,
        Self::ArpRequests,
        Self::SpoofedReplies,
        Self::Conflicts,
        Self::Runts,
        Self::LyingLengths,
        Self::BadChecksums,
        Self::Martians,
        Self::Land,
        Self::Teardrop,
        Self::Fragments,
        Self::IpOptions,
        Self::BroadcastPings,
        Self::IcmpErrors,
        Self::ClosedPorts,
        Self::ForeignVlans,
        Self::Garbage,
    ];

    /// As in `arp-requests`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syns => "syns",
            Self::BlindSegments => "blind-segments",
            Self::ArpRequests => "arp-requests",
            Self::SpoofedReplies => "spoofed-replies",
            Self::Conflicts => "conflicts",
            Self::Runts => "runts",
            Self::LyingLengths => "lying-lengths",
            Self::BadChecksums => "bad-checksums",
            Self::Martians => "martians",
            Self::Land => "land",
            Self::Teardrop => "teardrop",
            Self::Fragments => "fragments",
            Self::IpOptions => "ip-options",
            Self::BroadcastPings => "broadcast-pings",
            Self::IcmpErrors => "icmp-errors",
            Self::ClosedPorts => "closed-ports",
            Self::ForeignVlans => "foreign-vlans",
            Self::Garbage => "garbage",
        }
    }
}

/// RFC 791, section 3.1: record route, timestamp, loose and strict source routes, a length beyond
/// the header, a length of nothing, nothing at all.
const OPTIONS: [[u8; 8]; 7] = [
    [7, 7, 4, 0, 0, 0, 0, 0],
    [68, 8, 5, 0, 0, 0, 0, 0],
    [131, 7, 4, 8, 8, 8, 8, 0],
    [137, 7, 4, 8, 8, 8, 8, 0],
    [7, 255, 4, 0, 0, 0, 0, 0],
    [130, 0, 0, 0, 0, 0, 0, 0],
    [1, 1, 1, 1, 1, 1, 1, 0],
];

/// The attacker's own Ethernet address: locally administered, nobody else's.
const OWN: Mac = [0x02, 0xba, 0xd0, 0xba, 0xd0, 0x01];
/// How long a flood goes between two looks at the clock.
const TICK: Duration = Duration::from_millis(1);

impl Attacker {
    /// On the wire of the proof of concept, against the pod's server.
    ///
    /// # Errors
    /// The wiring lacks its device, or this process `CAP_NET_RAW`.
    pub fn new(wiring: &Wiring, seed: u64) -> Result<Self, WiringError> {
        Self::against(wiring, SERVER_ADDRESS, CLIENT_ADDRESS.0, seed)
    }

    /// The same with other addresses of server and client.
    ///
    /// # Errors
    /// Those of [`Attacker::new`].
    pub fn against(
        wiring: &Wiring,
        server: (Ipv4Addr, u8),
        client: Ipv4Addr,
        seed: u64,
    ) -> Result<Self, WiringError> {
        Ok(Self {
            socket: PacketSocket::open(wiring.wire(), WIRE, Hear::Only(&[VLAN]))?,
            random: SplitMix64::new(seed),
            mac: OWN,
            target: wiring.pod_link()?.mac,
            server,
            client,
            tags: vec![VLAN],
        })
    }

    /// Its socket, which hears the VLAN's frames from the node.
    pub fn socket(&self) -> &PacketSocket {
        &self.socket
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Whom it attacks.
    pub fn target(&self) -> Mac {
        self.target
    }

    /// And where.
    pub fn server(&self) -> Ipv4Addr {
        self.server.0
    }

    /// Sends a packet to the server's Ethernet address, on the VLAN.
    ///
    /// # Errors
    /// The wire does not take it.
    pub fn send(&self, ethertype: u16, packet: &[u8]) -> io::Result<()> {
        let frame = ethernet(self.target, self.mac, &self.tags, ethertype, packet);
        self.socket.send(&frame)
    }

    /// Sends a packet to every Ethernet address, on the VLAN.
    ///
    /// # Errors
    /// The wire does not take it.
    pub fn broadcast(&self, ethertype: u16, packet: &[u8]) -> io::Result<()> {
        let frame = ethernet(EVERYBODY, self.mac, &self.tags, ethertype, packet);
        self.socket.send(&frame)
    }

    /// Sends `count` frames of a kind, at most `per_second` of them a second, until `stopped`.
    pub fn flood(&mut self, kind: Kind, count: u64, per_second: u32, stopped: &AtomicBool) -> Sent {
        let start = Instant::now();
        let mut sent = Sent::default();
        while sent.frames + sent.refused < count && !stopped.load(Ordering::Relaxed) {
            let due = start.elapsed().as_micros() * u128::from(per_second) / 1_000_000;
            let due = u64::try_from(due).unwrap_or(u64::MAX).min(count);
            if due <= sent.frames + sent.refused {
                thread::sleep(TICK);
            }
            while sent.frames + sent.refused < due {
                let frame = self.frame(kind);
                match self.socket.send(&frame) {
                    Ok(()) => sent.frames += 1,
                    Err(_) => sent.refused += 1,
                }
            }
        }
        sent.elapsed = start.elapsed();
        sent
    }

    /// The next frame of a kind.
    pub fn frame(&mut self, kind: Kind) -> Vec<u8> {
        match kind {
            Kind::ArpRequests | Kind::SpoofedReplies | Kind::Conflicts => self.arp_frame(kind),
            Kind::Runts => {
                let mut frame = self.tagged(IP4, &self.request(b"cut short"));
                // Shorter ones the kernel drops when it takes the tag off.
                frame.truncate(20 + self.random.below(17));
                frame
            }
            Kind::BroadcastPings => {
                let mask = u32::MAX.checked_shr(self.server.1.into()).unwrap_or(0);
                let directed = Ipv4Addr::from(self.server.0.to_bits() | mask);
                let all_hosts = Ipv4Addr::new(224, 0, 0, 1);
                let to = self.one_of(&[directed, Ipv4Addr::BROADCAST, all_hosts]);
                let ping = icmp(8, 0, [0; 4], b"everybody");
                let packet = Ip4::new(self.client, to, ICMP).packet(&ping);
                ethernet(EVERYBODY, self.mac, &self.tags, IP4, &packet)
            }
            Kind::ForeignVlans => {
                let vid = u16::from_be_bytes(self.random.octets()) % 4095;
                let vid = if vid == VLAN.vid { 4094 } else { vid };
                let packet = self.request(b"elsewhere");
                ethernet(self.target, self.mac, &[Tag::customer(vid)], IP4, &packet)
            }
            Kind::Garbage => {
                let mut octets = vec![0; self.random.below(1400)];
                self.random.fill(&mut octets);
                let ethertype = u16::from_be_bytes(self.random.octets());
                let ethertype = self.one_of(&[IP4, ARP, 0x8100, 0x86dd, ethertype]);
                if let Some(first) = octets.first_mut().filter(|_| ethertype == IP4) {
                    *first = 0x45; // or nothing gets past the first check
                }
                self.tagged(ethertype, &octets)
            }
            _ => {
                let packet = self.packet(kind);
                self.tagged(IP4, &packet)
            }
        }
    }

    /// A frame to the server, on the VLAN.
    fn tagged(&self, ethertype: u16, packet: &[u8]) -> Vec<u8> {
        ethernet(self.target, self.mac, &self.tags, ethertype, packet)
    }

    fn arp_frame(&mut self, kind: Kind) -> Vec<u8> {
        let (mac, server) = (self.somebody(), self.server.0);
        let (to, packet) = match kind {
            Kind::SpoofedReplies => {
                let reply = arp(2, (mac, self.client), (self.target, server));
                (self.target, reply)
            }
            Kind::Conflicts => (EVERYBODY, arp(1, (mac, server), ([0; 6], server))),
            _ => {
                let sender = self.neighbor();
                (EVERYBODY, arp(1, (mac, sender), ([0; 6], server)))
            }
        };
        ethernet(to, mac, &self.tags, ARP, &packet)
    }

    /// The IPv4 packet of a kind whose frame is an ordinary one.
    fn packet(&mut self, kind: Kind) -> Vec<u8> {
        let server = self.server.0;
        match kind {
            Kind::Syns => {
                let source = self.stranger();
                let mut syn = self.segment(SYN);
                syn.ack = 0;
                syn.packet(source, server, b"")
            }
            Kind::BlindSegments => {
                let flags = self.one_of(&[RST, RST | ACK, SYN, SYN | ACK, ACK, PSH | ACK]);
                let data: [u8; 8] = self.random.octets();
                let data = if flags & PSH == 0 { &[][..] } else { &data };
                self.segment(flags).packet(self.client, server, data)
            }
            Kind::LyingLengths => self.lying(),
            Kind::BadChecksums => self.badly_summed(),
            Kind::Martians => {
                let [.., a, b] = self.random.octets::<4>();
                let source = self.one_of(&[
                    [127, 0, a, b],
                    [0, 0, a, b],
                    [224, 0, a, b],
                    [250, 1, a, b],
                    [255, 255, 255, 255],
                ]);
                let ping = icmp(8, 0, [0; 4], b"hello");
                Ip4::new(source.into(), server, ICMP).packet(&ping)
            }
            Kind::Land => {
                let flags = self.one_of(&[SYN, ACK, RST]);
                let mut segment = self.segment(flags);
                segment.from = 80;
                segment.packet(server, server, b"")
            }
            Kind::Teardrop => {
                // 0..32 and 24..32 of the same datagram: the second lies within the first.
                let mut ip4 = Ip4::new(self.client, server, UDP);
                ip4.id = u16::from(self.random.octets::<1>()[0]);
                let (fragment, length) = self.one_of(&[(MORE_FRAGMENTS, 32), (3, 8)]);
                ip4.fragment = fragment;
                ip4.packet(&vec![0; length])
            }
            Kind::Fragments => {
                let mut ip4 = Ip4::new(self.stranger(), server, UDP);
                ip4.id = u16::from_be_bytes(self.random.octets());
                ip4.fragment = MORE_FRAGMENTS;
                ip4.packet(&[0; 1024])
            }
            Kind::IpOptions => {
                let mut ip4 = Ip4::new(self.client, server, ICMP);
                ip4.options = self.one_of(&OPTIONS).to_vec();
                ip4.packet(&icmp(8, 0, [0; 4], b"options"))
            }
            Kind::IcmpErrors => {
                let errors = [
                    (3, 0),
                    (3, 1),
                    (3, 3),
                    (3, 4),
                    (4, 0),
                    (5, 1),
                    (11, 0),
                    (12, 0),
                ];
                let (kind, code) = self.one_of(&errors);
                let quote = self.segment(ACK).packet(server, self.client, &[0; 8]);
                let error = icmp(kind, code, [0, 0, 2, 0], &quote);
                Ip4::new(self.stranger(), server, ICMP).packet(&error)
            }
            // Those with frames of their own.
            _ => self.unwanted(),
        }
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        #[expect(clippy::indexing_slicing, reason = "`below` is below the length")]
        choices[self.random.below(choices.len())].clone()
    }

    /// An address far away that could be somebody's.
    fn stranger(&mut self) -> Ipv4Addr {
        let [a, b, c, d] = self.random.octets();
        Ipv4Addr::new(11 + a % 89, b, c, d)
    }

    /// An address on the link that is neither the server's nor the client's.
    fn neighbor(&mut self) -> Ipv4Addr {
        let mask = u32::MAX.checked_shr(self.server.1.into()).unwrap_or(0);
        loop {
            let host = u32::from_be_bytes(self.random.octets()) & mask;
            let address = Ipv4Addr::from((self.server.0.to_bits() & !mask) | host);
            let taken = address == self.server.0 || address == self.client;
            if host != 0 && host != mask && !taken {
                return address;
            }
        }
    }

    /// An Ethernet address nobody has.
    fn somebody(&mut self) -> Mac {
        let mut mac: Mac = self.random.octets();
        mac[0] = 0x06;
        mac
    }

    /// A segment to port 80 with random numbers.
    fn segment(&mut self, flags: u8) -> Tcp {
        Tcp {
            from: u16::from_be_bytes(self.random.octets()).max(1024),
            to: 80,
            seq: u32::from_be_bytes(self.random.octets()),
            ack: u32::from_be_bytes(self.random.octets()),
            flags,
            window: 1024,
        }
    }

    /// An echo request of the client.
    fn request(&self, data: &[u8]) -> Vec<u8> {
        Ip4::new(self.client, self.server.0, ICMP).packet(&icmp(8, 0, [0; 4], data))
    }

    /// A length is wrong, and the header's checksum right all the same.
    fn lying(&mut self) -> Vec<u8> {
        let segment = self.segment(ACK);
        let mut packet = segment.packet(self.client, self.server.0, b"data");
        // Version and header length, total length (twice), the segment's header length.
        let (at, value) = self.one_of(&[
            (0, 0x4f),
            (0, 0x41),
            (2, 0xff),
            (3, 3),
            (32, 0xf0),
            (32, 0x10),
        ]);
        if let Some(octet) = packet.get_mut(at) {
            *octet = value;
        }
        let header = usize::from(packet.first().copied().unwrap_or(0) & 0x0f) * 4;
        if let Some(sum) = packet.get_mut(10..12) {
            sum.copy_from_slice(&[0; 2]);
        }
        let sum = packets::checksum(packet.get(..header.min(packet.len())).unwrap_or_default());
        if let Some(place) = packet.get_mut(10..12) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    /// An IPv4, an ICMP, a UDP or a TCP checksum is wrong.
    fn badly_summed(&mut self) -> Vec<u8> {
        let (client, server) = (self.client, self.server.0);
        let datagram = udp((client, 9), (server, 53), b"data");
        let segment = self.segment(SYN);
        let (at, mut packet) = self.one_of(&[
            (10, self.request(b"data")),
            (22, self.request(b"data")),
            (26, Ip4::new(client, server, UDP).packet(&datagram)),
            (36, segment.packet(client, server, b"")),
        ]);
        if let Some(octet) = packet.get_mut(at) {
            *octet ^= 0x55;
        }
        packet
    }

    /// For a closed port, or of an unknown protocol.
    fn unwanted(&mut self) -> Vec<u8> {
        let (source, server) = (self.stranger(), self.server.0);
        let protocol = self.one_of(&[UDP, 253, TCP]);
        let mut ip4 = Ip4::new(source, server, protocol);
        match protocol {
            UDP => ip4.packet(&udp((source, 4000), (server, 53), b"anybody?")),
            TCP => {
                let mut segment = self.segment(SYN);
                segment.to = 81;
                segment.packet(source, server, b"")
            }
            _ => {
                ip4.ttl = 1;
                ip4.packet(b"anybody?")
            }
        }
    }
}
