//! From the fields of a header block to what observer reads of it.

use std::{borrow::Cow, ops::Range};

use super::hpack::Name;
use crate::{
    b3,
    http1::{Texts, token},
    trace_context::{MAX_TRACE_STATE, join_trace_state},
};

/// What a message's body is, as far as more than its bytes can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Content {
    /// Bytes.
    #[default]
    Other,
    /// Messages of gRPC, each behind five bytes.
    Grpc,
    /// The same, with trailers behind the last (gRPC-Web).
    GrpcWeb,
    /// The same in base64.
    GrpcWebText,
    /// Messages of Connect's streams, each behind five bytes.
    Connect,
    /// Server-sent events.
    EventStream,
}

impl Content {
    /// What a `content-type` says.
    pub fn of(content_type: &[u8]) -> Self {
        let end = content_type
            .iter()
            .position(|byte| matches!(byte, b';' | b' '));
        let kind = &content_type[..end.unwrap_or(content_type.len())];
        let is = |name: &[u8]| kind.eq_ignore_ascii_case(name);
        // What follows a plus sign is how messages are written.
        let family = kind.split(|byte| *byte == b'+').next().unwrap_or_default();
        let is_family = |name: &[u8]| family.eq_ignore_ascii_case(name);
        if is_family(b"application/grpc") {
            Self::Grpc
        } else if is_family(b"application/grpc-web") {
            Self::GrpcWeb
        } else if is_family(b"application/grpc-web-text") {
            Self::GrpcWebText
        } else if is_family(b"application/connect") {
            Self::Connect
        } else if is(b"text/event-stream") {
            Self::EventStream
        } else {
            Self::Other
        }
    }

    /// Whether it is a sequence of messages, each behind five bytes that tell its length.
    pub const fn has_messages(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcWeb | Self::Connect)
    }

    /// Whether it is a remote procedure call's.
    pub const fn is_call(self) -> bool {
        !matches!(self, Self::Other | Self::EventStream)
    }
}

/// A request's fields, as far as observer reads them. What was not written or is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// `:method` as it was sent.
    pub method: Cow<'static, str>,
    /// `:path`; `:authority`, else `host`; `user-agent`; `traceparent`, else what `grpc-trace-bin` says in its form.
    pub texts: Texts,
    /// `tracestate` fields joined, at most 512 bytes in whole entries; `None` without a `traceparent`.
    pub tracestate: Option<Box<str>>,
    /// `b3` as it was sent, at most 128 bytes of it; else the `x-b3-*` fields in that form. Not checked.
    pub b3: Option<Box<str>>,
    /// What `content-type` says.
    pub content: Content,
    /// `connect-protocol-version` is there: a call of Connect's.
    pub is_connect_call: bool,
    /// `grpc-timeout`, ns.
    pub timeout_ns: Option<u64>,
    /// An extended CONNECT (RFC 8441): the tunnel's protocol.
    pub protocol: Option<Box<str>>,
}

/// An answer's fields, or its trailers'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// `:status`; `None` of trailers, and where it is not known.
    pub status: Option<u16>,
    /// `grpc-status`; `None` where there is none, and where it is not known.
    pub grpc_status: Option<u32>,
    /// What `content-type` says.
    pub content: Content,
    /// They came behind the answer's head.
    pub is_trailer: bool,
}

/// Most bytes that are kept of each text; of a path what [`Texts`] keeps, and one more so that a cut is seen.
const TEXT: usize = 257;
const PATH: usize = 2049;
/// Most bytes of all `tracestate` fields.
const STATES: usize = 4096;
/// Most `tracestate` fields.
const MOST_STATES: usize = 33;

/// Texts of a block in the making.
#[derive(Clone, Copy)]
enum Slot {
    Method,
    Path,
    Authority,
    Host,
    UserAgent,
    TraceParent,
    TraceBin,
    B3,
    Protocol,
    B3TraceId,
    B3SpanId,
    B3Sampled,
    B3Flags,
}

