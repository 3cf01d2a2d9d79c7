//! Spans put together again, until a trace is whole.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::trace::Span;

/// A trace is whole once it has a root, all its parents, and no new span for this long.
const SETTLED: Duration = Duration::from_millis(300);
/// What is not whole by then is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// Traces kept, and spans of one, at most.
const MOST_TRACES: usize = 5_000;
const MOST_SPANS: usize = 200;

/// One trace.
#[derive(Debug)]
pub(super) struct Trace {
    /// In the order in which they came.
    pub(super) spans: Vec<Span>,
    changed: Instant,
}

/// Traces that are being put together.
#[derive(Debug, Default)]
pub(super) struct Traces {
    open: HashMap<[u8; 16], Trace>,
}

impl Traces {
    pub(super) fn add(&mut self, span: &Span, now: Instant) {
        if self.open.len() >= MOST_TRACES && !self.open.contains_key(&span.trace_id) {
            return;
        }
        let trace = self.open.entry(span.trace_id).or_insert_with(|| Trace {
            spans: Vec::new(),
            changed: now,
        });
        trace.changed = now;
        if trace.spans.len() < MOST_SPANS {
            trace.spans.push(span.clone());
        }
    }

    /// Takes out the traces that are whole, and forgets those that will not be.
    pub(super) fn take_whole(&mut self, now: Instant) -> Vec<Trace> {
        let settled = |trace: &Trace| now.saturating_duration_since(trace.changed) >= SETTLED;
        let whole = self
            .open
            .extract_if(|_, trace| settled(trace) && trace.is_whole())
            .map(|(_, trace)| trace)
            .collect();
        self.open
            .retain(|_, trace| now.saturating_duration_since(trace.changed) < FORGOTTEN);
        whole
    }
}

impl Trace {
    /// The one span without a parent, where there is exactly one.
    pub(super) fn root(&self) -> Option<&Span> {
        let mut roots = self
            .spans
            .iter()
            .filter(|span| span.parent_span_id.is_none());
        roots.next().filter(|_| roots.next().is_none())
    }

    /// One root, and every other span's parent is there.
    fn is_whole(&self) -> bool {
        let ids: HashSet<[u8; 8]> = self.spans.iter().map(|span| span.span_id).collect();
        self.root().is_some()
            && self
                .spans
                .iter()
                .filter_map(|span| span.parent_span_id)
                .all(|parent| ids.contains(&parent))
    }

    pub(super) fn failed(&self) -> bool {
        self.spans.iter().any(|span| span.error.is_some())
    }

    /// The root's duration, ns.
    pub(super) fn took(&self) -> u64 {
        self.root().map_or(0, |root| {
            root.end_unix_nano.saturating_sub(root.start_unix_nano)
        })
    }

    fn began(&self) -> u64 {
        self.root().map_or(0, |root| root.start_unix_nano)
    }
}

/// The traces worth looking at, each with why: the newest with more than one service, one that failed, the slowest.
pub(super) fn interesting(traces: &[Trace]) -> Vec<(String, &Trace)> {
    let services = |trace: &Trace| {
        trace
            .spans
            .iter()
            .map(|span| &span.service.name)
            .collect::<HashSet<_>>()
            .len()
    };
    let newest = traces
        .iter()
        .max_by_key(|trace| (services(trace) > 2, trace.began()));
    let failed = traces
        .iter()
        .filter(|trace| trace.failed())
        .max_by_key(|trace| (services(trace) > 2, trace.began()));
    let slowest = traces.iter().max_by_key(|trace| trace.took());
    let mut chosen: Vec<(String, &Trace)> = Vec::new();
    for (why, trace) in [("newest", newest), ("failed", failed), ("slowest", slowest)] {
        let Some(trace) = trace else { continue };
        match chosen
            .iter_mut()
            .find(|(_, known)| std::ptr::eq(*known, trace))
        {
            Some((whys, _)) => *whys = format!("{whys}, {why}"),
            None => chosen.push((why.to_owned(), trace)),
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::samples::span, trace::SpanKind};

    fn traces(spans: &[Span]) -> (Traces, Instant) {
        let (mut traces, now) = (Traces::default(), Instant::now());
        spans.iter().for_each(|span| traces.add(span, now));
        (traces, now)
    }

    fn server(trace: u8, id: u8, parent: u8, took: u64) -> Span {
        span(
            trace,
            id,
            parent,
            "GET /",
            SpanKind::Server,
            u64::from(trace),
            took,
        )
    }

    #[test]
    fn a_trace_is_whole_once_its_parents_are_there_and_it_is_quiet() {
        let (mut traces, now) = traces(&[server(1, 2, 1, 1), server(2, 1, 0, 1)]);
        assert_eq!(traces.take_whole(now).len(), 0);
        assert_eq!(traces.take_whole(now + SETTLED).len(), 1);
        traces.add(&server(1, 1, 0, 1), now + SETTLED);
        assert_eq!(traces.take_whole(now + SETTLED).len(), 0);
        let whole = traces.take_whole(now + 2 * SETTLED);
        assert_eq!(whole[0].spans.len(), 2);
    }

    #[test]
    fn what_will_not_be_whole_is_forgotten_and_memory_is_bounded() {
        let (mut traces, now) = traces(&[server(1, 2, 1, 1)]);
        traces.take_whole(now + FORGOTTEN);
        assert!(traces.open.is_empty());
        for _ in 0..2 * MOST_SPANS {
            traces.add(&server(1, 2, 1, 1), now);
        }
        assert_eq!(traces.open[&[1; 16]].spans.len(), MOST_SPANS);
        for number in 0..2 * MOST_TRACES as u128 {
            traces.add(
                &Span {
                    trace_id: number.to_be_bytes(),
                    ..server(1, 1, 0, 1)
                },
                now,
            );
        }
        assert_eq!(traces.open.len(), MOST_TRACES);
    }

    #[test]
    fn newest_failed_and_slowest_are_chosen_once_each() {
        let mut failed = server(2, 1, 0, 5);
        failed.error = Some("".into());
        let (mut open, now) = traces(&[server(1, 1, 0, 9), failed, server(3, 1, 0, 1)]);
        let mut whole = open.take_whole(now + SETTLED);
        let why = |traces: &[Trace]| {
            let chosen = interesting(traces);
            chosen
                .iter()
                .map(|(why, trace)| (why.clone(), trace.spans[0].trace_id[0]))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            why(&whole),
            [
                ("newest".into(), 3),
                ("failed".into(), 2),
                ("slowest".into(), 1)
            ]
        );
        whole.retain(|trace| trace.failed());
        assert_eq!(why(&whole), [("newest, failed, slowest".into(), 2)]);
        assert!(interesting(&[]).is_empty());
    }
}
