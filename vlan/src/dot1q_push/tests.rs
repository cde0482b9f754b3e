use super::*;
use crate::{Match, OuterTag, Tpid, VlanId};
use dataplane::testing::{Harness, ethernet};
use dataplane::{EtherType, IfIndex, Interface, MacAddr, Tag};
use proptest::prelude::*;

const OURS: MacAddr = MacAddr([2, 0xfe, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0xfe, 0, 0, 0, 2]);

fn harness() -> Harness<Dot1qPush> {
    let interfaces = Interfaces::shared();
    let subs = SubInterfaces::shared();
    let outer = OuterTag {
        tpid: Tpid::Dot1ad,
        vid: VlanId::new(100).unwrap(),
    };
    let inner = VlanId::new(200).unwrap();
    subs.borrow_mut().add_port(IfIndex(0)).unwrap();
    let matches = [
        Match::dot1q(VlanId::new(123).unwrap()),
        Match::Double { outer, inner },
        Match::Default,
        Match::Untagged,
    ];
    for (index, matches) in (1..).zip(matches) {
        subs.borrow_mut()
            .add(IfIndex(0), IfIndex(index), matches)
            .unwrap();
    }
    for index in 0..5 {
        let interface = Interface {
            name: format!("host-m0.{index}"),
            mac: OURS,
            mtu: 1500,
            up: true,
        };
        interfaces.borrow_mut().set(IfIndex(index), interface);
    }
    Harness::new(Dot1qPush::new(interfaces, subs))
}

fn plain() -> Vec<u8> {
    ethernet(PEER, OURS, &[], EtherType::IPV4, &[0x45; 46])
}

#[test]
fn each_sub_interface_gets_its_tags_with_the_right_tpid() {
    let tag = |tpid, tci| Tag { tpid, tci };
    let expected: [(u16, &[Tag]); 4] = [
        (0, &[]),
        (1, &[tag(EtherType::CTAG, 123)]),
        (2, &[tag(EtherType::STAG, 100), tag(EtherType::CTAG, 200)]),
        (4, &[]),
    ];
    let mut harness = harness();
    for (index, _) in expected {
        harness.input(&plain(), |meta| {
            meta.interface = IfIndex(index);
            assert!(meta.tags.push(tag(EtherType::CTAG, 7)));
        });
    }
    let result = harness.run();
    assert_eq!(result.arcs(), ["output"; 4]);
    for (sent, (index, tags)) in result.sent.iter().zip(expected) {
        let wire = ethernet(PEER, OURS, tags, EtherType::IPV4, &[0x45; 46]);
        assert_eq!(sent.frame.octets, wire);
        assert_eq!(sent.frame.meta.interface, IfIndex(index));
        assert!(sent.frame.meta.tags.is_empty());
    }
    assert_eq!(result.drops(), []);
}

#[test]
fn interfaces_that_cannot_send_drop_by_name() {
    let mut harness = harness();
    harness.input(&plain(), |meta| meta.interface = IfIndex(3));
    harness.input(&plain(), |meta| meta.interface = IfIndex(99));
    harness.input(&plain()[..13], |meta| meta.interface = IfIndex(1));
    let result = harness.run();
    assert_eq!(
        result.drops(),
        [
            ("unknown-interface", 1),
            ("no-exact-tags", 1),
            ("too-short", 1)
        ]
    );
    for down in [0, 1] {
        let node = harness.node();
        let set = |up| {
            let mut interfaces = node.interfaces.borrow_mut();
            interfaces.get_mut(IfIndex(down)).unwrap().up = up;
        };
        set(false);
        harness.input(&plain(), |meta| meta.interface = IfIndex(1));
        assert_eq!(harness.run().drops(), [("interface-down", 1)]);
        let node = harness.node();
        node.interfaces
            .borrow_mut()
            .get_mut(IfIndex(down))
            .unwrap()
            .up = true;
    }
}

#[test]
fn a_frame_without_headroom_is_left_as_it_was() {
    let node = harness().node().sub_interfaces.clone();
    let interfaces = harness().node().interfaces.clone();
    let mut memory = plain();
    let len = memory.len();
    let mut frame = Frame::new(&mut memory, 0, len);
    frame.meta.interface = IfIndex(1);
    let pushed = push(&mut frame, &interfaces.borrow(), &node.borrow());
    assert_eq!(pushed, Err(Dot1qPushDrop::NoHeadroom));
    assert_eq!(frame.octets(), plain());
}

proptest! {
    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn any_octets_on_any_interface_are_sent_or_dropped(
        list in prop::collection::vec((0u16..8, prop::collection::vec(any::<u8>(), 0..80)), 0..40),
    ) {
        let mut harness = harness();
        for (index, octets) in &list {
            harness.input(octets, |meta| meta.interface = IfIndex(*index));
        }
        let result = harness.run();
        for sent in &result.sent {
            prop_assert!(sent.frame.octets.len() >= 14);
        }
    }
}
