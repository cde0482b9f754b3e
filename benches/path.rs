//! A worker's whole graph, from received frame to answer: ping, GET, and two workers side by side.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane_benches::BATCHES;
use dataplane_benches::compare::{self, Ratio};
use dataplane_benches::peer::{Peer, Template, connect, echo_request, frame, packet};
use dataplane_benches::site::{REQUEST_HEAD, SIZES, Site, path_of};
use dataplane_benches::whole::Whole;
use ipstack::tcp::TcpConfig;

/// A worker that is pinged by many hosts at once.
struct Pinged {
    whole: Whole,
    requests: Vec<Vec<u8>>,
    lens: Vec<usize>,
}

impl Pinged {
    /// Batches of `count` requests from as many hosts behind the gateway, `first` being the first.
    fn new(count: usize, first: u32) -> Self {
        let hosts = (0..count).map(|host| {
            let host = first.wrapping_add(u32::try_from(host).unwrap_or(0));
            Ipv4Addr::from_bits(host)
        });
        let message = echo_request(56);
        let requests: Vec<_> = hosts
            .map(|host| frame(&packet(1, host, 0, &message)))
            .collect();
        let mut pinged = Self {
            whole: Whole::new(TcpConfig::default()),
            lens: requests.iter().map(Vec::len).collect(),
            requests,
        };
        pinged.turn();
        assert_eq!(pinged.whole.sent.frames, count, "everybody is answered");
        pinged
    }

    fn turn(&mut self) {
        for (number, request) in self.requests.iter().enumerate() {
            self.whole.frame(number)[..request.len()].copy_from_slice(request);
        }
        self.whole.turn(&self.lens);
    }
}

fn ping(c: &mut Criterion) {
    let mut group = c.benchmark_group("path/ping");
    for count in BATCHES {
        group.throughput(Throughput::Elements(count as u64));
        let mut pinged = Pinged::new(count, 0x0a00_0001);
        group.bench_function(BenchmarkId::new("answered", count), |b| {
            b.iter(|| pinged.turn());
        });
        // The baseline: what has to change in the octets, done in a loop.
        let (requests, mut memory) = (pinged.requests.clone(), pinged.requests.clone());
        group.bench_function(BenchmarkId::new("reflected", count), |b| {
            b.iter(|| {
                for (octets, request) in memory.iter_mut().zip(&requests) {
                    octets.copy_from_slice(request);
                    reflect(octets);
                }
                black_box(&memory);
            });
        });
    }
    group.finish();
}

/// Swaps the addresses and makes the request a reply.
fn reflect(octets: &mut [u8]) {
    let (front, rest) = octets.split_at_mut(6);
    front.swap_with_slice(&mut rest[..6]);
    let (front, rest) = octets.split_at_mut(30);
    front[26..30].swap_with_slice(&mut rest[..4]);
    octets[34] = 0;
    let sum = u16::from_be_bytes([octets[36], octets[37]]);
    let sum = dataplane::checksum::update(sum, 0x0800, 0);
    octets[36..38].copy_from_slice(&sum.to_be_bytes());
}

/// A connection to the HTTP server of a worker, kept open.
struct Browser {
    whole: Whole,
    peer: Peer,
    request: Template,
    request_len: u32,
    empty: Template,
}

impl Browser {
    fn new(site: &Site, file: usize) -> Self {
        let mut whole = site.worker();
        let mut peer = Peer::new(Ipv4Addr::new(10, 0, 0, 1), 40_000);
        connect(&mut whole, std::slice::from_mut(&mut peer));
        let request = format!("GET {} HTTP/1.1\r\n{REQUEST_HEAD}\r\n", path_of(file));
        Self {
            whole,
            peer,
            request: Template::new(request.as_bytes()),
            request_len: u32::try_from(request.len()).unwrap_or(0),
            empty: Template::new(&[]),
        }
    }

    fn turn(&mut self, len: Option<usize>) -> usize {
        self.whole.now += Duration::from_micros(10);
        match len {
            Some(len) => self.whole.turn(&[len]),
            None => self.whole.turn(&[]),
        }
        let came = std::mem::take(&mut self.whole.sent).payload;
        self.peer.ack = self.peer.ack.wrapping_add(u32::try_from(came).unwrap_or(0));
        came
    }

    /// Asks once, and acknowledges until `answer` octets have come.
    fn get(&mut self, answer: usize) {
        let len = self.request.write(&self.peer, self.whole.frame(0));
        self.peer.seq = self.peer.seq.wrapping_add(self.request_len);
        let mut came = self.turn(Some(len));
        let mut idle = 0;
        while came < answer {
            let len = self.empty.write(&self.peer, self.whole.frame(0));
            let more = self.turn(Some(len));
            came += more;
            idle = if more == 0 { idle + 1 } else { 0 };
            assert!(idle < 1000, "the answer stopped after {came} octets");
        }
    }

    /// Asks once, waits for the file to be loaded, and says how long the answer is.
    fn warm(&mut self, size: usize) -> usize {
        let len = self.request.write(&self.peer, self.whole.frame(0));
        self.peer.seq = self.peer.seq.wrapping_add(self.request_len);
        let mut came = self.turn(Some(len));
        let mut silent = Instant::now();
        let patience = silent + Duration::from_secs(10);
        // The head's length is not known: the end is silence.
        while came <= size || silent.elapsed() < Duration::from_millis(50) {
            assert!(Instant::now() < patience, "the file is loaded");
            let len = self.empty.write(&self.peer, self.whole.frame(0));
            let more = self.turn(Some(len));
            if more > 0 {
                silent = Instant::now();
            }
            came += more;
        }
        came
    }
}

