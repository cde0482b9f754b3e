//! A server in the pod, and what a client asks of it.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testbed::WiringError;
use testbed::client::{Http, Response, http_get, ping};
use testbed::link::{Links, Mac};
use testbed::netns::{Netns, test_may_wire};
use testbed::process::{Rights, Server};
use testbed::wiring::{NODE_DEVICE, Options, POD_DEVICE, SERVER_ADDRESS, Wiring};

/// For what comes at once, on a machine that has much else to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// For what must not come.
pub(crate) const NOT_COMING: Duration = Duration::from_millis(400);

pub(crate) const SERVER: Ipv4Addr = SERVER_ADDRESS.0;
pub(crate) const HTTP: SocketAddrV4 = SocketAddrV4::new(SERVER, 80);

/// The user of the proof of concept.
pub(crate) const USER: u32 = 10_000;
pub(crate) const PAGE: &[u8] = b"Welcome\n";

/// A www-root and configuration files, in a directory that any user may read.
pub(crate) struct Site {
    directory: TempDir,
}

impl Site {
    /// With `index.html`.
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let site = Self { directory };
        fs::create_dir(site.www()).unwrap();
        fs::write(site.www().join("index.html"), PAGE).unwrap();
        site
    }

    pub(crate) fn www(&self) -> PathBuf {
        self.directory.path().join("www")
    }

    /// Writes a file beside the www-root; returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The proof of concept's `startup.conf`.
    pub(crate) fn startup_conf(&self, mac: Mac) -> String {
        format!(
            "create host-interface name macvlan0\n\
             set interface mac address host-macvlan0 {}\n\
             set int state host-macvlan0 up\n\
             create sub-interfaces host-macvlan0 123\n\
             set interface state host-macvlan0.123 up\n\
             set int ip address host-macvlan0.123 192.168.123.150/24\n\
             http static server www-root {} uri tcp://0.0.0.0/80 cache-size 512m\n",
            written(mac),
            self.www().display(),
        )
    }

    /// The proof of concept as flags, and `more` of them.
    pub(crate) fn flags(&self, more: &[&str]) -> Command {
        let mut command = dataplane(&["serve", "--interface", POD_DEVICE, "--vlan", "123"]);
        command.args(["--address", "192.168.123.150/24", "--www-root"]);
        command.arg(self.www()).args(more);
        command
    }
}

/// As in `c6:b4:b5:74:11:88`.
pub(crate) fn written(mac: Mac) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// The program under test.
pub(crate) fn dataplane(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dataplane"));
    command.args(args);
    command
}

/// `serve` with this configuration file.
pub(crate) fn serve_from(option: &str, file: &Path) -> Command {
    let mut command = dataplane(&["serve", option]);
    command.arg(file);
    command
}

/// A server that is ready, and its network.
pub(crate) struct Bed {
    // Dropped in this order: the server before what it stands on.
    pub(crate) server: Server,
    pub(crate) wiring: Wiring,
    pub(crate) site: Site,
    /// The line that said it was ready.
    pub(crate) ready: String,
}

impl Bed {
    /// The proof of concept, by flags; `None` where the test must be skipped.
    pub(crate) fn new() -> Option<Self> {
        Self::with_flags(&[])
    }

    /// The proof of concept, with more flags.
    pub(crate) fn with_flags(more: &[&str]) -> Option<Self> {
        Self::serving(|site, _| site.flags(more))
    }

    /// What `command` starts, as an ordinary user with `CAP_NET_RAW` alone.
    pub(crate) fn serving(command: impl FnOnce(&Site, &Wiring) -> Command) -> Option<Self> {
        let (wiring, site) = nothing_yet()?;
        let command = command(&site, &wiring);
        let server = start(&wiring, command);
        Some(Self::when_ready(wiring, site, server))
    }

