//! What is printed is what is read, for every language and any configuration.

use super::*;
use crate::startup_conf;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

fn vid() -> impl Strategy<Value = VidMatch> {
    prop_oneof![Just(VidMatch::Any), (1u16..=4094).prop_map(VidMatch::Id)]
}

fn matching() -> impl Strategy<Value = Match> {
    let outer = prop_oneof![Just(TagProtocol::Dot1q), Just(TagProtocol::Dot1ad)];
    let tags = (outer, vid(), option::of(vid()), any::<bool>()).prop_map(|parts| {
        let (outer, vid, inner, exact) = parts;
        let any = vid == VidMatch::Any || inner == Some(VidMatch::Any);
        Match::Tagged(TagMatch {
            outer,
            vid,
            inner,
            exact: exact && !any,
        })
    });
    prop_oneof![1 => Just(Match::Untagged), 1 => Just(Match::Default), 6 => tags]
}

/// A sub-interface; how many addresses it shall have.
fn sub_interface() -> impl Strategy<Value = (SubInterface, u8)> {
    let implied = (1u16..=4094).prop_map(SubInterface::dot1q);
    let told = (any::<u32>(), matching()).prop_map(|(id, matching)| SubInterface {
        id,
        matching,
        ..SubInterface::dot1q(1)
    });
    let mtu = option::of(68u16..);
    (prop_oneof![implied, told], any::<bool>(), mtu, 0u8..3)
        .prop_map(|(sub, up, mtu, count)| (SubInterface { up, mtu, ..sub }, count))
}

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 5]>().prop_map(|[a, b, c, d, e]| MacAddr([2, a, b, c, d, e]))
}

fn ring() -> impl Strategy<Value = RingOptions> {
    let version = prop_oneof![Just(RingVersion::V2), Just(RingVersion::V3)];
    let size = (12u32..=18).prop_map(|bits| ByteSize(1 << bits));
    (
        option::of(version),
        option::of(size),
        option::of(2u32..=4096),
        option::of(2u32..=65536),
    )
        .prop_map(|(version, block_size, blocks, tx_slots)| RingOptions {
            version,
            block_size,
            blocks,
            tx_slots,
        })
}

fn host(name: String) -> impl Strategy<Value = (HostInterface, Vec<u8>)> {
    let subs = vec(sub_interface(), 0..5);
    let options = (
        option::of(mac()),
        any::<bool>(),
        option::of(68u16..),
        1..=WORKERS_MAX,
        ring(),
    );
    (options, 0u8..3, subs).prop_map(move |(options, count, subs)| {
        let mut host = HostInterface::new(&name);
        (host.hw_addr, host.up, host.mtu, host.workers, host.ring) = options;
        let mut counts = vec![count];
        for (sub, count) in subs {
            let taken =
                |known: &SubInterface| known.id == sub.id || known.matching.collides(sub.matching);
            if !host.sub_interfaces.iter().any(taken) {
                counts.push(if sub.matching.takes_addresses() {
                    count
                } else {
                    0
                });
                host.sub_interfaces.push(sub);
            }
        }
        (host, counts)
    })
}

fn server(port: u16) -> impl Strategy<Value = HttpServer> {
    let size = prop_oneof![any::<u64>(), (0u64..1 << 20).prop_map(|size| size << 10)];
    (
        "\\PC{1,12}|/w w|\"q\"|#x|a\nb",
        size,
        any::<u32>(),
        1u32..,
        0u64..=REQUEST_BODY_MAX.0,
    )
        .prop_map(
            move |(www_root, cache_size, max_age, keepalive_timeout, body)| HttpServer {
                port,
                cache_size: ByteSize(cache_size),
                max_age: Seconds(max_age),
                keepalive_timeout: Seconds(keepalive_timeout),
                max_req_body_size: ByteSize(body),
                ..HttpServer::new(www_root)
            },
        )
}

fn log() -> impl Strategy<Value = Log> {
    let level = prop_oneof![
        Just(LogLevel::Error),
        Just(LogLevel::Info),
        Just(LogLevel::Trace)
    ];
    let format = prop_oneof![Just(LogFormat::Text), Just(LogFormat::Json)];
    (level, format).prop_map(|(level, format)| Log { level, format })
}

