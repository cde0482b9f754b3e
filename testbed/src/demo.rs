//! `dataplane demo`: the proof of concept on this machine, told as it happens.

use std::env;
use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write};
use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};
use tempfile::TempDir;

use crate::client::{PING_SIZE, http_get, ping};
use crate::netns::{Netns, enter_user_namespace, may_wire};
use crate::process::{Rights, Server};
use crate::vlan_client::VlanClient;
use crate::wiring::{Options, POD_DEVICE, SERVER_ADDRESS, VLAN, Wiring};

/// What to show.
pub struct Demo<'a> {
    /// Makes the command that starts the server, an absolute path, from its startup file.
    pub server: &'a dyn Fn(&Path) -> Command,
    /// Leave it running until Ctrl-C, and say what to try.
    pub keep: bool,
}

impl fmt::Debug for Demo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demo")
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// The step that failed, and why.
#[derive(Debug)]
pub struct DemoError {
    step: &'static str,
    why: String,
}

impl DemoError {
    fn at(step: &'static str) -> impl FnOnce(&dyn fmt::Display) -> Self {
        move |why| Self {
            step,
            why: why.to_string(),
        }
    }
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the demo failed while {}: {}", self.step, self.why)
    }
}

impl std::error::Error for DemoError {}

/// The user the server runs as, as in the proof of concept.
const SERVER_ID: u32 = 10_000;
const PINGS: u16 = 3;
const TIMEOUT: Duration = Duration::from_secs(10);
const PAGE: &str = "Welcome\n";
const STDERR_LINES: usize = 20;

/// Runs the demo and tells it on `out`. As an ordinary user it enters a user namespace, for
/// which the process must not have started threads yet. Everything is removed at the end.
///
/// # Errors
/// Names the step that failed and why, with the end of what the server said.
pub fn run(demo: &Demo<'_>, out: &mut dyn Write) -> Result<(), DemoError> {
    let mut interrupt = Interrupt::new().map_err(|e| DemoError::at("preparing")(&e))?;
    if !may_wire() {
        enter_user_namespace().map_err(|e| DemoError::at("asking for the right to wire")(&e))?;
    }
    let start = Instant::now();
    let wiring =
        Wiring::poc(Options::default()).map_err(|e| DemoError::at("building the wiring")(&e))?;
    let built = start.elapsed();
    tell(out, &picture())?;
    let method = wiring
        .client()
        .vlan()
        .map(VlanClient::describe)
        .unwrap_or_default();
    tell(
        out,
        &format!(
            "wiring   built in {}; the client is on {method}\n",
            ms(built)
        ),
    )?;
    interrupt.check()?;

    let files =
        Files::write(&wiring).map_err(|e| DemoError::at("writing the server's files")(&e))?;
    tell(
        out,
        &format!(
            "server   its startup file, {}:\n",
            files.startup().display()
        ),
    )?;
    for line in files.lines.lines() {
        tell(out, &format!("           {line}\n"))?;
    }
    let start = Instant::now();
    let command = (demo.server)(&files.startup());
    let mut server = Server::start(wiring.pod(), command, Rights::NetRawOnly { id: SERVER_ID })
        .map_err(|e| DemoError::at("starting the server")(&e))?;
    let ready = server
        .wait_until_ready(TIMEOUT)
        .map_err(|e| DemoError::at("waiting for the server")(&e))?;
    tell(
        out,
        &format!("server   {ready}\n         after {}\n", ms(start.elapsed())),
    )?;
    interrupt.check()?;

    let answered = answers(&wiring, out);
    answered.map_err(|error| with_stderr(error, &server))?;
    interrupt.check()?;
    tell(
        out,
        &vitals(&server).map_err(|e| DemoError::at("reading the server's vitals")(&e))?,
    )?;

    if demo.keep {
        tell(out, &what_to_try(&wiring, &server))?;
        interrupt.wait(&mut server)?;
    }
    let status = server
        .terminate()
        .map_err(|e| DemoError::at("ending the server")(&e))?;
    if !status.success() {
        let error = DemoError::at("ending the server")(&format!("it ended with {status}"));
        return Err(with_stderr(error, &server));
    }
    drop((server, files, wiring));
    tell(
        out,
        "done     the server ended by itself; namespaces, devices and files are removed\n",
    )
}

