//! What is written leaves without smoltcp, which is told of its first octet, and of the rest when it
//! is acknowledged, or is needed.

use super::*;

const HEAD: &[u8] = b"the head ";

/// A connection whose port takes super-segments, and one answered request behind it, so that the
/// connection knows of its port.
fn bed() -> (Bed, Peer) {
    let mut bed = Bed::new(plain(true));
    bed.harness.offload = Offload {
        checksum: true,
        segmentation_max: 65_550,
    };
    bed.harness.slot_len = 66_000;
    let mut peer = bed.open(4000);
    bed.send(&peer.segment(ACK, b"x"));
    peer.sent(1);
    let seen = bed.write(b"y");
    peer.take(&seen);
    bed.send(&peer.segment(ACK, &[]));
    (bed, peer)
}

fn pattern(octets: usize) -> Vec<u8> {
    (0..octets)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect()
}

impl Bed {
    /// Writes `head`, and `body` behind it without copying that.
    fn share(&mut self, head: &[u8], body: &Bytes) -> Vec<Seen> {
        self.script.write.borrow_mut().extend(head);
        *self.script.shared.borrow_mut() = body.clone();
        self.script.wake();
        self.run()
    }

    /// Octets queued that smoltcp does not know of.
    fn untold(&self) -> usize {
        self.tcp.core.borrow().untold()
    }
}

/// Puts what was sent, from `start` on, together.
fn joined(seen: &[Seen], start: u32, octets: usize) -> Option<Vec<u8>> {
    let mut got = vec![None; octets];
    for segment in seen {
        let at = usize::try_from(segment.seq.wrapping_sub(start)).unwrap();
        for (offset, octet) in segment.payload.iter().enumerate() {
            got[at + offset] = Some(*octet);
        }
    }
    got.into_iter().collect()
}

#[test]
fn a_head_leaves_in_one_packet_with_what_is_shared_behind_it() {
    let (mut bed, mut peer) = bed();
    let body = Bytes::from(pattern(200_000));
    let first = bed.share(HEAD, &body);
    // The initial window: ten segments.
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].payload.len(), 14_600);
    assert_eq!(bed.untold(), 14_600 - 1);
    let mut got = peer.take(&first);
    while got.len() < HEAD.len() + body.len() {
        let next = bed.send(&peer.segment(ACK, &[]));
        assert!(!next.is_empty(), "after {} octets", got.len());
        // An acknowledgement tells smoltcp no more than it says.
        assert_ne!(bed.untold(), 0);
        got.extend(peer.take(&next));
    }
    assert_eq!(got, [HEAD, &body].concat());
    bed.send(&peer.segment(ACK, &[]));
    assert_eq!(bed.untold(), 0);
    let info = &bed.tcp.connections(bed.harness.now)[0];
    assert_eq!((info.flight, bed.counters().retransmissions), (0, 0));
}

#[test]
fn the_last_packet_alone_has_the_push_flag_and_each_the_port_s_size() {
    let (mut bed, mut peer) = bed();
    bed.harness.offload.segmentation_max = 6000;
    let body = Bytes::from(pattern(14_000));
    let seen = bed.share(HEAD, &body);
    let sizes: Vec<_> = seen.iter().map(|s| (s.payload.len(), s.flags)).collect();
    // 5,938 octets fit behind the headers: four whole segments.
    assert_eq!(sizes, [(5840, ACK), (5840, ACK), (2329, ACK | PSH)]);
    assert_eq!(peer.take(&seen), [HEAD, &body].concat());
}

#[test]
fn closing_sends_a_fin_behind_it_and_none_of_it_again() {
    let (mut bed, mut peer) = bed();
    let body = Bytes::from(pattern(10_000));
    let sent = bed.share(HEAD, &body);
    assert_ne!(bed.untold(), 0);
    let got = peer.take(&sent);
    let fin = bed.close();
    assert_eq!(fin.len(), 1, "{fin:?}");
    assert_eq!((fin[0].flags & FIN, fin[0].payload.len()), (FIN, 0));
    assert_eq!(fin[0].seq, peer.ack);
    assert_eq!(got.len(), HEAD.len() + body.len());
    assert_eq!(bed.counters().retransmissions, 0);
}

