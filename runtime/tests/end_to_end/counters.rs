//! Our counters against the client's kernel's.

use std::fs;
use std::net::SocketAddrV4;

use testbed::client::{connect, ping};

use crate::bed::{Bed, SERVER, SOON, eventually};
use crate::operator::Desk;

/// Frames the client's device received and sent.
fn client_frames(bed: &Bed) -> (u64, u64) {
    let text = || fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let text = bed.client().run(text).unwrap();
    let device = format!("{}:", bed.wiring.client().interface());
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(&device))
        .unwrap();
    let fields: Vec<u64> = line
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    (fields[1], fields[9])
}

/// Connections the client's kernel could not open.
fn failed_attempts(bed: &Bed) -> u64 {
    let text = || fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let text = bed.client().run(text).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names
        .split(' ')
        .position(|name| name == "AttemptFails")
        .unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

#[test]
fn traffic_and_drops_are_what_the_clients_kernel_counted() {
    const PINGS: u16 = 100;
    const REFUSED: u64 = 7;
    let desk = Desk::new();
    let Some(bed) = desk.bed(&[]) else { return };
    bed.check();
    eventually("the connection is over", || {
        !desk.ok("show session").contains("ESTABLISHED")
    });
    desk.ok("clear interfaces");
    desk.ok("clear errors");
    let (received, sent) = client_frames(&bed);
    let failed = failed_attempts(&bed);
    ping(bed.client(), SERVER, PINGS, 56, SOON).unwrap();
    for _ in 0..REFUSED {
        connect(bed.client(), SocketAddrV4::new(SERVER, 81), SOON).unwrap_err();
    }
    assert_eq!(failed_attempts(&bed) - failed, REFUSED);

    // Between the two readings an ARP request may come, so both are read until they agree.
    eventually("the counts are equal", || {
        let ours = desk.counters("host-macvlan0.123");
        let (now_received, now_sent) = client_frames(&bed);
        ours["rx packets"] == now_sent - sent && ours["tx packets"] == now_received - received
    });
    let (sub, port) = (
        desk.counters("host-macvlan0.123"),
        desk.counters("host-macvlan0"),
    );
    for name in ["rx packets", "rx bytes", "tx packets", "tx bytes"] {
        assert_eq!(sub[name], port[name], "{name}");
    }
    let at_least = u64::from(PINGS) * 102 + REFUSED * (14 + 4 + 20 + 40);
    assert!(sub["rx bytes"].as_u64().unwrap() >= at_least, "{sub}");

    // Every drop has a reason and a place, and the sums agree.
    assert_eq!(sub["drops"], REFUSED);
    assert_eq!(port["drops"], serde_json::Value::Null);
    let errors = desk.json("show errors");
    let refused = errors
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["node"] == "tcp4-input" && row["reason"] == "no-listener")
        .unwrap();
    assert_eq!(refused["count"], REFUSED);
    assert_eq!(refused["interfaces"]["host-macvlan0.123"], REFUSED);
    assert!(desk.ok("show errors verbose").contains("host-macvlan0.123"));
    assert!(
        desk.ok("show errors host-macvlan0.123")
            .contains("no-listener")
    );
    assert!(!desk.ok("show errors host-macvlan0").contains("no-listener"));

    // What a sub-interface dropped stays in the sums when it goes.
    desk.ok("delete sub-interfaces host-macvlan0.123");
    let row = &desk.json("show errors")[0];
    assert_eq!(row["interfaces"]["local0"], REFUSED, "{row}");
    assert_eq!(desk.counters("local0")["drops"], REFUSED);
}
