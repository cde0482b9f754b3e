//! Captures against an independent recorder and an independent reader, both tcpdump.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use testbed::client::{connect, ping};
use testbed::netns::Netns;
use testbed::wiring::NODE_DEVICE;

use crate::bed::{SERVER, SOON, check_page, eventually};
use crate::operator::Desk;

/// Whether tcpdump is there; says so when not.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn has_tcpdump() -> bool {
    let found = Command::new("tcpdump").arg("--version").output().is_ok();
    assert!(
        found || std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "with CI=true, tcpdump must be there"
    );
    if !found {
        println!("skipped: tcpdump is not installed");
    }
    found
}

/// tcpdump at work; ended when dropped.
struct Recorder {
    tcpdump: Child,
}

impl Recorder {
    fn start(namespace: &Netns, device: &str, file: &Path) -> Self {
        let mut command = Command::new("tcpdump");
        command.args([
            "-i",
            device,
            "-n",
            "-U",
            "--immediate-mode",
            "-Z",
            "root",
            "-w",
        ]);
        command.arg(file).stderr(Stdio::piped());
        let mut tcpdump = namespace.spawn(&mut command).unwrap();
        let mut said = BufReader::new(tcpdump.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "tcpdump ended");
        }
        // It writes more at its end, to nobody.
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        Self { tcpdump }
    }

    fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.tcpdump.id()).unwrap());
        if matches!(self.tcpdump.try_wait(), Ok(None)) {
            let _ = kill(pid, Signal::SIGINT);
            let _ = self.tcpdump.wait();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A packet of ours: interface, octets, comment.
struct Packet {
    interface: String,
    octets: Vec<u8>,
    comment: Option<String>,
}

fn ours(file: &Path) -> Vec<Packet> {
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
    let mut reader = PcapNgReader::new(File::open(file).unwrap()).unwrap();
    let (mut names, mut packets) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(block) => {
                let name = block.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                names.push(name.unwrap());
            }
            Block::EnhancedPacket(packet) => packets.push(Packet {
                interface: names[usize::try_from(packet.interface_id).unwrap()].clone(),
                octets: packet.data.to_vec(),
                comment: packet.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Comment(text) => Some(text.to_string()),
                    _ => None,
                }),
            }),
            _ => {}
        }
    }
    packets
}

fn recorded(file: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(File::open(file).unwrap()).unwrap();
    let mut packets = Vec::new();
    while let Some(packet) = reader.next_packet() {
        packets.push(packet.unwrap().data.to_vec());
    }
    packets
}

/// ICMP and TCP over IPv4 in VLAN 123, in order of their octets. The kernel leaves TCP's checksum
/// to hardware that a veth has not, so it is not on the wire; that ours are right is tcpdump's part.
fn comparable(packets: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let wanted = packets.filter(|octets| {
        octets.get(12..18) == Some(&[0x81, 0, 0, 123, 8, 0]) && matches!(octets[27], 1 | 6)
    });
    let mut wanted: Vec<_> = wanted
        .map(|mut octets| {
            if octets[27] == 6 {
                octets[54..56].fill(0);
            }
            octets
        })
        .collect();
    wanted.sort();
    wanted
}

