//! The command line.
//!
//! What `serve` runs comes from one source: flags, VPP's `startup.conf`, VPP's `vpp.conf`, or TOML.
//! All four become a [`Config`] in [`Source::load`].

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{ArgAction, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use dataplane::MacAddr;

use crate::config::{
    ByteSize, CONFIG_FILE_MAX, Config, HostInterface, HttpServer, Ipv4Prefix, LogFormat, LogLevel,
    RingVersion, Route, SPARE_INTERFACES_MAX, Seconds, SubInterface, ipv4, vlan_id,
};
use crate::error::{ConfigError, LoadError};
use crate::launch::{PACKET_FD, User};
use crate::sandbox::{self, Sandbox};
use crate::startup_conf::{self, Note};
use crate::vpp_conf;

const EXAMPLES: &str = "  Serve /www on VLAN 123 of the interface macvlan0:
      dataplane serve --interface macvlan0 --vlan 123 \\
          --address 192.168.123.150/24 --www-root /www
  The same from VPP's configuration files:
      dataplane serve --startup-config startup.conf
      dataplane serve --vpp-config vpp.conf
  Ask it how it is doing:
      dataplane ctl show interface
  Check a configuration, and see it as TOML:
      dataplane check --startup-config startup.conf --print toml

Serving needs the capability CAP_NET_RAW (or root) to open the interface, and drops it then.
Exit codes: 0 done, 1 failed while running, 2 wrong arguments or configuration.";

#[cfg(feature = "demo")]
const DEMO_EXAMPLE: &str = "  See it work, in network namespaces of its own (removed afterwards):
      dataplane demo
";
#[cfg(not(feature = "demo"))]
const DEMO_EXAMPLE: &str = "";

fn examples() -> String {
    format!("Examples:\n{DEMO_EXAMPLE}{EXAMPLES}")
}

/// A userspace packet dataplane: it takes frames from a network interface, makes VLANs with their
/// own IPv4 addresses there, answers ARP and ping, and serves files by HTTP, without the kernel's
/// network stack.
#[derive(Clone, Debug, Parser)]
#[command(name = "dataplane", version, after_help = examples(), arg_required_else_help = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Serve until SIGTERM or SIGINT
    ///
    /// Prints one line beginning with "ready:" on standard output when it serves; logs go to
    /// standard error. If the interface does not exist yet, waits for it.
    Serve(Source),
    /// Show it working: build a VLAN in network namespaces, ping and fetch a page, clean up
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Check a configuration without running it
    Check(Check),
    /// Open packet sockets, give up every right, and become COMMAND
    ///
    /// For a server that never has a capability: `dataplane open-sockets --user 10000 -- dataplane
    /// serve ...`. COMMAND finds the sockets by their numbers in `DATAPLANE_PACKET_FD`.
    OpenSockets(OpenSockets),
    /// Ask a running server, or change what it does
    ///
    /// With COMMAND: does it, and exits with 1 if it failed. Without: reads commands from the
    /// terminal (? explains, tab completes) or from standard input.
    Ctl(Ctl),
    /// Say whether the server that was started with `--ready-file FILE` is ready
    ///
    /// For probes: prints the server's "ready:" line and exits with 0, or says why not and exits
    /// with 1. The file a dead server left behind does not count.
    Ready(Ready),
    /// Print the completions for a shell
    Completions(Completions),
    /// Print a man page
    Man(Man),
}

/// `dataplane ctl`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Ctl {
    /// The server's operator socket [default: /run/dataplane/cli.sock]
    #[arg(short, long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print tables as JSON
    #[arg(long)]
    pub json: bool,
    /// The command, for example: show interface
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// `dataplane demo`.
#[cfg(feature = "demo")]
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Demo {
    /// Leave everything running at the end and print commands to try
    #[arg(long)]
    pub keep: bool,
}

/// `dataplane check`.
#[derive(Clone, Debug, clap::Args)]
pub struct Check {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: Source,
    /// Print the configuration in this language
    #[arg(long, value_name = "LANGUAGE")]
    pub print: Option<Language>,
}

