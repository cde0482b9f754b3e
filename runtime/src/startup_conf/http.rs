//! The commands of the HTTP server.

use super::Command;
use super::options::Options;
use super::values::{ANY, SIZE, TIME, URI, WWW_ROOT};
use crate::config::HttpServer;
use crate::words::{Cursor, Stop};

/// The keywords of an HTTP server. `needs_uri`: it is an additional one.
pub(super) fn http_server(cursor: &mut Cursor<'_, '_>, needs_uri: bool) -> Result<Command, Stop> {
    #[derive(Clone, Copy, PartialEq)]
    enum Key {
        WwwRoot,
        Uri,
        CacheSize,
        MaxAge,
        KeepaliveTimeout,
        MaxReqBodySize,
        /// Its value is a number.
        Tuning,
        Http1Only,
        UrlHandlers,
        Http3,
    }
    const KEYS: &[(&str, &str, Key)] = &[
        ("www-root", "the folder to serve", Key::WwwRoot),
        (
            "uri",
            "where to listen; every address, port 80, is the default",
            Key::Uri,
        ),
        (
            "cache-size",
            "memory for file contents; 10m is the default",
            Key::CacheSize,
        ),
        (
            "max-age",
            "how long clients may keep a file; 600 is the default",
            Key::MaxAge,
        ),
        (
            "keepalive-timeout",
            "how long an idle connection is kept; 60",
            Key::KeepaliveTimeout,
        ),
        (
            "max-req-body-size",
            "largest request body; 8k is the default",
            Key::MaxReqBodySize,
        ),
        ("private-segment-size", "", Key::Tuning),
        ("fifo-size", "", Key::Tuning),
        ("prealloc-fifos", "", Key::Tuning),
        ("rx-buff-thresh", "", Key::Tuning),
        ("ptr-thresh", "", Key::Tuning),
        ("debug", "", Key::Tuning),
        ("http1-only", "", Key::Http1Only),
        ("url-handlers", "", Key::UrlHandlers),
        ("http3", "", Key::Http3),
    ];
    let mut options = Options::new(KEYS);
    let mut www_root = None;
    let mut listen = None;
    let mut server = HttpServer::new("");
    while let Some((word, key)) = options.next(cursor)? {
        match key {
            Key::WwwRoot => www_root = Some(cursor.value(&WWW_ROOT)?),
            Key::Uri => listen = Some(cursor.value(&URI)?),
            Key::CacheSize => server.cache_size = cursor.value(&SIZE)?,
            Key::MaxAge => server.max_age = cursor.value(&TIME)?,
            Key::KeepaliveTimeout => server.keepalive_timeout = cursor.value(&TIME)?,
            Key::MaxReqBodySize => server.max_req_body_size = cursor.value(&SIZE)?,
            Key::Tuning => {
                cursor.value(&ANY)?;
                cursor.note(format!(
                    "{word} has no effect; there is no such memory to size"
                ));
            }
            // HTTP/1 is all there is, so that is what was asked for.
            Key::Http1Only => {}
            Key::UrlHandlers => {
                return Err(cursor.refuse("url-handlers are not offered; serve files by www-root"));
            }
            Key::Http3 => return Err(cursor.refuse("http3 is not offered; leave it out")),
        }
    }
    let Some(www_root) = www_root else {
        return Err(cursor.missing("www-root <path>"));
    };
    if needs_uri && listen.is_none() {
        return Err(cursor.missing("uri tcp://<address>/<port>"));
    }
    server.www_root = www_root.into();
    if let Some((address, port)) = listen {
        (server.address, server.port) = (address, port);
    }
    Ok(Command::CreateHttpServer(server))
}
