//! Entry points for fuzzing: see `fuzz/README.md`.

use std::cell::RefCell;
use std::rc::Rc;

use dataplane::fuzzing::{drive, interface};
use dataplane::testing::Harness;
use dataplane::{EtherType, IfIndex, Interfaces, Meta, SharedInterfaces, Tag};

use crate::{Dot1qDemux, Dot1qPush, Match, OuterTag, SharedSubInterfaces, SubInterfaces};
use crate::{Tpid, VlanId};

/// The interfaces there are: port 0 and its sub-interfaces.
const INTERFACES: u16 = 6;

/// A port with a sub-interface of every kind; number 5 is down.
fn tables() -> (SharedInterfaces, SharedSubInterfaces) {
    let (interfaces, table) = (Interfaces::shared(), SubInterfaces::shared());
    let port = IfIndex(0);
    for index in 0..INTERFACES {
        let mut one = interface("m0");
        one.up = index != 5;
        interfaces.borrow_mut().set(IfIndex(index), one);
    }
    let mut subs = table.borrow_mut();
    let _ = subs.add_port(port);
    if let (Ok(one), Ok(two)) = (VlanId::new(0x7b), VlanId::new(0x61)) {
        let outer = OuterTag {
            tpid: Tpid::Dot1ad,
            vid: one,
        };
        let wanted = [
            Match::dot1q(one),
            Match::Double { outer, inner: two },
            Match::InnerAny { outer },
            Match::Untagged,
            Match::dot1q(two),
        ];
        for (index, wanted) in (1..).zip(wanted) {
            let _ = subs.add(port, IfIndex(index), wanted);
        }
    }
    drop(subs);
    (interfaces, table)
}

thread_local! {
    /// Nothing changes them.
    static TABLES: RefCell<(SharedInterfaces, SharedSubInterfaces)> = RefCell::new(tables());
}

fn shared() -> (SharedInterfaces, SharedSubInterfaces) {
    TABLES.with_borrow(|(interfaces, subs)| (Rc::clone(interfaces), Rc::clone(subs)))
}

/// Frames whose tags are their first octets, four each.
///
/// # Panics
/// As [`drive`].
pub fn dot1q_demux(data: &[u8]) {
    let (interfaces, subs) = shared();
    let shape = |knob: u8, octets: &mut Vec<u8>, meta: &mut Meta| {
        for tag in octets.as_chunks::<4>().0.iter().take(usize::from(knob & 3)) {
            let [t0, t1, c0, c1] = *tag;
            let tpid = match t0 & 3 {
                0 => EtherType(u16::from_be_bytes([t0, t1])),
                1 => EtherType::STAG,
                _ => EtherType::CTAG,
            };
            let _ = meta.tags.push(Tag {
                tpid,
                tci: u16::from_be_bytes([c0, c1]),
            });
        }
        meta.interface = IfIndex(u16::from(knob >> 7));
    };
    let node = Dot1qDemux::new(interfaces, subs);
    drive(Harness::new(node), data, shape, |_, outcome| {
        for sent in &outcome.sent {
            assert!(sent.frame.meta.interface.0 < INTERFACES);
        }
    });
}

/// Ethernet frames that leave by an interface the knob names, or by none there is.
///
/// # Panics
/// As [`drive`], and when a tag changes more than it should.
pub fn dot1q_push(data: &[u8]) {
    let (interfaces, subs) = shared();
    let shape = |knob: u8, _: &mut Vec<u8>, meta: &mut Meta| {
        meta.interface = IfIndex(u16::from(knob & 7));
    };
    let node = Dot1qPush::new(interfaces, subs);
    drive(Harness::new(node), data, shape, |_, outcome| {
        for sent in &outcome.sent {
            assert!(sent.frame.octets.len() >= 14);
            assert!(sent.frame.meta.tags.is_empty());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::fuzzing::replay;

    #[test]
    #[cfg_attr(miri, ignore = "reads the corpora")]
    fn the_corpora_pass() {
        replay("dot1q_demux", dot1q_demux);
        replay("dot1q_push", dot1q_push);
    }

    #[test]
    fn every_kind_of_sub_interface_is_there() {
        let (_, subs) = shared();
        let made = (1..INTERFACES).filter(|at| subs.borrow().encapsulation(IfIndex(*at)).is_some());
        assert_eq!(made.count(), 5);
    }
}
