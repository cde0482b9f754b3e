use dataplane::testing::{Harness, ethernet};
use dataplane::{Checksum, EtherType, Interface, MacAddr, Segmentation, Tag};

use super::*;

const PORT: IfIndex = IfIndex(0);
const VLAN: IfIndex = IfIndex(1);

fn harness() -> (Harness<AfPacketOutput>, SharedInterfaces) {
    let interfaces = Interfaces::shared();
    for (index, mtu) in [(PORT, 1500), (VLAN, 1400)] {
        let interface = Interface {
            name: "host-eth0".to_owned(),
            mac: MacAddr::ZERO,
            mtu,
            up: true,
        };
        interfaces.borrow_mut().set(index, interface);
    }
    let node = AfPacketOutput::new(interfaces.clone(), PORT);
    (Harness::new(node), interfaces)
}

fn frame(tags: usize, payload: usize) -> Vec<u8> {
    let tag = Tag {
        tpid: EtherType::CTAG,
        tci: 123,
    };
    let (to, from) = (MacAddr::BROADCAST, MacAddr::ZERO);
    let payload = vec![1; payload];
    ethernet(to, from, &vec![tag; tags], EtherType::IPV4, &payload)
}

#[test]
fn frames_are_handed_to_the_port_and_counted_at_interface_and_port() {
    let (mut harness, _interfaces) = harness();
    harness.input(&frame(1, 100), |meta| meta.interface = VLAN);
    harness.input(&frame(0, 100), |meta| meta.interface = PORT);
    let outcome = harness.run();
    assert_eq!(outcome.transmitted.len(), 2);
    assert_eq!(outcome.drops(), []);
    assert_eq!(outcome.interfaces[0].tx_packets, 2);
    assert_eq!(outcome.interfaces[0].tx_bytes, 118 + 114);
    assert_eq!(outcome.interfaces[1].tx_packets, 1);
}

#[test]
fn the_mtu_is_the_interfaces_without_its_tags() {
    let (mut harness, _interfaces) = harness();
    harness.input(&frame(2, 1400), |meta| meta.interface = VLAN);
    harness.input(&frame(1, 1401), |meta| meta.interface = VLAN);
    harness.input(&frame(0, 1500), |_| {});
    harness.input(&frame(0, 1501), |_| {});
    let outcome = harness.run();
    let lens: Vec<_> = outcome.transmitted.iter().map(|f| f.octets.len()).collect();
    assert_eq!(lens, [1422, 1514]);
    assert_eq!(outcome.drops(), [("mtu-exceeded", 2)]);
}

#[test]
fn a_second_tag_counts_towards_the_ports_mtu() {
    let (mut harness, _interfaces) = harness();
    for (tags, payload) in [(1, 1500), (2, 1496), (2, 1497)] {
        harness.input(&frame(tags, payload), |_| {});
    }
    let outcome = harness.run();
    let lens: Vec<_> = outcome.transmitted.iter().map(|f| f.octets.len()).collect();
    assert_eq!(lens, [1518, 1518]);
    assert_eq!(outcome.drops(), [("mtu-exceeded", 1)]);
}

#[test]
fn a_super_segment_may_exceed_the_mtu_but_not_its_pieces() {
    let (mut harness, _interfaces) = harness();
    harness.offload.segmentation_max = 3500;
    for (payload, size) in [(3000, 1460), (3000, 1461), (3600, 1000)] {
        harness.input(&frame(0, payload), |meta| {
            meta.checksum = Checksum::Partial {
                start: 66,
                offset: 16,
            };
            meta.segmentation = Some(Segmentation {
                size,
                header_len: 40,
            });
        });
    }
    let outcome = harness.run();
    assert_eq!(outcome.transmitted.len(), 1);
    assert_eq!(outcome.drops(), [("mtu-exceeded", 2)]);
}

#[test]
fn nothing_leaves_by_what_is_down_or_gone() {
    let (mut harness, interfaces) = harness();
    harness.input(&frame(1, 100), |meta| meta.interface = IfIndex(9));
    interfaces.borrow_mut().get_mut(PORT).unwrap().up = false;
    harness.input(&frame(1, 100), |meta| meta.interface = VLAN);
    let outcome = harness.run();
    assert!(outcome.transmitted.is_empty());
    assert_eq!(outcome.drops(), [("link-down", 2)]);
}

#[test]
fn a_full_ring_is_a_counted_drop() {
    let (mut harness, _interfaces) = harness();
    harness.slots = 1;
    for _ in 0..3 {
        harness.input(&frame(0, 100), |_| {});
    }
    let outcome = harness.run();
    assert_eq!(outcome.transmitted.len(), 1);
    assert_eq!(outcome.drops(), [("ring-full", 2)]);
    assert_eq!(outcome.interfaces[0].tx_packets, 1);
}
