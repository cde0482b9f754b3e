//! The host changes under the server, or stops it.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use testbed::attack::Kind;
use testbed::client::ping;
use testbed::link::Links;
use testbed::netns::Netns;
use testbed::process::{Rights, Server};
use testbed::wiring::{NODE_DEVICE, POD_DEVICE, SERVER_ADDRESS, WIRE};

use crate::bed::{Bed, Pattern, check_page};
use crate::target::Target;

const LARGE: usize = 64 << 20;

/// A bed with a large file.
fn with_large(more: &[&str]) -> Option<Target> {
    let target = Target::with_flags(more)?;
    std::fs::write(target.site.www().join("large"), Pattern::octets(LARGE)).unwrap();
    Some(target)
}

/// Does something to the host while a file is on its way, which then arrives whole.
fn during_a_download(bed: &Bed, accident: impl FnOnce()) {
    let mut http = bed.connect();
    http.send("GET", "/large", &[]).unwrap();
    http.stream().peek(&mut [0; 1]).unwrap();
    accident();
    let response = http.read_response(false).unwrap();
    assert_eq!(response.status, 200);
    assert!(response.body == Pattern::octets(LARGE), "wrong octets");
}

#[test]
fn stopped_for_five_seconds_it_goes_on_where_it_was() {
    let Some(target) = with_large(&[]) else {
        return;
    };
    target.check();
    let mut kept = target.connect();
    check_page(&kept.get("/", &[]).unwrap());
    during_a_download(&target, || {
        target.server.signal(Signal::SIGSTOP).unwrap();
        thread::sleep(Duration::from_secs(5));
        target.server.signal(Signal::SIGCONT).unwrap();
    });
    check_page(&kept.get("/", &[]).unwrap());
    target.check();
}

#[test]
fn a_full_receive_ring_is_counted_and_drained() {
    let Some(target) = Target::new() else { return };
    target.check();
    let mut attacker = target.attacker(1);
    let ring_full = ["kernel receive ring full"];
    let before = target.errors().of(&ring_full);
    target.server.signal(Signal::SIGSTOP).unwrap();
    attacker.flood(
        Kind::ForeignVlans,
        200_000,
        u32::MAX,
        &AtomicBool::new(false),
    );
    target.server.signal(Signal::SIGCONT).unwrap();
    target.wait_until_answered();
    target.check();
    let lost = target.errors().of(&ring_full) - before;
    assert!(lost > 0);
    // Nothing is lost once it is drained.
    attacker.flood(Kind::ForeignVlans, 1000, 10_000, &AtomicBool::new(false));
    target.check();
    assert_eq!(target.errors().of(&ring_full) - before, lost);
}

#[test]
fn a_carrier_lost_in_the_middle_of_a_download_only_delays_it() {
    let Some(target) = with_large(&[]) else {
        return;
    };
    target.check();
    let mut wire = Links::open(target.wiring.wire()).unwrap();
    during_a_download(&target, || {
        wire.set_down(WIRE).unwrap(); // the node's end of the cable, and the macvlan on it, lose it
        target.hear("macvlan0: ");
        thread::sleep(Duration::from_secs(1));
        wire.set_up(WIRE).unwrap();
    });
    target.check();
}

#[test]
fn what_waits_to_be_sent_by_an_interface_that_is_down_keeps_nobody_awake() {
    let Some(target) = Target::new() else { return };
    target.check();
    let mut pod = Links::open(target.wiring.pod()).unwrap();
    // Answered before the server learns that the interface is down.
    target.server.signal(Signal::SIGSTOP).unwrap();
    let client = target.wiring.client().namespace();
    ping(client, SERVER_ADDRESS.0, 1, 56, Duration::from_millis(200)).unwrap_err();
    pod.set_down(POD_DEVICE).unwrap();
    target.server.signal(Signal::SIGCONT).unwrap();
    target.hear("macvlan0: ");
    let sleeps = || target.server.sleeps().unwrap();
    let before = sleeps();
    thread::sleep(Duration::from_secs(1));
    let woken = sleeps() - before;
    pod.set_up(POD_DEVICE).unwrap();
    target.wait_until_answered();
    target.check();
    assert!(woken < 100, "{woken} wake-ups");
}

