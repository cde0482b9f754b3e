use dataplane::{BATCH_MAX, Checksum, EtherType, Meta, Tag};
use proptest::prelude::*;

use super::*;
use crate::testing::{Delivery, FakeKernel};

const V3: Geometry = Geometry {
    block_len: 4096,
    blocks: 3,
    slot_len: 4096,
};
const V2: Geometry = Geometry {
    block_len: 4096,
    blocks: 2,
    slot_len: 1024,
};

/// Octets and metadata of all frames of one turn.
fn take(ring: &mut RxRing) -> Vec<(Vec<u8>, Meta)> {
    let mut turn = ring.turn();
    let mut batch = Batch::new();
    turn.fill(&mut batch);
    let frames = batch.drain();
    frames.map(|f| (f.octets().to_vec(), f.meta)).collect()
}

fn octets(ring: &mut RxRing) -> Vec<Vec<u8>> {
    take(ring).into_iter().map(|(octets, _)| octets).collect()
}

/// Every kind of ring.
fn rings(vnet: bool) -> Vec<(FakeKernel, RxRing)> {
    vec![
        FakeKernel::v2(V2, vnet),
        FakeKernel::v3(V3, vnet, false),
        FakeKernel::v3(V3, vnet, true),
    ]
}

#[test]
fn frames_come_out_whole_and_in_order() {
    for (mut kernel, mut ring) in rings(false) {
        for n in 0..3u8 {
            assert!(kernel.deliver(&Delivery::of(&[n; 60])));
        }
        kernel.close();
        assert!(ring.is_ready());
        assert_eq!(octets(&mut ring), [vec![0; 60], vec![1; 60], vec![2; 60]]);
        assert!(!ring.is_ready());
        assert_eq!(ring.counters().frames, 3);
    }
}

#[test]
fn every_frame_has_headroom() {
    for (mut kernel, mut ring) in rings(true) {
        kernel.deliver(&Delivery::of(&[7; 60]));
        kernel.close();
        let mut turn = ring.turn();
        let mut batch = Batch::new();
        turn.fill(&mut batch);
        let mut frame = batch.drain().next().unwrap();
        assert!(frame.headroom() >= dataplane::HEADROOM);
        assert!(frame.push_front(dataplane::HEADROOM));
        frame.octets_mut().fill(0xa5);
    }
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "blocks are not read early")]
fn a_lone_frame_is_seen_before_its_block_closes_if_read_early() {
    let (mut kernel, mut ring) = FakeKernel::v3(V3, false, true);
    kernel.deliver(&Delivery::of(&[1; 60]));
    assert!(ring.is_ready());
    assert_eq!(octets(&mut ring).len(), 1);
    assert_eq!(ring.counters().early, 1);
    kernel.deliver(&Delivery::of(&[2; 60]));
    kernel.close();
    kernel.deliver(&Delivery::of(&[3; 60]));
    assert_eq!(octets(&mut ring), [vec![2; 60], vec![3; 60]]);
    assert_eq!((ring.counters().frames, ring.counters().early), (3, 2));

    let (mut kernel, mut ring) = FakeKernel::v3(V3, false, false);
    kernel.deliver(&Delivery::of(&[1; 60]));
    assert!(!ring.is_ready());
    assert!(octets(&mut ring).is_empty());
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "blocks are not read early")]
fn what_an_earlier_lap_left_in_a_block_is_not_taken_for_frames() {
    let (mut kernel, mut ring) = FakeKernel::v3(V3, false, true);
    for lap in 0..12u8 {
        // Sizes differ from lap to lap, so old octets lie where headers will.
        let size = 60 + usize::from(lap) * 40;
        let mut sent = 0;
        while sent < 20 {
            assert!(kernel.deliver(&Delivery::of(&vec![lap; size])));
            sent += 1;
            let got = octets(&mut ring);
            assert_eq!(got, [vec![lap; size]]);
        }
    }
    assert_eq!((ring.counters().malformed, ring.counters().holes), (0, 0));
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "blocks are not read early")]
fn a_hole_holds_the_walk_until_the_block_closes() {
    let (mut kernel, mut ring) = FakeKernel::v3(V3, true, true);
    kernel.deliver(&Delivery::of(&[1; 60]));
    kernel.deliver(&Delivery {
        hole: true,
        ..Delivery::of(&[2; 60])
    });
    kernel.deliver(&Delivery::of(&[3; 60]));
    assert_eq!(octets(&mut ring), [vec![1; 60]]);
    assert!(!ring.is_ready());
    kernel.close();
    assert_eq!(octets(&mut ring), [vec![3; 60]]);
    assert_eq!(ring.counters().holes, 1);
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "blocks are not read early")]
fn a_frame_that_is_counted_and_not_yet_written_is_waited_for() {
    let (mut kernel, mut ring) = FakeKernel::v3(V3, false, true);
    // So that an earlier lap's headers could lie where the next will.
    for lap in 0..6u8 {
        kernel.deliver(&Delivery::of(&[lap; 60]));
        assert_eq!(octets(&mut ring), [vec![lap; 60]]);
        kernel.close();
        assert!(octets(&mut ring).is_empty());
    }
    let counted = Delivery {
        counted: true,
        ..Delivery::of(&[7; 60])
    };
    kernel.deliver(&counted);
    assert!(!ring.is_ready() && octets(&mut ring).is_empty());
    let (mut kernel, mut ring) = FakeKernel::v3(V3, false, true);
    let unfinished = Delivery {
        unfinished: true,
        ..Delivery::of(&[7; 60])
    };
    kernel.deliver(&unfinished);
    assert!(!ring.is_ready() && octets(&mut ring).is_empty());
    // Whatever it holds is final when the block closes.
    kernel.close();
    assert_eq!(octets(&mut ring), [vec![7; 60]]);
}

