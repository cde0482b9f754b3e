//! What the running server may still do, and the ways to give it its sockets.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use testbed::process::{Rights, Server};

use crate::bed::{
    Bed, SOON, Site, USER, check_page, dataplane, hear, make_pod_device, nothing_yet, start,
};

/// A line of `/proc/PID/status` of each thread.
fn of_each_thread(server: &Server, name: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let field = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {status}"))
            .trim()
            .to_owned()
    };
    threads.map(|thread| field(thread.unwrap())).collect()
}

fn all_are(server: &Server, name: &str, value: &str) {
    let fields = of_each_thread(server, name);
    assert!(fields.len() >= 4, "main, supervisor, worker, loader");
    assert!(
        fields.iter().all(|field| field == value),
        "{name} {fields:?}"
    );
}

const NONE: &str = "0000000000000000";

/// Whether nothing but seccomp's list and no capability is left to any thread.
fn check_confined(server: &Server) {
    all_are(server, "Seccomp:", "2");
    all_are(server, "NoNewPrivs:", "1");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        all_are(server, set, NONE);
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    let core: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
}

/// `dataplane ctl` on the socket beside the site.
fn ctl(site: &Site, words: &str) -> (Option<i32>, String) {
    let mut command = dataplane(&["ctl", "-s"]);
    command.arg(site.www().with_file_name("cli.sock"));
    let output = command.args(words.split(' ')).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text)
}

fn serving(more: &[&str]) -> Option<Bed> {
    Bed::serving(|site, _| {
        // The server's user makes its socket there.
        let folder = site.www().parent().unwrap().to_owned();
        std::os::unix::fs::chown(&folder, Some(USER), Some(USER)).unwrap();
        let mut command = site.flags(more);
        command.arg("--cli-listen").arg(folder.join("cli.sock"));
        command
    })
}

#[test]
fn every_thread_is_confined_and_root_keeps_nothing_either() {
    let Some((wiring, site)) = nothing_yet() else {
        return;
    };
    let mut server = Server::start(wiring.pod(), site.flags(&[]), Rights::Inherited).unwrap();
    server.wait_until_ready(SOON).unwrap();
    check_confined(&server);
    all_are(&server, "CapBnd:", NONE);
    assert_eq!(server.terminate().unwrap().code(), Some(0));
}

#[test]
fn without_the_sandbox_it_says_so_and_keeps_only_its_capabilities_off() {
    let Some(bed) = Bed::with_flags(&["--no-sandbox"]) else {
        return;
    };
    bed.hear("--no-sandbox: whoever takes over this process");
    all_are(&bed.server, "Seccomp:", "0");
    all_are(&bed.server, "CapEff:", NONE);
    bed.check();
}

#[test]
fn a_www_root_out_of_reach_is_refused_and_nothing_changes() {
    let Some(mut bed) = serving(&[]) else { return };
    check_confined(&bed.server);
    let elsewhere = Site::new();
    let other = elsewhere.www();
    let line = format!(
        "http static server www-root {} uri tcp://0.0.0.0/81",
        other.display()
    );
    let (code, text) = ctl(&bed.site, &line);
    assert_eq!(code, Some(1), "{text}");
    let expected = format!("{} is outside the folders", other.display());
    assert!(
        text.contains(&expected) && text.contains("restart"),
        "{text}"
    );
    bed.check();
    let (code, text) = ctl(&bed.site, "show config");
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains(&other.display().to_string()), "{text}");
    // The socket goes with the server, although its folder is all it may write in.
    assert_eq!(bed.server.terminate().unwrap().code(), Some(0));
    assert!(!bed.site.www().with_file_name("cli.sock").exists());
}

