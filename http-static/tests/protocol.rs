//! HTTP/1 as a peer sees it.
#![expect(clippy::unwrap_used, reason = "helpers fail as tests do")]

mod common;

use std::time::Duration;

use common::{Answer, Folder, Peer};

fn page() -> Folder {
    let folder = Folder::new();
    folder
        .write("index.html", "Welcome\n")
        .write("data.bin", [0_u8, 1, 2]);
    folder
}

#[test]
fn a_get_is_answered_with_the_file_and_its_fields() {
    let folder = page();
    let server = folder.server();
    let mut peer = Peer::new(&server);
    let answer = peer.get("/");
    assert_eq!((answer.status, answer.text()), (200, "Welcome\n"));
    assert_eq!(
        answer.line("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(answer.line("content-length"), Some("8"));
    assert_eq!(answer.line("server"), Some("dataplane"));
    assert_eq!(answer.line("accept-ranges"), Some("bytes"));
    assert!(answer.line("date").unwrap().ends_with(" GMT"));
    assert!(answer.line("last-modified").unwrap().ends_with(" GMT"));
    assert!(answer.line("etag").unwrap().starts_with('"'));
    assert_eq!(answer.line("cache-control"), None);
    assert_eq!(
        peer.get("/data.bin").line("content-type"),
        Some("application/octet-stream")
    );
    let stats = server.stats();
    assert_eq!((stats.connections, stats.active), (1, 1));
    assert_eq!(stats.responses, [0, 2, 0, 0, 0]);
    assert_eq!(
        (stats.cache.hits, stats.cache.misses, stats.cache.files),
        (0, 2, 2)
    );
}

#[test]
fn a_head_is_answered_with_the_fields_alone() {
    let folder = page();
    let mut peer = Peer::new(&folder.server());
    let answer = peer.ask("HEAD /index.html HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        (answer.status, answer.line("content-length")),
        (200, Some("8"))
    );
    let missing = peer.ask("HEAD /none HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        (missing.status, missing.line("content-length")),
        (404, Some("14"))
    );
    assert_eq!(peer.get("/").text(), "Welcome\n");
}

#[test]
fn a_head_split_at_any_octet_is_whole_again() {
    let folder = page();
    let server = folder.server();
    let request = b"\r\nGET /index.html HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    for at in 0..request.len() {
        let mut peer = Peer::new(&server);
        peer.client.send(&request[..at]);
        peer.poll();
        let answer = peer.ask(&request[at..]);
        assert_eq!(
            (answer.status, answer.text()),
            (200, "Welcome\n"),
            "split at {at}"
        );
    }
    let mut peer = Peer::new(&server);
    for octet in request {
        peer.poll();
        peer.client.send(&[*octet]);
    }
    assert_eq!(peer.answers(1, false)[0].status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let folder = page();
    let mut peer = Peer::new(&folder.server());
    let mut requests = String::new();
    for number in 0..300 {
        let target = if number % 3 == 0 {
            "/none"
        } else {
            "/index.html"
        };
        requests.extend(["GET ", target, " HTTP/1.1\r\nHost: a\r\nX-Padding: "]);
        requests.extend([&"x".repeat(number), "\r\n\r\n"]);
    }
    let answers = peer.ask_many(&requests, 300);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(
            answer.status,
            if number % 3 == 0 { 404 } else { 200 },
            "{number}"
        );
    }
    assert!(!peer.is_over());
}

#[test]
fn connection_close_and_http_1_0_end_the_connection() {
    let folder = page();
    let server = folder.server();
    let mut peer = Peer::new(&server);
    let answer = peer.get_with("/", "Connection: close");
    assert!(answer.closes());
    assert!(peer.rest().is_empty() && peer.client.is_closed());

    let mut peer = Peer::new(&server);
    let answer = peer.ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((answer.status, &*answer.version), (200, "HTTP/1.0"));
    assert!(peer.rest().is_empty());

    let mut peer = Peer::new(&server);
    let answer = peer.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(answer.line("connection"), Some("keep-alive"));
    assert_eq!(peer.ask("GET / HTTP/1.0\r\n\r\n").status, 200);
    assert!(peer.rest().is_empty());
}

#[test]
fn a_client_that_half_closes_still_gets_its_answer() {
    let folder = page();
    let mut peer = Peer::new(&folder.server());
    peer.client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.client.half_close();
    assert!(peer.rest().ends_with(b"Welcome\n"));
}

#[test]
fn the_connection_survives_refusals() {
    let folder = page();
    let mut peer = Peer::new(&folder.server());
    for target in ["/none", "/%zz", "/a%00", "/..", "/%2e%2E/x", "/a%2fb"] {
        let answer = peer.get(target);
        assert!(
            matches!(answer.status, 400 | 404) && !answer.closes(),
            "{target}"
        );
        assert_eq!(peer.get("/").status, 200);
    }
}

#[test]
fn methods_have_their_answers() {
    let folder = page();
    let mut peer = Peer::new(&folder.server());
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
        let answer = peer.ask(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.line("allow"), Some("GET, HEAD, OPTIONS"));
    }
    for method in ["BREW", "get", "PROPFIND"] {
        let answer = peer.ask(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(answer.status, 501, "{method}");
    }
    for target in ["*", "/none"] {
        let answer = peer.ask(format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(
            (answer.status, answer.line("allow")),
            (204, Some("GET, HEAD, OPTIONS"))
        );
    }
    let answer = peer.ask("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status, 405);
}

#[test]
fn targets_in_absolute_form_are_served() {
    let folder = page();
    let mut peer = Peer::new(&folder.server());
    assert_eq!(peer.get("http://b/index.html?x=y").text(), "Welcome\n");
    assert_eq!(peer.get("http://b").text(), "Welcome\n");
    assert_eq!(peer.get("*").status, 400);
}

#[test]
fn doubtful_framing_is_refused_and_the_connection_closed() {
    let folder = page();
    let server = folder.server();
    let heads: &[(&str, u16)] = &[
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            400,
        ),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET /\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\r\n\r\n", 400),
    ];
    for (head, status) in heads {
        let mut peer = Peer::new(&server);
        // What comes before it is still answered, what comes after it is not.
        let before = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        peer.client
            .send(format!("{before}{head}{before}").as_bytes());
        let received = peer.rest();
        let (first, len) = Answer::parse(&received, false).unwrap();
        assert_eq!(first.status, 200, "{head:?}");
        let (second, rest) = Answer::parse(&received[len..], false).unwrap();
        assert_eq!(second.status, *status, "{head:?}");
        assert!(second.closes(), "{head:?}");
        assert_eq!(len + rest, received.len(), "{head:?}");
    }
}

#[test]
fn heads_beyond_a_limit_have_their_status() {
    let folder = page();
    let server = folder.server();
    let long = "x".repeat(8190);
    let heads = [
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET /{long}{long}{long}"), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\nY: {long}\r\n\r\n"),
            431,
        ),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}{long}"), 431),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X: y\r\n".repeat(100)
            ),
            431,
        ),
    ];
    for (head, status) in &heads {
        let mut peer = Peer::new(&server);
        let answer = peer.ask(head);
        assert_eq!((answer.status, answer.closes()), (*status, true));
        assert!(peer.rest().is_empty());
    }
    let mut peer = Peer::new(&server);
    let longest = &long[1..];
    assert_eq!(peer.get(&format!("/{longest}")).status, 404);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(99));
    assert_eq!(peer.ask(many).status, 200);
}

