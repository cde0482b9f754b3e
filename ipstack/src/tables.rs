//! The tables the nodes of one worker share: addresses, routes, neighbours, announcements.
//!
//! Changed between turns by whoever assembled the graph; each change is whole or refused.

use std::cell::RefCell;
use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use dataplane::{IfIndex, MacAddr, SharedInterfaces};

use crate::addresses::{
    ADDRESSES_MAX, Addresses, INTERFACE_ADDRESSES_MAX, InterfaceAddress, Prefix,
};
use crate::fib::{Fib, Hop, ROUTES_MAX, Route, STATIC_ROUTES_MAX};
use crate::heard::{Heard, HeardLog};
use crate::ip4;
use crate::neighbors::{NEIGHBORS_MAX, Neighbor, NeighborState, Neighbors};

/// A change that was refused; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// No interface has this number.
    UnknownInterface(IfIndex),
    /// An interface, by name, has the address.
    AddressTaken(Ipv4Addr, String),
    /// There is a route for exactly this prefix.
    PrefixTaken(Prefix),
    /// Too many addresses, of the interface or of all.
    TooManyAddresses,
    /// Too many routes.
    TooManyRoutes,
    /// The next hop is one of our own addresses, or none a station can have.
    NotANextHop(Ipv4Addr),
    /// No station can have this address, or it is ours.
    NotANeighbor(Ipv4Addr, MacAddr),
    /// The neighbour table is full of neighbours worth more.
    TooManyNeighbors,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownInterface(index) => write!(f, "no interface has number {}", index.0),
            Self::AddressTaken(address, holder) => {
                write!(f, "{address} is an address of {holder} already")
            }
            Self::PrefixTaken(prefix) => {
                write!(f, "{prefix} has a route already; delete that first")
            }
            Self::TooManyAddresses => write!(
                f,
                "more than {INTERFACE_ADDRESSES_MAX} addresses on one interface, or \
                 {ADDRESSES_MAX} in all"
            ),
            Self::TooManyRoutes => write!(
                f,
                "more than {STATIC_ROUTES_MAX} static routes, or {ROUTES_MAX} in all"
            ),
            Self::NotANextHop(next_hop) => {
                write!(
                    f,
                    "{next_hop} cannot be a next hop: expected a neighbour's address"
                )
            }
            Self::NotANeighbor(address, mac) => {
                write!(f, "{address} at {mac} cannot be a neighbour")
            }
            Self::TooManyNeighbors => write!(f, "more than {NEIGHBORS_MAX} neighbours"),
        }
    }
}

impl std::error::Error for TableError {}

/// An announcement under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announcement {
    pub(crate) interface: IfIndex,
    pub(crate) address: Ipv4Addr,
    /// How many are still to be sent.
    pub(crate) left: u8,
    pub(crate) at: Duration,
}

/// Announcements under way, at most one for each address there is.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    pub(crate) list: Vec<Announcement>,
    /// The earliest of `list`.
    pub(crate) next: Option<Duration>,
    /// Somebody else announces what is ours.
    silent: bool,
}

/// `ANNOUNCE_NUM` of RFC 5227 section 1.1.
const ANNOUNCE_NUM: u8 = 2;

impl Announcements {
    fn add(&mut self, interface: IfIndex, address: Ipv4Addr) {
        if self.silent {
            return;
        }
        self.remove(interface, address);
        self.list.push(Announcement {
            interface,
            address,
            left: ANNOUNCE_NUM,
            at: Duration::ZERO,
        });
        self.next = Some(Duration::ZERO);
    }

    fn remove(&mut self, interface: IfIndex, address: Ipv4Addr) {
        let is = |one: &Announcement| (one.interface, one.address) == (interface, address);
        self.list.retain(|one| !is(one));
        self.rewind();
    }

    /// Finds [`Self::next`] again after [`Self::list`] changed.
    pub(crate) fn rewind(&mut self) {
        self.next = self.list.iter().map(|one| one.at).min();
    }
}

/// The tables the nodes of one worker share. Clones share them too.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(crate) interfaces: SharedInterfaces,
    pub(crate) addresses: Rc<RefCell<Addresses>>,
    pub(crate) fib: Rc<RefCell<Fib>>,
    pub(crate) neighbors: Rc<RefCell<Neighbors>>,
    pub(crate) announcements: Rc<RefCell<Announcements>>,
    pub(crate) heard: Rc<RefCell<HeardLog>>,
}

impl Tables {
    /// Empty tables beside `interfaces`.
    pub fn new(interfaces: SharedInterfaces) -> Self {
        Self {
            interfaces,
            addresses: Rc::default(),
            fib: Rc::default(),
            neighbors: Rc::default(),
            announcements: Rc::default(),
            heard: Rc::default(),
        }
    }

