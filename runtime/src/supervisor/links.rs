//! Follows the kernel's interfaces: attaches rings, says what is waited for and when all serves.

use af_packet::{Fanout, LinkEvent, LinkInfo};

use super::{PortState, Supervisor};
use crate::event::{Endpoint, Event};
use crate::worker::Control;

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
        let serves = |port: &PortState| {
            port.link.as_ref().is_some_and(LinkInfo::is_running)
                && port
                    .workers
                    .iter()
                    .all(|worker| worker.attached.is_some() && worker.confirmed == worker.attached)
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