prop_compose! {
    fn config()(
        hosts in btree_set("[a-z][a-z0-9_-]{0,14}", 0..4).prop_flat_map(|names| {
            names.into_iter().map(host).collect::<Vec<_>>()
        }),
        servers in btree_set(1u16.., 0..3)
            .prop_flat_map(|ports| ports.into_iter().map(server).collect::<Vec<_>>()),
        log in log(),
        cli_listen in option::of("/[a-z/ ]{1,9}"),
        capture_dir in option::of("/[a-z/ ]{1,9}"),
        spare_interfaces in option::of(0u16..=64),
        connections_max in option::of(1u32..=1 << 24),
        tcp_memory in option::of(1u64 << 20..1 << 40),
        metrics in option::of(1u16..),
        by_name in any::<bool>(),
        mac in mac(),
    ) -> Config {
        let mut config = Config { log, http: servers, ..Config::default() };
        config.cli_listen = cli_listen.map(PathBuf::from);
        config.capture_dir = capture_dir.map(PathBuf::from);
        config.spare_interfaces = spare_interfaces;
        config.connections_max = connections_max.and_then(NonZeroU32::new);
        config.tcp_memory = tcp_memory.map(ByteSize);
        config.metrics_listen = metrics.map(|port| ([127, 0, 0, 1], port).into());
        let mut network = 0;
        for (mut host, counts) in hosts {
            let addresses: Vec<Vec<Ipv4Prefix>> = counts.into_iter().map(|count| {
                (0..count).map(|_| {
                    network += 1;
                    Ipv4Prefix::new([10, network, 0, 1].into(), 24).expect("at most 32")
                }).collect()
            }).collect();
            let (first, rest) = addresses.split_first().expect("one at least");
            host.addresses.clone_from(first);
            for (sub, addresses) in host.sub_interfaces.iter_mut().zip(rest) {
                sub.addresses.clone_from(addresses);
            }
            config.interfaces.push(host);
        }
        let mut routes = Vec::new();
        let mut neighbors = Vec::new();
        for interface in config.all_interfaces() {
            for address in interface.addresses() {
                let [_, network, ..] = address.address().octets();
                routes.push(Route {
                    prefix: Ipv4Prefix::new([172, network, 0, 0].into(), 16).expect("at most 32"),
                    via: [10, network, 0, 2].into(),
                    interface: by_name.then(|| interface.name()),
                });
                let address = [10, network, 0, 3].into();
                neighbors.push(Neighbor { interface: interface.name(), address, mac });
            }
        }
        (config.routes, config.neighbors) = (routes, neighbors);
        config
    }
}

proptest! {
    #[test]
    fn printed_toml_is_the_configuration(config in config()) {
        prop_assert_eq!(config.validate(), Ok(()));
        let text = config.to_toml().expect("printable");
        let read = Config::from_toml(&text, "f");
        prop_assert_eq!(read.map_err(|error| format!("{error}\n{text}")), Ok(config));
    }

    #[test]
    fn printed_commands_make_the_configuration(config in config()) {
        let text = config.to_startup_conf();
        let mut read = Config {
            cli_listen: config.cli_listen.clone(),
            capture_dir: config.capture_dir.clone(),
            spare_interfaces: config.spare_interfaces,
            connections_max: config.connections_max,
            tcp_memory: config.tcp_memory,
            metrics_listen: config.metrics_listen,
            access_log: config.access_log.clone(),
            log: config.log,
            ..Config::default()
        };
        let notes = startup_conf::edit(&mut read, &text, "f");
        prop_assert_eq!(notes.map_err(|error| format!("{error}\n{text}")), Ok(Vec::new()));
        prop_assert_eq!(read, config);
    }

    #[test]
    fn any_toml_is_read_or_refused(text in "(\\[\\[?|interface|\\]\\]?|=|\"| |\n|name|[0-9]|http){0,60}") {
        let _ = Config::from_toml(&text, "f");
    }
}

/// The example of the module's documentation is the proof of concept, with a gateway.
#[test]
fn the_documented_file_is_read() {
    let source = include_str!("../config.rs");
    let lines = source
        .lines()
        .map(|line| line.trim_start_matches("//!").trim_start());
    let example: Vec<_> = lines
        .skip_while(|line| *line != "```toml")
        .skip(1)
        .take_while(|line| *line != "```")
        .collect();
    let mut read = Config::from_toml(&example.join("\n"), "f").expect("valid");
    assert_eq!(read.routes.len(), 1);
    read.routes.clear();
    assert_eq!(read, tests::seed());
}

/// One wrong file after another, and what is said of it, in `tests/messages/config.toml.txt`.
#[test]
fn messages_are_those_of_the_golden_file() {
    let golden = include_str!("../../tests/messages/config.toml.txt");
    let told = crate::error::testing::retell(golden, |text| {
        Config::from_toml(text, "config.toml").map(|_| ())
    });
    crate::error::testing::compare(&told, golden, "tests/messages/config.toml.txt");
}
