//! A request's parameters: name-value pairs (section 3.4 of the specification), with the names of CGI (RFC 3875 section 4.1).

use super::record::role;
use crate::{
    b3::Multiple,
    trace_context::{MAX_TRACE_STATE, join_trace_state},
};

/// What a request says. A query is in none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// `REQUEST_METHOD`.
    pub method: Option<Box<str>>,
    /// The path of `REQUEST_URI`; without one, `SCRIPT_NAME` and `PATH_INFO`.
    pub path: Option<Box<str>>,
    /// `SCRIPT_FILENAME`.
    pub script_filename: Option<Box<str>>,
    /// `SERVER_PROTOCOL`: in which the web server was asked.
    pub server_protocol: Option<Box<str>>,
    /// `HTTP_HOST`.
    pub host: Option<Box<str>>,
    /// `HTTP_USER_AGENT`.
    pub user_agent: Option<Box<str>>,
    /// `CONTENT_LENGTH`.
    pub content_length: Option<u64>,
    /// `HTTP_TRACEPARENT`.
    pub traceparent: Option<Box<str>>,
    /// `HTTP_TRACESTATE`, at most what is handed on.
    pub tracestate: Option<Box<str>>,
    /// `HTTP_B3`, or the same in several.
    pub b3: Option<Box<str>>,
    /// The application decides on the request, or filters a file, instead of answering.
    pub asks_for: Asked,
}

/// What the application is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// The one that answers.
    #[default]
    Answer,
    /// The one that allows it.
    Authorization,
    /// The one that filters a file.
    Filter,
    /// Something else, or it was not seen.
    Other,
}

impl Asked {
    pub(super) const fn of(number: u16) -> Self {
        match number {
            role::RESPONDER => Self::Answer,
            role::AUTHORIZER => Self::Authorization,
            role::FILTER => Self::Filter,
            _ => Self::Other,
        }
    }
}

/// The names whose values are kept.
const NAMES: [&[u8]; 17] = [
    b"REQUEST_METHOD",
    b"REQUEST_URI",
    b"SCRIPT_NAME",
    b"PATH_INFO",
    b"SCRIPT_FILENAME",
    b"SERVER_PROTOCOL",
    b"HTTP_HOST",
    b"HTTP_USER_AGENT",
    b"CONTENT_LENGTH",
    b"HTTP_TRACEPARENT",
    b"HTTP_TRACESTATE",
    b"HTTP_B3",
    b"HTTP_X_B3_TRACEID",
    b"HTTP_X_B3_SPANID",
    b"HTTP_X_B3_SAMPLED",
    b"HTTP_X_B3_FLAGS",
    b"DOCUMENT_URI",
];

/// Longer than the longest of them.
const LONGEST_NAME: usize = 24;

/// Where in a pair the stream is.
#[derive(Debug)]
enum Place {
    /// In its two lengths: so many of their bytes are here.
    Lengths([u8; 8], usize),
    /// In its name: what is to come of it, and the value's length.
    Name(u32, u32),
    /// In its value: what is to come of it.
    Value(u32),
}

/// Parameters as they come.
#[derive(Debug)]
pub(super) struct Parameters {
    place: Place,
    name: [u8; LONGEST_NAME],
    name_bytes: usize,
    /// The value that is being read; `None` where nobody wants it.
    value: Option<Vec<u8>>,
    values: [Option<Vec<u8>>; NAMES.len()],
    /// Bytes of values that may still be kept.
    room: usize,
    kept: usize,
    /// Bytes are missing, or there was no room.
    broken: bool,
    short: bool,
}

/// Both lengths of a pair and how many bytes they are; `None` where more are needed.
fn lengths(bytes: &[u8]) -> Option<(u32, u32)> {
    let (name, rest) = length(bytes)?;
    let (value, _) = length(rest)?;
    Some((name, value))
}

fn length(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if first & 0x80 == 0 {
        return Some((u32::from(*first), rest));
    }
    let (four, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*four) & 0x7fff_ffff, rest))
}

impl Parameters {
    pub(super) fn new(room: usize) -> Self {
        Self {
            place: Place::Lengths([0; 8], 0),
            name: [0; LONGEST_NAME],
            name_bytes: 0,
            value: None,
            values: [const { None }; NAMES.len()],
            room,
            kept: 0,
            broken: false,
            short: false,
        }
    }

