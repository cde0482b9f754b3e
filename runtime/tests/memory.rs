//! What connections take in memory when each of them has as much as it can get, all at once: the
//! bound that `--print-limits` computes holds. The whole graph, without rings.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use af_packet::LinkInfo;
use dataplane::checksum::{self, Sum};
use dataplane::testing::{MemoryPort, ethernet, slots};
use dataplane::{Batch, EtherType, Frame, HEADROOM, IfIndex, MacAddr, Offload};
use http_static::{Options, Server};
use ipstack::ip4::Header;
use ipstack::tcp::TcpConfig;
use runtime::assemble::Assembly;
use runtime::config::{Config, HostInterface, HttpServer, Neighbor, Route};
use runtime::http::HttpService;
use runtime::limits::Limits;
use runtime::plan::{Numbers, Plan};
use runtime::timers::Timers;

const OUR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const GATEWAY_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const US: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 150);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 1);

const SYN: u8 = 2;
const ACK: u8 = 16;

/// Octets of payload in a segment.
const MSS: usize = 1400;

/// Connections that try: more than there are places.
const CONNECTIONS: u32 = 12_500;

/// A connection as its peer, behind the gateway, sees it.
struct Peer {
    address: Ipv4Addr,
    seq: u32,
    ack: u32,
}

impl Peer {
    fn new(number: u32) -> Self {
        Self {
            address: Ipv4Addr::from_bits(0x0a00_0000 + number),
            seq: 1,
            ack: 0,
        }
    }

    fn segment(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut tcp = vec![0x80, 0, 0, 80];
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(payload);
        let len = u16::try_from(tcp.len()).unwrap();
        let sum = Sum::new()
            .with_pseudo_header(self.address, US, 6, len)
            .with(&tcp)
            .finish();
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let header = Header {
            tos: 0,
            total_len: 20 + len,
            identification: 1,
            fragment: 0,
            protocol: 6,
            source: self.address,
            destination: US,
        };
        let packet = [&header.octets()[..], &tcp].concat();
        assert_eq!(checksum::of(&packet[..20]), 0, "as the graph checks it");
        ethernet(OUR_MAC, GATEWAY_MAC, &[], EtherType::IPV4, &packet)
    }
}

struct Bed {
    assembly: Assembly,
    port: IfIndex,
    timers: Timers,
    now: Duration,
}

impl Bed {
    fn new(config: &Config, tcp: TcpConfig, server: Server) -> Self {
        let plan = Plan::of(config, &config.interfaces[0], &mut Numbers::default()).unwrap();
        let port = plan.port.index;
        let mut assembly = Assembly::new(port, tcp, Arc::new(|| ())).unwrap();
        assembly.apply(plan).unwrap();
        assembly.follow_link(Some(LinkInfo::stand_in("eth0", OUR_MAC)));
        let timers = Timers::new();
        let http = HttpService::new(server, timers.clone());
        assembly.listen(Ipv4Addr::UNSPECIFIED, 80, http).unwrap();
        let now = Duration::from_secs(1);
        Self {
            assembly,
            port,
            timers,
            now,
        }
    }

    /// A turn with a frame, or without; the first segment that leaves.
    fn turn(&mut self, octets: &[u8]) -> Option<Vec<u8>> {
        self.now += Duration::from_micros(10);
        self.timers.fire(std::time::Instant::now());
        let mut memory = vec![0; HEADROOM];
        memory.extend(octets);
        let mut room = slots(16, 2048);
        let offload = Offload {
            checksum: false,
            segmentation_max: 0,
        };
        let mut port = MemoryPort::new(&mut room, offload);
        let mut batch = Batch::new();
        if !octets.is_empty() {
            let mut frame = Frame::new(&mut memory, HEADROOM, octets.len());
            frame.meta.interface = self.port;
            batch.push(frame).unwrap();
        }
        let entry = self.assembly.entry;
        self.assembly
            .graph
            .turn(self.now, entry, &mut batch, &mut port);
        port.transmitted.into_iter().next().map(|sent| sent.octets)
    }

