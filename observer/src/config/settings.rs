//! What the daemon needs to know, and every default.

use std::{collections::BTreeMap, env, net::SocketAddr, time::Duration};

use super::{
    Breakpoints, ByteSize, ConnectionLimit, Dns, InferredLinks, InjectHeaders, Instrumented,
    Kubernetes, Listen, LogFormat, LogLevel, Network, OtlpProtocol, Print, RingSize, RoutePattern,
    Selection, SeriesLimit, SpanRate, Tier, Tls,
};

/// Everything a person may decide, complete and checked. [`Settings::default`] is the one place of defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which processes are captured.
    pub selection: Selection,
    /// How the kernel is asked.
    pub tier: Tier,
    /// Stop after this long; `None` runs until a signal.
    pub duration: Option<Duration>,
    /// What goes to standard output.
    pub print: Print,
    /// Where the Prometheus page is served; `None` is nowhere.
    pub prometheus: Option<SocketAddr>,
    /// OTLP export.
    pub otlp: Otlp,
    /// Spans.
    pub spans: Spans,
    /// Metrics.
    pub metrics: Metrics,
    /// DNS lookups.
    pub dns: Dns,
    /// What is said over TLS.
    pub tls: Tls,
    /// Whether `traceparent` is injected into HTTP/1 requests.
    pub inject_headers: InjectHeaders,
    /// Trace context in TCP options.
    pub tcp_option: TcpOption,
    /// What the cluster is asked for.
    pub kubernetes: Kubernetes,
    /// Resource attributes that every service gets, whatever its own environment says.
    pub resource: BTreeMap<String, String>,
    /// Bounds of memory.
    pub limits: Limits,
    /// observer's own log.
    pub log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            tier: Tier::Auto,
            duration: None,
            print: Print::Off,
            prometheus: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            otlp: Otlp {
                enabled: true,
                ..Otlp::default()
            },
            spans: Spans {
                rate: SpanRate::DEFAULT,
                instrumented: Instrumented::Skip,
                breakpoints: Breakpoints::On,
                inferred_links: InferredLinks::On,
            },
            metrics: Metrics {
                routes: Vec::new(),
                max_series: SeriesLimit(2000),
            },
            dns: Dns::On,
            tls: Tls::On,
            inject_headers: InjectHeaders::Off,
            tcp_option: TcpOption::default(),
            kubernetes: Kubernetes::default(),
            resource: BTreeMap::new(),
            limits: Limits {
                ring_bytes: RingSize(4 << 20),
                max_connections: ConnectionLimit(32_768),
                queue_bytes: ByteSize(8 << 20),
            },
            log: Log {
                level: LogLevel::Info,
                format: LogFormat::Text,
            },
        }
    }
}

/// OTLP export. What no one decided here is left to the `OTEL_*` environment variables and their specified defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Otlp {
    /// Export at all. `false` after `off` in the file (and no endpoint in the environment) or on the command line.
    pub enabled: bool,
    /// Endpoint from the command line: stands above every environment variable.
    pub endpoint: Option<String>,
    /// Protocol from the command line: stands above every environment variable.
    pub protocol: Option<OtlpProtocol>,
    /// What the file says, below the environment.
    pub file: OtlpVariables,
}

/// What the file says about OTLP, spelled as the environment variables that stand above it. So a signal's own
/// variable (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) beats the file as it beats `OTEL_EXPORTER_OTLP_ENDPOINT`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpVariables(pub(super) BTreeMap<&'static str, String>);

impl Otlp {
    /// An `OTEL_*` variable: from the environment, where it is empty or missing from the file.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.variable_from(name, |name| env::var(name).ok())
    }

    /// As [`variable`](Self::variable), with an environment of one's own.
    pub fn variable_from(
        &self,
        name: &str,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        environment(name)
            .filter(|value| !value.is_empty())
            .or_else(|| self.file.0.get(name).cloned())
    }
}

/// Spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    /// Exported a second, at most. Metrics count every exchange all the same.
    pub rate: SpanRate,
    /// Those of services that carry an SDK.
    pub instrumented: Instrumented,
    /// In executables, to find the parents of calls.
    pub breakpoints: Breakpoints,
    /// Where a call's parent can't be known.
    pub inferred_links: InferredLinks,
}

/// Metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Routes that are known; the first that fits names the request. Where none does, the route is learned.
    pub routes: Vec<RoutePattern>,
    /// Series of one metric of one service; what is beyond goes to the overflow series.
    pub max_series: SeriesLimit,
}

/// Trace context in TCP options, between hosts that both run observer. Off unless networks are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpOption {
    /// The hosts with which options are exchanged.
    pub peers: Vec<Network>,
}

/// Bounds of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of each ring between kernel and daemon: there is one; two from 9 CPUs on, four from 33.
    pub ring_bytes: RingSize,
    /// Connections tracked at once.
    pub max_connections: ConnectionLimit,
    /// Bytes that wait for an OTLP backend, at most; what is beyond is dropped and counted.
    pub queue_bytes: ByteSize,
}

/// observer's own log, on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

impl Settings {
    pub(super) fn listen(&mut self, listen: Listen) {
        self.prometheus = listen.0;
    }
}
