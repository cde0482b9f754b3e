//! The few smoltcp interfaces all sockets of a worker are polled with.

use ::smoltcp::iface::{Config, Interface, PollResult};
use ::smoltcp::time::Instant;
use ::smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Cidr};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::device::{Poll, Transmit, capabilities};
use super::socket::Socket;

/// Interfaces kept; one per MTU in use. The oldest makes way, at the cost of making it again.
const FACES_MAX: usize = 16;

/// How a connection's packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Our address.
    pub(crate) local: Ipv4Addr,
    /// The largest packet in octets, at least [`MTU_MIN`](crate::tcp::MTU_MIN).
    pub(crate) mtu: u16,
    /// The largest super-segment in octets, IP header included; 0: none.
    pub(crate) segment_max: u16,
}

/// What one call of [`Engine::emit`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emitted {
    /// A packet; there may be more.
    Packet,
    /// The socket has nothing to send, or no room was found for it.
    Nothing,
}

struct Face {
    mtu: u16,
    segment_max: u16,
    local: Ipv4Addr,
    interface: Interface,
}

/// The few smoltcp interfaces all sockets of a worker are polled with: a socket does not care
/// which, and its MTU is read anew for every segment.
#[derive(Default)]
pub(crate) struct Engine {
    faces: Vec<Face>,
    replaced: usize,
}

impl Engine {
    /// The interface for `path`.
    fn face(&mut self, path: Path) -> &mut Interface {
        let found = self
            .faces
            .iter()
            .position(|face| face.mtu == path.mtu && face.segment_max == path.segment_max);
        let at = found.unwrap_or_else(|| self.add(path));
        let face = &mut self.faces[at];
        if face.local != path.local {
            set_address(&mut face.interface, path.local);
            face.local = path.local;
        }
        &mut face.interface
    }

    fn add(&mut self, path: Path) -> usize {
        let face = Face {
            mtu: path.mtu,
            segment_max: path.segment_max,
            local: path.local,
            interface: interface(path, 0, Instant::ZERO),
        };
        if self.faces.len() < FACES_MAX {
            self.faces.push(face);
            return self.faces.len() - 1;
        }
        let at = self.replaced % FACES_MAX;
        self.replaced += 1;
        self.faces[at] = face;
        at
    }

    /// Gives `packet`, an IPv4 packet of the socket's own connection, to `socket`; an immediate
    /// reply goes to `reply`.
    pub(crate) fn feed(
        &mut self,
        socket: &mut Socket,
        now: Duration,
        path: Path,
        packet: &[u8],
        reply: &mut impl Transmit,
    ) {
        let mut device = Poll {
            packet: Some(packet),
            transmit: reply,
        };
        self.face(path)
            .poll_ingress_single(instant(now), &mut device, &mut socket.set);
    }

    /// Lets `socket` send one packet.
    pub(crate) fn emit(
        &mut self,
        socket: &mut Socket,
        now: Duration,
        path: Path,
        transmit: &mut impl Transmit,
    ) -> Emitted {
        let mut device = Poll {
            packet: None,
            transmit,
        };
        match self
            .face(path)
            .poll_egress(instant(now), &mut device, &mut socket.set)
        {
            PollResult::None => Emitted::Nothing,
            PollResult::SocketStateChanged => Emitted::Packet,
        }
    }

    /// When `socket` wants to be asked to send again; `None` proves nothing (a socket can forget
    /// what it owes), so the caller keeps timers of its own.
    pub(crate) fn poll_at(
        &mut self,
        socket: &Socket,
        now: Duration,
        path: Path,
    ) -> Option<Duration> {
        let at = self.face(path).poll_at(instant(now), &socket.set)?;
        Some(Duration::from_micros(
            u64::try_from(at.total_micros()).unwrap_or(0),
        ))
    }

    /// Forgets every interface, after a panic inside one.
    pub(crate) fn clear(&mut self) {
        self.faces.clear();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("faces", &self.faces.len())
            .finish_non_exhaustive()
    }
}

/// An interface for `path` whose random numbers come from `seed`.
pub(super) fn interface(path: Path, seed: u64, now: Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut none = NoTransmit;
    let mut device = WithCapabilities {
        mtu: path.mtu,
        segment_max: path.segment_max,
        poll: Poll {
            packet: None,
            transmit: &mut none,
        },
    };
    let mut interface = Interface::new(config, &mut device, now);
    set_address(&mut interface, path.local);
    interface
}

/// A /32: it has no broadcast address that a peer's could be mistaken for.
fn set_address(interface: &mut Interface, local: Ipv4Addr) {
    interface.update_ip_addrs(|addresses| {
        addresses.clear();
        // One address fits: the capacity is at least 1.
        let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(local, 32)));
    });
}

pub(super) fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

struct NoTransmit;

impl Transmit for NoTransmit {
    fn reserve(&mut self) -> bool {
        false
    }

    fn emit<R>(&mut self, len: usize, _: Option<u16>, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        fill(&mut vec![0; len])
    }
}

/// A device asked for its capabilities only.
struct WithCapabilities<'p> {
    mtu: u16,
    segment_max: u16,
    poll: Poll<'p, NoTransmit>,
}

impl ::smoltcp::phy::Device for WithCapabilities<'_> {
    type RxToken<'a>
        = super::device::Rx<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = super::device::Tx<'a, NoTransmit>
    where
        Self: 'a;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.poll.receive(now)
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        self.poll.transmit(now)
    }

    fn capabilities(&self) -> ::smoltcp::phy::DeviceCapabilities {
        capabilities(self.mtu, self.segment_max)
    }
}
