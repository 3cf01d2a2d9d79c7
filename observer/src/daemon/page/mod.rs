//! The Prometheus page: everyone's metrics and the daemon's own.
//!
//! In: what the stages count. Out: the page's text, and the daemon's own metrics for OTLP.
//! Owns: the names of the daemon's own metrics.

mod kernel;
mod usage;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

pub(super) use self::kernel::Readings;
use self::usage::Usage;
use super::{pipeline::Shared, time::now_ns};
use crate::{
    export::{
        Family, Kind,
        otlp::OtlpExporter,
        prometheus::{Format, render},
    },
    kernel::Tier,
    metrics::Snapshot,
    stream::StreamCounters,
    tls::ArmedCounts,
    trace::{Clock, Sampler},
};

/// Everything that the page tells.
pub(super) struct Page {
    pub(super) collect: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    pub(super) readings: Readings,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Vec<Arc<Mutex<StreamCounters>>>,
    pub(super) sampler: Sampler,
    pub(super) exporter: Option<OtlpExporter>,
    pub(super) local_dropped: Option<Arc<AtomicU64>>,
    /// None where TLS is not read.
    pub(super) secrets: Option<SecretCounts>,
    pub(super) tier: Tier,
}

/// What is counted of TLS secrets on their way here.
pub(super) struct SecretCounts {
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) armed: Arc<ArmedCounts>,
}

impl Page {
    /// The page's text.
    pub(super) fn render(&self, format: Format) -> String {
        render(&(self.collect)(), &self.families(), format)
    }

