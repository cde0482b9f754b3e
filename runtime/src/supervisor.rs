//! Holds the desired state, follows the kernel's interfaces, and tells the workers.
//!
//! [`Prepared::open`] is the one moment that needs CAP_NET_RAW; give privileges up after it and
//! before [`Prepared::start`], which makes the threads.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use af_packet::{Device, Fanout, LinkEvent, LinkInfo, LinkMonitor, Options, RxVersion, Sockets};
use crossbeam_channel::{Receiver, Sender, unbounded};
use dataplane::MacAddr;
use ipstack::tcp::TcpConfig;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::config::{Config, HostInterface, HttpServer, RingVersion};
use crate::controller::{Command, Controller, Ping, WorkerTrace};
use crate::error::ConfigError;
use crate::notify::Notify;
use crate::plan::{Numbers, Plan, PlanError};
use crate::snapshot::{CACHE_ENTRIES_TOLD_MAX, HttpSnapshot, PortSnapshot, Snapshot};
use crate::worker::{Control, Listen, PingOrder, WorkerEvent, WorkerHandle, WorkerSetup};

/// Spare sockets a fanout member keeps: how often its interface may be deleted and made again.
const SPARES: usize = 16;

/// How long a worker may take to answer before it is left out.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Why nothing was started.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is not valid.
    Config(ConfigError),
    /// The configuration asks for what the tables do not know.
    Plan(PlanError),
    /// A socket or a ring could not be opened.
    Rings(af_packet::OpenError),
    /// The kernel's interfaces cannot be followed.
    Links(af_packet::LinkError),
    /// A server cannot serve.
    Http(http_static::ServeError),
    /// The change is about host interfaces, whose sockets need a capability that is gone.
    HostInterfacesFixed,
    /// The dataplane has ended.
    Ended,
    /// No thread or descriptor left.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Plan(error) => error.fmt(f),
            Self::Rings(error) => error.fmt(f),
            Self::Links(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
            Self::HostInterfacesFixed => f.write_str(
                "host interfaces, their rings and their workers cannot be changed while it runs: \
                 opening their sockets needs CAP_NET_RAW, which was given up; change the \
                 configuration file and start again",
            ),
            Self::Ended => f.write_str("the dataplane has ended"),
            Self::System(_) => f.write_str("no thread or file descriptor left; raise the limits"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => error.source(),
            Self::Plan(error) => error.source(),
            Self::Rings(error) => error.source(),
            Self::Links(error) => error.source(),
            Self::Http(error) => error.source(),
            Self::HostInterfacesFixed | Self::Ended => None,
            Self::System(error) => Some(error),
        }
    }
}

/// What a caller may want to know while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The interface does not exist or is down; it is waited for. A sentence.
    Waiting(String),
    /// Everything that is configured serves. Said once.
    Ready(Vec<Endpoint>),
    /// Something an operator should know. A sentence.
    Notice(String),
    /// A worker died, and everything with it. A sentence.
    Died(String),
}

/// Where a server can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: Ipv4Addr,
    /// The TCP port.
    pub port: u16,
    /// The interface that has the address: `host-macvlan0.123`.
    pub interface: String,
    /// Its Ethernet address.
    pub mac: MacAddr,
}

impl fmt::Display for Endpoint {
    /// `http://192.168.123.150/ on host-macvlan0.123 (c6:b4:b5:74:11:88)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.address)?;
        if self.port != 80 {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/ on {} ({})", self.interface, self.mac)
    }
}

/// Open sockets and mapped rings; nothing runs yet, and nothing more needs a capability.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    numbers: Numbers,
    ports: Vec<(Plan, Vec<Device>)>,
    monitor: LinkMonitor,
    tcp: TcpConfig,
}

