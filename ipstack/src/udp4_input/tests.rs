use super::*;
use crate::testing::*;
use dataplane::testing::Harness;
use proptest::prelude::*;

#[test]
fn a_good_datagram_goes_on_unchanged_and_a_bad_one_is_dropped_by_name() {
    let mut harness = Harness::new(Udp4Input);
    let good = packet(17, &udp(b"hello"));
    harness.input(&good, |_| ());
    let mut without = good.clone();
    without[26..28].fill(0);
    harness.input(&without, |_| ());
    let mut wrong = good.clone();
    wrong[30] ^= 1;
    harness.input(&wrong, |_| ());
    harness.input(&wrong, |meta| meta.checksum = Checksum::Valid);
    harness.input(&wrong, |meta| {
        meta.checksum = Checksum::Partial {
            start: 52,
            offset: 6,
        };
    });
    for len in [7u16, 14] {
        let mut bad = good.clone();
        bad[24..26].copy_from_slice(&len.to_be_bytes());
        harness.input(&bad, |_| ());
    }
    harness.input(&packet(17, &[0; 7]), |_| ());
    let result = harness.run();
    assert_eq!(result.arcs(), ["port-unreachable"; 4]);
    assert_eq!(result.sent[0].frame.octets, good);
    assert_eq!(
        result.drops(),
        [("too-short", 1), ("bad-length", 2), ("bad-checksum", 1)]
    );
}

proptest! {
    #[test]
    fn any_octets_are_sent_or_dropped(
        list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..50),
    ) {
        let mut harness = Harness::new(Udp4Input);
        for octets in &list {
            harness.input(octets, |_| ());
            harness.input(&packet(17, octets), |_| ());
        }
        harness.run();
    }
}
