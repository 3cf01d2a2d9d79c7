//! OTLP over gRPC and over HTTP with protobuf bodies.
//!
//! In: spans from [`OtlpExporter::enqueue`], snapshots from the function given to [`OtlpExporter::start`].
//! Out: requests with as many resources as there are services in the batch.
//! Owns: the bounded queue, the two sending tasks, retry and throttling, and every `OTEL_EXPORTER_OTLP_*` variable.
//!
//! Telemetry may be lost here and is then counted; the caller is never made to wait. A dead or slow backend costs
//! the queue's bound in memory (plus one encoded request), then the newest spans are dropped. Retries can deliver
//! a batch twice when an answer was lost: the protocol has no way to tell.
//!
//! Sources: OTLP specification 1.x (`opentelemetry-proto/docs/specification.md`), the OTLP exporter and environment
//! variable pages of the OpenTelemetry specification.

mod config;
mod counters;
mod delta;
mod encode;
mod exporter;
mod failure;
mod grpc;
mod headers;
mod http;
mod interval;
mod metrics;
mod own;
mod queue;
mod retry;
mod sender;
mod signal;
mod spans;
mod tls;
mod variables;
mod warn;

#[cfg(test)]
mod receiver;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use config::{
    Backoff, Compression, Endpoint, MetricsConfig, OtlpConfig, OtlpOverrides, Protocol,
    SignalConfig, Temporality, TracesConfig,
};
pub use counters::{ExportCounters, SignalCounters};
pub use exporter::OtlpExporter;
pub use own::OwnMetrics;
pub use signal::Signal;
pub use tls::TlsFiles;
pub use variables::ConfigError;
