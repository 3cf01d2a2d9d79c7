//! One aligned line an exchange.

use crate::{
    cli::{
        duration,
        escape::push_column,
        palette::{Colour, Palette},
    },
    process::Value,
    trace::{Span, SpanKind},
};

/// The line above all: names of the columns.
pub(super) fn header(palette: Palette) -> String {
    let mut out = String::new();
    let names = format!(
        "{:<12}  {:<16} {:<6} {:<7} {:<36} {:>3} {:>7} {:>6}  {:<8}  {}",
        "TIME (UTC)", "SERVICE", "KIND", "METHOD", "PATH", "ST", "TOOK", "BYTES", "TRACE", "PARENT"
    );
    palette.paint(&mut out, Colour::Dim, &names);
    out.push('\n');
    out
}

/// The value of a text attribute.
pub(in crate::cli) fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    span.attributes
        .iter()
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| match value {
            Value::Text(text) => Some(&**text),
            _ => None,
        })
}

/// The value of an integer attribute.
pub(in crate::cli) fn int(span: &Span, key: &str) -> Option<i64> {
    span.attributes
        .iter()
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| match value {
            Value::Int(number) => Some(*number),
            _ => None,
        })
}

/// What was asked for: the path at a server, host and path at a client, a name of a name server.
pub(in crate::cli) fn target(span: &Span) -> &str {
    let full =
        || text(span, "url.full").map(|url| url.split_once("://").map_or(url, |(_, rest)| rest));
    let found = match span.kind {
        SpanKind::Server => text(span, "url.path").or_else(|| text(span, "http.route")),
        SpanKind::Client => text(span, "dns.question.name")
            .or_else(full)
            .or_else(|| text(span, "url.path"))
            .or_else(|| text(span, "server.address")),
    };
    found.unwrap_or("-")
}

/// Appends the span as one line: when it began (UTC), service, kind, method, path, status, how long it took, bytes
/// of the response's body, the first 8 digits of the trace id, how the parent was found, or what may be the cause; then, marked with `!`, what
/// is missing or why it failed. What was not seen is `-`. Nothing in it steers a terminal but our own colours.
pub(in crate::cli) fn line(out: &mut String, span: &Span, palette: Palette) {
    palette.paint(
        out,
        Colour::Dim,
        &duration::time_of_day(span.start_unix_nano),
    );
    out.push_str("  ");
    palette.start(out, Colour::Cyan);
    push_column(out, &span.service.name, 16, 16);
    palette.end(out);
    out.push(' ');
    push_column(out, super::json::kind(span.kind), 6, 6);
    out.push(' ');
    let method = text(span, "http.request.method_original")
        .or_else(|| text(span, "http.request.method"))
        .or_else(|| text(span, "observer.dns.question.type"));
    push_column(out, method.unwrap_or("-"), 7, 7);
    out.push(' ');
    push_column(out, target(span), 36, 60);
    out.push(' ');
    push_status(out, span, palette);
    let took = span.end_unix_nano.saturating_sub(span.start_unix_nano);
    let bytes = int(span, "http.response.body.size").and_then(|size| u64::try_from(size).ok());
    let bytes = bytes.map_or_else(|| "-".to_owned(), duration::bytes);
    out.push_str(&format!(" {:>7} {bytes:>6}  ", duration::human(took)));
    palette.paint(out, Colour::Dim, &super::json::hex(&span.trace_id[..4]));
    out.push_str("  ");
    out.push_str(text(span, "observer.parent.method").unwrap_or("none"));
    push_link(out, span);
    push_marks(out, span, palette);
    out.push('\n');
}

/// Appends what a span without a parent may have been caused by: the first 8 digits of trace id and span id.
pub(in crate::cli) fn push_link(out: &mut String, span: &Span) {
    if let Some(link) = &span.link {
        let (trace, cause) = (&link.trace_id[..4], &link.span_id[..4]);
        out.push_str("  maybe caused by ");
        out.push_str(&super::json::hex(trace));
        out.push('/');
        out.push_str(&super::json::hex(cause));
    }
}

/// Appends the status, three characters; of a lookup that went well `ok`.
pub(in crate::cli) fn push_status(out: &mut String, span: &Span, palette: Palette) {
    let status = int(span, "http.response.status_code");
    let found = text(span, "observer.dns.response_code") == Some("NOERROR");
    let colour = match status {
        _ if span.error.is_some() => Colour::Red,
        Some(400..) => Colour::Yellow,
        Some(_) => Colour::Green,
        None if found => Colour::Green,
        None => Colour::Yellow,
    };
    let shown = match status {
        Some(status) => status.to_string(),
        None if found => "ok".to_owned(),
        None => "-".to_owned(),
    };
    palette.paint(out, colour, &format!("{shown:>3}"));
}

/// Appends what is missing and why it failed, where the status does not say it.
pub(in crate::cli) fn push_marks(out: &mut String, span: &Span, palette: Palette) {
    let incomplete = text(span, "observer.incomplete");
    let status = int(span, "http.response.status_code").map(|status| status.to_string());
    let error = text(span, "error.type").filter(|error| status.as_deref() != Some(error));
    for (mark, colour) in [(incomplete, Colour::Yellow), (error, Colour::Red)] {
        if let Some(mark) = mark {
            out.push_str("  ");
            palette.start(out, colour);
            out.push('!');
            push_column(out, mark, 0, 40);
            palette.end(out);
        }
    }
}
