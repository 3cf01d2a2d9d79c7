//! From a response's head to what observer reads of it.

use super::{
    Detection, Framing, RequestKind, ResponseHead,
    body::Body,
    chunked::Chunked,
    detect,
    framing::{Coding, LengthHeaders},
    head::{self, FEW_HEADERS, MANY_HEADERS, Room},
    machine::{Next, Parsed, Syntax},
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
        let mut room: Room<'_, FEW_HEADERS> =
            [const { std::mem::MaybeUninit::uninit() }; FEW_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        match head::lenient().parse_response_with_uninit_headers(&mut response, bytes, &mut room) {
            Ok(httparse::Status::Complete(length)) => self.whole(&response, start, length),
            Err(httparse::Error::TooManyHeaders) => {
                let mut room: Room<'_, MANY_HEADERS> =
                    [const { std::mem::MaybeUninit::uninit() }; MANY_HEADERS];
                let mut response = httparse::Response::new(&mut []);
                match head::lenient().parse_response_with_uninit_headers(
                    &mut response,
                    bytes,
                    &mut room,
                ) {
                    Ok(httparse::Status::Complete(length)) => self.whole(&response, start, length),
                    Ok(httparse::Status::Partial) | Err(_) => None,
                }
            }
            Ok(httparse::Status::Partial) | Err(_) => None,
        }
    }

    fn parse_part(&self, bytes: &[u8], start: u64, length: usize) -> Option<Parsed<StatusHead>> {
        let mut room: Room<'_, MANY_HEADERS> =
            [const { std::mem::MaybeUninit::uninit() }; MANY_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let error = head::lenient()
            .parse_response_with_uninit_headers(&mut response, bytes, &mut room)
            .err();
        let (mut head, _) = read(&response, start, length)?;
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
    /// A head that was seen whole, with its framing (RFC 9112 section 6.3).
    fn whole(
        &self,
        response: &httparse::Response<'_, '_>,
        start: u64,
        length: usize,
    ) -> Option<Parsed<StatusHead>> {
        let (head, lengths) = read(response, start, length)?;
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
        Some(self.with_body(head, length, next, framing))
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

/// What observer reads of a head; `None` where its first line is not one.
fn read(
    response: &httparse::Response<'_, '_>,
    start: u64,
    length: usize,
) -> Option<(ResponseHead, LengthHeaders)> {
    let (status, minor_version) = (response.code?, response.version?);
    if status < 100 {
        return None;
    }
    let mut lengths = LengthHeaders::default();
    let mut event_stream = false;
    for header in response.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            12 if is("content-type") => event_stream = is_event_stream(header.value),
            14 if is("content-length") => lengths.content_length(header.value),
            17 if is("transfer-encoding") => lengths.transfer_encoding(header.value),
            _ => {}
        }
    }
    let head = ResponseHead {
        start,
        end: start.saturating_add(length as u64),
        status,
        minor_version,
        framing: Framing::Unknown,
        content_length: lengths.valid_length(),
        event_stream,
        upgrade: false,
        truncated: false,
    };
    Some((head, lengths))
}

/// `text/event-stream`, with or without parameters.
fn is_event_stream(value: &[u8]) -> bool {
    let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}