    /// The interfaces these tables speak of.
    pub fn interfaces(&self) -> &SharedInterfaces {
        &self.interfaces
    }

    fn check_interface(&self, interface: IfIndex) -> Result<(), TableError> {
        let known = self.interfaces.borrow().get(interface).is_some();
        known
            .then_some(())
            .ok_or(TableError::UnknownInterface(interface))
    }

    /// Gives `interface` an address, connects it to the prefix, and announces it at the next turn
    /// if the interface is up then; [`Self::announce`] does so when it comes up later.
    ///
    /// # Errors
    /// An unknown interface, an address somebody has, a prefix that has a route by another way, or
    /// too many.
    pub fn add_address(
        &self,
        interface: IfIndex,
        address: InterfaceAddress,
    ) -> Result<(), TableError> {
        self.check_interface(interface)?;
        let mut addresses = self.addresses.borrow_mut();
        let mut fib = self.fib.borrow_mut();
        if let Some(holder) = addresses.holder(address.address) {
            let interfaces = self.interfaces.borrow();
            let name = interfaces.get(holder).map(|holder| holder.name.clone());
            let name = name.unwrap_or_default();
            return Err(TableError::AddressTaken(address.address, name));
        }
        let prefix = address.prefix();
        let route = fib.get(prefix);
        if route.is_some_and(|route| route.next_hop.is_some() || route.interface != Some(interface))
        {
            return Err(TableError::PrefixTaken(prefix));
        }
        if addresses.is_full(interface) {
            return Err(TableError::TooManyAddresses);
        }
        if route.is_none() {
            if fib.is_full(false) {
                return Err(TableError::TooManyRoutes);
            }
            fib.insert(Route {
                prefix,
                next_hop: None,
                interface: Some(interface),
                interface_given: true,
            });
        }
        addresses.insert(interface, address);
        fib.resolve(&addresses);
        self.neighbors
            .borrow_mut()
            .remove(interface, address.address);
        self.announcements
            .borrow_mut()
            .add(interface, address.address);
        Ok(())
    }

    /// Takes an address away, and with it the connected prefix and its neighbours when no other
    /// address of the interface needs them; `false` when the interface does not have it.
    pub fn remove_address(&self, interface: IfIndex, address: Ipv4Addr) -> bool {
        let mut addresses = self.addresses.borrow_mut();
        let Some(removed) = addresses.remove(interface, address) else {
            return false;
        };
        let prefix = removed.prefix();
        let mut fib = self.fib.borrow_mut();
        let needed = addresses
            .of(interface)
            .iter()
            .any(|own| own.prefix() == prefix);
        if !needed {
            fib.remove(prefix);
        }
        fib.resolve(&addresses);
        self.announcements.borrow_mut().remove(interface, address);
        self.neighbors.borrow_mut().retain(|index, peer, state| {
            index != interface
                || state == NeighborState::Static
                || addresses.connected(interface, peer).is_some()
        });
        true
    }

    /// All addresses, by interface.
    pub fn addresses(&self) -> Vec<(IfIndex, InterfaceAddress)> {
        self.addresses.borrow().iter().collect()
    }

    /// The interface that has `address`.
    pub fn holder(&self, address: Ipv4Addr) -> Option<IfIndex> {
        self.addresses.borrow().holder(address)
    }

    /// Takes everything of `interface` away: addresses, routes that name it, neighbours.
    pub fn remove_interface(&self, interface: IfIndex) {
        let own = self.addresses.borrow().of(interface).to_vec();
        for own in own {
            self.remove_address(interface, own.address);
        }
        let routes = self.routes();
        let named = routes
            .iter()
            .filter(|route| route.interface_given && route.interface == Some(interface));
        for route in named {
            self.remove_route(route.prefix);
        }
        let mut neighbors = self.neighbors.borrow_mut();
        neighbors.retain(|index, _, _| index != interface);
    }

    /// Adds a static route: packets to `prefix` go to `next_hop`, by `interface` or, when that is
    /// `None`, by the interface connected to the next hop at the time.
    ///
    /// # Errors
    /// An unknown interface, a prefix that has a route, a next hop no neighbour can be, or too
    /// many routes.
    pub fn add_route(
        &self,
        prefix: Prefix,
        next_hop: Ipv4Addr,
        interface: Option<IfIndex>,
    ) -> Result<(), TableError> {
        if let Some(interface) = interface {
            self.check_interface(interface)?;
        }
        let addresses = self.addresses.borrow();
        if ip4::is_martian(next_hop) || addresses.holder(next_hop).is_some() {
            return Err(TableError::NotANextHop(next_hop));
        }
        let mut fib = self.fib.borrow_mut();
        if fib.get(prefix).is_some() {
            return Err(TableError::PrefixTaken(prefix));
        }
        if fib.is_full(true) {
            return Err(TableError::TooManyRoutes);
        }
        fib.insert(Route {
            prefix,
            next_hop: Some(next_hop),
            interface,
            interface_given: interface.is_some(),
        });
        fib.resolve(&addresses);
        self.neighbors.borrow_mut().set_gateways(fib.gateways());
        Ok(())
    }