#[test]
fn a_lying_snaplen_stops_at_the_edge() {
    for (mut kernel, mut ring) in rings(false) {
        let lie = Delivery {
            snaplen: Some(5000),
            ..Delivery::of(&[1; 60])
        };
        kernel.deliver(&lie);
        kernel.deliver(&Delivery::of(&[2; 60]));
        kernel.close();
        let rest = octets(&mut ring);
        // A slot ends where it ends; in a block nothing behind a lie can be found.
        assert!(rest.is_empty() || rest == [vec![2; 60]]);
        assert_eq!(ring.counters().malformed + ring.counters().frames, 2);
        kernel.deliver(&Delivery::of(&[3; 60]));
        kernel.close();
        assert_eq!(octets(&mut ring), [vec![3; 60]]);
    }
}

#[test]
fn a_frame_with_less_than_its_headroom_is_refused() {
    use crate::uapi::{sll, v2, v3};
    for (number, (mut kernel, mut ring)) in rings(false).into_iter().enumerate() {
        let head = sll::SIZE + if number == 0 { v2::SIZE } else { v3::SIZE };
        let at = |headroom: usize| Delivery {
            mac: u16::try_from(head + headroom).ok(),
            ..Delivery::of(&[1; 60])
        };
        kernel.deliver(&at(dataplane::HEADROOM));
        kernel.deliver(&at(dataplane::HEADROOM - 1));
        kernel.close();
        assert_eq!(octets(&mut ring).len(), 1);
        assert_eq!((ring.counters().frames, ring.counters().malformed), (1, 1));
    }
}

#[test]
fn a_next_header_inside_a_frame_is_refused() {
    for early in [false, true] {
        let (mut kernel, mut ring) = FakeKernel::v3(V3, false, early);
        kernel.deliver(&Delivery {
            next: Some(96),
            ..Delivery::of(&[1; 600])
        });
        kernel.deliver(&Delivery::of(&[2; 60]));
        assert!(octets(&mut ring).is_empty());
        kernel.close();
        assert!(octets(&mut ring).is_empty());
        assert_eq!(ring.counters().malformed, 2);
    }
}

#[test]
fn a_block_larger_than_a_batch_takes_several_turns_and_goes_back_once() {
    let geometry = Geometry {
        block_len: 65_536,
        blocks: 2,
        slot_len: 65_536,
    };
    let (mut kernel, mut ring) = FakeKernel::v3(geometry, false, false);
    for n in 0..300u16 {
        kernel.deliver(&Delivery::of(&[n.to_be_bytes()[1]; 20]));
    }
    kernel.close();
    assert_eq!(octets(&mut ring).len(), BATCH_MAX);
    assert_eq!(octets(&mut ring).len(), 300 - BATCH_MAX);
    assert!(octets(&mut ring).is_empty());
}

