//! Responses: rendered once per file, cloned per request.
//!
//! `text/*` is declared as UTF-8, since files carry no charset of their own and a browser's guess
//! is worse; other types go as `mime_guess` names them, unknown ones as
//! `application/octet-stream`. The body of an error is its status line's words.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode, Version};

use crate::body::FileBody;
use crate::files::{OpenFile, Stamp};
use crate::flow::Flow;
use crate::memory::{Contents, Piece};
use crate::options::Options;
use crate::target::directory_location;

/// What this server can do with a file (RFC 9110, 10.2.1).
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

const CLOSE: HeaderValue = HeaderValue::from_static("close");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// 9999-12-31 23:59:59 UTC, the last second HTTP can name.
const LAST_SECOND: u64 = 253_402_300_799;

/// The fields every response of a server has.
#[derive(Clone, Debug)]
pub(crate) struct Rendering {
    server: Option<HeaderValue>,
    cache_control: Option<HeaderValue>,
}

/// The fields of one state of one file.
#[derive(Clone, Debug)]
pub(crate) struct FileFields {
    content_type: HeaderValue,
    last_modified: HeaderValue,
    pub(crate) etag: HeaderValue,
    /// Seconds since the epoch, as `last_modified` says.
    pub(crate) modified: u64,
    pub(crate) length: u64,
}

/// A directory asked for without its slash.
#[derive(Debug)]
pub(crate) struct Redirect {
    location: String,
}

/// Part of a file: from the first to before the second octet.
pub(crate) type Span = (u64, u64);

/// Where a file's octets come from.
pub(crate) enum Octets {
    Cached(Arc<Contents>),
    Streamed(Rc<Flow>, Arc<OpenFile>),
}

impl FileFields {
    pub(crate) fn new(path: &[u8], stamp: &Stamp) -> Self {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(LAST_SECOND, |now| now.as_secs());
        // RFC 9110, 8.8.2.1: not later than the response's Date.
        let modified = u64::try_from(stamp.modified.0)
            .unwrap_or(0)
            .min(now)
            .min(LAST_SECOND);
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(modified);
        let etag = format!(
            "\"{:x}-{:x}-{:x}.{:x}\"",
            stamp.inode, stamp.size, stamp.modified.0, stamp.modified.1
        );
        Self {
            content_type: content_type(path),
            last_modified: shared(&httpdate::fmt_http_date(date)),
            etag: shared(&etag),
            modified,
            length: stamp.size,
        }
    }
}

impl Redirect {
    pub(crate) fn new(path: &[u8]) -> Self {
        Self {
            location: directory_location(path),
        }
    }

    fn location(&self, query: Option<&str>) -> HeaderValue {
        let with_query = query.map(|query| format!("{}?{query}", self.location));
        let location = with_query.as_ref().unwrap_or(&self.location);
        // Encoded above; a query hyper let pass may still hold octets a field may not.
        HeaderValue::from_str(location)
            .or_else(|_| HeaderValue::from_str(&self.location))
            .unwrap_or(HeaderValue::from_static("/"))
    }
}

impl Rendering {
    /// `None` when the server's name cannot be sent.
    pub(crate) fn new(options: &Options) -> Option<Self> {
        let server = match options.server.as_str() {
            "" => None,
            name => Some(HeaderValue::from_str(name).ok()?),
        };
        let age = |seconds| HeaderValue::from_str(&format!("max-age={seconds}"));
        Some(Self {
            server,
            cache_control: options.max_age.map(age).transpose().ok()?,
        })
    }

