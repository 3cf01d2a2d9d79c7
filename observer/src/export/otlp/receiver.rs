//! For tests: an OTLP receiver of each kind on a local port, and telemetry to send to it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use prost::bytes::Bytes;
use tokio::net::TcpListener;

use crate::metrics::{
    Attributes, Exemplar, HistogramPoint, Instrument, Metric, Point, ServiceMetrics, Snapshot,
};
use crate::process::{Service, Text, Value};
use crate::trace::{Span, SpanKind};

/// A service with these names.
pub(super) fn service(name: &str, instance_id: &str) -> Arc<Service> {
    let text = |text: &str| Value::Text(Text::copied(text));
    Arc::new(Service {
        name: name.into(),
        instance_id: instance_id.into(),
        attributes: vec![
            ("service.instance.id", text(instance_id)),
            ("service.name", text(name)),
        ],
        extra_attributes: vec![("team".into(), text("blue"))],
        instrumentation: crate::process::Instrumentation::default(),
    })
}

/// A span whose id ends with `id`.
pub(super) fn span(service: &Arc<Service>, id: u8) -> Span {
    Span {
        service: Arc::clone(service),
        protocol: crate::protocol::ProtocolId::Http,
        trace_id: [7; 16],
        span_id: [0, 0, 0, 0, 0, 0, 1, id],
        parent_span_id: None,
        link: None,
        trace_state: None,
        name: "GET /users/{id}".into(),
        kind: SpanKind::Server,
        start_unix_nano: 1_700_000_000_000_000_000,
        end_unix_nano: 1_700_000_000_001_000_000,
        attributes: vec![
            ("http.request.method", Value::Text("GET".into())),
            ("http.response.status_code", Value::Int(200)),
        ],
        error: None,
        flags: 1,
    }
}

/// What the receiver answers to one request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Ok,
    /// HTTP status and headers.
    Http(u16, Vec<(&'static str, String)>),
    Grpc(tonic::Status),
    /// This many rejected.
    Partial(i64, &'static str),
    /// Takes the request and never answers.
    Silence,
}

/// A request as it came in.
#[derive(Clone, Debug, Default)]
pub(super) struct Received {
    pub(super) headers: HeaderMap,
    pub(super) path: String,
    pub(super) traces: Option<ExportTraceServiceRequest>,
    pub(super) metrics: Option<ExportMetricsServiceRequest>,
    pub(super) compressed_bytes: usize,
}

impl Received {
    pub(super) fn spans(&self) -> usize {
        let resources = self
            .traces
            .iter()
            .flat_map(|request| &request.resource_spans);
        resources
            .flat_map(|resource| &resource.scope_spans)
            .map(|scope| scope.spans.len())
            .sum()
    }
}

/// What a receiver was told to answer and what it got.
#[derive(Default)]
pub(super) struct Script {
    answers: Mutex<VecDeque<Answer>>,
    received: Mutex<Vec<Received>>,
}

impl Script {
    /// After these answers it is `Ok` forever.
    pub(super) fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
            received: Mutex::default(),
        })
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(super) fn spans(&self) -> usize {
        self.received
            .lock()
            .unwrap()
            .iter()
            .map(Received::spans)
            .sum()
    }

    fn take(&self, received: Received) -> Answer {
        self.received.lock().unwrap().push(received);
        self.answers
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Answer::Ok)
    }
}

/// Waits for a condition, up to ten seconds.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

// === HTTP ===

/// Starts an OTLP/HTTP receiver and returns its address.
pub(super) async fn http(script: Arc<Script>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    http_on(listener, script)
}

/// The same on a listener that may do something before, such as TLS.
pub(super) fn http_on<L>(listener: L, script: Arc<Script>) -> SocketAddr
where
    L: axum::serve::Listener<Addr = SocketAddr>,
{
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(answer_http).with_state(script);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

async fn answer_http(
    State(script): State<Arc<Script>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut received = Received {
        path: uri.path().to_owned(),
        compressed_bytes: body.len(),
        ..Received::default()
    };
    let mut plain = body.to_vec();
    if headers
        .get("content-encoding")
        .is_some_and(|encoding| encoding == "gzip")
    {
        plain.clear();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body.as_ref()), &mut plain)
            .unwrap();
    }
    if received.path.contains("metrics") {
        received.metrics = Some(ExportMetricsServiceRequest::decode(plain.as_slice()).unwrap());
    } else {
        received.traces = Some(ExportTraceServiceRequest::decode(plain.as_slice()).unwrap());
    }
    received.headers = headers;
    let protobuf = [("content-type", "application/x-protobuf")];
    match script.take(received) {
        Answer::Ok => (protobuf, Vec::new()).into_response(),
        Answer::Http(status, headers) => {
            let mut response = StatusCode::from_u16(status).unwrap().into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Answer::Partial(rejected, message) => {
            (protobuf, partial(rejected, message).encode_to_vec()).into_response()
        }
        Answer::Silence => std::future::pending().await,
        Answer::Grpc(_) => unreachable!("not for HTTP"),
    }
}

