use super::*;
use crate::error::ConfigError;

/// The proof of concept: VLAN 123 on macvlan0.
pub(crate) fn seed() -> Config {
    let mut host = HostInterface::new("macvlan0");
    let mut sub = SubInterface::dot1q(123);
    sub.addresses
        .push("192.168.123.150/24".parse().expect("a prefix"));
    host.sub_interfaces.push(sub);
    let mut server = HttpServer::new("/www");
    server.cache_size = ByteSize::mib(512);
    Config {
        interfaces: vec![host],
        http: vec![server],
        ..Config::default()
    }
}

fn why(change: impl FnOnce(&mut Config)) -> String {
    let mut config = seed();
    change(&mut config);
    config.validate().expect_err("refused").to_string()
}

fn sub(config: &mut Config) -> &mut SubInterface {
    &mut config.interfaces[0].sub_interfaces[0]
}

fn prefix(text: &str) -> Ipv4Prefix {
    text.parse().expect("a prefix")
}

fn default_route(via: [u8; 4]) -> Route {
    Route {
        prefix: Ipv4Prefix::ALL,
        via: via.into(),
        interface: None,
    }
}

#[test]
fn the_proof_of_concept_is_valid() {
    assert_eq!(seed().validate(), Ok(()));
    assert_eq!(seed().warnings(), [""; 0]);
}

#[test]
fn an_empty_configuration_is_valid() {
    assert_eq!(Config::default().validate(), Ok(()));
}

#[test]
fn a_vlan_id_outside_its_range_is_refused() {
    for id in [0, 4095, 65535] {
        let why = why(|config| sub(config).matching = Match::dot1q_exact(id));
        let expected = format!("host-macvlan0.123: VLAN id {id} cannot be used; use 1 to 4094");
        assert_eq!(why, expected);
    }
}

#[test]
fn any_with_exact_match_is_refused() {
    let tags = TagMatch {
        outer: TagProtocol::Dot1q,
        vid: VidMatch::Id(5),
        inner: Some(VidMatch::Any),
        exact: true,
    };
    assert_eq!(
        why(|config| sub(config).matching = Match::Tagged(tags)),
        "host-macvlan0.123: match \"dot1q 5 inner-dot1q any exact-match\" says any and \
         exact-match; exact-match needs VLAN ids"
    );
}

#[test]
fn an_address_needs_known_tags() {
    let message = why(|config| sub(config).matching = Match::Default);
    assert_eq!(
        message,
        "host-macvlan0.123: an address needs exact-match, so that the tags of answers are known, \
         but the match is \"default\""
    );
}

#[test]
fn two_sub_interfaces_cannot_claim_the_same_frames() {
    let message = why(|config| {
        let second = SubInterface {
            id: 7,
            addresses: Vec::new(),
            ..sub(config).clone()
        };
        config.interfaces[0].sub_interfaces.push(second);
    });
    assert_eq!(
        message,
        "host-macvlan0.7: host-macvlan0.123 takes the frames of \"dot1q 123 exact-match\" already; \
         remove one of the two"
    );
}

#[test]
fn two_interfaces_cannot_have_one_name() {
    let twice = why(|config| config.interfaces.push(HostInterface::new("macvlan0")));
    let expected = "interface host-macvlan0 exists already; remove the second one or give it \
                    another name";
    assert_eq!(twice, expected);
    // The host may have an interface whose name looks like our sub-interface's.
    let alike = why(|config| config.interfaces.push(HostInterface::new("macvlan0.123")));
    assert!(
        alike.starts_with("interface host-macvlan0.123 exists already"),
        "{alike}"
    );
}

#[test]
fn a_name_no_interface_can_have_is_refused() {
    for name in ["", "averyveryverylongname", "a/b", "a b", "a:b", ".."] {
        let message = why(|config| config.interfaces[0].name = name.to_owned());
        assert!(message.starts_with("interface name "), "{message}");
    }
    let message = why(|config| config.interfaces[0].name = "sixteen-letters-".to_owned());
    assert_eq!(
        message,
        "interface name \"sixteen-letters-\" is longer than 15 octets; give the name that ip link \
         shows"
    );
}