#[test]
fn a_full_ring_drops_and_recovers() {
    for (mut kernel, mut ring) in rings(false) {
        while kernel.deliver(&Delivery::of(&[1; 600])) {}
        kernel.close();
        let held = octets(&mut ring).len();
        assert!(held >= 8, "{held}");
        assert_eq!(kernel.dropped, 1);
        assert!(kernel.deliver(&Delivery::of(&[2; 600])));
        kernel.close();
        assert_eq!(octets(&mut ring), [vec![2; 600]]);
    }
}

#[test]
fn a_leaked_turn_gives_its_memory_back_with_the_next() {
    for (mut kernel, mut ring) in rings(false) {
        kernel.deliver(&Delivery::of(&[1; 60]));
        kernel.close();
        let mut turn = ring.turn();
        turn.fill(&mut Batch::new());
        #[expect(clippy::mem_forget, reason = "leaking is what is tested")]
        std::mem::forget(turn);
        while kernel.deliver(&Delivery::of(&[2; 600])) {}
        kernel.close();
        let first = octets(&mut ring).len();
        assert!(first > 0 && kernel.deliver(&Delivery::of(&[3; 600])));
    }
}

#[test]
fn the_outer_tag_is_metadata() {
    for tpid in [EtherType::CTAG, EtherType::STAG] {
        for (mut kernel, mut ring) in rings(false) {
            // VID 0 with priority 5, and with none: tags nevertheless.
            let tags = [0xa000, 0].map(|tci| Tag { tpid, tci });
            for tag in tags {
                kernel.deliver(&Delivery {
                    tag: Some(tag),
                    ..Delivery::of(&[0; 60])
                });
            }
            kernel.deliver(&Delivery::of(&[0; 60]));
            kernel.close();
            let frames = take(&mut ring);
            assert_eq!(frames[0].1.tags.as_slice(), [tags[0]]);
            assert_eq!(frames[1].1.tags.as_slice(), [tags[1]]);
            assert!(frames[2].1.tags.is_empty());
        }
    }
}

#[test]
fn a_partial_checksum_counts_from_the_buffer() {
    for (mut kernel, mut ring) in rings(true) {
        let mut vnet = [0u8; 10];
        vnet[0] = 1;
        vnet[6..8].copy_from_slice(&34u16.to_ne_bytes());
        vnet[8..10].copy_from_slice(&16u16.to_ne_bytes());
        kernel.deliver(&Delivery {
            vnet,
            ..Delivery::of(&[0; 60])
        });
        vnet[6..8].copy_from_slice(&50u16.to_ne_bytes());
        kernel.deliver(&Delivery {
            vnet,
            ..Delivery::of(&[0; 60])
        });
        vnet[0] = 2;
        kernel.deliver(&Delivery {
            vnet,
            ..Delivery::of(&[0; 60])
        });
        kernel.close();
        let mut turn = ring.turn();
        let mut batch = Batch::new();
        turn.fill(&mut batch);
        let frames: Vec<_> = batch.drain().collect();
        let Checksum::Partial { start, offset } = frames[0].meta.checksum else {
            panic!("not partial: {:?}", frames[0].meta.checksum);
        };
        assert_eq!(usize::from(start) - frames[0].offset(), 34);
        assert_eq!(offset, 16);
        // The second says its field lies behind its end.
        assert_eq!(frames[1].meta.checksum, Checksum::Unverified);
        assert_eq!(frames[2].meta.checksum, Checksum::Valid);
    }
}

#[test]
fn without_offloads_the_status_tells_of_the_checksum() {
    for (mut kernel, mut ring) in rings(false) {
        for status in [1 << 7, 1 << 3, 0] {
            kernel.deliver(&Delivery {
                status,
                ..Delivery::of(&[0; 60])
            });
        }
        kernel.close();
        let states: Vec<_> = take(&mut ring).iter().map(|(_, m)| m.checksum).collect();
        let valid = Checksum::Valid;
        assert_eq!(states, [valid, valid, Checksum::Unverified]);
    }
}

