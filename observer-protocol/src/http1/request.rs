//! The requesting direction.

use std::borrow::Cow;

use super::{
    Framing, Limits, Malformed, MessageEnd, RequestKind, Segment, Texts,
    machine::{Machine, Note, Step},
    request_head::RequestSyntax,
};

/// A request's first line and the headers that observer reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// Position of the first byte of the request line.
    pub start: u64,
    /// Position after the head's final empty line; of a truncated head, after its last line that was seen.
    pub end: u64,
    /// Method token as it was sent.
    pub method: Cow<'static, str>,
    /// Target, host, user agent and `traceparent`.
    pub texts: Texts,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// `tracestate` headers joined, at most 512 bytes in whole entries; `None` without a `traceparent`.
    pub tracestate: Option<Box<str>>,
    /// `b3` header as it was sent, at most 128 bytes of it; else the `X-B3-*` headers in that form. Not checked.
    pub b3: Option<Box<str>>,
    /// `Content-Length`.
    pub content_length: Option<u64>,
    /// The body is chunked (then `content_length` means nothing).
    pub chunked: bool,
    /// `Expect: 100-continue`: the body may wait for an interim response, or never come.
    pub expect_continue: bool,
    /// There is an `Upgrade` header.
    pub upgrade: bool,
    /// The head was not seen whole (larger than what is captured, or cut off): headers may be missing and the
    /// framing is not known.
    pub truncated: bool,
}

impl RequestHead {
    /// Says nothing but where it stands, and its texts as they were.
    pub(super) fn begin(&mut self, at: u64, to: u64) {
        // Each field by name, so that none is left as it was.
        let Self {
            start,
            end,
            method,
            // Written by whoever begins it.
            texts: _,
            minor_version,
            tracestate,
            b3,
            content_length,
            chunked,
            expect_continue,
            upgrade,
            truncated,
        } = self;
        (*start, *end) = (at, to);
        *method = Cow::Borrowed("");
        *minor_version = 0;
        (*tracestate, *b3) = (None, None);
        *content_length = None;
        (*chunked, *expect_continue, *upgrade, *truncated) = (false, false, false, false);
    }

    /// What the response's framing depends on.
    pub fn kind(&self) -> RequestKind {
        match &*self.method {
            "HEAD" => RequestKind::Head,
            "CONNECT" => RequestKind::Connect,
            _ => RequestKind::Other,
        }
    }
}

/// What the requesting direction shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestEvent {
    /// A request's head. One of `End`, `Cut`, `Malformed` or `Lost` follows.
    Head(Box<RequestHead>),
    /// The request that `Head` began has ended.
    End(MessageEnd),
    /// The direction ended inside a request; without a `Head` before it, inside its request line.
    Cut {
        /// Position after the last byte.
        at: u64,
    },
    /// The request cannot be understood; what follows is skipped up to a run that begins with a request.
    Malformed {
        /// Position where it was noticed.
        at: u64,
        /// What is wrong.
        reason: Malformed,
    },
    /// Bytes were not seen where a head was or may have been: heads may be missing. Skipped as after `Malformed`.
    Lost {
        /// Position of the first byte that is missing, or of the head in which it is.
        from: u64,
        /// Position after the last.
        to: u64,
    },
    /// A request line larger than [`Limits`]. Skipped as after `Malformed`.
    HeadTooLarge {
        /// Position of its first byte.
        at: u64,
    },
    /// The first bytes, or those of a run before any request was seen, are not HTTP/1. May be the middle of a body,
    /// where the connection is older than the observer.
    NotHttp,
}

/// Parses the requests of one connection.
#[derive(Debug)]
pub struct RequestParser {
    machine: Machine,
    syntax: RequestSyntax,
}

impl RequestParser {
    /// A parser at a message's beginning, at the position of whatever it is told first.
    pub fn new(limits: Limits) -> Self {
        Self {
            machine: Machine::new(limits),
            syntax: RequestSyntax::default(),
        }
    }

