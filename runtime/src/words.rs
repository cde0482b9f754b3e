//! Command lines as trees of words: abbreviations, errors that name what was expected, completion
//! and help, all from one description.
//!
//! A [`Command table`](Entry) lists commands by the words they begin with (`set interface state`).
//! [`Tree::parse`] resolves these as VPP does: a whole word, or the beginning of exactly one
//! (`set int state`). What follows is read by the entry's own function through a [`Cursor`]. The
//! cursor remembers what it was asked for at each word, so the error message, the completion and
//! the help never differ from what is accepted. Keywords of this second part are whole words, as
//! they are in VPP.

mod cursor;
mod line;

use std::fmt::{self, Write as _};

pub use cursor::{Cursor, Expected, Kind, Stop, SyntaxError};
pub use line::{WORDS_MAX, Word};

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
                // When the matter is one word, the whole command does not help.
                let usage = stop.reason.is_none() && stop.message.is_none();
                let mut error = cursor.explain(stop);
                if usage {
                    let _ = write!(error.message, " (usage: {})", branch.line());
                }
                Err(error)
            }
        }
    }

    /// What can stand at the end of `line`: keywords that begin with its last word (all, after a
    /// blank), and placeholders of values.
    pub fn complete(&self, line: &str) -> Vec<Expected> {
        let Ok(mut words) = Word::split(line) else {
            return Vec::new();
        };
        let mut partial = String::new();
        if !line.ends_with(char::is_whitespace) {
            partial = words.pop().map_or(partial, |word| word.text.into_owned());
        }
        let resolved = self.resolve(&words);
        if resolved.ambiguous {
            return Vec::new();
        }
        let mut expected = resolved.next;
        if resolved.used < words.len() {
            expected.clear();
        }
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
                    if let Some(word) = word.filter(|_| ambiguous) {
                        next.retain(|step| step.text.starts_with(word));
                    }
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
