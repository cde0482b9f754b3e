//! Reading words one by one, remembering what could have stood there.

use std::fmt;

use super::Word;

/// Something that may stand at a place in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// A keyword (`up`), or the placeholder of a value (`<interface>`).
    pub text: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Whether this is the placeholder of a value.
    pub is_value: bool,
}

/// A kind of value.
#[derive(Debug)]
pub struct Kind<T> {
    /// The placeholder in help texts: `<interface>`.
    pub name: &'static str,
    /// What it is, after "expected": `an interface name such as host-macvlan0`.
    pub what: &'static str,
    /// The value of a word, or the end of a sentence that says why it has none.
    pub parse: fn(&str) -> Result<T, String>,
}

/// Reading stopped: the cursor knows where and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub(super) reason: Option<String>,
    /// The whole message, when "expected ..." does not say it.
    pub(super) message: Option<String>,
}

/// Reads a line word by word and remembers what could have stood at the current word.
#[derive(Debug)]
pub struct Cursor<'w, 'l> {
    words: &'w [Word<'l>],
    pub(super) at: usize,
    pub(super) expected: Vec<Expected>,
    pub(super) notes: Vec<String>,
}

impl<'w, 'l> Cursor<'w, 'l> {
    /// A cursor before the first of `words`.
    pub fn new(words: &'w [Word<'l>]) -> Self {
        Self {
            words,
            at: 0,
            expected: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn peek(&self) -> Option<&'w str> {
        self.words.get(self.at).map(|word| &*word.text)
    }

    fn consume(&mut self) {
        self.at += 1;
        self.expected.clear();
    }

    fn expect(&mut self, text: &'static str, help: &'static str, is_value: bool) {
        if !self.expected.iter().any(|known| known.text == text) {
            self.expected.push(Expected {
                text,
                help,
                is_value,
            });
        }
    }

    /// Takes `word` if it is next.
    pub fn keyword(&mut self, word: &'static str, help: &'static str) -> bool {
        self.choice(&[(word, help, ())]).is_some()
    }

    /// Takes whichever of `choices` is next. Those without a help text are taken and not told.
    pub fn choice<T: Copy>(&mut self, choices: &[(&'static str, &'static str, T)]) -> Option<T> {
        for (word, help, _) in choices.iter().filter(|(_, help, _)| !help.is_empty()) {
            self.expect(word, help, false);
        }
        let next = self.peek()?;
        let (_, _, value) = choices.iter().find(|(word, _, _)| *word == next)?;
        self.consume();
        Some(*value)
    }

    /// Takes one of `choices`, which must be next.
    ///
    /// # Errors
    /// None of them is.
    pub fn one_of<T: Copy>(
        &mut self,
        choices: &[(&'static str, &'static str, T)],
    ) -> Result<T, Stop> {
        self.choice(choices).ok_or_else(|| self.stop())
    }

    /// Takes a value, which must be next.
    ///
    /// # Errors
    /// There is no word, or it is not such a value.
    pub fn value<T>(&mut self, kind: &Kind<T>) -> Result<T, Stop> {
        self.expect(kind.name, kind.what, true);
        let Some(word) = self.peek() else {
            return Err(self.stop());
        };
        let value = (kind.parse)(word).map_err(|reason| Stop {
            reason: Some(reason),
            message: None,
        })?;
        self.consume();
        Ok(value)
    }

    /// Takes a value if there is a word.
    ///
    /// # Errors
    /// The word is not such a value.
    pub fn optional<T>(&mut self, kind: &Kind<T>) -> Result<Option<T>, Stop> {
        if self.peek().is_none() {
            self.expect(kind.name, kind.what, true);
            return Ok(None);
        }
        self.value(kind).map(Some)
    }

    /// Takes `word` if it is next, without telling that it could be.
    pub fn skip(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(word);
        if is_next {
            self.consume();
        }
        is_next
    }

    /// Requires that no words are left.
    ///
    /// # Errors
    /// There are.
    pub fn end(&mut self) -> Result<(), Stop> {
        if self.peek().is_none() {
            return Ok(());
        }
        self.expect("<end>", "the end", true);
        Err(self.stop())
    }

    /// Stops here: what was asked for at this word is not there.
    pub fn stop(&self) -> Stop {
        Stop {
            reason: None,
            message: None,
        }
    }

    /// Stops because `what` was not said; at the end of the line there is no more to tell.
    pub fn missing(&self, what: &str) -> Stop {
        let message = self.peek().is_none().then(|| format!("{what} is missing"));
        Stop {
            reason: None,
            message,
        }
    }

    /// Stops with `message`, about the word before the current one.
    pub fn refuse(&mut self, message: impl Into<String>) -> Stop {
        self.at = self.at.saturating_sub(1);
        Stop {
            reason: None,
            message: Some(message.into()),
        }
    }

    /// Remembers that what was just read is accepted without effect, and why.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Puts a stop into words.
    pub fn explain(&self, stop: Stop) -> SyntaxError {
        let word = self.words.get(self.at);
        let column = match (word, self.words.last()) {
            (Some(word), _) => word.column,
            // One blank after the last word.
            (None, Some(last)) => last.column + last.text.chars().count() + 1,
            (None, None) => 1,
        };
        let message = stop.message.unwrap_or_else(|| {
            unexpected(
                &self.expected,
                word.map(|word| &*word.text),
                stop.reason.as_deref(),
            )
        });
        SyntaxError {
            column,
            expected: self.expected.clone(),
            message,
        }
    }
}

/// A line that is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What could have stood there; empty when that is not the matter.
    pub expected: Vec<Expected>,
    /// What is wrong.
    pub message: String,
}

impl SyntaxError {
    pub(super) fn plain(column: usize, message: String) -> Self {
        Self {
            column,
            expected: Vec::new(),
            message,
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// `expected up or down, found "upp"`.
fn unexpected(expected: &[Expected], found: Option<&str>, reason: Option<&str>) -> String {
    let mut list = String::new();
    for (at, item) in expected.iter().enumerate() {
        list += match at {
            0 => "",
            _ if at + 1 == expected.len() => " or ",
            _ => ", ",
        };
        list += if item.is_value { item.help } else { item.text };
    }
    let found = match found {
        Some(found) => format!("{:?}", Shortened(found)),
        None => "the end".to_owned(),
    };
    match reason {
        Some(reason) => format!("expected {list}, found {found}: {reason}"),
        None => format!("expected {list}, found {found}"),
    }
}

impl std::error::Error for SyntaxError {}

/// A word as it appears in a message: escaped, and cut where nobody would read on.
struct Shortened<'t>(&'t str);

impl fmt::Debug for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 64;
        match self.0.char_indices().nth(SHOWN_MAX) {
            Some((cut, _)) => write!(f, "{:?}...", &self.0[..cut]),
            None => write!(f, "{:?}", self.0),
        }
    }
}