fn read_by_tcpdump(file: &Path) -> String {
    let mut command = Command::new("tcpdump");
    let output = command
        .args(["-nn", "-e", "-vv", "-Z", "root", "-r"])
        .arg(file)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_capture_is_what_was_on_the_wire_tags_included() {
    if !has_tcpdump() {
        return;
    }
    let desk = Desk::new();
    let Some(bed) = desk.bed(&[]) else { return };
    bed.check();
    let theirs = desk.path().join("theirs.pcap");
    let recorder = Recorder::start(bed.wiring.node(), NODE_DEVICE, &theirs);
    desk.ok("pcap trace rx tx max 5000 intfc any file ours.pcapng");
    // A trace may run at the same time.
    desk.ok("trace add af-packet-input 5");
    assert!(
        desk.refused("pcap trace rx file more.pcapng")
            .contains("pcap trace off")
    );
    ping(bed.client(), SERVER, 3, 56, SOON).unwrap();
    ping(bed.client(), SERVER, 1, 1400, SOON).unwrap();
    check_page(&bed.get("/index.html"));
    eventually("the connection is over", || {
        !desk.ok("show session").contains("ESTABLISHED")
    });
    std::thread::sleep(Duration::from_millis(100)); // the last acknowledgement
    let status = desk.json("pcap trace status");
    assert_eq!(status["ended"], serde_json::Value::Null, "{status}");
    let said = desk.ok("pcap trace off");
    recorder.end();
    assert!(desk.ok("show trace").contains("Packet 5"));
    let file = desk.path().join("ours.pcapng");
    let packets = ours(&file);
    let told = format!(
        "Write {} packets to {}, and stop",
        packets.len(),
        file.display()
    );
    assert!(said.starts_with(&told), "{said}");
    assert!(!said.contains("missing"), "{said}");

    let wire = comparable(recorded(&theirs).into_iter());
    let captured = comparable(packets.iter().map(|packet| packet.octets.clone()));
    assert_eq!(captured, wire);
    // Four echoes asked for and answered; SYN, SYN and ACK, request, page and the rest.
    assert!(captured.len() >= 8 + 5, "{}", captured.len());
    assert!(
        packets
            .iter()
            .all(|packet| packet.interface == "host-macvlan0.123")
    );

    let text = read_by_tcpdump(&file);
    assert_eq!(text.matches("ICMP echo request").count(), 4, "{text}");
    assert_eq!(text.matches("ICMP echo reply").count(), 4, "{text}");
    assert_eq!(text.matches("vlan 123").count(), packets.len(), "{text}");
    assert!(text.contains("GET /index.html"), "{text}");
    assert!(
        !text.contains("incorrect") && !text.contains("bad cksum"),
        "{text}"
    );
}

#[test]
fn a_captured_drop_says_which_node_dropped_it_and_why() {
    let desk = Desk::new();
    let Some(bed) = desk.bed(&[]) else { return };
    bed.check();
    desk.ok("pcap trace drop intfc host-macvlan0.123 file drops.pcapng");
    // Nobody listens there.
    connect(bed.client(), SocketAddrV4::new(SERVER, 81), SOON).unwrap_err();
    bed.check();
    desk.ok("pcap trace off");
    let packets = ours(&desk.path().join("drops.pcapng"));
    assert_eq!(packets.len(), 1);
    assert_eq!(packets[0].interface, "host-macvlan0.123");
    let why = "dropped by tcp4-input: no-listener";
    assert_eq!(packets[0].comment.as_deref(), Some(why));
    assert_eq!(packets[0].octets[12..18], [0x81, 0, 0, 123, 8, 0]);
    if has_tcpdump() {
        let text = read_by_tcpdump(&desk.path().join("drops.pcapng"));
        assert!(text.contains("192.168.123.150.81: Flags [S]"), "{text}");
    }
}

#[test]
fn a_capture_goes_only_where_it_may_and_ends_when_its_file_is_gone() {
    let desk = Desk::new();
    let Some(bed) = desk.bed(&[]) else { return };
    for elsewhere in ["/tmp/x.pcapng", "../x.pcapng", "a/x.pcapng"] {
        let why = desk.refused(&format!("pcap trace rx file {elsewhere}"));
        assert!(why.contains("without a folder"), "{why}");
    }
    fs::write(desk.path().join("mine"), "precious").unwrap();
    let why = desk.refused("pcap trace rx file mine");
    assert!(why.contains("not overwritten"), "{why}");
    let why = desk.refused("pcap trace rx intfc host-eth7 file a");
    assert!(why.contains("there is no interface"), "{why}");
    assert!(
        desk.refused("pcap trace off")
            .contains("there is no capture")
    );
    assert!(desk.refused("pcap trace rx").contains("file NAME"));
    assert!(desk.refused("pcap trace file a").contains("rx, tx or drop"));

    desk.ok("pcap trace rx tx drop file gone");
    fs::remove_file(desk.path().join("gone")).unwrap();
    bed.hear("the file was removed");
    bed.check();
    assert!(
        desk.ok("pcap trace status")
            .contains("the file was removed")
    );
    // Another can begin.
    desk.ok("pcap trace rx max 2 file next");
    ping(bed.client(), SERVER, 3, 56, SOON).unwrap();
    eventually("it has its two packets", || {
        desk.ok("pcap trace status").contains("off: 2 pkts")
    });
    assert_eq!(ours(&desk.path().join("next")).len(), 2);
    assert_eq!(fs::read(desk.path().join("mine")).unwrap(), b"precious");
}
