use std::collections::VecDeque;

use dataplane::{Checksum, Segmentation};
use proptest::prelude::*;

use super::*;
use crate::testing::FakeWire;

const SMALL: Geometry = Geometry {
    block_len: 4096,
    blocks: 1,
    slot_len: 512,
};

fn send(turn: &mut TxTurn<'_>, fill: u8, len: usize) -> bool {
    let Some(mut frame) = turn.alloc(len) else {
        return false;
    };
    frame.octets_mut().fill(fill);
    turn.transmit(frame).is_ok()
}

fn octets(wire: &FakeWire) -> Vec<Vec<u8>> {
    wire.take_sent().into_iter().map(|s| s.octets).collect()
}

#[test]
fn frames_built_in_slots_leave_in_order_with_one_kick() {
    for vnet in [false, true] {
        let (wire, mut ring) = FakeWire::new(SMALL, vnet);
        let mut turn = ring.turn();
        assert!(send(&mut turn, 1, 60) && send(&mut turn, 2, 61));
        assert!(octets(&wire).is_empty());
        drop(turn);
        assert_eq!(octets(&wire), [vec![1; 60], vec![2; 61]]);
        assert_eq!((ring.counters().frames, ring.counters().kicks), (2, 1));
        assert!(!ring.pending());
    }
}

#[test]
fn an_empty_turn_kicks_nobody() {
    let (_wire, mut ring) = FakeWire::new(SMALL, true);
    drop(ring.turn());
    assert_eq!(ring.counters(), TxCounters::default());
}

#[test]
fn a_frame_may_begin_anywhere_in_its_slot() {
    for vnet in [false, true] {
        let (wire, mut ring) = FakeWire::new(SMALL, vnet);
        let mut turn = ring.turn();
        let mut frame = turn.alloc(40).unwrap();
        assert!(frame.headroom() >= HEADROOM);
        frame.octets_mut().fill(3);
        assert!(frame.push_front(18));
        frame.octets_mut()[..18].fill(4);
        turn.transmit(frame).unwrap();
        // All of the headroom pushed: nothing is left for the virtio_net_hdr, so it is copied.
        let mut frame = turn.alloc(40).unwrap();
        let all = frame.headroom();
        assert!(frame.push_front(all));
        frame.octets_mut().fill(5);
        turn.transmit(frame).unwrap();
        drop(turn);
        let sent = octets(&wire);
        assert_eq!(sent[0], [vec![4; 18], vec![3; 40]].concat());
        assert_eq!(sent[1], vec![5; 40 + all]);
    }
}

#[test]
fn slots_not_used_never_stand_in_the_way() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    for round in 0..20u8 {
        let mut turn = ring.turn();
        let unused = turn.alloc(60).unwrap();
        assert!(send(&mut turn, round, 60));
        let _ = (unused, turn.alloc(60).unwrap());
        assert!(send(&mut turn, round, 61));
        let _ = turn.alloc(60).unwrap();
        drop(turn);
        assert_eq!(octets(&wire), [vec![round; 60], vec![round; 61]]);
    }
    assert_eq!((ring.counters().skipped, wire.skipped()), (40, 40));
    assert!(!ring.pending());
}

#[test]
fn frames_from_elsewhere_are_copied() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    let mut memory = [7u8; 100];
    let mut turn = ring.turn();
    let foreign = Frame::new(&mut memory, 20, 60);
    turn.transmit(foreign).unwrap();
    drop(turn);
    assert_eq!(octets(&wire), [vec![7; 60]]);
    assert_eq!((ring.counters().frames, ring.counters().copied), (1, 1));
}

#[test]
fn a_frame_that_claims_a_slot_it_is_not_in_is_copied() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    let mut memory = [7u8; 100];
    let mut turn = ring.turn();
    let mut real = turn.alloc(60).unwrap();
    let number = real.slot().unwrap();
    turn.transmit(Frame::in_slot(&mut memory, 20, 60, number))
        .unwrap();
    real.octets_mut().fill(1);
    turn.transmit(real).unwrap();
    drop(turn);
    assert_eq!(octets(&wire), [vec![1; 60], vec![7; 60]]);
}

#[test]
fn more_frames_than_slots_leave_in_one_turn() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    let mut turn = ring.turn();
    for n in 0..100u8 {
        assert!(send(&mut turn, n, 60), "{n}");
    }
    drop(turn);
    let sent = octets(&wire);
    assert_eq!(sent.len(), 100);
    assert!((0..100).all(|n| sent[usize::from(n)] == vec![n; 60]));
    assert_eq!(ring.counters().ring_full, 0);
}

