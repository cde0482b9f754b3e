//! Connections against the whole graph with HTTP: valid handshakes and requests, and segments that
//! are wrong on purpose.

use std::net::Ipv4Addr;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use dataplane::checksum::{self, Sum};
use dataplane::testing::Room;
use dataplane::{Batch, Frame, HEADROOM, MacAddr, Offload};
use http_static::fuzzing::{server, settle};
use http_static::testing::ManualTimer;
use http_static::{Limits, Server};
use ipstack::fuzzing::check_limits;
use ipstack::stream::TcpStream;
use ipstack::tcp::{Connection, Service, TcpConfig};

use super::{MAC, assembly_with, check};
use crate::assemble::Assembly;
use crate::http::HttpStream;

const US: [u8; 4] = [192, 168, 123, 150];
const CLIENTS: usize = 4;
const DEEDS_MAX: usize = 64;

/// What `/f` holds: some segments' worth.
const BODY: [u8; 5000] = [b'x'; 5000];

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// What one of the clients does next.
#[derive(Arbitrary, Debug)]
enum Deed {
    /// A handshake, from the port used before or the next one.
    Open {
        same_port: bool,
    },
    /// A request, in pieces of this many octets.
    Ask {
        request: u8,
        piece: u8,
    },
    /// A segment beside the truth by so much.
    Wrong {
        seq: i32,
        ack: i32,
        flags: u8,
        window: u16,
        options: [u8; 8],
        payload: u16,
    },
    /// The same a little beside the truth.
    Near {
        seq: i8,
        ack: i8,
        flags: u8,
        window: u16,
        payload: u8,
    },
    /// The last frame again.
    Again,
    /// The last frame again with an octet changed, its checksums made right.
    Damaged {
        at: u8,
        octet: u8,
    },
    /// What comes next is sent after what follows it.
    Late,
    /// Acknowledges what came.
    Drain,
    Close,
    Reset,
    /// Time passes: two to this power of milliseconds.
    Wait(u8),
}

const REQUESTS: [&[u8]; 6] = [
    b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /f HTTP/1.1\r\nHost: a\r\nRange: bytes=10-20\r\n\r\n",
    b"HEAD /f HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /none HTTP/1.0\r\n\r\n",
    b"POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /f HTTP/1.1\r\nHost : a\n\n",
];

/// A client's end of its connection.
#[derive(Clone, Debug)]
struct Client {
    address: [u8; 4],
    mac: MacAddr,
    port: u16,
    seq: u32,
    ack: u32,
    /// A SYN is under way.
    opening: bool,
    last: Vec<u8>,
    received: Vec<u8>,
}

impl Client {
    fn new(number: u8) -> Self {
        Self {
            address: [192, 168, 123, 1 + number],
            mac: MacAddr([2, 0, 0, 0, 1, number]),
            port: 0x8000,
            seq: 0xffff_fff0,
            ack: 0,
            opening: false,
            last: Vec::new(),
            received: Vec::new(),
        }
    }

    fn segment(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        self.segment_with(self.seq, self.ack, flags, 0xffff, &[], payload)
    }

