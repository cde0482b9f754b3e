//! Operators at the socket of a running server, end to end.

use std::fs;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use testbed::client::{Http, connect, http_get, ping};
use testbed::process::Server;
use testbed::tag::Tag;
use testbed::wiring::{VLAN, Wiring};

use crate::bed::{Bed, HTTP, SERVER, SOON, Site, serve_from};
use crate::operator::Desk;

const BIG: usize = 8 << 20;

/// The proof of concept, started from the seed's two files but for paths.
struct Poc {
    /// Held for one call at a time; threads share the rest.
    server: Mutex<Server>,
    wiring: Wiring,
    site: Site,
    desk: Desk,
}

impl Poc {
    /// `None` where the test must be skipped.
    fn start() -> Option<Self> {
        let desk = Desk::new();
        let bed = Bed::serving(|site, wiring| {
            fs::write(site.www().join("big"), vec![b'x'; BIG]).unwrap();
            let startup = site.startup_conf(wiring.pod_link().unwrap().mac);
            let startup = site.write("startup.conf", &startup);
            let vpp = format!(
                "unix {{\n  nodaemon cli-listen {}\n  startup-config {}\n}}\n\
                 api-segment {{ prefix vpp1 }}\n\
                 plugins {{ plugin dpdk_plugin.so {{ disable }} }}\n",
                desk.socket().display(),
                startup.display()
            );
            serve_from("--vpp-config", &site.write("vpp.conf", &vpp))
        })?;
        Some(Self {
            server: Mutex::new(bed.server),
            wiring: bed.wiring,
            site: bed.site,
            desk,
        })
    }

    fn ok(&self, line: &str) -> String {
        self.desk.ok(line)
    }

    fn refused(&self, line: &str) -> String {
        self.desk.refused(line)
    }

    fn json(&self, line: &str) -> serde_json::Value {
        self.desk.json(line)
    }

    fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(self.desk.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let client = self.wiring.client().namespace();
        http_get(client, HTTP, path, SOON).unwrap().body
    }
}

fn read_until(stream: &mut UnixStream, end: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut octets = [0; 4096];
    while !text.ends_with(end) {
        let count = stream.read(&mut octets).unwrap();
        assert!(
            count > 0,
            "ended after {:?}",
            String::from_utf8_lossy(&text)
        );
        text.extend(&octets[..count]);
    }
    text
}

