//! Headers in words, as VPP's nodes print them.
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use dataplane::{Checksum, EtherType, MacAddr, Tag};

use crate::trace::Step;

/// Nodes whose frames begin with the Ethernet header.
const ETHERNET: &[&str] = &[
    "af-packet-input",
    "ethernet-input",
    "dot1q-push",
    "af-packet-output",
];

/// What the packet was at the step's node.
pub(super) fn lines(step: &Step) -> Vec<String> {
    let mut lines = Vec::new();
    if step.node == "af-packet-input" {
        lines.extend(af_packet(step));
    }
    let octets = step.octets();
    let tags = step.meta.tags.as_slice();
    if ETHERNET.contains(&step.node) {
        ethernet(octets, tags, &mut lines);
        return lines;
    }
    match step.meta.ether_type {
        // Behind `ip4-input` and in what we make ourselves the type is not said again.
        _ if step.node.starts_with("ip4-") || step.node.starts_with("tcp4-") => {
            ip4(octets, &mut lines);
        }
        EtherType::ARP => {
            lines.push(layer("ARP", step.meta.source, step.meta.destination, tags));
            arp(octets, &mut lines);
        }
        EtherType::IPV4 => {
            lines.push(layer("IP4", step.meta.source, step.meta.destination, tags));
            ip4(octets, &mut lines);
        }
        EtherType(0) => ip4(octets, &mut lines),
        EtherType(other) => {
            let name = format!("{other:#06x}");
            lines.push(layer(&name, step.meta.source, step.meta.destination, tags));
        }
    }
    lines
}

fn af_packet(step: &Step) -> Vec<String> {
    let meta = &step.meta;
    let mut lines = vec![
        format!("af_packet: hw_if_index {}", meta.interface.0),
        format!("  len {} snaplen {}", meta.wire_len, step.len),
    ];
    for tag in meta.tags.as_slice() {
        lines.push(format!(
            "  vlan {} vlan_tpid {:#06x} pcp {}",
            tag.vid(),
            tag.tpid.0,
            tag.pcp()
        ));
    }
    let checksum = match meta.checksum {
        Checksum::Unverified => "checksum not verified".to_owned(),
        Checksum::Valid => "checksum verified by the kernel".to_owned(),
        Checksum::Partial { start, offset } => {
            format!("csum_start {start} csum_offset {offset}")
        }
    };
    let gso = meta.segmentation.map_or(0, |gso| gso.size);
    lines.push(format!("  vnet-hdr: {checksum}, gso_size {gso}"));
    lines
}

fn layer(name: &str, source: MacAddr, destination: MacAddr, tags: &[Tag]) -> String {
    let mut line = format!("{name}: {source} -> {destination}");
    for tag in tags {
        let kind = if tag.tpid == EtherType::STAG {
            "802.1ad"
        } else {
            "802.1q"
        };
        let _ = write!(line, " {kind} vlan {}", tag.vid());
    }
    line
}

/// An Ethernet frame; `taken` are tags that are no longer among the octets.
fn ethernet(octets: &[u8], taken: &[Tag], lines: &mut Vec<String>) {
    let Some((header, mut rest)) = octets.split_first_chunk::<14>() else {
        lines.push(format!("{} octets, no Ethernet header", octets.len()));
        return;
    };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
    let mut tags = taken.to_vec();
    let mut ether_type = EtherType(u16::from_be_bytes([t0, t1]));
    while ether_type.is_tag() {
        let Some(([c0, c1, t0, t1], behind)) = rest.split_first_chunk::<4>() else {
            break;
        };
        tags.push(Tag {
            tpid: ether_type,
            tci: u16::from_be_bytes([*c0, *c1]),
        });
        (ether_type, rest) = (EtherType(u16::from_be_bytes([*t0, *t1])), behind);
    }
    let name = match ether_type {
        EtherType::ARP => "ARP".to_owned(),
        EtherType::IPV4 => "IP4".to_owned(),
        EtherType::IPV6 => "IP6".to_owned(),
        EtherType(other) => format!("{other:#06x}"),
    };
    let source = MacAddr([s0, s1, s2, s3, s4, s5]);
    let destination = MacAddr([d0, d1, d2, d3, d4, d5]);
    lines.push(layer(&name, source, destination, &tags));
    match ether_type {
        EtherType::ARP => arp(rest, lines),
        EtherType::IPV4 => ip4(rest, lines),
        _ => {}
    }
}

