use super::*;
use crate::tcp::segment::SynOptions;

const MSS: usize = 1000;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn start() -> (Sender, Tcb) {
    let options = SynOptions {
        mss: Some(1000),
        wscale: Some(7),
        sack_permitted: true,
    };
    let tcb = Tcb::new(Seq(u32::MAX - 5000), Seq(1), 1000, options);
    (Sender::new(&tcb, 1500, true), tcb)
}

fn send(sender: &mut Sender, tcb: &mut Tcb, segments: usize, now: Duration) {
    for _ in 0..segments {
        tcb.snd_max = tcb.snd_max.add(MSS);
        let flight = tcb.snd_max.since(tcb.una);
        sender.on_sent(tcb.snd_max, flight, MSS, now);
    }
}

fn block(tcb: &Tcb, from: usize, to: usize) -> [Option<(Seq, Seq)>; SACK_BLOCKS_MAX] {
    let una = tcb.una;
    [
        Some((una.add(from * MSS), una.add(to * MSS))),
        None,
        None,
        None,
    ]
}

fn ack(sender: &mut Sender, tcb: &mut Tcb, segments: usize, now: Duration) {
    let before = tcb.una;
    tcb.una = tcb.una.add(segments * MSS);
    sender.on_ack(tcb, before, &[None; SACK_BLOCKS_MAX], MSS, now);
}

#[test]
fn reordering_shorter_than_a_quarter_round_trip_is_no_loss() {
    let (mut sender, mut tcb) = start();
    send(&mut sender, &mut tcb, 1, MS(0));
    ack(&mut sender, &mut tcb, 1, MS(40));
    send(&mut sender, &mut tcb, 10, MS(40));
    let una = tcb.una;
    sender.on_ack(&tcb, una, &block(&tcb, 1, 5), MSS, MS(80));
    assert_eq!(sender.due(&tcb, MSS, MS(85)), Due::Nothing);
    ack(&mut sender, &mut tcb, 5, MS(86));
    assert_eq!(sender.due(&tcb, MSS, MS(95)), Due::Nothing);
    assert_eq!(sender.next_resend(&tcb), None);
}

#[test]
fn gaps_become_losses_and_the_window_shrinks_once() {
    let (mut sender, mut tcb) = start();
    send(&mut sender, &mut tcb, 10, MS(0));
    let una = tcb.una;
    sender.on_ack(&tcb, una, &block(&tcb, 1, 3), MSS, MS(40));
    sender.on_ack(&tcb, una, &block(&tcb, 4, 6), MSS, MS(40));
    let cwnd = sender.congestion.cwnd;
    assert_eq!(sender.due(&tcb, MSS, MS(60)), Due::Loss { new: true });
    assert_eq!(sender.congestion.cwnd, cwnd * 7 / 10);
    let first = sender.allowed_resend(&tcb, MSS).unwrap();
    assert_eq!((first.from, first.to), (una, una.add(MSS)));
    sender.on_resent(&tcb, first, MS(60));
    // The edge moved on while the first was watched.
    assert_eq!(sender.due(&tcb, MSS, MS(80)), Due::Loss { new: false });
    let second = sender.allowed_resend(&tcb, MSS).unwrap();
    assert_eq!(second.from, una.add(3 * MSS));
    assert_eq!(sender.congestion.cwnd, cwnd * 7 / 10);
}

#[test]
fn a_timeout_forgets_what_was_sacked_and_doubles() {
    let (mut sender, mut tcb) = start();
    send(&mut sender, &mut tcb, 10, MS(0));
    let una = tcb.una;
    sender.on_ack(&tcb, una, &block(&tcb, 1, 3), MSS, MS(10));
    assert_eq!(sender.due(&tcb, MSS, MS(1000)), Due::Timeout);
    assert_eq!(sender.congestion.cwnd, MSS);
    let all = sender.next_resend(&tcb).unwrap();
    assert_eq!((all.from, all.to), (tcb.una, tcb.snd_max));
    let allowed = sender.allowed_resend(&tcb, MSS).unwrap();
    assert_eq!(allowed.to, tcb.una.add(MSS));
    sender.on_resent(&tcb, allowed, MS(1000));
    assert_eq!(sender.allowed_resend(&tcb, MSS), None);
    assert_eq!(sender.due(&tcb, MSS, MS(2999)), Due::Nothing);
    assert_eq!(sender.due(&tcb, MSS, MS(3000)), Due::Timeout);
}

