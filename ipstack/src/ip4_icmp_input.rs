//! `ip4-icmp-input`: answers echo requests, and passes on what concerns TCP.
//!
//! - Takes: checked IPv4 packets for us, beginning at the IPv4 header.
//! - Sends: `reply`: echo replies, in place. `echo-reply`: echo replies of others, unchanged,
//!   their checksum verified. `tcp`: destination unreachable about a TCP segment of
//!   ours; the frame still begins at the outer IPv4 header, its checksum is verified, and it holds
//!   the quoted IPv4 header and 8 octets behind that at least.
//! - Drops: `too-short`, `bad-checksum`, `no-headroom`, `bad-quote`, and what needs no answer:
//!   `unreachable`, `time-exceeded`, `redirect`, `source-quench`, `parameter-problem`,
//!   `timestamp`, `unknown-type`.
//! - Spec: RFC 792; RFC 1122 section 3.2.2; RFC 5927 (why a quote must be one of ours).
//!
//! An echo reply carries the request's data, type of service and identification, and no options.
//! The identification is as good as the peer's: reply and request travel between the same two
//! addresses. A reply may be fragmented even if its request may not, as on Linux: our MTU may be
//! the smaller one, and the peer asked whether we are there, not how large the path is.
//! Echo replies are not rate-limited, as on Linux: they are never more or larger than the requests.
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use std::time::Duration;

use dataplane::{Batch, Checksum, Frame, Node, Outlets, Tags, checksum};
use etherparse::{Icmpv4Slice, Ipv4HeaderSlice, icmpv4};

use crate::addresses::Addresses;
use crate::ip4::{self, Header, protocol};
use crate::tables::Tables;

/// Answers echo requests, and passes on what concerns TCP.
#[derive(Debug)]
pub struct Ip4IcmpInput {
    tables: Tables,
}

dataplane::labels! {
    /// Where `ip4-icmp-input` sends.
    pub enum Ip4IcmpInputNext {
        /// Echo replies.
        Reply = "reply",
        /// Echo replies of others, for `ping`.
        EchoReply = "echo-reply",
        /// Destination unreachable about TCP segments of ours.
        Tcp = "tcp",
    }
}

dataplane::labels! {
    /// Why `ip4-icmp-input` drops.
    pub enum Ip4IcmpInputDrop {
        /// Shorter than an ICMP header.
        TooShort = "too-short",
        /// The checksum is wrong.
        BadChecksum = "bad-checksum",
        /// No room for the reply's header.
        NoHeadroom = "no-headroom",
        /// An error about no packet of ours, or one quoted too short to tell.
        BadQuote = "bad-quote",
        /// Destination unreachable, not about TCP.
        Unreachable = "unreachable",
        /// Time exceeded: TCP's own timers deal with it.
        TimeExceeded = "time-exceeded",
        /// A redirect: routes are the configuration's alone.
        Redirect = "redirect",
        /// Source quench, deprecated by RFC 6633.
        SourceQuench = "source-quench",
        /// A parameter problem.
        ParameterProblem = "parameter-problem",
        /// A timestamp request or reply, which tell a stranger our clock.
        Timestamp = "timestamp",
        /// Any other type.
        UnknownType = "unknown-type",
    }
}

impl Ip4IcmpInput {
    /// A node over the worker's tables.
    pub fn new(tables: &Tables) -> Self {
        Self {
            tables: tables.clone(),
        }
    }
}

impl Node for Ip4IcmpInput {
    const NAME: &'static str = "ip4-icmp-input";
    type Next = Ip4IcmpInputNext;
    type Drop = Ip4IcmpInputDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Ip4IcmpInputNext, Ip4IcmpInputDrop>,
    ) {
        let addresses = self.tables.addresses.borrow();
        for mut frame in batch.drain() {
            match take(&mut frame, &addresses) {
                Ok(next) => out.send(next, frame),
                Err(reason) => out.drop(reason, frame),
            }
        }
    }
}

