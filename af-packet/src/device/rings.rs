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
    // What has to be split in software, the bypass drops, and says that its queue is full.
    if options.qdisc_bypass || !splits_behind_tags() {
        ring.split_nothing();
    }
    Ok(ring)
}

/// Whether the kernel surely finds the IP header behind a tag (`packet_parse_headers` since
/// dfed913e8b55). Without that it refuses a super-segment, a device makes something else of it, or
/// the kernel stops.
fn splits_behind_tags() -> bool {
    let name = nix::sys::utsname::uname().ok();
    let release = name.as_ref().and_then(|name| name.release().to_str());
    release.is_none_or(finds_headers)
}

/// Linux 5.19 does, and RHEL 9 from 9.1 on (5.14.0-162.el9). Some stable kernels before do as well;
/// which ones, their release does not tell.
fn finds_headers(release: &str) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (version, (_, build)) = ((next(), next()), (next(), next()));
    version >= (5, 19) || (version == (5, 14) && release.contains(".el9") && build >= 162)
}

#[cfg(test)]
mod tests {
    use super::finds_headers;

    #[test]
    fn the_release_tells_whether_super_segments_may_have_tags() {
        for release in ["5.19.0", "6.1.0-54-amd64", "6.18.44-fc-v669", "7.0-rc1"] {
            assert!(finds_headers(release), "{release}");
        }
        assert!(finds_headers("5.14.0-427.13.1.el9_4.x86_64"));
        for release in [
            "5.10.0-32-arm64",
            "5.15.0-1053-aws",
            "4.18.0-553.el8_10.x86_64",
        ] {
            assert!(!finds_headers(release), "{release}");
        }
        for release in [
            "5.14.0-70.13.1.el9_0.x86_64",
            "5.14.21-150500.55-default",
            "",
            "linux",
        ] {
            assert!(!finds_headers(release), "{release}");
        }
    }
}
