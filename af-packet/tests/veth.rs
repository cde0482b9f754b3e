//! Both rings against the kernel, over a veth pair in a network namespace of the test's own.
//!
//! Needs root. Without it each test says that it is skipped, unless `CI=true`: then it fails.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says when it is skipped, its helpers too"
)]

use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use af_packet::{
    AttachError, Device, Fanout, LinkInfo, LinkMonitor, OpenError, Options, RxVersion, Sockets,
};
use dataplane::testing::ethernet;
use dataplane::{Batch, Checksum, EtherType, IfIndex, MacAddr, Meta, Port, Segmentation, Tag};
use nix::sched::{CloneFlags, unshare};

/// The most a step may take, on a busy machine as well.
const WAIT: Duration = Duration::from_secs(10);
/// Nothing that comes in time comes by the retire timer.
const LONG: Duration = Duration::from_secs(20);
const LONE_FRAMES: u32 = 10_000;
const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
/// An EtherType for experiments: no protocol of the kernel's answers.
const EXPERIMENT: EtherType = EtherType(0x88b5);

/// Enters a network namespace with a veth pair `a` - `b`. Each test runs on its own thread, and
/// the namespace goes away with the thread and its sockets.
fn namespace() -> bool {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "CI must be able to make a network namespace: {error}"
        );
        println!("skipped: making a network namespace needs root ({error})");
        return false;
    }
    make_pair();
    true
}

fn make_pair() {
    ip("link add name a address 02:00:00:00:00:0a type veth peer name b address 02:00:00:00:00:0b");
    // No router solicitations between our frames.
    for name in ["a", "b"] {
        ip(&format!("link set dev {name} addrgenmode none"));
        ip(&format!("link set dev {name} up"));
    }
    operating();
}

