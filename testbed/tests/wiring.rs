//! The wiring itself, kernel to kernel. Needs root; without it the tests say so and are skipped,
//! with `CI=true` they must run.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests are tests"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use testbed::client::{Http, http_get, ping};
use testbed::demo::{Demo, run};
use testbed::link::Links;
use testbed::netns::{Netns, test_may_wire};
use testbed::packet_socket::{FRAME_MAX, Hear, PacketSocket};
use testbed::process::{ReadyError, Rights, Server};
use testbed::relay::Impairment;
use testbed::tag::Tag;
use testbed::vlan_client::{Method, VlanClient};
use testbed::wiring::{
    CLIENT_DEVICE, NODE_DEVICE, Options, POD_DEVICE, SERVER_ADDRESS, VLAN, WIRE, Wiring,
};

const SOON: Duration = Duration::from_secs(20);
const NOT_COMING: Duration = Duration::from_millis(300);
const SERVER: Ipv4Addr = SERVER_ADDRESS.0;

/// The proof of concept with a kernel stack as the server, its client put on the VLAN by `method`.
fn kernel_to_kernel(method: Method) -> Wiring {
    let options = Options {
        methods: vec![method],
        ..Options::default()
    };
    let mut wiring = Wiring::poc(options).unwrap();
    wiring.add_kernel_pod(&[VLAN], SERVER_ADDRESS).unwrap();
    assert_eq!(wiring.client().vlan().unwrap().method(), method);
    wiring
}

fn reach(client: &Netns, address: Ipv4Addr, size: usize, timeout: Duration) -> bool {
    ping(client, address, 1, size, timeout).is_ok()
}

/// Counts what waits, but for IPv6: a kernel that was just told to have none takes leave of its
/// multicast groups up to a second later.
fn frames(socket: &PacketSocket) -> usize {
    let mut frame = vec![0; FRAME_MAX];
    let mut count = 0;
    while let Some(len) = socket.receive(&mut frame).unwrap() {
        count += usize::from(frame[..len].get(12..14) != Some(&[0x86, 0xdd]));
    }
    count
}

/// Sends `octets` from the kernel pod to the first client; returns what arrived.
fn transfer(wiring: &Wiring, octets: &[u8]) -> Vec<u8> {
    let [pod, ..] = wiring.kernel_pods() else {
        panic!("no kernel pod")
    };
    let listener = pod
        .namespace()
        .run(|| TcpListener::bind("0.0.0.0:80").unwrap())
        .unwrap();
    let connect = || TcpStream::connect((SERVER, 80)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| listener.accept().unwrap().0.write_all(octets).unwrap());
        let mut stream = wiring.client().namespace().run(connect).unwrap();
        let mut received = Vec::with_capacity(octets.len());
        stream.read_to_end(&mut received).unwrap();
        received
    })
}

fn pattern(length: u32) -> Vec<u8> {
    (0..length)
        .map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}

#[test]
fn frames_bear_the_vlan_tag_on_the_wire_in_both_directions() {
    if !test_may_wire() {
        return;
    }
    for method in [Method::Program, Method::Relay] {
        let wiring = kernel_to_kernel(method);
        let listen = |namespace, device| {
            [
                Hear::Only(&[VLAN]),
                Hear::Only(&[]),
                Hear::Only(&[Tag::service(123)]),
                Hear::All,
            ]
            .map(|hear| PacketSocket::open(namespace, device, hear).unwrap())
        };
        let at_node = listen(wiring.node(), NODE_DEVICE);
        let at_wire = listen(wiring.wire(), WIRE);
        ping(wiring.client().namespace(), SERVER, 3, 56, SOON).unwrap();
        for [tagged, untagged, service, all] in [at_node, at_wire] {
            let tagged = frames(&tagged);
            assert!(tagged >= 4, "{method}: {tagged}"); // one ARP frame, three echo frames
            assert_eq!((frames(&untagged), frames(&service)), (0, 0), "{method}");
            assert_eq!(frames(&all), tagged, "{method}");
        }
    }
}

#[test]
fn the_pod_hears_the_clients_frames_with_the_tag_beside_them() {
    if !test_may_wire() {
        return;
    }
    let wiring = Wiring::poc(Options::default()).unwrap();
    let pod = PacketSocket::open(wiring.pod(), POD_DEVICE, Hear::Only(&[VLAN])).unwrap();
    assert!(!reach(wiring.client().namespace(), SERVER, 56, NOT_COMING));
    let arp = pod.wait(SOON).unwrap().unwrap();
    assert_eq!(arp[..6], [0xff; 6]);
    assert_eq!(arp[12..14], [0x08, 0x06]);
    assert_eq!(arp[38..42], SERVER.octets());
}

