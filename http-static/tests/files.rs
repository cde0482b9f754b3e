//! Files as they are found, cached, changed and streamed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers fail as tests do"
)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::{Folder, Peer};
use http_static::ServeError;
use proptest::prelude::*;

fn pattern(octets: usize) -> Vec<u8> {
    (0..octets)
        .map(|at| ((at * 31 + at / 251) % 256).try_into().unwrap_or(0))
        .collect()
}

#[test]
fn ranges_are_served_in_part() {
    let folder = Folder::new();
    folder.write("ten", "0123456789").write("empty", "");
    let server = folder.server();
    let mut peer = Peer::new(&server);
    let cases = [
        ("bytes=0-0", 206, "0", Some("bytes 0-0/10")),
        ("bytes=3-5", 206, "345", Some("bytes 3-5/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("bytes=-99", 206, "0123456789", Some("bytes 0-9/10")),
        (
            "bytes=5-99999999999999999999999",
            206,
            "56789",
            Some("bytes 5-9/10"),
        ),
        (
            "bytes=10-",
            416,
            "416 Range Not Satisfiable\n",
            Some("bytes */10"),
        ),
        (
            "bytes=-0",
            416,
            "416 Range Not Satisfiable\n",
            Some("bytes */10"),
        ),
        ("bytes=5-3", 200, "0123456789", None),
        ("bytes=0-1,3-4", 200, "0123456789", None),
        ("lines=0-1", 200, "0123456789", None),
    ];
    for (range, status, body, content_range) in cases {
        let answer = peer.get_with("/ten", &format!("Range: {range}"));
        assert_eq!((answer.status, answer.text()), (status, body), "{range}");
        assert_eq!(answer.line("content-range"), content_range, "{range}");
    }
    assert_eq!(peer.get_with("/empty", "Range: bytes=0-").status, 416);
    assert_eq!(peer.get("/empty").line("content-length"), Some("0"));
    let head = peer.ask("HEAD /ten HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0\r\n\r\n");
    assert_eq!(
        (head.status, head.line("content-length")),
        (200, Some("10"))
    );
}

#[test]
fn conditions_are_honoured() {
    let folder = Folder::new();
    folder.write("ten", "0123456789");
    let mut peer = Peer::new(&folder.server());
    let first = peer.get("/ten");
    let etag = first.line("etag").unwrap();
    let date = first.line("last-modified").unwrap();
    let old = "Sun, 06 Nov 1994 08:49:37 GMT";
    let cases = [
        (format!("If-None-Match: {etag}"), 304),
        (format!("If-None-Match: \"a,b\", W/{etag}"), 304),
        ("If-None-Match: *".to_owned(), 304),
        (
            format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}"),
            200,
        ),
        (format!("If-Modified-Since: {date}"), 304),
        (format!("If-Modified-Since: {old}"), 200),
        ("If-Modified-Since: yesterday".to_owned(), 200),
        (format!("If-Match: {etag}"), 200),
        ("If-Match: *".to_owned(), 200),
        (format!("If-Match: W/{etag}"), 412),
        ("If-Match: \"x\"".to_owned(), 412),
        (format!("If-Unmodified-Since: {date}"), 200),
        (format!("If-Unmodified-Since: {old}"), 412),
        (format!("Range: bytes=0-0\r\nIf-Range: {etag}"), 206),
        (format!("Range: bytes=0-0\r\nIf-Range: {date}"), 206),
        (format!("Range: bytes=0-0\r\nIf-Range: W/{etag}"), 200),
        (format!("Range: bytes=0-0\r\nIf-Range: {old}"), 200),
    ];
    for (lines, status) in &cases {
        let answer = peer.get_with("/ten", lines);
        assert_eq!(answer.status, *status, "{lines}");
        if *status == 304 {
            assert!(answer.body.is_empty() && answer.line("etag") == Some(etag));
        }
    }
}

#[test]
fn directories_redirect_without_naming_a_host() {
    let folder = Folder::new();
    folder
        .write("docs/index.html", "docs")
        .write("a b/x", "")
        .write("evil.com/index.html", "");
    let mut peer = Peer::new(&folder.server());
    for (target, location) in [
        ("/docs", "/docs/"),
        ("/docs?q=1", "/docs/?q=1"),
        ("/a%20b", "/a%20b/"),
        ("//evil.com", "/evil.com/"),
    ] {
        let answer = peer.get(target);
        assert_eq!(
            (answer.status, answer.line("location")),
            (301, Some(location)),
            "{target}"
        );
    }
    assert_eq!(peer.get("/docs/").text(), "docs");
    assert_eq!(peer.get("/a%20b/").status, 404);
    assert_eq!(peer.get("/docs/index.html/").status, 404);
}

#[test]
fn types_follow_the_name() {
    let folder = Folder::new();
    let mut peer = Peer::new(&folder.server());
    for (name, kind) in [
        ("a.css", "text/css; charset=utf-8"),
        ("a.JPG", "image/jpeg"),
        ("a.json", "application/json"),
        ("a.wasm", "application/wasm"),
        ("README", "application/octet-stream"),
        ("html", "application/octet-stream"),
        ("a.tar.unknown", "application/octet-stream"),
    ] {
        folder.write(name, "x");
        assert_eq!(
            peer.get(&format!("/{name}")).line("content-type"),
            Some(kind),
            "{name}"
        );
    }
}

#[test]
fn nothing_outside_the_root_is_reachable_by_symlink() {
    let folder = Folder::new();
    folder.write("in", "inside").write("deep/x", "");
    fs::write(folder.0.join("secret"), "secret").unwrap();
    let www = folder.www();
    symlink(folder.0.join("secret"), www.join("absolute")).unwrap();
    symlink("../secret", www.join("relative")).unwrap();
    symlink("../../secret", www.join("deep/relative")).unwrap();
    symlink(&folder.0, www.join("up")).unwrap();
    symlink("/proc/self/root", www.join("magic")).unwrap();
    symlink("../in", www.join("deep/inside")).unwrap();
    symlink("loop", www.join("loop")).unwrap();
    let mut peer = Peer::new(&folder.server());
    for target in [
        "/absolute",
        "/relative",
        "/deep/relative",
        "/up/secret",
        "/magic/etc/passwd",
    ] {
        assert_eq!(peer.get(target).status, 403, "{target}");
    }
    assert_eq!(peer.get("/loop").status, 404);
    assert_eq!(peer.get("/deep/inside").text(), "inside");
}

#[test]
fn what_is_no_readable_file_is_refused_at_once() {
    let folder = Folder::new();
    folder
        .write("private", "x")
        .write("index.html", "Welcome\n");
    fs::set_permissions(
        common::www_file(&folder, "private"),
        PermissionsExt::from_mode(0o000),
    )
    .unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(common::www_file(&folder, "fifo"))
            .status()
            .unwrap()
            .success()
    );
    symlink("/dev/zero", common::www_file(&folder, "device")).unwrap();
    let _socket =
        std::os::unix::net::UnixListener::bind(common::www_file(&folder, "socket")).unwrap();
    let mut peer = Peer::new(&folder.server());
    for target in ["/fifo", "/device", "/socket"] {
        assert_eq!(peer.get(target).status, 403, "{target}");
    }
    // Root reads everything.
    let reads_all = fs::read(common::www_file(&folder, "private")).is_ok();
    assert_eq!(
        peer.get("/private").status,
        if reads_all { 200 } else { 403 }
    );
    assert_eq!(peer.get("/").text(), "Welcome\n");
}

