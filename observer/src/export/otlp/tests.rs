use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::receiver::{Answer, Received, Script, grpc, http, service, span, until};
use super::*;
use crate::metrics::Snapshot;
use crate::trace::Span;

const QUICK: Backoff = Backoff {
    initial: Duration::from_millis(10),
    max: Duration::from_millis(40),
};

/// A configuration for this URL and protocol with short waits, changed by `change`.
fn config(url: &str, protocol: &str, vars: &[(&str, &str)]) -> OtlpConfig {
    let overrides = OtlpOverrides {
        endpoint: Some(url.to_owned()),
        protocol: Some(protocol.to_owned()),
        schedule_delay: Some(Duration::from_millis(10)),
        ..OtlpOverrides::default()
    };
    let read = |name: &str| {
        vars.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let mut config = OtlpConfig::from_env_and(overrides, read).unwrap().unwrap();
    if let Some(traces) = &mut config.traces {
        traces.signal.backoff = QUICK;
    }
    if let Some(metrics) = &mut config.metrics {
        metrics.signal.backoff = QUICK;
    }
    config
}

fn start(config: OtlpConfig) -> OtlpExporter {
    OtlpExporter::start(config, Handle::current(), Arc::new(Snapshot::default)).unwrap()
}

fn spans(count: usize) -> Vec<Span> {
    let service = service("shop", "1");
    (0..count)
        .map(|index| span(&service, index as u8))
        .collect()
}

/// Sends `count` spans to a receiver that answers like this and returns the counters after everything is settled.
async fn outcome_http(
    answers: Vec<Answer>,
    vars: &[(&str, &str)],
) -> (Vec<Received>, SignalCounters) {
    let script = Script::new(answers);
    let address = http(Arc::clone(&script)).await;
    let exporter = start(config(&format!("http://{address}"), "http/protobuf", vars));
    outcome(script, exporter).await
}

async fn outcome_grpc(
    answers: Vec<Answer>,
    vars: &[(&str, &str)],
) -> (Vec<Received>, SignalCounters) {
    let script = Script::new(answers);
    let address = grpc(Arc::clone(&script), None).await;
    let exporter = start(config(&format!("http://{address}"), "grpc", vars));
    outcome(script, exporter).await
}

async fn outcome(script: Arc<Script>, exporter: OtlpExporter) -> (Vec<Received>, SignalCounters) {
    exporter.enqueue(spans(3));
    until("the spans are settled", || {
        exporter.counters().queue_spans == 0
    })
    .await;
    (script.received(), exporter.counters().traces)
}

#[tokio::test]
async fn spans_arrive_over_http_with_our_headers() {
    let vars = [("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20e")];
    let (received, counters) = outcome_http(vec![], &vars).await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].path, "/v1/traces");
    assert_eq!(received[0].spans(), 3);
    let headers = &received[0].headers;
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(
        headers["user-agent"],
        format!("observer-otlp/{}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(headers["api-key"], "s e");
    assert!(!headers.contains_key("content-encoding"));
    assert_eq!(
        counters,
        SignalCounters {
            sent: 3,
            ..SignalCounters::default()
        }
    );
}

#[tokio::test]
async fn spans_arrive_over_grpc_with_our_headers() {
    let vars = [("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20e")];
    let (received, counters) = outcome_grpc(vec![], &vars).await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].spans(), 3);
    let agent = received[0].headers["user-agent"].to_str().unwrap();
    assert!(agent.starts_with("observer-otlp/"), "{agent}");
    assert_eq!(received[0].headers["api-key"], "s e");
    assert_eq!(
        counters,
        SignalCounters {
            sent: 3,
            ..SignalCounters::default()
        }
    );
}