/// Waits until the kernel has put the pair in operation, which it does by a work queue: what is sent
/// before is dropped. The state of a new link is UNKNOWN at first, which the flags tell as running.
fn operating() {
    let end = Instant::now() + WAIT;
    let operates = |name| ip(&format!("link show dev {name}")).contains("state UP");
    while !(operates("a") && operates("b")) {
        assert!(Instant::now() < end, "the pair is not put in operation");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn link(name: &str) -> LinkInfo {
    LinkInfo::by_name(name).unwrap()
}

fn small(options: &Options) -> Options {
    Options {
        rx_blocks: 4,
        tx_blocks: 1,
        ..options.clone()
    }
}

/// Small rings whose blocks no timer retires in time.
fn never_retired(options: &Options) -> Options {
    Options {
        retire_timeout: LONG,
        ..small(options)
    }
}

fn both() -> [Options; 2] {
    [small(&Options::v2()), small(&Options::v3())]
}

fn open(name: &str, options: &Options) -> Device {
    let sockets = Sockets::open(name).unwrap();
    let mut device = sockets.map(IfIndex(3), options).unwrap();
    device.attach(&link(name)).unwrap();
    device
}

/// Whether a ring reads blocks early by default.
const EARLY: bool = cfg!(target_arch = "x86_64");

type Received = (Vec<u8>, Meta, usize);

/// Receives until there are `count` frames of ours.
fn receive(device: &mut Device, count: usize) -> Vec<Received> {
    let end = Instant::now() + WAIT;
    let mut frames = Vec::new();
    while frames.len() < count && Instant::now() < end {
        device.wait(Some(Duration::from_millis(100)), &[]).unwrap();
        let (mut rx, _tx) = device.turn();
        let mut batch = Batch::new();
        rx.fill(&mut batch);
        for frame in batch.drain() {
            let source = frame.octets().get(6..12);
            if source == Some(&A.0) || source == Some(&B.0) {
                frames.push((frame.octets().to_vec(), frame.meta, frame.offset()));
            }
        }
    }
    assert_eq!(frames.len(), count, "frames received in time");
    frames
}

fn send(device: &mut Device, octets: &[u8]) -> bool {
    send_with(device, octets, |_, _| {})
}

fn send_with(device: &mut Device, octets: &[u8], change: impl Fn(&mut Meta, u16)) -> bool {
    let (_rx, mut tx) = device.turn();
    let Some(mut frame) = tx.alloc(octets.len()) else {
        return false;
    };
    frame.octets_mut().copy_from_slice(octets);
    let at = u16::try_from(frame.offset()).unwrap();
    change(&mut frame.meta, at);
    tx.transmit(frame).is_ok()
}

fn tag(tpid: EtherType, tci: u16) -> Tag {
    Tag { tpid, tci }
}

fn payload() -> Vec<u8> {
    (0..100).collect()
}

#[test]
fn tags_are_received_as_metadata_and_sent_inline() {
    if !namespace() {
        return;
    }
    let (ctag, stag) = (tag(EtherType::CTAG, 0x6064), tag(EtherType::STAG, 200));
    let inner = tag(EtherType::CTAG, 100);
    for options in both() {
        let (mut a, mut b) = (open("a", &options), open("b", &options));
        let priority = tag(EtherType::CTAG, 0xa000);
        for tags in [
            vec![],
            vec![ctag],
            vec![stag],
            vec![stag, inner],
            vec![ctag, inner],
            vec![priority],
        ] {
            let frame = ethernet(B, A, &tags, EXPERIMENT, &payload());
            assert!(send(&mut a, &frame));
            let (octets, meta, offset) = receive(&mut b, 1).remove(0);
            let outer: Vec<_> = tags.iter().copied().take(1).collect();
            let rest: Vec<_> = tags.iter().copied().skip(1).collect();
            assert_eq!(meta.tags.as_slice(), outer, "{options:?}");
            assert_eq!(octets, ethernet(B, A, &rest, EXPERIMENT, &payload()));
            assert_eq!(meta.wire_len as usize, octets.len());
            assert_eq!(meta.interface, IfIndex(3));
            assert!(offset >= dataplane::HEADROOM);
        }
        // What a sent is not received by a.
        assert!(!a.is_ready());
        assert_eq!(a.rx_counters().frames, 0);
    }
}

#[test]
fn full_size_frames_leave_with_any_tags_and_longer_ones_are_refused() {
    if !namespace() {
        return;
    }
    let (ctag, stag) = (tag(EtherType::CTAG, 1), tag(EtherType::STAG, 2));
    for vnet_hdr in [true, false] {
        let options = Options {
            vnet_hdr,
            ..small(&Options::default())
        };
        let (mut a, mut b) = (open("a", &options), open("b", &options));
        for tags in [vec![], vec![ctag], vec![stag], vec![stag, ctag]] {
            // Drivers make room for one tag beside a full packet, and block at more.
            let most = if tags.len() == 2 { 1496 } else { 1500 };
            let full = ethernet(B, A, &tags, EXPERIMENT, &vec![1; most]);
            let longer = ethernet(B, A, &tags, EXPERIMENT, &vec![1; most + 1]);
            assert!(!send(&mut a, &longer), "{tags:?}");
            if send(&mut a, &full) {
                assert!(!a.pending(), "{tags:?} {vnet_hdr}: the head is blocked");
                receive(&mut b, 1);
            } else {
                // Without offloads af_packet makes room for a C-tag only.
                assert!(!vnet_hdr && tags[0] == stag, "{tags:?}");
            }
        }
    }
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "blocks are not read early")]
fn a_lone_frame_is_seen_long_before_the_retire_timeout_without_spurious_wakes() {
    if !namespace() {
        return;
    }
    let options = never_retired(&Options::v3());
    let (mut a, mut b) = (open("a", &options), open("b", &options));
    for n in 0..50u8 {
        assert!(send(&mut a, &ethernet(B, A, &[], EXPERIMENT, &[n; 60])));
        assert_eq!(receive(&mut b, 1)[0].0[14], n);
    }
    assert_eq!(b.rx_counters().early, 50);
    let before = Instant::now();
    let wake = b.wait(Some(Duration::from_millis(50)), &[]).unwrap();
    assert_eq!(wake, af_packet::Wake::default());
    assert!(before.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_callers_descriptor_wakes_the_device() {
    if !namespace() {
        return;
    }
    let mut a = open("a", &small(&Options::default()));
    let (reader, writer) = std::io::pipe().unwrap();
    let (quiet, _kept) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut &writer, &[1]).unwrap();
    let wake = a
        .wait(Some(WAIT), &[quiet.as_fd(), reader.as_fd()])
        .unwrap();
    assert_eq!((wake.fds, wake.rx), (0b10, false));
}

/// An IPv4 and TCP frame of `len` octets of payload, its checksum left as the pseudo-header's.
fn tcp(tags: &[Tag], len: usize) -> (Vec<u8>, u16) {
    let total = u16::try_from(40 + len).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, 6, 0, 0];
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    let sum: u32 = packet
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([
        0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff,
    ]);
    packet.extend([0, 0, 0, 0]);
    packet.extend((0..len).map(|n| n.to_be_bytes()[7]));
    let tcp_at = 14 + 4 * tags.len() + 20;
    let frame = ethernet(B, A, tags, EtherType::IPV4, &packet);
    (frame, u16::try_from(tcp_at).unwrap())
}

#[test]
fn a_tagged_super_segment_crosses_whole_with_its_offloads() {
    if !namespace() {
        return;
    }
    for options in both() {
        let (mut a, mut b) = (open("a", &options), open("b", &options));
        assert!(a.offloads());
        for tags in [
            vec![],
            vec![tag(EtherType::CTAG, 123)],
            vec![tag(EtherType::STAG, 7), tag(EtherType::CTAG, 123)],
        ] {
            let (frame, tcp_at) = tcp(&tags, 60_000);
            assert!(send_with(&mut a, &frame, |meta, at| {
                meta.checksum = Checksum::Partial {
                    start: at + tcp_at,
                    offset: 16,
                };
                meta.segmentation = Some(Segmentation {
                    size: 1400,
                    header_len: 40,
                });
            }));
            let (octets, meta, offset) = receive(&mut b, 1).remove(0);
            assert_eq!(meta.tags.as_slice(), &tags[..tags.len().min(1)]);
            assert_eq!(octets.len(), frame.len() - 4 * meta.tags.len());
            assert_eq!(
                octets[octets.len() - 60_000..],
                frame[frame.len() - 60_000..]
            );
            let expected = Segmentation {
                size: 1400,
                header_len: 40,
            };
            assert_eq!(meta.segmentation, Some(expected));
            let Checksum::Partial { start, offset: 16 } = meta.checksum else {
                panic!("{:?}", meta.checksum);
            };
            let stripped = 4 * meta.tags.len();
            assert_eq!(usize::from(start) - offset, usize::from(tcp_at) - stripped);
        }
    }
}

#[test]
fn a_device_without_offloads_trusts_local_checksums_and_finishes_its_own() {
    if !namespace() {
        return;
    }
    let plain = Options {
        vnet_hdr: false,
        ..small(&Options::default())
    };
    let (mut a, mut b) = (open("a", &small(&Options::default())), open("b", &plain));
    assert!(a.offloads() && !b.offloads());
    let (frame, tcp_at) = tcp(&[], 10);
    let left_open = |meta: &mut Meta, at| {
        meta.checksum = Checksum::Partial {
            start: at + tcp_at,
            offset: 16,
        };
    };
    assert!(send_with(&mut a, &frame, left_open));
    let (octets, meta, _) = receive(&mut b, 1).remove(0);
    assert_eq!((octets, meta.checksum), (frame.clone(), Checksum::Valid));
    assert!(send_with(&mut b, &frame, left_open));
    let (octets, _, _) = receive(&mut a, 1).remove(0);
    let words = octets[usize::from(tcp_at)..].chunks(2);
    let sum: u32 = words
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
}

/// Frames received by `interface`, and of these dropped, as the kernel counts.
fn received_and_dropped(interface: &str) -> (u64, u64) {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let mut lines = table.lines().filter_map(|line| line.trim().split_once(':'));
    let (_, row) = lines.find(|(name, _)| *name == interface).unwrap();
    let numbers: Vec<u64> = row.split_whitespace().flat_map(str::parse).collect();
    (numbers[1], numbers[3])
}

#[test]
fn a_rehearsal_is_seen_on_lo_and_nowhere_else() {
    if !namespace() {
        return;
    }
    for options in both().map(|options| Options {
        vnet_hdr: options.rx_version == RxVersion::V3,
        ..options
    }) {
        let mut a = open("a", &options);
        ip("link set dev lo down");
        assert!(!a.rehearse());
        ip("link set dev lo up");
        let before = (received_and_dropped("lo"), received_and_dropped("b"));
        for _ in 0..3 {
            assert!(a.rehearse());
        }
        let ((lo, lo_dropped), b) = before;
        assert_eq!(received_and_dropped("lo"), (lo + 3, lo_dropped));
        assert_eq!(received_and_dropped("b"), b);
    }
}

#[test]
fn a_flood_is_lossless_or_counted() {
    if !namespace() {
        return;
    }
    for options in both() {
        let (mut a, mut b) = (open("a", &options), open("b", &options));
        let frame = ethernet(B, A, &[], EXPERIMENT, &[5; 1000]);
        let end = Instant::now() + WAIT;
        let mut sent = 0;
        while sent < 4000 {
            assert!(Instant::now() < end, "{sent} frames were sent in time");
            let (_rx, mut tx) = a.turn();
            for _ in 0..100.min(4000 - sent) {
                let Some(mut slot) = tx.alloc(frame.len()) else {
                    break; // they are on their way
                };
                slot.octets_mut().copy_from_slice(&frame);
                tx.transmit(slot).unwrap();
                sent += 1;
            }
        }
        assert_eq!(a.tx_counters().frames, 4000);
        let mut received = 0;
        while b.wait(Some(Duration::from_millis(200)), &[]).unwrap().rx {
            let (mut rx, _tx) = b.turn();
            received += rx.fill(&mut Batch::new()) as u64;
        }
        let kernel = b.kernel_counters();
        assert_eq!(kernel.packets, 4000, "{kernel:?}");
        assert_eq!(received + kernel.drops, 4000);
        assert!(kernel.drops > 0, "4 MB do not fit the ring: {kernel:?}");
        assert_eq!(
            b.kernel_counters(),
            kernel,
            "reading resets the kernel's only"
        );
    }
}

#[test]
fn without_carrier_frames_wait_and_leave_when_it_is_back() {
    if !namespace() {
        return;
    }
    let options = Options {
        qdisc_bypass: true,
        ..small(&Options::default())
    };
    let (mut a, mut b) = (open("a", &options), open("b", &options));
    ip("link set dev b down");
    let mut accepted = 0u8;
    while send(&mut a, &ethernet(B, A, &[], EXPERIMENT, &[accepted; 60])) {
        accepted += 1;
    }
    // One MiB in slots of 68 KiB.
    assert_eq!(accepted, 15);
    assert!(a.pending());
    assert!(a.tx_counters().back_pressure + a.tx_counters().link_down > 0);
    assert!(a.tx_counters().ring_full > 0);
    let wake = b.wait(Some(WAIT), &[]).unwrap();
    assert_eq!(wake.error, Some(libc_enetdown()));
    ip("link set dev b up");
    let end = Instant::now() + WAIT;
    while a.pending() && Instant::now() < end {
        drop(a.turn());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!a.pending());
    let frames = receive(&mut b, 15);
    assert!((0..15).all(|n| frames[usize::from(n)].0[14] == n));
}

fn libc_enetdown() -> i32 {
    nix::errno::Errno::ENETDOWN as i32
}

#[test]
fn a_link_that_went_down_works_again_when_it_is_up() {
    if !namespace() {
        return;
    }
    let options = never_retired(&Options::default());
    let (mut a, mut b) = (open("a", &options), open("b", &options));
    ip("link set dev a down");
    assert_eq!(
        a.wait(Some(WAIT), &[]).unwrap().error,
        Some(libc_enetdown())
    );
    assert!(send(&mut a, &ethernet(B, A, &[], EXPERIMENT, &[1; 60])));
    assert!(a.pending() && a.tx_counters().link_down > 0);
    assert!(!link("a").up && !link("b").running);
    ip("link set dev a up");
    let end = Instant::now() + WAIT;
    while (a.pending() || !link("b").is_running()) && Instant::now() < end {
        drop(a.turn());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(receive(&mut b, 1)[0].0[14], 1);
    assert!(send(&mut b, &ethernet(A, B, &[], EXPERIMENT, &[2; 60])));
    assert_eq!(receive(&mut a, 1)[0].0[14], 2);
    // The doorbell still rings after the ring: no frame waits for the retire timeout.
    let early = if EARLY { a.rx_counters().frames } else { 0 };
    assert_eq!(a.rx_counters().early, early);
}

/// Takes every capability from this thread: what follows needs none. (A program run as root gets
/// its own again, so `ip` still works.)
fn drop_capabilities() {
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
        caps::clear(None, set).unwrap();
    }
    assert!(matches!(
        Sockets::open("a"),
        Err(OpenError::NoCapability { .. })
    ));
}

#[test]
fn a_link_made_anew_is_attached_with_the_rings_still_mapped() {
    if namespace() {
        attach_anew(&small(&Options::v3()));
    }
}

#[test]
fn a_link_made_anew_is_attached_with_version_2_as_well() {
    if namespace() {
        attach_anew(&small(&Options::v2()));
    }
}

fn attach_anew(options: &Options) {
    let mut monitor = LinkMonitor::new().unwrap();
    let before = monitor.watch("a").unwrap().unwrap();
    let (mut a, mut b) = (open("a", options), open("b", options));
    drop_capabilities();
    assert!(send(&mut a, &ethernet(B, A, &[], EXPERIMENT, &[1; 60])));
    assert_eq!(receive(&mut b, 1).len(), 1);
    ip("link del dev a");
    let wake = a.wait(Some(WAIT), &[]).unwrap();
    assert_eq!(wake.error, Some(libc_enetdown()));
    assert!(matches!(a.attach(&before), Err(AttachError::Gone { .. })));
    // Reported, it does not wake again.
    let slept = (0..5).any(|_| {
        let before = Instant::now();
        let quiet = a.wait(Some(Duration::from_millis(30)), &[]).unwrap();
        quiet == af_packet::Wake::default() && before.elapsed() >= Duration::from_millis(30)
    });
    assert!(slept);
    let events = monitor.events().unwrap();
    assert_eq!((events.len(), &events[0].link), (1, &None));
    assert!(send(&mut a, &ethernet(B, A, &[], EXPERIMENT, &[2; 60])));
    assert!(a.pending());
    make_pair();
    let events = monitor.events().unwrap();
    let after = events[0].link.clone().unwrap();
    assert_ne!(after.index, before.index);
    b.attach(&link("b")).unwrap();
    a.attach(&after).unwrap();
    drop(a.turn());
    assert_eq!(
        receive(&mut b, 1)[0].0[14],
        2,
        "what waited leaves by the new link"
    );
    assert!(send(&mut b, &ethernet(A, B, &[], EXPERIMENT, &[3; 60])));
    assert_eq!(receive(&mut a, 1)[0].0[14], 3);
    let mut monitor = LinkMonitor::new().unwrap();
    assert!(monitor.watch("gone0").unwrap().is_none());
    assert!(monitor.events().unwrap().is_empty());
}

#[test]
fn sockets_opened_before_the_interface_exists_are_attached_later() {
    if !namespace() {
        return;
    }
    let fds = Sockets::open("late0").unwrap().into_fds();
    let sockets = Sockets::from_fds("late0", fds).unwrap();
    let peer = Sockets::open("late1").unwrap();
    drop_capabilities();
    let mut late = sockets
        .map(IfIndex(3), &small(&Options::default()))
        .unwrap();
    ip("link add name late0 address 02:00:00:00:00:0a type veth peer name late1");
    // Down still: attaching is no error, and frames come once it is up.
    late.attach(&link("late0")).unwrap();
    ip("link set dev late0 up");
    ip("link set dev late1 up");
    let mut peer = peer.map(IfIndex(4), &small(&Options::default())).unwrap();
    peer.attach(&link("late1")).unwrap();
    assert!(send(&mut peer, &ethernet(A, B, &[], EXPERIMENT, &[1; 60])));
    assert_eq!(receive(&mut late, 1)[0].0[14], 1);
}

#[test]
fn descriptors_that_are_no_packet_sockets_are_refused() {
    if !namespace() {
        return;
    }
    let mut fds = Sockets::open("a").unwrap().into_fds();
    fds.pop();
    let refused = Sockets::from_fds("a", fds).unwrap_err();
    assert!(matches!(refused, OpenError::Options(_)));
    let file = std::fs::File::open("/dev/null").unwrap();
    let refused = Sockets::from_fds("a", vec![file.into()]).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("a: a descriptor handed over")
    );
}

