//! TCP under attack (RFC 5961, RFC 9293, RFC 4987), one connection against another.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use testbed::attack::packets::{ACK, DONT_FRAGMENT, FIN, ICMP, IP4, Ip4, PSH, RST, SYN, Tcp, icmp};
use testbed::attack::{Kind, Peer};
use testbed::client::http_get;
use testbed::link::Links;
use testbed::wiring::{CLIENT_ADDRESS, CLIENT_DEVICE};

use crate::bed::{HTTP, NOT_COMING, PAGE, Pattern, SERVER, SOON, check_page, eventually};
use crate::target::{Target, last_heard};

const PEER: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 77);
/// A rebooted client's patience, by requirement.
const THREE_SECONDS: Duration = Duration::from_secs(3);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: server\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n";
const WINDOW: u16 = 60_000;

fn peer(target: &Target) -> Peer {
    Peer::new(target.attacker(1), PEER, SOON).unwrap()
}

#[test]
fn blind_segments_neither_end_a_connection_nor_get_into_it() {
    let Some(target) = Target::new() else { return };
    let attacker = target.attacker(1);
    let mut kept = target.connect();
    check_page(&kept.get("/", &[]).unwrap());
    let last = last_heard(&attacker, kept.stream());
    let before = target.errors();
    let port = kept.stream().local_addr().unwrap().port();
    let (expected, sent) = (last.tcp.ack, last.end());
    let forge = |flags, seq, ack, data: &[u8]| {
        let tcp = Tcp {
            from: port,
            to: 80,
            seq,
            ack,
            flags,
            window: 512,
        };
        let packet = tcp.packet(CLIENT_ADDRESS.0, SERVER, data);
        attacker.send(IP4, &packet).unwrap();
    };
    let challenged = || {
        // Each connection has one challenge ACK in half a second.
        thread::sleep(Duration::from_millis(600));
        let start = Instant::now();
        while start.elapsed() < SOON {
            let frame = attacker.socket().wait(SOON).unwrap().unwrap();
            let Some(heard) = testbed::attack::read(&frame) else {
                continue;
            };
            if heard.tcp.to == port {
                let tcp = heard.tcp;
                assert_eq!((tcp.flags, tcp.seq, tcp.ack), (ACK, sent, expected));
                return;
            }
        }
        panic!("no challenge ACK");
    };
    // Off by one and by a thousand in the window, and just outside of it.
    for seq in [expected.wrapping_add(1), expected.wrapping_add(1000)] {
        forge(RST, seq, 0, b"");
        challenged();
    }
    forge(RST, expected.wrapping_sub(1), 0, b"");
    forge(SYN, expected.wrapping_add(5000), 0, b"");
    challenged();
    forge(SYN, expected, 0, b"");
    challenged();
    // Data whose acknowledgement says what was never sent, or what is too old to be true.
    for ack in [sent.wrapping_add(5), sent.wrapping_sub(1 << 30)] {
        forge(PSH | ACK, expected, ack, b"GET /forged HTTP/1.1\r\n");
        challenged();
    }
    check_page(&kept.get("/", &[]).unwrap());
    let dropped = target.errors().since(&before);
    assert_eq!(dropped.of(&["tcp4-input blind-reset"]), 3, "{dropped:?}");
    assert_eq!(dropped.of(&["tcp4-input syn-on-connection"]), 2);
    assert_eq!(dropped.of(&["tcp4-input unacceptable-ack"]), 2);
    // At the very number it is a reset, as RFC 5961 has it.
    let last = last_heard(&attacker, kept.stream());
    forge(RST, last.tcp.ack, 0, b"");
    eventually("the connection is gone", || {
        target.in_use("connections") == 0
    });
}

