use std::cell::Cell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use dataplane::testing::{Harness, Outcome};
use dataplane::{Checksum, IfIndex, Interface, Interfaces, MacAddr, Offload};
use futures_io::{AsyncRead, AsyncWrite};
use proptest::prelude::*;

use super::*;
use crate::stream::TcpStream;
use crate::tcp::segment::{ACK, FIN, Outgoing, PSH, RST, SYN, fill_checksum, set_ip_checksum};
use crate::tcp::{Connection, SPARES_MAX, Service, State, TcpConfig, TcpCounters};

mod ahead;
mod model;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 150);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 1);
const IF: IfIndex = IfIndex(1);
const IRS: u32 = 0xffff_ff00;

/// What the application of all connections is told to do, and what it saw.
#[derive(Default)]
pub(crate) struct Script {
    received: RefCell<Vec<u8>>,
    write: RefCell<Vec<u8>>,
    /// Written behind `write` without being copied.
    shared: RefCell<Bytes>,
    close: Cell<bool>,
    /// Close our direction and keep the stream.
    half_close: Cell<bool>,
    abort: Cell<bool>,
    panic: Cell<bool>,
    deaf: Cell<bool>,
    ended: Cell<usize>,
    ends: RefCell<Vec<std::io::Result<()>>>,
    wakers: RefCell<Vec<Waker>>,
    drained: Cell<bool>,
}

struct Scripted(Rc<Script>);

impl Service for Scripted {
    fn accept(&mut self, stream: TcpStream) -> Connection {
        let script = Rc::clone(&self.0);
        let mut stream = Some(stream);
        Box::pin(poll_fn(move |cx| script.poll(&mut stream, cx)))
    }

    fn drain(&mut self) {
        self.0.drained.set(true);
    }
}

