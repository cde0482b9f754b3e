//! The forwarding table: connected prefixes and static routes, longest prefix first.
//!
//! One map for each prefix length in use, tried from the longest: two or three look-ups where
//! there are connected prefixes and a default gateway. Its keys come from the configuration; its
//! look-ups, which a peer can choose, cannot change it.

use std::net::Ipv4Addr;

use dataplane::IfIndex;
use hashbrown::HashMap;

use crate::addresses::{Addresses, Prefix};

/// Routes held at most, connected prefixes included; more are refused.
pub const ROUTES_MAX: usize = 16_384;

/// Static routes held at most; more are refused. Their next hops are kept in the neighbour table,
/// so they are fewer than that has places.
pub const STATIC_ROUTES_MAX: usize = 1024;

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destinations it is for.
    pub prefix: Prefix,
    /// The router; `None` for connected prefixes, whose stations are neighbours.
    pub next_hop: Option<Ipv4Addr>,
    /// The interface it leaves by; on a static route `None` when it was not named and no
    /// connected prefix holds the next hop at present.
    pub interface: Option<IfIndex>,
    /// Whether the interface was named, not found through the next hop.
    pub interface_given: bool,
}

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The interface it leaves by.
    pub interface: IfIndex,
    /// The neighbour it goes to.
    pub next_hop: Ipv4Addr,
}

/// The forwarding table.
#[derive(Debug, Default)]
pub struct Fib {
    /// At most [`ROUTES_MAX`].
    routes: HashMap<Prefix, Route>,
    /// Bit `n`: there are prefixes of `n` bits.
    lengths: u64,
    statics: usize,
}

impl Fib {
    /// Where a packet to `destination` goes next: along the longest prefix that has an interface.
    #[inline]
    pub fn lookup(&self, destination: Ipv4Addr) -> Option<Hop> {
        let mut lengths = self.lengths;
        while lengths != 0 {
            let len = lengths.ilog2();
            lengths &= !(1 << len);
            let prefix = Prefix::of(destination, u8::try_from(len).unwrap_or(0));
            if let Some(route) = self.routes.get(&prefix)
                && let Some(interface) = route.interface
            {
                let next_hop = route.next_hop.unwrap_or(destination);
                return Some(Hop {
                    interface,
                    next_hop,
                });
            }
        }
        None
    }

    /// All routes, by prefix.
    pub fn routes(&self) -> Vec<Route> {
        let mut routes: Vec<Route> = self.routes.values().copied().collect();
        routes.sort_unstable_by_key(|route| route.prefix);
        routes
    }

    /// The route for exactly `prefix`.
    pub fn get(&self, prefix: Prefix) -> Option<Route> {
        self.routes.get(&prefix).copied()
    }

    /// Next hops of static routes.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.routes.values().filter_map(|route| route.next_hop)
    }

    /// Whether another route, static or not, would be too many.
    pub(crate) fn is_full(&self, is_static: bool) -> bool {
        self.routes.len() >= ROUTES_MAX || (is_static && self.statics >= STATIC_ROUTES_MAX)
    }

    /// The caller has checked that the prefix is free and that there is room.
    pub(crate) fn insert(&mut self, route: Route) {
        self.lengths |= 1 << route.prefix.len();
        self.statics += usize::from(route.next_hop.is_some());
        self.routes.insert(route.prefix, route);
    }

    pub(crate) fn remove(&mut self, prefix: Prefix) -> Option<Route> {
        let route = self.routes.remove(&prefix)?;
        self.statics -= usize::from(route.next_hop.is_some());
        let len = prefix.len();
        if !self.routes.keys().any(|prefix| prefix.len() == len) {
            self.lengths &= !(1 << len);
        }
        Some(route)
    }

    /// Finds the interface of every static route that does not name one, after addresses changed.
    pub(crate) fn resolve(&mut self, addresses: &Addresses) {
        let mut connected: Vec<(Prefix, IfIndex)> = Vec::new();
        if self.statics > 0 {
            connected.extend(addresses.iter().map(|(index, own)| (own.prefix(), index)));
        }
        for route in self.routes.values_mut() {
            let Some(next_hop) = route.next_hop.filter(|_| !route.interface_given) else {
                continue;
            };
            let holding = connected
                .iter()
                .filter(|(prefix, _)| prefix.contains(next_hop));
            let longest = holding.max_by_key(|(prefix, _)| prefix.len());
            route.interface = longest.map(|(_, index)| *index);
        }
    }
}
