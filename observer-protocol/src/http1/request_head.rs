//! From a request's head to what observer reads of it.

use std::{borrow::Cow, cell::Cell, fmt};

use super::{
    Detection, Malformed, RequestHead,
    body::Body,
    chunked::Chunked,
    detect::{self, MAX_METHOD},
    framing::{Coding, LengthHeaders},
    head::{self, text},
    machine::{Next, Parsed, Syntax},
    plain::{Initials, Plain, is_name},
};
use crate::{
    b3,
    trace_context::{MAX_TRACE_STATE, join_trace_state},
};

/// Most bytes kept of the request target.
const MAX_TARGET: usize = 2048;
/// Most bytes kept of `Host` and of `User-Agent`.
const MAX_TEXT: usize = 256;
/// Most bytes kept of a `traceparent`: a longer one is malformed, and still is when it is cut.
const MAX_TRACE_PARENT: usize = 256;
/// Most bytes kept of a `b3` header, whose longest form has 67.
const MAX_B3: usize = 128;

/// Of the header lines that are asked for.
const INITIALS: Initials = Initials::new(b"bcehtux");

/// The requesting direction.
#[derive(Default)]
pub(super) struct RequestSyntax {
    /// A head that is written over, so that its texts need no new room.
    spare: Cell<Option<Box<RequestHead>>>,
}

impl fmt::Debug for RequestSyntax {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RequestSyntax")
            .finish_non_exhaustive()
    }
}

impl Syntax for RequestSyntax {
    type Head = Box<RequestHead>;

    fn first_line(bytes: &[u8]) -> Option<bool> {
        match detect::request(bytes) {
            Detection::Request => Some(true),
            Detection::Incomplete => None,
            Detection::Response | Detection::No => Some(false),
        }
    }

    fn parse(&self, bytes: &[u8], start: u64) -> Option<Parsed<Self::Head>> {
        if let Some(plain) = Plain::read(bytes, INITIALS) {
            let length = plain.length();
            if let Some(text) = plain.text() {
                if let Some(line) = text_line(&text[..plain.first_line().len()]) {
                    return self.whole(line, plain.texts(text), start, length);
                }
            } else if let Some(line) = request_line(plain.first_line()) {
                return self.whole(line, plain.fields(), start, length);
            }
        }
        self.parse_uncommon(bytes, start)
    }

    fn parse_part(&self, bytes: &[u8], start: u64, length: usize) -> Option<Parsed<Self::Head>> {
        let legible = legible_target(bytes);
        let bytes = legible.as_deref().unwrap_or(bytes);
        let mut room = head::room();
        let mut request = httparse::Request::new(&mut []);
        let next =
            match head::lenient().parse_request_with_uninit_headers(&mut request, bytes, &mut room)
            {
                Ok(_) => Next::Body {
                    body: Body::Unknown { supposed: None },
                    doubtful: false,
                },
                Err(error) => Next::Malformed(head::reason(error)),
            };
        let line = first_line(&request)?;
        let (mut head, _) = self.read(line, head::fields(request.headers), start, length)?;
        head.truncated = true;
        Some(Parsed { head, length, next })
    }
}

impl RequestSyntax {
    /// A head that is no longer needed.
    pub(super) fn take_back(&mut self, head: Box<RequestHead>) {
        self.spare.set(Some(head));
    }

