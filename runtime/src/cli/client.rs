//! One connection of an operator, as octets in and octets out.
//!
//! Who connects is told by what comes first. A client that sends a line gets plain text back. One
//! that waits is asked telnet's questions, as VPP asks them: a terminal gets a prompt, echo and
//! editing; VPP's client with a command (`vppctl show version`) says that it is no terminal, and
//! gets a NUL behind each answer, which it waits for. Our own client says that it is one too, and
//! gets the outcome behind the NUL.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::editor::{Editor, Key, LINE_MAX, PROMPT};
use super::operator::Reply;
use super::telnet::{Event, NEGOTIATION, Parser};

/// How long a client may be silent before it is asked whether it speaks telnet.
pub const ASK_AFTER: Duration = Duration::from_millis(50);

/// Commands a client may have waiting; nothing more is read from it then.
pub const WAITING_MAX: usize = 16;

/// Octets of answers a client may leave unread before its next command is looked at.
pub const UNREAD_MAX: usize = 64 << 10;

/// The terminal type by which our own client asks for outcomes.
pub const CTL_TERMINAL: &str = "dataplane-ctl";

/// The terminal type of VPP's client when it is given a command.
const VPPCTL_TERMINAL: &str = "vppctl";

const BANNER: &str = "dataplane: VPP's commands; ? explains, tab completes, quit leaves\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing came yet.
    Silent,
    /// It was asked.
    Asked,
    /// Lines in, text out.
    Plain,
    /// The same with a NUL behind each answer.
    Acknowledged,
    /// The same with the outcome behind the NUL.
    Framed,
    /// A terminal.
    Terminal,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    since: Instant,
    mode: Mode,
    telnet: Parser,
    editor: Editor,
    line: Vec<u8>,
    waiting: VecDeque<String>,
    out: Vec<u8>,
    /// A command was taken and is not answered.
    busy: bool,
    interrupted: bool,
    /// Nothing more is taken; the connection ends when all is sent.
    closing: bool,
}

impl Client {
    /// Somebody connected at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            mode: Mode::Silent,
            telnet: Parser::default(),
            editor: Editor::default(),
            line: Vec::new(),
            waiting: VecDeque::new(),
            out: Vec::new(),
            busy: false,
            interrupted: false,
            closing: false,
        }
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        (self.mode == Mode::Silent).then(|| self.since + ASK_AFTER)
    }

    /// Time passes.
    pub fn tick(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.ask();
        }
    }

    fn ask(&mut self) {
        self.mode = Mode::Asked;
        self.out.extend(NEGOTIATION);
    }

    /// Takes octets from the client.
    pub fn receive(&mut self, octets: &[u8]) {
        for octet in octets {
            if self.closing {
                return;
            }
            match self.telnet.take(*octet) {
                Some(Event::Octet(octet)) => self.octet(octet),
                Some(Event::TerminalType(name)) => self.terminal(&name),
                Some(Event::NoTerminalType) => self.terminal("dumb"),
                Some(Event::WindowSize(..)) | None => {}
            }
        }
    }

    /// The client sends no more.
    pub fn end_of_input(&mut self) {
        if self.mode != Mode::Terminal && !self.line.is_empty() {
            self.octet(b'\n');
        }
        if self.waiting.is_empty() {
            self.closing = true;
        } else {
            self.waiting.push_back("quit".to_owned());
        }
    }

    fn terminal(&mut self, name: &str) {
        match (self.mode, name) {
            (Mode::Silent | Mode::Asked, CTL_TERMINAL) => self.mode = Mode::Framed,
            (Mode::Silent | Mode::Asked, VPPCTL_TERMINAL) => self.mode = Mode::Acknowledged,
            (Mode::Silent | Mode::Asked, name) => {
                if self.mode == Mode::Silent {
                    self.out.extend(NEGOTIATION);
                }
                self.mode = Mode::Terminal;
                self.editor.ansi = !matches!(name, "" | "dumb" | "unknown" | "network");
                self.out.extend(BANNER.as_bytes());
                self.out.extend(PROMPT.as_bytes());
            }
            _ => {} // said before
        }
    }

    fn octet(&mut self, octet: u8) {
        if self.mode == Mode::Terminal {
            if self.busy {
                self.interrupted = true; // any key, as in VPP
                return;
            }
            match self.editor.take(octet, &mut self.out) {
                Some(Key::Line(line)) => self.waiting.push_back(line),
                Some(Key::End) => self.waiting.push_back("quit".to_owned()),
                None => {}
            }
            return;
        }
        if matches!(self.mode, Mode::Silent | Mode::Asked) {
            self.mode = Mode::Plain;
        }
        match octet {
            b'\n' => {
                let line = std::mem::take(&mut self.line);
                self.waiting
                    .push_back(String::from_utf8_lossy(&line).into_owned());
            }
            0 | b'\r' => {}
            _ if self.line.len() >= LINE_MAX => {
                self.out
                    .extend(format!("a line is longer than {LINE_MAX} octets\n").as_bytes());
                self.waiting.clear();
                self.closing = true;
            }
            octet => self.line.push(octet),
        }
    }

    /// Whether to read from it now.
    pub fn wants_input(&self) -> bool {
        !self.closing && self.waiting.len() < WAITING_MAX
    }

    /// Whether a command can be taken now.
    pub fn has_command(&self) -> bool {
        !self.closing && !self.waiting.is_empty() && self.out.len() < UNREAD_MAX
    }

    /// The next command, to be answered by [`Self::reply`] before another is taken.
    pub fn next_command(&mut self) -> Option<String> {
        if !self.has_command() {
            return None;
        }
        self.busy = true;
        self.waiting.pop_front()
    }

    /// Whether a terminal wants its command to end.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Part of an answer, while its command goes on.
    pub fn print(&mut self, text: &str) {
        if self.mode == Mode::Terminal {
            self.out.extend(text.replace('\n', "\r\n").as_bytes());
        } else {
            self.out.extend(text.as_bytes());
        }
    }

    /// The answer to the command taken last, or its end.
    pub fn reply(&mut self, reply: &Reply) {
        (self.busy, self.interrupted) = (false, false);
        self.print(&reply.text);
        match self.mode {
            Mode::Terminal if !reply.quit => self.out.extend(PROMPT.as_bytes()),
            Mode::Acknowledged => self.out.push(0),
            Mode::Framed => {
                let outcome = if reply.failed { b'1' } else { b'0' };
                self.out.extend([0, outcome, b'\n']);
            }
            _ => {}
        }
        if reply.quit {
            self.closing = true;
        }
    }

    /// What is to be sent.
    pub fn output(&self) -> &[u8] {
        &self.out
    }

    /// The first `count` octets of [`Self::output`] were sent.
    pub fn sent(&mut self, count: usize) {
        self.out.drain(..count.min(self.out.len()));
        if self.out.is_empty() && self.out.capacity() > UNREAD_MAX {
            self.out = Vec::new();
        }
    }

    /// Whether the connection is over.
    pub fn is_over(&self) -> bool {
        self.closing && self.out.is_empty()
    }
}

#[cfg(test)]
mod tests;
