use super::*;
use crate::ip4::MORE_FRAGMENTS;
use crate::testing::*;
use dataplane::checksum;
use dataplane::testing::{Harness, Outcome};
use proptest::prelude::*;

fn harness() -> Harness<Ip4FullReassembly> {
    let mut harness = Harness::new(Ip4FullReassembly::new());
    harness.slot_len = 70_000;
    harness.slots = 20;
    harness
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect()
}

/// A fragment of `payload[start..start + len]`.
fn fragment(payload: &[u8], start: usize, len: usize, id: u16) -> Vec<u8> {
    let end = (start + len).min(payload.len());
    let more = if end < payload.len() {
        MORE_FRAGMENTS
    } else {
        0
    };
    packet_with(17, &payload[start..end], |header| {
        header.identification = id;
        header.fragment = u16::try_from(start / 8).unwrap() | more;
    })
}

fn fragments(payload: &[u8], step: usize, id: u16) -> Vec<Vec<u8>> {
    let starts = (0..payload.len()).step_by(step);
    starts
        .map(|start| fragment(payload, start, step, id))
        .collect()
}

fn give(harness: &mut Harness<Ip4FullReassembly>, list: &[Vec<u8>]) -> Outcome {
    for octets in list {
        harness.input(octets, |meta| meta.interface = SUB);
    }
    harness.run()
}

fn whole(payload: &[u8], id: u16) -> Vec<u8> {
    packet_with(17, payload, |header| header.identification = id)
}

#[test]
fn fragments_in_any_order_become_the_datagram_up_to_its_full_length() {
    for len in [9, 8008, 65_515] {
        let payload = pattern(len);
        let mut list = fragments(&payload, if len == 9 { 8 } else { 1480 }, 7);
        for turn in 0..2 {
            let mut harness = harness();
            let result = give(&mut harness, &list);
            assert_eq!(result.arcs(), ["udp"], "{len} octets, turn {turn}");
            assert_eq!(result.sent[0].frame.octets, whole(&payload, 7));
            assert_eq!(result.sent[0].frame.meta.interface, SUB);
            assert_eq!(result.drops(), []);
            assert_eq!((harness.node().waiting(), harness.node().octets()), (0, 0));
            assert_eq!(harness.node().deadline(), None);
            list.reverse();
        }
    }
}

#[test]
fn the_header_is_the_first_fragments_with_its_options() {
    let payload = pattern(32);
    let mut list = fragments(&payload, 16, 7);
    list[0] = with_options(list[0].clone(), &[7, 3, 4, 0]);
    list.reverse();
    let result = give(&mut harness(), &list);
    let octets = &result.sent[0].frame.octets;
    assert_eq!(octets[20..24], [7, 3, 4, 0]);
    assert_eq!(octets[24..], payload);
    assert_eq!(checksum::of(&octets[..24]), 0);
    assert_eq!(octets[6..8], [0, 0]);
}

#[test]
fn each_protocol_goes_its_own_way() {
    for (protocol, arc) in [
        (1, "icmp"),
        (6, "tcp"),
        (17, "udp"),
        (47, "unknown-protocol"),
    ] {
        let list: Vec<Vec<u8>> = fragments(&pattern(32), 16, 7)
            .into_iter()
            .map(|mut octets| {
                octets[9] = protocol;
                fix_header(&mut octets);
                octets
            })
            .collect();
        assert_eq!(give(&mut harness(), &list).arcs(), [arc]);
    }
}

#[test]
fn datagrams_of_different_ids_protocols_and_interfaces_stay_apart() {
    let mut harness = harness();
    let list = fragments(&pattern(32), 16, 7);
    give(&mut harness, &list[..1]);
    let mut other_id = list[1].clone();
    other_id[5] ^= 1;
    fix_header(&mut other_id);
    assert_eq!(give(&mut harness, &[other_id]).arcs(), [""; 0]);
    harness.input(&list[1], |meta| meta.interface = OTHER);
    assert_eq!(harness.run().arcs(), [""; 0]);
    assert_eq!(harness.node().waiting(), 3);
    assert_eq!(give(&mut harness, &list[1..]).arcs(), ["udp"]);
}

