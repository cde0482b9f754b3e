use super::*;
use crate::ip4::DONT_FRAGMENT;
use crate::testing::*;
use dataplane::Meta;
use dataplane::testing::{Harness, Outcome};
use proptest::prelude::*;

fn run(octets: &[u8], change: impl FnOnce(&mut Meta)) -> Outcome {
    let mut harness = Harness::new(Ip4IcmpInput::new(&tables()));
    harness.input(octets, |meta| {
        meta.interface = SUB;
        change(meta);
    });
    harness.run()
}

/// The reply to an echo request with `data`, by the book.
fn reply(data: &[u8], fragment: u16) -> Vec<u8> {
    packet_with(1, &icmp(0, 0, [0x12, 0x34, 0, 1], data), |header| {
        (header.source, header.destination) = (OUR_IP, PEER_IP);
        header.fragment = fragment;
        header.tos = 0x28;
    })
}

fn request(data: &[u8], fragment: u16) -> Vec<u8> {
    packet_with(1, &icmp(8, 0, [0x12, 0x34, 0, 1], data), |header| {
        header.fragment = fragment;
        header.tos = 0x28;
    })
}

#[test]
fn an_echo_request_comes_back_as_its_reply_which_may_be_fragmented() {
    for (data, fragment) in [
        (&b"ping"[..], 0),
        (&[7; 56], DONT_FRAGMENT),
        (b"odd", 0),
        (b"", 0),
    ] {
        let result = run(&request(data, fragment), |_| ());
        assert_eq!(result.arcs(), ["reply"]);
        assert_eq!(result.sent[0].frame.octets, reply(data, 0));
        assert_eq!((result.counters.made, result.drops()), (0, vec![]));
    }
}

#[test]
fn options_of_a_request_are_left_out_of_the_reply() {
    let octets = with_options(request(b"ping", 0), &[7, 7, 4, 0, 0, 0, 0, 0]);
    assert_eq!(run(&octets, |_| ()).sent[0].frame.octets, reply(b"ping", 0));
}

#[test]
fn a_checksum_left_to_the_hardware_is_completed_in_the_reply() {
    let mut octets = request(b"ping", 0);
    octets[22..24].fill(0);
    let result = run(&octets, |meta| {
        meta.checksum = Checksum::Partial {
            start: 52,
            offset: 2,
        };
    });
    assert_eq!(result.sent[0].frame.octets, reply(b"ping", 0));
    assert_eq!(result.sent[0].frame.meta.checksum, Checksum::Unverified);
}

#[test]
fn a_wrong_checksum_is_dropped_unless_somebody_vouches_for_it() {
    let mut octets = request(b"ping", 0);
    octets[29] ^= 0xff;
    assert_eq!(run(&octets, |_| ()).drops(), [("bad-checksum", 1)]);
    let vouched = run(&octets, |meta| meta.checksum = Checksum::Valid);
    assert_eq!(vouched.arcs(), ["reply"]);
}

#[test]
fn an_echo_reply_goes_to_whoever_asked() {
    let reply = packet(1, &icmp(0, 0, [1, 2, 3, 4], b"data"));
    let result = run(&reply, |_| ());
    assert_eq!(result.arcs(), ["echo-reply"]);
    assert_eq!(result.sent[0].frame.octets, reply);
}

#[test]
fn what_needs_no_answer_is_dropped_by_name() {
    let cases = [
        (4, "source-quench"),
        (5, "redirect"),
        (9, "unknown-type"),
        (11, "time-exceeded"),
        (12, "parameter-problem"),
        (17, "unknown-type"),
        (255, "unknown-type"),
    ];
    for (kind, reason) in cases {
        let result = run(&packet(1, &icmp(kind, 0, [0; 4], &[0; 28])), |_| ());
        assert_eq!(result.drops(), [(reason, 1)], "type {kind}");
    }
    for kind in [13, 14] {
        let result = run(&packet(1, &icmp(kind, 0, [0; 4], &[0; 12])), |_| ());
        assert_eq!(result.drops(), [("timestamp", 1)]);
    }
    assert_eq!(run(&packet(1, &[8; 7]), |_| ()).drops(), [("too-short", 1)]);
}

#[test]
fn unreachable_about_our_tcp_goes_to_tcp_and_about_anything_else_is_dropped() {
    let about = |protocol: u8, source: std::net::Ipv4Addr, len: usize| {
        let quote = packet_with(protocol, &[0; 8], |header| {
            (header.source, header.destination) = (source, PEER_IP);
            header.total_len = 1500;
        });
        packet(1, &icmp(3, 4, [0, 0, 5, 0x78], &quote[..len]))
    };
    let tcp = about(6, OUR_IP, 28);
    let result = run(&tcp, |_| ());
    assert_eq!(result.arcs(), ["tcp"]);
    assert_eq!(result.sent[0].frame.octets, tcp);
    assert_eq!(
        run(&about(6, PEER_IP, 28), |_| ()).drops(),
        [("bad-quote", 1)]
    );
    assert_eq!(
        run(&about(6, OUR_IP, 27), |_| ()).drops(),
        [("bad-quote", 1)]
    );
    assert_eq!(
        run(&about(6, OUR_IP, 0), |_| ()).drops(),
        [("bad-quote", 1)]
    );
    assert_eq!(
        run(&about(17, OUR_IP, 28), |_| ()).drops(),
        [("unreachable", 1)]
    );
}

proptest! {
    #[test]
    fn any_octets_are_sent_or_dropped(
        list in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..80)), 0..50),
    ) {
        let mut harness = Harness::new(Ip4IcmpInput::new(&tables()));
        for (kind, octets) in &list {
            harness.input(octets, |_| ());
            harness.input(&packet(1, &icmp(*kind, 0, [0; 4], octets)), |_| ());
        }
        harness.run();
    }

    #[test]
    fn every_echo_reply_has_right_checksums(data in prop::collection::vec(any::<u8>(), 0..200),
                                            code in any::<u8>()) {
        let octets = packet(1, &icmp(8, code, [1, 2, 3, 4], &data));
        let result = run(&octets, |_| ());
        let octets = &result.sent[0].frame.octets;
        prop_assert_eq!(checksum::of(&octets[..20]), 0);
        prop_assert_eq!(checksum::of(&octets[20..]), 0);
        prop_assert_eq!(&octets[28..], &data[..]);
    }
}