/// Asks at once and every 50 ms; tells when `done` first held.
fn seen_after(peer: &mut Peer, target: &str, done: impl Fn(&common::Answer) -> bool) -> Duration {
    for step in 0..60_u32 {
        let answer = peer.get(target);
        if done(&answer) {
            return step * Duration::from_millis(50);
        }
        peer.timer.advance(Duration::from_millis(50));
    }
    panic!("never seen");
}

#[test]
fn a_config_map_swap_is_served_within_a_second() {
    let folder = Folder::new();
    folder
        .write("..v1/index.html", "one")
        .write("..v2/index.html", "two");
    let www = folder.www();
    symlink("..v1", www.join("..data")).unwrap();
    symlink("..data/index.html", www.join("index.html")).unwrap();
    let mut peer = Peer::new(&folder.server());
    assert_eq!(peer.get("/").text(), "one");
    symlink("..v2", www.join("..data_tmp")).unwrap();
    fs::rename(www.join("..data_tmp"), www.join("..data")).unwrap();
    fs::remove_dir_all(www.join("..v1")).unwrap();
    let after = seen_after(&mut peer, "/", |answer| answer.text() == "two");
    assert!(after < Duration::from_secs(1), "{after:?}");
}

#[test]
fn every_kind_of_change_is_served_within_a_second() {
    let folder = Folder::new();
    folder.write("f", "first");
    let server = folder.server();
    let mut peer = Peer::new(&server);
    let second = Duration::from_secs(1);
    for text in ["same!", "longer than before", "s", ""] {
        assert_eq!(peer.get("/f").status, 200);
        folder.write("f", text);
        assert!(seen_after(&mut peer, "/f", |answer| answer.text() == text) < second);
    }
    folder.write("g", "moved");
    fs::rename(
        common::www_file(&folder, "g"),
        common::www_file(&folder, "f"),
    )
    .unwrap();
    assert!(seen_after(&mut peer, "/f", |answer| answer.text() == "moved") < second);
    fs::remove_file(common::www_file(&folder, "f")).unwrap();
    assert!(seen_after(&mut peer, "/f", |answer| answer.status == 404) < second);
    fs::create_dir(common::www_file(&folder, "f")).unwrap();
    assert!(seen_after(&mut peer, "/f", |answer| answer.status == 301) < second);
    fs::remove_dir(common::www_file(&folder, "f")).unwrap();
    folder.write("f", "back");
    assert!(seen_after(&mut peer, "/f", |answer| answer.status == 200) < second);
    // The root itself is swapped, then gone, then back.
    fs::rename(folder.www(), folder.0.join("old")).unwrap();
    assert!(seen_after(&mut peer, "/f", |answer| answer.status == 404) < second);
    fs::create_dir(folder.0.join("new")).unwrap();
    fs::write(folder.0.join("new/f"), "new root").unwrap();
    symlink(folder.0.join("new"), folder.www()).unwrap();
    assert!(seen_after(&mut peer, "/f", |answer| answer.text() == "new root") < second);
}

