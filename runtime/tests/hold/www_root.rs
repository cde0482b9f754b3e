//! The served folder is replaced, cut, closed, deleted, or stops answering.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use testbed::client::{Http, Response};

use crate::bed::{Bed, HTTP, PAGE, SOON, check_page, eventually};

/// What `path` is answered with, or nothing if the connection breaks.
fn status(bed: &Bed, path: &str) -> u16 {
    answer(bed, path).map_or(0, |page| page.status)
}

fn answer(bed: &Bed, path: &str) -> Option<Response> {
    let mut http = Http::connect(bed.client(), HTTP, SOON).ok()?;
    http.get(path, &[]).ok()
}

#[test]
fn a_replaced_folder_is_served_and_a_deleted_one_is_missed_until_it_is_back() {
    // The sandbox has to reach what takes the folder's name later.
    let Some(bed) = Bed::serving(|site, _| {
        let mut command = site.flags(&["--allow-read"]);
        command.arg(site.www().parent().unwrap());
        command
    }) else {
        return;
    };
    bed.check();
    let www = bed.site.www();
    let (next, old) = (www.with_file_name("next"), www.with_file_name("old"));
    fs::create_dir(&next).unwrap();
    fs::write(next.join("index.html"), "replaced\n").unwrap();
    fs::rename(&www, &old).unwrap();
    fs::rename(&next, &www).unwrap();
    eventually("the new page is served", || {
        answer(&bed, "/").is_some_and(|page| page.body == b"replaced\n")
    });
    fs::remove_dir_all(&www).unwrap();
    eventually("it is missed", || {
        matches!(status(&bed, "/"), 404 | 500..=599)
    });
    bed.ping().unwrap();
    fs::rename(&old, &www).unwrap();
    eventually("it is back", || {
        answer(&bed, "/").is_some_and(|page| page.body == PAGE)
    });
}

#[test]
fn a_folder_the_sandbox_does_not_reach_is_refused_until_the_old_one_is_back() {
    let Some(bed) = Bed::new() else { return };
    bed.check();
    let www = bed.site.www();
    let old = www.with_file_name("old");
    fs::rename(&www, &old).unwrap();
    fs::create_dir(&www).unwrap();
    fs::write(www.join("index.html"), "replaced\n").unwrap();
    eventually("it is refused", || status(&bed, "/") == 403);
    fs::remove_dir_all(&www).unwrap();
    fs::rename(&old, &www).unwrap();
    eventually("the old one is served", || status(&bed, "/") == 200);
}

#[test]
fn a_file_made_unreadable_is_refused_until_it_is_readable() {
    let Some(bed) = Bed::new() else { return };
    bed.check();
    let page = bed.site.www().join("index.html");
    fs::set_permissions(&page, Permissions::from_mode(0o0)).unwrap();
    eventually("it is refused", || status(&bed, "/") == 403);
    fs::set_permissions(&page, Permissions::from_mode(0o644)).unwrap();
    eventually("it is served", || status(&bed, "/") == 200);
    let www = bed.site.www();
    fs::set_permissions(&www, Permissions::from_mode(0o0)).unwrap();
    eventually("the folder is refused", || status(&bed, "/") == 403);
    fs::set_permissions(&www, Permissions::from_mode(0o755)).unwrap();
    eventually("the folder is served", || status(&bed, "/") == 200);
}

#[test]
fn a_file_cut_while_it_is_sent_ends_the_connection_and_never_the_server() {
    const LARGE: u64 = 256 << 20;
    let Some(bed) = Bed::with_flags(&["--cache-size", "1m"]) else {
        return;
    };
    let path = bed.site.www().join("large");
    let file = File::create(&path).unwrap();
    file.set_len(LARGE).unwrap();
    let mut http = bed.connect();
    http.send("GET", "/large", &[]).unwrap();
    http.stream().peek(&mut [0; 1]).unwrap();
    file.set_len(10).unwrap();
    // Short, and so broken off: the length was told before.
    http.read_response(false).unwrap_err();
    eventually("the short one is served", || {
        answer(&bed, "/large").is_some_and(|page| page.body.len() == 10)
    });
    bed.check();
}

#[test]
fn a_pipe_in_the_folder_is_refused_without_opening_it() {
    let Some(bed) = Bed::new() else { return };
    let pipe = bed.site.www().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    for _ in 0..5 {
        assert_eq!(status(&bed, "/pipe"), 403);
    }
    bed.check();
}

/// A FUSE file system at `place` whose daemon is this process, which never answers: whoever
/// touches it waits. Ended by dropping what is returned.
fn hang(place: &std::path::Path) -> std::io::Result<File> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")?;
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
        device.as_raw_fd()
    );
    mount(
        Some("hangs"),
        place,
        Some("fuse"),
        MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
        Some(options.as_str()),
    )?;
    Ok(device)
}

#[test]
fn a_file_system_that_hangs_costs_a_503_and_stops_neither_ping_nor_what_is_cached() {
    if !testbed::netns::test_may_wire() {
        return;
    }
    // A thread of its own, because mounts of a namespace are its thread's.
    let work = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let Some(bed) = Bed::new() else { return };
        bed.check();
        let www = bed.site.www();
        let daemon = match hang(&www) {
            Ok(daemon) => daemon,
            Err(error) => {
                let must = std::env::var_os("CI").is_some_and(|ci| ci == "true");
                assert!(!must, "with CI=true, this test needs FUSE: {error}");
                return println!("skipped: needs FUSE: {error}");
            }
        };
        let mut waiting = Vec::new();
        for nth in 0..20 {
            let mut http = bed.connect();
            http.send("GET", &format!("/never-{nth}"), &[]).unwrap();
            waiting.push(http);
        }
        // Packets do not wait for files.
        for _ in 0..10 {
            bed.ping().unwrap();
        }
        for http in &mut waiting {
            assert_eq!(http.read_response(false).unwrap().status, 503);
        }
        drop(daemon);
        umount2(&www, MntFlags::MNT_DETACH).unwrap();
        eventually("it serves again", || status(&bed, "/") == 200);
        bed.check();
    };
    thread::spawn(work).join().unwrap();
}

#[test]
fn a_page_written_in_place_is_served_whole_or_not_at_all_once_it_settles() {
    let Some(bed) = Bed::new() else { return };
    bed.check();
    let path = bed.site.www().join("index.html");
    for round in 0..5 {
        let text = format!("round {round} {}\n", "x".repeat(100_000));
        File::create(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        eventually("the new page is served", || {
            answer(&bed, "/").is_some_and(|page| page.body == text.as_bytes())
        });
    }
    fs::write(&path, PAGE).unwrap();
    eventually("the old page is back", || {
        answer(&bed, "/").is_some_and(|page| page.body == PAGE)
    });
    check_page(&bed.get("/"));
}
