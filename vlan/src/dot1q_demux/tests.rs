use super::*;
use crate::{Match, SubInterfaces, VlanId};
use dataplane::testing::Harness;
use dataplane::{EtherType, IfIndex, Interface, Interfaces, MacAddr, Tag};
use proptest::prelude::*;

const PORT: IfIndex = IfIndex(0);
const SUB: IfIndex = IfIndex(1);

fn interface(name: &str, up: bool) -> Interface {
    let name = name.into();
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    let mtu = 1500;
    Interface { name, mac, mtu, up }
}

fn harness(up: bool) -> Harness<Dot1qDemux> {
    let interfaces = Interfaces::shared();
    let subs = SubInterfaces::shared();
    interfaces
        .borrow_mut()
        .set(PORT, interface("host-m0", true));
    interfaces
        .borrow_mut()
        .set(SUB, interface("host-m0.123", up));
    subs.borrow_mut().add_port(PORT).unwrap();
    let vid = VlanId::new(123).unwrap();
    subs.borrow_mut().add(PORT, SUB, Match::dot1q(vid)).unwrap();
    Harness::new(Dot1qDemux::new(interfaces, subs))
}

fn tag(tci: u16) -> Tag {
    let tpid = EtherType::CTAG;
    Tag { tpid, tci }
}

#[test]
fn a_tagged_frame_goes_on_as_its_sub_interfaces() {
    let mut harness = harness(true);
    harness.input(&[0x45; 46], |meta| assert!(meta.tags.push(tag(0x607b))));
    let result = harness.run();
    assert_eq!(result.arcs(), ["type"]);
    assert_eq!(result.sent[0].frame.meta.interface, SUB);
    assert_eq!(result.sent[0].frame.octets, [0x45; 46]);
    let sub = result.interfaces[1];
    assert_eq!((sub.rx_packets, sub.rx_bytes), (1, 64));
    assert_eq!(result.drops(), []);
}

#[test]
fn unknown_vid_unknown_pair_and_untagged_are_counted_and_dropped_on_the_port() {
    let mut harness = harness(true);
    harness.input(&[0; 46], |meta| assert!(meta.tags.push(tag(124))));
    harness.input(&[0; 46], |meta| assert!(meta.tags.push(tag(4095))));
    harness.input(&[0; 46], |meta| {
        assert!(meta.tags.push(tag(123)) && meta.tags.push(tag(1)));
    });
    harness.input(&[0; 46], |_| ());
    harness.input(&[0; 46], |meta| assert!(meta.tags.push(tag(0xe000))));
    let result = harness.run();
    assert_eq!(result.arcs(), [""; 0]);
    assert_eq!(
        result.drops(),
        [
            ("unknown-vid", 2),
            ("unknown-qinq", 1),
            ("untagged-not-wanted", 2)
        ]
    );
    assert_eq!(result.interfaces[0].drops, 5);
}

#[test]
fn a_sub_interface_that_is_down_takes_nothing() {
    let mut harness = harness(false);
    harness.input(&[0; 46], |meta| assert!(meta.tags.push(tag(123))));
    let result = harness.run();
    assert_eq!(result.drops(), [("interface-down", 1)]);
    assert_eq!(
        (result.interfaces[1].rx_packets, result.interfaces[1].drops),
        (1, 1)
    );
}

proptest! {
    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn any_tags_on_any_port_are_sent_or_dropped(
        list in prop::collection::vec(
            (0u16..3, prop::collection::vec((any::<u16>(), any::<u16>()), 0..3)), 0..600),
    ) {
        let mut harness = harness(true);
        for (port, tags) in &list {
            harness.input(&[], |meta| {
                meta.interface = IfIndex(*port);
                for (tpid, tci) in tags {
                    meta.tags.push(Tag { tpid: EtherType(*tpid), tci: *tci });
                }
            });
        }
        harness.run();
    }
}
