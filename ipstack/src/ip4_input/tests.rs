use super::*;
use crate::ip4::MORE_FRAGMENTS;
use crate::testing::*;
use dataplane::testing::{Harness, Outcome};
use dataplane::{MacAddr, Meta};
use proptest::prelude::*;
use std::net::Ipv4Addr;

fn run(octets: &[u8], change: impl FnOnce(&mut Meta)) -> Outcome {
    let mut harness = Harness::new(Ip4Input::new(&tables()));
    harness.input(octets, |meta| {
        meta.interface = SUB;
        meta.source = PEER;
        meta.destination = OURS;
        change(meta);
    });
    harness.run()
}

#[test]
fn each_protocol_goes_its_own_way_with_the_padding_cut_off() {
    for (protocol, arc) in [
        (1, "icmp"),
        (6, "tcp"),
        (17, "udp"),
        (47, "unknown-protocol"),
    ] {
        let mut octets = packet(protocol, b"payload");
        let whole = octets.clone();
        octets.resize(46, 0);
        let result = run(&octets, |_| ());
        assert_eq!(result.arcs(), [arc]);
        assert_eq!(result.sent[0].frame.octets, whole);
        assert_eq!(result.drops(), []);
    }
}

#[test]
fn fragments_go_to_reassembly_first_middle_and_last() {
    for fragment in [MORE_FRAGMENTS, MORE_FRAGMENTS | 1, 1] {
        let octets = packet_with(17, &[0; 8], |header| header.fragment = fragment);
        assert_eq!(
            run(&octets, |_| ()).arcs(),
            ["reassembly"],
            "{fragment:#06x}"
        );
    }
}

#[test]
fn a_header_that_is_wrong_is_dropped_by_name() {
    let changed = |at: usize, value: u8| {
        let mut octets = packet(6, &[0; 20]);
        octets[at] = value;
        if at != 10 && octets[0] & 0x0f >= 5 && octets.len() >= usize::from(octets[0] & 15) * 4 {
            fix_header(&mut octets);
        }
        octets
    };
    let cases: [(&str, Vec<u8>); 9] = [
        ("too-short", vec![]),
        ("too-short", packet(6, &[])[..19].to_vec()),
        ("bad-version", changed(0, 0x65)),
        ("bad-header-length", changed(0, 0x44)),
        ("too-short", changed(0, 0x4f)),
        ("bad-length", changed(3, 19)),
        ("bad-length", changed(3, 41)),
        ("bad-checksum", changed(10, 0x5a)),
        ("ttl-zero", changed(8, 0)),
    ];
    for (reason, octets) in cases {
        let result = run(&octets, |_| ());
        assert_eq!(result.drops(), [(reason, 1)], "{octets:02x?}");
        assert_eq!(result.arcs(), [""; 0]);
    }
}

#[test]
fn a_packet_from_nobody_or_for_somebody_else_is_dropped_by_name() {
    let cases: [(&str, &str, &str); 16] = [
        ("martian-source", "0.0.0.0", "192.168.123.150"),
        ("martian-source", "127.0.0.1", "192.168.123.150"),
        ("martian-source", "224.0.0.5", "192.168.123.150"),
        ("martian-source", "255.255.255.255", "192.168.123.150"),
        ("martian-source", "192.168.123.255", "192.168.123.150"),
        ("source-is-ours", "192.168.123.150", "192.168.123.150"),
        ("source-is-ours", "10.0.0.1", "192.168.123.150"),
        ("multicast-all-hosts", "192.168.123.7", "224.0.0.1"),
        ("multicast", "192.168.123.7", "239.1.2.3"),
        ("broadcast", "192.168.123.7", "255.255.255.255"),
        ("broadcast", "192.168.123.7", "192.168.123.255"),
        ("broadcast", "192.168.123.7", "192.168.123.0"),
        ("martian-destination", "192.168.123.7", "127.0.0.1"),
        ("martian-destination", "192.168.123.7", "250.0.0.1"),
        ("not-local", "192.168.123.7", "192.168.123.151"),
        // Ours, but another interface's.
        ("not-local", "192.168.123.7", "10.0.0.1"),
    ];
    for (reason, source, destination) in cases {
        let octets = packet_with(1, &[8; 8], |header| {
            header.source = source.parse().unwrap();
            header.destination = destination.parse().unwrap();
        });
        let result = run(&octets, |_| ());
        assert_eq!(result.drops(), [(reason, 1)], "{source} > {destination}");
    }
}

#[test]
fn one_stations_packet_in_a_frame_for_many_is_dropped() {
    for group in [MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
        let result = run(&packet(6, &[0; 20]), |meta| meta.destination = group);
        assert_eq!(result.drops(), [("unicast-in-group-frame", 1)]);
    }
}

#[test]
fn options_are_ignored_but_source_routes_and_broken_ones_are_not_taken() {
    let cases: [(&[u8], Result<&str, &str>); 8] = [
        (&[1, 1, 1, 0], Ok("tcp")),
        (&[0, 0x83, 0xff, 0xff], Ok("tcp")),
        (&[7, 7, 4, 0, 0, 0, 0, 0], Ok("tcp")), // record route
        (&[0x83, 7, 4, 10, 0, 0, 9, 0], Err("source-route")),
        (&[1, 0x89, 3, 4], Err("source-route")),
        (&[7, 0, 0, 0], Err("bad-options")),
        (&[7, 5, 0, 0], Err("bad-options")),
        (&[1, 1, 1, 7], Err("bad-options")),
    ];
    for (options, expected) in cases {
        let result = run(&with_options(packet(6, &[0; 20]), options), |_| ());
        match expected {
            Ok(arc) => assert_eq!(result.arcs(), [arc]),
            Err(reason) => assert_eq!(result.drops(), [(reason, 1)], "{options:02x?}"),
        }
    }
}

#[test]
fn the_address_of_an_interface_is_served_until_it_is_removed() {
    let tables = tables();
    let mut harness = Harness::new(Ip4Input::new(&tables));
    for expected in [1, 0] {
        harness.input(&packet(6, &[0; 20]), |meta| meta.interface = SUB);
        assert_eq!(harness.run().sent.len(), expected);
        tables.remove_address(SUB, OUR_IP);
    }
}

proptest! {
    #[test]
    fn any_octets_are_sent_or_dropped(
        list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..50),
    ) {
        let mut harness = Harness::new(Ip4Input::new(&tables()));
        for octets in &list {
            harness.input(octets, |meta| meta.interface = SUB);
        }
        harness.run();
    }

    #[test]
    fn what_is_sent_on_is_a_whole_packet_for_us(
        change in prop::collection::vec((0usize..60, any::<u8>()), 0..4),
        options in prop::collection::vec(any::<u8>(), 0..5),
    ) {
        let options: Vec<u8> = options.iter().flat_map(|o| [*o, 2, 1, 1]).collect();
        let mut octets = with_options(packet(17, &[0x11; 40]), &options);
        for (at, value) in change {
            octets[at] = value;
        }
        if octets[0] & 0x0f >= 5 && octets.len() >= usize::from(octets[0] & 0x0f) * 4 {
            fix_header(&mut octets);
        }
        for sent in run(&octets, |_| ()).sent {
            let header = Ipv4HeaderSlice::from_slice(&sent.frame.octets).unwrap();
            prop_assert_eq!(usize::from(header.total_len()), sent.frame.octets.len());
            prop_assert_eq!(header.destination_addr(), OUR_IP);
            prop_assert_ne!(header.source_addr(), Ipv4Addr::UNSPECIFIED);
        }
    }
}