const SLOTS: usize = Slot::B3Flags as usize + 1;

/// The fields of a block in the making.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// All texts, one behind the other.
    room: Vec<u8>,
    places: [Option<Range<u32>>; SLOTS],
    states: Vec<Range<u32>>,
    states_bytes: usize,
    trace_parents: u32,
    status: Option<u16>,
    grpc_status: Option<u32>,
    timeout_ns: Option<u64>,
    content: Content,
    is_connect_call: bool,
    /// A field that only a request has.
    is_request: bool,
}

impl Fields {
    /// Forgets all.
    pub(super) fn clear(&mut self) {
        let Self {
            room,
            places,
            states,
            states_bytes,
            trace_parents,
            status,
            grpc_status,
            timeout_ns,
            content,
            is_connect_call,
            is_request,
        } = self;
        room.clear();
        places.fill(None);
        states.clear();
        (*states_bytes, *trace_parents) = (0, 0);
        (*status, *grpc_status, *timeout_ns) = (None, None, None);
        *content = Content::Other;
        (*is_connect_call, *is_request) = (false, false);
    }

    /// Whether they are a request's.
    pub(super) const fn is_request(&self) -> bool {
        self.is_request
    }

    /// `:status`, where it is known.
    pub(super) const fn status(&self) -> Option<u16> {
        self.status
    }

    /// Notes a field. Of several that may come once, the first counts.
    pub(super) fn note(&mut self, name: Name, value: Option<&[u8]>) {
        self.is_request |= name.is_asked();
        let Some(value) = value else {
            return;
        };
        match name {
            Name::Authority => self.keep(Slot::Authority, value, TEXT),
            Name::Method => self.keep(Slot::Method, value, TEXT),
            Name::Path => self.keep(Slot::Path, value, PATH),
            Name::Protocol => self.keep(Slot::Protocol, value, TEXT),
            Name::Host => self.keep(Slot::Host, value, TEXT),
            Name::UserAgent => self.keep(Slot::UserAgent, value, TEXT),
            Name::TraceParent => {
                self.trace_parents += 1;
                self.keep(Slot::TraceParent, value, TEXT);
            }
            Name::TraceState => self.state(value),
            Name::GrpcTrace => self.keep(Slot::TraceBin, value, TEXT),
            Name::B3 => self.keep(Slot::B3, value, TEXT),
            Name::B3Flags => self.keep(Slot::B3Flags, value, TEXT),
            Name::B3Sampled => self.keep(Slot::B3Sampled, value, TEXT),
            Name::B3SpanId => self.keep(Slot::B3SpanId, value, TEXT),
            Name::B3TraceId => self.keep(Slot::B3TraceId, value, TEXT),
            Name::Status => self.status = self.status.or_else(|| status(value)),
            Name::GrpcStatus => {
                self.grpc_status = self.grpc_status.or_else(|| number(value, 10));
            }
            Name::GrpcTimeout => self.timeout_ns = self.timeout_ns.or_else(|| timeout(value)),
            Name::ContentType => self.content = Content::of(value),
            Name::ConnectProtocol => self.is_connect_call = true,
            Name::Scheme | Name::Other | Name::Unknown => {}
        }
    }

    fn keep(&mut self, slot: Slot, value: &[u8], most: usize) {
        let place = &mut self.places[slot as usize];
        if place.is_none() {
            *place = Some(push(&mut self.room, &value[..value.len().min(most)]));
        }
    }

    fn state(&mut self, value: &[u8]) {
        self.states_bytes += value.len();
        if self.states.len() < MOST_STATES && self.states_bytes <= STATES {
            self.states.push(push(&mut self.room, value));
        }
    }

    fn get(&self, slot: Slot) -> Option<&[u8]> {
        Some(self.at(self.places[slot as usize].as_ref()?))
    }

