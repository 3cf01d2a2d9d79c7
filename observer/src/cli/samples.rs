//! Spans for tests.

use std::sync::Arc;

use crate::{
    process::{Service, Text, Value},
    protocol::ProtocolId,
    trace::{Span, SpanKind},
};

/// 2023-11-14 22:13:20 UTC.
pub(crate) const EPOCH: u64 = 1_700_000_000_000_000_000;

/// A service with no more than a name.
pub(crate) fn service(name: &str) -> Arc<Service> {
    Arc::new(Service {
        name: name.into(),
        instance_id: name.into(),
        attributes: Vec::new(),
        extra_attributes: Vec::new(),
        instrumentation: crate::process::Instrumentation::default(),
    })
}

/// A span of trace `trace`, whose ids are their number; `parent` 0 is none. Times in ms from [`EPOCH`].
pub(crate) fn span(
    trace: u8,
    id: u8,
    parent: u8,
    name: &str,
    kind: SpanKind,
    from_ms: u64,
    took_ms: u64,
) -> Span {
    let (method, path) = name.split_once(' ').unwrap_or((name, "/"));
    let place = match kind {
        SpanKind::Server => ("url.path", Value::Text(Text::copied(path))),
        _ => (
            "url.full",
            Value::Text(format!("http://127.0.0.1:8080{path}").into()),
        ),
    };
    Span {
        service: service("gateway"),
        protocol: ProtocolId::Http,
        trace_id: [trace; 16],
        span_id: [id; 8],
        parent_span_id: (parent != 0).then_some([parent; 8]),
        link: None,
        trace_state: None,
        name: Text::copied(name),
        kind,
        start_unix_nano: EPOCH + from_ms * 1_000_000,
        end_unix_nano: EPOCH + (from_ms + took_ms) * 1_000_000,
        attributes: vec![
            ("http.request.method", Value::Text(Text::copied(method))),
            place,
            ("http.response.status_code", Value::Int(200)),
            ("http.response.body.size", Value::Int(1536)),
            (
                "observer.parent.method",
                Value::Text(if parent == 0 { "none" } else { "handoff" }.into()),
            ),
        ],
        error: None,
        flags: 1,
    }
}

/// Replaces an attribute, or adds it.
pub(crate) fn set(span: &mut Span, key: &'static str, value: Value) {
    span.attributes.retain(|(name, _)| *name != key);
    span.attributes.push((key, value));
}
