use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::failure::RpcDuration;
use super::failure::tests::with_retry_info;
use super::receiver::{
    Answer, Received, Script, grpc, histogram, http, service, snapshot, span, until,
};
use super::*;
use crate::metrics::Snapshot;
use crate::trace::Span;
use tonic::{Code, Status};

const QUICK: Backoff = Backoff {
    initial: Duration::from_millis(10),
    max: Duration::from_millis(40),
};

/// A configuration for this URL and protocol with short waits, changed by `change`.
pub(super) fn config(url: &str, protocol: &str, vars: &[(&str, &str)]) -> OtlpConfig {
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

pub(super) fn start(config: OtlpConfig) -> OtlpExporter {
    OtlpExporter::start(config, Handle::current(), Arc::new(Snapshot::default)).unwrap()
}

pub(super) fn spans(count: usize) -> Vec<Span> {
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

#[tokio::test]
async fn gzip_is_used_when_asked_for() {
    let gzip = [("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    let (received, counters) = outcome_http(vec![], &gzip).await;
    assert_eq!(received[0].headers["content-encoding"], "gzip");
    assert_eq!((received[0].spans(), counters.sent), (3, 3));
    let (plain, _) = outcome_http(vec![], &[]).await;
    assert!(received[0].compressed_bytes < plain[0].compressed_bytes);
    let (received, counters) = outcome_grpc(vec![], &gzip).await;
    assert_eq!(received[0].headers["grpc-encoding"], "gzip");
    assert_eq!((received[0].spans(), counters.sent), (3, 3));
}

#[tokio::test]
async fn retryable_answers_are_retried_with_the_same_spans() {
    let http = vec![
        Answer::Http(503, vec![]),
        Answer::Http(429, vec![]),
        Answer::Http(502, vec![]),
    ];
    let (received, counters) = outcome_http(http, &[]).await;
    assert!(received.iter().all(|it| it.spans() == 3) && received.len() == 4);
    let expected = SignalCounters {
        sent: 3,
        retries: 3,
        failed_attempts: 3,
        ..SignalCounters::default()
    };
    assert_eq!(counters, expected);
    let status = |code| Answer::Grpc(Status::new(code, "busy"));
    let (received, counters) = outcome_grpc(
        vec![
            status(Code::Unavailable),
            status(Code::Aborted),
            status(Code::DataLoss),
        ],
        &[],
    )
    .await;
    assert_eq!(received.len(), 4);
    assert_eq!(counters, expected);
}

#[tokio::test]
async fn other_answers_are_not_retried_and_their_spans_counted() {
    let expected = SignalCounters {
        dropped_refused: 3,
        failed_attempts: 1,
        ..SignalCounters::default()
    };
    for status in [400, 401, 404, 408, 413, 500, 501] {
        let (received, counters) = outcome_http(vec![Answer::Http(status, vec![])], &[]).await;
        assert_eq!((received.len(), counters), (1, expected), "HTTP {status}");
    }
    for code in [
        Code::InvalidArgument,
        Code::Unauthenticated,
        Code::Unknown,
        Code::Internal,
        Code::ResourceExhausted,
    ] {
        let (received, counters) =
            outcome_grpc(vec![Answer::Grpc(Status::new(code, "no"))], &[]).await;
        assert_eq!((received.len(), counters), (1, expected), "{code:?}");
    }
}

#[tokio::test]
async fn a_throttling_backend_gets_the_silence_it_asks_for() {
    let started = Instant::now();
    let (received, counters) = outcome_http(
        vec![Answer::Http(429, vec![("retry-after", "1".to_owned())])],
        &[],
    )
    .await;
    assert_eq!((received.len(), counters.sent), (2, 3));
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );

    let started = Instant::now();
    let delay = RpcDuration {
        seconds: 0,
        nanos: 600_000_000,
    };
    let answer = Answer::Grpc(with_retry_info(Code::ResourceExhausted, Some(delay)));
    let (received, counters) = outcome_grpc(vec![answer], &[]).await;
    assert_eq!((received.len(), counters.sent), (2, 3));
    assert!(
        started.elapsed() >= Duration::from_millis(600),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_silence_longer_than_the_batch_may_take_costs_that_batch_and_is_kept_for_the_next() {
    let script = Script::new([Answer::Http(503, vec![("retry-after", "1".to_owned())])]);
    let address = http(Arc::clone(&script)).await;
    let total = [("OTEL_BSP_EXPORT_TIMEOUT", "300")];
    let exporter = start(config(
        &format!("http://{address}"),
        "http/protobuf",
        &total,
    ));
    let started = Instant::now();
    exporter.enqueue(spans(3));
    until("the first batch is given up", || {
        exporter.counters().traces.dropped_unreachable == 3
    })
    .await;
    assert!(started.elapsed() < Duration::from_millis(900));
    exporter.enqueue(spans(2));
    until("the second batch arrived", || {
        exporter.counters().traces.sent == 2
    })
    .await;
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_partial_success_is_counted_and_not_retried() {
    let expected = SignalCounters {
        sent: 1,
        rejected: 2,
        partial_responses: 1,
        ..SignalCounters::default()
    };
    let partial = || vec![Answer::Partial(2, "too old")];
    assert_eq!(outcome_http(partial(), &[]).await.1, expected);
    assert_eq!(outcome_grpc(partial(), &[]).await.1, expected);
    let warning = SignalCounters {
        sent: 3,
        partial_responses: 1,
        ..SignalCounters::default()
    };
    assert_eq!(
        outcome_http(vec![Answer::Partial(0, "slow down")], &[])
            .await
            .1,
        warning
    );
}

#[tokio::test]
async fn redirects_keep_method_and_body_or_are_not_followed() {
    let to = |path: &str| vec![("location", path.to_owned())];
    let (received, counters) = outcome_http(vec![Answer::Http(307, to("/elsewhere"))], &[]).await;
    assert_eq!(
        (
            received[1].path.as_str(),
            received[1].spans(),
            counters.sent
        ),
        ("/elsewhere", 3, 3)
    );
    let (received, counters) = outcome_http(vec![Answer::Http(302, to("/elsewhere"))], &[]).await;
    assert_eq!((received.len(), counters.dropped_refused), (1, 3));
}

#[tokio::test]
async fn a_silent_backend_is_given_up_after_the_timeout_and_asked_again() {
    let timeout = [("OTEL_EXPORTER_OTLP_TIMEOUT", "100")];
    let expected = SignalCounters {
        sent: 3,
        retries: 1,
        failed_attempts: 1,
        ..SignalCounters::default()
    };
    assert_eq!(
        outcome_http(vec![Answer::Silence], &timeout).await.1,
        expected
    );
    assert_eq!(
        outcome_grpc(vec![Answer::Silence], &timeout).await.1,
        expected
    );
}

/// Accepts connections and closes each after the first bytes.
async fn hanging_up() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.readable().await;
            drop(stream);
        }
    });
    address
}

#[tokio::test]
async fn connection_errors_are_retried_until_the_time_is_up() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for address in [unused, hanging_up().await] {
        for protocol in ["http/protobuf", "grpc"] {
            let total = [("OTEL_BSP_EXPORT_TIMEOUT", "300")];
            let exporter = start(config(&format!("http://{address}"), protocol, &total));
            exporter.enqueue(spans(3));
            until("the spans are given up", || {
                exporter.counters().queue_spans == 0
            })
            .await;
            let counters = exporter.counters().traces;
            assert_eq!(
                counters.dropped_unreachable, 3,
                "{protocol} {address}: {counters:?}"
            );
            assert!(counters.retries > 1, "{protocol} {address}: {counters:?}");
        }
    }
}

#[tokio::test]
async fn a_backend_that_comes_later_gets_what_waited() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let exporter = start(config(&format!("http://{address}"), "grpc", &[]));
    exporter.enqueue(spans(3));
    until("an attempt failed", || {
        exporter.counters().traces.failed_attempts > 1
    })
    .await;
    let script = Script::new([]);
    let router = tonic::transport::Server::builder()
        .add_service(super::receiver::trace_server(Arc::clone(&script)));
    tokio::spawn(router.serve(address));
    until("the spans arrived", || exporter.counters().traces.sent == 3).await;
    assert_eq!(script.spans(), 3);
}