    /// A head that was seen whole, with its framing.
    fn whole<'b, V: Value<'b>>(
        &self,
        line: Line<'_>,
        fields: impl Iterator<Item = (&'b [u8], V)> + Clone,
        start: u64,
        length: usize,
    ) -> Option<Parsed<Box<RequestHead>>> {
        let (head, lengths) = self.read(line, fields, start, length)?;
        let next = match (lengths.coding(), lengths.length()) {
            (Some(Coding::Chunked), _) => body(Body::Chunked(Chunked::new()), &head),
            (Some(Coding::Other), _) => Next::Malformed(Malformed::TransferEncoding),
            (None, Ok(None | Some(0))) => Next::End,
            (None, Ok(Some(size))) => body(Body::length(size), &head),
            (None, Err(reason)) => Next::Malformed(reason),
        };
        Some(Parsed { head, length, next })
    }

    /// What observer reads of a head; `None` where its first line is not one.
    fn read<'b, V: Value<'b>>(
        &self,
        (method, target, minor_version): Line<'_>,
        fields: impl Iterator<Item = (&'b [u8], V)> + Clone,
        start: u64,
        length: usize,
    ) -> Option<(Box<RequestHead>, LengthHeaders)> {
        if method.len() > MAX_METHOD {
            return None;
        }
        let mut head = self.spare.take().unwrap_or_default();
        let mut spare = std::mem::take(&mut *head);
        spare.target.clear();
        spare
            .target
            .push_str(&target[..target.floor_char_boundary(MAX_TARGET)]);
        head.start = start;
        head.end = start.saturating_add(length as u64);
        head.method = token(method);
        head.target = spare.target;
        head.minor_version = minor_version;
        let mut lengths = LengthHeaders::default();
        let mut trace_parents = 0u32;
        let mut has_trace_state = false;
        let mut b3_headers = b3::Multiple::default();
        for (name, value) in fields.clone() {
            let is = |known: &[u8]| is_name(name, known);
            match name.len() {
                2 if is(b"b3") => {
                    head.b3 = head
                        .b3
                        .take()
                        .or_else(|| Some(text(value.bytes(), MAX_B3).into()))
                }
                4 if is(b"host") => keep(&mut head.host, &mut spare.host, value, MAX_TEXT),
                6 if is(b"expect") => {
                    head.expect_continue |= value.bytes().eq_ignore_ascii_case(b"100-continue")
                }
                7 if is(b"upgrade") => head.upgrade = true,
                10 if is(b"user-agent") => {
                    keep(&mut head.user_agent, &mut spare.user_agent, value, MAX_TEXT);
                }
                10 if is(b"tracestate") => has_trace_state = true,
                11 if is(b"traceparent") => {
                    trace_parents += 1;
                    match trace_parents {
                        1 => {
                            let (kept, spare) = (&mut head.traceparent, &mut spare.traceparent);
                            keep(kept, spare, value, MAX_TRACE_PARENT);
                        }
                        // Which of them counts is not known.
                        _ => head.traceparent = None,
                    }
                }
                14 if is(b"content-length") => lengths.content_length(value.bytes()),
                17 if is(b"transfer-encoding") => lengths.transfer_encoding(value.bytes()),
                10..=12 => b3_headers.note(name, value.bytes()),
                _ => {}
            }
        }
        if has_trace_state && head.traceparent.is_some() {
            let states = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"tracestate"));
            head.tracestate =
                join_trace_state(states.map(|(_, value)| value.bytes()), MAX_TRACE_STATE);
        }
        if head.b3.is_none() {
            head.b3 = b3_headers.single();
        }
        if head.host.is_none()
            && let Some(authority) = authority(method, target)
        {
            let (kept, spare) = (&mut head.host, &mut spare.host);
            keep(kept, spare, authority.as_bytes(), MAX_TEXT);
        }
        head.content_length = lengths.valid_length();
        head.chunked = lengths.coding() == Some(Coding::Chunked);
        Some((head, lengths))
    }

    /// Any head, by httparse. Apart, since its room on the stack is large.
    #[cold]
    #[inline(never)]
    pub(super) fn parse_uncommon(
        &self,
        bytes: &[u8],
        start: u64,
    ) -> Option<Parsed<Box<RequestHead>>> {
        let mut room = head::room();
        let mut request = httparse::Request::new(&mut []);
        match head::lenient().parse_request_with_uninit_headers(&mut request, bytes, &mut room) {
            Ok(httparse::Status::Complete(length)) => self.whole(
                first_line(&request)?,
                head::fields(request.headers),
                start,
                length,
            ),
            Err(httparse::Error::Token) => {
                let length = head::length(bytes, 0)?;
                let legible = legible_target(&bytes[..length])?;
                let parsed = self.parse(&legible, start)?;
                let mut head = parsed.head;
                head.end = start.saturating_add(length as u64);
                Some(Parsed {
                    head,
                    length,
                    ..parsed
                })
            }
            Ok(httparse::Status::Partial) | Err(_) => None,
        }
    }
}

