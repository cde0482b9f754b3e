//! The other end of connections: frames built from templates, numbers kept.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::time::Duration;

use dataplane::EtherType;
use dataplane::checksum;
use dataplane::testing::ethernet;
use futures_io::{AsyncRead, AsyncWrite};
use ipstack::ip4::Header;
use ipstack::stream::TcpStream;
use ipstack::tcp::{Connection, Service};

use crate::whole::{OUR_IP, OUR_MAC, PEER_MAC, Sent, Whole};

/// The port our side listens on.
pub const PORT: u16 = 80;

/// Flags of a segment (RFC 9293, section 3.1).
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const PUSH: u8 = 0x08;

/// Where IPv4 and TCP begin in a frame whose tag the kernel took off.
const IP: usize = 14;
const TCP: usize = IP + 20;

/// An IPv4 packet for us from `source`.
pub fn packet(protocol: u8, source: Ipv4Addr, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        tos: 0,
        total_len: u16::try_from(20 + payload.len()).unwrap_or(u16::MAX),
        identification: 1,
        fragment,
        protocol,
        source,
        destination: OUR_IP,
    };
    [&header.octets()[..], payload].concat()
}

/// An echo request with `len` octets of data, as an ICMP message.
pub fn echo_request(len: usize) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    message.extend((0..len).map(|octet| octet.to_le_bytes()[0]));
    let sum = checksum::of(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// An Ethernet frame to us that carries `packet`.
pub fn frame(packet: &[u8]) -> Vec<u8> {
    ethernet(OUR_MAC, PEER_MAC, &[], EtherType::IPV4, packet)
}

/// One connection as its peer sees it. The TCP checksum of its frames is left out: the kernel
/// vouches for them.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    address: Ipv4Addr,
    port: u16,
    /// The next octet it sends.
    pub seq: u32,
    /// The next octet it expects.
    pub ack: u32,
}

/// Segments alike but for the connection they belong to and its numbers.
#[derive(Debug)]
pub struct Template(Vec<u8>);

impl Template {
    /// Segments with `payload`.
    pub fn new(payload: &[u8]) -> Self {
        let push = if payload.is_empty() { 0 } else { PUSH };
        Self(segment(ACK | push, &[], payload))
    }

    /// Segments that close.
    pub fn fin() -> Self {
        Self(segment(ACK | FIN, &[], &[]))
    }

    /// Octets of the frame.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Writes the segment of `peer` into `place`, and says how long the frame is.
    ///
    /// # Panics
    /// When `place` is too small.
    pub fn write(&self, peer: &Peer, place: &mut [u8]) -> usize {
        let place = &mut place[..self.0.len()];
        place.copy_from_slice(&self.0);
        peer.sign(place);
        self.0.len()
    }
}

/// A frame with a segment; addresses and numbers are 0.
fn segment(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let [p0, p1] = PORT.to_be_bytes();
    let words = u8::try_from(5 + options.len() / 4).unwrap_or(5);
    let mut tcp = vec![0, 0, p0, p1];
    tcp.extend([0; 8]);
    tcp.extend([words << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(options);
    tcp.extend(payload);
    frame(&packet(6, Ipv4Addr::UNSPECIFIED, 0, &tcp))
}

impl Peer {
    /// A peer that has not connected yet.
    pub fn new(address: Ipv4Addr, port: u16) -> Self {
        Self {
            address,
            port,
            seq: 1000,
            ack: 0,
        }
    }

    fn sign(&self, frame: &mut [u8]) {
        frame[IP + 12..IP + 16].copy_from_slice(&self.address.octets());
        frame[IP + 10..IP + 12].fill(0);
        let sum = checksum::of(&frame[IP..TCP]);
        frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
        frame[TCP..TCP + 2].copy_from_slice(&self.port.to_be_bytes());
        frame[TCP + 4..TCP + 8].copy_from_slice(&self.seq.to_be_bytes());
        frame[TCP + 8..TCP + 12].copy_from_slice(&self.ack.to_be_bytes());
    }
}

/// Connects `peers`, all of one batch at most.
///
/// # Panics
/// When one of them gets no answer: then nothing measured later would mean anything.
pub fn connect(whole: &mut Whole, peers: &mut [Peer]) {
    dial(whole, peers);
    say(whole, peers, &[&Template::new(&[])]);
}

/// The SYNs of `peers`, all of one batch at most, and the answers to them.
///
/// # Panics
/// When one of them gets no answer.
pub fn dial(whole: &mut Whole, peers: &mut [Peer]) {
    // MSS 1,460, window scale 7 and SACK, as Linux asks for.
    let options = [2, 4, 0x05, 0xb4, 3, 3, 7, 4, 2, 1, 1, 1];
    let syn = Template(segment(SYN, &options, &[]));
    whole.sent.kept = Some(Vec::new());
    let answers = say(whole, peers, &[&syn]).kept.unwrap_or_default();
    assert_eq!(answers.len(), peers.len(), "every SYN is answered");
    // The tag is in front of the addresses now.
    let seq_at = TCP + 4 + 4;
    for (peer, answer) in peers.iter_mut().zip(&answers) {
        let seq = answer[seq_at..].first_chunk().copied().unwrap_or_default();
        peer.ack = u32::from_be_bytes(seq).wrapping_add(1);
        peer.seq = peer.seq.wrapping_add(1);
    }
}

/// Each of `peers` sends `segments`, all of one batch at most; then it is the worker's turn, 100
/// microseconds after the last. What it sent.
///
/// # Panics
/// When a batch has no room for them.
pub fn say(whole: &mut Whole, peers: &[Peer], segments: &[&Template]) -> Sent {
    let mut lens = Vec::new();
    for peer in peers {
        for segment in segments {
            lens.push(segment.write(peer, whole.frame(lens.len())));
        }
    }
    whole.now += Duration::from_micros(100);
    whole.turn(&lens);
    std::mem::take(&mut whole.sent)
}

/// What [`Answers`] answers with.
pub const ANSWER: &[u8; 8] = b"answered";

/// The least a service can do: 8 octets for whatever it reads.
#[derive(Clone, Copy, Debug)]
pub struct Answers;

impl Service for Answers {
    fn accept(&mut self, stream: TcpStream) -> Connection {
        Box::pin(answer(stream))
    }
}

async fn answer(mut stream: TcpStream) {
    let mut octets = [0; 256];
    loop {
        let read = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut octets));
        if !matches!(read.await, Ok(1..)) {
            return;
        }
        let write = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, ANSWER));
        if write.await.is_err() {
            return;
        }
    }
}
