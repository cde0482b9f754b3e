use super::*;
use crate::tcp::TcpConfig;
use crate::tcp::segment::ACK;
use crate::tcp4_input::tests::{Bed, Peer, Seen};
use dataplane::testing::Harness;
use proptest::prelude::*;

/// An ICMP destination unreachable of `code` about a packet of ours with `seq`.
fn unreachable(code: u8, mtu: u16, peer: &Peer, seq: u32) -> Vec<u8> {
    let header = |protocol: u8, from: [u8; 4], to: [u8; 4]| {
        let mut header = vec![0x45, 0, 0x05, 0xdc, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        header.extend(from);
        header.extend(to);
        header
    };
    let (ours, theirs) = ([192, 168, 123, 150], peer.address.ip().octets());
    let mut packet = header(1, [10, 0, 0, 1], ours);
    packet.extend([3, code, 0, 0, 0, 0]);
    packet.extend(mtu.to_be_bytes());
    packet.extend(header(6, ours, theirs));
    packet.extend(80u16.to_be_bytes());
    packet.extend(peer.address.port().to_be_bytes());
    packet.extend(seq.to_be_bytes());
    packet
}

struct Both {
    bed: Bed,
    error: Harness<Tcp4Error>,
}

impl Both {
    fn new() -> Self {
        let bed = Bed::new(TcpConfig::default());
        let error = Harness::new(Tcp4Error::new(&bed.tcp));
        Self { bed, error }
    }

    fn tell(&mut self, packet: &[u8]) -> Vec<(&'static str, u64)> {
        self.error.now = self.bed.harness.now;
        self.error
            .input(packet, |meta| meta.interface = dataplane::IfIndex(1));
        self.error.run().drops()
    }
}

#[test]
fn a_smaller_path_mtu_makes_smaller_segments_at_once() {
    let mut both = Both::new();
    let mut peer = both.bed.open(4000);
    both.bed.send(&peer.segment(ACK, b"x"));
    peer.seq = peer.seq.wrapping_add(1);
    let first = both.bed.write(&[8; 4000]);
    assert_eq!(first[0].payload.len(), 1460);
    assert_eq!(both.tell(&unreachable(4, 1000, &peer, first[1].seq)), []);
    let again = both.bed.run();
    let total: usize = again.iter().map(|seen: &Seen| seen.payload.len()).sum();
    assert_eq!((again[0].seq, total), (first[0].seq, 4000));
    assert!(again.iter().all(|seen| seen.payload.len() <= 960));
    assert_eq!(both.bed.counters().pmtu_lowered, 1);
    // Told again, it knows.
    let news = unreachable(4, 1000, &peer, first[1].seq);
    assert_eq!(both.tell(&news), [("not-ours", 1)]);
    // After ten minutes the path is tried anew.
    peer.ack = peer.ack.wrapping_add(4000);
    both.bed.send(&peer.segment(ACK, &[]));
    for _ in 0..10 {
        both.bed.pass(Duration::from_secs(61));
        both.bed.send(&peer.segment(ACK, &[]));
    }
    let first = both.bed.write(&[8; 4000]);
    assert_eq!(first[0].payload.len(), 1460);
}

#[test]
fn an_error_about_what_is_not_in_flight_is_not_believed() {
    let mut both = Both::new();
    let peer = both.bed.open(4000);
    let sent = both.bed.write(&[8; 2000]);
    let end = sent[1].seq.wrapping_add(540);
    for seq in [sent[0].seq.wrapping_sub(1), end, 0] {
        assert_eq!(
            both.tell(&unreachable(4, 600, &peer, seq)),
            [("not-ours", 1)]
        );
    }
    let other = Peer::new(4001);
    let unknown = unreachable(4, 600, &other, sent[0].seq);
    assert_eq!(both.tell(&unknown), [("not-ours", 1)]);
    for code in [0, 1, 2, 3, 13] {
        let hard = unreachable(code, 0, &peer, sent[0].seq);
        assert_eq!(both.tell(&hard), [("ignored", 1)]);
    }
    assert_eq!(both.bed.tcp.limits().connections.0, 1);
}

#[test]
fn what_is_about_another_workers_connection_is_kept_for_it_within_bounds() {
    let (mut hears, mut has) = (Both::new(), Both::new());
    let mut peer = has.bed.open(4000);
    has.bed.send(&peer.segment(ACK, b"x"));
    peer.seq = peer.seq.wrapping_add(1);
    let first = has.bed.write(&[8; 4000]);
    let news = unreachable(4, 1000, &peer, first[1].seq);
    let taken = |both: &Both| {
        let mut taken = Vec::new();
        both.bed
            .tcp
            .take_smaller_mtus(|smaller| taken.push(smaller));
        taken
    };
    // Alone, a worker keeps nothing.
    hears.tell(&news);
    assert!(taken(&hears).is_empty());
    hears.bed.tcp.keep_smaller_mtus();
    assert_eq!(hears.tell(&news), [("not-ours", 1)]);
    let told = taken(&hears);
    assert_eq!(told.len(), 1);
    let now = has.bed.harness.now;
    has.bed.tcp.hear_smaller_mtu(now, &told[0]);
    let again = has.bed.run();
    assert!(!again.is_empty() && again.iter().all(|seen| seen.payload.len() <= 960));
    assert_eq!(has.bed.counters().pmtu_lowered, 1);
    // What is old news about an own connection is nobody's.
    has.bed.tcp.keep_smaller_mtus();
    has.tell(&news);
    assert!(taken(&has).is_empty());
    for _ in 0..1000 {
        hears.tell(&news);
    }
    assert_eq!(taken(&hears).len(), crate::tcp::SMALLER_MTUS_MAX);
}

#[test]
fn a_tiny_mtu_is_not_believed_and_none_means_the_next_plateau() {
    let mut both = Both::new();
    let peer = both.bed.open(4000);
    let sent = both.bed.write(&[8; 4000]);
    assert_eq!(both.tell(&unreachable(4, 0, &peer, sent[0].seq)), []);
    let again = both.bed.run();
    assert_eq!(again[0].payload.len(), 1492 - 40);
    assert_eq!(both.tell(&unreachable(4, 68, &peer, sent[0].seq)), []);
    let again = both.bed.run();
    assert_eq!(again[0].payload.len(), 576 - 40);
}

proptest! {
    #[test]
    fn any_octets_are_dropped_for_a_reason(octets in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut both = Both::new();
        let drops = both.tell(&octets);
        prop_assert_eq!(drops.iter().map(|(_, count)| count).sum::<u64>(), 1);
    }
}
