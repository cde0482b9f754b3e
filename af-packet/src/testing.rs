//! `FakeKernel`: the other side of a ring, in ordinary memory. No socket, no root, fit for Miri.
//!
//! It keeps to the kernel's protocol (whose the memory is, and when) so that safe code can drive
//! it; what it writes into the headers can lie.
#![expect(
    unsafe_code,
    reason = "plays the kernel's part on memory the ring hands out"
)]

use std::io::IoSlice;
use std::sync::{Arc, Mutex, PoisonError};

use dataplane::{EtherType, IfIndex, Tag};

use crate::region::{Geometry, Region};
use crate::ring::{Kick, KickError, RxRing, TxRing};
use crate::uapi::{self, block, rx_status, sll, tx_status, v2, v3};

/// Octets between the end of the headers and a frame, as `PACKET_RESERVE` leaves them.
const FRONT: usize = 46;

/// A frame the kernel delivers, and the lies it tells about it.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// The octets kept.
    pub octets: Vec<u8>,
    /// The outer tag, taken off.
    pub tag: Option<Tag>,
    /// Further bits of `tp_status`.
    pub status: u32,
    /// The `virtio_net_hdr`.
    pub vnet: [u8; 10],
    /// `sll_pkttype`.
    pub packet_type: u8,
    /// `tp_len`, when it is not the number of octets.
    pub wire_len: Option<u32>,
    /// `tp_snaplen`, when it lies.
    pub snaplen: Option<u32>,
    /// `tp_mac`, when it lies.
    pub mac: Option<u16>,
    /// `tp_next_offset`, when it lies.
    pub next: Option<u32>,
    /// Counted and then given up: the header is never finished.
    pub hole: bool,
    /// V3: counted, and nothing of it written yet.
    pub counted: bool,
    /// V3: all but its `sockaddr_ll` written, which is last.
    pub unfinished: bool,
}

impl Delivery {
    /// A truthful delivery of `octets`.
    pub fn of(octets: &[u8]) -> Self {
        Self {
            octets: octets.to_vec(),
            ..Self::default()
        }
    }
}

/// The kernel's side of a receive ring.
#[derive(Debug)]
pub struct FakeKernel {
    region: Region,
    geometry: Geometry,
    version: u32,
    /// The block, or slot, filled next.
    place: usize,
    /// V3: octets used and frames in the open block; `None` while there is none to open.
    open: Option<(usize, u32)>,
    /// V3: where the open block's last header is.
    last: usize,
    /// Frames there was no room for.
    pub dropped: u64,
}

impl FakeKernel {
    /// A `TPACKET_V2` ring and its kernel.
    pub fn v2(geometry: Geometry, vnet: bool) -> (Self, RxRing) {
        let (ours, theirs) = Region::heap_pair(geometry.octets());
        let ring = RxRing::v2(ours, geometry, IfIndex(0), vnet);
        (Self::new(theirs, geometry, uapi::VERSION_V2), ring)
    }

    /// A `TPACKET_V3` ring and its kernel; `early` as in [`Options::early_read`].
    ///
    /// [`Options::early_read`]: crate::Options::early_read
    pub fn v3(geometry: Geometry, vnet: bool, early: bool) -> (Self, RxRing) {
        let (ours, theirs) = Region::heap_pair(geometry.octets());
        let ring = RxRing::v3(ours, geometry, IfIndex(0), vnet, early);
        let mut kernel = Self::new(theirs, geometry, uapi::VERSION_V3);
        kernel.open_block();
        (kernel, ring)
    }

    fn new(region: Region, geometry: Geometry, version: u32) -> Self {
        Self {
            region,
            geometry,
            version,
            place: 0,
            open: None,
            last: 0,
            dropped: 0,
        }
    }

    /// Delivers a frame; `false` when there is no room, or it fits nowhere.
    pub fn deliver(&mut self, delivery: &Delivery) -> bool {
        let delivered = if self.version == uapi::VERSION_V2 {
            self.deliver_v2(delivery)
        } else {
            self.deliver_v3(delivery)
        };
        self.dropped += u64::from(!delivered);
        delivered
    }