impl Script {
    fn poll(&self, slot: &mut Option<TcpStream>, cx: &mut Context<'_>) -> Poll<()> {
        self.wakers.borrow_mut().push(cx.waker().clone());
        assert!(!self.panic.replace(false), "told to");
        let Some(stream) = slot else {
            return Poll::Ready(());
        };
        let mut buffer = [0u8; 3000];
        while !self.deaf.get() {
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(0)) => return self.end(Ok(())),
                Poll::Ready(Ok(octets)) => {
                    self.received.borrow_mut().extend(&buffer[..octets]);
                }
                Poll::Ready(Err(error)) => return self.end(Err(error)),
                Poll::Pending => break,
            }
        }
        loop {
            let mut write = self.write.borrow_mut();
            let mut shared = self.shared.borrow_mut();
            if write.is_empty() && shared.is_empty() {
                break;
            }
            let slices = [IoSlice::new(&write), IoSlice::new(&shared)];
            match stream.poll_write_shared(cx, &slices, slice::from_ref(&shared)) {
                Poll::Ready(Ok(octets)) => {
                    let copied = octets.min(write.len());
                    write.drain(..copied);
                    shared.advance(octets - copied);
                }
                Poll::Ready(Err(error)) => {
                    drop((write, shared));
                    return self.end(Err(error));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.abort.get() {
            if let Some(stream) = slot.take() {
                stream.abort();
            }
            return self.end(Ok(()));
        }
        if self.close.get() {
            return self.end(Ok(()));
        }
        if self.half_close.get() {
            let _ = Pin::new(stream).poll_close(cx);
        }
        Poll::Pending
    }

    fn end(&self, how: std::io::Result<()>) -> Poll<()> {
        self.ended.set(self.ended.get() + 1);
        self.ends.borrow_mut().push(how);
        Poll::Ready(())
    }

    fn wake(&self) {
        for waker in self.wakers.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    fn error(&self) -> Option<std::io::ErrorKind> {
        let ends = self.ends.borrow();
        ends.last()?.as_ref().err().map(std::io::Error::kind)
    }
}

/// What came out, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) port: u16,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// The node with an application, and a way to talk to it.
pub(crate) struct Bed {
    pub(crate) harness: Harness<Tcp4Input>,
    pub(crate) tcp: Tcp,
    pub(crate) script: Rc<Script>,
    pub(crate) notified: Arc<AtomicUsize>,
    pub(crate) drops: Vec<(&'static str, u64)>,
}

/// A client's side of one connection.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddrV4,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
}

impl Bed {
    pub(crate) fn new(config: TcpConfig) -> Self {
        let interfaces = Interfaces::shared();
        let interface = Interface {
            name: "host-m0.123".into(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
        };
        assert!(interfaces.borrow_mut().set(IF, interface));
        let notified = Arc::new(AtomicUsize::new(0));
        let bell = Arc::clone(&notified);
        let notify = Arc::new(move || {
            bell.fetch_add(1, Ordering::Relaxed);
        });
        let tcp = Tcp::new(config, interfaces, notify).unwrap();
        let script = Rc::new(Script::default());
        tcp.listen(Ipv4Addr::UNSPECIFIED, 80, Scripted(Rc::clone(&script)))
            .unwrap();
        let mut harness = Harness::new(Tcp4Input::new(&tcp));
        harness.now = Duration::from_secs(1);
        harness.slots = 40;
        Self {
            harness,
            tcp,
            script,
            notified,
            drops: Vec::new(),
        }
    }

    pub(crate) fn run(&mut self) -> Vec<Seen> {
        let outcome = self.harness.run();
        self.drops = outcome.drops();
        seen(&outcome)
    }

    /// Lets time pass, running whenever something is due; what was sent meanwhile and when.
    pub(crate) fn pass(&mut self, span: Duration) -> Vec<(Duration, Seen)> {
        let end = self.harness.now + span;
        let mut all = Vec::new();
        let start = self.harness.now;
        for _ in 0..100_000 {
            let due = self.harness.node().deadline();
            let Some(at) = due.filter(|at| *at <= end) else {
                self.harness.now = end;
                return all;
            };
            self.harness.now = self.harness.now.max(at);
            let now = self.harness.now.saturating_sub(start);
            all.extend(self.run().into_iter().map(|seen| (now, seen)));
        }
        let list = self.tcp.connections(end);
        panic!(
            "the node is always due: {list:#?}, {:?}",
            self.tcp.core.borrow().deadlines()
        );
    }

    pub(crate) fn input(&mut self, packet: &[u8]) {
        self.harness.input(packet, |meta| meta.interface = IF);
    }

    pub(crate) fn send(&mut self, packet: &[u8]) -> Vec<Seen> {
        self.input(packet);
        self.run()
    }

    /// Opens a connection from `port`.
    pub(crate) fn open(&mut self, port: u16) -> Peer {
        let mut peer = Peer::new(port);
        let answer = self.send(&peer.syn());
        assert_eq!(answer.len(), 1, "{answer:?}");
        assert_eq!(answer[0].flags, SYN | ACK);
        peer.seq = peer.seq.wrapping_add(1);
        peer.ack = answer[0].seq.wrapping_add(1);
        let answer = self.send(&peer.segment(ACK, &[]));
        assert_eq!(answer, []);
        peer
    }

    pub(crate) fn counters(&self) -> TcpCounters {
        self.tcp.counters()
    }

    fn states(&self) -> Vec<State> {
        let list = self.tcp.connections(self.harness.now);
        list.into_iter().map(|info| info.state).collect()
    }

    /// Sockets for connections that come or wake up.
    fn spares(&self) -> usize {
        self.tcp.core.borrow().shared.spares.borrow().len()
    }

    pub(crate) fn write(&mut self, octets: &[u8]) -> Vec<Seen> {
        self.script.write.borrow_mut().extend(octets);
        self.script.wake();
        self.run()
    }

    fn close(&mut self) -> Vec<Seen> {
        self.script.close.set(true);
        self.script.wake();
        self.run()
    }
}

impl Peer {
    pub(crate) fn new(port: u16) -> Self {
        Self {
            address: SocketAddrV4::new(CLIENT, port),
            seq: IRS,
            ack: 0,
            window: 65_535,
        }
    }

    fn outgoing(&self, flags: u8) -> Outgoing {
        Outgoing {
            local: self.address,
            remote: SocketAddrV4::new(SERVER, 80),
            seq: self.seq,
            ack: self.ack,
            flags,
            window: self.window,
            mss: None,
            wscale: None,
            sack_permitted: false,
        }
    }

    pub(crate) fn syn(&self) -> Vec<u8> {
        build(
            &Outgoing {
                ack: 0,
                mss: Some(1460),
                wscale: Some(7),
                sack_permitted: true,
                ..self.outgoing(SYN)
            },
            &[],
            &[],
        )
    }

    pub(crate) fn segment(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        build(&self.outgoing(flags), &[], payload)
    }

    /// As [`Self::segment`], at `seq` and `ack` instead.
    fn at(&self, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let out = Outgoing {
            seq,
            ack,
            ..self.outgoing(flags)
        };
        build(&out, &[], payload)
    }

    /// An acknowledgement with one SACK block.
    fn sack(&self, from: u32, to: u32) -> Vec<u8> {
        let mut options = vec![1, 1, 5, 10];
        options.extend(from.to_be_bytes());
        options.extend(to.to_be_bytes());
        build(&self.outgoing(ACK), &options, &[])
    }

    fn sent(&mut self, octets: usize) {
        self.seq = self.seq.wrapping_add(u32::try_from(octets).unwrap());
    }

    fn take(&mut self, seen: &[Seen]) -> Vec<u8> {
        let mut octets = Vec::new();
        for segment in seen {
            assert_eq!(segment.seq, self.ack, "in order: {segment:?}");
            octets.extend(&segment.payload);
            let fin = u32::from(segment.flags & FIN != 0);
            let len = u32::try_from(segment.payload.len()).unwrap() + fin;
            self.ack = self.ack.wrapping_add(len);
        }
        octets
    }
}

/// A packet with further options and a payload.
fn build(head: &Outgoing, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0u8; 80];
    let len = head.write(&mut packet);
    packet.truncate(len);
    packet.extend(options);
    let words = (packet.len() - 20) / 4;
    packet[32] = u8::try_from(words << 4).unwrap();
    packet.extend(payload);
    let total = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    set_ip_checksum(&mut packet);
    fill_checksum(&mut packet, 0, false);
    packet
}

fn seen(outcome: &Outcome) -> Vec<Seen> {
    let word = |at: &[u8]| u32::from_be_bytes(at.try_into().unwrap());
    outcome
        .sent
        .iter()
        .map(|sent| {
            assert_eq!(sent.arc, "ip4-lookup");
            assert_eq!(sent.frame.meta.interface, IF);
            let octets = &sent.frame.octets;
            let total = u16::from_be_bytes([octets[2], octets[3]]);
            assert_eq!(usize::from(total), octets.len());
            if sent.frame.meta.checksum == Checksum::Unverified {
                let parsed = crate::tcp::segment::parse(octets).unwrap();
                assert!(crate::tcp::segment::checksum_is_valid(octets, &parsed));
            }
            let head = 20 + usize::from(octets[32] >> 4) * 4;
            Seen {
                port: u16::from_be_bytes([octets[22], octets[23]]),
                flags: octets[33],
                seq: word(&octets[24..28]),
                ack: word(&octets[28..32]),
                window: u16::from_be_bytes([octets[34], octets[35]]),
                options: octets[40..head].to_vec(),
                payload: octets[head..].to_vec(),
            }
        })
        .collect()
}

fn plain(assist: bool) -> TcpConfig {
    TcpConfig {
        sender_assist: assist,
        ..TcpConfig::default()
    }
}

const S: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn a_syn_is_answered_in_kind_and_again_after_1_2_and_4_seconds() {
    let mut bed = Bed::new(plain(true));
    let peer = Peer::new(4000);
    let answer = bed.send(&peer.syn());
    assert_eq!(answer.len(), 1);
    let syn_ack = &answer[0];
    assert_eq!(
        (syn_ack.flags, syn_ack.ack),
        (SYN | ACK, IRS.wrapping_add(1))
    );
    assert_eq!(syn_ack.window, 16_384);
    let expected = [2, 4, 0x05, 0xb4, 1, 1, 4, 2, 1, 3, 3, 0];
    assert_eq!(syn_ack.options, expected);
    assert_eq!(bed.states(), [State::SynReceived]);
    let again = bed.pass(S(60));
    let times: Vec<u64> = again.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(times, [1, 3, 7]);
    assert!(again.iter().all(|(_, seen)| seen == syn_ack));
    assert_eq!(bed.states(), []);
    let counters = bed.counters();
    assert_eq!(
        (counters.syn_acks_retransmitted, counters.half_open_expired),
        (3, 1)
    );
}

#[test]
fn a_syn_without_options_gets_none_back_but_the_mss() {
    let mut bed = Bed::new(plain(true));
    let peer = Peer::new(4000);
    let answer = bed.send(&peer.at(IRS, 0, SYN, &[]));
    assert_eq!(answer[0].options, [2, 4, 0x05, 0xb4]);
}

#[test]
fn a_request_is_read_and_its_answer_carries_the_acknowledgement() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    assert_eq!(
        bed.tcp.limits().buffers.0,
        0,
        "no buffers before there is data"
    );
    bed.script.write.borrow_mut().extend(b"answer");
    let answer = bed.send(&peer.segment(ACK | PSH, b"request"));
    assert_eq!(*bed.script.received.borrow(), b"request");
    peer.sent(7);
    assert_eq!(answer.len(), 1, "{answer:?}");
    assert_eq!((answer[0].flags, answer[0].ack), (ACK | PSH, peer.seq));
    assert_eq!(peer.take(&answer), b"answer");
    assert_eq!(bed.drops, []);
    assert_eq!(bed.states(), [State::Established]);
}

#[test]
fn data_on_the_acknowledgement_of_the_handshake_is_not_lost() {
    let mut bed = Bed::new(plain(true));
    let mut peer = Peer::new(4000);
    let answer = bed.send(&peer.syn());
    peer.sent(1);
    peer.ack = answer[0].seq.wrapping_add(1);
    bed.send(&peer.segment(ACK | PSH | FIN, b"hello"));
    assert_eq!(*bed.script.received.borrow(), b"hello");
    assert_eq!(bed.script.ended.get(), 1);
}

#[test]
fn a_closed_port_is_answered_with_a_reset_and_a_reset_never() {
    let mut bed = Bed::new(plain(true));
    assert!(bed.tcp.unlisten(Ipv4Addr::UNSPECIFIED, 80));
    let peer = Peer {
        ack: 77,
        ..Peer::new(4000)
    };
    let answer = bed.send(&peer.syn());
    assert_eq!((answer[0].flags, answer[0].seq), (RST | ACK, 0));
    assert_eq!(answer[0].ack, IRS.wrapping_add(1));
    assert_eq!(bed.drops, [("no-listener", 1)]);
    let answer = bed.send(&peer.segment(ACK, b"data"));
    assert_eq!((answer[0].flags, answer[0].seq), (RST, 77));
    assert_eq!(bed.drops, [("no-connection", 1)]);
    assert_eq!(bed.send(&peer.segment(RST, &[])), []);
    assert_eq!(bed.send(&peer.segment(RST | ACK, &[])), []);
}

#[test]
fn resets_are_limited_in_rate() {
    let mut bed = Bed::new(TcpConfig {
        resets_per_second: 50,
        ..plain(true)
    });
    for port in 1000..1100 {
        bed.input(&Peer::new(port).segment(ACK, &[]));
    }
    assert_eq!(bed.run().len(), 5);
    let counters = bed.counters();
    assert_eq!((counters.resets_sent, counters.resets_limited), (5, 95));
}

#[test]
fn what_is_wrong_with_a_segment_is_counted() {
    let mut bed = Bed::new(plain(true));
    let peer = Peer::new(4000);
    let mut wrong = peer.syn();
    wrong[36] ^= 1;
    assert_eq!(bed.send(&wrong), []);
    assert_eq!(bed.drops, [("bad-checksum", 1)]);
    // Somebody vouches for it: then it is not looked at.
    bed.harness.input(&wrong, |meta| {
        meta.interface = IF;
        meta.checksum = Checksum::Valid;
    });
    assert_eq!(bed.run().len(), 1);
    bed.send(&peer.syn()[..30]);
    assert_eq!(bed.drops, [("truncated", 1)]);
    bed.send(&peer.segment(SYN | FIN, &[]));
    assert_eq!(bed.drops, [("nonsense", 1)]);
    let from_group = Peer {
        address: SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 1), 5),
        ..peer
    };
    bed.send(&from_group.syn());
    assert_eq!(bed.drops, [("not-unicast", 1)]);
    bed.harness.input(&peer.syn(), |meta| {
        meta.interface = IF;
        meta.destination = MacAddr::BROADCAST;
    });
    bed.run();
    assert_eq!(bed.drops, [("not-unicast", 1)]);
}

