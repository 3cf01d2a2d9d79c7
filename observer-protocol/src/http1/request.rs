//! The requesting direction.

use super::{Framing, Limits, Malformed, MessageEnd, RequestKind, Segment};

/// A request's first line and the headers that observer reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// Position of the first byte of the request line.
    pub start: u64,
    /// Position after the head's final empty line; of a truncated head, after its last line that was seen.
    pub end: u64,
    /// Method token as it was sent.
    pub method: Box<str>,
    /// Request target as it was sent, query included, at most 2 KiB of it.
    pub target: Box<str>,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// `Host` header, else the authority of an absolute or authority-form target; at most 256 bytes.
    pub host: Option<Box<str>>,
    /// `User-Agent` header, at most 256 bytes.
    pub user_agent: Option<Box<str>>,
    /// `traceparent` as it was sent, not checked; `None` where there is none or more than one.
    pub traceparent: Option<Box<str>>,
    /// `tracestate` headers joined, at most 512 bytes in whole entries; `None` without a `traceparent`.
    pub tracestate: Option<Box<str>>,
    /// `b3` single header as it was sent, at most 128 bytes.
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
    limits: Limits,
    position: u64,
}

impl RequestParser {
    /// A parser at a message's beginning, at the position of whatever it is told first.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            position: 0,
        }
    }

    /// Takes from the segment what makes the next event; call until `None`, when the segment is used up. Segments
    /// come in order: a start beyond the expected position is a gap, what lies before it is skipped as overlap.
    pub fn poll(&mut self, segment: &mut Segment<'_>) -> Option<RequestEvent> {
        let _ = self.limits;
        self.position = self.position.max(segment.end);
        segment.advance_to(segment.end);
        None
    }

    /// A run began at this position (the other side spoke in between): if out of step, a request may begin here.
    pub fn run_started(&mut self, at: u64) {
        let _ = at;
    }

    /// Positions up to `to` are known to have moved without being captured. Call until `None`.
    pub fn skip_to(&mut self, to: u64) -> Option<RequestEvent> {
        self.position = self.position.max(to);
        None
    }

    /// The caller knows that a message ended at `at` (the response came, the next run began, or the kernel saw the
    /// chunked terminator): a request whose framing is not known ends here, any other is left alone. Call until `None`.
    pub fn end_of_run(&mut self, at: u64) -> Option<RequestEvent> {
        self.skip_to(at)
    }

    /// The direction ended. Call until `None`; afterwards nothing more comes.
    pub fn close(&mut self) -> Option<RequestEvent> {
        None
    }

    /// The response made the connection a tunnel: all further bytes are ignored.
    pub fn enter_tunnel(&mut self) {}

    /// Position after the last byte that was taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next byte begins a request.
    pub fn is_between_messages(&self) -> bool {
        true
    }

    /// Bytes are ignored because the connection became a tunnel.
    pub fn is_tunnel(&self) -> bool {
        false
    }

    /// Bytes are ignored up to the next run, because one was lost or malformed.
    pub fn is_out_of_sync(&self) -> bool {
        false
    }

    /// Framing of the current message's body; `None` outside a body.
    pub fn framing(&self) -> Option<Framing> {
        None
    }

    /// Bytes that are still to come of a body with `Content-Length`; `None` for others and outside a body.
    pub fn body_remaining(&self) -> Option<u64> {
        None
    }

    /// Bytes of an unfinished head that are kept, at most [`Limits::head_bytes`].
    pub fn buffered(&self) -> usize {
        0
    }
}