#[test]
fn a_close_while_it_waits_for_the_window_delivers_all_of_it() {
    let (mut bed, mut peer) = bed();
    let body = Bytes::from(pattern(60_000));
    let mut got = peer.take(&bed.share(HEAD, &body));
    bed.script.close.set(true);
    for _ in 0..20 {
        let seen = bed.send(&peer.segment(ACK, &[]));
        got.extend(peer.take(&seen));
    }
    assert_eq!(got, [HEAD, &body].concat());
    assert_eq!(bed.states(), [State::FinWait2]);
    assert_eq!(bed.counters().retransmissions, 0);
}

#[test]
fn what_was_lost_of_it_is_sent_again_and_no_more() {
    let (mut bed, mut peer) = bed();
    let body = Bytes::from(pattern(14_000));
    let sent = bed.share(HEAD, &body);
    let start = peer.ack;
    // The second segment of 1,460 is lost.
    peer.ack = start.wrapping_add(1460);
    bed.send(&peer.segment(ACK, &[]));
    let sack = peer.sack(start.wrapping_add(2920), start.wrapping_add(14_009));
    assert_eq!(bed.send(&sack), []);
    let again = bed.pass(Duration::from_millis(100));
    assert_eq!(again.len(), 1, "{again:?}");
    let again = &again[0].1;
    assert_eq!((again.seq, again.payload.len()), (peer.ack, 1460));
    assert_eq!(again.payload, sent[0].payload[1460..2920]);
    peer.ack = start.wrapping_add(14_009);
    bed.send(&peer.segment(ACK, &[]));
    let info = &bed.tcp.connections(bed.harness.now)[0];
    assert_eq!((info.flight, bed.counters().fast_recoveries), (0, 1));
}

#[test]
fn without_any_answer_all_of_it_is_sent_again() {
    let (mut bed, peer) = bed();
    let body = Bytes::from(pattern(14_000));
    bed.share(HEAD, &body);
    let again: Vec<Seen> = bed.pass(S(20)).into_iter().map(|(_, seen)| seen).collect();
    // One segment at a time, the window being one: the first of them.
    assert_eq!(again.iter().filter(|seen| seen.seq == peer.ack).count(), 6);
    let whole = [HEAD, &body].concat();
    for seen in &again {
        let at = usize::try_from(seen.seq.wrapping_sub(peer.ack)).unwrap();
        assert_eq!(seen.payload, whole[at..at + seen.payload.len()]);
    }
}

#[test]
fn a_window_that_shuts_is_probed_and_all_of_it_flows_when_it_opens() {
    let (mut bed, mut peer) = bed();
    let body = Bytes::from(pattern(60_000));
    let start = peer.ack;
    let mut seen = bed.share(HEAD, &body);
    // What was sent is taken, but the application does not read.
    peer.ack = start.wrapping_add(14_600);
    peer.window = 0;
    bed.send(&peer.segment(ACK, &[]));
    assert_eq!(bed.untold(), 0);
    let probes = bed.pass(S(10));
    assert!(!probes.is_empty());
    assert!(probes.iter().all(|(_, probe)| probe.payload.len() <= 1));
    peer.window = 65_535;
    for _ in 0..20 {
        let more = bed.send(&peer.segment(ACK, &[]));
        for segment in &more {
            let end = segment
                .seq
                .wrapping_add(u32::try_from(segment.payload.len()).unwrap());
            if end.wrapping_sub(peer.ack) < 1 << 31 {
                peer.ack = end;
            }
        }
        seen.extend(more);
    }
    let whole = [HEAD, &body].concat();
    assert_eq!(joined(&seen, start, whole.len()), Some(whole));
}

