use super::*;
use crate::tcp::State;
use crate::tcp::segment::{ACK, Outgoing};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const NOW: Duration = Duration::from_secs(3);
const PATH: Path = Path {
    local: Ipv4Addr::new(192, 168, 123, 150),
    mtu: 1500,
    segment_max: 0,
};

fn replay(snd_nxt: u32) -> Replay {
    Replay {
        local: SocketAddrV4::new(PATH.local, 80),
        remote: SocketAddrV4::new(Ipv4Addr::new(192, 168, 123, 1), 4000),
        snd_nxt,
        rcv_nxt: 0xffff_fff0,
        window: 502,
        wscale: Some(7),
        mss: 1460,
        sack: true,
    }
}

fn make(replay: &Replay) -> Option<Socket> {
    let buffers = Buffers { rx: 4096, tx: 4096 };
    establish(replay, buffers, None, Duration::ZERO, NOW, 1500)
}

#[derive(Default)]
struct Sink(Vec<Vec<u8>>);

impl Transmit for Sink {
    fn reserve(&mut self) -> bool {
        true
    }

    fn emit<R>(&mut self, len: usize, _: Option<u16>, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut packet = vec![0; len];
        let result = fill(&mut packet);
        self.0.push(packet);
        result
    }
}

fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(packet[at..at + 4].try_into().unwrap())
}

/// Fails when smoltcp's random numbers, or how many an interface draws, change: the seed that is
/// computed for a sequence number would no longer give it.
#[test]
fn every_sequence_number_can_be_had() {
    let mut number = 1u32;
    for _ in 0..10_000 {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        assert!(make(&replay(number)).is_some(), "{number:#x}");
    }
    for number in [0, 1, 2, u32::MAX, 1 << 31, 0x1_0000] {
        assert!(make(&replay(number)).is_some(), "{number:#x}");
    }
}

#[test]
fn a_socket_goes_on_where_the_numbers_say() {
    let mut socket = make(&replay(7)).unwrap();
    let mut engine = Engine::default();
    let mut sink = Sink::default();
    assert_eq!(socket.state(), State::Established);
    assert_eq!(
        engine.emit(&mut socket, NOW, PATH, &mut sink),
        Emitted::Nothing
    );
    assert_eq!(socket.send(5), 5);
    assert_eq!(
        engine.emit(&mut socket, NOW, PATH, &mut sink),
        Emitted::Packet
    );
    let packet = &sink.0[0];
    assert_eq!((word(packet, 24), word(packet, 28)), (7, 0xffff_fff0));
    assert_eq!(packet.len(), 45);
}

#[test]
#[should_panic(expected = "lets a peer crash smoltcp")]
fn a_receive_buffer_above_65535_is_refused() {
    let buffers = Buffers {
        rx: 65_536,
        tx: 4096,
    };
    establish(&replay(7), buffers, None, Duration::ZERO, NOW, 1500);
}

/// smoltcp resets a socket that listens again: nothing of the former connection is left.
#[test]
fn a_spare_socket_knows_nothing_of_its_former_connection() {
    let mut former = make(&replay(7)).unwrap();
    let mut engine = Engine::default();
    former.send(5);
    engine.emit(&mut former, NOW, PATH, &mut Sink::default());
    feed(&mut engine, &mut former, &ack(0xffff_fff0, 7), b"secret");
    assert_eq!((former.send_queue(), former.recv_queue()), (5, 6));

    let next = Replay {
        remote: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 999),
        rcv_nxt: 5000,
        mss: 536,
        ..replay(0x1234_5678)
    };
    let buffers = Buffers { rx: 4096, tx: 4096 };
    let socket = establish(&next, buffers, Some(former), Duration::ZERO, NOW, 1500);
    let mut socket = socket.unwrap();
    assert_eq!(socket.state(), State::Established);
    assert_eq!((socket.send_queue(), socket.recv_queue()), (0, 0));
    assert_eq!(socket.recv_window(), 4096);
    let mut sink = Sink::default();
    assert_eq!(
        engine.emit(&mut socket, NOW, PATH, &mut sink),
        Emitted::Nothing
    );
    assert_eq!(socket.recv(&mut [0; 8]), Received::Octets(0));
    assert_eq!(socket.send(600), 600);
    assert_eq!(
        engine.emit(&mut socket, NOW, PATH, &mut sink),
        Emitted::Packet
    );
    let packet = &sink.0[0];
    assert_eq!((word(packet, 24), word(packet, 28)), (0x1234_5678, 5000));
    assert_eq!((&packet[16..20], packet.len()), (&[10, 0, 0, 9][..], 576));
}

