//! The built-in load generator: GET after GET over many connections, on one thread, with epoll.
//!
//! It counts an answer when its status is 200 and its `Content-Length` is what the file has, and
//! every octet of the body has arrived. Anything else is an error, which is counted, and the
//! first is kept in words.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use crate::client::HEAD_MAX;
use crate::netns::Netns;
use crate::race::histogram::Histogram;

/// Errors after which a load is ended.
pub const ERRORS_MAX: u64 = 1000;

/// Headers of one response; a response with more is an error.
const HEADERS_MAX: usize = 64;
/// Octets read at once.
const READ_MAX: usize = 256 * 1024;
/// Events taken at once.
const EVENTS_MAX: usize = 256;
/// How often stalled connections are looked for.
const SWEEP: Duration = Duration::from_millis(100);

/// What becomes of a connection when it has been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// It carries the next request.
    KeepAlive,
    /// The request says `Connection: close`; the server closes, and another one is opened.
    Close,
    /// It is kept open and does nothing; another one is opened.
    Hold,
}

/// When a load ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After this time.
    Elapsed(Duration),
    /// When this many requests have been made and have ended.
    Requests(u64),
}

/// A load.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// The server.
    pub to: SocketAddrV4,
    /// What to ask for.
    pub path: &'a str,
    /// How long the answer's body is, octets.
    pub length: u64,
    /// Requests under way at a time, each on its connection.
    pub at_once: usize,
    /// What becomes of connections.
    pub reuse: Reuse,
    /// When it ends.
    pub until: Until,
    /// A connection on which nothing happens for so long is given up.
    pub patience: Duration,
}

/// What came of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests that were answered.
    pub answered: u64,
    /// Time it took, from the first connection to the end.
    pub elapsed: Duration,
    /// From the request (from connecting, where each has its own connection) to the last octet.
    pub times: Histogram,
    /// Requests that were not answered, and connections that broke.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
    /// Connections that are held.
    pub held: Vec<TcpStream>,
}

/// Runs `load` from `namespace`.
///
/// # Errors
/// The kernel refuses what the generator itself needs. What goes wrong with the server is in
/// [`Outcome::errors`].
pub fn run(namespace: &Netns, load: &Load<'_>) -> io::Result<Outcome> {
    namespace.run(|| Generator::new(load)?.run())?
}

struct Generator<'a> {
    load: &'a Load<'a>,
    request: Vec<u8>,
    epoll: Epoll,
    slots: Vec<Option<Connection>>,
    busy: usize,
    begun: u64,
    outcome: Outcome,
}

struct Connection {
    stream: TcpStream,
    phase: Phase,
    /// When the request under way began.
    since: Instant,
    /// When something happened last.
    touched: Instant,
    /// The part of a response's head that has come, while it is not whole.
    head: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Sending { sent: usize },
    Head,
    Body { left: u64, keeps: bool },
    Closing,
}

/// What an event on a connection leads to.
enum Step {
    Wait(EpollFlags),
    Answered { keeps: bool },
    Closed,
}

impl<'a> Generator<'a> {
    fn new(load: &'a Load<'a>) -> io::Result<Self> {
        let close = match load.reuse {
            Reuse::Close => "Connection: close\r\n",
            Reuse::KeepAlive | Reuse::Hold => "",
        };
        let host = load.to.ip();
        Ok(Self {
            load,
            request: format!("GET {} HTTP/1.1\r\nHost: {host}\r\n{close}\r\n", load.path).into(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            slots: (0..load.at_once).map(|_| None).collect(),
            busy: 0,
            begun: 0,
            outcome: Outcome::default(),
        })
    }

    fn run(mut self) -> io::Result<Outcome> {
        let start = Instant::now();
        let mut swept = start;
        let mut buffer = vec![0; READ_MAX];
        let mut events = vec![EpollEvent::empty(); EVENTS_MAX];
        let mut now = start;
        while !self.is_over(start, now) {
            let mut at = 0;
            while at < self.slots.len() && self.may_begin() && self.busy < self.slots.len() {
                if self.slots.get(at).is_some_and(Option::is_none) {
                    self.open(at, now);
                }
                at += 1;
            }
            let timeout = EpollTimeout::try_from(SWEEP).map_err(io::Error::other)?;
            let ready = match self.epoll.wait(&mut events, timeout) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            now = Instant::now();
            for event in events.iter().take(ready) {
                let slot = usize::try_from(event.data()).unwrap_or(usize::MAX);
                self.handle(slot, &mut buffer, now)?;
            }
            now = Instant::now();
            if now - swept >= SWEEP {
                swept = now;
                self.sweep(now);
            }
        }
        self.outcome.elapsed = start.elapsed();
        Ok(self.outcome)
    }

    fn is_over(&self, start: Instant, now: Instant) -> bool {
        let over = match self.load.until {
            Until::Elapsed(time) => now - start >= time,
            Until::Requests(_) => self.busy == 0 && !self.may_begin(),
        };
        over || self.outcome.errors >= ERRORS_MAX
    }

    fn may_begin(&self) -> bool {
        match self.load.until {
            Until::Elapsed(_) => true,
            Until::Requests(count) => self.begun < count,
        }
    }

    /// Begins to connect.
    fn open(&mut self, slot: usize, now: Instant) {
        self.begun += 1;
        match self.connect(slot, now) {
            Ok(connection) => {
                if let Some(place) = self.slots.get_mut(slot) {
                    *place = Some(connection);
                    self.busy += 1;
                }
            }
            Err(error) => self.count_error(&format!("connecting: {error}")),
        }
    }

    fn connect(&self, slot: usize, now: Instant) -> io::Result<Connection> {
        const EINPROGRESS: i32 = nix::errno::Errno::EINPROGRESS as i32;
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&self.load.to.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
            _ => {}
        }
        let stream = TcpStream::from(socket);
        let event = EpollEvent::new(EpollFlags::EPOLLOUT, slot as u64);
        self.epoll.add(&stream, event)?;
        Ok(Connection {
            stream,
            phase: Phase::Connecting,
            since: now,
            touched: now,
            head: Vec::new(),
        })
    }

