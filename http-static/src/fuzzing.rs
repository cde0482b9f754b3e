//! Entry points for fuzzing: see `fuzz/README.md`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::head::{HeadScanner, Scan};
use crate::options::Limits;
use crate::testing::{ManualTimer, duplex};
use crate::{Options, Server};

/// Pieces of one input at most.
const PIECES_MAX: usize = 64;

/// The scanner of request heads: `data` comes in one piece, and in pieces of a length that its
/// first octet says.
///
/// # Panics
/// When a head ends elsewhere, or is read differently, for being split; and when it ends elsewhere
/// for hyper.
pub fn head(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else {
        return;
    };
    let limits = Limits {
        head_octets: 1024,
        header_lines: 8,
        target_octets: 64,
        ..Limits::default()
    };
    let whole = HeadScanner::default().scan(data, &limits);
    let mut scanner = HeadScanner::default();
    let mut end = 0;
    let split = loop {
        end = (end + usize::from(*piece).max(1)).min(data.len());
        let seen = scanner.scan(data.get(..end).unwrap_or_default(), &limits);
        if seen != Scan::Partial || end == data.len() {
            break seen;
        }
    };
    // A fault may be found sooner than the line ends, and then has another name.
    let both_fault = matches!((whole, split), (Scan::Fault(_), Scan::Fault(_)));
    assert!(whole == split || both_fault, "{whole:?}, {split:?}");
    if let Scan::Complete { len, .. } = whole {
        let head = data.get(..len).unwrap_or_default();
        assert!(
            head.ends_with(b"\r\n\r\n"),
            "a head ends with an empty line"
        );
        assert!(len <= limits.head_octets + 1, "a head has a bound");
        // What hyper parses with. It may refuse a head, but not want more of it, or leave some.
        let mut lines = [httparse::EMPTY_HEADER; 64];
        let parsed = httparse::Request::new(&mut lines).parse(head);
        let end = parsed.unwrap_or(httparse::Status::Complete(len));
        assert_eq!(end, httparse::Status::Complete(len), "a head has one end");
    }
}

/// A server on `fuzz/www`, with one loader.
///
/// # Panics
/// When there is no such folder.
pub fn server(limits: Limits) -> Server {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/www");
    let mut options = Options::new(&folder);
    options.loaders = 1;
    options.limits = limits;
    let server = Server::new(options);
    server.unwrap_or_else(|error| unreachable!("the folder and the limits are valid: {error}"))
}

/// Waits until nothing is being loaded, so that an answer comes as soon as it is looked for. Asleep:
/// on a busy machine who yields waits for everybody, and so does the loader.
pub fn settle(server: &Server) {
    while server.is_loading() {
        std::thread::sleep(Duration::from_micros(10));
    }
}

thread_local! {
    /// For all inputs, each of which finds its cache empty.
    static SERVER: Server = server(Limits {
        head_octets: 2048,
        target_octets: 512,
        body_octets: 256,
        ..Limits::default()
    });
}

/// A whole connection. Before each piece two octets: its length in the low 12 bits; in the high
/// four the seconds before it, and all of them for the end of what the client sends.
///
/// # Panics
/// When the connection does, or answers what is no HTTP, or goes on for ever.
pub fn connection(data: &[u8]) {
    SERVER.with(|server| serve(server, data));
}

fn serve(server: &Server, data: &[u8]) {
    server.clear_cache();
    let timer = ManualTimer::default();
    let (client, stream) = duplex();
    let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);
    let mut connection = Box::pin(server.serve(stream, peer, timer.clone()));
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = || loop {
        let misses = server.stats().cache.misses;
        let over = connection.as_mut().poll(&mut cx).is_ready();
        if over || server.stats().cache.misses == misses {
            break over;
        }
        settle(server);
    };
    let mut over = false;
    let mut answers = Vec::new();
    let mut rest = data;
    for _ in 0..PIECES_MAX {
        let Some((&[high, low], behind)) = rest.split_first_chunk::<2>() else {
            break;
        };
        let len = usize::from(u16::from_be_bytes([high & 0x0f, low])).min(behind.len());
        let (octets, behind) = behind.split_at(len);
        rest = behind;
        timer.advance(Duration::from_secs(u64::from(high >> 4)));
        client.send(octets);
        if high >> 4 == 15 {
            client.half_close();
        }
        over = over || poll();
        answers.extend(client.receive());
    }
    client.half_close();
    // Every wait has an end.
    for _ in 0..16 {
        if over {
            break;
        }
        timer.advance(Duration::from_mins(2));
        over = poll();
        answers.extend(client.receive());
    }
    assert!(over, "the connection goes on for ever");
    assert!(
        answers.is_empty() || answers.starts_with(b"HTTP/1."),
        "{}",
        String::from_utf8_lossy(&answers)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let files = std::fs::read_dir(folder).unwrap();
        let inputs = files.map(|file| run(&std::fs::read(file.unwrap().path()).unwrap()));
        assert!(inputs.count() > 0, "{target}");
    }

    #[test]
    fn the_corpora_pass() {
        replay("http_head", head);
        replay("http_connection", connection);
    }
}
