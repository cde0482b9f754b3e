//! Command lines as trees of words: abbreviations, errors that name what was expected, completion
//! and help, all from one description.
//!
//! A [`Command table`](Entry) lists commands by the words they begin with (`set interface state`).
//! [`Tree::parse`] resolves these as VPP does: a whole word, or the beginning of exactly one
//! (`set int state`). What follows is read by the entry's own function through a [`Cursor`]. The
//! cursor remembers what it was asked for at each word, so the error message, the completion and
//! the help never differ from what is accepted. Keywords of this second part are whole words, as
//! they are in VPP.

use std::borrow::Cow;
use std::fmt;

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
            let (text, length) = match rest.strip_prefix('"') {
                Some(quoted) => {
                    let (text, length) = unquote(quoted).ok_or_else(|| {
                        SyntaxError::plain(column, "the quote is not closed".to_owned())
                    })?;
                    (Cow::Owned(text), 1 + length)
                }
                None => {
                    let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
                    (Cow::Borrowed(&rest[..length]), length)
                }
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
    reason: Option<String>,
    /// The whole message, when "expected ..." does not say it.
    message: Option<String>,
}

/// Reads a line word by word and remembers what could have stood at the current word.
#[derive(Debug)]
pub struct Cursor<'w, 'l> {
    words: &'w [Word<'l>],
    at: usize,
    expected: Vec<Expected>,
    notes: Vec<String>,
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
        match self.peek() {
            None => Ok(()),
            Some(_) => {
                self.expect("the end", "the end of the line", true);
                Err(self.stop())
            }
        }
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
        SyntaxError {
            column,
            expected: self.expected.clone(),
            found: word.map(|word| word.text.clone().into_owned()),
            reason: stop.reason,
            message: stop.message,
            usage: None,
        }
    }
}

/// A line that is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What could have stood there.
    pub expected: Vec<Expected>,
    /// What stood there; `None`: the line ended.
    pub found: Option<String>,
    /// Why a value is none.
    pub reason: Option<String>,
    /// The message, when `expected` and `found` do not say it.
    pub message: Option<String>,
    /// The command this looks like, with its parameters.
    pub usage: Option<String>,
}

impl SyntaxError {
    fn plain(column: usize, message: String) -> Self {
        Self {
            column,
            expected: Vec::new(),
            found: None,
            reason: None,
            message: Some(message),
            usage: None,
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(message) = &self.message {
            f.write_str(message)?;
        } else {
            f.write_str("expected ")?;
            for (at, expected) in self.expected.iter().enumerate() {
                let joint = match at {
                    0 => "",
                    _ if at + 1 == self.expected.len() => " or ",
                    _ => ", ",
                };
                let what = match expected.is_value && expected.text.starts_with('<') {
                    true => expected.help,
                    false => expected.text,
                };
                write!(f, "{joint}{what}")?;
            }
            match &self.found {
                Some(found) => write!(f, ", found {:?}", Shortened(found))?,
                None => f.write_str(", found the end")?,
            }
            if let Some(reason) = &self.reason {
                write!(f, ": {reason}")?;
            }
        }
        match &self.usage {
            Some(usage) => write!(f, " (usage: {usage})"),
            None => Ok(()),
        }
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

/// One command of a table.
#[derive(Debug)]
pub struct Entry<C> {
    /// The words it begins with; each may be abbreviated.
    pub path: &'static [&'static str],
    /// What follows, as help shows it: `<interface> up|down`.
    pub usage: &'static str,
    /// What it does, in a sentence.
    pub help: &'static str,
    /// Reads what follows, up to the end of the line.
    pub parse: fn(&mut Cursor<'_, '_>) -> Result<C, Stop>,
}

/// A command, and what of it has no effect here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<C> {
    /// The command.
    pub command: C,
    /// Parts that were accepted without effect, one sentence each.
    pub notes: Vec<String>,
}

type Read<C> = Box<dyn Fn(&mut Cursor<'_, '_>) -> Result<C, Stop> + Send + Sync>;

struct Branch<C> {
    path: &'static [&'static str],
    usage: &'static str,
    help: &'static str,
    read: Read<C>,
}

impl<C> Branch<C> {
    fn line(&self) -> String {
        format!("{} {}", self.path.join(" "), self.usage)
            .trim_end()
            .to_owned()
    }
}

/// The commands of one or several tables.
pub struct Tree<C> {
    branches: Vec<Branch<C>>,
}

impl<C> fmt::Debug for Tree<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.branches.iter().map(Branch::line))
            .finish()
    }
}

/// How far the words of a path were resolved.
struct Resolved<'t, C> {
    /// The command whose path is complete here.
    branch: Option<&'t Branch<C>>,
    /// Words that would lead on.
    next: Vec<Expected>,
    /// Words used.
    used: usize,
    /// The word after these begins several of `next`.
    ambiguous: bool,
}

