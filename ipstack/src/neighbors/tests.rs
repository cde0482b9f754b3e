use super::*;
use bytes::Bytes;
use proptest::prelude::*;

const SUB: IfIndex = IfIndex(1);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn state(table: &Neighbors, now: Duration) -> Option<NeighborState> {
    let list = table.list(now);
    list.iter()
        .find(|one| one.address == PEER)
        .map(|one| one.state)
}

fn keep(table: &mut Neighbors, slot: NeighborSlot, len: usize) -> Kept {
    let mut memory = vec![7; len];
    table.keep(slot, &Frame::new(&mut memory, 0, len))
}

#[test]
fn a_silent_neighbor_is_asked_three_times_a_second_apart_and_given_up() {
    let mut table = Neighbors::default();
    let slot = table.ask(at(0), SUB, PEER).unwrap();
    assert_eq!(keep(&mut table, slot, 100), Kept::Waits);
    for second in [1, 2] {
        assert!(
            table
                .next_due(at(second).saturating_sub(Duration::from_nanos(1)))
                .is_none()
        );
        assert!(matches!(
            table.next_due(at(second)),
            Some(Due::Request(SUB, PEER))
        ));
        assert!(table.next_due(at(second)).is_none());
    }
    assert!(matches!(
        table.next_due(at(3)),
        Some(Due::GaveUp(SUB, true))
    ));
    assert!(table.is_empty() && table.timers.is_empty());
    assert_eq!((table.pending_octets, table.deadline()), (0, None));
}

#[test]
fn a_packet_with_a_tail_waits_whole_and_one_too_large_with_it_is_refused() {
    let mut table = Neighbors::default();
    let slot = table.ask(at(0), SUB, PEER).unwrap();
    let mut memory = [7; 40];
    let mut frame = Frame::new(&mut memory, 0, 40);
    frame.attach(vec![Bytes::from(vec![8; PENDING_PACKET_MAX])]);
    assert_eq!(table.keep(slot, &frame), Kept::Refused);
    frame.attach(vec![
        Bytes::from_static(b"the "),
        Bytes::from_static(b"tail"),
    ]);
    assert_eq!(table.keep(slot, &frame), Kept::Waits);
    assert_eq!(table.pending_octets, 48);
    assert!(table.learn_from_answer(at(0), SUB, PEER, MAC));
    let (_, _, pending) = table.take_ready().unwrap();
    assert_eq!(pending.octets, [&[7; 40][..], b"the tail"].concat());
    assert_eq!(table.pending_octets, 0);
}

#[test]
fn a_neighbor_ages_as_rfc_4861_has_it() {
    use NeighborState::{Delay, Incomplete, Probe, Reachable, Stale};
    let mut table = Neighbors::default();
    table.ask(at(0), SUB, PEER).unwrap();
    assert_eq!(state(&table, at(0)), Some(Incomplete));
    assert!(table.learn_from_answer(at(0), SUB, PEER, MAC));
    assert_eq!(state(&table, at(29)), Some(Reachable));
    assert_eq!(table.deadline(), None);
    assert_eq!(state(&table, at(30)), Some(Stale));
    assert_eq!(table.find(at(40), SUB, PEER), Some(Found::Known(MAC)));
    assert_eq!(state(&table, at(40)), Some(Delay));
    for second in [45, 46, 47] {
        assert!(matches!(
            table.next_due(at(second)),
            Some(Due::Probe(SUB, PEER, MAC))
        ));
        assert_eq!(state(&table, at(second)), Some(Probe));
        assert_eq!(table.find(at(second), SUB, PEER), Some(Found::Known(MAC)));
    }
    let mut answered = table;
    assert!(answered.learn_from_answer(at(47), SUB, PEER, MAC));
    assert_eq!(state(&answered, at(76)), Some(Reachable));
    assert!(answered.next_due(at(48)).is_none());
}

#[test]
fn a_stale_neighbor_that_does_not_answer_probes_is_given_up() {
    let mut table = Neighbors::default();
    assert!(table.learn_from_request(at(0), SUB, PEER, MAC));
    table.find(at(0), SUB, PEER);
    for second in [5, 6, 7] {
        assert!(matches!(table.next_due(at(second)), Some(Due::Probe(..))));
    }
    assert!(matches!(
        table.next_due(at(8)),
        Some(Due::GaveUp(SUB, false))
    ));
    assert!(table.is_empty());
}

#[test]
fn the_latest_packet_waits_and_goes_once_the_neighbor_is_known() {
    let mut table = Neighbors::default();
    let slot = table.ask(at(0), SUB, PEER).unwrap();
    assert_eq!(keep(&mut table, slot, 100), Kept::Waits);
    assert_eq!(keep(&mut table, slot, 60), Kept::Replaced);
    assert_eq!(
        keep(&mut table, slot, PENDING_PACKET_MAX + 1),
        Kept::Refused
    );
    assert!(table.take_ready().is_none());
    assert!(table.learn_from_request(at(0), SUB, PEER, MAC));
    assert_eq!(table.deadline(), Some(Duration::ZERO));
    let (interface, mac, pending) = table.take_ready().unwrap();
    assert_eq!((interface, mac, pending.octets.len()), (SUB, MAC, 60));
    assert!(table.take_ready().is_none());
    assert_eq!((table.pending_octets, table.deadline()), (0, None));
}

