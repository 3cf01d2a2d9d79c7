//! One signal's way out: attempts, waits, and what an answer means. Knows nothing of spans or metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use prost::bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::config::{Protocol, SignalConfig};
use super::counters::{Counting, InFlight};
use super::failure::{Failure, Retry};
use super::grpc::Grpc;
use super::http::Http;
use super::retry::Waits;
use super::signal::Signal;
use super::warn::Limited;

/// Who we are. The specification's `OTel-OTLP-Exporter-…` names SDKs; this isn't one.
pub(super) const USER_AGENT: &str = concat!("observer-otlp/", env!("CARGO_PKG_VERSION"));

/// Once the exporter is closing, waits between attempts are at most this long.
const CLOSING_WAIT: Duration = Duration::from_millis(250);

enum Transport {
    Grpc(Box<Grpc>),
    Http(Http),
}

/// Sends encoded requests of one signal, one after the other.
pub(super) struct Sender {
    signal: Signal,
    config: SignalConfig,
    transport: Transport,
    pub(super) counting: Arc<Counting>,
    /// Becomes true when the exporter shuts down.
    pub(super) closing: watch::Receiver<bool>,
    not_before: Option<Instant>,
    failed_in_a_row: u64,
    failures: Limited,
    losses: Limited,
    partials: Limited,
    full: Limited,
    reported_full: u64,
}

/// Resolves when the exporter is closing (or gone).
pub(super) async fn closing(receiver: &watch::Receiver<bool>) {
    let mut receiver = receiver.clone();
    let _ = receiver.wait_for(|closing| *closing).await;
}

impl Sender {
    /// Needs a runtime's context. Fails where certificates or headers can't be used.
    pub(super) fn new(
        signal: Signal,
        config: SignalConfig,
        counting: Arc<Counting>,
        closing: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let transport = match config.protocol {
            Protocol::Grpc => Transport::Grpc(Box::new(Grpc::new(signal, &config)?)),
            Protocol::HttpProtobuf => Transport::Http(Http::new(&config)?),
        };
        let limited = || Limited::new(Duration::from_secs(30));
        Ok(Self {
            signal,
            config,
            transport,
            counting,
            closing,
            not_before: None,
            failed_in_a_row: 0,
            failures: limited(),
            losses: limited(),
            partials: limited(),
            full: limited(),
            reported_full: 0,
        })
    }

    /// Size above which a request is to be split, bytes.
    pub(super) fn max_request_bytes(&self) -> usize {
        self.config.max_request_bytes
    }

    /// Whether the backend asked for silence that is not over yet.
    pub(super) fn throttled(&self) -> bool {
        self.not_before.is_some_and(|until| until > Instant::now())
    }

    /// Waits until the backend wants to hear from us again.
    pub(super) async fn ready(&self) {
        if let Some(until) = self.not_before {
            sleep_until(until).await;
        }
    }

    /// Sends one request with retries and settles its items. True if the backend took it.
    pub(super) async fn send(&mut self, body: Bytes, items: InFlight<'_>) -> bool {
        let started = Instant::now();
        let mut waits = Waits::new(self.config.backoff);
        loop {
            let failure = match self.attempt(body.clone()).await {
                Ok(answer) => {
                    self.recovered();
                    let rejected = self.partial_success(&answer);
                    items.accepted(rejected);
                    return true;
                }
                Err(failure) => failure,
            };
            self.counting.failed_attempts.fetch_add(1, Relaxed);
            self.failed_in_a_row += 1;
            self.warn(&self.failures, "attempt failed", &failure);
            let wait = match failure.retry {
                Retry::Never => {
                    self.warn(&self.losses, "refused, dropped", &failure);
                    items.dropped(|counting| &counting.dropped_refused);
                    return false;
                }
                Retry::Backoff => waits.next(),
                Retry::After(delay) => {
                    self.not_before = Some(Instant::now() + delay);
                    delay.max(waits.next())
                }
            };
            if started.elapsed() + wait > self.config.total_timeout {
                self.warn(&self.losses, "given up, dropped", &failure);
                items.dropped(|counting| &counting.dropped_unreachable);
                return false;
            }
            self.wait(wait).await;
            self.counting.retries.fetch_add(1, Relaxed);
        }
    }

    async fn attempt(&mut self, body: Bytes) -> Result<Bytes, Failure> {
        let attempt = async {
            match &mut self.transport {
                Transport::Grpc(grpc) => grpc.send(body).await,
                Transport::Http(http) => http.send(body).await,
            }
        };
        if let Ok(answer) = timeout(self.config.timeout, attempt).await {
            return answer;
        }
        if let Transport::Grpc(grpc) = &mut self.transport {
            grpc.reconnect();
        }
        Err(Failure::connection(format!(
            "no answer within {:?}",
            self.config.timeout
        )))
    }

    /// A backoff ends early when the exporter closes; a wait that the backend asked for doesn't.
    async fn wait(&self, wait: Duration) {
        if self.throttled() {
            return sleep(wait).await;
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = closing(&self.closing) => sleep(wait.min(CLOSING_WAIT)).await,
        }
    }

    /// Reports a `partial_success` and returns the number of rejected items.
    fn partial_success(&self, answer: &Bytes) -> u64 {
        let decoded = match self.signal {
            Signal::Traces => ExportTraceServiceResponse::decode(answer.as_ref()).map(|response| {
                response
                    .partial_success
                    .map(|it| (it.rejected_spans, it.error_message))
            }),
            Signal::Metrics => {
                ExportMetricsServiceResponse::decode(answer.as_ref()).map(|response| {
                    response
                        .partial_success
                        .map(|it| (it.rejected_data_points, it.error_message))
                })
            }
        };
        let (rejected, message) = match decoded {
            Ok(Some((rejected, message))) if rejected != 0 || !message.is_empty() => {
                (rejected, message)
            }
            Ok(_) => return 0,
            Err(error) => {
                tracing::debug!(%error, "unreadable OTLP answer to an accepted request");
                return 0;
            }
        };
        self.counting.partial_responses.fetch_add(1, Relaxed);
        if let Some(more) = self.partials.allow() {
            let items = self.signal.items();
            tracing::warn!(endpoint = %self.config.endpoint, rejected, more, "OTLP backend rejected {items}: {message}");
        }
        u64::try_from(rejected).unwrap_or(0)
    }

    fn recovered(&mut self) {
        let failed = std::mem::take(&mut self.failed_in_a_row);
        if failed > 0 {
            let items = self.signal.items();
            tracing::info!(endpoint = %self.config.endpoint, failed, "OTLP export of {items} works again");
        }
    }

    /// Says, once in a while, that the queue was full.
    pub(super) fn report_full_queue(&mut self) {
        let dropped = self.counting.dropped_queue_full.load(Relaxed);
        let since = dropped - self.reported_full;
        if since > 0 && self.full.allow().is_some() {
            self.reported_full = dropped;
            let endpoint = &self.config.endpoint;
            tracing::warn!(%endpoint, dropped = since, "the OTLP queue is full: the newest spans are dropped");
        }
    }

    fn warn(&self, limit: &Limited, what: &str, failure: &Failure) {
        if let Some(more) = limit.allow() {
            let items = self.signal.items();
            let endpoint = &self.config.endpoint;
            tracing::warn!(%endpoint, more, "OTLP export of {items} {what}: {}", failure.message);
        }
    }
}
