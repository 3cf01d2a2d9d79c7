//! A judge that finds nothing would pass everything: each fault is made, and must be found.

use super::case::{AFTER, CALLS};
use super::judge::{Edges, Links, Spans, Verdict};
use super::path::Key;
use super::row::{Connections, Row};
use super::span::Span;

fn row(case: &'static super::case::Case) -> Row {
    Row {
        number: 0,
        runtime: "test",
        over_tls: false,
        case,
        concurrency: 1,
        connections: Connections::Keep,
        requests: 2,
        floor: 1.0,
    }
}

/// The spans of a row as they should be. Ids are made from the key; a span begins later than its parent.
fn truth(row: &Row) -> Vec<Span> {
    let id = |key: &Key, is_client: bool| format!("{}/{}/{is_client}", key.tag, key.hop);
    let mut spans = Vec::new();
    for key in row.expected() {
        for is_client in [true, false] {
            let parent = match is_client {
                true => key.cause().map(|cause| id(&cause, false)),
                false => Some(id(&key, true)),
            };
            let depth = 2 * key.hop.split('.').count() as u64 + u64::from(!is_client);
            spans.push(Span {
                key: key.clone(),
                path: String::new(),
                is_client,
                trace_id: key.tag.clone(),
                span_id: id(&key, is_client),
                parent_span_id: parent,
                link: None,
                method: "test".to_owned(),
                service: "test".to_owned(),
                start: depth,
                end: 100,
            });
        }
    }
    spans
}

fn judge(row: &Row, spans: &[Span]) -> Verdict {
    Spans::new(spans).judge(row)
}

/// The index of a span of the second request, which is `twice`.
fn find(spans: &[Span], hop: &str, is_client: bool) -> usize {
    spans
        .iter()
        .position(|span| {
            span.key.tag == "0.1.0" && span.key.hop == hop && span.is_client == is_client
        })
        .unwrap()
}

#[test]
fn the_truth_is_right() {
    let row = row(&CALLS);
    let verdict = judge(&row, &truth(&row));
    // Three and five requests, each with a client and a server span.
    let right = |right| Edges {
        right,
        ..Edges::default()
    };
    assert_eq!((verdict.calls, verdict.joins), (right(6), right(8)));
    assert_eq!(verdict.roots, right(2));
    assert_eq!((verdict.lost, verdict.malformed, verdict.merged), (0, 0, 0));
    assert_eq!(verdict.details, [] as [&str; 0]);
}

#[test]
fn another_requests_span_is_a_wrong_parent() {
    let row = row(&CALLS);
    let mut spans = truth(&row);
    let call = find(&spans, "0.1", true);
    spans[call].parent_span_id = Some("0.0.0/0/false".to_owned());
    let verdict = judge(&row, &spans);
    assert_eq!((verdict.calls.wrong, verdict.calls.right), (1, 5));
    // It says that it is in its own tag's trace, and its parent is in another.
    assert_eq!(verdict.malformed, 1);
}

#[test]
fn the_sibling_or_the_wrong_end_is_a_wrong_parent() {
    let row = row(&CALLS);
    let mut spans = truth(&row);
    let (call, served) = (find(&spans, "0.1", true), find(&spans, "0.1.0", false));
    spans[call].parent_span_id = Some("0.1.0/0.0/true".to_owned());
    spans[served].parent_span_id = Some("0.1.0/0.1/false".to_owned());
    let verdict = judge(&row, &spans);
    assert_eq!((verdict.calls.wrong, verdict.joins.wrong), (1, 1));
}

#[test]
fn no_parent_is_missing_and_no_span_is_lost() {
    let row = row(&CALLS);
    let mut spans = truth(&row);
    let call = find(&spans, "0.1", true);
    spans[call].parent_span_id = None;
    let served = find(&spans, "0.0", false);
    spans.remove(served);
    let verdict = judge(&row, &spans);
    assert_eq!(verdict.lost, 1);
    // The call itself, and the one whose parent was lost, which names it.
    assert_eq!((verdict.calls.missing, verdict.calls.wrong), (2, 0));
}

#[test]
fn a_parent_that_was_never_printed_is_wrong_where_the_true_one_was() {
    let row = row(&CALLS);
    let mut spans = truth(&row);
    let call = find(&spans, "0.1", true);
    spans[call].parent_span_id = Some("unknown".to_owned());
    assert_eq!(judge(&row, &spans).calls.wrong, 1);
}

#[test]
fn a_call_that_nothing_caused_must_have_no_parent() {
    let row = row(&AFTER);
    let mut spans = truth(&row);
    let root = Span {
        key: Key {
            tag: "0.0.0~0".to_owned(),
            hop: "0".to_owned(),
        },
        is_client: true,
        trace_id: "other".to_owned(),
        span_id: "other".to_owned(),
        parent_span_id: None,
        ..spans[0].clone()
    };
    spans.push(root);
    let verdict = judge(&row, &spans);
    assert_eq!((verdict.background, verdict.roots.wrong), (1, 0));
    // Its server span is missing.
    assert_eq!(verdict.lost, 1);
    let last = spans.len() - 1;
    spans[last].parent_span_id = Some("0.0.0/0/false".to_owned());
    assert_eq!(judge(&row, &spans).roots.wrong, 1);
    spans[last].parent_span_id = None;
    spans[last].trace_id = "0.0.0".to_owned();
    spans[last].start = 200;
    assert_eq!(judge(&row, &spans).merged, 1);
}

#[test]
fn a_link_is_right_where_it_names_the_cause_in_its_trace() {
    let row = row(&CALLS);
    let mut spans = truth(&row);
    let call = find(&spans, "0.1", true);
    spans[call].parent_span_id = None;
    let link = |trace: &str, span: &str| Some((trace.to_owned(), span.to_owned()));
    let links = |right, wrong| Links { right, wrong };
    spans[call].link = link("0.1.0", "0.1.0/0/false");
    let verdict = judge(&row, &spans);
    assert_eq!((verdict.links, verdict.calls.missing), (links(1, 0), 1));
    assert_eq!(verdict.malformed, 0);
    for (trace, span) in [
        ("0.0.0", "0.1.0/0/false"),
        ("0.0.0", "0.0.0/0/false"),
        ("0.1.0", "0.1.0/0/true"),
        ("0.1.0", "unknown"),
    ] {
        spans[call].link = link(trace, span);
        let verdict = judge(&row, &spans);
        assert_eq!(verdict.links, links(0, 1), "{trace} {span}");
        assert!(verdict.details[0].starts_with("wrong link"));
    }
    // What nothing caused is not to be linked; and who has a parent needs no link.
    let (root, child) = (find(&spans, "0", true), find(&spans, "0.0", true));
    spans[root].link = link("0.0.0", "0.0.0/0/false");
    spans[child].link = link("0.1.0", "0.1.0/0/false");
    let verdict = judge(&row, &spans);
    assert_eq!((verdict.links, verdict.malformed), (links(1, 2), 1));
}

#[test]
fn time_and_ids_must_make_sense() {
    let row = row(&CALLS);
    let mut spans = truth(&row);
    let call = find(&spans, "0.1", true);
    spans[call].start = 0;
    assert_eq!(judge(&row, &spans).malformed, 1);
    spans[call].start = 101;
    // Its own child begins before it now.
    assert_eq!(judge(&row, &spans).malformed, 2);
    let mut spans = truth(&row);
    let (first, second) = (find(&spans, "0.0.0", false), find(&spans, "0.1.0", false));
    spans[second].span_id = spans[first].span_id.clone();
    assert_eq!(judge(&row, &spans).malformed, 2);
}
