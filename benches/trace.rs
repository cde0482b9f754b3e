//! What looking costs: the runtime's whole graph answering echo requests, with nobody watching,
//! with a trace that has all its packets, and with one at work.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use af_packet::LinkInfo;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane::testing::{MemoryPort, ethernet, slots};
use dataplane::{Batch, EtherType, Frame, HEADROOM, MacAddr, Offload, Tag, Tags};
use ipstack::ip4::{DONT_FRAGMENT, Header, protocol};
use ipstack::ping::write_request;
use ipstack::tcp::TcpConfig;
use runtime::assemble::Assembly;
use runtime::config::{Config, HostInterface, SubInterface};
use runtime::plan::{Numbers, Plan};
use runtime::trace::PACKETS_MAX;
use runtime::watch::Watch;

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const FRAMES: usize = 64;

/// VLAN 123 of an interface that is up.
fn assembly() -> Option<Assembly> {
    let mut sub = SubInterface::dot1q(123);
    sub.addresses.push("192.168.123.150/24".parse().ok()?);
    let mut host = HostInterface::new("bench0");
    host.sub_interfaces.push(sub);
    let config = Config {
        interfaces: vec![host],
        neighbors: vec![runtime::config::Neighbor {
            interface: "host-bench0.123".into(),
            address: [192, 168, 123, 1].into(),
            mac: PEER,
        }],
        ..Config::default()
    };
    let mut numbers = Numbers::default();
    let plan = Plan::of(&config, config.interfaces.first()?, &mut numbers).ok()?;
    let config = TcpConfig::default();
    let mut assembly = Assembly::new(plan.port.index, config, Arc::new(|| ())).ok()?;
    assembly.apply(plan).ok()?;
    assembly.follow_link(Some(LinkInfo::stand_in("bench0", OURS)));
    Some(assembly)
}

/// An echo request of 56 octets, from 192.168.123.1.
fn echo_request() -> Vec<u8> {
    let header = Header {
        tos: 0,
        total_len: 84,
        identification: 1,
        fragment: DONT_FRAGMENT,
        protocol: protocol::ICMP,
        source: [192, 168, 123, 1].into(),
        destination: [192, 168, 123, 150].into(),
    };
    let mut packet = [0; 84];
    write_request(&mut packet, &header, 1, 1);
    ethernet(OURS, PEER, &[], EtherType::IPV4, &packet)
}

/// One turn: `FRAMES` requests in, as many answers out.
fn turn(assembly: &mut Assembly, memory: &mut [Vec<u8>], request: &[u8]) -> usize {
    let mut room = slots(FRAMES, 2048);
    let mut port = MemoryPort::new(&mut room, Offload::default());
    let mut batch = Batch::new();
    for buffer in memory {
        buffer[HEADROOM..].copy_from_slice(request);
        let mut frame = Frame::new(buffer, HEADROOM, request.len());
        if let Some(plan) = assembly.plan() {
            frame.meta.interface = plan.port.index;
        }
        frame.meta.tags = Tags::from_iter([Tag {
            tpid: EtherType::CTAG,
            tci: 123,
        }]);
        let _ = batch.push(frame);
    }
    let entry = assembly.entry;
    let now = Duration::from_secs(1);
    assembly
        .graph
        .turn(now, entry, &mut batch, &mut port)
        .dispatched
}

fn trace(c: &mut Criterion) {
    let Some(mut assembly) = assembly() else {
        unreachable!("the configuration is valid");
    };
    let request = echo_request();
    let mut memory = vec![vec![0; HEADROOM + request.len()]; FRAMES];
    let watch = Watch::new(Instant::now(), assembly.sub_interfaces().clone());
    let mut group = c.benchmark_group("runtime/trace");
    group.throughput(Throughput::Elements(FRAMES as u64));
    group.bench_function(BenchmarkId::new("absent", FRAMES), |b| {
        b.iter(|| black_box(turn(&mut assembly, &mut memory, &request)));
    });
    // The worker takes an exhausted one away after its turn; here it stays.
    watch.trace.add("af-packet-input", PACKETS_MAX);
    assembly.graph.observe(watch.observer());
    while watch.trace.is_wanted() {
        turn(&mut assembly, &mut memory, &request);
    }
    group.bench_function(BenchmarkId::new("exhausted", FRAMES), |b| {
        b.iter(|| black_box(turn(&mut assembly, &mut memory, &request)));
    });
    group.bench_function(BenchmarkId::new("tracing", FRAMES), |b| {
        b.iter_custom(|turns| {
            let mut spent = Duration::ZERO;
            for _ in 0..turns {
                watch.trace.clear();
                watch.trace.add("af-packet-input", PACKETS_MAX);
                assembly.graph.observe(watch.observer());
                let start = Instant::now();
                black_box(turn(&mut assembly, &mut memory, &request));
                spent += start.elapsed();
            }
            spent
        });
    });
    assembly.graph.observe(None);
    // The baseline again: what was watched before costs nothing afterwards.
    group.bench_function(BenchmarkId::new("absent-again", FRAMES), |b| {
        b.iter(|| black_box(turn(&mut assembly, &mut memory, &request)));
    });
    group.finish();
}

criterion_group!(benches, trace);
criterion_main!(benches);
