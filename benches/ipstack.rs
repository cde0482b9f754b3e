//! What the nodes of ARP, IPv4, ICMP and UDP cost, each on its own, by batch size. For TCP see
//! `flows.rs`.

use std::net::Ipv4Addr;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use dataplane::{EtherType, IfIndex, Interface, Interfaces, Meta, Node};
use dataplane_benches::BATCHES;
use dataplane_benches::alone::{Alone, PassThrough};
use dataplane_benches::peer::{echo_request, packet};
use dataplane_benches::whole::{GATEWAY, OUR_IP, OUR_MAC, PEER_MAC};
use ipstack::ip4::MORE_FRAGMENTS;
use ipstack::{
    ArpInput, Ip4Frag, Ip4FullReassembly, Ip4IcmpError, Ip4IcmpInput, Ip4Input, Ip4Lookup,
    Ip4Rewrite, Tables, Udp4Input,
};

const SUB: IfIndex = IfIndex(1);

/// 192.168.123.150/24 on interface 1, the gateway known.
fn tables() -> Tables {
    let interfaces = Interfaces::shared();
    let interface = Interface {
        name: "host-bench.123".into(),
        mac: OUR_MAC,
        mtu: 1500,
        up: true,
    };
    assert!(interfaces.borrow_mut().set(SUB, interface));
    let tables = Tables::new(interfaces);
    let filled = || -> Result<(), Box<dyn std::error::Error>> {
        tables.add_address(SUB, "192.168.123.150/24".parse()?)?;
        tables.add_route("0.0.0.0/0".parse()?, GATEWAY, None)?;
        tables.set_neighbor(SUB, GATEWAY, PEER_MAC)?;
        Ok(())
    };
    filled().unwrap_or_else(|error| unreachable!("{error}"));
    tables
}

/// What is known of a frame that came in.
fn arrived() -> Meta {
    Meta {
        interface: SUB,
        source: PEER_MAC,
        destination: OUR_MAC,
        ether_type: EtherType::IPV4,
        ..Meta::default()
    }
}

/// Measures `node` with `count` frames like `octets`, all of which it has to send on.
fn sends<N: Node + 'static>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    variant: &str,
    node: N,
    count: usize,
    octets: &[u8],
    meta: Meta,
) {
    let alone = Alone::new(node, count, octets, meta).settled();
    measure(group, variant, count, alone.checked(count, 0, 0));
}

fn measure<N: Node + 'static>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    variant: &str,
    count: usize,
    mut alone: Alone<N>,
) {
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(BenchmarkId::new(variant, count), |b| {
        b.iter(|| alone.turn());
    });
}

fn input(c: &mut Criterion) {
    let tables = tables();
    let echo = packet(1, GATEWAY, 0, &echo_request(56));

    // The baseline of all: a node that does nothing.
    let mut group = c.benchmark_group("ipstack/baseline");
    for count in BATCHES {
        sends(
            &mut group,
            "pass-through",
            PassThrough,
            count,
            &echo,
            arrived(),
        );
    }
    group.finish();

    let mut group = c.benchmark_group("ipstack/arp-input");
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
    request.extend(PEER_MAC.0);
    request.extend(GATEWAY.octets());
    request.extend([0; 6]);
    request.extend(OUR_IP.octets());
    let asked = Meta {
        ether_type: EtherType::ARP,
        ..arrived()
    };
    for count in BATCHES {
        let node = ArpInput::new(&tables);
        sends(&mut group, "request", node, count, &request, asked);
    }
    group.finish();

    let mut group = c.benchmark_group("ipstack/ip4-input");
    for count in BATCHES {
        let node = Ip4Input::new(&tables);
        sends(&mut group, "for-us", node, count, &echo, arrived());
        let elsewhere = Meta {
            interface: IfIndex(2),
            ..arrived()
        };
        let node = Alone::new(Ip4Input::new(&tables), count, &echo, elsewhere);
        measure(&mut group, "not-local", count, node.checked(0, 0, count));
    }
    group.finish();

    let mut group = c.benchmark_group("ipstack/ip4-full-reassembly");
    for count in BATCHES.into_iter().filter(|count| count % 2 == 0) {
        // Pairs of fragments; whole datagrams leave.
        let message = echo_request(2000);
        let halves = [
            packet(1, GATEWAY, MORE_FRAGMENTS, &message[..1480]),
            packet(1, GATEWAY, 1480 / 8, &message[1480..]),
        ];
        let frames = halves.iter().cycle().take(count);
        let frames = frames.map(|half| (half.clone(), arrived())).collect();
        let node = Alone::with_frames(Ip4FullReassembly::new(), frames);
        let node = node.checked(count / 2, count, 0);
        measure(&mut group, "two-fragments", count, node);
    }
    group.finish();
}

