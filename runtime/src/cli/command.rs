//! An operator's commands: the words, by one table, so that abbreviations, completion and help come
//! from it. The commands that change the configuration are [`startup_conf`]'s own.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use ipstack::ping::DATA_MAX;

use super::http::Parts;
use super::ping::{REPEAT_MAX, Request, SIZE_DEFAULT};
use super::trace::SHOWN_DEFAULT;
use crate::capture;
use crate::config::{decimal, ipv4};
use crate::startup_conf;
use crate::trace::PACKETS_MAX;
use crate::words::{Cursor, Entry, Kind, Stop, Tree};

/// An operator's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Show something.
    Show {
        /// What.
        what: Show,
        /// As JSON.
        json: bool,
    },
    /// Count from now on.
    Clear(Clear),
    /// Change the configuration.
    Edit(startup_conf::Command),
    /// Do what a file says.
    Exec(PathBuf),
    /// Ask somebody for echoes.
    Ping(Request),
    /// Trace packets.
    TraceAdd {
        /// From this node on.
        node: String,
        /// So many, in each worker.
        count: u32,
    },
    /// Capture packets into a file.
    Capture(capture::Order),
    /// End the capture.
    CaptureEnd,
    /// List the commands.
    Help,
    /// Close the connection.
    Quit,
}

/// What can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// `show interface`: of these, or of all.
    Interface(Vec<String>),
    /// `show interface address`.
    InterfaceAddress(Vec<String>),
    /// `show hardware-interfaces`.
    HardwareInterfaces(Vec<String>),
    /// `show runtime`.
    Runtime,
    /// `show errors`, `show node counters`.
    Errors {
        /// Of these interfaces, or of all.
        names: Vec<String>,
        /// By interface.
        verbose: bool,
    },
    /// `show ip neighbors`, on this interface or on all.
    IpNeighbors(Option<String>),
    /// `show ip fib`.
    IpFib,
    /// `show session`.
    Session {
        /// With windows and TCP's counters.
        verbose: bool,
    },
    /// `show http static server`.
    HttpStaticServer(Parts),
    /// `show vlib graph`.
    VlibGraph,
    /// `show vlib graphviz`.
    VlibGraphviz,
    /// `show version`.
    Version,
    /// `show threads`.
    Threads,
    /// `show config`.
    Config(ConfigFormat),
    /// `show trace`.
    Trace {
        /// This many packets of each worker.
        max: u32,
        /// Those that came to this node; `None`: all.
        node: Option<String>,
    },
    /// `pcap trace status`.
    Capture,
}

/// Languages of `show config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigFormat {
    /// VPP's commands.
    StartupConf,
    /// TOML.
    Toml,
}

/// What can be counted anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clear {
    /// Interfaces' counters.
    Interfaces,
    /// Nodes' calls and vectors.
    Runtime,
    /// Drops.
    Errors,
    /// Traced packets, which are forgotten.
    Trace,
}

const INTERFACE: Kind<String> = Kind {
    name: "<interface>",
    what: "an interface such as host-macvlan0",
    parse: |word| Ok(word.to_owned()),
};

const FILE: Kind<PathBuf> = Kind {
    name: "<file>",
    what: "the path of a file",
    parse: |word| Ok(PathBuf::from(word)),
};

/// Takes `json` if it is next.
fn json(cursor: &mut Cursor<'_, '_>) -> bool {
    cursor.keyword("json", "as JSON")
}

/// A command without parameters but `json`.
fn plain(what: Show, cursor: &mut Cursor<'_, '_>) -> Command {
    let json = json(cursor);
    Command::Show { what, json }
}

/// Interfaces' names, then `json`.
fn interfaces(cursor: &mut Cursor<'_, '_>, what: fn(Vec<String>) -> Show) -> Result<Command, Stop> {
    let mut names = Vec::new();
    let json = loop {
        if json(cursor) {
            break true;
        }
        match cursor.optional(&INTERFACE)? {
            Some(name) => names.push(name),
            None => break false,
        }
    };
    Ok(Command::Show {
        what: what(names),
        json,
    })
}

fn errors(cursor: &mut Cursor<'_, '_>) -> Result<Command, Stop> {
    let verbose = cursor.keyword("verbose", "on which interface");
    let mut command = interfaces(cursor, |names| Show::Errors {
        names,
        verbose: false,
    })?;
    if let Command::Show {
        what: Show::Errors { verbose: shown, .. },
        ..
    } = &mut command
    {
        *shown = verbose;
    }
    Ok(command)
}

