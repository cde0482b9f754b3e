//! VPP's process configuration (`vpp.conf`), so that one written for VPP starts the server.
//!
//! Sections with braces: `unix { nodaemon cli-listen PATH startup-config FILE } plugins { ... }`.
//! `startup-config` and `cli-listen` are taken; the rest concerns parts of VPP that do not exist
//! here and is noted. `#` begins a comment.

use std::path::PathBuf;

use crate::error::{LoadError, Place};
use crate::startup_conf::Note;

/// Depth of braces at most; a deeper file is refused.
pub const DEPTH_MAX: usize = 16;

/// What a `vpp.conf` says that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VppConf {
    /// The file with the commands that configure the interfaces.
    pub startup_config: Option<PathBuf>,
    /// The operator socket.
    pub cli_listen: Option<PathBuf>,
    /// What has no effect, or another than in VPP.
    pub notes: Vec<Note>,
}

/// Keys of the `unix` section that have a value and no effect here.
const UNIX_VALUES: &[&str] = &[
    "cli-history-limit",
    "cli-pager-buffer-limit",
    "cli-prompt",
    "coredump-size",
    "gid",
    "log",
    "pidfile",
    "poll-sleep-usec",
    "runtime-dir",
];

/// Keys of the `unix` section that say what is so anyway: we stay in the foreground, and log to
/// standard error.
const UNIX_GRANTED: &[&str] = &["nodaemon", "nosyslog", "nobanner", "cli-no-banner"];

#[derive(Clone, Copy, Debug)]
struct Token<'t> {
    text: &'t str,
    line: usize,
    column: usize,
}

struct Reader<'t> {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token<'t>>>,
    file: &'t str,
    conf: VppConf,
}

/// Reads a `vpp.conf`; `file` is its name in errors and notes.
///
/// # Errors
/// Braces that do not match or are too deep, a key without its value, or an operator socket that is
/// a TCP port.
pub fn parse(text: &str, file: &str) -> Result<VppConf, LoadError> {
    let tokens = tokens(text).into_iter().peekable();
    let mut reader = Reader {
        tokens,
        file,
        conf: VppConf::default(),
    };
    while let Some(name) = reader.tokens.next() {
        if matches!(name.text, "{" | "}") {
            let message = format!("expected the name of a section, found {:?}", name.text);
            return Err(reader.error(name, message));
        }
        match reader.tokens.next_if(|token| token.text == "{") {
            Some(open) if name.text == "unix" => reader.unix(open)?,
            Some(open) => {
                reader.skip_section(open)?;
                reader.note(name, format!("section {} is not needed here", name.text));
            }
            None => {
                let message = format!("expected {{ after the section name {:?}", name.text);
                return Err(reader.error(name, message));
            }
        }
    }
    Ok(reader.conf)
}

impl<'t> Reader<'t> {
    fn error(&self, at: Token<'_>, message: String) -> LoadError {
        let (line, column) = (at.line, at.column);
        LoadError::Parse {
            file: self.file.to_owned(),
            line,
            column,
            message,
        }
    }

    fn note(&mut self, at: Token<'_>, text: String) {
        let place = Place {
            file: self.file.to_owned(),
            position: Some((at.line, at.column)),
        };
        self.conf.notes.push(Note { place, text });
    }

