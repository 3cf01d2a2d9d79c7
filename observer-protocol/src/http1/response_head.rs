//! From a response's head to what observer reads of it.

use super::{
    Detection, Framing, RequestKind, ResponseHead,
    body::Body,
    chunked::Chunked,
    detect,
    framing::{Coding, LengthHeaders},
    head,
    machine::{Next, Parsed, Syntax},
    name::Name,
    plain::{Field, Plain},
};
use crate::{
    protocol::{Number, Protocol},
    websocket::WebSocket,
};

/// The answering direction.
#[derive(Debug)]
pub(super) struct ResponseSyntax {
    /// What is being answered.
    pub(super) request: RequestKind,
}

/// An interim or a final head.
#[derive(Debug)]
pub(super) enum StatusHead {
    Interim { status: u16, at: u64 },
    Final(ResponseHead),
}

impl Syntax for ResponseSyntax {
    type Head = StatusHead;

    fn first_line(bytes: &[u8]) -> Option<bool> {
        match detect::response(bytes) {
            Detection::Response => Some(true),
            Detection::Incomplete => None,
            Detection::Request | Detection::No => Some(false),
        }
    }

    fn parse(&self, bytes: &[u8], start: u64) -> Option<Parsed<StatusHead>> {
        let mut said = Said::default();
        if let Some(plain) = Plain::read(bytes, |field| said.note(field))
            && let Some((status, minor_version)) = status_line(plain.first_line)
        {
            let head = head(start, plain.length, status, minor_version);
            return Some(self.whole(head, plain.length, &said));
        }
        self.parse_uncommon(bytes, start)
    }

    fn parse_part(&self, bytes: &[u8], start: u64, length: usize) -> Option<Parsed<StatusHead>> {
        let mut room = head::room();
        let mut response = httparse::Response::new(&mut []);
        let error = head::lenient()
            .parse_response_with_uninit_headers(&mut response, bytes, &mut room)
            .err();
        let mut head = first_line(&response, start, length)?;
        head.read(&Said::of(response.headers));
        head.truncated = true;
        let unknown = Next::Body {
            body: Body::Unknown { supposed: None },
            doubtful: false,
        };
        Some(match error {
            Some(error) => {
                head.framing = Framing::Unknown;
                Parsed {
                    head: StatusHead::Final(head),
                    length,
                    next: Next::Malformed(head::reason(error)),
                }
            }
            None => self.with_body(head, length, unknown, Framing::Unknown),
        })
    }
}

impl ResponseSyntax {
    /// Any head, by httparse. Apart, since its room on the stack is large.
    #[cold]
    #[inline(never)]
    pub(super) fn parse_uncommon(&self, bytes: &[u8], start: u64) -> Option<Parsed<StatusHead>> {
        let mut room = head::room();
        let mut response = httparse::Response::new(&mut []);
        match head::lenient().parse_response_with_uninit_headers(&mut response, bytes, &mut room) {
            Ok(httparse::Status::Complete(length)) => {
                let head = first_line(&response, start, length)?;
                Some(self.whole(head, length, &Said::of(response.headers)))
            }
            Ok(httparse::Status::Partial) | Err(_) => None,
        }
    }

    /// A head that was seen whole, with its framing (RFC 9112 section 6.3).
    fn whole(&self, mut head: ResponseHead, length: usize, said: &Said) -> Parsed<StatusHead> {
        head.read(said);
        let lengths = &said.lengths;
        // The answer to a HEAD that was not seen looks as if it had a body.
        let doubtful = self.request == RequestKind::Unknown;
        let with = |body: Body, framing| (Next::Body { body, doubtful }, framing);
        let bodiless = self.request == RequestKind::Head || matches!(head.status, 204 | 304);
        let (next, framing) = match (lengths.coding(), lengths.length()) {
            _ if bodiless => (Next::End, Framing::None),
            (Some(Coding::Chunked), _) => with(Body::Chunked(Chunked::new()), Framing::Chunked),
            (None, Ok(Some(0))) => (Next::End, Framing::Length(0)),
            (None, Ok(Some(size))) => with(Body::length(size), Framing::Length(size)),
            (None, Err(reason)) => (Next::Malformed(reason), Framing::Unknown),
            (Some(Coding::Other), _) | (None, Ok(None)) => {
                with(Body::UntilClose { size: 0 }, Framing::UntilClose)
            }
        };
        self.with_body(head, length, next, framing)
    }

