//! `arp-input`: answers for our addresses, learns who asks, announces and defends.
//!
//! - Takes: frames that begin at the ARP packet, the Ethernet source in
//!   [`Meta::source`](dataplane::Meta::source).
//! - Sends: `output`: answers, in place, and announcements, with their Ethernet header.
//! - Drops: `too-short`, `not-ethernet-ip4`, `unknown-operation`, `sender-mac-mismatch`,
//!   `bad-sender`, `no-address`, `address-conflict`, `not-on-link`, `not-for-us`,
//!   `unsolicited-reply`, `gratuitous-unknown`, `neighbor-table-full`, `no-headroom`, `no-buffer`.
//! - Spec: RFC 826, RFC 5227.
//!
//! RFC 826's reception algorithm, with what RFC 5227 and twenty years of spoofing add. Rows are
//! tried in order; "ours" is an address of the receiving interface.
//!
//! | operation | sender | target | what happens |
//! |---|---|---|---|
//! | any | hardware address not the frame's source, or a group's | any | `sender-mac-mismatch`, `bad-sender` |
//! | any | ours | any | `address-conflict`; defended with an announcement, once in 10 s |
//! | request | 0.0.0.0 (a probe) | ours | answered, nothing learned |
//! | any | not on a connected prefix | any | `not-on-link` |
//! | any | same as target (gratuitous) | | a known neighbour is updated, none is added |
//! | request | a station | ours | learned, answered |
//! | request | a station | not ours | `not-for-us`; nothing is learned from what others ask |
//! | reply | a station we asked | ours | learned |
//! | reply | a station | any | `unsolicited-reply` |
//!
//! What is to be learned is also kept for the other workers of the interface ([`crate::heard`]).
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use std::net::Ipv4Addr;
use std::time::Duration;

use dataplane::frame::ETHERNET_HEADER;
use dataplane::{Batch, EtherType, Frame, IfIndex, MacAddr, Node, Outlets, Tags};
use etherparse::{ArpHardwareId, ArpPacketSlice};

use crate::addresses::Addresses;
use crate::arp::{ARP_FRAME, ArpPacket, REPLY, REQUEST};
use crate::heard::{Heard, HeardLog, Told};
use crate::ip4;
use crate::neighbors::Neighbors;
use crate::tables::Tables;

/// Announcements sent at most in one run of the timer.
const ANNOUNCE_MAX: usize = 64;

/// `ANNOUNCE_INTERVAL` of RFC 5227 section 1.1.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// `DEFEND_INTERVAL` of RFC 5227 section 1.1.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// When to try again after the port had no room.
const RETRY: Duration = Duration::from_millis(100);

/// Addresses whose last defence is remembered; when there are more in conflict within 10 s, the
/// one defended longest ago is forgotten and may be defended a little early.
const DEFENSES_MAX: usize = 64;

/// Answers for our addresses, learns who asks, announces and defends.
#[derive(Debug)]
pub struct ArpInput {
    tables: Tables,
    /// Last defences, at most [`DEFENSES_MAX`].
    defenses: Vec<(Ipv4Addr, Duration)>,
}

dataplane::labels! {
    /// Where `arp-input` sends.
    pub enum ArpInputNext {
        /// Answers and announcements.
        Output = "output",
    }
}

dataplane::labels! {
    /// Why `arp-input` drops.
    pub enum ArpInputDrop {
        /// Fewer octets than the packet's address lengths ask for.
        TooShort = "too-short",
        /// Not for Ethernet and IPv4.
        NotEthernetIp4 = "not-ethernet-ip4",
        /// Neither request nor reply.
        UnknownOperation = "unknown-operation",
        /// The sender's hardware address is not the frame's source.
        SenderMacMismatch = "sender-mac-mismatch",
        /// The sender has an address no station can have.
        BadSender = "bad-sender",
        /// The interface has no address, or was deleted.
        NoAddress = "no-address",
        /// Somebody else uses our address.
        AddressConflict = "address-conflict",
        /// The sender is on no prefix the interface is connected to.
        NotOnLink = "not-on-link",
        /// A request for somebody else.
        NotForUs = "not-for-us",
        /// A reply this worker did not ask for; another may have.
        UnsolicitedReply = "unsolicited-reply",
        /// An announcement of a neighbour we have nothing to do with.
        GratuitousUnknown = "gratuitous-unknown",
        /// Answered, but the asking neighbour was not learned: the table is full of neighbours
        /// worth more. Never a lost answer.
        NeighborTableFull = "neighbor-table-full",
        /// No room in front of the answer for the Ethernet header.
        NoHeadroom = "no-headroom",
        /// The port had no room for a defence.
        NoBuffer = "no-buffer",
    }
}

