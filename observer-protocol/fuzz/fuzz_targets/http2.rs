//! Connections of HTTP/2; see `observer_protocol::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| observer_protocol::fuzzing::http2(data));