#[test]
fn a_reload_cannot_reach_further_unless_the_folder_was_left_within_reach() {
    for left in [false, true] {
        let Some((wiring, site)) = nothing_yet() else {
            return;
        };
        let other = Site::new(); // the configuration's own folder stays within reach anyway
        let mac = wiring.pod_link().unwrap().mac;
        let conf = site.write("startup.conf", &site.startup_conf(mac));
        let mut command = crate::bed::serve_from("--startup-config", &conf);
        if left {
            command.arg("--allow-read").arg(other.www());
        }
        let server = start(&wiring, command);
        let bed = Bed::when_ready(wiring, site, server);
        let site = &bed.site;
        let [from, to] = [site, &other].map(|site| site.www().display().to_string());
        site.write("startup.conf", &site.startup_conf(mac).replace(&from, &to));
        bed.server.signal(Signal::SIGHUP).unwrap();
        bed.hear(if left {
            "SIGHUP: the configuration was read and applied"
        } else {
            "is outside the folders this server confined itself to when it started; restart it"
        });
        fs::write(other.www().join("index.html"), "other").unwrap();
        let body = bed.get("/index.html").body;
        let expected: &[u8] = if left { b"other" } else { crate::bed::PAGE };
        assert_eq!(body, expected);
        check_confined(&bed.server);
    }
}

#[test]
fn stopped_for_a_while_it_goes_on_where_it_was() {
    let Some(bed) = serving(&[]) else { return };
    bed.check();
    bed.server.signal(Signal::SIGSTOP).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    bed.server.signal(Signal::SIGCONT).unwrap();
    bed.wait_until_answered();
    check_page(&bed.get("/index.html"));
    let (code, text) = ctl(&bed.site, "show version");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn nobody_of_its_own_user_can_read_its_memory() {
    let Some(bed) = Bed::new() else { return };
    // Ours, as its user, without capabilities: the kernel asks whether we may trace it.
    let mut command = Command::new("cat");
    command.arg(format!("/proc/{}/environ", bed.server.pid()));
    let mut reader = Command::new("setpriv");
    reader.args([
        "--reuid",
        "10000",
        "--regid",
        "10000",
        "--clear-groups",
        "--bounding-set=-all",
    ]);
    reader
        .args([command.get_program()])
        .args(command.get_args());
    let Ok(output) = reader.output() else {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "setpriv is missing"
        );
        return;
    };
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn every_command_of_operators_works_confined() {
    let Some(mut bed) = serving(&[]) else { return };
    let www = bed.site.www().display().to_string();
    let file = bed
        .site
        .write("commands", "set interface mtu 1400 host-macvlan0\n");
    let port_81 = format!("http static server www-root {www} uri tcp://0.0.0.0/81");
    let exec = format!("exec {}", file.display());
    // For commands that do nothing alone. A new one without a line here is tried alone.
    let whole = [
        "set interface state host-macvlan0 up",
        "set interface ip address host-macvlan0 10.0.0.1/24",
        "create sub-interfaces host-macvlan0 124",
        "delete sub-interfaces host-macvlan0.124",
        "ip route add 10.9.0.0/16 via 192.168.123.1",
        "set ip neighbor host-macvlan0.123 192.168.123.9 02:00:00:00:00:09",
        "trace add af-packet-input 10",
        "ping 192.168.123.1 repeat 1",
        "show config toml",
        &exec,
        &port_81, // starts threads
    ];
    let shown = runtime::cli::command::COMMANDS
        .iter()
        .map(|entry| entry.path);
    let edits = runtime::startup_conf::COMMANDS
        .iter()
        .map(|entry| entry.path);
    for path in shown.chain(edits) {
        let words = path.join(" ");
        let line = whole.iter().find(|line| line.starts_with(&words));
        let line = line.copied().unwrap_or(&words);
        let (code, text) = ctl(&bed.site, line);
        assert!(matches!(code, Some(0 | 1)), "{line}: {code:?} {text}");
        assert!(code == Some(0) || line == words, "{line}: {text}");
        assert!(bed.server.is_running(), "{line} ended it");
    }
    bed.check();
}

/// A copy of the program that any user may execute.
fn program(site: &Site) -> std::path::PathBuf {
    let copy = site.www().with_file_name("dataplane");
    fs::copy(env!("CARGO_BIN_EXE_dataplane"), &copy).unwrap();
    copy
}

/// The same flags for another program.
fn flags_of(program: &std::path::Path, site: &Site, more: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(site.flags(more).get_args());
    command
}

fn serves(wiring: testbed::wiring::Wiring, site: Site, server: Server) {
    let bed = Bed::when_ready(wiring, site, server);
    bed.check();
    check_confined(&bed.server);
    let user = of_each_thread(&bed.server, "Uid:");
    assert!(
        user.iter().all(|uid| uid.starts_with("10000\t10000\t")),
        "{user:?}"
    );
}

#[test]
fn a_file_capability_is_enough() {
    let Some((wiring, site)) = nothing_yet() else {
        return;
    };
    let program = program(&site);
    let set = Command::new("setcap")
        .arg("cap_net_raw+ep")
        .arg(&program)
        .status();
    if !set.is_ok_and(|status| status.success()) {
        let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!ci, "setcap is missing (libcap2-bin)");
        println!("skipped: needs setcap and file capabilities");
        return;
    }
    let command = flags_of(&program, &site, &[]);
    let server = Server::start(wiring.pod(), command, Rights::ByFile { id: USER }).unwrap();
    serves(wiring, site, server);
}