/// `dataplane ready`.
#[derive(Clone, Debug, clap::Args)]
pub struct Ready {
    /// The server's ready file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `dataplane open-sockets`.
#[derive(Clone, Debug, clap::Args)]
pub struct OpenSockets {
    /// Sockets to open: three for each worker, and two more for each time an interface that several
    /// workers share may be deleted and made again
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub count: u16,
    /// User and group to become, in numbers; only root can
    #[arg(long, value_name = "UID[:GID]", value_parser = User::parse)]
    pub user: Option<User>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `dataplane completions`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

impl Completions {
    /// Writes the shell's completions to `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn print(self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut text = Vec::new(); // the generator panics when its output does not take it
        clap_complete::generate(self.shell, &mut Args::command(), "dataplane", &mut text);
        out.write_all(&text)
    }
}

/// `dataplane man`.
#[derive(Clone, Debug, clap::Args)]
pub struct Man {
    /// The command whose page to print, for example serve; without it, the page of dataplane
    #[arg(value_name = "COMMAND", value_parser = command_name)]
    pub command: Option<String>,
}

impl Man {
    /// Writes the page to `out`, in roff.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn print(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut all = Args::command();
        all.build(); // the sub-commands learn their full names
        let command = match &self.command {
            None => Some(&all),
            Some(name) => all.find_subcommand(name),
        };
        command.map_or(Ok(()), |command| {
            let title = command.get_display_name().unwrap_or("dataplane");
            clap_mangen::Man::new(command.clone())
                .title(title)
                .source(concat!("dataplane ", env!("CARGO_PKG_VERSION")))
                .render(out)
        })
    }
}

/// The name of one of our commands.
fn command_name(name: &str) -> Result<String, String> {
    let all = Args::command();
    if all.find_subcommand(name).is_some() {
        return Ok(name.to_owned());
    }
    let names: Vec<&str> = all.get_subcommands().map(clap::Command::get_name).collect();
    Err(format!("expected one of {}", names.join(", ")))
}

/// A language to print a configuration in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// TOML, for --config
    Toml,
    /// VPP's commands, for --startup-config
    StartupConf,
}

impl Language {
    /// `config` in this language.
    ///
    /// # Errors
    /// A path is not UTF-8.
    pub fn print(self, config: &Config) -> Result<String, ConfigError> {
        match self {
            Self::Toml => config.to_toml(),
            Self::StartupConf => Ok(config.to_startup_conf()),
        }
    }
}

/// Where the configuration comes from: one of flags and files, and what applies to all of them.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(
    ["interface", "startup_config", "vpp_config", "config"]
))]
pub struct Source {
    /// Flags, if `--interface` was given.
    #[command(flatten)]
    pub flags: Flags,

    /// Read VPP's commands from FILE (startup.conf)
    #[arg(long, value_name = "FILE", help_heading = "From a file instead")]
    pub startup_config: Option<PathBuf>,
    /// Read VPP's process configuration from FILE (vpp.conf), and the startup-config it names
    #[arg(long, value_name = "FILE", help_heading = "From a file instead")]
    pub vpp_config: Option<PathBuf>,
    /// Read TOML from FILE
    #[arg(long, value_name = "FILE", help_heading = "From a file instead")]
    pub config: Option<PathBuf>,

    /// Operator socket, for dataplane ctl and vppctl [default: /run/dataplane/cli.sock]
    #[arg(long, value_name = "PATH", help_heading = "Operation")]
    pub cli_listen: Option<PathBuf>,
    /// Folder where pcap trace writes its files [default: the operator socket's]
    #[arg(long, value_name = "DIR", help_heading = "Operation")]
    pub capture_dir: Option<PathBuf>,
    /// How many host interfaces can be created while it runs, 0 to 64 [default: 4]
    #[arg(
        long, value_name = "N", help_heading = "Operation",
        value_parser = clap::value_parser!(u16).range(..=i64::from(SPARE_INTERFACES_MAX))
    )]
    pub spare_interfaces: Option<u16>,
    /// Serve metrics for Prometheus at /metrics there, for example 127.0.0.1:9482
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Operation")]
    pub metrics_listen: Option<SocketAddr>,
    /// Append a line for each request to FILE, in the combined format; - is standard output
    #[arg(long, value_name = "FILE", help_heading = "Operation")]
    pub access_log: Option<PathBuf>,
    /// Write log messages as text or JSON [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = "Operation")]
    pub log_format: Option<LogFormat>,
    /// Log more: -v single connections, -vv everything
    #[arg(short, long, action = ArgAction::Count, help_heading = "Operation")]
    pub verbose: u8,
    /// Keep a file that tells `dataplane ready FILE` whether the server is ready
    #[arg(long, value_name = "FILE", help_heading = "Operation")]
    pub ready_file: Option<PathBuf>,
    /// Print every limit and the most memory the server can take, and exit
    #[arg(
        long, value_name = "FORMAT", num_args = 0..=1, require_equals = true,
        default_missing_value = "text", help_heading = "Operation"
    )]
    pub print_limits: Option<LogFormat>,
    /// TCP connections at most, of each worker [default: 24576]
    #[arg(long, value_name = "N", help_heading = "Operation")]
    pub connections_max: Option<NonZeroU32>,
    /// Memory for the buffers of each worker's connections, TCP's and HTTP's, for example 64m
    /// [default: 512m]
    #[arg(long, value_name = "SIZE", help_heading = "Operation")]
    pub tcp_memory: Option<ByteSize>,
    /// Take this inherited packet socket instead of opening one; may be given several times, and
    /// three are needed for each worker. systemd's `LISTEN_FDS` will do, too
    #[arg(
        long, value_name = "N", env = PACKET_FD, value_delimiter = ',',
        help_heading = "Operation"
    )]
    pub packet_fd: Vec<i32>,
    /// Leave FOLDER within reach of the running server, beside its www-roots and the folders of its
    /// configuration files: for www-roots that come later or are replaced
    #[arg(long, value_name = "FOLDER", help_heading = "Operation")]
    pub allow_read: Vec<PathBuf>,
    /// Do without seccomp and Landlock, to debug: whoever takes over the server then has all system
    /// calls and all files of its user
    #[arg(long, help_heading = "Operation")]
    pub no_sandbox: bool,
    /// Log less: -q warnings and errors, -qq errors
    #[arg(
        short, long, action = ArgAction::Count, conflicts_with = "verbose",
        help_heading = "Operation"
    )]
    pub quiet: u8,
}

