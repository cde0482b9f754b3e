//! What is confined cannot be undone, so each of these runs in a process of its own: this program
//! again, with [`CASE`] set.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};
use std::time::Duration;

use super::*;
use crate::privileges;

/// Says which case the child is to run, and in which folder.
const CASE: &str = "DATAPLANE_SANDBOX_CASE";
const FOLDER: &str = "DATAPLANE_SANDBOX_FOLDER";

/// Runs the case `name` in a confined child; its folder holds `www/page`, `sock/` and `secret`.
fn child(name: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("www")).unwrap();
    std::fs::create_dir(folder.path().join("sock")).unwrap();
    std::fs::write(folder.path().join("www/page"), "Welcome").unwrap();
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sandbox::tests::the_child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CASE, name)
        .env(FOLDER, folder.path())
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap()
}

/// What ends a process that makes a call it may not make.
const SIGSYS: i32 = libc::SIGSYS;

fn killed(name: &str) -> bool {
    let output = child(name);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("confined"), "{name}: {output:?}");
    assert!(!text.contains("survived"), "{name}: {output:?}");
    output.status.signal() == Some(SIGSYS)
}

fn passes(name: &str) {
    let output = child(name);
    assert!(output.status.success(), "{name}: {output:?}");
}

/// The child's part. Without [`CASE`] it is a test of nothing.
#[test]
fn the_child() {
    let Some(case) = std::env::var_os(CASE) else {
        return;
    };
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    privileges::give_up().unwrap();
    let mut sandbox = Sandbox::new();
    sandbox
        .read(&folder.join("www"))
        .make_in(&folder.join("sock"))
        .read(&std::env::current_exe().unwrap());
    let confined = sandbox.confine().unwrap();
    say("confined");
    run(case.to_str().unwrap(), &folder, confined);
    say("survived");
}

fn say(word: &str) {
    writeln!(std::io::stdout(), "{word}").unwrap();
}

fn run(case: &str, folder: &Path, confined: Confined) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let open = |family| {
        let _ = socket(family, SockType::Stream, SockFlag::empty(), None);
    };
    match case {
        "inet" => open(AddressFamily::Inet),
        "inet6" => open(AddressFamily::Inet6),
        "unix" => open(AddressFamily::Unix),
        "packet" => {
            let _ = af_packet::Sockets::open("eth0");
        }
        "execve" => {
            let _ = Command::new("/bin/true").status();
        }
        "prctl" => {
            let _ = rustix::process::set_parent_process_death_signal(None);
        }
        "kill" => {
            let _ = nix::sys::signal::kill(nix::unistd::getppid(), None);
        }
        "limits" => {
            let none = nix::sys::resource::Resource::RLIMIT_CORE;
            let _ = nix::sys::resource::setrlimit(none, 0, 0);
        }
        "chmod" => {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            let _ = std::fs::set_permissions(folder.join("www/page"), mode);
        }
        "files" => files(folder, confined),
        "threads" => threads(),
        "panic" => {
            let caught = std::panic::catch_unwind(|| panic!("on purpose"));
            assert!(caught.is_err());
        }
        "abort" => std::process::abort(),
        other => panic!("{other} is no case"),
    }
}

fn files(folder: &Path, confined: Confined) {
    let page = folder.join("www/page");
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "Welcome");
    let mut octet = [0];
    let mut random = std::fs::File::open("/dev/urandom").unwrap();
    std::io::Read::read_exact(&mut random, &mut octet).unwrap();
    let made = folder.join("sock/made");
    std::fs::write(&made, "text").unwrap();
    std::fs::write(&made, "again").unwrap();
    assert_eq!(std::fs::read_to_string(&made).unwrap(), "again");
    std::fs::remove_file(&made).unwrap();
    assert!(reaches(&page));
    if confined.landlock == Landlock::Missing {
        return;
    }
    let denied = |result: std::io::Result<()>, what: &str| {
        let kind = result.map_err(|error| error.kind());
        assert_eq!(kind, Err(std::io::ErrorKind::PermissionDenied), "{what}");
    };
    let secret = folder.join("secret");
    denied(std::fs::read(&secret).map(drop), "reading elsewhere");
    denied(std::fs::read_dir(folder).map(drop), "listing elsewhere");
    denied(std::fs::write(&page, "x"), "writing in the www-root");
    denied(std::fs::remove_file(&page), "removing in the www-root");
    denied(std::fs::write(folder.join("new"), "x"), "making elsewhere");
    denied(std::fs::read("/etc/passwd").map(drop), "reading /etc");
    assert!(!reaches(&secret) && !reaches(Path::new("/etc/passwd")));
    assert!(!reaches(&folder.join("www/../secret")), "up and out");
}

fn threads() {
    let joined = std::thread::Builder::new()
        .name("later".to_owned())
        .spawn(|| {
            std::thread::sleep(Duration::from_millis(1));
            let status = std::fs::read_to_string("/proc/thread-self/status");
            assert!(status.is_err() || status.unwrap().contains("Seccomp:\t2"));
            7
        })
        .unwrap()
        .join();
    assert_eq!(joined.unwrap(), 7);
    drop(std::hint::black_box(vec![1u8; 64 << 20]));
    assert!(std::collections::HashMap::from([(1, 2)]).contains_key(&1));
}

#[test]
fn a_call_that_is_not_listed_kills_the_process() {
    let cases = [
        "inet", "inet6", "unix", "packet", "execve", "prctl", "kill", "limits", "chmod",
    ];
    for case in cases {
        assert!(killed(case), "{case} was survived");
    }
}

#[test]
fn only_the_files_within_reach_can_be_opened() {
    passes("files");
}

#[test]
fn threads_memory_and_clocks_go_on_as_before() {
    passes("threads");
}

#[test]
fn a_panic_is_told_with_its_backtrace() {
    let output = child("panic");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("on purpose"), "{text}");
    assert!(text.contains("sandbox::tests::run"), "no names: {text}");
}

#[test]
fn aborting_still_aborts_and_leaves_no_core() {
    let output = child("abort");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    assert!(!output.status.core_dumped());
}

#[test]
fn the_folder_beside_a_file_is_left_but_never_the_root() {
    let mut sandbox = Sandbox::new();
    sandbox
        .read_beside(Path::new("/etc/dataplane/startup.conf"))
        .read_beside(Path::new("/startup.conf"));
    let expected = ["/etc/dataplane", "/startup.conf"].map(PathBuf::from);
    assert_eq!(sandbox.read, expected);
}

#[test]
fn what_was_never_confined_reaches_everything() {
    assert!(reaches(Path::new("/etc/passwd")));
}