fn answers(c: &mut Criterion) {
    let tables = tables();

    let mut group = c.benchmark_group("ipstack/ip4-icmp-input");
    for (variant, len) in [("echo-56", 56), ("echo-1400", 1400)] {
        let echo = packet(1, GATEWAY, 0, &echo_request(len));
        for count in BATCHES {
            let node = Ip4IcmpInput::new(&tables);
            sends(&mut group, variant, node, count, &echo, arrived());
        }
    }
    group.finish();

    let datagram = packet(17, GATEWAY, 0, &[0x30, 0x39, 0, 53, 0, 8, 0, 0]);
    let mut group = c.benchmark_group("ipstack/udp4-input");
    for count in BATCHES {
        let variant = "port-unreachable";
        sends(&mut group, variant, Udp4Input, count, &datagram, arrived());
    }
    group.finish();

    let mut group = c.benchmark_group("ipstack/ip4-icmp-error");
    for count in [1, 16] {
        // Different hosts, and time for their limits to recover: 50 go at once, one a millisecond.
        let hosts = (0..count).map(|host| Ipv4Addr::new(10, 0, 0, host));
        let frames = hosts.map(|host| {
            let datagram = packet(17, host, 0, &[0x30, 0x39, 0, 53, 0, 8, 0, 0]);
            (datagram, arrived())
        });
        let count = usize::from(count);
        let node = Alone::with_frames(Ip4IcmpError::new(&tables), frames.collect());
        let mut node = node.settled().checked(count, count, 0);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("port-unreachable", count), |b| {
            b.iter(|| {
                node.now += Duration::from_mins(1);
                node.turn();
            });
        });
    }
    for count in BATCHES {
        let mut node = Alone::new(Ip4IcmpError::new(&tables), count, &datagram, arrived());
        // One host may have six.
        for _ in 0..6 {
            node.turn();
        }
        measure(&mut group, "rate-limited", count, node.checked(0, 0, count));
    }
    group.finish();
}

fn output(c: &mut Criterion) {
    let tables = tables();
    // What we send has the gateway as its destination.
    let mut reply = packet(1, OUR_IP, 0, &echo_request(56));
    reply[16..20].copy_from_slice(&GATEWAY.octets());

    let mut group = c.benchmark_group("ipstack/ip4-lookup");
    for count in BATCHES {
        let node = Ip4Lookup::new(&tables);
        sends(&mut group, "one-peer", node, count, &reply, arrived());
        let frames = (0..count).map(|host| {
            let mut octets = reply.clone();
            let [.., high, low] = host.to_be_bytes();
            octets[16..20].copy_from_slice(&[10, 0, high, low]);
            (octets, arrived())
        });
        let node = Alone::with_frames(Ip4Lookup::new(&tables), frames.collect());
        measure(&mut group, "many-peers", count, node.checked(count, 0, 0));
    }
    group.finish();

    let routed = Meta {
        next_hop: Some(GATEWAY),
        ..arrived()
    };
    let mut group = c.benchmark_group("ipstack/ip4-rewrite");
    for count in BATCHES {
        let node = Ip4Rewrite::new(&tables);
        sends(&mut group, "resolved", node, count, &reply, routed);
    }
    group.finish();

    let mut large = packet(1, OUR_IP, 0, &echo_request(4000));
    large[16..20].copy_from_slice(&GATEWAY.octets());
    let mut group = c.benchmark_group("ipstack/ip4-frag");
    for count in BATCHES {
        let node = Alone::new(Ip4Frag::new(&tables), count, &large, routed);
        let node = node.checked(3 * count, count, 0);
        measure(&mut group, "three-fragments", count, node);
    }
    group.finish();
}

criterion_group!(benches, input, answers, output);
criterion_main!(benches);
