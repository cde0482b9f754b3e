//! A kick and a frame for nobody, to have the kernel's code at hand for the next ones.

use std::os::fd::AsFd;

use super::Device;
use crate::socket;
use crate::uapi;

/// The interface `lo` of every network namespace (`LOOPBACK_IFINDEX`, `include/net/net_namespace.h`).
const LO: u32 = 1;

/// Octets of the frame: those of an ordinary ping.
const LEN: usize = 98;

/// How it begins: to an Ethernet address that is not `lo`'s, an ARP request for IPv4 over Ethernet
/// (RFC 826). The rest is zero.
const HEAD: [u8; 22] = [
    2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
];

impl Device {
    /// Kicks an empty transmit ring, and sends a frame by the namespace's `lo`, where the kernel
    /// throws it away without counting a drop: an ARP request to somebody else (`arp_rcv`,
    /// `net/ipv4/arp.c`). Nothing leaves by the link. Whoever expects a frame after a rest calls it
    /// shortly before: most of what the kernel runs to send the answer is then in the processor's
    /// caches.
    ///
    /// Whether there is a `lo` that is up.
    pub fn rehearse(&mut self) -> bool {
        self.tx.rehearse();
        // A `virtio_net_hdr` of zeros asks for no offload.
        let start = if self.vnet { uapi::vnet::SIZE } else { 0 };
        let mut octets = [0; uapi::vnet::SIZE + LEN];
        octets[start..start + HEAD.len()].copy_from_slice(&HEAD);
        socket::send_by(self.rx_fd.as_fd(), LO, &octets[..start + LEN]).is_ok()
    }
}