#[test]
fn a_small_window_is_filled_with_whole_segments_and_never_overrun() {
    let (mut bed, mut peer) = bed();
    // Scaled by 128: three segments and a bit.
    peer.window = 36;
    bed.send(&peer.segment(ACK, &[]));
    let body = Bytes::from(pattern(20_000));
    let mut got = Vec::new();
    let mut seen = bed.share(HEAD, &body);
    while got.len() < HEAD.len() + body.len() {
        let sizes: usize = seen.iter().map(|seen| seen.payload.len()).sum();
        let rest = HEAD.len() + body.len() - got.len();
        assert_eq!(sizes, rest.min(3 * 1460));
        got.extend(peer.take(&seen));
        seen = bed.send(&peer.segment(ACK, &[]));
    }
    assert_eq!(got, [HEAD, &body].concat());
}

#[test]
fn copies_behind_what_is_shared_follow_in_order() {
    let (mut bed, mut peer) = bed();
    let body = Bytes::from(pattern(8000));
    let mut got = peer.take(&bed.share(HEAD, &body));
    let mut expected = [HEAD, &body].concat();
    for round in 0..5u8 {
        let small = [round; 300];
        expected.extend(small);
        expected.extend(&body);
        let seen = bed.share(&small, &body);
        got.extend(peer.take(&seen));
        let seen = bed.send(&peer.segment(ACK, &[]));
        got.extend(peer.take(&seen));
    }
    for _ in 0..5 {
        let seen = bed.send(&peer.segment(ACK, &[]));
        got.extend(peer.take(&seen));
    }
    assert_eq!(got.len(), expected.len());
    assert_eq!(got, expected);
    assert_eq!(bed.counters().retransmissions, 0);
}

#[test]
fn a_port_that_stops_gathering_gets_the_rest_from_smoltcp() {
    let (mut bed, mut peer) = bed();
    let body = Bytes::from(pattern(60_000));
    let mut got = peer.take(&bed.share(HEAD, &body));
    bed.harness.offload = Offload::default();
    for _ in 0..20 {
        let seen = bed.send(&peer.segment(ACK, &[]));
        assert!(seen.iter().all(|seen| seen.payload.len() <= 1460));
        assert_eq!(bed.untold(), 0);
        got.extend(peer.take(&seen));
    }
    assert_eq!(got, [HEAD, &body].concat());
    assert_eq!(bed.counters().retransmissions, 0);
}

#[test]
fn an_acknowledgement_beyond_what_was_sent_of_it_is_still_challenged() {
    let (mut bed, peer) = bed();
    let body = Bytes::from(pattern(60_000));
    bed.share(HEAD, &body);
    let beyond = peer.ack.wrapping_add(14_601);
    bed.send(&peer.at(peer.seq, beyond, ACK, &[]));
    assert_eq!(bed.drops, [("unacceptable-ack", 1)]);
    let info = &bed.tcp.connections(bed.harness.now)[0];
    assert_eq!(info.flight, 14_600);
}

#[test]
fn an_acknowledgement_alone_has_the_number_after_what_was_sent_of_it() {
    let (mut bed, peer) = bed();
    let body = Bytes::from(pattern(14_000));
    let sent = bed.share(HEAD, &body);
    let end = sent[0].seq.wrapping_add(14_009);
    // Data behind a hole is acknowledged at once; smoltcp knows of the head alone.
    let beyond = peer.seq.wrapping_add(100);
    let acks = bed.send(&peer.at(beyond, peer.ack, ACK | PSH, &[7; 100]));
    assert_eq!(acks.len(), 1);
    assert_eq!((acks[0].seq, acks[0].ack), (end, peer.seq));
    assert!(acks[0].payload.is_empty());
}

#[test]
fn of_a_small_answer_too_smoltcp_is_told_one_octet_until_it_is_acknowledged() {
    let (mut bed, mut peer) = bed();
    for answer in [&b"short"[..], &pattern(3000)] {
        let seen = bed.write(answer);
        assert_eq!(bed.untold(), answer.len() - 1);
        assert_eq!(seen.len(), 1, "one packet, whose header is smoltcp's");
        assert_eq!(seen[0].flags, ACK | PSH);
        assert_eq!(peer.take(&seen), answer);
        // The acknowledgement comes with the next request, as a browser's does.
        bed.send(&peer.segment(ACK, b"next"));
        peer.sent(4);
        assert_eq!(bed.untold(), 0);
    }
    assert_eq!(bed.counters().retransmissions, 0);
}
