//! Metrics and the access log of a running server.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use testbed::client::{connect, ping};
use testbed::netns::Netns;

use crate::bed::{Bed, SERVER, SOON};
use crate::operator::Desk;

/// The pod's loopback, which is the kernel's.
const METRICS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9482);

const BIG: usize = 8 << 20;

struct Metered {
    bed: Bed,
    desk: Desk,
}

impl Metered {
    /// `None` where the test must be skipped.
    fn start() -> Option<Self> {
        let desk = Desk::new();
        let log = desk.path().join("access.log");
        let address = METRICS.to_string();
        let bed = desk.bed(&[
            "--log-format",
            "json",
            "--metrics-listen",
            &address,
            "--access-log",
            log.to_str().unwrap(),
        ])?;
        fs::write(bed.site.www().join("big"), vec![b'x'; BIG]).unwrap();
        Some(Self { bed, desk })
    }

    /// The samples that are whole numbers, by name and labels.
    fn scrape(&self) -> BTreeMap<String, u64> {
        // Older answers may be given again for a tenth of a second.
        thread::sleep(runtime::metrics::PAGE_AGE_MAX);
        let mut stream = dial(self.bed.wiring.pod());
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let lines = body.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let value = value.parse().ok()?;
                Some((name.to_owned(), value))
            })
            .collect()
    }

    /// Lines of the access log, once there are so many.
    fn log(&self, count: usize) -> Vec<String> {
        let until = Instant::now() + SOON;
        loop {
            let text = fs::read_to_string(self.desk.path().join("access.log")).unwrap();
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            if lines.len() >= count && text.ends_with('\n') || Instant::now() > until {
                return lines;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn dial(pod: &Netns) -> TcpStream {
    let stream = pod.run(|| TcpStream::connect(METRICS)).unwrap().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

const SUB: &str = "interface=\"host-macvlan0.123\"";

#[test]
fn the_metrics_are_what_the_client_did() {
    let Some(metered) = Metered::start() else {
        return;
    };
    let bed = &metered.bed;
    bed.get("/"); // the client's neighbour is known then
    let before = metered.scrape();
    let client = bed.client();
    ping(client, SERVER, 25, 56, SOON).unwrap();
    for _ in 0..12 {
        assert_eq!(bed.get("/").body, b"Welcome\n");
    }
    for _ in 0..3 {
        bed.get("/none");
    }
    // Nobody listens there: a named drop.
    connect(client, SocketAddrV4::new(SERVER, 81), SOON).unwrap_err();
    let after = metered.scrape();
    let grew = |name: &str, labels: &str| {
        let key = format!("dataplane_{name}{{{labels}}}");
        after[&key] - before[&key]
    };
    let node = |node: &str| format!("port=\"host-macvlan0\",node=\"{node}\"");
    let server = "server=\"0.0.0.0:80\"";
    assert_eq!(grew("node_vectors_total", &node("ip4-icmp-input")), 25);
    let class = |class: &str| {
        grew(
            "http_responses_total",
            &format!("{server},class=\"{class}\""),
        )
    };
    assert_eq!((class("2xx"), class("4xx"), class("5xx")), (12, 3, 0));
    assert_eq!(grew("http_request_duration_seconds_count", server), 15);
    assert_eq!(grew("http_first_octet_seconds_count", server), 15);
    assert_eq!(grew("http_connections_total", server), 15);
    assert_eq!(grew("tcp_accepted_total", "port=\"host-macvlan0\""), 15);
    let drops = format!("{},reason=\"no-listener\"", node("tcp4-input"));
    assert_eq!(grew("node_drops_total", &drops), 1);
    assert_eq!(grew("interface_drops_total", SUB), 1);
    assert!(grew("interface_receive_packets_total", SUB) >= 25 + 15 * 4);
    // Nothing but gauges and what is off falls.
    for (name, value) in before.iter().filter(|(name, _)| name.contains("_total")) {
        assert!(after[name] >= *value, "{name}");
    }
    // A clear is for operators' eyes.
    for line in ["clear interfaces", "clear runtime", "clear errors"] {
        metered.desk.ok(line);
    }
    let cleared = metered.scrape();
    for (name, value) in after.iter().filter(|(name, _)| name.contains("_total")) {
        assert!(cleared[name] >= *value, "{name}");
    }
}

#[test]
fn clients_of_the_metrics_that_hang_or_flood_cost_no_packet() {
    let Some(metered) = Metered::start() else {
        return;
    };
    let bed = &metered.bed;
    let pod = bed.wiring.pod();
    let hanging: Vec<_> = (0..64)
        .map(|nth| {
            let mut stream = dial(pod);
            if nth % 2 == 0 {
                let _ = stream.write(b"GET /metrics HTTP/1.1\r\nHo");
            }
            stream
        })
        .collect();
    let client = bed.client();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    dial(pod)
                        .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
                        .unwrap();
                }
            });
        }
        // Fails at the first that is not answered.
        ping(client, SERVER, 1000, 56, SOON).unwrap();
        for _ in 0..10 {
            assert_eq!(bed.get("/big").body.len(), BIG);
        }
    });
    drop(hanging);
    let samples = metered.scrape();
    assert_eq!(
        samples["dataplane_kernel_drops_total{port=\"host-macvlan0\"}"],
        0
    );
    assert_eq!(
        samples["dataplane_ring_receive_lost_total{port=\"host-macvlan0\"}"],
        0
    );
}

#[test]
fn the_access_log_has_exactly_the_requests_also_when_it_is_truncated_and_at_the_end() {
    let Some(mut metered) = Metered::start() else {
        return;
    };
    let bed = &metered.bed;
    for nth in 0..20 {
        bed.get(&format!("/?{nth}"));
    }
    bed.get("/none\\x\"");
    let lines = metered.log(21);
    assert_eq!(lines.len(), 21, "{lines:?}");
    for (nth, line) in lines.iter().take(20).enumerate() {
        assert!(line.starts_with("192.168.123.1 - - ["), "{line}");
        let end = format!("] \"GET /?{nth} HTTP/1.1\" 200 8 \"-\" \"-\"");
        assert!(line.ends_with(&end), "{line}");
    }
    assert!(lines[20].contains(" 40"), "{}", lines[20]);
    // As logrotate's copytruncate does.
    fs::write(metered.desk.path().join("access.log"), "").unwrap();
    bed.get("/big");
    let lines = metered.log(1);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with(&format!("\"GET /big HTTP/1.1\" 200 {BIG} \"-\" \"-\"")));
    let samples = metered.scrape();
    assert_eq!(samples["dataplane_access_log_lines_total"], 22);
    assert_eq!(samples["dataplane_access_log_lost_lines_total"], 0);
    bed.get("/last");
    metered.bed.server.terminate().unwrap();
    assert_eq!(metered.log(2).len(), 2);
}
