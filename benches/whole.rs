//! A worker's whole graph without rings: 192.168.123.150 on VLAN 123, behind a gateway.

use std::net::Ipv4Addr;
use std::slice::IterMut;
use std::sync::Arc;
use std::time::Duration;

use af_packet::LinkInfo;
use dataplane::testing::slots;
use dataplane::{
    BATCH_MAX, Batch, Checksum, EtherType, Frame, HEADROOM, IfIndex, MacAddr, Meta, Offload, Port,
    Tag, Tags,
};
use ipstack::tcp::TcpConfig;
use runtime::assemble::Assembly;
use runtime::config::{Config, HostInterface, Neighbor, Route, SubInterface};
use runtime::plan::{Numbers, Plan};

/// The worker's Ethernet address.
pub const OUR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// The gateway's Ethernet address: every peer is behind it.
pub const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// The worker's address.
pub const OUR_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 150);
/// The gateway's address.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 123, 1);
/// The tag on the wire.
const TAG: Tag = Tag {
    tpid: EtherType::CTAG,
    tci: 123,
};

/// Octets of a received frame at most.
const FRAME_MAX: usize = 1518;

/// What the rings offer: checksums and segmentation are the kernel's, as with `PACKET_VNET_HDR`.
pub const OFFLOAD: Offload = Offload {
    checksum: true,
    segmentation_max: 65_535,
};

/// What left by the port.
#[derive(Debug, Default)]
pub struct Sent {
    /// Frames.
    pub frames: usize,
    /// Octets, Ethernet headers and tags included.
    pub octets: usize,
    /// Octets of TCP payload, provided that all was TCP without options.
    pub payload: usize,
    /// The frames, if they are to be kept.
    pub kept: Option<Vec<Vec<u8>>>,
}

/// Ethernet, one tag, IPv4 and TCP without options, in octets.
pub const HEADERS: usize = 14 + 4 + 20 + 20;

/// The port: slots that are free again each turn, and a count of what leaves.
struct Wire<'block, 'sent> {
    free: IterMut<'block, Vec<u8>>,
    next: u32,
    sent: &'sent mut Sent,
}

impl<'block> Port<'block> for Wire<'block, '_> {
    fn alloc(&mut self, len: usize) -> Option<Frame<'block>> {
        if self.free.as_slice().first()?.len() < HEADROOM + len {
            return None;
        }
        let buffer = self.free.next()?;
        self.next += 1;
        Some(Frame::in_slot(buffer, HEADROOM, len, self.next))
    }

    fn transmit(&mut self, frame: Frame<'block>) -> Result<(), Frame<'block>> {
        self.sent.frames += 1;
        self.sent.octets += frame.total_len();
        self.sent.payload += frame.total_len().saturating_sub(HEADERS);
        if let Some(kept) = &mut self.sent.kept {
            let mut octets = Vec::new();
            frame.copy_to(&mut octets);
            kept.push(octets);
        }
        Ok(())
    }

    fn offload(&self) -> Offload {
        OFFLOAD
    }

    fn gathers(&self) -> bool {
        true
    }
}

/// A worker's graph, memory for a batch of frames, and slots for what it sends.
#[derive(Debug)]
pub struct Whole {
    /// The graph and its tables.
    pub assembly: Assembly,
    memory: Vec<Vec<u8>>,
    slots: Vec<Vec<u8>>,
    batch: Option<Batch<'static>>,
    meta: Meta,
    /// The time given to the graph.
    pub now: Duration,
    /// What was sent since this was last emptied.
    pub sent: Sent,
}

impl Whole {
    /// A worker whose interface is up.
    ///
    /// # Panics
    /// When the configuration here is not valid.
    pub fn new(tcp: TcpConfig) -> Self {
        let mut assembly = assembly(tcp)
            .unwrap_or_else(|error| unreachable!("the configuration is valid: {error}"));
        assembly.follow_link(Some(LinkInfo::stand_in("bench0", OUR_MAC)));
        let port = assembly.plan().map_or(IfIndex(0), |plan| plan.port.index);
        let mut whole = Self {
            assembly,
            memory: vec![vec![0; HEADROOM + FRAME_MAX]; BATCH_MAX],
            // One for every frame of a batch, answered by a full super-segment each.
            slots: slots(2 * BATCH_MAX, 69_632),
            batch: Some(Batch::new()),
            meta: Meta {
                interface: port,
                tags: Tags::from_iter([TAG]),
                checksum: Checksum::Valid,
                ..Meta::default()
            },
            now: Duration::from_secs(1),
            sent: Sent::default(),
        };
        // The address is announced now, and not while something is measured.
        for _ in 0..8 {
            whole.now += Duration::from_secs(10);
            whole.turn(&[]);
        }
        whole.sent = Sent::default();
        whole
    }

    /// Memory for a frame, to be written before [`Self::turn`]: the `number`th of the batch.
    ///
    /// # Panics
    /// When a batch has no such frame.
    pub fn frame(&mut self, number: usize) -> &mut [u8] {
        &mut self.memory[number][HEADROOM..]
    }

    /// Gives the graph the frames written by [`Self::frame`], whose lengths are `lens`.
    ///
    /// # Panics
    /// When `lens` says more than there is memory for.
    pub fn turn(&mut self, lens: &[usize]) {
        let mut port = Wire {
            free: self.slots.iter_mut(),
            next: 0,
            sent: &mut self.sent,
        };
        let mut batch = self.batch.take().unwrap_or_default().recycle();
        for (buffer, len) in self.memory.iter_mut().zip(lens) {
            let mut frame = Frame::new(buffer, HEADROOM, *len);
            let wire_len = frame.meta.wire_len;
            frame.meta = self.meta;
            frame.meta.wire_len = wire_len;
            let _ = batch.push(frame); // never more than a batch holds
        }
        let entry = self.assembly.entry;
        self.assembly
            .graph
            .turn(self.now, entry, &mut batch, &mut port);
        self.batch = Some(batch.recycle());
    }
}

fn assembly(tcp: TcpConfig) -> Result<Assembly, Box<dyn std::error::Error>> {
    let mut sub = SubInterface::dot1q(123);
    sub.addresses.push("192.168.123.150/24".parse()?);
    let mut host = HostInterface::new("bench0");
    host.sub_interfaces.push(sub);
    let interface = "host-bench0.123".to_owned();
    let config = Config {
        interfaces: vec![host],
        routes: vec![Route {
            prefix: "0.0.0.0/0".parse()?,
            via: GATEWAY,
            interface: Some(interface.clone()),
        }],
        neighbors: vec![Neighbor {
            interface,
            address: GATEWAY,
            mac: PEER_MAC,
        }],
        ..Config::default()
    };
    let mut numbers = Numbers::default();
    let plan = Plan::of(&config, &config.interfaces[0], &mut numbers)?;
    let mut assembly = Assembly::new(plan.port.index, tcp, Arc::new(|| ()))?;
    assembly.apply(plan)?;
    Ok(assembly)
}