fn show_trace(cursor: &mut Cursor<'_, '_>) -> Result<Command, Stop> {
    let (mut max, mut node) = (SHOWN_DEFAULT, None);
    loop {
        match cursor.choice(&[
            ("max", "how many", true),
            ("node", "which came to it", false),
        ]) {
            Some(true) => max = cursor.value(&PACKETS)?,
            Some(false) => node = Some(cursor.value(&NODE)?),
            None => return Ok(plain(Show::Trace { max, node }, cursor)),
        }
    }
}

fn session(cursor: &mut Cursor<'_, '_>) -> Command {
    let verbose = cursor.keyword("verbose", "with windows and TCP's counters");
    plain(Show::Session { verbose }, cursor)
}

fn http(cursor: &mut Cursor<'_, '_>) -> Command {
    let mut parts = Parts::default();
    loop {
        #[derive(Clone, Copy)]
        enum Part {
            Sessions,
            Cache,
            Listeners,
            Verbose,
        }
        match cursor.choice(&[
            ("sessions", "who is connected", Part::Sessions),
            ("cache", "the cache", Part::Cache),
            ("listeners", "where it listens", Part::Listeners),
            ("verbose", "the cached files too", Part::Verbose),
        ]) {
            Some(Part::Sessions) => parts.sessions = true,
            Some(Part::Cache) => parts.cache = true,
            Some(Part::Listeners) => parts.listeners = true,
            Some(Part::Verbose) => parts.verbose = true,
            None => return plain(Show::HttpStaticServer(parts), cursor),
        }
    }
}

const ADDRESS: Kind<Ipv4Addr> = Kind {
    name: "<address>",
    what: "an IPv4 address",
    parse: ipv4,
};

const NODE: Kind<String> = Kind {
    name: "<node>",
    what: "a node such as af-packet-input",
    parse: |word| Ok(word.to_owned()),
};

const PACKETS: Kind<u32> = Kind {
    name: "<n>",
    what: "a number of packets",
    parse: |word| match decimal(word).and_then(|n| u32::try_from(n).ok()) {
        Some(n) if (1..=PACKETS_MAX).contains(&n) => Ok(n),
        _ => Err(format!("1 to {PACKETS_MAX} is possible")),
    },
};

const REPEAT: Kind<u16> = Kind {
    name: "<n>",
    what: "a number of times",
    parse: |word| match decimal(word).and_then(|n| u16::try_from(n).ok()) {
        Some(n) if (1..=REPEAT_MAX).contains(&n) => Ok(n),
        _ => Err(format!("1 to {REPEAT_MAX} is possible")),
    },
};

const SIZE: Kind<usize> = Kind {
    name: "<octets>",
    what: "a number of octets",
    parse: |word| match decimal(word).and_then(|n| usize::try_from(n).ok()) {
        Some(n) if n <= DATA_MAX => Ok(n),
        _ => Err(format!("0 to {DATA_MAX} is possible")),
    },
};

const INTERVAL: Kind<Duration> = Kind {
    name: "<seconds>",
    what: "a time in seconds such as 0.2",
    parse: |word| match word.parse::<f64>() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("0.01 to 3600 is possible".to_owned()),
    },
};

fn ping(cursor: &mut Cursor<'_, '_>) -> Result<Command, Stop> {
    #[derive(Clone, Copy)]
    enum Key {
        Repeat,
        Size,
        Interval,
    }
    let mut request = Request {
        destination: cursor.value(&ADDRESS)?,
        repeat: 5,
        size: SIZE_DEFAULT,
        interval: Duration::from_secs(1),
    };
    loop {
        match cursor.choice(&[
            ("repeat", "how often", Key::Repeat),
            ("size", "octets of data", Key::Size),
            ("interval", "time between two requests", Key::Interval),
        ]) {
            Some(Key::Repeat) => request.repeat = cursor.value(&REPEAT)?,
            Some(Key::Size) => request.size = cursor.value(&SIZE)?,
            Some(Key::Interval) => request.interval = cursor.value(&INTERVAL)?,
            None => return Ok(Command::Ping(request)),
        }
    }
}

const CAPTURE_PACKETS: Kind<u64> = Kind {
    name: "<n>",
    what: "a number of packets",
    parse: |word| match decimal(word) {
        Some(n) if (1..=capture::PACKETS_MAX).contains(&n) => Ok(n),
        _ => Err(format!("1 to {} is possible", capture::PACKETS_MAX)),
    },
};

const SNAPLEN: Kind<u32> = Kind {
    name: "<octets>",
    what: "a number of octets",
    parse: |word| match decimal(word).and_then(|n| u32::try_from(n).ok()) {
        Some(n) if (capture::SNAPLEN_MIN..=capture::SNAPLEN_MAX).contains(&n) => Ok(n),
        _ => Err(format!(
            "{} to {} is possible",
            capture::SNAPLEN_MIN,
            capture::SNAPLEN_MAX
        )),
    },
};

