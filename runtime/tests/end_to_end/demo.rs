//! `dataplane demo`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use testbed::netns::test_may_wire;

use crate::bed::{SOON, dataplane, eventually};

fn told_and_clean(told: &str, left: &Path) {
    for part in [
        "192.168.123.1 --- veth --- eth0 --- macvlan --- macvlan0",
        "create sub-interfaces host-macvlan0 123",
        "ready: http://192.168.123.150/ on host-macvlan0.123",
        "ping     192.168.123.150: 3 of 3 answered, round trip min ",
        "GET http://192.168.123.150/index.html: 200, \"Welcome\"",
        "capabilities now: none",
        "namespaces, devices and files are removed",
    ] {
        assert!(told.contains(part), "{part:?} is missing in:\n{told}");
    }
    let files: Vec<_> = fs::read_dir(left).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
    // "server   process 4711: 5.2 MB resident"
    let pid = told.split_once("process ").unwrap().1;
    let pid = pid.split_once(':').unwrap().0;
    assert!(
        !Path::new("/proc").join(pid).exists(),
        "server {pid} still runs"
    );
}

#[test]
fn the_demo_tells_what_it_does_and_leaves_nothing_behind() {
    if !test_may_wire() {
        return;
    }
    let files = TempDir::new().unwrap();
    let output = dataplane(&["demo"]).env("TMPDIR", files.path()).output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{said}");
    told_and_clean(&told, files.path());
}

/// Ends it also when the test fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill(); // an error: it has ended
        let _ = self.0.wait();
    }
}

#[test]
fn the_kept_demo_goes_on_until_ctrl_c_and_cleans_up_too() {
    if !test_may_wire() {
        return;
    }
    let files = TempDir::new().unwrap();
    fs::set_permissions(
        files.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let mut command = dataplane(&["demo", "--keep"]);
    command.env("TMPDIR", files.path()).stdout(Stdio::piped());
    let mut demo = Ended(command.spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines();
    let mut told = String::new();
    let start = Instant::now();
    while let Some(Ok(line)) = lines.next() {
        told.push_str(&line);
        told.push('\n');
        assert!(start.elapsed() < SOON, "{told}");
        if line == "Ctrl-C ends it." {
            let pid = i32::try_from(demo.0.id()).unwrap();
            kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
        }
    }
    let mut status = None;
    eventually("the demo ends", || {
        status = demo.0.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success(), "{told}");
    assert!(told.contains("ping -c3 192.168.123.150"), "{told}");
    told_and_clean(&told, files.path());
}
