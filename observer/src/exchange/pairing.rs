//! One connection's requests and responses, paired in the order in which they were sent (RFC 9112 section 9.3.2).
//!
//! A response belongs to the oldest request that has none. That holds while every head was seen; once one may be
//! missing, the requests that are open are given on as incomplete, and a later response counts only for a request
//! that was sent before it began. A status is never given to a request that may not be its own.

use std::collections::VecDeque;

use observer_abi::context::Context;
use observer_protocol::http1::{
    Framing, Limits, RequestParser, ResponseEvent, ResponseParser, Segment, tail_ends_chunked,
};

use super::{
    Incomplete, InferredLink, Sink, Started, StreamCounters,
    ids::Ids,
    open::{Call, Ends, Open, Progress},
};

/// Requests of one connection that may wait for their responses; what is sent beyond is counted as incomplete.
pub(super) const MAX_OPEN: usize = 512;

/// Whether something happened that only happens between messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    /// Nothing did.
    No,
    /// It may be that: so few bytes that they are not known for a message's beginning.
    Perhaps,
    /// The next message began, or the connection ended in order.
    Yes,
}

/// Which message a direction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// Where results go, and what all connections of a shard share.
pub(crate) struct Output<'a, S> {
    pub(crate) sink: &'a mut S,
    pub(crate) ids: &'a mut Ids,
    pub(crate) counters: &'a mut StreamCounters,
}

/// What was found out about the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Findings {
    /// A message's head.
    pub(crate) http: bool,
    /// Bytes that are no HTTP, by side.
    pub(crate) not_http: [bool; 2],
    /// A request that did not wait for the response to the one before.
    pub(crate) pipelined: bool,
    /// A head that was not captured whole.
    pub(crate) head_too_large: bool,
    /// What follows is no HTTP.
    pub(crate) tunnel: bool,
}

/// Bytes that moved without being captured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unseen {
    /// Position after the last of them.
    pub(crate) to: u64,
    /// When that one moved, ns; 0 where it is not known.
    pub(crate) time_ns: u64,
    /// What that makes of a head which they cut off.
    pub(crate) missing: Incomplete,
}

/// Where an event comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Position of the first byte that the parser was given; what it tells of earlier ones began before.
    pub(super) from: u64,
    /// Position after the last byte that was captured.
    pub(super) captured_to: u64,
    /// The call that moved the bytes; the time is 0 where it is not known.
    pub(super) call: Call,
    /// What bytes that were not captured make of a head.
    pub(super) missing: Incomplete,
}

impl Seen {
    /// Bytes that came with a record. What it does not carry is more than the kernel captures.
    pub(super) fn bytes(segment: &Segment<'_>, call: Call) -> Self {
        Self {
            from: segment.start,
            captured_to: segment.start.saturating_add(segment.bytes.len() as u64),
            call,
            missing: Incomplete::HeadTooLarge,
        }
    }

    /// No bytes, at the position that the parser has reached.
    const fn none(at: u64, call: Call, missing: Incomplete) -> Self {
        Self {
            from: at,
            captured_to: at,
            call,
            missing,
        }
    }
}

/// Requests and responses of one connection.
#[derive(Debug)]
pub(crate) struct Pairing {
    pub(super) requests: RequestParser,
    pub(super) responses: ResponseParser,
    pub(super) limits: Limits,
    /// Oldest first. Only the first may have a response, only the last may be unfinished.
    pub(super) open: VecDeque<Open>,
    /// The call with the first byte of a request head that is not complete.
    pub(super) request_begun: Option<Call>,
    /// The time of the call with the first byte of a response head that is not complete.
    pub(super) response_begun_ns: Option<u64>,
    /// Ids for the first request of the current run.
    pub(super) context: Option<Context>,
    /// When the connection was established and accepted, for its first request.
    pub(super) established_ns: (u64, u64),
    /// Requests may have passed unseen, so the next responses may be theirs.
    pub(super) requests_missing: bool,
    /// The current response's request is not known.
    pub(super) orphan: bool,
    pub(super) response_chunked: bool,
    pub(super) findings: Findings,
}