#[test]
fn a_full_ring_refuses_and_loses_nothing() {
    for error in [
        KickError::QueueFull,
        KickError::SendBufferFull,
        KickError::LinkDown,
    ] {
        let (wire, mut ring) = FakeWire::new(SMALL, true);
        wire.limit(Some((3, error)));
        let mut turn = ring.turn();
        let accepted = (0..20u8).filter(|n| send(&mut turn, *n, 60)).count();
        drop(turn);
        assert_eq!(accepted, 8 + 3);
        assert_eq!(ring.counters().ring_full, 9);
        assert!(ring.pending());
        wire.limit(None);
        drop(ring.turn());
        assert!(!ring.pending());
        let expected: Vec<_> = (0..11u8).map(|n| vec![n; 60]).collect();
        assert_eq!(octets(&wire), expected);
    }
}

#[test]
fn a_link_that_flapped_is_kicked_twice() {
    struct Flapped(FakeWire, bool);
    impl Kick for Flapped {
        fn kick(&mut self, tag: Option<EtherType>) -> Result<(), KickError> {
            if std::mem::replace(&mut self.1, false) {
                return Err(KickError::LinkDown);
            }
            self.0.kick(tag)
        }
    }
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    ring.kick = Box::new(Flapped(wire.clone(), true));
    assert!(send(&mut ring.turn(), 1, 60));
    assert_eq!(octets(&wire), [vec![1; 60]]);
    assert_eq!((ring.counters().link_down, ring.counters().kicks), (1, 2));
}

#[test]
fn a_slot_the_kernel_calls_malformed_holds_nothing_up() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    wire.refuse_next();
    let mut turn = ring.turn();
    assert!(send(&mut turn, 1, 60) && send(&mut turn, 2, 60));
    drop(turn);
    for _ in 0..3 {
        drop(ring.turn());
    }
    assert_eq!(octets(&wire), [vec![2; 60]]);
    assert_eq!((ring.counters().wrong_format, wire.skipped()), (1, 1));
    assert!(!ring.pending());
}

#[test]
fn slots_on_their_way_are_not_handed_out() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    wire.set_lazy(true);
    let mut turn = ring.turn();
    let accepted = (0..20u8).filter(|n| send(&mut turn, *n, 60)).count();
    drop(turn);
    assert_eq!((accepted, octets(&wire).len()), (8, 8));
    assert!(!ring.pending());
    assert!(ring.turn().alloc(60).is_none());
    wire.complete();
    assert!(ring.turn().alloc(60).is_some());
}

#[test]
fn an_oversize_frame_never_enters_the_ring() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    ring.set_mtu(300);
    let mut turn = ring.turn();
    assert!(send(&mut turn, 1, 314));
    assert!(!send(&mut turn, 2, 315));
    drop(turn);
    assert_eq!(octets(&wire), [vec![1; 314]]);
    assert_eq!(ring.counters().oversize, 1);
}

#[test]
fn one_tag_does_not_count_towards_the_mtu() {
    // TPIDs inline, the longest frame with offloads, and without.
    for (tpids, with, without) in [
        (&[][..], 314, 314),
        (&[0x8100], 318, 318),
        (&[0x88a8], 318, 314),
        (&[0x88a8, 0x8100], 318, 314),
        (&[0x8100, 0x8100], 318, 318),
    ] {
        for (vnet, longest) in [(true, with), (false, without)] {
            let (_wire, mut ring) = FakeWire::new(SMALL, vnet);
            ring.set_mtu(300);
            let mut turn = ring.turn();
            for len in [longest, longest + 1] {
                let mut frame = turn.alloc(len).unwrap();
                frame.octets_mut().fill(0);
                for (at, tpid) in tpids.iter().enumerate() {
                    let tpid: u16 = *tpid;
                    frame.octets_mut()[12 + 4 * at..][..2].copy_from_slice(&tpid.to_be_bytes());
                }
                assert_eq!(
                    turn.transmit(frame).is_ok(),
                    len == longest,
                    "{tpids:x?} {vnet}"
                );
            }
        }
    }
}

