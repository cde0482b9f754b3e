//! Ethernet, ARP, IPv4 and ICMP under attack: what is dropped, for which reason, and what goes on.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use testbed::attack::packets::{ICMP, IP4, Ip4, RST, SYN, icmp};
use testbed::attack::{Attacker, Kind, read};
use testbed::client::{http_get, ping};
use testbed::link::Links;
use testbed::netns::test_may_wire;
use testbed::wiring::{CLIENT_ADDRESS, NODE_DEVICE, Options, POD_DEVICE, WIRE, Wiring};

use crate::bed::{SERVER, SOON, check_page, dataplane, eventually};
use crate::target::{Errors, Target};

const COUNT: u64 = 500;
/// Slow enough that none is lost before it is counted.
const PER_SECOND: u32 = 10_000;

/// What becomes of a flood.
struct Case {
    kind: Kind,
    /// Reasons that together take every frame of it.
    all: &'static [&'static str],
    /// Reasons each of which takes some.
    some: &'static [&'static str],
    /// Frames that may come back at most.
    answers_max: u64,
}

const CASES: &[Case] = &[
    Case {
        kind: Kind::SpoofedReplies,
        all: &["arp-input unsolicited-reply"],
        some: &[],
        answers_max: 0,
    },
    Case {
        kind: Kind::Conflicts,
        all: &["arp-input address-conflict"],
        some: &[],
        answers_max: 2, // RFC 5227, 2.3 and 2.4: the start's second announcement, one defence
    },
    Case {
        kind: Kind::Runts,
        all: &["ethernet-input too-short", "ip4-input too-short"],
        some: &["ip4-input too-short"],
        answers_max: 0,
    },
    Case {
        kind: Kind::LyingLengths,
        all: &[
            "ip4-input too-short",
            "ip4-input bad-header-length",
            "ip4-input bad-length",
            "tcp4-input truncated",
            "tcp4-input nonsense",
        ],
        some: &[
            "ip4-input bad-header-length",
            "ip4-input bad-length",
            "tcp4-input truncated",
        ],
        answers_max: 0,
    },
    Case {
        kind: Kind::BadChecksums,
        all: &[
            "ip4-input bad-checksum",
            "ip4-icmp-input bad-checksum",
            "udp4-input bad-checksum",
            "tcp4-input bad-checksum",
        ],
        some: &[
            "ip4-input bad-checksum",
            "ip4-icmp-input bad-checksum",
            "udp4-input bad-checksum",
            "tcp4-input bad-checksum",
        ],
        answers_max: 0,
    },
    Case {
        kind: Kind::Martians,
        all: &["ip4-input martian-source"],
        some: &[],
        answers_max: 0,
    },
    Case {
        kind: Kind::Land,
        all: &["ip4-input source-is-ours"],
        some: &[],
        answers_max: 0,
    },
    Case {
        kind: Kind::BroadcastPings,
        all: &["ip4-input broadcast", "ip4-input multicast-all-hosts"],
        some: &["ip4-input broadcast", "ip4-input multicast-all-hosts"],
        answers_max: 0,
    },
    Case {
        kind: Kind::IcmpErrors,
        all: &[
            "ip4-icmp-input unreachable",
            "ip4-icmp-input time-exceeded",
            "ip4-icmp-input redirect",
            "ip4-icmp-input source-quench",
            "ip4-icmp-input parameter-problem",
            "tcp4-error ignored",
            "tcp4-error not-ours",
        ],
        some: &["tcp4-error not-ours", "ip4-icmp-input redirect"],
        answers_max: 0,
    },
    Case {
        kind: Kind::ForeignVlans,
        all: &["dot1q-demux unknown-vid", "dot1q-demux untagged-not-wanted"],
        some: &["dot1q-demux unknown-vid"],
        answers_max: 0,
    },
    Case {
        kind: Kind::IpOptions,
        all: &[],
        some: &["ip4-input source-route", "ip4-input bad-options"],
        answers_max: COUNT / 2, // harmless options are ignored
    },
    Case {
        kind: Kind::Teardrop,
        all: &[],
        some: &["ip4-full-reassembly overlap"],
        answers_max: 0,
    },
    Case {
        kind: Kind::Fragments,
        all: &[],
        some: &["ip4-full-reassembly displaced"],
        answers_max: 0,
    },
    Case {
        kind: Kind::ClosedPorts,
        all: &[],
        some: &["ip4-icmp-error rate-limited"],
        // Resets, a burst of them and of ICMP errors, and ARP for the gateway.
        answers_max: COUNT / 2,
    },
    Case {
        kind: Kind::Garbage,
        all: &[],
        some: &["ethernet-input-type unknown-type", "ip4-input bad-length"],
        answers_max: 0,
    },
];

