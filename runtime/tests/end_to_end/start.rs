//! From the start to the first answers.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use testbed::link::Links;
use testbed::packet_socket::{FRAME_MAX, Hear, PacketSocket};
use testbed::wiring::{NODE_DEVICE, POD_DEVICE, VLAN, Wiring};

use crate::bed::{
    Bed, Site, USER, check_page, make_pod_device, nothing_yet, serve_from, start, written,
};

fn startup_conf(site: &Site, wiring: &Wiring) -> Command {
    let text = site.startup_conf(wiring.pod_link().unwrap().mac);
    serve_from("--startup-config", &site.write("startup.conf", &text))
}

/// How many frames the client sent of each kind that is sent again when it is not answered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    arp_requests: usize,
    echo_requests: usize,
    syns: usize,
}

fn asked(sniffer: &PacketSocket) -> Asked {
    let mut asked = Asked::default();
    let mut frame = vec![0; FRAME_MAX];
    while let Some(length) = sniffer.receive(&mut frame).unwrap() {
        match &frame[12..length] {
            [0x08, 0x06, _, _, _, _, _, _, 0, 1, ..] => asked.arp_requests += 1,
            [0x08, 0x00, 0x45, rest @ ..] => match (rest.get(8), rest.get(19), rest.get(32)) {
                (Some(1), Some(8), _) => asked.echo_requests += 1,
                (Some(6), _, Some(0x02 | 0xc2)) => asked.syns += 1,
                _ => {}
            },
            _ => {}
        }
    }
    asked
}

#[test]
fn the_first_ping_after_start_needs_no_retry() {
    let Some(bed) = Bed::serving(startup_conf) else {
        return;
    };
    let sniffer = PacketSocket::open(bed.wiring.node(), NODE_DEVICE, Hear::Only(&[VLAN])).unwrap();
    bed.ping().unwrap();
    let once = Asked {
        arp_requests: 1,
        echo_requests: 1,
        syns: 0,
    };
    assert_eq!(asked(&sniffer), once);
}

#[test]
fn the_first_get_after_start_needs_no_retry_and_prints_welcome() {
    let Some(bed) = Bed::serving(startup_conf) else {
        return;
    };
    let sniffer = PacketSocket::open(bed.wiring.node(), NODE_DEVICE, Hear::Only(&[VLAN])).unwrap();
    let page = bed.get("/index.html");
    check_page(&page);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let once = Asked {
        arp_requests: 1,
        echo_requests: 0,
        syns: 1,
    };
    assert_eq!(asked(&sniffer), once);
}

#[test]
fn every_front_end_serves_the_same() {
    let toml = |site: &Site, _: &Wiring| {
        let text = format!(
            "[[interface]]\n\
             name = \"macvlan0\"\n\
             [[interface.sub-interface]]\n\
             id = 123\n\
             addresses = [\"192.168.123.150/24\"]\n\
             [[http]]\n\
             www-root = \"{}\"\n\
             cache-size = \"512m\"\n",
            site.www().display()
        );
        serve_from("--config", &site.write("dataplane.toml", &text))
    };
    let vpp_conf = |site: &Site, wiring: &Wiring| {
        let text = site.startup_conf(wiring.pod_link().unwrap().mac);
        let startup = site.write("startup.conf", &text);
        let text = format!(
            "unix {{\n  nodaemon\n  startup-config {}\n}}\napi-segment {{ prefix vpp1 }}\n\
             plugins {{ plugin dpdk_plugin.so {{ disable }} }}\n",
            startup.display()
        );
        serve_from("--vpp-config", &site.write("vpp.conf", &text))
    };
    let beds = [
        Bed::serving(startup_conf),
        Bed::serving(toml),
        Bed::serving(vpp_conf),
        Bed::with_flags(&["--cache-size", "512m", "--max-age", "10m", "--port", "80"]),
    ];
    let mut answers = Vec::new();
    for bed in beds.into_iter().flatten() {
        let mac = bed.wiring.pod_link().unwrap().mac;
        assert_eq!(
            bed.ready,
            format!(
                "ready: http://192.168.123.150/ on host-macvlan0.123 ({})",
                written(mac)
            )
        );
        bed.check();
        let page = bed.get("/index.html");
        let mut headers = page.headers;
        // Times, and the tag made of them, differ.
        headers.retain(|(name, _)| !["date", "last-modified", "etag"].contains(&name.as_str()));
        answers.push((page.status, headers, page.body));
    }
    assert!(
        answers.windows(2).all(|pair| pair.first() == pair.last()),
        "{answers:?}"
    );
}

#[test]
fn net_raw_alone_is_enough_and_is_given_up() {
    let Some(bed) = Bed::serving(startup_conf) else {
        return;
    };
    bed.check();
    let threads = fs::read_dir(format!("/proc/{}/task", bed.server.pid())).unwrap();
    let mut seen = 0;
    for thread in threads {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        assert!(field("Uid:").starts_with(&USER.to_string()), "{status}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        seen += 1;
    }
    assert!(seen >= 3, "main, supervisor and worker: {seen}");
}

#[test]
fn its_packet_socket_is_there_for_everybody_to_see() {
    let Some(bed) = Bed::new() else { return };
    let index = bed.wiring.pod_link().unwrap().index.to_string();
    let sockets = fs::read_to_string(format!("/proc/{}/net/packet", bed.server.pid())).unwrap();
    let raw = sockets.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // sk, references, type (3: raw), protocol (3: all), interface, running, memory, user
        matches!(fields.get(2..5), Some([kind, protocol, on])
            if *kind == "3" && *protocol == "0003" && *on == index)
            && fields.get(7) == Some(&USER.to_string().as_str())
    });
    assert!(raw, "{sockets}");
    let mut ss = Command::new("ss");
    ss.args(["-f", "link", "-an"]);
    // Not everybody has it.
    if let Ok(listed) = bed.wiring.pod().run(|| ss.output()).unwrap() {
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let ours = |line: &str| line.starts_with("p_raw") && line.contains("*:macvlan0");
        assert!(listed.lines().any(ours), "{listed}");
    }
}

#[test]
fn an_interface_that_does_not_exist_yet_is_waited_for() {
    let Some((wiring, site)) = nothing_yet() else {
        return;
    };
    let mut links = Links::open(wiring.pod()).unwrap();
    links.delete(POD_DEVICE).unwrap();
    let mut server = start(&wiring, site.flags(&[]));
    crate::bed::hear(
        &server,
        "macvlan0: there is no such interface; waiting for it",
    );
    assert!(server.is_running());
    make_pod_device(&wiring);
    crate::bed::hear(&server, "macvlan0: the interface is down; waiting for it");
    links.set_up(POD_DEVICE).unwrap();
    Bed::when_ready(wiring, site, server).check();
}

#[test]
fn it_sleeps_when_there_is_nothing_to_do() {
    let Some(bed) = Bed::with_flags(&["--workers", "2"]) else {
        return;
    };
    bed.check();
    // What the start and the first answers bring: two announcements, the client's own checks.
    thread::sleep(Duration::from_secs(8));
    let before = bed.server.sleeps().unwrap();
    thread::sleep(Duration::from_secs(3));
    let woken = bed.server.sleeps().unwrap() - before;
    assert!(woken < 20, "woken {woken} times");
}