    fn deliver_v2(&mut self, delivery: &Delivery) -> bool {
        let at = self.geometry.slot_at(self.place);
        let mac = v2::SIZE + sll::SIZE + FRONT;
        let end = mac + delivery.octets.len();
        if self.load(at + v2::STATUS) & rx_status::USER != 0 || end > self.geometry.slot_len {
            return false;
        }
        self.place = (self.place + 1) % self.geometry.slots();
        self.write_octets(at + mac, delivery);
        let tag = delivery.tag.unwrap_or_default();
        self.store(at + v2::LEN, wire_len(delivery));
        self.store(at + v2::SNAPLEN, snaplen(delivery));
        self.store(at + v2::MAC_NET, mac_net(delivery, mac));
        self.store(at + v2::VLAN, two(tag.tci, tag.tpid.0));
        self.store(
            at + v2::SIZE + sll::HATYPE_PKTTYPE,
            hatype_pkttype(delivery),
        );
        if !delivery.hole {
            self.store(at + v2::STATUS, status(delivery));
        }
        true
    }

    fn deliver_v3(&mut self, delivery: &Delivery) -> bool {
        let mac = v3::SIZE + sll::SIZE + FRONT;
        let size = (mac + delivery.octets.len()).next_multiple_of(8);
        if size > self.geometry.block_len - block::SIZE {
            return false;
        }
        if self
            .open
            .is_some_and(|(used, _)| used + size > self.geometry.block_len)
        {
            self.close();
        }
        if self.open.is_none() {
            self.open_block();
        }
        let Some((used, count)) = self.open else {
            return false;
        };
        let base = self.geometry.slot_at(self.place);
        let at = base + used;
        let word = |n: usize| u32::try_from(n).unwrap_or(0);
        self.store(at + v3::NEXT, delivery.next.unwrap_or_else(|| word(size)));
        self.store(base + block::LEN, word(used + size));
        self.store(base + block::NUM_PKTS, count + 1);
        self.open = Some((used + size, count + 1));
        self.last = at;
        if delivery.counted {
            return true;
        }
        self.store(at + v3::STATUS, status(delivery) & !rx_status::USER);
        let tag = delivery.tag.unwrap_or_default();
        self.store(at + v3::VLAN_TCI, u32::from(tag.tci));
        self.store(at + v3::VLAN_TPID, two(tag.tpid.0, 0));
        if delivery.hole {
            return true;
        }
        self.write_octets(at + mac, delivery);
        self.store(at + v3::STATUS, status(delivery));
        self.store(at + v3::LEN, wire_len(delivery));
        self.store(at + v3::SNAPLEN, snaplen(delivery));
        self.store(at + v3::MAC_NET, mac_net(delivery, mac));
        if delivery.unfinished {
            return true;
        }
        self.store(
            at + v3::SIZE + sll::HATYPE_PKTTYPE,
            hatype_pkttype(delivery),
        );
        self.store(at + v3::SIZE + sll::IFINDEX, 1);
        true
    }

    fn open_block(&mut self) {
        let base = self.geometry.slot_at(self.place);
        if self.load(base + block::STATUS) & rx_status::USER != 0 {
            return;
        }
        self.store(base + block::NUM_PKTS, 0);
        self.store(base + block::FIRST, 48);
        self.store(base + block::LEN, 48);
        self.open = Some((block::SIZE, 0));
    }

    /// V3: closes the block, as the retire timer does; an empty one stays open.
    pub fn close(&mut self) {
        if self.version == uapi::VERSION_V2 || self.open.is_none_or(|(_, count)| count == 0) {
            return;
        }
        let base = self.geometry.slot_at(self.place);
        self.store(self.last + v3::NEXT, 0);
        self.store(base + block::STATUS, rx_status::USER);
        self.open = None;
        self.place = (self.place + 1) % self.geometry.blocks;
        self.open_block();
    }

