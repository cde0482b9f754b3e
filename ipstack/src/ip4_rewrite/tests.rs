use super::*;
use crate::testing::*;
use dataplane::testing::Harness;
use dataplane::{Meta, Segmentation};
use proptest::prelude::*;

fn harness() -> Harness<Ip4Rewrite> {
    Harness::new(Ip4Rewrite::new(&tables()))
}

fn routed(meta: &mut Meta) {
    meta.interface = SUB;
    meta.next_hop = Some(PEER_IP);
}

fn learn(harness: &mut Harness<Ip4Rewrite>) {
    let now = harness.now;
    let tables = harness.node().tables.clone();
    let mut neighbors = tables.neighbors.borrow_mut();
    assert!(neighbors.learn_from_request(now, SUB, PEER_IP, PEER));
}

fn out_packet() -> Vec<u8> {
    packet_with(6, &[0x11; 20], |header| {
        (header.source, header.destination) = (OUR_IP, PEER_IP);
    })
}

const ETHERNET: [u8; 14] = [0x02, 0xfe, 0, 0, 0, 2, 0x02, 0xfe, 0, 0, 0, 1, 0x08, 0x00];

#[test]
fn a_packet_to_a_known_neighbor_gets_its_ethernet_header_and_keeps_its_metadata() {
    let mut harness = harness();
    harness.offload.segmentation_max = 65_535;
    learn(&mut harness);
    let checksum = Checksum::Partial {
        start: 52,
        offset: 16,
    };
    let segmentation = Some(Segmentation {
        size: 1448,
        header_len: 52,
    });
    harness.input(&out_packet(), routed);
    harness.input(&packet(6, &vec![7; 40_000]), |meta| {
        routed(meta);
        meta.checksum = checksum;
        meta.segmentation = segmentation;
    });
    let result = harness.run();
    assert_eq!(result.arcs(), ["output"; 2]);
    assert_eq!(result.sent[0].frame.octets[..14], ETHERNET);
    assert_eq!(result.sent[0].frame.octets[14..], out_packet());
    let large = &result.sent[1].frame;
    assert_eq!(large.octets.len(), 14 + 20 + 40_000);
    assert_eq!(
        (large.meta.checksum, large.meta.segmentation),
        (checksum, segmentation)
    );
    assert_eq!(result.drops(), []);
}

#[test]
fn an_unknown_neighbor_is_asked_for_and_the_packet_sent_once_it_answers() {
    let mut harness = harness();
    harness.input(&out_packet(), |meta| {
        routed(meta);
        // 32 octets of headroom in the harness, 20 of IPv4 header.
        meta.checksum = Checksum::Partial {
            start: 52,
            offset: 16,
        };
    });
    let result = harness.run();
    assert_eq!(result.sent.len(), 1);
    #[rustfmt::skip]
    let request = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  0x02, 0xfe, 0, 0, 0, 1,  0x08, 0x06, // Ethernet
        0, 1,  8, 0,  6,  4,  0, 1,                                               // a request
        0x02, 0xfe, 0, 0, 0, 1,  192, 168, 123, 150,                              // from us
        0, 0, 0, 0, 0, 0,  192, 168, 123, 7,                                      // for the peer
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                     // padding
    ];
    assert_eq!(result.sent[0].frame.octets, request);
    assert_eq!((result.counters.consumed, result.drops()), (1, vec![]));
    learn(&mut harness);
    let result = harness.run();
    assert_eq!(result.sent.len(), 1);
    let frame = &result.sent[0].frame;
    assert_eq!(frame.octets[..14], ETHERNET);
    assert_eq!(frame.octets[14..], out_packet());
    let start = u16::try_from(frame.offset + 14 + 20).unwrap();
    assert_eq!(frame.meta.checksum, Checksum::Partial { start, offset: 16 });
    assert_eq!(frame.meta.interface, SUB);
    assert_eq!(result.drops(), []);
}

#[test]
fn a_super_segment_that_waited_is_still_one() {
    let mut harness = harness();
    harness.offload.segmentation_max = 65_535;
    let segmentation = Some(Segmentation {
        size: 1460,
        header_len: 40,
    });
    harness.input(&packet(6, &[7; 3000]), |meta| {
        routed(meta);
        meta.segmentation = segmentation;
    });
    assert_eq!(harness.run().drops(), []);
    learn(&mut harness);
    let result = harness.run();
    assert_eq!((result.arcs(), result.drops()), (vec!["output"], vec![]));
    assert_eq!(result.sent[0].frame.meta.segmentation, segmentation);
}

