//! Values of `traceparent`, `tracestate` and `b3`; see `observer_protocol::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| observer_protocol::fuzzing::context(data));