fn partial(rejected_spans: i64, message: &str) -> ExportTraceServiceResponse {
    let partial_success = Some(ExportTracePartialSuccess {
        rejected_spans,
        error_message: message.to_owned(),
    });
    ExportTraceServiceResponse { partial_success }
}

// === gRPC ===

struct Services(Arc<Script>);

/// Starts an OTLP/gRPC receiver, with TLS if an identity is given, and returns its address.
pub(super) async fn grpc(
    script: Arc<Script>,
    tls: Option<tonic::transport::ServerTlsConfig>,
) -> SocketAddr {
    use tonic::codec::CompressionEncoding::Gzip;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = tonic::transport::Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).unwrap();
    }
    let router = server
        .add_service(TraceServiceServer::new(Services(Arc::clone(&script))).accept_compressed(Gzip))
        .add_service(MetricsServiceServer::new(Services(script)).accept_compressed(Gzip));
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
    address
}

/// The service of spans alone.
pub(super) fn trace_server(script: Arc<Script>) -> TraceServiceServer<impl TraceService> {
    TraceServiceServer::new(Services(script))
}

async fn grpc_answer(answer: Answer) -> Result<Option<(i64, &'static str)>, tonic::Status> {
    match answer {
        Answer::Ok => Ok(None),
        Answer::Grpc(status) => Err(status),
        Answer::Partial(rejected, message) => Ok(Some((rejected, message))),
        Answer::Silence => std::future::pending().await,
        Answer::Http(..) => unreachable!("not for gRPC"),
    }
}

#[tonic::async_trait]
impl TraceService for Services {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let headers = request.metadata().clone().into_headers();
        let received = Received {
            headers,
            traces: Some(request.into_inner()),
            ..Received::default()
        };
        let rejected = grpc_answer(self.0.take(received)).await?;
        let response = rejected
            .map(|(count, message)| partial(count, message))
            .unwrap_or_default();
        Ok(tonic::Response::new(response))
    }
}

#[tonic::async_trait]
impl MetricsService for Services {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let headers = request.metadata().clone().into_headers();
        let received = Received {
            headers,
            metrics: Some(request.into_inner()),
            ..Received::default()
        };
        grpc_answer(self.0.take(received)).await?;
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

// === Metrics ===

pub(super) static DURATION: Instrument = Instrument {
    name: "http.server.request.duration",
    unit: "s",
    description: "Duration of HTTP server requests.",
    bounds: &[0.1, 1.0],
};
pub(super) static REQUESTS: Instrument = Instrument {
    name: "requests",
    unit: "{request}",
    description: "Requests.",
    bounds: &[],
};
pub(super) static ACTIVE: Instrument = Instrument {
    name: "http.server.active_requests",
    unit: "{request}",
    description: "Active.",
    bounds: &[],
};

/// Attributes of a series.
pub(super) fn route(route: &str) -> Attributes {
    Arc::from([("http.route", Value::Text(Text::copied(route)))])
}

/// A histogram with these buckets, all values 0.5.
pub(super) fn histogram(buckets: [u64; 3], exemplar_times: &[u64]) -> Point {
    let count = buckets.iter().sum();
    let exemplar = |&time_unix_nano: &u64| Exemplar {
        value: 0.5,
        time_unix_nano,
        trace_id: [1; 16],
        span_id: [2; 8],
    };
    Point::Histogram(HistogramPoint {
        count,
        sum: count as f64 * 0.5,
        min: Some(0.5),
        max: Some(0.5),
        buckets: buckets.to_vec(),
        exemplars: exemplar_times.iter().map(exemplar).collect(),
    })
}

/// One service that started at 1000 with one instrument of each kind.
pub(super) fn snapshot(
    time_unix_nano: u64,
    requests: u64,
    active: i64,
    duration: Point,
) -> Snapshot {
    let metric = |instrument, point| Metric {
        instrument,
        points: vec![(route("/a"), point)],
    };
    let metrics = vec![
        metric(&DURATION, duration),
        metric(&REQUESTS, Point::Counter(requests)),
        metric(&ACTIVE, Point::UpDown(active)),
    ];
    let services = vec![ServiceMetrics {
        service: service("shop", "1"),
        start_unix_nano: 1000,
        metrics,
    }];
    Snapshot {
        time_unix_nano,
        services,
    }
}
