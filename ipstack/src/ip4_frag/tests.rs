use super::*;
use crate::testing::*;
use dataplane::Checksum;
use dataplane::testing::{Captured, Harness};
use proptest::prelude::*;

fn harness() -> Harness<Ip4Frag> {
    Harness::new(Ip4Frag::new(&tables()))
}

/// The payload, put together by offsets alone.
fn join(fragments: &[Captured]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (number, fragment) in fragments.iter().enumerate() {
        let header = Ipv4HeaderSlice::from_slice(&fragment.octets).unwrap();
        let len = header.slice().len();
        assert_eq!(checksum::of(&fragment.octets[..len]), 0);
        assert_eq!(usize::from(header.total_len()), fragment.octets.len());
        assert_eq!(
            usize::from(header.fragments_offset().value()) * 8,
            payload.len()
        );
        assert_eq!(header.more_fragments(), number + 1 < fragments.len());
        payload.extend(&fragment.octets[len..]);
    }
    payload
}

#[test]
fn a_large_packet_becomes_fragments_of_at_most_the_mtu() {
    let payload: Vec<u8> = (0..8008u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut harness = harness();
    harness.input(&packet(1, &payload), |meta| {
        meta.interface = SUB;
        meta.next_hop = Some(PEER_IP);
    });
    let result = harness.run();
    assert_eq!(result.arcs(), ["rewrite"; 6]);
    let fragments: Vec<Captured> = result.sent.iter().map(|sent| sent.frame.clone()).collect();
    assert_eq!(fragments[0].octets.len(), 1500);
    assert_eq!(join(&fragments), payload);
    for fragment in &fragments {
        assert_eq!(
            (fragment.meta.interface, fragment.meta.next_hop),
            (SUB, Some(PEER_IP))
        );
    }
    assert_eq!((result.counters.made, result.counters.consumed), (6, 1));
}

#[test]
fn packets_that_cannot_be_cut_are_dropped_by_name() {
    let mut harness = harness();
    let whole = packet_with(1, &[0; 2000], |header| header.fragment = DONT_FRAGMENT);
    harness.input(&whole, |meta| meta.interface = SUB);
    harness.input(&packet(1, &[0; 2000])[..1000], |meta| meta.interface = SUB);
    harness.input(&packet(1, &[0; 2000]), |_| ());
    harness.input(&packet(6, &[0; 2000]), |meta| {
        meta.interface = SUB;
        meta.checksum = Checksum::Partial {
            start: 9999,
            offset: 16,
        };
    });
    let result = harness.run();
    assert_eq!(
        result.drops(),
        [
            ("too-short", 1),
            ("dont-fragment", 1),
            ("bad-checksum", 1),
            ("unknown-interface", 1)
        ]
    );
    let interfaces = harness.node().tables.interfaces.clone();
    interfaces.borrow_mut().get_mut(SUB).unwrap().mtu = 67;
    harness.input(&packet(1, &[0; 2000]), |meta| meta.interface = SUB);
    assert_eq!(harness.run().drops(), [("mtu-too-small", 1)]);
}

#[test]
fn without_room_for_all_fragments_the_packet_is_dropped() {
    let mut harness = harness();
    harness.slots = 2;
    harness.input(&packet(1, &[0; 8000]), |meta| meta.interface = SUB);
    let result = harness.run();
    assert_eq!(
        (result.sent.len(), result.drops()),
        (2, vec![("no-buffer", 1)])
    );
}

proptest! {
    #[test]
    fn fragments_join_to_the_packet_at_any_mtu(
        len in 0usize..5000, mtu in 68u16..1600, options in 0usize..=10,
    ) {
        let payload: Vec<u8> = (0..len).map(|n| n.to_le_bytes()[0]).collect();
        let octets = with_options(packet(1, &payload), &vec![1; options * 4]);
        let mut harness = harness();
        // 8 octets a piece at worst.
        (harness.slots, harness.slot_len) = (650, 2048);
        harness.node().tables.interfaces.borrow_mut().get_mut(SUB).unwrap().mtu = mtu;
        harness.input(&octets, |meta| meta.interface = SUB);
        let result = harness.run();
        let fragments: Vec<Captured> = result.sent.iter().map(|sent| sent.frame.clone()).collect();
        for fragment in &fragments {
            prop_assert!(fragment.octets.len() <= usize::from(mtu));
        }
        prop_assert_eq!(join(&fragments), payload);
    }

    #[test]
    fn any_octets_are_cut_or_dropped(
        list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..50),
    ) {
        let mut harness = harness();
        for octets in &list {
            harness.input(octets, |meta| meta.interface = SUB);
        }
        harness.run();
    }
}
