//! Keywords in any order.

use crate::words::{Cursor, Stop};

/// Keywords in any order, each once.
pub(super) struct Options<K: 'static> {
    left: Vec<(&'static str, &'static str, K)>,
    all: &'static [(&'static str, &'static str, K)],
}

impl<K: Copy + PartialEq> Options<K> {
    pub(super) fn new(all: &'static [(&'static str, &'static str, K)]) -> Self {
        Self {
            left: all.to_vec(),
            all,
        }
    }

    /// The next keyword; `None`: the next word is none, or there is none.
    pub(super) fn next(
        &mut self,
        cursor: &mut Cursor<'_, '_>,
    ) -> Result<Option<(&'static str, K)>, Stop> {
        let choices: Vec<_> = self
            .left
            .iter()
            .map(|&(word, help, key)| (word, help, (word, key)))
            .collect();
        if let Some((word, key)) = cursor.choice(&choices) {
            self.left.retain(|(left, _, _)| *left != word);
            return Ok(Some((word, key)));
        }
        match self.all.iter().find(|(word, _, _)| cursor.skip(word)) {
            Some((word, _, _)) => Err(cursor.refuse(format!("{word} is said twice"))),
            None => Ok(None),
        }
    }
}