impl Prepared {
    /// Opens all that `config` needs. The interfaces need not exist yet.
    ///
    /// # Errors
    /// One sentence naming the thing and the fix; nothing is left behind.
    pub fn open(config: Config) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        config.check_host().map_err(StartError::Config)?;
        let mut numbers = Numbers::default();
        let mut ports = Vec::new();
        for host in &config.interfaces {
            let plan = Plan::of(&config, host, &mut numbers).map_err(StartError::Plan)?;
            let options = ring_options(host);
            let spares = if host.workers > 1 { SPARES } else { 0 };
            let mut devices = Vec::new();
            for _ in 0..host.workers {
                let sockets =
                    Sockets::open_with_spares(&host.name, spares).map_err(StartError::Rings)?;
                let device = sockets
                    .map(plan.port.index, &options)
                    .map_err(StartError::Rings)?;
                devices.push(device);
            }
            ports.push((plan, devices));
        }
        let monitor = LinkMonitor::new().map_err(StartError::Links)?;
        Ok(Self {
            config,
            numbers,
            ports,
            monitor,
            tcp: TcpConfig::default(),
        })
    }

    /// TCP's limits, to change before the start.
    pub fn tcp(&mut self) -> &mut TcpConfig {
        &mut self.tcp
    }

    /// Starts the threads. They inherit this thread's privileges: give those up first.
    ///
    /// # Errors
    /// A www-root that went away, no thread or no descriptor left.
    pub fn start(self) -> Result<Runtime, StartError> {
        // A server starts its loader threads, so it is made here and not before.
        let servers = self
            .config
            .http
            .iter()
            .map(|http| Ok((http.clone(), server(http)?)))
            .collect::<Result<_, _>>()
            .map_err(StartError::Http)?;
        let notify = Notify::new().map_err(StartError::System)?;
        let (commands, orders) = unbounded();
        let (tell, events) = unbounded();
        let (tell_us, workers_say) = unbounded();
        let mut supervisor = Supervisor {
            config: self.config,
            numbers: self.numbers,
            ports: Vec::new(),
            servers,
            monitor: self.monitor,
            tell_us,
            workers_say,
            notify: notify.clone(),
            orders,
            tell,
            ready: false,
            drain: None,
        };
        for (plan, devices) in self.ports {
            supervisor
                .add_port(plan, devices, &self.tcp)
                .map_err(StartError::System)?;
        }
        let thread = std::thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || supervisor.run())
            .map_err(StartError::System)?;
        Ok(Runtime {
            controller: Controller::new(commands, notify),
            events,
            thread: Some(thread),
        })
    }
}

fn ring_options(host: &HostInterface) -> Options {
    let mut options = match host.ring.version {
        None => Options::default(),
        Some(RingVersion::V2) => Options::v2(),
        Some(RingVersion::V3) => Options::v3(),
    };
    let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    if let Some(block_size) = host.ring.block_size {
        options.rx_block_len = size(block_size.0);
    }
    if let Some(blocks) = host.ring.blocks {
        options.rx_blocks = size(blocks.into());
    }
    if options.rx_version == RxVersion::V2 {
        options.rx_slot_len = options.rx_slot_len.min(options.rx_block_len);
    }
    if let Some(slots) = host.ring.tx_slots {
        // As many blocks as hold that many slots.
        let per_block = options.tx_block_len / options.tx_slot_len;
        options.tx_blocks = size(slots.into()).div_ceil(per_block.max(1));
    }
    options
}

fn server(http: &HttpServer) -> Result<http_static::Server, http_static::ServeError> {
    let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let mut options = http_static::Options::new(&http.www_root);
    options.cache_size = size(http.cache_size.0);
    options.max_age = Some(http.max_age.0);
    options.limits.keep_alive = Duration::from_secs(http.keepalive_timeout.0.into());
    options.limits.body_octets = http.max_req_body_size.0;
    http_static::Server::new(options)
}

/// A running dataplane.
#[derive(Debug)]
pub struct Runtime {
    controller: Controller,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// What happens, in order; ends when the dataplane has ended.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// A handle for other threads.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// As [`Controller::configure`].
    ///
    /// # Errors
    /// Why not; nothing is changed then.
    pub fn configure(&self, config: Config) -> Result<(), StartError> {
        self.controller.configure(config)
    }

