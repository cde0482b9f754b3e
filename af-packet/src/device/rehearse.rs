//! A kick and a frame for nobody, to have the kernel's code at hand for the next ones.

use std::os::fd::AsFd;

use dataplane::EtherType;

use super::Device;
use crate::socket;
use crate::uapi;

/// The interface `lo` of every network namespace (`LOOPBACK_IFINDEX`, `include/net/net_namespace.h`).
const LO: u32 = 1;

/// Octets of the frame: those of an ordinary ping.
const LEN: usize = 98;

/// `virtio_net_hdr`, all zero: no offload is asked for. Then an ARP request to an Ethernet address
/// that is not `lo`'s.
const FRAME: [u8; uapi::vnet::SIZE + LEN] = {
    let mut frame = [0; uapi::vnet::SIZE + LEN];
    let start = uapi::vnet::SIZE;
    frame[start] = 2;
    frame[start + 5] = 1;
    let [high, low] = EtherType::ARP.0.to_be_bytes();
    frame[start + 12] = high;
    frame[start + 13] = low;
    // Ethernet, IPv4, their lengths, a request (RFC 826).
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    let mut at = 0;
    while at < head.len() {
        frame[start + 14 + at] = head[at];
        at += 1;
    }
    frame
};

impl Device {
    /// Kicks an empty transmit ring, and sends a frame by the namespace's `lo`, where the kernel
    /// throws it away without counting a drop: an ARP request to somebody else (`arp_rcv`,
    /// `net/ipv4/arp.c`). Nothing leaves by the link. Whoever expects a frame after a rest calls it
    /// shortly before: most of what the kernel runs to send the answer is then in the processor's
    /// caches.
    ///
    /// Whether there is a `lo` that is up.
    pub fn rehearse(&self) -> bool {
        // With nothing to send it does nothing; what waits in the ring is for the next turn.
        if !self.pending() {
            let _ = socket::kick(self.tx_fd.as_fd());
        }
        let skipped = if self.vnet { 0 } else { uapi::vnet::SIZE };
        let frame = FRAME.get(skipped..).unwrap_or(&[]);
        socket::send_by(self.rx_fd.as_fd(), LO, frame).is_ok()
    }
}