#[test]
fn bodies_are_thrown_away_within_their_limit() {
    let folder = page();
    let server = folder.server();
    let mut peer = Peer::new(&server);
    let body = "z".repeat(60_000);
    let answer = peer.ask(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n{body}"
    ));
    assert_eq!((answer.status, answer.closes()), (200, false));
    let answer = peer.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!((answer.status, answer.closes()), (405, false));
    let answer = peer.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n");
    assert_eq!((answer.status, answer.closes()), (413, true));

    let mut peer = Peer::new(&server);
    let chunked = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = peer.ask(format!("{chunked}3\r\nabc\r\n0\r\n\r\n"));
    assert_eq!((answer.status, answer.closes()), (200, true));
    let mut peer = Peer::new(&server);
    let answer = peer.ask(format!("{chunked}11000\r\n{body}{body}"));
    assert_eq!((answer.status, answer.closes()), (413, true));

    let mut peer = Peer::new(&server);
    let expects = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let answer = peer.ask(expects);
    assert_eq!(answer.status, 405);
    assert!(peer.rest().is_empty());
}

#[test]
fn slow_heads_get_a_408_and_silent_connections_nothing() {
    let folder = page();
    let server = folder.server();
    let mut peer = Peer::new(&server);
    peer.client.send(b"GET / HTTP/1.1\r\nHo");
    peer.poll();
    peer.timer.advance(Duration::from_secs(9));
    peer.client.send(b"st");
    peer.poll();
    assert!(peer.client.receive().is_empty());
    peer.timer.advance(Duration::from_secs(1));
    let answer = peer.answers(1, false).remove(0);
    assert_eq!((answer.status, answer.closes()), (408, true));
    assert!(peer.is_over());

    // So is a line end that never comes.
    let mut peer = Peer::new(&server);
    for _ in 0..2 {
        peer.timer.advance(Duration::from_secs(9));
        peer.client.send(b"\r");
        peer.poll();
    }
    peer.timer.advance(Duration::from_secs(10));
    assert_eq!(peer.answers(1, false)[0].status, 408);

    let mut peer = Peer::new(&server);
    peer.timer.advance(Duration::from_secs(9));
    peer.poll();
    assert!(!peer.is_over());
    peer.timer.advance(Duration::from_secs(1));
    assert!(peer.rest().is_empty());

    let mut peer = Peer::new(&server);
    peer.get("/");
    peer.timer.advance(Duration::from_secs(59));
    assert_eq!(peer.get("/").status, 200);
    peer.timer.advance(Duration::from_secs(59));
    peer.poll();
    assert!(!peer.is_over());
    peer.timer.advance(Duration::from_secs(1));
    assert!(peer.rest().is_empty());
    assert_eq!(server.stats().timeouts, 4);

    let mut peer = Peer::new(&server);
    peer.client
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
    peer.poll();
    peer.timer.advance(Duration::from_secs(10));
    assert_eq!(peer.answers(1, false)[0].status, 408);
    assert!(peer.rest().is_empty());
}

