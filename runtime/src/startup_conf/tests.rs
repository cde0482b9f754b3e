use super::*;
use crate::config::{
    HostInterface, HttpServer, Ipv4Prefix, RingOptions, RingVersion, SubInterface,
};
use crate::error::testing::{compare, retell};
use proptest::prelude::*;

/// The proof of concept's file, octet for octet.
const SEED: &str = "\
create host-interface name macvlan0
set interface mac address host-macvlan0 c6:b4:b5:74:11:88
set int state host-macvlan0 up
create sub-interfaces host-macvlan0 123
set interface state host-macvlan0.123 up
set int ip address host-macvlan0.123 192.168.123.150/24
http static server www-root /www uri tcp://0.0.0.0/80 cache-size 512m
";

fn config(text: &str) -> Config {
    match parse(text, "startup.conf") {
        Ok((config, _)) => config,
        Err(error) => panic!("{error}"),
    }
}

fn notes(text: &str) -> Vec<String> {
    let (_, notes) = parse(text, "startup.conf").expect("valid");
    notes.iter().map(ToString::to_string).collect()
}

fn prefix(text: &str) -> Ipv4Prefix {
    text.parse().expect("a prefix")
}

#[test]
fn the_proof_of_concepts_seven_lines_are_understood() {
    let mut host = HostInterface::new("macvlan0");
    host.hw_addr = Some("c6:b4:b5:74:11:88".parse().expect("an address"));
    host.sub_interfaces.push(SubInterface {
        addresses: vec![prefix("192.168.123.150/24")],
        ..SubInterface::dot1q(123)
    });
    let mut server = HttpServer::new("/www");
    server.cache_size = crate::config::ByteSize::mib(512);
    let expected = Config {
        interfaces: vec![host],
        http: vec![server],
        ..Config::default()
    };
    assert_eq!(config(SEED), expected);
    assert_eq!(notes(SEED), [""; 0]);
    assert_eq!(config(SEED).warnings(), [""; 0]);
}

#[test]
fn abbreviations_comments_blank_lines_and_line_ends_do_not_matter() {
    let text = "# the port\r\n\r\n  cr host name macvlan0  \r\n\
        comment anything { goes\n\
        comment { over\n several { lines }\n}\n\
        set int mac addr host-macvlan0 c6:b4:b5:74:11:88\n\
        set inter st host-macvlan0 up # up it goes\n\
        create sub host-macvlan0 123\n\
        set int state host-macvlan0.123 up\n\
        \tset int ip addr host-macvlan0.123 192.168.123.150/24\n\
        http st s cache-size 512m uri http://0.0.0.0 www-root \"/www\"";
    assert_eq!(config(text), config(SEED));
}

#[test]
fn interfaces_are_created_down_as_in_vpp() {
    let config = config("create host-interface name eth0\ncreate sub-interfaces host-eth0 7\n");
    assert!(!config.interfaces[0].up);
    assert!(!config.interfaces[0].sub_interfaces[0].up);
}

#[test]
fn sub_interfaces_are_made_in_all_of_vpps_forms() {
    let text = "create host-interface name eth0
        create sub-interfaces host-eth0 1 default
        create sub-interfaces host-eth0 2 untagged
        create sub-interfaces host-eth0 10-12
        create sub-interfaces host-eth0 5000 dot1q 20
        create sub-interfaces host-eth0 21 dot1q 21 exact-match
        create sub-interfaces host-eth0 22 dot1ad 100 inner-dot1q 200 exact-match
        create sub-interfaces host-eth0 23 dot1q any inner-dot1q 7
        create sub-interfaces host-eth0 24 dot1ad 100 inner-dot1q any";
    let config = config(text);
    let made: Vec<_> = config.interfaces[0]
        .sub_interfaces
        .iter()
        .map(|sub| format!("{} {}", sub.id, sub.matching))
        .collect();
    assert_eq!(
        made,
        [
            "1 default",
            "2 untagged",
            "10 dot1q 10 exact-match",
            "11 dot1q 11 exact-match",
            "12 dot1q 12 exact-match",
            "5000 dot1q 20",
            "21 dot1q 21 exact-match",
            "22 dot1ad 100 inner-dot1q 200 exact-match",
            "23 dot1q any inner-dot1q 7",
            "24 dot1ad 100 inner-dot1q any",
        ]
    );
}

#[test]
fn ring_options_are_taken_and_vpps_own_are_noted() {
    let text = "create host-interface v2 name eth0 hw-addr 02:00:00:00:00:01 num-rx-queues 2 \
        rx-block-size 64k rx-blocks 128 tx-slots 256\n";
    let host = &config(text).interfaces[0];
    assert_eq!(host.workers, 2);
    assert_eq!(
        host.ring,
        RingOptions {
            version: Some(RingVersion::V2),
            block_size: Some(crate::config::ByteSize::kib(64)),
            blocks: Some(128),
            tx_slots: Some(256),
        }
    );
    assert_eq!(
        notes("\ncreate host-interface name eth0 qdisc-bypass-disable rx-size 4096"),
        [
            "startup.conf:2:1: qdisc-bypass-disable has no effect; the driver decides this by \
             itself",
            "startup.conf:2:1: rx-size has no effect; the rings are set by rx-block-size, \
             rx-blocks and tx-slots, and every worker has one of each direction",
        ]
    );
}

