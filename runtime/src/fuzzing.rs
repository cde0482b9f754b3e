//! Entry points for fuzzing, replayed over `fuzz/corpus` by a test: see `fuzz/README.md`.

mod tcp_http;

use std::time::{Duration, Instant};

use af_packet::LinkInfo;
use dataplane::testing::Room;
use dataplane::{Batch, Frame, HEADROOM, Interfaces, MacAddr, Offload};
use ipstack::tcp::TcpConfig;

use crate::assemble::Assembly;
use crate::cli::client::Client;
use crate::cli::command::{self, Command};
use crate::cli::editor::LINE_MAX;
use crate::cli::operator::Reply;
use crate::config::{Config, HostInterface, Ipv4Prefix, SubInterface};
use crate::plan::{Numbers, Plan};
use crate::startup_conf;
use crate::words::Word;

pub use tcp_http::tcp_http;

/// The port's Ethernet address, which inputs begin with when they want to be taken.
pub const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// Octets of one frame at most.
const FRAME_MAX: usize = 2048;

/// Frames of one input at most.
const FRAMES_MAX: usize = 512;

/// Runs `data` through the whole graph: a length (two octets) before each frame, and the time in
/// between in the highest three bits of it, as powers of eight of a millisecond.
///
/// # Panics
/// When a node's counters do not add up, or anything in the graph panics.
pub fn graph(data: &[u8]) {
    let Some(assembly) = run(data) else {
        return;
    };
    check(&assembly);
}

/// The graph after `data`.
fn run(data: &[u8]) -> Option<Assembly> {
    let mut assembly = assembly()?;
    let mut room = room();
    let mut now = Duration::from_secs(1);
    let mut rest = data;
    let mut frames = 0;
    while let Some((&[high, low], behind)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes([high & 0x07, low])).min(FRAME_MAX);
        let (octets, behind) = behind.split_at(len.min(behind.len()));
        rest = behind;
        frames += 1;
        if frames > FRAMES_MAX {
            break;
        }
        if high >> 5 > 0 {
            now += Duration::from_millis(1 << (3 * (u32::from(high >> 5) - 1)).min(20));
        }
        feed(&mut assembly, &mut room, now, octets, high & 0x08 != 0);
    }
    Some(assembly)
}

/// What a port of the graph hands out.
fn room() -> Room {
    Room::new(32, 4096)
}

/// Gives the graph a frame, and a port that does or does not finish checksums.
fn feed(assembly: &mut Assembly, room: &mut Room, now: Duration, octets: &[u8], checksum: bool) {
    let mut memory = vec![0xa5; HEADROOM];
    memory.extend_from_slice(octets);
    let offload = Offload {
        checksum,
        segmentation_max: 0,
    };
    let mut port = room.port(offload);
    let mut batch = Batch::new();
    let mut frame = Frame::new(&mut memory, HEADROOM, octets.len());
    if let Some(plan) = assembly.plan() {
        frame.meta.interface = plan.port.index;
    }
    let _ = batch.push(frame);
    let entry = assembly.entry;
    assembly.graph.turn(now, entry, &mut batch, &mut port);
}

/// Every frame that came in or was made went somewhere, and drops are the same by node and by
/// interface.
fn check(assembly: &Assembly) {
    let counters = assembly.graph.counters();
    let mut by_node: Vec<Vec<u64>> = counters
        .nodes
        .iter()
        .map(|node| node.drops.clone())
        .collect();
    let mut by_interface: Vec<u64> = counters.interfaces.iter().map(|one| one.drops).collect();
    for drop in assembly.graph.interface_drops() {
        by_node[drop.node][drop.reason] -= drop.count;
        by_interface[usize::from(drop.interface.0)] -= drop.count;
    }
    assert!(
        by_node.iter().flatten().all(|left| *left == 0),
        "{by_node:?}"
    );
    assert!(
        by_interface.iter().all(|left| *left == 0),
        "{by_interface:?}"
    );
    for (info, node) in assembly
        .graph
        .nodes()
        .iter()
        .zip(&assembly.graph.counters().nodes)
    {
        let (taken, given) = (
            node.received + node.made,
            node.sent + node.transmitted + node.consumed + node.dropped(),
        );
        assert_eq!(
            (taken, node.leaked),
            (given, 0),
            "{} does not add up",
            info.name
        );
    }
}

