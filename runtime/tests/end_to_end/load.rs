//! Many clients, and clients that go away.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use testbed::client::{Http, connect};
use testbed::link::Links;
use testbed::wiring::{CLIENT_DEVICE, VLAN};

use crate::bed::{Bed, HTTP, PAGE, Pattern, SOON, check_page};

/// Lets this process have as many descriptors as it may, and returns how many.
fn raise_descriptor_limit() -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, all).unwrap();
    maximum.unwrap_or(u64::MAX)
}

/// Opens `count` connections, asks on all of them, then reads every answer.
fn all_at_once(bed: &Bed, count: usize) {
    let connect = || -> Vec<TcpStream> {
        (0..count)
            .map(|nth| {
                let stream = TcpStream::connect_timeout(&HTTP.into(), SOON)
                    .unwrap_or_else(|error| panic!("connection {nth}: {error}"));
                stream.set_read_timeout(Some(SOON)).unwrap();
                stream
            })
            .collect()
    };
    let streams = bed.client().run(connect).unwrap();
    for mut stream in &streams {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
            .unwrap();
    }
    let mut answer = Vec::new();
    for (nth, mut stream) in streams.iter().enumerate() {
        answer.clear();
        stream
            .read_to_end(&mut answer)
            .unwrap_or_else(|error| panic!("answer {nth}: {error}"));
        assert!(answer.starts_with(b"HTTP/1.1 200"), "answer {nth}");
        assert!(answer.ends_with(PAGE), "answer {nth}");
    }
}

#[test]
fn two_thousand_connections_at_once_are_all_answered() {
    raise_descriptor_limit();
    let Some(bed) = Bed::new() else { return };
    all_at_once(&bed, 2000);
    // Two thousand ends of connections at once may crowd a ping out.
    bed.wait_until_answered();
    bed.check();
}

#[test]
fn memory_a_crowd_needed_is_given_back_when_it_has_gone() {
    const CROWD: u64 = 8000;
    let descriptors = raise_descriptor_limit();
    if descriptors < CROWD + 200 {
        eprintln!("skipped: only {descriptors} descriptors may be open");
        return;
    }
    let Some(bed) = Bed::new() else { return };
    bed.check();
    let resident = || bed.server.resident_memory().unwrap();
    let started = resident();
    let come = || -> Vec<TcpStream> {
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            let mut stream = TcpStream::connect_timeout(&HTTP.into(), SOON).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            let request = b"GET / HTTP/1.1\r\nHost: server\r\n\r\n";
            stream.write_all(request).unwrap();
            crowd.push(stream);
        }
        crowd
    };
    let crowd = bed.client().run(come).unwrap();
    for mut stream in &crowd {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    let crowded = resident().saturating_sub(started);
    drop(crowd);
    let start = Instant::now();
    while resident().saturating_sub(started) * 2 > crowded {
        let left = resident().saturating_sub(started);
        assert!(
            start.elapsed() < SOON,
            "{left} of {crowded} octets are kept"
        );
        thread::sleep(Duration::from_millis(50));
    }
    bed.wait_until_answered();
    bed.check();
}

#[test]
fn two_workers_share_the_connections() {
    raise_descriptor_limit();
    let Some(bed) = Bed::with_flags(&["--workers", "2"]) else {
        return;
    };
    bed.check();
    all_at_once(&bed, 200);
    bed.wait_until_answered();
    // Fragments of one packet meet in one worker.
    for _ in 0..8 {
        bed.ping_with(8000).unwrap();
    }
}

#[test]
fn twenty_thousand_connections_one_after_the_other_are_all_answered() {
    let Some(bed) = Bed::new() else { return };
    let ask = || {
        let mut answer = Vec::new();
        for nth in 0..20_000 {
            let mut stream = TcpStream::connect_timeout(&HTTP.into(), SOON)
                .unwrap_or_else(|error| panic!("connection {nth}: {error}"));
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
                .unwrap();
            answer.clear();
            stream
                .read_to_end(&mut answer)
                .unwrap_or_else(|error| panic!("answer {nth}: {error}"));
            assert!(answer.ends_with(PAGE), "answer {nth}");
        }
    };
    bed.client().run(ask).unwrap();
}

const LARGE: usize = 64 << 20;

/// A connection on which a large file has begun to arrive.
fn mid_transfer(http: &mut Http) {
    http.send("GET", "/large", &[]).unwrap();
    http.stream().read_exact(&mut [0; 10_000]).unwrap();
}

#[test]
fn clients_that_reset_or_vanish_mid_transfer_disturb_nobody() {
    let Some(mut bed) = Bed::with_flags(&["--cache-size", "4m"]) else {
        return;
    };
    std::fs::write(bed.site.www().join("large"), Pattern::octets(LARGE)).unwrap();
    let vanishing = bed
        .wiring
        .add_client(&[VLAN], (Ipv4Addr::new(192, 168, 123, 2), 24))
        .unwrap();
    let vanishing = bed.wiring.clients().get(vanishing).unwrap().namespace();
    let mut links = Links::open(vanishing).unwrap();
    let mut kept = Vec::new();
    for _ in 0..20 {
        let mut http = bed.connect();
        mid_transfer(&mut http);
        SockRef::from(http.stream())
            .set_linger(Some(Duration::ZERO)) // closing it sends RST
            .unwrap();
        drop(http);
        let mut http = Http::connect(vanishing, HTTP, SOON).unwrap();
        mid_transfer(&mut http);
        kept.push(http);
    }
    let half_closed = connect(bed.client(), HTTP, SOON).unwrap();
    half_closed.shutdown(Shutdown::Write).unwrap();
    links.set_down(CLIENT_DEVICE).unwrap();
    // The others go on, and are served whole.
    bed.check();
    let mut received = Pattern::new();
    let mut http = bed.connect();
    http.download("/large", &mut received).unwrap();
    assert_eq!(received.position(), LARGE as u64);
    check_page(&http.get("/", &[]).unwrap());
}
