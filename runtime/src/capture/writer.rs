//! The thread that writes a capture's file, and the handle by which the supervisor holds it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use dataplane::IfIndex;
use pcap_file::DataLink;
use pcap_file::Endianness;
use pcap_file::PcapError;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};

use super::{Clock, Drain, FILE_OCTETS_MAX, Head, Order, Shared, Status, Tap, What};
use crate::event::Event;

/// How often the rings are emptied. Nobody wakes the writer: that would be the worker's time.
const PERIOD: Duration = Duration::from_millis(5);

/// How long ending a capture may take before nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Names of interfaces, as they are now.
pub(crate) type Names = BTreeMap<IfIndex, String>;

/// A capture, as the supervisor holds it: it goes on, or it ended and can be asked how it went.
#[derive(Debug)]
pub(crate) struct Capture {
    order: Order,
    path: PathBuf,
    clock: Clock,
    shared: Arc<Shared>,
    names: Arc<Mutex<Names>>,
    drains: Sender<Drain>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Starts the thread that writes `file`, which is at `path`.
    ///
    /// # Errors
    /// No thread left.
    pub(crate) fn start(
        order: Order,
        (file, path): (File, PathBuf),
        names: Names,
        tell: Sender<Event>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let names = Arc::new(Mutex::new(names));
        // As many as there are workers.
        let (drains, new_drains) = unbounded();
        let mut writer = Writer {
            path: path.clone(),
            packets_max: order.packets,
            shared: Arc::clone(&shared),
            names: Arc::clone(&names),
            new_drains,
            drains: Vec::new(),
            blocks: BTreeMap::new(),
            next_block: 0,
            octets: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("pcap-writer".to_owned())
            .spawn(move || writer.run(file, &tell))?;
        Ok(Self {
            order,
            path,
            clock: Clock::now(),
            shared,
            names,
            drains,
            thread: Some(thread),
        })
    }

    /// What is captured.
    pub(crate) fn order(&self) -> &Order {
        &self.order
    }

    /// Whether it goes on.
    pub(crate) fn is_on(&self) -> bool {
        !self.shared.over.load(Ordering::Relaxed)
    }

    /// A tap for a worker of `port`; of `only` that interface, when it is given.
    pub(crate) fn tap(&self, port: IfIndex, only: Option<IfIndex>) -> Tap {
        let (tap, drain) = Tap::new(&self.order, port, only, self.clock, &self.shared);
        let _ = self.drains.send(drain); // the writer may have ended
        tap
    }

    /// Interfaces are called so from now on.
    pub(crate) fn rename(&self, names: Names) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Has the file finished, once no tap writes any more, and waits for it a little.
    pub(crate) fn finish(&mut self) -> Status {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        let until = Instant::now() + PATIENCE;
        while self.shared.ended.get().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.shared.ended.get().is_some()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join(); // a panic was printed where it happened
        }
        self.status()
    }

    /// How it is.
    pub(crate) fn status(&self) -> Status {
        Status {
            kinds: self.order.kinds.to_string(),
            max: self.order.packets,
            interface: self.order.interface.clone(),
            file: self.path.display().to_string(),
            packets: self.shared.written.load(Ordering::SeqCst),
            lost: self.shared.lost.load(Ordering::SeqCst),
            ended: self.shared.ended.get().cloned(),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.finish();
        }
    }
}

/// Why the writer stops.
enum End {
    /// All packets there shall be are there.
    Enough,
    /// The file is as large as it may be.
    Large,
    /// It is gone.
    Vanished,
    /// It cannot be written.
    Failed(io::Error),
}

type Out = PcapNgWriter<BufWriter<File>>;

struct Writer {
    path: PathBuf,
    packets_max: u64,
    shared: Arc<Shared>,
    names: Arc<Mutex<Names>>,
    new_drains: Receiver<Drain>,
    drains: Vec<Drain>,
    /// The file's number for each interface, and the name it has there.
    blocks: BTreeMap<IfIndex, (u32, String)>,
    /// The file's number for the next interface.
    next_block: u32,
    octets: Vec<u8>,
}

impl Writer {
    fn run(&mut self, file: File, tell: &Sender<Event>) {
        let end = self.write(file);
        self.shared.over.store(true, Ordering::SeqCst);
        let path = self.path.display();
        let (ended, is_news) = match end {
            Ok(()) => ("told to end".to_owned(), false),
            Err(End::Enough) => ("it has as many packets as it shall".to_owned(), false),
            Err(End::Large) => (format!("the file has {FILE_OCTETS_MAX} octets"), true),
            Err(End::Vanished) => ("the file was removed".to_owned(), true),
            Err(End::Failed(error)) => (format!("the file cannot be written: {error}"), true),
        };
        if is_news {
            let _ = tell.send(Event::Notice(format!("capture to {path} ended: {ended}")));
        }
        let _ = self.shared.ended.set(ended);
    }

