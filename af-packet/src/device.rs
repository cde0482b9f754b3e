//! A device: mapped rings, attached to an interface now, later, or again.

mod rehearse;
mod rings;
mod wait;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::sync::Arc;

use dataplane::IfIndex;

use crate::device::rings::{map_rx, map_tx, takes_vnet};
use crate::error::{AttachError, OpenError};
use crate::link::LinkInfo;
use crate::options::Options;
use crate::ring::{RxCounters, RxRing, RxTurn, TxCounters, TxRing, TxTurn};
use crate::socket::{self, RxPair, SocketKick, Sockets};

pub use wait::{WAIT_FDS_MAX, Wake};

/// A fanout group: the kernel's numbers for it, one for the rings and one for the doorbells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanoutGroup {
    ring: u16,
    doorbell: u16,
}

/// What the kernel counted on the receive socket, since the device was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// Frames that reached the socket, dropped ones included.
    pub packets: u64,
    /// Frames lost because the ring was full.
    pub drops: u64,
    /// V3: how often the ring filled up.
    pub freezes: u64,
}

/// Mapped rings and their sockets, attached to an interface or not.
#[derive(Debug)]
pub struct Device {
    name: String,
    interface: IfIndex,
    options: Options,
    link: Option<LinkInfo>,
    /// Whether the receive socket joined a fanout group, and so can never be bound again.
    member: bool,
    rx: RxRing,
    tx: TxRing,
    rx_fd: Arc<OwnedFd>,
    doorbell: OwnedFd,
    tx_fd: Arc<OwnedFd>,
    spares: Vec<RxPair>,
    kernel: KernelCounters,
    /// Receive counters of rings given up for a spare's.
    past: RxCounters,
    vnet: bool,
    /// See [`Sockets::opened`].
    opened: u64,
}

impl Sockets {
    /// Maps the rings. Needs no capability, and no interface: received frames will carry
    /// `interface`, the caller's own number for it. A thread is started for the one ring while the
    /// other is made, and has ended when this returns; where none can be, it goes without.
    ///
    /// # Errors
    /// Options that cannot be, no memory, a kernel without `TPACKET_V3`.
    pub fn map(self, interface: IfIndex, options: &Options) -> Result<Device, OpenError> {
        let name = self.interface;
        let vnet = options.vnet_hdr && takes_vnet(self.tx.as_fd());
        let RxPair { rx, doorbell } = self.pair;
        let (rx_fd, tx_fd) = (Arc::new(rx), Arc::new(self.tx));
        let map_rx = || {
            map_rx(
                &name,
                [rx_fd.as_fd(), doorbell.as_fd()],
                interface,
                options,
                vnet,
            )
        };
        // The kernel waits 10 ms or so before it makes a ring (`synchronize_net`): once for both.
        let (rx, tx) = std::thread::scope(|scope| {
            let other = std::thread::Builder::new().spawn_scoped(scope, map_rx);
            let tx = map_tx(&name, &tx_fd, &rx_fd, options, vnet);
            let rx = match other {
                Ok(other) => other.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(_) => map_rx(),
            };
            (rx, tx)
        });
        let (rx, tx) = (rx?, tx?);
        Ok(Device {
            name,
            interface,
            options: options.clone(),
            link: None,
            member: false,
            rx,
            tx,
            rx_fd,
            doorbell,
            tx_fd,
            spares: self.spares,
            kernel: KernelCounters::default(),
            past: RxCounters::default(),
            vnet,
            opened: self.opened,
        })
    }
}

/// Whether to make a fanout group or to join one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fanout {
    /// Make one, with a number nobody else has.
    Create,
    /// Join one that another device on the same interface made.
    Join(FanoutGroup),
}

impl Device {
    /// Attaches to `link`, be it the first time, because it changed, or because it was deleted and
    /// created again. Needs no capability. A link that is down may be attached; frames come when
    /// it is up. What waits in the transmit ring will leave by `link`.
    ///
    /// # Errors
    /// A link that is gone, or no Ethernet; a device that joined a fanout group before (use
    /// [`Self::attach_fanout`]).
    pub fn attach(&mut self, link: &LinkInfo) -> Result<(), AttachError> {
        if self.member {
            return Err(AttachError::NoSpares {
                interface: self.name.clone(),
            });
        }
        self.bind(link)?;
        // Left by an attempt to join a group that failed.
        socket::detach_filter(self.rx_fd.as_fd()).map_err(self.failed("removing the ring's filter"))
    }