#[test]
fn a_thousand_requests_take_one_sleep() {
    let folder = page();
    let mut peer = Peer::new(&folder.server());
    peer.get("/");
    let before = peer.timer.sleeps();
    for _ in 0..1000 {
        assert_eq!(peer.get("/").status, 200);
    }
    assert_eq!(peer.timer.sleeps(), before);
}

#[test]
fn readers_that_take_too_little_are_given_up() {
    let folder = page();
    folder.write("big", vec![7; 1 << 20]);
    let server = folder.server();
    let mut peer = Peer::new(&server);
    peer.client.set_room(Some(1000));
    peer.client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut received = 0;
    peer.poll_until(|peer| {
        received += peer.client.receive().len();
        received > 0
    });
    // Five times a thousand octets in twenty seconds is enough.
    for _ in 0..100 {
        peer.timer.advance(Duration::from_secs(4));
        peer.poll();
        received += peer.client.receive().len();
    }
    assert!(received > 90_000 && !peer.is_over());
    peer.timer.advance(Duration::from_secs(20));
    peer.poll();
    peer.timer.advance(Duration::from_secs(20));
    peer.poll();
    assert!(peer.is_over() && peer.client.is_closed());
}

#[test]
fn draining_ends_idle_connections_and_lets_busy_ones_finish() {
    let folder = page();
    folder.write("big", vec![7; 1 << 20]);
    let server = folder.server();
    let mut idle = Peer::new(&server);
    idle.get("/");
    let mut silent = Peer::new(&server);
    let mut busy = Peer::new(&server);
    busy.client.send(b"GET /");
    busy.poll();
    let mut sending = Peer::new(&server);
    sending.client.set_room(Some(1000));
    sending.client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    sending.poll_until(|peer| !peer.client.receive().is_empty());
    server.drain();
    assert!(idle.rest().is_empty());
    assert!(silent.rest().is_empty());
    busy.poll();
    sending.client.set_room(None);
    assert!(sending.rest().len() > 1 << 19);
    let mut late = Peer::new(&server);
    assert!(late.get("/").closes());
    assert!(late.rest().is_empty());
}