    /// A server that was started, once it is ready.
    pub(crate) fn when_ready(wiring: Wiring, site: Site, mut server: Server) -> Self {
        let ready = server
            .wait_until_ready(SOON)
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            server,
            wiring,
            site,
            ready,
        }
    }

    pub(crate) fn client(&self) -> &Netns {
        self.wiring.client().namespace()
    }

    /// One ordinary ping.
    pub(crate) fn ping(&self) -> Result<Vec<Duration>, WiringError> {
        self.ping_with(56)
    }

    pub(crate) fn ping_with(&self, size: usize) -> Result<Vec<Duration>, WiringError> {
        ping(self.client(), SERVER, 1, size, SOON)
    }

    /// A page on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Response {
        http_get(self.client(), HTTP, path, SOON).unwrap_or_else(|error| self.explain(&error))
    }

    pub(crate) fn connect(&self) -> Http {
        Http::connect(self.client(), HTTP, SOON).unwrap_or_else(|error| self.explain(&error))
    }

    fn explain(&self, error: &WiringError) -> ! {
        panic!("{error}; the server said:\n{}", self.server.stderr_tail(20))
    }

    /// Fails unless a ping and the page are answered.
    pub(crate) fn check(&self) {
        self.ping().unwrap_or_else(|error| self.explain(&error));
        check_page(&self.get("/index.html"));
    }

    pub(crate) fn pod_links(&self) -> Links {
        Links::open(self.wiring.pod()).unwrap()
    }

    /// Waits until the server's standard error has a line with `text`.
    pub(crate) fn hear(&self, text: &str) {
        hear(&self.server, text);
    }

    /// Waits until pings are answered again after a change of the network.
    pub(crate) fn wait_until_answered(&self) {
        let short = Duration::from_millis(500);
        eventually("pings are answered", || {
            ping(self.client(), SERVER, 1, 56, short).is_ok()
        });
    }
}

/// The wiring and a www-root; `None` where the test must be skipped.
pub(crate) fn nothing_yet() -> Option<(Wiring, Site)> {
    test_may_wire().then(|| (Wiring::poc(Options::default()).unwrap(), Site::new()))
}

/// Makes the pod's interface again after it was deleted; it is down.
pub(crate) fn make_pod_device(wiring: &Wiring) {
    let mut node = Links::open(wiring.node()).unwrap();
    node.add_macvlan(NODE_DEVICE, POD_DEVICE, wiring.pod())
        .unwrap();
}

/// Starts `command` in the pod as an ordinary user with `CAP_NET_RAW` alone.
pub(crate) fn start(wiring: &Wiring, command: Command) -> Server {
    Server::start(wiring.pod(), command, Rights::NetRawOnly { id: USER }).unwrap()
}

pub(crate) fn check_page(page: &Response) {
    assert_eq!(
        (page.status, page.body.as_slice()),
        (200, PAGE),
        "{:?}",
        page.headers
    );
}

/// Waits until the server's standard error has a line with `text`.
pub(crate) fn hear(server: &Server, text: &str) {
    let start = Instant::now();
    while !server.stderr_tail(usize::MAX).contains(text) {
        let said = server.stderr_tail(20);
        assert!(
            start.elapsed() < SOON,
            "the server did not say {text:?}, but:\n{said}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `done`.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < SOON, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Octets that differ wherever they are: octet `at` is a function of `at` alone.
pub(crate) struct Pattern {
    at: u64,
}

impl Pattern {
    /// Read: the pattern. Written: checked against it.
    pub(crate) fn new() -> Self {
        Self { at: 0 }
    }

    /// Octets read or checked so far.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// The first `length` octets.
    pub(crate) fn octets(length: usize) -> Vec<u8> {
        let mut octets = vec![0; length];
        Self::new().fill(&mut octets);
        octets
    }

    fn fill(&mut self, into: &mut [u8]) {
        let mut rest = into;
        while !rest.is_empty() {
            let word = (self.at / 8)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_be_bytes();
            let skip = usize::try_from(self.at % 8).unwrap();
            let length = rest.len().min(8 - skip);
            let (now, later) = rest.split_at_mut(length);
            now.copy_from_slice(&word[skip..skip + length]);
            self.at += u64::try_from(length).unwrap();
            rest = later;
        }
    }
}

impl io::Read for Pattern {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.fill(into);
        Ok(into.len())
    }
}

impl io::Write for Pattern {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let from = self.at;
        let mut expected = vec![0; octets.len()];
        self.fill(&mut expected);
        if octets == expected {
            return Ok(octets.len());
        }
        let good = octets
            .iter()
            .zip(&expected)
            .take_while(|(a, b)| a == b)
            .count();
        let at = from + u64::try_from(good).unwrap();
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("octet {at} is wrong"),
        ))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
