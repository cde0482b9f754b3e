//! The thread that serves metrics.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use nix::poll::{PollFd, PollFlags};

use super::exchange::{Io, Wants, answer};
use crate::controller::Controller;
use crate::metrics::Sources;
use crate::notify::Notify;
use crate::service::{Bell, REST, Service};

/// Connections at most. When another comes, the oldest goes.
pub const CONNECTIONS_MAX: usize = 32;

/// How long a client may take from its connection to the last octet of its answer; then it is
/// disconnected.
pub const EXCHANGE_MAX: Duration = Duration::from_secs(5);

/// Octets of a request head at most; a larger one is answered with 431.
pub const HEAD_MAX: usize = 8 << 10;

/// How old metrics may be: however many clients ask, workers are asked this often at most.
pub const PAGE_AGE_MAX: Duration = Duration::from_millis(100);

/// Metrics cannot be served there.
#[derive(Debug)]
pub struct MetricsError {
    address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        write!(
            f,
            "metrics-listen {address}: this address and port cannot be listened on; name a free \
             port of an address of this host"
        )
    }
}

impl std::error::Error for MetricsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The socket metrics will be served on.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens at `address`; port 0 is one the kernel chooses.
    ///
    /// # Errors
    /// The address is not of this host, or the port is taken.
    pub fn bind(address: SocketAddr) -> Result<Self, MetricsError> {
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(Self(listener))
        });
        bound.map_err(|source| MetricsError { address, source })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// The running thread; ends when dropped.
#[derive(Debug)]
pub struct Server {
    _thread: Service,
}

impl Server {
    /// Serves the metrics of the dataplane behind `controller` to `listener`'s clients.
    ///
    /// # Errors
    /// No thread or no descriptor left.
    pub fn start(listener: Listener, controller: Controller, sources: Sources) -> io::Result<Self> {
        let thread = Service::start("metrics", Notify::new()?, move |bell| {
            let source = Source {
                controller,
                sources,
                page: None,
            };
            let mut serving = Serving {
                listener: listener.0,
                source: Rc::new(RefCell::new(source)),
                connections: Vec::new(),
            };
            while !bell.is_over() {
                serving.turn(bell);
            }
        })?;
        Ok(Self { _thread: thread })
    }
}

/// Where pages come from.
struct Source {
    controller: Controller,
    sources: Sources,
    page: Option<(Instant, Bytes)>,
}

impl Source {
    /// The metrics as text; `None` when the dataplane has ended.
    fn page(&mut self) -> Option<Bytes> {
        let fresh = self.page.as_ref();
        if let Some((_, page)) = fresh.filter(|(at, _)| at.elapsed() < PAGE_AGE_MAX) {
            return Some(page.clone());
        }
        let asked = Instant::now();
        let snapshot = self.controller.snapshot()?;
        let page = Bytes::from(self.sources.text(&snapshot));
        self.page = Some((asked, page.clone()));
        Some(page)
    }
}

struct Serving {
    listener: TcpListener,
    source: Rc<RefCell<Source>>,
    connections: Vec<Connection>,
}

struct Connection {
    stream: Rc<TcpStream>,
    wants: Rc<Wants>,
    exchange: Pin<Box<dyn Future<Output = hyper::Result<()>>>>,
    until: Instant,
}

impl Serving {
    fn turn(&mut self, bell: &Bell) {
        self.sleep(bell);
        self.accept();
        let mut context = Context::from_waker(Waker::noop());
        let now = Instant::now();
        self.connections.retain_mut(|one| {
            one.wants.read.set(false);
            one.wants.write.set(false);
            one.exchange.as_mut().poll(&mut context).is_pending() && now < one.until
        });
        std::thread::sleep(REST);
    }

    fn accept(&mut self) {
        for _ in 0..CONNECTIONS_MAX {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "a client of the metrics cannot be accepted");
                    return;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.connections.len() >= CONNECTIONS_MAX {
                self.connections.remove(0);
            }
            self.connections.push(self.connection(stream));
        }
    }

    fn connection(&self, stream: TcpStream) -> Connection {
        let (stream, wants) = (Rc::new(stream), Rc::new(Wants::default()));
        let io = Io {
            stream: Rc::clone(&stream),
            wants: Rc::clone(&wants),
        };
        let source = Rc::clone(&self.source);
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer(&request, || source.borrow_mut().page());
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut http = http1::Builder::new();
        http.keep_alive(false)
            .half_close(true)
            .header_read_timeout(None)
            .max_buf_size(HEAD_MAX);
        Connection {
            stream,
            wants,
            exchange: Box::pin(http.serve_connection(io, service)),
            until: Instant::now() + EXCHANGE_MAX,
        }
    }

    /// Sleeps until somebody comes, a socket is ready, time is up or the bell rings.
    fn sleep(&self, bell: &Bell) {
        let first = self.connections.iter().map(|one| one.until).min();
        let timeout = first.map(|at| at.saturating_duration_since(Instant::now()));
        let listener = PollFd::new(self.listener.as_fd(), PollFlags::POLLIN);
        let connections = self.connections.iter().map(|one| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, one.wants.read.get());
            flags.set(PollFlags::POLLOUT, one.wants.write.get());
            PollFd::new(one.stream.as_fd(), flags)
        });
        bell.wait(std::iter::once(listener).chain(connections), timeout);
    }
}
