//! A line that is edited on the other side of a wire: echo, cursor, history, completion, help.
//!
//! A terminal that is not known to understand ANSI sequences gets echo and backspace alone.

use std::collections::VecDeque;

use super::command::tree;
use super::operator::help;

/// Characters a line holds at most; more ring the bell.
pub const LINE_MAX: usize = 4096;

/// Lines that are remembered.
pub const HISTORY_MAX: usize = 64;

/// The prompt, VPP's.
pub const PROMPT: &str = "vpp# ";

/// A key that ends something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The line is complete.
    Line(String),
    /// End of file (^D on an empty line).
    End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After ESC [ or ESC O, with the number so far.
    Sequence(u8),
}

/// A line being edited.
#[derive(Debug, Default)]
pub struct Editor {
    line: Vec<char>,
    /// Where the next character goes: 0 to the line's length.
    cursor: usize,
    history: VecDeque<String>,
    /// How many lines back the shown one is; 0: the new one.
    back: usize,
    escape: Escape,
    /// Octets of a character that is not complete.
    partial: Vec<u8>,
    /// The last octet was CR: a LF or NUL behind it is part of the same key.
    after_cr: bool,
    /// Whether the terminal understands ANSI sequences.
    pub ansi: bool,
}

impl Editor {
    /// Takes an octet from the terminal, and writes what it shall show to `out`.
    pub fn take(&mut self, octet: u8, out: &mut Vec<u8>) -> Option<Key> {
        let after_cr = std::mem::take(&mut self.after_cr);
        if self.escape != Escape::None {
            self.escaped(octet, out);
            return None;
        }
        match octet {
            b'\n' | 0 if after_cr => None,
            0 => None,
            b'\r' | b'\n' => {
                self.after_cr = octet == b'\r';
                Some(Key::Line(self.enter(out)))
            }
            0x1b => {
                self.escape = Escape::Begun;
                None
            }
            0x04 if self.line.is_empty() => Some(Key::End),
            b'?' => {
                self.explain(out);
                None
            }
            b'\t' => {
                self.complete(out);
                None
            }
            control if control < 0x20 || control == 0x7f => {
                self.control(control, out);
                None
            }
            text => {
                self.text(text, out);
                None
            }
        }
    }

    fn enter(&mut self, out: &mut Vec<u8>) -> String {
        out.extend(b"\r\n");
        let line: String = self.line.drain(..).collect();
        (self.cursor, self.back) = (0, 0);
        if !line.trim().is_empty() && self.history.front() != Some(&line) {
            self.history.truncate(HISTORY_MAX - 1);
            self.history.push_front(line.clone());
        }
        line
    }

    fn text(&mut self, octet: u8, out: &mut Vec<u8>) {
        self.partial.push(octet);
        let character = match std::str::from_utf8(&self.partial) {
            Ok(text) => text.chars().next(),
            Err(error) if error.error_len().is_none() => return, // more to come
            Err(_) => None,
        };
        self.partial.clear();
        match character {
            Some(character) if self.line.len() < LINE_MAX => self.insert(character, out),
            _ => out.push(0x07),
        }
    }

    fn insert(&mut self, character: char, out: &mut Vec<u8>) {
        self.line.insert(self.cursor, character);
        self.cursor += 1;
        if self.cursor == self.line.len() {
            out.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            self.redraw(out);
        }
    }

    fn control(&mut self, octet: u8, out: &mut Vec<u8>) {
        match octet {
            0x08 | 0x7f => self.erase(out),
            0x01 => self.go(0, out),
            0x02 => self.go(self.cursor.saturating_sub(1), out),
            0x03 => {
                out.extend(b"^C\r\n");
                self.line.clear();
                self.cursor = 0;
                self.redraw(out);
            }
            0x04 => self.delete(out),
            0x05 => self.go(self.line.len(), out),
            0x06 => self.go(self.cursor + 1, out),
            0x0b => {
                self.line.truncate(self.cursor);
                self.redraw(out);
            }
            0x0c => {
                if self.ansi {
                    out.extend(b"\x1b[2J\x1b[H");
                }
                self.redraw(out);
            }
            0x0e => self.recall(self.back.saturating_sub(1), out),
            0x10 => self.recall(self.back + 1, out),
            0x15 => {
                self.line.drain(..self.cursor);
                self.cursor = 0;
                self.redraw(out);
            }
            0x17 => {
                let before = self.line.get(..self.cursor).unwrap_or(&[]);
                let word = before.iter().rposition(|c| !c.is_whitespace()).unwrap_or(0);
                let start = before
                    .get(..word)
                    .and_then(|before| before.iter().rposition(|c| c.is_whitespace()))
                    .map_or(0, |at| at + 1);
                self.line.drain(start..self.cursor);
                self.cursor = start;
                self.redraw(out);
            }
            _ => {}
        }
    }

