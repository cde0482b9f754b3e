//! Follows the kernel's interfaces: attaches rings, says what is waited for and when all serves.

use std::time::{Duration, Instant};

use af_packet::{Fanout, FanoutGroup, LinkEvent, LinkInfo};

use super::{PortState, PortWorker, Stage, Supervisor};
use crate::event::{Endpoint, Event};
use crate::worker::Control;

/// How long after a first failure to attach it is tried again; twice as long after each further one.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest such wait.
const RETRY_MOST: Duration = Duration::from_mins(1);

impl Supervisor {
    pub(super) fn links_changed(&mut self, events: Vec<LinkEvent>) {
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
    pub(super) fn follow(&mut self, at: usize, link: Option<LinkInfo>) {
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
        if link.is_none() {
            (port.group, port.failures) = (None, 0);
            for worker in &mut port.workers {
                worker.link = None;
            }
        }
        port.link = link;
        self.attach_next(at);
        let port = &self.ports[at];
        for worker in &port.workers {
            worker.handle.tell(Control::Link(port.link.clone()));
        }
    }

    /// Has the first worker attach its rings that has not. The members of a group join one after
    /// the other ([`af_packet::Device::attach_fanout`]), and hear when all have joined.
    fn attach_next(&mut self, at: usize) {
        let port = &mut self.ports[at];
        port.retry = None;
        let Some(link) = &port.link else { return };
        let shared = port.workers.len() > 1;
        // A group can only be made or joined on a link that is up.
        if shared && !link.is_running() {
            return;
        }
        let index = link.index;
        let mut workers = port.workers.iter_mut().enumerate();
        let next = workers.find(|(_, worker)| !worker.is_at(index, Stage::Attached));
        let Some((nth, worker)) = next else { return };
        if worker.is_at(index, Stage::Told) {
            return;
        }
        let fanout = match port.group {
            _ if !shared => None,
            Some(group) if nth > 0 => Some(Fanout::Join(group)),
            _ => Some(Fanout::Create),
        };
        worker.link = Some((index, Stage::Told));
        worker.handle.tell(Control::Attach {
            link: link.clone(),
            fanout,
        });
    }

    pub(super) fn attached(
        &mut self,
        (at, nth): (usize, usize),
        index: u32,
        group: Option<FanoutGroup>,
    ) {
        let port = &mut self.ports[at];
        let worker = &mut port.workers[nth];
        if !worker.is_at(index, Stage::Told) {
            return; // that link has gone
        }
        let alone = group.is_none();
        let stage = if alone { Stage::Hears } else { Stage::Attached };
        worker.link = Some((index, stage));
        (port.group, port.failures) = (group, 0);
        let all = |worker: &PortWorker| worker.is_at(index, Stage::Attached);
        if !port.workers.iter().all(all) {
            self.attach_next(at);
        } else if group.is_some() {
            self.hear(at);
        }
    }

    /// Lets the members of a group that have joined it hear.
    fn hear(&self, at: usize) {
        for worker in &self.ports[at].workers {
            if worker
                .link
                .is_some_and(|(_, stage)| stage >= Stage::Attached)
            {
                worker.handle.tell(Control::Hear);
            }
        }
    }

    pub(super) fn attach_failed(
        &mut self,
        (at, nth): (usize, usize),
        index: u32,
        why: String,
        again: bool,
    ) {
        let port = &mut self.ports[at];
        let worker = &mut port.workers[nth];
        if !worker.is_at(index, Stage::Told) {
            return; // that link has gone
        }
        worker.link = None;
        if again {
            let wait = RETRY_FIRST * 2u32.pow(port.failures.min(16));
            port.retry = Some(Instant::now() + wait.min(RETRY_MOST));
            port.failures += 1;
        }
        if port.workers.len() > 1 {
            self.hear(at); // fewer serve better than none
        }
        self.say(Event::Notice(why));
    }

    /// Tries again what could not be attached, where it is time.
    pub(super) fn retry_attaching(&mut self) {
        let now = Instant::now();
        for at in 0..self.ports.len() {
            if self.ports[at].retry.is_some_and(|due| due <= now) {
                self.attach_next(at);
            }
        }
    }

    /// Says once what is waited for.
    pub(super) fn say_waiting(&mut self, at: usize) {
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

    pub(super) fn look_whether_ready(&mut self) {
        let hears = |worker: &PortWorker| matches!(worker.link, Some((_, Stage::Hears)));
        let serves = |port: &PortState| {
            port.link.as_ref().is_some_and(LinkInfo::is_running) && port.workers.iter().all(hears)
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
}