#[test]
fn the_seeds_session_is_answered_over_every_way_in() {
    let Some(poc) = Poc::start() else { return };
    assert_eq!(poc.get("/index.html"), b"Welcome\n");
    let mode = fs::metadata(poc.desk.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let addresses =
        "host-macvlan0 (up):\nhost-macvlan0.123 (up):\n  L3 192.168.123.150/24\nlocal0 (dn):\n";
    assert_eq!(poc.ok("show int addr"), addresses);
    let hardware = poc.ok("sh hardware-interfaces");
    let mac = dataplane::MacAddr(poc.wiring.pod_link().unwrap().mac);
    assert!(
        hardware.contains(&format!("  Ethernet address {mac}\n")),
        "{hardware}"
    );
    let version = if cfg!(target_arch = "x86_64") { 3 } else { 2 };
    assert!(
        hardware.contains(&format!("Linux PACKET socket interface v{version}")),
        "{hardware}"
    );
    let interfaces = poc.ok("show interface");
    println!("{interfaces}\n{hardware}");
    assert!(
        interfaces.contains("host-macvlan0.123                 2      up "),
        "{interfaces}"
    );

    // As plain lines.
    let mut plain = poc.dial();
    plain.write_all(b"show int addr\nquit\n").unwrap();
    let mut text = String::new();
    plain.read_to_string(&mut text).unwrap();
    assert_eq!(text, addresses);

    // As vppctl with a command: it waits to be asked for its terminal's type, and for the NUL.
    let mut vppctl = poc.dial();
    let asked = read_until(&mut vppctl, b"\xff\xfa\x1f\x01\xff\xf0");
    assert!(asked.windows(6).any(|w| w == b"\xff\xfa\x18\x01\xff\xf0"));
    vppctl.write_all(b"\xff\xfa\x18\x00vppctl\xff\xf0").unwrap();
    vppctl.write_all(b"show int addr\n\0").unwrap();
    assert_eq!(
        read_until(&mut vppctl, b"\0"),
        [addresses.as_bytes(), b"\0"].concat()
    );
    vppctl.write_all(b"quit\n").unwrap();

    // As a terminal.
    let mut telnet = poc.dial();
    telnet.write_all(b"\xff\xfa\x18\x00xterm\xff\xf0").unwrap();
    read_until(&mut telnet, b"vpp# ");
    telnet.write_all(b"show int ad\t\r").unwrap();
    let text = String::from_utf8(read_until(&mut telnet, b"vpp# ")).unwrap();
    assert!(text.starts_with("show int address\r\n"), "{text:?}");
    assert!(text.contains("\r\n  L3 192.168.123.150/24\r\n"), "{text:?}");
}

#[test]
fn an_operator_asks_and_is_told() {
    let Some(poc) = Poc::start() else { return };
    assert_eq!(poc.get("/index.html"), b"Welcome\n");
    assert!(poc.ok("show ip neighbors").contains("192.168.123.1 "));
    assert!(poc.ok("show ip fib").contains("192.168.123.150/32"));
    assert!(poc.ok("show http static server").contains("2xx 1"));
    for line in [
        "show errors verbose",
        "show runtime",
        "show errors",
        "show node counters",
        "show session verbose",
        "show vlib graph",
        "show vlib graphviz",
        "show version",
        "show threads",
        "help",
        "show http static server cache verbose",
    ] {
        assert!(!poc.ok(line).is_empty(), "{line}");
    }
    for line in [
        "show interface",
        "show int addr",
        "show hard",
        "show run",
        "show err",
        "show ip neigh",
        "show ip fib",
        "show session",
        "show http static server",
        "show vlib graph",
        "show version",
        "show threads",
        "show config",
    ] {
        poc.json(line);
    }
    let pong = poc.ok("ping 192.168.123.1 repeat 3 interval 0.05");
    println!("{pong}");
    assert!(
        pong.contains("68 bytes from 192.168.123.1: icmp_seq=3 ttl=64"),
        "{pong}"
    );
    assert!(
        pong.ends_with("Statistics: 3 sent, 3 received, 0% packet loss\n"),
        "{pong}"
    );
    assert!(poc.refused("ping 10.1.2.3 repeat 1").contains("no route"));
    assert!(poc.refused("nonsense").contains("expected"));
    assert!(
        poc.refused("show interface eth7")
            .contains("there is no interface")
    );

    poc.ok("clear interfaces");
    let rows = poc.json("show interface");
    let names: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["name"])
        .collect();
    assert_eq!(names, ["host-macvlan0", "host-macvlan0.123", "local0"]);
}

#[test]
fn a_packets_walk_is_shown_node_by_node() {
    let Some(poc) = Poc::start() else { return };
    assert!(poc.ok("show trace").contains("No packets in trace buffer"));
    assert!(poc.refused("trace add nonsense 5").contains("no node"));
    let client = poc.wiring.client().namespace();
    ping(client, SERVER, 1, 56, SOON).unwrap();
    poc.ok("trace add ip4-icmp-input 1");
    poc.ok("trace add af-packet-input 5");
    poc.ok("clear trace");
    poc.ok("trace add af-packet-input 1");
    ping(client, SERVER, 2, 56, SOON).unwrap();
    let text = poc.ok("show trace");
    println!("{text}");
    let nodes = [
        ": af-packet-input\n",
        ": ethernet-input\n",
        ": dot1q-demux\n",
        ": ethernet-input-type\n",
        ": ip4-input\n",
        ": ip4-icmp-input\n",
        ": ip4-lookup\n",
        ": ip4-rewrite\n",
        ": dot1q-push\n",
        ": af-packet-output\n",
        "transmitted, 102 octets",
    ];
    let mut rest = text.as_str();
    for node in nodes {
        let at = rest.find(node);
        assert!(at.is_some(), "no {node:?} in {rest}");
        rest = &rest[at.unwrap()..];
    }
    assert!(text.contains("vlan 123"), "{text}");
    assert!(
        text.contains("ICMP: 192.168.123.1 -> 192.168.123.150"),
        "{text}"
    );
    assert!(!text.contains("Packet 2"), "{text}");
    assert!(
        poc.ok("show trace node ip4-icmp-input")
            .contains("Packet 1")
    );
    assert!(
        poc.ok("show trace node arp-input")
            .contains("No packets in trace buffer")
    );
    assert!(poc.refused("show trace node nonsense").contains("no node"));
    assert_eq!(poc.json("show trace")[0]["packets"][0]["packet"], 1);
    poc.ok("clear trace");
    assert!(poc.ok("show trace").contains("No packets in trace buffer"));
}

