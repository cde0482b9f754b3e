//! `ethernet-input`: reads the Ethernet header and the tags, and keeps what is not for us out.
//!
//! - Takes: frames from a driver, beginning with the Ethernet header; the outer tag may be in
//!   [`Meta::tags`](crate::Meta::tags) already, where the kernel puts it.
//! - Sends: `tagged` or `untagged`, the frame beginning after the Ethernet header and the tags,
//!   which are now in its metadata.
//! - Drops: `too-short`, `too-many-tags`, `llc`, `source-is-group`, `own-source`,
//!   `l3-mac-mismatch`, `interface-down`.
//! - Spec: IEEE 802.3, clause 3; IEEE 802.1Q, clause 9.
#![warn(clippy::indexing_slicing, reason = "octets come from the wire")]

use std::time::Duration;

use crate::batch::Batch;
use crate::frame::{ETHERNET_HEADER, EtherType, Frame, MacAddr, Tag};
use crate::interface::{Interfaces, SharedInterfaces};
use crate::node::Node;
use crate::outlets::Outlets;

/// Reads the Ethernet header and the tags.
#[derive(Debug)]
pub struct EthernetInput {
    interfaces: SharedInterfaces,
}

crate::labels! {
    /// Where `ethernet-input` sends.
    pub enum EthernetInputNext {
        /// Frames that carry at least one tag, be it a priority tag.
        Tagged = "tagged",
        /// Frames that carry none.
        Untagged = "untagged",
    }
}

crate::labels! {
    /// Why `ethernet-input` drops.
    pub enum EthernetInputDrop {
        /// Shorter than an Ethernet header and the tags it announces.
        TooShort = "too-short",
        /// More than two tags.
        TooManyTags = "too-many-tags",
        /// An IEEE 802.3 length, not an EtherType.
        Llc = "llc",
        /// The source address is a group's, which no station has.
        SourceIsGroup = "source-is-group",
        /// The source address is our own: a loop, or somebody who has it too.
        OwnSource = "own-source",
        /// For another station.
        L3MacMismatch = "l3-mac-mismatch",
        /// The port is down.
        InterfaceDown = "interface-down",
    }
}

impl EthernetInput {
    /// A node that takes the port's address from `interfaces`.
    pub fn new(interfaces: SharedInterfaces) -> Self {
        Self { interfaces }
    }
}

impl Node for EthernetInput {
    const NAME: &'static str = "ethernet-input";
    type Next = EthernetInputNext;
    type Drop = EthernetInputDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, EthernetInputNext, EthernetInputDrop>,
    ) {
        let interfaces = self.interfaces.borrow();
        for mut frame in batch.drain() {
            out.count_rx(
                frame.meta.interface,
                frame.len() + 4 * frame.meta.tags.len(),
            );
            match read(&mut frame, &interfaces) {
                Ok(next) => out.send(next, frame),
                Err(reason) => out.drop(reason, frame),
            }
        }
    }
}

/// Moves the header into the metadata and the front behind it.
fn read(
    frame: &mut Frame<'_>,
    interfaces: &Interfaces,
) -> Result<EthernetInputNext, EthernetInputDrop> {
    let Some(port) = interfaces.get(frame.meta.interface).filter(|port| port.up) else {
        return Err(EthernetInputDrop::InterfaceDown);
    };
    let Some((header, mut rest)) = frame.octets().split_first_chunk::<ETHERNET_HEADER>() else {
        return Err(EthernetInputDrop::TooShort);
    };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
    let destination = MacAddr([d0, d1, d2, d3, d4, d5]);
    let source = MacAddr([s0, s1, s2, s3, s4, s5]);
    let mut ether_type = EtherType(u16::from_be_bytes([t0, t1]));
    let mut taken = ETHERNET_HEADER;
    let mut tags = frame.meta.tags;
    while ether_type.is_tag() {
        let Some((&[c0, c1, t0, t1], behind)) = rest.split_first_chunk::<4>() else {
            return Err(EthernetInputDrop::TooShort);
        };
        if !tags.push(Tag {
            tpid: ether_type,
            tci: u16::from_be_bytes([c0, c1]),
        }) {
            return Err(EthernetInputDrop::TooManyTags);
        }
        ether_type = EtherType(u16::from_be_bytes([t0, t1]));
        rest = behind;
        taken += 4;
    }
    if source.is_group() {
        return Err(EthernetInputDrop::SourceIsGroup);
    }
    if source == port.mac {
        return Err(EthernetInputDrop::OwnSource);
    }
    if destination != port.mac && !destination.is_group() {
        return Err(EthernetInputDrop::L3MacMismatch);
    }
    if ether_type.0 < EtherType::MIN {
        return Err(EthernetInputDrop::Llc);
    }
    let advanced = frame.advance(taken);
    debug_assert!(advanced, "the header was read from these octets");
    frame.meta.destination = destination;
    frame.meta.source = source;
    frame.meta.ether_type = ether_type;
    frame.meta.tags = tags;
    Ok(if tags.is_empty() {
        EthernetInputNext::Untagged
    } else {
        EthernetInputNext::Tagged
    })
}

#[cfg(test)]
mod tests;
