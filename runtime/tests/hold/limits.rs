//! The limits of TCP and its times, with small ones, in a dataplane of this process.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use ipstack::tcp::{Limits, TcpConfig, TcpCounters};
use runtime::config::{HostInterface, HttpServer, SubInterface};
use runtime::{Config, Event, Prepared, Runtime};
use testbed::attack::packets::{ACK, FIN, SYN};
use testbed::attack::{Attacker, Handmade, Peer};
use testbed::client::connect;
use testbed::netns::test_may_wire;
use testbed::wiring::{Options, POD_DEVICE, VLAN, Wiring};

use crate::bed::{HTTP, Pattern, SOON, Site, eventually};

/// A dataplane in this process, and its network.
struct Own {
    runtime: Runtime,
    wiring: Wiring,
    site: Site,
}

impl Own {
    fn with(edit: impl FnOnce(&mut TcpConfig) + Send) -> Option<Self> {
        if !test_may_wire() {
            return None;
        }
        let wiring = Wiring::poc(Options::default()).unwrap();
        let site = Site::new();
        let mut sub = SubInterface::dot1q(VLAN.vid);
        sub.addresses.push("192.168.123.150/24".parse().unwrap());
        let mut port = HostInterface::new(POD_DEVICE);
        port.sub_interfaces.push(sub);
        let config = Config {
            interfaces: vec![port],
            http: vec![HttpServer::new(site.www().to_str().unwrap())],
            ..Config::default()
        };
        let start = || {
            let mut prepared = Prepared::open(config).unwrap();
            edit(prepared.tcp());
            prepared.start().unwrap()
        };
        let runtime = wiring.pod().run(start).unwrap();
        let ready = |event: Event| matches!(event, Event::Ready(_));
        while !ready(runtime.events().recv_timeout(SOON).unwrap()) {}
        Some(Self {
            runtime,
            wiring,
            site,
        })
    }

    fn limits(&self) -> Limits {
        self.worker(|limits, _| limits)
    }

    fn counters(&self) -> TcpCounters {
        self.worker(|_, counters| counters)
    }

    fn worker<T>(&self, look: impl FnOnce(Limits, TcpCounters) -> T) -> T {
        let snapshot = self.runtime.snapshot().unwrap();
        let worker = &snapshot.ports[0].workers[0];
        look(worker.limits, worker.tcp)
    }

    fn client(&mut self, host: u8) -> usize {
        let address = (Ipv4Addr::new(192, 168, 123, host), 24);
        self.wiring.add_client(&[VLAN], address).unwrap()
    }

    /// A connection of the client at `place` that was answered once and is kept.
    fn served(&self, place: usize) -> std::io::Result<TcpStream> {
        let namespace = self.wiring.clients()[place].namespace();
        let mut stream = connect(namespace, HTTP, SOON)
            .map_err(|error| std::io::Error::new(error.kind(), error))?;
        ask(&mut stream)?;
        Ok(stream)
    }
}

fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"Welcome\n") {
        let mut octets = [0; 4096];
        let length = stream.read(&mut octets)?;
        if length == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&octets[..length]);
    }
    Ok(())
}

#[test]
fn one_source_has_its_share_and_when_all_is_full_the_oldest_idle_goes_first() {
    let own = Own::with(|tcp| {
        tcp.connections_max = 6;
        tcp.connections_per_source_max = 3;
        tcp.hibernate_after = Duration::from_millis(50);
    });
    let Some(mut own) = own else { return };
    let second = own.client(2);
    let third = own.client(3);
    let apart = |place: usize| {
        // So that one is idle before the next.
        std::thread::sleep(Duration::from_millis(200));
        own.served(place).unwrap()
    };
    let mut first: Vec<_> = (0..3).map(|_| apart(0)).collect();
    let refused = own.served(0).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(own.counters().refused_per_source, 1);
    let mut others: Vec<_> = (0..3).map(|_| apart(second)).collect();
    assert_eq!(own.limits().connections, (6, 6));
    eventually("all are idle", || own.counters().hibernated >= 6);
    let mut newest = own.served(third).unwrap();
    assert_eq!(own.counters().evicted_idle, 1);
    ask(&mut first[0]).unwrap_err();
    for kept in first[1..]
        .iter_mut()
        .chain(&mut others)
        .chain([&mut newest])
    {
        ask(kept).unwrap();
    }
}