/// A bell that rings before its frame lies in the ring is answered too early, and the frame waits
/// for the retire timer. That shows when frames come as the reader is about to sleep.
fn lone_frames(reader: &mut Device, peer: &mut Device) {
    let asked = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=LONE_FRAMES {
                let end = Instant::now() + LONG;
                while asked.load(Ordering::Acquire) < n {
                    if Instant::now() > end {
                        return; // the reader failed
                    }
                    std::hint::spin_loop();
                }
                // Another moment of the reader's each time.
                (0..n % 512).for_each(|_| std::hint::spin_loop());
                let [.., high, low] = n.to_be_bytes();
                let sent = send(peer, &ethernet(A, B, &[], EXPERIMENT, &[high, low]));
                assert!(sent);
            }
        });
        for n in 1..=LONE_FRAMES {
            asked.store(n, Ordering::Release);
            let received = loop {
                let wake = reader.wait(Some(WAIT), &[]).unwrap();
                assert_ne!(wake, af_packet::Wake::default(), "frame {n} in time");
                let (mut rx, _tx) = reader.turn();
                let mut batch = Batch::new();
                rx.fill(&mut batch);
                if let Some(frame) = batch.drain().next() {
                    break [frame.octets()[14], frame.octets()[15]];
                }
            };
            let [.., high, low] = n.to_be_bytes();
            assert_eq!(received, [high, low]);
        }
    });
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "there is no doorbell")]
fn a_frame_lies_in_the_ring_when_the_bell_rings_whichever_hook_the_kernel_made_first() {
    if !namespace() {
        return;
    }
    let options = never_retired(&Options::default());
    let mut peer = open("b", &options);
    // Bound; a member of a group; and the group hooked up again by the kernel.
    lone_frames(&mut open("a", &options), &mut peer);
    let mut member = Sockets::open("a")
        .unwrap()
        .map(IfIndex(3), &options)
        .unwrap();
    member.attach_fanout(&link("a"), Fanout::Create).unwrap();
    member.hear().unwrap();
    lone_frames(&mut member, &mut peer);
    ip("link set dev a down");
    let wake = member.wait(Some(WAIT), &[]).unwrap();
    assert_eq!(wake.error, Some(libc_enetdown()));
    ip("link set dev a up");
    operating();
    lone_frames(&mut member, &mut peer);
}