    fn value(&mut self, key: Token<'_>) -> Result<Token<'t>, LoadError> {
        match self
            .tokens
            .next_if(|token| !matches!(token.text, "{" | "}"))
        {
            Some(value) => Ok(value),
            None => Err(self.error(key, format!("{} needs a value", key.text))),
        }
    }

    fn unix(&mut self, open: Token<'t>) -> Result<(), LoadError> {
        while let Some(key) = self.tokens.next() {
            match key.text {
                "}" => return Ok(()),
                "{" => return Err(self.error(key, "expected a key, found \"{\"".to_owned())),
                "startup-config" | "exec" => {
                    let value = self.value(key)?;
                    if self
                        .conf
                        .startup_config
                        .replace(value.text.into())
                        .is_some()
                    {
                        let message = "a second startup-config; give one".to_owned();
                        return Err(self.error(key, message));
                    }
                }
                "cli-listen" => {
                    let value = self.value(key)?;
                    if !value.text.contains('/') {
                        return Err(self.error(value, tcp_refused(value.text)));
                    }
                    self.conf.cli_listen = Some(value.text.into());
                }
                granted if UNIX_GRANTED.contains(&granted) => {}
                valued if UNIX_VALUES.contains(&valued) => {
                    let value = self.value(key)?.text;
                    self.note(
                        key,
                        format!("unix {{ {valued} {value} }} is not needed here"),
                    );
                }
                other => self.note(key, format!("unix {{ {other} }} is not needed here")),
            }
        }
        Err(self.error(open, "this { is not closed; add a }".to_owned()))
    }

    /// Skips to the brace that closes `open`.
    fn skip_section(&mut self, open: Token<'t>) -> Result<(), LoadError> {
        let mut depth = 1;
        while let Some(token) = self.tokens.next() {
            match token.text {
                "{" if depth == DEPTH_MAX => {
                    return Err(self.error(token, format!("more than {DEPTH_MAX} braces deep")));
                }
                "{" => depth += 1,
                "}" if depth == 1 => return Ok(()),
                "}" => depth -= 1,
                _ => {}
            }
        }
        Err(self.error(open, "this { is not closed; add a }".to_owned()))
    }
}

fn tcp_refused(address: &str) -> String {
    format!(
        "cli-listen {address}: a TCP port is open to every user of the host; give the path of a \
         socket, such as /run/vpp/cli.sock"
    )
}

/// Words and braces. A brace need not stand alone.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut rest = line;
        loop {
            rest = rest.trim_start();
            if rest.is_empty() || rest.starts_with('#') {
                break;
            }
            let ends = |c: char| c.is_whitespace() || matches!(c, '{' | '}');
            // A brace is a token of its own.
            let length = rest.find(ends).unwrap_or(rest.len()).max(1);
            let column = line[..line.len() - rest.len()].chars().count() + 1;
            tokens.push(Token {
                text: &rest[..length],
                line: at + 1,
                column,
            });
            rest = &rest[length..];
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEED: &str = "\
unix {
  nodaemon cli-listen /run/vpp/cli-vpp1.sock
  startup-config /conf/startup.conf
}
api-segment { prefix vpp1 }
plugins { plugin dpdk_plugin.so { disable } }
";

    fn why(text: &str) -> String {
        parse(text, "vpp.conf").expect_err("refused").to_string()
    }

    #[test]
    fn the_proof_of_concepts_file_is_read() {
        let conf = parse(SEED, "vpp.conf").expect("valid");
        assert_eq!(conf.startup_config, Some("/conf/startup.conf".into()));
        assert_eq!(conf.cli_listen, Some("/run/vpp/cli-vpp1.sock".into()));
        let notes: Vec<_> = conf.notes.iter().map(ToString::to_string).collect();
        assert_eq!(
            notes,
            [
                "vpp.conf:5:1: section api-segment is not needed here",
                "vpp.conf:6:1: section plugins is not needed here",
            ]
        );
    }

    #[test]
    fn braces_need_no_blanks_and_comments_are_skipped() {
        let conf = parse("unix{startup-config a.conf}# the end {\n", "f").expect("valid");
        assert_eq!(conf.startup_config, Some("a.conf".into()));
        assert_eq!(conf.notes, []);
    }

    #[test]
    fn what_has_no_effect_is_noted() {
        let conf = parse("unix { log /tmp/l full-coredump }", "f").expect("valid");
        let notes: Vec<_> = conf.notes.iter().map(|note| &*note.text).collect();
        assert_eq!(
            notes,
            [
                "unix { log /tmp/l } is not needed here",
                "unix { full-coredump } is not needed here"
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert_eq!(
            why("unix {\n nodaemon"),
            "vpp.conf:1:6: this { is not closed; add a }"
        );
        assert_eq!(
            why("}"),
            "vpp.conf:1:1: expected the name of a section, found \"}\""
        );
        assert_eq!(
            why("unix"),
            "vpp.conf:1:1: expected { after the section name \"unix\""
        );
        assert_eq!(
            why("unix { cli-listen }"),
            "vpp.conf:1:8: cli-listen needs a value"
        );
        assert_eq!(
            why("unix { cli-listen localhost:5002 }"),
            "vpp.conf:1:19: cli-listen localhost:5002: a TCP port is open to every user of the \
             host; give the path of a socket, such as /run/vpp/cli.sock"
        );
        let deep = format!("plugins {}", "{ ".repeat(DEPTH_MAX + 1));
        assert_eq!(why(&deep), "vpp.conf:1:41: more than 16 braces deep");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z{}#\\- /\n\té]{0,200}") {
            let _ = parse(&text, "f");
        }
    }
}