#[test]
fn requests_go_out_once_a_second_whatever_is_sent_and_end_after_three() {
    let mut harness = harness();
    let mut sent = Vec::new();
    for tenth in 0..30u64 {
        harness.now = Duration::from_millis(tenth * 100);
        harness.input(&out_packet(), routed);
        let result = harness.run();
        if !result.sent.is_empty() {
            sent.push((tenth, result.sent.len()));
        }
        let replaced = if tenth == 0 {
            vec![]
        } else {
            vec![("queue-replaced", 1)]
        };
        assert_eq!(result.drops(), replaced);
    }
    assert_eq!(sent, [(0, 1), (10, 1), (20, 1)]);
    harness.now = Duration::from_secs(3);
    let result = harness.run();
    assert_eq!(
        (result.sent.len(), result.drops()),
        (0, vec![("unresolved", 1)])
    );
    assert_eq!(harness.node().deadline(), None);
}

#[test]
fn a_stale_neighbor_in_use_is_asked_by_itself_after_five_seconds() {
    let mut harness = harness();
    learn(&mut harness);
    harness.input(&out_packet(), routed);
    assert_eq!(harness.run().sent.len(), 1);
    harness.now = Duration::from_secs(5);
    let result = harness.run();
    assert_eq!(result.sent.len(), 1);
    assert_eq!(result.sent[0].frame.octets[..6], PEER.0);
    assert_eq!(result.sent[0].frame.octets[20..22], [0, 1]);
}

#[test]
fn packets_that_cannot_leave_are_dropped_by_name() {
    let mut harness = harness();
    learn(&mut harness);
    let tables = harness.node().tables.clone();
    harness.input(&out_packet(), |meta| meta.interface = SUB);
    harness.input(&out_packet(), |meta| {
        routed(meta);
        meta.interface = IfIndex(77);
    });
    harness.input(&packet(6, &[0; 1481]), routed);
    // The port splits nothing.
    harness.input(&packet(6, &[0; 4000]), |meta| {
        routed(meta);
        meta.segmentation = Some(Segmentation {
            size: 1448,
            header_len: 52,
        });
    });
    let result = harness.run();
    assert_eq!(
        result.drops(),
        [
            ("not-routed", 1),
            ("unknown-interface", 1),
            ("mtu-exceeded", 2)
        ]
    );
    harness.offload.segmentation_max = 65_535;
    harness.input(&packet(6, &[0; 4000]), |meta| {
        routed(meta);
        meta.segmentation = Some(Segmentation {
            size: 1449,
            header_len: 52,
        });
    });
    assert_eq!(harness.run().drops(), [("mtu-exceeded", 1)]);
    tables.interfaces.borrow_mut().get_mut(SUB).unwrap().up = false;
    harness.input(&out_packet(), routed);
    assert_eq!(harness.run().drops(), [("interface-down", 1)]);
}

#[test]
fn a_neighbor_is_not_asked_for_without_an_address_of_our_own() {
    let mut harness = harness();
    harness.node().tables.remove_address(SUB, OUR_IP);
    harness.input(&out_packet(), routed);
    assert_eq!(harness.run().drops(), [("no-address", 1)]);
}

#[test]
fn a_packet_whose_interface_goes_while_it_waits_is_counted() {
    let mut harness = harness();
    harness.input(&out_packet(), routed);
    assert_eq!(harness.run().sent.len(), 1);
    harness.node().tables.remove_interface(SUB);
    assert_eq!(harness.run().drops(), [("neighbor-displaced", 1)]);
}

#[test]
fn a_flood_to_new_neighbors_is_throttled_and_the_table_stays_bounded() {
    let mut harness = harness();
    harness.slots = 10_000;
    harness.slot_len = 128;
    let to = |number: u32| Ipv4Addr::from_bits(0x0a00_0100 + number);
    let flood = |harness: &mut Harness<Ip4Rewrite>, from: u32| {
        for number in from..from + 1000 {
            harness.input(&out_packet(), |meta| {
                meta.interface = OTHER;
                meta.next_hop = Some(to(number));
            });
        }
        harness.run()
    };
    let first = flood(&mut harness, 0);
    assert_eq!(
        first.drops(),
        [("arp-throttled", 1000 - u64::from(REQUEST_BURST))]
    );
    assert_eq!(first.sent.len(), REQUEST_BURST as usize);
    for round in 1..40u32 {
        harness.now += Duration::from_millis(100);
        flood(&mut harness, round * 1000);
        let now = harness.now;
        assert!(harness.node().tables.neighbors(now).len() <= crate::neighbors::NEIGHBORS_MAX);
    }
}

proptest! {
    #[test]
    fn every_packet_is_sent_kept_or_dropped_as_time_goes_by(
        steps in prop::collection::vec(
            (0u64..2000, prop::collection::vec((0u8..6, 0usize..2000), 0..10), any::<bool>()), 0..30),
    ) {
        let mut harness = harness();
        for (wait, packets, answered) in steps {
            harness.now += Duration::from_millis(wait);
            for (host, len) in packets {
                harness.input(&packet(6, &vec![0; len]), |meta| {
                    meta.interface = SUB;
                    meta.next_hop = Some(Ipv4Addr::new(192, 168, 123, 5 + host));
                });
            }
            if answered {
                learn(&mut harness);
            }
            // The harness asserts that what came in and was made went out.
            harness.run();
        }
    }
}