#[test]
fn a_dead_backend_costs_bounded_memory_and_counted_drops_and_never_the_caller() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let script = Script::new(std::iter::repeat_n(Answer::Silence, 100));
    let address = runtime.block_on(http(Arc::clone(&script)));
    let mut config = config(
        &format!("http://{address}"),
        "http/protobuf",
        &[("OTEL_METRICS_EXPORTER", "none")],
    );
    const LIMIT: usize = 256 << 10;
    config.traces.as_mut().unwrap().queue_bytes = LIMIT;
    let exporter = OtlpExporter::start(
        config,
        runtime.handle().clone(),
        Arc::new(Snapshot::default),
    )
    .unwrap();
    let mut longest = Duration::ZERO;
    let mut enqueued = 0;
    for _ in 0..2000 {
        let batch = spans(20);
        enqueued += batch.len() as u64;
        let started = Instant::now();
        exporter.enqueue(batch);
        longest = longest.max(started.elapsed());
        assert!(exporter.counters().queue_bytes <= LIMIT as u64);
    }
    assert!(
        longest < Duration::from_millis(500),
        "enqueueing took {longest:?}, the backend's timeout is 10 s"
    );
    let counters = exporter.counters();
    assert_eq!(counters.queue_limit_bytes, LIMIT as u64);
    assert!(
        counters.queue_bytes > LIMIT as u64 * 9 / 10,
        "the queue is used: {counters:?}"
    );
    assert_eq!(
        counters.traces.dropped_queue_full + counters.queue_spans,
        enqueued,
        "nothing is lost unseen"
    );

    let started = Instant::now();
    let waiting = counters.queue_spans;
    runtime.block_on(exporter.clone().shutdown(Duration::from_millis(300)));
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    exporter.enqueue(spans(5));
    let counters = exporter.counters();
    assert_eq!(
        counters.traces.dropped_shutdown,
        waiting + 5,
        "waiting, in flight and late ones are counted"
    );
    assert_eq!((counters.queue_spans, counters.queue_bytes), (0, 0));
}

