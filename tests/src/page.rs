//! The daemon's Prometheus page.

use crate::get;

/// One page, as (series, value).
#[derive(Debug)]
pub struct Page(Vec<(String, f64)>);

impl Page {
    /// Fetches the page of a port on 127.0.0.1; none where nobody answers.
    pub fn fetch(port: u16) -> Option<Self> {
        let answer = get(port, "/metrics").ok()?;
        assert_eq!(answer.status, 200);
        let text = String::from_utf8(answer.body).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        };
        Some(Self(samples.map(sample).collect()))
    }

    /// The sum over a family's series whose labels contain every one of the texts, such as
    /// `http_request_method="GET"`. Counters are named without their `_total`.
    pub fn sum(&self, family: &str, labels: &[&str]) -> f64 {
        let fits = |series: &str| {
            let (name, rest) = series.split_once('{').unwrap_or((series, ""));
            name.strip_suffix("_total").unwrap_or(name) == family
                && labels.iter().all(|label| rest.contains(label))
        };
        self.0
            .iter()
            .filter(|(series, _)| fits(series))
            .map(|(_, value)| value)
            .sum()
    }

    /// How many series of a family have labels with this text.
    pub fn series(&self, family: &str, label: &str) -> usize {
        let fits = |series: &str| series.starts_with(family) && series.contains(label);
        self.0.iter().filter(|(series, _)| fits(series)).count()
    }

    /// Exchanges of servers that the metrics counted.
    pub fn served(&self, labels: &[&str]) -> u64 {
        self.sum("http_server_request_duration_seconds_count", labels) as u64
    }

    /// Every loss that there was, as (series, whose labels give the reason; count).
    pub fn losses(&self) -> Vec<(&str, f64)> {
        self.0
            .iter()
            .filter(|(series, count)| series.starts_with("observer_lost") && *count > 0.0)
            .map(|(series, count)| (series.as_str(), *count))
            .collect()
    }

    /// Everything that the daemon counted and that should not happen, to be said where something is missing.
    pub fn troubles(&self) -> String {
        const USUAL: &[&str] = &["exchanges", "records", "connections", "connections_seen"];
        let is_trouble = |series: &str| {
            let families = [
                "observer_lost",
                "observer_stream",
                "observer_spans_dropped",
                "observer_program_missed",
                "observer_print_dropped",
                "observer_kernel_events",
                "observer_tls_total",
            ];
            families.iter().any(|family| series.starts_with(family))
                && !USUAL
                    .iter()
                    .any(|event| series.contains(&format!("\"{event}\"")))
        };
        let told: Vec<String> = self
            .0
            .iter()
            .filter(|(series, count)| *count > 0.0 && is_trouble(series))
            .map(|(series, count)| format!("{series} {count}"))
            .collect();
        told.join(", ")
    }

    /// Calls that the kernel ran neither a program nor its spare for, at most.
    pub fn missed(&self) -> u64 {
        self.sum("observer_lost", &["reason=\"program_missed\""]) as u64
    }

    /// Losses of all reasons.
    pub fn lost(&self) -> f64 {
        self.sum("observer_lost", &[])
    }
}
