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
    name::Name,
    plain::{Field, Plain},
};
use crate::{
    b3,
    trace_context::{MAX_TRACE_STATE, join_trace_state},
};

/// Most bytes kept of a `b3` header, whose longest form has 67.
const MAX_B3: usize = 128;

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

/// What the header lines of a request say.
#[derive(Debug, Default)]
struct Said<'b> {
    host: Option<&'b [u8]>,
    user_agent: Option<&'b [u8]>,
    traceparent: Option<&'b [u8]>,
    /// How many there are.
    trace_parents: usize,
    trace_states: Vec<&'b [u8]>,
    b3: Option<&'b [u8]>,
    b3_headers: b3::Multiple<'b>,
    expect_continue: bool,
    upgrade: bool,
    lengths: LengthHeaders,
}

impl<'b> Said<'b> {
    /// In the lines that httparse found.
    fn of(headers: &[httparse::Header<'b>]) -> Self {
        let mut said = Self::default();
        head::fields(headers).for_each(|field| said.note(field));
        said
    }

    /// Notes a line. Where there are several of a kind that may come once, the first counts.
    #[inline]
    fn note(&mut self, (name, value): Field<'b>) {
        match name {
            Name::B3 => self.b3 = self.b3.or(Some(value)),
            Name::B3Flags | Name::B3Sampled | Name::B3SpanId | Name::B3TraceId => {
                self.b3_headers.note(name.as_str().as_bytes(), value);
            }
            Name::ContentLength => self.lengths.content_length(value),
            Name::ContentType => {}
            Name::Expect => self.expect_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            Name::Host => self.host = self.host.or(Some(value)),
            Name::TraceParent => {
                self.traceparent = Some(value);
                self.trace_parents += 1;
            }
            Name::TraceState => self.trace_states.push(value),
            Name::TransferEncoding => self.lengths.transfer_encoding(value),
            Name::Upgrade => self.upgrade = true,
            Name::UserAgent => self.user_agent = self.user_agent.or(Some(value)),
        }
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
        let mut said = Said::default();
        if let Some(plain) = Plain::read(bytes, |field| said.note(field))
            && let Some(line) = request_line(plain.first_line)
        {
            return self.whole(line, &said, start, plain.length);
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
        let mut head = self.read(line, &Said::of(request.headers), start, length)?;
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
    fn whole<'b>(
        &self,
        line: Line<'b>,
        said: &Said<'b>,
        start: u64,
        length: usize,
    ) -> Option<Parsed<Box<RequestHead>>> {
        let head = self.read(line, said, start, length)?;
        let lengths = &said.lengths;
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
    fn read<'b>(
        &self,
        (method, target, minor_version): Line<'b>,
        said: &Said<'b>,
        start: u64,
        length: usize,
    ) -> Option<Box<RequestHead>> {
        if method.len() > MAX_METHOD {
            return None;
        }
        let mut head = self.spare.take().unwrap_or_default();
        head.begin(start, start.saturating_add(length as u64));
        head.method = token(method);
        head.minor_version = minor_version;
        let named = || authority(method, target).map(str::as_bytes);
        let host = said.host.or_else(named);
        // Of several, which counts is not known.
        let only = said.traceparent.filter(|_| said.trace_parents == 1);
        head.texts
            .write([Some(target), host, said.user_agent, only]);
        if only.is_some() && !said.trace_states.is_empty() {
            let states = said.trace_states.iter().copied();
            head.tracestate = join_trace_state(states, MAX_TRACE_STATE);
        }
        let single = said.b3.map(|value| text(value, MAX_B3).into());
        head.b3 = single.or_else(|| said.b3_headers.single());
        head.content_length = said.lengths.valid_length();
        head.chunked = said.lengths.coding() == Some(Coding::Chunked);
        head.expect_continue = said.expect_continue;
        head.upgrade = said.upgrade;
        Some(head)
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
            Ok(httparse::Status::Complete(length)) => {
                let line = first_line(&request)?;
                self.whole(line, &Said::of(request.headers), start, length)
            }
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
pub(super) type Line<'b> = (&'b str, &'b [u8], u8);

/// A method in capitals, a target in ASCII and a version, with one space between them; `None` for anything else.
pub(super) fn request_line(line: &[u8]) -> Option<Line<'_>> {
    let (line, version) = line.split_last_chunk::<9>()?;
    let minor_version = match version {
        b" HTTP/1.1" => 1,
        b" HTTP/1.0" => 0,
        _ => return None,
    };
    let method = line.iter().position(|byte| !byte.is_ascii_uppercase())?;
    let (method, rest) = line.split_at(method);
    let target = rest.strip_prefix(b" ")?;
    if method.is_empty() || !is_visible(target) {
        return None;
    }
    let method = common(method).or_else(|| str::from_utf8(method).ok())?;
    Some((method, target, minor_version))
}

/// Whether these are some bytes, all of them ASCII and beyond the space.
fn is_visible(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let (words, rest) = bytes.as_chunks::<8>();
    let marked = words.iter().fold(0, |marked, word| {
        let word = u64::from_le_bytes(*word);
        // The highest bit of a byte that is not: of one beyond ASCII it is set already, and only such a one carries into
        // its neighbour's.
        marked | word | !word.wrapping_add(ONES * (0x80 - 0x21))
    });
    marked & (ONES * 0x80) == 0
        && !bytes.is_empty()
        && rest.iter().all(|byte| (0x21..0x80).contains(byte))
}

/// What httparse read of the first line; `None` where that is not one.
fn first_line<'b>(request: &httparse::Request<'_, 'b>) -> Option<Line<'b>> {
    Some((request.method?, request.path?.as_bytes(), request.version?))
}

/// A body that may not come where the server has to ask for it.
fn body(body: Body, head: &RequestHead) -> Next {
    Next::Body {
        body,
        doubtful: head.expect_continue,
    }
}

/// A method of every day.
fn common(method: &[u8]) -> Option<&'static str> {
    Some(match method {
        b"GET" => "GET",
        b"POST" => "POST",
        b"PUT" => "PUT",
        b"HEAD" => "HEAD",
        b"DELETE" => "DELETE",
        b"PATCH" => "PATCH",
        b"OPTIONS" => "OPTIONS",
        _ => return None,
    })
}

/// A method; those of every day without an allocation.
pub(crate) fn token(method: &str) -> Cow<'static, str> {
    common(method.as_bytes()).map_or_else(|| Cow::Owned(method.into()), Cow::Borrowed)
}

/// The authority of a target in absolute form, or of CONNECT (RFC 9112 section 3.2).
fn authority<'t>(method: &str, target: &'t [u8]) -> Option<&'t str> {
    let target = str::from_utf8(target).ok()?;
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
