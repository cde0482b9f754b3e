//! An echo request that nobody sent, through a graph that leads nowhere.
//!
//! After milliseconds of sleep nothing of our code is left in the processor's caches: a lone frame
//! then spends more time waiting for instructions than being answered. A worker that awaits a frame
//! ([`Rhythm`](crate::rhythm::Rhythm)) has the time to fetch them. It goes through a graph and
//! tables of its own, so that no counter, no neighbour and no wire ever hears of it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use af_packet::LinkInfo;
use dataplane::{Batch, EtherType, Frame, HEADROOM, IfIndex, MacAddr, Offload, Port, Tag, Tags};
use ipstack::addresses::InterfaceAddress;
use ipstack::ip4::{DONT_FRAGMENT, Header, protocol};
use ipstack::ping::write_request;
use ipstack::tcp::TcpConfig;
use vlan::{OuterTag, Tpid, VlanId};

use crate::assemble::Assembly;
use crate::plan::{Plan, PlannedInterface, PlannedNeighbor};

const PORT: IfIndex = IfIndex(1);
const SUB: IfIndex = IfIndex(2);
const VID: u16 = 1;
const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// Addresses for documentation (RFC 5737).
const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Octets of a rehearsal's memory at most: 220 KB were measured, and no packet or configuration
/// changes them.
pub(crate) const MEMORY_MAX: usize = 512 << 10;

/// Octets of the IPv4 packet: that of an ordinary ping.
const PACKET: u16 = 84;

/// A graph, and the frame that goes through it.
pub(crate) struct Rehearsal {
    assembly: Assembly,
    request: Vec<u8>,
    /// What the request is copied to: it is answered in place.
    memory: Vec<u8>,
}

impl Rehearsal {
    /// A graph of its own; none where the system has no random octets left for it.
    pub(crate) fn new() -> Option<Self> {
        // Nobody listens; the tables that grow with the numbers need no room.
        let config = TcpConfig {
            connections_max: 1,
            connections_per_source_max: 1,
            half_open_max: 1,
            time_wait_max: 1,
            listeners_max: 1,
            ..TcpConfig::default()
        };
        let mut assembly = Assembly::new(PORT, config, Arc::new(|| ())).ok()?;
        assembly.apply(plan()?).ok()?;
        assembly.follow_link(Some(LinkInfo::stand_in("", OURS)));
        let request = echo_request();
        Some(Self {
            assembly,
            memory: vec![0; HEADROOM + request.len()],
            request,
        })
    }

    /// Answers the request once more, at `now` as the worker counts; says how many answers there
    /// were.
    pub(crate) fn run(&mut self, now: Duration) -> usize {
        let start = HEADROOM;
        self.memory[start..].copy_from_slice(&self.request);
        let mut frame = Frame::new(&mut self.memory, start, self.request.len());
        frame.meta.interface = PORT;
        frame.meta.tags = Tags::from_iter([Tag {
            tpid: EtherType::CTAG,
            tci: VID,
        }]);
        let mut port = Nowhere::default();
        let mut batch = Batch::limited(1);
        // There is room for one.
        let _ = batch.push(frame);
        let entry = self.assembly.entry;
        self.assembly.graph.turn(now, entry, &mut batch, &mut port);
        port.answers
    }
}

/// A port without slots, that only answers in place leave by.
#[derive(Default)]
struct Nowhere {
    answers: usize,
}

impl<'block> Port<'block> for Nowhere {
    fn alloc(&mut self, _len: usize) -> Option<Frame<'block>> {
        None
    }

    fn transmit(&mut self, _frame: Frame<'block>) -> Result<(), Frame<'block>> {
        self.answers += 1;
        Ok(())
    }

    fn offload(&self) -> Offload {
        Offload::default()
    }
}

/// One sub-interface with one address, and a neighbour that is known.
fn plan() -> Option<Plan> {
    let interface = |index, addresses| PlannedInterface {
        index,
        name: String::new(),
        mtu: None,
        up: true,
        addresses,
    };
    let matches = vlan::Match::Single {
        outer: OuterTag {
            tpid: Tpid::Dot1q,
            vid: VlanId::new(VID).ok()?,
        },
        exact: true,
    };
    let address = InterfaceAddress::new(OUR_ADDRESS, 24).ok()?;
    Some(Plan {
        host_name: String::new(),
        mac: None,
        port: interface(PORT, Vec::new()),
        subs: vec![(interface(SUB, vec![address]), matches)],
        routes: Vec::new(),
        neighbors: vec![PlannedNeighbor {
            interface: SUB,
            address: PEER_ADDRESS,
            mac: PEER,
        }],
    })
}

/// An echo request from the neighbour, as the kernel hands it over: its tag apart.
fn echo_request() -> Vec<u8> {
    let header = Header {
        tos: 0,
        total_len: PACKET,
        identification: 0,
        fragment: DONT_FRAGMENT,
        protocol: protocol::ICMP,
        source: PEER_ADDRESS,
        destination: OUR_ADDRESS,
    };
    let mut packet = [0; PACKET as usize];
    write_request(&mut packet, &header, 0, 0);
    let ether_type = EtherType::IPV4.0.to_be_bytes();
    [&OURS.0[..], &PEER.0, &ether_type, &packet].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_every_time() {
        let mut rehearsal = Rehearsal::new().unwrap();
        for second in 0..100 {
            assert_eq!(rehearsal.run(Duration::from_secs(second)), 1, "{second}");
        }
    }
}
