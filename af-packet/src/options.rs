//! What can be chosen about the rings, and what it costs.

use std::time::Duration;

use crate::error::OpenError;
use crate::region::Geometry;

/// Which headers the receive ring uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxVersion {
    /// `TPACKET_V2`: one frame per slot, each waking its reader. Simple and quick to answer, but
    /// each slot has to hold the largest frame, so few fit.
    V2,
    /// `TPACKET_V3`: frames packed into blocks. Far more fit; see
    /// [`Options::early_read`] for what it does about latency.
    V3,
}

/// Geometry and behaviour of a [`Device`](crate::Device)'s rings.
///
/// The defaults map 8 MiB: 4 MiB for reception (32 blocks of 128 KiB: 21,000 frames of 64 octets
/// or 2,400 of 1,518) and 4 MiB for transmission (60 slots, each for a super-segment of 64 KiB).
/// Every mapped page counts as resident in the process and is outside its memory cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which headers the receive ring uses. Default: V3 on x86-64, V2 elsewhere.
    pub rx_version: RxVersion,
    /// Octets of a receive block: a multiple of the page size, [`RX_BLOCK_LEN_MIN`] or more.
    pub rx_block_len: usize,
    /// How many receive blocks.
    pub rx_blocks: usize,
    /// V2: octets of a receive slot; longer frames are cut and dropped as `truncated`.
    pub rx_slot_len: usize,
    /// V3: after this time, in whole milliseconds and at least one, the kernel hands over a block
    /// with frames in it even if it is not full. With [`Self::early_read`] only a fallback.
    pub retire_timeout: Duration,
    /// V3 on x86-64: a second, ring-less socket wakes the reader with every frame (a doorbell), and
    /// frames are taken from the block before the kernel closes it. Elsewhere it has no effect.
    pub early_read: bool,
    /// Octets of a transmit block; its slots are [`Self::tx_slot_len`] each.
    pub tx_block_len: usize,
    /// How many transmit blocks.
    pub tx_blocks: usize,
    /// Octets of a transmit slot. Below [`TX_SLOT_LEN`] super-segments are limited to what fits.
    pub tx_slot_len: usize,
    /// Exchange checksum and segmentation state with the kernel (`PACKET_VNET_HDR`). Where the
    /// kernel refuses, the rings work without.
    pub vnet_hdr: bool,
    /// Send past the queueing discipline. Off by default: 4 % faster for small frames where it was
    /// measured, but tcpdump on this host then no longer sees what is sent, and segmentation is not
    /// left to the kernel, which would drop what a device cannot split.
    pub qdisc_bypass: bool,
}

/// The smallest receive block: in a smaller one a frame of 64 KiB would be cut.
pub const RX_BLOCK_LEN_MIN: usize = 128 << 10;

/// Octets of a transmit slot that holds a super-segment of 64 KiB with its headers: 17 pages.
pub const TX_SLOT_LEN: usize = 69_632;

/// Octets a ring maps at most.
pub const RING_LEN_MAX: usize = 1 << 30;

/// Pages are 4 KiB on x86-64 and up to 64 KiB elsewhere.
const PAGE_MAX: usize = 64 << 10;

/// Octets a slot has at least: headers, headroom and a full frame of the usual MTU.
const SLOT_LEN_MIN: usize = 2048;

impl Default for Options {
    fn default() -> Self {
        if cfg!(target_arch = "x86_64") {
            Self::v3()
        } else {
            Self::v2()
        }
    }
}

impl Options {
    /// A V3 receive ring with early read.
    pub fn v3() -> Self {
        Self {
            rx_version: RxVersion::V3,
            rx_block_len: RX_BLOCK_LEN_MIN,
            rx_blocks: 32,
            rx_slot_len: 67_584,
            retire_timeout: Duration::from_millis(64),
            early_read: true,
            tx_block_len: 1 << 20,
            tx_blocks: 4,
            tx_slot_len: TX_SLOT_LEN,
            vnet_hdr: true,
            qdisc_bypass: false,
        }
    }

    /// A V2 receive ring: 120 slots that hold the largest frame, 8 MiB.
    pub fn v2() -> Self {
        Self {
            rx_version: RxVersion::V2,
            rx_block_len: 1 << 20,
            rx_blocks: 8,
            ..Self::v3()
        }
    }

    /// Octets both rings map.
    pub fn footprint(&self) -> usize {
        let ring = |len: usize, count: usize| len.saturating_mul(count);
        ring(self.rx_block_len, self.rx_blocks)
            .saturating_add(ring(self.tx_block_len, self.tx_blocks))
    }

    /// Whether the doorbell is used.
    pub(crate) fn doorbell(&self) -> bool {
        self.rx_version == RxVersion::V3 && self.early_read && cfg!(target_arch = "x86_64")
    }

    /// The receive ring's geometry.
    pub(crate) fn rx(&self) -> Result<Geometry, OpenError> {
        let slot_len = match self.rx_version {
            RxVersion::V2 => self.rx_slot_len,
            RxVersion::V3 => self.rx_block_len,
        };
        if self.rx_block_len < RX_BLOCK_LEN_MIN {
            return Err(OpenError::Options(
                "a receive block has at least 131072 octets",
            ));
        }
        geometry(self.rx_block_len, self.rx_blocks, slot_len)
    }

    /// The transmit ring's geometry.
    pub(crate) fn tx(&self) -> Result<Geometry, OpenError> {
        geometry(self.tx_block_len, self.tx_blocks, self.tx_slot_len)
    }
}

fn geometry(block_len: usize, blocks: usize, slot_len: usize) -> Result<Geometry, OpenError> {
    if block_len == 0 || !block_len.is_multiple_of(PAGE_MAX) {
        return Err(OpenError::Options(
            "a block's length is a multiple of 65536 octets",
        ));
    }
    if blocks == 0 || block_len.saturating_mul(blocks) > RING_LEN_MAX {
        return Err(OpenError::Options(
            "a ring has at least one block and at most 1 GiB",
        ));
    }
    let fits = (SLOT_LEN_MIN..=block_len).contains(&slot_len);
    if !fits || !slot_len.is_multiple_of(crate::uapi::ALIGNMENT) {
        return Err(OpenError::Options(
            "a slot has from 2048 octets to a block's, in steps of 16",
        ));
    }
    Ok(Geometry {
        block_len,
        blocks,
        slot_len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_stay_under_sixteen_mebibytes() {
        assert_eq!(Options::v3().footprint(), 8 << 20);
        assert_eq!(Options::v2().footprint(), 12 << 20);
    }

    #[test]
    fn a_default_slot_holds_the_largest_super_segment() {
        let geometry = Options::default().tx().unwrap();
        assert_eq!(geometry.slots(), 60);
        assert!(geometry.slot_len >= 58 + dataplane::HEADROOM + 65_536);
    }

    #[test]
    fn impossible_geometries_are_refused() {
        for change in [
            |o: &mut Options| o.rx_block_len = 4096,
            |o: &mut Options| o.rx_block_len += 4096,
            |o: &mut Options| o.rx_blocks = 0,
            |o: &mut Options| o.rx_blocks = 1 << 20,
            |o: &mut Options| o.tx_slot_len = 64,
            |o: &mut Options| o.tx_slot_len = 2056,
            |o: &mut Options| o.tx_slot_len = 2 << 20,
        ] {
            let mut options = Options::v3();
            change(&mut options);
            let refused = options.rx().is_err() || options.tx().is_err();
            assert!(refused, "{options:?}");
        }
    }
}