#[test]
fn every_kind_of_bad_frame_is_dropped_for_its_reason_and_hardly_answered() {
    let gateway = CLIENT_ADDRESS.0.to_string();
    let Some(target) = Target::with_flags(&["--gateway", &gateway]) else {
        return;
    };
    target.check();
    let mut attacker = target.attacker(11);
    let mut frame = vec![0; testbed::packet_socket::FRAME_MAX];
    for case in CASES {
        let name = case.kind.name();
        // What the check before left on the wire.
        std::thread::sleep(Duration::from_millis(50));
        while attacker.socket().receive(&mut frame).unwrap().is_some() {}
        let before = target.errors();
        let sent = attacker.flood(case.kind, COUNT, PER_SECOND, &AtomicBool::new(false));
        assert_eq!(sent.frames, COUNT, "{name}");
        let counted = |dropped: &Errors| {
            (case.all.is_empty() || dropped.of(case.all) >= COUNT)
                && case.some.iter().all(|reason| dropped.of(&[reason]) > 0)
        };
        let start = Instant::now();
        while !counted(&target.errors().since(&before)) {
            let dropped = target.errors().since(&before);
            assert!(start.elapsed() < SOON, "{name}: {dropped:?}");
        }
        let dropped = target.errors().since(&before);
        if !case.all.is_empty() {
            assert_eq!(dropped.of(case.all), COUNT, "{name}: {dropped:?}");
        }
        let mut answers = 0;
        while let Some(length) = attacker.socket().receive(&mut frame).unwrap() {
            // ARP of the server's own is no answer, but the defence of its address.
            let frame = &frame[..length];
            let arp = frame.get(12..14) == Some(&[8, 6]);
            let announced = case.kind == Kind::Conflicts && frame.get(28..32) == frame.get(38..42);
            // Nor is the end of the connection of the check before.
            let late = read(frame).is_some_and(|heard| heard.tcp.flags & (SYN | RST) == 0);
            answers += u64::from(!late && (!arp || announced));
        }
        assert!(answers <= case.answers_max, "{name}: {answers} answers");
        target.check();
    }
    let neighbors = target.ask("show ip neighbors").to_string();
    assert!(!neighbors.contains("06:"), "an attacker's: {neighbors}");
}

#[test]
fn errors_of_ours_are_limited_in_rate() {
    let gateway = CLIENT_ADDRESS.0.to_string();
    let Some(target) = Target::with_flags(&["--gateway", &gateway]) else {
        return;
    };
    target.check();
    let mut attacker = target.attacker(13);
    let mut frame = vec![0; testbed::packet_socket::FRAME_MAX];
    while attacker.socket().receive(&mut frame).unwrap().is_some() {}
    let sent = attacker.flood(Kind::ClosedPorts, 20_000, 20_000, &AtomicBool::new(false));
    let (mut errors, mut resets) = (0_u64, 0_u64);
    std::thread::sleep(Duration::from_millis(200));
    while attacker.socket().receive(&mut frame).unwrap().is_some() {
        match frame.get(23) {
            Some(&ICMP) => errors += 1,
            Some(6) => resets += 1,
            _ => {}
        }
    }
    // Two thirds ask for ICMP errors, one for resets. 50 errors and 100 resets are a burst; then
    // 1,000 a second of either are the most.
    let seconds = sent.elapsed.as_secs() + 1;
    assert!((1..=50 + 1000 * seconds).contains(&errors), "{errors}");
    assert!((1..=100 + 1000 * seconds).contains(&resets), "{resets}");
    target.check();
}

