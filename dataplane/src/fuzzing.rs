//! Entry points for fuzzing, and what those of the other crates share: see `fuzz/README.md`.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use crate::ethernet_input::EthernetInput;
use crate::frame::{EtherType, MacAddr, Meta, Tag};
use crate::interface::{IfIndex, Interface, Interfaces};
use crate::node::Node;
use crate::testing::{Harness, Outcome, Room};

/// Frames of one input at most.
const FRAMES_MAX: usize = 256;

/// Times a node's timer runs after the last frame.
const TIMERS_MAX: usize = 4;

/// What the node's port has.
const SLOTS: usize = 24;
const SLOT_LEN: usize = 2048;

thread_local! {
    /// The port's memory, which is the same for every input.
    static ROOM: Cell<Option<Room>> = const { Cell::new(None) };
}

/// The address of the interfaces, which frames are made to go to when they want to be taken.
pub const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// Runs `data` through the node of `harness`. Before each frame three octets: its length in the
/// low 11 bits of the first two; in the highest three the time before it, as powers of eight of
/// 10 ms; the third is for `shape`, which may change the octets and says what else is known of
/// them. `check` sees each run.
///
/// # Panics
/// When the node's counters do not add up, or anything on the way panics.
pub fn drive<N: Node + 'static>(
    mut harness: Harness<N>,
    data: &[u8],
    mut shape: impl FnMut(u8, &mut Vec<u8>, &mut Meta),
    mut check: impl FnMut(&mut N, &Outcome),
) {
    (harness.slots, harness.slot_len) = (SLOTS, SLOT_LEN);
    harness.room = ROOM.take().unwrap_or(harness.room);
    harness.now = Duration::from_secs(1);
    let mut run = |harness: &mut Harness<N>| {
        let outcome = harness.run();
        check(harness.node(), &outcome);
    };
    let mut rest = data;
    let mut waiting = 0;
    for _ in 0..FRAMES_MAX {
        let Some((&[high, low, knob], behind)) = rest.split_first_chunk::<3>() else {
            break;
        };
        let len = usize::from(u16::from_be_bytes([high & 0x07, low])).min(behind.len());
        let (octets, behind) = behind.split_at(len);
        rest = behind;
        if high >> 5 > 0 {
            if waiting > 0 {
                run(&mut harness);
                waiting = 0;
            }
            harness.now += Duration::from_millis(10) * 8u32.pow(u32::from(high >> 5) - 1);
        }
        let (mut octets, mut meta) = (octets.to_vec(), Meta::default());
        shape(knob, &mut octets, &mut meta);
        meta.wire_len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        harness.input(&octets, |to| *to = meta);
        waiting += 1;
    }
    if waiting > 0 {
        run(&mut harness);
    }
    for _ in 0..TIMERS_MAX {
        let Some(at) = harness.node().deadline() else {
            break;
        };
        harness.now = harness.now.max(at);
        run(&mut harness);
    }
    ROOM.set(Some(harness.room));
}

/// Gives every file of `fuzz/corpus/<target>` to `run`.
///
/// # Panics
/// When one fails, or there is none.
pub fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let inputs = files.map(|file| run(&std::fs::read(file.path()).unwrap_or_default()));
    assert!(inputs.count() > 0, "{} is empty", folder.display());
}

/// An interface that is up.
pub fn interface(name: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        mac: MAC,
        mtu: 1500,
        up: true,
    }
}

/// Frames as a port receives them, with and without a tag beside them.
///
/// # Panics
/// As [`drive`].
pub fn ethernet_input(data: &[u8]) {
    let interfaces = Interfaces::shared();
    interfaces.borrow_mut().set(IfIndex(0), interface("m0"));
    let shape = |knob: u8, octets: &mut Vec<u8>, meta: &mut Meta| {
        if knob & 1 != 0 && octets.len() >= 6 {
            octets.splice(..6, MAC.0);
        }
        if knob & 2 != 0 {
            meta.tags.push(Tag {
                tpid: EtherType::CTAG,
                tci: u16::from(knob),
            });
        }
        meta.interface = IfIndex(u16::from(knob >> 7));
    };
    drive(
        Harness::new(EthernetInput::new(interfaces)),
        data,
        shape,
        |_, outcome| {
            for sent in &outcome.sent {
                let meta = &sent.frame.meta;
                assert!(meta.ether_type.0 >= EtherType::MIN && !meta.ether_type.is_tag());
                assert_eq!(meta.tags.is_empty(), sent.arc == "untagged");
                assert!(!meta.source.is_group());
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "reads the corpus")]
    fn the_corpus_passes() {
        replay("ethernet_input", ethernet_input);
    }
}