#[test]
fn a_lower_device_that_goes_down_and_up_in_a_download_only_delays_it() {
    let Some(target) = with_large(&["--workers", "2"]) else {
        return;
    };
    target.check();
    let mut node = Links::open(target.wiring.node()).unwrap();
    during_a_download(&target, || {
        node.set_down(NODE_DEVICE).unwrap();
        thread::sleep(Duration::from_secs(1));
        node.set_up(NODE_DEVICE).unwrap();
    });
    target.check();
}

#[test]
fn a_new_ethernet_address_is_announced_and_a_kept_connection_goes_on() {
    let Some(bed) = Bed::new() else { return };
    bed.check();
    let mut kept = bed.connect();
    check_page(&kept.get("/", &[]).unwrap());
    let mut links = bed.pod_links();
    for last in [1, 2] {
        links
            .set_mac(POD_DEVICE, [0x02, 0, 0, 0, 0xaa, last])
            .unwrap();
        bed.wait_until_answered();
        bed.check();
        check_page(&kept.get("/", &[]).unwrap());
    }
}

fn moved_away_and_back(workers: &str) {
    let Some(bed) = Bed::with_flags(&["--workers", workers]) else {
        return;
    };
    bed.check();
    let elsewhere = Netns::new().unwrap();
    for _ in 0..2 {
        bed.pod_links().move_to(POD_DEVICE, &elsewhere).unwrap();
        bed.hear("macvlan0: there is no such interface; waiting for it");
        Links::open(&elsewhere)
            .unwrap()
            .move_to(POD_DEVICE, bed.wiring.pod())
            .unwrap();
        bed.pod_links().set_up(POD_DEVICE).unwrap();
        bed.wait_until_answered();
        bed.check();
    }
}

#[test]
fn an_interface_moved_to_another_namespace_and_back_serves_again() {
    moved_away_and_back("1");
}

#[test]
fn two_workers_follow_an_interface_to_another_namespace_and_back() {
    moved_away_and_back("2");
}

#[test]
fn another_time_of_the_machine_since_its_start_changes_nothing() {
    // Time namespaces move CLOCK_MONOTONIC and CLOCK_BOOTTIME for the processes within.
    let program = "/usr/bin/unshare";
    let usable = std::process::Command::new(program)
        .args(["--time", "--monotonic", "100000000", "/bin/true"])
        .status()
        .is_ok_and(|status| status.success());
    if !usable {
        println!("skipped: needs unshare with time namespaces");
        return;
    }
    let Some((wiring, site)) = crate::bed::nothing_yet() else {
        return;
    };
    let flags = site.flags(&[]);
    let mut command = std::process::Command::new(program);
    command.args(["--time", "--monotonic", "100000000"]);
    command.arg(flags.get_program()).args(flags.get_args());
    // Making the namespace takes more rights than serving.
    let server = Server::start(wiring.pod(), command, Rights::Inherited).unwrap();
    Bed::when_ready(wiring, site, server).check();
}

/// `CLOCK_REALTIME`, which may jump, tells dates and nothing else: the clock of packets, timers and
/// deadlines is `Instant`, which does not. So the files that may ask for it are these.
#[test]
fn a_clock_that_jumps_moves_dates_and_no_deadline() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    let crates = [
        "af-packet",
        "dataplane",
        "vlan",
        "ipstack",
        "http-static",
        "runtime",
    ];
    let mut folders: Vec<_> = crates.map(|name| root.join(name).join("src")).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("tests.rs")
                && std::fs::read_to_string(&path)
                    .unwrap()
                    .contains("SystemTime::now")
            {
                let path = path.strip_prefix(&root).unwrap();
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    assert_eq!(found, MAY_ASK_FOR_THE_DATE);
}

/// The Date field of a clock that was set back; whether a file changed too recently for its stamp to
/// be told from the next one; that no file is of the future; the access log's date; when the process started, for metrics; when a capture began.
const MAY_ASK_FOR_THE_DATE: [&str; 6] = [
    "http-static/src/date.rs",
    "http-static/src/files.rs",
    "http-static/src/respond.rs",
    "runtime/src/access_log.rs",
    "runtime/src/bin/dataplane/serve.rs",
    "runtime/src/capture.rs",
];
