//! Pure, incremental protocol parsers: bytes in, messages out. No I/O, no clock, no threads.
//!
//! A parser of a stream is fed with the [segments](Segment) that socket calls moved, knows about bytes that were lost or
//! only counted, and says what it saw: it never guesses a value that was not on the wire. What all of them have in common is
//! [`protocol::Protocol`].
#![forbid(unsafe_code)]

pub mod b3;
pub mod detection;
pub mod dns;
pub mod fastcgi;
pub mod frames;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
pub mod http1;
pub mod http2;
#[cfg(test)]
mod mutation;
pub mod protocol;
mod segment;
pub mod tls;
pub mod trace_context;
pub mod websocket;

pub use segment::Segment;
