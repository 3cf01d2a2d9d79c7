//! What to send, where and how: explicit settings first, then the environment, then the defaults.
//!
//! Nothing is exported unless an endpoint is given (explicitly or by a variable), or a signal's exporter is asked
//! for by `OTEL_TRACES_EXPORTER=otlp` / `OTEL_METRICS_EXPORTER=otlp`, which then means the specified default endpoint.
//!
//! | variable (`*`: also per signal, `OTEL_EXPORTER_OTLP_TRACES_…`, `OTEL_EXPORTER_OTLP_METRICS_…`) | default |
//! |---|---|
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` * | none; for HTTP `v1/traces`, `v1/metrics` are added to the general one only |
//! | `OTEL_EXPORTER_OTLP_PROTOCOL` * | `http/protobuf`; or `grpc` |
//! | `OTEL_EXPORTER_OTLP_HEADERS` * | none; `name=value,…`, values percent-encoded |
//! | `OTEL_EXPORTER_OTLP_COMPRESSION` * | `none`; or `gzip` |
//! | `OTEL_EXPORTER_OTLP_TIMEOUT` * | 10000 ms for one attempt; 0 is without limit |
//! | `OTEL_EXPORTER_OTLP_CERTIFICATE` *, `_CLIENT_CERTIFICATE` *, `_CLIENT_KEY` * | the system's roots, no client certificate; PEM files |
//! | `OTEL_EXPORTER_OTLP_INSECURE` * | false; only for gRPC endpoints without a scheme |
//! | `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE` | `cumulative`; or `delta`, `lowmemory` |
//! | `OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION` | `explicit_bucket_histogram`, the only one |
//! | `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_METRIC_EXPORT_TIMEOUT` | 60000 ms, 30000 ms with all retries |
//! | `OTEL_METRICS_EXEMPLAR_FILTER` | `trace_based`; or `always_on` (the same here), `always_off` |
//! | `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_BSP_EXPORT_TIMEOUT` | 1000 ms (specified: 5000), 30000 ms with all retries |
//! | `OTEL_BSP_MAX_QUEUE_SIZE`, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` | bound in bytes instead of 2048 spans, 512 spans |
//! | `OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER` | `otlp` once there is an endpoint; or `none` |
//! | `OTEL_SDK_DISABLED` | false; `true` wins over explicit settings |

use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderMap;

use super::variables::{ConfigError, Environment, Found};
use super::{headers, signal::Signal, tls::TlsFiles};

/// Transport and encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf bodies.
    HttpProtobuf,
}

impl FromStr for Protocol {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::HttpProtobuf),
            "http/json" => Err("JSON encoding is not supported"),
            _ => Err("unknown protocol"),
        }
    }
}

/// Compression of request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// gzip.
    Gzip,
}

impl FromStr for Compression {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            _ => Err("unknown compression"),
        }
    }
}

/// What counters and histograms report. Sums that go both ways are always cumulative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temporality {
    /// Since the start of the process.
    Cumulative,
    /// Since the last successful export.
    Delta,
}

impl FromStr for Temporality {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "cumulative" => Ok(Self::Cumulative),
            // They differ only for asynchronous counters, and there are none here.
            "delta" | "lowmemory" => Ok(Self::Delta),
            _ => Err("unknown temporality"),
        }
    }
}

/// Waiting between attempts: doubles from `initial` up to `max`, each time randomized by half up or down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Before the first retry.
    pub initial: Duration,
    /// At most.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(10),
        }
    }
}

/// Where one signal is sent: a URL with scheme, host and (for HTTP) the complete path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(pub(super) Url);

