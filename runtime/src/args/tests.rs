use super::*;

fn source(line: &str) -> Result<Source, clap::Error> {
    let args = Args::try_parse_from(line.split_whitespace())?;
    match args.action {
        Action::Serve(source) | Action::Check(Check { source, .. }) => Ok(source),
        _ => Ok(Source::default()),
    }
}

fn flags(line: &str) -> Config {
    let line = format!("dataplane serve {line}");
    source(&line)
        .unwrap_or_else(|error| panic!("{error}"))
        .flags
        .config()
}

/// The first line of what clap says, and the exit code.
fn refused(line: &str) -> (String, i32) {
    let error = source(&format!("dataplane serve {line}")).expect_err("refused");
    (
        error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
        error.exit_code(),
    )
}

const MINIMUM: &str =
    "--interface macvlan0 --vlan 123 --address 192.168.123.150/24 --www-root /www";

#[test]
fn every_example_is_a_heading_with_its_commands_below() {
    let text = examples();
    let (examples, _) = text.split_once("\n\n").unwrap();
    for line in examples.lines().skip(1) {
        let indent = line.len() - line.trim_start().len();
        let heading = line.ends_with(':');
        assert!(if heading { indent == 2 } else { indent >= 6 }, "{line:?}");
    }
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory as _;
    Args::command().debug_assert();
}

#[test]
fn flags_and_startup_conf_make_the_same_configuration() {
    let text = "create host-interface name macvlan0
        set interface mac address host-macvlan0 c6:b4:b5:74:11:88
        set int state host-macvlan0 up
        create sub-interfaces host-macvlan0 123
        set interface state host-macvlan0.123 up
        set int ip address host-macvlan0.123 192.168.123.150/24
        ip route add 0.0.0.0/0 via 192.168.123.1 host-macvlan0.123
        http static server www-root /www uri tcp://0.0.0.0/80 cache-size 512m";
    let (config, _) = startup_conf::parse(text, "f").expect("valid");
    let line = format!(
        "{MINIMUM} --hw-addr c6:b4:b5:74:11:88 --gateway 192.168.123.1 --port 80 --cache-size 512m"
    );
    assert_eq!(flags(&line), config);
}

#[test]
fn without_a_vlan_the_address_is_on_the_interface_itself() {
    let config = flags(
        "--interface eth0 --address 10.0.0.2/24 --address 10.0.1.2/24 --www-root /www \
         --gateway 10.0.0.1 --workers 2 --rx-ring v2 --max-age 60s --port 8080",
    );
    let host = &config.interfaces[0];
    assert_eq!(host.addresses.len(), 2);
    assert_eq!(
        (host.workers, host.ring.version),
        (2, Some(RingVersion::V2))
    );
    assert_eq!(config.routes[0].interface.as_deref(), Some("host-eth0"));
    assert_eq!(
        (config.http[0].port, config.http[0].max_age),
        (8080, Seconds(60))
    );
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn wrong_arguments_are_named_and_exit_with_2() {
    for (line, message) in [
        (
            "--interface m --vlan 4095 --address 10.0.0.1/24 --www-root /",
            "error: invalid value '4095' for '--vlan <ID>': VLAN id 4095 is reserved; use 1 to 4094",
        ),
        (
            "--interface m --vlan 5 --address 10.0.0.1 --www-root /",
            "error: invalid value '10.0.0.1' for '--address <ADDRESS/LENGTH>': the prefix length \
             is missing, as in 10.0.0.1/24",
        ),
        (
            "--interface m --address 10.0.0.1/24 --www-root / --port 0",
            "error: invalid value '0' for '--port <PORT>': 0 is not in 1..=65535",
        ),
        (
            "--interface m --address 10.0.0.1/24 --www-root / --gateway router",
            "error: invalid value 'router' for '--gateway <ADDRESS>': not an IPv4 address such as \
             192.168.123.150",
        ),
        (
            "--config a --startup-config b",
            "error: the argument '--config <FILE>' cannot be used with '--startup-config <FILE>'",
        ),
        (
            "--startup-config b --workers 2",
            "error: the argument '--startup-config <FILE>' cannot be used with '--workers <N>'",
        ),
        (
            "--www-root / --config a",
            "error: the argument '--www-root <DIR>' cannot be used with '--config <FILE>'",
        ),
        (
            "",
            "error: the following required arguments were not provided:",
        ),
        (
            "--vlan 5",
            "error: the following required arguments were not provided:",
        ),
        (
            "--interface eth0",
            "error: the following required arguments were not provided:",
        ),
    ] {
        assert_eq!(refused(line), (message.to_owned(), 2), "{line}");
    }
}

#[test]
fn flags_that_contradict_each_other_are_a_sentence() {
    let why = |line: &str| {
        let line = format!("dataplane serve {line}");
        source(&line)
            .expect("parsed")
            .load()
            .expect_err("refused")
            .to_string()
    };
    assert_eq!(
        why("--interface m --address 10.0.0.255/24 --www-root /"),
        "host-m: address 10.0.0.255/24 is the network's broadcast address; use one inside the \
         network"
    );
    assert_eq!(
        why("--interface m --address 10.0.0.1/24 --www-root / --gateway 10.0.1.1"),
        "gateway 10.0.1.1 is on no network of host-m; use a router's address on one, or add an \
         address of its network"
    );
    assert_eq!(
        why("--interface m --address 10.0.0.1/24 --www-root /no/such/folder"),
        "www-root /no/such/folder does not exist; create it or name another folder"
    );
    assert_eq!(
        why("--startup-config /no/such/file"),
        "/no/such/file: the file cannot be read: No such file or directory (os error 2)"
    );
    assert!(why("--config /").starts_with("/: the file cannot be read: "));
}

#[test]
fn what_applies_to_all_sources_goes_before_the_file() {
    let line = format!("dataplane serve {MINIMUM} --log-format json -vv");
    let mut config = Config::default();
    source(&line).expect("parsed").overrule(&mut config);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, LogLevel::Trace);
    assert_eq!(refused(&format!("{MINIMUM} -v -q")).1, 2);
}