#[test]
fn a_reset_counts_only_at_the_expected_number() {
    let mut bed = Bed::new(plain(true));
    let peer = bed.open(4000);
    let inside = peer.at(peer.seq.wrapping_add(100), 0, RST, &[]);
    let challenge = bed.send(&inside);
    assert_eq!(bed.drops, [("blind-reset", 1)]);
    assert_eq!(challenge.len(), 1);
    assert_eq!((challenge[0].flags, challenge[0].ack), (ACK, peer.seq));
    assert_eq!(bed.send(&inside), [], "challenges are limited");
    let outside = peer.at(peer.seq.wrapping_sub(1), 0, RST, &[]);
    assert_eq!(bed.send(&outside), []);
    assert_eq!(bed.states(), [State::Established]);
    assert_eq!(bed.send(&peer.segment(RST, &[])), []);
    assert_eq!(bed.states(), []);
    assert_eq!(
        bed.script.error(),
        Some(std::io::ErrorKind::ConnectionReset)
    );
    assert_eq!(bed.counters().reset_by_peer, 1);
}

#[test]
fn a_client_that_restarted_gets_through() {
    let mut bed = Bed::new(plain(true));
    let old = bed.open(4000);
    // The same port, as if nothing had been.
    let mut new = Peer {
        seq: 1234,
        ..Peer::new(4000)
    };
    let challenge = bed.send(&new.syn());
    assert_eq!(bed.drops, [("syn-on-connection", 1)]);
    assert_eq!((challenge[0].flags, challenge[0].ack), (ACK, old.seq));
    assert_eq!(bed.send(&new.at(challenge[0].ack, 0, RST, &[])), []);
    let answer = bed.send(&new.syn());
    assert_eq!(answer[0].flags, SYN | ACK);
    new.sent(1);
    new.ack = answer[0].seq.wrapping_add(1);
    bed.send(&new.segment(ACK, b"again"));
    assert_eq!(*bed.script.received.borrow(), b"again");
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_is_challenged() {
    let mut bed = Bed::new(plain(true));
    let peer = bed.open(4000);
    bed.write(&[7; 100]);
    let challenge = bed.send(&peer.at(peer.seq, peer.ack.wrapping_add(101), ACK, b"evil"));
    assert_eq!(bed.drops, [("unacceptable-ack", 1)]);
    assert_eq!((challenge[0].flags, challenge[0].ack), (ACK, peer.seq));
    assert_eq!(*bed.script.received.borrow(), b"");
    bed.send(&peer.at(peer.seq, peer.ack.wrapping_sub(1 << 24), ACK, b"evil"));
    assert_eq!(bed.drops, [("unacceptable-ack", 1)]);
}

#[test]
fn an_old_acknowledgement_does_not_take_its_data_along() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    let old_ack = peer.ack;
    let sent = bed.write(&[7; 100]);
    peer.take(&sent);
    bed.send(&peer.segment(ACK, &[]));
    bed.send(&peer.at(peer.seq, old_ack, ACK, b"late"));
    assert_eq!(*bed.script.received.borrow(), b"late");
    assert_eq!(bed.counters().old_acks_patched, 1);
    bed.send(&peer.at(peer.seq.wrapping_add(4), old_ack, ACK, &[]));
    assert_eq!(bed.drops, [("old-duplicate", 1)]);
}

