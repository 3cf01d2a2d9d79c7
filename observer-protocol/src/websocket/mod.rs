//! WebSocket (RFC 6455): what a connection goes on with behind HTTP/1's `101 Switching Protocols`.
//!
//! In: frames of both directions, in order, and what is known of bytes that were not captured. Out: messages and their bytes, and how
//! it was closed, all of the one exchange that was the handshake.
//! Owns: nothing but where in a frame each direction is. No message is read.
//!
//! Compressed messages (RFC 7692) are counted as they are sent. Pings, pongs and closes are no messages.

mod frame;
mod protocol;
#[cfg(test)]
mod tests;

pub use self::protocol::{Said, WebSocket};