#[test]
fn what_cannot_be_applied_says_why_and_changes_nothing() {
    let Some(poc) = Poc::start() else { return };
    let before = poc.ok("show config toml");
    let why = poc.refused("set interface ip address host-macvlan0.123 192.168.123.150/24");
    assert!(why.contains("192.168.123.150"), "{why}");
    let why = poc.refused("create host-interface name eth7 num-rx-queues 64");
    assert!(why.contains("CAP_NET_RAW"), "{why}");
    poc.refused("http static listener add uri tcp://0.0.0.0/81 www-root /nowhere");
    let file = poc.site.write(
        "more.conf",
        "create sub-interfaces host-macvlan0 124\nnonsense\n",
    );
    let why = poc.refused(&format!("exec {}", file.display()));
    assert!(why.contains("more.conf:2:1"), "{why}");
    assert_eq!(poc.ok("show config toml"), before);

    // What is shown can be saved and read: SIGHUP reads it.
    poc.ok("create sub-interfaces host-macvlan0 124");
    let startup = poc.ok("show config") + "create sub-interfaces host-macvlan0 125\n";
    poc.site.write("startup.conf", &startup);
    poc.server.lock().unwrap().signal(Signal::SIGHUP).unwrap();
    let start = Instant::now();
    while !poc.ok("show int addr").contains("host-macvlan0.125") {
        assert!(
            start.elapsed() < SOON,
            "{}",
            poc.server.lock().unwrap().stderr_tail(5)
        );
        thread::sleep(Duration::from_millis(20));
    }
    assert!(poc.ok("show int addr").contains("host-macvlan0.124"));
    assert!(poc.server.lock().unwrap().is_running());
}

#[test]
fn one_vlan_comes_and_goes_a_hundred_times_beside_a_download_on_another() {
    let Some(mut poc) = Poc::start() else { return };
    let tag = Tag { vid: 124, ..VLAN };
    let other = poc
        .wiring
        .add_client(&[tag], ([192, 168, 124, 1].into(), 24))
        .unwrap();
    let (done, downloads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = [192, 168, 124, 150].into();
    thread::scope(|scope| {
        let (poc, done, downloads) = (&poc, &done, &downloads);
        scope.spawn(move || {
            let client = poc.wiring.client().namespace();
            // One connection: it would notice.
            let mut http = Http::connect(client, HTTP, SOON).unwrap();
            while !done.load(Ordering::SeqCst) {
                let response = http.get("/big", &[]).unwrap();
                assert_eq!(response.body.len(), BIG);
                downloads.fetch_add(1, Ordering::SeqCst);
            }
        });
        let client = poc.wiring.clients()[other].namespace();
        let mut operator = poc.dial();
        let mut say = |line: &str| {
            operator
                .write_all(b"\xff\xfa\x18\x00dataplane-ctl\xff\xf0")
                .unwrap();
            operator.write_all(line.as_bytes()).unwrap();
            operator.write_all(b"\n").unwrap();
            let text = read_until(&mut operator, b"\n");
            assert_eq!(
                text,
                b"\x000\n",
                "{line}: {}",
                String::from_utf8_lossy(&text)
            );
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for turn in 0..100 {
                say("create sub-interfaces host-macvlan0 124");
                say("set interface state host-macvlan0.124 up");
                say("set int ip address host-macvlan0.124 192.168.124.150/24");
                let page = http_get(client, SocketAddrV4::new(address, 80), "/index.html", SOON);
                assert_eq!(page.unwrap().body, b"Welcome\n", "turn {turn}");
                say("delete sub-interfaces host-macvlan0.124");
            }
        }));
        done.store(true, Ordering::SeqCst);
        result.unwrap();
    });
    println!(
        "{} downloads of {BIG} octets meanwhile",
        downloads.load(Ordering::SeqCst)
    );
    assert!(downloads.load(Ordering::SeqCst) > 0);
    assert!(!poc.ok("show int addr").contains("124"));
    assert!(!poc.ok("show errors").contains("leaked"));
}