#[test]
fn a_busy_file_is_checked_without_making_anyone_wait() {
    let folder = Folder::new();
    folder.write("f", "x");
    let server = folder.server();
    let mut peer = Peer::new(&server);
    peer.get("/f");
    thread::sleep(Duration::from_millis(150));
    peer.timer.advance(Duration::from_millis(960));
    peer.get("/f");
    let misses = server.stats().cache.misses;
    for _ in 0..50 {
        peer.timer.advance(Duration::from_millis(100));
        assert_eq!(peer.get("/f").status, 200);
        thread::sleep(Duration::from_millis(3));
    }
    let stats = server.stats();
    assert_eq!(stats.cache.misses, misses);
    assert!(
        (8..=11).contains(&(stats.cache.checks - 1)),
        "{}",
        stats.cache.checks
    );
}

#[test]
fn the_cache_keeps_its_bound_and_the_files_in_use() {
    let folder = Folder::new();
    for number in 0..40 {
        folder.write(&format!("f{number}"), vec![number; 50_000]);
    }
    let server = folder.server_with(|options| options.cache_size = 500_000);
    let mut peer = Peer::new(&server);
    for number in 0..40 {
        // f0 stays in use.
        peer.timer.advance(Duration::from_millis(100));
        assert_eq!(peer.get("/f0").status, 200);
        peer.timer.advance(Duration::from_millis(1));
        assert_eq!(peer.get(&format!("/f{number}")).body, vec![number; 50_000]);
        let cache = server.stats().cache;
        assert!(cache.used <= cache.limit, "{cache:?}");
    }
    let stats = server.stats().cache;
    assert_eq!(
        (stats.limit, stats.files, stats.evictions),
        (500_000, 9, 31)
    );
    let entries = server.cache_entries(100);
    assert_eq!(entries.len(), 9);
    assert!(
        entries
            .iter()
            .any(|entry| entry.path == "f0" && entry.octets == 50_000)
    );
    server.clear_cache();
    let stats = server.stats().cache;
    assert_eq!((stats.files, stats.used), (0, 0));
}