    fn segment_with(
        &self,
        seq: u32,
        ack: u32,
        flags: u8,
        window: u16,
        options: &[u8],
        payload: &[u8],
    ) -> Vec<u8> {
        let words = 5 + options.len() / 4;
        let total = 20 + 4 * words + payload.len();
        let mut frame = Vec::with_capacity(18 + total);
        frame.extend(MAC.0);
        frame.extend(self.mac.0);
        frame.extend([0x81, 0, 0, 123, 0x08, 0]);
        frame.extend([0x45, 0]);
        frame.extend(u16::try_from(total).unwrap_or(u16::MAX).to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(self.address);
        frame.extend(US);
        frame.extend(self.port.to_be_bytes());
        frame.extend([0, 80]);
        frame.extend(seq.to_be_bytes());
        frame.extend(ack.to_be_bytes());
        frame.extend([u8::try_from(words << 4).unwrap_or(0x50), flags]);
        frame.extend(window.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(options);
        frame.extend(payload);
        repair(&mut frame);
        frame
    }

    /// Takes a segment for this client.
    fn receive(&mut self, tcp: &[u8]) {
        let word = |at: usize| {
            let octets = tcp.get(at..at + 4).and_then(<[u8]>::first_chunk::<4>);
            octets.map_or(0, |octets| u32::from_be_bytes(*octets))
        };
        let flags = tcp[13];
        if tcp[2..4] != self.port.to_be_bytes() {
            return;
        }
        if flags & SYN != 0 {
            if self.opening && word(8) == self.seq {
                self.opening = false;
                self.ack = word(4).wrapping_add(1);
            }
        } else if word(4) == self.ack {
            let payload = tcp.get(usize::from(tcp[12] >> 4) * 4..).unwrap_or_default();
            self.received.extend_from_slice(payload);
            let len = u32::try_from(payload.len()).unwrap_or(0);
            self.ack = self.ack.wrapping_add(len + u32::from(flags & FIN));
        }
    }
}

/// Makes the checksums of a tagged frame right.
fn repair(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(18..) else {
        return;
    };
    let len = packet.len();
    if len < 40 || packet[0] != 0x45 {
        return;
    }
    packet[10..12].fill(0);
    let sum = checksum::of(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let address = |at: usize| {
        let octets = packet.get(at..).and_then(<[u8]>::first_chunk::<4>);
        octets.map_or(Ipv4Addr::UNSPECIFIED, |octets| Ipv4Addr::from(*octets))
    };
    let (source, destination) = (address(12), address(16));
    packet[36..38].fill(0);
    let sum = Sum::new()
        .with_pseudo_header(source, destination, 6, u16::try_from(len - 20).unwrap_or(0))
        .with(&packet[20..])
        .finish();
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
}

/// Serves connections by a clock that is moved by hand.
struct Http(Server, ManualTimer);

impl Service for Http {
    fn accept(&mut self, stream: TcpStream) -> Connection {
        let peer = stream.peer_addr().into();
        let served = self.0.serve(HttpStream(stream), peer, self.1.clone());
        Box::pin(async move {
            served.await;
        })
    }
}

thread_local! {
    /// For all inputs, each of which finds its cache empty.
    static SERVER: Server = server(Limits::default());
}

struct Bed {
    assembly: Assembly,
    server: Server,
    timer: ManualTimer,
    now: Duration,
    clients: Vec<Client>,
    room: Room,
    /// To be sent behind the next frame.
    late: Option<Vec<u8>>,
    hold: bool,
}

impl Bed {
    fn new(server: Server) -> Option<Self> {
        let config = TcpConfig {
            connections_max: 8,
            connections_per_source_max: 4,
            half_open_max: 3,
            time_wait_max: 3,
            buffers_max: 400_000,
            tx_buffer_max: 65_536,
            ..TcpConfig::default()
        };
        let assembly = assembly_with(config)?;
        let timer = ManualTimer::default();
        server.clear_cache();
        let http = Http(server.clone(), timer.clone());
        assembly.listen(Ipv4Addr::UNSPECIFIED, 80, http).ok()?;
        let clients: Vec<_> = (0..=CLIENTS).filter_map(|n| u8::try_from(n).ok()).collect();
        let clients: Vec<_> = clients.into_iter().map(Client::new).collect();
        let interface = assembly.plan()?.subs.first()?.0.index;
        for client in &clients {
            let set = assembly
                .tables
                .set_neighbor(interface, client.address.into(), client.mac);
            set.ok()?;
        }
        Some(Self {
            assembly,
            server,
            timer,
            now: Duration::from_secs(1),
            clients,
            room: Room::new(32, 2048),
            late: None,
            hold: false,
        })
    }

    /// Sends `frame` of client `of`, or keeps it for later.
    fn send(&mut self, of: usize, frame: Vec<u8>) {
        self.clients[of].last.clone_from(&frame);
        if std::mem::take(&mut self.hold) {
            self.late = Some(frame);
            return;
        }
        self.turn(Some(&frame));
        if let Some(late) = self.late.take() {
            self.turn(Some(&late));
        }
    }

    /// A turn of the graph, with a frame or without; the clients get what comes out.
    fn turn(&mut self, octets: Option<&[u8]>) -> Option<Duration> {
        settle(&self.server);
        let mut memory = vec![0xa5; HEADROOM];
        memory.extend(octets.unwrap_or_default());
        let offload = Offload {
            checksum: false,
            segmentation_max: 0,
        };
        let mut port = self.room.port(offload);
        let mut batch = Batch::new();
        if let Some(octets) = octets {
            let mut frame = Frame::new(&mut memory, HEADROOM, octets.len());
            if let Some(plan) = self.assembly.plan() {
                frame.meta.interface = plan.port.index;
            }
            let _ = batch.push(frame);
        }
        let entry = self.assembly.entry;
        let turn = self
            .assembly
            .graph
            .turn(self.now, entry, &mut batch, &mut port);
        for sent in port.transmitted {
            let Some(packet) = sent.octets.get(18..).filter(|packet| packet.len() >= 40) else {
                continue;
            };
            let client = self.clients.iter_mut();
            let mut to = client.filter(|client| packet[16..20] == client.address);
            if let (Some(client), 6) = (to.next(), packet[9]) {
                client.receive(&packet[20..]);
            }
        }
        check_limits(&self.assembly.tcp);
        turn.deadline
    }

    /// Lets time pass, by at most `step` at once, taking a turn whenever something is due.
    fn pass(&mut self, span: Duration, step: Duration) {
        let end = self.now + span;
        for _ in 0..4096 {
            let due = self.turn(None).unwrap_or(end);
            if self.now >= end {
                return;
            }
            let least = self.now + Duration::from_millis(1);
            let next = due.max(least).min(self.now + step).min(end);
            self.timer.advance(next.saturating_sub(self.now));
            self.now = next;
        }
        assert!(self.now >= end, "something is always due");
    }

    fn open(&mut self, of: usize, same_port: bool) {
        let client = &mut self.clients[of];
        if !same_port {
            client.port = client.port.wrapping_add(1).max(1);
        }
        client.seq = client.seq.wrapping_add(70_000);
        client.received.clear();
        let mss = [2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 1, 1];
        let syn = client.segment_with(client.seq, 0, SYN, 0xffff, &mss, &[]);
        client.seq = client.seq.wrapping_add(1);
        client.opening = true;
        self.send(of, syn);
        let ack = self.clients[of].segment(ACK, &[]);
        self.send(of, ack);
    }

    /// Sends `octets` in pieces.
    fn write(&mut self, of: usize, octets: &[u8], piece: usize) {
        for piece in octets.chunks(piece.max(1)) {
            let segment = self.clients[of].segment(ACK | PSH, piece);
            let client = &mut self.clients[of];
            client.seq = client
                .seq
                .wrapping_add(u32::try_from(piece.len()).unwrap_or(0));
            self.send(of, segment);
        }
    }

    fn close(&mut self, of: usize, flag: u8) {
        let segment = self.clients[of].segment(ACK | flag, &[]);
        self.clients[of].seq = self.clients[of].seq.wrapping_add(u32::from(flag & FIN));
        self.send(of, segment);
    }

    fn act(&mut self, of: usize, deed: &Deed) {
        let client = &self.clients[of];
        let beside = |seq: i32, ack: i32| {
            (
                client.seq.wrapping_add_signed(seq),
                client.ack.wrapping_add_signed(ack),
            )
        };
        match *deed {
            Deed::Open { same_port } => self.open(of, same_port),
            Deed::Ask { request, piece } => {
                let request = REQUESTS[usize::from(request) % REQUESTS.len()];
                self.write(of, request, usize::from(piece).max(4));
            }
            Deed::Wrong {
                seq,
                ack,
                flags,
                window,
                options,
                payload,
            } => {
                let (seq, ack) = beside(seq, ack);
                let payload = &BODY[..usize::from(payload % 1400)];
                let frame = client.segment_with(seq, ack, flags, window, &options, payload);
                self.send(of, frame);
            }
            Deed::Near {
                seq,
                ack,
                flags,
                window,
                payload,
            } => {
                let (seq, ack) = beside(seq.into(), ack.into());
                let payload = &BODY[..payload.into()];
                let frame = client.segment_with(seq, ack, flags, window, &[], payload);
                self.send(of, frame);
            }
            Deed::Again => {
                let frame = client.last.clone();
                self.send(of, frame);
            }
            Deed::Damaged { at, octet } => {
                let mut frame = client.last.clone();
                let len = frame.len().max(1);
                if let Some(place) = frame.get_mut(usize::from(at) % len) {
                    *place = octet;
                }
                repair(&mut frame);
                self.send(of, frame);
            }
            Deed::Late => self.hold = true,
            Deed::Drain => {
                let ack = client.segment(ACK, &[]);
                self.send(of, ack);
            }
            Deed::Close => self.close(of, FIN),
            Deed::Reset => self.close(of, RST),
            Deed::Wait(power) => {
                let span = Duration::from_millis(1 << (power % 18));
                self.pass(span, Duration::from_secs(5));
            }
        }
    }

    /// Somebody who did nothing yet gets the whole file.
    fn serve_somebody_new(&mut self) {
        self.hold = false;
        self.open(CLIENTS, false);
        self.write(CLIENTS, REQUESTS[0], 1000);
        for turn in 0..4000 {
            let got = &self.clients[CLIENTS].received;
            if got.len() > BODY.len() && got.ends_with(&BODY) {
                assert!(got.starts_with(b"HTTP/1.1 200 "));
                return;
            }
            self.act(CLIENTS, &Deed::Drain);
            self.pass(Duration::from_millis(1), Duration::from_millis(1));
            if turn > 50 {
                // The loader has no processor between being done and saying so.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let got = String::from_utf8_lossy(&self.clients[CLIENTS].received);
        unreachable!("no answer, {:?}: {got}", self.assembly.tcp.limits());
    }
}

/// What `data` says the clients do, to the whole graph with an HTTP server behind it.
///
/// # Panics
/// When anything does, a counter does not add up, something exceeds its limit, anything of the
/// clients is left once they have been silent for long, or a new client is not served then.
pub fn tcp_http(data: &[u8]) {
    let bed = Bed::new(SERVER.with(Server::clone));
    assert!(bed.is_some(), "the configuration is valid");
    let Some(mut bed) = bed else { return };
    let mut input = Unstructured::new(data);
    for _ in 0..DEEDS_MAX {
        if input.is_empty() {
            break;
        }
        let Ok((of, deed)) = <(u8, Deed)>::arbitrary(&mut input) else {
            break;
        };
        bed.act(usize::from(of) % CLIENTS, &deed);
    }
    if let Some(late) = bed.late.take() {
        bed.turn(Some(&late));
    }
    bed.pass(Duration::from_mins(10), Duration::from_mins(1));
    let limits = bed.assembly.tcp.limits();
    let left = (limits.connections.0, limits.half_open.0, limits.time_wait.0);
    assert_eq!((left, limits.buffers.0), ((0, 0, 0), 0), "{limits:?}");
    bed.serve_somebody_new();
    check(&bed.assembly);
}
