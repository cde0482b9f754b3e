//! Metrics, the access log and the logs of a running server, end to end. Needs root; without it the
//! tests say so and are skipped, with `CI=true` they must run.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the helpers of tests are tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testbed::client::{connect, http_get, ping};
use testbed::netns::{Netns, may_wire};
use testbed::process::{Rights, Server};
use testbed::wiring::{Options, SERVER_ADDRESS, Wiring};

const SOON: Duration = Duration::from_secs(10);

/// The pod's loopback, which is the kernel's.
const METRICS: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9482);

/// Whether to run; says why not.
fn as_root() -> bool {
    let allowed = may_wire();
    assert!(
        allowed || std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "with CI=true, these tests need root"
    );
    if !allowed {
        println!("skipped: needs root");
    }
    allowed
}

struct Bed {
    server: Option<Server>,
    wiring: Wiring,
    folder: TempDir,
}

const BIG: usize = 8 << 20;

impl Bed {
    fn start() -> Self {
        let wiring = Wiring::poc(Options::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let www = folder.path().join("www");
        fs::create_dir(&www).unwrap();
        fs::write(www.join("index.html"), "Welcome\n").unwrap();
        fs::write(www.join("big"), vec![b'x'; BIG]).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dataplane"));
        command.args(["serve", "--interface", "macvlan0", "--vlan", "123"]);
        command.args(["--address", "192.168.123.150/24", "--log-format", "json"]);
        command.args(["--metrics-listen", &METRICS.to_string()]);
        for (flag, path) in [
            ("--www-root", "www"),
            ("--access-log", "access.log"),
            ("--cli-listen", "cli.sock"),
        ] {
            command.arg(flag).arg(folder.path().join(path));
        }
        let mut server = Server::start(wiring.pod(), command, Rights::Inherited).unwrap();
        server.wait_until_ready(SOON).unwrap();
        Self {
            server: Some(server),
            wiring,
            folder,
        }
    }

    /// The samples that are whole numbers, by name and labels.
    fn scrape(&self) -> BTreeMap<String, u64> {
        // Older answers may be given again for a tenth of a second.
        thread::sleep(runtime::metrics::PAGE_AGE_MAX);
        let mut stream = dial(self.wiring.pod());
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

    fn get(&self, path: &str) -> Vec<u8> {
        let to = SocketAddrV4::new(SERVER_ADDRESS.0, 80);
        let client = self.wiring.client().namespace();
        http_get(client, to, path, SOON).unwrap().body
    }

    /// Lines of the access log, once there are so many.
    fn log(&self, count: usize) -> Vec<String> {
        let until = Instant::now() + SOON;
        loop {
            let text = fs::read_to_string(self.folder.path().join("access.log")).unwrap();
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
    if !as_root() {
        return;
    }
    let bed = Bed::start();
    bed.get("/"); // the client's neighbour is known then
    let before = bed.scrape();
    let client = bed.wiring.client().namespace();
    ping(client, SERVER_ADDRESS.0, 25, 56, SOON).unwrap();
    for _ in 0..12 {
        assert_eq!(bed.get("/"), b"Welcome\n");
    }
    for _ in 0..3 {
        bed.get("/none");
    }
    // Nobody listens there: a named drop.
    connect(client, SocketAddrV4::new(SERVER_ADDRESS.0, 81), SOON).unwrap_err();
    let after = bed.scrape();
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
    let ctl = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dataplane"));
        command
            .arg("ctl")
            .arg("-s")
            .arg(bed.folder.path().join("cli.sock"));
        assert!(command.args(line.split(' ')).status().unwrap().success());
    };
    ctl("clear interfaces");
    ctl("clear runtime");
    ctl("clear errors");
    let cleared = bed.scrape();
    for (name, value) in after.iter().filter(|(name, _)| name.contains("_total")) {
        assert!(cleared[name] >= *value, "{name}");
    }
}

#[test]
fn clients_of_the_metrics_that_hang_or_flood_cost_no_packet() {
    if !as_root() {
        return;
    }
    let bed = Bed::start();
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
    let client = bed.wiring.client().namespace();
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
        ping(client, SERVER_ADDRESS.0, 1000, 56, SOON).unwrap();
        for _ in 0..10 {
            assert_eq!(bed.get("/big").len(), BIG);
        }
    });
    drop(hanging);
    let samples = bed.scrape();
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
    if !as_root() {
        return;
    }
    let mut bed = Bed::start();
    for nth in 0..20 {
        bed.get(&format!("/?{nth}"));
    }
    bed.get("/none\\x\"");
    let lines = bed.log(21);
    assert_eq!(lines.len(), 21, "{lines:?}");
    for (nth, line) in lines.iter().take(20).enumerate() {
        assert!(line.starts_with("192.168.123.1 - - ["), "{line}");
        let end = format!("] \"GET /?{nth} HTTP/1.1\" 200 8 \"-\" \"-\"");
        assert!(line.ends_with(&end), "{line}");
    }
    assert!(lines[20].contains(" 40"), "{}", lines[20]);
    // As logrotate's copytruncate does.
    fs::write(bed.folder.path().join("access.log"), "").unwrap();
    bed.get("/big");
    let lines = bed.log(1);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with(&format!("\"GET /big HTTP/1.1\" 200 {BIG} \"-\" \"-\"")));
    let samples = bed.scrape();
    assert_eq!(samples["dataplane_access_log_lines_total"], 22);
    assert_eq!(samples["dataplane_access_log_lost_lines_total"], 0);
    bed.get("/last");
    drop(bed.server.take());
    assert_eq!(bed.log(2).len(), 2);
}
