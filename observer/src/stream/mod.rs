//! Connections: ordering and loss.
//!
//! In: the records of one ring, and connections' entries when [`Shard::due`] asks for them.
//! Out: exchanges, and the little that flows back to the kernel, to a [`Sink`].
//! Owns: the table of connections; positions, runs and gaps of each; when an entry is to be read.
//!
//! What the bytes mean is decided in [`exchange`](crate::exchange).

mod config;
mod connection;
mod conversation;
mod direction;
mod due;
mod recognition;
mod record;
#[cfg(test)]
mod script;
mod sealed;
mod shard;
#[cfg(test)]
mod tests;

pub use crate::exchange::{Sink, Started, StreamCounters};
pub use config::StreamConfig;
pub(crate) use record::read_pod;
pub use shard::Shard;