#[test]
fn without_any_capability_it_says_what_is_missing() {
    let Some((wiring, site)) = nothing_yet() else {
        return;
    };
    let command = site.flags(&[]);
    let mut server = Server::start(wiring.pod(), command, Rights::ByFile { id: USER }).unwrap();
    let status = server.wait(SOON).unwrap().unwrap();
    assert_eq!(status.code(), Some(2));
    hear(&server, "macvlan0: opening the ring needs CAP_NET_RAW");
}

/// Started by `open-sockets`, as root; what it becomes has no right at all.
fn launched(
    count: u16,
    shell: Option<&str>,
    more: &[&str],
) -> Option<(testbed::wiring::Wiring, Site, Server)> {
    let (wiring, site) = nothing_yet()?;
    let program = program(&site);
    let mut command = dataplane(&["open-sockets", "--user", "10000", "--count"]);
    command.arg(count.to_string()).arg("--");
    if let Some(script) = shell {
        command.args(["/bin/sh", "-c", script, "sh"]);
    }
    let server = flags_of(&program, &site, more);
    command.arg(server.get_program()).args(server.get_args());
    let server = Server::start(wiring.pod(), command, Rights::Inherited).unwrap();
    Some((wiring, site, server))
}

#[test]
fn sockets_a_parent_opened_need_no_capability_at_all() {
    let Some((wiring, site, server)) = launched(3, None, &[]) else {
        return;
    };
    serves(wiring, site, server);
}

#[test]
fn sockets_come_by_listen_fds_too() {
    let script = "[ \"$DATAPLANE_PACKET_FD\" = 3,4,5 ] || exit 9; unset DATAPLANE_PACKET_FD; \
                  LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=packet:packet:packet exec \"$@\"";
    let Some((wiring, site, server)) = launched(3, Some(script), &[]) else {
        return;
    };
    serves(wiring, site, server);
}

#[test]
fn workers_that_share_an_interface_outlive_it_by_the_spares_a_parent_opened() {
    // Two workers, and one spare pair for each.
    let Some((wiring, site, server)) = launched(10, None, &["--workers", "2"]) else {
        return;
    };
    let bed = Bed::when_ready(wiring, site, server);
    bed.check();
    bed.pod_links().delete(testbed::wiring::POD_DEVICE).unwrap();
    bed.hear("there is no such interface; waiting for it");
    make_pod_device(&bed.wiring);
    bed.pod_links().set_up(testbed::wiring::POD_DEVICE).unwrap();
    bed.wait_until_answered();
    check_page(&bed.get("/index.html"));
}

#[test]
fn wrong_descriptors_are_refused_by_number() {
    let Some((wiring, site)) = nothing_yet() else {
        return;
    };
    for (more, says) in [
        (
            ["--packet-fd", "0"],
            "1 packet sockets were passed, and 1 workers need 3",
        ),
        (
            ["--packet-fd", "0,1,2"],
            "descriptor 0 is no raw packet socket",
        ),
        (["--packet-fd", "700,701,702"], "descriptor 700 is not open"),
    ] {
        let mut server = start(&wiring, site.flags(&more));
        let status = server.wait(SOON).unwrap().unwrap();
        assert_eq!(status.code(), Some(2), "{more:?}");
        hear(&server, says);
    }
}
