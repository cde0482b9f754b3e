//! What the rings cost: the walk over received frames, and building and committing frames to send.
//! A fake kernel plays the other side, while the clock stands still; the calls into a real one are
//! not in here.

use std::hint::black_box;
use std::time::{Duration, Instant};

use af_packet::testing::{Delivery, FakeKernel, FakeWire};
use af_packet::{Geometry, RxRing, TX_SLOT_LEN, TxRing};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane::{Batch, Checksum, Port, Segmentation};
use dataplane_benches::{BATCHES, FRAMES};

/// `TPACKET_V2`: 512 slots.
const V2: Geometry = Geometry {
    block_len: 1 << 16,
    blocks: 16,
    slot_len: 2048,
};

/// `TPACKET_V3`: 4 blocks, one of which holds a batch.
const V3: Geometry = Geometry {
    block_len: 1 << 20,
    blocks: 4,
    slot_len: 1 << 20,
};

/// To send: 480 slots of 69,632 octets.
const TX: Geometry = Geometry {
    block_len: 1 << 20,
    blocks: 32,
    slot_len: TX_SLOT_LEN,
};

/// What whoever reads a frame does at least: looks at each line of the cache once.
fn read(octets: &[u8]) -> u64 {
    octets
        .iter()
        .step_by(64)
        .map(|octet| u64::from(*octet))
        .sum()
}

/// One turn of `ring`, which has `count` frames.
fn walk(ring: &mut RxRing, batch: &mut Option<Batch<'static>>, count: usize) -> Duration {
    let start = Instant::now();
    let mut turn = ring.turn();
    let mut frames = batch.take().unwrap_or_default().recycle();
    let filled = turn.fill(&mut frames);
    let sum: u64 = frames.drain().map(|frame| read(frame.octets())).sum();
    *batch = Some(frames.recycle());
    drop(turn); // gives the memory back
    black_box(sum);
    let spent = start.elapsed();
    assert_eq!(filled, count, "the ring had them all");
    spent
}

fn rx(c: &mut Criterion) {
    let mut group = c.benchmark_group("af-packet/rx-walk");
    for len in FRAMES {
        let delivery = Delivery::of(&vec![0x45; len]);
        for count in BATCHES {
            group.throughput(Throughput::Elements(count as u64));
            let rings = [
                ("v2", FakeKernel::v2(V2, true)),
                ("v3", FakeKernel::v3(V3, true, false)),
                ("v3-early", FakeKernel::v3(V3, true, true)),
            ];
            for (version, (mut kernel, mut ring)) in rings {
                let id = BenchmarkId::new(format!("{version}-batch-{count}"), len);
                let mut batch = Some(Batch::new());
                group.bench_function(id, |b| {
                    b.iter_custom(|turns| {
                        let turn = |_| {
                            for _ in 0..count {
                                assert!(kernel.deliver(&delivery), "there is room");
                            }
                            if version == "v3" {
                                kernel.close();
                            }
                            walk(&mut ring, &mut batch, count)
                        };
                        (0..turns).map(turn).sum()
                    });
                });
            }
            // The baseline: the same octets in ordinary memory, written before as the kernel does.
            let mut memory = vec![vec![0; len]; 512];
            let mut first = 0;
            group.bench_function(BenchmarkId::new(format!("loop-batch-{count}"), len), |b| {
                b.iter_custom(|turns| {
                    let turn = |_| {
                        first = (first + count) % 512;
                        let octets = &delivery.octets;
                        let place = first.min(512 - count);
                        let some = &mut memory[place..place + count];
                        for one in some.iter_mut() {
                            one.copy_from_slice(octets);
                        }
                        let start = Instant::now();
                        black_box(some.iter().map(|one| read(one)).sum::<u64>());
                        start.elapsed()
                    };
                    (0..turns).map(turn).sum()
                });
            });
        }
    }
    group.finish();
}

