//! HTTP as clients speak it, well and badly.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use testbed::packet_socket::{FRAME_MAX, Hear, PacketSocket};
use testbed::vlan_client::{Method, VlanClient};
use testbed::wiring::{NODE_DEVICE, VLAN};

use crate::bed::{Bed, PAGE, Pattern, check_page};
use crate::operator::Desk;

#[test]
fn head_not_found_range_and_conditions_share_one_connection() {
    let Some(bed) = Bed::new() else { return };
    let mut http = bed.connect();
    let head = http.request("HEAD", "/index.html", &[]).unwrap();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("8"))
    );
    assert!(head.body.is_empty());
    let missing = http.get("/nothing", &[]).unwrap();
    assert!(
        missing.status == 404 && missing.keeps_alive(),
        "{missing:?}"
    );
    let part = http.get("/", &[("range", "bytes=3-5")]).unwrap();
    assert_eq!((part.status, part.body.as_slice()), (206, &b"com"[..]));
    assert_eq!(part.header("content-range"), Some("bytes 3-5/8"));
    let beyond = http.get("/", &[("range", "bytes=8-")]).unwrap();
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, Some("bytes */8"))
    );
    let tag = head.header("etag").unwrap();
    let unchanged = http.get("/", &[("if-none-match", tag)]).unwrap();
    assert!(
        unchanged.status == 304 && unchanged.body.is_empty(),
        "{unchanged:?}"
    );
    let post = http.request("POST", "/", &[]).unwrap();
    assert!(
        post.status == 405 && post.header("allow").is_some(),
        "{post:?}"
    );
    let outside = http.get("/../startup.conf", &[]).unwrap();
    assert!(outside.status >= 400, "{outside:?}");
}

#[test]
fn a_large_file_leaves_in_packets_that_the_kernel_splits() {
    const LENGTH: usize = 8 << 20;
    let desk = Desk::new();
    let Some(bed) = desk.bed(&[]) else { return };
    fs::write(bed.site.www().join("large"), Pattern::octets(LENGTH)).unwrap();
    assert!(bed.get("/large").body == Pattern::octets(LENGTH));
    let hardware = desk.json("show hardware-interfaces");
    let queue = &hardware[0]["queues"][0];
    assert_eq!(queue["tx-wrong"], 0, "{queue}");
    let frames = queue["tx-frames"].as_u64().unwrap();
    assert!(frames < LENGTH as u64 / (4 * 1460), "{queue}");
}

#[test]
fn a_request_may_come_octet_by_octet() {
    let Some(bed) = Bed::new() else { return };
    let mut http = bed.connect();
    for octet in b"GET /index.html HTTP/1.1\r\nHost: 192.168.123.150\r\n\r\n" {
        http.stream().write_all(&[*octet]).unwrap();
    }
    check_page(&http.read_response(false).unwrap());
}

#[test]
fn two_hundred_requests_in_one_write_are_all_answered_in_order() {
    const REQUESTS: usize = 200;
    let Some(bed) = Bed::new() else { return };
    let sniffer = PacketSocket::open(bed.wiring.node(), NODE_DEVICE, Hear::Only(&[VLAN])).unwrap();
    let mut http = bed.connect();
    // Every other one has no page, so that the order shows.
    let pair = "GET /index.html HTTP/1.1\r\nHost: server\r\n\r\n\
                GET /none HTTP/1.1\r\nHost: server\r\n\r\n";
    let requests = pair.repeat(REQUESTS / 2);
    http.stream().write_all(requests.as_bytes()).unwrap();
    for nth in 0..REQUESTS {
        let answer = http.read_response(false).unwrap();
        if nth % 2 == 0 {
            check_page(&answer);
        } else {
            assert_eq!(answer.status, 404, "{nth}");
        }
    }
    let mut frame = vec![0; FRAME_MAX];
    let longest = std::iter::from_fn(|| sniffer.receive(&mut frame).unwrap()).max();
    if bed.wiring.client().vlan().map(VlanClient::method) != Some(Method::Relay) {
        assert!(
            longest > Some(1518),
            "no super-segment was sent: {longest:?}"
        );
    }
}

#[test]
fn an_http_1_0_client_gets_the_page_and_the_end() {
    let Some(bed) = Bed::new() else { return };
    let http = bed.connect();
    let mut stream = http.stream();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1."), "{answer:?}");
    assert!(answer.ends_with(PAGE), "{answer:?}");
}

#[test]
fn a_gigabyte_arrives_as_it_is() {
    const LENGTH: u64 = 1_000_000_000;
    // The file is far larger than the cache, so it is streamed.
    let Some(bed) = Bed::with_flags(&["--cache-size", "16m"]) else {
        return;
    };
    let mut file = File::create(bed.site.www().join("gigabyte")).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut pattern = Pattern::new();
    let mut left = LENGTH;
    while left > 0 {
        let length = usize::try_from(left.min(1 << 20)).unwrap();
        let chunk = &mut buffer[..length];
        pattern.read_exact(chunk).unwrap();
        file.write_all(chunk).unwrap();
        left -= length as u64;
    }
    drop(file);
    let mut received = Pattern::new();
    let mut http = bed.connect();
    let response = http.download("/gigabyte", &mut received).unwrap();
    assert_eq!((response.status, received.position()), (200, LENGTH));
    check_page(&http.get("/", &[]).unwrap());
}

/// Longer than an answer from the cache may be out of date.
const A_SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_changed_file_is_served_fresh_within_a_second() {
    let Some(bed) = Bed::new() else { return };
    let (page, beside) = (bed.site.www().join("page"), bed.site.www().join("beside"));
    let mut http = bed.connect();
    let mut fresh = |expected: &[u8]| {
        thread::sleep(A_SECOND);
        let answer = http.get("/page", &[]).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, expected));
    };
    fs::write(&page, "one").unwrap();
    fresh(b"one");
    fs::write(&page, "two").unwrap();
    fresh(b"two");
    fs::write(&beside, "three").unwrap();
    fs::rename(&beside, &page).unwrap();
    fresh(b"three");
    fs::remove_file(&page).unwrap();
    thread::sleep(A_SECOND);
    assert_eq!(http.get("/page", &[]).unwrap().status, 404);
}

#[test]
fn a_swapped_config_map_is_served_fresh_within_a_second() -> io::Result<()> {
    let Some(bed) = Bed::new() else { return Ok(()) };
    // As the kubelet lays it out: page -> ..data/page, ..data -> ..1, swapped by a rename.
    let www = bed.site.www();
    for (version, text) in [("..1", "one"), ("..2", "two")] {
        fs::create_dir(www.join(version))?;
        fs::write(www.join(version).join("page"), text)?;
    }
    symlink("..1", www.join("..data"))?;
    symlink("..data/page", www.join("page"))?;
    assert_eq!(bed.get("/page").body, b"one");
    symlink("..2", www.join("..data_tmp"))?;
    fs::rename(www.join("..data_tmp"), www.join("..data"))?;
    fs::remove_dir_all(www.join("..1"))?;
    thread::sleep(A_SECOND);
    assert_eq!(bed.get("/page").body, b"two");
    Ok(())
}