#[test]
fn a_frame_cut_short_keeps_its_length_on_the_wire() {
    for (mut kernel, mut ring) in rings(false) {
        kernel.deliver(&Delivery {
            wire_len: Some(9000),
            ..Delivery::of(&[0; 60])
        });
        kernel.close();
        let frames = take(&mut ring);
        assert_eq!((frames[0].0.len(), frames[0].1.wire_len), (60, 9000));
    }
}

#[test]
fn our_own_frames_are_skipped() {
    for (mut kernel, mut ring) in rings(false) {
        kernel.deliver(&Delivery {
            packet_type: 4,
            ..Delivery::of(&[1; 60])
        });
        kernel.deliver(&Delivery::of(&[2; 60]));
        kernel.close();
        assert_eq!(octets(&mut ring), [vec![2; 60]]);
        assert_eq!((ring.counters().outgoing, ring.counters().frames), (1, 1));
    }
}

/// Operations of one random run; Miri takes its time.
const OPS_MAX: usize = if cfg!(miri) { 12 } else { 80 };

#[derive(Clone, Debug)]
enum Op {
    Deliver(usize),
    Hole,
    Lie(Delivery),
    Close,
    Turn,
}

fn op() -> impl Strategy<Value = Op> {
    let lie = (
        proptest::option::of(any::<u32>()),
        proptest::option::of(any::<u16>()),
        proptest::option::of(0u32..5000),
    );
    prop_oneof![
        6 => (1usize..700).prop_map(Op::Deliver),
        1 => Just(Op::Hole),
        1 => lie.prop_map(|(snaplen, mac, next)| Op::Lie(Delivery {
            snaplen, mac, next, ..Delivery::of(&[0xee; 80])
        })),
        2 => Just(Op::Close),
        4 => Just(Op::Turn),
    ]
}

/// Without lies, what comes out is what went in, and nothing of it is lost or comes twice. With
/// lies, nothing the kernel says leads outside; what was told truly afterwards still comes.
fn check(mut kernel: FakeKernel, mut ring: RxRing, skip: u8, ops: &[Op]) {
    for n in 0..skip {
        kernel.deliver(&Delivery::of(&[n; 700]));
        kernel.close();
        assert_eq!(octets(&mut ring).len(), 1);
    }
    let mut expected = Vec::new();
    let (mut serial, mut lied, mut got) = (0u8, false, Vec::new());
    for op in ops {
        match op {
            Op::Deliver(len) => {
                serial = serial.wrapping_add(1);
                let octets = vec![serial; *len];
                if kernel.deliver(&Delivery::of(&octets)) {
                    expected.push(octets);
                }
            }
            Op::Hole => {
                let hole = Delivery {
                    hole: true,
                    ..Delivery::of(&[9; 64])
                };
                // A slot given up is simply not handed over.
                lied |= matches!(ring.walk, Walk::V2(_)) && kernel.deliver(&hole);
                if matches!(ring.walk, Walk::V3(_)) {
                    kernel.deliver(&hole);
                }
            }
            Op::Lie(delivery) => {
                kernel.deliver(delivery);
                lied = true;
            }
            Op::Close => kernel.close(),
            Op::Turn => got.extend(octets(&mut ring)),
        }
    }
    kernel.close();
    got.extend(octets(&mut ring));
    if !lied {
        assert_eq!(got, expected);
        assert_eq!(ring.counters().malformed, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn v3_gives_what_the_kernel_put(
        skip in 0u8..7, early: bool, ops in proptest::collection::vec(op(), 1..OPS_MAX)
    ) {
        let (kernel, ring) = FakeKernel::v3(V3, false, early);
        check(kernel, ring, skip, &ops);
    }

    #[test]
    fn v2_gives_what_the_kernel_put(
        skip in 0u8..17, ops in proptest::collection::vec(op(), 1..OPS_MAX)
    ) {
        let (kernel, ring) = FakeKernel::v2(V2, false);
        check(kernel, ring, skip, &ops);
    }
}
