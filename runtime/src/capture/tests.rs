use std::fs;
use std::path::Path;

use crossbeam_channel::unbounded;
use dataplane::{Checksum, EtherType, Tag, Tags};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use vlan::{Match, OuterTag, Tpid, VlanId};

use super::folder::CaptureFolder;
use super::writer::{Capture, Names};
use super::*;
use crate::event::Event;

const PORT: IfIndex = IfIndex(1);
const SUB: IfIndex = IfIndex(2);

/// A packet in a file: interface, octets, wire length, comment.
type Packet = (String, Vec<u8>, u32, Option<String>);

fn read(path: &Path) -> Vec<Packet> {
    let mut reader = PcapNgReader::new(fs::File::open(path).unwrap()).unwrap();
    let (mut names, mut packets) = (Vec::new(), Vec::new());
    let mut last = Duration::ZERO;
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(block) => {
                assert!(
                    block
                        .options
                        .contains(&InterfaceDescriptionOption::IfTsResol(9))
                );
                names.extend(block.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                }));
            }
            Block::EnhancedPacket(packet) => {
                assert!(packet.timestamp >= last);
                last = packet.timestamp;
                let comment = packet.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Comment(text) => Some(text.to_string()),
                    _ => None,
                });
                let name = names[usize::try_from(packet.interface_id).unwrap()].clone();
                packets.push((name, packet.data.to_vec(), packet.original_len, comment));
            }
            _ => {}
        }
    }
    let age = SystemTime::now().duration_since(UNIX_EPOCH + last).unwrap();
    assert!(
        packets.is_empty() || age < Duration::from_mins(1),
        "{age:?}"
    );
    packets
}

fn order(packets: u64) -> Order {
    Order {
        kinds: Kinds {
            rx: true,
            tx: true,
            drop: true,
        },
        packets,
        snaplen: SNAPLEN_MAX,
        interface: None,
        file: "a.pcapng".to_owned(),
    }
}

struct Bench {
    home: tempfile::TempDir,
    capture: Capture,
    said: crossbeam_channel::Receiver<Event>,
    subs: SubInterfaces,
}

fn bench(order: Order) -> Bench {
    let home = tempfile::tempdir().unwrap();
    let folder = CaptureFolder::open(home.path()).unwrap();
    let file = folder.create(&order.file).unwrap();
    let names = Names::from([
        (PORT, "host-macvlan0".to_owned()),
        (SUB, "host-macvlan0.123".to_owned()),
    ]);
    let (tell, said) = unbounded();
    let capture = Capture::start(order, file, names, tell).unwrap();
    let mut subs = SubInterfaces::default();
    subs.add_port(PORT).unwrap();
    let outer = OuterTag {
        tpid: Tpid::Dot1q,
        vid: VlanId::new(123).unwrap(),
    };
    subs.add(PORT, SUB, Match::Single { outer, exact: true })
        .unwrap();
    Bench {
        home,
        capture,
        said,
        subs,
    }
}

impl Bench {
    fn read(&self) -> Vec<Packet> {
        read(&self.home.path().join("a.pcapng"))
    }