impl Endpoint {
    /// `https`.
    pub(super) fn secure(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl std::fmt::Display for Endpoint {
    /// Without user name and password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = self.0.clone();
        let _ = shown.set_password(None);
        let _ = shown.set_username("");
        shown.fmt(f)
    }
}

/// How one signal is sent.
#[derive(Clone, Debug)]
pub struct SignalConfig {
    /// Where.
    pub endpoint: Endpoint,
    /// How.
    pub protocol: Protocol,
    /// Sent with every request. Values are marked sensitive.
    pub headers: HeaderMap,
    /// Of bodies.
    pub compression: Compression,
    /// For one attempt.
    pub timeout: Duration,
    /// For a batch with all its retries.
    pub total_timeout: Duration,
    /// For https.
    pub tls: TlsFiles,
    /// Between attempts.
    pub backoff: Backoff,
    /// Encoded size, in bytes before compression, above which a request is split.
    pub max_request_bytes: usize,
}

/// How spans are sent.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// Transport.
    pub signal: SignalConfig,
    /// Longest wait of a span for others to join its batch.
    pub schedule_delay: Duration,
    /// Spans per batch.
    pub max_batch: usize,
    /// Bound of the queue, in bytes of memory, batches being sent included.
    pub queue_bytes: usize,
    /// Bound of the queue in spans, on top of that in bytes.
    pub queue_spans: Option<usize>,
}

/// How metrics are sent.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// Transport.
    pub signal: SignalConfig,
    /// Time between collections.
    pub interval: Duration,
    /// Of counters and histograms.
    pub temporality: Temporality,
    /// Whether exemplars are sent.
    pub exemplars: bool,
}

/// Everything the exporter needs to know. At least one signal is on.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    /// Spans, if they are exported.
    pub traces: Option<TracesConfig>,
    /// Metrics, if they are exported.
    pub metrics: Option<MetricsConfig>,
}

/// Settings from the command line or the configuration file. `None` asks the environment, then takes the default.
#[derive(Clone, Debug, Default)]
pub struct OtlpOverrides {
    /// General endpoint; for HTTP `/v1/traces` and `/v1/metrics` are added.
    pub endpoint: Option<String>,
    /// Endpoint for spans alone, as it is.
    pub traces_endpoint: Option<String>,
    /// Endpoint for metrics alone, as it is.
    pub metrics_endpoint: Option<String>,
    /// `grpc` or `http/protobuf`.
    pub protocol: Option<String>,
    /// Names and values, sent as they are. They replace those of the environment.
    pub headers: Option<Vec<(String, String)>>,
    /// `gzip` or `none`.
    pub compression: Option<String>,
    /// For one attempt; zero is without limit.
    pub timeout: Option<Duration>,
    /// Path of trusted certificates, PEM.
    pub certificate: Option<String>,
    /// Path of the client's certificate chain, PEM.
    pub client_certificate: Option<String>,
    /// Path of the client's private key, PEM.
    pub client_key: Option<String>,
    /// For gRPC endpoints without a scheme: no TLS.
    pub insecure: Option<bool>,
    /// Time between metrics exports, above zero.
    pub metric_interval: Option<Duration>,
    /// `cumulative`, `delta` or `lowmemory`.
    pub temporality: Option<String>,
    /// Longest wait of a span.
    pub schedule_delay: Option<Duration>,
    /// Bound of the span queue in bytes.
    pub queue_bytes: Option<usize>,
}

const ENDPOINT: &str = "a URL such as http://collector:4318 or https://collector.example.com";
const PROTOCOL: &str = "grpc or http/protobuf";
/// Stands for a timeout of zero, which means none (environment variable specification).
const UNLIMITED: Duration = Duration::from_millis(u32::MAX as u64);

impl OtlpConfig {
    /// How long a span waits for others. The specification's `OTEL_BSP_SCHEDULE_DELAY` default is 5 s, which makes
    /// a person who tries observer wait; a second costs four more small requests in those 5 s.
    pub const DEFAULT_SCHEDULE_DELAY: Duration = Duration::from_secs(1);
    /// Bound of the span queue, 8 MiB. The specification bounds by number (2048 spans); here
    /// `OTEL_BSP_MAX_QUEUE_SIZE`, when set, holds as well.
    pub const DEFAULT_QUEUE_BYTES: usize = 8 << 20;
    /// Encoded request size above which it is split, 1 MiB: receivers refuse gRPC messages above 4 MiB by default.
    pub const DEFAULT_MAX_REQUEST_BYTES: usize = 1 << 20;

