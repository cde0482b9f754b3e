//! What a packet costs with few and with many established connections, met in random order: through
//! a worker's whole graph, `tcp4-input` and its table doing most of it.
//!
//! | variant | a batch is | the baseline is |
//! |---|---|---|
//! | `old-duplicate` | empty segments refused after lookup and check | `100`, the least flows |
//! | `request` | 32 octets each, read and answered by a service with 8 | the same |
//! | `pure-ack` | acknowledgements of these answers | the same |
//!
//! With `-awake` behind it every connection keeps its buffers, with `-asleep` each gives them back
//! when it has nothing to do; as configured by default, which it is depends on how much all of them
//! have. Like is compared with like: `request-awake/50000` with `request-awake/100`.
//!
//! Behind each the least and the most flows are measured in turn, and the ratio of their times told.
//!
//! The frames are written while the clock stands still.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane_benches::compare::{self, Ratio};
use dataplane_benches::peer::{ANSWER, Answers, PORT, Peer, Template, connect};
use dataplane_benches::whole::Whole;
use ipstack::tcp::TcpConfig;

/// Frames of a batch.
const BATCH: usize = 64;

/// Established connections.
const FLOWS: [usize; 3] = [100, 10_000, 50_000];

/// More connections than any bench has.
const FLOWS_MAX: usize = 65_536;

/// Octets of a request, and of its answer.
const QUESTION: usize = 32;
const QUESTION_LEN: u32 = 32;
const ANSWER_LEN: u32 = 8;

/// Answers not acknowledged yet, in flows, when there are enough.
const LAG_MAX: usize = 512;

/// Batches of one crowd before the other's are measured, and those measured.
const WARM_UP: usize = 50;
const MEASURED: usize = 100;

/// Time goes on by this much a batch.
const STEP: Duration = Duration::from_micros(20);

struct Crowd {
    whole: Whole,
    peers: Vec<Peer>,
    /// Peers in the order they speak, again and again.
    order: Vec<usize>,
    /// Batches that have asked.
    round: usize,
    /// Batches whose answers are not acknowledged yet.
    lag: usize,
    question: Template,
    empty: Template,
}

impl Crowd {
    fn new(flows: usize, config: TcpConfig) -> Self {
        let mut whole = Whole::new(config);
        let listening = whole.assembly.listen(Ipv4Addr::UNSPECIFIED, PORT, Answers);
        listening.unwrap_or_else(|error| unreachable!("{error}"));
        let mut peers: Vec<Peer> = (0..flows)
            .map(|number| {
                let [_, _, high, low] = u32::try_from(number).unwrap_or(0).to_be_bytes();
                Peer::new(Ipv4Addr::new(10, 0, high, low), 40_000)
            })
            .collect();
        for some in peers.chunks_mut(BATCH) {
            connect(&mut whole, some);
        }
        let connections = whole.assembly.tcp.limits().connections.0;
        assert_eq!(connections, flows, "all are connected");
        let mut crowd = Self {
            whole,
            peers,
            order: shuffled(flows),
            round: 0,
            lag: (flows / 2).min(LAG_MAX) / BATCH,
            question: Template::new(&[b'?'; QUESTION]),
            empty: Template::new(&[]),
        };
        // Everybody has spoken once, so that nothing is met for the first time.
        for _ in 0..flows.div_ceil(BATCH) {
            crowd.request();
            crowd.acknowledge();
        }
        for _ in 0..crowd.lag {
            crowd.acknowledge();
        }
        crowd
    }

    /// The peers of the batch `back` before this one.
    fn speakers(&self, back: usize) -> Option<Vec<usize>> {
        let first = self.round.checked_sub(back)? * BATCH;
        let order = self.order.iter().cycle().skip(first % self.order.len());
        Some(order.take(BATCH).copied().collect())
    }

    /// The next peers ask, and are answered at once.
    fn request(&mut self) -> Duration {
        let speakers = self.speakers(0).unwrap_or_default();
        for (number, speaker) in speakers.iter().enumerate() {
            let peer = &mut self.peers[*speaker];
            self.question.write(peer, self.whole.frame(number));
            peer.seq = peer.seq.wrapping_add(QUESTION_LEN);
            peer.ack = peer.ack.wrapping_add(ANSWER_LEN);
        }
        let spent = self.turn(self.question.len());
        let answered = std::mem::take(&mut self.whole.sent).payload;
        assert_eq!(answered, BATCH * ANSWER.len(), "everybody is answered");
        spent
    }

    /// Peers acknowledge what they were answered a while ago.
    fn acknowledge(&mut self) -> Duration {
        let spent = self.speakers(self.lag).map(|speakers| {
            for (number, speaker) in speakers.iter().enumerate() {
                let peer = &self.peers[*speaker];
                self.empty.write(peer, self.whole.frame(number));
            }
            self.turn(self.empty.len())
        });
        self.round += 1;
        spent.unwrap_or_default()
    }

