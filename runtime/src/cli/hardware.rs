//! `show hardware-interfaces`: the kernel's interface, and the rings on it.

use std::fmt;

use af_packet::RxVersion;
use serde::Serialize;

use super::operator::Baseline;
use super::table::{center, left};
use crate::snapshot::{PortSnapshot, Snapshot, WorkerSnapshot};

/// A host interface.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HardwareRow {
    /// The name.
    pub name: String,
    /// VPP's `sw_if_index`.
    pub index: u16,
    /// Whether the kernel's interface is up and in operation.
    pub link_up: bool,
    /// The Ethernet address in use; none before the kernel's interface exists.
    pub mac: Option<String>,
    /// The kernel's number of the interface.
    pub kernel_index: Option<u32>,
    /// The kernel's MTU in octets.
    pub mtu: Option<u32>,
    /// The workers' rings.
    pub queues: Vec<QueueRow>,
}

/// A worker's rings.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the ring's features, one by one"
)]
pub struct QueueRow {
    /// The worker's number.
    pub worker: usize,
    /// 2 or 3: `TPACKET_V2`, `TPACKET_V3`.
    pub version: u8,
    /// Sends past the queueing discipline.
    pub qdisc_bypass: bool,
    /// Exchanges checksum and segmentation state with the kernel.
    pub cksum_gso: bool,
    /// Takes frames from blocks the kernel has not closed yet.
    pub early_read: bool,
    /// One of several rings that share the interface's flows.
    pub fanout: bool,
    /// Octets of a receive block.
    pub rx_block_size: usize,
    /// Receive blocks.
    pub rx_blocks: usize,
    /// Octets of a transmit block.
    pub tx_block_size: usize,
    /// Transmit blocks.
    pub tx_blocks: usize,
    /// Octets of a transmit slot.
    pub tx_slot_size: usize,
    /// Frames taken from the receive ring.
    pub rx_frames: u64,
    /// Of these, from blocks the kernel had not closed yet.
    pub rx_early: u64,
    /// Frames lost between the kernel's ring and us: unreadable or given up by the kernel.
    pub rx_lost: u64,
    /// Frames the kernel gave to the socket, those it dropped included.
    pub kernel_packets: u64,
    /// Frames the kernel dropped because the ring was full.
    pub kernel_drops: u64,
    /// How often the ring was full.
    pub kernel_freezes: u64,
    /// Frames put into the transmit ring.
    pub tx_frames: u64,
    /// Frames refused because the ring was full.
    pub tx_ring_full: u64,
    /// Frames refused for their length or metadata, or by the kernel.
    pub tx_wrong: u64,
    /// Times the kernel was asked to send.
    pub tx_kicks: u64,
    /// Of these, times it had no room.
    pub tx_back_pressure: u64,
    /// Of these, times it refused for another reason than room or a link that is down.
    pub tx_kick_errors: u64,
}

/// `show hardware-interfaces`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct HardwareTable(pub Vec<HardwareRow>);

impl QueueRow {
    fn of(port: &PortSnapshot, worker: &WorkerSnapshot, since: &Baseline) -> Self {
        let (rings, rx, tx) = (&worker.rings, &worker.rx, &worker.tx);
        let v3 = rings.rx_version == RxVersion::V3;
        let kernel = since.kernel(worker);
        Self {
            worker: worker.number,
            version: if v3 { 3 } else { 2 },
            qdisc_bypass: rings.qdisc_bypass,
            cksum_gso: worker.offloads,
            early_read: v3 && rings.early_read,
            fanout: port.worker_count > 1,
            rx_block_size: rings.rx_block_len,
            rx_blocks: rings.rx_blocks,
            tx_block_size: rings.tx_block_len,
            tx_blocks: rings.tx_blocks,
            tx_slot_size: rings.tx_slot_len,
            rx_frames: rx.frames,
            rx_early: rx.early,
            rx_lost: rx.holes + rx.malformed,
            kernel_packets: kernel.packets,
            kernel_drops: kernel.drops,
            kernel_freezes: kernel.freezes,
            tx_frames: tx.frames,
            tx_ring_full: tx.ring_full,
            tx_wrong: tx.wrong(),
            tx_kicks: tx.kicks,
            tx_back_pressure: tx.back_pressure,
            tx_kick_errors: tx.kick_errors,
        }
    }
}

