use super::*;
use crate::VlanId;
use proptest::prelude::*;

const PORT: IfIndex = IfIndex(0);

fn outer(tpid: Tpid, vid: u16) -> OuterTag {
    let vid = VlanId::new(vid).unwrap();
    OuterTag { tpid, vid }
}

fn table() -> SubInterfaces {
    let mut table = SubInterfaces::default();
    table.add_port(PORT).unwrap();
    table
}

fn tag(tpid: Tpid, tci: u16) -> Tag {
    let tpid = tpid.ether_type();
    Tag { tpid, tci }
}

fn tags(list: &[Tag]) -> Tags {
    list.iter().copied().collect()
}

#[test]
fn the_most_specific_match_wins() {
    let mut table = table();
    let o = outer(Tpid::Dot1q, 100);
    let inner = VlanId::new(200).unwrap();
    let matches = [
        Match::Default,
        Match::Single {
            outer: o,
            exact: false,
        },
        Match::InnerAny { outer: o },
        Match::Double { outer: o, inner },
    ];
    let both = tags(&[tag(Tpid::Dot1q, 100), tag(Tpid::Dot1q, 200)]);
    for (index, matches) in (1..).zip(matches) {
        table.add(PORT, IfIndex(index), matches).unwrap();
        assert_eq!(table.find(PORT, both), Ok(IfIndex(index)), "{matches}");
    }
    let one = tags(&[tag(Tpid::Dot1q, 100)]);
    assert_eq!(table.find(PORT, one), Ok(IfIndex(2)));
}

#[test]
fn an_exact_match_does_not_take_frames_with_a_second_tag() {
    let mut table = table();
    let vid = VlanId::new(123).unwrap();
    table.add(PORT, IfIndex(1), Match::dot1q(vid)).unwrap();
    let two = tags(&[tag(Tpid::Dot1q, 123), tag(Tpid::Dot1q, 5)]);
    assert_eq!(table.find(PORT, two), Err(NoMatch::UnknownQinq));
    let other = tags(&[tag(Tpid::Dot1q, 124), tag(Tpid::Dot1q, 5)]);
    assert_eq!(table.find(PORT, other), Err(NoMatch::UnknownVid));
    let service = tags(&[tag(Tpid::Dot1ad, 123)]);
    assert_eq!(table.find(PORT, service), Err(NoMatch::UnknownVid));
}

#[test]
fn priority_tags_count_as_absent_wherever_they_stand() {
    let mut table = table();
    let vid = VlanId::new(123).unwrap();
    table.add(PORT, IfIndex(1), Match::dot1q(vid)).unwrap();
    table.add(PORT, IfIndex(2), Match::Untagged).unwrap();
    let priority = tag(Tpid::Dot1q, 0xe000);
    let real = tag(Tpid::Dot1q, 0x607b);
    for (list, expected) in [
        (&[][..], 2),
        (&[priority], 2),
        (&[priority, priority], 2),
        (&[priority, real], 1),
        (&[real, priority], 1),
    ] {
        assert_eq!(
            table.find(PORT, tags(list)),
            Ok(IfIndex(expected)),
            "{list:?}"
        );
    }
}

#[test]
fn the_port_takes_untagged_frames_when_told_to_and_after_an_untagged_sub_interface() {
    let mut table = table();
    assert_eq!(table.find(PORT, Tags::NONE), Err(NoMatch::Untagged));
    table.take_untagged(PORT, true).unwrap();
    assert_eq!(table.find(PORT, Tags::NONE), Ok(PORT));
    table.add(PORT, IfIndex(7), Match::Untagged).unwrap();
    assert_eq!(table.find(PORT, Tags::NONE), Ok(IfIndex(7)));
    assert_eq!(table.remove(IfIndex(7)), Some(Match::Untagged));
    assert_eq!(table.find(PORT, Tags::NONE), Ok(PORT));
}

#[test]
fn duplicates_are_refused_with_a_sentence_and_change_nothing() {
    let mut table = table();
    let o = outer(Tpid::Dot1q, 123);
    let exact = Match::Single {
        outer: o,
        exact: true,
    };
    table.add(PORT, IfIndex(1), exact).unwrap();
    let loose = Match::Single {
        outer: o,
        exact: false,
    };
    for wanted in [exact, loose] {
        let refused = table.add(PORT, IfIndex(2), wanted).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("`{wanted}` is taken by sub-interface number 1; delete that first")
        );
    }
    let again = table.add(PORT, IfIndex(1), Match::Untagged);
    assert_eq!(again, Err(SubInterfaceError::InterfaceExists));
    assert_eq!(
        table.add_port(IfIndex(1)),
        Err(SubInterfaceError::PortExists)
    );
    let elsewhere = table.add(IfIndex(9), IfIndex(2), Match::Untagged);
    assert_eq!(elsewhere, Err(SubInterfaceError::UnknownPort));
    let high = table.add(PORT, IfIndex(u16::MAX), Match::Untagged);
    assert_eq!(high, Err(SubInterfaceError::TooManyInterfaces));
    assert_eq!(
        table.iter().collect::<Vec<_>>(),
        [(IfIndex(1), PORT, exact)]
    );
}

