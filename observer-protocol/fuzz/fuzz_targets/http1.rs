//! Both HTTP/1 parsers over arbitrary segments, gaps and runs; see `observer_protocol::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| observer_protocol::fuzzing::http1(data));
