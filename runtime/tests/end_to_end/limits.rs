//! The memory a server says it can take at most, and what it takes.

use std::fs;

use serde_json::Value;
use testbed::client::Http;

use crate::bed::{Bed, HTTP, SOON, check_page};

/// Twice the connections one address may have.
const TRIED: usize = 200;
const BOUNDS: [&str; 6] = [
    "--connections-max",
    "200",
    "--tcp-memory",
    "16m",
    "--cache-size",
    "4m",
];

fn printed(bed: &Bed) -> Value {
    let mut command = bed.site.flags(&BOUNDS);
    let output = command.arg("--print-limits=json").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn limit(limits: &Value, name: &str) -> u64 {
    let all = limits["limits"].as_array().unwrap();
    let found = all.iter().find(|limit| limit["name"] == name);
    found.unwrap_or_else(|| panic!("{name}"))["value"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_loaded_server_stays_below_the_memory_it_says() {
    let Some(bed) = Bed::with_flags(&BOUNDS) else {
        return;
    };
    let limits = printed(&bed);
    assert_eq!(limit(&limits, "connections"), 200);
    assert_eq!(limit(&limits, "connections of one address"), 100);
    assert_eq!(limit(&limits, "buffers of connections"), 16 << 20);
    assert_eq!(limit(&limits, "cache"), 4 << 20);
    let bound = limits["memory-max"].as_u64().unwrap();
    for number in 0..16 {
        let file = bed.site.www().join(format!("{number}"));
        fs::write(file, vec![b'x'; 512 << 10]).unwrap();
    }
    fs::write(bed.site.www().join("large"), vec![b'x'; 8 << 20]).unwrap();
    let started = bed.server.resident_memory().unwrap();
    assert_eq!(bed.get("/large").body.len(), 8 << 20);
    // More than may be, all at once: some are refused, and nothing grows beyond its bound.
    let mut held = Vec::new();
    let mut refused = 0;
    for number in 0..TRIED {
        let path = format!("/{}", number % 16);
        let answer = Http::connect(bed.client(), HTTP, SOON)
            .map_err(|error| error.to_string())
            .and_then(|mut http| match http.get(&path, &[]) {
                Ok(page) => Ok((http, page)),
                Err(error) => Err(error.to_string()),
            });
        match answer {
            Ok((http, page)) => {
                assert_eq!((page.status, page.body.len()), (200, 512 << 10));
                held.push(http);
            }
            Err(_) => refused += 1,
        }
    }
    assert_eq!((held.len(), refused), (100, 100), "all from one address");
    let loaded = bed.server.resident_memory().unwrap();
    assert!(
        loaded <= bound,
        "{loaded} octets, {started} at the start; at most {bound} was said; {refused} refused"
    );
    assert!(loaded > started, "nothing was loaded");
    let mut first = held.remove(0);
    check_page(&first.get("/index.html", &[]).unwrap());
}
