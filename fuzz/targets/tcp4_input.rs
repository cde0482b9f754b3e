#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ipstack::fuzzing::tcp4_input(data));
