//! Host interfaces created and deleted while the server runs, without any capability.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use testbed::client::{Http, connect, http_get};
use testbed::link::Links;
use testbed::tag::Tag;
use testbed::wiring::NODE_DEVICE;

use crate::bed::{Bed, PAGE, Pattern, SOON, check_page, eventually, serve_from};
use crate::operator::Desk;

const LARGE: usize = 4 << 20;
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 124, 1);

const SECOND: [&str; 5] = [
    "create host-interface name macvlan1",
    "set int state host-macvlan1 up",
    "create sub-interfaces host-macvlan1 124",
    "set interface state host-macvlan1.124 up",
    "set int ip address host-macvlan1.124 10.0.124.1/24",
];

#[test]
fn a_second_interface_is_created_served_and_deleted_beside_a_download_on_the_first() {
    let desk = Desk::new();
    let bed = Bed::serving(|site, wiring| {
        fs::write(site.www().join("large"), Pattern::octets(LARGE)).unwrap();
        let text = site.startup_conf(wiring.pod_link().unwrap().mac);
        let mut command = serve_from("--startup-config", &site.write("startup.conf", &text));
        command.arg("--cli-listen").arg(desk.socket());
        command.args(["--spare-interfaces", "2"]);
        command
    });
    let Some(mut bed) = bed else { return };
    let mut node = Links::open(bed.wiring.node()).unwrap();
    node.add_macvlan(NODE_DEVICE, "macvlan1", bed.wiring.pod())
        .unwrap();
    bed.pod_links().set_up("macvlan1").unwrap();
    let other = bed
        .wiring
        .add_client(&[Tag::customer(124)], (Ipv4Addr::new(10, 0, 124, 2), 24))
        .unwrap();
    let before = desk.ok("show config");
    let (done, downloads) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let (done, downloads) = (&done, &downloads);
        // One connection: it would notice.
        let mut http = bed.connect();
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                let mut pattern = Pattern::new();
                http.download("/large", &mut pattern).unwrap();
                assert_eq!(pattern.position(), LARGE as u64);
                downloads.fetch_add(1, Ordering::SeqCst);
            }
        });
        let client = bed.wiring.clients()[other].namespace();
        let to = SocketAddrV4::new(ADDRESS, 80);
        let serve = |what: &str| {
            let short = Duration::from_secs(2);
            eventually(what, || {
                http_get(client, to, "/index.html", short).is_ok_and(|page| page.body == PAGE)
            });
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // More often than there are spares: their sockets are used again.
            for turn in 0..6 {
                for line in SECOND {
                    assert_eq!(desk.ok(line), "");
                }
                serve(&format!("turn {turn} is served"));
                let counters = desk.counters("host-macvlan1.124");
                assert!(counters["rx packets"].as_u64() > Some(3), "{counters}");
                let mut kept = connect(client, to, SOON).unwrap();
                desk.ok("delete host-interface name macvlan1");
                let ended = kept.read(&mut [0]).unwrap_err();
                assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
                assert_eq!(desk.ok("show config"), before);
                let rows = desk.json("show interface");
                assert_eq!(rows.as_array().unwrap().len(), 3, "{rows}");
                http_get(client, to, "/index.html", Duration::from_millis(300)).unwrap_err();
            }
            // The same by the file and a signal.
            let startup = bed.site.write(
                "startup.conf",
                &(before.clone() + &SECOND.join("\n") + "\n"),
            );
            bed.server.signal(Signal::SIGHUP).unwrap();
            serve("what the file says");
            fs::write(startup, &before).unwrap();
            bed.server.signal(Signal::SIGHUP).unwrap();
            eventually("the file is followed", || desk.ok("show config") == before);
        }));
        done.store(true, Ordering::SeqCst);
        result.unwrap();
    });
    assert!(downloads.load(Ordering::SeqCst) > 0);
    let held = bed.server.capabilities().unwrap();
    for set in ["CapPrm", "CapEff"] {
        assert!(
            held.contains(&format!("{set}: 0000000000000000")),
            "{held:?}"
        );
    }
    check_page(&bed.get("/index.html"));
}

#[test]
fn two_workers_of_an_interface_created_later_follow_when_the_host_makes_it_again() {
    let desk = Desk::new();
    let Some(mut bed) = desk.bed(&["--spare-interfaces", "2"]) else {
        return;
    };
    let mut node = Links::open(bed.wiring.node()).unwrap();
    let mut links = bed.pod_links();
    let other = bed
        .wiring
        .add_client(&[Tag::customer(124)], (Ipv4Addr::new(10, 0, 124, 2), 24))
        .unwrap();
    let client = bed.wiring.clients()[other].namespace();
    let [create, rest @ ..] = SECOND;
    desk.ok(&format!("{create} num-rx-queues 2"));
    for line in rest {
        desk.ok(line);
    }
    for turn in 0..4 {
        node.add_macvlan(NODE_DEVICE, "macvlan1", bed.wiring.pod())
            .unwrap();
        links.set_up("macvlan1").unwrap();
        let short = Duration::from_secs(2);
        let to = SocketAddrV4::new(ADDRESS, 80);
        // Connections of several ports meet both workers.
        for _ in 0..8 {
            eventually(&format!("turn {turn} is served"), || {
                http_get(client, to, "/index.html", short).is_ok_and(|page| page.body == PAGE)
            });
        }
        // Down and up again, each worker still has its connections.
        let mut kept: Vec<_> = (0..8)
            .map(|_| Http::connect(client, to, SOON).unwrap())
            .collect();
        for http in &mut kept {
            check_page(&http.get("/index.html", &[]).unwrap());
        }
        links.set_down("macvlan1").unwrap();
        links.set_up("macvlan1").unwrap();
        for http in &mut kept {
            check_page(&http.get("/index.html", &[]).unwrap());
        }
        links.delete("macvlan1").unwrap();
    }
    bed.check();
}

#[test]
fn without_spare_sockets_an_interface_is_refused_and_nothing_changes() {
    let desk = Desk::new();
    let Some(bed) = desk.bed(&["--spare-interfaces", "2"]) else {
        return;
    };
    // They need not exist: they are waited for.
    desk.ok("create host-interface name eth7");
    bed.hear("eth7: there is no such interface; waiting for it");
    let before = desk.ok("show config");
    let why = desk.refused("create host-interface name eth8 num-rx-queues 2");
    assert!(
        why.contains("it needs 2") && why.contains("1 are left"),
        "{why}"
    );
    desk.ok("create host-interface name eth8");
    let why = desk.refused("create host-interface name eth9");
    assert!(
        why.contains("--spare-interfaces") && why.contains("0 are left"),
        "{why}"
    );
    desk.ok("delete host-interface name eth8");
    assert_eq!(desk.ok("show config"), before);
    desk.ok("create host-interface name eth9");
    bed.check();
}