#[tokio::test]
async fn many_spans_go_in_batches_of_at_most_512_within_the_size_bound() {
    let script = Script::new([]);
    let address = http(Arc::clone(&script)).await;
    let mut config = config(&format!("http://{address}"), "http/protobuf", &[]);
    config.traces.as_mut().unwrap().signal.max_request_bytes = 60_000;
    let exporter = start(config);
    for _ in 0..20 {
        exporter.enqueue(spans(100));
    }
    until("all arrived", || exporter.counters().traces.sent == 2000).await;
    for received in script.received() {
        assert!(
            received.spans() <= 512 && received.compressed_bytes <= 60_000,
            "{}",
            received.compressed_bytes
        );
    }
    assert_eq!(script.spans(), 2000);
}

#[tokio::test]
async fn shutdown_delivers_what_waits_and_a_last_collection() {
    let script = Script::new([]);
    let address = http(Arc::clone(&script)).await;
    let overrides = OtlpOverrides {
        endpoint: Some(format!("http://{address}")),
        schedule_delay: Some(Duration::from_secs(3600)),
        metric_interval: Some(Duration::from_secs(3600)),
        ..OtlpOverrides::default()
    };
    let config = OtlpConfig::from_env_and(overrides, |_| None)
        .unwrap()
        .unwrap();
    let collect = || snapshot(2000, 5, 1, histogram([1, 0, 0], &[]));
    let exporter = OtlpExporter::start(config, Handle::current(), Arc::new(collect)).unwrap();
    exporter.enqueue(spans(700));
    exporter.enqueue(spans(3));
    let started = Instant::now();
    exporter.clone().shutdown(Duration::from_secs(5)).await;
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "no need to wait for the deadline"
    );
    assert_eq!(script.spans(), 703);
    let metrics: Vec<_> = script
        .received()
        .into_iter()
        .filter_map(|it| it.metrics)
        .collect();
    assert_eq!(metrics.len(), 1);
    let counters = exporter.counters();
    assert_eq!((counters.traces.sent, counters.metrics.sent), (703, 3));
    assert_eq!(counters.traces.dropped_shutdown, 0);
}

