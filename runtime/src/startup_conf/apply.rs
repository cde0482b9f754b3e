//! What the commands do to a configuration.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use dataplane::MacAddr;

use super::Command;
use crate::config::{
    Config, HostInterface, HttpServer, Ipv4Prefix, Match, Neighbor, Route, SUB_INTERFACES_MAX,
    SubInterface,
};
use crate::error::ConfigError;

impl Command {
    /// Edits `config`, which stays as it was when that fails. Returns what else the command did, or
    /// did not do, one sentence each. Whether the outcome is valid as a whole is for
    /// [`Config::validate`]: a gateway may come before the address that makes it reachable.
    ///
    /// # Errors
    /// It names something that does not exist, or creates something that does.
    pub fn apply(&self, config: &mut Config) -> Result<Vec<String>, ConfigError> {
        match self {
            Self::CreateHostInterface {
                name,
                hw_addr,
                num_rx_queues,
                ring,
            } => {
                let mut host = HostInterface::new(name);
                (host.up, host.hw_addr, host.ring) = (false, *hw_addr, *ring);
                host.workers = num_rx_queues.unwrap_or(1);
                config.add_host_interface(host)
            }
            Self::DeleteHostInterface { name } => config.delete_host_interface(name),
            Self::SetInterfaceMacAddress { interface, mac } => {
                let host = config.host_mut(interface, "have an Ethernet address of its own")?;
                host.hw_addr = Some(*mac);
                Ok(Vec::new())
            }
            Self::SetInterfaceState { interface, up } => {
                *config.interface_mut(interface)?.up = *up;
                Ok(Vec::new())
            }
            Self::SetInterfaceMtu { interface, mtu } => {
                *config.interface_mut(interface)?.mtu = *mtu;
                Ok(Vec::new())
            }
            Self::SetInterfaceIpAddress {
                interface,
                address,
                delete: false,
            } => config.add_address(interface, *address),
            Self::SetInterfaceIpAddress {
                interface,
                address,
                delete: true,
            } => config.delete_address(interface, *address),
            Self::CreateSubInterfaces {
                interface,
                ids,
                matching,
            } => config.create_sub_interfaces(interface, ids, *matching),
            Self::DeleteSubInterface { interface } => config.delete_sub_interface(interface),
            Self::IpRoute {
                prefix,
                via: Some(via),
                interface,
                delete: false,
            } => config.add_route(*prefix, *via, interface.as_deref()),
            Self::IpRoute {
                prefix,
                via,
                interface,
                ..
            } => config.delete_route(*prefix, *via, interface.as_deref()),
            Self::SetIpNeighbor {
                interface,
                address,
                mac: Some(mac),
                delete: false,
            } => config.set_neighbor(interface, *address, *mac),
            Self::SetIpNeighbor {
                interface, address, ..
            } => config.delete_neighbor(interface, *address),
            Self::CreateHttpServer(server) => config.add_http(server),
            Self::DeleteHttpServer { address, port } => config.delete_http(*address, *port),
            Self::DisableHttpServers => {
                config.http.clear();
                Ok(Vec::new())
            }
            Self::Nothing => Ok(Vec::new()),
        }
    }
}

/// The parts that every kind of interface has.
struct InterfaceMut<'c> {
    up: &'c mut bool,
    mtu: &'c mut Option<u16>,
    addresses: &'c mut Vec<Ipv4Prefix>,
}

impl Config {
    /// Where the interface is: the host interface's place, and the sub-interface's in it.
    fn find(&self, name: &str) -> Option<(usize, Option<usize>)> {
        let found = self.interface(name)?;
        self.interfaces
            .iter()
            .enumerate()
            .find_map(|(at, host)| match found {
                crate::config::InterfaceRef::Host(wanted) => {
                    std::ptr::eq(wanted, host).then_some((at, None))
                }
                crate::config::InterfaceRef::Sub(wanted, sub) if std::ptr::eq(wanted, host) => {
                    let mut subs = host.sub_interfaces.iter();
                    subs.position(|known| std::ptr::eq(known, sub))
                        .map(|sub| (at, Some(sub)))
                }
                crate::config::InterfaceRef::Sub(..) => None,
            })
    }

