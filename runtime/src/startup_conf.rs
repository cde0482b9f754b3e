//! VPP's command language, as an editor of [`Config`].
//!
//! A `startup.conf` is commands, one a line: `create host-interface name macvlan0`. The words a
//! command begins with may be abbreviated as in VPP (`set int state`). Blank lines are skipped; `#`
//! begins a comment where a word could begin, and `comment` makes one of the rest of its line or,
//! with braces, of everything up to the closing one. A word in double quotes may contain blanks.
//!
//! The same commands, by the same table ([`COMMANDS`]), are an operator's: [`tree`] parses,
//! completes and explains them, [`Command::apply`] edits a configuration.

mod apply;
mod commands;
mod http;
mod options;
mod print;
mod values;

use std::fmt;
use std::sync::LazyLock;

pub use commands::{COMMANDS, Command};

use crate::config::Config;
use crate::error::{ConfigError, LoadError, Place};
use crate::words::{Tree, Word};

/// Depth of braces in a `comment { }` at most; a deeper one is refused.
pub const COMMENT_DEPTH_MAX: usize = 16;

/// Something that was accepted without effect, or with another than the text may suggest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where.
    pub place: Place,
    /// What, in a sentence.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// The commands that edit a configuration.
pub fn tree() -> &'static Tree<Command> {
    static TREE: LazyLock<Tree<Command>> = LazyLock::new(|| Tree::new(COMMANDS));
    &TREE
}

/// The configuration that the commands in `text` make; `file` is its name in errors and notes.
///
/// # Errors
/// As [`edit`].
pub fn parse(text: &str, file: &str) -> Result<(Config, Vec<Note>), LoadError> {
    let mut config = Config::default();
    let notes = edit(&mut config, text, file)?;
    Ok((config, notes))
}

/// Applies the commands in `text` to `config`; `file` is its name in errors and notes. When any of
/// them fails, or the outcome is not valid, `config` stays as it was.
///
/// # Errors
/// A line that is no command, a command that cannot be applied, or a configuration that is not
/// valid in itself ([`Config::validate`]).
pub fn edit(config: &mut Config, text: &str, file: &str) -> Result<Vec<Note>, LoadError> {
    let mut edited = config.clone();
    let mut notes = Vec::new();
    let mut comment = Comment::default();
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        let parse_error = |column, message| LoadError::Parse {
            file: file.to_owned(),
            line: number,
            column,
            message,
        };
        if comment
            .skips(line, number)
            .map_err(|(column, message)| parse_error(column, message))?
        {
            continue;
        }
        let words = Word::split(line).map_err(|e| parse_error(e.column, e.to_string()))?;
        let Some(first) = words.first() else { continue };
        let parsed = tree()
            .parse(&words)
            .map_err(|e| parse_error(e.column, e.to_string()))?;
        let applied = parsed.command.apply(&mut edited).map_err(|error| {
            let column = error
                .subject()
                .and_then(|subject| column_of(&words, &subject));
            let position = Some((number, column.unwrap_or(first.column)));
            LoadError::Invalid {
                place: Some(Place {
                    file: file.to_owned(),
                    position,
                }),
                error,
            }
        })?;
        notes.extend(parsed.notes.into_iter().chain(applied).map(|text| Note {
            place: Place {
                file: file.to_owned(),
                position: Some((number, first.column)),
            },
            text,
        }));
    }
    if let Some(line) = comment.opened {
        return Err(LoadError::Parse {
            file: file.to_owned(),
            line,
            column: 1,
            message: "the braces of this comment are not closed; add a }".to_owned(),
        });
    }
    if let Err(error) = edited.validate() {
        return Err(LoadError::Invalid {
            place: Some(place_of(&error, text, file)),
            error,
        });
    }
    *config = edited;
    Ok(notes)
}

fn column_of(words: &[Word<'_>], subject: &str) -> Option<usize> {
    words
        .iter()
        .rev()
        .find(|word| word.text == subject)
        .map(|word| word.column)
}

/// A `comment` that extends over lines.
#[derive(Default)]
struct Comment {
    depth: usize,
    /// The line it began in.
    opened: Option<usize>,
}

impl Comment {
    /// Whether `line` belongs to a comment.
    fn skips(&mut self, line: &str, number: usize) -> Result<bool, (usize, String)> {
        if self.opened.is_none() {
            let Some(rest) = line.trim_start().strip_prefix("comment") else {
                return Ok(false);
            };
            if rest.starts_with(|c: char| !c.is_whitespace() && c != '{') {
                return Ok(false);
            }
            if !rest.trim_start().starts_with('{') {
                return Ok(true);
            }
            self.opened = Some(number);
        }
        for (at, c) in line.chars().enumerate() {
            match c {
                '{' if self.depth == COMMENT_DEPTH_MAX => {
                    return Err((at + 1, format!("more than {COMMENT_DEPTH_MAX} braces deep")));
                }
                '{' => self.depth += 1,
                '}' => self.depth = self.depth.saturating_sub(1),
                _ => continue,
            }
            if self.depth > 0 {
                continue;
            }
            self.opened = None;
            let rest: String = line.chars().skip(at + 1).collect();
            if !rest.trim().is_empty() {
                return Err((
                    at + 2,
                    "after the } of a comment the line must end".to_owned(),
                ));
            }
            return Ok(true);
        }
        Ok(true)
    }
}

/// Where in `text` the thing is named that `error` is about: its last mention outside comments.
pub(crate) fn place_of(error: &ConfigError, text: &str, file: &str) -> Place {
    let subject = error.subject().filter(|subject| !subject.is_empty());
    let position = subject.and_then(|subject| {
        let strict = |c: char| c.is_alphanumeric() || "./:-_".contains(c);
        let loose = |c: char| c.is_alphanumeric() || ".:-_".contains(c);
        mention(text, &subject, strict).or_else(|| mention(text, &subject, loose))
    });
    Place {
        file: file.to_owned(),
        position,
    }
}

/// Line and column of the last `subject` in `text` that no character of its own kind touches.
fn mention(text: &str, subject: &str, inside: fn(char) -> bool) -> Option<(usize, usize)> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with('#'));
    let places = lines.flat_map(|(number, line)| {
        line.match_indices(subject).filter_map(move |(at, _)| {
            let (before, after) = (&line[..at], &line[at + subject.len()..]);
            let alone = !before.ends_with(inside) && !after.starts_with(inside);
            alone.then(|| (number + 1, before.chars().count() + 1))
        })
    });
    places.last()
}

#[cfg(test)]
mod tests;
