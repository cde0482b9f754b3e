//! Connections against a model of them: how many there are of each kind, whatever happens.

use super::*;

const CONNECTIONS_MAX: usize = 4;
const HALF_OPEN_MAX: usize = 3;
const TIME_WAIT_MAX: usize = 3;
const PORTS: u16 = 8;

/// A SYN-ACK is sent again after 1, 2 and 4 s, and given up 8 s later.
const HALF_OPEN: Duration = Duration::from_secs(15);
const TIME_WAIT: Duration = Duration::from_mins(1);
const FIN_WAIT_2: Duration = Duration::from_mins(1);
/// Five probes 10 s apart after 75 s of silence.
const KEEP_ALIVE: Duration = Duration::from_secs(125);
const IDLE: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Closed,
    HalfOpen,
    /// Answered with a cookie: only the client knows.
    Cookie,
    Open,
    FinWait2,
    TimeWait,
}

#[derive(Clone, Debug)]
enum Deed {
    Syn(u16),
    Ack(u16),
    Talk(u16),
    /// Has the server close.
    Quit(u16),
    Fin(u16),
    Reset(u16),
    Wait(u64),
    Listen(bool),
}

/// One client: what it knows, and what the server must know of it.
struct Client {
    peer: Peer,
    flow: Flow,
    /// When the state began, or the peer of an open one was last heard.
    since: Duration,
}

/// Closes when the peer does or says `q`.
struct Closer;

impl Service for Closer {
    fn accept(&mut self, mut stream: TcpStream) -> Connection {
        Box::pin(poll_fn(move |cx| {
            let mut buffer = [0; 64];
            loop {
                match Pin::new(&mut stream).poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(octets)) if octets > 0 && buffer[0] != b'q' => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }))
    }
}

struct Model {
    bed: Bed,
    clients: Vec<Client>,
    listening: bool,
}

impl Model {
    fn new() -> Self {
        let mut bed = Bed::new(TcpConfig {
            connections_max: CONNECTIONS_MAX,
            half_open_max: HALF_OPEN_MAX,
            time_wait_max: TIME_WAIT_MAX,
            listeners_max: 1,
            ..plain(true)
        });
        assert!(bed.tcp.unlisten(Ipv4Addr::UNSPECIFIED, 80));
        bed.tcp.listen(Ipv4Addr::UNSPECIFIED, 80, Closer).unwrap();
        bed.harness.now = S(10);
        let clients = (0..PORTS).map(|port| Client {
            peer: Peer::new(4000 + port),
            flow: Flow::Closed,
            since: Duration::ZERO,
        });
        Self {
            clients: clients.collect(),
            bed,
            listening: true,
        }
    }

    fn now(&self) -> Duration {
        self.bed.harness.now
    }

    fn count(&self, flow: Flow) -> usize {
        self.clients.iter().filter(|one| one.flow == flow).count()
    }

    fn connections(&self) -> usize {
        self.count(Flow::Open) + self.count(Flow::FinWait2)
    }

    fn is_idle(&self, client: &Client) -> bool {
        client.flow == Flow::Open && self.now() >= client.since + IDLE
    }

    fn set(&mut self, at: u16, flow: Flow) {
        let now = self.now();
        let client = &mut self.clients[usize::from(at)];
        (client.flow, client.since) = (flow, now);
        if flow == Flow::TimeWait && self.count(flow) > TIME_WAIT_MAX {
            let records = self.clients.iter_mut().filter(|one| one.flow == flow);
            let oldest = records.min_by_key(|one| one.since).unwrap();
            oldest.flow = Flow::Closed;
        }
    }

    fn has_room(&self) -> bool {
        self.connections() < CONNECTIONS_MAX || self.clients.iter().any(|one| self.is_idle(one))
    }