#[test]
fn an_old_acknowledgement_may_lie_back_by_the_greatest_window_there_was() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    let old_ack = peer.ack;
    for _ in 0..100 {
        let sent = bed.write(&[7; 1000]);
        peer.take(&sent);
        bed.send(&peer.segment(ACK, &[]));
    }
    peer.window = 1;
    bed.send(&peer.segment(ACK, &[]));
    bed.send(&peer.at(peer.seq, old_ack, ACK, b"late"));
    assert_eq!(*bed.script.received.borrow(), b"late");
    let greatest = 65_535 << 7;
    peer.sent(4);
    let older = peer.ack.wrapping_sub(greatest + 1);
    bed.send(&peer.at(peer.seq, older, ACK, b"evil"));
    assert_eq!(bed.drops, [("unacceptable-ack", 1)]);
    assert_eq!(*bed.script.received.borrow(), b"late");
}

#[test]
fn an_old_acknowledgement_behind_a_new_one_does_not_take_its_data_along_either() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    let old_ack = peer.ack;
    let sent = bed.write(&[7; 100]);
    peer.take(&sent);
    bed.input(&peer.segment(ACK, &[]));
    bed.input(&peer.at(peer.seq, old_ack, ACK, b"late"));
    bed.run();
    assert_eq!(*bed.script.received.borrow(), b"late");
    assert_eq!(bed.counters().old_acks_patched, 1);
}

#[test]
fn the_peer_closes_first_and_no_record_remains() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    let answer = bed.send(&peer.segment(FIN | ACK, &[]));
    assert_eq!(bed.script.ended.get(), 1);
    peer.sent(1);
    assert_eq!((answer[0].flags, answer[0].ack), (FIN | ACK, peer.seq));
    assert_eq!(bed.states(), [State::LastAck]);
    peer.take(&answer);
    bed.send(&peer.segment(ACK, &[]));
    assert_eq!(bed.states(), []);
    assert_eq!((bed.counters().closed, bed.tcp.limits().buffers.0), (1, 0));
}

/// Closes from our side, up to TIME-WAIT.
fn closed_by_us(bed: &mut Bed) -> Peer {
    let mut peer = bed.open(4000);
    let fin = bed.close();
    assert_eq!((fin.len(), fin[0].flags), (1, FIN | ACK));
    peer.take(&fin);
    bed.send(&peer.segment(ACK, &[]));
    assert_eq!(bed.states(), [State::FinWait2]);
    let ack = bed.send(&peer.segment(FIN | ACK, &[]));
    peer.sent(1);
    assert_eq!((ack.len(), ack[0].flags, ack[0].ack), (1, ACK, peer.seq));
    assert_eq!(bed.states(), [State::TimeWait]);
    peer
}

#[test]
fn time_wait_is_a_record_that_acknowledges_and_expires() {
    let mut bed = Bed::new(plain(true));
    let peer = closed_by_us(&mut bed);
    assert_eq!(bed.tcp.limits().connections.0, 0);
    assert_eq!(bed.tcp.limits().buffers.0, 0);
    let ack = bed.send(&peer.at(peer.seq.wrapping_sub(1), peer.ack, FIN | ACK, &[]));
    assert_eq!(
        (ack[0].flags, ack[0].ack, ack[0].seq),
        (ACK, peer.seq, peer.ack)
    );
    assert_eq!(bed.send(&peer.segment(RST, &[])), []);
    assert_eq!(bed.states(), [State::TimeWait]);
    bed.pass(S(59));
    assert_eq!(bed.states(), [State::TimeWait]);
    bed.pass(S(2));
    assert_eq!(bed.states(), []);
}

#[test]
fn a_later_syn_ends_time_wait_and_an_older_one_does_not() {
    let mut bed = Bed::new(plain(true));
    let old = closed_by_us(&mut bed);
    bed.script.close.set(false);
    let earlier = Peer {
        seq: old.seq.wrapping_sub(5),
        ..old
    };
    let answer = bed.send(&earlier.syn());
    assert_eq!(answer[0].flags, ACK);
    assert_eq!(bed.states(), [State::TimeWait]);
    let later = Peer {
        seq: old.seq.wrapping_add(1),
        ..old
    };
    let answer = bed.send(&later.syn());
    assert_eq!(answer[0].flags, SYN | ACK);
    let ahead = answer[0].seq.wrapping_sub(old.ack);
    assert!(ahead < 1 << 31, "the new numbers come after the old");
    assert_eq!(bed.counters().time_waits_reused, 1);
}

#[test]
fn a_lost_fin_is_sent_again_even_after_duplicate_acknowledgements() {
    for assist in [true, false] {
        let mut bed = Bed::new(plain(assist));
        let mut peer = bed.open(4000);
        bed.send(&peer.segment(ACK, b"x"));
        peer.sent(1);
        let fin = bed.close();
        assert_eq!(fin[0].flags, FIN | ACK);
        for _ in 0..5 {
            bed.send(&peer.segment(ACK, &[]));
        }
        let again = bed.pass(S(20));
        let fins = again.iter().filter(|(_, seen)| seen.flags == FIN | ACK);
        assert!(fins.count() >= 2, "assist {assist}: {again:?}");
    }
}

