//! What a person at the client would do: `ping` and `curl`, with the kernel's stack.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Step as _, WiringError};
use crate::netns::Netns;

/// Octets of a response head that are accepted.
pub const HEAD_MAX: usize = 64 * 1024;

/// Payload of an ordinary ping, octets.
pub const PING_SIZE: usize = 56;

/// Sends `count` echo requests, one after the other, and returns the round-trip time of each.
///
/// # Errors
/// The first that is not answered within `timeout`, or not with the octets that were sent.
pub fn ping(
    namespace: &Netns,
    address: Ipv4Addr,
    count: u16,
    size: usize,
    timeout: Duration,
) -> Result<Vec<Duration>, WiringError> {
    ping_every(namespace, address, count, size, timeout, Duration::ZERO)
}

/// As [`ping`], with `interval` between an answer and the next request.
///
/// # Errors
/// Those of [`ping`].
pub fn ping_every(
    namespace: &Netns,
    address: Ipv4Addr,
    count: u16,
    size: usize,
    timeout: Duration,
    interval: Duration,
) -> Result<Vec<Duration>, WiringError> {
    let work = || -> io::Result<Vec<Duration>> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4))?;
        socket.connect(&SocketAddr::V4(SocketAddrV4::new(address, 0)).into())?;
        (1..=count)
            .map(|sequence| {
                thread::sleep(interval);
                echo(&socket, sequence, size, timeout)
            })
            .collect()
    };
    namespace
        .run(work)
        .and_then(|done| done)
        .step(|| format!("pinging {address}"))
}

fn echo(socket: &Socket, sequence: u16, size: usize, timeout: Duration) -> io::Result<Duration> {
    const REQUEST: u8 = 8;
    const REPLY: u8 = 0;
    let [high, low] = sequence.to_be_bytes();
    // The kernel fills in the identifier and the checksum.
    let mut request = vec![REQUEST, 0, 0, 0, 0, 0, high, low];
    request.extend((0..size).map(|at| u8::try_from(at % 251).unwrap_or(0)));
    let start = Instant::now();
    (&*socket).write_all(&request)?;
    let mut answer = vec![0; request.len() + 1];
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer to echo request {sequence} within {timeout:?}"),
            ));
        }
        socket.set_read_timeout(Some(left))?;
        let length = match (&*socket).read(&mut answer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let elapsed = start.elapsed();
        let Some([kind, _, _, _, _, _, a, b, payload @ ..]) = answer.get(..length) else {
            continue;
        };
        if (*kind, *a, *b) != (REPLY, high, low) {
            continue; // a late answer to an earlier request
        }
        if Some(payload) != request.get(8..) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer does not carry the octets that were sent",
            ));
        }
        return Ok(elapsed);
    }
}

/// Connects from `namespace`.
///
/// # Errors
/// Refused, or not answered within `timeout`.
pub fn connect(
    namespace: &Netns,
    to: SocketAddrV4,
    timeout: Duration,
) -> Result<TcpStream, WiringError> {
    namespace
        .run(|| {
            let stream = TcpStream::connect_timeout(&to.into(), timeout)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
        .and_then(|stream| stream)
        .step(|| format!("connecting to {to}"))
}

/// An HTTP response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// As in `200`.
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header called `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(its, _)| its == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the server keeps the connection.
    pub fn keeps_alive(&self) -> bool {
        !self
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A connection that carries requests one after the other.
#[derive(Debug)]
pub struct Http {
    stream: BufReader<TcpStream>,
    host: Ipv4Addr,
}

impl Http {
    /// Opens a connection from `namespace`.
    ///
    /// # Errors
    /// Refused, or not answered within `timeout`, which also bounds each later read.
    pub fn connect(
        namespace: &Netns,
        to: SocketAddrV4,
        timeout: Duration,
    ) -> Result<Self, WiringError> {
        let stream = BufReader::new(connect(namespace, to, timeout)?);
        Ok(Self {
            stream,
            host: *to.ip(),
        })
    }

    /// The connection underneath.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Asks for `path` with `GET` and the given headers.
    ///
    /// # Errors
    /// The connection broke, or what came is not HTTP/1.
    pub fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
        self.request("GET", path, headers)
    }

    /// Sends a request without a body and reads the answer.
    ///
    /// # Errors
    /// The connection broke, or what came is not HTTP/1.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Response> {
        self.send(method, path, headers)?;
        self.read_response(method == "HEAD")
    }

    /// Asks for `path` with `GET` and hands the body to `into` as it comes; the response that is
    /// returned has none.
    ///
    /// # Errors
    /// The connection broke, what came is not HTTP/1, or `into` takes no more.
    pub fn download(&mut self, path: &str, into: &mut dyn Write) -> io::Result<Response> {
        self.send("GET", path, &[])?;
        let mut budget = HEAD_MAX;
        let response = self.head(&mut budget)?;
        self.body(&response, &mut budget, into)?;
        Ok(response)
    }

    /// Sends a request without a body and does not wait for the answer.
    ///
    /// # Errors
    /// The connection broke.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in headers {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        }
        head.push_str("\r\n");
        self.stream.get_mut().write_all(head.as_bytes())
    }

    /// Reads one response; `bare` when it answers a HEAD request.
    ///
    /// # Errors
    /// The connection broke, or what came is not HTTP/1.
    pub fn read_response(&mut self, bare: bool) -> io::Result<Response> {
        let mut budget = HEAD_MAX;
        let mut response = self.head(&mut budget)?;
        if !bare && response.status != 304 && response.status != 204 {
            let mut body = Vec::new();
            self.body(&response, &mut budget, &mut body)?;
            response.body = body;
        }
        Ok(response)
    }

    fn head(&mut self, budget: &mut usize) -> io::Result<Response> {
        let first = self.line(budget)?;
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| malformed(&format!("status line {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line(budget)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| malformed(&format!("header {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Response {
            status,
            headers,
            body: Vec::new(),
        })
    }

    fn body(
        &mut self,
        response: &Response,
        budget: &mut usize,
        into: &mut dyn Write,
    ) -> io::Result<()> {
        if let Some(length) = response.header("content-length") {
            let length = length.parse().map_err(|_| malformed("content-length"))?;
            self.exactly(length, into)?;
        } else if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let line = self.line(budget)?;
                let length =
                    u64::from_str_radix(&line, 16).map_err(|_| malformed("chunk length"))?;
                self.exactly(length, into)?;
                self.line(budget)?;
                if length == 0 {
                    break;
                }
            }
        } else {
            io::copy(&mut self.stream, into)?;
        }
        Ok(())
    }

    fn exactly(&mut self, length: u64, into: &mut dyn Write) -> io::Result<()> {
        if io::copy(&mut self.stream.by_ref().take(length), into)? == length {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn line(&mut self, budget: &mut usize) -> io::Result<String> {
        let mut line = String::new();
        let length = self
            .stream
            .by_ref()
            .take(*budget as u64)
            .read_line(&mut line)?;
        *budget -= length;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None if length == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            None => Err(malformed(&format!("line {line:?}"))),
        }
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP/1: {what}"))
}

/// Asks for one page on a connection of its own, as `curl` does.
///
/// # Errors
/// Not connected or not answered within `timeout`.
pub fn http_get(
    namespace: &Netns,
    to: SocketAddrV4,
    path: &str,
    timeout: Duration,
) -> Result<Response, WiringError> {
    Http::connect(namespace, to, timeout)?
        .get(path, &[])
        .step(|| format!("fetching http://{to}{path}"))
}
