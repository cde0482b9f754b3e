//! Entry points for fuzzing: see `fuzz/README.md`.

use dataplane::{BATCH_MAX, Batch, EtherType, Tag};

use crate::region::Geometry;
use crate::ring::RxRing;
use crate::testing::{Delivery, FakeKernel};

/// Octets of the blocks, and of the frames in them at most.
const BLOCK_LEN: usize = 4096;

/// A `TPACKET_V2` ring whose kernel lies.
///
/// # Panics
/// When a frame leads outside of the ring, or is counted wrongly.
pub fn rx_ring_v2(data: &[u8]) {
    let geometry = Geometry {
        block_len: BLOCK_LEN,
        blocks: 2,
        slot_len: 1024,
    };
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let (kernel, ring) = FakeKernel::v2(geometry, first & 1 != 0);
    walk(kernel, ring, data);
}

/// A `TPACKET_V3` ring whose kernel lies, read early or not.
///
/// # Panics
/// As [`rx_ring_v2`].
pub fn rx_ring_v3(data: &[u8]) {
    let geometry = Geometry {
        block_len: BLOCK_LEN,
        blocks: 3,
        slot_len: BLOCK_LEN,
    };
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let (kernel, ring) = FakeKernel::v3(geometry, first & 1 != 0, first & 2 != 0);
    walk(kernel, ring, data);
}

/// Each delivery is 16 octets: what to do, which lies to tell, and the lies. An octet numbers them,
/// so there are 256 at most.
fn walk(mut kernel: FakeKernel, mut ring: RxRing, data: &[u8]) {
    let mut seen = 0;
    for (number, words) in (0..=u8::MAX).zip(data.as_chunks::<16>().0) {
        let [todo, lies, l0, l1, t0, t1, m0, m1, n0, n1, vnet @ ..] = *words;
        let two = u16::from_le_bytes;
        let lie = |bit: u8, value: [u8; 2]| (lies & bit != 0).then(|| u32::from(two(value)));
        // Far outside, too.
        let far = |value: u32| if lies & 0x80 != 0 { value << 16 } else { value };
        let [v0, v1, v2, v3, v4, v5] = vnet;
        let delivery = Delivery {
            octets: vec![number; usize::from(two([l0, l1]) % 1500)],
            tag: (lies & 1 != 0).then_some(Tag {
                tpid: EtherType(two([t0, t1])),
                tci: two([t0, t1]),
            }),
            status: u32::from(two([v0, v1])),
            vnet: [v0, v1, v2, v3, v4, v5, n0, n1, m0, m1],
            packet_type: v5 & 7,
            wire_len: lie(2, [t0, t1]).map(far),
            snaplen: lie(4, [t0, t1]).map(far),
            mac: (lies & 8 != 0).then_some(two([m0, m1])),
            next: lie(16, [n0, n1]).map(far),
            hole: lies & 32 != 0,
            ..Delivery::default()
        };
        kernel.deliver(&delivery);
        if todo & 1 != 0 {
            kernel.close();
        }
        if todo & 6 != 0 {
            seen += take(&mut ring);
        }
    }
    kernel.close();
    for _ in 0..8 {
        seen += take(&mut ring);
    }
    assert_eq!(ring.counters().frames, seen, "each frame is counted once");
    assert!(!ring.is_ready(), "the walk comes to an end");
}

/// Writes to all octets of all frames of one turn, headroom and all; how many there were.
fn take(ring: &mut RxRing) -> u64 {
    let mut turn = ring.turn();
    let mut batch = Batch::new();
    let filled = turn.fill(&mut batch);
    assert!(filled <= BATCH_MAX && filled == batch.len());
    for frame in &mut batch {
        assert!(frame.len() <= BLOCK_LEN);
        // A kernel that lies about where a frame begins leaves less in front of it.
        assert!(frame.push_front(frame.headroom().min(dataplane::HEADROOM)));
        frame.octets_mut().fill(0xa5);
    }
    filled as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::fuzzing::replay;

    #[test]
    #[cfg_attr(miri, ignore = "reads the corpus")]
    fn the_corpora_pass() {
        replay("rx_ring_v2", rx_ring_v2);
        replay("rx_ring_v3", rx_ring_v3);
    }
}
