//! `show ip neighbors`, `show ip fib`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use dataplane::IfIndex;
use ipstack::NeighborState;
use serde::Serialize;

use super::interfaces::all;
use super::table::{center, left, right, seconds};
use crate::snapshot::Snapshot;

/// A neighbour.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NeighborRow {
    /// Seconds since its Ethernet address was last heard, or since it was first asked for.
    pub age: f64,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its Ethernet address, once known.
    pub mac: Option<String>,
    /// `reachable`, `stale`, `static`, ...
    pub state: String,
    /// The interface it is reached by.
    pub interface: String,
}

/// `show ip neighbors`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct NeighborTable(pub Vec<NeighborRow>);

/// A route.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteRow {
    /// Destination.
    pub prefix: String,
    /// `connected`, `static`, or `local` for our own addresses.
    pub kind: &'static str,
    /// Next hop of a static route.
    pub via: Option<Ipv4Addr>,
    /// The interface packets leave by, if there is one now.
    pub interface: Option<String>,
}

/// `show ip fib`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct RouteTable(pub Vec<RouteRow>);

fn names(snapshot: &Snapshot) -> BTreeMap<IfIndex, String> {
    let interfaces = all(snapshot).into_iter();
    interfaces
        .map(|(name, (_, interface))| (interface.index, name.to_owned()))
        .collect()
}

/// How much a state tells; workers may know a neighbour differently.
fn certainty(state: NeighborState) -> u8 {
    match state {
        NeighborState::Incomplete => 0,
        NeighborState::Stale => 1,
        NeighborState::Probe => 2,
        NeighborState::Delay => 3,
        NeighborState::Reachable => 4,
        NeighborState::Static => 5,
    }
}

impl NeighborTable {
    /// The neighbours on `interface`, or all.
    pub fn of(snapshot: &Snapshot, interface: Option<&str>) -> Self {
        let names = names(snapshot);
        let mut best = BTreeMap::new();
        for worker in snapshot.ports.iter().flat_map(|port| &port.workers) {
            for neighbor in &worker.neighbors {
                let key = (neighbor.interface, neighbor.address);
                let known = best.entry(key).or_insert(*neighbor);
                if certainty(neighbor.state) > certainty(known.state) {
                    *known = *neighbor;
                }
            }
        }
        let rows = best.into_values().filter_map(|neighbor| {
            let name = names.get(&neighbor.interface)?;
            let wanted = interface.is_none_or(|wanted| wanted == name);
            wanted.then(|| NeighborRow {
                age: seconds(neighbor.age),
                address: neighbor.address,
                mac: neighbor.mac.map(|mac| mac.to_string()),
                state: neighbor.state.to_string(),
                interface: name.clone(),
            })
        });
        Self(rows.collect())
    }
}

/// VPP's letter: static, dynamic, pending, stale (`A`, aged).
fn flag(state: &str) -> &'static str {
    match state {
        "static" => "S",
        "incomplete" => "P",
        "stale" => "A",
        _ => "D",
    }
}

impl fmt::Display for NeighborTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}{}{}{}{}",
            center("Age", 12),
            center("IP", 40),
            center("Flags", 6),
            center("Ethernet", 20),
            center("Interface", 24)
        )?;
        for row in &self.0 {
            writeln!(
                f,
                "{}{}{}{}{}",
                right(format_args!("{:.4}", row.age), 12),
                center(row.address, 40),
                center(flag(&row.state), 6),
                center(row.mac.as_deref().unwrap_or("-"), 20),
                row.interface
            )?;
        }
        Ok(())
    }
}

impl RouteTable {
    /// The routes of every port, by prefix.
    pub fn of(snapshot: &Snapshot) -> Self {
        let names = names(snapshot);
        let name = |index: Option<IfIndex>| index.and_then(|index| names.get(&index).cloned());
        let mut rows = BTreeMap::new();
        for worker in snapshot
            .ports
            .iter()
            .filter_map(|port| port.workers.first())
        {
            for route in &worker.routes {
                let kind = if route.next_hop.is_some() {
                    "static"
                } else {
                    "connected"
                };
                let key = (route.prefix.network(), route.prefix.len());
                rows.insert(
                    key,
                    RouteRow {
                        prefix: route.prefix.to_string(),
                        kind,
                        via: route.next_hop,
                        interface: name(route.interface),
                    },
                );
            }
            for (index, own) in &worker.addresses {
                rows.insert(
                    (own.address, 32),
                    RouteRow {
                        prefix: format!("{}/32", own.address),
                        kind: "local",
                        via: None,
                        interface: name(Some(*index)),
                    },
                );
            }
        }
        Self(rows.into_values().collect())
    }
}

impl fmt::Display for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}{}{}{}",
            left("Prefix", 20),
            left("Kind", 11),
            left("Via", 17),
            left("Interface", 24)
        )?;
        for row in &self.0 {
            let via = row.via.map(|via| via.to_string());
            writeln!(
                f,
                "{}{}{}{}",
                left(&row.prefix, 20),
                left(row.kind, 11),
                left(via.as_deref().unwrap_or("-"), 17),
                row.interface.as_deref().unwrap_or("unreachable")
            )?;
        }
        Ok(())
    }
}