    fn write_octets(&mut self, at: usize, delivery: &Delivery) {
        // SAFETY: the slot, or the open block from here on, is the kernel's, which is us; the
        // ring makes no slice of it before the header is written.
        let before = unsafe { self.region.octets(at - 10, 10) };
        before.copy_from_slice(&delivery.vnet);
        // SAFETY: as above; `deliver` checked the length.
        let octets = unsafe { self.region.octets(at, delivery.octets.len()) };
        octets.copy_from_slice(&delivery.octets);
    }

    fn load(&self, at: usize) -> u32 {
        // SAFETY: a header's word, which the ring makes no slices of.
        unsafe { self.region.load(at) }
    }

    fn store(&mut self, at: usize, value: u32) {
        // SAFETY: a word of a header, or of where one will be, in memory that is the kernel's.
        unsafe { self.region.store(at, value) };
    }
}

fn status(delivery: &Delivery) -> u32 {
    let tag = rx_status::VLAN_VALID | rx_status::VLAN_TPID_VALID;
    rx_status::USER | delivery.status | delivery.tag.map_or(0, |_| tag)
}

fn wire_len(delivery: &Delivery) -> u32 {
    let len = u32::try_from(delivery.octets.len()).unwrap_or(0);
    delivery.wire_len.unwrap_or(len)
}

fn snaplen(delivery: &Delivery) -> u32 {
    let len = u32::try_from(delivery.octets.len()).unwrap_or(0);
    delivery.snaplen.unwrap_or(len)
}

fn mac_net(delivery: &Delivery, mac: usize) -> u32 {
    let truth = u16::try_from(mac).unwrap_or(0);
    let mac = delivery.mac.unwrap_or(truth);
    two(mac, mac.saturating_add(14))
}

fn hatype_pkttype(delivery: &Delivery) -> u32 {
    u32::from_ne_bytes([1, 0, delivery.packet_type, 6])
}

fn two(first: u16, second: u16) -> u32 {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// A frame the fake kernel sent: its `virtio_net_hdr` (empty without one) and its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The header in front.
    pub vnet: Vec<u8>,
    /// What the kick said the outermost tag is.
    pub tag: Option<EtherType>,
    /// The frame.
    pub octets: Vec<u8>,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of a test")]
struct Wire {
    region: Region,
    geometry: Geometry,
    vnet: bool,
    head: usize,
    sent: Vec<Sent>,
    skipped: u64,
    budget: Option<(usize, KickError)>,
    lazy: bool,
    forgetful: bool,
    refusals: u32,
    whole: bool,
}

/// The kernel's side of a transmit ring; clones share it.
#[derive(Clone, Debug)]
pub struct FakeWire(Arc<Mutex<Wire>>);

impl FakeWire {
    /// A transmit ring and its kernel, on an interface with an MTU of 1,500.
    pub fn new(geometry: Geometry, vnet: bool) -> (Self, TxRing) {
        let (ours, theirs) = Region::heap_pair(geometry.octets());
        let wire = Self(Arc::new(Mutex::new(Wire {
            region: theirs,
            geometry,
            vnet,
            head: 0,
            sent: Vec::new(),
            skipped: 0,
            budget: None,
            lazy: false,
            forgetful: false,
            refusals: 0,
            whole: false,
        })));
        let mut ring = TxRing::new(ours, geometry, vnet, Box::new(wire.clone()));
        ring.set_mtu(1500);
        (wire, ring)
    }

    fn wire(&self) -> std::sync::MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was sent since the last call.
    pub fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.wire().sent)
    }

    /// Slots skipped because their offset was refused.
    pub fn skipped(&self) -> u64 {
        self.wire().skipped
    }

    /// From now on kicks send `frames` in all and then fail with `error`; `None`: no limit.
    pub fn limit(&self, limit: Option<(usize, KickError)>) {
        self.wire().budget = limit;
    }

    /// Whether slots stay `SENDING` until [`Self::complete`].
    pub fn set_lazy(&self, lazy: bool) {
        self.wire().lazy = lazy;
    }

    /// Whether what is sent is not kept: for benches, which would measure that.
    pub fn set_forgetful(&self, forgetful: bool) {
        self.wire().forgetful = forgetful;
    }

    /// The next slot is called malformed: the kernel stays there until it is asked again.
    pub fn refuse_next(&self) {
        self.wire().refusals += 1;
    }

    /// Whether super-segments are refused, as by a kernel that finds no IP header.
    pub fn set_whole(&self, whole: bool) {
        self.wire().whole = whole;
    }

    /// Completes every slot that is being sent.
    pub fn complete(&self) {
        let wire = self.wire();
        for slot in 0..wire.geometry.slots() {
            let status = wire.geometry.slot_at(slot) + v3::STATUS;
            if wire.load(status) == tx_status::SENDING {
                wire.store(status, tx_status::AVAILABLE);
            }
        }
    }
}