    /// Interim heads and tunnels, which have no body whatever their headers say.
    fn with_body(
        &self,
        mut head: ResponseHead,
        length: usize,
        next: Next,
        framing: Framing,
    ) -> Parsed<StatusHead> {
        let tunnel = head.status == 101
            || (self.request == RequestKind::Connect && (200..300).contains(&head.status));
        if tunnel {
            head.upgrade = true;
            head.framing = Framing::Tunnel;
            return Parsed {
                head: StatusHead::Final(head),
                length,
                next: Next::Tunnel,
            };
        }
        if head.status < 200 {
            let interim = StatusHead::Interim {
                status: head.status,
                at: head.end,
            };
            return Parsed {
                head: interim,
                length,
                next: Next::Head,
            };
        }
        head.framing = framing;
        Parsed {
            head: StatusHead::Final(head),
            length,
            next,
        }
    }
}

/// Version, space, three digits, and a space if there is a reason; `None` for anything else.
pub(super) fn status_line(line: &[u8]) -> Option<(u16, u8)> {
    let [minor @ (b'0' | b'1'), b' ', rest @ ..] = line.strip_prefix(b"HTTP/1.")? else {
        return None;
    };
    let (digits, reason) = rest.split_first_chunk::<3>()?;
    let plain = digits.iter().all(u8::is_ascii_digit) && matches!(reason, [] | [b' ', ..]);
    let status = digits
        .iter()
        .fold(0, |status, digit| status * 10 + u16::from(digit & 15));
    (plain && status >= 100).then_some((status, minor - b'0'))
}

/// What httparse read of the first line; `None` where that is not one.
fn first_line(
    response: &httparse::Response<'_, '_>,
    start: u64,
    length: usize,
) -> Option<ResponseHead> {
    let (status, minor_version) = (response.code?, response.version?);
    (status >= 100).then(|| head(start, length, status, minor_version))
}

const fn head(start: u64, length: usize, status: u16, minor_version: u8) -> ResponseHead {
    ResponseHead {
        start,
        end: start.saturating_add(length as u64),
        status,
        minor_version,
        framing: Framing::Unknown,
        content_length: None,
        event_stream: false,
        upgrade: false,
        upgrades_to: None,
        truncated: false,
    }
}

/// What the header lines of a response say.
#[derive(Debug, Default)]
struct Said {
    lengths: LengthHeaders,
    event_stream: bool,
    upgrades_to: Option<Number>,
}

impl Said {
    /// In the lines that httparse found.
    fn of(headers: &[httparse::Header<'_>]) -> Self {
        let mut said = Self::default();
        head::fields(headers).for_each(|field| said.note(field));
        said
    }

    /// Notes a line.
    #[inline]
    fn note(&mut self, (name, value): Field<'_>) {
        match name {
            Name::ContentType => self.event_stream = is_event_stream(value),
            Name::ContentLength => self.lengths.content_length(value),
            Name::TransferEncoding => self.lengths.transfer_encoding(value),
            Name::Upgrade => self.upgrades_to = follows(value),
            _ => {}
        }
    }
}

impl ResponseHead {
    fn read(&mut self, said: &Said) {
        self.content_length = said.lengths.valid_length();
        self.event_stream = said.event_stream;
        self.upgrades_to = said.upgrades_to.filter(|_| self.status == 101);
    }
}

/// The protocol that an `Upgrade` header of an answer names (RFC 9110 section 7.8), where it is one that is read.
fn follows(value: &[u8]) -> Option<Number> {
    let is = |name: &[u8]| value.trim_ascii().eq_ignore_ascii_case(name);
    is(b"websocket").then_some(WebSocket::NUMBER)
}

/// `text/event-stream`, with or without parameters.
fn is_event_stream(value: &[u8]) -> bool {
    const KIND: &[u8] = b"text/event-stream";
    value
        .split_at_checked(KIND.len())
        .is_some_and(|(kind, rest)| {
            kind.eq_ignore_ascii_case(KIND) && matches!(rest.trim_ascii_start(), [] | [b';', ..])
        })
}