/// The README's example: VLAN 123 of one interface.
fn example() -> Config {
    let mut sub = SubInterface::dot1q(123);
    sub.addresses
        .extend("192.168.123.150/24".parse::<Ipv4Prefix>());
    let mut host = HostInterface::new("fuzz0");
    host.sub_interfaces.push(sub);
    Config {
        interfaces: vec![host],
        ..Config::default()
    }
}

fn plan(config: &Config) -> Option<Plan> {
    Plan::of(config, config.interfaces.first()?, &mut Numbers::default()).ok()
}

/// The graph of [`example`], on an interface that is up.
fn assembly() -> Option<Assembly> {
    assembly_with(TcpConfig::default())
}

fn assembly_with(config: TcpConfig) -> Option<Assembly> {
    let plan = plan(&example())?;
    let interfaces = Interfaces::shared();
    let tcp = ipstack::fuzzing::tcp_with(config, interfaces.clone());
    let mut assembly = Assembly::with_tcp(plan.port.index, interfaces, tcp).ok()?;
    assembly.apply(plan).ok()?;
    assembly.follow_link(Some(LinkInfo::stand_in("fuzz0", MAC)));
    Some(assembly)
}

/// Reads `data` as VPP's commands; what is read must print as what reads the same.
///
/// # Panics
/// When it does not.
pub fn startup_conf(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok((config, _)) = startup_conf::parse(text, "fuzz") {
        let printed = config.to_startup_conf();
        let again = startup_conf::parse(&printed, "fuzz").map(|(config, _)| config);
        assert!(again.is_ok_and(|again| again == config), "{printed}");
    }
}

/// Reads `data` as TOML; what is read must print as what reads the same.
///
/// # Panics
/// When it does not.
pub fn config_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(config) = Config::from_toml(text, "fuzz")
        && let Ok(printed) = config.to_toml()
    {
        let again = Config::from_toml(&printed, "fuzz");
        assert!(again.is_ok_and(|again| again == config), "{printed}");
    }
}

/// Reads each line of `data` as an operator's command, completes it and asks for its help; a
/// command that changes the configuration is tried on an example.
///
/// # Panics
/// When anything on the way does, or when a change leaves a valid configuration that does not print
/// as what reads the same.
pub fn operator_command(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        let tree = command::tree();
        let _ = tree.complete(line);
        let _ = tree.help(line);
        let Ok(words) = Word::split(line) else {
            continue;
        };
        let Ok(parsed) = tree.parse(&words) else {
            continue;
        };
        let Command::Edit(edit) = parsed.command else {
            continue;
        };
        let mut config = example();
        if edit.apply(&mut config).is_ok() && config.validate().is_ok() {
            let printed = config.to_startup_conf();
            let again = startup_conf::parse(&printed, "fuzz").map(|(config, _)| config);
            assert!(
                again.is_ok_and(|again| again == config),
                "{line}: {printed}"
            );
        }
    }
}

/// Plays `data` as what an operator's client sends; commands are answered by their own text.
///
/// # Panics
/// When anything on the way does, or a command is longer than a line may be.
pub fn telnet(data: &[u8]) {
    let mut client = Client::new(Instant::now());
    // As the server reads.
    for piece in data.chunks(4096) {
        client.receive(piece);
        answer(&mut client);
    }
    client.end_of_input();
    answer(&mut client);
}