#[test]
fn a_window_shrunk_to_nothing_is_probed_and_data_flows_when_it_opens() {
    for assist in [true, false] {
        let mut bed = Bed::new(plain(assist));
        let mut peer = bed.open(4000);
        bed.send(&peer.segment(ACK, b"x"));
        peer.sent(1);
        let data: Vec<u8> = (0..1000u32)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        let first = bed.write(&data);
        assert_eq!(first.len(), 1);
        // Not acknowledged, and the window is gone: smoltcp alone would stop for ever.
        peer.window = 0;
        bed.send(&peer.segment(ACK, &[]));
        let probes = bed.pass(S(30));
        assert!(!probes.is_empty(), "assist {assist}: no probe");
        peer.window = 65_535;
        let mut seen = bed.send(&peer.segment(ACK, &[]));
        seen.extend(bed.pass(S(70)).into_iter().map(|(_, seen)| seen));
        let mut got = vec![None; 1000];
        for segment in &seen {
            let at = usize::try_from(segment.seq.wrapping_sub(peer.ack)).unwrap();
            for (offset, octet) in segment.payload.iter().enumerate() {
                got[at + offset] = Some(*octet);
            }
        }
        let got: Option<Vec<u8>> = got.into_iter().collect();
        assert_eq!(got.as_ref(), Some(&data), "assist {assist}: {seen:?}");
    }
}

#[test]
fn a_peer_that_vanished_is_probed_and_given_up() {
    let mut bed = Bed::new(plain(true));
    let peer = bed.open(4000);
    let probes = bed.pass(S(75 + 50 + 1));
    assert_eq!(probes.len(), 6, "{probes:?}");
    let probe = &probes[0].1;
    assert_eq!((probe.flags, probe.seq), (ACK, peer.ack.wrapping_sub(1)));
    assert_eq!(probes[5].1.flags, RST | ACK);
    assert_eq!(bed.states(), []);
    assert_eq!(bed.script.error(), Some(std::io::ErrorKind::TimedOut));
    assert_eq!(bed.counters().keepalive_expired, 1);
}

#[test]
fn a_peer_that_answers_probes_is_kept() {
    let mut bed = Bed::new(plain(true));
    let peer = bed.open(4000);
    for _ in 0..5 {
        let probes = bed.pass(S(76));
        assert_eq!(probes.len(), 1);
        bed.send(&peer.segment(ACK, &[]));
    }
    assert_eq!(bed.states(), [State::Established]);
    // Its own probes are answered without any buffers.
    let answer = bed.send(&peer.at(peer.seq.wrapping_sub(1), peer.ack, ACK, &[]));
    assert_eq!((answer.len(), answer[0].ack), (1, peer.seq));
    assert_eq!(bed.tcp.limits().buffers.0, 0);
}

#[test]
fn unacknowledged_data_ends_the_connection_after_the_user_timeout() {
    for assist in [true, false] {
        let mut bed = Bed::new(plain(assist));
        let peer = bed.open(4000);
        bed.write(&[1; 5000]);
        let seen = bed.pass(S(130));
        assert_eq!(seen.last().unwrap().1.flags, RST | ACK);
        assert_eq!(bed.states(), [], "assist {assist}");
        assert_eq!(bed.counters().user_timeouts, 1);
        assert!(bed.counters().retransmissions >= 4);
        let _ = peer;
    }
}

#[test]
fn fin_wait_2_does_not_last_for_ever() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    let fin = bed.close();
    peer.take(&fin);
    bed.send(&peer.segment(ACK, &[]));
    assert_eq!(bed.states(), [State::FinWait2]);
    bed.pass(S(61));
    assert_eq!(bed.states(), []);
    assert_eq!(bed.counters().closing_timeouts, 1);
}

#[test]
fn selective_acknowledgements_bring_back_only_what_is_missing() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    bed.send(&peer.segment(ACK, b"x"));
    peer.sent(1);
    let sent = bed.write(&[9; 14_600]);
    assert_eq!(sent.len(), 10);
    // The second segment is lost.
    peer.take(&sent[..1]);
    bed.send(&peer.segment(ACK, &[]));
    let sack = peer.sack(sent[2].seq, sent[9].seq.wrapping_add(1460));
    assert_eq!(bed.send(&sack), []);
    let again = bed.pass(Duration::from_millis(100));
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(again[0].1, sent[1]);
    let counters = bed.counters();
    assert_eq!(
        (counters.fast_recoveries, counters.retransmission_timeouts),
        (1, 0)
    );
}

#[test]
fn a_lost_tail_is_probed_before_the_timeout() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    bed.send(&peer.segment(ACK, b"x"));
    peer.sent(1);
    // One round trip measured.
    let sent = bed.write(&[1; 3000]);
    peer.take(&sent);
    bed.harness.now += Duration::from_millis(2);
    bed.send(&peer.segment(ACK, &[]));
    let sent = bed.write(&[2; 2920]);
    assert_eq!(sent.len(), 2);
    let again = bed.pass(Duration::from_millis(100));
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(again[0].1, sent[1]);
    assert_eq!(bed.counters().tail_loss_probes, 1);
}

#[test]
fn only_the_last_of_several_pure_acknowledgements_is_fed() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    bed.write(&[3; 14_000]);
    for _ in 0..9 {
        peer.ack = peer.ack.wrapping_add(1460);
        bed.input(&peer.segment(ACK, &[]));
    }
    bed.run();
    assert_eq!(bed.counters().acks_coalesced, 8);
    let info = bed.tcp.connections(bed.harness.now);
    assert_eq!(info[0].flight, 14_000 - 9 * 1460);
}

#[test]
fn super_segments_respect_the_ports_maximum() {
    let mut bed = Bed::new(plain(true));
    bed.harness.offload = Offload {
        checksum: true,
        segmentation_max: 6000,
    };
    bed.harness.slot_len = 8192;
    bed.open(4000);
    bed.script.write.borrow_mut().extend([5; 14_000]);
    bed.script.wake();
    let outcome = bed.harness.run();
    let mut total = 0;
    for sent in &outcome.sent {
        assert!(sent.frame.octets.len() <= 6000 - 22);
        let segmentation = sent.frame.meta.segmentation;
        let payload = sent.frame.octets.len() - 40;
        total += payload;
        assert_eq!(segmentation.is_some(), payload > 1460);
        if let Some(segmentation) = segmentation {
            assert_eq!((segmentation.size, segmentation.header_len), (1460, 40));
        }
        assert!(matches!(
            sent.frame.meta.checksum,
            Checksum::Partial { offset: 16, .. }
        ));
    }
    assert_eq!(total, 14_000);
}