/// Builds and commits `count` frames in one turn; the kick that ends it is not timed.
fn build(ring: &mut TxRing, octets: &[u8], count: usize) -> Duration {
    let start = Instant::now();
    let mut turn = ring.turn();
    let mut taken = 0;
    for _ in 0..count {
        let Some(mut frame) = turn.alloc(octets.len()) else {
            break;
        };
        frame.octets_mut().copy_from_slice(octets);
        taken += usize::from(turn.transmit(frame).is_ok());
    }
    let spent = start.elapsed();
    drop(turn);
    assert_eq!(taken, count, "the ring took them all");
    spent
}

/// The octets of a super-segment behind its head, as they lie in the cache of files.
const TAIL: usize = 16 << 10;

/// Commits `count` super-segments with a tail, copied into their slot or sent from where it lies.
fn tails(ring: &mut TxRing, head: &[u8], tail: &Bytes, count: usize, copy: bool) -> Duration {
    let start = Instant::now();
    let mut turn = ring.turn();
    let mut taken = 0;
    for _ in 0..count {
        let Some(mut frame) = turn.alloc(head.len()) else {
            break;
        };
        frame.octets_mut().copy_from_slice(head);
        frame.meta.checksum = Checksum::Partial {
            start: u16::try_from(frame.offset() + 34).unwrap_or(0),
            offset: 16,
        };
        frame.meta.segmentation = Some(Segmentation {
            size: 1460,
            header_len: 40,
        });
        frame.attach(vec![tail.clone()]);
        let fits = !copy || frame.flatten();
        taken += usize::from(fits && turn.transmit(frame).is_ok());
    }
    let spent = start.elapsed();
    drop(turn);
    assert_eq!(taken, count, "the ring took them all");
    spent
}

fn tx(c: &mut Criterion) {
    let mut group = c.benchmark_group("af-packet/tx-build");
    for len in FRAMES {
        let mut octets = vec![0x45; len];
        octets[12..14].copy_from_slice(&[0x81, 0x00]); // 1,518 octets have a tag
        for count in BATCHES {
            group.throughput(Throughput::Elements(count as u64));
            let (wire, mut ring) = FakeWire::new(TX, true);
            wire.set_forgetful(true);
            let id = BenchmarkId::new(format!("slot-batch-{count}"), len);
            group.bench_function(id, |b| {
                b.iter_custom(|turns| (0..turns).map(|_| build(&mut ring, &octets, count)).sum());
            });
            // The baseline: the same octets into ordinary memory as far apart.
            let mut memory = vec![0; TX_SLOT_LEN * count];
            let id = BenchmarkId::new(format!("copy-batch-{count}"), len);
            group.bench_function(id, |b| {
                b.iter_custom(|turns| {
                    let turn = |_| {
                        let start = Instant::now();
                        for place in black_box(&mut memory).chunks_mut(TX_SLOT_LEN) {
                            place[..len].copy_from_slice(&octets);
                        }
                        start.elapsed()
                    };
                    (0..turns).map(turn).sum()
                });
            });
        }
    }
    group.finish();

    let mut group = c.benchmark_group("af-packet/tx-tail");
    let tail = Bytes::from(vec![b'x'; TAIL]);
    // Ethernet, IPv4 and TCP; the ring looks at nothing in it but the metadata.
    let mut head = vec![0x45; 54];
    head[12..14].copy_from_slice(&[0x08, 0x00]);
    for count in [1, 16, 64] {
        group.throughput(Throughput::Bytes((count * (TAIL + head.len())) as u64));
        for (variant, copy) in [("gather", false), ("copy", true)] {
            let (wire, mut ring) = FakeWire::new(TX, true);
            wire.set_forgetful(true);
            group.bench_function(BenchmarkId::new(variant, count), |b| {
                b.iter_custom(|turns| {
                    let turn = |_| tails(&mut ring, &head, &tail, count, copy);
                    (0..turns).map(turn).sum()
                });
            });
            let counters = ring.counters();
            assert_eq!(counters.gathered, if copy { 0 } else { counters.frames });
        }
    }
    group.finish();
}

criterion_group!(benches, rx, tx);
criterion_main!(benches);
