//! Packet sockets: opened while there is a capability, configured and bound without.
//!
//! # Ownership
//! Every descriptor is an [`OwnedFd`]; the kernel copies what `bind` and `setsockopt` are given
//! before they return.
#![expect(
    unsafe_code,
    reason = "bind and two socket options of AF_PACKET have no safe wrapper"
)]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dataplane::EtherType;
use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, MsgFlags, SockaddrLike as _, getsockopt, sockopt};

use crate::error::OpenError;
use crate::ring::{Kick, KickError};

/// Spare socket pairs a [`Sockets`] holds at most.
pub const SPARES_MAX: usize = 64;

/// A receive socket and its doorbell, neither bound nor mapped.
#[derive(Debug)]
pub(crate) struct RxPair {
    pub(crate) rx: OwnedFd,
    pub(crate) doorbell: OwnedFd,
}

/// All the packet sockets of one device: the only things that need `CAP_NET_RAW`.
///
/// They are open and bound to nothing, so no frame reaches them. Everything else, mapping rings,
/// binding, binding again, needs no capability.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) interface: String,
    pub(crate) pair: RxPair,
    pub(crate) tx: OwnedFd,
    pub(crate) spares: Vec<RxPair>,
    pub(crate) opened: u64,
}

/// How many were opened or taken.
static OPENED: AtomicU64 = AtomicU64::new(0);

impl Sockets {
    /// Opens the sockets for a device on `interface`, which need not exist yet: the name is for
    /// messages.
    ///
    /// # Errors
    /// No `CAP_NET_RAW` in the user namespace that owns this network namespace; no packet
    /// sockets in this kernel; no descriptors left.
    pub fn open(interface: &str) -> Result<Self, OpenError> {
        Self::open_with_spares(interface, 0)
    }

    /// As [`Self::open`], with `spares` (at most [`SPARES_MAX`]) more pairs of receive sockets. A
    /// member of a fanout group uses one each time its interface is deleted and created again,
    /// because the kernel refuses to bind a member a second time.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_spares(interface: &str, spares: usize) -> Result<Self, OpenError> {
        if spares > SPARES_MAX {
            return Err(OpenError::Options("at most 64 spare socket pairs"));
        }
        let open = || packet_socket().map_err(|source| open_error(interface, source));
        // The doorbell is the older one: the kernel then serves it after the ring (it serves the
        // latest hook first), so a frame lies in the ring when the bell rings.
        let pair = || {
            let doorbell = open()?;
            Ok(RxPair {
                doorbell,
                rx: open()?,
            })
        };
        Ok(Self {
            interface: interface.to_owned(),
            opened: OPENED.fetch_add(1, Ordering::Relaxed),
            pair: pair()?,
            tx: open()?,
            spares: (0..spares).map(|_| pair()).collect::<Result<_, _>>()?,
        })
    }

    /// Takes sockets another process opened as `socket(AF_PACKET, SOCK_RAW, 0)` and neither
    /// configured nor bound, in the order they were opened: doorbell, receive, transmit, then
    /// doorbell and receive for each spare.
    ///
    /// # Errors
    /// A wrong number of descriptors, or one that is no raw packet socket.
    pub fn from_fds(interface: &str, fds: Vec<OwnedFd>) -> Result<Self, OpenError> {
        for fd in &fds {
            if !is_raw_packet_socket(fd.as_fd()) {
                return Err(OpenError::NotPacketSocket {
                    interface: interface.to_owned(),
                });
            }
            set_flags(fd.as_fd()).map_err(|source| OpenError::Step {
                interface: interface.to_owned(),
                step: "making a socket non-blocking",
                source,
            })?;
        }
        let odd = !fds.len().is_multiple_of(2) && fds.len() <= 3 + 2 * SPARES_MAX;
        let mut fds = fds.into_iter();
        let (Some(doorbell), Some(rx), Some(tx), true) = (fds.next(), fds.next(), fds.next(), odd)
        else {
            return Err(OpenError::Options(
                "three descriptors, and two more for each spare",
            ));
        };
        let mut spares = Vec::new();
        while let (Some(doorbell), Some(rx)) = (fds.next(), fds.next()) {
            spares.push(RxPair { rx, doorbell });
        }
        Ok(Self {
            interface: interface.to_owned(),
            pair: RxPair { rx, doorbell },
            tx,
            spares,
            opened: OPENED.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Less than that of sockets opened or taken later. When a link comes up again, the kernel puts
    /// the members of a fanout group back in the order their sockets were opened: workers whose
    /// devices joined in that order keep their flows.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// The descriptors, in the order [`Self::from_fds`] takes them: to hand to another process.
    pub fn into_fds(self) -> Vec<OwnedFd> {
        let mut fds = vec![self.pair.doorbell, self.pair.rx, self.tx];
        for pair in self.spares {
            fds.extend([pair.doorbell, pair.rx]);
        }
        fds
    }

    /// The same for a device on another interface: the name is for messages.
    #[must_use]
    pub fn for_interface(mut self, interface: &str) -> Self {
        interface.clone_into(&mut self.interface);
        self
    }

    /// The name given when they were opened.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// How many spare pairs are left.
    pub fn spares(&self) -> usize {
        self.spares.len()
    }
}

pub(crate) fn open_error(interface: &str, source: io::Error) -> OpenError {
    let interface = interface.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => OpenError::NoCapability { interface, source },
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT) => {
            OpenError::NoPacketSockets { interface, source }
        }
        _ => OpenError::Step {
            interface,
            step: "opening a packet socket",
            source,
        },
    }
}