/// Where a configuration can come from instead of [`Flags`].
const FILES: [&str; 3] = ["startup_config", "vpp_config", "config"];

/// One interface, one VLAN, one server, as flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Interface of the host to take frames from, as ip link shows it
    #[arg(long, value_name = "NAME", requires = "address", requires = "www_root")]
    pub interface: Option<String>,
    /// VLAN to serve on, 1 to 4094; without it, frames without a tag
    #[arg(long, value_name = "ID", value_parser = vlan_id, conflicts_with_all = FILES)]
    pub vlan: Option<u16>,
    /// Our address and the length of its network's prefix; may be given several times
    #[arg(long, value_name = "ADDRESS/LENGTH", conflicts_with_all = FILES)]
    pub address: Vec<Ipv4Prefix>,
    /// Folder to serve
    #[arg(long, value_name = "DIR", conflicts_with_all = FILES)]
    pub www_root: Option<String>,
    /// Router for clients on other networks
    #[arg(long, value_name = "ADDRESS", value_parser = ipv4, conflicts_with_all = FILES)]
    pub gateway: Option<Ipv4Addr>,
    /// TCP port to serve on [default: 80]
    #[arg(
        long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..),
        conflicts_with_all = FILES
    )]
    pub port: Option<u16>,
    /// Memory for file contents, for example 512m [default: 10m]
    #[arg(long, value_name = "SIZE", conflicts_with_all = FILES)]
    pub cache_size: Option<ByteSize>,
    /// How long clients may keep a file without asking again, for example 60s [default: 10m]
    #[arg(long, value_name = "TIME", conflicts_with_all = FILES)]
    pub max_age: Option<Seconds>,
    /// Our Ethernet address [default: the interface's own]
    #[arg(long, value_name = "MAC", conflicts_with_all = FILES)]
    pub hw_addr: Option<MacAddr>,
    /// Threads that share the interface's flows [default: 1]
    #[arg(long, value_name = "N", conflicts_with_all = FILES)]
    pub workers: Option<u16>,
    /// Version of the kernel's receive ring [default: v3 on x86-64, v2 elsewhere]
    #[arg(long, value_name = "VERSION", conflicts_with_all = FILES)]
    pub rx_ring: Option<RingVersion>,
}

/// A configuration, and what its reader should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration; it is valid in itself and on this host.
    pub config: Config,
    /// Sentences to log as warnings.
    pub notes: Vec<String>,
}

