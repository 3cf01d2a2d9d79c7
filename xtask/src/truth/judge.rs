//! Compares what observer printed with what is true.
//!
//! The truth comes from the paths alone (`path.rs`): which spans there must be, and the parent of each.

use std::collections::{HashMap, HashSet};

use super::path::Key;
use super::row::Row;
use super::span::Span;

/// Lost spans of a row that are named: the others were mostly lost at the same moment.
const LOST_NAMED: usize = 20;

/// Edges of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Edges {
    /// The parent is the true one.
    pub(super) right: usize,
    /// No parent where there is one.
    pub(super) missing: usize,
    /// Another parent, or one where there is none.
    pub(super) wrong: usize,
}

impl Edges {
    pub(super) fn all(self) -> usize {
        self.right + self.missing + self.wrong
    }

    pub(super) fn add(&mut self, other: Self) {
        self.right += other.right;
        self.missing += other.missing;
        self.wrong += other.wrong;
    }
}

/// Links from calls without a parent to what may have caused them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    /// It did.
    pub(super) right: usize,
    /// Something else did, or nothing.
    pub(super) wrong: usize,
}

impl Links {
    pub(super) fn add(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
    }
}

/// What became of the spans of one row.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// From a call to the request that caused it, within one service.
    pub(super) calls: Edges,
    /// From a served request to the call that it answers, between two processes.
    pub(super) joins: Edges,
    /// Spans that nothing caused. Right is no parent.
    pub(super) roots: Edges,
    /// Of spans without a parent.
    pub(super) links: Links,
    /// Of the roots: calls of timers, and after responses.
    pub(super) background: usize,
    /// Spans that were not printed.
    pub(super) lost: usize,
    /// Printed more than once: a client that tried again.
    pub(super) repeated: usize,
    /// Begins before its parent, begins after its parent's end, is in another trace than its parent, or has a span id
    /// that another span has.
    pub(super) malformed: usize,
    /// Traces with spans that have nothing to do with each other.
    pub(super) merged: usize,
    /// For people: each of the wrong, merged and malformed ones, and the first that were lost.
    pub(super) details: Vec<String>,
    /// How many edges each method made.
    pub(super) methods: HashMap<String, usize>,
}

/// Every span that a run of the daemon printed, in the ways they are looked up.
pub(super) struct Spans<'a> {
    by_id: HashMap<&'a str, &'a Span>,
    /// Server spans, then client spans.
    by_key: [HashMap<&'a Key, Vec<&'a Span>>; 2],
    /// The earliest span of each trace.
    first: HashMap<&'a str, &'a Span>,
    duplicates: HashSet<&'a str>,
}

impl<'a> Spans<'a> {
    pub(super) fn new(all: &'a [Span]) -> Self {
        let mut spans = Self {
            by_id: HashMap::new(),
            by_key: [HashMap::new(), HashMap::new()],
            first: HashMap::new(),
            duplicates: HashSet::new(),
        };
        for span in all {
            if spans.by_id.insert(&span.span_id, span).is_some() {
                spans.duplicates.insert(&span.span_id);
            }
            let of_kind = &mut spans.by_key[usize::from(span.is_client)];
            of_kind.entry(&span.key).or_default().push(span);
            let first = spans.first.entry(&span.trace_id).or_insert(span);
            if span.start < first.start {
                *first = span;
            }
        }
        spans
    }

    fn at(&self, key: &Key, is_client: bool) -> &[&'a Span] {
        let of_kind = &self.by_key[usize::from(is_client)];
        of_kind.get(key).map_or(&[], Vec::as_slice)
    }

    /// Judges one row.
    pub(super) fn judge(&self, row: &Row) -> Verdict {
        let mut verdict = Verdict::default();
        let mut keys = row.expected();
        // How often a timer fired is not known before; but what one end saw, the other must have seen.
        let background: HashSet<&Key> = self
            .by_key
            .iter()
            .flat_map(HashMap::keys)
            .copied()
            .filter(|key| key.is_background() && key.row() == Some(row.number))
            .collect();
        keys.extend(background.into_iter().cloned());
        for key in &keys {
            for is_client in [true, false] {
                let spans = self.at(key, is_client);
                if spans.is_empty() {
                    verdict.lost += 1;
                    if verdict.lost <= LOST_NAMED {
                        let kind = if is_client { "client" } else { "server" };
                        let Key { tag, hop } = key;
                        verdict
                            .details
                            .push(format!("lost: {kind} span of tag {tag} hop {hop}"));
                    }
                }
                verdict.repeated += spans.len().saturating_sub(1);
                for span in spans {
                    self.judge_span(row, span, &mut verdict);
                }
            }
        }
        verdict.details.sort_unstable();
        verdict
    }

