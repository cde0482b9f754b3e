use super::*;
use crate::ip4::MORE_FRAGMENTS;
use crate::testing::*;
use dataplane::testing::{Harness, Outcome};
use dataplane::{MacAddr, Meta};
use proptest::prelude::*;

fn harness() -> Harness<Ip4IcmpError> {
    Harness::new(Ip4IcmpError::new(&tables()))
}

fn give(
    harness: &mut Harness<Ip4IcmpError>,
    octets: &[u8],
    change: impl FnOnce(&mut Meta),
) -> Outcome {
    harness.input(octets, |meta| {
        meta.interface = SUB;
        change(meta);
    });
    harness.run()
}

#[test]
fn the_error_follows_from_the_packet_and_quotes_it() {
    let cases = [
        (packet(17, &udp(b"x")), [3, 3]),
        (packet(47, b"gre"), [3, 2]),
        (
            packet_with(17, &udp(b"xx"), |header| header.fragment = MORE_FRAGMENTS),
            [11, 1],
        ),
    ];
    for (about, kind) in cases {
        let result = give(&mut harness(), &about, |_| ());
        assert_eq!(result.arcs(), ["lookup"]);
        let octets = &result.sent[0].frame.octets;
        let header = Ipv4HeaderSlice::from_slice(octets).unwrap();
        assert_eq!(
            (header.source_addr(), header.destination_addr()),
            (OUR_IP, PEER_IP)
        );
        assert_eq!(usize::from(header.total_len()), octets.len());
        assert_eq!(checksum::of(&octets[..20]), 0);
        assert_eq!(checksum::of(&octets[20..]), 0);
        assert_eq!(octets[20..22], kind);
        assert_eq!(octets[24..28], [0; 4]);
        assert_eq!(octets[28..], about);
        assert_eq!((result.counters.made, result.counters.consumed), (1, 1));
    }
}

#[test]
fn a_long_packet_is_quoted_up_to_576_octets() {
    let about = packet(17, &udp(&[7; 1400]));
    let result = give(&mut harness(), &about, |_| ());
    let octets = &result.sent[0].frame.octets;
    assert_eq!(octets.len(), 576);
    assert_eq!(octets[28..], about[..548]);
}

#[test]
fn nothing_is_said_where_rfc_1122_forbids_it() {
    let from = |source: &str| {
        packet_with(17, &udp(b""), |header| {
            header.source = source.parse().unwrap();
        })
    };
    let error = packet_with(1, &icmp(3, 3, [0; 4], &[0; 28]), |h| {
        h.fragment = MORE_FRAGMENTS;
    });
    let cases: [(&str, Vec<u8>); 8] = [
        ("too-short", vec![0x45; 19]),
        ("about-icmp-error", error),
        (
            "not-first-fragment",
            packet_with(17, &udp(b""), |header| header.fragment = 1),
        ),
        (
            "about-broadcast",
            packet_with(17, &udp(b""), |header| {
                header.destination = Ipv4Addr::BROADCAST;
            }),
        ),
        ("bad-source", from("0.0.0.0")),
        ("bad-source", from("224.0.0.1")),
        ("bad-source", from("192.168.123.255")),
        ("bad-source", from("192.168.123.150")),
    ];
    for (reason, octets) in cases {
        let result = give(&mut harness(), &octets, |_| ());
        assert_eq!((result.arcs(), result.drops()), (vec![], vec![(reason, 1)]));
    }
    let group = give(&mut harness(), &packet(17, &udp(b"")), |meta| {
        meta.destination = MacAddr::BROADCAST;
    });
    assert_eq!(group.drops(), [("about-broadcast", 1)]);
}

#[test]
fn one_peer_gets_six_errors_then_one_a_second_and_all_together_a_burst_of_fifty() {
    let mut harness = harness();
    let about = packet(17, &udp(b""));
    for (now, sent) in [(0, 6), (0, 0), (1, 1), (3, 2)] {
        harness.now = Duration::from_secs(now);
        for _ in 0..20 {
            harness.input(&about, |meta| meta.interface = SUB);
        }
        let result = harness.run();
        assert_eq!(result.sent.len(), sent, "at {now} s");
        assert_eq!(result.drops(), [("rate-limited", 20 - sent as u64)]);
    }
    harness.now = Duration::from_mins(1);
    for host in 1..=200u8 {
        let about = packet_with(17, &udp(b""), |header| {
            header.source = Ipv4Addr::new(172, 16, 0, host);
        });
        harness.input(&about, |meta| meta.interface = SUB);
    }
    let result = harness.run();
    assert_eq!(
        (result.sent.len(), result.drops()),
        (50, vec![("rate-limited", 150)])
    );
}

#[test]
fn without_room_the_packet_is_dropped() {
    let mut harness = harness();
    harness.slots = 0;
    let result = give(&mut harness, &packet(17, &udp(b"")), |_| ());
    assert_eq!(result.drops(), [("no-buffer", 1)]);
}

proptest! {
    #[test]
    fn any_octets_are_answered_or_dropped(
        list in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..80)), 0..50),
    ) {
        let mut harness = harness();
        for (protocol, octets) in &list {
            harness.input(octets, |_| ());
            harness.input(&packet(*protocol, octets), |meta| meta.interface = SUB);
        }
        harness.run();
    }
}
