//! Making and mapping the rings. The order of the options matters: the kernel refuses most of
//! them, and silently ignores one, once a ring exists.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use dataplane::IfIndex;

use crate::error::OpenError;
use crate::options::{Options, RxVersion};
use crate::region::{Geometry, Region};
use crate::ring::{RxRing, TxRing};
use crate::socket::{self, SocketKick};
use crate::uapi;

/// Octets the kernel leaves free before a frame, beside the 24 its own layout leaves: so that
/// [`HEADROOM`](dataplane::HEADROOM) fits and the IP header is aligned to 16.
const RESERVE: u32 = 22;

pub(super) fn takes_vnet(tx: BorrowedFd<'_>) -> bool {
    socket::set_number(tx, libc::PACKET_VNET_HDR, 1).is_ok()
}

fn step<'a>(name: &'a str, step: &'static str) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Step {
        interface: name.to_owned(),
        step,
        source,
    }
}

fn ring_error(name: &str, octets: usize, source: io::Error) -> OpenError {
    let interface = name.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOMEM) => OpenError::NoMemory {
            interface,
            octets,
            source,
        },
        _ => OpenError::Step {
            interface,
            step: "making the ring",
            source,
        },
    }
}

/// `struct tpacket_req3`, or its first four words for V2.
fn request(geometry: Geometry, words: usize, retire_ms: u32) -> Vec<u8> {
    let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let fields = [
        narrow(geometry.block_len),
        narrow(geometry.blocks),
        narrow(geometry.slot_len),
        narrow(geometry.slots()),
        retire_ms,
        0,
        0,
    ];
    let wanted = fields.iter().take(words);
    wanted.flat_map(|field| field.to_ne_bytes()).collect()
}

pub(super) fn map_rx(
    name: &str,
    [fd, bell]: [BorrowedFd<'_>; 2],
    interface: IfIndex,
    options: &Options,
    vnet: bool,
) -> Result<RxRing, OpenError> {
    let geometry = options.rx()?;
    let (version, words) = match options.rx_version {
        RxVersion::V2 => (uapi::VERSION_V2, 4),
        RxVersion::V3 => (uapi::VERSION_V3, 7),
    };
    let set = |option, value| socket::set_number(fd, option, value);
    set(libc::PACKET_VERSION, version).map_err(step(name, "choosing the ring's version"))?;
    set(libc::PACKET_RESERVE, RESERVE).map_err(step(name, "reserving headroom"))?;
    if vnet {
        set(libc::PACKET_VNET_HDR, 1).map_err(step(name, "asking for offloads"))?;
    }
    // What is too large for the transmit ring goes by this socket.
    allow_in_flight(fd, options.tx()?);
    // Before 4.20 there is no such option; the walk then skips our own frames.
    let _ = set(libc::PACKET_IGNORE_OUTGOING, 1);
    let retire_ms = u32::try_from(options.retire_timeout.as_millis().clamp(1, 60_000)).unwrap_or(1);
    socket::set_option(
        fd,
        libc::PACKET_RX_RING,
        &request(geometry, words, retire_ms),
    )
    .map_err(|source| ring_error(name, geometry.octets(), source))?;
    let region = Region::map(fd, geometry.octets())
        .map_err(|source| ring_error(name, geometry.octets(), source))?;
    if options.doorbell() {
        let _ = socket::set_number(bell, libc::PACKET_IGNORE_OUTGOING, 1);
        // The smallest buffer the kernel allows: full after a few frames, it costs no clones.
        socket::set_socket(bell, libc::SO_RCVBUF, 0)
            .and_then(|()| socket::attach_filter(bell, 1))
            .map_err(step(name, "preparing the doorbell"))?;
    }
    Ok(match options.rx_version {
        RxVersion::V2 => RxRing::v2(region, geometry, interface, vnet),
        RxVersion::V3 => RxRing::v3(region, geometry, interface, vnet, options.doorbell()),
    })
}

/// The socket's buffer counts frames in flight; up to `wmem_max` is granted, and less does no harm.
fn allow_in_flight(fd: BorrowedFd<'_>, ring: Geometry) {
    let octets = u32::try_from(ring.octets()).unwrap_or(u32::MAX);
    let _ = socket::set_socket(fd, libc::SO_SNDBUF, octets);
}

pub(super) fn map_tx(
    name: &str,
    fd: &Arc<OwnedFd>,
    plain: &Arc<OwnedFd>,
    options: &Options,
    vnet: bool,
) -> Result<TxRing, OpenError> {
    let geometry = options.tx()?;
    let set = |option, value| socket::set_number(fd.as_fd(), option, value);
    // PACKET_VNET_HDR was set when it was tried; it and these must come before the ring, and
    // PACKET_TX_HAS_OFF would be ignored afterwards without an error.
    set(libc::PACKET_VERSION, uapi::VERSION_V3)
        .map_err(step(name, "choosing the ring's version"))?;
    set(libc::PACKET_TX_HAS_OFF, 1).map_err(step(name, "asking for offsets in slots"))?;
    set(libc::PACKET_LOSS, 1).map_err(step(name, "asking to skip bad slots"))?;
    if options.qdisc_bypass {
        set(libc::PACKET_QDISC_BYPASS, 1)
            .map_err(step(name, "bypassing the queueing discipline"))?;
    }
    allow_in_flight(fd.as_fd(), geometry);
    socket::set_option(fd.as_fd(), libc::PACKET_TX_RING, &request(geometry, 7, 0))
        .map_err(|source| ring_error(name, geometry.octets(), source))?;
    let region = Region::map(fd.as_fd(), geometry.octets())
        .map_err(|source| ring_error(name, geometry.octets(), source))?;
    // Of no link yet.
    let kick = SocketKick::new(fd, plain, 0).map_err(step(name, "addressing a link"))?;
    let mut ring = TxRing::new(region, geometry, vnet, Box::new(kick));
    if !splits_behind_tags() {
        ring.split_nothing();
    }
    Ok(ring)
}

/// Whether the kernel finds the IP header behind a tag: without that, it refuses a super-segment,
/// or a device makes something else of it (`packet_parse_headers` since dfed913e8b55, Linux 5.19).
fn splits_behind_tags() -> bool {
    let release = nix::sys::utsname::uname().ok();
    let release = release.and_then(|name| Some(version(name.release().to_str()?)));
    release.is_none_or(|release| release >= (5, 19))
}

/// The first two numbers of a release, as in `6.1.0-54-amd64`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_release_begins_with_two_numbers() {
        assert_eq!(version("6.1.0-54-amd64"), (6, 1));
        assert_eq!(version("5.15-rc1"), (5, 15));
        assert_eq!(version("6.18.44-fc-v669"), (6, 18));
        assert_eq!((version(""), version("linux")), ((0, 0), (0, 0)));
    }
}