    /// As [`Controller::config`].
    pub fn config(&self) -> Option<Config> {
        self.controller.config()
    }

    /// As [`Controller::snapshot`].
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.controller.snapshot()
    }

    /// Stops taking connections, lets those that are busy finish for up to `patience`, and ends.
    pub fn shutdown(mut self, patience: Duration) {
        self.end(patience);
    }

    fn end(&mut self, patience: Duration) {
        self.controller
            .send(Command::Shutdown(Instant::now() + patience));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic was printed where it happened
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end(Duration::ZERO);
        }
    }
}

struct PortState {
    plan: Plan,
    link: Option<LinkInfo>,
    workers: Vec<PortWorker>,
    /// The last thing said about waiting, so that it is said once.
    waiting: Option<String>,
}

struct PortWorker {
    handle: WorkerHandle,
    /// The kernel's index of the interface its rings are attached to.
    attached: Option<u32>,
}

struct Supervisor {
    config: Config,
    numbers: Numbers,
    ports: Vec<PortState>,
    servers: Vec<(HttpServer, http_static::Server)>,
    monitor: LinkMonitor,
    tell_us: Sender<(usize, WorkerEvent)>,
    workers_say: Receiver<(usize, WorkerEvent)>,
    notify: Notify,
    orders: Receiver<Command>,
    tell: Sender<Event>,
    ready: bool,
    drain: Option<Drain>,
}

struct Drain {
    until: Instant,
    /// Workers that still have connections.
    left: usize,
}