    /// Bytes that are kept.
    pub(super) fn kept(&self) -> usize {
        // One that has begun is never nothing.
        1 + self.kept
    }

    /// Bytes of the stream are missing: what follows cannot be told from values.
    pub(super) const fn missed(&mut self) {
        self.broken = true;
    }

    /// More of the stream.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !self.broken && !bytes.is_empty() {
            match &mut self.place {
                Place::Lengths(read, have) => {
                    // At most eight: then both are there.
                    read[*have] = bytes[0];
                    *have += 1;
                    bytes = &bytes[1..];
                    if let Some((name, value)) = lengths(&read[..*have]) {
                        self.name_bytes = 0;
                        self.place = Place::Name(name, value);
                        self.named();
                    }
                }
                Place::Name(left, _) => {
                    let taken = bytes.len().min(*left as usize);
                    let (read, rest) = bytes.split_at(taken);
                    *left -= taken as u32;
                    let room = LONGEST_NAME - self.name_bytes.min(LONGEST_NAME);
                    let fits = taken.min(room);
                    let to = self.name_bytes.min(LONGEST_NAME);
                    self.name[to..to + fits].copy_from_slice(&read[..fits]);
                    self.name_bytes = self.name_bytes.saturating_add(taken);
                    bytes = rest;
                    self.named();
                }
                Place::Value(left) => {
                    let taken = bytes.len().min(*left as usize);
                    let (read, rest) = bytes.split_at(taken);
                    *left -= taken as u32;
                    if let Some(value) = &mut self.value {
                        if taken <= self.room {
                            value.extend_from_slice(read);
                            self.room -= taken;
                            self.kept += taken;
                        } else {
                            self.short = true;
                            self.kept -= value.len();
                            self.value = None;
                        }
                    }
                    bytes = rest;
                    self.valued();
                }
            }
        }
    }

    /// The name may have ended.
    fn named(&mut self) {
        if let Place::Name(0, value) = self.place {
            let known = self.index().is_some();
            self.value = known.then(Vec::new);
            self.place = Place::Value(value);
            self.valued();
        }
    }

    /// The value may have ended.
    fn valued(&mut self) {
        if let Place::Value(0) = self.place {
            self.place = Place::Lengths([0; 8], 0);
            if let (Some(index), Some(value)) = (self.index(), self.value.take()) {
                let before = self.values[index].replace(value);
                self.kept -= before.map_or(0, |before| before.len());
            }
        }
    }

    fn index(&self) -> Option<usize> {
        let name = self.name.get(..self.name_bytes)?;
        NAMES.iter().position(|known| *known == name)
    }

    /// What they say, and whether that is all of them.
    pub(super) fn finish(self, asks_for: Asked) -> (RequestHead, bool) {
        let whole = !self.broken && !self.short && matches!(self.place, Place::Lengths(_, 0));
        let [
            method,
            uri,
            script_name,
            path_info,
            script_filename,
            server_protocol,
            host,
            user_agent,
            content_length,
            traceparent,
            tracestate,
            b3,
            trace_id,
            span_id,
            sampled,
            flags,
            document,
        ] = self.values;
        let path = match (uri, script_name, path_info) {
            (Some(uri), ..) => text(before_query(&uri)),
            (None, Some(mut name), info) => {
                name.extend(info.unwrap_or_default());
                text(before_query(&name))
            }
            (None, None, _) => document.and_then(|uri| text(before_query(&uri))),
        };
        let mut several = Multiple::default();
        for (name, value) in [
            (b"x-b3-traceid".as_slice(), &trace_id),
            (b"x-b3-spanid", &span_id),
            (b"x-b3-sampled", &sampled),
            (b"x-b3-flags", &flags),
        ] {
            if let Some(value) = value {
                several.note(name, value);
            }
        }
        let plain = |value: Option<Vec<u8>>| text(value.as_deref()?);
        let state = tracestate.as_deref().map(std::iter::once);
        let head = RequestHead {
            method: plain(method),
            path,
            script_filename: script_filename.and_then(|name| text(before_query(&name))),
            server_protocol: plain(server_protocol),
            host: plain(host),
            user_agent: plain(user_agent),
            content_length: plain(content_length).and_then(|number| number.parse().ok()),
            traceparent: plain(traceparent),
            tracestate: state.and_then(|state| join_trace_state(state, MAX_TRACE_STATE)),
            b3: plain(b3).or_else(|| several.single()),
            asks_for,
        };
        (head, whole)
    }
}