#[test]
fn data_with_an_old_acknowledgement_is_taken() {
    let Some(target) = Target::new() else { return };
    let peer = peer(&target);
    let mut connection = peer.open(4001, WINDOW, SOON).unwrap();
    peer.say(&mut connection, WINDOW, REQUEST).unwrap();
    let answer = peer.hear(4001, SOON, |heard| heard.data > 0).unwrap();
    let before = connection.rcv_nxt;
    connection.rcv_nxt = answer.end();
    peer.send(&connection.segment(ACK, WINDOW), b"").unwrap();
    // The next request crossed the answer on its way.
    let mut late = connection.segment(PSH | ACK, WINDOW);
    late.ack = before;
    peer.send(&late, REQUEST).unwrap();
    let next = peer
        .hear(4001, SOON, |heard| {
            heard.tcp.seq == answer.end() && heard.data > 0
        })
        .unwrap();
    assert_eq!(next.data, answer.data);
    assert_eq!(target.tcp("old-acks-patched"), 1);
}

#[test]
fn a_fin_that_overtakes_its_data_closes_when_it_comes_again() {
    let Some(target) = Target::new() else { return };
    let peer = peer(&target);
    let mut connection = peer.open(4002, WINDOW, SOON).unwrap();
    let mut early = connection.segment(FIN | ACK, WINDOW);
    early.seq += u32::try_from(REQUEST.len()).unwrap();
    peer.send(&early, b"").unwrap();
    peer.say(&mut connection, WINDOW, REQUEST).unwrap();
    let answer = peer.hear(4002, SOON, |heard| heard.data > 0).unwrap();
    connection.rcv_nxt = answer.end();
    peer.send(&connection.segment(FIN | ACK, WINDOW), b"")
        .unwrap();
    let fin = peer
        .hear(4002, SOON, |heard| heard.tcp.flags & FIN != 0)
        .unwrap();
    connection.snd_nxt += 1;
    connection.rcv_nxt = fin.end();
    peer.send(&connection.segment(ACK, WINDOW), b"").unwrap();
    eventually("it is closed", || target.in_use("connections") == 0);
}

#[test]
fn a_lost_fin_of_ours_is_sent_again_whatever_duplicates_come() {
    let Some(target) = Target::new() else { return };
    let peer = peer(&target);
    let mut connection = peer.open(4003, WINDOW, SOON).unwrap();
    peer.say(&mut connection, WINDOW, LAST_REQUEST).unwrap();
    let fin = peer
        .hear(4003, SOON, |heard| heard.tcp.flags & FIN != 0)
        .unwrap();
    // All but the FIN is acknowledged, four times over.
    connection.rcv_nxt = fin.end().wrapping_sub(1);
    for _ in 0..4 {
        peer.send(&connection.segment(ACK, WINDOW), b"").unwrap();
    }
    let again = peer
        .hear(4003, SOON, |heard| heard.tcp.flags & FIN != 0)
        .unwrap();
    assert_eq!(again.end(), fin.end());
}

#[test]
fn a_client_that_shuts_its_window_is_probed_and_served_when_it_opens() {
    let Some(target) = Target::new() else { return };
    std::fs::write(target.site.www().join("large"), Pattern::octets(1 << 20)).unwrap();
    let peer = peer(&target);
    let mut connection = peer.open(4004, 4000, SOON).unwrap();
    peer.say(
        &mut connection,
        4000,
        b"GET /large HTTP/1.1\r\nHost: server\r\n\r\n",
    )
    .unwrap();
    let first = peer.hear(4004, SOON, |heard| heard.data > 0).unwrap();
    // The window is taken back, under what is in flight and without acknowledging it: the data
    // is lost, and the timer that would send it again expires meanwhile.
    peer.send(&connection.segment(ACK, 0), b"").unwrap();
    peer.hear(4004, SOON, |heard| heard.tcp.seq == first.tcp.seq)
        .unwrap();
    thread::sleep(Duration::from_millis(1500));
    peer.send(&connection.segment(ACK, WINDOW), b"").unwrap();
    let mut end = first.tcp.seq;
    while end.wrapping_sub(first.tcp.seq) < 500_000 {
        let next = peer
            .hear(4004, SOON, |heard| heard.data > 0 && heard.tcp.seq == end)
            .unwrap();
        end = next.end();
        connection.rcv_nxt = end;
        peer.send(&connection.segment(ACK, WINDOW), b"").unwrap();
    }
}