#[test]
fn a_shrunken_mtu_throws_waiting_frames_out() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    wire.limit(Some((0, KickError::QueueFull)));
    let mut turn = ring.turn();
    assert!(send(&mut turn, 1, 315) && send(&mut turn, 2, 100));
    drop(turn);
    ring.set_mtu(300);
    wire.limit(None);
    drop(ring.turn());
    assert_eq!(octets(&wire), [vec![2; 100]]);
    assert_eq!((ring.counters().oversize, wire.skipped()), (1, 1));
}

#[test]
fn what_is_longer_than_a_slot_is_not_handed_out() {
    let (_wire, mut ring) = FakeWire::new(SMALL, true);
    let mut turn = ring.turn();
    assert!(turn.alloc(512 - 90).is_some());
    assert!(turn.alloc(512 - 89).is_none());
}

/// An Ethernet, IPv4 and TCP frame with one tag inline, its checksum and segments left open.
fn super_segment(frame: &mut Frame<'_>) {
    let at = frame.offset();
    let octets = frame.octets_mut();
    octets.fill(0);
    octets[12..14].copy_from_slice(&[0x81, 0x00]);
    octets[16..18].copy_from_slice(&[0x08, 0x00]);
    octets[38 + 12] = 0x50;
    frame.meta.checksum = Checksum::Partial {
        start: u16::try_from(at + 38).unwrap(),
        offset: 16,
    };
    frame.meta.segmentation = Some(Segmentation {
        size: 100,
        header_len: 40,
    });
}

#[test]
fn offload_positions_count_from_the_frame() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    let mut turn = ring.turn();
    let mut frame = turn.alloc(400).unwrap();
    super_segment(&mut frame);
    turn.transmit(frame).unwrap();
    drop(turn);
    let sent = wire.take_sent();
    let header = vnet::Header {
        flags: 1,
        gso_type: 1,
        hdr_len: 58,
        gso_size: 100,
        csum_start: 38,
        csum_offset: 16,
    };
    assert_eq!(sent[0].vnet, header.to_octets());
}

#[test]
fn short_frames_are_copied_at_once_and_long_ones_lent() {
    let geometry = Geometry {
        blocks: 4,
        slot_len: 4096,
        ..SMALL
    };
    let (wire, mut ring) = FakeWire::new(geometry, true);
    ring.set_mtu(9000);
    let mut turn = ring.turn();
    for len in [60, 2048, 2049] {
        let frame = turn.alloc(len).unwrap();
        turn.transmit(frame).unwrap();
    }
    drop(turn);
    let copied = wire.take_sent();
    let copied = copied
        .iter()
        .map(|sent| vnet::Header::before(&sent.vnet, 10).unwrap().hdr_len);
    assert_eq!(copied.collect::<Vec<_>>(), [60, 2048, 0]);
}

#[test]
fn contradictory_metadata_is_refused() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    let mut turn = ring.turn();
    for change in [
        |m: &mut dataplane::Meta| m.checksum = Checksum::Unverified,
        |m: &mut dataplane::Meta| {
            m.checksum = Checksum::Partial {
                start: 3,
                offset: 16,
            };
        },
        |m: &mut dataplane::Meta| {
            m.checksum = Checksum::Partial {
                start: 400,
                offset: 100,
            };
        },
        |m: &mut dataplane::Meta| {
            m.segmentation = Some(Segmentation {
                size: 0,
                header_len: 40,
            });
        },
        |m: &mut dataplane::Meta| {
            m.segmentation = Some(Segmentation {
                size: 100,
                header_len: 20,
            });
        },
    ] {
        let mut frame = turn.alloc(400).unwrap();
        super_segment(&mut frame);
        change(&mut frame.meta);
        assert!(turn.transmit(frame).is_err());
    }
    drop(turn);
    assert!(octets(&wire).is_empty());
    assert_eq!((ring.counters().invalid, ring.counters().frames), (5, 0));
}

#[test]
fn without_offloads_checksums_are_made_here_and_super_segments_refused() {
    let (wire, mut ring) = FakeWire::new(SMALL, false);
    assert_eq!(ring.offload(), Offload::default());
    let mut turn = ring.turn();
    let mut frame = turn.alloc(400).unwrap();
    super_segment(&mut frame);
    assert!(turn.transmit(frame).is_err());
    for tail in [0, 101] {
        let mut frame = turn.alloc(300).unwrap();
        super_segment(&mut frame);
        frame.meta.segmentation = None;
        frame.attach(vec![bytes::Bytes::from(vec![0xee; tail])]);
        turn.transmit(frame).unwrap();
    }
    drop(turn);
    let sent = octets(&wire);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [300, 401]);
    for octets in sent {
        assert_eq!(checksum::of(&octets[38..]), 0);
    }
}

