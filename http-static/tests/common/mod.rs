//! A folder, a server and a client that speaks octets.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "each test file uses its part, and its helpers fail as tests do"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use http_static::testing::{Alarm, Client, ManualTimer, Stream, duplex};
use http_static::{Connection, Options, Server};

pub const PEER: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40_000);

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A folder that goes away with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("http-static-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("www")).unwrap();
        Self(path)
    }

    pub fn www(&self) -> PathBuf {
        self.0.join("www")
    }

    pub fn write(&self, path: &str, octets: impl AsRef<[u8]>) -> &Self {
        let path = self.www().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, octets).unwrap();
        self
    }

    pub fn server(&self) -> Server {
        self.server_with(|_| ())
    }

    pub fn server_with(&self, change: impl FnOnce(&mut Options)) -> Server {
        let mut options = Options::new(self.www());
        change(&mut options);
        Server::new(options).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A connection polled by hand.
pub struct Peer {
    pub client: Client,
    pub timer: ManualTimer,
    alarm: Arc<Alarm>,
    connection: Option<Pin<Box<Connection<Stream, ManualTimer>>>>,
}

impl Peer {
    pub fn new(server: &Server) -> Self {
        Self::with_timer(server, &ManualTimer::default())
    }

    pub fn with_timer(server: &Server, timer: &ManualTimer) -> Self {
        let (client, stream) = duplex();
        let connection = Box::pin(server.serve(stream, PEER, timer.clone()));
        let mut peer = Self {
            client,
            timer: timer.clone(),
            alarm: Arc::default(),
            connection: Some(connection),
        };
        peer.poll();
        peer
    }

    pub fn poll(&mut self) {
        if let Some(connection) = &mut self.connection {
            let waker = Waker::from(Arc::clone(&self.alarm));
            if connection
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {
                self.connection = None;
            }
        }
    }

    /// What the server says it was asked last.
    pub fn request(&self) -> String {
        let connection = self.connection.as_ref();
        connection
            .and_then(|connection| connection.request())
            .unwrap_or_default()
    }

    pub fn is_over(&self) -> bool {
        self.connection.is_none()
    }

    /// Polls whenever woken, until `done` or, after some seconds, never.
    pub fn poll_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..2000 {
            self.poll();
            if done(self) {
                return;
            }
            self.alarm.wait(Duration::from_millis(5));
        }
        panic!("nothing came");
    }

    /// Sends, and reads `count` responses.
    pub fn ask_many(&mut self, octets: impl AsRef<[u8]>, count: usize) -> Vec<Answer> {
        self.client.send(octets.as_ref());
        self.answers(count, false)
    }

    pub fn answers(&mut self, count: usize, to_head: bool) -> Vec<Answer> {
        let mut received = Vec::new();
        let mut answers = Vec::new();
        self.poll_until(|peer| {
            received.extend(peer.client.receive());
            while let Some((answer, len)) = Answer::parse(&received, to_head) {
                received.drain(..len);
                answers.push(answer);
            }
            answers.len() >= count
        });
        assert_eq!(answers.len(), count);
        assert!(
            received.is_empty(),
            "{}",
            String::from_utf8_lossy(&received)
        );
        answers
    }

    pub fn ask(&mut self, octets: impl AsRef<[u8]>) -> Answer {
        let octets = octets.as_ref();
        self.client.send(octets);
        self.answers(1, octets.starts_with(b"HEAD ")).remove(0)
    }

    pub fn get(&mut self, target: &str) -> Answer {
        self.ask(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    pub fn get_with(&mut self, target: &str, lines: &str) -> Answer {
        self.ask(format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"
        ))
    }

    /// Everything until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut received = Vec::new();
        self.poll_until(|peer| {
            received.extend(peer.client.receive());
            peer.is_over()
        });
        received
    }
}

pub struct Answer {
    pub status: u16,
    pub version: String,
    pub lines: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn parse(octets: &[u8], to_head: bool) -> Option<(Self, usize)> {
        let end = octets.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&octets[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap();
        let lines: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut answer = Self {
            status: status[9..12].parse().unwrap(),
            version: status[..8].to_owned(),
            lines,
            body: Vec::new(),
        };
        let bodiless = to_head || matches!(answer.status, 204 | 304);
        let len = match answer.line("content-length") {
            Some(len) if !bodiless => len.parse().unwrap(),
            _ => 0,
        };
        answer.body = octets.get(end + 4..end + 4 + len)?.to_vec();
        Some((answer, end + 4 + len))
    }

    pub fn line(&self, name: &str) -> Option<&str> {
        self.lines
            .iter()
            .find(|(line, _)| line == name)
            .map(|(_, value)| &**value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn closes(&self) -> bool {
        self.line("connection") == Some("close")
    }
}

pub fn www_file(folder: &Folder, path: &str) -> PathBuf {
    folder.www().join(Path::new(path))
}
