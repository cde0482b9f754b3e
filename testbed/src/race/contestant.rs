//! The two servers, and how each is started.

use std::fmt::Display;
use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::http_get;
use crate::demo::startup_conf;
use crate::netns::Netns;
use crate::process::{Rights, Server};
use crate::race::site::{GREETING, INDEX, Site};
use crate::wiring::{Options, SERVER_ADDRESS, VLAN, Wiring};

/// Where both listen.
pub const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(SERVER_ADDRESS.0, 80);

/// How long a server may take to answer its first request.
const START_MAX: Duration = Duration::from_secs(10);
/// Between two attempts to connect to a server that is not there yet.
const RETRY: Duration = Duration::from_micros(500);
/// The user our server runs as, as in the proof of concept.
const SERVER_ID: u32 = 10_000;
const STDERR_LINES: usize = 10;

/// A server that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contestant {
    /// Ours.
    Ours {
        /// The path of the `dataplane` binary.
        program: PathBuf,
        /// Its workers.
        workers: u16,
    },
    /// The yardstick: nginx on the kernel's stack, in a pod of its own.
    Nginx(PathBuf),
}

impl Contestant {
    /// In one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours { .. } => "ours",
            Self::Nginx(_) => "nginx",
        }
    }

    /// Threads that serve; nginx is one process.
    pub fn workers(&self) -> u16 {
        match self {
            Self::Ours { workers, .. } => *workers,
            Self::Nginx(_) => 1,
        }
    }
}

/// A wiring with a server that has answered.
#[derive(Debug)]
pub struct Running {
    // The server ends before its namespace goes.
    /// The server.
    pub server: Server,
    /// Time from just before exec to the first answer.
    pub first_answer: Result<Duration, String>,
    wiring: Wiring,
}

impl Running {
    /// Builds a wiring and starts `contestant` in it, on the CPU `cpu`.
    ///
    /// # Errors
    /// The wiring cannot be made, or the server ended. One that runs but does not answer is told by
    /// [`first_answer`](Self::first_answer).
    pub fn start(
        contestant: &Contestant,
        site: &Site,
        options: Options,
        cpu: Option<usize>,
    ) -> Result<Self, String> {
        let mut wiring = Wiring::poc(options).map_err(told)?;
        if matches!(contestant, Contestant::Nginx(_)) {
            wiring
                .add_kernel_pod(&[VLAN], SERVER_ADDRESS)
                .map_err(told)?;
        }
        widen_ports(wiring.client().namespace()).map_err(told)?;
        let pod = match wiring.kernel_pods().first() {
            Some(pod) => pod.namespace(),
            None => wiring.pod(),
        };
        let (command, rights) = match contestant {
            Contestant::Ours { program, workers } => {
                ours(program, *workers, &wiring, site).map_err(told)?
            }
            Contestant::Nginx(program) => nginx(program, site).map_err(told)?,
        };
        let start = Instant::now();
        let mut server = pinned(cpu, || Server::start(pod, command, rights)).map_err(told)?;
        if matches!(contestant, Contestant::Ours { .. }) {
            // Nobody refuses connections before it is there; what is sent too early is lost, and
            // the client's kernel would ask again a second later.
            server.wait_until_ready(START_MAX).map_err(told)?;
        }
        let answered = first_answer(wiring.client().namespace(), &mut server, start);
        if answered.is_err() && !server.is_running() {
            let said = server.stderr_tail(STDERR_LINES);
            return Err(format!("{} ended; it said:\n{said}", contestant.name()));
        }
        Ok(Self {
            server,
            first_answer: answered,
            wiring,
        })
    }

    /// The client's namespace.
    pub fn client(&self) -> &Netns {
        self.wiring.client().namespace()
    }

    /// How the client is put on its VLAN.
    pub fn client_method(&self) -> String {
        let vlan = self.wiring.client().vlan();
        vlan.map(crate::vlan_client::VlanClient::describe)
            .unwrap_or_default()
    }
}

fn told(error: impl Display) -> String {
    error.to_string()
}