impl Supervisor {
    fn add_port(&mut self, plan: Plan, devices: Vec<Device>, tcp: &TcpConfig) -> io::Result<()> {
        let mut workers = Vec::new();
        for device in devices {
            let number: usize = self.ports.iter().map(|port| port.workers.len()).sum();
            let handle = WorkerHandle::start(WorkerSetup {
                number: number + workers.len(),
                host_name: plan.host_name.clone(),
                port: plan.port.index,
                device,
                tcp: tcp.clone(),
                events: self.tell_us.clone(),
                supervisor: self.notify.clone(),
            })?;
            handle.tell(Control::Plan(Box::new(plan.clone())));
            handle.tell(Control::Listen(self.listeners()));
            workers.push(PortWorker {
                handle,
                attached: None,
            });
        }
        for (nth, worker) in workers.iter().enumerate() {
            let others = workers
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != nth);
            let siblings: Vec<_> = others.map(|(_, other)| other.handle.sibling()).collect();
            if !siblings.is_empty() {
                worker.handle.tell(Control::Siblings(siblings));
            }
        }
        self.ports.push(PortState {
            plan,
            link: None,
            workers,
            waiting: None,
        });
        Ok(())
    }

    fn listeners(&self) -> Vec<Listen> {
        self.servers
            .iter()
            .map(|(http, server)| Listen {
                address: http.address,
                port: http.port,
                server: server.clone(),
            })
            .collect()
    }

    fn run(mut self) {
        for at in 0..self.ports.len() {
            match self.monitor.watch(&self.ports[at].plan.host_name) {
                Ok(link) => self.follow(at, link),
                Err(error) => self.say(Event::Notice(error.to_string())),
            }
            self.say_waiting(at);
        }
        self.look_whether_ready();
        loop {
            self.sleep();
            match self.monitor.events() {
                Ok(events) => self.links_changed(events),
                Err(error) => self.say(Event::Notice(error.to_string())),
            }
            while let Ok((number, event)) = self.workers_say.try_recv() {
                if !self.worker_says(number, event) {
                    return;
                }
            }
            while let Ok(command) = self.orders.try_recv() {
                self.obey(command);
            }
            let drain = self.drain.as_ref();
            if drain.is_some_and(|drain| drain.left == 0 || drain.until <= Instant::now()) {
                return; // workers are stopped and joined as they are dropped
            }
        }
    }

    /// Sleeps until a command, a worker's word or a link's change, or until draining is over.
    fn sleep(&self) {
        let timeout = self.drain.as_ref().map(|drain| {
            TimeSpec::from_duration(drain.until.saturating_duration_since(Instant::now()))
        });
        self.notify.sleeping();
        if self.orders.is_empty() && self.workers_say.is_empty() {
            let poll_fd = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut fds = [poll_fd(self.notify.as_fd()), poll_fd(self.monitor.fd())];
            match ppoll(&mut fds, timeout, None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => tracing::error!(%error, "waiting for events"),
            }
        }
        self.notify.awake();
    }

    fn say(&self, event: Event) {
        let _ = self.tell.send(event); // nobody need listen
    }

    fn links_changed(&mut self, events: Vec<LinkEvent>) {
        for LinkEvent { name, link } in events {
            let port = self
                .ports
                .iter()
                .position(|port| port.plan.host_name == name);
            if let Some(at) = port {
                self.follow(at, link);
                self.say_waiting(at);
            }
        }
        self.look_whether_ready();
    }

    /// Tells a port's workers what became of its interface.
    fn follow(&mut self, at: usize, link: Option<LinkInfo>) {
        let host = self
            .config
            .interfaces
            .iter()
            .find(|h| h.name == self.ports[at].plan.host_name);
        if let (Some(host), Some(link)) = (host, &link)
            && self.ports[at].link.is_none()
            && let Some(note) = host.hw_addr_note(link.mac)
        {
            self.say(Event::Notice(note));
        }
        let port = &mut self.ports[at];
        let fanout = port.workers.len() > 1;
        for (nth, worker) in port.workers.iter_mut().enumerate() {
            let attach = link
                .as_ref()
                .filter(|link| worker.attached != Some(link.index));
            match attach {
                // A group can only be made on a link that is up; the first worker makes it, and
                // the others join when it says so.
                Some(link) if fanout && link.is_running() && nth == 0 => {
                    worker.attached = Some(link.index);
                    let fanout = Some(Fanout::Create);
                    worker.handle.tell(Control::Attach {
                        link: link.clone(),
                        fanout,
                    });
                }
                Some(link) if !fanout => {
                    worker.attached = Some(link.index);
                    worker.handle.tell(Control::Attach {
                        link: link.clone(),
                        fanout: None,
                    });
                }
                _ => {}
            }
            if link.is_none() {
                worker.attached = None;
            }
            worker.handle.tell(Control::Link(link.clone()));
        }
        port.link = link;
    }

    /// Says once what is waited for.
    fn say_waiting(&mut self, at: usize) {
        let port = &mut self.ports[at];
        let name = &port.plan.host_name;
        let waiting = match &port.link {
            None => Some(format!(
                "{name}: there is no such interface; waiting for it (create it, or check the \
                 name with `ip link`)"
            )),
            Some(link) if !link.is_running() => Some(format!(
                "{name}: the interface is down; waiting for it (`ip link set {name} up`)"
            )),
            Some(_) => None,
        };
        if port.waiting != waiting {
            port.waiting.clone_from(&waiting);
            match waiting {
                Some(waiting) => self.say(Event::Waiting(waiting)),
                None if self.ready => {
                    let name = &self.ports[at].plan.host_name;
                    self.say(Event::Notice(format!("{name}: the interface is up again")));
                }
                None => {}
            }
        }
    }

    fn look_whether_ready(&mut self) {
        let serves = |port: &PortState| {
            port.link.as_ref().is_some_and(LinkInfo::is_running)
                && port.workers.iter().all(|worker| worker.attached.is_some())
        };
        if self.ready || !self.ports.iter().all(serves) {
            return;
        }
        self.ready = true;
        self.say(Event::Ready(self.endpoints()));
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        for port in &self.ports {
            let kernel = port.link.as_ref().map(|link| link.mac);
            let mac = port.plan.mac.or(kernel).unwrap_or_default();
            for interface in port.plan.interfaces().filter(|interface| interface.up) {
                for own in &interface.addresses {
                    let here = self.config.http.iter().filter(|http| {
                        http.address.is_unspecified() || http.address == own.address
                    });
                    endpoints.extend(here.map(|http| Endpoint {
                        address: own.address,
                        port: http.port,
                        interface: interface.name.clone(),
                        mac,
                    }));
                }
            }
        }
        endpoints
    }

    /// `false` when everything has to end.
    fn worker_says(&mut self, number: usize, event: WorkerEvent) -> bool {
        let Some((at, nth)) = self.place_of(number) else {
            return true;
        };
        match event {
            WorkerEvent::Attached(group) => {
                let link = self.ports[at].link.clone();
                if let (Some(group), Some(link), 0) = (group, link, nth) {
                    for worker in self.ports[at].workers.iter_mut().skip(1) {
                        worker.attached = Some(link.index);
                        let fanout = Some(Fanout::Join(group));
                        worker.handle.tell(Control::Attach {
                            link: link.clone(),
                            fanout,
                        });
                    }
                }
                self.look_whether_ready();
            }
            WorkerEvent::AttachFailed(why) => {
                self.ports[at].workers[nth].attached = None;
                self.say(Event::Notice(why));
            }
            WorkerEvent::Refused(why) => self.say(Event::Notice(why)),
            WorkerEvent::Drained => {
                if let Some(drain) = &mut self.drain {
                    drain.left = drain.left.saturating_sub(1);
                }
            }
            WorkerEvent::Died(why) => {
                let name = &self.ports[at].plan.host_name;
                self.say(Event::Died(format!(
                    "worker {number} of {name} died: {why}"
                )));
                return false;
            }
        }
        true
    }

    fn place_of(&self, number: usize) -> Option<(usize, usize)> {
        let mut first = 0;
        for (at, port) in self.ports.iter().enumerate() {
            if number < first + port.workers.len() {
                return Some((at, number - first));
            }
            first += port.workers.len();
        }
        None
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Configure(config, reply) => {
                let _ = reply.send(self.configure(*config));
            }
            Command::Config(reply) => {
                let _ = reply.send(self.config.clone());
            }
            Command::Snapshot(reply) => {
                let _ = reply.send(self.snapshot());
            }
            Command::TraceAdd(node, count) => {
                self.tell_workers(|| Control::TraceAdd(node, count));
                self.wait_for_workers();
            }
            Command::TraceClear => self.tell_workers(|| Control::TraceClear),
            Command::Trace(packets, reply) => {
                let _ = reply.send(self.traced(packets));
            }
            Command::Ping(ping) => self.ping(&ping),
            Command::PingEnd(identifier) => {
                self.tell_workers(|| Control::PingEnd(identifier));
            }
            Command::Shutdown(until) => {
                let workers = || self.ports.iter().flat_map(|port| &port.workers);
                for worker in workers() {
                    worker.handle.tell(Control::Drain);
                }
                self.drain = Some(Drain {
                    until,
                    left: workers().count(),
                });
            }
        }
    }

    fn tell_workers(&self, control: impl Fn() -> Control) {
        for worker in self.ports.iter().flat_map(|port| &port.workers) {
            worker.handle.tell(control());
        }
    }

    fn traced(&self, packets: u32) -> Vec<WorkerTrace> {
        let mut asked = Vec::new();
        for port in &self.ports {
            for worker in &port.workers {
                let (reply, answer) = unbounded();
                worker.handle.tell(Control::Trace(packets, reply));
                asked.push((port.plan.port.name.clone(), answer));
            }
        }
        let until = Instant::now() + ANSWER_TIMEOUT;
        let answers = asked.into_iter().enumerate();
        answers
            .filter_map(|(number, (name, answer))| {
                Some((number, name, answer.recv_deadline(until).ok()?))
            })
            .collect()
    }

    /// The first worker of each port sends, if it has a route; all wait for the answer.
    fn ping(&self, ping: &Ping) {
        for port in &self.ports {
            for (nth, worker) in port.workers.iter().enumerate() {
                worker.handle.tell(Control::Ping(PingOrder {
                    order: (nth == 0).then_some(ping.order),
                    identifier: ping.order.identifier,
                    events: ping.events.clone(),
                    listener: ping.listener.clone(),
                }));
            }
        }
    }

    fn configure(&mut self, config: Config) -> Result<(), StartError> {
        config.validate().map_err(StartError::Config)?;
        config.check_host().map_err(StartError::Config)?;
        let fixed = |config: &Config| -> BTreeMap<String, (u16, _)> {
            let ring = |host: &HostInterface| (host.workers, host.ring);
            config
                .interfaces
                .iter()
                .map(|host| (host.name.clone(), ring(host)))
                .collect()
        };
        if fixed(&config) != fixed(&self.config) {
            return Err(StartError::HostInterfacesFixed);
        }
        let mut numbers = self.numbers.clone();
        let mut plans = Vec::new();
        for host in &config.interfaces {
            plans.push(Plan::of(&config, host, &mut numbers).map_err(StartError::Plan)?);
        }
        let mut servers = Vec::new();
        for http in &config.http {
            let same = self.servers.iter().find(|(old, _)| old == http);
            let server = match same {
                Some((_, server)) => server.clone(),
                None => server(http).map_err(StartError::Http)?,
            };
            servers.push((http.clone(), server));
        }
        // From here on nothing fails.
        let known = |name: &str| {
            config
                .all_interfaces()
                .any(|interface| interface.is_named(name))
        };
        numbers.retain(known);
        self.numbers = numbers;
        self.servers = servers;
        self.config = config;
        let listeners = self.listeners();
        for plan in plans {
            let port = self
                .ports
                .iter_mut()
                .find(|port| port.plan.host_name == plan.host_name);
            let Some(port) = port else { continue };
            for worker in &port.workers {
                worker.handle.tell(Control::Plan(Box::new(plan.clone())));
                worker.handle.tell(Control::Listen(listeners.clone()));
            }
            port.plan = plan;
        }
        self.wait_for_workers();
        Ok(())
    }

    /// Waits until every worker has done what it was told, so that a change is in force when its
    /// command is answered; one that is stuck is not waited for longer than a second.
    fn wait_for_workers(&self) {
        let workers = self.ports.iter().flat_map(|port| &port.workers);
        let (reply, answers) = unbounded();
        let asked = workers.map(|worker| worker.handle.tell(Control::Barrier(reply.clone())));
        let until = Instant::now() + ANSWER_TIMEOUT;
        for () in asked.collect::<Vec<_>>() {
            if answers.recv_deadline(until).is_err() {
                return;
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        // All are asked before the first answer is waited for.
        let asked: Vec<Vec<_>> = self
            .ports
            .iter()
            .map(|port| {
                let ask = |worker: &PortWorker| {
                    let (reply, answer) = unbounded();
                    worker.handle.tell(Control::Snapshot(reply));
                    answer
                };
                port.workers.iter().map(ask).collect()
            })
            .collect();
        let until = Instant::now() + ANSWER_TIMEOUT;
        let ports = self.ports.iter().zip(asked).map(|(port, answers)| {
            let answers = answers.into_iter();
            PortSnapshot {
                plan: port.plan.clone(),
                link: port.link.clone(),
                worker_count: port.workers.len(),
                workers: answers
                    .filter_map(|answer| answer.recv_deadline(until).ok())
                    .collect(),
            }
        });
        let servers = self.servers.iter();
        Snapshot {
            config: self.config.clone(),
            ports: ports.collect(),
            http: servers
                .map(|(http, server)| HttpSnapshot {
                    server: http.clone(),
                    stats: server.stats(),
                    cache: server.cache_entries(CACHE_ENTRIES_TOLD_MAX),
                })
                .collect(),
        }
    }
}
