//! Pure, incremental protocol parsers: bytes in, messages out. No I/O, no clock, no threads.
#![forbid(unsafe_code)]