    /// Attaches to `link`, which must be up, as a member of a fanout group: the kernel spreads
    /// flows over its members by a hash that is the same in both directions. Until it is told to
    /// [hear](Self::hear) it receives nothing: while members join, flows change hands.
    ///
    /// One device joins after the other: the kernel numbers members in the order they join, and
    /// a bell rings for the ring of its own number.
    ///
    /// When the device was a member before, its receive ring is replaced by that of a spare pair
    /// of sockets. What was in the old ring is lost.
    ///
    /// # Errors
    /// As [`Self::attach`]; a group that cannot be joined; no spares left.
    pub fn attach_fanout(
        &mut self,
        link: &LinkInfo,
        fanout: Fanout,
    ) -> Result<FanoutGroup, AttachError> {
        if self.member {
            self.use_spare()?;
        }
        // Between binding and joining, the kernel would give this socket every frame.
        let fd = self.rx_fd.as_fd();
        socket::attach_filter(fd, 0).map_err(self.failed("filtering the ring"))?;
        self.bind(link)?;
        let fail = |source| AttachError::Fanout {
            interface: self.name.clone(),
            source,
        };
        let group = match fanout {
            Fanout::Create => None,
            Fanout::Join(group) => Some(group),
        };
        // First, as a group's hook is made for its first member: the older one is served last, so
        // a frame lies in the ring when the bell rings.
        let mut doorbell = 0;
        if self.options.doorbell() {
            doorbell =
                join(self.doorbell.as_fd(), group.map(|group| group.doorbell)).map_err(fail)?;
            self.member = true;
        }
        let ring = join(self.rx_fd.as_fd(), group.map(|group| group.ring)).map_err(fail)?;
        self.member = true;
        Ok(FanoutGroup { ring, doorbell })
    }

    /// Receives from now on, as a member of a fanout group.
    ///
    /// # Errors
    /// The kernel's; the device stays deaf.
    pub fn hear(&self) -> Result<(), AttachError> {
        socket::attach_filter(self.rx_fd.as_fd(), socket::WHOLE)
            .map_err(self.failed("changing the ring's filter"))
    }

    /// Unmaps the rings and gives the sockets back, deaf: what lay in the rings is lost, and no
    /// frame reaches the sockets until they are mapped and attached anew. `None` when they cannot
    /// be used again and are closed: a member of a fanout group can never be bound again, and a
    /// transmit ring with frames the kernel still sends cannot be given up.
    pub fn into_sockets(self) -> Option<Sockets> {
        if self.member {
            return None;
        }
        for fd in [&*self.rx_fd, &self.doorbell] {
            socket::attach_filter(fd.as_fd(), 0).ok()?;
        }
        // The kernel frees a ring that nobody has mapped when it is asked for one of nothing.
        drop(self.rx);
        drop(self.tx);
        let (tx, rx) = (Arc::into_inner(self.tx_fd)?, Arc::into_inner(self.rx_fd)?);
        let none = [0; size_of::<libc::tpacket_req3>()];
        socket::set_option(rx.as_fd(), libc::PACKET_RX_RING, &none).ok()?;
        socket::set_option(tx.as_fd(), libc::PACKET_TX_RING, &none).ok()?;
        Some(Sockets {
            interface: self.name,
            pair: RxPair {
                rx,
                doorbell: self.doorbell,
            },
            tx,
            spares: self.spares,
            opened: self.opened,
        })
    }

    fn failed(&self, step: &'static str) -> impl FnOnce(io::Error) -> AttachError + use<> {
        let interface = self.name.clone();
        move |source| match source.raw_os_error() {
            Some(libc::ENODEV) => AttachError::Gone { interface },
            _ => AttachError::Step {
                interface,
                step,
                source,
            },
        }
    }

    fn bind(&mut self, link: &LinkInfo) -> Result<(), AttachError> {
        if !link.ethernet {
            return Err(AttachError::NotEthernet {
                interface: link.name.clone(),
            });
        }
        self.name.clone_from(&link.name);
        let all = u16::try_from(libc::ETH_P_ALL).unwrap_or(3);
        if self.options.doorbell() {
            // First, so that its hook is the older one and served last.
            socket::bind(self.doorbell.as_fd(), link.index, all)
                .map_err(self.failed("binding the doorbell"))?;
        }
        socket::bind(self.rx_fd.as_fd(), link.index, all)
            .map_err(self.failed("binding the receive ring"))?;
        // Protocol 0: it sends only. That of tagged frames is told with each kick.
        socket::bind(self.tx_fd.as_fd(), link.index, 0)
            .map_err(self.failed("binding the transmit ring"))?;
        let kick = SocketKick::new(&self.tx_fd, &self.rx_fd, link.index)
            .map_err(self.failed("addressing the link"))?;
        self.tx.set_kick(Box::new(kick));
        self.tx.set_mtu(link.mtu);
        self.link = Some(link.clone());
        Ok(())
    }

