//! The little of telnet that VPP's client speaks: options, terminal type, window size.
//!
//! Spec: RFC 854 (commands), RFC 1091 (terminal type), RFC 1073 (window size).
#![warn(clippy::indexing_slicing, reason = "octets come from anybody")]

/// Interpret as command.
pub const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
/// Subnegotiation begins.
pub const SB: u8 = 250;
/// Interrupt process: what a client makes of ^C.
const IP: u8 = 244;
/// Subnegotiation ends.
pub const SE: u8 = 240;

const ECHO: u8 = 1;
const SUPPRESS_GO_AHEAD: u8 = 3;
/// Terminal type.
pub const TTYPE: u8 = 24;
/// Window size.
pub const NAWS: u8 = 31;
const LINEMODE: u8 = 34;

/// "Here it is", in a subnegotiation.
pub const IS: u8 = 0;
const SEND: u8 = 1;

/// What we ask of a client that may speak telnet: single characters that we echo, its terminal's
/// type and size. VPP's client reads a hundred octets at a time and takes requests that are cut for
/// whole, so this has to stay shorter.
pub const NEGOTIATION: &[u8] = &[
    IAC,
    WONT,
    LINEMODE,
    IAC,
    DONT,
    LINEMODE,
    IAC,
    WILL,
    SUPPRESS_GO_AHEAD,
    IAC,
    DO,
    SUPPRESS_GO_AHEAD,
    IAC,
    WILL,
    ECHO,
    IAC,
    DONT,
    ECHO,
    IAC,
    DO,
    TTYPE,
    IAC,
    SB,
    TTYPE,
    SEND,
    IAC,
    SE,
    IAC,
    DO,
    NAWS,
    IAC,
    SB,
    NAWS,
    SEND,
    IAC,
    SE,
];

/// Octets of a subnegotiation that are kept; what is longer is cut.
pub const SUBNEGOTIATION_MAX: usize = 64;

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An octet of text.
    Octet(u8),
    /// Its terminal's type, in lower case.
    TerminalType(String),
    /// It will not tell its terminal's type.
    NoTerminalType,
    /// Its window: columns and rows.
    WindowSize(u16, u16),
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Text,
    Command,
    Option(u8),
    Subnegotiation,
    /// After IAC in one.
    SubnegotiationCommand,
}

/// Takes telnet's commands out of a stream of octets, however it is cut.
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    sub: Vec<u8>,
}

impl Parser {
    /// Takes one octet.
    pub fn take(&mut self, octet: u8) -> Option<Event> {
        let (state, event) = match (self.state, octet) {
            (State::Text, IAC) => (State::Command, None),
            (State::Text, octet) => (State::Text, Some(Event::Octet(octet))),
            (State::Command, IAC) => (State::Text, Some(Event::Octet(IAC))),
            (State::Command, SB) => {
                self.sub.clear();
                (State::Subnegotiation, None)
            }
            (State::Command, DO | DONT | WILL | WONT) => (State::Option(octet), None),
            (State::Command, IP) => (State::Text, Some(Event::Octet(0x03))),
            (State::Option(WONT), TTYPE) => (State::Text, Some(Event::NoTerminalType)),
            (State::Command | State::Option(_), _) => (State::Text, None),
            (State::Subnegotiation, IAC) => (State::SubnegotiationCommand, None),
            (State::Subnegotiation, octet) | (State::SubnegotiationCommand, octet @ IAC) => {
                if self.sub.len() < SUBNEGOTIATION_MAX {
                    self.sub.push(octet);
                }
                (State::Subnegotiation, None)
            }
            (State::SubnegotiationCommand, _) => (State::Text, self.subnegotiated()),
        };
        self.state = state;
        event
    }

    fn subnegotiated(&self) -> Option<Event> {
        match *self.sub.as_slice() {
            [TTYPE, IS, ref name @ ..] => {
                let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                Some(Event::TerminalType(name))
            }
            [NAWS, w1, w2, h1, h2] => Some(Event::WindowSize(
                u16::from_be_bytes([w1, w2]),
                u16::from_be_bytes([h1, h2]),
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(octets: &[u8]) -> Vec<Event> {
        let mut parser = Parser::default();
        octets
            .iter()
            .filter_map(|octet| parser.take(*octet))
            .collect()
    }

    #[test]
    fn the_request_fits_what_vppctl_reads_at_once() {
        assert!(NEGOTIATION.len() < 100);
    }

    #[test]
    fn type_and_size_are_heard_between_text() {
        let octets = [
            b"a".as_slice(),
            &[IAC, SB, TTYPE, IS],
            b"XTERM",
            &[IAC, SE, IAC, WILL, NAWS],
            &[IAC, SB, NAWS, 0, 132, 0, 43, IAC, SE],
            b"b",
        ]
        .concat();
        assert_eq!(
            events(&octets),
            [
                Event::Octet(b'a'),
                Event::TerminalType("xterm".into()),
                Event::WindowSize(132, 43),
                Event::Octet(b'b'),
            ]
        );
    }

    #[test]
    fn a_doubled_iac_is_an_octet_and_an_endless_subnegotiation_is_cut() {
        assert_eq!(events(&[IAC, IAC]), [Event::Octet(IAC)]);
        let mut octets = vec![IAC, SB, TTYPE, IS];
        octets.extend([b'x'; 10_000]);
        octets.extend([IAC, SE]);
        let name = "x".repeat(SUBNEGOTIATION_MAX - 2);
        assert_eq!(events(&octets), [Event::TerminalType(name)]);
    }

    proptest! {
        #[test]
        fn any_octets_are_read(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = events(&octets);
        }
    }
}