#[test]
fn lies_about_what_was_received_change_nothing() {
    let (mut sender, mut tcb) = start();
    send(&mut sender, &mut tcb, 10, MS(0));
    let una = tcb.una;
    for (from, to) in [
        (una.add(MSS), tcb.snd_max.add(1)),
        (una.back(1), una.add(MSS)),
        (una, una.add(MSS)),
        (una.add(5), una.add(5)),
        (una.add(9), una.add(5)),
    ] {
        sender.on_ack(&tcb, una, &[Some((from, to)), None, None, None], MSS, MS(5));
        assert_eq!(sender.board, []);
    }
}

#[test]
fn the_board_is_bounded_and_merges() {
    let (mut sender, mut tcb) = start();
    send(&mut sender, &mut tcb, 300, MS(0));
    let una = tcb.una;
    for at in 0..140 {
        sender.on_ack(&tcb, una, &block(&tcb, 2 * at + 1, 2 * at + 2), MSS, MS(5));
    }
    assert_eq!(sender.board.len(), SACK_RANGES_MAX);
    sender.on_ack(&tcb, una, &block(&tcb, 1, 200), MSS, MS(6));
    assert_eq!(sender.board, [(una.add(MSS), una.add(200 * MSS))]);
}

#[test]
fn three_duplicates_from_a_peer_without_sack_are_a_loss() {
    let (mut sender, mut tcb) = start();
    tcb.sack = false;
    send(&mut sender, &mut tcb, 10, MS(0));
    for _ in 0..3 {
        sender.on_duplicate(&tcb, MSS);
    }
    let lost = sender.allowed_resend(&tcb, MSS).unwrap();
    assert_eq!((lost.from, lost.to), (tcb.una, tcb.una.add(MSS)));
    sender.on_resent(&tcb, lost, MS(1));
    // A partial acknowledgement shows the next.
    ack(&mut sender, &mut tcb, 3, MS(40));
    let lost = sender.allowed_resend(&tcb, MSS).unwrap();
    assert_eq!((lost.from, lost.to), (tcb.una, tcb.una.add(MSS)));
}

#[test]
fn a_lone_loss_on_a_path_without_a_queue_leaves_the_window() {
    let (mut sender, mut tcb) = start();
    send(&mut sender, &mut tcb, 10, MS(0));
    ack(&mut sender, &mut tcb, 10, MS(40));
    send(&mut sender, &mut tcb, 20, MS(40));
    let cwnd = sender.congestion.cwnd;
    let una = tcb.una;
    sender.on_ack(&tcb, una, &block(&tcb, 1, 20), MSS, MS(80));
    assert_eq!(sender.due(&tcb, MSS, MS(100)), Due::Loss { new: true });
    assert_eq!(sender.congestion.cwnd, cwnd);
    assert!(sender.allowed_resend(&tcb, MSS).is_some());
}

#[test]
fn the_same_loss_after_longer_round_trips_is_congestion() {
    let (mut sender, mut tcb) = start();
    send(&mut sender, &mut tcb, 10, MS(0));
    ack(&mut sender, &mut tcb, 10, MS(40));
    send(&mut sender, &mut tcb, 20, MS(40));
    ack(&mut sender, &mut tcb, 1, MS(100));
    let una = tcb.una;
    sender.on_ack(&tcb, una, &block(&tcb, 1, 19), MSS, MS(100));
    assert_eq!(sender.due(&tcb, MSS, MS(140)), Due::Loss { new: true });
    assert!(sender.congestion.cwnd <= 19 * MSS * 7 / 10);
}

#[test]
fn what_was_sent_again_and_lost_again_is_not_left_to_the_timeout() {
    let (mut sender, mut tcb) = start();
    send(&mut sender, &mut tcb, 10, MS(0));
    ack(&mut sender, &mut tcb, 10, MS(40));
    send(&mut sender, &mut tcb, 10, MS(40));
    let una = tcb.una;
    sender.on_ack(&tcb, una, &block(&tcb, 1, 10), MSS, MS(80));
    sender.due(&tcb, MSS, MS(100));
    let first = sender.allowed_resend(&tcb, MSS).unwrap();
    sender.on_resent(&tcb, first, MS(100));
    send(&mut sender, &mut tcb, 5, MS(100));
    // Three that overtake may be reordering.
    sender.on_ack(&tcb, una, &block(&tcb, 1, 13), MSS, MS(140));
    assert_eq!(sender.next_resend(&tcb), None);
    sender.on_ack(&tcb, una, &block(&tcb, 1, 14), MSS, MS(141));
    assert_eq!(sender.allowed_resend(&tcb, MSS), Some(first));
    // Once more, and not with every acknowledgement that follows.
    sender.on_resent(&tcb, first, MS(141));
    sender.on_ack(&tcb, una, &block(&tcb, 1, 15), MSS, MS(142));
    assert_eq!(sender.next_resend(&tcb), None);
}
