//! HTTP under attack (RFC 9112), over real connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use testbed::client::connect;

use crate::bed::{HTTP, Pattern, SOON, check_page, eventually, serve_from};
use crate::target::{Target, raise_descriptor_limit};

/// All that is answered to `request`, until the server closes.
fn said(target: &Target, request: &[u8]) -> String {
    let mut stream = connect(target.client(), HTTP, SOON).unwrap();
    let mut said = Vec::new();
    let mut octets = [0; 4096];
    // Neither a broken pipe nor a reset behind the answer takes the answer away.
    let _ = stream.write_all(request);
    while let Ok(length @ 1..) = stream.read(&mut octets) {
        said.extend_from_slice(&octets[..length]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_request_that_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_served() {
    let Some(target) = Target::new() else { return };
    // RFC 9112, sections 2.2, 3, 5.2, 6.1, 6.3 and 7.1.
    let doubtful: &[&str] = &[
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        "Content-Length: 1, 2\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 0x1\r\n\r\n",
        "Content-Length : 5\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n",
        "X: a\r\n folded\r\n\r\n",
        "X: a\nContent-Length: 44\r\n\r\n",
        "X: a\rContent-Length: 44\r\n\r\n",
        "X: a\0b\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    ];
    let smuggled = "GET /index.html HTTP/1.1\r\nHost: smuggled\r\n\r\n";
    for fields in doubtful {
        let request = format!("GET / HTTP/1.1\r\nHost: server\r\n{fields}{smuggled}");
        let said = said(&target, request.as_bytes());
        let status = said.get(..12).unwrap_or_default();
        assert!(
            matches!(status, "HTTP/1.1 400" | "HTTP/1.1 501"),
            "{fields:?}: {said}"
        );
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{fields:?}: {said}");
        assert!(!said.contains("Welcome"), "{fields:?}: {said}");
    }
    target.check();
}

#[test]
fn heads_targets_and_bodies_beyond_their_limits_are_refused() {
    let Some(target) = Target::new() else { return };
    let long = "x".repeat(8200);
    let many = "X: y\r\n".repeat(101);
    let cases = [
        (
            format!("GET /{long} HTTP/1.1\r\nHost: server\r\n\r\n"),
            "414",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: server\r\nX: {long}\r\nY: {long}\r\n\r\n"),
            "431",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: server\r\n{many}\r\n"),
            "431",
        ),
        (
            "POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 100000\r\n\r\n".to_owned(),
            "4",
        ),
    ];
    for (request, status) in cases {
        let said = said(&target, request.as_bytes());
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    }
    target.check();
}

#[test]
fn a_thousand_slow_heads_and_a_thousand_slow_readers_stop_nobody() {
    const EACH: usize = 1000;
    const AT_MOST: Duration = Duration::from_mins(1);
    raise_descriptor_limit();
    let Some(target) = Target::new() else { return };
    std::fs::write(target.site.www().join("large"), Pattern::octets(2 << 20)).unwrap();
    target.check();
    let open = || -> Vec<TcpStream> {
        let open = |_| TcpStream::connect_timeout(&HTTP.into(), SOON).unwrap();
        (0..EACH).map(open).collect()
    };
    let mut heads = target.client().run(open).unwrap();
    let readers = target.client().run(open).unwrap();
    for mut reader in &readers {
        reader
            .write_all(b"GET /large HTTP/1.1\r\nHost: server\r\n\r\n")
            .unwrap();
    }
    let head = b"GET / HTTP/1.1\r\nHost: a-very-long-name-that-never-ends";
    for octet in head.chunks(1).take(8) {
        for stream in &mut heads {
            let _ = stream.write_all(octet); // it may have been given up
        }
        for _ in 0..3 {
            check_page(&target.get("/index.html"));
        }
    }
    assert_eq!(target.tcp("refused-memory"), 0);
    // Slow heads are given up after 10 seconds, slow readers after 20.
    let start = Instant::now();
    let given_up = || {
        let statistics = target.ask("show http static server");
        let timeouts = statistics["servers"][0]["timeouts"].as_u64();
        timeouts.unwrap_or_else(|| panic!("{statistics}"))
    };
    while given_up() < 2 * EACH as u64 {
        assert!(start.elapsed() < AT_MOST, "{} were given up", given_up());
        check_page(&target.get("/index.html"));
    }
    drop((heads, readers));
    eventually("all of them are gone", || target.in_use("connections") == 0);
    target.check();
}

#[test]
fn a_connection_that_idles_for_too_long_is_closed() {
    let Some(bed) = crate::bed::Bed::serving(|site, _| {
        let text = format!(
            "[[interface]]\nname = \"macvlan0\"\n[[interface.sub-interface]]\nid = 123\n\
             addresses = [\"192.168.123.150/24\"]\n[[http]]\nwww-root = \"{}\"\n\
             keepalive-timeout = \"1s\"\n",
            site.www().display()
        );
        serve_from("--config", &site.write("dataplane.toml", &text))
    }) else {
        return;
    };
    let mut kept = bed.connect();
    check_page(&kept.get("/", &[]).unwrap());
    // Closed in order: the end, and no reset.
    assert_eq!(kept.stream().read(&mut [0; 10]).unwrap(), 0);
    let silent = connect(bed.client(), HTTP, SOON).unwrap();
    assert_eq!((&silent).read(&mut [0; 10]).unwrap(), 0);
    eventually("a new one is served", || bed.ping().is_ok());
    bed.check();
}