impl ArpInput {
    /// A node over the worker's tables.
    pub fn new(tables: &Tables) -> Self {
        Self {
            tables: tables.clone(),
            defenses: Vec::with_capacity(DEFENSES_MAX),
        }
    }

    /// Whether `address` may be defended at `now`; if so it counts as defended.
    ///
    /// RFC 5227 section 2.4 (c): a host that keeps its address come what may, as a server does,
    /// defends at most once in 10 s.
    fn may_defend(&mut self, now: Duration, address: Ipv4Addr) -> bool {
        self.defenses
            .retain(|(_, at)| now.saturating_sub(*at) < DEFEND_INTERVAL);
        if self
            .defenses
            .iter()
            .any(|(defended, _)| *defended == address)
        {
            return false;
        }
        if self.defenses.len() >= DEFENSES_MAX {
            self.defenses.remove(0);
        }
        self.defenses.push((address, now));
        true
    }

    fn defend(
        &mut self,
        now: Duration,
        interface: IfIndex,
        address: Ipv4Addr,
        out: &mut Outlets<'_, '_, ArpInputNext, ArpInputDrop>,
    ) {
        if !self.may_defend(now, address) {
            return;
        }
        let interfaces = self.tables.interfaces.borrow();
        if let Some(mac) = interfaces.get(interface).map(|own| own.mac)
            && !announce(interface, mac, address, out)
        {
            out.drop_kept(ArpInputDrop::NoBuffer, interface);
        }
    }
}

impl Node for ArpInput {
    const NAME: &'static str = "arp-input";
    type Next = ArpInputNext;
    type Drop = ArpInputDrop;

    fn process<'block>(
        &mut self,
        now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, ArpInputNext, ArpInputDrop>,
    ) {
        for mut frame in batch.drain() {
            let interface = frame.meta.interface;
            let Some(mac) = self.mac_of(interface) else {
                out.drop(ArpInputDrop::NoAddress, frame);
                continue;
            };
            let verdict = read(&frame).and_then(|packet| {
                let verdict = {
                    let addresses = self.tables.addresses.borrow();
                    let mut neighbors = self.tables.neighbors.borrow_mut();
                    let mut log = self.tables.heard.borrow_mut();
                    decide(
                        now,
                        interface,
                        &packet,
                        &addresses,
                        &mut neighbors,
                        &mut log,
                    )
                };
                if verdict == Err(ArpInputDrop::AddressConflict) {
                    self.defend(now, interface, packet.sender, out);
                }
                verdict
            });
            match verdict {
                Ok(Verdict::Learned) => out.consume(frame),
                Ok(Verdict::Answer { packet, learned }) => {
                    let asked = packet.target;
                    if !answer(&mut frame, mac, asked, &packet) {
                        out.drop(ArpInputDrop::NoHeadroom, frame);
                        continue;
                    }
                    if !learned {
                        out.drop_kept(ArpInputDrop::NeighborTableFull, interface);
                    }
                    out.send(ArpInputNext::Output, frame);
                }
                Err(reason) => out.drop(reason, frame),
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.tables.announcements.borrow().next
    }

    fn on_timer(&mut self, now: Duration, out: &mut Outlets<'_, '_, ArpInputNext, ArpInputDrop>) {
        let mut announcements = self.tables.announcements.borrow_mut();
        let interfaces = self.tables.interfaces.borrow();
        let due = announcements.list.iter_mut().filter(|one| one.at <= now);
        for one in due.take(ANNOUNCE_MAX) {
            // An interface that is down is announced when it comes up.
            let Some(up) = interfaces.get(one.interface).filter(|own| own.up) else {
                one.left = 0;
                continue;
            };
            if announce(one.interface, up.mac, one.address, out) {
                one.left = one.left.saturating_sub(1);
                one.at = now.saturating_add(ANNOUNCE_INTERVAL);
            } else {
                one.at = now.saturating_add(RETRY);
            }
        }
        announcements.list.retain(|one| one.left > 0);
        announcements.rewind();
    }
}

impl ArpInput {
    fn mac_of(&self, interface: IfIndex) -> Option<MacAddr> {
        let interfaces = self.tables.interfaces.borrow();
        Some(interfaces.get(interface)?.mac)
    }
}

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet {
    request: bool,
    sender_mac: MacAddr,
    sender: Ipv4Addr,
    target: Ipv4Addr,
}

/// What becomes of a packet that is not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing more to do.
    Learned,
    /// The packet is a request for our address.
    Answer {
        packet: Packet,
        /// Whether the table had room for the asking neighbour, if it was to be learned.
        learned: bool,
    },
}