    /// Does what an event asks for.
    fn handle(&mut self, slot: usize, buffer: &mut [u8], now: Instant) -> io::Result<()> {
        let Some(Some(connection)) = self.slots.get_mut(slot) else {
            return Ok(());
        };
        connection.touched = now;
        let before = connection.interest();
        match connection.step(&self.request, self.load.length, buffer) {
            Ok(Step::Wait(interest)) => self.listen(slot, before, interest),
            Ok(Step::Answered { keeps }) => self.answered(slot, before, keeps),
            Ok(Step::Closed) => {
                self.close(slot);
                Ok(())
            }
            Err(error) => {
                self.count_error(&error.to_string());
                self.close(slot);
                Ok(())
            }
        }
    }

    fn answered(&mut self, slot: usize, before: EpollFlags, keeps: bool) -> io::Result<()> {
        let goes_on = keeps && self.may_begin();
        let Some(Some(connection)) = self.slots.get_mut(slot) else {
            return Ok(());
        };
        let now = Instant::now();
        self.outcome.answered += 1;
        self.outcome.times.record(now - connection.since);
        match self.load.reuse {
            Reuse::Hold => {
                self.epoll.delete(&connection.stream)?;
                if let Some(connection) = self.slots.get_mut(slot).and_then(Option::take) {
                    self.outcome.held.push(connection.stream);
                    self.busy -= 1;
                }
                Ok(())
            }
            Reuse::Close => {
                connection.phase = Phase::Closing;
                self.listen(slot, before, EpollFlags::EPOLLIN)
            }
            Reuse::KeepAlive if !goes_on => {
                self.close(slot);
                Ok(())
            }
            Reuse::KeepAlive => {
                self.begun += 1;
                connection.since = now;
                match connection.send(&self.request, 0) {
                    Ok(Step::Wait(interest)) => self.listen(slot, before, interest),
                    Ok(Step::Answered { .. } | Step::Closed) => Ok(()),
                    Err(error) => {
                        self.count_error(&error.to_string());
                        self.close(slot);
                        Ok(())
                    }
                }
            }
        }
    }

    fn listen(&self, slot: usize, before: EpollFlags, interest: EpollFlags) -> io::Result<()> {
        match self.slots.get(slot) {
            Some(Some(connection)) if before != interest => {
                let mut event = EpollEvent::new(interest, slot as u64);
                Ok(self.epoll.modify(&connection.stream, &mut event)?)
            }
            _ => Ok(()),
        }
    }

    /// Closing a descriptor takes it out of the epoll set.
    fn close(&mut self, slot: usize) {
        if self.slots.get_mut(slot).and_then(Option::take).is_some() {
            self.busy -= 1;
        }
    }

    /// Gives up connections on which nothing happens any more.
    fn sweep(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let patience = self.load.patience;
            let stalled = self.slots.get(slot).and_then(Option::as_ref);
            let stalled = stalled.filter(|its| now - its.touched > patience);
            if let Some(phase) = stalled.map(|its| its.phase) {
                self.count_error(&format!("nothing for {patience:?} while {phase}"));
                self.close(slot);
            }
        }
    }

    fn count_error(&mut self, error: &str) {
        self.outcome.errors += 1;
        self.outcome
            .first_error
            .get_or_insert_with(|| error.to_owned());
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Sending { .. } => f.write_str("sending a request"),
            Self::Head => f.write_str("waiting for an answer"),
            Self::Body { left, .. } => write!(f, "waiting for the last {left} octets of a body"),
            Self::Closing => f.write_str("waiting for the server to close"),
        }
    }
}