const CAPTURED_INTERFACE: Kind<Option<String>> = Kind {
    name: "<interface>|any",
    what: "an interface such as host-macvlan0.123, or any",
    parse: |word| Ok((word != "any").then(|| word.to_owned())),
};

const CAPTURE_FILE: Kind<String> = Kind {
    name: "<file>",
    what: "a file's name, without a folder",
    parse: |word| Ok(word.to_owned()),
};

fn capture(cursor: &mut Cursor<'_, '_>) -> Result<Command, Stop> {
    #[derive(Clone, Copy)]
    enum Key {
        Off,
        Status,
        Rx,
        Tx,
        Drop,
        Max,
        Interface,
        File,
        Octets,
    }
    let mut kinds = capture::Kinds::default();
    let (mut packets, mut snaplen) = (capture::PACKETS_DEFAULT, capture::SNAPLEN_MAX);
    let (mut interface, mut file) = (None, None);
    let mut key = cursor.choice(&[
        ("off", "end the capture", Key::Off),
        ("status", "how it is", Key::Status),
    ]);
    loop {
        key = key.or_else(|| {
            cursor.choice(&[
                ("rx", "received packets", Key::Rx),
                ("tx", "transmitted packets", Key::Tx),
                ("drop", "dropped packets, with the reason", Key::Drop),
                ("max", "how many", Key::Max),
                ("intfc", "of which interface", Key::Interface),
                ("interface", "", Key::Interface),
                ("file", "where to", Key::File),
                ("max-bytes-per-pkt", "octets of each", Key::Octets),
            ])
        });
        match key.take() {
            Some(Key::Off) => return Ok(Command::CaptureEnd),
            Some(Key::Status) => return Ok(plain(Show::Capture, cursor)),
            Some(Key::Rx) => kinds.rx = true,
            Some(Key::Tx) => kinds.tx = true,
            Some(Key::Drop) => kinds.drop = true,
            Some(Key::Max) => packets = cursor.value(&CAPTURE_PACKETS)?,
            Some(Key::Interface) => interface = cursor.value(&CAPTURED_INTERFACE)?,
            Some(Key::File) => file = Some(cursor.value(&CAPTURE_FILE)?),
            Some(Key::Octets) => snaplen = cursor.value(&SNAPLEN)?,
            None => break,
        }
    }
    if kinds == capture::Kinds::default() {
        return Err(cursor.missing("what to capture (rx, tx or drop)"));
    }
    let Some(file) = file else {
        return Err(cursor.missing("where to capture to (file NAME)"));
    };
    Ok(Command::Capture(capture::Order {
        kinds,
        packets,
        snaplen,
        interface,
        file,
    }))
}