#[test]
fn a_full_port_delays_and_loses_nothing() {
    for assist in [true, false] {
        let mut bed = Bed::new(plain(assist));
        let mut peer = bed.open(4000);
        let data: Vec<u8> = (0..14_000u32)
            .map(|at| u8::try_from(at % 253).unwrap())
            .collect();
        bed.harness.slots = 0;
        assert_eq!(bed.write(&data), []);
        assert_eq!(bed.pass(Duration::from_millis(20)), []);
        assert!(bed.counters().port_full > 0);
        bed.harness.slots = 3;
        let seen = bed.pass(Duration::from_millis(20));
        let seen: Vec<Seen> = seen.into_iter().map(|(_, seen)| seen).collect();
        assert_eq!(peer.take(&seen), data, "assist {assist}");
        assert_eq!(bed.counters().retransmissions, 0);
    }
}

#[test]
fn a_panic_ends_one_connection_and_no_other() {
    let mut bed = Bed::new(plain(true));
    let first = bed.open(4000);
    let second = bed.open(4001);
    bed.script.panic.set(true);
    let answer = bed.send(&first.segment(ACK, b"boom"));
    assert_eq!(answer[0].flags, RST | ACK);
    assert_eq!((bed.counters().panics, bed.states().len()), (1, 1));
    assert_eq!(bed.spares(), 0, "its socket is nobody else's");
    bed.send(&second.segment(ACK, b"fine"));
    assert_eq!(*bed.script.received.borrow(), b"fine");
}

#[test]
fn an_aborted_stream_resets_the_connection() {
    let mut bed = Bed::new(plain(true));
    let peer = bed.open(4000);
    bed.script.abort.set(true);
    bed.script.wake();
    let answer = bed.run();
    assert_eq!((answer[0].flags, answer[0].seq), (RST | ACK, peer.ack));
    assert_eq!(bed.states(), []);
}

#[test]
fn a_waker_works_from_another_thread_and_outlives_its_connection() {
    let mut bed = Bed::new(plain(true));
    let peer = bed.open(4000);
    let waker = bed.script.wakers.borrow_mut().pop().unwrap();
    let elsewhere = waker.clone();
    std::thread::spawn(move || elsewhere.wake()).join().unwrap();
    assert_eq!(bed.notified.load(Ordering::Relaxed), 1);
    assert_eq!(bed.harness.node().deadline(), Some(Duration::ZERO));
    bed.script.write.borrow_mut().extend(b"woken");
    assert_eq!(bed.run()[0].payload, b"woken");
    bed.send(&peer.segment(RST, &[]));
    assert_eq!(bed.states(), []);
    waker.wake();
    bed.run();
    assert_eq!(
        bed.notified.load(Ordering::Relaxed),
        1,
        "no bell on the worker's own thread"
    );
}

#[test]
fn a_syn_flood_is_answered_with_cookies_and_bounded_memory() {
    let mut bed = Bed::new(TcpConfig {
        half_open_max: 100,
        ..plain(true)
    });
    bed.harness.slots = 300;
    for round in 0..20u8 {
        for port in 1000..1100u16 {
            let address = Ipv4Addr::new(10, 0, round, 1);
            let flood = Peer {
                address: SocketAddrV4::new(address, port),
                ..Peer::new(port)
            };
            bed.input(&flood.syn());
        }
        assert_eq!(bed.run().len(), 100);
    }
    assert_eq!(bed.tcp.limits().half_open.0, 100);
    assert_eq!(bed.counters().syn_cookies_sent, 1900);
    // A legitimate client gets in, with the options it asked for as far as a cookie can tell.
    let mut peer = Peer::new(4000);
    let answer = bed.send(&peer.syn());
    peer.sent(1);
    peer.ack = answer[0].seq.wrapping_add(1);
    let wrong = peer.at(peer.seq, peer.ack.wrapping_add(128), ACK, b"guess");
    assert_eq!(bed.send(&wrong)[0].flags, RST);
    bed.send(&peer.segment(ACK, b"hello"));
    assert_eq!(*bed.script.received.borrow(), b"hello");
    assert_eq!(bed.counters().syn_cookies_accepted, 1);
    bed.pass(S(16));
    assert_eq!(bed.tcp.limits().half_open.0, 0);
}

#[test]
fn one_address_cannot_take_every_place() {
    let mut bed = Bed::new(TcpConfig {
        connections_per_source_max: 2,
        ..plain(true)
    });
    let first = bed.open(4000);
    bed.open(4001);
    let answer = bed.send(&Peer::new(4002).syn());
    assert_eq!(answer[0].flags, RST | ACK);
    assert_eq!(bed.drops, [("refused", 1)]);
    assert_eq!(bed.counters().refused_per_source, 1);
    bed.send(&first.segment(RST, &[]));
    bed.open(4002);
}

#[test]
fn when_full_the_longest_idle_goes_and_busy_ones_stay() {
    let mut bed = Bed::new(TcpConfig {
        connections_max: 2,
        ..plain(true)
    });
    let busy = bed.open(4000);
    bed.send(&busy.segment(ACK, b"x"));
    bed.write(&[0; 100]);
    bed.open(4001);
    let refused = bed.send(&Peer::new(4002).syn());
    assert_eq!(refused[0].flags, RST | ACK);
    assert_eq!(bed.counters().refused_full, 1);
    bed.pass(S(3));
    // A SYN may be forged; only a finished handshake displaces anybody.
    let answer = bed.send(&Peer::new(4003).syn());
    let seen = |answer: &[Seen]| -> Vec<(u16, u8)> {
        answer.iter().map(|seen| (seen.port, seen.flags)).collect()
    };
    assert_eq!(seen(&answer), [(4003, SYN | ACK)]);
    assert_eq!(bed.counters().evicted_idle, 0);
    let mut third = Peer::new(4003);
    third.seq = third.seq.wrapping_add(1);
    third.ack = answer[0].seq.wrapping_add(1);
    let answer = bed.send(&third.segment(ACK, &[]));
    assert_eq!(seen(&answer), [(4001, RST | ACK)]);
    assert_eq!(bed.counters().evicted_idle, 1);
    assert_eq!(bed.script.error(), None);
}

