//! Holds the desired state, follows the kernel's interfaces, and tells the workers.

mod captures;
mod links;
mod ports;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use af_packet::{FanoutGroup, LinkInfo, LinkMonitor, Sockets};
use crossbeam_channel::{Receiver, Sender, unbounded};
use ipstack::tcp::TcpConfig;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::capture::folder::CaptureFolder;
use crate::capture::writer::Capture;
use crate::config::{Config, HttpServer};
use crate::controller::{Command, Ping, WorkerTrace};
use crate::error::StartError;
use crate::event::Event;
use crate::notify::Notify;
use crate::plan::{Numbers, Plan};
use crate::snapshot::{CACHE_ENTRIES_TOLD_MAX, HttpSnapshot, PortSnapshot, Snapshot};
use crate::worker::{Control, Listen, PingOrder, WorkerEvent, WorkerHandle};

/// How long a worker may take to answer before it is left out.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Is told of requests; shared by all servers.
pub(crate) type SharedLog = Arc<dyn http_static::AccessLog>;

/// What answers for `http`; starts its loader threads.
pub(crate) fn server(
    http: &HttpServer,
    log: Option<&SharedLog>,
) -> Result<http_static::Server, http_static::ServeError> {
    let mut options = server_options(http);
    options.access_log = log.cloned();
    http_static::Server::new(options)
}

/// As the configuration has it.
pub(crate) fn server_options(http: &HttpServer) -> http_static::Options {
    let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let mut options = http_static::Options::new(&http.www_root);
    options.cache_size = size(http.cache_size.0);
    options.max_age = Some(http.max_age.0);
    options.limits.keep_alive = Duration::from_secs(http.keepalive_timeout.0.into());
    options.limits.body_octets = http.max_req_body_size.0;
    options
}

struct PortState {
    plan: Plan,
    link: Option<LinkInfo>,
    workers: Vec<PortWorker>,
    /// The last thing said about waiting, so that it is said once.
    waiting: Option<String>,
    /// The fanout group its workers join.
    group: Option<FanoutGroup>,
    /// When attaching is tried again, and how often it has failed.
    retry: Option<Instant>,
    failures: u32,
}

struct PortWorker {
    /// Its number among all workers there ever were.
    number: usize,
    handle: WorkerHandle,
    /// The interface its rings shall be attached to, by the kernel's index, and how far that is.
    link: Option<(u32, Stage)>,
}

impl PortWorker {
    /// Whether it has come as far as `stage` with the interface of this index.
    fn is_at(&self, index: u32, stage: Stage) -> bool {
        self.link
            .is_some_and(|(on, reached)| on == index && reached >= stage)
    }
}

/// How far a worker's rings are with an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The worker was told to attach them.
    Told,
    /// It said that they are attached.
    Attached,
    /// It said that it hears.
    Hears,
}

/// The supervisor's thread.
pub(crate) struct Supervisor {
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
    capture: Option<Capture>,
    reserve: Reserve,
    /// The number of the next worker.
    next_worker: usize,
    access_log: Option<SharedLog>,
}

/// What is kept for later.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// Where captures are written; `None`: there are none.
    pub(crate) capture_folder: Option<CaptureFolder>,
    /// Sockets for workers of host interfaces that are created later.
    pub(crate) spares: Vec<Sockets>,
    /// TCP's limits in every worker.
    pub(crate) tcp: TcpConfig,
}

struct Drain {
    until: Instant,
    /// Workers that still have connections.
    left: usize,
}

impl Supervisor {
    /// A supervisor without ports yet; it hears `orders` when `notify` rings, and tells `tell`.
    pub(crate) fn new(
        config: Config,
        numbers: Numbers,
        servers: Vec<(HttpServer, http_static::Server)>,
        monitor: LinkMonitor,
        reserve: Reserve,
        notify: Notify,
        (orders, tell): (Receiver<Command>, Sender<Event>),
    ) -> Self {
        let (tell_us, workers_say) = unbounded();
        Self {
            config,
            numbers,
            ports: Vec::new(),
            servers,
            monitor,
            tell_us,
            workers_say,
            notify,
            orders,
            tell,
            ready: false,
            drain: None,
            capture: None,
            reserve,
            next_worker: 0,
            access_log: None,
        }
    }

    /// Has servers made from now on tell `log`.
    pub(crate) fn tell_requests(&mut self, log: Option<SharedLog>) {
        self.access_log = log;
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

    /// Follows, obeys and tells until it is told to end or a worker dies.
    pub(crate) fn run(mut self) {
        for at in 0..self.ports.len() {
            self.follow_new(at);
        }
        self.look_whether_ready();
        loop {
            self.sleep();
            match self.monitor.events() {
                Ok(events) => self.links_changed(events),
                Err(error) => self.say(Event::Notice(error.to_string())),
            }
            self.retry_attaching();
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
        let drained = self.drain.as_ref().map(|drain| drain.until);
        let retries = self.ports.iter().filter_map(|port| port.retry);
        let timeout = retries
            .chain(drained)
            .min()
            .map(|until| TimeSpec::from_duration(until.saturating_duration_since(Instant::now())));
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

    /// `false` when everything has to end.
    fn worker_says(&mut self, number: usize, event: WorkerEvent) -> bool {
        let Some((at, nth)) = self.place_of(number) else {
            return true;
        };
        match event {
            WorkerEvent::Attached(index, group) => {
                self.attached((at, nth), index, group);
                self.look_whether_ready();
            }
            WorkerEvent::AttachFailed(index, why, again) => {
                self.attach_failed((at, nth), index, why, again);
            }
            WorkerEvent::Hears(index) => {
                let worker = &mut self.ports[at].workers[nth];
                if worker.is_at(index, Stage::Attached) {
                    worker.link = Some((index, Stage::Hears));
                }
                self.look_whether_ready();
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
        self.ports.iter().enumerate().find_map(|(at, port)| {
            let mut workers = port.workers.iter();
            Some((at, workers.position(|worker| worker.number == number)?))
        })
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
            Command::TraceAdd(node, count, reply) => {
                self.tell_workers(|| Control::TraceAdd(node, count));
                self.wait_for_workers();
                let _ = reply.send(());
            }
            Command::TraceClear(reply) => {
                self.tell_workers(|| Control::TraceClear);
                self.wait_for_workers();
                let _ = reply.send(());
            }
            Command::Trace(packets, reply) => {
                let _ = reply.send(self.traced(packets));
            }
            Command::Capture(order, reply) => {
                let _ = reply.send(self.begin_capture(*order));
            }
            Command::CaptureEnd(reply) => {
                let _ = reply.send(self.end_capture());
            }
            Command::CaptureStatus(reply) => {
                let _ = reply.send(self.capture.as_ref().map(Capture::status));
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
                asked.push((worker.number, port.plan.port.name.clone(), answer));
            }
        }
        let until = Instant::now() + ANSWER_TIMEOUT;
        let answers = asked.into_iter();
        answers
            .filter_map(|(number, name, answer)| {
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
        self.check_rings(&config)?;
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
                None => server(http, self.access_log.as_ref()).map_err(StartError::Http)?,
            };
            servers.push((http.clone(), server));
        }
        // Last, because it takes sockets out of the reserve and starts threads.
        let new_ports = self.open_ports(&config, &plans)?;
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
        self.remove_ports(&plans);
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
        self.take_up(new_ports, &listeners);
        self.rename_captured();
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

#[cfg(test)]
mod tests;