impl HardwareTable {
    /// The host interfaces called `wanted`, or all.
    pub fn of(snapshot: &Snapshot, since: &Baseline, wanted: &[String]) -> Self {
        let known =
            |port: &&PortSnapshot| wanted.is_empty() || wanted.contains(&port.plan.port.name);
        let mut rows: Vec<HardwareRow> = snapshot
            .ports
            .iter()
            .filter(known)
            .map(|port| HardwareRow {
                name: port.plan.port.name.clone(),
                index: port.plan.port.index.0,
                link_up: port
                    .link
                    .as_ref()
                    .is_some_and(af_packet::LinkInfo::is_running),
                mac: port
                    .plan
                    .mac
                    .or_else(|| port.link.as_ref().map(|link| link.mac))
                    .map(|mac| mac.to_string()),
                kernel_index: port.link.as_ref().map(|link| link.index),
                mtu: port.link.as_ref().map(|link| link.mtu),
                queues: port
                    .workers
                    .iter()
                    .map(|worker| QueueRow::of(port, worker, since))
                    .collect(),
            })
            .collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Self(rows)
    }
}

impl fmt::Display for HardwareTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}{}{}Hardware",
            center("Name", 32),
            center("Idx", 6),
            center("Link", 8)
        )?;
        for row in &self.0 {
            let link = if row.link_up { "up" } else { "down" };
            writeln!(
                f,
                "{}{}{}{}",
                left(&row.name, 32),
                center(row.index, 6),
                center(link, 8),
                row.name
            )?;
            row.details(f)?;
        }
        let name = "local0";
        writeln!(
            f,
            "{}{}{}{name}",
            left(name, 32),
            center(0, 6),
            center("down", 8)
        )?;
        writeln!(f, "  Link speed: unknown\n  local")
    }
}

impl HardwareRow {
    fn details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  Link speed: unknown\n  RX Queues:")?;
        writeln!(
            f,
            "    {}{}{}",
            left("queue", 6),
            left("thread", 15),
            left("mode", 10)
        )?;
        for (nth, queue) in self.queues.iter().enumerate() {
            let thread = format!("worker ({})", queue.worker);
            // Asleep until the kernel says that there is something, as VPP calls it.
            writeln!(
                f,
                "    {}{}{}",
                left(nth, 6),
                left(thread, 15),
                left("interrupt", 10)
            )?;
        }
        writeln!(
            f,
            "  TX Queues:\n    {}{}{}",
            left("queue", 6),
            left("shared", 7),
            left("thread(s)", 15)
        )?;
        for (nth, queue) in self.queues.iter().enumerate() {
            writeln!(f, "    {}{}{}", left(nth, 6), left("no", 7), queue.worker)?;
        }
        match (&self.mac, self.kernel_index) {
            (Some(mac), Some(_)) => writeln!(f, "  Ethernet address {mac}")?,
            _ => writeln!(f, "  the host has no such interface; waiting for it")?,
        }
        if let (Some(index), Some(mtu)) = (self.kernel_index, self.mtu) {
            writeln!(f, "  Kernel interface {index}, MTU {mtu}")?;
        }
        let Some(first) = self.queues.first() else {
            return Ok(());
        };
        writeln!(f, "  Linux PACKET socket interface v{}", first.version)?;
        writeln!(f, "  FEATURES:")?;
        for (on, name) in [
            (first.qdisc_bypass, "qdisc-bpass-enabled"),
            (first.cksum_gso, "cksum-gso-enabled"),
            (first.fanout, "fanout-enabled"),
            (first.early_read, "early-read-enabled"),
        ] {
            if on {
                writeln!(f, "    {name}")?;
            }
        }
        for (nth, queue) in self.queues.iter().enumerate() {
            writeln!(
                f,
                "  RX Queue {nth}:\n    block size:{} nr:{}\n    frames:{} early:{} lost:{}\n    \
                 kernel packets:{} drops:{} ring full:{}",
                queue.rx_block_size,
                queue.rx_blocks,
                queue.rx_frames,
                queue.rx_early,
                queue.rx_lost,
                queue.kernel_packets,
                queue.kernel_drops,
                queue.kernel_freezes,
            )?;
        }
        for (nth, queue) in self.queues.iter().enumerate() {
            let per_block = queue
                .tx_block_size
                .checked_div(queue.tx_slot_size)
                .unwrap_or(0);
            writeln!(
                f,
                "  TX Queue {nth}:\n    block size:{} nr:{}  frame size:{} nr:{}\n    frames:{} \
                 ring full:{} wrong:{} kicks:{} back pressure:{} failed:{}",
                queue.tx_block_size,
                queue.tx_blocks,
                queue.tx_slot_size,
                per_block * queue.tx_blocks,
                queue.tx_frames,
                queue.tx_ring_full,
                queue.tx_wrong,
                queue.tx_kicks,
                queue.tx_back_pressure,
                queue.tx_kick_errors,
            )?;
        }
        Ok(())
    }
}