fn answer(client: &mut Client) {
    while let Some(command) = client.next_command() {
        // What is no UTF-8 becomes three octets each.
        assert!(command.len() <= 3 * LINE_MAX, "a line is too long");
        client.reply(&Reply {
            quit: command == "quit",
            ..Reply::done(format!("{command}\n"))
        });
    }
    let unread = client.output().len();
    client.sent(unread);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use dataplane::fuzzing::replay;
    use proptest::collection;
    use proptest::prelude::*;
    use proptest::sample::Index;

    #[test]
    fn the_corpora_pass() {
        replay("graph", graph);
        replay("tcp_http", tcp_http);
        replay("startup_conf", startup_conf);
        replay("config_toml", config_toml);
        replay("operator_command", operator_command);
        replay("telnet", telnet);
    }

    /// The frames of the corpus: valid ones, and those that once were trouble.
    fn frames() -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/graph");
        let mut frames = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let data = std::fs::read(entry.unwrap().path()).unwrap();
            let mut rest = data.as_slice();
            while let Some((&[high, low], behind)) = rest.split_first_chunk::<2>() {
                let len = usize::from(u16::from_be_bytes([high & 0x07, low]));
                let (octets, behind) = behind.split_at(len.min(behind.len()));
                frames.push(octets.to_vec());
                rest = behind;
            }
        }
        frames.sort();
        frames
    }

    #[derive(Clone, Debug)]
    enum Deed {
        /// A frame of the corpus, as it is.
        Valid(Index),
        /// One with an octet changed, or cut.
        Damaged(Index, Index, u8, bool),
        Random(Vec<u8>),
        /// Time passes, in milliseconds.
        Wait(u16),
        /// The sub-interface is taken away, or is there (again).
        Sub(bool),
    }

    fn deed() -> impl Strategy<Value = Deed> {
        let index = any::<Index>;
        prop_oneof![
            4 => index().prop_map(Deed::Valid),
            4 => (index(), index(), any::<u8>(), any::<bool>())
                .prop_map(|(frame, at, octet, cut)| Deed::Damaged(frame, at, octet, cut)),
            1 => collection::vec(any::<u8>(), 0..80).prop_map(Deed::Random),
            1 => any::<u16>().prop_map(Deed::Wait),
            1 => any::<bool>().prop_map(Deed::Sub),
        ]
    }

    proptest! {
        /// After every turn: received and made are sent, transmitted, consumed and dropped, at
        /// each node; and drops by interface are the drops by node.
        #[test]
        fn counters_add_up_at_any_time(deeds in collection::vec(deed(), 1..60)) {
            let frames = frames();
            let (mut assembly, mut room) = (assembly().unwrap(), room());
            let whole = plan(&example()).unwrap();
            let mut now = Duration::from_secs(1);
            let mut fed = 0;
            for deed in deeds {
                let frame = match deed {
                    Deed::Valid(index) => index.get(&frames).clone(),
                    Deed::Damaged(index, at, octet, cut) => {
                        let mut frame = index.get(&frames).clone();
                        if !frame.is_empty() {
                            let at = at.index(frame.len());
                            frame[at] = octet;
                            frame.truncate(if cut { at } else { frame.len() });
                        }
                        frame
                    }
                    Deed::Random(octets) => octets,
                    Deed::Wait(ms) => {
                        now += Duration::from_millis(ms.into());
                        continue;
                    }
                    Deed::Sub(there) => {
                        let mut plan = whole.clone();
                        if !there {
                            plan.subs.clear();
                        }
                        assembly.apply(plan).unwrap();
                        check(&assembly);
                        continue;
                    }
                };
                fed += 1;
                feed(&mut assembly, &mut room, now, &frame, false);
                check(&assembly);
            }
            let entry = assembly.entry.index();
            prop_assert_eq!(assembly.graph.counters().nodes[entry].received, fed);
        }
    }

    #[test]
    fn the_corpus_gets_as_far_as_its_names_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/graph");
        for (name, node) in [
            ("arp-and-syn", "tcp4-input"),
            ("echo-request", "af-packet-output"),
            ("fragments-of-an-echo", "ip4-full-reassembly"),
            ("closed-udp-port", "ip4-icmp-error"),
            ("arp-reply-unasked", "arp-input"),
        ] {
            let assembly = run(&std::fs::read(folder.join(name)).unwrap()).unwrap();
            let nodes = assembly
                .graph
                .nodes()
                .iter()
                .zip(&assembly.graph.counters().nodes);
            let reached = nodes.filter(|(_, counts)| counts.received > 0);
            assert!(
                reached
                    .map(|(info, _)| info.name)
                    .any(|reached| reached == node),
                "{name}"
            );
        }
    }
}