impl Pairing {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            requests: RequestParser::new(limits),
            responses: ResponseParser::new(limits),
            limits,
            open: VecDeque::new(),
            request_begun: None,
            response_begun_ns: None,
            context: None,
            established_ns: (0, 0),
            requests_missing: false,
            orphan: false,
            response_chunked: false,
            findings: Findings::default(),
        }
    }

    /// What was found out since it was last asked.
    pub(crate) fn take_findings(&mut self) -> Findings {
        std::mem::take(&mut self.findings)
    }

    /// Position after the last byte that is accounted for.
    pub(crate) fn position(&self, side: Side) -> u64 {
        match side {
            Side::Request => self.requests.position(),
            Side::Response => self.responses.position(),
        }
    }

    /// Forgets what was told about positions: the directions had been taken for one another.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.limits);
    }

    /// The connection's entry may tell how an open exchange ended.
    pub(crate) fn needs_entry(&self) -> bool {
        let Some(open) = self.open.front() else {
            return false;
        };
        match (open.response, open.request) {
            (Progress::Ended, request) => request != Progress::Ended,
            (Progress::Begun, _) => match self.responses.framing() {
                Some(Framing::UntilClose | Framing::Tunnel) => false,
                Some(Framing::Unknown) => self.response_chunked,
                _ => true,
            },
            (Progress::Awaited, _) => self.responses.buffered() > 0,
        }
    }

    /// The connection's first request is about to come.
    pub(crate) fn set_established(&mut self, established_ns: u64, accepted_ns: u64) {
        self.established_ns = (established_ns, accepted_ns);
    }

    /// A run of `side` begins at `at`.
    pub(crate) fn run_started(&mut self, side: Side, at: u64) {
        match side {
            Side::Request => self.requests.run_started(at),
            Side::Response => self.responses.run_started(at),
        }
    }

    /// The kernel's ids for the first request of the run that begins now.
    pub(crate) fn set_context(&mut self, context: Context) {
        self.context = Some(context);
    }

    /// The kernel says what the open call with the span id `call` may have been made for. Where that call is not known
    /// (its record was lost) nobody is linked.
    pub(crate) fn link(&mut self, call: [u8; 8], link: InferredLink) {
        self.open.iter_mut().any(|open| open.set_link(call, link));
    }

    /// Bytes that moved without being captured.
    pub(crate) fn skip<S: Sink>(
        &mut self,
        side: Side,
        unseen: Unseen,
        call: Call,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let seen = Seen::none(
            self.position(side),
            Call {
                time_ns: unseen.time_ns,
                ..call
            },
            unseen.missing,
        );
        match side {
            Side::Request => {
                while let Some(event) = self.requests.skip_to(unseen.to) {
                    self.request_event(event, &seen, ends, out);
                }
                if let Some(open) = self.unfinished_request() {
                    open.request_moved(unseen.time_ns);
                }
            }
            Side::Response => {
                while let Some(event) = self.responses.skip_to(unseen.to) {
                    self.response_event(event, &seen, ends, out);
                }
            }
        }
    }

    /// The framing of the current message does not tell where it ends.
    pub(crate) fn is_endless(&self, side: Side) -> bool {
        let framing = match side {
            Side::Request => self.requests.framing(),
            Side::Response => self.responses.framing(),
        };
        framing == Some(Framing::Unknown)
    }

    /// Something tells that the message of `side` may have ended with its last byte, which the call `last` moved:
    /// where its framing is not known, it has. `tail` are the stream's last bytes, 0 where they are not known.
    pub(crate) fn end_of_run<S: Sink>(
        &mut self,
        side: Side,
        last: Call,
        tail: u64,
        between: Between,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let chunked = match side {
            Side::Request => self.open.back().is_some_and(|open| open.request_chunked),
            Side::Response => self.response_chunked,
        };
        let empty_line = tail.to_le_bytes().ends_with(b"\r\n\r\n");
        let surely = between == Between::Yes;
        let over = match (chunked, tail) {
            (true, 0) => surely,
            // Behind trailers.
            (true, tail) => tail_ends_chunked(tail) || (between != Between::No && empty_line),
            (false, _) => surely,
        };
        if !self.is_endless(side) || !over {
            return;
        }
        let at = self.position(side);
        let seen = Seen::none(at, last, Incomplete::HeadTooLarge);
        match side {
            Side::Request => {
                while let Some(event) = self.requests.end_of_run(at) {
                    self.request_event(event, &seen, ends, out);
                }
            }
            Side::Response => {
                while let Some(event) = self.responses.end_of_run(at) {
                    self.response_event(event, &seen, ends, out);
                }
            }
        }
    }

    /// The response has ended but the request has not, and nothing moves any more: the exchange ends without the rest
    /// of the request.
    pub(crate) fn stop_awaiting_request<S: Sink>(&mut self, ends: &Ends, out: &mut Output<'_, S>) {
        if let Some(open) = self
            .open
            .back_mut()
            .filter(|open| open.response == Progress::Ended)
        {
            open.request_ended(None);
        }
        self.settle(ends, out);
    }

    /// The connection ended at `time_ns`; the last byte of a response moved at `response_ns`.
    pub(crate) fn close<S: Sink>(
        &mut self,
        time_ns: u64,
        response_ns: u64,
        reset: bool,
        call: Call,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let incomplete = if reset {
            Incomplete::Reset
        } else {
            Incomplete::Closed
        };
        let seen = Seen::none(
            self.requests.position(),
            Call { time_ns, ..call },
            incomplete,
        );
        while let Some(event) = self.requests.close() {
            self.request_event(event, &seen, ends, out);
        }
        let seen = Seen::none(
            self.responses.position(),
            Call {
                time_ns: response_ns,
                ..call
            },
            incomplete,
        );
        let cut_short = match self.responses.framing() {
            Some(Framing::UntilClose) => reset,
            framing => framing == Some(Framing::Unknown),
        };
        while let Some(event) = self.responses.close() {
            if !(cut_short && matches!(event, ResponseEvent::End(_))) {
                self.response_event(event, &seen, ends, out);
            }
        }
        while let Some(mut open) = self.open.pop_front() {
            if open.response != Progress::Ended {
                open.cut(incomplete, time_ns);
            }
            finish(open, ends, out);
        }
    }

    /// Gives on what is open: observer stops, or the connection is forgotten.
    pub(crate) fn abandon<S: Sink>(&mut self, ends: &Ends, out: &mut Output<'_, S>) {
        while let Some(mut open) = self.open.pop_front() {
            if open.response != Progress::Ended {
                open.mark(Incomplete::Abandoned);
            }
            finish(open, ends, out);
        }
    }

    /// Gives on what is over.
    pub(super) fn settle<S: Sink>(&mut self, ends: &Ends, out: &mut Output<'_, S>) {
        while self.open.front().is_some_and(Open::is_over) {
            if let Some(open) = self.open.pop_front() {
                finish(open, ends, out);
            }
        }
    }
}

pub(super) fn started<'a>(open: &'a Open, ends: &Ends) -> Started<'a> {
    Started {
        role: ends.role,
        process: open.process(),
        method: &open.http.method,
        connection: ends.key,
    }
}

pub(super) fn finish<S: Sink>(open: Open, ends: &Ends, out: &mut Output<'_, S>) {
    if open.announced {
        out.sink.request_ended(&started(&open, ends));
    }
    out.counters.count_exchange(open.incomplete);
    out.sink.exchange(open.into_exchange(ends));
}
