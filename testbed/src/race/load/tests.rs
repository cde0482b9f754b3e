use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::thread::{self, JoinHandle};

use proptest::prelude::*;

use super::*;

const SHORT: Duration = Duration::from_millis(300);
const FOUND: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nWelcome\n";

/// A server on the loopback that gives every request of `connections` connections `answer`, in
/// pieces of `piece` octets, and closes after a request that asks for it.
fn server(
    connections: usize,
    answer: &'static [u8],
    piece: usize,
) -> (SocketAddrV4, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let mut threads = Vec::new();
        for stream in listener.incoming().take(connections) {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            threads.push(thread::spawn(move || {
                let mut close = false;
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let Ok(line) = line else { return };
                    close |= line.eq_ignore_ascii_case("connection: close");
                    if line.is_empty() {
                        let sent = answer.chunks(piece).all(|it| stream.write_all(it).is_ok());
                        if close || !sent {
                            return;
                        }
                    }
                }
            }));
        }
        for thread in threads {
            thread.join().unwrap();
        }
    };
    (
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
        thread::spawn(serve),
    )
}

fn load(to: SocketAddrV4, reuse: Reuse, at_once: usize, until: Until) -> Outcome {
    let load = Load {
        to,
        path: "/",
        length: 8,
        at_once,
        reuse,
        until,
        patience: SHORT,
    };
    Generator::new(&load).unwrap().run().unwrap()
}

#[test]
fn kept_connections_carry_one_request_after_the_other() {
    let (to, server) = server(2, FOUND, 1000);
    let outcome = load(to, Reuse::KeepAlive, 2, Until::Requests(100));
    assert_eq!((outcome.answered, outcome.errors), (100, 0));
    assert_eq!(outcome.times.total(), 100);
    server.join().unwrap();
}

#[test]
fn a_load_of_a_given_time_ends_in_time() {
    let (to, server) = server(3, FOUND, 1000);
    let start = Instant::now();
    let outcome = load(to, Reuse::KeepAlive, 3, Until::Elapsed(SHORT));
    assert!(start.elapsed() < 4 * SHORT);
    assert!(outcome.answered > 0);
    assert_eq!(outcome.first_error, None);
    server.join().unwrap();
}

#[test]
fn an_answer_in_single_octets_is_one_answer() {
    let (to, server) = server(1, FOUND, 1);
    let outcome = load(to, Reuse::KeepAlive, 1, Until::Requests(5));
    assert_eq!((outcome.answered, outcome.first_error), (5, None));
    server.join().unwrap();
}

#[test]
fn a_connection_for_each_request_is_closed_by_the_server() {
    let (to, server) = server(10, FOUND, 1000);
    let outcome = load(to, Reuse::Close, 4, Until::Requests(10));
    assert_eq!((outcome.answered, outcome.first_error), (10, None));
    server.join().unwrap();
}

#[test]
fn held_connections_stay_open() {
    let (to, server) = server(10, FOUND, 1000);
    let outcome = load(to, Reuse::Hold, 4, Until::Requests(10));
    assert_eq!((outcome.answered, outcome.held.len()), (10, 10));
    assert!(!server.is_finished());
    drop(outcome);
    server.join().unwrap();
}

#[test]
fn a_server_that_does_not_close_is_given_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(FOUND).unwrap();
        thread::sleep(3 * SHORT);
    });
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let outcome = load(to, Reuse::Close, 1, Until::Requests(1));
    assert_eq!((outcome.answered, outcome.errors), (1, 1));
    assert_eq!(
        outcome.first_error.unwrap(),
        "nothing for 300ms while waiting for the server to close"
    );
    server.join().unwrap();
}

#[test]
fn a_wrong_answer_is_an_error_and_not_an_answer() {
    for (answer, why) in [
        (
            &b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"[..],
            "status 404",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nWelcome",
            "Some(7)",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nWelcome\n!",
            "longer",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP/1"),
    ] {
        let (to, server) = server(1, answer, 1000);
        let outcome = load(to, Reuse::KeepAlive, 1, Until::Requests(1));
        assert_eq!((outcome.answered, outcome.errors), (0, 1));
        let error = outcome.first_error.unwrap();
        assert!(error.contains(why), "{error}");
        server.join().unwrap();
    }
}

#[test]
fn a_port_where_nobody_listens_ends_the_load_by_its_errors() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let outcome = load(to, Reuse::KeepAlive, 8, Until::Elapsed(20 * SHORT));
    assert!(outcome.errors >= ERRORS_MAX);
    assert!(outcome.elapsed < 20 * SHORT);
    assert!(outcome.first_error.unwrap().contains("refused"));
}

#[test]
fn a_head_says_how_long_it_is_and_whether_the_connection_stays() {
    let head = |octets: &[u8]| parse(octets).unwrap().unwrap();
    assert_eq!(
        head(FOUND),
        Head {
            length: FOUND.len() - 8,
            status: 200,
            content_length: Some(8),
            keeps: true,
        }
    );
    assert!(!head(b"HTTP/1.1 200 OK\r\nconnection: Close\r\n\r\n").keeps);
    assert!(!head(b"HTTP/1.0 200 OK\r\n\r\n").keeps);
    assert!(head(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\n").keeps);
}

proptest! {
    #[test]
    fn arbitrary_octets_are_a_head_or_an_error(octets: Vec<u8>) {
        if let Ok(Some(head)) = parse(&octets) {
            prop_assert!(head.length <= octets.len());
        }
    }

    #[test]
    fn a_head_is_not_whole_before_its_end(cut in 0..FOUND.len() - 8) {
        prop_assert_eq!(parse(&FOUND[..cut]).unwrap(), None);
    }
}
