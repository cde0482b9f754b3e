//! `ip4-icmp-error`: tells a sender why its packet was not taken.
//!
//! - Takes: checked IPv4 packets for us that nobody wants, beginning at the IPv4 header. What is
//!   wrong follows from the packet:
//!
//!   | packet | error |
//!   |---|---|
//!   | a first fragment (the rest never came) | time exceeded, in reassembly (11/1) |
//!   | UDP | port unreachable (3/3) |
//!   | anything else | protocol unreachable (3/2) |
//!
//! - Sends: `lookup`: the error, beginning at the IPv4 header.
//! - Drops: `too-short`, `about-icmp-error`, `not-first-fragment`, `about-broadcast`,
//!   `bad-source`, `rate-limited`, `no-buffer`.
//! - Spec: RFC 792; RFC 1122 section 3.2.2 (about what never to send errors); RFC 1812 section
//!   4.3.2.3 (quote up to 576 octets) and 4.3.2.8 (rate limits).
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::Ipv4Addr;
use std::time::Duration;

use dataplane::{Batch, Frame, Node, Outlets, checksum};
use etherparse::{Ipv4HeaderSlice, icmpv4};

use crate::ip4::{self, Header, protocol};
use crate::tables::Tables;
use crate::token_bucket::TokenBucket;

/// Octets of the largest error: RFC 1812 section 4.3.2.3.
const ERROR_MAX: usize = 576;

/// Octets of an ICMP error's header.
const ICMP_HEADER: usize = 8;

/// Errors to everybody together: 1,000 a second after a burst of 50, as Linux's
/// `icmp_msgs_per_sec` and `icmp_msgs_burst`.
const ALL_INTERVAL: Duration = Duration::from_millis(1);
const ALL_BURST: u32 = 50;

/// Errors to one destination: one a second after a burst of 6, as Linux's `icmp_ratelimit`.
const ONE_INTERVAL: Duration = Duration::from_secs(1);
const ONE_BURST: u32 = 6;

/// Buckets for destinations. A keyed hash chooses; destinations that meet share a bucket, so
/// nothing grows, nothing is displaced, and nobody can aim at a bucket.
const BUCKETS_MAX: usize = 1024;

/// Precedence 6 (internetwork control), as RFC 1812 section 4.3.2.5 recommends for errors.
const TOS: u8 = 0xc0;

/// Tells a sender why its packet was not taken.
#[derive(Debug)]
pub struct Ip4IcmpError {
    tables: Tables,
    all: TokenBucket,
    /// [`BUCKETS_MAX`] of them.
    ones: Box<[TokenBucket]>,
    hash: RandomState,
    /// Errors are not fragmented, yet a middlebox may fragment them: RFC 6864 section 4.1.
    identification: u16,
}

dataplane::labels! {
    /// Where `ip4-icmp-error` sends.
    pub enum Ip4IcmpErrorNext {
        /// Errors.
        Lookup = "lookup",
    }
}

dataplane::labels! {
    /// Why `ip4-icmp-error` drops.
    pub enum Ip4IcmpErrorDrop {
        /// Not a whole IPv4 header.
        TooShort = "too-short",
        /// About ICMP that may be an error itself.
        AboutIcmpError = "about-icmp-error",
        /// About a fragment other than the first.
        NotFirstFragment = "not-first-fragment",
        /// About a packet not sent to our address alone.
        AboutBroadcast = "about-broadcast",
        /// To an address that is no single station's.
        BadSource = "bad-source",
        /// Too many lately.
        RateLimited = "rate-limited",
        /// The port has no room.
        NoBuffer = "no-buffer",
    }
}

impl Ip4IcmpError {
    /// A node over the worker's tables.
    pub fn new(tables: &Tables) -> Self {
        let hash = RandomState::new();
        Self {
            tables: tables.clone(),
            all: TokenBucket::new(ALL_INTERVAL, ALL_BURST),
            ones: vec![TokenBucket::new(ONE_INTERVAL, ONE_BURST); BUCKETS_MAX].into_boxed_slice(),
            identification: u16::try_from(hash.hash_one(0) & 0xffff).unwrap_or(0),
            hash,
        }
    }

    fn may_send(&mut self, now: Duration, to: Ipv4Addr) -> bool {
        let at = usize::try_from(self.hash.hash_one(to) >> 32).unwrap_or(0) % BUCKETS_MAX;
        let one = self.ones.get_mut(at).is_some_and(|one| one.take(now));
        one && self.all.take(now)
    }