    fn interface_mut(&mut self, name: &str) -> Result<InterfaceMut<'_>, ConfigError> {
        let (host, sub) = self.find(name).ok_or_else(|| no_such_interface(name))?;
        let host = &mut self.interfaces[host];
        Ok(match sub.map(|sub| &mut host.sub_interfaces[sub]) {
            None => InterfaceMut {
                up: &mut host.up,
                mtu: &mut host.mtu,
                addresses: &mut host.addresses,
            },
            Some(sub) => InterfaceMut {
                up: &mut sub.up,
                mtu: &mut sub.mtu,
                addresses: &mut sub.addresses,
            },
        })
    }

    /// The host interface with this full name; a sub-interface cannot do `what`.
    fn host_mut(
        &mut self,
        name: &str,
        what: &'static str,
    ) -> Result<&mut HostInterface, ConfigError> {
        match self.find(name) {
            Some((host, None)) => Ok(&mut self.interfaces[host]),
            Some((_, Some(_))) => Err(ConfigError::NotAHostInterface {
                name: name.to_owned(),
                what,
            }),
            None => Err(no_such_interface(name)),
        }
    }

    fn add_address(&mut self, to: &str, address: Ipv4Prefix) -> Result<Vec<String>, ConfigError> {
        let has_it = |i: &crate::config::InterfaceRef<'_>| {
            i.addresses()
                .iter()
                .any(|known| known.address() == address.address())
        };
        self.interface_mut(to)?;
        if let Some(owner) = self.all_interfaces().find(has_it) {
            return Err(ConfigError::DuplicateAddress {
                address,
                interface: owner.name(),
            });
        }
        self.interface_mut(to)?.addresses.push(address);
        Ok(Vec::new())
    }

    fn delete_address(
        &mut self,
        from: &str,
        address: Ipv4Prefix,
    ) -> Result<Vec<String>, ConfigError> {
        let addresses = self.interface_mut(from)?.addresses;
        let at = addresses
            .iter()
            .position(|known| *known == address)
            .ok_or_else(|| ConfigError::NoSuchAddress {
                address,
                interface: from.to_owned(),
            })?;
        addresses.remove(at);
        Ok(self.forget_unreachable())
    }

    fn create_sub_interfaces(
        &mut self,
        port: &str,
        ids: &RangeInclusive<u32>,
        matching: Option<Match>,
    ) -> Result<Vec<String>, ConfigError> {
        let host = self.host_mut(port, "have sub-interfaces")?;
        if let Some(known) = host.sub_interfaces.iter().find(|sub| ids.contains(&sub.id)) {
            return Err(ConfigError::DuplicateInterface {
                name: host.sub_name(known.id),
            });
        }
        let room = SUB_INTERFACES_MAX.saturating_sub(host.sub_interfaces.len());
        let mut made = Vec::new();
        for id in ids.clone() {
            if made.len() == room {
                let what = "sub-interfaces";
                return Err(ConfigError::TooMany {
                    what,
                    max: SUB_INTERFACES_MAX,
                });
            }
            let vid = u16::try_from(id).unwrap_or(u16::MAX);
            let matching = matching.unwrap_or_else(|| Match::dot1q_exact(vid));
            made.push(SubInterface {
                id,
                matching,
                up: false,
                mtu: None,
                addresses: Vec::new(),
            });
        }
        host.sub_interfaces.append(&mut made);
        Ok(Vec::new())
    }

    fn add_host_interface(&mut self, host: HostInterface) -> Result<Vec<String>, ConfigError> {
        let name = host.full_name();
        if self.interface(&name).is_some() {
            return Err(ConfigError::DuplicateInterface { name });
        }
        self.interfaces.push(host);
        Ok(Vec::new())
    }

    fn delete_host_interface(&mut self, name: &str) -> Result<Vec<String>, ConfigError> {
        let at = self.interfaces.iter().position(|host| host.name == name);
        let at = at.ok_or_else(|| no_such_interface(&format!("host-{name}")))?;
        self.interfaces.remove(at);
        Ok(self.forget_unreachable())
    }

    fn delete_sub_interface(&mut self, name: &str) -> Result<Vec<String>, ConfigError> {
        match self.find(name) {
            Some((host, Some(sub))) => {
                self.interfaces[host].sub_interfaces.remove(sub);
                Ok(self.forget_unreachable())
            }
            Some((_, None)) => Err(ConfigError::NotASubInterface {
                name: name.to_owned(),
            }),
            None => Err(no_such_interface(name)),
        }
    }

    fn add_route(
        &mut self,
        prefix: Ipv4Prefix,
        via: Ipv4Addr,
        interface: Option<&str>,
    ) -> Result<Vec<String>, ConfigError> {
        if let Some(name) = interface {
            self.interface_mut(name)?;
        }
        let destination = prefix.truncated();
        if self.routes.iter().any(|route| route.prefix == destination) {
            return Err(ConfigError::DuplicateRoute { prefix });
        }
        let interface = interface.map(str::to_owned);
        self.routes.push(Route {
            prefix: destination,
            via,
            interface,
        });
        let cut = prefix != destination;
        Ok(Vec::from_iter(cut.then(|| {
            format!("the route's destination is {destination}")
        })))
    }

    fn delete_route(
        &mut self,
        prefix: Ipv4Prefix,
        via: Option<Ipv4Addr>,
        interface: Option<&str>,
    ) -> Result<Vec<String>, ConfigError> {
        let at = self.routes.iter().position(|route| {
            route.prefix == prefix.truncated()
                && via.is_none_or(|via| route.via == via)
                && (interface.is_none() || route.interface.as_deref() == interface)
        });
        self.routes
            .remove(at.ok_or(ConfigError::NoSuchRoute { prefix })?);
        Ok(Vec::new())
    }

    fn set_neighbor(
        &mut self,
        interface: &str,
        address: Ipv4Addr,
        mac: MacAddr,
    ) -> Result<Vec<String>, ConfigError> {
        self.interface_mut(interface)?;
        let neighbor = Neighbor {
            interface: interface.to_owned(),
            address,
            mac,
        };
        match self.neighbor_position(interface, address) {
            // As in VPP, the newer address wins.
            Some(at) => self.neighbors[at] = neighbor,
            None => self.neighbors.push(neighbor),
        }
        Ok(Vec::new())
    }

    fn delete_neighbor(
        &mut self,
        interface: &str,
        address: Ipv4Addr,
    ) -> Result<Vec<String>, ConfigError> {
        let at = self.neighbor_position(interface, address);
        self.neighbors
            .remove(at.ok_or_else(|| ConfigError::NoSuchNeighbor {
                address,
                interface: interface.to_owned(),
            })?);
        Ok(Vec::new())
    }

    fn neighbor_position(&self, interface: &str, address: Ipv4Addr) -> Option<usize> {
        let mut neighbors = self.neighbors.iter();
        neighbors.position(|known| known.address == address && known.interface == interface)
    }

    fn add_http(&mut self, server: &HttpServer) -> Result<Vec<String>, ConfigError> {
        let (address, port) = (server.address, server.port);
        if self.http_position(address, port).is_some() {
            return Err(ConfigError::DuplicateHttp { address, port });
        }
        self.http.push(server.clone());
        Ok(Vec::new())
    }

    fn delete_http(&mut self, address: Ipv4Addr, port: u16) -> Result<Vec<String>, ConfigError> {
        let at = self.http_position(address, port);
        self.http
            .remove(at.ok_or(ConfigError::NoSuchHttp { address, port })?);
        Ok(Vec::new())
    }

    fn http_position(&self, address: Ipv4Addr, port: u16) -> Option<usize> {
        self.http
            .iter()
            .position(|server| (server.address, server.port) == (address, port))
    }

    /// After an interface or an address went: routes and neighbours it alone reached go too.
    fn forget_unreachable(&mut self) -> Vec<String> {
        let mut notes = Vec::new();
        let config = self.clone();
        self.routes.retain(|route| {
            let interface = config.route_interface(route);
            let reached = interface.is_some_and(|interface| {
                interface
                    .addresses()
                    .iter()
                    .any(|network| network.contains(route.via))
            });
            if !reached {
                notes.push(format!(
                    "the route to {} via {} went too",
                    route.prefix, route.via
                ));
            }
            reached
        });
        self.neighbors.retain(|neighbor| {
            let reached = config
                .interface(&neighbor.interface)
                .is_some_and(|interface| {
                    interface
                        .addresses()
                        .iter()
                        .any(|network| network.contains(neighbor.address))
                });
            if !reached {
                notes.push(format!("the neighbor {} went too", neighbor.address));
            }
            reached
        });
        notes
    }
}

fn no_such_interface(name: &str) -> ConfigError {
    ConfigError::NoSuchInterface {
        name: name.to_owned(),
    }
}
