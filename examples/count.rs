//! The smallest graph there is: a ring into a sink. Counts the frames of an interface by EtherType
//! for some seconds.
//!
//! `count INTERFACE SECONDS`, as root or with CAP_NET_RAW.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use af_packet::{AfPacketInput, AfPacketInputNext, LinkInfo, Options, Sockets};
use dataplane::{Batch, GraphBuilder, IfIndex, Never, Node, Outlets};

/// Counts frames by EtherType and is done with them.
struct Count(Rc<RefCell<BTreeMap<u16, u64>>>);

impl Node for Count {
    const NAME: &'static str = "count";
    type Next = Never;
    type Drop = Never;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Never, Never>,
    ) {
        let mut counts = self.0.borrow_mut();
        for frame in batch.drain() {
            // Octets 12 and 13; the kernel took the outer tag out of the way already.
            if let Some(&[high, low]) = frame.octets().get(12..14) {
                *counts.entry(u16::from_be_bytes([high, low])).or_default() += 1;
            }
            out.consume(frame);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, seconds] = arguments.as_slice() else {
        return Err("usage: count INTERFACE SECONDS".into());
    };
    let until = Instant::now() + Duration::from_secs(seconds.parse()?);

    let counts = Rc::new(RefCell::new(BTreeMap::new()));
    let mut builder = GraphBuilder::new();
    let input = builder.add(AfPacketInput);
    let count = builder.add(Count(Rc::clone(&counts)));
    builder.connect(input, AfPacketInputNext::EthernetInput, count);
    let mut graph = builder.build()?;

    let mut device = Sockets::open(interface)?.map(IfIndex(0), &Options::default())?;
    device.attach(&LinkInfo::by_name(interface)?)?;
    let start = Instant::now();
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        device.wait(Some(left), &[])?;
        let (mut rx, mut tx) = device.turn();
        let mut batch = Batch::new();
        rx.fill(&mut batch);
        graph.turn(start.elapsed(), input, &mut batch, &mut tx);
    }
    for (ether_type, frames) in counts.borrow().iter() {
        println!("{ether_type:#06x}: {frames} frames");
    }
    Ok(())
}