    /// The deed's segments, and what the model says of them.
    fn act(&mut self, deed: &Deed) {
        match *deed {
            Deed::Syn(at) => self.syn(at),
            Deed::Ack(at) => self.ack(at),
            Deed::Wait(span) => self.pass(Duration::from_millis(span)),
            Deed::Listen(listen) if listen != self.listening => {
                self.listening = listen;
                if listen {
                    let listening = self.bed.tcp.listen(SERVER, 80, Closer);
                    listening.unwrap();
                    let second = self.bed.tcp.listen(SERVER, 81, Closer);
                    assert!(second.is_err(), "there is one place for listeners");
                } else {
                    let any = self.bed.tcp.unlisten(Ipv4Addr::UNSPECIFIED, 80);
                    assert!(any || self.bed.tcp.unlisten(SERVER, 80));
                }
            }
            Deed::Listen(_) => {}
            Deed::Talk(at) | Deed::Quit(at) => {
                if self.flow(at) != Flow::Open {
                    return;
                }
                let quit = matches!(deed, Deed::Quit(_));
                let octets: &[u8] = if quit { b"q" } else { b"x" };
                let answer = self.send(at, ACK | PSH, octets);
                self.set(at, Flow::Open);
                if quit {
                    self.take(at, &answer);
                    self.send(at, ACK, &[]);
                    self.set(at, Flow::FinWait2);
                }
            }
            Deed::Fin(at) => match self.flow(at) {
                Flow::Open => {
                    let answer = self.send(at, FIN | ACK, &[]);
                    self.take(at, &answer);
                    self.send(at, ACK, &[]);
                    self.set(at, Flow::Closed);
                }
                Flow::FinWait2 => {
                    self.send(at, FIN | ACK, &[]);
                    self.set(at, Flow::TimeWait);
                }
                _ => {}
            },
            Deed::Reset(at) => {
                self.send(at, RST, &[]);
                if matches!(self.flow(at), Flow::HalfOpen | Flow::Open | Flow::FinWait2) {
                    self.set(at, Flow::Closed);
                }
            }
        }
        self.pass(Duration::from_millis(20));
    }

    fn flow(&self, at: u16) -> Flow {
        self.clients[usize::from(at)].flow
    }

    fn send(&mut self, at: u16, flags: u8, payload: &[u8]) -> Vec<Seen> {
        let peer = &mut self.clients[usize::from(at)].peer;
        let packet = peer.segment(flags, payload);
        peer.sent(payload.len() + usize::from(flags & FIN != 0));
        let port = peer.address.port();
        let mut seen = self.bed.send(&packet);
        seen.retain(|seen| seen.port == port);
        seen
    }

    fn take(&mut self, at: u16, seen: &[Seen]) {
        let fin = seen.last().is_some_and(|last| last.flags & FIN != 0);
        assert!(fin, "the server closes: {seen:?}");
        self.clients[usize::from(at)].peer.take(seen);
    }

    fn syn(&mut self, at: u16) {
        let flow = self.flow(at);
        if matches!(flow, Flow::Open | Flow::FinWait2) {
            return;
        }
        let peer = &mut self.clients[usize::from(at)].peer;
        let again = flow == Flow::HalfOpen;
        // Numbers go on from attempt to attempt, as RFC 6191 wants them.
        peer.seq = if again {
            peer.seq.wrapping_sub(1)
        } else {
            peer.seq.wrapping_add(100_000)
        };
        let packet = peer.syn();
        peer.sent(1);
        let answer = self.bed.send(&packet);
        assert_eq!(answer.len(), 1, "a SYN is answered");
        let accepted = answer[0].flags == SYN | ACK;
        if again {
            assert!(accepted);
            return;
        }
        let full = self.count(Flow::HalfOpen) == HALF_OPEN_MAX;
        assert_eq!(accepted, self.listening && self.has_room());
        self.clients[usize::from(at)].peer.ack = answer[0].seq.wrapping_add(1);
        self.set(
            at,
            match (accepted, full) {
                (false, _) => Flow::Closed,
                (true, true) => Flow::Cookie,
                (true, false) => Flow::HalfOpen,
            },
        );
    }

    fn ack(&mut self, at: u16) {
        match self.flow(at) {
            Flow::HalfOpen => {}
            Flow::Cookie if self.now() < self.clients[usize::from(at)].since + S(10) => {}
            Flow::Cookie => return self.set(at, Flow::Closed),
            _ => return,
        }
        let opens = self.listening && self.has_room();
        let evicts = opens && self.connections() == CONNECTIONS_MAX;
        self.send(at, ACK, &[]);
        if evicts {
            self.evict();
        }
        self.set(at, if opens { Flow::Open } else { Flow::Closed });
    }

