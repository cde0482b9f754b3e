//! A raw socket on one device that hears only the frames of one tag stack.
//!
//! The kernel takes the outermost tag off a frame before a socket sees it, so the choice is
//! made by a classic BPF filter, which still sees the tag beside the frame. Frames the machine
//! sends itself are never heard. Independent of `af-packet` on purpose: it tests that crate.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, bind, socket};
use socket2::{SockFilter, Socket};

use crate::error::{Step as _, WiringError};
use crate::netns::Netns;
use crate::tag::{TPID_CTAG, TPID_STAG, Tag};

/// Largest frame received: a GSO super-frame with headers.
pub const FRAME_MAX: usize = 65_536 + 64;

/// What a [`PacketSocket`] hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hear<'a> {
    /// Every frame that arrives.
    All,
    /// Frames with exactly these tags, outermost first; none means untagged.
    Only(&'a [Tag]),
    /// Frames with at least one tag.
    Tagged,
}

/// A raw socket on one device.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
}

impl PacketSocket {
    /// Opens a socket on `device` in `namespace`.
    ///
    /// # Errors
    /// No such device, or no `CAP_NET_RAW`.
    pub fn open(namespace: &Netns, device: &str, hear: Hear<'_>) -> Result<Self, WiringError> {
        let open = || -> io::Result<Self> {
            let fd = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )?;
            // The one way to a link address without unsafe code. Its protocol is 0, which lets
            // the socket keep its own.
            let address = nix::ifaddrs::getifaddrs()?
                .filter(|interface| interface.interface_name == device)
                .find_map(|interface| interface.address.filter(|a| a.as_link_addr().is_some()))
                .ok_or(io::ErrorKind::NotFound)?;
            bind(fd.as_raw_fd(), &address)?;
            let socket = Socket::from(fd);
            socket.attach_filter(&filter(hear))?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            socket.set_nonblocking(true)?;
            let opened = Self { socket };
            // What other devices delivered before `bind`.
            let mut scratch = vec![0; FRAME_MAX];
            while opened.receive(&mut scratch)?.is_some() {}
            Ok(opened)
        };
        namespace
            .run(open)
            .and_then(|opened| opened)
            .step(|| format!("opening a raw socket on {device}"))
    }

    /// The next frame, without the outermost tag; its length, or `None` when there is none now.
    ///
    /// # Errors
    /// The device is gone.
    pub fn receive(&self, frame: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.socket).read(frame) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next frame within `timeout`.
    ///
    /// # Errors
    /// The device is gone.
    pub fn wait(&self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        let mut frame = vec![0; FRAME_MAX];
        self.socket.set_nonblocking(false)?;
        self.socket
            .set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        let received = self.receive(&mut frame);
        self.socket.set_nonblocking(true)?;
        Ok(received?.map(|length| {
            frame.truncate(length);
            frame
        }))
    }

    /// Sends one frame as it is, Ethernet header and tags included.
    ///
    /// # Errors
    /// The device is down, or the frame is longer than its MTU allows.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        (&self.socket).write(frame).map(drop)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asked for; the kernel grants at most `net.core.rmem_max`.
const RECEIVE_BUFFER: usize = 4 << 20;

/// `SKF_AD_*` of `<linux/filter.h>`.
const AD_PKTTYPE: u32 = 0xffff_f000 + 4;
const AD_VLAN_TAG: u32 = 0xffff_f000 + 44;
const AD_VLAN_TAG_PRESENT: u32 = 0xffff_f000 + 48;
const AD_VLAN_TPID: u32 = 0xffff_f000 + 60;
const PACKET_OUTGOING: u32 = 4;
/// Where an inner tag, or the EtherType, sits once the outermost tag is beside the frame.
const INNER_TPID: u32 = 12;
const INNER_TCI: u32 = 14;

/// Loads a word (0x20) or half word (0x28), masks it, compares; `equal` says which way is drop.
struct Check {
    load: u16,
    at: u32,
    mask: u32,
    value: u32,
    must_equal: bool,
}

fn filter(hear: Hear<'_>) -> Vec<SockFilter> {
    let word = |at, value, must_equal| Check {
        load: 0x20,
        at,
        mask: !0,
        value,
        must_equal,
    };
    let half = |at, mask, value, must_equal| Check {
        load: 0x28,
        at,
        mask,
        value,
        must_equal,
    };
    let mut checks = vec![word(AD_PKTTYPE, PACKET_OUTGOING, false)];
    match hear {
        Hear::All => {}
        Hear::Tagged => checks.push(word(AD_VLAN_TAG_PRESENT, 1, true)),
        Hear::Only([]) => checks.push(word(AD_VLAN_TAG_PRESENT, 0, true)),
        Hear::Only([outer, inner @ ..]) => {
            checks.push(word(AD_VLAN_TAG_PRESENT, 1, true));
            checks.push(word(AD_VLAN_TPID, u32::from(outer.tpid), true));
            checks.push(Check {
                load: 0x20,
                at: AD_VLAN_TAG,
                mask: 0xfff,
                value: u32::from(outer.vid),
                must_equal: true,
            });
            if let Some(inner) = inner.first() {
                checks.push(half(INNER_TPID, !0, u32::from(inner.tpid), true));
                checks.push(half(INNER_TCI, 0xfff, u32::from(inner.vid), true));
            } else {
                checks.push(half(INNER_TPID, !0, u32::from(TPID_CTAG), false));
                checks.push(half(INNER_TPID, !0, u32::from(TPID_STAG), false));
            }
        }
    }
    let mut program = Vec::with_capacity(checks.len() * 3 + 2);
    for (done, check) in checks.iter().enumerate() {
        // Three instructions a check; then "accept", then "drop".
        let to_drop = u8::try_from((checks.len() - done - 1) * 3 + 1).unwrap_or(u8::MAX);
        let (if_equal, if_not) = if check.must_equal {
            (0, to_drop)
        } else {
            (to_drop, 0)
        };
        program.push(SockFilter::new(check.load, 0, 0, check.at));
        program.push(SockFilter::new(0x54, 0, 0, check.mask));
        program.push(SockFilter::new(0x15, if_equal, if_not, check.value));
    }
    program.push(SockFilter::new(0x06, 0, 0, u32::MAX));
    program.push(SockFilter::new(0x06, 0, 0, 0));
    program
}