#[test]
fn a_leaked_turn_is_settled_by_the_next() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    let mut turn = ring.turn();
    let _ = turn.alloc(60);
    assert!(send(&mut turn, 1, 60));
    #[expect(clippy::mem_forget, reason = "leaking is what is tested")]
    std::mem::forget(turn);
    assert!(send(&mut ring.turn(), 2, 60));
    assert_eq!(octets(&wire), [vec![1; 60], vec![2; 60]]);
}

/// Operations of one random run; Miri takes its time.
const OPS_MAX: usize = if cfg!(miri) { 12 } else { 80 };

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Hand out, fill, transmit.
    Send(usize),
    /// Hand out, and transmit later in the turn, or never.
    Keep,
    TransmitKept,
    Flush,
    EndTurn,
    Limit(Option<usize>),
    Lazy(bool),
    Complete,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (14usize..400).prop_map(Op::Send),
        3 => Just(Op::Keep),
        2 => Just(Op::TransmitKept),
        1 => Just(Op::Flush),
        4 => Just(Op::EndTurn),
        1 => proptest::option::of(0usize..6).prop_map(Op::Limit),
        1 => any::<bool>().prop_map(Op::Lazy),
        2 => Just(Op::Complete),
    ]
}

/// What was accepted is what is sent: all of it, once, in the order of its slots.
fn check(vnet: bool, ops: &[Op]) {
    let (wire, mut ring) = FakeWire::new(SMALL, vnet);
    let mut ops: VecDeque<Op> = ops.iter().copied().collect();
    let (mut serial, mut expected) = (0u32, Vec::new());
    while !ops.is_empty() {
        let mut turn = ring.turn();
        let mut kept = Vec::new();
        let mut accepted = Vec::new();
        while let Some(op) = ops.pop_front() {
            match op {
                Op::Send(len) => {
                    if let Some(mut frame) = turn.alloc(len) {
                        serial += 1;
                        frame.octets_mut().fill(serial.to_be_bytes()[3]);
                        let octets = frame.octets().to_vec();
                        turn.transmit(frame).unwrap();
                        accepted.push((serial, octets));
                    }
                }
                Op::Keep => {
                    if let Some(mut frame) = turn.alloc(20) {
                        serial += 1;
                        frame.octets_mut().fill(serial.to_be_bytes()[3]);
                        kept.push((serial, frame));
                    }
                }
                Op::TransmitKept => {
                    if let Some((serial, frame)) = kept.pop() {
                        let octets = frame.octets().to_vec();
                        turn.transmit(frame).unwrap();
                        accepted.push((serial, octets));
                    }
                }
                Op::Flush => turn.flush(),
                Op::Limit(frames) => wire.limit(frames.map(|n| (n, KickError::QueueFull))),
                Op::Lazy(lazy) => wire.set_lazy(lazy),
                Op::Complete => wire.complete(),
                Op::EndTurn => break,
            }
        }
        for (serial, frame) in &kept {
            assert_eq!(frame.octets()[0], serial.to_be_bytes()[3]);
        }
        accepted.sort_unstable();
        expected.extend(accepted.into_iter().map(|(_, octets)| octets));
    }
    wire.limit(None);
    wire.set_lazy(false);
    for _ in 0..3 {
        wire.complete();
        drop(ring.turn());
    }
    assert_eq!(octets(&wire), expected);
    assert!(!ring.pending());
    assert_eq!(ring.counters().frames, expected.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_accepted_is_sent_once_and_in_order(
        vnet: bool, ops in proptest::collection::vec(op(), 1..OPS_MAX)
    ) {
        check(vnet, &ops);
    }

    #[test]
    fn arbitrary_metadata_never_makes_a_frame_the_kernel_refuses(
        octets in proptest::collection::vec(any::<u8>(), 14..200),
        (start, offset, size, header_len) in any::<(u16, u16, u16, u16)>(),
        segmented: bool,
    ) {
        let (wire, mut ring) = FakeWire::new(SMALL, true);
        let mut memory = octets.clone();
        let mut frame = Frame::new(&mut memory, 0, octets.len());
        frame.meta.checksum = Checksum::Partial { start: start % 256, offset: offset % 256 };
        frame.meta.segmentation = segmented.then_some(Segmentation {
            size,
            header_len: header_len % 256,
        });
        let accepted = ring.turn().transmit(frame).is_ok();
        let sent = wire.take_sent();
        prop_assert_eq!(sent.len(), usize::from(accepted));
        for sent in sent {
            prop_assert_eq!(&sent.octets, &octets);
            let header = vnet::Header::before(&sent.vnet, 10).unwrap();
            let field = usize::from(header.csum_start) + usize::from(header.csum_offset);
            prop_assert!(field + 2 <= octets.len());
            prop_assert!(usize::from(header.hdr_len) <= octets.len());
        }
    }
}

#[test]
fn ether_types_are_found_behind_tags() {
    let mut octets = [0u8; 30];
    octets[12..14].copy_from_slice(&[0x88, 0xa8]);
    octets[16..18].copy_from_slice(&[0x81, 0x00]);
    octets[20..22].copy_from_slice(&[0x86, 0xdd]);
    assert_eq!(vnet::link_header(&octets), (22, EtherType::IPV6));
    assert_eq!(vnet::link_header(&octets[..10]), (14, EtherType::default()));
}

/// A super-segment: 54 octets of headers, then a tail of two pieces.
fn gather(turn: &mut TxTurn<'_>, fill: u8, tail: usize) -> bool {
    let Some(mut frame) = turn.alloc(54) else {
        return false;
    };
    frame.octets_mut().fill(fill);
    frame.octets_mut()[12..14].copy_from_slice(&[0x08, 0x00]);
    frame.meta.checksum = Checksum::Partial {
        start: u16::try_from(frame.offset() + 34).unwrap(),
        offset: 16,
    };
    frame.meta.segmentation = Some(Segmentation {
        size: 100,
        header_len: 40,
    });
    let piece = bytes::Bytes::from(vec![fill; tail / 2]);
    frame.attach(vec![piece.clone(), piece]);
    turn.transmit(frame).is_ok()
}

/// The first octet and the length of each frame that was sent.
fn told(wire: &FakeWire) -> Vec<(u8, usize)> {
    let sent = octets(wire).into_iter();
    sent.map(|octets| (octets[0], octets.len())).collect()
}

#[test]
fn a_frame_with_a_tail_leaves_past_the_ring_in_its_turn() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    let mut turn = ring.turn();
    assert!(turn.gathers());
    assert!(send(&mut turn, 1, 60));
    assert!(gather(&mut turn, 2, 200));
    // At once, and what was before it.
    assert_eq!(told(&wire), [(1, 60), (2, 254)]);
    assert!(gather(&mut turn, 3, 300) && send(&mut turn, 4, 61) && gather(&mut turn, 5, 200));
    drop(turn);
    assert_eq!(told(&wire), [(3, 354), (4, 61), (5, 254)]);
    let counters = ring.counters();
    assert_eq!((counters.frames, counters.gathered), (5, 3));
    assert!(!ring.pending());
    // Spent slots are free again, or the kernel has skipped them.
    for round in 0..20 {
        let mut turn = ring.turn();
        for _ in 0..6 {
            assert!(gather(&mut turn, round, 200));
        }
        drop(turn);
        assert_eq!(told(&wire), vec![(round, 254); 6]);
    }
}

