//! SIGTERM and SIGINT.

use std::io::Read as _;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::bed::{Bed, Pattern, SOON, check_page};

/// What the server promises to need at most.
const FIVE_SECONDS: Duration = Duration::from_secs(5);
const LARGE: usize = 64 << 20;

fn ends_by(signal: Signal) {
    let Some(mut bed) = Bed::with_flags(&["--cache-size", "4m"]) else {
        return;
    };
    std::fs::write(bed.site.www().join("large"), Pattern::octets(LARGE)).unwrap();
    // An idle connection, one that has asked for half a page, one that reads nothing more.
    let mut idle = bed.connect();
    check_page(&idle.get("/", &[]).unwrap());
    let half = bed.connect();
    std::io::Write::write_all(&mut half.stream(), b"GET /index.h").unwrap();
    let mut stalled = bed.connect();
    stalled.send("GET", "/large", &[]).unwrap();
    stalled.stream().read_exact(&mut [0; 1000]).unwrap();
    bed.server.signal(signal).unwrap();
    let status = bed.server.wait(FIVE_SECONDS).unwrap();
    let said = bed.server.stderr_tail(20);
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}: {said}"
    );
}

#[test]
fn sigterm_ends_it_in_time_whatever_is_open() {
    ends_by(Signal::SIGTERM);
}

#[test]
fn sigint_ends_it_in_time_whatever_is_open() {
    ends_by(Signal::SIGINT);
}

#[test]
fn a_download_in_flight_is_finished_before_the_end() {
    const LENGTH: usize = 4_000_000;
    let Some(mut bed) = Bed::new() else { return };
    std::fs::write(bed.site.www().join("file"), Pattern::octets(LENGTH)).unwrap();
    let mut idle = bed.connect();
    check_page(&idle.get("/", &[]).unwrap());
    let mut http = bed.connect();
    http.send("GET", "/file", &[]).unwrap();
    // The request has come in when its first octet is here.
    http.stream().peek(&mut [0]).unwrap();
    bed.server.signal(Signal::SIGTERM).unwrap();
    bed.hear("SIGTERM: finishing what is being served");
    let response = http.read_response(false).unwrap();
    assert!(response.body == Pattern::octets(LENGTH));
    testbed::client::connect(bed.client(), crate::bed::HTTP, SOON).unwrap_err();
    let status = bed.server.wait(FIVE_SECONDS).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    assert_eq!(
        idle.stream().read(&mut [0]).unwrap(),
        0,
        "the idle one is closed"
    );
}

#[test]
fn it_ends_also_while_it_waits_for_its_interface() {
    let Some((wiring, site)) = crate::bed::nothing_yet() else {
        return;
    };
    let mut links = testbed::link::Links::open(wiring.pod()).unwrap();
    links.delete(testbed::wiring::POD_DEVICE).unwrap();
    let mut server = crate::bed::start(&wiring, site.flags(&[]));
    crate::bed::hear(&server, "waiting for it");
    server.signal(Signal::SIGINT).unwrap();
    let status = server.wait(FIVE_SECONDS).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}