    /// Merges explicit settings, environment and defaults. `Ok(None)` if nothing is to be exported.
    ///
    /// An explicit setting wins over both variables of its kind, the per-signal one included. Empty variables are
    /// unset. Certificate files are read here.
    ///
    /// # Errors
    /// A setting with a value that can't be used, see [`ConfigError`].
    pub fn from_env_and(
        overrides: OtlpOverrides,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        let reader = Reader {
            overrides,
            env: Environment::new(&env),
        };
        if reader
            .env
            .get("OTEL_SDK_DISABLED")
            .is_some_and(|found| found.boolean())
        {
            tracing::warn!("OTEL_SDK_DISABLED=true: nothing is exported over OTLP");
            return Ok(None);
        }
        let traces = reader.traces()?;
        let metrics = reader.metrics()?;
        Ok((traces.is_some() || metrics.is_some()).then_some(Self { traces, metrics }))
    }
}

struct Reader<'a> {
    overrides: OtlpOverrides,
    env: Environment<'a>,
}

/// An explicit setting in the shape of a variable.
fn explicit(setting: &str, value: &Option<String>) -> Option<Found> {
    let value = value.clone()?;
    Some(Found {
        setting: setting.to_owned(),
        value,
        signal_specific: false,
    })
}

fn parsed<T: FromStr<Err = &'static str>>(
    found: Option<Found>,
    default: T,
    accepted: &'static str,
) -> Result<T, ConfigError> {
    found.map_or(Ok(default), |found| {
        found
            .value
            .parse()
            .map_err(|problem| found.error(problem, accepted))
    })
}

fn unlimited_if_zero(timeout: Duration) -> Duration {
    if timeout.is_zero() {
        UNLIMITED
    } else {
        timeout
    }
}