#[test]
fn more_frames_with_tails_than_slots_leave_in_one_turn() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    let mut turn = ring.turn();
    for _ in 0..50 {
        assert!(gather(&mut turn, 1, 200));
    }
    assert!(send(&mut turn, 2, 60));
    drop(turn);
    let sent = told(&wire);
    assert_eq!((sent.len(), sent[50]), (51, (2, 60)));
    assert!(!ring.pending());
}

#[test]
fn a_full_send_buffer_puts_the_tail_into_the_slot_and_keeps_the_order() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    wire.limit(Some((1, KickError::SendBufferFull)));
    let mut turn = ring.turn();
    assert!(send(&mut turn, 1, 60) && send(&mut turn, 2, 60));
    // The second frame stays in the ring, so this one must go behind it.
    assert!(gather(&mut turn, 3, 200) && gather(&mut turn, 4, 200));
    drop(turn);
    assert_eq!(told(&wire), [(1, 60)]);
    assert!(ring.pending());
    wire.limit(None);
    drop(ring.turn());
    assert_eq!(told(&wire), [(2, 60), (3, 254), (4, 254)]);
    assert_eq!(ring.counters().gathered, 0);
    // Too long for its slot as well: it is the sender's again.
    wire.limit(Some((0, KickError::SendBufferFull)));
    assert!(!gather(&mut ring.turn(), 5, 600));
}