    /// The next peers acknowledge what they have acknowledged long ago.
    fn duplicate(&mut self) -> Duration {
        let speakers = self.speakers(0).unwrap_or_default();
        for (number, speaker) in speakers.iter().enumerate() {
            let mut peer = self.peers[*speaker];
            peer.ack = peer.ack.wrapping_sub(2 * ANSWER_LEN);
            self.empty.write(&peer, self.whole.frame(number));
        }
        self.round += 1;
        self.turn(self.empty.len())
    }

    /// The time a batch took, without what it needs before or after.
    fn batch(&mut self, kind: Kind) -> Duration {
        match kind {
            Kind::OldDuplicate => {
                let spent = self.duplicate();
                assert_eq!(self.whole.sent.frames, 0, "nobody answers a duplicate");
                spent
            }
            Kind::Request => {
                let spent = self.request();
                self.acknowledge();
                spent
            }
            Kind::PureAck => {
                self.request();
                self.acknowledge()
            }
        }
    }

    /// A batch of frames of `len` octets, written before: what is timed.
    fn turn(&mut self, len: usize) -> Duration {
        self.whole.now += STEP;
        let start = Instant::now();
        self.whole.turn(&[len; BATCH]);
        start.elapsed()
    }
}

/// 0 to `count`, in an order that is the same each time (splitmix64).
fn shuffled(count: usize) -> Vec<usize> {
    let mut state = 0u64;
    let mut random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let other = random() % (last as u64 + 1);
        order.swap(last, usize::try_from(other).unwrap_or(0));
    }
    order
}

/// What a batch consists of.
#[derive(Clone, Copy, Debug)]
enum Kind {
    OldDuplicate,
    Request,
    PureAck,
}

impl Kind {
    const ALL: [Self; 3] = [Self::OldDuplicate, Self::Request, Self::PureAck];

    fn name(self) -> &'static str {
        match self {
            Self::OldDuplicate => "old-duplicate",
            Self::Request => "request",
            Self::PureAck => "pure-ack",
        }
    }
}

/// What becomes of the buffers of connections that have nothing to do.
fn buffers() -> [(&'static str, TcpConfig); 3] {
    let config = TcpConfig {
        connections_max: FLOWS_MAX,
        ..TcpConfig::default()
    };
    // Enough for all to have theirs, and time to keep them.
    let awake = TcpConfig {
        buffers_max: 8 << 30,
        buffers_idle_max: 8 << 30,
        hibernate_after: Duration::from_hours(1),
        ..config.clone()
    };
    let asleep = TcpConfig {
        buffers_idle_max: 0,
        ..config.clone()
    };
    [("", config), ("-awake", awake), ("-asleep", asleep)]
}

fn flows(c: &mut Criterion) {
    for (suffix, config) in buffers() {
        let mut group = c.benchmark_group("ipstack/tcp4-input");
        group.throughput(Throughput::Elements(BATCH as u64));
        let mut crowds = FLOWS.map(|_| None);
        let mut measured = [false; Kind::ALL.len()];
        for (flows, crowd) in FLOWS.into_iter().zip(&mut crowds) {
            for (kind, measured) in Kind::ALL.into_iter().zip(&mut measured) {
                let id = BenchmarkId::new(format!("{}{suffix}", kind.name()), flows);
                group.bench_function(id, |b| {
                    let crowd = crowd.get_or_insert_with(|| Crowd::new(flows, config.clone()));
                    b.iter_custom(|batches| (0..batches).map(|_| crowd.batch(kind)).sum());
                    *measured = true;
                });
            }
        }
        group.finish();
        if let [Some(few), .., Some(many)] = &mut crowds
            && compare::in_earnest()
        {
            for (kind, _) in Kind::ALL
                .into_iter()
                .zip(measured)
                .filter(|(_, done)| *done)
            {
                tell(kind, suffix, few, many);
            }
        }
    }
}

/// What a batch costs among `many` flows for what it costs among `few`.
fn tell(kind: Kind, suffix: &str, few: &mut Crowd, many: &mut Crowd) {
    let ratio = Ratio::of(|| {
        let [few, many] = [&mut *few, &mut *many].map(|crowd| {
            // What the other has driven from the caches comes back first.
            let mut batches =
                |count: usize| (0..count).map(|_| crowd.batch(kind)).sum::<Duration>();
            batches(WARM_UP);
            batches(MEASURED).as_secs_f64()
        });
        many / few
    });
    ratio.tell([
        &format!("ipstack/tcp4-input/{}{suffix}", kind.name()),
        "among 50,000 flows a batch costs",
        "times what it costs among 100",
    ]);
}

criterion_group!(benches, flows);
criterion_main!(benches);
