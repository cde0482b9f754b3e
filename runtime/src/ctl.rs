//! `dataplane ctl`: the operator's client. A command is sent and its answer printed; without one,
//! the terminal is joined to the socket and the server edits its lines.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};

use crate::cli::client::CTL_TERMINAL;
use crate::cli::listen::default_paths;
use crate::cli::telnet::{Event, IAC, IS, Parser, SB, SE, TTYPE};

/// What `ctl` could not do.
#[derive(Debug)]
#[non_exhaustive]
pub enum CtlError {
    /// Nobody answers at any of these paths.
    NoServer(Vec<PathBuf>, Option<io::Error>),
    /// The connection failed.
    Connection(io::Error),
}

impl fmt::Display for CtlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer(paths, _) => {
                let paths: Vec<String> = paths
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                write!(
                    f,
                    "no dataplane answers at {}; name its socket with -s",
                    paths.join(" or ")
                )
            }
            Self::Connection(_) => write!(f, "the connection to the dataplane failed"),
        }
    }
}

impl std::error::Error for CtlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoServer(_, error) => match error {
                Some(error) => Some(error),
                None => None,
            },
            Self::Connection(error) => Some(error),
        }
    }
}

/// Connects to `socket`, or where a server is by default.
///
/// # Errors
/// Nobody answers.
pub fn connect(socket: Option<&Path>) -> Result<UnixStream, CtlError> {
    let paths = socket.map_or_else(default_paths, |path| vec![path.to_owned()]);
    let mut last = None;
    for path in &paths {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(CtlError::NoServer(paths, last))
}

fn terminal_type(name: &str) -> Vec<u8> {
    let mut octets = vec![IAC, SB, TTYPE, IS];
    octets.extend(name.bytes());
    octets.extend([IAC, SE]);
    octets
}

/// Sends `command` and prints its answer; `false` when it failed.
///
/// # Errors
/// The connection's.
pub fn command(stream: &UnixStream, command: &str, out: &mut dyn Write) -> Result<bool, CtlError> {
    let mut request = terminal_type(CTL_TERMINAL);
    request.extend(command.replace(['\n', '\r', '\0'], " ").bytes());
    request.push(b'\n');
    let mut writer = stream;
    writer.write_all(&request).map_err(CtlError::Connection)?;
    answer(&mut BufReader::new(stream), out)
}

fn answer(from: &mut BufReader<&UnixStream>, out: &mut dyn Write) -> Result<bool, CtlError> {
    let mut text = Vec::new();
    from.read_until(0, &mut text)
        .map_err(CtlError::Connection)?;
    if text.pop() != Some(0) {
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed");
        return Err(CtlError::Connection(error));
    }
    let mut outcome = [0; 2];
    from.read_exact(&mut outcome)
        .map_err(CtlError::Connection)?;
    out.write_all(&text).map_err(CtlError::Connection)?;
    Ok(outcome == *b"0\n")
}

/// Each line of `input` as a command, until one fails; `false` when one did.
///
/// # Errors
/// The connection's.
pub fn lines(
    stream: &UnixStream,
    input: impl io::BufRead,
    out: &mut dyn Write,
) -> Result<bool, CtlError> {
    for line in input.lines() {
        let line = line.map_err(CtlError::Connection)?;
        if matches!(line.trim(), "quit" | "exit") {
            return Ok(true);
        }
        if !command(stream, &line, out)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The terminal's state, put back when dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::IEXTEN | LocalFlags::ISIG);
        termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// Joins the terminal to the socket until one of them ends.
///
/// # Errors
/// The connection's or the terminal's.
pub fn interactive(stream: &UnixStream) -> Result<(), CtlError> {
    let _raw = Raw::enter().map_err(CtlError::Connection)?;
    let term = std::env::var("TERM").unwrap_or_default();
    join(stream, &terminal_type(&term)).map_err(CtlError::Connection)
}

fn join(mut stream: &UnixStream, hello: &[u8]) -> io::Result<()> {
    stream.write_all(hello)?;
    let mut telnet = Parser::default();
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let keyboard = io::stdin();
        let mut fds = [
            PollFd::new(keyboard.as_fd(), PollFlags::POLLIN),
            PollFd::new(stream.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let [keys, server] = [ready(&fds[0]), ready(&fds[1])];
        let mut octets = [0; 4096];
        if server {
            let count = stream.read(&mut octets)?;
            if count == 0 {
                return Ok(());
            }
            let text: Vec<u8> = octets
                .iter()
                .take(count)
                .filter_map(|octet| match telnet.take(*octet) {
                    Some(Event::Octet(octet)) => Some(octet),
                    _ => None,
                })
                .collect();
            stdout.write_all(&text)?;
            stdout.flush()?;
        }
        if keys {
            let count = stdin.read(&mut octets)?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(octets.get(..count).unwrap_or(&[]))?;
        }
    }
}

/// Whether to read commands from a person.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}
