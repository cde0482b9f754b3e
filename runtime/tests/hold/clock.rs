//! `CLOCK_REALTIME` steps under the running program.
//!
//! `libfaketime` (Debian's package) stands between the program and the clock: it adds to it what a
//! file says, which changes while the program runs. `CLOCK_MONOTONIC` is the kernel's, as when an
//! operator or NTP sets the time.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::bed::{Bed, PAGE, Site, check_page, eventually, serve_from};
use testbed::client::{Http, Response};

const DAY: Duration = Duration::from_hours(24);

/// How far a date may be beside what it should be: far less than a step.
const NEAR: Duration = Duration::from_mins(10);

/// The library, for programs with threads. `None` where the test must be skipped.
fn libfaketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found = folders
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists());
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "libfaketime is missing; install the package faketime"
    );
    found
}

/// The proof of concept with connections that may idle for 3 seconds, and the file that says how
/// far its clock is off.
fn bed(library: &Path, clock: &mut PathBuf) -> Option<Bed> {
    Bed::serving(|site: &Site, _| {
        *clock = site.write("clock", "+0");
        let config = format!(
            "[[interface]]\nname = \"macvlan0\"\n\
             [[interface.sub-interface]]\nid = 123\naddresses = [\"192.168.123.150/24\"]\n\
             [[http]]\nwww-root = \"{}\"\nkeepalive-timeout = 3\n",
            site.www().display()
        );
        // The program may read what lies beside its configuration, the clock as well.
        let mut command = serve_from("--config", &site.write("config.toml", &config));
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &*clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    })
}

fn date(response: &Response) -> SystemTime {
    let date = response.header("date").unwrap();
    httpdate::parse_http_date(date).unwrap()
}

/// Whether `response` is of a day hence (1), ago (-1), or of today.
fn is_of_day(response: &Response, day: i32) -> bool {
    let now = SystemTime::now();
    let expected = match day {
        1 => now + DAY,
        -1 => now - DAY,
        _ => now,
    };
    let (date, near) = (date(response), NEAR);
    expected - near < date && date < expected + near
}

#[test]
fn a_step_of_the_clock_moves_dates_and_neither_connections_nor_deadlines() {
    let Some(library) = libfaketime() else {
        println!("skipped: needs libfaketime (Debian's package faketime)");
        return;
    };
    let mut clock = PathBuf::new();
    let Some(bed) = bed(&library, &mut clock) else {
        return;
    };
    let mut kept = bed.connect();
    let page = kept.get("/", &[]).unwrap();
    check_page(&page);
    assert!(is_of_day(&page, 0));
    for (step, day) in [("+1d", 1), ("-1d", -1), ("+0", 0)] {
        std::fs::write(&clock, step).unwrap();
        // The connection that was there before is served on, with the new date.
        eventually(&format!("the date follows {step}"), || {
            let page = kept.get("/", &[]).unwrap();
            check_page(&page);
            is_of_day(&page, day)
        });
        // One that idles is closed in its time, which is no matter of dates.
        let mut idle = bed.connect();
        check_page(&idle.get("/", &[]).unwrap());
        eventually("an idle connection is closed", || {
            check_page(&kept.get("/", &[]).unwrap());
            is_closed(&idle)
        });
        // A changed file is served, whatever the date says of it.
        let changed = format!("changed at {step}");
        std::fs::write(bed.site.www().join("index.html"), &changed).unwrap();
        eventually("a changed file is served", || {
            kept.get("/", &[]).unwrap().body == changed.as_bytes()
        });
        std::fs::write(bed.site.www().join("index.html"), PAGE).unwrap();
        eventually("and again", || kept.get("/", &[]).unwrap().body == PAGE);
    }
    bed.check();
}

/// Whether the server has closed `http`.
fn is_closed(http: &Http) -> bool {
    let stream = http.stream();
    stream.set_nonblocking(true).unwrap();
    let read = stream.peek(&mut [0; 1]);
    stream.set_nonblocking(false).unwrap();
    matches!(read, Ok(0))
}
