//! Octets in and out of one poll.

use ::smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use ::smoltcp::time::Instant;
use std::num::NonZeroUsize;

/// Where packets go that smoltcp builds.
pub(crate) trait Transmit {
    /// Whether a packet can be taken now. `false` leaves the socket as it is, to be asked again.
    fn reserve(&mut self) -> bool;
    /// Takes a packet of `len` octets written by `fill`; `segment` is the size of its pieces when
    /// it is a super-segment. Called at most once after each [`Self::reserve`].
    fn emit<R>(&mut self, len: usize, segment: Option<u16>, fill: impl FnOnce(&mut [u8]) -> R)
    -> R;
}

/// The device of one poll: at most one packet in, any number out.
pub(super) struct Poll<'p, T> {
    pub(super) packet: Option<&'p [u8]>,
    pub(super) transmit: &'p mut T,
}

impl<T: Transmit> Device for Poll<'_, T> {
    type RxToken<'a>
        = Rx<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Tx<'a, T>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Rx<'_>, Tx<'_, T>)> {
        let packet = self.packet.take()?;
        Some((Rx(packet), Tx::new(self.transmit)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Tx<'_, T>> {
        self.transmit.reserve().then(|| Tx::new(self.transmit))
    }

    /// An interface keeps those it was made with, so these are only asked and not used.
    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(0, 0)
    }
}

/// Capabilities of an IP device: it trusts checksums on the way in (the caller has verified
/// them), makes that of IPv4 on the way out and leaves that of TCP to the caller.
/// `segment_max` is the largest super-segment in octets, IP header included; 0: none.
pub(super) fn capabilities(mtu: u16, segment_max: u16) -> DeviceCapabilities {
    let mut caps = DeviceCapabilities::default();
    caps.medium = Medium::Ip;
    caps.max_transmission_unit = usize::from(mtu);
    caps.checksum.ipv4 = Checksum::Tx;
    caps.checksum.tcp = Checksum::None;
    caps.segmentation.tcpv4 = NonZeroUsize::new(usize::from(segment_max));
    caps
}

pub(super) struct Rx<'a>(&'a [u8]);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(super) struct Tx<'a, T> {
    transmit: &'a mut T,
    segment: Option<u16>,
}

impl<'a, T> Tx<'a, T> {
    fn new(transmit: &'a mut T) -> Self {
        Self {
            transmit,
            segment: None,
        }
    }
}

impl<T: Transmit> TxToken for Tx<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.transmit.emit(len, self.segment, f)
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta
            .segmentation_offload_size
            .map(std::num::NonZeroU16::get);
    }
}