/// A packet socket that receives nothing: protocol 0, not bound.
pub(crate) fn packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is involved.
    let fd: RawFd = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the descriptor was just made and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn is_raw_packet_socket(fd: BorrowedFd<'_>) -> bool {
    let is = |name, wanted: libc::c_int| {
        let mut value = [0; 4];
        get_option(fd.as_raw_fd(), libc::SOL_SOCKET, name, &mut value).is_ok()
            && libc::c_int::from_ne_bytes(value) == wanted
    };
    is(libc::SO_DOMAIN, libc::AF_PACKET) && is(libc::SO_TYPE, libc::SOCK_RAW)
}

pub(crate) fn set_flags(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Sets an option of level `SOL_PACKET` to `value`, as it lies in memory.
pub(crate) fn set_option(fd: BorrowedFd<'_>, name: libc::c_int, value: &[u8]) -> io::Result<()> {
    set(fd, libc::SOL_PACKET, name, value)
}

/// Sets an option of level `SOL_PACKET` to a number.
pub(crate) fn set_number(fd: BorrowedFd<'_>, name: libc::c_int, value: u32) -> io::Result<()> {
    set_option(fd, name, &value.to_ne_bytes())
}

/// Sets an option of level `SOL_SOCKET` to a number.
pub(crate) fn set_socket(fd: BorrowedFd<'_>, name: libc::c_int, value: u32) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, name, &value.to_ne_bytes())
}

fn set(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    let fd = fd.as_raw_fd();
    // SAFETY: the kernel reads at most `len` octets of `value`, which lives across the call; no
    // option set in this crate holds a pointer (a filter goes through `attach_filter`).
    let done = unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), len) };
    Errno::result(done)?;
    Ok(())
}

/// Reads an option of level `SOL_PACKET` into `value`, as it lies in memory.
pub(crate) fn get_packet(
    fd: BorrowedFd<'_>,
    name: libc::c_int,
    value: &mut [u8],
) -> io::Result<()> {
    get_option(fd.as_raw_fd(), libc::SOL_PACKET, name, value)
}

fn get_option(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut [u8],
) -> io::Result<()> {
    let mut len = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    let place = value.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `len` octets to `value`, and the length back to `len`;
    // both live across the call.
    let done = unsafe { libc::getsockopt(fd, level, name, place, &raw mut len) };
    Errno::result(done)?;
    Ok(())
}

/// All of a frame, for [`attach_filter`].
pub(crate) const WHOLE: u32 = 0x7fff_ffff;

/// Keeps `snaplen` octets of every frame that comes in and nothing of those that go out, which the
/// kernel hands to the members of a fanout group before Linux 6.2 whatever they ask for; 0: none
/// reaches the socket. In cBPF: `ld type; jeq #4, 0, 1; ret #0; ret #snaplen`.
pub(crate) fn attach_filter(fd: BorrowedFd<'_>, snaplen: u32) -> io::Result<()> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const TYPE: u32 = 0xffff_f004; // SKF_AD_OFF + SKF_AD_PKTTYPE
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut program = [
        step(LOAD, 0, TYPE),
        step(IF_EQUAL, 1, u32::from(libc::PACKET_OUTGOING)),
        step(RETURN, 0, 0),
        step(RETURN, 0, snaplen),
    ];
    let filter = libc::sock_fprog {
        len: 4,
        filter: program.as_mut_ptr(),
    };
    let len = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or(0);
    let place = (&raw const filter).cast();
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    // SAFETY: `filter` and the four instructions it points to live across the call, which copies
    // them.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, place, len) };
    Errno::result(done)?;
    Ok(())
}

/// Removes the filter, if there is one.
pub(crate) fn detach_filter(fd: BorrowedFd<'_>) -> io::Result<()> {
    match set_socket(fd, libc::SO_DETACH_FILTER, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        done => done,
    }
}

/// Interface `index`; `protocol` in host order.
fn link_address(index: u32, protocol: u16) -> io::Result<libc::sockaddr_ll> {
    Ok(libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or(0),
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(index).map_err(|_| Errno::ENODEV)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    })
}

/// Octets of a link's address.
fn link_address_len() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0)
}

