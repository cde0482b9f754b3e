//! What the graph itself costs: dispatch through a chain of nodes that do nothing, by batch size.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane::testing::{MemoryPort, ethernet, slots};
use dataplane::{
    Batch, EtherType, EthernetInput, EthernetInputType, Frame, Graph, GraphBuilder, IfIndex,
    Interface, Interfaces, MacAddr, Never, Node, NodeId, Observer, Offload, Outlets, error_drop,
    ethernet_input::EthernetInputNext, ethernet_input_type::EthernetInputTypeNext,
};
use error_drop::ErrorDrop;

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const BATCHES: [usize; 4] = [1, 16, 64, 256];

dataplane::labels! {
    enum Through { Next = "next" }
}

macro_rules! relay {
    ($name:ident, $text:literal) => {
        struct $name;
        impl Node for $name {
            const NAME: &'static str = $text;
            type Next = Through;
            type Drop = Never;
            fn process<'block>(
                &mut self,
                _now: Duration,
                batch: &mut Batch<'block>,
                out: &mut Outlets<'_, 'block, Through, Never>,
            ) {
                for frame in batch.drain() {
                    out.send(Through::Next, frame);
                }
            }
        }
    };
}
relay!(One, "one");
relay!(Two, "two");
relay!(Three, "three");
relay!(Four, "four");

fn chain() -> (Graph, NodeId<One>) {
    let mut builder = GraphBuilder::new();
    let (one, two, three, four) = (
        builder.add(One),
        builder.add(Two),
        builder.add(Three),
        builder.add(Four),
    );
    let sink = builder.add(ErrorDrop);
    builder
        .connect(one, Through::Next, two)
        .connect(two, Through::Next, three)
        .connect(three, Through::Next, four)
        .connect(four, Through::Next, sink);
    (
        builder
            .build()
            .unwrap_or_else(|error| unreachable!("{error}")),
        one,
    )
}

fn ethernet_graph() -> (Graph, NodeId<EthernetInput>) {
    let interfaces = Interfaces::shared();
    interfaces.borrow_mut().set(
        IfIndex(0),
        Interface {
            name: "host-bench".into(),
            mac: OURS,
            mtu: 1500,
            up: true,
        },
    );
    let mut builder = GraphBuilder::new();
    let input = builder.add(EthernetInput::new(interfaces));
    let types = builder.add(EthernetInputType);
    let sink = builder.add(ErrorDrop);
    builder
        .connect(input, EthernetInputNext::Tagged, sink)
        .connect(input, EthernetInputNext::Untagged, types)
        .connect(types, EthernetInputTypeNext::Arp, sink)
        .connect(types, EthernetInputTypeNext::Ip4, sink);
    (
        builder
            .build()
            .unwrap_or_else(|error| unreachable!("{error}")),
        input,
    )
}

/// Runs `frames` copies of `octets` through `graph` once.
fn turn<N>(graph: &mut Graph, entry: NodeId<N>, memory: &mut [Vec<u8>]) {
    let mut none = slots(0, 0);
    let mut port = MemoryPort::new(&mut none, Offload::default());
    let mut batch = Batch::new();
    for buffer in memory {
        let len = buffer.len();
        let _ = batch.push(Frame::new(buffer, 0, len));
    }
    black_box(graph.turn(Duration::ZERO, entry, &mut batch, &mut port));
}

/// Sees everything and does nothing: the price of looking.
struct Watch(u64);

impl Observer for Watch {
    fn arrive(&mut self, _node: &'static str, _now: Duration, frame: &mut Frame<'_>) {
        self.0 += frame.len() as u64;
    }
    fn dropped(&mut self, _: &'static str, _: &'static str, _: Duration, _: &Frame<'_>) {}
    fn transmitted(&mut self, _now: Duration, _frame: &Frame<'_>) {}
}

fn graph(c: &mut Criterion) {
    let mut group = c.benchmark_group("dataplane/graph");
    for frames in BATCHES {
        group.throughput(Throughput::Elements(frames as u64));
        let mut memory = vec![vec![0u8; 64]; frames];
        let (mut plain, entry) = chain();
        group.bench_function(BenchmarkId::new("dispatch-5-nodes", frames), |b| {
            b.iter(|| turn(&mut plain, entry, &mut memory));
        });
        // The baseline: the same frames touched once, without a graph.
        group.bench_function(BenchmarkId::new("loop-without-graph", frames), |b| {
            b.iter(|| {
                let mut batch = Batch::new();
                for buffer in &mut memory {
                    let len = buffer.len();
                    let _ = batch.push(Frame::new(buffer, 0, len));
                }
                for frame in batch.drain() {
                    black_box(frame);
                }
            });
        });
        let (mut watched, entry) = chain();
        watched.observe(Some(Box::new(Watch(0))));
        group.bench_function(BenchmarkId::new("dispatch-observed", frames), |b| {
            b.iter(|| turn(&mut watched, entry, &mut memory));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("dataplane/ethernet-input");
    for len in [64, 512, 1518] {
        group.throughput(Throughput::Elements(256));
        let octets = ethernet(OURS, PEER, &[], EtherType::IPV4, &vec![0x45; len - 14]);
        let mut memory = vec![octets; 256];
        let (mut graph, entry) = ethernet_graph();
        group.bench_function(BenchmarkId::new("untagged", len), |b| {
            b.iter(|| turn(&mut graph, entry, &mut memory));
        });
    }
    group.finish();
}

criterion_group!(benches, graph);
criterion_main!(benches);
