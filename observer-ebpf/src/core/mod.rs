//! What happens with the bytes of one call, whichever tier saw it.
//!
//! In: a call (sock, direction, byte range, buffer) from a tier. Out: runs in the rings, counters.
//! Owns: connections' entries, scratches, rings, and who is captured.

pub(crate) mod admission;
pub(crate) mod buffer;
pub(crate) mod call;
pub(crate) mod capture;
pub(crate) mod connection;
pub(crate) mod output;
pub(crate) mod policy;
pub(crate) mod scratch;