#[test]
fn a_handshake_that_is_never_finished_displaces_nobody() {
    let own = Own::with(|tcp| {
        tcp.connections_max = 3;
        tcp.hibernate_after = Duration::from_millis(50);
    });
    let Some(own) = own else { return };
    let mut kept: Vec<_> = (0..3).map(|_| own.served(0).unwrap()).collect();
    eventually("all are idle", || own.counters().hibernated >= 3);
    let attacker = Attacker::new(&own.wiring, 5).unwrap();
    let peer = Peer::new(attacker, Ipv4Addr::new(192, 168, 123, 77), SOON).unwrap();
    for port in 6000..6010 {
        let half = Handmade {
            port,
            snd_nxt: 1,
            rcv_nxt: 0,
        };
        peer.send(&half.segment(SYN, 1000), b"").unwrap();
        peer.hear(port, SOON, |_| true).unwrap();
    }
    for kept in &mut kept {
        ask(kept).unwrap();
    }
}

#[test]
fn whoever_leaves_a_connection_half_done_or_vanishes_is_given_up() {
    const WINDOW: u16 = 60_000;
    const LONG: Duration = Duration::from_mins(1);
    let second = Duration::from_secs(1);
    let own = Own::with(|tcp| {
        tcp.fin_wait_2 = second;
        tcp.closing = second;
        tcp.user_timeout = second * 2;
        tcp.keepalive_idle = second;
        tcp.keepalive_interval = second;
        tcp.keepalive_probes = 2;
        tcp.time_wait = second;
    });
    let Some(own) = own else { return };
    std::fs::write(own.site.www().join("large"), Pattern::octets(4 << 20)).unwrap();
    let attacker = Attacker::new(&own.wiring, 5).unwrap();
    let peer = Peer::new(attacker, Ipv4Addr::new(192, 168, 123, 77), SOON).unwrap();
    // Half open: the SYN-ACK is not acknowledged.
    let half = Handmade {
        port: 6001,
        snd_nxt: 1,
        rcv_nxt: 0,
    };
    peer.send(&half.segment(SYN, WINDOW), b"").unwrap();
    peer.hear(6001, SOON, |_| true).unwrap();
    // Vanished while idle, and in the middle of an answer.
    peer.open(6002, WINDOW, SOON).unwrap();
    let mut reading = peer.open(6003, WINDOW, SOON).unwrap();
    let request = b"GET /large HTTP/1.1\r\nHost: server\r\n\r\n";
    peer.say(&mut reading, WINDOW, request).unwrap();
    peer.hear(6003, SOON, |heard| heard.data > 0).unwrap();
    // Half closed: our FIN is acknowledged (FIN-WAIT-2), or not even that (FIN-WAIT-1).
    let request = b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n";
    for port in [6004, 6005] {
        let mut closing = peer.open(port, WINDOW, SOON).unwrap();
        peer.say(&mut closing, WINDOW, request).unwrap();
        let fin = peer
            .hear(port, SOON, |heard| heard.tcp.flags & FIN != 0)
            .unwrap();
        if port == 6004 {
            closing.rcv_nxt = fin.end();
            peer.send(&closing.segment(ACK, WINDOW), b"").unwrap();
        }
    }
    let start = Instant::now();
    loop {
        let limits = own.limits();
        if (limits.connections.0, limits.half_open.0, limits.time_wait.0) == (0, 0, 0) {
            break;
        }
        assert!(start.elapsed() < LONG, "{limits:?} {:?}", own.counters());
        std::thread::sleep(Duration::from_millis(50));
    }
    let counters = own.counters();
    assert_eq!(counters.half_open_expired, 1);
    assert_eq!(counters.keepalive_expired, 1);
    assert_eq!(counters.user_timeouts, 1);
    assert_eq!(counters.closing_timeouts, 2);
    let page = testbed::client::http_get(
        own.wiring.client().namespace(),
        SocketAddrV4::new(*HTTP.ip(), 80),
        "/",
        SOON,
    );
    assert_eq!(page.unwrap().status, 200);
}

#[test]
fn a_worker_that_dies_takes_everything_down_with_a_sentence() {
    let own = Own::with(|tcp| {
        // A span no clock can add: closing a connection in order ends the worker.
        tcp.time_wait = Duration::MAX;
    });
    let Some(own) = own else { return };
    let client = own.wiring.clients()[0].namespace();
    let mut stream = connect(client, HTTP, SOON).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    drop(stream);
    let told = loop {
        match own.runtime.events().recv_timeout(SOON).unwrap() {
            Event::Died(why) => break why,
            event => assert!(!matches!(event, Event::Ready(_)), "{event:?}"),
        }
    };
    assert!(
        told.starts_with("worker 0 of macvlan0 died: it panicked"),
        "{told}"
    );
    // The supervisor has ended as well: no more is said, and nobody answers.
    own.runtime.events().recv_timeout(SOON).unwrap_err();
    assert!(own.runtime.snapshot().is_none());
}
