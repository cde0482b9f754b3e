//! Host interfaces come and go: workers are started on sockets from the reserve, and stopped.

use std::cmp::Reverse;
use std::io;

use af_packet::{Device, Sockets};

use super::{PortState, PortWorker, Supervisor};
use crate::config::{Config, HostInterface};
use crate::error::StartError;
use crate::event::Event;
use crate::plan::Plan;
use crate::start::{map_all, ring_options};
use crate::worker::{Control, Listen, WorkerHandle, WorkerSetup};

impl Supervisor {
    /// Starts the workers of a port that is there from the start.
    ///
    /// # Errors
    /// No thread or no descriptor left.
    pub(crate) fn add_port(&mut self, plan: Plan, devices: Vec<Device>) -> io::Result<()> {
        let port = self.start_port(plan, devices)?;
        let listeners = self.listeners();
        for worker in &port.workers {
            worker.handle.tell(Control::Listen(listeners.clone()));
        }
        self.ports.push(port);
        Ok(())
    }

    fn start_port(&mut self, plan: Plan, devices: Vec<Device>) -> io::Result<PortState> {
        let mut workers = Vec::new();
        for device in devices {
            let number = self.next_worker;
            self.next_worker += 1;
            let handle = WorkerHandle::start(WorkerSetup {
                number,
                host_name: plan.host_name.clone(),
                port: plan.port.index,
                device,
                tcp: self.reserve.tcp.clone(),
                events: self.tell_us.clone(),
                supervisor: self.notify.clone(),
            })?;
            handle.tell(Control::Plan(Box::new(plan.clone())));
            workers.push(PortWorker {
                number,
                handle,
                link: None,
            });
        }
        for (nth, worker) in workers.iter().enumerate() {
            let others = workers
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != nth);
            let siblings: Vec<_> = others.map(|(_, other)| other.handle.sibling()).collect();
            if !siblings.is_empty() {
                worker.handle.tell(Control::Siblings(siblings, nth == 0));
            }
        }
        Ok(PortState {
            plan,
            link: None,
            workers,
            waiting: None,
            group: None,
            retry: None,
            failures: 0,
        })
    }

    /// Refuses other rings or another number of workers for a host interface that stays.
    pub(super) fn check_rings(&self, config: &Config) -> Result<(), StartError> {
        for old in &self.config.interfaces {
            let mut new = config.interfaces.iter();
            let changed = |new: &&HostInterface| {
                new.name == old.name && (new.workers, new.ring) != (old.workers, old.ring)
            };
            if new.any(|new| changed(&new)) {
                return Err(StartError::RingsFixed(old.name.clone()));
            }
        }
        Ok(())
    }

    fn is_known(&self, host_name: &str) -> bool {
        self.ports
            .iter()
            .any(|port| port.plan.host_name == host_name)
    }

    /// Starts workers for the host interfaces of `config` that are new, on sockets from the
    /// reserve. They serve nobody before [`Self::take_up`].
    pub(super) fn open_ports(
        &mut self,
        config: &Config,
        plans: &[Plan],
    ) -> Result<Vec<PortState>, StartError> {
        let hosts = config.interfaces.iter().zip(plans);
        let new: Vec<_> = hosts
            .filter(|(host, _)| !self.is_known(&host.name))
            .collect();
        let mut left = self.reserve.spares.len();
        for (host, _) in &new {
            let needed = usize::from(host.workers);
            if needed > left {
                return Err(StartError::NoSpares {
                    interface: host.name.clone(),
                    needed,
                    left,
                });
            }
            left -= needed;
        }
        // The oldest first: a port's workers join their group in the order of their sockets.
        let age = |sockets: &Sockets| Reverse(sockets.opened());
        self.reserve.spares.sort_by_key(age);
        let mut ports = Vec::new();
        for (host, plan) in new {
            let sockets: Vec<_> = (0..host.workers)
                .map_while(|_| self.reserve.spares.pop()) // counted above
                .map(|sockets| sockets.for_interface(&host.name))
                .collect();
            let interface = (host.name.as_str(), plan.port.index);
            let devices = map_all(sockets, interface, &ring_options(host));
            let devices = devices.map_err(StartError::Rings)?;
            let port = self.start_port(plan.clone(), devices);
            ports.push(port.map_err(StartError::System)?);
        }
        Ok(ports)
    }

    /// Takes new ports into service.
    pub(super) fn take_up(&mut self, ports: Vec<PortState>, listeners: &[Listen]) {
        for port in ports {
            for worker in &port.workers {
                worker.handle.tell(Control::Listen(listeners.to_vec()));
            }
            self.tap(&port);
            self.ports.push(port);
            self.follow_new(self.ports.len() - 1);
        }
    }

    /// Looks for a port's interface for the first time.
    pub(super) fn follow_new(&mut self, at: usize) {
        match self.monitor.watch(&self.ports[at].plan.host_name) {
            Ok(link) => self.follow(at, link),
            Err(error) => self.say(Event::Notice(error.to_string())),
        }
        self.say_waiting(at);
    }

    /// Stops the workers of ports that are in no plan. Their connections are reset, and their
    /// sockets go back to the reserve where the kernel lets them be used again.
    pub(super) fn remove_ports(&mut self, plans: &[Plan]) {
        let stays = |port: &PortState| {
            let mut plans = plans.iter();
            plans.any(|plan| plan.host_name == port.plan.host_name)
        };
        let ports = std::mem::take(&mut self.ports);
        let (stay, go): (Vec<_>, Vec<_>) = ports.into_iter().partition(stays);
        self.ports = stay;
        for mut port in go {
            self.monitor.unwatch(&port.plan.host_name);
            let mut bare = port.plan.clone();
            bare.port.addresses.clear();
            bare.subs.clear();
            bare.routes.clear();
            bare.neighbors.clear();
            for worker in &port.workers {
                worker.handle.tell(Control::Plan(Box::new(bare.clone())));
            }
            for worker in &mut port.workers {
                let device = worker.handle.stop();
                self.reserve
                    .spares
                    .extend(device.and_then(Device::into_sockets));
            }
        }
    }
}