#[test]
fn connections_of_an_address_that_is_taken_away_are_reset() {
    let Some(poc) = Poc::start() else { return };
    let client = poc.wiring.client().namespace();
    let mut stream = connect(client, HTTP, SOON).unwrap();
    stream
        .write_all(b"GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut octets = [0; 64];
    assert!(stream.read(&mut octets).unwrap() > 0);
    poc.ok("set int ip address del host-macvlan0.123 192.168.123.150/24");
    let error = loop {
        match stream.read(&mut octets) {
            Ok(count) => assert!(count > 0, "closed in order"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(!poc.ok("show session").contains("ESTABLISHED"));
}

fn version(stream: &mut UnixStream) -> io::Result<()> {
    stream.write_all(b"show version\n")?;
    let mut line = String::new();
    io::BufReader::new(stream).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    assert!(line.starts_with("dataplane v"), "{line}");
    Ok(())
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

#[test]
fn two_hundred_operators_cost_no_packet() {
    const PINGS: u16 = 2000;
    let Some(poc) = Poc::start() else { return };
    let client = poc.wiring.client().namespace();
    let answered = |poc: &Poc| {
        let workers = poc.json("show runtime");
        let mut nodes = workers[0]["nodes"].as_array().unwrap().iter();
        let node = nodes.find(|node| node["name"] == "ip4-icmp-input");
        node.map_or(0, |node| node["vectors"].as_u64().unwrap())
    };
    poc.ok("clear runtime");
    // Some hang, some flood without reading, some send garbage.
    let mut idle: Vec<UnixStream> = (0..100).map(|_| poc.dial()).collect();
    for (nth, stream) in idle.iter_mut().enumerate() {
        stream.set_nonblocking(true).unwrap();
        for _ in 0..50 {
            let _ = match nth % 3 {
                0 => stream.write(b"show runtime json\n"),
                1 => stream.write(&[0xff, 0xfa, 0xf0, 0x00, 0x80, b'\n']),
                _ => Ok(0),
            };
        }
    }
    let done = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let mut stream = poc.dial();
                while !done.load(Ordering::SeqCst) {
                    match version(&mut stream) {
                        Ok(()) => _ = served.fetch_add(1, Ordering::SeqCst),
                        // They are more than it takes: who was silent longest had to go.
                        Err(error) if is_closed(&error) => stream = poc.dial(),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // Fails at the first that is not answered.
            ping(client, SERVER, PINGS, 56, SOON).unwrap();
            for _ in 0..20 {
                assert_eq!(poc.get("/big").len(), BIG);
            }
        }));
        done.store(true, Ordering::SeqCst);
        outcome.unwrap();
    });
    assert!(served.load(Ordering::SeqCst) > 0);
    // As many as the client sent, each of which it saw answered.
    drop(idle);
    assert_eq!(answered(&poc), u64::from(PINGS));
    let hardware = poc.json("show hardware-interfaces");
    let queue = &hardware[0]["queues"][0];
    assert_eq!(
        (&queue["kernel-drops"], &queue["rx-lost"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn sent_dropped_and_consumed_are_what_was_received_at_every_node() {
    let Some(poc) = Poc::start() else { return };
    poc.get("/big");
    let client = poc.wiring.client().namespace();
    // Nobody listens there: a named drop.
    connect(client, SocketAddrV4::new(SERVER, 81), SOON).unwrap_err();
    poc.ok("clear runtime");
    ping(client, SERVER, 100, 56, SOON).unwrap();
    for worker in poc.json("show runtime").as_array().unwrap() {
        for node in worker["nodes"].as_array().unwrap() {
            let count = |name: &str| node[name].as_u64().unwrap();
            assert_eq!(
                count("vectors") + count("made"),
                ["sent", "transmitted", "consumed", "drops"]
                    .map(count)
                    .iter()
                    .sum::<u64>(),
                "{node}"
            );
            assert_eq!(count("leaked"), 0);
            if node["name"] == "ip4-icmp-input" {
                assert_eq!(count("vectors"), 100, "as many as the client sent");
            }
        }
    }
    let errors = poc.ok("show errors");
    assert!(errors.contains("no-listener"), "{errors}");
    // The ring's count is the graph's.
    let interfaces = poc.json("show interface host-macvlan0");
    let hardware = poc.json("show hardware-interfaces");
    assert!(
        hardware[0]["queues"][0]["rx-frames"].as_u64()
            >= interfaces[0]["counters"]["rx packets"].as_u64()
    );
}