#[tokio::test]
async fn metrics_are_collected_again_and_again_and_a_failed_export_is_superseded() {
    let script = Script::new([Answer::Http(400, vec![])]);
    let address = http(Arc::clone(&script)).await;
    let vars = [
        ("OTEL_METRIC_EXPORT_INTERVAL", "30"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    let config = config(&format!("http://{address}"), "http/protobuf", &vars);
    let time = AtomicU64::new(2000);
    let collect = move || {
        let time = time.fetch_add(1000, Relaxed);
        snapshot(time, time, 0, histogram([1, 0, 0], &[]))
    };
    let exporter = OtlpExporter::start(config, Handle::current(), Arc::new(collect)).unwrap();
    until("three exports", || exporter.counters().metrics.sent >= 9).await;
    assert_eq!(exporter.counters().metrics.dropped_refused, 3);
    let times: Vec<u64> = script.received().iter().map(collection_time).collect();
    assert_eq!(times[..3], [2000, 3000, 4000]);
    assert_eq!(script.received()[0].path, "/v1/metrics");
}

fn collection_time(received: &Received) -> u64 {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    let metrics = received.metrics.as_ref().unwrap();
    match &metrics.resource_metrics[0].scope_metrics[0].metrics[0].data {
        Some(Data::Histogram(histogram)) => histogram.data_points[0].time_unix_nano,
        other => panic!("no histogram first: {other:?}"),
    }
}

#[tokio::test]
async fn a_lost_delta_is_part_of_the_next() {
    use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value::AsInt};
    let script = Script::new([
        Answer::Ok,
        Answer::Grpc(Status::invalid_argument("no")),
        Answer::Ok,
    ]);
    let address = grpc(Arc::clone(&script), None).await;
    let vars = [
        ("OTEL_METRIC_EXPORT_INTERVAL", "30"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
    ];
    let config = config(&format!("http://{address}"), "grpc", &vars);
    let count = AtomicU64::new(0);
    let collect = move || {
        let count = count.fetch_add(1, Relaxed) + 1;
        snapshot(1000 + count, count * 10, 0, histogram([count, 0, 0], &[]))
    };
    let _exporter = OtlpExporter::start(config, Handle::current(), Arc::new(collect)).unwrap();
    until("three exports", || script.received().len() >= 3).await;
    let requests: Vec<(u64, i64)> = script.received()[..3]
        .iter()
        .map(|received| {
            let metrics =
                &received.metrics.as_ref().unwrap().resource_metrics[0].scope_metrics[0].metrics;
            let Some(Data::Sum(sum)) = &metrics[1].data else {
                panic!("a sum")
            };
            let Some(AsInt(value)) = sum.data_points[0].value else {
                panic!("an integer")
            };
            (sum.data_points[0].start_time_unix_nano, value)
        })
        .collect();
    assert_eq!(requests, [(1000, 10), (1001, 10), (1001, 20)]);
}

#[tokio::test]
async fn a_collection_that_panics_stops_neither_metrics_nor_spans() {
    let script = Script::new([]);
    let address = http(Arc::clone(&script)).await;
    let vars = [("OTEL_METRIC_EXPORT_INTERVAL", "20")];
    let config = config(&format!("http://{address}"), "http/protobuf", &vars);
    let calls = AtomicU64::new(0);
    let collect = move || {
        assert!(calls.fetch_add(1, Relaxed) > 0, "the first call fails");
        snapshot(2000, 5, 1, histogram([1, 0, 0], &[]))
    };
    let exporter = OtlpExporter::start(config, Handle::current(), Arc::new(collect)).unwrap();
    exporter.enqueue(spans(1));
    until("both signals", || {
        exporter.counters().metrics.sent > 0 && exporter.counters().traces.sent == 1
    })
    .await;
    assert_eq!(exporter.counters().metrics.skipped_collections, 1);
}

#[tokio::test]
async fn a_web_page_is_no_otlp_backend_even_if_it_says_200() {
    let page = vec![("content-type", "text/html; charset=utf-8".to_owned())];
    let (_, counters) = outcome_http(vec![Answer::Http(200, page)], &[]).await;
    assert_eq!((counters.sent, counters.dropped_refused), (0, 3));
    let json = vec![("content-type", "application/json".to_owned())];
    assert_eq!(
        outcome_http(vec![Answer::Http(202, json)], &[])
            .await
            .1
            .sent,
        3,
        "lenient receivers are fine"
    );
}

#[tokio::test]
async fn a_connection_whose_other_end_vanished_is_replaced_after_the_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = Script::new([]);
    let service = super::receiver::trace_server(Arc::clone(&script));
    tokio::spawn(async move {
        // The first connection is accepted and never read: as if the network had swallowed it.
        let _swallowed = listener.accept().await.unwrap();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
    let timeout = [("OTEL_EXPORTER_OTLP_TIMEOUT", "200")];
    let exporter = start(config(&format!("http://{address}"), "grpc", &timeout));
    exporter.enqueue(spans(3));
    until("the spans arrived", || exporter.counters().traces.sent == 3).await;
    assert_eq!((script.spans(), exporter.counters().traces.retries), (3, 1));
}

/// By hand, against a real receiver: prints the counters.
#[tokio::test]
#[ignore = "needs a receiver: set OTEL_EXPORTER_OTLP_ENDPOINT and what else it wants"]
async fn spans_and_metrics_reach_the_receiver_of_the_environment() {
    let config =
        OtlpConfig::from_env_and(OtlpOverrides::default(), |name| std::env::var(name).ok());
    let config = config.unwrap().expect("OTEL_EXPORTER_OTLP_ENDPOINT is set");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    let collect = move || snapshot(now, 5, 1, histogram([1, 2, 0], &[now - 1]));
    let exporter = OtlpExporter::start(config, Handle::current(), Arc::new(collect)).unwrap();
    exporter.enqueue(spans(3));
    exporter.clone().shutdown(Duration::from_secs(5)).await;
    let counters = exporter.counters();
    println!("{counters:#?}");
    assert_eq!((counters.traces.sent, counters.metrics.sent), (3, 3));
}
