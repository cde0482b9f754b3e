//! What cannot be started: exit code 2, one sentence, nothing on standard output.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use nix::unistd::Uid;

use crate::bed::{Site, USER, dataplane, serve_from};

/// Fails unless `output` is a refusal that says each of `parts`.
fn check_refusal(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// As [`check_refusal`], and it is one line that begins with our name.
fn check_sentence(output: &Output, parts: &[&str]) {
    check_refusal(output, parts);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("dataplane: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

fn refused(command: &mut Command) -> Output {
    command.output().unwrap()
}

#[test]
fn without_net_raw_it_says_which_capability_is_missing() {
    let site = Site::new();
    // By descriptor, because the user may lack the right to walk to the build directory.
    let program = File::open(env!("CARGO_BIN_EXE_dataplane")).unwrap();
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.args(site.flags(&[]).get_args());
    if Uid::effective().is_root() {
        command.uid(USER).gid(USER);
    }
    let output = refused(&mut command);
    check_sentence(&output, &["macvlan0: ", "needs CAP_NET_RAW"]);
}

#[test]
fn flags_that_make_no_sense_are_named_with_the_fix() {
    let site = Site::new();
    let www = site.www();
    let www = www.to_str().unwrap();
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            "--address",
            "192.168.123/24",
            &["192.168.123/24", "--address", "such as 192.168.123.150"],
        ),
        (
            "--address",
            "192.168.123.150",
            &["192.168.123.150", "--address", "192.168.123.150/24"],
        ),
        ("--port", "0", &["'0'", "--port", "1..=65535"]),
        ("--vlan", "4095", &["'4095'", "--vlan", "1 to 4094"]),
        ("--vlan", "0", &["'0'", "--vlan", "1 to 4094"]),
        (
            "--www-root",
            "/nowhere",
            &["www-root /nowhere does not exist"],
        ),
    ];
    for (flag, value, parts) in cases {
        let mut command = dataplane(&["serve", "--interface", "macvlan0"]);
        for (its, good) in [
            ("--vlan", "123"),
            ("--address", "192.168.123.150/24"),
            ("--www-root", www),
            ("--port", "80"),
        ] {
            command.args([its, if its == flag { value } else { good }]);
        }
        check_refusal(&refused(&mut command), parts);
    }
}

#[test]
fn two_sources_and_none_are_refused() {
    let site = Site::new();
    let mut two = site.flags(&["--startup-config", "startup.conf"]);
    let parts = ["--interface", "--startup-config", "cannot be used with"];
    check_refusal(&refused(&mut two), &parts);
    check_refusal(
        &refused(&mut dataplane(&["serve"])),
        &["--interface", "--config"],
    );
}

#[test]
fn a_wrong_line_of_startup_conf_is_named_with_file_line_and_column() {
    let site = Site::new();
    let good = site.startup_conf([2, 0, 0, 0, 0, 1]);
    let www = site.www();
    let www = www.to_str().unwrap();
    let cases: [(&str, &str, &[&str]); 8] = [
        (
            "set int state",
            "frobnicate",
            &["startup.conf:3:1: ", "frobnicate", "expected create"],
        ),
        (
            "host-macvlan0 up",
            "host-macvlan0 upp",
            &["startup.conf:3:", "\"upp\"", "expected up or down"],
        ),
        (
            "192.168.123.150/24",
            "192.168.123.350/24",
            &[
                "startup.conf:6:",
                "192.168.123.350/24",
                "192.168.123.150/24",
            ],
        ),
        (
            "host-macvlan0 123",
            "host-macvlan0 4095",
            &["startup.conf:4:", "4095", "1 to 4094"],
        ),
        (
            "0.0.0.0/80",
            "0.0.0.0/0",
            &["startup.conf:7:", "tcp://0.0.0.0/0", "port"],
        ),
        ("512m", "much", &["startup.conf:7:", "\"much\""]),
        (
            "name macvlan0",
            "name macvlan1",
            &["startup.conf:2:", "no interface host-macvlan0", "create"],
        ),
        (
            www,
            "/nowhere",
            &["startup.conf:7:", "www-root /nowhere", "does not exist"],
        ),
    ];
    for (part, instead, parts) in cases {
        let text = good.replace(part, instead);
        assert_ne!(text, good);
        let file = site.write("startup.conf", &text);
        check_sentence(&refused(&mut serve_from("--startup-config", &file)), parts);
    }
}

#[test]
fn a_wrong_toml_file_is_named_with_line_and_column() {
    let site = Site::new();
    let cases: [(&str, &[&str]); 3] = [
        (
            "[[interface]]\nnam = \"macvlan0\"\n",
            &["dataplane.toml:2:1: ", "nam"],
        ),
        (
            "[[interface]]\nname = \"macvlan0\"\n[[interface.sub-interface]]\nid = 4095\n",
            &["dataplane.toml:", "4095", "1 to 4094"],
        ),
        ("[[interface]\n", &["dataplane.toml:1:"]),
    ];
    for (text, parts) in cases {
        let file = site.write("dataplane.toml", text);
        check_sentence(&refused(&mut serve_from("--config", &file)), parts);
    }
}

#[test]
fn a_configuration_file_that_is_not_there_is_named() {
    for option in ["--startup-config", "--config", "--vpp-config"] {
        let output = refused(&mut serve_from(option, "/nowhere/at-all".as_ref()));
        check_sentence(&output, &["/nowhere/at-all", "cannot be read"]);
    }
}
