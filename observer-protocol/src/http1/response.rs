//! The answering direction.

use crate::protocol::Number;

use super::{
    Framing, Limits, Malformed, MessageEnd, RequestKind, Segment,
    machine::{Machine, Note, Step},
    response_head::{ResponseSyntax, StatusHead},
};

/// A final response's first line and the headers that observer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Position of the first byte of the status line.
    pub start: u64,
    /// Position after the head's final empty line; of a truncated head, after its last line that was seen.
    pub end: u64,
    /// Status code, 100 to 999: 101 or a final one (others below 200 are `Interim`).
    pub status: u16,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// How the body is delimited.
    pub framing: Framing,
    /// `Content-Length`, also where there is no body (HEAD, 304).
    pub content_length: Option<u64>,
    /// `Content-Type: text/event-stream`.
    pub event_stream: bool,
    /// The connection became a tunnel: 101, or 2xx to CONNECT.
    pub upgrade: bool,
    /// Which protocol follows a 101, where that is one that is read.
    pub upgrades_to: Option<Number>,
    /// The head was not seen whole (larger than what is captured, or cut off): the framing is not known.
    pub truncated: bool,
}

/// What the answering direction shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseEvent {
    /// An interim response (1xx but 101); the final one is still to come.
    Interim {
        /// Status code.
        status: u16,
        /// Position after it.
        at: u64,
    },
    /// A final response's head. One of `End`, `Cut`, `Malformed` or `Lost` follows.
    Head(ResponseHead),
    /// The response that `Head` began has ended. Of a tunnel, right after its head.
    End(MessageEnd),
    /// The direction ended inside a response; without a `Head` before it, inside its status line.
    Cut {
        /// Position after the last byte.
        at: u64,
    },
    /// The response cannot be understood; what follows is skipped up to a run that begins with a response.
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
    /// A status line larger than [`Limits`]. Skipped as after `Malformed`.
    HeadTooLarge {
        /// Position of its first byte.
        at: u64,
    },
    /// The first bytes, or those of a run before any response was seen, are not HTTP/1. May be the middle of a body,
    /// where the connection is older than the observer.
    NotHttp,
}

/// Parses the responses of one connection.
#[derive(Debug)]
pub struct ResponseParser {
    machine: Machine,
    syntax: ResponseSyntax,
}

impl ResponseParser {
    /// A parser at a message's beginning, at the position of whatever it is told first.
    pub fn new(limits: Limits) -> Self {
        Self {
            machine: Machine::new(limits),
            syntax: ResponseSyntax {
                request: RequestKind::Unknown,
            },
        }
    }

    /// Takes from the segment what makes the next event; call until `None`, when the segment is used up. Segments
    /// come in order: a start beyond the expected position is a gap, what lies before it is skipped as overlap.
    /// `request` is the oldest request without a final response, to be looked at anew for each call.
    pub fn poll(
        &mut self,
        segment: &mut Segment<'_>,
        request: RequestKind,
    ) -> Option<ResponseEvent> {
        self.syntax.request = request;
        self.machine.poll(segment, &self.syntax).map(event)
    }

    /// Takes from the segment a head, and the end of its message, in the usual case that these are its first bytes. What is
    /// left is [`poll`](Self::poll)'s.
    pub(super) fn begin(
        &mut self,
        segment: &mut Segment<'_>,
        request: RequestKind,
    ) -> Option<(StatusHead, Option<MessageEnd>)> {
        self.syntax.request = request;
        self.machine.begin(segment, &self.syntax)
    }

    /// A run began at this position (the other side spoke in between): if out of step, a response may begin here. Call
    /// it before [`poll`](Self::poll) gets the run's first segment.
    #[inline]
    pub fn run_started(&mut self, at: u64) {
        self.machine.run_started(at);
    }

    /// Positions up to `to` are known to have moved without being captured. Call until `None`.
    pub fn skip_to(&mut self, to: u64) -> Option<ResponseEvent> {
        self.machine.skip_to(to, &self.syntax).map(event)
    }

    /// The caller knows that a message ended at `at` (the next request's run began, or the kernel saw the chunked
    /// terminator, see [`tail_ends_chunked`](super::tail_ends_chunked)): a response whose framing is not known ends
    /// here, any other is left alone. Call until `None`.
    pub fn end_of_run(&mut self, at: u64) -> Option<ResponseEvent> {
        self.machine.end_of_run(at, &self.syntax).map(event)
    }

    /// There is no room for the head that is kept: it counts as if its rest was not seen. Call until `None`.
    pub fn release(&mut self) -> Option<ResponseEvent> {
        self.machine.release(&self.syntax).map(event)
    }

    /// The direction ended. Call until `None`; afterwards nothing more comes.
    pub fn close(&mut self) -> Option<ResponseEvent> {
        self.machine.close(&self.syntax).map(event)
    }

    /// An event is there of which no byte has to come.
    pub fn has_more(&self) -> bool {
        self.machine.has_more()
    }

    /// Position after the last byte that was taken.
    pub fn position(&self) -> u64 {
        self.machine.position()
    }

    /// The next byte begins a response (after an interim one, the final one).
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

fn event(step: Step<StatusHead>) -> ResponseEvent {
    match step {
        Step::Head(StatusHead::Interim { status, at }) => ResponseEvent::Interim { status, at },
        Step::Head(StatusHead::Final(head)) => ResponseEvent::Head(head),
        Step::Note(Note::End(end)) => ResponseEvent::End(end),
        Step::Note(Note::Cut { at }) => ResponseEvent::Cut { at },
        Step::Note(Note::Malformed { at, reason }) => ResponseEvent::Malformed { at, reason },
        Step::Note(Note::Lost { from, to }) => ResponseEvent::Lost { from, to },
        Step::Note(Note::HeadTooLarge { at }) => ResponseEvent::HeadTooLarge { at },
        Step::Note(Note::NotHttp) => ResponseEvent::NotHttp,
    }
}
