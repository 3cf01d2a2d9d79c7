//! What a shard gives on.

use super::{ConnectionKey, Exchange, ProcessKey, Role};

/// A request that is being answered, for `active_requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started<'a> {
    /// The end at which it is seen.
    pub role: Role,
    /// The process at this end.
    pub process: ProcessKey,
    /// Method token as it was sent.
    pub method: &'a str,
    /// Its connection.
    pub connection: ConnectionKey,
}

/// Takes what a [`Shard`](crate::stream::Shard) finds. Called from the shard's thread only.
pub trait Sink {
    /// One request with its response, complete or marked with what is missing.
    fn exchange(&mut self, exchange: Exchange);

    /// A request's head was seen. Followed by exactly one [`request_ended`](Self::request_ended) with the same
    /// content, also where the exchange is incomplete.
    fn request_started(&mut self, started: &Started<'_>);

    /// The exchange of a request that was [started](Self::request_started) has ended.
    fn request_ended(&mut self, started: &Started<'_>);

    /// The kernel is to capture the connection in another way, one of [`observer_abi::control::mode`].
    fn set_mode(&mut self, key: ConnectionKey, mode: u8);

    /// A process of which this shard had no record before (seldom: or had, long ago). `tid` is the calling thread.
    fn process_seen(&mut self, process: ProcessKey, tid: u32);

    /// A header put a request into another trace than the kernel had: spans that the kernel named children of
    /// `span_id` belong to `trace_id`, whatever trace their records say, and so does everything of `whole_trace`, the
    /// kernel's trace that began with this span. Told before the request's own exchange, and normally before any
    /// child's.
    fn trace_replaced(
        &mut self,
        span_id: [u8; 8],
        whole_trace: Option<[u8; 16]>,
        trace_id: [u8; 16],
    ) {
        let _ = (span_id, whole_trace, trace_id);
    }
}
