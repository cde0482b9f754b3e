use super::*;
use crate::heard::HEARD_MAX;
use crate::neighbors::NeighborState;
use crate::testing::*;
use dataplane::testing::{Harness, Outcome};
use proptest::prelude::*;

const ZERO: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const THIRD: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 9);

/// A node whose own announcements are over.
fn quiet() -> Harness<ArpInput> {
    let tables = tables();
    tables.announcements.borrow_mut().list.clear();
    tables.announcements.borrow_mut().rewind();
    Harness::new(ArpInput::new(&tables))
}

fn arp(operation: u16, sender_mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let packet = ArpPacket {
        to: MacAddr::BROADCAST,
        operation,
        sender_mac,
        sender,
        target_mac: MacAddr::ZERO,
        target,
    };
    let mut frame = vec![0xa5; ARP_FRAME];
    packet.write(&mut frame);
    frame.split_off(ETHERNET_HEADER)
}

fn give(harness: &mut Harness<ArpInput>, octets: &[u8]) -> Outcome {
    harness.input(octets, |meta| {
        meta.interface = SUB;
        meta.source = PEER;
    });
    harness.run()
}

fn neighbors(harness: &mut Harness<ArpInput>) -> Vec<(Ipv4Addr, NeighborState)> {
    let now = harness.now;
    let list = harness.node().tables.neighbors(now);
    list.iter().map(|one| (one.address, one.state)).collect()
}

#[test]
fn a_request_for_our_address_is_answered_in_place_and_its_sender_learned() {
    let mut harness = quiet();
    let result = give(&mut harness, &arp(REQUEST, PEER, PEER_IP, OUR_IP));
    assert_eq!(result.arcs(), ["output"]);
    #[rustfmt::skip]
    let expected = [
        0x02, 0xfe, 0, 0, 0, 2,  0x02, 0xfe, 0, 0, 0, 1,  0x08, 0x06, // Ethernet
        0, 1,  8, 0,  6,  4,  0, 2,                                   // a reply
        0x02, 0xfe, 0, 0, 0, 1,  192, 168, 123, 150,                  // from us
        0x02, 0xfe, 0, 0, 0, 2,  192, 168, 123, 7,                    // to the peer
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,         // padding
    ];
    assert_eq!(result.sent[0].frame.octets, expected);
    assert_eq!(result.sent[0].frame.meta.interface, SUB);
    assert_eq!((result.counters.made, result.drops()), (0, vec![]));
    assert_eq!(neighbors(&mut harness), [(PEER_IP, NeighborState::Stale)]);
}

#[test]
fn a_probe_is_answered_and_nothing_learned() {
    let mut harness = quiet();
    let result = give(&mut harness, &arp(REQUEST, PEER, ZERO, OUR_IP));
    assert_eq!(result.arcs(), ["output"]);
    assert_eq!(result.sent[0].frame.octets[38..42], [0, 0, 0, 0]);
    assert_eq!(neighbors(&mut harness), []);
    let other = give(&mut harness, &arp(REQUEST, PEER, ZERO, THIRD));
    assert_eq!(other.drops(), [("not-for-us", 1)]);
}

#[test]
fn packets_that_ask_or_tell_nothing_for_us_are_dropped_by_name() {
    let cases: [(&str, Vec<u8>); 10] = [
        (
            "too-short",
            arp(REQUEST, PEER, PEER_IP, OUR_IP)[..27].to_vec(),
        ),
        ("not-ethernet-ip4", {
            let mut octets = arp(REQUEST, PEER, PEER_IP, OUR_IP);
            octets[1] = 6;
            octets
        }),
        ("not-ethernet-ip4", {
            let mut octets = arp(REQUEST, PEER, PEER_IP, OUR_IP);
            octets[5] = 3;
            octets
        }),
        ("unknown-operation", arp(3, PEER, PEER_IP, OUR_IP)),
        (
            "sender-mac-mismatch",
            arp(REQUEST, MacAddr([2; 6]), PEER_IP, OUR_IP),
        ),
        (
            "bad-sender",
            arp(REQUEST, PEER, Ipv4Addr::new(224, 0, 0, 1), OUR_IP),
        ),
        (
            "bad-sender",
            arp(REQUEST, PEER, Ipv4Addr::new(192, 168, 123, 255), OUR_IP),
        ),
        (
            "not-on-link",
            arp(REQUEST, PEER, Ipv4Addr::new(192, 168, 124, 7), OUR_IP),
        ),
        // An address of ours, but of another interface.
        (
            "not-for-us",
            arp(REQUEST, PEER, PEER_IP, Ipv4Addr::new(10, 0, 0, 1)),
        ),
        ("unsolicited-reply", arp(REPLY, PEER, PEER_IP, OUR_IP)),
    ];
    for (reason, octets) in cases {
        let mut harness = quiet();
        let result = give(&mut harness, &octets);
        assert_eq!(result.drops(), [(reason, 1)], "{octets:02x?}");
        assert_eq!(result.arcs(), [""; 0]);
        assert_eq!(neighbors(&mut harness), []);
    }
}