#[test]
fn what_was_set_can_be_taken_back() {
    let text = format!(
        "{SEED}
        set interface mtu packet 1400 host-macvlan0.123
        set interface mtu 0 host-macvlan0.123
        ip route add 0.0.0.0/0 via 192.168.123.1 host-macvlan0.123
        ip route add 10.0.0.0/8 via 192.168.123.2
        ip route del 10.0.0.0/8
        ip route del 0.0.0.0/0 via 192.168.123.1 host-macvlan0.123
        set ip neighbor host-macvlan0.123 192.168.123.9 02:00:00:00:00:09 static
        set ip neighbor del host-macvlan0.123 192.168.123.9 02:00:00:00:00:09
        set interface ip address host-macvlan0 10.1.1.1/24
        set interface ip address del host-macvlan0 10.1.1.1/24
        create sub-interfaces host-macvlan0 124
        delete sub-interface host-macvlan0.124
        create host-interface name eth9
        delete host-interface name eth9
        http static listener add uri tcp://0.0.0.0/8080 www-root /other
        http static listener del uri tcp://0.0.0.0:8080"
    );
    assert_eq!(config(&text), config(SEED));
}

#[test]
fn routes_and_neighbors_go_with_the_interface_that_reached_them() {
    let text = format!(
        "{SEED}ip route add 0.0.0.0/0 via 192.168.123.1
        set ip neighbor host-macvlan0.123 192.168.123.1 02:00:00:00:00:09 static
        delete sub-interfaces host-macvlan0.123
        http static server disable"
    );
    assert_eq!(
        notes(&text),
        [
            "startup.conf:10:9: the route to 0.0.0.0/0 via 192.168.123.1 went too",
            "startup.conf:10:9: the neighbor 192.168.123.1 went too",
        ]
    );
}

#[test]
fn a_gateway_may_come_before_the_address_that_reaches_it() {
    let text = "create host-interface name eth0
        ip route add 0.0.0.0/0 via 10.0.0.1 host-eth0
        set interface ip address host-eth0 10.0.0.2/24";
    assert_eq!(config(text).routes.len(), 1);
}

#[test]
fn nothing_is_changed_when_a_line_fails() {
    let mut config = config(SEED);
    let before = config.clone();
    let text = "delete host-interface name macvlan0\nhttp static server disable\nnonsense";
    edit(&mut config, text, "f").expect_err("refused");
    assert_eq!(config, before);
}

#[test]
fn every_command_is_explained_and_completed() {
    let lines: Vec<_> = tree().help("").into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines.len(), COMMANDS.len());
    let words = |line| -> Vec<_> { tree().complete(line).iter().map(|e| e.text).collect() };
    assert_eq!(words("set "), ["interface", "ip"]);
    assert_eq!(words("set int st"), ["state"]);
    assert_eq!(words("set int state host-x "), ["up", "down"]);
    assert_eq!(words("set int ip addr "), ["del", "<interface>"]);
    assert_eq!(
        words("create sub host-x 5 dot1q 7 "),
        ["inner-dot1q", "exact-match"]
    );
    assert_eq!(words("http static server cache"), ["cache-size"]);
    assert_eq!(
        words("http static server uri tcp://0.0.0.0/80 ca"),
        ["cache-size"]
    );
    assert_eq!(words("http static server uri "), ["tcp://<address>/<port>"]);
}

/// One wrong file after another, and what is said of it, in `tests/messages/startup.conf.txt`.
#[test]
fn messages_are_those_of_the_golden_file() {
    let golden = include_str!("../../tests/messages/startup.conf.txt");
    let told = retell(golden, |text| parse(text, "startup.conf").map(|_| ()));
    compare(&told, golden, "tests/messages/startup.conf.txt");
}

const PIECES: &str = "(create|delete|set|interface|int|host-interface|name|eth0|host-eth0|\
    host-eth0.5|sub-interfaces|5|10-12|9-1|dot1q|any|inner-dot1q|exact-match|ip|address|route|add|\
    del|via|10.0.0.1|10.0.0.1/24|http|static|server|www-root|/w|uri|tcp://0.0.0.0/80|cache-size|\
    1g|mtu|1500|state|up|down|neighbor|02:00:00:00:00:01|comment|\\{|\\}|\"|#|é|\n|\n)";

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".*") {
        let _ = parse(&text, "f");
    }

    #[test]
    fn any_words_are_read_or_refused(words in proptest::collection::vec(PIECES, 0..40)) {
        let text = words.join(" ");
        if let Ok((config, _)) = parse(&text, "f") {
            prop_assert_eq!(config.validate(), Ok(()));
        }
        let _ = tree().complete(&text);
        let _ = tree().help(&text);
    }
}
