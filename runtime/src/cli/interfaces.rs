//! `show interface`, `show interface address`.

use std::collections::BTreeMap;
use std::fmt;

use dataplane::IfIndex;
use dataplane::counters::{Counters, InterfaceCounters};
use serde::Serialize;

use super::operator::Baseline;
use super::table::{center, left, right};
use crate::plan::PlannedInterface;
use crate::snapshot::{PortSnapshot, Snapshot};

/// An interface and its traffic.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct InterfaceRow {
    /// The name.
    pub name: String,
    /// VPP's `sw_if_index`.
    pub index: u16,
    /// Administratively up.
    pub up: bool,
    /// Administratively up, and so is the kernel's interface.
    pub running: bool,
    /// Largest IP packet in octets; 0 while the kernel's interface does not exist.
    pub mtu: u16,
    /// Counters that are not 0, in VPP's order.
    #[serde(serialize_with = "super::table::as_object")]
    pub counters: Vec<(&'static str, u64)>,
}

/// `show interface`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct InterfaceTable(pub Vec<InterfaceRow>);

/// An interface's addresses.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AddressRow {
    /// The interface.
    pub name: String,
    /// Administratively up.
    pub up: bool,
    /// Its addresses, with the lengths of their prefixes.
    pub addresses: Vec<String>,
}

/// `show interface address`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct AddressTable(pub Vec<AddressRow>);

/// VPP's interface that is always there, number 0 and down.
pub(super) const LOCAL0: &str = "local0";

/// Every configured interface with its port, by name.
pub(super) fn all(snapshot: &Snapshot) -> BTreeMap<&str, (&PortSnapshot, &PlannedInterface)> {
    let ports = snapshot.ports.iter();
    ports
        .flat_map(|port| {
            let own = port.plan.interfaces();
            own.map(move |interface| (interface.name.as_str(), (port, interface)))
        })
        .collect()
}

/// The drops of all workers of all ports by interface, less `since`; those of number 0 are of no
/// interface that exists.
fn drops(snapshot: &Snapshot, since: &Baseline) -> BTreeMap<IfIndex, u64> {
    let mut sums = BTreeMap::new();
    let workers = snapshot.ports.iter().flat_map(|port| &port.workers);
    for drop in workers.flat_map(|worker| since.drops(worker)) {
        *sums.entry(drop.interface).or_default() += drop.count;
    }
    sums
}

/// The traffic of all workers of all ports, less `since`.
fn traffic(snapshot: &Snapshot, since: &Baseline, index: IfIndex) -> InterfaceCounters {
    let at = usize::from(index.0);
    let mut sum = InterfaceCounters::default();
    for worker in snapshot.ports.iter().flat_map(|port| &port.workers) {
        let Some(now) = worker.counters.interfaces.get(at) else {
            continue;
        };
        let before = since.worker(worker.number);
        let before = before.and_then(|counters: &Counters| counters.interfaces.get(at));
        let before = before.copied().unwrap_or_default();
        // A number given again starts at 0, below what was cleared.
        let less = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        sum.rx_packets += less(now.rx_packets, before.rx_packets);
        sum.rx_bytes += less(now.rx_bytes, before.rx_bytes);
        sum.tx_packets += less(now.tx_packets, before.tx_packets);
        sum.tx_bytes += less(now.tx_bytes, before.tx_bytes);
    }
    sum
}

pub(super) fn is_wanted(wanted: &[String], name: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|one| one == name)
}

impl InterfaceTable {
    /// The interfaces called `wanted`, or all; counters since `since`.
    pub fn of(snapshot: &Snapshot, since: &Baseline, wanted: &[String]) -> Self {
        let mut rows = Vec::new();
        let drops = drops(snapshot, since);
        let drops = |index| drops.get(&index).copied().unwrap_or(0);
        for (name, (port, interface)) in all(snapshot) {
            if !is_wanted(wanted, name) {
                continue;
            }
            let seen = port.workers.iter().find_map(|worker| {
                let mut known = worker.interfaces.iter();
                known.find(|(index, _)| *index == interface.index)
            });
            let sum = traffic(snapshot, since, interface.index);
            let mut counters = vec![
                ("rx packets", sum.rx_packets),
                ("rx bytes", sum.rx_bytes),
                ("tx packets", sum.tx_packets),
                ("tx bytes", sum.tx_bytes),
                ("drops", drops(interface.index)),
            ];
            if name == port.plan.port.name {
                let less = since.kernel_drops(port);
                counters.push(("rx-miss", less));
                let errors = since.rx_errors(port);
                counters.push(("rx-error", errors));
                counters.push(("tx-error", since.tx_errors(port)));
            }
            counters.retain(|(_, count)| *count > 0);
            rows.push(InterfaceRow {
                name: name.to_owned(),
                index: interface.index.0,
                up: interface.up,
                running: seen.is_some_and(|(_, seen)| seen.up),
                mtu: seen.map_or(0, |(_, seen)| seen.mtu),
                counters,
            });
        }
        if is_wanted(wanted, LOCAL0) {
            rows.push(InterfaceRow {
                name: LOCAL0.to_owned(),
                index: 0,
                up: false,
                running: false,
                mtu: 0,
                counters: match drops(IfIndex(0)) {
                    0 => Vec::new(),
                    drops => vec![("drops", drops)],
                },
            });
        }
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Self(rows)
    }
}

impl fmt::Display for InterfaceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}{}{}{}{}{}",
            center("Name", 32),
            center("Idx", 5),
            center("State", 10),
            center("MTU (L3/IP4/IP6/MPLS)", 21),
            center("Counter", 16),
            center("Count", 16)
        )?;
        for row in &self.0 {
            write!(
                f,
                "{}{}{}{}",
                left(&row.name, 32),
                center(row.index, 5),
                center(if row.up { "up" } else { "down" }, 10),
                center(format_args!("{}/0/0/0", row.mtu), 21)
            )?;
            for (at, (name, count)) in row.counters.iter().enumerate() {
                if at > 0 {
                    write!(f, "\n{:68}", "")?;
                }
                write!(f, "{}{}", left(name, 16), right(count, 16))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl AddressTable {
    /// The addresses of the interfaces called `wanted`, or of all.
    pub fn of(snapshot: &Snapshot, wanted: &[String]) -> Self {
        let mut rows: Vec<AddressRow> = all(snapshot)
            .into_iter()
            .filter(|(name, _)| is_wanted(wanted, name))
            .map(|(name, (_, interface))| AddressRow {
                name: name.to_owned(),
                up: interface.up,
                addresses: interface
                    .addresses
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
            })
            .collect();
        if is_wanted(wanted, LOCAL0) {
            rows.push(AddressRow {
                name: LOCAL0.to_owned(),
                up: false,
                addresses: Vec::new(),
            });
        }
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Self(rows)
    }
}

impl fmt::Display for AddressTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.0 {
            writeln!(f, "{} ({}):", row.name, if row.up { "up" } else { "dn" })?;
            for address in &row.addresses {
                writeln!(f, "  L3 {address}")?;
            }
        }
        Ok(())
    }
}