#[test]
fn frames_of_another_vlan_or_without_tag_are_not_delivered() {
    if !test_may_wire() {
        return;
    }
    for method in [Method::Program, Method::Relay] {
        let mut wiring = kernel_to_kernel(method);
        for tags in [
            &[Tag::customer(124)][..],
            &[Tag::service(123)],
            &[VLAN, VLAN],
            &[],
        ] {
            let other = wiring
                .add_client(tags, (Ipv4Addr::new(192, 168, 123, 2), 24))
                .unwrap();
            let other = wiring.clients()[other].namespace();
            assert!(!reach(other, SERVER, 56, NOT_COMING), "{method} {tags:?}");
        }
        assert!(
            reach(wiring.client().namespace(), SERVER, 56, SOON),
            "{method}"
        );
    }
}

#[test]
fn vlans_of_all_kinds_live_side_by_side() {
    if !test_may_wire() {
        return;
    }
    for method in [Method::Program, Method::Relay] {
        let mut wiring = kernel_to_kernel(method);
        let stacks = [
            &[][..],
            &[Tag::customer(124)],
            &[Tag::service(200)],
            &[Tag::service(200), Tag::customer(100)],
        ];
        for (net, tags) in (1..).zip(stacks) {
            let client = wiring
                .add_client(tags, (Ipv4Addr::new(10, 0, net, 1), 24))
                .unwrap();
            wiring
                .add_kernel_pod(tags, (Ipv4Addr::new(10, 0, net, 2), 24))
                .unwrap();
            let client = wiring.clients()[client].namespace();
            for size in [56, 1472, 8000] {
                assert!(
                    reach(client, Ipv4Addr::new(10, 0, net, 2), size, SOON),
                    "{tags:?} {size}"
                );
            }
        }
    }
}

#[test]
fn super_frames_pass_with_the_tag_beside_them() {
    if !test_may_wire() {
        return;
    }
    let octets = pattern(32 << 20);
    let wiring = kernel_to_kernel(Method::Program);
    let sniffer = PacketSocket::open(wiring.wire(), WIRE, Hear::Only(&[VLAN])).unwrap();
    assert!(transfer(&wiring, &octets) == octets);
    let mut frame = vec![0; FRAME_MAX];
    let longest = std::iter::from_fn(|| sniffer.receive(&mut frame).unwrap()).max();
    // How long they get is up to TCP, which paces by the speed of the machine.
    assert!(longest.unwrap() > 10 * 1500, "{longest:?}");
}

#[test]
fn a_relay_carries_a_connection_byte_exact() {
    if !test_may_wire() {
        return;
    }
    let octets = pattern(8 << 20);
    assert!(transfer(&kernel_to_kernel(Method::Relay), &octets) == octets);
}

#[test]
fn a_bad_wire_delays_and_loses_as_told_and_tcp_gets_through() {
    if !test_may_wire() {
        return;
    }
    let worse = |seed| Impairment {
        loss: 0.01,
        delay: Duration::from_millis(10),
        seed,
    };
    let options = Options {
        impairments: Some([worse(1), worse(2)]),
        ..Options::default()
    };
    let mut wiring = Wiring::poc(options).unwrap();
    wiring.add_kernel_pod(&[VLAN], SERVER_ADDRESS).unwrap();
    let times = ping(wiring.client().namespace(), SERVER, 3, 56, SOON).unwrap();
    let least = times.iter().min().unwrap();
    assert!(*least >= Duration::from_millis(20), "{times:?}");
    let octets = pattern(1 << 20);
    assert!(transfer(&wiring, &octets) == octets);
    let counters = wiring.impaired().unwrap();
    let lost = counters.lost.load(Ordering::Relaxed);
    let carried = counters.carried.load(Ordering::Relaxed);
    assert!((1..carried / 20).contains(&lost), "{lost} of {carried}");
    assert!(
        carried > (1 << 20) / 1500,
        "the relay was handed super-frames: {carried}"
    );
}

#[test]
fn a_wire_that_loses_everything_answers_nothing() {
    if !test_may_wire() {
        return;
    }
    let dead = Impairment {
        loss: 1.0,
        ..Impairment::default()
    };
    let options = Options {
        impairments: Some([dead, Impairment::default()]),
        ..Options::default()
    };
    let mut wiring = Wiring::poc(options).unwrap();
    wiring.add_kernel_pod(&[VLAN], SERVER_ADDRESS).unwrap();
    assert!(!reach(wiring.client().namespace(), SERVER, 56, NOT_COMING));
    assert!(wiring.impaired().unwrap().lost.load(Ordering::Relaxed) > 0);
    let uncarried = wiring
        .add_client(&[Tag::customer(124)], SERVER_ADDRESS)
        .unwrap_err();
    assert!(
        uncarried.to_string().contains("impaired_tags"),
        "{uncarried}"
    );
}

