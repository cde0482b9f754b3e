use super::*;
use crate::testing::*;
use dataplane::testing::Harness;
use dataplane::{IfIndex, Segmentation};
use proptest::prelude::*;

fn to(destination: &str, len: usize) -> Vec<u8> {
    packet_with(6, &vec![0; len - 20], |header| {
        header.source = OUR_IP;
        header.destination = destination.parse().unwrap();
    })
}

#[test]
fn neighbors_go_direct_and_strangers_by_the_gateway() {
    let cases = [
        ("192.168.123.7", SUB, PEER_IP),
        ("10.200.0.1", OTHER, Ipv4Addr::new(10, 200, 0, 1)),
        ("8.8.8.8", SUB, GATEWAY),
        ("8.8.8.8", SUB, GATEWAY),
    ];
    let mut harness = Harness::new(Ip4Lookup::new(&tables()));
    for (destination, ..) in cases {
        harness.input(&to(destination, 40), |_| ());
    }
    let result = harness.run();
    assert_eq!(result.arcs(), ["rewrite"; 4]);
    for (sent, (_, interface, next_hop)) in result.sent.iter().zip(cases) {
        let meta = sent.frame.meta;
        assert_eq!((meta.interface, meta.next_hop), (interface, Some(next_hop)));
    }
    assert_eq!(result.drops(), []);
}

#[test]
fn packets_above_the_mtu_are_to_be_cut_but_super_segments_are_not() {
    let mut harness = Harness::new(Ip4Lookup::new(&tables()));
    harness.input(&to("192.168.123.7", 1500), |_| ());
    harness.input(&to("192.168.123.7", 1501), |_| ());
    harness.input(&to("192.168.123.7", 4000), |meta| {
        meta.segmentation = Some(Segmentation {
            size: 1448,
            header_len: 52,
        });
    });
    let result = harness.run();
    assert_eq!(result.arcs(), ["rewrite", "rewrite", "fragment"]);
    assert_eq!(result.sent[2].frame.octets.len(), 1501);
}

#[test]
fn destinations_that_cannot_be_reached_are_dropped_by_name() {
    let tables = tables();
    tables.remove_route("0.0.0.0/0".parse().unwrap());
    tables.interfaces.borrow_mut().remove(OTHER);
    let mut harness = Harness::new(Ip4Lookup::new(&tables));
    for destination in [
        "8.8.8.8",
        "127.0.0.1",
        "255.255.255.255",
        "192.168.123.255",
        "192.168.123.150",
        "10.1.1.1",
    ] {
        harness.input(&to(destination, 40), |_| ());
    }
    harness.input(&[0x45; 19], |_| ());
    let result = harness.run();
    assert_eq!(
        result.drops(),
        [
            ("too-short", 1),
            ("martian-destination", 3),
            ("local-destination", 1),
            ("no-route", 1),
            ("unknown-interface", 1)
        ]
    );
}

proptest! {
    #[test]
    fn any_octets_are_sent_or_dropped(
        list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..50),
    ) {
        let mut harness = Harness::new(Ip4Lookup::new(&tables()));
        for octets in &list {
            harness.input(octets, |meta| meta.interface = IfIndex(9));
        }
        harness.run();
    }
}
