//! From a request target to a path below the www-root.
//!
//! Decided here: the query is ignored; `//` and `/./` are one slash; a path that ends in a slash
//! names its `index.html`; a segment `..`, also percent-encoded, is refused with 400 wherever it
//! leads, as are NUL and a malformed percent-encoding; an encoded slash (`%2F`) is data, and as no
//! file name holds a slash, 404. A backslash is an octet like any other.
#![warn(clippy::indexing_slicing, reason = "reads foreign octets")]

use http::StatusCode;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// What a directory's own path names.
const INDEX: &[u8] = b"index.html";

/// Longer paths do not exist (`PATH_MAX`).
pub(crate) const PATH_MAX: usize = 4096;

/// Octets that do not stand for themselves in a path (RFC 3986, 3.3).
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The file a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Path below the www-root: no leading slash, no empty, `.` or `..` segment, no NUL.
    pub(crate) path: Vec<u8>,
    /// The request says it this very way, so it may be remembered by its request's path.
    pub(crate) canonical: bool,
}

impl Target {
    /// Reads the path of a request target, as octets.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, StatusCode> {
        let Some((b'/', segments)) = raw.split_first() else {
            return Err(StatusCode::BAD_REQUEST);
        };
        let mut path = Vec::with_capacity(raw.len() + INDEX.len());
        let mut directory = true;
        for segment in segments.split(|octet| *octet == b'/') {
            let start = path.len();
            if start > 0 {
                path.push(b'/');
            }
            let name = path.len();
            decode(segment, &mut path)?;
            directory = match path.get(name..).unwrap_or_default() {
                b"" | b"." => {
                    path.truncate(start);
                    true
                }
                b".." => return Err(StatusCode::BAD_REQUEST),
                _ => false,
            };
        }
        let named = path.len();
        if directory {
            if named > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(INDEX);
        }
        if path.len() >= PATH_MAX {
            return Err(StatusCode::NOT_FOUND);
        }
        let named = path.get(..named).unwrap_or_default();
        let canonical = match segments.split_last() {
            Some((b'/', segments)) => directory && segments == named,
            _ => segments == named,
        };
        Ok(Self { path, canonical })
    }
}

fn decode(segment: &[u8], path: &mut Vec<u8>) -> Result<(), StatusCode> {
    let mut octets = segment.iter();
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'%' => {
                let mut digit = || {
                    let digit = char::from(*octets.next()?).to_digit(16)?;
                    u8::try_from(digit).ok()
                };
                match (digit(), digit()) {
                    (Some(high), Some(low)) => high << 4 | low,
                    _ => return Err(StatusCode::BAD_REQUEST),
                }
            }
            octet => *octet,
        };
        match octet {
            0 => return Err(StatusCode::BAD_REQUEST),
            b'/' => return Err(StatusCode::NOT_FOUND),
            octet => path.push(octet),
        }
    }
    Ok(())
}

/// The absolute path of the directory at `path`, as a `Location`: encoded, with both slashes. It
/// begins with exactly one slash, so it cannot name another host.
pub(crate) fn directory_location(path: &[u8]) -> String {
    format!("/{}/", percent_encode(path, ENCODED))
}

#[cfg(test)]
mod tests;
