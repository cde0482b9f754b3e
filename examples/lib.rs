//! What the examples share.

/// The walk-through of `CONTRIBUTING.md`, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../CONTRIBUTING.md")]
#[derive(Debug)]
pub struct Contributing;