#[test]
fn fanout_members_share_flows_and_move_to_spares() {
    if !namespace() {
        return;
    }
    let options = never_retired(&Options::default());
    let map = || {
        let sockets = Sockets::open_with_spares("a", 1).unwrap();
        sockets.map(IfIndex(3), &options).unwrap()
    };
    let (mut one, mut two) = (map(), map());
    for round in 0..2 {
        let group = one.attach_fanout(&link("a"), Fanout::Create).unwrap();
        let joined = two.attach_fanout(&link("a"), Fanout::Join(group)).unwrap();
        assert_eq!(joined, group);
        one.hear().unwrap();
        two.hear().unwrap();
        let mut b = open("b", &options);
        let before = one.rx_counters().frames + two.rx_counters().frames;
        for n in 0..64u8 {
            let (mut frame, _) = tcp(&[], 10);
            frame[34] = n; // another port, another flow
            assert!(send(&mut b, &frame));
        }
        let mut total = 0;
        let end = Instant::now() + WAIT;
        while total < 64 && Instant::now() < end {
            for device in [&mut one, &mut two] {
                device.wait(Some(Duration::from_millis(10)), &[]).unwrap();
                let (mut rx, _tx) = device.turn();
                rx.fill(&mut Batch::new());
            }
            total = one.rx_counters().frames + two.rx_counters().frames - before;
        }
        assert_eq!(total, 64, "every frame came once");
        // What a member sends is nobody's of the group, also before Linux 6.2.
        for n in 0..64u8 {
            let (mut frame, _) = tcp(&[], 10);
            frame[34] = n;
            assert!(send(&mut one, &frame));
        }
        let quiet = [&mut one, &mut two].map(|device| {
            device.wait(Some(Duration::from_millis(20)), &[]).unwrap();
            device.turn().0.fill(&mut Batch::new());
            device.rx_counters().outgoing
        });
        assert_eq!(quiet, [0, 0]);
        for device in [&one, &two] {
            assert_eq!(device.rx_counters().early > 0, EARLY);
        }
        assert!(matches!(
            one.attach(&link("a")),
            Err(AttachError::NoSpares { .. })
        ));
        assert_eq!(one.spares(), 1 - round);
        ip("link del dev a");
        make_pair();
    }
    assert!(matches!(
        one.attach_fanout(&link("a"), Fanout::Create),
        Err(AttachError::NoSpares { .. })
    ));
}
