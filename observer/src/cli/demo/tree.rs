//! A trace as text: one line a span, indented below its parent, with a bar where it lies in time.

use std::collections::HashMap;

use super::traces::Trace;
use crate::{
    cli::{
        duration,
        escape::push_column,
        palette::{Colour, Palette},
        print::{json::hex, text},
    },
    trace::Span,
};

/// Characters of the bar.
const BAR: u64 = 24;
/// Characters of the column with tree, service and name.
const NAMES: usize = 58;
/// Deeper spans are not shown.
const DEEPEST: usize = 16;

/// Appends the tree of a whole trace, with `why` it is shown.
pub(super) fn push(out: &mut String, why: &str, trace: &Trace, palette: Palette) {
    let Some(root) = trace.root() else { return };
    let colour = if trace.failed() {
        Colour::Red
    } else {
        Colour::Bold
    };
    palette.paint(out, colour, why);
    let (took, count) = (duration::human(trace.took()), trace.spans.len());
    let ending = if count == 1 { "" } else { "s" };
    out.push_str(&format!(
        "  trace {}  {count} span{ending} in {took}\n",
        hex(&root.trace_id)
    ));
    let mut children: HashMap<[u8; 8], Vec<&Span>> = HashMap::new();
    for span in &trace.spans {
        if let Some(parent) = span.parent_span_id {
            children.entry(parent).or_default().push(span);
        }
    }
    let mut tree = Tree {
        out,
        palette,
        root,
        children,
    };
    tree.span(root, "", "", 0);
}

struct Tree<'a> {
    out: &'a mut String,
    palette: Palette,
    root: &'a Span,
    /// By parent; taken out when shown, so that none is shown twice.
    children: HashMap<[u8; 8], Vec<&'a Span>>,
}

impl Tree<'_> {
    /// `indent` stands before the children's lines, `branch` before this one's.
    fn span(&mut self, span: &Span, indent: &str, branch: &str, depth: usize) {
        self.line(span, &format!("  {branch}"));
        let mut children = self.children.remove(&span.span_id).unwrap_or_default();
        children.sort_by_key(|child| child.start_unix_nano);
        if depth == DEEPEST {
            return;
        }
        let last = children.len().saturating_sub(1);
        for (at, child) in children.into_iter().enumerate() {
            let (elbow, below) = if at == last {
                ("└ ", "  ")
            } else {
                ("├ ", "│ ")
            };
            self.span(
                child,
                &format!("{indent}{below}"),
                &format!("{indent}{elbow}"),
                depth + 1,
            );
        }
    }

    fn line(&mut self, span: &Span, before: &str) {
        let mut left = String::from(before);
        push_column(&mut left, &span.service.name, 0, 20);
        let summary = text::summary(span);
        let calls = span.kind.is_outgoing();
        left.push_str(if calls { " → " } else { "  " });
        push_column(&mut left, &span.name, 0, 40);
        if calls && (summary.is_named_without_target || !span.name.contains(' ')) {
            left.push(' ');
            push_column(&mut left, summary.target.unwrap_or("-"), 0, 40);
        }
        push_column(self.out, &left, NAMES, NAMES);
        self.out.push(' ');
        text::push_status(self.out, span, &summary, self.palette);
        let took = span.end_unix_nano.saturating_sub(span.start_unix_nano);
        self.out
            .push_str(&format!(" {:>7} ", duration::human(took)));
        self.bar(span);
        text::push_link(self.out, span);
        text::push_marks(self.out, span, &summary, self.palette);
        self.out.push('\n');
    }

    fn bar(&mut self, span: &Span) {
        let start = self.root.start_unix_nano;
        let whole = self.root.end_unix_nano.saturating_sub(start).max(1);
        let place = |time: u64| {
            (u128::from(time.saturating_sub(start).min(whole)) * u128::from(BAR)
                / u128::from(whole)) as u64
        };
        let from = place(span.start_unix_nano).min(BAR - 1);
        let to = place(span.end_unix_nano).clamp(from + 1, BAR);
        self.out.extend(std::iter::repeat_n(' ', from as usize));
        let bar: String = std::iter::repeat_n('█', (to - from) as usize).collect();
        self.palette.paint(
            self.out,
            if span.error.is_some() {
                Colour::Red
            } else {
                Colour::Cyan
            },
            &bar,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::trace::SpanKind;
    use crate::{
        cli::{
            demo::traces::Traces,
            samples::{service, set, span},
        },
        process::Value,
    };

    fn tree(spans: &[Span]) -> String {
        let (mut traces, now) = (Traces::default(), Instant::now());
        spans.iter().for_each(|span| traces.add(span, now));
        let whole = traces.take_whole(now + Duration::from_secs(1));
        let mut out = String::new();
        push(&mut out, "newest", &whole[0], Palette::PLAIN);
        out
    }

    #[test]
    fn children_stand_below_their_parents_in_order_of_time() {
        let mut call = span(0xab, 4, 2, "GET", SpanKind::Client, 50, 50);
        set(
            &mut call,
            "url.full",
            Value::Text("http://127.0.0.1:9000/payments/7".into()),
        );
        set(&mut call, "http.response.status_code", Value::Int(503));
        call.error = Some("".into());
        let mut spans = [
            span(0xab, 1, 0, "GET /orders/{id}", SpanKind::Client, 0, 100),
            span(0xab, 2, 1, "GET /orders/{id}", SpanKind::Server, 0, 100),
            call,
            span(0xab, 3, 2, "GET /items/{id}", SpanKind::Client, 10, 25),
            span(0xab, 5, 3, "GET /items/{id}", SpanKind::Server, 12, 20),
        ];
        spans[0].service = service("load");
        spans[4].service = service("catalog");
        assert_eq!(
            tree(&spans),
            "\
newest  trace abababababababababababababababab  5 spans in 100ms
  load → GET /orders/{id}                                  200   100ms ████████████████████████
  └ gateway  GET /orders/{id}                              200   100ms ████████████████████████
    ├ gateway → GET /items/{id}                            200    25ms   ██████
    │ └ catalog  GET /items/{id}                           200    20ms   █████
    └ gateway → GET 127.0.0.1:9000/payments/7              503    50ms             ████████████
"
        );
    }

    #[test]
    fn spans_that_name_each_other_as_parents_or_share_an_id_end() {
        let page = tree(&[
            span(1, 1, 0, "GET /", SpanKind::Server, 0, 10),
            span(1, 2, 3, "GET /a", SpanKind::Server, 0, 10),
            span(1, 3, 2, "GET /b", SpanKind::Server, 0, 10),
            span(1, 1, 1, "GET /c", SpanKind::Server, 0, 10),
        ]);
        assert_eq!(page.lines().count(), 3);
    }

    #[test]
    fn depth_is_bounded() {
        let spans: Vec<Span> = (1..100)
            .map(|id| span(1, id, id - 1, "GET /", SpanKind::Server, 0, 10))
            .collect();
        assert_eq!(tree(&spans).lines().count(), DEEPEST + 2);
    }
}
