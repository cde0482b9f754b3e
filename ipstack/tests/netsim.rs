//! Transfers over a simulated link: seeded loss, reordering, duplication and delay, time as data.
//! The client is smoltcp's own socket; whatever the link does, every octet arrives once, in order.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::cell::Cell;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dataplane::testing::{Captured, Harness};
use dataplane::{Checksum, IfIndex, Interface, Interfaces, MacAddr, Offload};
use futures_io::{AsyncRead, AsyncWrite};
use ipstack::stream::TcpStream;
use ipstack::tcp::{Connection, Service, Tcp, TcpConfig};
use ipstack::tcp4_input::Tcp4Input;
use smoltcp::iface::{Config, Interface as Face, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Cidr};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 150);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 1);
const IF: IfIndex = IfIndex(1);

/// A small generator, so that a seed says everything.
#[derive(Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.next() >> 20 < (per_mille << 44) / 1000
    }
}

/// Octet `at` of a stream.
fn pattern(at: usize) -> u8 {
    let at = u64::try_from(at).unwrap();
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// What the link does; loss and such in thousandths.
#[derive(Clone, Copy)]
struct Link {
    delay: Duration,
    loss: u64,
    duplicate: u64,
    reorder: u64,
    reorder_by: Duration,
    /// Octets per second, and how long its queue is.
    rate: Option<(u64, Duration)>,
}

const GOOD: Link = Link {
    delay: Duration::from_micros(100),
    loss: 0,
    duplicate: 0,
    reorder: 0,
    reorder_by: Duration::from_millis(3),
    rate: None,
};

struct Packet {
    at: Duration,
    order: u64,
    octets: Vec<u8>,
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Packet {}
impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Packet {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// One direction.
struct Pipe {
    link: Link,
    rng: Rng,
    queue: BinaryHeap<Packet>,
    order: u64,
    free_at: Duration,
}

impl Pipe {
    fn send(&mut self, now: Duration, octets: &[u8]) {
        if self.rng.chance(self.link.loss) {
            return;
        }
        let mut start = now;
        if let Some((rate, queue)) = self.link.rate {
            start = start.max(self.free_at);
            if start.saturating_sub(now) > queue {
                return;
            }
            let nanos = octets.len() as u64 * 1_000_000_000 / rate;
            start += Duration::from_nanos(nanos);
            self.free_at = start;
        }
        let copies = 1 + usize::from(self.rng.chance(self.link.duplicate));
        for _ in 0..copies {
            let mut at = start + self.link.delay;
            if self.rng.chance(self.link.reorder) {
                at += self.link.reorder_by;
            }
            self.order += 1;
            self.queue.push(Packet {
                at,
                order: self.order,
                octets: octets.to_vec(),
            });
        }
    }

    fn receive(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.queue.peek()?.at > now {
            return None;
        }
        Some(self.queue.pop()?.octets)
    }
}

/// Finishes what the port would: the checksum, and the splitting of super-segments.
fn onto_the_wire(sent: &Captured) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let octets = &sent.octets;
    let head = 20 + usize::from(octets[32] >> 4) * 4;
    match sent.meta.segmentation {
        None => packets.push(octets.clone()),
        Some(segmentation) => {
            assert_eq!(usize::from(segmentation.header_len), head);
            let payload = &octets[head..];
            let size = usize::from(segmentation.size);
            assert!(
                payload.len() > size,
                "a super-segment has more than one piece"
            );
            let seq = u32::from_be_bytes(octets[24..28].try_into().unwrap());
            let count = payload.len().div_ceil(size);
            for (at, piece) in payload.chunks(size).enumerate() {
                let mut packet = octets[..head].to_vec();
                packet.extend(piece);
                let total = u16::try_from(packet.len()).unwrap();
                packet[2..4].copy_from_slice(&total.to_be_bytes());
                let offset = u32::try_from(at * size).unwrap();
                packet[24..28].copy_from_slice(&seq.wrapping_add(offset).to_be_bytes());
                if at + 1 < count {
                    packet[33] &= !0x09;
                }
                packets.push(packet);
            }
        }
    }
    for packet in &mut packets {
        packet[10..12].fill(0);
        let header = sum(&packet[..20], 0);
        packet[10..12].copy_from_slice(&(!header).to_be_bytes());
        if let Checksum::Partial { start, offset } = sent.meta.checksum {
            assert_eq!(usize::from(start), sent.offset + 20);
            assert_eq!(offset, 16);
            if sent.meta.segmentation.is_none() {
                // The field must hold the pseudo-header's sum: add the rest to it.
                let whole = sum(&packet[20..], 0);
                packet[36..38].copy_from_slice(&(!whole).to_be_bytes());
            } else {
                packet[36..38].fill(0);
                let whole = sum(&packet[20..], pseudo(packet));
                packet[36..38].copy_from_slice(&(!whole).to_be_bytes());
            }
        }
    }
    packets
}

fn pseudo(packet: &[u8]) -> u32 {
    let tcp = u32::try_from(packet.len() - 20).unwrap();
    u32::from(sum(&packet[12..20], 0)) + 6 + tcp
}

fn sum(octets: &[u8], start: u32) -> u16 {
    let mut sum = u64::from(start);
    for pair in octets.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// Reads a request (upload and download length), takes the upload, sends the download, closes.
struct Transfer {
    served: Rc<Cell<usize>>,
    failed: Rc<Cell<usize>>,
}

impl Service for Transfer {
    fn accept(&mut self, mut stream: TcpStream) -> Connection {
        let (served, failed) = (Rc::clone(&self.served), Rc::clone(&self.failed));
        Box::pin(async move {
            match transfer(&mut stream).await {
                Ok(()) => served.set(served.get() + 1),
                Err(_) => failed.set(failed.get() + 1),
            }
        })
    }
}

/// Panics as soon as the peer says something.
struct Panics;

impl Service for Panics {
    fn accept(&mut self, mut stream: TcpStream) -> Connection {
        Box::pin(async move {
            let mut octets = [0];
            let read = read(&mut stream, &mut octets).await;
            panic!("on purpose, after {read:?}");
        })
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, buffer)).await
}

async fn transfer(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut request = [0u8; 16];
    let mut have = 0;
    while have < request.len() {
        let octets = read(stream, &mut request[have..]).await?;
        if octets == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        have += octets;
    }
    let number = |at: usize| {
        usize::try_from(u64::from_be_bytes(request[at..at + 8].try_into().unwrap())).unwrap()
    };
    let (upload, download) = (number(0), number(8));
    let mut taken = 0;
    let mut buffer = vec![0u8; 10_000];
    while taken < upload {
        let octets = read(stream, &mut buffer).await?;
        assert!(octets > 0, "the upload ended early");
        for octet in &buffer[..octets] {
            assert_eq!(*octet, pattern(taken), "upload, at {taken}");
            taken += 1;
        }
    }
    let content: Bytes = (0..download).map(pattern).collect();
    let mut sent = 0;
    while sent < download {
        // Some of it by reference, some of it copied, in the middle of either.
        let rest = &content[sent..];
        let (a, b) = rest.split_at(rest.len().min(30_000));
        let shared = content.slice(..download / 3 * 2);
        let slices = [IoSlice::new(a), IoSlice::new(b)];
        sent +=
            poll_fn(|cx| stream.poll_write_shared(cx, &slices, slice::from_ref(&shared))).await?;
    }
    poll_fn(|cx| Pin::new(&mut *stream).poll_close(cx)).await
}

/// The client's device: what came in, what goes out.
struct Wire {
    input: Vec<Vec<u8>>,
    output: Vec<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let packet = self.input.pop()?;
        Some((Rx(packet), Tx(&mut self.output)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.output))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = 1500;
        caps.checksum = ChecksumCapabilities::default();
        caps
    }
}

/// One client connection: its own stack, so that a slow one does not hold the others up.
struct Client {
    face: Face,
    sockets: SocketSet<'static>,
    handle: smoltcp::iface::SocketHandle,
    wire: Wire,
    port: u16,
    request: Vec<u8>,
    upload: usize,
    uploaded: usize,
    download: usize,
    received: usize,
    done_at: Option<Duration>,
}

impl Client {
    fn new(port: u16, upload: usize, download: usize, now: Duration, seed: u64) -> Self {
        Self::connect(port, 80, (upload, download), now, seed)
    }

    fn connect(
        port: u16,
        to: u16,
        (upload, download): (usize, usize),
        now: Duration,
        seed: u64,
    ) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut wire = Wire {
            input: Vec::new(),
            output: Vec::new(),
        };
        let mut face = Face::new(config, &mut wire, instant(now));
        face.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::Ipv4(Ipv4Cidr::new(CLIENT, 24)))
                .unwrap();
        });
        let buffer = |len: usize| tcp::SocketBuffer::new(vec![0; len]);
        let mut socket = tcp::Socket::new(buffer(65_535), buffer(65_535));
        socket.connect(face.context(), (SERVER, to), port).unwrap();
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        let mut request = u64::try_from(upload).unwrap().to_be_bytes().to_vec();
        request.extend(u64::try_from(download).unwrap().to_be_bytes());
        Self {
            face,
            sockets,
            handle,
            wire,
            port,
            request,
            upload,
            uploaded: 0,
            download,
            received: 0,
            done_at: None,
        }
    }

    fn turn(&mut self, now: Duration) {
        self.wire.input.reverse();
        self.face
            .poll(instant(now), &mut self.wire, &mut self.sockets);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        if socket.may_send() {
            let sent = socket.send_slice(&self.request).unwrap();
            self.request.drain(..sent);
            while self.request.is_empty() && self.uploaded < self.upload && socket.can_send() {
                let to = self.upload.min(self.uploaded + 4096);
                let octets: Vec<u8> = (self.uploaded..to).map(pattern).collect();
                self.uploaded += socket.send_slice(&octets).unwrap();
            }
        }
        while socket.can_recv() {
            let from = self.received;
            let octets = socket
                .recv(|octets| {
                    for (at, octet) in octets.iter().enumerate() {
                        assert_eq!(*octet, pattern(from + at), "download, at {}", from + at);
                    }
                    (octets.len(), octets.len())
                })
                .unwrap();
            self.received += octets;
        }
        if self.done_at.is_none() && self.received == self.download && !socket.may_recv() {
            self.done_at = Some(now);
            socket.close();
        }
        self.face
            .poll(instant(now), &mut self.wire, &mut self.sockets);
    }

    fn next(&mut self, now: Duration) -> Option<Duration> {
        let at = self.face.poll_at(instant(now), &self.sockets)?;
        Some(Duration::from_micros(
            u64::try_from(at.total_micros()).unwrap(),
        ))
    }

    fn state(&self) -> tcp::State {
        self.sockets.get::<tcp::Socket<'_>>(self.handle).state()
    }
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap())
}