#[test]
fn time_wait_records_are_bounded() {
    let mut bed = Bed::new(TcpConfig {
        time_wait_max: 5,
        ..plain(true)
    });
    for port in 4000..4010 {
        bed.script.close.set(false);
        let mut peer = bed.open(port);
        let fin = bed.close();
        peer.take(&fin);
        bed.send(&peer.segment(FIN | ACK, &[]));
    }
    let limits = bed.tcp.limits();
    assert_eq!((limits.time_wait.0, limits.connections.0), (5, 0));
    assert_eq!(bed.counters().time_waits_evicted, 5);
}

#[test]
fn buffers_are_bounded_and_writers_make_do_with_less() {
    let config = TcpConfig {
        buffers_max: 100_000,
        ..plain(true)
    };
    let mut bed = Bed::new(config);
    let mut peers = Vec::new();
    for port in 4000..4003 {
        let peer = bed.open(port);
        bed.send(&peer.segment(ACK, b"x"));
        peers.push(peer);
    }
    assert!(bed.tcp.limits().buffers.0 <= 100_000);
    assert_eq!(bed.drops, [("no-memory", 1)]);
    // After a while the idle ones give theirs back.
    bed.pass(S(3));
    assert_eq!(bed.tcp.limits().buffers.0, 0);
    bed.send(&peers[2].segment(ACK, b"x"));
    assert_eq!(bed.script.received.borrow().len(), 3);
}

#[test]
fn many_buffers_in_use_make_idle_connections_give_theirs_back_at_once() {
    let mut bed = Bed::new(TcpConfig {
        buffers_idle_max: 2 * 49_152,
        ..plain(true)
    });
    let mut peers: Vec<_> = (4000..4004).map(|port| bed.open(port)).collect();
    for peer in &mut peers {
        bed.send(&peer.segment(ACK, b"x"));
        bed.pass(Duration::from_millis(50));
    }
    assert!(bed.tcp.limits().buffers.0 <= 2 * 49_152);
    assert!(bed.counters().hibernated >= 2);
    assert_eq!(bed.script.received.borrow().len(), 4);
}

#[test]
fn buffers_of_those_that_sleep_are_for_those_that_wake_up() {
    let mut bed = Bed::new(TcpConfig {
        buffers_idle_max: 0,
        ..plain(true)
    });
    let mut peers: Vec<_> = (4000..4004).map(|port| bed.open(port)).collect();
    for _ in 0..3 {
        for peer in &mut peers {
            bed.send(&peer.segment(ACK, b"x"));
            peer.sent(1);
            bed.pass(Duration::from_millis(50));
        }
    }
    assert_eq!(bed.script.received.borrow().len(), 12);
    assert_eq!(bed.counters().hibernated, 12);
    assert_eq!(bed.tcp.limits().buffers.0, 0);
    assert_eq!(bed.spares(), 1, "they took turns");
}

#[test]
fn buffers_of_those_that_are_gone_are_for_those_that_come() {
    let mut bed = Bed::new(plain(true));
    for (port, flags) in [(4000, RST), (4001, RST), (4002, FIN | ACK)] {
        let mut peer = bed.open(port);
        bed.send(&peer.segment(ACK, b"a secret"));
        assert_eq!(bed.spares(), 0, "{port} has what the one before had");
        peer.sent(8);
        let mut end = bed.send(&peer.segment(flags, &[]));
        peer.sent(1);
        // Of ours: the acknowledgement and the FIN.
        end.retain(|seen| seen.flags & FIN != 0);
        if !end.is_empty() {
            peer.take(&end);
            bed.send(&peer.segment(ACK, &[]));
        }
        assert_eq!((bed.states(), bed.spares()), (vec![], 1), "{port}");
    }
    bed.script.received.borrow_mut().clear();
    let peer = bed.open(4003);
    bed.send(&peer.segment(ACK, b"mine"));
    assert_eq!(*bed.script.received.borrow(), b"mine");
}

#[test]
fn a_socket_that_may_owe_a_retransmission_is_nobody_elses() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    bed.send(&peer.segment(ACK, b"x"));
    peer.sent(1);
    let fin = bed.close();
    assert_eq!((fin.len(), fin[0].flags), (1, FIN | ACK));
    // Not in order, so that they are no plain acknowledgements; smoltcp counts them all the same.
    for _ in 0..3 {
        bed.send(&peer.at(peer.seq.wrapping_add(1), peer.ack, ACK, &[]));
    }
    bed.send(&peer.segment(RST, &[]));
    assert_eq!(bed.states(), []);
    assert_eq!(bed.spares(), 0);
}

#[test]
fn after_a_panic_in_a_closed_connection_its_socket_is_nobody_elses_either() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    bed.script.deaf.set(true);
    bed.send(&peer.segment(ACK, b"unread"));
    peer.sent(6);
    bed.script.half_close.set(true);
    bed.script.wake();
    let fin = bed.run();
    peer.take(&fin);
    bed.send(&peer.segment(FIN | ACK, &[]));
    // The record, and who has not read yet.
    assert_eq!(bed.states(), [State::TimeWait; 2]);
    bed.script.panic.set(true);
    bed.script.wake();
    bed.run();
    assert_eq!(bed.counters().panics, 1);
    assert_eq!(bed.tcp.limits().buffers.0, 0);
    assert_eq!(bed.spares(), 0);
}

#[test]
fn spare_buffers_are_bounded() {
    let mut bed = Bed::new(plain(true));
    let ports = 4000..4000 + u16::try_from(SPARES_MAX).unwrap() + 10;
    for port in ports {
        let peer = bed.open(port);
        bed.send(&peer.segment(ACK, b"x"));
    }
    bed.pass(S(3));
    assert_eq!(bed.tcp.limits().buffers.0, 0);
    assert_eq!(bed.spares(), SPARES_MAX);
}

#[test]
fn shutting_down_refuses_the_new_and_closes_the_idle() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    bed.tcp.shutdown();
    assert!(bed.script.drained.get() && !bed.tcp.is_drained());
    assert_eq!(bed.send(&Peer::new(4001).syn())[0].flags, RST | ACK);
    let seen = bed.pass(S(4));
    assert_eq!(seen[0].1.flags, FIN | ACK);
    peer.take(&[seen[0].1.clone()]);
    bed.send(&peer.segment(FIN | ACK, &[]));
    assert!(bed.tcp.is_drained());
}

