#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ipstack::fuzzing::ip4_icmp_error(data));