/// The whole simulation.
struct Sim {
    harness: Harness<Tcp4Input>,
    tcp: Tcp,
    served: Rc<Cell<usize>>,
    failed: Rc<Cell<usize>>,
    to_server: Pipe,
    to_client: Pipe,
    clients: Vec<Client>,
    now: Duration,
}

impl Sim {
    fn new(config: TcpConfig, offload: Offload, up: Link, down: Link, seed: u64) -> Self {
        let interfaces = Interfaces::shared();
        let interface = Interface {
            name: "host-m0.123".into(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
        };
        assert!(interfaces.borrow_mut().set(IF, interface));
        let tcp = Tcp::new(config, interfaces, Arc::new(|| {})).unwrap();
        let served = Rc::new(Cell::new(0));
        let failed = Rc::new(Cell::new(0));
        let service = Transfer {
            served: Rc::clone(&served),
            failed: Rc::clone(&failed),
        };
        tcp.listen(Ipv4Addr::UNSPECIFIED, 80, service).unwrap();
        let mut harness = Harness::new(Tcp4Input::new(&tcp));
        harness.offload = offload;
        harness.slots = 24;
        harness.slot_len = if offload.segmentation_max > 0 {
            66_000
        } else {
            2048
        };
        let pipe = |link, seed| Pipe {
            link,
            rng: Rng(seed),
            queue: BinaryHeap::new(),
            order: 0,
            free_at: Duration::ZERO,
        };
        Self {
            harness,
            tcp,
            served,
            failed,
            to_server: pipe(up, seed * 2 + 1),
            to_client: pipe(down, seed * 2 + 2),
            clients: Vec::new(),
            now: Duration::from_secs(1),
        }
    }

    fn turn(&mut self) {
        let now = self.now;
        while let Some(packet) = self.to_client.receive(now) {
            let port = u16::from_be_bytes([packet[22], packet[23]]);
            if let Some(client) = self.clients.iter_mut().find(|c| c.port == port) {
                client.wire.input.push(packet);
            }
        }
        for client in &mut self.clients {
            client.turn(now);
            for packet in client.wire.output.drain(..) {
                self.to_server.send(now, &packet);
            }
        }
        while let Some(packet) = self.to_server.receive(now) {
            self.harness.input(&packet, |meta| meta.interface = IF);
        }
        self.harness.now = now;
        let outcome = self.harness.run();
        for sent in &outcome.sent {
            for packet in onto_the_wire(&sent.frame) {
                self.to_client.send(now, &packet);
            }
        }
    }

    /// Runs until `done` or `until`; whether it was done.
    fn run(&mut self, until: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        use dataplane::Node as _;
        while self.now < until {
            self.turn();
            if done(self) {
                return true;
            }
            let now = self.now;
            let mut next = until;
            for pipe in [&self.to_server, &self.to_client] {
                if let Some(packet) = pipe.queue.peek() {
                    next = next.min(packet.at);
                }
            }
            for client in &mut self.clients {
                if let Some(at) = client.next(now) {
                    next = next.min(at);
                }
            }
            if let Some(at) = self.harness.node().deadline() {
                next = next.min(at);
            }
            self.now = next.max(now + Duration::from_micros(10));
        }
        false
    }

    /// Runs `count` clients one after the other started, all to their end.
    fn transfer(&mut self, count: u16, upload: usize, download: usize, limit: Duration) {
        let start = self.now;
        for at in 0..count {
            let seed = u64::from(at) * 77 + 5 + self.to_client.rng.0;
            let port = 20_000 + at;
            self.clients
                .push(Client::new(port, upload, download, self.now, seed));
        }
        let finished = self.run(start + limit, |sim| {
            sim.clients.iter().all(|client| client.done_at.is_some())
        });
        let states: Vec<_> = self
            .clients
            .iter()
            .filter(|client| client.done_at.is_none())
            .map(|c| (c.port, c.state(), c.uploaded, c.received))
            .collect();
        assert!(
            finished,
            "not done after {limit:?}: {states:?}\n{:#?}\n{:#?}",
            self.tcp.connections(self.now),
            self.tcp.counters()
        );
        assert_eq!(
            (self.served.get(), self.failed.get()),
            (usize::from(count), 0)
        );
        assert_eq!(self.tcp.counters().panics, 0);
    }

    fn slowest(&self) -> Duration {
        let ends = self.clients.iter().filter_map(|client| client.done_at);
        ends.max()
            .unwrap_or_default()
            .saturating_sub(Duration::from_secs(1))
    }
}

const NO_OFFLOAD: Offload = Offload {
    checksum: false,
    segmentation_max: 0,
};
const OFFLOAD: Offload = Offload {
    checksum: true,
    segmentation_max: 65_550,
};

fn config(assist: bool) -> TcpConfig {
    TcpConfig {
        sender_assist: assist,
        ..TcpConfig::default()
    }
}

#[test]
fn a_good_link_carries_both_directions() {
    for assist in [false, true] {
        for offload in [NO_OFFLOAD, OFFLOAD] {
            let mut sim = Sim::new(config(assist), offload, GOOD, GOOD, 1);
            sim.transfer(3, 200_000, 3_000_000, Duration::from_secs(30));
            let counters = sim.tcp.counters();
            assert_eq!(counters.retransmissions, 0, "{counters:#?}");
            assert!(
                sim.slowest() < Duration::from_secs(3),
                "{:?}",
                sim.slowest()
            );
        }
    }
}

#[test]
fn every_octet_arrives_whatever_the_link_does() {
    let bad = Link {
        delay: Duration::from_millis(10),
        loss: 30,
        duplicate: 20,
        reorder: 50,
        ..GOOD
    };
    for seed in 1..=8 {
        let offload = if seed % 2 == 0 { OFFLOAD } else { NO_OFFLOAD };
        let mut sim = Sim::new(config(seed % 4 < 2), offload, bad, bad, seed);
        sim.transfer(4, 100_000, 300_000, Duration::from_mins(20));
    }
}

#[test]
fn half_of_all_packets_lost_is_slow_but_right() {
    let bad = Link {
        delay: Duration::from_millis(5),
        loss: 400,
        ..GOOD
    };
    let config = TcpConfig {
        closing: Duration::from_mins(10),
        ..config(true)
    };
    for seed in 1..=3 {
        let mut sim = Sim::new(config.clone(), NO_OFFLOAD, bad, bad, seed);
        sim.transfer(1, 3_000, 30_000, Duration::from_hours(1));
    }
}

#[test]
fn losses_cost_little_time_with_the_sender_assist() {
    let down = Link {
        delay: Duration::from_millis(20),
        loss: 10,
        rate: Some((25_000_000, Duration::from_millis(50))),
        ..GOOD
    };
    let up = Link { loss: 0, ..down };
    let mut times = [false, true].map(|assist| {
        let mut times: Vec<Duration> = (1..=5)
            .map(|seed| {
                let mut sim = Sim::new(config(assist), OFFLOAD, up, down, seed);
                sim.transfer(1, 0, 1_000_000, Duration::from_mins(2));
                let counters = sim.tcp.counters();
                println!(
                    "assist {assist}, seed {seed}: {:?}, {} resent, {} timeouts, {} recoveries",
                    sim.slowest(),
                    counters.retransmissions,
                    counters.retransmission_timeouts,
                    counters.fast_recoveries
                );
                sim.slowest()
            })
            .collect();
        times.sort();
        times[2]
    });
    times.reverse();
    println!("1 MB at 1 % loss, 40 ms: median {times:?} with and without assist");
    assert!(times[0] < Duration::from_millis(2500), "{times:?}");
}

#[test]
fn idle_connections_sleep_without_buffers_and_wake() {
    let mut sim = Sim::new(config(true), OFFLOAD, GOOD, GOOD, 9);
    // A request sent in two halves, with a pause longer than buffers are kept.
    let mut client = Client::new(30_000, 0, 500_000, sim.now, 3);
    let second = client.request.split_off(16);
    assert!(second.is_empty());
    let rest = client.request.split_off(8);
    sim.clients.push(client);
    sim.run(Duration::from_secs(8), |_| false);
    // Half a request lies unread nowhere: the application has taken it.
    assert_eq!(sim.tcp.limits().buffers.0, 0);
    assert_eq!(sim.tcp.counters().hibernated, 1);
    sim.clients[0].request = rest;
    let end = Duration::from_secs(20);
    assert!(sim.run(end, |sim| sim.clients[0].done_at.is_some()));
    assert_eq!(sim.served.get(), 1);
    assert_eq!(sim.tcp.counters().revived, 2, "{:#?}", sim.tcp.counters());
}

#[test]
fn a_panic_in_one_connection_is_counted_and_ends_only_that_one() {
    let mut sim = Sim::new(config(true), OFFLOAD, GOOD, GOOD, 9);
    sim.tcp.listen(Ipv4Addr::UNSPECIFIED, 81, Panics).unwrap();
    for (port, to) in [(20_000, 80), (20_001, 81), (20_002, 80), (20_003, 81)] {
        let client = Client::connect(port, to, (100_000, 500_000), sim.now, u64::from(port));
        sim.clients.push(client);
    }
    let finished = sim.run(Duration::from_secs(30), |sim| sim.served.get() == 2);
    assert!(
        finished,
        "the others do not go on: {:#?}",
        sim.tcp.counters()
    );
    assert_eq!(sim.tcp.counters().panics, 2);
    assert_eq!(sim.failed.get(), 0);
    // Reset, not left hanging; nothing of them is left here.
    for client in sim.clients.iter().filter(|client| client.port % 2 == 1) {
        assert_eq!(client.state(), tcp::State::Closed, "{}", client.port);
    }
    // The port goes on serving, and panicking.
    sim.clients
        .push(Client::connect(20_009, 81, (10, 10), sim.now, 5));
    let until = sim.now + Duration::from_secs(5);
    assert!(sim.run(until, |sim| sim.tcp.counters().panics == 3));
}