/// Whether a descriptor or a thread of this process still refers to the namespace `inode`.
fn referred(inode: &str) -> bool {
    let links = |pattern: &str| fs::read_dir(pattern).into_iter().flatten().flatten();
    let descriptors = links("/proc/self/fd").map(|entry| entry.path());
    let threads = links("/proc/self/task").map(|entry| entry.path().join("ns/net"));
    descriptors
        .chain(threads)
        .filter_map(|path| fs::read_link(path).ok())
        .any(|target| target.to_string_lossy() == inode)
}

fn inode(namespace: &Netns) -> String {
    let own = || fs::read_link("/proc/thread-self/ns/net").unwrap();
    namespace.run(own).unwrap().to_string_lossy().into_owned()
}

#[test]
fn nothing_is_left_behind_also_after_a_panic() {
    if !test_may_wire() {
        return;
    }
    for method in [Method::Program, Method::Relay] {
        let wiring = kernel_to_kernel(method);
        let inodes = [
            wiring.node(),
            wiring.pod(),
            wiring.wire(),
            wiring.client().namespace(),
        ]
        .map(inode);
        assert!(inodes.iter().all(|inode| referred(inode)));
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _held = wiring;
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert!(!inodes.iter().any(|inode| referred(inode)), "{method}");
    }
}

#[test]
fn a_device_can_be_renamed_moved_down_and_deleted() {
    if !test_may_wire() {
        return;
    }
    let namespace = Netns::new().unwrap();
    let mut links = Links::open(&namespace).unwrap();
    links.add_veth("a", "b", &namespace).unwrap();
    links.set_mac("a", [2, 0, 0, 0, 0, 1]).unwrap();
    links.rename("a", "c").unwrap();
    links.set_mtu("c", 9000).unwrap();
    links.set_up("c").unwrap();
    links.set_up("b").unwrap();
    // The kernel puts it in operation by a work queue.
    let start = Instant::now();
    while !links.get("c").unwrap().running {
        assert!(start.elapsed() < SOON, "it is not put in operation");
        thread::sleep(Duration::from_millis(1));
    }
    let link = links.get("c").unwrap();
    assert_eq!(
        (link.mac, link.mtu, link.up),
        ([2, 0, 0, 0, 0, 1], 9000, true)
    );
    links.set_down("c").unwrap();
    assert!(!links.get("c").unwrap().up);
    links.set_up("c").unwrap();
    links
        .add_address("c", Ipv4Addr::new(10, 0, 0, 1), 24)
        .unwrap();
    links
        .add_route((Ipv4Addr::UNSPECIFIED, 0), Ipv4Addr::new(10, 0, 0, 2))
        .unwrap();
    links.delete("c").unwrap();
    let gone = links.get("b").unwrap_err();
    assert_eq!(
        gone.to_string(),
        "looking for b: No such device (os error 19)"
    );
}