impl Connection {
    /// What it waits for.
    fn interest(&self) -> EpollFlags {
        match self.phase {
            Phase::Connecting | Phase::Sending { .. } => EpollFlags::EPOLLOUT,
            Phase::Head | Phase::Body { .. } | Phase::Closing => EpollFlags::EPOLLIN,
        }
    }

    fn step(&mut self, request: &[u8], length: u64, buffer: &mut [u8]) -> io::Result<Step> {
        match self.phase {
            Phase::Connecting => match self.stream.take_error()? {
                Some(error) => Err(error),
                None => self.send(request, 0),
            },
            Phase::Sending { sent } => self.send(request, sent),
            Phase::Head | Phase::Body { .. } | Phase::Closing => {
                let read = match self.stream.read(buffer) {
                    Ok(read) => read,
                    Err(error) if again(&error) => return Ok(Step::Wait(self.interest())),
                    Err(error) => return Err(error),
                };
                if read == 0 {
                    return match self.phase {
                        Phase::Closing => Ok(Step::Closed),
                        phase => Err(wrong(&format!("the server closed while {phase}"))),
                    };
                }
                self.feed(buffer.get(..read).unwrap_or_default(), length)
            }
        }
    }

    fn send(&mut self, request: &[u8], mut sent: usize) -> io::Result<Step> {
        while let Some(rest) = request.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(written) => sent += written,
                Err(error) if again(&error) => {
                    self.phase = Phase::Sending { sent };
                    return Ok(Step::Wait(EpollFlags::EPOLLOUT));
                }
                Err(error) => return Err(error),
            }
        }
        self.phase = Phase::Head;
        Ok(Step::Wait(EpollFlags::EPOLLIN))
    }

    /// Takes octets of a response.
    fn feed(&mut self, octets: &[u8], length: u64) -> io::Result<Step> {
        let (left, keeps, body) = match self.phase {
            Phase::Body { left, keeps } => (left, keeps, octets.len()),
            Phase::Head => {
                let whole = if self.head.is_empty() {
                    parse(octets)?
                } else {
                    self.head.extend_from_slice(octets);
                    parse(&self.head)?
                };
                let Some(head) = whole else {
                    if self.head.is_empty() {
                        self.head.extend_from_slice(octets);
                    }
                    return if self.head.len() > HEAD_MAX {
                        Err(wrong("a head that does not end"))
                    } else {
                        Ok(Step::Wait(EpollFlags::EPOLLIN))
                    };
                };
                let so_far = self.head.len().max(octets.len());
                self.head.clear();
                if (head.status, head.content_length) != (200, Some(length)) {
                    return Err(wrong(&format!(
                        "status {}, content-length {:?} where 200 and {length} were expected",
                        head.status, head.content_length
                    )));
                }
                (length, head.keeps, so_far - head.length)
            }
            Phase::Connecting | Phase::Sending { .. } | Phase::Closing => {
                return Err(wrong("octets that nobody asked for"));
            }
        };
        let Some(left) = left.checked_sub(body as u64) else {
            return Err(wrong("a body longer than announced"));
        };
        self.phase = Phase::Body { left, keeps };
        Ok(if left == 0 {
            Step::Answered { keeps }
        } else {
            Step::Wait(EpollFlags::EPOLLIN)
        })
    }
}

fn again(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What a response's head says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// Octets of the head itself.
    length: usize,
    status: u16,
    content_length: Option<u64>,
    /// Whether the connection stays.
    keeps: bool,
}

/// The head at the start of `octets`; `None` if it is not whole yet.
fn parse(octets: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response
        .parse(octets)
        .map_err(|error| wrong(&format!("not HTTP/1: {error}")))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let value = |name: &str| {
        let header = response
            .headers
            .iter()
            .find(|its| its.name.eq_ignore_ascii_case(name));
        header.and_then(|its| std::str::from_utf8(its.value).ok())
    };
    let keeps = match value("connection") {
        Some(value) => !value.trim().eq_ignore_ascii_case("close"),
        None => response.version == Some(1),
    };
    Ok(Some(Head {
        length,
        status: response.code.unwrap_or_default(),
        content_length: value("content-length").and_then(|value| value.trim().parse().ok()),
        keeps,
    }))
}

#[cfg(test)]
mod tests;