    fn judge_span(&self, row: &Row, span: &Span, verdict: &mut Verdict) {
        *verdict.methods.entry(span.method.clone()).or_default() += 1;
        let cause = match span.is_client {
            true => row.cause(&span.key).map(|key| (key, false)),
            false => Some((span.key.clone(), true)),
        };
        let parent_id = span.parent_span_id.as_deref();
        let parent = parent_id.and_then(|id| self.by_id.get(id)).copied();
        let mut edge = Edges::default();
        match (&cause, parent_id, parent) {
            (None, None, _) => {
                edge.right += 1;
                verdict.background += usize::from(span.key.is_background());
            }
            (Some(_), None, _) => edge.missing += 1,
            (Some((key, is_client)), _, Some(parent))
                if *key == parent.key && *is_client == parent.is_client =>
            {
                edge.right += 1;
            }
            // The true parent was lost, so this may be its id.
            (Some((key, is_client)), _, None) if self.at(key, *is_client).is_empty() => {
                edge.missing += 1;
            }
            _ => {
                edge.wrong += 1;
                let parent = parent.map_or_else(
                    || format!("{}, which was not printed", parent_id.unwrap_or_default()),
                    Span::describe,
                );
                let (span, method) = (span.describe(), &span.method);
                verdict.details.push(format!(
                    "wrong: {span}\n    has by `{method}` the parent {parent}"
                ));
            }
        }
        match (&cause, span.is_client) {
            (None, _) => verdict.roots.add(edge),
            (Some(_), true) => verdict.calls.add(edge),
            (Some(_), false) => verdict.joins.add(edge),
        }
        self.judge_link(cause.as_ref(), span, verdict);
        self.judge_form(span, parent, verdict);
    }

    /// `cause`: the true parent, and whether that is a client span.
    fn judge_link(&self, cause: Option<&(Key, bool)>, span: &Span, verdict: &mut Verdict) {
        let Some((trace_id, span_id)) = &span.link else {
            return;
        };
        let linked = self.by_id.get(span_id.as_str());
        let is_right = match (cause, linked) {
            (Some((key, is_client)), Some(linked)) => {
                *key == linked.key && *is_client == linked.is_client && *trace_id == linked.trace_id
            }
            // The true cause was lost, so this may be its id.
            (Some((key, is_client)), None) if self.at(key, *is_client).is_empty() => return,
            _ => false,
        };
        if is_right {
            verdict.links.right += 1;
            return;
        }
        verdict.links.wrong += 1;
        let linked = linked.map_or_else(
            || format!("{span_id}, which was not printed"),
            |linked| linked.describe(),
        );
        let span = span.describe();
        verdict.details.push(format!(
            "wrong link: {span}\n    is linked in trace {trace_id} to {linked}"
        ));
    }

    /// What must hold for any span, whoever its parent is.
    fn judge_form(&self, span: &Span, parent: Option<&Span>, verdict: &mut Verdict) {
        let mut faults = Vec::new();
        if span.link.is_some() && span.parent_span_id.is_some() {
            faults.push("has a parent and a link to what may be one".to_owned());
        }
        if self.duplicates.contains(span.span_id.as_str()) {
            faults.push("has a span id that another span has, too".to_owned());
        }
        if let Some(parent) = parent {
            if parent.trace_id != span.trace_id {
                faults.push("is in another trace than its parent".to_owned());
            }
            if span.start < parent.start {
                let early = parent.start - span.start;
                faults.push(format!("begins {early} ns before its parent"));
            }
            if span.start > parent.end {
                let late = span.start - parent.end;
                faults.push(format!("begins {late} ns after its parent's end"));
            }
        }
        verdict.malformed += usize::from(!faults.is_empty());
        for fault in faults {
            verdict
                .details
                .push(format!("malformed: {}\n    {fault}", span.describe()));
        }
        // One tag is one trace, or several where a parent was not found; two tags are never one.
        if let Some(first) = self.first.get(span.trace_id.as_str())
            && first.key.tag != span.key.tag
            && span.parent_span_id.is_none()
        {
            verdict.merged += 1;
            let (span, first) = (span.describe(), first.describe());
            verdict
                .details
                .push(format!("merged: {span}\n    is in one trace with {first}"));
        }
    }
}