#[test]
fn an_address_can_be_in_one_place() {
    let mut second = SubInterface::dot1q(124);
    second.addresses.push(prefix("192.168.123.150/25"));
    let same = why(|config| config.interfaces[0].sub_interfaces.push(second.clone()));
    assert_eq!(
        same,
        "address 192.168.123.150/25 is on host-macvlan0.123 already; remove one of the two"
    );
    second.addresses[0] = prefix("192.168.123.151/24");
    let network = why(|config| config.interfaces[0].sub_interfaces.push(second));
    assert_eq!(
        network,
        "host-macvlan0.124: host-macvlan0.123 is in the network of 192.168.123.151/24 already; a \
         network can be on one interface"
    );
}

#[test]
fn two_addresses_of_one_network_on_one_interface_are_fine() {
    let mut config = seed();
    sub(&mut config)
        .addresses
        .push(prefix("192.168.123.151/24"));
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn a_gateway_must_be_reachable_and_not_ourselves() {
    assert_eq!(
        why(|config| config.routes.push(default_route([10, 0, 0, 1]))),
        "gateway 10.0.0.1 is on no network of any interface; use a router's address on one, or \
         add an address of its network"
    );
    assert_eq!(
        why(|config| config.routes.push(default_route([192, 168, 123, 150]))),
        "route to 0.0.0.0/0: next hop 192.168.123.150 is our own address; use the address of a \
         router"
    );
    for broadcast_or_network in [0, 255] {
        let route = default_route([192, 168, 123, broadcast_or_network]);
        assert!(why(|config| config.routes.push(route)).contains("is on no network"));
    }
    let mut config = seed();
    config.routes.push(default_route([192, 168, 123, 1]));
    assert_eq!(config.validate(), Ok(()));
    let by = config
        .route_interface(&config.routes[0])
        .map(InterfaceRef::name);
    assert_eq!(by.as_deref(), Some("host-macvlan0.123"));
}

#[test]
fn a_route_by_an_interface_uses_that_interfaces_networks() {
    let mut route = default_route([192, 168, 123, 1]);
    route.interface = Some("host-macvlan0".to_owned());
    assert_eq!(
        why(|config| config.routes.push(route.clone())),
        "gateway 192.168.123.1 is on no network of host-macvlan0; use a router's address on one, \
         or add an address of its network"
    );
    route.interface = Some("macvlan0".to_owned());
    assert_eq!(
        why(|config| config.routes.push(route)),
        "there is no interface macvlan0; the host's macvlan0 is called host-macvlan0 here"
    );
}

#[test]
fn a_destination_has_no_host_bits() {
    let route = Route {
        prefix: prefix("10.0.0.1/8"),
        ..default_route([192, 168, 123, 1])
    };
    assert_eq!(
        why(|config| config.routes.push(route)),
        "route destination 10.0.0.1/8 has bits beyond its length; write 10.0.0.0/8"
    );
}

#[test]
fn a_server_needs_a_port_and_an_address_of_ours() {
    assert_eq!(
        why(|config| config.http[0].port = 0),
        "http server of /www: port 0 cannot be; use 1 to 65535"
    );
    assert_eq!(
        why(|config| config.http[0].address = [10, 0, 0, 1].into()),
        "no interface has the http server's address 10.0.0.1; use 0.0.0.0 or an interface's address"
    );
    assert_eq!(
        why(|config| config.http.push(HttpServer::new("/other"))),
        "a http server on 0.0.0.0 port 80 exists already; use another port"
    );
    let mut config = seed();
    config.http[0].address = [192, 168, 123, 150].into();
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn rings_and_workers_have_limits() {
    let ring = |ring| why(|config: &mut Config| config.interfaces[0].ring = ring);
    let none = RingOptions::default();
    assert_eq!(
        ring(RingOptions {
            block_size: Some(ByteSize(5000)),
            ..none
        }),
        "host-macvlan0: ring block size 5000 cannot be; use a power of two from 4k to 4m"
    );
    let big = RingOptions {
        block_size: Some(ByteSize::mib(4)),
        blocks: Some(4096),
        ..none
    };
    assert_eq!(
        ring(big),
        "host-macvlan0: a ring of 4096 blocks of 4m takes 16g; use at most 1g"
    );
    assert!(
        ring(RingOptions {
            blocks: Some(1),
            ..none
        })
        .contains("1 ring blocks")
    );
    assert!(
        ring(RingOptions {
            tx_slots: Some(0),
            ..none
        })
        .contains("0 tx slots")
    );
    assert_eq!(
        why(|config| config.interfaces[0].workers = 0),
        "host-macvlan0: 0 workers cannot be; use 1 to 64"
    );
}

#[test]
fn an_mtu_must_carry_ipv4() {
    assert_eq!(
        why(|config| sub(config).mtu = Some(67)),
        "host-macvlan0.123: MTU 67 is too small for IPv4; use 68 to 65535"
    );
}

#[test]
fn a_group_address_is_nobodys() {
    let multicast = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    assert_eq!(
        why(|config| config.interfaces[0].hw_addr = Some(multicast)),
        "host-macvlan0: 01:00:5e:00:00:01 cannot be its Ethernet address; use a unicast address"
    );
}

#[test]
fn more_than_fits_is_refused() {
    let message = why(|config| {
        let routes = std::iter::repeat_n(default_route([192, 168, 123, 1]), ROUTES_MAX + 1);
        config.routes.extend(routes);
    });
    assert_eq!(message, "more than 4096 routes are not supported");
}

#[test]
fn neighbors_are_on_the_network_of_their_interface() {
    let neighbor = Neighbor {
        interface: "host-macvlan0.123".to_owned(),
        address: [10, 0, 0, 1].into(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
    };
    assert_eq!(
        why(|config| config.neighbors.push(neighbor.clone())),
        "neighbor 10.0.0.1 is on no network of host-macvlan0.123; give the interface an address \
         of that network"
    );
    let mut config = seed();
    config.neighbors = vec![Neighbor {
        address: [192, 168, 123, 1].into(),
        ..neighbor
    }];
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn what_will_not_answer_is_warned_of() {
    let mut config = seed();
    config.interfaces[0].up = false;
    assert_eq!(
        config.warnings(),
        [
            "host-macvlan0.123 has an address but host-macvlan0 is down, so it will not answer; take \
          it up with: set interface state host-macvlan0 up"
        ]
    );
    config = seed();
    sub(&mut config).addresses.clear();
    assert_eq!(config.warnings().len(), 1);
}

#[test]
fn an_address_other_than_the_kernels_is_warned_of() {
    let mut host = HostInterface::new("macvlan0");
    let (ours, kernels) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
    assert_eq!(host.hw_addr_note(kernels), None);
    host.hw_addr = Some(ours);
    assert_eq!(host.hw_addr_note(ours), None);
    let note = host.hw_addr_note(kernels).expect("a note");
    assert!(
        note.contains("02:00:00:00:00:01 instead of the kernel's 02:00:00:00:00:02"),
        "{note}"
    );
}

#[test]
fn a_folder_that_cannot_be_served_is_named() {
    let mut config = seed();
    config.http[0].www_root = "/does/not/exist".into();
    assert_eq!(
        config.check_host().expect_err("refused").to_string(),
        "www-root /does/not/exist does not exist; create it or name another folder"
    );
    config.http[0].www_root = "/proc/version".into();
    assert_eq!(
        config.check_host().expect_err("refused").to_string(),
        "www-root /proc/version is not a directory; name the folder that holds the files"
    );
    config.http[0].www_root = "/".into();
    assert_eq!(config.check_host(), Ok(()));
    config.http[0].www_root = "".into();
    assert!(matches!(
        config.validate(),
        Err(ConfigError::WwwRoot { .. })
    ));
}

#[test]
fn an_interface_is_found_by_its_whole_name() {
    let config = seed();
    assert!(config.interface("host-macvlan0.123").is_some());
    assert!(config.interface("host-macvlan0").is_some());
    for name in [
        "macvlan0",
        "host-macvlan0.0123",
        "host-macvlan0.",
        "host-macvlan01",
        "host-",
    ] {
        assert!(config.interface(name).is_none(), "{name}");
    }
}