#[test]
fn a_vlan_no_method_can_make_says_why() {
    if !test_may_wire() {
        return;
    }
    let namespace = Netns::new().unwrap();
    let error = VlanClient::attach(&namespace, CLIENT_DEVICE, &[VLAN], &Method::ALL).unwrap_err();
    assert!(
        error.to_string().starts_with("looking for eth0: "),
        "{error}"
    );
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

#[test]
fn a_server_starts_with_net_raw_alone_and_ends_when_asked() {
    if !test_may_wire() {
        return;
    }
    let namespace = Netns::new().unwrap();
    let script = "echo noise; echo ready: yes; echo words >&2; exec sleep 60";
    let rights = Rights::NetRawOnly { id: 10_000 };
    let mut server = Server::start(&namespace, shell(script), rights).unwrap();
    assert_eq!(server.wait_until_ready(SOON).unwrap(), "ready: yes");
    let capabilities = server.capabilities().unwrap();
    assert_eq!(capabilities.len(), 5);
    assert!(
        capabilities
            .iter()
            .all(|line| line.ends_with(" 0000000000002000")),
        "{capabilities:?}"
    );
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(status.contains("Uid:\t10000\t10000\t10000\t10000"));
    let start = Instant::now(); // between two programs a process has no memory
    while server.resident_memory().unwrap_or_default() < 100_000 {
        assert!(start.elapsed() < SOON);
    }
    assert!(server.cpu_time().unwrap() < SOON);
    // By SIGTERM: one that is deaf to it is killed.
    let ended = server.terminate().unwrap();
    assert_eq!(ended.signal(), Some(15));
}

#[test]
fn the_children_of_a_server_count_and_end_with_it() {
    if !test_may_wire() {
        return;
    }
    let namespace = Netns::new().unwrap();
    // Both are deaf to SIGTERM, and the child works.
    let script = "trap '' TERM; (while :; do :; done) & echo ready: $!; wait";
    let mut server = Server::start(&namespace, shell(script), Rights::Inherited).unwrap();
    let ready = server.wait_until_ready(SOON).unwrap();
    let child = format!("/proc/{}", ready.strip_prefix("ready: ").unwrap());
    let start = Instant::now();
    while server.cpu_time().unwrap() < Duration::from_millis(100) {
        assert!(start.elapsed() < SOON, "{:?}", server.cpu_time());
    }
    let alone = format!("/proc/{}/smaps_rollup", server.pid());
    let alone = fs::read_to_string(alone).unwrap();
    let share = alone.lines().find_map(|line| line.strip_prefix("Pss:"));
    let share = share.and_then(|share| share.trim().strip_suffix(" kB"));
    let alone = share.unwrap().trim().parse::<u64>().unwrap() * 1024;
    assert!(server.resident_memory().unwrap() > alone);
    server.terminate().unwrap();
    let start = Instant::now();
    while fs::exists(&child).unwrap() && !is_dead(&child) {
        assert!(start.elapsed() < SOON, "{child} is still there");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether nobody has waited for it yet.
fn is_dead(process: &str) -> bool {
    let stat = fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
    stat.contains(") Z ")
}

#[test]
fn a_server_that_ends_early_is_quoted() {
    if !test_may_wire() {
        return;
    }
    let namespace = Netns::new().unwrap();
    let script = shell("echo 'macvlan0: no such interface' >&2; exit 2");
    let mut server = Server::start(&namespace, script, Rights::Inherited).unwrap();
    let error = server.wait_until_ready(SOON).unwrap_err();
    assert!(matches!(error, ReadyError::Ended { .. }));
    assert!(
        error.to_string().contains("macvlan0: no such interface"),
        "{error}"
    );
}

#[test]
fn a_demo_that_fails_names_the_step_and_quotes_the_server() {
    if !test_may_wire() {
        return;
    }
    let mut told = Vec::new();
    let server = |startup: &std::path::Path| {
        assert_eq!(fs::read_to_string(startup).unwrap().lines().count(), 7);
        shell("echo 'no rights' >&2; exit 1")
    };
    let error = run(
        &Demo {
            server: &server,
            keep: false,
        },
        &mut told,
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.starts_with("the demo failed while waiting for the server: "),
        "{error}"
    );
    assert!(error.contains("no rights"), "{error}");
    let told = String::from_utf8(told).unwrap();
    assert!(
        told.contains("create sub-interfaces host-macvlan0 123\n"),
        "{told}"
    );
}

#[test]
fn http_answers_are_read_whatever_their_framing() {
    if !test_may_wire() {
        return;
    }
    let wiring = kernel_to_kernel(Method::Program);
    let pod = wiring.kernel_pods()[0].namespace();
    let listener = pod
        .run(|| TcpListener::bind("0.0.0.0:80").unwrap())
        .unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = listener.accept().unwrap().0;
            let answers: [&[u8]; 3] = [
                b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nWelcome\n",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nno",
            ];
            for answer in answers {
                let _ = stream.read(&mut [0; 1000]).unwrap();
                stream.write_all(answer).unwrap();
            }
            drop(stream);
            let mut stream = listener.accept().unwrap().0;
            let _ = stream.read(&mut [0; 1000]).unwrap();
            stream.write_all(b"SSH-2.0\r\n").unwrap();
        });
        let client = wiring.client().namespace();
        let to = SocketAddrV4::new(SERVER, 80);
        let mut http = Http::connect(client, to, SOON).unwrap();
        let first = http.get("/", &[("range", "bytes=0-7")]).unwrap();
        assert_eq!(
            (first.status, first.body.as_slice()),
            (200, &b"Welcome\n"[..])
        );
        assert!(first.keeps_alive());
        assert_eq!(http.get("/", &[]).unwrap().body, b"abc");
        let last = http.get("/", &[]).unwrap();
        assert_eq!((last.status, last.body.as_slice()), (404, &b"no"[..]));
        assert!(!last.keeps_alive());
        http_get(client, to, "/", SOON).unwrap_err();
    });
}
