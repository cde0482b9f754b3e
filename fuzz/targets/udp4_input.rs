#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ipstack::fuzzing::udp4_input(data));