    fn escaped(&mut self, octet: u8, out: &mut Vec<u8>) {
        self.escape = match (self.escape, octet) {
            (Escape::Begun, b'[' | b'O') | (Escape::Sequence(_), b';') => Escape::Sequence(0),
            (Escape::Sequence(_), b'0'..=b'9') => Escape::Sequence(octet - b'0'),
            (Escape::Sequence(number), end) => {
                match (end, number) {
                    (b'A', _) => self.recall(self.back + 1, out),
                    (b'B', _) => self.recall(self.back.saturating_sub(1), out),
                    (b'C', _) => self.go(self.cursor + 1, out),
                    (b'D', _) => self.go(self.cursor.saturating_sub(1), out),
                    (b'H', _) | (b'~', 1 | 7) => self.go(0, out),
                    (b'F', _) | (b'~', 4 | 8) => self.go(self.line.len(), out),
                    (b'~', 3) => self.delete(out),
                    _ => {}
                }
                Escape::None
            }
            _ => Escape::None,
        };
    }

    fn erase(&mut self, out: &mut Vec<u8>) {
        if self.cursor == 0 {
            return;
        }
        self.cursor -= 1;
        self.line.remove(self.cursor);
        if self.cursor == self.line.len() {
            out.extend(b"\x08 \x08");
        } else {
            self.redraw(out);
        }
    }

    fn delete(&mut self, out: &mut Vec<u8>) {
        if self.cursor < self.line.len() {
            self.line.remove(self.cursor);
            self.redraw(out);
        }
    }

    fn go(&mut self, to: usize, out: &mut Vec<u8>) {
        // Without ANSI sequences the terminal cannot show it.
        if self.ansi && to <= self.line.len() {
            self.cursor = to;
            self.redraw(out);
        }
    }

    fn recall(&mut self, back: usize, out: &mut Vec<u8>) {
        let line = match back.checked_sub(1) {
            None => Some(String::new()),
            Some(at) => self.history.get(at).cloned(),
        };
        if let Some(line) = line {
            self.back = back;
            self.line = line.chars().collect();
            self.cursor = self.line.len();
            self.redraw(out);
        }
    }

    /// Shows the prompt and the line anew.
    pub fn redraw(&self, out: &mut Vec<u8>) {
        let line: String = self.line.iter().collect();
        out.extend(if self.ansi { "\r\x1b[K" } else { "\r\n" }.as_bytes());
        out.extend(PROMPT.as_bytes());
        out.extend(line.as_bytes());
        let behind = self.line.len() - self.cursor;
        if behind > 0 && self.ansi {
            out.extend(format!("\x1b[{behind}D").as_bytes());
        }
    }

    fn before_cursor(&self) -> String {
        self.line.iter().take(self.cursor).collect()
    }

    /// Completes the word before the cursor as far as it can be told, or lists what it may become.
    fn complete(&mut self, out: &mut Vec<u8>) {
        let line = self.before_cursor();
        let expected = tree().complete(&line);
        let partial = line.rsplit(char::is_whitespace).next().unwrap_or("");
        let keywords: Vec<&str> = expected
            .iter()
            .filter(|item| !item.is_value)
            .map(|item| item.text)
            .collect();
        let common = keywords.iter().copied().reduce(|a, b| {
            let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            a.get(..same).unwrap_or("")
        });
        let rest = common
            .and_then(|common| common.strip_prefix(partial))
            .unwrap_or("");
        let mut rest = rest.to_owned();
        if keywords.len() == 1 && expected.len() == 1 {
            rest.push(' ');
        }
        if rest.is_empty() {
            self.list(&expected, out);
        }
        for character in rest.chars() {
            if self.line.len() < LINE_MAX {
                self.insert(character, out);
            }
        }
    }

