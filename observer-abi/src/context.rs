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
    /// The event loop of a run-to-completion program had resumed exactly this request.
    pub const EVENT_LOOP: u8 = 4;
    /// The calling goroutine works for the request.
    pub const GOROUTINE: u8 = 5;
    /// The calling Python context (contextvars; a task of asyncio has its own) works for the request.
    pub const PYTHON_CONTEXT: u8 = 6;
    /// A TCP option that the client's host wrote on the request's first segment.
    pub const TCP_OPTION: u8 = 7;
    /// The calling Ruby fiber had turned to the request.
    pub const RUBY_FIBER: u8 = 8;
    /// The calling tokio task works for the request.
    pub const TOKIO_TASK: u8 = 9;
    /// Methods that there are.
    pub const COUNT: usize = 10;
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

/// A request that a server is working on: the one with this span on this connection. It resolves to nothing once the
/// connection is gone, another request came on it, or the first byte of the answer left.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestReference {
    /// Sock address of the connection on which the request came; 0 for none.
    pub sock: u64,
    /// That connection's generation.
    pub generation: u64,
    /// Span id of the request, as it lies in [`Context::span_id`]: the parent of what is called for it.
    pub span_id: u64,
}
plain!(RequestReference, 24);

/// What a thread is working on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Thread {
    /// The request; of an event loop's thread the one that was resumed last.
    pub request: RequestReference,
    /// Start time of the thread, ns since boot: the map outlives a recycled thread id.
    pub start_ns: u64,
    /// 1 when the thread ever read a second request before the first was answered: nothing can be told of it any more.
    pub ambiguous: u32,
    /// Not 0 when it last read outside of any unit, without being busy until it answers: then the request is not the
    /// thread's, but that of the unit which it enters to handle what it read (uvloop).
    pub pending: u32,
}
plain!(Thread, 40);

/// A thread that runs Node's event loop: which request all of its JavaScript has been for since that was read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Loop {
    /// The request that was read last, while nothing but what it set off has run since; else none.
    pub alone: RequestReference,
    /// What was resumed last in this turn: the request that was read, or that the call may have been made for whose answer
    /// was. Never good for a parent.
    pub last: RequestReference,
    /// Whose turn it is, one of [`turn`].
    pub turn: u32,
    /// Who may have made immediates that have not run, see [`immediates`].
    pub pending: u32,
    /// The same of those that run in this check phase.
    pub due: u32,
    /// 1 while what runs was set off by the answer to a call that [`last`](Self::last) was only likely to have made.
    pub guess: u32,
    /// How often that was the request which such an answer served.
    pub guessed_right: u32,
    /// How often it was another one.
    pub guessed_wrong: u32,
}
plain!(Loop, 72);

/// Values of [`Loop::turn`].
pub mod turn {
    /// Something that is not known to be for [`Loop::alone`](super::Loop::alone).
    pub const OTHERS: u32 = 0;
    /// What is read or written next will show whom it is for.
    pub const UNTOLD: u32 = 1;
    /// It is for that request.
    pub const OWN: u32 = 2;
}

/// Bits of [`Loop::pending`].
pub mod immediates {
    /// The request that is alone.
    pub const OWN: u32 = 1;
    /// Anything else.
    pub const OTHERS: u32 = 2;
}

/// Something of one process that has an id: a goroutine, a Python context, a piece of work that waits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitKey {
    /// Goroutine id, or an address in the process.
    pub unit: u64,
    /// The process.
    pub tgid: u32,
    /// One of [`unit`], and in the upper 24 bits the process's [`Runtime::life`](crate::process::Runtime::life).
    pub kind: u32,
}
plain!(UnitKey, 16);

/// Kinds of [`UnitKey`].
pub mod unit {
    /// A goroutine, by its id.
    pub const GOROUTINE: u32 = 1;
    /// A client connection of Go's net/http, by address: what its writer goroutine is to write for.
    pub const GO_CONNECTION: u32 = 2;
    /// A Python context (contextvars), by address.
    pub const PYTHON_CONTEXT: u32 = 3;
    /// Work that libuv's thread pool does, by address.
    pub const LIBUV_WORK: u32 = 4;
    /// A Ruby fiber, by the address of its execution context, on one thread, whose id stands in place of the process's.
    /// A thread's own fiber lives as long as the thread, so no later one can be taken for it.
    pub const RUBY_FIBER: u32 = 5;
    /// A task of tokio's, by its id.
    pub const TOKIO_TASK: u32 = 6;
}

/// What such a thing works for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Unit {
    /// The request.
    pub request: RequestReference,
    /// 1 when it read a second request before the first was answered. Work that waits: 1 when the request is only
    /// [`Loop::last`], and so good for no parent.
    pub ambiguous: u32,
    /// 1 when it did not read the request itself but was begun by what works for it, or got it from that to write a call.
    pub inherited: u32,
}
plain!(Unit, 32);

/// Key of the same-host handoff: both ends of a connection compute the same one. For a Unix socket, whose ends share no
/// sequence numbers, it is the client's end, and a handoff lives from the request to its answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandoffKey {
    /// Sequence number of the first byte that the server sends on the connection; Unix: the client's sock address.
    pub pair: u64,
    /// Sequence number of the request's first byte; Unix: the client socket's inode number.
    pub position: u64,
}
plain!(HandoffKey, 16);

/// Bits of [`Handoff::claim`].
pub mod claim {
    /// The client's end knows that the connection takes turns.
    pub const TURNS: u32 = 1;
    /// The bytes are a request of their own, whose ids these are: they are no other turn's.
    pub const OWN: u32 = 2;
    /// They may be the same request's as those before, whose claim lies beside this one: what came between may have been
    /// TLS 1.3's session tickets.
    pub const MAYBE: u32 = 4;
}

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
    pub observer: u32,
    /// Of a TLS connection: bits of [`claim`].
    pub claim: u32,
    /// Of a TLS connection: the ids are those of the request for which the client wrote the bytes from this position on,
    /// or, where its records are shipped, of that which the bytes are.
    pub from: u64,
    /// And up to this one.
    pub until: u64,
}
plain!(Handoff, 56);