    /// The whole file, or its fields alone for HEAD.
    pub(crate) fn whole(
        &self,
        mut headers: HeaderMap,
        is_head: bool,
        fields: &FileFields,
        octets: Octets,
    ) -> Response<FileBody> {
        self.describe(&mut headers, fields);
        headers.insert(header::CONTENT_TYPE, fields.content_type.clone());
        let body = if is_head {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(fields.length));
            FileBody::empty()
        } else {
            // Whose length hyper knows.
            octets.body((0, fields.length))
        };
        response(StatusCode::OK, headers, body)
    }

    pub(crate) fn part(
        &self,
        mut headers: HeaderMap,
        fields: &FileFields,
        octets: Octets,
        (start, end): Span,
    ) -> Response<FileBody> {
        self.describe(&mut headers, fields);
        headers.insert(header::CONTENT_TYPE, fields.content_type.clone());
        let range = format!("bytes {start}-{}/{}", end.saturating_sub(1), fields.length);
        headers.insert(header::CONTENT_RANGE, shared(&range));
        response(
            StatusCode::PARTIAL_CONTENT,
            headers,
            octets.body((start, end)),
        )
    }

    pub(crate) fn not_modified(
        &self,
        mut headers: HeaderMap,
        fields: &FileFields,
    ) -> Response<FileBody> {
        self.describe(&mut headers, fields);
        response(StatusCode::NOT_MODIFIED, headers, FileBody::empty())
    }

    pub(crate) fn unsatisfiable(
        &self,
        mut headers: HeaderMap,
        fields: &FileFields,
    ) -> Response<FileBody> {
        let range = format!("bytes */{}", fields.length);
        headers.clear();
        headers.insert(header::CONTENT_RANGE, shared(&range));
        self.text(headers, StatusCode::RANGE_NOT_SATISFIABLE, false)
    }

    pub(crate) fn redirect(
        &self,
        mut headers: HeaderMap,
        is_head: bool,
        redirect: &Redirect,
        query: Option<&str>,
    ) -> Response<FileBody> {
        headers.clear();
        headers.insert(header::LOCATION, redirect.location(query));
        self.text(headers, StatusCode::MOVED_PERMANENTLY, is_head)
    }

    pub(crate) fn options(&self) -> Response<FileBody> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ALLOW, ALLOW);
        self.name(&mut headers);
        response(StatusCode::NO_CONTENT, headers, FileBody::empty())
    }

    /// A refusal, with what its status asks for.
    pub(crate) fn refusal(&self, status: StatusCode, is_head: bool) -> Response<FileBody> {
        let mut headers = HeaderMap::new();
        match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, ALLOW);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        self.text(headers, status, is_head)
    }

    fn text(
        &self,
        mut headers: HeaderMap,
        status: StatusCode,
        is_head: bool,
    ) -> Response<FileBody> {
        let text = words(status);
        self.name(&mut headers);
        headers.insert(header::CONTENT_TYPE, TEXT);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        let body = if is_head {
            FileBody::empty()
        } else {
            FileBody::whole(Piece::text(text))
        };
        response(status, headers, body)
    }

    /// What describes a file whether or not it is sent. The map is the request's, emptied: its
    /// memory serves again.
    fn describe(&self, headers: &mut HeaderMap, fields: &FileFields) {
        headers.clear();
        self.name(headers);
        headers.insert(header::LAST_MODIFIED, fields.last_modified.clone());
        headers.insert(header::ETAG, fields.etag.clone());
        headers.insert(header::ACCEPT_RANGES, BYTES);
        if let Some(cache_control) = &self.cache_control {
            headers.insert(header::CACHE_CONTROL, cache_control.clone());
        }
    }

    fn name(&self, headers: &mut HeaderMap) {
        if let Some(server) = &self.server {
            headers.insert(header::SERVER, server.clone());
        }
    }
}

impl Octets {
    fn body(self, span: Span) -> FileBody {
        let index = |octet| usize::try_from(octet).unwrap_or(usize::MAX);
        match self {
            Self::Cached(contents) => {
                FileBody::whole(Piece::file(contents, index(span.0), index(span.1)))
            }
            Self::Streamed(flow, file) => FileBody::stream(flow, file, span),
        }
    }
}

/// The last response of its connection.
pub(crate) fn close(response: &mut Response<FileBody>) {
    response.headers_mut().insert(header::CONNECTION, CLOSE);
}

fn response(status: StatusCode, headers: HeaderMap, body: FileBody) -> Response<FileBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    *response.version_mut() = Version::HTTP_11;
    response
}

/// A value whose clones share its octets.
fn shared(text: &str) -> HeaderValue {
    // Dates, tags and ranges are ASCII.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

fn content_type(path: &[u8]) -> HeaderValue {
    let unknown = HeaderValue::from_static("application/octet-stream");
    let name = path
        .rsplit(|octet| *octet == b'/')
        .next()
        .unwrap_or_default();
    let mut parts = name.rsplitn(2, |octet| *octet == b'.');
    let (Some(extension), Some(_)) = (parts.next(), parts.next()) else {
        return unknown;
    };
    let guess = str::from_utf8(extension)
        .ok()
        .and_then(|ext| mime_guess::from_ext(ext).first_raw());
    match guess {
        Some(text) if text.starts_with("text/") => shared(&format!("{text}; charset=utf-8")),
        Some(other) => HeaderValue::from_static(other),
        None => unknown,
    }
}

fn words(status: StatusCode) -> &'static str {
    match status {
        StatusCode::MOVED_PERMANENTLY => "301 Moved Permanently\n",
        StatusCode::BAD_REQUEST => "400 Bad Request\n",
        StatusCode::FORBIDDEN => "403 Forbidden\n",
        StatusCode::NOT_FOUND => "404 Not Found\n",
        StatusCode::METHOD_NOT_ALLOWED => "405 Method Not Allowed\n",
        StatusCode::REQUEST_TIMEOUT => "408 Request Timeout\n",
        StatusCode::PRECONDITION_FAILED => "412 Precondition Failed\n",
        StatusCode::PAYLOAD_TOO_LARGE => "413 Content Too Large\n",
        StatusCode::URI_TOO_LONG => "414 URI Too Long\n",
        StatusCode::RANGE_NOT_SATISFIABLE => "416 Range Not Satisfiable\n",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "431 Request Header Fields Too Large\n",
        StatusCode::NOT_IMPLEMENTED => "501 Not Implemented\n",
        StatusCode::SERVICE_UNAVAILABLE => "503 Service Unavailable\n",
        StatusCode::HTTP_VERSION_NOT_SUPPORTED => "505 HTTP Version Not Supported\n",
        _ => "500 Internal Server Error\n",
    }
}

#[cfg(test)]
mod tests;