    /// Takes from the segment what makes the next event; call until `None`, when the segment is used up. Segments
    /// come in order: a start beyond the expected position is a gap, what lies before it is skipped as overlap.
    pub fn poll(&mut self, segment: &mut Segment<'_>) -> Option<RequestEvent> {
        self.machine.poll(segment, &self.syntax).map(event)
    }

    /// Takes from the segment a head, and the end of its message, in the usual case that these are its first bytes. What is
    /// left is [`poll`](Self::poll)'s.
    pub(super) fn begin(
        &mut self,
        segment: &mut Segment<'_>,
    ) -> Option<(Box<RequestHead>, Option<MessageEnd>)> {
        self.machine.begin(segment, &self.syntax)
    }

    /// Takes back a head that is no longer needed: the next one is written into it.
    pub fn take_back(&mut self, head: Box<RequestHead>) {
        self.syntax.take_back(head);
    }

    /// A run began at this position (the other side spoke in between): if out of step, a request may begin here. Call
    /// it before [`poll`](Self::poll) gets the run's first segment.
    #[inline]
    pub fn run_started(&mut self, at: u64) {
        self.machine.run_started(at);
    }

    /// Positions up to `to` are known to have moved without being captured. Call until `None`.
    pub fn skip_to(&mut self, to: u64) -> Option<RequestEvent> {
        self.machine.skip_to(to, &self.syntax).map(event)
    }

    /// The caller knows that a message ended at `at` (the response came, or the kernel saw the chunked terminator):
    /// a request whose framing is not known ends here, any other is left alone. Call until `None`.
    pub fn end_of_run(&mut self, at: u64) -> Option<RequestEvent> {
        self.machine.end_of_run(at, &self.syntax).map(event)
    }

    /// There is no room for the head that is kept: it counts as if its rest was not seen. Call until `None`.
    pub fn release(&mut self) -> Option<RequestEvent> {
        self.machine.release(&self.syntax).map(event)
    }

    /// The direction ended. Call until `None`; afterwards nothing more comes.
    pub fn close(&mut self) -> Option<RequestEvent> {
        self.machine.close(&self.syntax).map(event)
    }

    /// The response made the connection a tunnel: all further bytes are ignored. A request that has not ended does so
    /// with the next call.
    pub fn enter_tunnel(&mut self) {
        self.machine.enter_tunnel();
    }

    /// An event is there of which no byte has to come.
    pub fn has_more(&self) -> bool {
        self.machine.has_more()
    }

    /// Position after the last byte that was taken.
    pub fn position(&self) -> u64 {
        self.machine.position()
    }

    /// The next byte begins a request.
    pub fn is_between_messages(&self) -> bool {
        self.machine.is_between_messages()
    }

    /// Bytes are ignored because the connection became a tunnel.
    pub fn is_tunnel(&self) -> bool {
        self.machine.is_tunnel()
    }

    /// Bytes are ignored up to the next run, because some were lost or malformed.
    pub fn is_out_of_sync(&self) -> bool {
        self.machine.is_out_of_sync()
    }

    /// Framing of the current message's body (`None` while it is in the head or between messages).
    pub fn framing(&self) -> Option<Framing> {
        self.machine.framing()
    }

    /// Bytes that are still to come of a body with `Content-Length`; `None` for others and outside a body.
    pub fn body_remaining(&self) -> Option<u64> {
        self.machine.body_remaining()
    }

    /// Bytes of an unfinished head that are kept, at most [`Limits::head_bytes`].
    pub fn buffered(&self) -> usize {
        self.machine.buffered()
    }
}

fn event(step: Step<Box<RequestHead>>) -> RequestEvent {
    match step {
        Step::Head(head) => RequestEvent::Head(head),
        Step::Note(Note::End(end)) => RequestEvent::End(end),
        Step::Note(Note::Cut { at }) => RequestEvent::Cut { at },
        Step::Note(Note::Malformed { at, reason }) => RequestEvent::Malformed { at, reason },
        Step::Note(Note::Lost { from, to }) => RequestEvent::Lost { from, to },
        Step::Note(Note::HeadTooLarge { at }) => RequestEvent::HeadTooLarge { at },
        Step::Note(Note::NotHttp) => RequestEvent::NotHttp,
    }
}