/// The commands that are not about the configuration.
pub const COMMANDS: &[Entry<Command>] = &[
    Entry {
        path: &["show", "interface"],
        usage: "[<interface>...] [json]",
        help: "traffic and drops of every interface",
        parse: |cursor| interfaces(cursor, Show::Interface),
    },
    Entry {
        path: &["show", "interface", "address"],
        usage: "[<interface>...] [json]",
        help: "the interfaces' IP addresses",
        parse: |cursor| interfaces(cursor, Show::InterfaceAddress),
    },
    Entry {
        path: &["show", "hardware-interfaces"],
        usage: "[<interface>...] [json]",
        help: "the kernel's interfaces, the rings on them and what the kernel dropped",
        parse: |cursor| interfaces(cursor, Show::HardwareInterfaces),
    },
    Entry {
        path: &["show", "runtime"],
        usage: "[json]",
        help: "how often each node ran and what went through it",
        parse: |cursor| Ok(plain(Show::Runtime, cursor)),
    },
    Entry {
        path: &["show", "errors"],
        usage: "[verbose] [<interface>...] [json]",
        help: "why packets were dropped; verbose: on which interface",
        parse: errors,
    },
    Entry {
        path: &["show", "node", "counters"],
        usage: "[verbose] [<interface>...] [json]",
        help: "why packets were dropped; the same as show errors",
        parse: errors,
    },
    Entry {
        path: &["show", "ip", "neighbors"],
        usage: "[<interface>] [json]",
        help: "who was found by ARP, and who was configured",
        parse: |cursor| {
            if json(cursor) {
                let what = Show::IpNeighbors(None);
                return Ok(Command::Show { what, json: true });
            }
            let interface = cursor.optional(&INTERFACE)?;
            Ok(plain(Show::IpNeighbors(interface), cursor))
        },
    },
    Entry {
        path: &["show", "ip", "fib"],
        usage: "[json]",
        help: "connected and static routes",
        parse: |cursor| Ok(plain(Show::IpFib, cursor)),
    },
    Entry {
        path: &["show", "session"],
        usage: "[verbose] [json]",
        help: "TCP connections",
        parse: |cursor| Ok(session(cursor)),
    },
    Entry {
        path: &["show", "http", "static", "server"],
        usage: "[sessions] [cache] [listeners] [verbose] [json]",
        help: "the HTTP servers: requests, connections, cache",
        parse: |cursor| Ok(http(cursor)),
    },
    Entry {
        path: &["show", "vlib", "graph"],
        usage: "[json]",
        help: "the nodes and where each leads",
        parse: |cursor| Ok(plain(Show::VlibGraph, cursor)),
    },
    Entry {
        path: &["show", "vlib", "graphviz"],
        usage: "",
        help: "the same, for Graphviz's dot",
        parse: |_| {
            let what = Show::VlibGraphviz;
            Ok(Command::Show { what, json: false })
        },
    },
    Entry {
        path: &["show", "version"],
        usage: "[json]",
        help: "the program's version",
        parse: |cursor| Ok(plain(Show::Version, cursor)),
    },
    Entry {
        path: &["show", "threads"],
        usage: "[json]",
        help: "the workers",
        parse: |cursor| Ok(plain(Show::Threads, cursor)),
    },
    Entry {
        path: &["show", "config"],
        usage: "[startup-conf|toml|json]",
        help: "the desired state, ready to be saved as a configuration file",
        parse: |cursor| {
            let format = cursor.choice(&[
                (
                    "startup-conf",
                    "as VPP's commands",
                    ConfigFormat::StartupConf,
                ),
                ("toml", "as TOML", ConfigFormat::Toml),
            ]);
            let what = Show::Config(format.unwrap_or(ConfigFormat::StartupConf));
            Ok(plain(what, cursor))
        },
    },
    Entry {
        path: &["trace", "add"],
        usage: "<node> <n>",
        help: "trace the next packets that come to a node, such as af-packet-input",
        parse: |cursor| {
            let node = cursor.value(&NODE)?;
            let count = cursor.value(&PACKETS)?;
            Ok(Command::TraceAdd { node, count })
        },
    },
    Entry {
        path: &["show", "trace"],
        usage: "[max <n>] [node <node>] [json]",
        help: "the traced packets, node by node, of each worker the first 50; with a node, those \
               that came to it",
        parse: show_trace,
    },
    Entry {
        path: &["pcap", "trace"],
        usage: "off|status [json]|[rx] [tx] [drop] [max <n>] [intfc <interface>|any] \
                [max-bytes-per-pkt <octets>] file <file>",
        help: "capture packets into a pcapng file for tcpdump or Wireshark, 1000 if nothing is said; \
               the file is made in the folder of --capture-dir",
        parse: capture,
    },
    Entry {
        path: &["clear", "trace"],
        usage: "",
        help: "forget the traced packets, and trace no more",
        parse: |_| Ok(Command::Clear(Clear::Trace)),
    },
    Entry {
        path: &["clear", "interfaces"],
        usage: "",
        help: "count interfaces' traffic from now on",
        parse: |_| Ok(Command::Clear(Clear::Interfaces)),
    },
    Entry {
        path: &["clear", "runtime"],
        usage: "",
        help: "count nodes' work from now on",
        parse: |_| Ok(Command::Clear(Clear::Runtime)),
    },
    Entry {
        path: &["clear", "errors"],
        usage: "",
        help: "count drops from now on",
        parse: |_| Ok(Command::Clear(Clear::Errors)),
    },
    Entry {
        path: &["exec"],
        usage: "<file>",
        help: "do what a file of commands says, all of it or nothing",
        parse: |cursor| cursor.value(&FILE).map(Command::Exec),
    },
    Entry {
        path: &["ping"],
        usage: "<address> [repeat <n>] [size <octets>] [interval <seconds>]",
        help: "ask somebody for echoes, five times if nothing is said",
        parse: ping,
    },
    Entry {
        path: &["help"],
        usage: "",
        help: "list the commands",
        parse: |_| Ok(Command::Help),
    },
    Entry {
        path: &["quit"],
        usage: "",
        help: "close the connection",
        parse: |_| Ok(Command::Quit),
    },
    Entry {
        path: &["exit"],
        usage: "",
        help: "close the connection",
        parse: |_| Ok(Command::Quit),
    },
];

/// Everything an operator can say.
pub fn tree() -> &'static Tree<Command> {
    static TREE: LazyLock<Tree<Command>> =
        LazyLock::new(|| Tree::new(COMMANDS).with(startup_conf::COMMANDS, Command::Edit));
    &TREE
}

#[cfg(test)]
mod tests;
