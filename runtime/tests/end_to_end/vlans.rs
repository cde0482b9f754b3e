//! Tag stacks other than one 802.1Q tag.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use testbed::client::{Http, ping};
use testbed::tag::Tag;

use crate::bed::{Bed, Pattern, SOON, check_page, serve_from};

/// Octets of a file that does not fit one segment, nor one super-segment.
const LARGE: usize = 300_000;

#[test]
fn several_vlans_and_every_tag_stack_are_served_side_by_side() {
    // Our sub-interface, its frames, and the client's tags; the network is 10.0.ID.0/24.
    let cases: [(u8, &str, &[Tag]); 6] = [
        (1, "untagged", &[]),
        (100, "dot1q 100 exact-match", &[Tag::customer(100)]),
        (101, "dot1q 4094 exact-match", &[Tag::customer(4094)]),
        (102, "dot1ad 102 exact-match", &[Tag::service(102)]),
        (
            103,
            "dot1ad 200 inner-dot1q 103 exact-match",
            &[Tag::service(200), Tag::customer(103)],
        ),
        (
            104,
            "dot1q 200 inner-dot1q 104 exact-match",
            &[Tag::customer(200), Tag::customer(104)],
        ),
    ];
    let bed = Bed::serving(|site, _| {
        let mut text = "create host-interface name macvlan0\n\
                        set interface state host-macvlan0 up\n"
            .to_owned();
        for (id, matching, _) in cases {
            write!(
                text,
                "create sub-interfaces host-macvlan0 {id} {matching}\n\
                 set interface state host-macvlan0.{id} up\n\
                 set interface ip address host-macvlan0.{id} 10.0.{id}.1/24\n"
            )
            .unwrap();
        }
        let www = site.www();
        writeln!(
            text,
            "http static server www-root {} uri tcp://0.0.0.0/80",
            www.display()
        )
        .unwrap();
        std::fs::write(www.join("large"), Pattern::octets(LARGE)).unwrap();
        serve_from("--startup-config", &site.write("startup.conf", &text))
    });
    let Some(mut bed) = bed else { return };
    for (id, matching, tags) in cases {
        let client = bed
            .wiring
            .add_client(tags, (Ipv4Addr::new(10, 0, id, 2), 24))
            .unwrap();
        let client = bed.wiring.clients().get(client).unwrap().namespace();
        let server = Ipv4Addr::new(10, 0, id, 1);
        for size in [56, 1472, 8000] {
            ping(client, server, 1, size, SOON)
                .unwrap_or_else(|error| panic!("{matching}, {size}: {error}"));
        }
        let mut http = Http::connect(client, SocketAddrV4::new(server, 80), SOON)
            .unwrap_or_else(|error| panic!("{matching}: {error}"));
        check_page(&http.get("/index.html", &[]).unwrap());
        let mut pattern = Pattern::new();
        http.download("/large", &mut pattern)
            .unwrap_or_else(|error| panic!("{matching}: {error}"));
        assert_eq!(pattern.position(), LARGE as u64, "{matching}");
    }
}