#[test]
fn overlapping_fragments_end_the_datagram_and_a_repeated_one_does_not() {
    let payload = pattern(48);
    let list = fragments(&payload, 16, 7);
    let mut repeated = harness();
    let result = give(
        &mut repeated,
        &[list[0].clone(), list[0].clone(), list[1].clone()],
    );
    assert_eq!(result.drops(), [("duplicate", 1)]);
    assert_eq!(give(&mut repeated, &list[2..]).arcs(), ["udp"]);

    let mut changed = list[0].clone();
    changed[30] ^= 1;
    for bad in [fragment(&payload, 8, 16, 7), changed] {
        let mut harness = harness();
        let result = give(&mut harness, &[list[0].clone(), bad]);
        assert_eq!(
            (result.drops(), result.counters.consumed),
            (vec![("overlap", 1)], 1)
        );
        let result = give(&mut harness, &list);
        assert_eq!(
            (result.arcs(), result.drops()),
            (vec![], vec![("overlap", 3)])
        );
        assert_eq!(harness.node().octets(), 0);
    }
}

#[test]
fn fragments_that_cannot_be_right_are_dropped_by_name_and_take_no_place() {
    let odd = packet_with(17, &[0; 15], |header| header.fragment = MORE_FRAGMENTS);
    let empty = packet_with(17, &[], |header| header.fragment = 4);
    let past_end = packet_with(17, &[0; 16], |header| header.fragment = 8190);
    let short = odd[..30].to_vec();
    let cases = [
        (odd, "bad-fragment"),
        (empty, "bad-fragment"),
        (past_end, "too-large"),
        (short, "too-short"),
    ];
    for (octets, reason) in cases {
        let mut harness = harness();
        assert_eq!(give(&mut harness, &[octets]).drops(), [(reason, 1)]);
        assert_eq!(harness.node().waiting(), 0);
    }
    // Two ends, or octets behind the end.
    let payload = pattern(64);
    let last = fragment(&payload[..48], 32, 16, 7);
    let behind = fragment(&payload, 48, 16, 7);
    let other_end = fragment(&payload[..40], 32, 8, 7);
    for (first, second) in [(&last, &behind), (&behind, &last), (&last, &other_end)] {
        let result = give(&mut harness(), &[first.clone(), second.clone()]);
        assert_eq!(result.drops(), [("bad-fragment", 1)]);
    }
}

#[test]
fn what_is_not_whole_in_time_is_given_up_and_its_sender_told_if_the_first_fragment_came() {
    let payload = pattern(48);
    let list = fragments(&payload, 16, 7);
    let mut with_first = harness();
    give(&mut with_first, &list[..2]);
    assert_eq!(with_first.node().deadline(), Some(TIMEOUT));
    with_first.now = TIMEOUT;
    let result = with_first.run();
    assert_eq!(
        (result.arcs(), result.drops()),
        (vec!["time-exceeded"], vec![("timeout", 1)])
    );
    assert_eq!(result.sent[0].frame.octets, list[0]);
    assert_eq!(
        (with_first.node().waiting(), with_first.node().octets()),
        (0, 0)
    );

    let mut without = harness();
    give(&mut without, &list[1..]);
    without.now = TIMEOUT;
    let result = without.run();
    assert_eq!(
        (result.arcs(), result.drops()),
        (vec![], vec![("timeout", 1)])
    );
}

#[test]
fn a_source_has_so_many_datagrams_waiting_and_no_more() {
    let mut harness = harness();
    for id in 0..40 {
        harness.now += Duration::from_millis(1);
        give(&mut harness, &fragments(&pattern(32), 16, id)[..1]);
    }
    assert_eq!(harness.node().waiting(), SOURCE_MAX);
    // The latest are still there.
    let last = &fragments(&pattern(32), 16, 39)[1..];
    assert_eq!(give(&mut harness, last).arcs(), ["udp"]);
}