    fn write(&mut self, file: File) -> Result<(), End> {
        let seen = file.try_clone().map_err(End::Failed)?;
        let program = concat!("dataplane ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(program))],
            ..SectionHeaderBlock::default()
        };
        let buffered = BufWriter::with_capacity(1 << 20, file);
        let mut out = PcapNgWriter::with_section_header(buffered, section).map_err(failed)?;
        self.describe(&mut out)?;
        loop {
            // Read first: what was captured before it was set is then in the rings.
            let last = self.shared.stop.load(Ordering::SeqCst);
            self.drains.extend(self.new_drains.try_iter());
            let wrote = self.drain(&mut out);
            out.get_mut().flush().map_err(End::Failed)?;
            wrote?;
            let metadata = seen.metadata().map_err(End::Failed)?;
            if metadata.nlink() == 0 {
                return Err(End::Vanished);
            }
            if metadata.len() >= FILE_OCTETS_MAX {
                return Err(End::Large);
            }
            if last {
                return Ok(());
            }
            std::thread::park_timeout(PERIOD);
        }
    }

    /// Names every interface that has no block, or another name than there.
    fn describe(&mut self, out: &mut Out) -> Result<(), End> {
        let names = self
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (index, name) in names {
            if self
                .blocks
                .get(&index)
                .is_none_or(|(_, known)| *known != name)
            {
                self.block(index, name, out)?;
            }
        }
        Ok(())
    }

    fn block(&mut self, index: IfIndex, name: String, out: &mut Out) -> Result<u32, End> {
        let number = self.next_block;
        self.next_block += 1;
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(name.clone())),
                InterfaceDescriptionOption::IfTsResol(9), // nanoseconds
            ],
        };
        out.write_pcapng_block(block).map_err(failed)?;
        self.blocks.insert(index, (number, name));
        Ok(number)
    }

    /// The file's number for `interface`.
    fn number(&mut self, interface: IfIndex, out: &mut Out) -> Result<u32, End> {
        if !self.blocks.contains_key(&interface) {
            self.describe(out)?;
        }
        if let Some((number, _)) = self.blocks.get(&interface) {
            return Ok(*number);
        }
        let name = match interface {
            IfIndex(0) => "local0".to_owned(),
            IfIndex(number) => format!("interface {number}"),
        };
        self.block(interface, name, out)
    }

    /// Empties the rings as they were, the oldest packet first.
    fn drain(&mut self, out: &mut Out) -> Result<(), End> {
        let mut left: Vec<usize> = self.drains.iter().map(|one| one.heads.slots()).collect();
        loop {
            let mut first: Option<(usize, Duration)> = None;
            for (nth, (drain, left)) in self.drains.iter().zip(&left).enumerate() {
                let Some(head) = drain.heads.peek().ok().filter(|_| *left > 0) else {
                    continue;
                };
                if first.is_none_or(|(_, at)| head.at < at) {
                    first = Some((nth, head.at));
                }
            }
            let Some((nth, _)) = first else { return Ok(()) };
            let Some(drain) = self.drains.get_mut(nth) else {
                return Ok(());
            };
            if let Some(left) = left.get_mut(nth) {
                *left -= 1;
            }
            let Ok(head) = drain.heads.pop() else {
                continue;
            };
            self.octets.resize(head.kept, 0);
            // They were put there before the head was.
            drain
                .octets
                .read_exact(&mut self.octets)
                .map_err(End::Failed)?;
            if head.what == What::Nothing {
                continue;
            }
            self.packet(&head, out)?;
            let written = self.shared.written.fetch_add(1, Ordering::SeqCst) + 1;
            if written >= self.packets_max {
                return Err(End::Enough);
            }
        }
    }

    fn packet(&mut self, head: &Head, out: &mut Out) -> Result<(), End> {
        let interface_id = self.number(head.interface, out)?;
        if head.kept == head.length {
            complete(&mut self.octets, head.checksum);
        }
        let mut options = Vec::new();
        match head.what {
            What::Received => options.push(EnhancedPacketOption::Flags(1)),
            What::Transmitted => options.push(EnhancedPacketOption::Flags(2)),
            What::Dropped(node, reason) => {
                let comment = Cow::Owned(format!("dropped by {node}: {reason}"));
                options.push(EnhancedPacketOption::Comment(comment));
            }
            What::Nothing => {}
        }
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: head.at,
            original_len: u32::try_from(head.length).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&self.octets),
            options,
        };
        out.write_pcapng_block(block).map_err(failed)?;
        Ok(())
    }
}

fn failed(error: PcapError) -> End {
    End::Failed(match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    })
}

/// Does what the hardware would have done: the field holds the pseudo-header's sum (RFC 1071).
fn complete(octets: &mut [u8], checksum: Option<(usize, usize)>) {
    let Some((start, field)) = checksum else {
        return;
    };
    let Some(covered) = octets.get(start..) else {
        return;
    };
    let mut sum: u64 = covered
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => u64::from(u16::from_be_bytes([high, low])),
            [high] => u64::from(high) << 8,
            _ => 0,
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let folded = !u16::try_from(sum).unwrap_or(0);
    // As UDP has it; to TCP both are zero.
    let folded = if folded == 0 { 0xffff } else { folded };
    for (place, octet) in octets.iter_mut().skip(field).zip(folded.to_be_bytes()) {
        *place = octet;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_left_to_the_hardware_is_completed() {
        // From octet 2: 0x0001 + 0xf203 + the field, which holds 0x0005.
        let mut octets = [0xa5, 0xa5, 0x00, 0x01, 0xf2, 0x03, 0x00, 0x05];
        complete(&mut octets, Some((2, 6)));
        assert_eq!(octets[6..], (!0xf209u16).to_be_bytes());
        let before = octets;
        complete(&mut octets, Some((9, 10)));
        complete(&mut octets, None);
        assert_eq!(octets, before);
    }
}