#[test]
fn an_unread_stream_closes_the_window_and_reading_opens_it() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    bed.script.deaf.set(true);
    let mut last = 0;
    for _ in 0..12 {
        for seen in bed.send(&peer.segment(ACK, &[6; 1460])) {
            last = seen.window;
        }
        peer.sent(1460);
    }
    assert!(last < 1460, "{last}");
    bed.script.deaf.set(false);
    bed.script.wake();
    let update = bed.run();
    assert_eq!(update.last().map(|seen| seen.window), Some(16_384));
}

#[test]
fn a_peer_is_heard_while_nothing_more_of_it_is_taken() {
    let mut bed = Bed::new(plain(true));
    let mut peer = bed.open(4000);
    bed.script.deaf.set(true);
    let mut room = 16_384;
    while room > 0 {
        let data = vec![6; room.min(1460)];
        let answers = bed.send(&peer.segment(ACK, &data));
        peer.sent(data.len());
        room -= data.len();
        assert!(room > 0 || answers.last().is_some_and(|seen| seen.window == 0));
    }
    for _ in 0..5 {
        bed.pass(S(60));
        bed.send(&peer.segment(ACK, &[]));
    }
    assert_eq!(bed.states(), [State::Established]);
    assert_eq!(bed.counters().keepalive_probes, 0);
}

#[test]
fn ten_thousand_connections_each_get_their_own() {
    let mut bed = Bed::new(plain(true));
    bed.harness.slots = 300;
    let mut peers = Vec::new();
    for block in 0..40u16 {
        let mut group: Vec<Peer> = (0..250)
            .map(|at| Peer::new(10_000 + block * 250 + at))
            .collect();
        for peer in &group {
            bed.input(&peer.syn());
        }
        let answers = bed.run();
        assert_eq!(answers.len(), 250);
        for (peer, answer) in group.iter_mut().zip(&answers) {
            assert_eq!(answer.port, peer.address.port());
            peer.sent(1);
            peer.ack = answer.seq.wrapping_add(1);
            bed.input(&peer.segment(ACK, &[]));
        }
        bed.run();
        peers.extend(group);
    }
    assert_eq!(bed.tcp.limits().connections.0, 10_000);
    for group in peers.chunks(250) {
        for peer in group {
            bed.input(&peer.segment(ACK, b"0123456789"));
        }
        bed.run();
    }
    assert_eq!(bed.script.received.borrow().len(), 100_000);
    bed.pass(S(3));
    assert_eq!(bed.tcp.limits().buffers.0, 0);
    assert_eq!(bed.counters().hibernated, 10_000);
}

/// A random segment, most often near what the connection expects.
fn segments() -> impl Strategy<Value = (u16, u8, i32, i32, u16, usize, u16)> {
    let flags = prop_oneof![
        8 => Just(ACK),
        4 => Just(ACK | PSH),
        2 => Just(ACK | FIN),
        2 => Just(SYN),
        1 => Just(SYN | ACK),
        1 => Just(RST),
        1 => Just(RST | ACK),
        1 => 0u8..64,
    ];
    let near = prop_oneof![6 => Just(0), 2 => -3000..3000i32, 1 => any::<i32>()];
    let window = prop_oneof![3 => Just(65_535u16), 1 => Just(0), 1 => any::<u16>()];
    let payload = prop_oneof![3 => Just(0usize), 2 => 0usize..2000, 1 => Just(20_000)];
    (
        0u16..3,
        flags,
        near.clone(),
        near,
        window,
        payload,
        0u16..3000,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// No panic, nothing unbounded, and no connection without a deadline, whatever comes.
    #[test]
    fn random_segments_do_no_harm(
        steps in prop::collection::vec(segments(), 1..120),
        assist in any::<bool>(),
        close in any::<bool>(),
    ) {
        let config = TcpConfig {
            connections_max: 2,
            half_open_max: 2,
            time_wait_max: 2,
            ..plain(assist)
        };
        let mut bed = Bed::new(config);
        let mut peers: Vec<Peer> = (4000..4003).map(Peer::new).collect();
        for (who, flags, seq, ack, window, payload, wait) in steps {
            let peer = &mut peers[usize::from(who)];
            let seq = peer.seq.wrapping_add_signed(seq);
            let ack = peer.ack.wrapping_add_signed(ack);
            peer.window = window;
            let packet = peer.at(seq, ack, flags, &vec![7; payload]);
            if close && payload == 20_000 {
                bed.script.close.set(true);
            }
            bed.script.write.borrow_mut().extend(vec![3; payload]);
            for seen in bed.send(&packet) {
                let peer = &mut peers[usize::from(seen.port - 4000)];
                // Follow what the server acknowledges and sends, as a peer would.
                let len = u32::try_from(seen.payload.len()).unwrap();
                let controls = u32::from(seen.flags & SYN != 0) + u32::from(seen.flags & FIN != 0);
                peer.ack = seen.seq.wrapping_add(len + controls);
                if seen.flags & ACK != 0 {
                    peer.seq = seen.ack;
                }
            }
            bed.pass(Duration::from_millis(u64::from(wait)));
            prop_assert_eq!(bed.counters().panics, 0);
            let limits = bed.tcp.limits();
            prop_assert!(limits.connections.0 <= 2 && limits.half_open.0 <= 2);
            prop_assert!(limits.time_wait.0 <= 2);
            prop_assert!(bed.tcp.core.borrow().all_have_deadlines());
        }
        // Left alone, everything ends.
        bed.script.close.set(true);
        bed.script.wake();
        bed.pass(S(400));
        prop_assert_eq!(bed.states(), []);
        prop_assert_eq!(bed.tcp.limits().buffers.0, 0);
    }
}

#[test]
fn writing_into_a_closed_window_waits_for_it() {
    let mut bed = Bed::new(plain(false));
    let mut peer = Peer::new(4000);
    let answer = bed.send(&peer.syn());
    peer.sent(1);
    peer.ack = answer[0].seq.wrapping_add(1);
    peer.window = 0;
    bed.script.write.borrow_mut().resize(20_000, 1);
    let probe = bed.send(&peer.segment(ACK, &[]));
    assert_eq!(probe.len(), 1);
    assert_eq!(probe[0].payload.len(), 1);
    assert!(bed.pass(S(5)).len() < 5);
}
