//! What a request costs the HTTP server alone, over a stream in memory: finding the head, hyper,
//! the cache, the answer. `path.rs` has the same requests through the worker's whole graph.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane_benches::site::{REQUEST_HEAD, SIZES, Site, path_of};
use http_static::testing::{Client, ManualTimer, Stream, duplex};
use http_static::{Connection, Server};

/// A connection that is kept open.
struct Kept {
    client: Client,
    connection: Pin<Box<Connection<Stream, ManualTimer>>>,
    received: Vec<u8>,
}

impl Kept {
    fn new(server: &Server) -> Self {
        let (client, stream) = duplex();
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let connection = server.serve(stream, peer, ManualTimer::default());
        Self {
            client,
            connection: Box::pin(connection),
            received: Vec::new(),
        }
    }

    /// Asks, polls once, and takes what came.
    fn ask(&mut self, request: &[u8]) -> usize {
        self.client.send(request);
        self.poll();
        self.received.len()
    }

    fn poll(&mut self) {
        let polled = self
            .connection
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending), "it is kept open");
        self.client.receive_into(&mut self.received);
    }

    /// Asks until the file is in the cache, and says how long the answer is.
    fn warm(&mut self, request: &[u8], len: usize) -> usize {
        let patience = Instant::now() + Duration::from_secs(10);
        let mut octets = self.ask(request);
        while octets < len {
            assert!(Instant::now() < patience, "the file is loaded");
            std::thread::sleep(Duration::from_millis(1));
            self.poll();
            octets += self.received.len();
        }
        self.ask(request)
    }
}

fn get(c: &mut Criterion) {
    let site = Site::new();
    let server = site.server();
    let mut group = c.benchmark_group("http-static/get");
    for size in SIZES {
        let request = format!("GET {} HTTP/1.1\r\n{REQUEST_HEAD}\r\n", path_of(size));
        group.throughput(Throughput::Elements(1));
        let mut kept = Kept::new(&server);
        let answer = kept.warm(request.as_bytes(), size);
        assert!(answer > size, "a head and the file");
        group.bench_function(BenchmarkId::new("alone", size), |b| {
            b.iter(|| assert_eq!(kept.ask(request.as_bytes()), answer));
        });
        // The baseline: as many octets copied both ways, which the stream in memory does too.
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let octets = vec![b'x'; answer];
        group.bench_function(BenchmarkId::new("copy", size), |b| {
            b.iter(|| {
                to_server.clear();
                to_server.extend_from_slice(request.as_bytes());
                to_client.clear();
                to_client.extend_from_slice(black_box(&octets));
                black_box((&to_server, &to_client));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, get);
criterion_main!(benches);