fn take(
    frame: &mut Frame<'_>,
    addresses: &Addresses,
) -> Result<Ip4IcmpInputNext, Ip4IcmpInputDrop> {
    let octets = frame.octets();
    let header = Ipv4HeaderSlice::from_slice(octets).map_err(|_| Ip4IcmpInputDrop::TooShort)?;
    let message = octets.get(header.slice().len()..).unwrap_or(&[]);
    let icmp = Icmpv4Slice::from_slice(message).map_err(|_| Ip4IcmpInputDrop::TooShort)?;
    if frame.meta.checksum == Checksum::Unverified && checksum::of(message) != 0 {
        return Err(Ip4IcmpInputDrop::BadChecksum);
    }
    match icmp.type_u8() {
        icmpv4::TYPE_ECHO_REQUEST => echo(frame),
        icmpv4::TYPE_DEST_UNREACH => {
            // The quote begins behind the 8 octets of the ICMP header.
            let quote = message.get(8..).unwrap_or(&[]);
            unreachable_about(quote, addresses)
        }
        icmpv4::TYPE_ECHO_REPLY => Ok(Ip4IcmpInputNext::EchoReply),
        icmpv4::TYPE_TIME_EXCEEDED => Err(Ip4IcmpInputDrop::TimeExceeded),
        icmpv4::TYPE_REDIRECT => Err(Ip4IcmpInputDrop::Redirect),
        SOURCE_QUENCH => Err(Ip4IcmpInputDrop::SourceQuench),
        icmpv4::TYPE_PARAMETER_PROBLEM => Err(Ip4IcmpInputDrop::ParameterProblem),
        icmpv4::TYPE_TIMESTAMP | icmpv4::TYPE_TIMESTAMP_REPLY => Err(Ip4IcmpInputDrop::Timestamp),
        _ => Err(Ip4IcmpInputDrop::UnknownType),
    }
}

/// RFC 792; not in etherparse, for RFC 6633 deprecated it.
const SOURCE_QUENCH: u8 = 4;

/// What a destination unreachable with `quote` is about.
fn unreachable_about(
    quote: &[u8],
    addresses: &Addresses,
) -> Result<Ip4IcmpInputNext, Ip4IcmpInputDrop> {
    let quoted = Ipv4HeaderSlice::from_slice(quote).map_err(|_| Ip4IcmpInputDrop::BadQuote)?;
    let ours = addresses.holder(quoted.source_addr()).is_some();
    if !ours || quote.len() < quoted.slice().len() + 8 {
        return Err(Ip4IcmpInputDrop::BadQuote);
    }
    if quoted.protocol().0 == protocol::TCP && quoted.fragments_offset().value() == 0 {
        Ok(Ip4IcmpInputNext::Tcp)
    } else {
        Err(Ip4IcmpInputDrop::Unreachable)
    }
}

/// Turns an echo request into its reply.
fn echo(frame: &mut Frame<'_>) -> Result<Ip4IcmpInputNext, Ip4IcmpInputDrop> {
    let octets = frame.octets();
    let header = Ipv4HeaderSlice::from_slice(octets).map_err(|_| Ip4IcmpInputDrop::TooShort)?;
    let header_len = header.slice().len();
    let message_len = octets.len() - header_len;
    let tos = octets.get(1).copied().unwrap_or(0);
    let reply = Header {
        tos,
        total_len: u16::try_from(ip4::HEADER + message_len).unwrap_or(u16::MAX),
        identification: header.identification(),
        fragment: 0,
        protocol: protocol::ICMP,
        source: header.destination_addr(),
        destination: header.source_addr(),
    };
    if !frame.advance(header_len) {
        return Err(Ip4IcmpInputDrop::TooShort);
    }
    let whole_sum = matches!(frame.meta.checksum, Checksum::Partial { .. });
    reply_to(frame.octets_mut(), whole_sum);
    if !frame.push_front(ip4::HEADER) {
        return Err(Ip4IcmpInputDrop::NoHeadroom);
    }
    if let Some(place) = frame.octets_mut().first_chunk_mut() {
        *place = reply.octets();
    }
    frame.meta.checksum = Checksum::Unverified;
    frame.meta.segmentation = None;
    frame.meta.tags = Tags::NONE;
    Ok(Ip4IcmpInputNext::Reply)
}

/// Makes an echo reply of a request, which has 8 octets at least. `whole_sum`: the request's
/// checksum was never complete, so it cannot be updated.
fn reply_to(message: &mut [u8], whole_sum: bool) {
    let Some([kind, code, c0, c1]) = message.first_chunk_mut::<4>() else {
        return;
    };
    let before = u16::from_be_bytes([*kind, *code]);
    *kind = icmpv4::TYPE_ECHO_REPLY;
    *code = 0;
    let old = u16::from_be_bytes([*c0, *c1]);
    [*c0, *c1] = if whole_sum {
        [0, 0]
    } else {
        checksum::update(old, before, 0).to_be_bytes()
    };
    if whole_sum {
        let sum = checksum::of(message);
        if let Some(field) = message.get_mut(2..4) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
