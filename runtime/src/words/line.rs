//! A line as words.

use std::borrow::Cow;

use super::SyntaxError;

/// Words a line holds at most; longer lines are refused.
pub const WORDS_MAX: usize = 128;

/// A word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word<'l> {
    /// The word without its quotes.
    pub text: Cow<'l, str>,
    /// Where it begins: characters from the start of the line, from 1.
    pub column: usize,
}

impl<'l> Word<'l> {
    /// Splits a line at blanks, up to a word that begins with `#`. A word that begins with a double
    /// quote extends to the next one and may contain blanks, `\"`, `\\` and `\n`.
    ///
    /// # Errors
    /// A quote that is not closed, or more than [`WORDS_MAX`] words.
    pub fn split(line: &'l str) -> Result<Vec<Self>, SyntaxError> {
        let mut words = Vec::new();
        let mut rest = line;
        let mut column = 1;
        loop {
            let blank = rest.len() - rest.trim_start().len();
            column += rest[..blank].chars().count();
            rest = &rest[blank..];
            if rest.is_empty() || rest.starts_with('#') {
                return Ok(words);
            }
            if words.len() == WORDS_MAX {
                return Err(SyntaxError::plain(
                    column,
                    format!("more than {WORDS_MAX} words"),
                ));
            }
            let (text, length) = if let Some(quoted) = rest.strip_prefix('"') {
                let closed = unquote(quoted);
                let (text, length) = closed.ok_or_else(|| {
                    SyntaxError::plain(column, "the quote is not closed".to_owned())
                })?;
                (Cow::Owned(text), 1 + length)
            } else {
                let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (Cow::Borrowed(&rest[..length]), length)
            };
            words.push(Self { text, column });
            column += rest[..length].chars().count();
            rest = &rest[length..];
        }
    }

    /// `text` as one word of a line: quoted where it has to be.
    pub fn quote(text: &str) -> Cow<'_, str> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control();
        if !text.is_empty() && !text.starts_with(['"', '#']) && text.chars().all(plain) {
            return Cow::Borrowed(text);
        }
        let escaped = text
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        Cow::Owned(format!("\"{escaped}\""))
    }
}

/// The text up to the closing quote, and its length with that quote, in octets.
fn unquote(quoted: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                other => text.push(other),
            },
            _ => text.push(c),
        }
    }
    None
}