/// RFC 826.
fn arp(octets: &[u8], lines: &mut Vec<String>) {
    let Some(([_, _, _, _, hl, pl, o0, o1], rest)) = octets.split_first_chunk::<8>() else {
        lines.push("too short for ARP".to_owned());
        return;
    };
    let operation = match u16::from_be_bytes([*o0, *o1]) {
        1 => "request".to_owned(),
        2 => "reply".to_owned(),
        other => format!("operation {other}"),
    };
    lines.push(format!(
        "{operation}, type ethernet/IP4, address size {hl}/{pl}"
    ));
    let party = |octets: &[u8]| {
        let (mac, rest) = octets.split_first_chunk::<6>()?;
        let address: [u8; 4] = rest.first_chunk().copied()?;
        Some(format!("{}/{}", MacAddr(*mac), Ipv4Addr::from(address)))
    };
    let parties = (party(rest), rest.get(10..).and_then(party));
    if let (Some(sender), Some(target)) = parties {
        lines.push(format!("{sender} -> {target}"));
    }
}

/// RFC 791, and what it carries.
fn ip4(octets: &[u8], lines: &mut Vec<String>) {
    let Some((header, _)) = octets.split_first_chunk::<20>() else {
        lines.push("too short for IP4".to_owned());
        return;
    };
    let [
        v,
        tos,
        l0,
        l1,
        i0,
        i1,
        f0,
        f1,
        ttl,
        protocol,
        c0,
        c1,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = *header;
    let name = match protocol {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        other => format!("protocol {other}"),
    };
    let (source, destination) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
    let word = |high, low| u16::from_be_bytes([high, low]);
    lines.push(format!("{name}: {source} -> {destination}"));
    lines.push(format!(
        "  tos {tos:#04x}, ttl {ttl}, length {}, checksum {:#06x}",
        word(l0, l1),
        word(c0, c1)
    ));
    let fragment = word(f0, f1);
    let mut line = format!("  fragment id {:#06x}", word(i0, i1));
    if fragment & 0x4000 != 0 {
        line += ", flags DONT_FRAGMENT";
    }
    if fragment & 0x2000 != 0 {
        line += ", flags MORE_FRAGMENTS";
    }
    let offset = fragment & 0x1fff;
    if offset > 0 {
        let _ = write!(line, ", offset {}", u32::from(offset) * 8);
    }
    lines.push(line);
    if offset == 0 {
        let rest = octets.get(usize::from(v & 0x0f) * 4..).unwrap_or(&[]);
        match protocol {
            1 => icmp(rest, lines),
            6 => tcp(rest, lines),
            17 => udp(rest, lines),
            _ => {}
        }
    }
}

/// RFC 792.
fn icmp(octets: &[u8], lines: &mut Vec<String>) {
    let Some(([kind, code, c0, c1], _)) = octets.split_first_chunk::<4>() else {
        return;
    };
    let name = match (kind, code) {
        (0, _) => "echo_reply".to_owned(),
        (8, _) => "echo_request".to_owned(),
        (3, 2) => "destination_unreachable protocol_unreachable".to_owned(),
        (3, 3) => "destination_unreachable port_unreachable".to_owned(),
        (3, 4) => "destination_unreachable fragmentation_needed".to_owned(),
        (3, _) => format!("destination_unreachable code {code}"),
        (11, _) => "time_exceeded".to_owned(),
        _ => format!("type {kind} code {code}"),
    };
    let checksum = u16::from_be_bytes([*c0, *c1]);
    lines.push(format!("ICMP {name} checksum {checksum:#06x}"));
}

/// RFC 9293.
fn tcp(octets: &[u8], lines: &mut Vec<String>) {
    let Some((header, _)) = octets.split_first_chunk::<20>() else {
        return;
    };
    let [
        s0,
        s1,
        d0,
        d1,
        q0,
        q1,
        q2,
        q3,
        a0,
        a1,
        a2,
        a3,
        offset,
        flags,
        w0,
        w1,
        c0,
        c1,
        _,
        _,
    ] = *header;
    let word = |high, low| u16::from_be_bytes([high, low]);
    lines.push(format!("TCP: {} -> {}", word(s0, s1), word(d0, d1)));
    lines.push(format!(
        "  seq. {:#010x} ack {:#010x}",
        u32::from_be_bytes([q0, q1, q2, q3]),
        u32::from_be_bytes([a0, a1, a2, a3])
    ));
    let mut names = String::new();
    for (bit, name) in [
        (0x02, " SYN"),
        (0x10, " ACK"),
        (0x08, " PSH"),
        (0x01, " FIN"),
        (0x04, " RST"),
        (0x20, " URG"),
        (0x40, " ECE"),
        (0x80, " CWR"),
    ] {
        if flags & bit != 0 {
            names += name;
        }
    }
    lines.push(format!(
        "  flags {flags:#04x}{names}, tcp header: {} bytes",
        offset >> 4 << 2
    ));
    lines.push(format!(
        "  window {}, checksum {:#06x}",
        word(w0, w1),
        word(c0, c1)
    ));
}

/// RFC 768.
fn udp(octets: &[u8], lines: &mut Vec<String>) {
    let Some(([s0, s1, d0, d1, l0, l1, c0, c1], _)) = octets.split_first_chunk::<8>() else {
        return;
    };
    let word = |high: &u8, low: &u8| u16::from_be_bytes([*high, *low]);
    lines.push(format!("UDP: {} -> {}", word(s0, s1), word(d0, d1)));
    lines.push(format!(
        "  length {}, checksum {:#06x}",
        word(l0, l1),
        word(c0, c1)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::Frame;
    use dataplane::Observer as _;
    use proptest::prelude::*;
    use std::time::Duration;

    use crate::trace::Trace;

    fn step(node: &'static str, octets: &[u8], tci: Option<u16>, ether_type: u16) -> Step {
        let mut trace = Trace::new(std::time::Instant::now());
        trace.add(node, 1);
        let mut octets = octets.to_vec();
        let len = octets.len();
        let mut frame = Frame::new(&mut octets, 0, len);
        frame.meta.ether_type = EtherType(ether_type);
        let tag = tci.map(|tci| Tag {
            tpid: EtherType::CTAG,
            tci,
        });
        frame.meta.tags = tag.into_iter().collect();
        trace.arrive(node, Duration::ZERO, &mut frame);
        trace.steps(1).remove(0)
    }

    #[test]
    fn arp_reads_as_vpp_prints_it() {
        let octets = [
            &[0xff; 6][..],
            &[
                2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1,
            ],
            &[192, 168, 123, 1, 0, 0, 0, 0, 0, 0, 192, 168, 123, 150],
        ]
        .concat();
        assert_eq!(
            lines(&step("ethernet-input", &octets, Some(123), 0)),
            [
                "ARP: 02:00:00:00:00:01 -> ff:ff:ff:ff:ff:ff 802.1q vlan 123",
                "request, type ethernet/IP4, address size 6/4",
                "02:00:00:00:00:01/192.168.123.1 -> 00:00:00:00:00:00/192.168.123.150",
            ]
        );
    }

    #[test]
    fn icmp_reads_as_vpp_prints_it() {
        let octets = [
            0x45, 0, 0, 84, 0xe5, 0x16, 0x40, 0, 64, 1, 0x3f, 0x7c, 10, 10, 1, 1, 10, 10, 1, 2, 8,
            0, 0xc0, 0x43, 0, 1, 0, 1,
        ];
        assert_eq!(
            lines(&step("ip4-input", &octets, None, 0x0800)),
            [
                "ICMP: 10.10.1.1 -> 10.10.1.2",
                "  tos 0x00, ttl 64, length 84, checksum 0x3f7c",
                "  fragment id 0xe516, flags DONT_FRAGMENT",
                "ICMP echo_request checksum 0xc043",
            ]
        );
    }

    proptest! {
        #[test]
        fn any_octets_are_put_into_words(
            octets in proptest::collection::vec(any::<u8>(), 0..200),
            ether_type in prop_oneof![Just(0x0800u16), Just(0x0806), any::<u16>()],
            node in prop_oneof![Just("ethernet-input"), Just("arp-input"), Just("ip4-input")],
        ) {
            let _ = lines(&step(node, &octets, None, ether_type));
        }
    }
}