#[test]
fn vpps_two_files_are_a_source() {
    let folder = std::env::temp_dir().join(format!("dataplane-args-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (vpp, startup) = (folder.join("vpp.conf"), folder.join("startup.conf"));
    let text = format!(
        "unix {{ nodaemon cli-listen /run/vpp/cli.sock startup-config {} }}\nplugins {{ }}\n",
        startup.display()
    );
    std::fs::write(&vpp, text).expect("written");
    std::fs::write(&startup, "create host-interface name eth0\n").expect("written");
    let line = format!("dataplane serve --vpp-config {}", vpp.display());
    let loaded = source(&line).expect("parsed").load();
    std::fs::write(&startup, "").expect("written");
    let empty = source(&line).expect("parsed").load();
    let text = "create host-interface name eth0\nhttp static server www-root /no/such/folder\n";
    std::fs::write(&startup, text).expect("written");
    let missing = source(&line).expect("parsed").load();
    std::fs::remove_dir_all(&folder).expect("removed");
    let loaded = loaded.expect("valid");
    assert_eq!(loaded.config.cli_listen, Some("/run/vpp/cli.sock".into()));
    assert_eq!(loaded.config.interfaces[0].name, "eth0");
    // The section that has no meaning here.
    assert_eq!(loaded.notes.len(), 1);
    let message = empty.expect_err("nothing to serve").to_string();
    assert!(
        message.contains("startup.conf: no interface is configured; name one"),
        "{message}"
    );
    let message = missing.expect_err("no folder").to_string();
    assert!(
        message.contains("startup.conf:2:29: www-root /no/such/folder does"),
        "{message}"
    );
}

#[test]
fn every_shell_has_completions_that_name_every_command() {
    for shell in Shell::value_variants() {
        let mut text = Vec::new();
        Completions { shell: *shell }.print(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for command in Args::command().get_subcommands() {
            assert!(text.contains(command.get_name()), "{shell}: {command}");
        }
    }
}

#[test]
fn every_command_has_a_man_page() {
    let names = Args::command();
    let names = names.get_subcommands().map(clap::Command::get_name);
    for name in names.map(Some).chain([None]) {
        let mut page = Vec::new();
        let command = name.map(str::to_owned);
        Man { command }.print(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        let title = name.map_or_else(
            || "dataplane".to_owned(),
            |name| format!("dataplane-{name}"),
        );
        assert!(page.contains(&format!("\n.TH {title} 1 ")), "{page}");
    }
}

#[test]
fn a_page_of_no_command_names_the_commands() {
    let error = source("dataplane man serv")
        .expect_err("refused")
        .to_string();
    assert!(error.contains("expected one of serve, "), "{error}");
}