impl Source {
    /// The configuration, checked against itself and this host's file system.
    ///
    /// # Errors
    /// A file that cannot be read or is wrong, or a configuration that is not valid.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let mut notes = Vec::new();
        let (mut config, place) = if let Some(path) = &self.startup_config {
            startup_config(Config::default(), path, &mut notes)?
        } else if let Some(path) = &self.vpp_config {
            vpp_config(path, &mut notes)?
        } else if let Some(path) = &self.config {
            let (text, file) = (read_file(path)?, path.display().to_string());
            (Config::from_toml(&text, &file)?, Some((text, file)))
        } else {
            let config = self.flags.config();
            config.validate()?;
            (config, None)
        };
        self.overrule(&mut config);
        let checked = if config.interfaces.is_empty() {
            Err(ConfigError::NoInterface)
        } else {
            config.validate().and_then(|()| config.check_host())
        };
        checked.map_err(|error| LoadError::Invalid {
            place: place.map(|(text, file)| startup_conf::place_of(&error, &text, &file)),
            error,
        })?;
        let mut notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
        notes.extend(config.warnings());
        Ok(Loaded { config, notes })
    }

    /// What the server has to reach after its start: the files of this source, to read them again,
    /// and the www-roots.
    pub fn sandbox(&self, config: &Config) -> Sandbox {
        let mut sandbox = Sandbox::new();
        for file in [&self.startup_config, &self.vpp_config, &self.config]
            .into_iter()
            .flatten()
        {
            sandbox.read_beside(file);
        }
        // The startup-config a vpp.conf names; it was readable when it was loaded.
        let vpp_conf = self.vpp_config.as_deref().and_then(|path| {
            let text = read_file(path).ok()?;
            vpp_conf::parse(&text, &path.display().to_string()).ok()
        });
        if let Some(file) = vpp_conf.and_then(|conf| conf.startup_config) {
            sandbox.read_beside(&file);
        }
        for server in &config.http {
            sandbox.read(&server.www_root);
        }
        for folder in &self.allow_read {
            sandbox.read(folder);
        }
        sandbox
    }

    /// What the flags for all sources say goes before what a file says.
    fn overrule(&self, config: &mut Config) {
        if let Some(path) = &self.cli_listen {
            config.cli_listen = Some(path.clone());
        }
        if let Some(path) = &self.capture_dir {
            config.capture_dir = Some(path.clone());
        }
        if let Some(count) = self.spare_interfaces {
            config.spare_interfaces = Some(count);
        }
        config.connections_max = self.connections_max.or(config.connections_max);
        config.tcp_memory = self.tcp_memory.or(config.tcp_memory);
        if let Some(address) = self.metrics_listen {
            config.metrics_listen = Some(address);
        }
        if let Some(path) = &self.access_log {
            config.access_log = Some(path.clone());
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
        }
        match (self.verbose, self.quiet) {
            (0, 0) => {}
            (0, 1) => config.log.level = LogLevel::Warn,
            (0, _) => config.log.level = LogLevel::Error,
            (1, _) => config.log.level = LogLevel::Debug,
            (_, _) => config.log.level = LogLevel::Trace,
        }
    }
}

impl Flags {
    /// The configuration the flags describe. Without `--interface` it is empty.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        let Some(name) = &self.interface else {
            return config;
        };
        let mut host = HostInterface::new(name);
        host.hw_addr = self.hw_addr;
        host.workers = self.workers.unwrap_or(1);
        host.ring.version = self.rx_ring;
        let mut interface = host.full_name();
        if let Some(vid) = self.vlan {
            let mut sub = SubInterface::dot1q(vid);
            sub.addresses.clone_from(&self.address);
            interface = host.sub_name(sub.id);
            host.sub_interfaces.push(sub);
        } else {
            host.addresses.clone_from(&self.address);
        }
        config.routes.extend(self.gateway.map(|via| Route {
            prefix: Ipv4Prefix::ALL,
            via,
            interface: Some(interface),
        }));
        config.http.extend(self.www_root.as_ref().map(|www_root| {
            let mut server = HttpServer::new(www_root);
            server.port = self.port.unwrap_or(server.port);
            server.cache_size = self.cache_size.unwrap_or(server.cache_size);
            server.max_age = self.max_age.unwrap_or(server.max_age);
            server
        }));
        config.interfaces.push(host);
        config
    }
}

/// A configuration, with the text and the name of the file that made it.
type Read = (Config, Option<(String, String)>);

/// Edits `config` by the commands in the file at `path`.
fn startup_config(
    mut config: Config,
    path: &Path,
    notes: &mut Vec<Note>,
) -> Result<Read, LoadError> {
    let (text, file) = (read_file(path)?, path.display().to_string());
    notes.extend(startup_conf::edit(&mut config, &text, &file)?);
    Ok((config, Some((text, file))))
}

/// Reads the `vpp.conf` at `path`, and the startup-config it names.
fn vpp_config(path: &Path, notes: &mut Vec<Note>) -> Result<Read, LoadError> {
    let (text, file) = (read_file(path)?, path.display().to_string());
    let conf = vpp_conf::parse(&text, &file)?;
    notes.extend(conf.notes);
    let config = Config {
        cli_listen: conf.cli_listen,
        ..Config::default()
    };
    match conf.startup_config {
        Some(path) => startup_config(config, &path, notes),
        None => Ok((config, Some((text, file)))),
    }
}

/// The text of a configuration file.
pub(crate) fn read_file(path: &Path) -> Result<String, LoadError> {
    let read = || {
        let mut octets = Vec::new();
        File::open(path)?
            .take(CONFIG_FILE_MAX + 1)
            .read_to_end(&mut octets)?;
        if octets.len() as u64 > CONFIG_FILE_MAX {
            let message = format!("it is larger than {}", ByteSize(CONFIG_FILE_MAX));
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        String::from_utf8(octets)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
    };
    let explain = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied if !sandbox::reaches(path) => {
            io::Error::new(error.kind(), format!("it {}", sandbox::OUT_OF_REACH))
        }
        _ => error,
    };
    read().map_err(explain).map_err(|source| LoadError::Read {
        file: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