#[test]
fn a_hundred_thousand_arp_senders_displace_no_client_and_no_memory() {
    const GROWTH_MAX: u64 = 16 << 20;
    const NEIGHBORS_MAX: usize = 4096;
    let (client, server) = (Ipv4Addr::new(10, 123, 0, 1), Ipv4Addr::new(10, 123, 0, 150));
    if !test_may_wire() {
        return;
    }
    let options = Options {
        address: (client, 8),
        ..Options::default()
    };
    let target = Target::on(Wiring::poc(options).unwrap(), |site| {
        let mut command = dataplane(&["serve", "--interface", POD_DEVICE, "--vlan", "123"]);
        command.args(["--address", "10.123.0.150/8", "--www-root"]);
        command.arg(site.www());
        command
    });
    let to = std::net::SocketAddrV4::new(server, 80);
    let get = || check_page(&http_get(target.client(), to, "/", SOON).unwrap());
    get();
    let before = target.memory();
    let mut attacker = Attacker::against(&target.wiring, (server, 8), client, 17).unwrap();
    for _ in 0..10 {
        let sent = attacker.flood(Kind::ArpRequests, 10_000, 50_000, &AtomicBool::new(false));
        assert_eq!(sent.frames, 10_000);
        get();
        // A flood may cost a ping.
        eventually("pings are answered", || {
            ping(target.client(), server, 1, 56, Duration::from_secs(1)).is_ok()
        });
    }
    let neighbors = target.ask("show ip neighbors");
    let known = neighbors.as_array().unwrap().len();
    assert!((1000..=NEIGHBORS_MAX).contains(&known), "{known}");
    let grown = target.memory().saturating_sub(before);
    assert!(grown <= GROWTH_MAX, "{grown} octets");
    assert!(target.errors().of(&["arp-input neighbor-table-full"]) < 100_000);
}

#[test]
fn giants_are_answered_or_dropped_and_do_no_harm() {
    let Some(target) = Target::new() else { return };
    target.check();
    Links::open(target.wiring.wire())
        .unwrap()
        .set_mtu(WIRE, 9000)
        .unwrap();
    Links::open(target.wiring.node())
        .unwrap()
        .set_mtu(NODE_DEVICE, 9000)
        .unwrap();
    let attacker = target.attacker(19);
    for size in [1500, 4000, 8900] {
        let ping = icmp(8, 0, [0; 4], &vec![0x55; size]);
        let packet = Ip4::new(CLIENT_ADDRESS.0, SERVER, ICMP).packet(&ping);
        for _ in 0..20 {
            attacker.send(IP4, &packet).unwrap();
        }
        // And one whose header denies most of it.
        let mut denied = Ip4::new(CLIENT_ADDRESS.0, SERVER, ICMP).packet(&[8; 8]);
        denied.resize(size, 0);
        attacker.send(IP4, &denied).unwrap();
        // Large answers in fragments may fill the transmit ring for a moment.
        target.wait_until_answered();
        target.check();
    }
}

#[test]
fn floods_of_everything_as_fast_as_they_go_end_with_the_flood() {
    const GROWTH_MAX: u64 = 32 << 20;
    const COUNT: u64 = 30_000;
    let Some(target) = Target::new() else { return };
    target.check();
    let before = target.memory();
    let mut attacker = target.attacker(23);
    for kind in Kind::ALL {
        attacker.flood(kind, COUNT, u32::MAX, &AtomicBool::new(false));
    }
    target.wait_until_answered();
    target.check();
    let grown = target.memory().saturating_sub(before);
    assert!(grown <= GROWTH_MAX, "{grown} octets");
}
