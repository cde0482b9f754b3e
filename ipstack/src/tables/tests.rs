use super::*;
use crate::testing::*;
use proptest::prelude::*;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn own(text: &str) -> InterfaceAddress {
    text.parse().unwrap()
}

#[test]
fn changes_that_cannot_be_are_refused_with_a_sentence() {
    let tables = tables();
    let before = (tables.addresses(), tables.routes());
    let refused = |result: Result<(), TableError>| result.unwrap_err().to_string();
    let cases = [
        (
            refused(tables.add_address(OTHER, own("192.168.123.150/32"))),
            "192.168.123.150 is an address of host-m0.1 already",
        ),
        (
            refused(tables.add_address(OTHER, own("192.168.123.151/24"))),
            "192.168.123.0/24 has a route already; delete that first",
        ),
        (
            refused(tables.add_address(IfIndex(9), own("1.2.3.4/8"))),
            "no interface has number 9",
        ),
        (
            refused(tables.add_route(prefix("0.0.0.0/0"), PEER_IP, None)),
            "0.0.0.0/0 has a route already; delete that first",
        ),
        (
            refused(tables.add_route(prefix("1.0.0.0/8"), OUR_IP, None)),
            "192.168.123.150 cannot be a next hop: expected a neighbour's address",
        ),
        (
            refused(tables.set_neighbor(SUB, PEER_IP, MacAddr::BROADCAST)),
            "192.168.123.7 at ff:ff:ff:ff:ff:ff cannot be a neighbour",
        ),
    ];
    for (sentence, expected) in cases {
        assert_eq!(sentence, expected);
    }
    assert_eq!((tables.addresses(), tables.routes()), before);
}

#[test]
fn a_second_address_in_a_prefix_keeps_it_connected_when_the_first_goes() {
    let tables = tables();
    tables.add_address(SUB, own("192.168.123.151/24")).unwrap();
    assert!(tables.remove_address(SUB, OUR_IP));
    assert!(!tables.remove_address(SUB, OUR_IP));
    assert!(tables.route_to(PEER_IP).is_some());
    assert!(tables.remove_address(SUB, "192.168.123.151".parse().unwrap()));
    assert_eq!(tables.route_to(PEER_IP), None);
    assert_eq!(tables.route_to("8.8.8.8".parse().unwrap()), None);
    tables.add_address(SUB, own("192.168.123.150/24")).unwrap();
    let hop = Hop {
        interface: SUB,
        next_hop: GATEWAY,
    };
    assert_eq!(tables.route_to("8.8.8.8".parse().unwrap()), Some(hop));
    assert_eq!(tables.source_for("8.8.8.8".parse().unwrap()), Some(OUR_IP));
    assert_eq!(tables.mtu_to(PEER_IP), Some(1500));
}

#[test]
fn removing_an_interface_leaves_nothing_of_it_behind() {
    let tables = tables();
    tables.set_neighbor(SUB, PEER_IP, PEER).unwrap();
    let named = prefix("172.16.0.0/12");
    tables.add_route(named, GATEWAY, Some(SUB)).unwrap();
    tables.remove_interface(SUB);
    assert!(tables.neighbors(Duration::ZERO).is_empty());
    assert_eq!(tables.holder(OUR_IP), None);
    let routes = tables.routes();
    assert!(routes.iter().all(|route| route.interface != Some(SUB)));
    assert!(routes.iter().all(|route| route.prefix != named));
}

#[test]
fn addresses_and_static_routes_are_bounded() {
    let tables = tables();
    for host in 200..199 + INTERFACE_ADDRESSES_MAX {
        let address = format!("192.168.123.{host}/24");
        tables.add_address(SUB, own(&address)).unwrap();
    }
    let many = tables.add_address(SUB, own("192.168.123.240/24"));
    assert_eq!(many, Err(TableError::TooManyAddresses));
    let route = |number: usize| {
        let network = Ipv4Addr::from_bits(0xac10_0000 + u32::try_from(number).unwrap());
        tables.add_route(Prefix::of(network, 32), PEER_IP, None)
    };
    for number in 1..STATIC_ROUTES_MAX {
        route(number).unwrap();
    }
    assert_eq!(route(STATIC_ROUTES_MAX), Err(TableError::TooManyRoutes));
}

proptest! {
    #[test]
    fn look_ups_agree_with_a_plain_search_for_the_longest_prefix(
        operations in prop::collection::vec((any::<bool>(), 0u32..16, 26u8..=32), 0..60),
        looked_up in prop::collection::vec(0u32..64, 0..20),
    ) {
        let mut fib = Fib::default();
        let mut list: Vec<Route> = Vec::new();
        for (add, bits, len) in operations {
            let prefix = Prefix::of(Ipv4Addr::from_bits(0x0b00_0000 + bits * 4), len);
            if add && list.iter().all(|route| route.prefix != prefix) {
                let route = Route {
                    prefix,
                    next_hop: (bits % 2 == 0).then_some(GATEWAY),
                    interface: (bits % 3 > 0).then_some(IfIndex(u16::from(len))),
                    interface_given: true,
                };
                list.push(route);
                fib.insert(route);
            } else {
                let held = list.iter().position(|route| route.prefix == prefix);
                prop_assert_eq!(fib.remove(prefix), held.map(|at| list.remove(at)));
            }
        }
        for bits in looked_up {
            let to = Ipv4Addr::from_bits(0x0b00_0000 + bits);
            let fits = list.iter().filter(|r| r.prefix.contains(to) && r.interface.is_some());
            let longest = fits.max_by_key(|route| route.prefix.len());
            let hop = longest.map(|route| Hop {
                interface: route.interface.unwrap(),
                next_hop: route.next_hop.unwrap_or(to),
            });
            prop_assert_eq!(fib.lookup(to), hop);
        }
    }
}