    /// The daemon's own metrics.
    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = vec![build_info(self.tier)];
        self.readings.tell(&mut families);
        self.stream(&mut families);
        self.traces(&mut families);
        self.export(&mut families);
        self.key_points(&mut families);
        if self.secrets.is_some() {
            let now = Clock::measure().unix_nano(now_ns());
            self.shared.flow.certificates.tell(now, &mut families);
        }
        if let Some(cluster) = &self.shared.cluster {
            cluster.tell(&mut families);
        }
        self.own(&mut families);
        families
    }

    fn stream(&self, families: &mut Vec<Family>) {
        let mut sum = StreamCounters::default();
        for counters in &self.counters {
            sum.add(&counters.lock().unwrap_or_else(PoisonError::into_inner));
        }
        families.push(Family::single(
            "observer_exchanges",
            "Exchanges seen, complete or not, on either side.",
            Kind::Counter,
            sum.exchanges as f64,
        ));
        families.push(Family::single(
            "observer_connections",
            "Connections known now.",
            Kind::Gauge,
            sum.connections as f64,
        ));
        families.push(Family::by(
            "observer_stream",
            "What the stream stage met, by kind.",
            Kind::Counter,
            "event",
            sum.named()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value as f64)),
        ));
        families.push(Family::by(
            "observer_tls",
            "TLS that is read at the wire, by kind.",
            Kind::Counter,
            "event",
            sum.tls
                .named()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value as f64)),
        ));
    }

    fn key_points(&self, families: &mut Vec<Family>) {
        let Some(counts) = &self.secrets else { return };
        families.push(Family::single(
            "observer_tls_armed_files",
            "Programs and libraries whose TLS secrets are seen.",
            Kind::Gauge,
            counts.armed.files.load(Ordering::Relaxed) as f64,
        ));
        families.push(Family::single(
            "observer_tls_unknown_processes",
            "Processes with a TLS library that is not known.",
            Kind::Gauge,
            counts.armed.unknown.load(Ordering::Relaxed) as f64,
        ));
        families.push(Family::single(
            "observer_tls_secrets_dropped",
            "TLS secrets that a part of the daemon had no room for.",
            Kind::Counter,
            counts.dropped.load(Ordering::Relaxed) as f64,
        ));
    }

    fn traces(&self, families: &mut Vec<Family>) {
        families.push(Family::by(
            "observer_parent_edges",
            "Exchanges by how their parent was found.",
            Kind::Counter,
            "method",
            self.shared
                .flow
                .tallies
                .edges()
                .map(|(method, count)| (method.as_str().to_owned(), count as f64)),
        ));
        families.push(Family::by(
            "observer_inferred_links",
            "Calls without a parent of which a link says what they may have been made for, by how that was found.",
            Kind::Counter,
            "method",
            self.shared
                .flow
                .tallies
                .links()
                .map(|(method, count)| (method.as_str().to_owned(), count as f64)),
        ));
        families.push(Family::single(
            "observer_headers_forgotten",
            "Requests with a trace context that were forgotten within ten seconds, for want of room: what came of one later may be in another trace.",
            Kind::Counter,
            self.shared.flow.lineage.forgotten() as f64,
        ));
        let counts = self.sampler.counts();
        families.push(Family::by(
            "observer_spans_kept",
            "Spans kept, by reason.",
            Kind::Counter,
            "reason",
            [
                ("error", counts.kept_error),
                ("slow", counts.kept_slow),
                ("ordinary", counts.kept_ordinary),
            ]
            .map(|(reason, count)| (reason.to_owned(), count as f64)),
        ));
        families.push(Family::by(
            "observer_spans_dropped",
            "Spans not kept, by reason; their exchanges are in the metrics all the same.",
            Kind::Counter,
            "reason",
            [
                ("probability", counts.dropped_probability),
                ("rate", counts.dropped_rate),
                ("unfinished", counts.unfinished),
                ("instrumented", self.shared.flow.tallies.left_to_sdk()),
            ]
            .map(|(reason, count)| (reason.to_owned(), count as f64)),
        ));
    }

    fn export(&self, families: &mut Vec<Family>) {
        if let Some(dropped) = &self.local_dropped {
            families.push(Family::single(
                "observer_print_dropped",
                "Lines not printed because the reader was too slow.",
                Kind::Counter,
                dropped.load(Ordering::Relaxed) as f64,
            ));
        }
        let Some(exporter) = &self.exporter else {
            return;
        };
        let counters = exporter.counters();
        families.push(Family::single(
            "observer_export_queue_bytes",
            "Memory of spans that wait for the OTLP backend.",
            Kind::Gauge,
            counters.queue_bytes as f64,
        ));
        families.push(Family::by(
            "observer_export_sent",
            "Items that the OTLP backend accepted.",
            Kind::Counter,
            "signal",
            [
                ("traces", counters.traces.sent),
                ("metrics", counters.metrics.sent),
            ]
            .map(|(signal, count)| (signal.to_owned(), count as f64)),
        ));
        families.push(Family::by(
            "observer_export_dropped_spans",
            "Spans that did not reach the OTLP backend, by reason.",
            Kind::Counter,
            "reason",
            counters
                .traces
                .dropped()
                .into_iter()
                .map(|(reason, count)| (reason.to_owned(), count as f64)),
        ));
        families.push(Family::by(
            "observer_export_retries",
            "Attempts after the first.",
            Kind::Counter,
            "signal",
            [
                ("traces", counters.traces.retries),
                ("metrics", counters.metrics.retries),
            ]
            .map(|(signal, count)| (signal.to_owned(), count as f64)),
        ));
    }

    fn own(&self, families: &mut Vec<Family>) {
        families.push(Family::single(
            "observer_own_exchanges_left_out",
            "Requests for this page, which are not traced.",
            Kind::Counter,
            self.shared.flow.tallies.own_left_out() as f64,
        ));
        families.push(Family::single(
            "observer_provisional_names",
            "Processes that go by the kernel's name for them, since what they are could not be read in time.",
            Kind::Counter,
            self.shared.provisional.load(Ordering::Relaxed) as f64,
        ));
        let Some(usage) = Usage::read() else {
            return;
        };
        families.push(Family::single(
            "observer_cpu_seconds",
            "CPU time of this daemon.",
            Kind::Counter,
            usage.cpu_seconds,
        ));
        families.push(Family::single(
            "observer_resident_bytes",
            "Resident memory of this daemon.",
            Kind::Gauge,
            usage.resident_bytes,
        ));
    }
}

fn build_info(tier: Tier) -> Family {
    let labels = vec![
        ("tier", tier.as_str().to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    Family {
        name: "observer_build_info",
        help: "Version and capture tier of this observer.",
        kind: Kind::Gauge,
        samples: vec![(labels, 1.0)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Snapshot;

    #[test]
    fn the_build_is_told_with_its_version() {
        let families = [build_info(Tier::Socket)];
        let text = render(&Snapshot::default(), &families, Format::Prometheus);
        let expected = format!(
            "observer_build_info{{tier=\"socket\",version=\"{}\"}} 1\n",
            env!("CARGO_PKG_VERSION")
        );
        assert!(text.contains(&expected), "{text}");
    }
}