fn answers(wiring: &Wiring, out: &mut dyn Write) -> Result<(), DemoError> {
    let (client, address) = (wiring.client().namespace(), SERVER_ADDRESS.0);
    let mut times = ping(client, address, PINGS, PING_SIZE, TIMEOUT)
        .map_err(|e| DemoError::at("pinging the server")(&e))?;
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let least = times.first().copied().unwrap_or_default();
    tell(
        out,
        &format!(
            "ping     {address}: {PINGS} of {PINGS} answered, round trip min {} median {}\n",
            ms(least),
            ms(median)
        ),
    )?;
    let start = Instant::now();
    let page = http_get(
        client,
        SocketAddrV4::new(address, 80),
        "/index.html",
        TIMEOUT,
    )
    .map_err(|e| DemoError::at("fetching the page")(&e))?;
    if (page.status, page.body.as_slice()) != (200, PAGE.as_bytes()) {
        let body = String::from_utf8_lossy(&page.body);
        let why = format!("status {}, body {body:?} instead of {PAGE:?}", page.status);
        return Err(DemoError::at("fetching the page")(&why));
    }
    let (body, took) = (PAGE.trim_end(), ms(start.elapsed()));
    tell(
        out,
        &format!("http     GET http://{address}/index.html: 200, {body:?}, in {took}\n"),
    )
}

fn vitals(server: &Server) -> io::Result<String> {
    let memory = server.resident_memory()?;
    let cpu = server.cpu_time()?.as_millis();
    let capabilities = server.capabilities()?;
    let held = capabilities.iter().any(|line| {
        !line.starts_with("CapBnd")
            && line
                .split(' ')
                .nth(1)
                .is_some_and(|set| set.contains(|c| c != '0'))
    });
    let held = if held {
        capabilities.join(", ")
    } else {
        "none".into()
    };
    Ok(format!(
        "server   process {}: {}.{} MB resident, {cpu} ms CPU, capabilities now: {held}\n",
        server.pid(),
        memory / 1_000_000,
        memory / 100_000 % 10,
    ))
}

fn picture() -> String {
    let (server, vid) = (SERVER_ADDRESS.0, VLAN.vid);
    format!(
        "\n  client                      node              pod\n  \
         192.168.123.1 --- veth --- eth0 --- macvlan --- {POD_DEVICE} --- AF_PACKET --- dataplane\n  \
         VLAN {vid}, the kernel's                                        VLAN {vid} in userspace\n  \
         TCP/IP stack                                                 {server}: ping, HTTP\n\n"
    )
}

fn what_to_try(wiring: &Wiring, server: &Server) -> String {
    let enter = |namespace: &Netns| {
        let user = if in_user_namespace() {
            format!(
                "--target {} --user --preserve-credentials ",
                std::process::id()
            )
        } else {
            String::new()
        };
        format!("nsenter {user}--net={}", namespace.proc_path().display())
    };
    let (client, pod) = (enter(wiring.client().namespace()), enter(wiring.pod()));
    let address = SERVER_ADDRESS.0;
    let tries = [
        ("ping", format!("{client} ping -c3 {address}")),
        (
            "curl",
            format!("{client} curl -i http://{address}/index.html"),
        ),
        ("ss", format!("{pod} ss -f link -anp")),
    ];
    let mut text = String::from("\nIt is running. In another terminal, as the same user:\n");
    for (program, line) in &tries {
        let missing = if installed(program) {
            ""
        } else {
            "   # not installed here"
        };
        for part in ["  ", line, missing, "\n"] {
            text.push_str(part);
        }
    }
    format!(
        "{text}  grep Cap /proc/{}/status\nCtrl-C ends it.\n",
        server.pid()
    )
}

fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some("1")
}

/// The server's startup file: the proof of concept's, with the pod's own address.
pub(crate) fn startup_conf(wiring: &Wiring, www_root: &Path, workers: u16) -> io::Result<String> {
    let queues = match workers {
        1 => String::new(),
        several => format!(" num-rx-queues {several}"),
    };
    let mac = wiring.pod_link().map_err(io::Error::other)?.mac;
    let mac = mac.map(|octet| format!("{octet:02x}")).join(":");
    let (address, prefix_len) = SERVER_ADDRESS;
    let vid = VLAN.vid;
    Ok(format!(
        "create host-interface name {POD_DEVICE}{queues}\n\
         set interface mac address host-{POD_DEVICE} {mac}\n\
         set int state host-{POD_DEVICE} up\n\
         create sub-interfaces host-{POD_DEVICE} {vid}\n\
         set interface state host-{POD_DEVICE}.{vid} up\n\
         set int ip address host-{POD_DEVICE}.{vid} {address}/{prefix_len}\n\
         http static server www-root {} uri tcp://0.0.0.0/80 cache-size 512m\n",
        www_root.display(),
    ))
}

/// The www-root and the startup file, in a directory of their own.
struct Files {
    directory: TempDir,
    lines: String,
}

impl Files {
    fn write(wiring: &Wiring) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("dataplane-demo-")
            .tempdir()?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let www = directory.path().join("www");
        fs::create_dir(&www)?;
        fs::write(www.join("index.html"), PAGE)?;
        let lines = startup_conf(wiring, &www, 1)?;
        let files = Self { directory, lines };
        fs::write(files.startup(), &files.lines)?;
        Ok(files)
    }

    fn startup(&self) -> std::path::PathBuf {
        self.directory.path().join("startup.conf")
    }
}

/// SIGINT and SIGTERM, as something to look at and to wait for, so that both clean up.
struct Interrupt {
    signals: UnixStream,
    registered: Vec<SigId>,
}

impl Interrupt {
    fn new() -> io::Result<Self> {
        let (signals, sender) = UnixStream::pair()?;
        let registered = vec![
            pipe::register(SIGINT, sender.try_clone()?)?,
            pipe::register(SIGTERM, sender)?,
        ];
        signals.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(Self {
            signals,
            registered,
        })
    }

    fn arrived(&mut self) -> bool {
        self.signals.read(&mut [0]).is_ok()
    }

    fn check(&mut self) -> Result<(), DemoError> {
        let waiting = self.signals.set_nonblocking(true);
        let arrived = waiting.is_ok() && self.arrived();
        let _ = self.signals.set_nonblocking(false); // the descriptor is ours and open
        if arrived {
            Err(DemoError::at("running")(&"it was interrupted"))
        } else {
            Ok(())
        }
    }

    /// Until a signal, or the end of the server.
    fn wait(&mut self, server: &mut Server) -> Result<(), DemoError> {
        while !self.arrived() {
            // Ctrl-C reaches the server too, and it may be the quicker one.
            if !server.is_running() && !self.arrived() {
                let error = DemoError::at("keeping it running")(&"the server ended");
                return Err(with_stderr(error, server));
            }
        }
        Ok(())
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

fn with_stderr(mut error: DemoError, server: &Server) -> DemoError {
    let tail = server.stderr_tail(STDERR_LINES);
    if !tail.is_empty() {
        error.why = format!("{}; the server said:\n{tail}", error.why);
    }
    error
}

fn tell(out: &mut dyn Write, text: &str) -> Result<(), DemoError> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| DemoError::at("telling what happens")(&e))
}

/// As in `0.042 ms`.
fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}