#[test]
fn a_file_being_sent_counts_until_it_is_sent() {
    let folder = Folder::new();
    folder
        .write("a", pattern(100_000))
        .write("b", pattern(100_000));
    let server = folder.server_with(|options| options.cache_size = 410_000);
    let mut slow = Peer::new(&server);
    slow.client.set_room(Some(1000));
    slow.client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut received = Vec::new();
    slow.poll_until(|peer| {
        received.extend(peer.client.receive());
        !received.is_empty()
    });
    server.clear_cache();
    assert!(server.stats().cache.used > 100_000);
    slow.client.set_room(None);
    slow.poll_until(|peer| {
        received.extend(peer.client.receive());
        received.len() > 100_000
    });
    assert!(received.ends_with(&pattern(100_000)));
    slow.poll();
    assert_eq!(server.stats().cache.used, 0);
}

#[test]
fn unknown_names_do_not_fill_the_memory() {
    let folder = Folder::new();
    folder.write("f", "x");
    let server = folder.server();
    let mut peer = Peer::new(&server);
    peer.get("/f");
    for number in 0..3000 {
        assert_eq!(peer.get(&format!("/none-{number}")).status, 404);
    }
    let cache = server.stats().cache;
    assert_eq!((cache.files, cache.others), (1, 1024));
    assert!(cache.used < 2 << 20);
}