impl Wire {
    fn load(&self, at: usize) -> u32 {
        // SAFETY: a header's word, which the ring makes no slices of.
        unsafe { self.region.load(at) }
    }

    fn store(&self, at: usize, value: u32) {
        // SAFETY: as above.
        unsafe { self.region.store(at, value) };
    }
}

impl Wire {
    /// `Err` when a frame behind this `virtio_net_hdr` cannot be sent.
    fn split(&self, header: &[u8]) -> Result<(), KickError> {
        let splits = !self.whole
            || header
                .get(1)
                .is_none_or(|kind| *kind == uapi::vnet::GSO_NONE);
        splits.then_some(()).ok_or(KickError::Refused)
    }

    /// `Err` when no more may be sent.
    fn charge(&mut self) -> Result<(), KickError> {
        match &mut self.budget {
            Some((0, error)) => return Err(*error),
            Some((left, _)) => *left -= 1,
            None => {}
        }
        Ok(())
    }
}

impl Kick for FakeWire {
    fn gathers(&self) -> bool {
        true
    }

    fn gather(&mut self, pieces: &[IoSlice<'_>], tag: Option<EtherType>) -> Result<(), KickError> {
        let mut wire = self.wire();
        wire.charge()?;
        wire.split(pieces.first().map_or(&[], |header| header))?;
        if wire.forgetful {
            return Ok(());
        }
        let octets: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.iter().copied())
            .collect();
        let (vnet, octets) = octets.split_at(uapi::vnet::SIZE.min(octets.len()));
        wire.sent.push(Sent {
            vnet: vnet.to_vec(),
            tag,
            octets: octets.to_vec(),
        });
        Ok(())
    }

    fn kick(&mut self, tag: Option<EtherType>) -> Result<(), KickError> {
        let mut wire = self.wire();
        loop {
            let at = wire.geometry.slot_at(wire.head);
            if wire.load(at + v3::STATUS) != tx_status::SEND_REQUEST {
                return Ok(());
            }
            if let Some(left) = wire.refusals.checked_sub(1) {
                wire.refusals = left;
                wire.store(at + v3::STATUS, tx_status::WRONG_FORMAT);
                return Ok(());
            }
            let len = usize::try_from(wire.load(at + v3::LEN)).unwrap_or(0);
            let start = usize::from(super::ring::halves(wire.load(at + v3::MAC_NET)).0);
            let fits = start >= v3::SIZE && start + len <= wire.geometry.slot_len;
            let mut done = tx_status::AVAILABLE;
            if fits {
                wire.charge()?;
                if !wire.forgetful {
                    // SAFETY: the slot is committed: the ring has no slice of it until it is
                    // available again.
                    let octets = unsafe { wire.region.octets(at + start, len) };
                    let front = if wire.vnet { uapi::vnet::SIZE } else { 0 };
                    let (vnet, octets) = octets.split_at(front.min(len));
                    wire.split(vnet)?;
                    let sent = Sent {
                        vnet: vnet.to_vec(),
                        tag,
                        octets: octets.to_vec(),
                    };
                    wire.sent.push(sent);
                }
                if wire.lazy {
                    done = tx_status::SENDING;
                }
            } else {
                wire.skipped += 1;
            }
            wire.store(at + v3::STATUS, done);
            wire.head = (wire.head + 1) % wire.geometry.slots();
        }
    }
}