    fn use_spare(&mut self) -> Result<(), AttachError> {
        let Some(pair) = self.spares.pop() else {
            return Err(AttachError::NoSpares {
                interface: self.name.clone(),
            });
        };
        self.kernel_counters(); // what the old socket counted since the last reading
        let rx = map_rx(
            &self.name,
            [pair.rx.as_fd(), pair.doorbell.as_fd()],
            self.interface,
            &self.options,
            self.vnet,
        )
        .map_err(AttachError::Open)?;
        self.past = self.rx_counters();
        self.rx = rx;
        self.rx_fd = Arc::new(pair.rx);
        // Nothing of the old pair is left; the address comes with the link.
        let kick = SocketKick::new(&self.tx_fd, &self.rx_fd, 0)
            .map_err(self.failed("addressing no link"))?;
        self.tx.set_kick(Box::new(kick));
        self.doorbell = pair.doorbell;
        self.member = false;
        Ok(())
    }

    /// The link attached last.
    pub fn link(&self) -> Option<&LinkInfo> {
        self.link.as_ref()
    }

    /// How many spare pairs of sockets are left.
    pub fn spares(&self) -> usize {
        self.spares.len()
    }

    /// The options the rings were mapped with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether the kernel takes and gives checksum and segmentation state.
    pub fn offloads(&self) -> bool {
        self.vnet
    }

    /// Sets the MTU when the link's changed; see [`TxRing::set_mtu`].
    pub fn set_mtu(&mut self, mtu: u32) {
        self.tx.set_mtu(mtu);
        if let Some(link) = &mut self.link {
            link.mtu = mtu;
        }
    }

    /// A turn of both rings. Frames of both borrow the device until the turns are dropped, the
    /// transmit turn first, which is the order they are dropped in when nothing is done about it.
    pub fn turn(&mut self) -> (RxTurn<'_>, TxTurn<'_>) {
        (self.rx.turn(), self.tx.turn())
    }

    /// Whether the receive ring has something; costs a few loads, so it may be spun on.
    pub fn is_ready(&self) -> bool {
        self.rx.is_ready()
    }

    /// Whether frames wait in the transmit ring for another turn; see [`TxRing::pending`].
    pub fn pending(&self) -> bool {
        self.tx.pending()
    }

    /// The descriptors whose readability means frames, for a caller's own `poll`; drain with
    /// [`Self::before_sleep`] first.
    pub fn rx_fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.rx_fd.as_fd(), self.doorbell.as_fd()]
    }

    /// Quiets the doorbell before the caller's own `poll`; `true`: do not sleep, there are frames.
    pub fn before_sleep(&self) -> bool {
        if self.options.doorbell() {
            socket::drain(self.doorbell.as_fd());
        }
        self.rx.is_ready()
    }

    /// What the receive ring saw.
    pub fn rx_counters(&self) -> RxCounters {
        let now = self.rx.counters();
        RxCounters {
            frames: self.past.frames + now.frames,
            early: self.past.early + now.early,
            holes: self.past.holes + now.holes,
            malformed: self.past.malformed + now.malformed,
            outgoing: self.past.outgoing + now.outgoing,
        }
    }

    /// What the transmit ring did.
    pub fn tx_counters(&self) -> TxCounters {
        self.tx.counters()
    }

    /// What the kernel counted (`PACKET_STATISTICS`, which starts anew with each reading: the
    /// sums are kept here). They never fall: a reading that fails leaves them as they were.
    pub fn kernel_counters(&mut self) -> KernelCounters {
        let mut octets = [0u8; 12];
        let fd = self.rx_fd.as_fd();
        if socket::get_packet(fd, libc::PACKET_STATISTICS, &mut octets).is_err() {
            return self.kernel;
        }
        let [packets, drops, freezes] = *octets.as_chunks::<4>().0 else {
            unreachable!("twelve octets are three words");
        };
        self.kernel.packets += u64::from(u32::from_ne_bytes(packets));
        self.kernel.drops += u64::from(u32::from_ne_bytes(drops));
        self.kernel.freezes += u64::from(u32::from_ne_bytes(freezes));
        self.kernel
    }
}

/// Joins group `id`, or makes one, and says which.
fn join(fd: BorrowedFd<'_>, id: Option<u16>) -> io::Result<u16> {
    let mut flags = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
    if id.is_none() {
        flags |= libc::PACKET_FANOUT_FLAG_UNIQUEID;
    }
    socket::set_number(
        fd,
        libc::PACKET_FANOUT,
        u32::from(id.unwrap_or(0)) | flags << 16,
    )?;
    let mut value = [0u8; 4];
    socket::get_packet(fd, libc::PACKET_FANOUT, &mut value)?;
    Ok(u16::try_from(u32::from_ne_bytes(value) & 0xffff).unwrap_or(0))
}
