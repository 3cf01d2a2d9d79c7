//! Trace context: which request a run belongs to and who its parent is.

use crate::plain;

/// How a parent edge was found; the daemon names them in `observer.parent.method`.
pub mod method {
    /// No parent: the request begins a trace.
    pub const NONE: u8 = 0;
    /// Same-host handoff: the client end's kernel program named the parent.
    pub const HANDOFF: u8 = 1;
    /// The calling thread had exactly one request open.
    pub const THREAD: u8 = 2;
    /// A `traceparent` header that the daemon parsed (never set by the kernel).
    pub const HEADER: u8 = 3;
}

/// One request's ids and what its run needs to remember.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    /// W3C trace id, in the order it is written; all zero when there is none.
    pub trace_id: [u8; 16],
    /// W3C span id of this request's span.
    pub span_id: [u8; 8],
    /// W3C span id of the parent; all zero when there is none.
    pub parent_span_id: [u8; 8],
    /// The thread that opened the request.
    pub tid: u32,
    /// Its process.
    pub tgid: u32,
    /// Start time of the process's leader, ns since boot, as in `/proc/PID/stat` field 22 but unrounded.
    pub start_ns: u64,
    /// `end` of the response direction when the request opened: the request is open while it has not moved.
    pub response_at_open: u64,
    /// One of [`method`].
    pub parent_method: u8,
    /// Explicit padding.
    pub reserved: [u8; 7],
}
plain!(Context, 64);

/// What a thread is working on: a reference to the request that it read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Thread {
    /// Sock address of the connection on which the request came.
    pub sock: u64,
    /// That connection's generation.
    pub generation: u64,
    /// Trace id of the request.
    pub trace_id: [u8; 16],
    /// Span id of the request: the parent of what the thread calls.
    pub span_id: [u8; 8],
    /// `end` of that connection's outbound direction when the request was read.
    pub response_at_open: u64,
    /// Start time of the process's leader, ns since boot: the map outlives a recycled thread id.
    pub start_ns: u64,
    /// 1 when the thread read a second request before the first was answered: nothing can be told.
    pub ambiguous: u64,
}
plain!(Thread, 64);

/// Key of the same-host handoff: both ends of a TCP connection compute the same one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandoffKey {
    /// Sequence number of the first byte that the server sends on the connection.
    pub pair: u64,
    /// Sequence number of the request's first byte.
    pub position: u64,
}
plain!(HandoffKey, 16);

/// Value of the same-host handoff.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Handoff {
    /// Trace id of the client's span.
    pub trace_id: [u8; 16],
    /// Span id of the client's span: the parent of the server's.
    pub span_id: [u8; 8],
    /// When it was written, CLOCK_MONOTONIC ns.
    pub time_ns: u64,
    /// 1 when the other end is observer itself: this connection is not to be captured.
    pub observer: u64,
}
plain!(Handoff, 40);