fn read(frame: &Frame<'_>) -> Result<Packet, ArpInputDrop> {
    let packet = ArpPacketSlice::from_slice(frame.octets()).map_err(|_| ArpInputDrop::TooShort)?;
    let mac = |octets: &[u8]| octets.try_into().map(MacAddr);
    let address = |octets: &[u8]| <[u8; 4]>::try_from(octets).map(Ipv4Addr::from);
    let (Ok(sender_mac), Ok(_), Ok(sender), Ok(target)) = (
        mac(packet.sender_hw_addr()),
        mac(packet.target_hw_addr()),
        address(packet.sender_protocol_addr()),
        address(packet.target_protocol_addr()),
    ) else {
        return Err(ArpInputDrop::NotEthernetIp4);
    };
    if packet.hw_addr_type() != ArpHardwareId::ETHERNET
        || packet.proto_addr_type().0 != EtherType::IPV4.0
    {
        return Err(ArpInputDrop::NotEthernetIp4);
    }
    let request = match packet.operation().0 {
        REQUEST => true,
        REPLY => false,
        _ => return Err(ArpInputDrop::UnknownOperation),
    };
    if sender_mac != frame.meta.source {
        return Err(ArpInputDrop::SenderMacMismatch);
    }
    if sender_mac.is_group() || sender_mac == MacAddr::ZERO {
        return Err(ArpInputDrop::BadSender);
    }
    Ok(Packet {
        request,
        sender_mac,
        sender,
        target,
    })
}

/// The table above.
fn decide(
    now: Duration,
    interface: IfIndex,
    packet: &Packet,
    addresses: &Addresses,
    neighbors: &mut Neighbors,
    log: &mut HeardLog,
) -> Result<Verdict, ArpInputDrop> {
    let Packet {
        request,
        sender_mac,
        sender,
        target,
    } = *packet;
    if addresses.of(interface).is_empty() {
        return Err(ArpInputDrop::NoAddress);
    }
    let ours = |address| addresses.holder(address) == Some(interface);
    if ours(sender) {
        return Err(ArpInputDrop::AddressConflict);
    }
    if sender.is_unspecified() && request {
        return if ours(target) {
            let packet = *packet;
            let learned = true;
            Ok(Verdict::Answer { packet, learned })
        } else {
            Err(ArpInputDrop::NotForUs)
        };
    }
    if ip4::is_martian(sender) || addresses.is_broadcast(interface, sender) {
        return Err(ArpInputDrop::BadSender);
    }
    if addresses.connected(interface, sender).is_none() {
        return Err(ArpInputDrop::NotOnLink);
    }
    let mut learn = |told| {
        let heard = Heard {
            interface,
            address: sender,
            mac: sender_mac,
            told,
        };
        log.note(heard);
        heard.teach(now, neighbors)
    };
    if sender == target {
        return if learn(Told::Announcement) {
            Ok(Verdict::Learned)
        } else {
            Err(ArpInputDrop::GratuitousUnknown)
        };
    }
    if request {
        return if ours(target) {
            let learned = learn(Told::Request);
            let packet = *packet;
            Ok(Verdict::Answer { packet, learned })
        } else {
            Err(ArpInputDrop::NotForUs)
        };
    }
    if ours(target) && learn(Told::Answer) {
        Ok(Verdict::Learned)
    } else {
        Err(ArpInputDrop::UnsolicitedReply)
    }
}

/// Turns a request into its answer; `false` when there is no room for the Ethernet header.
fn answer(frame: &mut Frame<'_>, mac: MacAddr, asked: Ipv4Addr, request: &Packet) -> bool {
    if !frame.push_front(ETHERNET_HEADER) {
        return false;
    }
    frame.truncate(ARP_FRAME);
    let reply = ArpPacket {
        to: request.sender_mac,
        operation: REPLY,
        sender_mac: mac,
        sender: asked,
        target_mac: request.sender_mac,
        target: request.sender,
    };
    reply.write(frame.octets_mut());
    frame.meta.tags = Tags::NONE;
    true
}

/// Sends an announcement; `false` when the port has no room.
fn announce(
    interface: IfIndex,
    mac: MacAddr,
    address: Ipv4Addr,
    out: &mut Outlets<'_, '_, ArpInputNext, ArpInputDrop>,
) -> bool {
    let Some(mut frame) = out.alloc(ARP_FRAME) else {
        return false;
    };
    ArpPacket::announcement(mac, address).write(frame.octets_mut());
    frame.meta.interface = interface;
    frame.meta.ether_type = EtherType::ARP;
    out.send(ArpInputNext::Output, frame);
    true
}

#[cfg(test)]
mod tests;