/// The head with U+FFFD for what is not UTF-8 in the target, which httparse refuses; `None` where the target is not
/// the reason for its refusal.
fn legible_target(bytes: &[u8]) -> Option<Vec<u8>> {
    let line = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at(line);
    std::str::from_utf8(line)
        .is_err()
        .then(|| [String::from_utf8_lossy(line).as_bytes(), rest].concat())
}

/// Method, target and minor version.
pub(super) type Line<'b> = (&'b str, &'b str, u8);

/// A method in capitals, a target in ASCII and a version, with one space between them; `None` for anything else.
pub(super) fn request_line(line: &[u8]) -> Option<Line<'_>> {
    text_line(std::str::from_utf8(line).ok()?)
}

/// The same of text.
fn text_line(line: &str) -> Option<Line<'_>> {
    let bytes = line.as_bytes();
    let minor_version = match bytes.last_chunk::<9>()? {
        b" HTTP/1.1" => 1,
        b" HTTP/1.0" => 0,
        _ => return None,
    };
    let line = &line[..line.len() - 9];
    let method = bytes.iter().position(|byte| !byte.is_ascii_uppercase())?;
    let (method, target) = (line.get(..method)?, line.get(method..)?.strip_prefix(' ')?);
    let plain = !method.is_empty()
        && !target.is_empty()
        && target.is_ascii()
        && !target.as_bytes().contains(&b' ');
    Some((method, target, minor_version)).filter(|_| plain)
}

/// What httparse read of the first line; `None` where that is not one.
fn first_line<'b>(request: &httparse::Request<'_, 'b>) -> Option<Line<'b>> {
    Some((request.method?, request.path?, request.version?))
}

/// A body that may not come where the server has to ask for it.
fn body(body: Body, head: &RequestHead) -> Next {
    Next::Body {
        body,
        doubtful: head.expect_continue,
    }
}

/// A method; those of every day without an allocation.
fn token(method: &str) -> Cow<'static, str> {
    const COMMON: [&str; 7] = ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"];
    match COMMON.iter().find(|known| **known == method) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(method.into()),
    }
}

/// Keeps the first value of a header, in room that was used before.
fn keep<'b>(
    kept: &mut Option<String>,
    spare: &mut Option<String>,
    value: impl Value<'b>,
    limit: usize,
) {
    if kept.is_none() {
        let mut text = spare.take().unwrap_or_default();
        text.clear();
        value.push_to(&mut text, limit);
        *kept = Some(text);
    }
}

/// A header's value.
trait Value<'b>: Copy {
    fn bytes(self) -> &'b [u8];
    /// At most `limit` bytes of it as text.
    fn push_to(self, text: &mut String, limit: usize);
}

impl<'b> Value<'b> for &'b [u8] {
    fn bytes(self) -> &'b [u8] {
        self
    }

    fn push_to(self, text: &mut String, limit: usize) {
        head::push_text(text, self, limit);
    }
}

impl<'b> Value<'b> for &'b str {
    fn bytes(self) -> &'b [u8] {
        self.as_bytes()
    }

    fn push_to(self, text: &mut String, limit: usize) {
        text.push_str(&self[..self.floor_char_boundary(limit)]);
    }
}

/// The authority of a target in absolute form, or of CONNECT (RFC 9112 section 3.2).
fn authority<'t>(method: &str, target: &'t str) -> Option<&'t str> {
    if method == "CONNECT" {
        return Some(target);
    }
    if target.starts_with('/') {
        return None;
    }
    let (_, rest) = target.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // User information is a credential, and no part of what Host would have said.
    let host = authority.rsplit('@').next().unwrap_or_default();
    (!host.is_empty()).then_some(host)
}
