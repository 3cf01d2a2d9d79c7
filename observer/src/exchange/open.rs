//! An exchange that has not ended yet.

use observer_protocol::http1::{MessageEnd, RequestHead, RequestKind, ResponseHead};

use super::{Common, Exchange, Incomplete, InferredLink, Times, TraceContext};
use crate::{
    identity::{Address, ConnectionKey, ProcessKey, Role},
    protocol::http1::{HttpExchange, HttpVersion},
};

/// What all exchanges of a connection have in common.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// The connection.
    pub(crate) key: ConnectionKey,
    /// Which end this is.
    pub(crate) role: Role,
    /// Network namespace inode number, 0 when not known.
    pub(crate) netns: u32,
    /// This end's address.
    pub(crate) local: Address,
    /// The other end's address.
    pub(crate) peer: Address,
    /// TLS lies below what was read.
    pub(crate) tls: bool,
}

/// A socket call, without its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// When, CLOCK_MONOTONIC ns.
    pub(crate) time_ns: u64,
    /// The process that made it.
    pub(crate) process: ProcessKey,
    /// The thread.
    pub(crate) tid: u32,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// No head yet.
    Awaited,
    /// Its head was seen.
    Begun,
    /// It ended, or nothing more can be learned about it.
    Ended,
}

/// One request, and its response as far as it was seen.
#[derive(Debug)]
pub(super) struct Open {
    /// The call that moved the request's first byte.
    call: Call,
    /// Where the request stands in its trace.
    context: TraceContext,
    times: Times,
    pub(super) http: HttpExchange,
    /// What the response's framing depends on.
    pub(super) kind: RequestKind,
    /// No response that begins before this position answers this request.
    pub(super) response_from: u64,
    /// The request's body is chunked.
    pub(super) request_chunked: bool,
    /// The sink was told that it started.
    pub(super) announced: bool,
    pub(super) request: Progress,
    pub(super) response: Progress,
    pub(super) incomplete: Option<Incomplete>,
}

impl Open {
    /// A request whose first byte `call` moved, with what its head says (nothing, where the head was not seen).
    pub(super) fn new(call: Call, context: TraceContext, head: RequestHead) -> Self {
        Self {
            call,
            context,
            times: Times {
                request_start: call.time_ns,
                request_end: call.time_ns,
                ..Times::default()
            },
            kind: if head.method.is_empty() {
                RequestKind::Unknown
            } else {
                head.kind()
            },
            request_chunked: head.chunked,
            http: HttpExchange {
                // The head of a request that could not be read says nothing, its version least.
                version: (!head.method.is_empty())
                    .then(|| HttpVersion::of_minor(head.minor_version)),
                method: head.method,
                target: head.target,
                host: head.host,
                user_agent: head.user_agent,
                ..HttpExchange::default()
            },
            response_from: 0,
            announced: false,
            request: Progress::Begun,
            response: Progress::Awaited,
            incomplete: None,
        }
    }

    /// When the connection was established and accepted, 0 where that was not seen or this is not its first request.
    pub(super) fn set_established(&mut self, established_ns: u64, accepted_ns: u64) {
        self.times.connection_established = Some(established_ns).filter(|time| *time != 0);
        self.times.connection_accepted = Some(accepted_ns).filter(|time| *time != 0);
    }

    /// What this call may have been made for, if it is the one with the span id `call`. Returns whether it is.
    pub(super) fn set_link(&mut self, call: [u8; 8], link: InferredLink) -> bool {
        let is_it = self.context.span_id == call;
        if is_it {
            self.context.link = Some(link);
        }
        is_it
    }

    /// More of the request moved at `time_ns` (0: not known).
    pub(super) fn request_moved(&mut self, time_ns: u64) {
        self.times.request_end = self.times.request_end.max(time_ns);
    }

    pub(super) fn request_ended(&mut self, end: Option<MessageEnd>) {
        self.request = Progress::Ended;
        self.http.request_body_size = end.and_then(|end| end.body_size);
    }

    pub(super) fn response_began(&mut self, head: &ResponseHead, time_ns: u64) {
        self.response = Progress::Begun;
        self.times.response_start = Some(time_ns.max(self.times.request_start));
        self.http.status = Some(head.status);
        self.http.upgraded = head.upgrade;
        self.http.event_stream = head.event_stream;
    }

    /// `time_ns`: when its last byte moved; 0 when that is not known.
    pub(super) fn response_ended(&mut self, end: MessageEnd, time_ns: u64) {
        self.response = Progress::Ended;
        self.http.response_body_size = end.body_size;
        self.times.response_end = match self.times.response_start {
            Some(start) => Some(time_ns.max(start)),
            None => Some(time_ns).filter(|time| *time != 0),
        };
    }

    /// Notes what is missing, unless something was missing before.
    pub(super) fn mark(&mut self, incomplete: Incomplete) {
        self.incomplete.get_or_insert(incomplete);
    }

    /// The connection ended at `time_ns` before the response did.
    pub(super) fn cut(&mut self, incomplete: Incomplete, time_ns: u64) {
        self.mark(incomplete);
        self.times.response_end = Some(time_ns.max(self.times.request_start));
    }

    /// Nothing more of either message is awaited.
    pub(super) fn is_over(&self) -> bool {
        self.request == Progress::Ended && self.response == Progress::Ended
    }

    pub(super) const fn process(&self) -> ProcessKey {
        self.call.process
    }

    /// The exchange as it now stands.
    pub(super) fn into_exchange(self, ends: &Ends) -> Exchange {
        Exchange {
            common: Common {
                role: ends.role,
                process: self.call.process,
                tid: self.call.tid,
                connection: ends.key,
                netns: ends.netns,
                local: ends.local.clone(),
                peer: ends.peer.clone(),
                tls: ends.tls,
                times: self.times,
                context: self.context,
                incomplete: self.incomplete,
            },
            detail: self.http.into(),
        }
    }
}
