//! The BPF program that makes a plain device a VLAN device: pushes tags on the way out, takes
//! them off on the way in, drops what carries other tags.
//!
//! The kernel keeps the outermost tag beside the frame, so super-frames pass as they are.
//! Written as instructions, since a machine that runs a demo has no BPF compiler; wrapped in an
//! ELF file, since that is what aya loads.
//!
//! Spec: `<linux/bpf.h>`, `struct __sk_buff`, `bpf_skb_vlan_push`, `bpf_skb_vlan_pop`; RFC 9669.

use aya::Ebpf;
use aya::programs::{SchedClassifier, TcAttachType, tc};
use object::write::{Object, StandardSection, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

use std::io;

use crate::netns::Netns;
use crate::tag::Tag;

const PUSH: &str = "vlan_push";
const POP: &str = "vlan_pop";

/// `TC_ACT_OK` and `TC_ACT_SHOT`.
const PASS: i32 = 0;
const DROP: i32 = 2;

/// Offsets in `struct __sk_buff`.
const VLAN_PRESENT: i16 = 20;
const VLAN_TCI: i16 = 24;
const VLAN_PROTO: i16 = 28;

/// Helper numbers.
const SKB_VLAN_PUSH: i32 = 18;
const SKB_VLAN_POP: i32 = 19;

/// Registers: 0 result, 1 to 3 arguments, 6 saved over calls.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R6: u8 = 6;

/// A program under construction. Every failed check leaves through one exit that drops.
#[derive(Default)]
struct Assembler {
    octets: Vec<u8>,
    /// Where jumps to the dropping exit stand.
    to_drop: Vec<usize>,
}

impl Assembler {
    fn put(&mut self, code: u8, dst: u8, src: u8, offset: i16, immediate: i32) {
        let registers = if cfg!(target_endian = "little") {
            dst | src << 4
        } else {
            dst << 4 | src
        };
        self.octets.extend_from_slice(&[code, registers]);
        self.octets.extend_from_slice(&offset.to_ne_bytes());
        self.octets.extend_from_slice(&immediate.to_ne_bytes());
    }

    fn copy(&mut self, dst: u8, src: u8) {
        self.put(0xbf, dst, src, 0, 0);
    }

    fn set(&mut self, dst: u8, value: i32) {
        self.put(0xb7, dst, 0, 0, value);
    }

    fn and(&mut self, dst: u8, mask: i32) {
        self.put(0x57, dst, 0, 0, mask);
    }

    fn load(&mut self, dst: u8, field: i16) {
        self.put(0x61, dst, R6, field, 0);
    }

    fn call(&mut self, helper: i32) {
        self.put(0x85, 0, 0, 0, helper);
    }

    fn drop_unless_equal(&mut self, register: u8, value: i32) {
        self.to_drop.push(self.octets.len());
        self.put(0x55, register, 0, 0, value);
    }

    /// Passes the frame, and resolves the jumps to the exit that drops it.
    fn finish(mut self) -> Vec<u8> {
        self.leave(PASS);
        let exit = self.octets.len();
        self.leave(DROP);
        for at in self.to_drop {
            let distance = i16::try_from((exit - at) / 8 - 1).unwrap_or(i16::MAX);
            if let Some(offset) = self.octets.get_mut(at + 2..at + 4) {
                offset.copy_from_slice(&distance.to_ne_bytes());
            }
        }
        self.octets
    }

    fn leave(&mut self, verdict: i32) {
        self.set(R0, verdict);
        self.put(0x95, 0, 0, 0, 0);
    }
}

/// A TPID as the kernel holds it: network order in the low half of a word.
fn wire_order(tpid: u16) -> i32 {
    i32::from(tpid.to_be())
}

fn push_program(tags: &[Tag]) -> Vec<u8> {
    let mut program = Assembler::default();
    program.copy(R6, R1);
    for tag in tags.iter().rev() {
        program.copy(R1, R6);
        program.set(R2, wire_order(tag.tpid));
        program.set(R3, i32::from(tag.vid));
        program.call(SKB_VLAN_PUSH);
        program.drop_unless_equal(R0, 0);
    }
    program.finish()
}

fn pop_program(tags: &[Tag]) -> Vec<u8> {
    let mut program = Assembler::default();
    program.copy(R6, R1);
    for tag in tags {
        program.load(R2, VLAN_PRESENT);
        program.drop_unless_equal(R2, 1);
        program.load(R2, VLAN_PROTO);
        program.drop_unless_equal(R2, wire_order(tag.tpid));
        program.load(R2, VLAN_TCI);
        program.and(R2, 0xfff);
        program.drop_unless_equal(R2, i32::from(tag.vid));
        program.copy(R1, R6);
        program.call(SKB_VLAN_POP); // an inner tag takes the outer one's place
        program.drop_unless_equal(R0, 0);
    }
    program.load(R2, VLAN_PRESENT);
    program.drop_unless_equal(R2, 0);
    program.finish()
}

/// The ELF file of both programs.
fn elf(tags: &[Tag]) -> Result<Vec<u8>, object::write::Error> {
    let endian = if cfg!(target_endian = "little") {
        Endianness::Little
    } else {
        Endianness::Big
    };
    let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, endian);
    file.section_id(StandardSection::Text); // aya wants one, be it empty
    let license = file.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    file.append_section_data(license, b"Dual MIT/GPL\0", 1);
    let section = file.add_section(Vec::new(), b"classifier".to_vec(), SectionKind::Text);
    for (name, program) in [(PUSH, push_program(tags)), (POP, pop_program(tags))] {
        let value = file.append_section_data(section, &program, 8);
        file.add_symbol(Symbol {
            name: name.as_bytes().to_vec(),
            value,
            size: program.len() as u64,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
    }
    file.write()
}

/// Attaches the programs to `device` in `namespace`; they stay as long as the returned handle.
///
/// # Errors
/// No right to load BPF programs (`CAP_BPF` and `CAP_NET_ADMIN` outside user namespaces).
pub(crate) fn attach(namespace: &Netns, device: &str, tags: &[Tag]) -> io::Result<Ebpf> {
    let file = elf(tags).map_err(io::Error::other)?;
    namespace.run(|| {
        let mut loaded = Ebpf::load(&file).map_err(|error| in_full(&error))?;
        for (name, direction) in [(PUSH, TcAttachType::Egress), (POP, TcAttachType::Ingress)] {
            let program = loaded.program_mut(name).ok_or(io::ErrorKind::NotFound)?;
            let program: &mut SchedClassifier =
                program.try_into().map_err(|error| in_full(&error))?;
            program.load().map_err(|error| in_full(&error))?;
            if program.attach(device, direction).is_err() {
                // Before TCX (Linux 6.6) it hangs on a queueing discipline of its own; the second
                // program finds that of the first.
                let _ = tc::qdisc_add_clsact(device);
                program
                    .attach(device, direction)
                    .map_err(|error| in_full(&error))?;
            }
        }
        Ok(loaded)
    })?
}

/// aya's errors name the call and leave the reason to their source.
fn in_full(error: &dyn std::error::Error) -> io::Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    io::Error::other(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The instructions' codes and jump distances.
    fn shape(program: &[u8]) -> Vec<(u8, i16)> {
        program
            .chunks(8)
            .map(|i| (i[0], i16::from_ne_bytes([i[2], i[3]])))
            .collect()
    }

    #[test]
    fn push_is_eight_instructions_and_a_failed_push_drops() {
        assert_eq!(
            shape(&push_program(&[Tag::customer(123)])),
            [
                (0xbf, 0), // r6 = skb
                (0xbf, 0), // r1 = skb
                (0xb7, 0), // r2 = 0x8100
                (0xb7, 0), // r3 = 123
                (0x85, 0), // bpf_skb_vlan_push
                (0x55, 2), // failed: to the last pair
                (0xb7, 0),
                (0x95, 0), // pass
                (0xb7, 0),
                (0x95, 0), // drop
            ]
        );
    }

    #[test]
    fn every_check_of_pop_jumps_to_the_drop() {
        let program = pop_program(&[Tag::service(200), Tag::customer(100)]);
        let end = program.len() / 8 - 2;
        for (at, (code, distance)) in shape(&program).into_iter().enumerate() {
            if code == 0x55 {
                assert_eq!(at + 1 + usize::try_from(distance).unwrap(), end);
            }
        }
        assert_eq!(program[end * 8 + 4], 2);
    }

    #[test]
    fn the_elf_file_holds_both_programs() {
        let file = elf(&[Tag::customer(123)]).unwrap();
        assert_eq!(file[..4], *b"\x7fELF");
        for name in [PUSH, POP, "classifier", "license"] {
            assert!(
                file.windows(name.len())
                    .any(|window| window == name.as_bytes()),
                "{name}"
            );
        }
    }
}
