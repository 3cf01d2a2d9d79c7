//! The page: a snapshot and the daemon's own families as text.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
};

use super::{
    Family, Format, Kind,
    names::{self, escaped, number},
};
use crate::{
    metrics::{HistogramPoint, Instrument, Metric, Point, ServiceMetrics, Snapshot},
    process::Service,
};

/// The page's text. Families are sorted by name, each is there once, as both formats require.
pub fn render(snapshot: &Snapshot, own: &[Family], format: Format) -> String {
    let mut page = Page {
        out: String::with_capacity(64 * 1024),
        format,
    };
    page.target_info(&snapshot.services);
    let mut families: BTreeMap<&str, Vec<(&Service, &Metric)>> = BTreeMap::new();
    for service in &snapshot.services {
        for metric in &service.metrics {
            families
                .entry(metric.instrument.name)
                .or_default()
                .push((&service.service, metric));
        }
    }
    for metrics in families.into_values() {
        page.metrics(&metrics);
    }
    let mut by_name: BTreeMap<String, Vec<&Family>> = BTreeMap::new();
    for family in own {
        let name = names::metric(family.name, "");
        let name = name
            .strip_suffix("_total")
            .filter(|_| family.kind == Kind::Counter)
            .unwrap_or(&name);
        by_name.entry(name.to_owned()).or_default().push(family);
    }
    for (name, families) in by_name {
        page.own(&name, &families);
    }
    if format == Format::OpenMetrics {
        page.out.push_str("# EOF\n");
    }
    page.out
}

struct Page {
    out: String,
    format: Format,
}

impl Page {
    /// `# HELP`, `# TYPE` and, in OpenMetrics, `# UNIT`. There a counter's family has no `_total`.
    fn head(&mut self, name: &str, kind: &str, unit: Option<&str>, help: &str) {
        let name = match (self.format, kind) {
            (Format::Prometheus, "counter") => format!("{name}_total"),
            _ => name.to_owned(),
        };
        let _ = writeln!(
            self.out,
            "# HELP {name} {}",
            escaped(help, self.format == Format::OpenMetrics)
        );
        let _ = writeln!(self.out, "# TYPE {name} {kind}");
        if let Some(unit) = unit.filter(|_| self.format == Format::OpenMetrics) {
            let _ = writeln!(self.out, "# UNIT {name} {unit}");
        }
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.out, "{name} {value}"),
            labels => writeln!(self.out, "{name}{{{labels}}} {value}"),
        };
    }

    /// `target_info`: what is known of each service.
    fn target_info(&mut self, services: &[ServiceMetrics]) {
        if services.is_empty() {
            return;
        }
        match self.format {
            Format::Prometheus => self.head("target_info", "gauge", None, "Target metadata"),
            Format::OpenMetrics => self.head("target", "info", None, "Target metadata"),
        }
        for service in services {
            let service = &service.service;
            let known = service.attributes.iter().map(|(key, value)| (*key, value));
            let extra = service
                .extra_attributes
                .iter()
                .map(|(key, value)| (&**key, value));
            let rest = known
                .chain(extra)
                .filter(|(key, _)| !IDENTITY.contains(key));
            let pairs = identity(service)
                .into_iter()
                .chain(rest.map(|(key, value)| (key, names::value(value))));
            let labels = names::labels(pairs);
            self.sample("target_info", &labels, 1);
        }
    }

    /// One instrument of all services.
    fn metrics(&mut self, metrics: &[(&Service, &Metric)]) {
        let Some((_, Metric { instrument, points })) = metrics.first() else {
            return;
        };
        let Instrument {
            name,
            unit,
            description,
            ..
        } = instrument;
        let name = names::metric(name, unit);
        let kind = match points.first() {
            Some((_, Point::Histogram(_))) => "histogram",
            Some((_, Point::Counter(_))) => "counter",
            Some((_, Point::UpDown(_))) => "gauge",
            None => return,
        };
        self.head(&name, kind, names::suffix(unit).as_deref(), description);
        let total = format!("{name}_total");
        for (service, metric) in metrics {
            for (attributes, point) in &metric.points {
                let pairs = attributes
                    .iter()
                    .map(|(key, value)| (*key, names::value(value)));
                let labels = names::labels(identity(service).into_iter().chain(pairs));
                match point {
                    Point::Histogram(histogram) => {
                        self.histogram(&name, &labels, instrument.bounds, histogram)
                    }
                    Point::Counter(count) => self.sample(&total, &labels, count),
                    Point::UpDown(value) => self.sample(&name, &labels, value),
                }
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, bounds: &[f64], histogram: &HistogramPoint) {
        let mut below = 0;
        for (at, count) in histogram.buckets.iter().enumerate() {
            below += count;
            let bound = bounds.get(at).copied().unwrap_or(f64::INFINITY);
            let mut le = number(bound);
            // OpenMetrics wants the canonical form of a float.
            if self.format == Format::OpenMetrics && bound.is_finite() && !le.contains('.') {
                le.push_str(".0");
            }
            let _ = write!(self.out, "{name}_bucket{{{labels},le=\"{le}\"}} {below}");
            self.exemplar(histogram, bounds, at);
            self.out.push('\n');
        }
        self.sample(&format!("{name}_sum"), labels, number(histogram.sum));
        self.sample(&format!("{name}_count"), labels, histogram.count);
    }

    /// The trace that a bucket points at; the older format has no place for it.
    fn exemplar(&mut self, histogram: &HistogramPoint, bounds: &[f64], bucket: usize) {
        if self.format == Format::Prometheus {
            return;
        }
        let of_bucket = |value: f64| bounds.partition_point(|bound| *bound < value) == bucket;
        let Some(exemplar) = histogram
            .exemplars
            .iter()
            .find(|exemplar| of_bucket(exemplar.value))
        else {
            return;
        };
        let _ = write!(
            self.out,
            " # {{trace_id=\"{:032x}\",span_id=\"{:016x}\"}} {} {}.{:03}",
            u128::from_be_bytes(exemplar.trace_id),
            u64::from_be_bytes(exemplar.span_id),
            number(exemplar.value),
            exemplar.time_unix_nano / 1_000_000_000,
            exemplar.time_unix_nano / 1_000_000 % 1_000,
        );
    }

    /// The daemon's families of one name. A sample whose labels were there already is left out: with it, the whole
    /// page would be refused.
    fn own(&mut self, name: &str, families: &[&Family]) {
        let Some(first) = families.first() else {
            return;
        };
        let (kind, sample_name) = match first.kind {
            Kind::Counter => ("counter", format!("{name}_total")),
            Kind::Gauge => ("gauge", name.to_owned()),
        };
        self.head(name, kind, None, first.help);
        let mut seen = HashSet::new();
        for (labels, value) in families
            .iter()
            .filter(|family| family.kind == first.kind)
            .flat_map(|f| &f.samples)
        {
            let labels = names::labels(labels.iter().map(|(key, value)| (*key, value.clone())));
            if seen.insert(labels.clone()) {
                self.sample(&sample_name, &labels, number(*value));
            }
        }
    }
}

/// Resource attributes that every series carries.
const IDENTITY: [&str; 2] = ["service.name", "service.instance.id"];

fn identity(service: &Service) -> [(&'static str, String); 2] {
    [
        (IDENTITY[0], service.name.to_string()),
        (IDENTITY[1], service.instance_id.to_string()),
    ]
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
