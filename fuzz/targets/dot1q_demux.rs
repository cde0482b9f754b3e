#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| vlan::fuzzing::dot1q_demux(data));