impl Reader<'_> {
    fn traces(&self) -> Result<Option<TracesConfig>, ConfigError> {
        let Some(signal) = self.signal(
            Signal::Traces,
            "OTEL_TRACES_EXPORTER",
            "OTEL_BSP_EXPORT_TIMEOUT",
        )?
        else {
            return Ok(None);
        };
        let delay = self.duration(self.overrides.schedule_delay, "OTEL_BSP_SCHEDULE_DELAY")?;
        let queue_spans = self.positive("OTEL_BSP_MAX_QUEUE_SIZE")?;
        let max_batch = self
            .positive("OTEL_BSP_MAX_EXPORT_BATCH_SIZE")?
            .unwrap_or(512);
        Ok(Some(TracesConfig {
            signal,
            schedule_delay: delay.unwrap_or(OtlpConfig::DEFAULT_SCHEDULE_DELAY),
            max_batch: max_batch.min(queue_spans.unwrap_or(usize::MAX)),
            queue_bytes: self
                .overrides
                .queue_bytes
                .unwrap_or(OtlpConfig::DEFAULT_QUEUE_BYTES),
            queue_spans,
        }))
    }

    fn metrics(&self) -> Result<Option<MetricsConfig>, ConfigError> {
        let Some(signal) = self.signal(
            Signal::Metrics,
            "OTEL_METRICS_EXPORTER",
            "OTEL_METRIC_EXPORT_TIMEOUT",
        )?
        else {
            return Ok(None);
        };
        let interval = self.duration(
            self.overrides.metric_interval,
            "OTEL_METRIC_EXPORT_INTERVAL",
        )?;
        if interval == Some(Duration::ZERO) {
            return Err(ConfigError {
                setting: "OTEL_METRIC_EXPORT_INTERVAL".to_owned(),
                value: Some("0".to_owned()),
                problem: "no time between exports".to_owned(),
                accepted: "milliseconds, 1 or more",
            });
        }
        let temporality = explicit("otlp temporality", &self.overrides.temporality).or_else(|| {
            self.env
                .get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE")
        });
        self.check_histogram_aggregation()?;
        Ok(Some(MetricsConfig {
            signal,
            interval: interval.unwrap_or(Duration::from_secs(60)),
            temporality: parsed(
                temporality,
                Temporality::Cumulative,
                "cumulative, delta or lowmemory",
            )?,
            exemplars: self.exemplars()?,
        }))
    }

    /// `None` if the signal is off.
    fn signal(
        &self,
        signal: Signal,
        exporter: &str,
        total: &str,
    ) -> Result<Option<SignalConfig>, ConfigError> {
        let asked = self.exporter(exporter)?;
        let endpoint = self.endpoint(signal);
        if asked == Some(false) || (endpoint.is_none() && asked.is_none()) {
            return Ok(None);
        }
        let over = &self.overrides;
        let otlp = |name| self.env.otlp(signal, name);
        let protocol = explicit("otlp protocol", &over.protocol).or_else(|| otlp("PROTOCOL"));
        let implied = endpoint.as_ref().map_or(Protocol::HttpProtobuf, implied);
        let protocol = parsed(protocol, implied, PROTOCOL)?;
        let insecure = over
            .insecure
            .or_else(|| otlp("INSECURE").map(|found| found.boolean()));
        let endpoint = match endpoint {
            Some(found) => resolve(&found, signal, protocol, insecure.unwrap_or(false))?,
            None => default_endpoint(signal, protocol)?,
        };
        let headers = match (&over.headers, otlp("HEADERS")) {
            (Some(pairs), _) => headers::from_pairs(pairs)?,
            (None, Some(found)) => headers::parse(&found)?,
            (None, None) => HeaderMap::new(),
        };
        let compression =
            explicit("otlp compression", &over.compression).or_else(|| otlp("COMPRESSION"));
        let timeout = match (over.timeout, otlp("TIMEOUT")) {
            (Some(timeout), _) => timeout,
            (None, Some(found)) => found.milliseconds()?,
            (None, None) => Duration::from_secs(10),
        };
        let total_timeout = self
            .duration(None, total)?
            .unwrap_or(Duration::from_secs(30));
        let tls = if endpoint.secure() {
            TlsFiles::read(
                explicit("otlp certificate", &over.certificate).or_else(|| otlp("CERTIFICATE")),
                explicit("otlp client certificate", &over.client_certificate)
                    .or_else(|| otlp("CLIENT_CERTIFICATE")),
                explicit("otlp client key", &over.client_key).or_else(|| otlp("CLIENT_KEY")),
            )?
        } else {
            TlsFiles::default()
        };
        Ok(Some(SignalConfig {
            endpoint,
            protocol,
            headers,
            compression: parsed(compression, Compression::None, "gzip or none")?,
            timeout: unlimited_if_zero(timeout),
            total_timeout: unlimited_if_zero(total_timeout),
            tls,
            backoff: Backoff::default(),
            max_request_bytes: OtlpConfig::DEFAULT_MAX_REQUEST_BYTES,
        }))
    }

    /// Explicit per-signal, explicit general, then the two variables.
    fn endpoint(&self, signal: Signal) -> Option<Found> {
        let (setting, specific) = match signal {
            Signal::Traces => ("otlp traces endpoint", &self.overrides.traces_endpoint),
            Signal::Metrics => ("otlp metrics endpoint", &self.overrides.metrics_endpoint),
        };
        explicit(setting, specific)
            .map(|found| Found {
                signal_specific: true,
                ..found
            })
            .or_else(|| explicit("otlp endpoint", &self.overrides.endpoint))
            .or_else(|| self.env.otlp(signal, "ENDPOINT"))
    }

    /// Whether the list of exporters has OTLP; `None` if unset. The others are not ours to start.
    fn exporter(&self, name: &str) -> Result<Option<bool>, ConfigError> {
        let Some(found) = self.env.get(name) else {
            return Ok(None);
        };
        let mut otlp = false;
        for exporter in found
            .value
            .split(',')
            .map(str::trim)
            .filter(|exporter| !exporter.is_empty())
        {
            match exporter {
                "otlp" => otlp = true,
                "none" | "console" | "logging" | "prometheus" => {}
                _ => return Err(found.error(format!("no exporter {exporter:?}"), "otlp or none")),
            }
        }
        Ok(Some(otlp))
    }

    fn duration(
        &self,
        explicit: Option<Duration>,
        name: &str,
    ) -> Result<Option<Duration>, ConfigError> {
        match explicit {
            Some(duration) => Ok(Some(duration)),
            None => self
                .env
                .get(name)
                .map(|found| found.milliseconds())
                .transpose(),
        }
    }

    fn positive(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        let Some(found) = self.env.get(name) else {
            return Ok(None);
        };
        match usize::try_from(found.number()?) {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(found.error("out of range", "an integer, 1 or more")),
        }
    }

    fn check_histogram_aggregation(&self) -> Result<(), ConfigError> {
        const NAME: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
        let Some(found) = self.env.get(NAME) else {
            return Ok(());
        };
        match found.value.to_ascii_lowercase().as_str() {
            "explicit_bucket_histogram" => {}
            "base2_exponential_bucket_histogram" => {
                tracing::warn!(
                    "{NAME}={}: not supported, histograms keep explicit buckets",
                    found.value
                );
            }
            _ => return Err(found.error("unknown aggregation", "explicit_bucket_histogram")),
        }
        Ok(())
    }

    fn exemplars(&self) -> Result<bool, ConfigError> {
        let Some(found) = self.env.get("OTEL_METRICS_EXEMPLAR_FILTER") else {
            return Ok(true);
        };
        match found.value.to_ascii_lowercase().as_str() {
            "trace_based" | "always_on" => Ok(true),
            "always_off" => Ok(false),
            _ => Err(found.error("unknown filter", "trace_based, always_on or always_off")),
        }
    }
}