fn get(c: &mut Criterion) {
    let site = Site::new();
    let mut group = c.benchmark_group("path/get");
    for size in SIZES {
        group.throughput(Throughput::Elements(1));
        let mut browser = None;
        group.bench_function(BenchmarkId::new("keep-alive", size), |b| {
            let (browser, answer) = browser.get_or_insert_with(|| {
                let mut browser = Browser::new(&site, size);
                let answer = browser.warm(size);
                (browser, answer)
            });
            b.iter(|| browser.get(*answer));
        });
    }
    group.finish();
}

/// Connections to the HTTP server of a worker that ask in batches, one after the other.
struct Crowd {
    whole: Whole,
    peers: Vec<Peer>,
    next: usize,
    request: Template,
    request_len: u32,
    /// Octets of an answer.
    answer: u32,
}

impl Crowd {
    /// `connections`, each of which was answered once. A file of 8 octets is asked for.
    fn new(site: &Site, connections: u16) -> Self {
        let mut first = Browser::new(site, 8);
        let answer = u32::try_from(first.warm(8)).unwrap_or(0);
        let mut peers: Vec<_> = (0..connections)
            .map(|port| Peer::new(Ipv4Addr::new(10, 0, 0, 2), 10_000 + port))
            .collect();
        for some in peers.chunks_mut(BATCH) {
            connect(&mut first.whole, some);
        }
        let mut crowd = Self {
            whole: first.whole,
            next: 0,
            request: first.request,
            request_len: first.request_len,
            answer,
            peers,
        };
        for _ in 0..usize::from(connections).div_ceil(BATCH) {
            crowd.turn();
        }
        crowd
    }

    /// A batch asks, each of it after the answer to what it asked before.
    fn turn(&mut self) -> Duration {
        let batch = self.peers.len().min(BATCH);
        for number in 0..batch {
            let peer = &mut self.peers[self.next];
            self.request.write(peer, self.whole.frame(number));
            peer.seq = peer.seq.wrapping_add(self.request_len);
            peer.ack = peer.ack.wrapping_add(self.answer);
            self.next = (self.next + 1) % self.peers.len();
        }
        self.whole.now += Duration::from_micros(300);
        let start = Instant::now();
        self.whole.turn(&[self.request.len(); BATCH][..batch]);
        let took = start.elapsed();
        let sent = std::mem::take(&mut self.whole.sent);
        assert_eq!(sent.frames, batch, "each is answered by one frame");
        took
    }
}

fn crowd(c: &mut Criterion) {
    let site = Site::new();
    let mut group = c.benchmark_group("path/get-crowd");
    group.throughput(Throughput::Elements(BATCH as u64));
    // The baseline is the least of them: what more connections cost.
    for connections in [64, 256, 2048] {
        let mut peers = None;
        group.bench_function(BenchmarkId::new("keep-alive-8", connections), |b| {
            let peers = peers.get_or_insert_with(|| Crowd::new(&site, connections));
            b.iter_custom(|batches| (0..batches).map(|_| peers.turn()).sum());
        });
    }
    group.finish();
}

/// Frames of a batch.
const BATCH: usize = 64;

/// Batches of each worker before the other way is measured.
const MEASURED: u64 = 2000;

/// A worker on a thread of its own: runs as many batches as it is told.
struct Worker {
    orders: Sender<u64>,
    done: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(number: u32) -> Self {
        let (orders, heard) = channel();
        let (tell, done) = channel();
        let thread = std::thread::spawn(move || {
            let mut pinged = Pinged::new(BATCH, 0x0a00_0001 + number * 0x1_0000);
            let _ = tell.send(()); // ready
            for batches in heard {
                for _ in 0..batches {
                    pinged.turn();
                }
                let _ = tell.send(()); // whoever asked is waiting
            }
        });
        let worker = Self {
            orders,
            done,
            thread,
        };
        worker.wait();
        worker
    }

    fn wait(&self) {
        let done = self.done.recv();
        done.unwrap_or_else(|error| unreachable!("a worker ended: {error}"));
    }
}

/// How long `workers` need for `batches` each, all at once.
fn run(workers: &[Worker], batches: u64) -> Duration {
    let start = Instant::now();
    for worker in workers {
        let _ = worker.orders.send(batches); // a worker that ended is noticed below
    }
    workers.iter().for_each(Worker::wait);
    start.elapsed()
}

fn workers(c: &mut Criterion) {
    let workers = [Worker::start(0), Worker::start(1)];
    let mut measured = false;
    let mut group = c.benchmark_group("path/workers");
    for count in [1, 2] {
        group.throughput(Throughput::Elements((count * BATCH) as u64));
        group.bench_function(BenchmarkId::new("ping", count), |b| {
            b.iter_custom(|batches| run(&workers[..count], batches));
            measured = true;
        });
    }
    group.finish();
    if measured && compare::in_earnest() {
        let ratio = Ratio::of(|| {
            let one = run(&workers[..1], MEASURED).as_secs_f64();
            2.0 * one / run(&workers, MEASURED).as_secs_f64()
        });
        ratio.tell(["path/workers", "two move", "times the frames of one"]);
    }
    for worker in workers {
        drop(worker.orders);
        let _ = worker.thread.join(); // it ended in order, or `wait` would have said
    }
}

criterion_group!(benches, ping, get, crowd, workers);
criterion_main!(benches);