    /// What to send about `frame`: kind, code, from, to.
    fn check(
        &mut self,
        now: Duration,
        frame: &Frame<'_>,
    ) -> Result<(u8, u8, Ipv4Addr, Ipv4Addr), Ip4IcmpErrorDrop> {
        let octets = frame.octets();
        let header = Ipv4HeaderSlice::from_slice(octets).map_err(|_| Ip4IcmpErrorDrop::TooShort)?;
        let (source, destination) = (header.source_addr(), header.destination_addr());
        if header.fragments_offset().value() != 0 {
            return Err(Ip4IcmpErrorDrop::NotFirstFragment);
        }
        if header.protocol().0 == protocol::ICMP
            && octets.get(header.slice().len()) != Some(&icmpv4::TYPE_ECHO_REQUEST)
        {
            return Err(Ip4IcmpErrorDrop::AboutIcmpError);
        }
        {
            let addresses = self.tables.addresses.borrow();
            let ours = addresses.holder(destination) == Some(frame.meta.interface);
            if !ours || frame.meta.destination.is_group() {
                return Err(Ip4IcmpErrorDrop::AboutBroadcast);
            }
            if ip4::is_martian(source)
                || addresses.is_broadcast(frame.meta.interface, source)
                || addresses.holder(source).is_some()
            {
                return Err(Ip4IcmpErrorDrop::BadSource);
            }
        }
        if !self.may_send(now, source) {
            return Err(Ip4IcmpErrorDrop::RateLimited);
        }
        let (kind, code) = match header.protocol().0 {
            _ if header.more_fragments() => (
                icmpv4::TYPE_TIME_EXCEEDED,
                icmpv4::CODE_TIME_EXCEEDED_FRAG_REASSEMBLY_TIME_EXCEEDED,
            ),
            protocol::UDP => (icmpv4::TYPE_DEST_UNREACH, icmpv4::CODE_DST_UNREACH_PORT),
            _ => (icmpv4::TYPE_DEST_UNREACH, icmpv4::CODE_DST_UNREACH_PROTOCOL),
        };
        Ok((kind, code, destination, source))
    }
}

impl Node for Ip4IcmpError {
    const NAME: &'static str = "ip4-icmp-error";
    type Next = Ip4IcmpErrorNext;
    type Drop = Ip4IcmpErrorDrop;

    fn process<'block>(
        &mut self,
        now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Ip4IcmpErrorNext, Ip4IcmpErrorDrop>,
    ) {
        for frame in batch.drain() {
            let (kind, code, source, destination) = match self.check(now, &frame) {
                Ok(error) => error,
                Err(reason) => {
                    out.drop(reason, frame);
                    continue;
                }
            };
            let quoted = frame.len().min(ERROR_MAX - ip4::HEADER - ICMP_HEADER);
            let len = ip4::HEADER + ICMP_HEADER + quoted;
            let Some(mut error) = out.alloc(len) else {
                out.drop(Ip4IcmpErrorDrop::NoBuffer, frame);
                continue;
            };
            self.identification = self.identification.wrapping_add(1);
            let header = Header {
                tos: TOS,
                total_len: u16::try_from(len).unwrap_or(u16::MAX),
                identification: self.identification,
                fragment: 0,
                protocol: protocol::ICMP,
                source,
                destination,
            };
            write(error.octets_mut(), &header, [kind, code], frame.octets());
            error.meta.interface = frame.meta.interface;
            error.meta.trace = frame.meta.trace;
            out.consume(frame);
            out.send(Ip4IcmpErrorNext::Lookup, error);
        }
    }
}

/// Fills `octets` with the error: header, kind and code, and as much of `about` as fits.
fn write(octets: &mut [u8], header: &Header, kind: [u8; 2], about: &[u8]) {
    let Some((head, message)) = octets.split_first_chunk_mut::<{ ip4::HEADER }>() else {
        return;
    };
    *head = header.octets();
    let [kind, code] = kind;
    let icmp = [kind, code, 0, 0, 0, 0, 0, 0];
    for (place, octet) in message.iter_mut().zip(icmp.iter().chain(about)) {
        *place = *octet;
    }
    let sum = checksum::of(message);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
