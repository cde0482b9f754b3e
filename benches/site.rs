//! A folder of files and the server of it.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use http_static::{Options, Server};
use ipstack::tcp::TcpConfig;
use runtime::http::HttpService;
use runtime::timers::Timers;

use crate::peer::PORT;
use crate::whole::Whole;

/// Files served, in octets.
pub const SIZES: [usize; 3] = [8, 1460, 64 << 10];

/// The lines of a request that curl sends.
pub const REQUEST_HEAD: &str =
    "Host: 192.168.123.150\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n";

/// Where the file of `size` octets is.
pub fn path_of(size: usize) -> String {
    format!("/{size}.html")
}

/// A folder with a file of each size, gone when this is dropped.
#[derive(Debug)]
pub struct Site(tempfile::TempDir);

impl Site {
    /// The folder.
    ///
    /// # Panics
    /// When it cannot be written.
    #[expect(clippy::new_without_default, reason = "it writes files")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir();
        let folder = folder.unwrap_or_else(|error| unreachable!("a temporary folder: {error}"));
        for size in SIZES {
            let file: PathBuf = folder.path().join(&path_of(size)[1..]);
            let written = std::fs::write(&file, vec![b'x'; size]);
            written.unwrap_or_else(|error| unreachable!("{}: {error}", file.display()));
        }
        Self(folder)
    }

    /// A server that keeps connections open however many requests they bring.
    ///
    /// # Panics
    /// When the server cannot be started.
    pub fn server(&self) -> Server {
        let mut options = Options::new(self.0.path());
        options.limits.requests_per_connection = u32::MAX;
        Server::new(options).unwrap_or_else(|error| unreachable!("{error}"))
    }

    /// A worker that serves the folder.
    ///
    /// # Panics
    /// When the server cannot be started.
    pub fn worker(&self) -> Whole {
        let whole = Whole::new(TcpConfig::default());
        let service = HttpService::new(self.server(), Timers::new());
        let listening = whole.assembly.listen(Ipv4Addr::UNSPECIFIED, PORT, service);
        listening.unwrap_or_else(|error| unreachable!("{error}"));
        whole
    }
}