fn first_answer(client: &Netns, server: &mut Server, start: Instant) -> Result<Duration, String> {
    loop {
        match http_get(client, ENDPOINT, INDEX.path, Duration::from_secs(2)) {
            Ok(page) if page.status == 200 && page.body == GREETING.as_bytes() => {
                return Ok(start.elapsed());
            }
            Ok(page) => return Err(format!("it answers {} to {}", page.status, INDEX.path)),
            Err(error) if start.elapsed() > START_MAX || !server.is_running() => {
                return Err(error.to_string());
            }
            Err(_) => thread::sleep(RETRY),
        }
    }
}

fn ours(
    program: &Path,
    workers: u16,
    wiring: &Wiring,
    site: &Site,
) -> io::Result<(Command, Rights)> {
    let startup = site.path().join("startup.conf");
    fs::write(&startup, startup_conf(wiring, &site.www_root(), workers)?)?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--startup-config").arg(startup);
    Ok((command, Rights::NetRawOnly { id: SERVER_ID }))
}

fn nginx(program: &Path, site: &Site) -> io::Result<(Command, Rights)> {
    let conf = site.path().join("nginx.conf");
    fs::write(&conf, nginx_conf(site.path(), &site.www_root()))?;
    let mut command = Command::new(program);
    command.args(["-e", "stderr", "-p"]).arg(site.path());
    command.arg("-c").arg(conf);
    Ok((command, Rights::Inherited))
}

/// One process, which is given what nginx has to be fast with files: sendfile, whole segments,
/// open files remembered, no log, connections kept for as long as the client wants. In a user
/// namespace there is no other user than root.
fn nginx_conf(directory: &Path, www_root: &Path) -> String {
    let (directory, www_root) = (directory.display(), www_root.display());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {directory}/nginx-{name};\n"))
        .concat();
    format!(
        "user root root;\n\
         daemon off;\n\
         master_process off;\n\
         worker_processes 1;\n\
         pid {directory}/nginx.pid;\n\
         events {{\n    \
             use epoll;\n    \
             multi_accept on;\n    \
             worker_connections 16384;\n\
         }}\n\
         http {{\n    \
             types {{ text/html html; }}\n    \
             default_type application/octet-stream;\n    \
             access_log off;\n    \
             sendfile on;\n    \
             tcp_nopush on;\n    \
             tcp_nodelay on;\n    \
             keepalive_timeout 600s;\n    \
             keepalive_requests 1000000000;\n    \
             open_file_cache max=1000 inactive=600s;\n    \
             open_file_cache_valid 60s;\n    \
             open_file_cache_min_uses 1;\n\
         {temporary}    \
             server {{\n        \
                 listen 80 backlog=4096;\n        \
                 root {www_root};\n    \
             }}\n\
         }}\n"
    )
}

/// 10,000 connections, and those that ended within the last minute, need more than the usual
/// 28,000 ports.
fn widen_ports(client: &Netns) -> io::Result<()> {
    client.run(|| fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535"))?
}

/// Runs `f` on a thread that is bound to `cpu`; what it starts inherits that.
fn pinned<T: Send>(cpu: Option<usize>, f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let work = || {
            if let Some(cpu) = cpu {
                // It was among the CPUs this process may use; else it runs anywhere.
                let _ = pin(cpu);
            }
            f()
        };
        let worker = scope.spawn(work);
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Binds the calling thread, and what it starts, to `cpu`.
///
/// # Errors
/// This process may not use it.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu)?;
    Ok(nix::sched::sched_setaffinity(
        nix::unistd::Pid::from_raw(0),
        &set,
    )?)
}

/// The CPUs this process may use.
pub fn cpus() -> Vec<usize> {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0));
    set.map_or_else(
        |_| Vec::new(),
        |set| {
            (0..nix::sched::CpuSet::count())
                .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
                .collect()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_nginx_names_its_directories() {
        let conf = nginx_conf(Path::new("/tmp/race"), Path::new("/tmp/race/www"));
        assert!(conf.contains("\n        root /tmp/race/www;\n"), "{conf}");
        assert!(conf.contains("proxy_temp_path /tmp/race/nginx-proxy;"));
        assert_eq!(conf.matches('{').count(), conf.matches('}').count());
    }

    #[test]
    fn a_thread_can_be_bound_to_a_cpu_of_this_process() {
        let cpu = *cpus().last().unwrap();
        let bound = pinned(Some(cpu), cpus);
        assert_eq!(bound, [cpu]);
        assert!(cpus().contains(&cpu));
    }
}
