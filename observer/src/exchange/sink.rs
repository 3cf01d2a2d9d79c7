//! What a shard gives on.

use super::Exchange;
use crate::{
    identity::{ConnectionKey, ProcessKey, Role},
    protocol::Detail,
};

/// A request that is being answered, for gauges of open requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started<'a> {
    /// The end at which it is seen.
    pub role: Role,
    /// The process at this end.
    pub process: ProcessKey,
    /// TLS lies below what was read, as far as was known when it started.
    pub tls: bool,
    /// Its connection.
    pub connection: ConnectionKey,
    /// What is known of it so far.
    pub detail: &'a Detail,
}

/// What a request's own header said, beside what the kernel had thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderContext {
    /// The request's own span.
    pub span_id: [u8; 8],
    /// The header's trace.
    pub trace_id: [u8; 16],
    /// The header's span: the caller's.
    pub parent_id: [u8; 8],
    /// The header's `sampled` flag.
    pub sampled: bool,
    /// The parent that was found without the header.
    pub own_parent: Option<[u8; 8]>,
    /// The kernel's trace, where it began with this very span and is not the header's.
    pub begun: Option<[u8; 16]>,
}

/// Takes what a [`Shard`](crate::stream::Shard) finds. Called from the shard's thread only.
pub trait Sink {
    /// One request with its response, complete or marked with what is missing. It lies where it was written, and is written
    /// over afterwards: who keeps it clones it.
    fn exchange(&mut self, exchange: &mut Exchange);

    /// A request's head was seen. Followed by exactly one [`request_ended`](Self::request_ended) of the same
    /// request, also where the exchange is incomplete.
    fn request_started(&mut self, started: &Started<'_>);

    /// The exchange of a request that was [started](Self::request_started) has ended.
    fn request_ended(&mut self, started: &Started<'_>);

    /// The kernel is to capture the connection in another way, one of [`observer_abi::control::shape`], and to take it for one of
    /// this protocol, by its number; 0: what it takes it for now.
    fn set_mode(&mut self, key: ConnectionKey, mode: u8, protocol: u8);

    /// A process of which this shard had no record before (seldom: or had, long ago). `tid` is the calling thread.
    fn process_seen(&mut self, process: ProcessKey, tid: u32);

    /// What this process said over a TLS connection stays closed: nobody told a secret of it. Told once a connection.
    fn stays_closed(&mut self, process: ProcessKey) {
        let _ = process;
    }

    /// A request carries a trace context of its own: spans that the kernel named children of its span belong to the
    /// header's trace, whatever trace their records say. Told before the request's own exchange, and normally before
    /// any child's.
    fn header_seen(&mut self, process: ProcessKey, role: Role, header: &HeaderContext) {
        let _ = (process, role, header);
    }
}