fn feed(engine: &mut Engine, socket: &mut Socket, packet: &Outgoing, payload: &[u8]) -> Sink {
    let mut octets = vec![0; 80];
    let len = packet.write(&mut octets);
    octets.truncate(len);
    octets.extend(payload);
    let total = u16::try_from(octets.len()).unwrap();
    octets[2..4].copy_from_slice(&total.to_be_bytes());
    let mut reply = Sink::default();
    engine.feed(socket, NOW, PATH, &octets, &mut reply);
    reply
}

fn ack(seq: u32, ack: u32) -> Outgoing {
    let replay = replay(7);
    Outgoing {
        local: replay.remote,
        remote: replay.local,
        seq,
        ack,
        flags: ACK,
        window: 502,
        mss: None,
        wscale: None,
        sack_permitted: false,
    }
}

/// Sending without smoltcp relies on it; a guard keeps peers from acknowledging what was not sent.
#[test]
fn what_is_queued_may_be_acknowledged_before_it_is_sent() {
    let mut socket = make(&replay(7)).unwrap();
    let mut engine = Engine::default();
    assert_eq!(socket.send(12), 12);
    feed(&mut engine, &mut socket, &ack(0xffff_fff0, 19), &[]);
    assert_eq!(socket.send_queue(), 0);
}

/// What the guards are for: when one of these fails, smoltcp has changed, and its guard may go.
mod defects {
    use super::*;

    #[test]
    fn an_old_acknowledgement_loses_its_data() {
        let mut socket = make(&replay(7)).unwrap();
        let mut engine = Engine::default();
        feed(&mut engine, &mut socket, &ack(0xffff_fff0, 6), b"data");
        assert_eq!(socket.recv_queue(), 0);
    }

    #[test]
    fn any_reset_in_the_window_ends_the_connection() {
        let mut socket = make(&replay(7)).unwrap();
        let mut engine = Engine::default();
        let mut reset = ack(0xffff_fff0u32.wrapping_add(1000), 7);
        reset.flags = crate::tcp::segment::RST;
        feed(&mut engine, &mut socket, &reset, &[]);
        assert_eq!(socket.state(), State::Closed);
    }

    #[test]
    fn a_syn_on_a_connection_is_met_with_silence() {
        let mut socket = make(&replay(7)).unwrap();
        let mut engine = Engine::default();
        let mut syn = ack(0xffff_fff0, 0);
        syn.flags = crate::tcp::segment::SYN;
        let reply = feed(&mut engine, &mut socket, &syn, &[]);
        assert!(reply.0.is_empty());
    }

    #[test]
    fn three_duplicate_acknowledgements_make_it_forget_a_fin() {
        let mut socket = make(&replay(7)).unwrap();
        let mut engine = Engine::default();
        let mut sink = Sink::default();
        socket.close();
        engine.emit(&mut socket, NOW, PATH, &mut sink);
        for _ in 0..4 {
            feed(&mut engine, &mut socket, &ack(0xffff_fff0, 7), &[]);
        }
        engine.emit(&mut socket, NOW, PATH, &mut sink);
        assert_eq!(sink.0.len(), 1);
        assert_eq!(engine.poll_at(&socket, NOW, PATH), None);
    }

    #[test]
    fn a_window_shrunk_under_what_is_in_flight_makes_it_forget_the_data() {
        let mut socket = make(&replay(7)).unwrap();
        let mut engine = Engine::default();
        let mut sink = Sink::default();
        socket.send(4);
        engine.emit(&mut socket, NOW, PATH, &mut sink);
        let closed = Outgoing {
            window: 0,
            ..ack(0xffff_fff0, 7)
        };
        feed(&mut engine, &mut socket, &closed, &[]);
        let later = NOW + Duration::from_secs(2);
        engine.emit(&mut socket, later, PATH, &mut sink);
        assert_eq!(sink.0.len(), 1);
        assert_eq!(engine.poll_at(&socket, later, PATH), None);
    }
}
