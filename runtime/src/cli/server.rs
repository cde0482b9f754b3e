//! The thread that serves operators. It owns everything they do and shares nothing with workers but
//! their inboxes, so nothing an operator does delays a packet.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use super::client::Client;
use super::listen::Listener;
use super::operator::{Answer, Operator};
use super::ping::Ping;
use crate::service::{Bell, REST, Service};

/// Connections at most. When another comes, the one that was silent longest goes.
pub const CLIENTS_MAX: usize = 256;

/// How long a client may leave its answers unread.
pub const STALL_MAX: Duration = Duration::from_secs(10);

/// Octets of unread answers, all clients together; when they are more, who has most goes.
pub const OUTPUT_MAX: usize = 64 << 20;

/// Octets read from one client before another has its turn.
const READ_MAX: usize = 4096;

/// The running thread; ends when dropped.
#[derive(Debug)]
pub struct Server {
    _thread: Service,
}

impl Server {
    /// Serves `listener`'s clients by `operator`.
    ///
    /// # Errors
    /// No thread left.
    pub fn start(listener: Listener, operator: Operator) -> io::Result<Self> {
        let notify = operator.notify().clone();
        let mut serving = Serving {
            listener,
            operator,
            connections: Vec::new(),
        };
        let thread = Service::start("operator", notify, move |bell| {
            while !bell.is_over() {
                serving.turn(bell);
            }
        })?;
        Ok(Self { _thread: thread })
    }
}

struct Serving {
    listener: Listener,
    operator: Operator,
    connections: Vec<Connection>,
}

struct Connection {
    stream: UnixStream,
    client: Client,
    /// When something came from it last.
    heard: Instant,
    /// Since when nothing it was sent was taken.
    stalled: Option<Instant>,
    failed: bool,
    /// A command that goes on.
    running: Option<Ping>,
}

impl Serving {
    fn turn(&mut self, bell: &Bell) {
        self.sleep(bell);
        let now = Instant::now();
        self.accept(now);
        for one in &mut self.connections {
            one.read(now);
            one.client.tick(now);
            one.work(&mut self.operator, now);
            one.write(now);
        }
        self.connections
            .retain(|one| !one.failed && !one.client.is_over());
        self.bound_output();
    }

    /// Sleeps until somebody wants something; after commands that were not the last, only a little.
    fn sleep(&self, bell: &Bell) {
        let now = Instant::now();
        let connections = self.connections.iter();
        let deadline = connections.filter_map(Connection::deadline).min();
        let mut timeout = deadline.map(|at| at.saturating_duration_since(now));
        if self.connections.iter().any(Connection::has_command) {
            std::thread::sleep(REST);
            timeout = Some(Duration::ZERO);
        }
        let listener = PollFd::new(self.listener.socket.as_fd(), PollFlags::POLLIN);
        let connections = self.connections.iter().map(|one| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, one.client.wants_input());
            flags.set(PollFlags::POLLOUT, !one.client.output().is_empty());
            PollFd::new(one.stream.as_fd(), flags)
        });
        bell.wait(std::iter::once(listener).chain(connections), timeout);
    }

    fn accept(&mut self, now: Instant) {
        // A round's worth; who is left waits for the next.
        for _ in 0..CLIENTS_MAX {
            let stream = match self.listener.socket.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "an operator cannot be accepted");
                    std::thread::sleep(REST);
                    return;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.connections.len() >= CLIENTS_MAX {
                let heard = self.connections.iter().enumerate();
                if let Some((at, _)) = heard.min_by_key(|(_, one)| one.heard) {
                    self.connections.swap_remove(at);
                }
            }
            self.connections.push(Connection {
                stream,
                client: Client::new(now),
                heard: now,
                stalled: None,
                failed: false,
                running: None,
            });
        }
    }

    fn bound_output(&mut self) {
        let unread = |one: &Connection| one.client.output().len();
        while self.connections.iter().map(unread).sum::<usize>() > OUTPUT_MAX {
            let by_size = self.connections.iter().enumerate();
            let Some((at, _)) = by_size.max_by_key(|(_, one)| unread(one)) else {
                return;
            };
            self.connections.swap_remove(at);
        }
    }
}

impl Connection {
    fn deadline(&self) -> Option<Instant> {
        let stalled = self.stalled.map(|since| since + STALL_MAX);
        let running = self.running.as_ref().map(Ping::deadline);
        let deadlines = [stalled, running, self.client.deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn has_command(&self) -> bool {
        self.running.is_none() && self.client.has_command()
    }

    /// Goes on with its command, or begins the next.
    fn work(&mut self, operator: &mut Operator, now: Instant) {
        if let Some(ping) = &mut self.running {
            let (text, end) = ping.look(now);
            self.client.print(&text);
            let interrupted = self.client.interrupted();
            if let Some(reply) = end.or_else(|| interrupted.then(|| ping.summary())) {
                self.client.reply(&reply);
                self.running = None;
            }
        } else if let Some(command) = self.client.next_command() {
            match operator.run(&command) {
                Answer::Done(reply) => self.client.reply(&reply),
                Answer::Running(mut ping) => {
                    ping.look(now); // asks for the first time; nothing can have come
                    self.running = Some(ping);
                }
            }
        }
    }

    fn read(&mut self, now: Instant) {
        if !self.client.wants_input() {
            return;
        }
        let mut octets = [0; READ_MAX];
        match self.stream.read(&mut octets) {
            Ok(0) => self.client.end_of_input(),
            Ok(count) => {
                self.heard = now;
                self.client.receive(octets.get(..count).unwrap_or(&[]));
            }
            Err(error) if is_transient(&error) => {}
            Err(_) => self.failed = true,
        }
    }

    fn write(&mut self, now: Instant) {
        while !self.client.output().is_empty() {
            match self.stream.write(self.client.output()) {
                Ok(count) if count > 0 => {
                    self.client.sent(count);
                    self.stalled = None;
                }
                Err(error) if is_transient(&error) => {
                    let since = *self.stalled.get_or_insert(now);
                    self.failed |= now.saturating_duration_since(since) >= STALL_MAX;
                    return;
                }
                _ => {
                    self.failed = true;
                    return;
                }
            }
        }
        self.stalled = None;
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