#[test]
fn a_flood_of_fragments_stays_within_its_bounds() {
    let mut harness = harness();
    for round in 0..8u16 {
        for host in 0..250u16 {
            let octets = packet_with(17, &pattern(1480), |header| {
                header.source = Ipv4Addr::from_bits(0xac10_0000 + u32::from(round * 250 + host));
                header.fragment = MORE_FRAGMENTS | (round * 185);
            });
            harness.input(&octets, |meta| meta.interface = SUB);
        }
        let result = harness.run();
        assert!(harness.node().waiting() <= CONTEXTS_MAX);
        assert_eq!(result.arcs(), [""; 0]);
    }
    // Large ones: the octets are the limit.
    for host in 0..200u32 {
        for number in 0..40u16 {
            let octets = packet_with(17, &pattern(1480), |header| {
                header.source = Ipv4Addr::from_bits(0xac20_0000 + host);
                header.fragment = MORE_FRAGMENTS | (number * 185);
            });
            harness.input(&octets, |meta| meta.interface = SUB);
        }
        harness.run();
        assert!(
            harness.node().octets() <= OCTETS_MAX,
            "{}",
            harness.node().octets()
        );
    }
    harness.now = Duration::from_secs(1000);
    for _ in 0..=CONTEXTS_MAX / EXPIRE_MAX {
        harness.run();
    }
    assert_eq!((harness.node().waiting(), harness.node().octets()), (0, 0));
}

#[test]
fn a_datagram_of_too_many_fragments_and_one_without_room_are_counted() {
    let payload = pattern(8 * 300);
    let list = fragments(&payload, 8, 7);
    let result = give(&mut harness(), &list);
    assert_eq!(
        (result.arcs(), result.drops()),
        (vec![], vec![("too-many-fragments", 44)])
    );
    let mut full = harness();
    full.slots = 0;
    let result = give(&mut full, &fragments(&pattern(32), 16, 7));
    assert_eq!(
        (result.arcs(), result.drops()),
        (vec![], vec![("no-buffer", 1)])
    );
}

proptest! {
    /// Random cuts, order and repetition, two datagrams mixed: each comes out once, exact.
    #[test]
    fn shuffled_and_repeated_fragments_become_the_datagrams_they_were(
        lens in (1usize..4000, 1usize..4000),
        steps in (1usize..80, 1usize..80),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        repeats in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let (a, b) = (pattern(lens.0), pattern(lens.1));
        // At most FRAGMENTS_MAX pieces.
        let step = |len: usize, step: usize| (step * 8).max(len.div_ceil(200).next_multiple_of(8));
        let mut list = fragments(&a, step(a.len(), steps.0), 1);
        list.extend(fragments(&b, step(b.len(), steps.1), 2));
        // A datagram in one piece is no fragment and does not come here.
        list.retain(|octets| octets[6..8] != [0, 0]);
        prop_assume!(!list.is_empty());
        let cut = |id| list.iter().any(|octets| octets[5] == id);
        let mut expected: Vec<Vec<u8>> = Vec::new();
        if cut(1) { expected.push(whole(&a, 1)); }
        if cut(2) { expected.push(whole(&b, 2)); }
        for index in &order {
            let octets = list.remove(index.index(list.len()));
            list.push(octets);
        }
        // Repeated before the datagram is whole, so directly behind itself; the last of each
        // datagram may begin a new one that never ends.
        for index in &repeats {
            let at = index.index(list.len());
            list.insert(at, list[at].clone());
        }
        let mut harness = harness();
        let result = give(&mut harness, &list);
        let mut sent: Vec<Vec<u8>> = result.sent.iter().map(|s| s.frame.octets.clone()).collect();
        sent.sort();
        expected.sort();
        prop_assert_eq!(sent, expected);
        prop_assert!(result.drops().iter().all(|(reason, _)| *reason == "duplicate"));
    }

    #[test]
    fn any_fragments_are_kept_or_dropped_within_bounds(
        list in prop::collection::vec(
            (0u16..0x4000, prop::collection::vec(any::<u8>(), 0..40), 0u16..3), 0..100),
        raw in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20),
    ) {
        let mut harness = harness();
        for (fragment, payload, id) in &list {
            let octets = packet_with(17, payload, |header| {
                header.fragment = fragment & 0x2007;
                header.identification = *id;
            });
            harness.input(&octets, |meta| meta.interface = SUB);
        }
        for octets in &raw {
            harness.input(octets, |_| ());
        }
        harness.run();
        prop_assert!(harness.node().waiting() <= CONTEXTS_MAX);
        harness.now = TIMEOUT;
        harness.run();
        prop_assert_eq!((harness.node().waiting(), harness.node().octets()), (0, 0));
    }
}