fn before_query(uri: &[u8]) -> &[u8] {
    let end = uri.iter().position(|byte| matches!(byte, b'?' | b'#'));
    &uri[..end.unwrap_or(uri.len())]
}

fn text(bytes: &[u8]) -> Option<Box<str>> {
    let text = String::from_utf8_lossy(bytes);
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastcgi::tests::pair;

    fn read(stream: &[u8], piece: usize, room: usize) -> (RequestHead, bool) {
        let mut parameters = Parameters::new(room);
        stream
            .chunks(piece.max(1))
            .for_each(|piece| parameters.take(piece));
        assert!(parameters.kept <= room);
        parameters.finish(Asked::Answer)
    }

    #[test]
    fn pairs_say_the_same_however_the_stream_is_cut() {
        let long = "x".repeat(300);
        let stream = [
            pair("QUERY_STRING", "secret=1"),
            pair("REQUEST_METHOD", "POST"),
            pair("", ""),
            pair("CONTENT_LENGTH", "12"),
            pair("SCRIPT_NAME", "/index.php"),
            pair("REQUEST_URI", "/a/b?secret=1"),
            pair("SCRIPT_FILENAME", "/srv/index.php?secret=1"),
            pair(&long, &long),
            pair("HTTP_USER_AGENT", &long),
            pair("HTTP_TRACESTATE", "a=1, b=2"),
            pair("HTTP_X_B3_TRACEID", "80f198ee56343ba864fe8b2a57d3eff7"),
            pair("HTTP_X_B3_SPANID", "e457b5a2e4d86bd1"),
        ]
        .concat();
        let whole = read(&stream, stream.len(), 4096);
        let (head, is_whole) = &whole;
        assert!(is_whole);
        assert_eq!(head.method.as_deref(), Some("POST"));
        assert_eq!(head.path.as_deref(), Some("/a/b"));
        assert_eq!(head.script_filename.as_deref(), Some("/srv/index.php"));
        assert_eq!(head.content_length, Some(12));
        assert_eq!(head.user_agent.as_deref(), Some(&*long));
        assert_eq!(head.tracestate.as_deref(), Some("a=1,b=2"));
        let b3 = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1";
        assert_eq!(head.b3.as_deref(), Some(b3));
        for piece in 1..40 {
            assert_eq!(read(&stream, piece, 4096), whole, "{piece}");
        }
        for end in 0..stream.len() {
            let (head, is_whole) = read(&stream[..end], end, 4096);
            // Between two pairs nothing tells that there are more.
            assert!(
                head.path.is_none()
                    || head.path.as_deref() == Some("/a/b")
                    || head.path.as_deref() == Some("/index.php")
            );
            assert!(!is_whole || head != whole.0 || end > stream.len() - 60);
        }
    }

    #[test]
    fn without_a_uri_the_path_is_the_scripts_and_what_follows_it() {
        let stream = [pair("SCRIPT_NAME", "/app"), pair("PATH_INFO", "/x?y")].concat();
        assert_eq!(read(&stream, 7, 100).0.path.as_deref(), Some("/app/x"));
        let stream = [pair("DOCUMENT_URI", "/d.php")].concat();
        assert_eq!(read(&stream, 7, 100).0.path.as_deref(), Some("/d.php"));
    }

    #[test]
    fn a_value_for_which_there_is_no_room_is_none_and_the_rest_is_read() {
        let stream = [
            pair("HTTP_USER_AGENT", &"x".repeat(200)),
            pair("REQUEST_METHOD", "GET"),
        ]
        .concat();
        for piece in [1, 7, 500] {
            let (head, whole) = read(&stream, piece, 150);
            assert_eq!((head.user_agent, whole), (None, false), "{piece}");
        }
        assert_eq!(read(&stream, 500, 150).0.method.as_deref(), Some("GET"));
    }

    #[test]
    fn behind_missing_bytes_nothing_is_read() {
        let mut parameters = Parameters::new(100);
        parameters.take(&pair("REQUEST_METHOD", "GET"));
        parameters.missed();
        parameters.take(&pair("REQUEST_URI", "/a"));
        let (head, whole) = parameters.finish(Asked::Answer);
        assert_eq!(
            (head.method.as_deref(), head.path, whole),
            (Some("GET"), None, false)
        );
    }
}
