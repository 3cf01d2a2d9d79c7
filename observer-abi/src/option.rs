//! Trace context between hosts, in a TCP option (RFC 6994: a shared kind with an experiment's number).
//!
//! | segment | option | bytes |
//! |---|---|---|
//! | SYN (never a repeated one), and SYN-ACK in answer to such | capability: kind, length, experiment | 4 |
//! | the one that begins with a request's first byte | context: kind, length, experiment, trace id, span id | 28 |
//! | one within a client's run on a TLS connection that goes on for another request | the capability once more: the context is no longer good | 4 |
//!
//! 28 bytes are all that a segment has left next to timestamps (12 of 40), so there are no flags: hosts sample by the
//! trace id and need none.

use crate::plain;

/// Option kind: experiments (RFC 4727, RFC 6994).
pub const KIND: u8 = 253;
/// The experiment's number; not registered.
pub const EXPERIMENT: [u8; 2] = *b"ob";
/// Length of the capability option.
pub const CAPABILITY_BYTES: u32 = 4;
/// Length of the context option.
pub const CONTEXT_BYTES: u32 = 28;

/// How far a connection came: [`OptionConnection::phase`].
pub mod phase {
    /// Client: the peer is in a configured network; the SYN has not left.
    pub const WANTED: u32 = 1;
    /// Client: a SYN with the capability left.
    pub const ASKED: u32 = 2;
    /// Client: both ends have it; contexts are written.
    pub const CLIENT: u32 = 3;
    /// Server: both ends have it; contexts are read.
    pub const SERVER: u32 = 4;
}

/// What waits for its segment (client) or its bytes (server): [`OptionConnection::waiting`].
pub mod waiting {
    /// Nothing.
    pub const NOTHING: u32 = 0;
    /// The ids, for the segment or the request with exactly that number.
    pub const CONTEXT: u32 = 1;
    /// Opaque connections: that the bytes from here on are no known request's. The capability once more, on any segment.
    pub const WITHDRAWAL: u32 = 2;
}

/// One connection that options are, or may be, exchanged on, by its sock address. Written by the kernel only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OptionConnection {
    /// Trace id of the client's span.
    pub trace_id: [u8; 16],
    /// Span id of the client's span: the parent of the server's.
    pub span_id: [u8; 8],
    /// TCP sequence number of the request's first byte.
    pub sequence: u32,
    /// One of [`waiting`].
    pub waiting: u32,
    /// One of [`phase`].
    pub phase: u32,
    /// 1 where it was observer that switched the callback for writing on.
    pub switched_on: u32,
}
plain!(OptionConnection, 40);