    fn open(&mut self, number: u32) -> Option<Peer> {
        let mut peer = Peer::new(number);
        let answer = self.turn(&peer.segment(SYN, &[]))?;
        let word = |at: usize| u32::from_be_bytes(*answer[at..].first_chunk().unwrap());
        if answer[47] != SYN | ACK {
            return None;
        }
        (peer.seq, peer.ack) = (word(42), word(38).wrapping_add(1));
        self.turn(&peer.segment(ACK, &[]));
        Some(peer)
    }

    /// Sends `octets`, and acknowledges nothing.
    fn say(&mut self, peer: &mut Peer, octets: &[u8]) {
        for part in octets.chunks(MSS) {
            self.turn(&peer.segment(ACK, part));
            peer.seq = peer.seq.wrapping_add(u32::try_from(part.len()).unwrap());
        }
    }
}

/// A head of nearly 16 KiB, with as many lines as may be.
fn large_head(target: &str) -> Vec<u8> {
    let mut head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n").into_bytes();
    for line in 0..98 {
        head.extend(format!("X-{line}: {}\r\n", "x".repeat(150)).bytes());
    }
    head.extend(b"\r\n");
    assert!((15_000..16_384).contains(&head.len()));
    head
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

fn config(www: &Path) -> Config {
    let mut host = HostInterface::new("eth0");
    host.addresses.push("192.168.123.150/24".parse().unwrap());
    Config {
        connections_max: 12_000.try_into().ok(),
        tcp_memory: "64m".parse().ok(),
        http: vec![HttpServer::new(www)],
        routes: vec![Route {
            prefix: "0.0.0.0/0".parse().unwrap(),
            via: GATEWAY,
            interface: Some(host.full_name()),
        }],
        neighbors: vec![Neighbor {
            interface: host.full_name(),
            address: GATEWAY,
            mac: GATEWAY_MAC,
        }],
        interfaces: vec![host],
        ..Config::default()
    }
}

#[test]
fn connections_that_take_all_they_can_get_stay_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large"), vec![b'x'; 8 << 20]).unwrap();
    std::fs::write(folder.path().join("f"), vec![b'x'; 20_000]).unwrap();
    let config = config(folder.path());
    let tcp = config.tcp();
    let mut options = Options::new(folder.path());
    options.limits.stream_memory = 1 << 20;
    options.cache_size = 1 << 20;
    let files = options.memory_max(1);
    let bound: u64 = Limits::of(&config, &tcp)
        .memory
        .iter()
        .filter(|part| part.part.contains("connection") || part.part.starts_with("TCP"))
        .map(|part| part.count * part.octets)
        .sum::<u64>()
        + u64::try_from(files).unwrap();

    let server = Server::new(options).unwrap();
    let mut bed = Bed::new(&config, tcp, server.clone());
    let before = resident();
    let requests: [Vec<u8>; 5] = [
        // A head that is never whole.
        large_head("/f")[..15_000].to_vec(),
        // Streamed, and not read.
        large_head("/large"),
        // Answers that pile up.
        b"HEAD /f HTTP/1.1\r\nHost: a\r\n\r\n".repeat(500),
        b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        // What may be remembered of it.
        [&[b'A'; 8000][..], b" /f HTTP/1.1\r\nHost: a\r\n\r\n"].concat(),
    ];
    let (mut most, mut opened) = (0, 0);
    for number in 0..CONNECTIONS {
        let Some(mut peer) = bed.open(number) else {
            continue;
        };
        opened += 1;
        // Most leave heads undone, which needs no buffers of TCP's after a while.
        let request = &requests[(number % 10).saturating_sub(5) as usize];
        bed.say(&mut peer, request);
        if number % 64 == 0 {
            bed.now += Duration::from_millis(300);
            bed.turn(&[]);
            most = most.max(resident());
        }
        let (used, max) = bed.assembly.tcp.limits().buffers;
        assert!(used <= max, "{used} of {max}");
    }
    let limits = bed.assembly.tcp.limits();
    let counters = bed.assembly.tcp.counters();
    assert!(opened > 12_000, "{opened}");
    assert!(limits.buffers.0 > limits.buffers.1 / 2, "{limits:?}");
    assert!(counters.refused_memory > 0, "{counters:?}");
    assert!(server.stats().responses[4] > 0, "{:?}", server.stats());
    let grown = most - before;
    assert!(grown < bound, "{grown} octets; at most {bound} were said");
    assert!(grown > limits.buffers.1 as u64 / 2, "{grown} octets only");
}
