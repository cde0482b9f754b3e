//! Where a request head ends, and whether its framing is beyond doubt.
//!
//! hyper accepts a few things RFC 9112 lets a recipient accept and an attacker use: line ends
//! without CR, a length beside a transfer coding. This scan runs before hyper, sees each octet
//! once however the head is split, and refuses them, so that hyper only gets whole heads whose
//! body length has one reading. What it does not look at (tokens, field values) httparse does.
#![warn(clippy::indexing_slicing, reason = "reads foreign octets")]

use http::StatusCode;
use memchr::{memchr, memchr_iter};

use crate::options::Limits;

/// Why a head is refused before hyper sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    BadRequest,
    Timeout,
    TargetTooLong,
    HeadTooLarge,
    UnknownCoding,
    Version,
}

impl Fault {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many octets of body, then the next head.
    Length(u64),
    /// A chunked body. The connection ends with this request, so its end need not be found.
    Chunked,
}

/// What is known of the head so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    Partial,
    /// The head is the first `len` octets.
    Complete {
        len: usize,
        framing: Framing,
    },
    Fault(Fault),
}

/// Scans one head that grows at its end.
#[derive(Debug, Default)]
pub(crate) struct HeadScanner {
    /// Start of the first line without an end.
    line: usize,
    /// No LF lies in `line..searched`.
    searched: usize,
    /// Lines seen, the request line included.
    lines: usize,
    length: Option<u64>,
    chunked: bool,
}

impl HeadScanner {
    /// Goes on with `head`, which begins with what the last call saw.
    pub(crate) fn scan(&mut self, head: &[u8], limits: &Limits) -> Scan {
        let from = self.searched;
        for at in memchr_iter(b'\n', head.get(from..).unwrap_or_default()) {
            let end = from + at;
            let line = head.get(self.line..end).unwrap_or_default();
            self.line = end + 1;
            let Some((b'\r', line)) = line.split_last() else {
                return Scan::Fault(Fault::BadRequest);
            };
            if end >= limits.head_octets {
                return Scan::Fault(too_large(self.lines, line, limits));
            }
            let seen = match (self.lines, line.first()) {
                (0, _) => request_line(line, limits),
                (_, None) => return self.complete(end + 1),
                (_, Some(first)) => self.field(*first, line, limits),
            };
            if let Err(fault) = seen {
                return Scan::Fault(fault);
            }
            self.lines += 1;
        }
        self.searched = head.len();
        self.partial(head, limits)
    }

    /// Lines of the head seen so far, the request line included.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    fn partial(&self, head: &[u8], limits: &Limits) -> Scan {
        let line = head.get(self.line..).unwrap_or_default();
        // A CR may be the last that came of the line.
        let line_max = line_max(limits) + 1;
        if head.len() >= limits.head_octets || (self.lines == 0 && line.len() > line_max) {
            return Scan::Fault(too_large(self.lines, line, limits));
        }
        Scan::Partial
    }

    fn complete(&self, len: usize) -> Scan {
        let framing = match (self.chunked, self.length) {
            // RFC 9112, 6.1: an attempt at smuggling until proven otherwise.
            (true, Some(_)) => return Scan::Fault(Fault::BadRequest),
            (true, None) => Framing::Chunked,
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        Scan::Complete { len, framing }
    }

    fn field(&mut self, first: u8, line: &[u8], limits: &Limits) -> Result<(), Fault> {
        if self.lines > limits.header_lines {
            return Err(Fault::HeadTooLarge);
        }
        match first {
            // obs-fold: RFC 9112, 5.2.
            b' ' | b'\t' => Err(Fault::BadRequest),
            b'c' | b'C' => match value(line, b"content-length:") {
                Some(value) => self.content_length(value),
                None => Ok(()),
            },
            b't' | b'T' => match value(line, b"transfer-encoding:") {
                Some(_) if self.chunked => Err(Fault::BadRequest),
                Some(value) if value.eq_ignore_ascii_case(b"chunked") => {
                    self.chunked = true;
                    Ok(())
                }
                // RFC 9112, 6.1: a coding this server does not understand.
                Some(_) => Err(Fault::UnknownCoding),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// RFC 9112, 6.3: one length, digits only, or the framing is in doubt.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let mut length = 0_u64;
        for digit in value {
            length = match digit {
                b'0'..=b'9' => length
                    .checked_mul(10)
                    .and_then(|tens| tens.checked_add(u64::from(digit - b'0')))
                    .ok_or(Fault::BadRequest)?,
                _ => return Err(Fault::BadRequest),
            };
        }
        // hyper keeps the two highest values for itself.
        if value.is_empty() || self.length.is_some() || length > u64::MAX >> 1 {
            return Err(Fault::BadRequest);
        }
        self.length = Some(length);
        Ok(())
    }
}

/// The line's value, without blanks around it, if `name_colon` begins the line.
fn value<'line>(line: &'line [u8], name_colon: &[u8]) -> Option<&'line [u8]> {
    let (name, value) = line.split_at_checked(name_colon.len())?;
    name.eq_ignore_ascii_case(name_colon)
        .then(|| value.trim_ascii())
}

/// 414 while the target is what does not fit, else 431.
fn too_large(lines: usize, line: &[u8], limits: &Limits) -> Fault {
    if lines > 0 {
        return Fault::HeadTooLarge;
    }
    let mut words = line.splitn(3, |octet| *octet == b' ');
    match (words.next(), words.next()) {
        (Some(_), Some(target)) if target.len() > limits.target_octets => Fault::TargetTooLong,
        (Some(_), Some(_)) => Fault::HeadTooLarge,
        _ => Fault::BadRequest,
    }
}

/// Octets of a request line: method, two spaces and version fit beside the longest target.
fn line_max(limits: &Limits) -> usize {
    limits.target_octets + 64
}

fn request_line(line: &[u8], limits: &Limits) -> Result<(), Fault> {
    // However it is split on the way.
    if line.len() > line_max(limits) {
        return Err(too_large(0, line, limits));
    }
    let (before, version) = line
        .split_at_checked(line.len().wrapping_sub(9))
        .unwrap_or_default();
    match version {
        b" HTTP/1.1" | b" HTTP/1.0" => {}
        [
            b' ',
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'0'..=b'9',
            b'.',
            b'0'..=b'9',
        ] => {
            return Err(Fault::Version);
        }
        _ => return Err(Fault::BadRequest),
    }
    let method = memchr(b' ', before).ok_or(Fault::BadRequest)?;
    if before.len() - method - 1 > limits.target_octets {
        return Err(Fault::TargetTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
