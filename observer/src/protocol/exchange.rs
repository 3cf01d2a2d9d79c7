//! One request and its response, whatever the protocol.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use super::{Detail, Outcome, tls::Tls};
use crate::{
    identity::{Address, ConnectionKey, ProcessKey, Role},
    kubernetes::Peer,
};

/// Points in time of an exchange: CLOCK_MONOTONIC ns, as seen at this end's socket calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// First byte of the request.
    pub request_start: u64,
    /// Last byte of the request that was seen.
    pub request_end: u64,
    /// First byte of the response; `None` when there was none (or it was not seen).
    pub response_start: Option<u64>,
    /// Last byte of the response; `None` when it is not known.
    pub response_end: Option<u64>,
    /// Connection established, where this request was the connection's first and that was seen.
    pub connection_established: Option<u64>,
    /// Connection accepted by the server, with the same limits.
    pub connection_accepted: Option<u64>,
}

/// Why an exchange is not whole. Ordered: the first that applies is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Incomplete {
    /// Bytes were lost or not captured inside a head: method, target or status may be missing.
    LostBytes,
    /// The head was larger than what is captured.
    HeadTooLarge,
    /// The connection ended before the response did; counts as an error of the exchange.
    Closed,
    /// The connection was reset before the response ended, or the exchange was given up by one of its ends; counts as an error of
    /// the exchange.
    Reset,
    /// observer stopped, or forgot the connection, before the response ended. Says nothing about the exchange.
    Abandoned,
    /// A message could not be parsed; what follows on the connection is skipped up to the next run.
    Malformed,
    /// No answer was seen until the client asked elsewhere or anew, or for so long that none will come; the former counts
    /// as an error of the exchange, of the latter the end is not known. Of what has no connection that could end: DNS.
    Unanswered,
}

impl Incomplete {
    /// The name under which it is counted and shown (`observer.incomplete`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LostBytes => "lost_bytes",
            Self::HeadTooLarge => "head_too_large",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Abandoned => "abandoned",
            Self::Malformed => "malformed",
            Self::Unanswered => "unanswered",
        }
    }
}

/// How a parent was found (`observer.parent.method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ParentMethod {
    /// There is none: the span begins its trace.
    None,
    /// The client end on the same host handed it over in the kernel.
    Handoff,
    /// The thread that sent the request had exactly one request of its own open.
    Thread,
    /// A `traceparent` or `b3` header in the request.
    Header,
    /// The thread that sent the request runs an event loop, which had resumed exactly this one.
    EventLoop,
    /// The goroutine that sent the request works for it.
    Goroutine,
    /// The Python context (of a task, say) that sent the request works for it.
    PythonContext,
    /// The client's host wrote it into a TCP option of the request's first segment.
    TcpOption,
    /// The Ruby fiber that sent the request had turned to it.
    RubyFiber,
    /// The tokio task that sent the request works for it, or was handed it by one that does.
    TokioTask,
}

impl ParentMethod {
    /// The attribute's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Handoff => "handoff",
            Self::Thread => "thread",
            Self::Header => "header",
            Self::EventLoop => "event_loop",
            Self::Goroutine => "goroutine",
            Self::PythonContext => "python_context",
            Self::TcpOption => "tcp_option",
            Self::RubyFiber => "ruby_fiber",
            Self::TokioTask => "tokio_task",
        }
    }

    /// Whether the kernel found it.
    pub const fn is_from_kernel(self) -> bool {
        !matches!(self, Self::None | Self::Header)
    }
}

/// How it was found which request a call without a parent may have been made for (`observer.link.method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkMethod {
    /// The event loop that sent the call had resumed that request last, and had not answered it when the call's answer came.
    LastResumed,
}

impl LinkMethod {
    /// The attribute's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LastResumed => "last_resumed",
        }
    }
}

/// The request that a call may have been made for, where that is not certain: never a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InferredLink {
    /// W3C trace id of that request.
    pub trace_id: [u8; 16],
    /// W3C span id of its server span.
    pub span_id: [u8; 8],
    /// `sampled` flag of that span.
    pub sampled: bool,
    /// How it was found.
    pub method: LinkMethod,
}

/// Where an exchange stands in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// W3C trace id, never all zero.
    pub trace_id: [u8; 16],
    /// This exchange's span id, never all zero.
    pub span_id: [u8; 8],
    /// The parent's span id.
    pub parent_span_id: Option<[u8; 8]>,
    /// How the parent was found.
    pub parent_method: ParentMethod,
    /// The parent that was found without the header, and how, where a header then named another.
    pub own_parent: Option<([u8; 8], ParentMethod)>,
    /// The request that a call without a parent may have been made for.
    pub link: Option<InferredLink>,
    /// `sampled` flag of the incoming header; `None` without one.
    pub sampled: Option<bool>,
    /// `tracestate` that came with it, unchanged, at most 512 bytes; `None` without one.
    pub trace_state: Option<Box<str>>,
}

impl TraceContext {
    /// The context of a span that begins its trace.
    pub const fn root(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        Self {
            trace_id,
            span_id,
            parent_span_id: None,
            parent_method: ParentMethod::None,
            own_parent: None,
            link: None,
            sampled: None,
            trace_state: None,
        }
    }
}

/// One request and its response at one end of one connection: what every exchange has, and what its protocol adds.
///
/// What they have in common is read and written as the exchange's own: `exchange.role`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What every exchange has.
    pub common: Common,
    /// What its protocol adds.
    pub detail: Detail,
}

impl Deref for Exchange {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl DerefMut for Exchange {
    fn deref_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

/// What is known of an exchange whatever its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// The end at which it was seen.
    pub role: Role,
    /// The process at this end.
    pub process: ProcessKey,
    /// The thread that began it.
    pub tid: u32,
    /// The connection.
    pub connection: ConnectionKey,
    /// Network namespace inode number, 0 when not known.
    pub netns: u32,
    /// This end's address.
    pub local: Address,
    /// The other end's address.
    pub peer: Address,
    /// The cluster's service that a client's call went to, where the cluster tells.
    pub peer_service: Option<Arc<Peer>>,
    /// TLS lies below what was read.
    pub tls: bool,
    /// What its session agreed on, where it was read at the wire; nothing of a connection that the kernel encrypts.
    pub session: Option<Arc<Tls>>,
    /// When what happened.
    pub times: Times,
    /// Where it stands in its trace.
    pub context: TraceContext,
    /// What is missing, if anything.
    pub incomplete: Option<Incomplete>,
}

impl Common {
    /// Request's first byte to response's last, ns; `None` when the end is not known. For an exchange that was cut
    /// off ([`Incomplete::Closed`], [`Incomplete::Reset`]) `response_end` is the time of the cut.
    pub fn duration_ns(&self) -> Option<u64> {
        Some(
            self.times
                .response_end?
                .saturating_sub(self.times.request_start),
        )
    }
}

impl Exchange {
    /// One of which nothing is known.
    pub(crate) fn empty() -> Self {
        Self {
            common: Common {
                role: Role::Client,
                process: ProcessKey {
                    tgid: 0,
                    start_ns: 0,
                },
                tid: 0,
                connection: ConnectionKey {
                    sock: 0,
                    generation: 0,
                },
                netns: 0,
                local: Address::Unknown,
                peer: Address::Unknown,
                peer_service: None,
                tls: false,
                session: None,
                times: Times::default(),
                context: TraceContext::root([0; 16], [0; 8]),
                incomplete: None,
            },
            detail: Detail::default(),
        }
    }

    /// How it went.
    pub fn outcome(&self) -> Outcome {
        self.detail.describe().outcome(self)
    }
}