#[test]
fn one_hyper_serves_all_who_ask_one_after_the_other() {
    let folder = page();
    let server = folder.server();
    let mut peers: Vec<_> = (0..100).map(|_| Peer::new(&server)).collect();
    for _ in 0..3 {
        for peer in &mut peers {
            assert!(!peer.get("/").closes());
            assert_eq!(peer.client.kept(), 0);
        }
    }
    assert_eq!(server.stats().http1_made, 1);
    // Heads in part have none, and are not lost.
    for peer in &mut peers {
        peer.client.send(b"GET / HT");
        peer.poll();
        assert!((1..100).contains(&peer.client.kept()));
    }
    for peer in &mut peers {
        peer.client.send(b"TP/1.1\r\nHost: a\r\n\r\n");
        peer.poll_until(|peer| peer.client.receive().starts_with(b"HTTP/1.1 200 "));
    }
    assert_eq!(server.stats().http1_made, 1);
    // The time limits hold for those that have none as well.
    let mut peer = peers.remove(0);
    peer.timer.advance(Duration::from_hours(1));
    peer.poll();
    assert!(peer.is_over() && peer.client.is_closed());
    assert_eq!(server.stats().timeouts, 1);
}

#[test]
fn who_waits_for_its_peer_keeps_its_hyper_and_few_are_kept_afterwards() {
    let folder = page();
    let server = folder.server();
    let mut peers: Vec<_> = (0..40).map(|_| Peer::new(&server)).collect();
    peers[0].get("/");
    for round in [40, 40 + 40 - 16] {
        for peer in &mut peers {
            peer.client.set_room(Some(1));
            peer.client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            peer.poll();
        }
        for peer in &mut peers {
            peer.client.set_room(None);
            assert_eq!(peer.answers(1, false)[0].status, 200);
        }
        assert_eq!(server.stats().http1_made, round);
    }
}

#[test]
fn hyper_that_had_a_body_or_a_large_head_is_not_handed_on() {
    let folder = page();
    let server = folder.server();
    let mut peer = Peer::new(&server);
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let large = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(5000)
    );
    for (asked, status) in [(body, 405), (&large, 200)] {
        let before = server.stats().http1_made;
        assert_eq!(peer.get("/").status, 200);
        assert_eq!(peer.ask(asked).status, status);
        assert_eq!(peer.get("/").status, 200);
        assert_eq!(
            server.stats().http1_made,
            before + 1 + u64::from(before == 0)
        );
    }
}

#[test]
fn what_hyper_remembers_of_a_request_is_not_for_others() {
    let folder = page();
    let server = folder.server();
    for asked in [
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let mut first = Peer::new(&server);
        assert_eq!(first.ask(asked).status, 200);
        assert!(!first.is_over());
        let mut peer = Peer::new(&server);
        let refused = peer.ask("GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n");
        assert_eq!((refused.status, &*refused.version), (400, "HTTP/1.1"));
        assert!(refused.closes());
    }
}

#[test]
fn answers_are_whole_also_when_hyper_reads_no_more() {
    let folder = page();
    let large: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let streamed = large.repeat(30);
    folder.write("large", &large).write("streamed", &streamed);
    let server = folder.server_with(|options| options.cache_size = 1 << 20);
    Peer::new(&server).get("/large");
    let never = "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    for (asked, body, then) in [
        (
            format!("GET /large HTTP/1.1\r\nHost: a\r\n{never}"),
            &large,
            None,
        ),
        (
            format!("GET /streamed HTTP/1.1\r\nHost: a\r\n{never}"),
            &streamed,
            None,
        ),
        (
            "GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nBad Name: x\r\n\r\n".into(),
            &large,
            Some(400),
        ),
        (
            "GET /large HTTP/1.1\r\nHost: a\r\n\r\n\
             POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n"
                .into(),
            &large,
            Some(413),
        ),
    ] {
        let mut peer = Peer::new(&server);
        peer.client.set_room(Some(14_000));
        peer.client.send(asked.as_bytes());
        let received = peer.rest();
        let (answer, len) = Answer::parse(&received, false).expect("a whole answer");
        assert_eq!(answer.status, 200);
        assert!(answer.body == *body, "{asked}");
        let rest = Answer::parse(&received[len..], false);
        assert_eq!(rest.map(|(answer, _)| answer.status), then, "{asked}");
    }
    // Who takes nothing of it is given up all the same.
    let mut peer = Peer::new(&server);
    peer.client.set_room(Some(14_000));
    peer.client
        .send(format!("GET /large HTTP/1.1\r\nHost: a\r\n{never}").as_bytes());
    peer.poll_until(|peer| peer.client.kept() > 0);
    peer.timer.advance(Duration::from_secs(20));
    peer.poll();
    assert!(peer.is_over());
}