    /// Takes the static route for exactly `prefix` away; `None` when there is none.
    pub fn remove_route(&self, prefix: Prefix) -> Option<Route> {
        let mut fib = self.fib.borrow_mut();
        fib.get(prefix).filter(|route| route.next_hop.is_some())?;
        let removed = fib.remove(prefix);
        self.neighbors.borrow_mut().set_gateways(fib.gateways());
        removed
    }

    /// All routes, by prefix: connected and static.
    pub fn routes(&self) -> Vec<Route> {
        self.fib.borrow().routes()
    }

    /// Where a packet to `destination` goes next.
    pub fn route_to(&self, destination: Ipv4Addr) -> Option<Hop> {
        self.fib.borrow().lookup(destination)
    }

    /// The largest IP packet that reaches the next hop towards `destination`, in octets.
    pub fn mtu_to(&self, destination: Ipv4Addr) -> Option<u16> {
        let hop = self.route_to(destination)?;
        let interfaces = self.interfaces.borrow();
        interfaces.get(hop.interface).map(|leaves| leaves.mtu)
    }

    /// The address packets of our own to `destination` come from: the one connected to the next
    /// hop, else the interface's first.
    pub fn source_for(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let hop = self.route_to(destination)?;
        let addresses = self.addresses.borrow();
        let connected = addresses.connected(hop.interface, hop.next_hop);
        let own = connected.or_else(|| addresses.of(hop.interface).first().copied());
        own.map(|own| own.address)
    }

    /// Announces every address of `interface`, at the next turn and 2 s later: after its link came
    /// back or its Ethernet address changed.
    pub fn announce(&self, interface: IfIndex) {
        let mut announcements = self.announcements.borrow_mut();
        for own in self.addresses.borrow().of(interface) {
            announcements.add(interface, own.address);
        }
    }

    /// Announces nothing from now on: another worker of the interface does.
    pub fn leave_announcing(&self) {
        let mut announcements = self.announcements.borrow_mut();
        announcements.silent = true;
        announcements.list.clear();
        announcements.rewind();
    }

    /// Configures a neighbour.
    ///
    /// # Errors
    /// An unknown interface, an address no neighbour can have, or a full table.
    pub fn set_neighbor(
        &self,
        interface: IfIndex,
        address: Ipv4Addr,
        mac: MacAddr,
    ) -> Result<(), TableError> {
        self.check_interface(interface)?;
        let ours = self.addresses.borrow().holder(address).is_some();
        if ours || ip4::is_martian(address) || mac.is_group() || mac == MacAddr::ZERO {
            return Err(TableError::NotANeighbor(address, mac));
        }
        let mut neighbors = self.neighbors.borrow_mut();
        let set = neighbors.set_static(interface, address, mac);
        set.then_some(()).ok_or(TableError::TooManyNeighbors)
    }

    /// Takes a neighbour away, static or not; `false` when there is no such one.
    pub fn remove_neighbor(&self, interface: IfIndex, address: Ipv4Addr) -> bool {
        self.neighbors.borrow_mut().remove(interface, address)
    }

    /// Forgets what was learned on `interface`: after its link was lost. Static neighbours stay.
    pub fn flush_neighbors(&self, interface: IfIndex) {
        let mut neighbors = self.neighbors.borrow_mut();
        neighbors.retain(|index, _, state| index != interface || state == NeighborState::Static);
    }

    /// From now on keeps what peers tell of themselves, for other workers' tables.
    pub fn keep_heard(&self) {
        self.heard.borrow_mut().keep();
    }

    /// Hands out what was heard since the last call, once [`Self::keep_heard`] was called.
    pub fn take_heard(&self, tell: impl FnMut(Heard)) {
        self.heard.borrow_mut().drain().for_each(tell);
    }

    /// Learns from what another worker heard, as if it had been heard here.
    pub fn hear(&self, now: Duration, heard: Heard) {
        let addresses = self.addresses.borrow();
        // The other's addresses may be newer, or older.
        let connected = addresses.connected(heard.interface, heard.address);
        if connected.is_some() && addresses.holder(heard.address).is_none() {
            heard.teach(now, &mut self.neighbors.borrow_mut());
        }
    }

    /// All neighbours, by interface and address.
    pub fn neighbors(&self, now: Duration) -> Vec<Neighbor> {
        self.neighbors.borrow().list(now)
    }
}

#[cfg(test)]
mod tests;
