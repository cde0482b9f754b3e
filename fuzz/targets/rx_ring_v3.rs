#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| af_packet::fuzzing::rx_ring_v3(data));