fn default_endpoint(signal: Signal, protocol: Protocol) -> Result<Endpoint, ConfigError> {
    let value = match protocol {
        Protocol::Grpc => "http://localhost:4317",
        Protocol::HttpProtobuf => "http://localhost:4318",
    };
    let found = Found {
        setting: "default endpoint".into(),
        value: value.into(),
        signal_specific: false,
    };
    resolve(&found, signal, protocol, true)
}

/// The protocol where none is named: HTTP, the specification's default, but gRPC for the port that is gRPC's. HTTP sent
/// there fails in a way that tells nobody why.
fn implied(endpoint: &Found) -> Protocol {
    match Url::parse(&endpoint.value) {
        Ok(url) if url.port() == Some(4317) => Protocol::Grpc,
        _ => Protocol::HttpProtobuf,
    }
}

/// The URL that is really used, by the rules of the exporter specification ("Endpoint URLs for OTLP/HTTP").
fn resolve(
    found: &Found,
    signal: Signal,
    protocol: Protocol,
    insecure: bool,
) -> Result<Endpoint, ConfigError> {
    let mut text = found.value.clone();
    if protocol == Protocol::Grpc && !text.contains("://") {
        // host:port is what gRPC clients commonly take; `insecure` is for this form alone.
        text = format!("{}://{text}", if insecure { "http" } else { "https" });
    }
    let mut url = Url::parse(&text).map_err(|error| found.error(error.to_string(), ENDPOINT))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(found.error("no http or https URL", ENDPOINT));
    }
    url.set_fragment(None);
    if protocol == Protocol::HttpProtobuf && !found.signal_specific {
        let path = format!(
            "{}/{}",
            url.path().trim_end_matches('/'),
            signal.http_path()
        );
        url.set_path(&path);
    }
    Ok(Endpoint(url))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