/// Binds to interface `index`; `protocol` in host order, 0 to receive nothing. A link that is down
/// is no error.
pub(crate) fn bind(fd: BorrowedFd<'_>, index: u32, protocol: u16) -> io::Result<()> {
    let address = link_address(index, protocol)?;
    let place = (&raw const address).cast();
    // SAFETY: the kernel reads that many octets of `address`, which lives across the call.
    let done = unsafe { libc::bind(fd.as_raw_fd(), place, link_address_len()) };
    Errno::result(done)?;
    // Binding to a link that is down leaves ENETDOWN behind, which is not news.
    take_error(fd).map(drop)
}

/// Sends `octets`, without waiting, by interface `index`, whichever the socket is bound to.
pub(crate) fn send_by(fd: BorrowedFd<'_>, index: u32, octets: &[u8]) -> io::Result<()> {
    let address = link_address(index, 0)?;
    let (place, len) = ((&raw const address).cast(), link_address_len());
    let (start, count) = (octets.as_ptr().cast(), octets.len());
    let (fd, flags) = (fd.as_raw_fd(), libc::MSG_DONTWAIT);
    // SAFETY: the kernel reads `count` octets of `octets` and `len` of `address`; both live across
    // the call.
    let done = unsafe { libc::sendto(fd, start, count, flags, place, len) };
    Errno::result(done)?;
    Ok(())
}

/// The error that waits on the socket (`SO_ERROR`), cleared by reading.
pub(crate) fn take_error(fd: BorrowedFd<'_>) -> io::Result<i32> {
    Ok(getsockopt(&fd, sockopt::SocketError)?)
}

/// Reads what waits on a doorbell and throws it away. Bounded: its buffer holds a few frames.
pub(crate) fn drain(fd: BorrowedFd<'_>) {
    const DRAIN_MAX: usize = 64;
    let mut octet = [0u8; 1];
    for _ in 0..DRAIN_MAX {
        let flags = MsgFlags::MSG_DONTWAIT;
        if nix::sys::socket::recv(fd.as_raw_fd(), &mut octet, flags).is_err() {
            break;
        }
    }
}

/// Kicks a transmit ring through its socket, and sends what goes past the ring.
#[derive(Debug)]
pub(crate) struct SocketKick {
    ring: Arc<OwnedFd>,
    plain: Arc<OwnedFd>,
    /// The link, for frames whose outermost tag is a C-tag, an S-tag, or missing.
    links: [LinkAddr; 3],
}

impl SocketKick {
    /// For interface `index`, to which both sockets are bound; `plain` has no transmit ring.
    pub(crate) fn new(ring: &Arc<OwnedFd>, plain: &Arc<OwnedFd>, index: u32) -> io::Result<Self> {
        let link = |tag: EtherType| -> io::Result<LinkAddr> {
            let address = link_address(index, tag.0)?;
            let place = (&raw const address).cast();
            // SAFETY: an address of that many octets lies there, and is copied.
            let link = unsafe { LinkAddr::from_raw(place, Some(link_address_len())) };
            link.ok_or_else(|| Errno::EINVAL.into())
        };
        Ok(Self {
            ring: Arc::clone(ring),
            plain: Arc::clone(plain),
            links: [
                link(EtherType::CTAG)?,
                link(EtherType::STAG)?,
                link(EtherType::default())?,
            ],
        })
    }

    fn link(&self, tag: Option<EtherType>) -> &LinkAddr {
        let [ctag, stag, none] = &self.links;
        match tag {
            Some(EtherType::CTAG) => ctag,
            Some(EtherType::STAG) => stag,
            _ => none,
        }
    }

    fn send(
        &self,
        fd: BorrowedFd<'_>,
        pieces: &[IoSlice<'_>],
        tag: Option<EtherType>,
    ) -> Result<(), KickError> {
        let (fd, flags, link) = (fd.as_raw_fd(), MsgFlags::MSG_DONTWAIT, self.link(tag));
        let sent = nix::sys::socket::sendmsg(fd, pieces, &[], flags, Some(link));
        sent.map(drop).map_err(kick_error)
    }
}

impl Kick for SocketKick {
    fn kick(&mut self, tag: Option<EtherType>) -> Result<(), KickError> {
        self.send(self.ring.as_fd(), &[], tag)
    }

    fn gathers(&self) -> bool {
        true
    }

    fn gather(&mut self, pieces: &[IoSlice<'_>], tag: Option<EtherType>) -> Result<(), KickError> {
        self.send(self.plain.as_fd(), pieces, tag)
    }
}

fn kick_error(error: Errno) -> KickError {
    match error {
        Errno::EAGAIN => KickError::SendBufferFull,
        Errno::ENOBUFS => KickError::QueueFull,
        Errno::ENETDOWN | Errno::ENXIO => KickError::LinkDown,
        Errno::ENOMEM | Errno::EINVAL => KickError::Refused,
        error => KickError::Other(error as i32),
    }
}
