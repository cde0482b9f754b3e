//! Entry points for fuzzing, replayed over `fuzz/corpus` by a test: see `fuzz/README.md`.

use std::sync::Arc;
use std::time::Duration;

use af_packet::LinkInfo;
use dataplane::testing::{MemoryPort, slots};
use dataplane::{BATCH_MAX, Batch, Frame, HEADROOM, MacAddr, Offload};
use ipstack::tcp::TcpConfig;

use crate::assemble::Assembly;
use crate::config::{Config, HostInterface, SubInterface};
use crate::plan::{Numbers, Plan};
use crate::startup_conf;

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
    let entry = assembly.entry;
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
        let mut memory = vec![0xa5; HEADROOM];
        memory.extend_from_slice(octets);
        let mut room = slots(BATCH_MAX, 4096);
        let offload = Offload {
            checksum: high & 0x08 != 0,
            segmentation_max: 0,
        };
        let mut port = MemoryPort::new(&mut room, offload);
        let mut batch = Batch::new();
        let mut frame = Frame::new(&mut memory, HEADROOM, octets.len());
        if let Some(plan) = assembly.plan() {
            frame.meta.interface = plan.port.index;
        }
        let _ = batch.push(frame);
        assembly.graph.turn(now, entry, &mut batch, &mut port);
    }
    Some(assembly)
}

/// Every frame that came in or was made went somewhere.
fn check(assembly: &Assembly) {
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

/// The graph of the README's example, on an interface that is up.
fn assembly() -> Option<Assembly> {
    let mut sub = SubInterface::dot1q(123);
    sub.addresses.push("192.168.123.150/24".parse().ok()?);
    let mut host = HostInterface::new("fuzz0");
    host.sub_interfaces.push(sub);
    let config = Config {
        interfaces: vec![host],
        ..Config::default()
    };
    let mut numbers = Numbers::default();
    let plan = Plan::of(&config, config.interfaces.first()?, &mut numbers).ok()?;
    let mut assembly =
        Assembly::new(plan.port.index, TcpConfig::default(), Arc::new(|| ())).ok()?;
    assembly.apply(plan).ok()?;
    assembly.follow_link(Some(LinkInfo {
        name: "fuzz0".to_owned(),
        index: 1,
        mac: MAC,
        mtu: 1500,
        up: true,
        carrier: true,
        ethernet: true,
    }));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn replay(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            run(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{} is empty", folder.display());
    }

    #[test]
    fn the_corpora_pass() {
        replay("graph", graph);
        replay("startup_conf", startup_conf);
        replay("config_toml", config_toml);
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
