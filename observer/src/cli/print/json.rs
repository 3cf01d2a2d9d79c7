//! One JSON object a span.

use std::{fmt::Write, io};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::{
    cli::escape,
    exchange::InferredLink,
    process::Value,
    trace::{Span, link_attributes},
};

/// Appends the span as one line: the keys `trace_id span_id parent_span_id name kind service start_unix_nano
/// duration_ns status attributes links`, always all of them, in this order. Ids are lower-case hex, a missing parent is
/// null, kind is `server` or `client`, status is `unset` or `error`.
pub(in crate::cli) fn line(out: &mut String, span: &Span) {
    let mut bytes = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Safe(CompactFormatter));
    // Nothing in a span refuses to be JSON (doubles that are not finite are null), and a Vec takes every byte.
    if Line(span).serialize(&mut serializer).is_ok() {
        out.push_str(&String::from_utf8_lossy(&bytes));
        out.push('\n');
    }
}

/// Lower-case hex.
pub(in crate::cli) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

struct Line<'a>(&'a Span);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.0;
        let mut map = serializer.serialize_map(Some(11))?;
        map.serialize_entry("trace_id", &hex(&span.trace_id))?;
        map.serialize_entry("span_id", &hex(&span.span_id))?;
        map.serialize_entry("parent_span_id", &span.parent_span_id.map(|id| hex(&id)))?;
        map.serialize_entry("name", &*span.name)?;
        map.serialize_entry("kind", span.kind.as_str())?;
        map.serialize_entry("service", &*span.service.name)?;
        map.serialize_entry("start_unix_nano", &span.start_unix_nano)?;
        map.serialize_entry(
            "duration_ns",
            &span.end_unix_nano.saturating_sub(span.start_unix_nano),
        )?;
        map.serialize_entry(
            "status",
            if span.error.is_some() {
                "error"
            } else {
                "unset"
            },
        )?;
        map.serialize_entry("attributes", &Attributes(&span.attributes))?;
        let links: Vec<_> = span.link.iter().map(Link).collect();
        map.serialize_entry("links", &links)?;
        map.end()
    }
}

struct Link<'a>(&'a InferredLink);

impl Serialize for Link<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("trace_id", &hex(&self.0.trace_id))?;
        map.serialize_entry("span_id", &hex(&self.0.span_id))?;
        map.serialize_entry("attributes", &Attributes(&link_attributes(self.0)))?;
        map.end()
    }
}

struct Attributes<'a>(&'a [(&'static str, Value)]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            match value {
                Value::Text(text) => map.serialize_entry(key, &**text)?,
                Value::Int(number) => map.serialize_entry(key, number)?,
                Value::Double(number) => map.serialize_entry(key, number)?,
                Value::Bool(truth) => map.serialize_entry(key, truth)?,
                Value::Texts(texts) => {
                    map.serialize_entry(key, &texts.iter().map(|text| &**text).collect::<Vec<_>>())?
                }
            }
        }
        map.end()
    }
}

/// Escapes more than JSON demands: whatever could steer a terminal that the lines end up on.
struct Safe(CompactFormatter);

impl Formatter for Safe {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, unsafe_char)) = rest.char_indices().find(|(_, c)| escape::is_unsafe(*c))
        {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in unsafe_char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + unsafe_char.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }
}
