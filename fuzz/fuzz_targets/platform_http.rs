#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coil_verify::fuzz::platform_http(data));
