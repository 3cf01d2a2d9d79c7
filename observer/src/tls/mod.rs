//! TLS, read at the wire.
//!
//! In: what processes map to be executed; the slots in which the kernel programs put secrets; the ciphertext of connections.
//! Out: breakpoints where each traffic secret passes; each secret with what the library said of it; what the connections say.
//! Owns: what was found in each file, and the breakpoints in it while somebody maps it; the keys of each connection.

mod armed;
mod key_labels;
mod mapped;
pub mod points;
pub mod secrets;
pub(crate) mod session;
mod standing;

pub use self::armed::{ArmedCounts, ArmedFiles, PROGRAMS};
