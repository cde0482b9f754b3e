//! The examples do what they say, on the proof of concept's wiring. Needs root; without it they
//! say so and are skipped, but never with `CI=true`.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use testbed::client::{http_get, ping};
use testbed::netns::test_may_wire;
use testbed::wiring::{Options, POD_DEVICE, SERVER_ADDRESS, Wiring};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The wiring, or nothing when it may not be built here.
fn wiring() -> Option<Wiring> {
    test_may_wire().then(|| Wiring::poc(Options::default()).unwrap())
}

/// The example's program, which cargo builds beside this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let folder: PathBuf = test
        .parent()
        .and_then(|deps| deps.parent())
        .unwrap()
        .join("examples");
    Command::new(folder.join(name))
}

#[test]
fn count_counts_the_frames_of_an_interface() {
    let Some(wiring) = wiring() else { return };
    let mut command = example("count");
    command.args([POD_DEVICE, "3"]).stdout(Stdio::piped());
    let child = wiring.pod().spawn(&mut command).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    // Nobody answers, but asking who has the address is a frame.
    let _ = ping(
        wiring.client().namespace(),
        SERVER_ADDRESS.0,
        1,
        56,
        Duration::from_secs(1),
    );
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("0x0806: "),
        "{text}"
    );
}

#[test]
fn reply_answers_ping_on_its_vlan() {
    let Some(wiring) = wiring() else { return };
    let mut command = example("reply");
    command
        .args([POD_DEVICE, "123", "192.168.123.150/24", "4"])
        .stdout(Stdio::piped());
    let child = wiring.pod().spawn(&mut command).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let answers = ping(
        wiring.client().namespace(),
        SERVER_ADDRESS.0,
        2,
        56,
        TIMEOUT,
    )
    .unwrap();
    assert_eq!(answers.len(), 2);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("ip4-icmp-input"),
        "{text}"
    );
}

#[test]
fn serve_serves_a_folder() {
    let Some(wiring) = wiring() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "embedded\n").unwrap();
    let mut command = example("serve");
    command
        .args([POD_DEVICE, "123", "192.168.123.150/24"])
        .arg(folder.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = wiring.pod().spawn(&mut command).unwrap();
    let server = SocketAddrV4::new(SERVER_ADDRESS.0, 80);
    let response = http_get(wiring.client().namespace(), server, "/index.html", TIMEOUT);
    drop(child.stdin.take()); // ends it, as Enter would
    assert_eq!(response.unwrap().body, b"embedded\n");
    assert!(child.wait().unwrap().success());
}