    fn at(&self, place: &Range<u32>) -> &[u8] {
        let (start, end) = (place.start as usize, place.end as usize);
        self.room.get(start..end).unwrap_or_default()
    }

    /// Writes what they say of a request over what is there.
    pub(super) fn request(&self, head: &mut RequestHead) {
        let method = self.get(Slot::Method).unwrap_or_default();
        head.method = token(&String::from_utf8_lossy(method));
        // Of several, which counts is not known.
        let parent = self.get(Slot::TraceParent);
        let parent = parent.filter(|_| self.trace_parents == 1);
        let binary = self.get(Slot::TraceBin).filter(|_| parent.is_none());
        let binary = binary.and_then(of_binary);
        let parent = parent.or(binary.as_ref().map(String::as_bytes));
        head.texts.write([
            Some(self.get(Slot::Path).unwrap_or_default()),
            self.get(Slot::Authority).or(self.get(Slot::Host)),
            self.get(Slot::UserAgent),
            parent,
        ]);
        head.tracestate = None;
        if parent.is_some() && !self.states.is_empty() {
            let states = self.states.iter().map(|place| self.at(place));
            head.tracestate = join_trace_state(states, MAX_TRACE_STATE);
        }
        head.b3 = self.b3();
        head.content = self.content;
        head.is_connect_call = self.is_connect_call;
        head.timeout_ns = self.timeout_ns;
        let protocol = self.get(Slot::Protocol);
        head.protocol = protocol.map(|name| String::from_utf8_lossy(name).into());
    }

    fn b3(&self) -> Option<Box<str>> {
        if let Some(single) = self.get(Slot::B3) {
            let cut = &single[..single.len().min(128)];
            return Some(String::from_utf8_lossy(cut).into());
        }
        self.places[Slot::B3TraceId as usize].as_ref()?;
        let mut multiple = b3::Multiple::default();
        let slots = [
            (Name::B3TraceId, Slot::B3TraceId),
            (Name::B3SpanId, Slot::B3SpanId),
            (Name::B3Sampled, Slot::B3Sampled),
            (Name::B3Flags, Slot::B3Flags),
        ];
        for (name, slot) in slots {
            if let (Some(name), Some(value)) = (name.of_b3(), self.get(slot)) {
                multiple.note(name.as_bytes(), value);
            }
        }
        multiple.single()
    }

    /// What they say of an answer.
    pub(super) const fn response(&self, is_trailer: bool) -> ResponseHead {
        ResponseHead {
            status: self.status,
            grpc_status: self.grpc_status,
            content: self.content,
            is_trailer,
        }
    }
}

fn push(room: &mut Vec<u8>, value: &[u8]) -> Range<u32> {
    let start = room.len() as u32;
    room.extend_from_slice(value);
    start..room.len() as u32
}

/// Three digits (RFC 9110 section 15).
fn status(value: &[u8]) -> Option<u16> {
    let status = number(value, 3)?;
    (value.len() == 3 && status >= 100).then_some(status as u16)
}

/// Decimal digits, at most so many.
fn number(value: &[u8], most: usize) -> Option<u32> {
    if value.is_empty() || value.len() > most || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}

/// A `grpc-timeout` in ns: up to eight digits and a unit.
fn timeout(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    let unit_ns = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    Some(u64::from(number(digits, 8)?).saturating_mul(unit_ns))
}

/// What `grpc-trace-bin` says, as a `traceparent`: base64 of a version (0) and fields, each behind its number: trace id (0), span id
/// (1), options (2).
fn of_binary(value: &[u8]) -> Option<String> {
    let bytes = base64(value)?;
    let (0, rest) = bytes
        .split_first()
        .map(|(version, rest)| (*version, rest))?
    else {
        return None;
    };
    let (trace, rest) = rest.strip_prefix(&[0])?.split_first_chunk::<16>()?;
    let (span, rest) = rest.strip_prefix(&[1])?.split_first_chunk::<8>()?;
    let flags = match rest {
        [2, options, ..] => options & 1,
        _ => 0,
    };
    let (trace, span) = (u128::from_be_bytes(*trace), u64::from_be_bytes(*span));
    Some(format!("00-{trace:032x}-{span:016x}-{flags:02x}"))
}

