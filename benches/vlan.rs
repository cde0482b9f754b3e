//! What the VLAN nodes cost, by batch size.

use std::cell::RefCell;
use std::rc::Rc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane::{EtherType, IfIndex, Interface, Interfaces, Meta, SharedInterfaces, Tag, Tags};
use dataplane_benches::BATCHES;
use dataplane_benches::alone::{Alone, PassThrough};
use dataplane_benches::peer::{echo_request, frame, packet};
use dataplane_benches::whole::{GATEWAY, OUR_MAC};
use vlan::dot1q_demux::Dot1qDemux;
use vlan::dot1q_push::Dot1qPush;
use vlan::{Match, SharedSubInterfaces, SubInterfaces, VlanId};

const PORT: IfIndex = IfIndex(0);

/// Sub-interfaces of the port: VLAN 101 to 164 are interface 1 to 64.
const SUB_INTERFACES: u16 = 64;

fn tables() -> (SharedInterfaces, SharedSubInterfaces) {
    let interfaces = Interfaces::shared();
    let mut subs = SubInterfaces::default();
    let add = |index: IfIndex| {
        let interface = Interface {
            name: format!("host-bench.{}", index.0),
            mac: OUR_MAC,
            mtu: 1500,
            up: true,
        };
        assert!(interfaces.borrow_mut().set(index, interface));
    };
    add(PORT);
    let mut done = subs.add_port(PORT);
    for number in 1..=SUB_INTERFACES {
        add(IfIndex(number));
        if let Ok(vid) = VlanId::new(100 + number) {
            done = done.and_then(|()| subs.add(PORT, IfIndex(number), Match::dot1q(vid)));
        }
    }
    done.unwrap_or_else(|error| unreachable!("{error}"));
    (interfaces, Rc::new(RefCell::new(subs)))
}

fn tagged(vid: u16) -> Meta {
    let tpid = EtherType::CTAG;
    Meta {
        interface: PORT,
        tags: Tags::from_iter([Tag { tpid, tci: vid }]),
        ether_type: EtherType::IPV4,
        ..Meta::default()
    }
}

/// One frame for each of the first `count` VLANs, and again from the first.
fn spread(count: usize, octets: &[u8]) -> Vec<(Vec<u8>, Meta)> {
    let vids = (101..=100 + SUB_INTERFACES).cycle().take(count);
    vids.map(|vid| (octets.to_vec(), tagged(vid))).collect()
}

fn nodes(c: &mut Criterion) {
    let (interfaces, subs) = tables();
    let packet = packet(1, GATEWAY, 0, &echo_request(56));
    let demux = || Dot1qDemux::new(interfaces.clone(), subs.clone());

    let mut group = c.benchmark_group("vlan/dot1q-demux");
    for count in BATCHES {
        group.throughput(Throughput::Elements(count as u64));
        let mut hit = Alone::new(demux(), count, &packet, tagged(123)).checked(count, 0, 0);
        group.bench_function(BenchmarkId::new("hit", count), |b| b.iter(|| hit.turn()));
        let mut spread = Alone::with_frames(demux(), spread(count, &packet)).checked(count, 0, 0);
        group.bench_function(BenchmarkId::new("hit-64-vlans", count), |b| {
            b.iter(|| spread.turn());
        });
        let mut unknown = Alone::new(demux(), count, &packet, tagged(99)).checked(0, 0, count);
        group.bench_function(BenchmarkId::new("unknown-vid", count), |b| {
            b.iter(|| unknown.turn());
        });
        // The baseline: a node that does nothing with the same frames.
        let mut pass = Alone::new(PassThrough, count, &packet, tagged(123)).checked(count, 0, 0);
        group.bench_function(BenchmarkId::new("pass-through", count), |b| {
            b.iter(|| pass.turn());
        });
    }
    group.finish();

    let frame = frame(&packet);
    let leaving = Meta {
        interface: IfIndex(23),
        ..Meta::default()
    };
    let mut group = c.benchmark_group("vlan/dot1q-push");
    for count in BATCHES {
        group.throughput(Throughput::Elements(count as u64));
        let push = Dot1qPush::new(interfaces.clone(), subs.clone());
        let mut push = Alone::new(push, count, &frame, leaving).checked(count, 0, 0);
        group.bench_function(BenchmarkId::new("one-tag", count), |b| {
            b.iter(|| push.turn());
        });
        let mut pass = Alone::new(PassThrough, count, &frame, leaving).checked(count, 0, 0);
        group.bench_function(BenchmarkId::new("pass-through", count), |b| {
            b.iter(|| pass.turn());
        });
    }
    group.finish();
}

criterion_group!(benches, nodes);
criterion_main!(benches);