    /// Waits until the writer ended by itself.
    fn wait(&self) -> Status {
        let start = Instant::now();
        while self.capture.status().ended.is_none() {
            assert!(start.elapsed() < Duration::from_secs(20), "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.capture.status()
    }
}

const CTAG: Tag = Tag {
    tpid: EtherType::CTAG,
    tci: 0x607b, // priority 3, VLAN 123
};

/// Two addresses, ARP, one octet.
const PLAIN: [u8; 15] = *b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\x06A";
const TAGGED: [u8; 19] = *b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x81\0\x60\x7b\x08\x06A";

/// As the kernel gives it: the tag beside the octets.
fn received(octets: &mut [u8]) -> Frame<'_> {
    let len = octets.len();
    let mut frame = Frame::new(octets, 0, len);
    frame.meta.interface = PORT;
    frame.meta.tags = Tags::from_iter([CTAG]);
    frame
}

#[test]
fn a_received_frame_has_its_tag_again_and_its_sub_interfaces_name() {
    let mut bench = bench(order(9));
    let mut tap = bench.capture.tap(PORT, None);
    let mut octets = PLAIN;
    tap.received(&received(&mut octets), &bench.subs);
    // Untagged: of the port, which has no stack of its own.
    let mut octets = PLAIN;
    let mut frame = received(&mut octets);
    frame.meta.tags = Tags::NONE;
    frame.meta.wire_len = 99;
    tap.received(&frame, &bench.subs);
    tap.settle();
    let status = bench.capture.finish();
    assert_eq!((status.packets, status.lost), (2, 0));
    assert_eq!(
        bench.read(),
        [
            ("host-macvlan0.123".to_owned(), TAGGED.to_vec(), 19, None),
            ("host-macvlan0".to_owned(), PLAIN.to_vec(), 99, None)
        ]
    );
}

#[test]
fn a_dropped_frame_has_its_header_again_and_says_why() {
    let mut bench = bench(order(9));
    let mut tap = bench.capture.tap(PORT, None);
    let mut octets = PLAIN;
    let mut frame = received(&mut octets);
    // As `ethernet-input` and `dot1q-demux` leave it.
    assert!(frame.advance(14));
    frame.meta.destination.0 = [2, 0, 0, 0, 0, 1];
    frame.meta.source.0 = [2, 0, 0, 0, 0, 2];
    frame.meta.ether_type = EtherType::ARP;
    frame.meta.interface = SUB;
    tap.dropped("arp-input", "too-short", &frame);
    let mut octets = PLAIN;
    let early = received(&mut octets);
    tap.dropped("ethernet-input", "own-source", &early);
    tap.settle();
    bench.capture.finish();
    let comment = |text: &str| Some(text.to_owned());
    let packets = bench.read();
    let expected = [
        (
            "host-macvlan0.123",
            comment("dropped by arp-input: too-short"),
        ),
        (
            "host-macvlan0",
            comment("dropped by ethernet-input: own-source"),
        ),
    ];
    for (packet, (name, comment)) in packets.iter().zip(expected) {
        assert_eq!(*packet, (name.to_owned(), TAGGED.to_vec(), 19, comment));
    }
    assert_eq!(packets.len(), 2);
}

#[test]
fn what_the_port_refuses_is_not_captured_and_a_sum_left_open_is_completed() {
    let mut bench = bench(order(9));
    let mut tap = bench.capture.tap(PORT, None);
    let mut octets = TAGGED;
    let frame = Frame::new(&mut octets, 0, 19);
    tap.transmitted(&frame);
    tap.refused();
    // Four octets of headroom, and the sum over the octet 0x41 alone goes over the type.
    let mut octets = [0; 23];
    octets[4..].copy_from_slice(&TAGGED);
    let mut frame = Frame::new(&mut octets, 4, 19);
    frame.meta.interface = SUB;
    frame.meta.checksum = Checksum::Partial {
        start: 4 + 16,
        offset: 0,
    };
    tap.transmitted(&frame);
    tap.settle();
    bench.capture.finish();
    let mut expected = TAGGED.to_vec();
    // 0x0806 + 0x4100, inverted.
    expected[16..18].copy_from_slice(&(!0x4906u16).to_be_bytes());
    assert_eq!(
        bench.read(),
        [("host-macvlan0.123".to_owned(), expected, 19, None)]
    );
}

#[test]
fn only_what_was_asked_for_is_captured_and_only_so_many_octets_of_it() {
    let mut wanted = order(9);
    wanted.kinds.tx = false;
    wanted.snaplen = 16;
    let mut bench = bench(wanted);
    let mut tap = bench.capture.tap(PORT, Some(SUB));
    let mut octets = PLAIN;
    let mut frame = received(&mut octets);
    tap.received(&frame, &bench.subs);
    tap.transmitted(&frame);
    frame.meta.tags = Tags::NONE;
    tap.received(&frame, &bench.subs);
    tap.settle();
    bench.capture.finish();
    assert_eq!(
        bench.read(),
        [(
            "host-macvlan0.123".to_owned(),
            TAGGED[..16].to_vec(),
            19,
            None
        )]
    );
}

#[test]
fn as_many_as_asked_for_are_captured_and_it_ends_by_itself() {
    let bench = bench(order(2));
    let mut tap = bench.capture.tap(PORT, None);
    let mut other = bench.capture.tap(PORT, None);
    let mut octets = PLAIN;
    let frame = received(&mut octets);
    for _ in 0..3 {
        tap.received(&frame, &bench.subs);
        other.received(&frame, &bench.subs);
    }
    tap.settle();
    other.settle();
    assert!(!tap.is_wanted());
    let status = bench.wait();
    assert_eq!(status.packets, 2);
    assert_eq!(bench.read().len(), 2);
    assert!(bench.said.is_empty());
}

#[test]
fn a_ring_that_is_full_loses_packets_counts_them_and_takes_none_in_part() {
    let (mut heads, mut kept) = (0, 0);
    let shared = Arc::new(Shared::default());
    let (mut tap, mut drain) = Tap::new(&order(PACKETS_MAX), PORT, None, Clock::now(), &shared);
    let mut octets = vec![7; 60_000];
    let frame = received(&mut octets);
    let subs = SubInterfaces::default();
    let fit = RING_OCTETS_MAX / 60_004;
    for _ in 0..fit + 5 {
        tap.received(&frame, &subs);
    }
    tap.settle();
    assert_eq!(shared.lost.load(Ordering::Relaxed), 5);
    while let Ok(head) = drain.heads.pop() {
        heads += 1;
        kept += head.kept;
    }
    assert_eq!((heads, kept), (fit, drain.octets.slots()));
    // The writer is back.
    let all = drain.octets.slots();
    drain.octets.read_chunk(all).unwrap().commit_all();
    tap.received(&frame, &subs);
    tap.settle();
    assert_eq!(
        (drain.heads.slots(), shared.lost.load(Ordering::Relaxed)),
        (1, 5)
    );
}

#[test]
fn a_file_that_is_removed_ends_the_capture_with_a_message() {
    let bench = bench(order(9));
    fs::remove_file(bench.home.path().join("a.pcapng")).unwrap();
    let status = bench.wait();
    assert_eq!(status.ended.as_deref(), Some("the file was removed"));
    let said = bench.said.recv().unwrap();
    assert!(
        matches!(&said, Event::Notice(text) if text.contains("the file was removed")),
        "{said:?}"
    );
}

#[test]
fn a_full_disk_ends_the_capture_with_a_message() {
    let file = fs::File::options().write(true).open("/dev/full").unwrap();
    let (tell, said) = unbounded();
    let path = "/dev/full".into();
    let mut capture = Capture::start(order(9), (file, path), Names::new(), tell).unwrap();
    let said = said.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(
        matches!(&said, Event::Notice(text) if text.contains("No space left")),
        "{said:?}"
    );
    let tap = capture.tap(PORT, None);
    assert!(!tap.is_wanted());
    assert!(!capture.is_on());
    capture.finish();
}

#[test]
fn a_frames_tail_is_part_of_it() {
    let mut bench = bench(order(9));
    let mut tap = bench.capture.tap(PORT, None);
    let mut octets = TAGGED;
    let len = octets.len();
    let mut frame = Frame::new(&mut octets, 0, len);
    frame.meta.interface = SUB;
    frame.attach(vec![
        bytes::Bytes::from_static(b"shared "),
        bytes::Bytes::from_static(b"octets"),
    ]);
    tap.transmitted(&frame);
    tap.settle();
    bench.capture.finish();
    let packets = bench.read();
    let whole = [&TAGGED[..], b"shared octets"].concat();
    assert_eq!((packets.len(), &packets[0].1), (1, &whole));
    assert_eq!(packets[0].2, 32);
}
