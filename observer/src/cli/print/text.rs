//! One aligned line an exchange.

use crate::{
    cli::{
        duration,
        escape::push_column,
        palette::{Colour, Palette},
    },
    protocol::{Summary, attributes::text},
    trace::Span,
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

/// What its protocol shows of a span.
pub(in crate::cli) fn summary(span: &Span) -> Summary<'_> {
    span.protocol.summary(span.kind, &span.attributes)
}

/// Appends the span as one line: when it began (UTC), service, kind, method, path, status, how long it took, bytes
/// of the response's body, the first 8 digits of the trace id, how the parent was found, or what may be the cause; then, marked with `!`, what
/// is missing or why it failed. What was not seen is `-`. Nothing in it steers a terminal but our own colours.
pub(in crate::cli) fn line(out: &mut String, span: &Span, palette: Palette) {
    let summary = summary(span);
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
    push_column(out, span.kind.as_str(), 6, 6);
    out.push(' ');
    push_column(out, summary.verb.unwrap_or("-"), 7, 7);
    out.push(' ');
    push_column(out, summary.target.unwrap_or("-"), 36, 60);
    out.push(' ');
    push_status(out, span, &summary, palette);
    let took = span.end_unix_nano.saturating_sub(span.start_unix_nano);
    let bytes = summary
        .bytes
        .map_or_else(|| "-".to_owned(), duration::bytes);
    out.push_str(&format!(" {:>7} {bytes:>6}  ", duration::human(took)));
    palette.paint(out, Colour::Dim, &super::json::hex(&span.trace_id[..4]));
    out.push_str("  ");
    out.push_str(text(&span.attributes, "observer.parent.method").unwrap_or("none"));
    push_link(out, span);
    push_marks(out, span, &summary, palette);
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

/// Appends the status, three characters.
pub(in crate::cli) fn push_status(
    out: &mut String,
    span: &Span,
    summary: &Summary<'_>,
    palette: Palette,
) {
    let colour = match &summary.status {
        _ if span.error.is_some() => Colour::Red,
        Some(status) if status.is_fine => Colour::Green,
        _ => Colour::Yellow,
    };
    let shown = summary.status.as_ref().map_or("-", |status| &status.shown);
    palette.paint(out, colour, &format!("{shown:>3}"));
}

/// Appends what is missing and why it failed, where the status does not say it.
pub(in crate::cli) fn push_marks(
    out: &mut String,
    span: &Span,
    summary: &Summary<'_>,
    palette: Palette,
) {
    let incomplete = text(&span.attributes, "observer.incomplete");
    let status = summary.status.as_ref().map(|status| &*status.shown);
    let error = text(&span.attributes, "error.type").filter(|error| status != Some(error));
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
