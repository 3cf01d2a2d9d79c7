//! The Prometheus page: everyone's metrics and the daemon's own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use observer_abi::loss::Counter;

use super::pipeline::Shared;
use crate::{
    export::{
        Family, Kind,
        otlp::OtlpExporter,
        prometheus::{Format, render},
    },
    kernel::{Kernel, Tier, counters::is_loss},
    metrics::Snapshot,
    stream::StreamCounters,
    trace::Sampler,
};

/// Everything that the page tells.
pub(super) struct Page {
    pub(super) collect: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    pub(super) kernel: Arc<Mutex<Kernel>>,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Vec<Arc<Mutex<StreamCounters>>>,
    pub(super) sampler: Sampler,
    pub(super) exporter: Option<OtlpExporter>,
    pub(super) local_dropped: Option<Arc<AtomicU64>>,
    pub(super) tier: Tier,
    pub(super) map_bytes: BTreeMap<String, u64>,
    /// Most calls that were seen to be missed so far.
    pub(super) lost_calls: AtomicU64,
}

impl Page {
    /// The page's text.
    pub(super) fn render(&self, format: Format) -> String {
        render(&(self.collect)(), &self.families(), format)
    }

    /// The daemon's own metrics.
    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = vec![Family::by(
            "observer_build_info",
            "Version and capture tier of this observer.",
            Kind::Gauge,
            "tier",
            [(self.tier.as_str().to_owned(), 1.0)],
        )];
        self.kernel(&mut families);
        self.stream(&mut families);
        self.traces(&mut families);
        self.export(&mut families);
        self.own(&mut families);
        families
    }

    /// What first programs missed and what spares took over is not read at one moment, so that the difference may seem to
    /// fall; a counter must not.
    fn most_lost_calls(&self, now: u64) -> f64 {
        self.lost_calls.fetch_max(now, Ordering::Relaxed).max(now) as f64
    }

    fn kernel(&self, families: &mut Vec<Family>) {
        let kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = kernel.program_stats();
        match kernel.counters() {
            Ok(counters) => {
                let sum = |wanted: &str| {
                    counters
                        .iter()
                        .find(|(_, name, _)| *name == wanted)
                        .map_or(0.0, |(_, _, value)| *value as f64)
                };
                families.push(Family::single(
                    "observer_records",
                    "Records that the kernel programs submitted.",
                    Kind::Counter,
                    sum("records"),
                ));
                families.push(Family::single(
                    "observer_record_bytes",
                    "Bytes of those records.",
                    Kind::Counter,
                    sum("record_bytes"),
                ));
                families.push(Family::by(
                    "observer_lost",
                    "Losses in the kernel, by reason. Zero means that every byte that matters was seen.",
                    Kind::Counter,
                    "reason",
                    counters
                        .iter()
                        .filter(|(counter, ..)| is_loss(*counter))
                        .map(|(_, name, value)| ((*name).to_owned(), *value as f64))
                        .chain([("program_missed".to_owned(), self.most_lost_calls(kernel.lost_calls(&stats, &counters)))]),
                ));
                families.push(Family::single(
                    "observer_headers_injected",
                    "Requests into which a traceparent line was put.",
                    Kind::Counter,
                    sum("header_injected"),
                ));
                families.push(Family::by(
                    "observer_headers_left_out",
                    "What got no traceparent line, by reason: requests (present, split, pipelined, failed) and connections into which none is put any more (pipelined, uncertain, not_http, failed).",
                    Kind::Counter,
                    "reason",
                    counters
                        .iter()
                        .filter(|(counter, ..)| *counter != Counter::HeaderInjected)
                        .filter_map(|(_, name, value)| {
                            Some((name.strip_prefix("header_")?.to_owned(), *value as f64))
                        }),
                ));
                families.push(Family::by(
                    "observer_kernel_events",
                    "What the kernel programs did, by kind.",
                    Kind::Counter,
                    "event",
                    counters
                        .iter()
                        .filter(|(counter, name, _)| {
                            !is_loss(*counter)
                                && !name.starts_with("record")
                                && !name.starts_with("header")
                        })
                        .map(|(_, name, value)| ((*name).to_owned(), *value as f64)),
                ));
            }
            Err(error) => tracing::warn!(%error, "cannot read the kernel's counters"),
        }
        families.push(Family::by(
            "observer_program_run_time_nanoseconds",
            "Time spent in each kernel program; zero unless kernel.bpf_stats_enabled is set.",
            Kind::Counter,
            "program",
            stats
                .iter()
                .map(|program| (program.name.clone(), program.run_time_ns as f64)),
        ));
        families.push(Family::by(
            "observer_program_runs",
            "Runs of each kernel program; zero unless kernel.bpf_stats_enabled is set.",
            Kind::Counter,
            "program",
            stats
                .iter()
                .map(|program| (program.name.clone(), program.runs as f64)),
        ));
        families.push(Family::by(
            "observer_program_missed",
            "Times that the kernel left out a program since the CPU was in the middle of it already.",
            Kind::Counter,
            "program",
            stats
                .iter()
                .map(|program| (program.name.clone(), program.missed as f64)),
        ));
        families.push(Family::by(
            "observer_kernel_map_bytes",
            "Kernel memory of each map.",
            Kind::Gauge,
            "map",
            self.map_bytes
                .iter()
                .map(|(name, bytes)| (name.clone(), *bytes as f64)),
        ));
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
    }

    fn traces(&self, families: &mut Vec<Family>) {
        families.push(Family::by(
            "observer_parent_edges",
            "Exchanges by how their parent was found.",
            Kind::Counter,
            "method",
            self.shared
                .edges
                .read()
                .map(|(method, count)| (method.as_str().to_owned(), count as f64)),
        ));
        families.push(Family::by(
            "observer_inferred_links",
            "Calls without a parent of which a link says what they may have been made for, by how that was found.",
            Kind::Counter,
            "method",
            self.shared
                .links
                .read()
                .map(|(method, count)| (method.as_str().to_owned(), count as f64)),
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
                (
                    "instrumented",
                    self.shared.left_to_sdk.load(Ordering::Relaxed),
                ),
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
            self.shared.own_left_out.load(Ordering::Relaxed) as f64,
        ));
        let (cpu, resident) = usage();
        families.push(Family::single(
            "observer_cpu_seconds",
            "CPU time of this daemon.",
            Kind::Counter,
            cpu,
        ));
        families.push(Family::single(
            "observer_resident_bytes",
            "Resident memory of this daemon.",
            Kind::Gauge,
            resident,
        ));
    }
}

/// CPU seconds and resident bytes of this process, from `/proc/self/stat` (proc(5): fields 14, 15 and 24).
fn usage() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let field = |number: usize| {
        after
            .split_whitespace()
            .nth(number - 3)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as f64;
    ((field(14) + field(15)) / ticks, field(24) * page)
}
