//! A worker's whole graph when each request comes on a connection of its own.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane_benches::peer::{Peer, Template, dial, say};
use dataplane_benches::site::{REQUEST_HEAD, Site, path_of};
use dataplane_benches::whole::Whole;

/// Hosts that connect at once; when all have closed, others do.
const BATCH: usize = 64;

/// Hosts that connect, may ask for a file of 8 octets, and close.
struct Visitors {
    whole: Whole,
    ack: Template,
    request: Template,
    request_len: usize,
    fin: Template,
    /// The last host that came.
    host: u32,
    /// Octets of an answer.
    answer: usize,
}

impl Visitors {
    fn new(site: &Site) -> Self {
        let path = path_of(8);
        let request = format!("GET {path} HTTP/1.1\r\n{REQUEST_HEAD}Connection: close\r\n\r\n");
        let mut visitors = Self {
            whole: site.worker(),
            ack: Template::new(&[]),
            request: Template::new(request.as_bytes()),
            request_len: request.len(),
            fin: Template::fin(),
            host: 0x0a00_0000,
            answer: 0,
        };
        visitors.load();
        visitors
    }

    /// One host asks, and is answered when the file has been loaded.
    fn load(&mut self) {
        let patience = Instant::now() + Duration::from_secs(10);
        let mut peers = self.come(1);
        let mut sent = say(&mut self.whole, &peers, &[&self.ack, &self.request]);
        while sent.payload == 0 {
            assert!(Instant::now() < patience, "the file is loaded");
            std::thread::sleep(Duration::from_millis(1));
            sent = say(&mut self.whole, &[], &[]);
        }
        self.answer = sent.payload;
        self.leave(&mut peers, self.request_len, self.answer);
    }

    /// `count` hosts that were never here connect.
    fn come(&mut self, count: usize) -> Vec<Peer> {
        let peers = (0..count).map(|_| {
            self.host += 1;
            Peer::new(Ipv4Addr::from_bits(self.host), 40_000)
        });
        let mut peers: Vec<_> = peers.collect();
        dial(&mut self.whole, &mut peers);
        peers
    }

    /// Each closes after so many octets sent, and so many received before our FIN.
    fn leave(&mut self, peers: &mut [Peer], sent: usize, received: usize) {
        for peer in peers.iter_mut() {
            peer.seq = peer.seq.wrapping_add(u32::try_from(sent).unwrap_or(0));
            let received = u32::try_from(received + 1).unwrap_or(0);
            peer.ack = peer.ack.wrapping_add(received);
        }
        let sent = say(&mut self.whole, peers, &[&self.fin]);
        assert_eq!(sent.frames, peers.len(), "every FIN is acknowledged");
    }

    /// A batch connects, asks, is answered and closes.
    fn visit(&mut self) {
        let mut peers = self.come(BATCH);
        let sent = say(&mut self.whole, &peers, &[&self.ack, &self.request]);
        let octets = BATCH * self.answer;
        assert_eq!((sent.frames, sent.payload), (BATCH, octets), "all answered");
        self.leave(&mut peers, self.request_len, self.answer);
    }

    /// A batch connects and closes without a word.
    fn pass_by(&mut self) {
        let mut peers = self.come(BATCH);
        let sent = say(&mut self.whole, &peers, &[&self.ack, &self.fin]);
        assert_eq!(sent.frames, BATCH, "all closed too");
        for peer in &mut peers {
            peer.seq = peer.seq.wrapping_add(1);
            peer.ack = peer.ack.wrapping_add(1);
        }
        say(&mut self.whole, &peers, &[&self.ack]);
    }
}

fn connect(c: &mut Criterion) {
    let site = Site::new();
    let mut group = c.benchmark_group("path/connect");
    group.throughput(Throughput::Elements(BATCH as u64));
    // The baseline: connections that carry nothing.
    let mut visitors = None;
    group.bench_function(BenchmarkId::new("nothing", BATCH), |b| {
        let visitors = visitors.get_or_insert_with(|| Visitors::new(&site));
        b.iter(|| visitors.pass_by());
    });
    let mut visitors = None;
    group.bench_function(BenchmarkId::new("get-8", BATCH), |b| {
        let visitors = visitors.get_or_insert_with(|| Visitors::new(&site));
        b.iter(|| visitors.visit());
    });
    group.finish();
}

criterion_group!(benches, connect);
criterion_main!(benches);
