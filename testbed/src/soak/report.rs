//! The results in words and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::Results;
use super::clients::Tally;
use super::memory::GROWTH_MAX;

/// Octets of a mebibyte.
const MIB: u64 = 1 << 20;

/// A line while it goes on.
pub fn progress(at: Duration, tallies: &[Tally; 2], memory: [u64; 2]) -> String {
    let sum = |field: fn(&Tally) -> u64| tallies.iter().map(field).sum::<u64>();
    let [attacked, lossy] = memory.map(|octets| octets / MIB);
    format!(
        "[{:4} s] served {} ({} MiB), failed {} and {} unexplained, wrong {}, memory {attacked} and \
         {lossy} MiB",
        at.as_secs(),
        sum(|tally| tally.served),
        sum(|tally| tally.octets) / MIB,
        sum(|tally| tally.explained),
        sum(|tally| tally.unexplained),
        sum(|tally| tally.wrong),
    )
}

/// The end, in lines.
pub fn text(results: &Results) -> String {
    let mut lines = vec![format!(
        "soak of {} s, seed {}",
        results.elapsed.as_secs(),
        results.seed
    )];
    for (name, tally) in &results.clients {
        lines.push(format!(
            "{name}: served {} ({} MiB, slowest {:.1} s), failed {} explained and {} unexplained, \
             wrong {}",
            tally.served,
            tally.octets / MIB,
            tally.slowest.as_secs_f64(),
            tally.explained,
            tally.unexplained,
            tally.wrong
        ));
    }
    let list = |counts: &std::collections::BTreeMap<&str, u64>| {
        let each: Vec<_> = counts
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        each.join(", ")
    };
    let frames: u64 = results.attacks.values().sum();
    lines.push(format!(
        "hostile frames: {frames}: {}",
        list(&results.attacks)
    ));
    lines.push(format!("changes: {}", list(&results.changes)));
    lines.push(match results.growth() {
        None => "memory: too short to tell whether it grows".to_owned(),
        Some(grown) => format!(
            "memory: grew by {} KiB from the second quarter to the last, {} MiB allowed",
            grown / 1024,
            GROWTH_MAX / MIB
        ),
    });
    lines.extend(
        results
            .failures
            .iter()
            .map(|failure| format!("failed: {failure}")),
    );
    lines.push(
        if results.is_good() {
            "good"
        } else {
            "NOT good"
        }
        .to_owned(),
    );
    lines.join("\n")
}

/// Everything, for programs.
pub fn json(results: &Results) -> Value {
    let clients = results.clients.iter().map(|(name, tally)| {
        let value = json!({
            "served": tally.served,
            "octets": tally.octets,
            "wrong": tally.wrong,
            "failed-explained": tally.explained,
            "failed-unexplained": tally.unexplained,
            "slowest-seconds": tally.slowest.as_secs_f64(),
        });
        ((*name).to_owned(), value)
    });
    let memory = results.memory.iter().map(|sample| {
        let [attacked, lossy] = sample.octets;
        json!([sample.at.as_secs_f64(), attacked, lossy])
    });
    json!({
        "seconds": results.elapsed.as_secs_f64(),
        "seed": results.seed,
        "good": results.is_good(),
        "clients": clients.collect::<serde_json::Map<_, _>>(),
        "hostile-frames": results.attacks,
        "changes": results.changes,
        "failures": results.failures,
        "memory-growth-octets": results.growth(),
        "memory-columns": ["seconds", "attacked", "lossy"],
        "memory": memory.collect::<Vec<_>>(),
    })
}
