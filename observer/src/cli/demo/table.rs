//! The RED table: rate, errors and duration of every route.

use std::collections::BTreeMap;

use super::latency::quantile;
use crate::{
    cli::{
        duration,
        escape::push_column,
        palette::{Colour, Palette},
    },
    metrics::{HistogramPoint, Point, Snapshot},
    protocol::{self, Group},
};

/// Lines shown, at most.
const MOST: usize = 40;

/// What a line is about: service, kind of exchange, what was done and where. Which series are one line, their protocol
/// says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    service: String,
    /// The group's place among all.
    group: usize,
    kind: &'static str,
    place: String,
    method: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    count: u64,
    errors: u64,
    buckets: Vec<u64>,
    bounds: &'static [f64],
    min: Option<f64>,
    max: Option<f64>,
}

/// Remembers the last snapshot's counts, for rates.
#[derive(Debug, Default)]
pub(super) struct Table {
    counts: BTreeMap<Key, u64>,
    time_unix_nano: Option<u64>,
}

impl Table {
    /// Appends the table; rates are those since the last call, everything else since the start.
    pub(super) fn push(&mut self, out: &mut String, snapshot: &Snapshot, palette: Palette) {
        let rows = rows(snapshot);
        let started = snapshot
            .services
            .iter()
            .map(|service| service.start_unix_nano)
            .min();
        let since = self
            .time_unix_nano
            .or(started)
            .unwrap_or(snapshot.time_unix_nano);
        let seconds = snapshot.time_unix_nano.saturating_sub(since) as f64 / 1e9;
        let names = format!(
            "{:<12} {:<6} {:<6} {:<28} {:>7} {:>8} {:>7} {:>7} {:>7} {:>7}",
            "SERVICE", "KIND", "METHOD", "ROUTE", "REQS", "RATE/S", "ERRORS", "P50", "P95", "P99"
        );
        palette.paint(out, Colour::Dim, &names);
        out.push('\n');
        for (key, row) in rows.iter().take(MOST) {
            let new = row
                .count
                .saturating_sub(self.counts.get(key).copied().unwrap_or(0));
            line(
                out,
                key,
                row,
                if seconds > 0.0 {
                    new as f64 / seconds
                } else {
                    0.0
                },
                palette,
            );
        }
        if let Some(more) = rows.len().checked_sub(MOST).filter(|more| *more > 0) {
            out.push_str(&format!("… and {more} more\n"));
        }
        self.counts = rows
            .into_iter()
            .map(|(key, row)| (key, row.count))
            .collect();
        self.time_unix_nano = Some(snapshot.time_unix_nano);
    }
}

fn line(out: &mut String, key: &Key, row: &Row, rate: f64, palette: Palette) {
    push_column(out, &key.service, 12, 12);
    out.push(' ');
    push_column(out, key.kind, 6, 6);
    out.push(' ');
    push_column(out, &key.method, 6, 6);
    out.push(' ');
    push_column(out, &key.place, 28, 28);
    out.push_str(&format!(" {:>7} {rate:>8.1} ", row.count));
    let errors = format!(
        "{:>6.1}%",
        100.0 * row.errors as f64 / row.count.max(1) as f64
    );
    palette.paint(
        out,
        if row.errors > 0 {
            Colour::Red
        } else {
            Colour::Green
        },
        &errors,
    );
    for q in [0.5, 0.95, 0.99] {
        let seconds = quantile(row.bounds, &row.buckets, q, row.min, row.max);
        let shown = seconds.map_or_else(
            || "-".to_owned(),
            |seconds| duration::human((seconds * 1e9) as u64),
        );
        out.push_str(&format!(" {shown:>7}"));
    }
    out.push('\n');
}

/// The duration histograms' series, put together by line.
fn rows(snapshot: &Snapshot) -> BTreeMap<Key, Row> {
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    let groups = protocol::groups();
    for service in &snapshot.services {
        for metric in &service.metrics {
            let measured = |group: &&'static Group| {
                let duration = group.measures.first();
                duration.is_some_and(|it| it.instrument.name == metric.instrument.name)
            };
            let Some(at) = groups.iter().position(measured) else {
                continue;
            };
            let group = groups[at];
            for (attributes, point) in &metric.points {
                let Point::Histogram(histogram) = point else {
                    continue;
                };
                let row = (group.row)(attributes);
                let key = Key {
                    service: service.service.name.to_string(),
                    group: at,
                    kind: group.kind,
                    place: row.place,
                    method: row.verb,
                };
                let failed = attributes.iter().any(|(key, _)| *key == "error.type");
                rows.entry(key)
                    .or_default()
                    .add(metric.instrument.bounds, histogram, failed);
            }
        }
    }
    rows
}

impl Row {
    fn add(&mut self, bounds: &'static [f64], histogram: &HistogramPoint, failed: bool) {
        self.count += histogram.count;
        self.errors += if failed { histogram.count } else { 0 };
        self.bounds = bounds;
        self.buckets
            .resize(histogram.buckets.len().max(self.buckets.len()), 0);
        for (sum, more) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += more;
        }
        self.min = [self.min, histogram.min]
            .into_iter()
            .flatten()
            .reduce(f64::min);
        self.max = [self.max, histogram.max]
            .into_iter()
            .flatten()
            .reduce(f64::max);
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
