//! What the bench found, for people and for programs.

use serde_json::{Value, json};

use super::traced::Scenario;
use super::untraced::Workload;

/// All measurements of one call.
pub(super) struct Report {
    pub(super) pairs: u32,
    pub(super) seconds: u32,
    /// Over TLS, both ends traced.
    pub(super) tls: bool,
    /// Two, each with its name.
    pub(super) scenarios: [(&'static str, Scenario); 2],
    pub(super) untraced: Vec<Workload>,
}

/// One row: what, how to get it from a scenario, digits after the point.
type Row = (&'static str, fn(&Scenario) -> f64, usize);

const MEGABYTE: f64 = 1024.0 * 1024.0;

const ROWS: [Row; 14] = [
    ("bare requests/s", |s| s.bare_rate, 0),
    ("traced requests/s", |s| s.traced_rate, 0),
    ("throughput, traced : bare", |s| s.rate_ratio, 3),
    ("bare p99, µs", |s| s.bare_p99, 0),
    ("p99, traced : bare", |s| s.p99_ratio, 2),
    ("exchanges a request", |s| s.exchanges_per_request, 4),
    ("kernel µs an exchange", |s| s.kernel_micros, 2),
    ("daemon CPU µs an exchange", |s| s.daemon_micros, 2),
    ("daemon RSS, MB", |s| s.resident / MEGABYTE, 1),
    ("daemon peak RSS, MB", |s| s.peak_resident / MEGABYTE, 1),
    ("kernel maps, MB", |s| s.map_bytes / MEGABYTE, 1),
    ("ready after, s", |s| s.ready_after, 2),
    ("spans accepted a second", |s| s.spans_a_second, 0),
    (
        "lost, all reasons",
        |s| s.lost.values().fold(0.0, |sum, count| sum + count),
        0,
    ),
];

impl Report {
    /// Aligned text, a line a fact.
    pub(super) fn table(&self) -> String {
        let over = if self.tls {
            " over TLS, both ends traced"
        } else {
            ""
        };
        let [(first, one), (second, other)] = &self.scenarios;
        let mut text = format!(
            "nginx, 1 worker, wrk -t1 -c16{over}; medians of {} pairs of {} s\n\n{:<30}{first:>14}{second:>14}\n",
            self.pairs, self.seconds, ""
        );
        for (name, value, digits) in ROWS {
            let (one, other) = (value(one), value(other));
            text.push_str(&format!("{name:<30}{one:>14.digits$}{other:>14.digits$}\n"));
        }
        for (name, scenario) in &self.scenarios {
            for (reason, count) in &scenario.lost {
                text.push_str(&format!("  {name} lost {count:.0}: {reason}\n"));
            }
        }
        if self.untraced.is_empty() {
            return text;
        }
        text.push_str(&format!(
            "\n{:<30}{:>14}{:>14}\n",
            "untraced processes", "bare, s", "beside : bare"
        ));
        for workload in &self.untraced {
            text.push_str(&format!(
                "{:<30}{:>14.3}{:>14.3}\n",
                workload.name, workload.bare_seconds, workload.ratio
            ));
        }
        text
    }

    /// The same facts, unrounded.
    pub(super) fn json(&self) -> Value {
        let untraced: Vec<Value> = self
            .untraced
            .iter()
            .map(|w| json!({"name": w.name, "bare_seconds": w.bare_seconds, "ratio": w.ratio}))
            .collect();
        let mut report = json!({
            "pairs": self.pairs,
            "seconds": self.seconds,
            "tls": self.tls,
            "untraced": untraced,
        });
        for (name, found) in &self.scenarios {
            report[name.replace(' ', "_")] = scenario(found);
        }
        report
    }
}

/// One scenario, unrounded.
pub(super) fn scenario(scenario: &Scenario) -> Value {
    json!({
        "bare_requests_per_second": scenario.bare_rate,
        "traced_requests_per_second": scenario.traced_rate,
        "throughput_ratio": scenario.rate_ratio,
        "bare_p99_micros": scenario.bare_p99,
        "p99_ratio": scenario.p99_ratio,
        "exchanges_per_request": scenario.exchanges_per_request,
        "kernel_micros_per_exchange": scenario.kernel_micros,
        "daemon_micros_per_exchange": scenario.daemon_micros,
        "resident_bytes": scenario.resident,
        "peak_resident_bytes": scenario.peak_resident,
        "kernel_map_bytes": scenario.map_bytes,
        "ready_seconds": scenario.ready_after,
        "spans_accepted_per_second": scenario.spans_a_second,
        "lost": scenario.lost,
    })
}
