//! Every limit, what happens at it, and the most memory all of it can take.
//!
//! `dataplane serve --print-limits` prints this for a configuration. The bound is the sum of what
//! each part may allocate at its fullest, all at the same time; a running server is far below it.

use std::fmt;

use ipstack::tcp::TcpConfig;
use serde::Serialize;

use crate::config::Config;

mod memory;
mod table;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Things.
    Count,
    /// Octets.
    Octets,
    /// Seconds.
    Seconds,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limit {
    /// Its name.
    pub name: &'static str,
    /// Of what there is one: a worker, a server, the process.
    pub of: &'static str,
    /// How much.
    pub value: u64,
    /// Of what.
    pub unit: Unit,
    /// What happens when it is reached.
    pub full: &'static str,
}

/// A part of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Memory {
    /// What it is for.
    pub part: &'static str,
    /// How many there are of it.
    pub count: u64,
    /// Octets of one, at most.
    pub octets: u64,
}

/// All limits and the memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Every limit.
    pub limits: Vec<Limit>,
    /// The most memory each part takes.
    pub memory: Vec<Memory>,
    /// The sum.
    pub memory_max: u64,
}

impl Limits {
    /// Of a server with this configuration.
    pub fn of(config: &Config, tcp: &TcpConfig) -> Self {
        let tcp = tcp.clone().clamped();
        let memory = memory::memory(config, &tcp);
        let octets = |part: &Memory| part.count.saturating_mul(part.octets);
        Self {
            limits: table::limits(config, &tcp),
            memory_max: memory.iter().map(octets).fold(0, u64::saturating_add),
            memory,
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        // Numbers and names only, which cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn wide(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<38} {:<14} {:>13} {:<8} when reached",
            "limit", "of each", "", ""
        )?;
        for limit in &self.limits {
            let unit = match limit.unit {
                Unit::Count => "",
                Unit::Octets => "octets",
                Unit::Seconds => "s",
            };
            let Limit {
                name,
                of,
                value,
                full,
                ..
            } = limit;
            writeln!(f, "{name:<38} {of:<14} {value:>13} {unit:<8} {full}")?;
        }
        writeln!(
            f,
            "\n{:<38} {:>8} {:>15} {:>17}",
            "memory at most", "count", "octets", "together"
        )?;
        for Memory {
            part,
            count,
            octets,
        } in &self.memory
        {
            let together = count.saturating_mul(*octets);
            writeln!(f, "{part:<38} {count:>8} {octets:>15} {together:>17}")?;
        }
        let mib = self.memory_max.div_ceil(1 << 20);
        writeln!(f, "{:<38} {:>42} ({mib} MiB)", "all", self.memory_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ByteSize, HostInterface, HttpServer};

    fn config(workers: u16) -> Config {
        let mut host = HostInterface::new("eth0");
        host.workers = workers;
        Config {
            interfaces: vec![host],
            http: vec![HttpServer::new("/www")],
            ..Config::default()
        }
    }

    #[test]
    fn the_bound_is_the_sum_of_its_parts_and_follows_the_configuration() {
        let tcp = TcpConfig::default();
        let one = Limits::of(&config(1), &tcp);
        let sum: u64 = one.memory.iter().map(|part| part.count * part.octets).sum();
        assert_eq!(one.memory_max, sum);
        assert!(Limits::of(&config(2), &tcp).memory_max > one.memory_max + (512 << 20));
        // The program's file is that of these tests.
        let program = one.memory[0].octets;
        assert!(one.memory_max - program < 1000 << 20, "{one}");
        let mut larger = config(1);
        larger.http[0].cache_size = ByteSize::mib(110);
        let more = Limits::of(&larger, &tcp).memory_max - one.memory_max;
        assert_eq!(more, 100 << 20);
        let fewer = TcpConfig {
            connections_max: 100,
            buffers_max: 8 << 20,
            ..TcpConfig::default()
        };
        assert!(Limits::of(&config(1), &fewer).memory_max < one.memory_max / 2);
    }

    #[test]
    fn every_limit_says_what_happens_and_both_forms_hold_all() {
        let limits = Limits::of(&config(1), &TcpConfig::default());
        let text = limits.to_string();
        let json: serde_json::Value = serde_json::from_str(&limits.to_json()).unwrap();
        assert_eq!(
            json["limits"].as_array().unwrap().len(),
            limits.limits.len()
        );
        assert_eq!(json["memory-max"], limits.memory_max);
        for limit in &limits.limits {
            assert!(limit.value > 0 && !limit.full.is_empty(), "{limit:?}");
            assert!(
                text.contains(limit.name) && text.contains(limit.full),
                "{limit:?}"
            );
        }
        for part in &limits.memory {
            assert!(part.octets > 0, "{part:?}");
        }
        assert!(text.contains(&limits.memory_max.to_string()));
    }
}