    /// The one idle for longest is gone; of several, one of them.
    fn evict(&mut self) {
        let left = self.bed.tcp.connections(self.now());
        let is_left = |client: &Client| left.iter().any(|info| info.remote == client.peer.address);
        let idle = || self.clients.iter().filter(|one| self.is_idle(one));
        let longest = idle().map(|one| one.since).min();
        let gone: Vec<_> = idle().filter(|one| !is_left(one)).collect();
        assert_eq!(gone.len(), 1);
        assert!(Some(gone[0].since) <= longest.map(|longest| longest + IDLE));
        let gone = gone[0].peer.address;
        let mut clients = self.clients.iter_mut();
        clients.find(|one| one.peer.address == gone).unwrap().flow = Flow::Closed;
    }

    /// Lets time pass, and a little more if it would end where something is about to.
    fn pass(&mut self, span: Duration) {
        self.bed.pass(span);
        let near = Duration::from_millis(60);
        let end = |client: &Client| match client.flow {
            Flow::Closed | Flow::Cookie => None,
            Flow::HalfOpen => Some(client.since + HALF_OPEN),
            Flow::Open => Some(client.since + KEEP_ALIVE),
            Flow::FinWait2 => Some(client.since + FIN_WAIT_2),
            Flow::TimeWait => Some(client.since + TIME_WAIT),
        };
        loop {
            let now = self.now();
            let mut ends = self.clients.iter().flat_map(|client| {
                let idle = (client.flow == Flow::Open).then_some(client.since + IDLE);
                [end(client), idle]
            });
            if !ends.any(|end| end.is_some_and(|end| now.abs_diff(end) < near)) {
                break;
            }
            self.bed.pass(near);
        }
        let now = self.now();
        for client in &mut self.clients {
            if end(client).is_some_and(|end| end < now) {
                client.flow = Flow::Closed;
            }
        }
    }

    /// Server and model agree.
    fn check(&self) {
        let limits = self.bed.tcp.limits();
        assert_eq!(
            (limits.connections, limits.half_open, limits.time_wait),
            (
                (self.connections(), CONNECTIONS_MAX),
                (self.count(Flow::HalfOpen), HALF_OPEN_MAX),
                (self.count(Flow::TimeWait), TIME_WAIT_MAX),
            )
        );
        let list = self.bed.tcp.connections(self.now());
        for client in &self.clients {
            let info = list.iter().find(|info| info.remote == client.peer.address);
            let expected = match client.flow {
                Flow::Closed | Flow::Cookie => None,
                Flow::HalfOpen => Some(State::SynReceived),
                Flow::Open => Some(State::Established),
                Flow::FinWait2 => Some(State::FinWait2),
                Flow::TimeWait => Some(State::TimeWait),
            };
            assert_eq!(
                info.map(|info| info.state),
                expected,
                "{}",
                client.peer.address
            );
        }
        assert!(self.bed.tcp.core.borrow().all_have_deadlines());
        assert_eq!(self.bed.counters().panics, 0);
    }
}

fn deed() -> impl Strategy<Value = Deed> {
    let port = || 0..PORTS;
    prop_oneof![
        6 => port().prop_map(Deed::Syn),
        6 => port().prop_map(Deed::Ack),
        3 => port().prop_map(Deed::Talk),
        2 => port().prop_map(Deed::Quit),
        2 => port().prop_map(Deed::Fin),
        1 => port().prop_map(Deed::Reset),
        3 => prop::sample::select(vec![310, 6_820, 17_050, 63_240, 139_810]).prop_map(Deed::Wait),
        1 => any::<bool>().prop_map(Deed::Listen),
    ]
}

proptest! {
    #[test]
    fn connections_are_as_the_model_predicts(deeds in prop::collection::vec(deed(), 1..80)) {
        let mut model = Model::new();
        for deed in &deeds {
            model.act(deed);
            model.check();
        }
        // Left alone, everything ends.
        model.pass(S(300));
        model.check();
        prop_assert_eq!(model.clients.iter().filter(|one| one.flow == Flow::Open).count(), 0);
        prop_assert_eq!(model.bed.tcp.limits().buffers.0, 0);
    }
}