impl<C: 'static> Tree<C> {
    /// The commands of one table.
    pub fn new(entries: &'static [Entry<C>]) -> Self {
        Self {
            branches: Vec::new(),
        }
        .with(entries, |command| command)
    }

    /// Adds the commands of another table, whose values `lift` turns into this tree's.
    #[must_use]
    pub fn with<T: 'static>(mut self, entries: &'static [Entry<T>], lift: fn(T) -> C) -> Self {
        self.branches.extend(entries.iter().map(|entry| Branch {
            path: entry.path,
            usage: entry.usage,
            help: entry.help,
            read: Box::new(move |cursor| (entry.parse)(cursor).map(lift)),
        }));
        self
    }

    /// The command in `words`, or where they stop being one.
    ///
    /// # Errors
    /// No command begins so, or what follows is not what the command takes.
    pub fn parse(&self, words: &[Word<'_>]) -> Result<Parsed<C>, SyntaxError> {
        let resolved = self.resolve(words);
        let mut cursor = Cursor::new(words);
        cursor.at = resolved.used;
        let Some(branch) = resolved.branch.filter(|_| !resolved.ambiguous) else {
            cursor.expected = resolved.next;
            let mut stop = cursor.stop();
            if resolved.ambiguous {
                stop.reason = Some("several begin so".to_owned());
            }
            return Err(cursor.explain(stop));
        };
        match (branch.read)(&mut cursor).and_then(|command| cursor.end().map(|()| command)) {
            Ok(command) => Ok(Parsed {
                command,
                notes: cursor.notes,
            }),
            Err(stop) => {
                if cursor.at == resolved.used {
                    cursor.expected.splice(0..0, resolved.next);
                }
                let error = cursor.explain(stop);
                Err(SyntaxError {
                    usage: Some(branch.line()),
                    ..error
                })
            }
        }
    }

    /// What can stand at the end of `line`: keywords that begin with its last word (all, after a
    /// blank), and placeholders of values.
    pub fn complete(&self, line: &str) -> Vec<Expected> {
        let Ok(mut words) = Word::split(line) else {
            return Vec::new();
        };
        let partial = match line.ends_with(char::is_whitespace) {
            true => None,
            false => words.pop(),
        };
        let partial = partial.map_or(String::new(), |word| word.text.into_owned());
        let resolved = self.resolve(&words);
        if resolved.ambiguous {
            return Vec::new();
        }
        let mut expected = match resolved.used == words.len() {
            true => resolved.next,
            false => Vec::new(),
        };
        if let Some(branch) = resolved.branch {
            let mut cursor = Cursor::new(&words);
            cursor.at = resolved.used;
            // The outcome does not matter: what was asked for at the end does.
            let _ = (branch.read)(&mut cursor);
            if cursor.at == words.len() {
                expected.append(&mut cursor.expected);
            }
        }
        expected.retain(|item| item.is_value || item.text.starts_with(&partial));
        expected
    }

    /// The commands that begin with the words of `line`: how each is written and what it does.
    pub fn help(&self, line: &str) -> Vec<(String, &'static str)> {
        let Ok(words) = Word::split(line) else {
            return Vec::new();
        };
        let begins = |branch: &&Branch<C>| {
            words
                .iter()
                .zip(branch.path)
                .all(|(word, step)| step.starts_with(&*word.text))
        };
        self.branches
            .iter()
            .filter(begins)
            .map(|branch| (branch.line(), branch.help))
            .collect()
    }

    fn resolve(&self, words: &[Word<'_>]) -> Resolved<'_, C> {
        let mut path: Vec<&'static str> = Vec::new();
        loop {
            let depth = path.len();
            let mut branch = None;
            let mut next: Vec<Expected> = Vec::new();
            for candidate in self.branches.iter().filter(|b| b.path.starts_with(&path)) {
                match candidate.path.get(depth) {
                    None => branch = Some(candidate),
                    Some(step) if next.iter().any(|known| known.text == *step) => {}
                    Some(step) => {
                        let last = candidate.path.len() == depth + 1;
                        let help = if last { candidate.help } else { "" };
                        next.push(Expected {
                            text: step,
                            help,
                            is_value: false,
                        });
                    }
                }
            }
            let word = words.get(depth).map(|word| &*word.text);
            let step = word.map_or(Step::None, |word| step(&next, word));
            match step {
                Step::One(step) => path.push(step),
                other => {
                    let ambiguous = matches!(other, Step::Several);
                    return Resolved {
                        branch,
                        next,
                        used: depth,
                        ambiguous,
                    };
                }
            }
        }
    }
}

enum Step {
    None,
    One(&'static str),
    Several,
}

/// The step that `word` is, or is the only one to begin with.
fn step(steps: &[Expected], word: &str) -> Step {
    if let Some(whole) = steps.iter().find(|step| step.text == word) {
        return Step::One(whole.text);
    }
    let mut begun = steps.iter().filter(|step| step.text.starts_with(word));
    match (begun.next(), begun.next()) {
        (None, _) => Step::None,
        (Some(only), None) => Step::One(only.text),
        (Some(_), Some(_)) => Step::Several,
    }
}

#[cfg(test)]
mod tests;