#[test]
fn what_waits_is_bounded_in_octets() {
    let mut table = Neighbors::default();
    let mut refused = 0;
    for host in 0..200 {
        let slot = table
            .ask(at(0), SUB, Ipv4Addr::new(10, 0, 1, host))
            .unwrap();
        refused += usize::from(keep(&mut table, slot, PENDING_PACKET_MAX) == Kept::Refused);
        assert!(table.pending_octets <= PENDING_OCTETS_MAX);
    }
    assert_eq!(refused, 200 - PENDING_OCTETS_MAX / PENDING_PACKET_MAX);
}

#[test]
fn a_packet_whose_neighbor_is_removed_is_reported_lost() {
    let mut table = Neighbors::default();
    let slot = table.ask(at(0), SUB, PEER).unwrap();
    assert_eq!(keep(&mut table, slot, 100), Kept::Waits);
    assert!(table.learn_from_request(at(0), SUB, PEER, MAC));
    assert!(table.remove(SUB, PEER));
    assert!(!table.remove(SUB, PEER));
    assert!(table.take_ready().is_none());
    assert_eq!(table.take_lost(), Some(SUB));
    assert_eq!((table.pending_octets, table.deadline()), (0, None));
}

#[test]
fn nothing_heard_changes_a_static_neighbor() {
    let mut table = Neighbors::default();
    assert!(table.set_static(SUB, PEER, MAC));
    let other = MacAddr([6; 6]);
    assert!(table.learn_from_request(at(1), SUB, PEER, other));
    assert!(table.update_known(at(1), SUB, PEER, other));
    assert!(!table.learn_from_answer(at(1), SUB, PEER, other));
    assert_eq!(table.find(at(9999), SUB, PEER), Some(Found::Known(MAC)));
    assert_eq!(table.deadline(), None);
}

fn host(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0100 + number)
}

#[test]
fn a_flood_of_requests_displaces_neither_live_nor_static_nor_gateway() {
    let mut table = Neighbors::default();
    let gateway = host(2);
    table.set_gateways([gateway].into_iter());
    assert!(table.set_static(SUB, host(0), MAC));
    table.ask(at(0), SUB, host(1)).unwrap();
    assert!(table.learn_from_answer(at(0), SUB, host(1), MAC));
    assert!(table.learn_from_request(at(0), SUB, gateway, MAC));
    for number in 3..20_000 {
        table.learn_from_request(at(1), SUB, host(number), MAC);
        assert!(table.len() <= NEIGHBORS_MAX && table.slots.len() <= NEIGHBORS_MAX);
    }
    assert_eq!(table.len(), NEIGHBORS_MAX);
    for number in 0..3 {
        assert_eq!(
            table.find(at(1), SUB, host(number)),
            Some(Found::Known(MAC)),
            "{number}"
        );
    }
}

#[test]
fn a_table_of_live_neighbors_learns_nobody_who_only_speaks_for_himself() {
    let mut table = Neighbors::default();
    for number in 0..u32::try_from(NEIGHBORS_MAX).unwrap() {
        table.ask(at(0), SUB, host(number)).unwrap();
        assert!(table.learn_from_answer(at(0), SUB, host(number), MAC));
    }
    assert!(!table.learn_from_request(at(1), SUB, PEER, MAC));
    assert!(table.ask(at(1), SUB, PEER).is_some());
    assert_eq!(table.len(), NEIGHBORS_MAX);
}

proptest! {
    #[test]
    fn the_table_stays_consistent_whatever_happens(
        operations in prop::collection::vec((0u8..9, 0u32..20, 0u64..4), 0..300),
    ) {
        let mut table = Neighbors::default();
        let mut now = Duration::ZERO;
        for (operation, number, wait) in operations {
            now += Duration::from_millis(wait * 700);
            let (peer, mac) = (host(number), MAC);
            match operation {
                0 => { table.learn_from_request(now, SUB, peer, mac); }
                1 => { table.learn_from_answer(now, SUB, peer, mac); }
                2 => { table.update_known(now, SUB, peer, MacAddr([4; 6])); }
                3 => { table.remove(SUB, peer); }
                4 => { while table.next_due(now).is_some() {} }
                5 => while let Some((_, _, pending)) = table.take_ready() {
                    table.recycle(Some(pending));
                },
                6 => { table.retain(|_, address, _| address != peer); }
                _ => match table.find(now, SUB, peer) {
                    Some(Found::Known(_)) => {}
                    Some(Found::Asked(slot)) => { keep(&mut table, slot, 40); }
                    None => {
                        let slot = table.ask(now, SUB, peer).unwrap();
                        keep(&mut table, slot, 40);
                    }
                },
            }
            let entries = || table.slots.iter().flatten();
            prop_assert_eq!(entries().count(), table.index.len());
            prop_assert_eq!(table.free.len() + table.index.len(), table.slots.len());
            prop_assert_eq!(entries().filter(|e| e.due.is_some()).count(), table.timers.len());
            let octets: usize =
                entries().filter_map(|e| e.pending.as_ref()).map(|p| p.octets.len()).sum();
            prop_assert_eq!(octets, table.pending_octets);
            for entry in entries() {
                let incomplete = entry.state == NeighborState::Incomplete;
                prop_assert!(!incomplete || entry.due.is_some());
                let waits = entry.pending.is_some();
                prop_assert!(!waits || incomplete || !table.ready.is_empty());
            }
        }
    }
}
