//! `tcp4-error`: what ICMP says about packets of our connections.
//!
//! - Takes: IPv4 packets that carry an ICMP destination unreachable quoting TCP, from
//!   `ip4-icmp-input`, its checksum verified.
//! - Sends: nothing.
//! - Drops: `truncated`, `not-ours`, `ignored`.
//! - Spec: RFC 1191 (path MTU), RFC 5927 (ICMP attacks on TCP).
//!
//! Only "fragmentation needed" has an effect, and only on a connection that has the quoted
//! sequence number in flight. The others would at best end a connection sooner that ends anyway,
//! and at worst be forged (RFC 5927, section 5.2: soft errors).
//!
//! The kernel hands an error to one of the workers that share an interface by the router's address,
//! most often not to the one that has the connection. So what is about a connection nobody here
//! knows is also kept for the others ([`Tcp::take_smaller_mtus`]), at most 64 of a turn.
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use std::cell::RefCell;
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::time::Duration;

use dataplane::{Batch, Frame, Never, Node, Outlets};

use crate::tcp::segment::addresses;
use crate::tcp::{Core, Key, Seq, SmallerMtu, Tcp};

/// What ICMP says about packets of our connections.
#[derive(Debug)]
pub struct Tcp4Error {
    core: Rc<RefCell<Core>>,
}

dataplane::labels! {
    /// Why `tcp4-error` drops.
    pub enum Tcp4ErrorDrop {
        /// Shorter than what it must quote.
        Truncated = "truncated",
        /// Quotes no packet a connection here has in flight, or a larger MTU than the path has.
        NotOurs = "not-ours",
        /// Not "fragmentation needed".
        Ignored = "ignored",
    }
}

impl Tcp4Error {
    /// The node of `tcp`; there is one.
    pub fn new(tcp: &Tcp) -> Self {
        Self {
            core: Rc::clone(&tcp.core),
        }
    }
}

impl Node for Tcp4Error {
    const NAME: &'static str = "tcp4-error";
    type Next = Never;
    type Drop = Tcp4ErrorDrop;

    fn process<'block>(
        &mut self,
        now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Never, Tcp4ErrorDrop>,
    ) {
        let mut core = self.core.borrow_mut();
        for frame in batch.drain() {
            match read(&frame) {
                Ok(smaller) if core.lower_mtu(&smaller, now) => out.consume(frame),
                Ok(smaller) => {
                    core.keep_smaller_mtu(smaller);
                    out.drop(Tcp4ErrorDrop::NotOurs, frame);
                }
                Err(reason) => out.drop(reason, frame),
            }
        }
    }
}

fn read(frame: &Frame<'_>) -> Result<SmallerMtu, Tcp4ErrorDrop> {
    let (_, icmp) = split_ip(frame.octets()).ok_or(Tcp4ErrorDrop::Truncated)?;
    let (header, quote) = icmp
        .split_first_chunk::<8>()
        .ok_or(Tcp4ErrorDrop::Truncated)?;
    let [kind, code, _, _, _, _, mtu_high, mtu_low] = *header;
    if (kind, code) != (DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED) {
        return Err(Tcp4ErrorDrop::Ignored);
    }
    let (ip, tcp) = split_ip(quote).ok_or(Tcp4ErrorDrop::Truncated)?;
    let (source, destination) = addresses(ip);
    let [_, _, l0, l1, _, _, _, _, _, protocol, ..] = *ip;
    let [s0, s1, d0, d1, q0, q1, q2, q3] =
        *tcp.first_chunk::<8>().ok_or(Tcp4ErrorDrop::Truncated)?;
    if protocol != TCP {
        return Err(Tcp4ErrorDrop::Ignored);
    }
    // Routers older than RFC 1191 say 0: try the next smaller size in use.
    let mtu = match u16::from_be_bytes([mtu_high, mtu_low]) {
        0 => plateau_below(u16::from_be_bytes([l0, l1])),
        mtu => mtu,
    };
    let port = |high, low| u16::from_be_bytes([high, low]);
    Ok(SmallerMtu {
        key: Key {
            local: SocketAddrV4::new(source, port(s0, s1)),
            remote: SocketAddrV4::new(destination, port(d0, d1)),
            interface: frame.meta.interface,
        },
        seq: Seq(u32::from_be_bytes([q0, q1, q2, q3])),
        mtu,
    })
}

/// The fixed part of an IPv4 header, and what follows the whole of it.
fn split_ip(packet: &[u8]) -> Option<(&[u8; 20], &[u8])> {
    let header = packet.first_chunk::<20>()?;
    let [first, ..] = *header;
    let len = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || len < 20 {
        return None;
    }
    Some((header, packet.get(len..)?))
}

/// The plateau table of RFC 1191, section 7.1, as far as it concerns Ethernet.
fn plateau_below(len: u16) -> u16 {
    const PLATEAUS: [u16; 6] = [8166, 4352, 2002, 1492, 1006, 576];
    PLATEAUS.into_iter().find(|size| *size < len).unwrap_or(576)
}

const DESTINATION_UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const TCP: u8 = 6;

#[cfg(test)]
mod tests;