#[test]
fn an_interface_without_addresses_answers_nothing() {
    let mut harness = quiet();
    harness.node().tables.remove_address(SUB, OUR_IP);
    let result = give(&mut harness, &arp(REQUEST, PEER, PEER_IP, OUR_IP));
    assert_eq!(result.drops(), [("no-address", 1)]);
}

#[test]
fn a_gratuitous_request_updates_a_known_neighbor_and_adds_none() {
    let mut harness = quiet();
    let gratuitous = arp(REQUEST, PEER, PEER_IP, PEER_IP);
    let unknown = give(&mut harness, &gratuitous);
    assert_eq!(unknown.drops(), [("gratuitous-unknown", 1)]);
    {
        let tables = harness.node().tables.clone();
        let mut known = tables.neighbors.borrow_mut();
        assert!(known.learn_from_request(Duration::ZERO, SUB, PEER_IP, MacAddr([4; 6])));
    }
    let known = give(&mut harness, &gratuitous);
    assert_eq!((known.drops(), known.counters.consumed), (vec![], 1));
    let list = harness.node().tables.neighbors(Duration::ZERO);
    assert_eq!(list[0].mac, Some(PEER));
}

#[test]
fn an_answer_counts_only_once_it_was_asked_for() {
    let mut harness = quiet();
    let answer = arp(REPLY, PEER, PEER_IP, OUR_IP);
    {
        let tables = harness.node().tables.clone();
        let mut asked = tables.neighbors.borrow_mut();
        assert!(asked.ask(Duration::ZERO, SUB, PEER_IP).is_some());
    }
    let first = give(&mut harness, &answer);
    assert_eq!((first.drops(), first.counters.consumed), (vec![], 1));
    assert_eq!(
        neighbors(&mut harness),
        [(PEER_IP, NeighborState::Reachable)]
    );
    let second = give(&mut harness, &answer);
    assert_eq!(second.drops(), [("unsolicited-reply", 1)]);
}

/// Passes on what `harness` heard; `other`'s neighbours then.
fn passed_on(harness: &mut Harness<ArpInput>, other: &Tables) -> Vec<(Ipv4Addr, NeighborState)> {
    let now = harness.now;
    harness
        .node()
        .tables
        .take_heard(|heard| other.hear(now, heard));
    let list = other.neighbors(now);
    list.iter().map(|one| (one.address, one.state)).collect()
}

#[test]
fn other_workers_learn_what_they_would_have_learned_themselves() {
    let (mut harness, other) = (quiet(), tables());
    let request = arp(REQUEST, PEER, PEER_IP, OUR_IP);
    give(&mut harness, &request);
    assert_eq!(passed_on(&mut harness, &other), [], "nobody wanted to know");
    harness.node().tables.keep_heard();
    // Announcements and answers make no neighbour.
    give(&mut harness, &arp(REQUEST, PEER, THIRD, THIRD));
    give(&mut harness, &arp(REPLY, PEER, THIRD, OUR_IP));
    assert_eq!(passed_on(&mut harness, &other), []);
    give(&mut harness, &request);
    let stale = (PEER_IP, NeighborState::Stale);
    assert_eq!(passed_on(&mut harness, &other), [stale]);
    // The other asked, and the answer came here.
    other
        .neighbors
        .borrow_mut()
        .ask(harness.now, SUB, THIRD)
        .unwrap();
    let result = give(&mut harness, &arp(REPLY, PEER, THIRD, OUR_IP));
    assert_eq!(result.drops(), [("unsolicited-reply", 1)]);
    let reachable = (THIRD, NeighborState::Reachable);
    assert_eq!(passed_on(&mut harness, &other), [stale, reachable]);
    // What the other has no use for.
    give(&mut harness, &request);
    other.remove_address(SUB, OUR_IP);
    other.flush_neighbors(SUB);
    assert_eq!(passed_on(&mut harness, &other), []);
}

