//! Conditional and range requests (RFC 9110, 13 and 14).
//!
//! One range is served as 206. A request for several is answered with the whole file, which 14.2
//! allows: `multipart/byteranges` is a known way to make a server work, and no browser or
//! download tool needs it. A `Range` that does not parse is ignored, as 14.2 asks.
#![warn(clippy::indexing_slicing, reason = "reads foreign octets")]

use std::time::SystemTime;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::respond::{FileFields, Span};

/// How a request for a file that exists is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 200 with everything.
    Whole,
    /// 206 with this part.
    Part(Span),
    /// 304.
    NotModified,
    /// 412.
    Failed,
    /// 416.
    Unsatisfiable,
}

/// Judges a GET (`ranges`) or HEAD in the order of RFC 9110, 13.2.2:
///
/// | field | answer |
/// |---|---|
/// | `If-Match`, no tag strongly equal | 412 |
/// | else `If-Unmodified-Since`, modified since | 412 |
/// | `If-None-Match`, a tag weakly equal | 304 |
/// | else `If-Modified-Since`, not modified since | 304 |
/// | `Range`, and `If-Range` absent or strongly equal | 206, 416 |
pub(crate) fn judge(headers: &HeaderMap, ranges: bool, fields: &FileFields) -> Verdict {
    let etag = fields.etag.as_bytes();
    if headers.contains_key(header::IF_MATCH) {
        if !lists(headers, &header::IF_MATCH, |tag| tag == etag) {
            return Verdict::Failed;
        }
    } else if let Some(since) = date(headers, &header::IF_UNMODIFIED_SINCE)
        && fields.modified > since
    {
        return Verdict::Failed;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        if lists(headers, &header::IF_NONE_MATCH, |tag| {
            tag.strip_prefix(b"W/").unwrap_or(tag) == etag
        }) {
            return Verdict::NotModified;
        }
    } else if let Some(since) = date(headers, &header::IF_MODIFIED_SINCE)
        && fields.modified <= since
    {
        return Verdict::NotModified;
    }
    match headers.get(header::RANGE) {
        Some(range) if ranges && same(headers, fields) => part(range.as_bytes(), fields.length),
        _ => Verdict::Whole,
    }
}

/// `*`, or a tag that `is` accepts, is among the tags. A tag may hold commas.
fn lists(headers: &HeaderMap, name: &HeaderName, is: impl Fn(&[u8]) -> bool) -> bool {
    headers.get_all(name).iter().any(|value| {
        let mut rest = value.as_bytes().trim_ascii();
        if rest == b"*" {
            return true;
        }
        while !rest.is_empty() {
            let opaque = rest.strip_prefix(b"W/").unwrap_or(rest);
            let weak = rest.len() - opaque.len();
            let Some(after) = opaque.strip_prefix(b"\"") else {
                return false;
            };
            let Some(len) = after.iter().position(|octet| *octet == b'"') else {
                return false;
            };
            let (tag, more) = rest.split_at_checked(weak + len + 2).unwrap_or_default();
            if is(tag) {
                return true;
            }
            rest = more.trim_ascii_start();
            rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        }
        false
    })
}

/// Seconds since the epoch; an invalid date is as good as none.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    parse_date(headers.get(name)?)
}

fn parse_date(value: &HeaderValue) -> Option<u64> {
    let date = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    Some(date.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

/// `If-Range` holds. A date must be the very one sent: RFC 9110, 13.1.5.
fn same(headers: &HeaderMap, fields: &FileFields) -> bool {
    match headers.get(header::IF_RANGE) {
        None => true,
        Some(value) if value == fields.etag => true,
        Some(value) => parse_date(value) == Some(fields.modified),
    }
}

/// What `Range` asks for of a file of `length` octets.
pub(crate) fn part(range: &[u8], length: u64) -> Verdict {
    let Some((unit, set)) = range.split_at_checked(6) else {
        return Verdict::Whole;
    };
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return Verdict::Whole;
    }
    let set = set.trim_ascii();
    let mut ends = set.splitn(2, |octet| *octet == b'-');
    let (Some(first), Some(last)) = (ends.next(), ends.next()) else {
        return Verdict::Whole;
    };
    let span = match (number(first), number(last)) {
        (Some(None), Some(Some(0))) => return Verdict::Unsatisfiable,
        (Some(None), Some(Some(suffix))) => (length.saturating_sub(suffix), length),
        (Some(Some(first)), Some(None)) => (first, length),
        (Some(Some(first)), Some(Some(last))) if first <= last => {
            (first, last.saturating_add(1).min(length))
        }
        _ => return Verdict::Whole,
    };
    if span.0 >= length {
        Verdict::Unsatisfiable
    } else {
        Verdict::Part(span)
    }
}

/// `Some(None)` for nothing, `None` for what is not a number. A number too large to count with
/// is larger than any file.
#[expect(clippy::option_option, reason = "absent and malformed differ")]
fn number(digits: &[u8]) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    digits
        .iter()
        .try_fold(0_u64, |sum, digit| match digit {
            b'0'..=b'9' => Some(
                sum.saturating_mul(10)
                    .saturating_add(u64::from(digit - b'0')),
            ),
            _ => None,
        })
        .map(Some)
}

#[cfg(test)]
mod tests;
