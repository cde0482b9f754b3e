use std::collections::BTreeSet;

use super::*;
use crate::words::Word;

fn parse(line: &str) -> Result<Command, String> {
    let words = Word::split(line).map_err(|error| error.to_string())?;
    let parsed = tree().parse(&words).map_err(|error| error.to_string())?;
    Ok(parsed.command)
}

/// Every command an operator is promised, with its parameters: the words of its path come first,
/// as many as the number says.
const PROMISED: &[(usize, &str)] = &[
    (2, "show interface"),
    (2, "show interface host-macvlan0"),
    (3, "show interface address"),
    (2, "show hardware-interfaces"),
    (2, "show runtime"),
    (2, "show errors"),
    (2, "show errors verbose host-macvlan0.123"),
    (3, "show node counters"),
    (3, "show ip neighbors"),
    (3, "show ip fib"),
    (2, "show session verbose"),
    (4, "show http static server"),
    (4, "show http static server sessions"),
    (4, "show http static server cache"),
    (4, "show http static server listeners"),
    (2, "show trace"),
    (2, "show trace max 3 node ip4-input"),
    (2, "trace add af-packet-input 10"),
    (2, "clear trace"),
    (2, "clear interfaces"),
    (2, "clear runtime"),
    (2, "clear errors"),
    (
        2,
        "pcap trace rx tx drop max 10 intfc host-macvlan0 file a.pcapng",
    ),
    (
        2,
        "pcap trace rx intfc any file a.pcapng max-bytes-per-pkt 64",
    ),
    (2, "pcap trace off"),
    (2, "pcap trace status"),
    (3, "show vlib graph"),
    (3, "show vlib graphviz"),
    (2, "show version"),
    (2, "show threads"),
    (2, "show config toml"),
    (1, "ping 192.168.123.1 repeat 3"),
    (
        3,
        "set ip neighbor host-macvlan0.123 192.168.123.9 02:00:00:00:00:09",
    ),
    (2, "create sub-interfaces host-macvlan0 124"),
    (2, "delete sub-interfaces host-macvlan0.124"),
    (3, "set interface state host-macvlan0 up"),
    (4, "set interface ip address host-macvlan0 10.0.0.1/8"),
    (3, "set interface mtu 1400 host-macvlan0"),
    (2, "create host-interface name macvlan1"),
    (2, "delete host-interface name macvlan1"),
    (
        3,
        "http static server www-root /www uri tcp://0.0.0.0/80 cache-size 5m",
    ),
    (1, "exec /etc/more.conf"),
];

/// Words that may stand behind `before` and begin as `short`, as the words of commands' names.
fn candidates(before: &[&str], short: &str) -> usize {
    let edits = startup_conf::COMMANDS.iter().map(|entry| entry.path);
    let paths = COMMANDS.iter().map(|entry| entry.path).chain(edits);
    let behind = paths.filter_map(|path| path.strip_prefix(before)?.first());
    let words: BTreeSet<_> = behind.filter(|word| word.starts_with(short)).collect();
    if words.contains(&short) {
        1
    } else {
        words.len()
    }
}

#[test]
fn every_promised_command_is_understood_in_full() {
    for (_, line) in PROMISED {
        assert_eq!(parse(line).err(), None, "{line}");
    }
}

/// Whatever beginning of a word can mean no other means this one; what could mean several is
/// refused.
#[test]
fn every_unambiguous_abbreviation_means_the_same() {
    let mut tried = 0;
    for (length, line) in PROMISED {
        let meant = parse(line).expect("understood");
        let words: Vec<&str> = line.split(' ').collect();
        let path = &words[..*length];
        for (cut, word) in path.iter().enumerate() {
            for to in 1..=word.len() {
                let short = &word[..to];
                let mut words = words.clone();
                words[cut] = short;
                let line = words.join(" ");
                if line == "show vlib graph" && to < word.len() {
                    continue; // a command of its own
                }
                if candidates(&path[..cut], short) == 1 {
                    assert_eq!(parse(&line).as_ref(), Ok(&meant), "{line}");
                    tried += 1;
                } else {
                    let why = parse(&line).expect_err(&line);
                    assert!(why.contains("several begin so"), "{line}: {why}");
                }
            }
        }
    }
    assert!(tried > 400, "{tried}");
}

#[test]
fn the_abbreviations_operators_type_are_understood() {
    for (short, full) in [
        ("sh int", "show interface"),
        ("sh int addr", "show interface address"),
        ("sho hard", "show hardware-interfaces"),
        ("sh run", "show runtime"),
        ("sh err", "show errors"),
        ("sh node count", "show node counters"),
        ("sh ip nei", "show ip neighbors"),
        ("sh ver", "show version"),
        ("sh sess verbose", "show session verbose"),
        ("sh tr", "show trace"),
        ("tr add arp-input 1", "trace add arp-input 1"),
        ("cl int", "clear interfaces"),
        ("cl err", "clear errors"),
        ("pcap tr off", "pcap trace off"),
        ("set int st host-a up", "set interface state host-a up"),
        (
            "set int ip addr host-a 10.0.0.1/8",
            "set interface ip address host-a 10.0.0.1/8",
        ),
        ("cre sub host-a 7", "create sub-interfaces host-a 7"),
        ("cre host name a", "create host-interface name a"),
        ("del host name a", "delete host-interface name a"),
    ] {
        assert_eq!(parse(short), parse(full), "{short}");
        assert_eq!(parse(full).err(), None, "{full}");
    }
}

#[test]
fn help_explains_every_command_and_every_word_of_it() {
    for (_, line) in PROMISED {
        let mut end = 0;
        for word in line.split(' ') {
            // What may stand where this word stands.
            let offered = tree().complete(&line[..end]);
            assert!(
                !offered.is_empty(),
                "{line}: nothing is offered for {word:?}"
            );
            assert!(offered.iter().all(|one| !one.text.is_empty()), "{line}");
            end += word.len() + 1;
        }
        let help = tree().help(line);
        assert!(
            help.iter()
                .all(|(usage, what)| !usage.is_empty() && !what.is_empty()),
            "{line}"
        );
    }
}

#[test]
fn a_capture_without_what_or_where_to_is_refused_with_what_is_missing() {
    for (line, missing) in [
        ("pcap trace", "what to capture (rx, tx or drop) is missing"),
        (
            "pcap trace file a",
            "what to capture (rx, tx or drop) is missing",
        ),
        (
            "pcap trace rx",
            "where to capture to (file NAME) is missing",
        ),
        ("pcap trace rx max 0 file a", "1 to 10000000 is possible"),
        (
            "pcap trace rx file a max-bytes-per-pkt 9",
            "32 to 65600 is possible",
        ),
        ("pcap trace off rx", "found \"rx\""),
    ] {
        let why = parse(line).expect_err(line);
        assert!(why.contains(missing), "{line}: {why}");
    }
    assert_eq!(
        parse("pcap trace rx file a"),
        Ok(Command::Capture(capture::Order {
            kinds: capture::Kinds {
                rx: true,
                tx: false,
                drop: false
            },
            packets: 1000,
            snaplen: capture::SNAPLEN_MAX,
            interface: None,
            file: "a".to_owned(),
        }))
    );
}