#[test]
fn no_more_than_the_limit_waits_to_be_passed_on() {
    let mut harness = quiet();
    harness.node().tables.keep_heard();
    for _ in 0..HEARD_MAX + 10 {
        give(&mut harness, &arp(REQUEST, PEER, PEER_IP, OUR_IP));
    }
    let mut told = 0;
    harness.node().tables.take_heard(|_| told += 1);
    assert_eq!(told, HEARD_MAX);
}

#[test]
fn a_conflict_is_counted_and_our_address_defended_once_in_ten_seconds() {
    let mut harness = quiet();
    for (now, defended) in [(0, true), (1, false), (9, false), (10, true), (11, false)] {
        harness.now = Duration::from_secs(now);
        let result = give(&mut harness, &arp(REPLY, PEER, OUR_IP, PEER_IP));
        assert_eq!(result.drops(), [("address-conflict", 1)]);
        assert_eq!(result.sent.len(), usize::from(defended), "at {now} s");
        if defended {
            let octets = &result.sent[0].frame.octets;
            assert_eq!(octets[..6], [0xff; 6]);
            assert_eq!(octets[28..32], OUR_IP.octets());
            assert_eq!(octets[38..42], OUR_IP.octets());
        }
    }
}

#[test]
fn a_new_address_is_announced_at_once_and_again_after_two_seconds() {
    let tables = tables();
    let mut harness = Harness::new(ArpInput::new(&tables));
    for (now, sent) in [(0, 2), (1, 0), (2, 2), (60, 0)] {
        harness.now = Duration::from_secs(now);
        let result = harness.run();
        assert_eq!(result.sent.len(), sent, "at {now} s");
        for sent in &result.sent {
            let octets = &sent.frame.octets;
            assert_eq!(octets[28..32], octets[38..42]);
        }
    }
    assert_eq!(harness.node().deadline(), None);
    tables.announce(SUB);
    assert_eq!(harness.run().sent.len(), 1);
}

#[test]
fn an_announcement_waits_for_room_and_not_for_an_interface_that_is_down() {
    let tables = tables();
    tables.interfaces.borrow_mut().get_mut(OTHER).unwrap().up = false;
    let mut harness = Harness::new(ArpInput::new(&tables));
    harness.slots = 0;
    assert_eq!(harness.run().sent.len(), 0);
    assert_eq!(harness.node().deadline(), Some(RETRY));
    harness.slots = 10;
    harness.now = RETRY;
    let result = harness.run();
    assert_eq!(result.sent.len(), 1);
    assert_eq!(result.sent[0].frame.meta.interface, SUB);
}

proptest! {
    #[test]
    fn any_octets_are_sent_dropped_or_consumed(
        list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..50),
    ) {
        let mut harness = quiet();
        for octets in &list {
            harness.input(octets, |meta| meta.interface = SUB);
        }
        harness.run();
    }

    #[test]
    fn nearly_right_packets_never_grow_the_table_past_the_link(
        list in prop::collection::vec(
            (0u16..4, 0u8..3, 140u8..160, 140u8..160, any::<bool>()), 0..300),
    ) {
        let mut harness = quiet();
        for (operation, net, sender, target, same) in list {
            let sender = Ipv4Addr::new(192, 168, 122 + net, sender);
            let target = if same { sender } else { Ipv4Addr::new(192, 168, 123, target) };
            harness.input(&arp(operation, PEER, sender, target), |meta| {
                meta.interface = SUB;
                meta.source = PEER;
            });
        }
        harness.run();
        for (address, _) in neighbors(&mut harness) {
            prop_assert_eq!(address.octets()[2], 123);
            prop_assert_ne!(address, OUR_IP);
        }
    }
}
