#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ipstack::fuzzing::arp_input(data));