#[test]
fn a_file_larger_than_the_cache_is_streamed() {
    let folder = Folder::new();
    let octets = pattern(3_000_001);
    folder.write("big", &octets);
    for stream_memory in [64 << 20, 0] {
        let server = folder.server_with(|options| {
            options.cache_size = 1 << 20;
            options.limits.stream_memory = stream_memory;
        });
        let mut peer = Peer::new(&server);
        peer.client.set_room(Some(70_000));
        let answer = peer.get("/big");
        assert_eq!(answer.line("content-length"), Some("3000001"));
        assert!(answer.body == octets);
        let part = peer.get_with("/big", "Range: bytes=100-2999999");
        assert_eq!(part.status, 206);
        assert!(part.body == octets[100..3_000_000]);
        let etag = part.line("etag").unwrap();
        assert_eq!(
            peer.get_with("/big", &format!("If-None-Match: {etag}"))
                .status,
            304
        );
        let head = peer.ask("HEAD /big HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(head.line("content-length"), Some("3000001"));
        drop(peer);
        assert_eq!(server.stats().cache.files, 0);
    }
}

#[test]
fn a_file_that_shrinks_while_streamed_ends_the_connection() {
    let folder = Folder::new();
    folder.write("big", pattern(3_000_000)).write("f", "x");
    let server = folder.server_with(|options| options.cache_size = 1 << 20);
    let mut peer = Peer::new(&server);
    peer.client.set_room(Some(10_000));
    peer.client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.poll_until(|peer| !peer.client.receive().is_empty());
    let file = fs::File::options()
        .write(true)
        .open(common::www_file(&folder, "big"))
        .unwrap();
    file.set_len(1_000_000).unwrap();
    peer.client.set_room(None);
    let received = peer.rest();
    assert!(received.len() < 1_100_000);
    assert_eq!(Peer::new(&server).get("/f").text(), "x");
    for _ in 0..100 {
        if server.stats().stream_memory == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("stream memory is kept");
}

/// Octets this thread read through system calls (`/proc/thread-self/io`).
fn octets_read() -> usize {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find(|line| line.starts_with("rchar: ")).unwrap();
    line[7..].parse().unwrap()
}

#[test]
fn the_polling_thread_reads_no_file_but_what_the_page_cache_has_of_a_stream() {
    let folder = Folder::new();
    folder
        .write("f", pattern(1 << 20))
        .write("big", pattern(5 << 20));
    let server = folder.server();
    let mut peer = Peer::new(&server);
    let before = octets_read();
    assert_eq!(peer.get("/f").body.len(), 1 << 20);
    peer.timer.advance(Duration::from_secs(2));
    assert_eq!(peer.get("/f").body.len(), 1 << 20);
    assert!(octets_read() - before < 4096);
    assert_eq!(peer.get("/big").body, pattern(5 << 20));
    // All of it, or nothing where the file system cannot tell what is cached; and not once more.
    let read = octets_read() - before;
    assert!(
        read < 4096 || (5 << 20..(5 << 20) + 4096).contains(&read),
        "{read}"
    );
}

#[test]
fn loads_of_one_path_are_one_load() {
    let folder = Folder::new();
    folder.write("f", pattern(1 << 20));
    let server = folder.server();
    let timer = http_static::testing::ManualTimer::default();
    let mut peers: Vec<_> = (0..50).map(|_| Peer::with_timer(&server, &timer)).collect();
    for peer in &mut peers {
        peer.client.send(b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n");
        peer.poll();
    }
    for peer in &mut peers {
        assert_eq!(peer.answers(1, false)[0].body.len(), 1 << 20);
    }
    let stats = server.stats();
    assert_eq!((stats.cache.files, stats.responses[1]), (1, 50));
    assert!(stats.cache.used < 2 << 20);
}

#[test]
fn several_threads_share_one_server() {
    let folder = Folder::new();
    folder.write("f", "x");
    let server = folder.server();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let server = server.clone();
            thread::spawn(move || {
                let mut peer = Peer::new(&server);
                for _ in 0..200 {
                    assert_eq!(peer.get("/f").text(), "x");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let stats = server.stats();
    assert_eq!(
        (stats.responses[1], stats.connections, stats.active),
        (800, 4, 0)
    );
}

#[test]
fn loader_threads_end_with_the_server() {
    let loaders = || {
        fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
            .filter(|name| name.starts_with("http-loader-63"))
            .count()
    };
    let folder = Folder::new();
    let server = folder.server_with(|options| options.loaders = 64);
    let start = Instant::now();
    while loaders() == 0 && start.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(loaders(), 1);
    drop(server);
    while loaders() > 0 && start.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(loaders(), 0);
}

#[test]
fn what_cannot_be_served_is_said() {
    let folder = Folder::new();
    folder.write("file", "");
    for path in [folder.www().join("none"), folder.www().join("file")] {
        let error = http_static::Server::new(http_static::Options::new(&path)).unwrap_err();
        assert!(matches!(error, ServeError::WwwRoot { .. }));
        assert!(
            error
                .to_string()
                .starts_with(&format!("www-root {}: must be", path.display()))
        );
    }
    let mut options = http_static::Options::new(folder.www());
    options.loaders = 0;
    let error = http_static::Server::new(options).unwrap_err();
    assert_eq!(error.to_string(), "loaders: must be 1 to 64");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_target_reaches_outside(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "..", "%2e%2e", ".%2E", "/", "%2f", "\\", "secret", "deep", "link", "up", "%00",
                ".", "//", "%5c", "%252e", "a", "http-static", "proc", "self", "root",
            ]),
            0..12,
        ),
    ) {
        let folder = Folder::new();
        fs::write(folder.0.join("secret"), "secret").unwrap();
        folder.write("deep/a", "inside");
        symlink("../../secret", common::www_file(&folder, "deep/link")).unwrap();
        symlink("..", common::www_file(&folder, "up")).unwrap();
        let mut peer = Peer::new(&folder.server());
        let answer = peer.get(&format!("/{}", words.concat()));
        prop_assert!(matches!(answer.status, 200 | 301 | 400 | 403 | 404), "{}", answer.status);
        prop_assert!(answer.status != 200 || answer.text() == "inside");
    }
}

#[test]
fn large_bodies_are_offered_to_the_stream_without_a_copy_and_small_ones_are_not() {
    let folder = Folder::new();
    let body: Vec<u8> = (0..1_u32 << 20).map(|at| (at % 251) as u8).collect();
    folder.write("small", "small").write("big", &body);
    for (cache_size, path, shared) in [
        (10 << 20, "/small", 0),
        (10 << 20, "/big", body.len()),
        // Too large for the cache: streamed, part by part.
        (1 << 20, "/big", body.len()),
    ] {
        let server = folder.server_with(|options| options.cache_size = cache_size);
        let mut peer = Peer::new(&server);
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        peer.client.send(request.as_bytes());
        let answer = peer.rest();
        assert!(path == "/small" || answer.ends_with(&body));
        assert_eq!(peer.client.shared(), shared, "{path} {cache_size}");
    }
    let server = folder.server();
    let mut peer = Peer::new(&server);
    peer.get("/big");
    assert!(!server.is_loading());
}
