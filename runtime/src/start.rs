//! Opening what needs the capability, starting the threads, and the handle that ends them.
//!
//! [`Prepared::open`] is the one moment that needs CAP_NET_RAW; give privileges up after it and
//! before [`Prepared::start`], which makes the threads that stay.

use std::panic::resume_unwind;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use af_packet::{Device, LinkMonitor, OpenError, Options, RxVersion, Sockets};
use crossbeam_channel::{Receiver, unbounded};
use dataplane::IfIndex;
use ipstack::tcp::TcpConfig;

use crate::capture::folder::CaptureFolder;
use crate::config::{Config, HostInterface, RingVersion, SPARE_INTERFACES_DEFAULT};
use crate::controller::{Command, Controller};
use crate::error::StartError;
use crate::event::Event;
use crate::notify::Notify;
use crate::plan::{Numbers, Plan};
use crate::snapshot::Snapshot;
use crate::sockets::SocketSource;
use crate::supervisor::{Reserve, SharedLog, Supervisor, server};
use crate::worker::processors;

/// Open sockets and mapped rings; nothing runs yet, and nothing more needs a capability.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    numbers: Numbers,
    ports: Vec<(Plan, Vec<Device>)>,
    monitor: LinkMonitor,
    tcp: TcpConfig,
    capture_folder: Option<CaptureFolder>,
    spares: Vec<Sockets>,
    access_log: Option<SharedLog>,
}

impl Prepared {
    /// Opens all that `config` needs. The interfaces need not exist yet.
    ///
    /// # Errors
    /// One sentence naming the thing and the fix; nothing is left behind.
    pub fn open(config: Config) -> Result<Self, StartError> {
        Self::open_with(config, SocketSource::Open)
    }

    /// As [`Self::open`], with sockets from `source`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(config: Config, mut source: SocketSource) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        config.check_host().map_err(StartError::Config)?;
        let tcp = config.tcp();
        processors();
        let mut numbers = Numbers::default();
        let mut ports = Vec::new();
        for host in &config.interfaces {
            let plan = Plan::of(&config, host, &mut numbers).map_err(StartError::Plan)?;
            let sockets = (0..host.workers)
                .map(|_| source.take(&host.name, host.workers > 1))
                .collect::<Result<_, _>>()
                .map_err(StartError::Rings)?;
            let interface = (host.name.as_str(), plan.port.index);
            let devices = map_all(sockets, interface, &ring_options(host));
            let devices = devices.map_err(StartError::Rings)?;
            ports.push((plan, devices));
        }
        let monitor = LinkMonitor::new().map_err(StartError::Links)?;
        let wanted = config.spare_interfaces.unwrap_or(SPARE_INTERFACES_DEFAULT);
        // Fewer where the system gives no more: what runs now does not need them.
        let spares = (0..wanted).map_while(|_| source.spare()).collect();
        Ok(Self {
            config,
            numbers,
            ports,
            monitor,
            tcp,
            capture_folder: None,
            spares,
            access_log: None,
        })
    }

    /// TCP's limits, those of the configuration, to change before the start.
    pub fn tcp(&mut self) -> &mut TcpConfig {
        &mut self.tcp
    }

    /// Has captures written in this folder; without one there are none.
    pub fn capture_in(&mut self, folder: CaptureFolder) {
        self.capture_folder = Some(folder);
    }

    /// Has every server tell `log` of its requests.
    pub fn tell_requests(&mut self, log: SharedLog) {
        self.access_log = Some(log);
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
            .map(|http| Ok((http.clone(), server(http, self.access_log.as_ref())?)))
            .collect::<Result<_, _>>()
            .map_err(StartError::Http)?;
        let notify = Notify::new().map_err(StartError::System)?;
        let (commands, orders) = unbounded();
        let (tell, events) = unbounded();
        let mut supervisor = Supervisor::new(
            self.config,
            self.numbers,
            servers,
            self.monitor,
            Reserve {
                capture_folder: self.capture_folder,
                spares: self.spares,
                tcp: self.tcp,
            },
            notify.clone(),
            (orders, tell),
        );
        supervisor.tell_requests(self.access_log);
        for (plan, devices) in self.ports {
            supervisor
                .add_port(plan, devices)
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

/// Makes the rings of all workers of an interface at once: the kernel waits before it makes one.
pub(crate) fn map_all(
    sockets: Vec<Sockets>,
    interface: (&str, IfIndex),
    options: &Options,
) -> Result<Vec<Device>, OpenError> {
    let (name, index) = interface;
    std::thread::scope(|scope| {
        let start = |sockets: Sockets| {
            let make = move || sockets.map(index, options);
            let thread = std::thread::Builder::new().spawn_scoped(scope, make);
            thread.map_err(|source| OpenError::Step {
                interface: name.to_owned(),
                step: "starting a thread",
                source,
            })
        };
        let makers: Vec<_> = sockets.into_iter().map(start).collect::<Result<_, _>>()?;
        makers
            .into_iter()
            .map(|maker| maker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// How the rings of each worker of `host` shall be. Several share the flows, and so the memory for
/// what arrives: half of the usual blocks each, unless the configuration says otherwise.
pub(crate) fn ring_options(host: &HostInterface) -> Options {
    let mut options = match host.ring.version {
        None => Options::default(),
        Some(RingVersion::V2) => Options::v2(),
        Some(RingVersion::V3) => Options::v3(),
    };
    if host.workers > 1 {
        options.rx_blocks /= 2;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RingOptions;

    #[test]
    fn several_workers_have_half_the_receive_blocks_each_unless_they_are_told_otherwise() {
        let blocks = |version, workers, blocks| {
            let host = HostInterface {
                workers,
                ring: RingOptions {
                    version: Some(version),
                    blocks,
                    ..RingOptions::default()
                },
                ..HostInterface::new("m")
            };
            ring_options(&host).rx_blocks
        };
        assert_eq!(blocks(RingVersion::V3, 1, None), 32);
        assert_eq!(blocks(RingVersion::V3, 2, None), 16);
        assert_eq!(blocks(RingVersion::V3, 64, None), 16);
        assert_eq!(blocks(RingVersion::V2, 2, None), 4);
        assert_eq!(blocks(RingVersion::V3, 2, Some(32)), 32);
    }
}
