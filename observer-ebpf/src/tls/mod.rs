//! TLS at the wire.
//!
//! In: runs of connections that began with a TLS record. Out: their records, where those are shipped; claims: which request a
//! client's bytes were written for, and which request a server's reader works for. Owns: what is known of each such connection (in
//! its entry).

mod between_hosts;
mod client;
mod handshake;
mod hello;
pub(crate) mod keys;
pub(crate) mod opaque;
pub(crate) mod records;
mod server;