/// From this port of the client's.
fn connect_from(target: &Target, port: u16, patience: Duration) -> TcpStream {
    let connect = || -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((CLIENT_ADDRESS.0, port)).into())?;
        socket.connect_timeout(&SocketAddr::V4(HTTP).into(), patience)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(SOON))?;
        Ok(stream)
    };
    target.client().run(connect).unwrap().unwrap()
}

fn ask(mut stream: &TcpStream) -> String {
    stream.write_all(LAST_REQUEST).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_client_that_forgot_its_connection_connects_again_within_three_seconds() {
    let Some(target) = Target::new() else { return };
    let stream = connect_from(&target, 5001, SOON);
    (&stream).write_all(REQUEST).unwrap();
    (&stream).read_exact(&mut [0; 20]).unwrap();
    // As a reboot does: the connection is forgotten, and the server is not told.
    let mut links = Links::open(target.client()).unwrap();
    links.set_down(CLIENT_DEVICE).unwrap();
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
    links.set_up(CLIENT_DEVICE).unwrap();
    let stream = connect_from(&target, 5001, THREE_SECONDS);
    assert!(ask(&stream).ends_with("Welcome\n"));
    assert_eq!(target.tcp("syns-on-connection"), 1);
}

#[test]
fn a_client_in_our_time_wait_connects_again_within_three_seconds() {
    let Some(target) = Target::new() else { return };
    for _ in 0..3 {
        let stream = connect_from(&target, 5002, THREE_SECONDS);
        assert!(ask(&stream).ends_with("Welcome\n"));
        drop(stream);
        eventually("we are in TIME-WAIT", || target.in_use("time-wait") == 1);
    }
    assert_eq!(target.tcp("time-waits-reused"), 2);
}

#[test]
fn a_syn_flood_from_random_sources_leaves_clients_served_and_memory_small() {
    const GETS: u32 = 100;
    const EVERY: Duration = Duration::from_millis(100);
    const GROWTH_MAX: u64 = 16 << 20;
    let gateway = CLIENT_ADDRESS.0.to_string();
    let Some(target) = Target::with_flags(&["--gateway", &gateway]) else {
        return;
    };
    target.check();
    let before = target.memory();
    let mut attacker = target.attacker(7);
    let stopped = AtomicBool::new(false);
    let (served, grown, sent) = thread::scope(|scope| {
        let flood = scope.spawn(|| attacker.flood(Kind::Syns, u64::MAX, 100_000, &stopped));
        let start = Instant::now();
        let (mut served, mut most) = (0, 0);
        for nth in 1..=GETS {
            let answer = http_get(target.client(), HTTP, "/", SOON);
            served += u32::from(answer.is_ok_and(|page| page.status == 200 && page.body == PAGE));
            most = most.max(target.memory());
            thread::sleep((EVERY * nth).saturating_sub(start.elapsed()));
        }
        stopped.store(true, Ordering::Relaxed);
        (served, most.saturating_sub(before), flood.join().unwrap())
    });
    println!(
        "{} SYNs a second for {:?}; {served} of {GETS} GETs served; memory grew by {} KiB; {} \
         cookies sent, {} accepted; receive ring full {}",
        sent.rate(),
        sent.elapsed,
        grown >> 10,
        target.tcp("syn-cookies-sent"),
        target.tcp("syn-cookies-accepted"),
        target.errors().of(&["kernel receive ring full"]),
    );
    assert!(served * 100 >= GETS * 99, "{served} of {GETS}");
    assert!(grown <= GROWTH_MAX, "{grown} octets");
    assert!(target.tcp("syn-cookies-sent") > 0);
    assert!(target.in_use("half-open") <= 16_384);
    target.check();
}

/// A router tells that a segment to `port` was too large for a link of 1,000 octets.
fn too_big(peer: &Peer, seq: u32, port: u16) {
    let sent = Tcp {
        from: 80,
        to: port,
        seq,
        ack: 0,
        flags: ACK,
        window: 0,
    };
    let mut quote = sent.packet(SERVER, PEER, &[0; 8]);
    quote.truncate(28);
    let error = icmp(3, 4, [0, 0, 0x03, 0xe8], &quote);
    let mut ip4 = Ip4::new(Ipv4Addr::new(192, 168, 123, 9), SERVER, ICMP);
    ip4.fragment = DONT_FRAGMENT;
    peer.attacker().send(IP4, &ip4.packet(&error)).unwrap();
}

/// The kernel hands what the router says to one worker, whoever has the connection.
#[test]
fn fragmentation_needed_is_believed_by_whichever_worker_has_the_connection() {
    let Some(target) = Target::with_flags(&["--workers", "2"]) else {
        return;
    };
    std::fs::write(target.site.www().join("large"), Pattern::octets(1 << 20)).unwrap();
    let peer = peer(&target);
    for port in 4010..4018 {
        let mut connection = peer.open(port, WINDOW, SOON).unwrap();
        let request = b"GET /large HTTP/1.1\r\nHost: server\r\n\r\n";
        peer.say(&mut connection, WINDOW, request).unwrap();
        let first = peer.hear(port, SOON, |heard| heard.data > 0).unwrap();
        too_big(&peer, first.tcp.seq, port);
    }
    eventually("all eight are believed", || target.tcp("pmtu-lowered") == 8);
}

#[test]
fn fragmentation_needed_is_believed_about_what_is_in_flight_and_about_nothing_else() {
    let Some(target) = Target::new() else { return };
    std::fs::write(target.site.www().join("large"), Pattern::octets(1 << 20)).unwrap();
    let peer = peer(&target);
    let mut connection = peer.open(4005, WINDOW, SOON).unwrap();
    peer.say(
        &mut connection,
        WINDOW,
        b"GET /large HTTP/1.1\r\nHost: server\r\n\r\n",
    )
    .unwrap();
    let first = peer.hear(4005, SOON, |heard| heard.data > 0).unwrap();
    let too_big = |seq, port| too_big(&peer, seq, port);
    too_big(first.tcp.seq.wrapping_sub(1 << 20), 4005);
    too_big(first.tcp.seq.wrapping_add(1 << 30), 4005);
    too_big(first.tcp.seq, 4999);
    eventually("all three are dropped", || {
        target.errors().of(&["tcp4-error not-ours"]) == 3
    });
    assert_eq!(target.tcp("pmtu-lowered"), 0);
    too_big(first.tcp.seq, 4005);
    eventually("the true one is believed", || {
        target.tcp("pmtu-lowered") == 1
    });
    // And the connection goes on.
    connection.rcv_nxt = first.tcp.seq;
    peer.send(&connection.segment(ACK, WINDOW), b"").unwrap();
    peer.hear(4005, SOON, |heard| heard.data > 0).unwrap();
}

#[test]
fn random_segments_in_a_clients_name_leave_its_download_whole() {
    const LARGE: usize = 32 << 20;
    let Some(target) = Target::new() else { return };
    std::fs::write(target.site.www().join("large"), Pattern::octets(LARGE)).unwrap();
    let mut attacker = target.attacker(3);
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| attacker.flood(Kind::BlindSegments, u64::MAX, 20_000, &stopped));
        for _ in 0..3 {
            let mut received = Pattern::new();
            let done = target.connect().download("/large", &mut received);
            stopped.store(done.is_err(), Ordering::Relaxed);
            done.unwrap();
            assert_eq!(received.position(), LARGE as u64);
        }
        stopped.store(true, Ordering::Relaxed);
    });
    // A closed port's answers, and nothing else, went to the client.
    assert!(target.tcp("resets-limited") > 0);
    thread::sleep(NOT_COMING);
    target.check();
}
