//! The interface changes under the running server.

use testbed::packet_socket::{FRAME_MAX, Hear, PacketSocket};
use testbed::wiring::{POD_DEVICE, VLAN, WIRE};

use crate::bed::{Bed, Pattern, check_page, make_pod_device};

#[test]
fn an_interface_that_goes_down_serves_again_when_it_is_up() {
    let Some(bed) = Bed::new() else { return };
    bed.check();
    let mut kept = bed.connect();
    let mut links = bed.pod_links();
    for _ in 0..2 {
        links.set_down(POD_DEVICE).unwrap();
        bed.hear("macvlan0: the interface is down");
        links.set_up(POD_DEVICE).unwrap();
        bed.hear("macvlan0: the interface is up again");
        bed.wait_until_answered();
        bed.check();
    }
    // A connection outlives it.
    check_page(&kept.get("/", &[]).unwrap());
}

fn deleted_and_made_again(workers: &str) {
    let Some(bed) = Bed::with_flags(&["--workers", workers]) else {
        return;
    };
    bed.check();
    let mut links = bed.pod_links();
    for _ in 0..3 {
        links.delete(POD_DEVICE).unwrap();
        make_pod_device(&bed.wiring);
        links.set_up(POD_DEVICE).unwrap();
        bed.wait_until_answered();
        bed.check();
    }
    links.delete(POD_DEVICE).unwrap();
    bed.hear("macvlan0: there is no such interface; waiting for it");
    make_pod_device(&bed.wiring);
    links.set_up(POD_DEVICE).unwrap();
    bed.wait_until_answered();
    bed.check();
}

#[test]
fn an_interface_that_is_deleted_and_made_again_serves_again() {
    deleted_and_made_again("1");
}

#[test]
fn two_workers_follow_an_interface_that_is_deleted_and_made_again() {
    deleted_and_made_again("2");
}

#[test]
fn a_smaller_mtu_is_kept_to_and_a_larger_one_again() {
    const LARGE: usize = 3_000_000;
    // Larger than either MTU: what the client may not fragment, we may not either.
    const PING: usize = 2000;
    let Some(bed) = Bed::new() else { return };
    std::fs::write(bed.site.www().join("large"), Pattern::octets(LARGE)).unwrap();
    let wire = PacketSocket::open(bed.wiring.wire(), WIRE, Hear::Only(&[VLAN])).unwrap();
    let mut links = bed.pod_links();
    let mut frame = vec![0; FRAME_MAX];
    for mtu in [1000, 1500] {
        links.set_mtu(POD_DEVICE, mtu).unwrap();
        // The kernel's notice and the ping race each other.
        crate::bed::eventually("answers keep to the MTU", || {
            while wire.receive(&mut frame).unwrap().is_some() {}
            bed.ping_with(PING).unwrap();
            let frames = std::iter::from_fn(|| wire.receive(&mut frame).unwrap());
            let longest = frames.max().unwrap();
            (longest <= 14 + 1000) == (mtu == 1000)
        });
        let mut received = Pattern::new();
        bed.connect().download("/large", &mut received).unwrap();
        assert_eq!(received.position(), LARGE as u64, "{mtu}");
    }
}
