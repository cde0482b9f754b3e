use super::*;
use crate::interface::{IfIndex, Interface};
use crate::testing::{Harness, ethernet};
use proptest::prelude::*;

const OURS: MacAddr = MacAddr([0x02, 0xfe, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([0x02, 0xfe, 0, 0, 0, 2]);
const C123: Tag = Tag {
    tpid: EtherType::CTAG,
    tci: 0x607b,
};
const S200: Tag = Tag {
    tpid: EtherType::STAG,
    tci: 200,
};

fn harness(up: bool) -> Harness<EthernetInput> {
    let interfaces = Interfaces::shared();
    let port = Interface {
        name: "host-m0".into(),
        mac: OURS,
        mtu: 1500,
        up,
    };
    assert!(interfaces.borrow_mut().set(IfIndex(0), port));
    Harness::new(EthernetInput::new(interfaces))
}

#[test]
fn a_tag_in_the_metadata_and_one_inline_end_up_outermost_first() {
    let mut harness = harness(true);
    let octets = ethernet(OURS, PEER, &[C123], EtherType::IPV4, &[0x45; 50]);
    harness.input(&octets, |meta| assert!(meta.tags.push(S200)));
    let result = harness.run();
    assert_eq!(result.arcs(), ["tagged"]);
    let frame = &result.sent[0].frame;
    assert_eq!(frame.meta.tags.as_slice(), [S200, C123]);
    assert_eq!(
        (frame.meta.ether_type, frame.meta.source),
        (EtherType::IPV4, PEER)
    );
    assert_eq!(frame.octets, [0x45; 50]);
    assert_eq!(result.interfaces[0].rx_bytes, octets.len() as u64 + 4);
}

#[test]
fn untagged_frames_for_us_for_a_group_and_for_all_are_taken() {
    let mut harness = harness(true);
    let group = MacAddr([0x01, 0, 0x5e, 0, 0, 1]);
    for destination in [OURS, group, MacAddr::BROADCAST] {
        harness.input(
            &ethernet(destination, PEER, &[], EtherType::ARP, &[0; 28]),
            |_| (),
        );
    }
    let result = harness.run();
    assert_eq!(result.arcs(), ["untagged"; 3]);
    assert_eq!(result.drops(), []);
}

#[test]
fn each_fault_is_dropped_under_its_own_name() {
    let group = MacAddr([0x01, 0, 0x5e, 0, 0, 1]);
    let long = [0u8; 50];
    let mut announced = ethernet(OURS, PEER, &[C123], EtherType::IPV4, &long);
    announced.truncate(17);
    let cases: [(Vec<u8>, &str); 7] = [
        (vec![0; 13], "too-short"),
        (announced, "too-short"),
        (
            ethernet(OURS, PEER, &[S200, C123, C123], EtherType::IPV4, &long),
            "too-many-tags",
        ),
        (ethernet(OURS, PEER, &[], EtherType(0x05ff), &long), "llc"),
        (
            ethernet(OURS, group, &[], EtherType::IPV4, &long),
            "source-is-group",
        ),
        (
            ethernet(OURS, OURS, &[], EtherType::IPV4, &long),
            "own-source",
        ),
        (
            ethernet(PEER, PEER, &[], EtherType::IPV4, &long),
            "l3-mac-mismatch",
        ),
    ];
    for (octets, reason) in cases {
        let mut harness = harness(true);
        harness.input(&octets, |_| ());
        let result = harness.run();
        assert_eq!(result.drops(), [(reason, 1)]);
        assert_eq!(result.interfaces[0].drops, 1);
    }
}

#[test]
fn a_port_that_is_down_takes_nothing() {
    let mut harness = harness(false);
    harness.input(
        &ethernet(OURS, PEER, &[], EtherType::IPV4, &[0; 50]),
        |_| (),
    );
    assert_eq!(harness.run().drops(), [("interface-down", 1)]);
}

proptest! {
    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn arbitrary_octets_are_sent_or_dropped(frames in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..80), 0..600,
    )) {
        let mut harness = harness(true);
        for octets in &frames {
            harness.input(octets, |_| ());
        }
        let result = harness.run();
        prop_assert_eq!(result.counters.received, frames.len() as u64);
        prop_assert_eq!(result.counters.sent + result.counters.dropped(), frames.len() as u64);
    }
}