/// A frame of 60 octets that begins with this EtherType, its last octet `mark`.
fn send_behind(turn: &mut TxTurn<'_>, ether_type: u16, mark: u8) {
    let mut frame = turn.alloc(60).unwrap();
    frame.octets_mut().fill(0);
    frame.octets_mut()[12..14].copy_from_slice(&ether_type.to_be_bytes());
    frame.octets_mut()[59] = mark;
    turn.transmit(frame).unwrap();
}

/// The marks and the tags of what was sent.
fn marks(wire: &FakeWire) -> Vec<(u8, Option<EtherType>)> {
    let sent = wire.take_sent().into_iter();
    sent.map(|sent| (sent.octets[59], sent.tag)).collect()
}

#[test]
fn the_kernel_is_told_the_outermost_tag_of_every_frame() {
    let (ctag, stag) = (Some(EtherType::CTAG), Some(EtherType::STAG));
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    let mut turn = ring.turn();
    let types = [0x8100, 0x8100, 0x0800, 0x0806, 0x88a8, 0x8100];
    for (mark, ether_type) in (1..).zip(types) {
        send_behind(&mut turn, ether_type, mark);
    }
    // Built, and not sent: it stands between none.
    drop(turn.alloc(60).unwrap());
    drop(turn);
    let all = [ctag, ctag, None, None, stag, ctag];
    assert_eq!(marks(&wire), (1..).zip(all).collect::<Vec<_>>());
    assert_eq!(ring.counters().kicks, 4);
    assert!(!ring.pending());
}

#[test]
fn frames_behind_another_tag_wait_for_those_before_them() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    wire.limit(Some((1, KickError::QueueFull)));
    let mut turn = ring.turn();
    send_behind(&mut turn, 0x8100, 1);
    send_behind(&mut turn, 0x8100, 2);
    send_behind(&mut turn, 0x0800, 3);
    drop(turn);
    assert_eq!(marks(&wire), [(1, Some(EtherType::CTAG))]);
    send_behind(&mut ring.turn(), 0x8100, 4);
    assert!(ring.pending());
    wire.limit(None);
    drop(ring.turn());
    let ctag = Some(EtherType::CTAG);
    assert_eq!(marks(&wire), [(2, ctag), (3, None), (4, ctag)]);
    assert!(!ring.pending());
}

#[test]
fn a_super_segment_the_kernel_refuses_holds_nothing_up() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    wire.set_whole(true);
    assert!(ring.offload().segmentation_max > 0);
    let mut turn = ring.turn();
    send_behind(&mut turn, 0x8100, 1);
    for _ in 0..2 {
        let mut frame = turn.alloc(400).unwrap();
        super_segment(&mut frame);
        turn.transmit(frame).unwrap();
    }
    send_behind(&mut turn, 0x0800, 2);
    drop(turn);
    assert_eq!(marks(&wire), [(1, Some(EtherType::CTAG)), (2, None)]);
    assert!(!ring.pending());
    assert_eq!(ring.counters().refused, 2);
    assert_eq!(ring.offload().segmentation_max, 0);
    assert!(ring.offload().checksum, "that is another matter");
    let mut turn = ring.turn();
    let mut late = turn.alloc(400).unwrap();
    super_segment(&mut late);
    assert!(turn.transmit(late).is_err(), "made before it was known");
    drop(turn);
    assert_eq!(ring.counters().refused, 3);
}

#[test]
#[cfg_attr(miri, ignore = "thousands of turns")]
fn after_a_refusal_super_segments_are_tried_again_ever_later() {
    let (wire, mut ring) = FakeWire::new(SMALL, true);
    let mut waited = Vec::new();
    for turns in 0..7200 {
        wire.set_whole(turns < 4000);
        let mut turn = ring.turn();
        let mut frame = turn.alloc(400).unwrap();
        super_segment(&mut frame);
        if turn.offload().segmentation_max > 0 {
            turn.transmit(frame).unwrap();
            waited.push(turns);
        } else {
            send_behind(&mut turn, 0x8100, 1);
        }
        drop(turn);
        assert!(!ring.pending());
        wire.take_sent();
    }
    let rests: Vec<i32> = waited.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let rest = i32::try_from(REST_MIN).unwrap();
    assert_eq!(rests[..3], [rest + 1, 2 * rest + 1, 4 * rest + 1]);
    assert_eq!(ring.counters().refused, 3);
    assert!(rests.len() > 20 && rests[3..].iter().all(|rest| *rest == 1));
}