#[test]
fn little_is_remembered_of_a_request_however_long_it_is() {
    let folder = page();
    let server = folder.server();
    let mut peer = Peer::new(&server);
    assert_eq!(peer.get("/missing").status, 404);
    assert_eq!(peer.request(), "GET /missing");
    let (method, target) = ("A".repeat(8000), "a".repeat(8000));
    let asked = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(peer.ask(asked).status, 501);
    assert_eq!(peer.request(), &method[..256]);
    assert_eq!(peer.get(&format!("/{target}")).status, 404);
    assert_eq!(peer.request(), format!("GET /{}", &target[..251]));
}

#[test]
fn empty_lines_between_requests_neither_take_a_hyper_nor_count_as_a_head() {
    let folder = page();
    let server = folder.server();
    let mut peer = Peer::new(&server);
    for piece in ["\r", "\n\r", "\n"] {
        peer.client.send(piece.as_bytes());
        peer.poll();
        peer.timer.advance(Duration::from_secs(12));
        peer.poll();
    }
    assert_eq!(server.stats().http1_made, 0);
    assert!(!peer.get("/").closes());
    assert_eq!(
        peer.ask("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n").status,
        200
    );
    // Silence after one ends the connection, without a word.
    peer.timer.advance(Duration::from_secs(61));
    assert_eq!(peer.rest(), b"");
    assert!(peer.client.is_closed());
    // The fifth is one too many.
    let mut peer = Peer::new(&server);
    peer.client
        .send(b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(peer.rest().starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn a_transfer_that_waits_for_the_peer_is_not_idle() {
    let folder = page();
    let body: Vec<u8> = (0..1_u32 << 20).map(|at| (at % 251) as u8).collect();
    folder.write("big", &body);
    let server = folder.server();
    let mut peer = Peer::new(&server);
    peer.client.set_room(Some(1000));
    peer.client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut got = Vec::new();
    peer.poll_until(|peer| {
        peer.timer.advance(Duration::from_millis(300));
        got.extend(peer.client.receive());
        peer.client.set_room(Some(100_000));
        got.len() > body.len()
    });
    assert!(got.ends_with(&body));
    assert_eq!(server.stats().http1_made, 1);
}

#[test]
fn requests_on_one_connection_are_counted() {
    let folder = page();
    let mut peer =
        Peer::new(&folder.server_with(|options| options.limits.requests_per_connection = 3));
    assert!(!peer.get("/").closes());
    assert!(!peer.get("/none").closes());
    assert!(peer.get("/").closes());
    assert!(peer.rest().is_empty());
}

#[derive(Debug, Default)]
struct Journal(std::sync::Mutex<Vec<String>>);

impl http_static::AccessLog for Journal {
    fn record(&self, record: &http_static::AccessRecord<'_>) {
        let method = record.method.map_or("-", http::Method::as_str);
        let target = record.target.map_or("-", |target| target.path());
        let cut = if record.complete { "" } else { " cut" };
        let agent = record
            .user_agent
            .map_or("-", |agent| agent.to_str().unwrap());
        let line = format!(
            "{method} {target} {} {} {agent}{cut}",
            record.status, record.octets
        );
        self.0.lock().unwrap().push(line);
    }
}

#[test]
fn the_access_log_is_told_of_every_request() {
    let folder = page();
    let journal = std::sync::Arc::new(Journal::default());
    let server = folder.server_with(|options| options.access_log = Some(journal.clone()));
    let mut peer = Peer::new(&server);
    peer.get("/?q");
    peer.get("/none");
    peer.ask("HEAD / HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\n\r\n");
    peer.ask("GET / HTTP/3.0\r\n\r\n");
    let mut peer = Peer::new(&server);
    peer.ask("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        *journal.0.lock().unwrap(),
        [
            "GET / 200 OK 8 -",
            "GET /none 404 Not Found 14 -",
            "HEAD / 200 OK 0 me",
            "- - 505 HTTP Version Not Supported 31 -",
            "- - 400 Bad Request 0 -",
        ]
    );
}

#[test]
fn a_response_that_is_cut_short_is_logged_as_such_and_not_measured() {
    let folder = page();
    let journal = std::sync::Arc::new(Journal::default());
    let server = folder.server_with(|options| options.access_log = Some(journal.clone()));
    folder.write("large", vec![b'x'; 4 << 20]);
    let mut peer = Peer::new(&server);
    peer.get("/");
    peer.client.set_room(Some(100_000));
    peer.client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.poll_until(|_| server.stats().octets_sent > 100_000);
    drop(peer);
    assert_eq!(
        *journal.0.lock().unwrap(),
        ["GET / 200 OK 8 -", "GET /large 200 OK 100000 - cut"]
    );
    let stats = server.stats();
    assert_eq!(stats.first_octet.count(), 2);
    assert_eq!(stats.whole.count(), 1);
}

#[test]
fn every_response_is_measured_once_also_pipelined_and_streamed() {
    let folder = page();
    let server = folder.server();
    folder.write("large", vec![b'x'; 4 << 20]);
    let mut peer = Peer::new(&server);
    peer.get("/");
    peer.get("/large");
    peer.get("/none");
    let stats = server.stats();
    assert_eq!((stats.first_octet.count(), stats.whole.count()), (3, 3));
    assert!(stats.whole.sum >= stats.first_octet.sum);
    let mut peer = Peer::new(&server);
    let one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    peer.client.send(one.repeat(5).as_bytes());
    peer.poll();
    assert_eq!(server.stats().whole.count(), 8);
}

#[test]
fn requests_wait_for_no_one_else_when_the_peer_vanishes() {
    let folder = page();
    let server = folder.server();
    for _ in 0..100 {
        let mut peer = Peer::new(&server);
        peer.client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        peer.poll();
    }
    let stats = server.stats();
    assert_eq!((stats.connections, stats.active), (100, 0));
    assert_eq!(Peer::new(&server).get("/").text(), "Welcome\n");
}

/// Octets kept for a request whose answer nobody takes.
fn kept_for(peer: &mut Peer, request: &str) -> usize {
    peer.client.set_room(Some(1));
    peer.client.send(request.as_bytes());
    peer.poll_until(|peer| !peer.client.receive().is_empty());
    let kept = peer.client.kept();
    peer.client.set_room(None);
    peer.poll_until(|peer| {
        peer.client.receive();
        peer.client.kept() == 0
    });
    kept
}

#[test]
fn what_a_connection_keeps_is_told_and_given_back() {
    let folder = page();
    let server = folder.server();
    let mut peer = Peer::new(&server);
    assert_eq!(peer.client.kept(), 0);
    peer.client.send(b"GET / HTTP/1.1\r\n");
    peer.poll();
    let partial = peer.client.kept();
    assert!((16..1000).contains(&partial), "{partial}");
    peer.client.send(b"Host: a\r\n\r\n");
    assert_eq!(peer.answers(1, false)[0].status, 200);
    assert_eq!(peer.client.kept(), 0);
    let small = kept_for(&mut peer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!((32 << 10..64 << 10).contains(&small), "{small}");
    let lines = "X: y\r\n".repeat(90) + "Y: " + &"z".repeat(8000);
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
    let large = kept_for(&mut peer, &large);
    assert!(large > small + (32 << 10), "{large}");
}

#[test]
fn a_file_that_is_streamed_counts_and_answers_nobody_reads_do_not_pile_up() {
    let folder = page();
    folder.write("big", vec![b'x'; 4 << 20]);
    let server = folder.server_with(|options| options.cache_size = 1 << 20);
    let mut peer = Peer::new(&server);
    assert_eq!(peer.get("/").status, 200);
    let before = kept_for(&mut peer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.client.set_room(Some(1));
    peer.client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.poll_until(|peer| {
        peer.client.receive();
        peer.client.kept() > before
    });
    let mut peer = Peer::new(&server);
    peer.client.set_room(Some(1));
    let heads = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000);
    peer.client.send(&heads);
    for _ in 0..100 {
        peer.poll();
        assert!(peer.client.kept() <= before + heads.len());
    }
}

#[test]
fn without_memory_a_request_gets_a_503_and_the_connection_ends() {
    let folder = page();
    let server = folder.server();
    let mut peer = Peer::new(&server);
    peer.client.set_keep(Some(10_000));
    peer.client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let rest = peer.rest();
    let (answer, _) = Answer::parse(&rest, false).unwrap();
    assert_eq!(
        (answer.status, answer.line("Connection")),
        (503, Some("close"))
    );
    assert!(peer.client.is_closed() && peer.client.kept() == 0);
    // A head in part costs as well.
    let mut peer = Peer::new(&server);
    peer.client.set_keep(Some(4_000));
    peer.client
        .send(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(5000)).as_bytes());
    assert!(peer.rest().starts_with(b"HTTP/1.1 503 "));
    assert_eq!(server.stats().responses[4], 2);
    // Enough for one request, and not for a larger one behind it.
    let mut peer = Peer::new(&server);
    peer.client.set_keep(Some(60_000));
    assert_eq!(peer.get("/").status, 200);
    let large = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(12_000)
    );
    peer.client.send(large.as_bytes());
    assert!(peer.rest().starts_with(b"HTTP/1.1 503 "));
}

/// What clients may send, well and badly behaved.
const ASKED: [&str; 17] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /missing HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nGET /other HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
];

/// Without what differs from second to second.
fn without_dates(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let lines = text.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

/// A server that has loaded what is asked for.
fn warm(folder: &Folder) -> http_static::Server {
    let server = folder.server();
    let mut peer = Peer::new(&server);
    peer.get("/");
    peer.get("/missing");
    server
}

fn everything(peer: &mut Peer) -> String {
    peer.client.half_close();
    without_dates(&peer.rest())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        failure_persistence: None,
        ..proptest::prelude::ProptestConfig::with_cases(200)
    })]

    /// Whatever others do in between, cut wherever it is, each connection is answered as if it were
    /// alone with a hyper of its own.
    #[test]
    fn nothing_of_one_connection_reaches_another(
        asked in proptest::collection::vec(proptest::collection::vec(0..ASKED.len(), 0..6), 2..5),
        cuts in proptest::collection::vec((0..5_usize, 1..90_usize), 0..60),
        rooms in proptest::collection::vec(proptest::option::of(1..600_usize), 5),
    ) {
        let folder = page();
        let shared = warm(&folder);
        let asked: Vec<Vec<u8>> = asked
            .iter()
            .map(|asked| asked.iter().flat_map(|number| ASKED[*number].bytes()).collect())
            .collect();
        let mut peers: Vec<_> = asked.iter().map(|_| Peer::new(&shared)).collect();
        for (peer, room) in peers.iter().zip(&rooms) {
            // Who does not read in between keeps its hyper.
            peer.client.set_room(*room);
        }
        let mut pieces = vec![Vec::new(); asked.len()];
        let mut sent = vec![0; asked.len()];
        let ends = cuts.into_iter().map(|(number, len)| (number % asked.len(), len));
        for (number, len) in ends.chain((0..asked.len()).map(|number| (number, usize::MAX))) {
            let rest = &asked[number][sent[number]..];
            let piece = &rest[..len.min(rest.len())];
            sent[number] += piece.len();
            pieces[number].push(piece);
            peers[number].client.send(piece);
            peers[number].poll();
        }
        for ((peer, pieces), room) in peers.iter_mut().zip(pieces).zip(rooms) {
            let mut alone = Peer::new(&warm(&folder));
            alone.client.set_room(room);
            for piece in pieces {
                alone.client.send(piece);
                alone.poll();
            }
            peer.client.set_room(None);
            alone.client.set_room(None);
            proptest::prop_assert_eq!(everything(peer), everything(&mut alone));
        }
    }
}