#[test]
fn removing_a_port_removes_its_sub_interfaces() {
    let mut table = table();
    table.add_port(IfIndex(10)).unwrap();
    table.add(PORT, IfIndex(1), Match::Untagged).unwrap();
    table
        .add(IfIndex(10), IfIndex(11), Match::Untagged)
        .unwrap();
    assert!(table.remove_port(PORT));
    assert!(!table.remove_port(PORT));
    assert_eq!(table.encapsulation(IfIndex(1)), None);
    assert_eq!(table.find(IfIndex(10), Tags::NONE), Ok(IfIndex(11)));
}

/// The table's rules as one search over a list, the precedence spelled out.
fn model(list: &[(IfIndex, Match)], wire: &[Tag]) -> Option<IfIndex> {
    let real: Vec<Tag> = wire.iter().copied().filter(|tag| tag.vid() != 0).collect();
    let is = |outer: OuterTag, tag: Tag| {
        outer.tpid.ether_type() == tag.tpid && outer.vid.get() == tag.vid()
    };
    let rank = |matches: Match| match (matches, &real[..]) {
        (Match::Double { outer, inner }, [o, i]) => {
            (is(outer, *o) && i.tpid == EtherType::CTAG && i.vid() == inner.get()).then_some(0)
        }
        (Match::InnerAny { outer }, [o, i]) => {
            (is(outer, *o) && i.tpid == EtherType::CTAG).then_some(1)
        }
        (Match::Single { outer, exact }, [o, inner @ ..]) => {
            (is(outer, *o) && (inner.is_empty() || !exact)).then_some(2)
        }
        (Match::Untagged, []) => Some(3),
        (Match::Default, _) => Some(4),
        _ => None,
    };
    let ranked = list
        .iter()
        .filter_map(|(index, m)| Some((rank(*m)?, *index)));
    ranked.min().map(|(_, index)| index)
}

fn any_tpid() -> impl Strategy<Value = Tpid> {
    prop_oneof![Just(Tpid::Dot1q), Just(Tpid::Dot1ad)]
}

fn any_match() -> impl Strategy<Value = Match> {
    let outer = || (any_tpid(), 1u16..5).prop_map(|(tpid, vid)| outer(tpid, vid));
    let inner = (1u16..5).prop_map(|vid| VlanId::new(vid).unwrap());
    prop_oneof![
        Just(Match::Untagged),
        Just(Match::Default),
        (outer(), any::<bool>()).prop_map(|(outer, exact)| Match::Single { outer, exact }),
        (outer(), inner).prop_map(|(outer, inner)| Match::Double { outer, inner }),
        outer().prop_map(|outer| Match::InnerAny { outer }),
    ]
}

proptest! {
    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn finding_agrees_with_a_plain_search_through_adds_and_removes(
        operations in prop::collection::vec((any::<bool>(), 1u16..12, any_match()), 0..40),
        wires in prop::collection::vec(
            prop::collection::vec((any_tpid(), 0u16..6, 0u16..8), 0..3), 0..40),
    ) {
        let mut table = table();
        let mut list: Vec<(IfIndex, Match)> = Vec::new();
        for (add, index, matches) in operations {
            let index = IfIndex(index);
            if add {
                let free = list.iter().all(|(held, m)| {
                    let single = |m: Match| match m {
                        Match::Single { outer, .. } => Some(outer),
                        _ => None,
                    };
                    let same_tag = single(*m).is_some() && single(*m) == single(matches);
                    *held != index && *m != matches && !same_tag
                });
                prop_assert_eq!(table.add(PORT, index, matches).is_ok(), free);
                if free {
                    list.push((index, matches));
                }
            } else {
                let held = list.iter().find(|(held, _)| *held == index).map(|(_, m)| *m);
                prop_assert_eq!(table.remove(index), held);
                list.retain(|(held, _)| *held != index);
            }
        }
        for wire in wires {
            let wire: Vec<Tag> =
                wire.iter().map(|(tpid, vid, pcp)| tag(*tpid, vid | (pcp << 13))).collect();
            prop_assert_eq!(table.find(PORT, tags(&wire)).ok(), model(&list, &wire));
        }
    }
}