    fn list(&self, expected: &[crate::words::Expected], out: &mut Vec<u8>) {
        if expected.is_empty() {
            out.push(0x07);
            return;
        }
        for item in expected {
            out.extend(format!("\r\n  {:<24} {}", item.text, item.help).as_bytes());
        }
        out.extend(b"\r\n");
        self.redraw(out);
    }

    /// What may stand at the cursor; on an empty line, every command.
    fn explain(&self, out: &mut Vec<u8>) {
        let line = self.before_cursor();
        if line.trim().is_empty() {
            out.extend(b"\r\n");
            out.extend(help("").replace('\n', "\r\n").as_bytes());
            self.redraw(out);
        } else {
            self.list(&tree().complete(&line), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn type_in(editor: &mut Editor, keys: &[u8]) -> (Vec<Key>, String) {
        let mut out = Vec::new();
        let done = keys
            .iter()
            .filter_map(|key| editor.take(*key, &mut out))
            .collect();
        (done, String::from_utf8(out).expect("text"))
    }

    fn line(keys: &str) -> String {
        let mut editor = Editor {
            ansi: true,
            ..Editor::default()
        };
        let (mut done, _) = type_in(&mut editor, format!("{keys}\r\n").as_bytes());
        match done.pop() {
            Some(Key::Line(line)) if done.is_empty() => line,
            other => panic!("{other:?} after {done:?}"),
        }
    }

    #[test]
    fn what_is_typed_is_echoed_and_cr_lf_is_one_key() {
        let mut editor = Editor::default();
        let (done, shown) = type_in(&mut editor, b"show\r\nx\r\0");
        assert_eq!(done, [Key::Line("show".into()), Key::Line("x".into())]);
        assert_eq!(shown, "show\r\nx\r\n");
    }

    #[test]
    fn keys_edit_the_line() {
        assert_eq!(line("shoe\x7fw"), "show");
        assert_eq!(line("how\x01s"), "show");
        assert_eq!(line("sow\x1b[Dh\x02\x1b[C"), "sohw");
        assert_eq!(line("show int\x17version"), "show version");
        assert_eq!(line("abc\x15x"), "x");
        assert_eq!(line("xshow\x01\x1b[3~"), "show");
        assert_eq!(line("abc\x02\x0b"), "ab");
    }

    #[test]
    fn lines_are_recalled_newest_first() {
        let mut editor = Editor {
            ansi: true,
            ..Editor::default()
        };
        let (done, _) = type_in(&mut editor, b"one\rtwo\r\x1b[A\x1b[A\r");
        assert_eq!(done.last(), Some(&Key::Line("one".into())));
    }

    #[test]
    fn a_tab_completes_and_a_question_mark_explains() {
        assert_eq!(line("show hard\t"), "show hardware-interfaces ");
        assert_eq!(line("sh vlib gr\tv\t"), "sh vlib graphviz ");
        let mut editor = Editor {
            ansi: true,
            ..Editor::default()
        };
        let (_, shown) = type_in(&mut editor, b"show ip ?");
        assert!(shown.contains("neighbors"), "{shown}");
        assert!(shown.contains("fib"), "{shown}");
    }

    #[test]
    fn a_line_ends_growing_with_a_bell() {
        let mut editor = Editor::default();
        let (_, shown) = type_in(&mut editor, &[b'a'; LINE_MAX + 1]);
        assert!(shown.ends_with('\x07'));
    }

    proptest! {
        #[test]
        fn any_keys_are_taken(keys in proptest::collection::vec(any::<u8>(), 0..300), ansi: bool) {
            let mut editor = Editor { ansi, ..Editor::default() };
            let mut out = Vec::new();
            for key in keys {
                let _ = editor.take(key, &mut out);
            }
        }
    }
}