/// Base64, padded or not, of at most 64 bytes.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    if text.len() > 86 {
        return None;
    }
    let (mut out, mut bits, mut have) = (Vec::new(), 0u32, 0);
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(Name, &str)]) -> RequestHead {
        let mut collected = Fields::default();
        for (name, value) in fields {
            collected.note(*name, Some(value.as_bytes()));
        }
        let mut head = RequestHead::default();
        collected.request(&mut head);
        head
    }

    #[test]
    fn a_timeout_has_a_unit() {
        let table: [(&[u8], Option<u64>); 10] = [
            (b"1H", Some(3_600_000_000_000)),
            (b"2M", Some(120_000_000_000)),
            (b"3S", Some(3_000_000_000)),
            (b"100m", Some(100_000_000)),
            (b"99999999u", Some(99_999_999_000)),
            (b"5n", Some(5)),
            (b"123456789n", None),
            (b"n", None),
            (b"5", None),
            (b"", None),
        ];
        for (value, expected) in table {
            assert_eq!(timeout(value), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_status_has_three_digits() {
        assert_eq!(status(b"200"), Some(200));
        for wrong in ["", "20", "2000", "099", "2x0", "+20"] {
            assert_eq!(status(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn content_is_told_by_its_type_without_parameters() {
        let table: [(&str, Content); 9] = [
            ("application/grpc", Content::Grpc),
            ("application/grpc+proto", Content::Grpc),
            ("Application/gRPC;charset=x", Content::Grpc),
            ("application/grpc-web+proto", Content::GrpcWeb),
            ("application/grpc-web-text", Content::GrpcWebText),
            ("application/connect+json", Content::Connect),
            ("text/event-stream; charset=utf-8", Content::EventStream),
            ("application/grpcx", Content::Other),
            ("application/json", Content::Other),
        ];
        for (written, content) in table {
            assert_eq!(Content::of(written.as_bytes()), content, "{written}");
        }
    }

    #[test]
    fn a_binary_context_is_a_traceparent() {
        // Version, trace id 1 to 16, span id 1 to 8, sampled.
        let head = request(&[(Name::GrpcTrace, "AAABAgMEBQYHCAkKCwwNDg8QAQECAwQFBgcIAgE")]);
        assert_eq!(
            head.texts.traceparent(),
            Some("00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01")
        );
        for wrong in ["", "AA", "!", "AQABAgMEBQYHCAkKCwwNDg8QAQECAwQFBgcIAgE"] {
            assert_eq!(
                request(&[(Name::GrpcTrace, wrong)]).texts.traceparent(),
                None
            );
        }
        let both = request(&[(Name::TraceParent, "x"), (Name::GrpcTrace, "AAAB")]);
        assert_eq!(both.texts.traceparent(), Some("x"));
    }

    #[test]
    fn of_two_traceparents_neither_counts() {
        let head = request(&[(Name::TraceParent, "a"), (Name::TraceParent, "b")]);
        assert_eq!(head.texts.traceparent(), None);
    }

    #[test]
    fn the_first_of_several_counts_and_long_ones_are_cut() {
        let long = "/".repeat(5000);
        let head = request(&[
            (Name::Method, "GET"),
            (Name::Path, &long),
            (Name::Path, "/b"),
            (Name::Host, "host"),
            (Name::Authority, "authority"),
            (Name::B3TraceId, "1"),
            (Name::B3SpanId, "2"),
        ]);
        assert_eq!(head.method, "GET");
        assert_eq!(head.texts.target(), &long[..2048]);
        assert_eq!(head.texts.host(), Some("authority"));
        assert_eq!(head.b3.as_deref(), Some("1-2"));
    }
}
