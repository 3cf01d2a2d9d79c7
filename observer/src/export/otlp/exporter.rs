//! The handle that the rest of observer holds.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::config::{OtlpConfig, SignalConfig};
use super::counters::{Counting, ExportCounters};
use super::queue::{Refusal, SpanQueue};
use super::sender::Sender;
use super::{metrics, own::OwnMetrics, signal::Signal, spans};
use crate::metrics::Snapshot;
use crate::trace::Span;

/// Exports spans and metrics in the background. Clones are handles of one exporter.
///
/// If it is dropped without [`OtlpExporter::shutdown`], the tasks send what they have and end.
#[derive(Clone)]
pub struct OtlpExporter {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Option<Arc<SpanQueue>>,
    traces: Arc<Counting>,
    metrics: Arc<Counting>,
    own: Arc<OnceLock<OwnMetrics>>,
    closing: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// More than anyone waits; keeps the arithmetic in range.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(24 * 3600);

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl OtlpExporter {
    /// Starts the sending tasks on `runtime`. Connections are made on first use, so an absent backend is no error.
    ///
    /// `snapshot` is called on a blocking thread at every metrics interval and once at shutdown.
    ///
    /// # Errors
    /// A secure endpoint without trusted certificates, certificates or headers that can't be used.
    pub fn start(
        config: OtlpConfig,
        runtime: Handle,
        snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    ) -> anyhow::Result<Self> {
        let _context = runtime.enter();
        let (closing, receiver) = watch::channel(false);
        let mut inner = Inner {
            queue: None,
            traces: Arc::default(),
            metrics: Arc::default(),
            own: Arc::default(),
            closing,
            tasks: Mutex::default(),
        };
        let mut tasks = Vec::new();
        if let Some(config) = config.traces {
            let queue = Arc::new(SpanQueue::new(
                config.queue_bytes,
                config.queue_spans,
                config.max_batch,
            ));
            let counting = Arc::clone(&inner.traces);
            let sender = Sender::new(
                Signal::Traces,
                config.signal.clone(),
                counting,
                receiver.clone(),
            )
            .with_context(|| format!("OTLP exporter of spans to {}", config.signal.endpoint))?;
            let SignalConfig {
                endpoint, protocol, ..
            } = &config.signal;
            tracing::info!(%endpoint, ?protocol, "exporting spans over OTLP");
            tasks.push(runtime.spawn(spans::run(Arc::clone(&queue), config, sender)));
            inner.queue = Some(queue);
        }
        if let Some(config) = config.metrics {
            let counting = Arc::clone(&inner.metrics);
            let sender = Sender::new(Signal::Metrics, config.signal.clone(), counting, receiver)
                .with_context(|| {
                    format!("OTLP exporter of metrics to {}", config.signal.endpoint)
                })?;
            let SignalConfig {
                endpoint, protocol, ..
            } = &config.signal;
            let interval = config.interval;
            tracing::info!(%endpoint, ?protocol, ?interval, "exporting metrics over OTLP");
            tasks.push(runtime.spawn(metrics::run(
                config,
                snapshot,
                Arc::clone(&inner.own),
                sender,
            )));
        }
        inner.tasks = Mutex::new(tasks);
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Hands spans over. Never waits for the backend: what doesn't fit into the queue is dropped and counted. May
    /// be called from any thread. Without an exporter of spans they are discarded.
    pub fn enqueue(&self, spans: Vec<Span>) {
        let Some(queue) = &self.inner.queue else {
            return;
        };
        let counter = match queue.push(spans) {
            None => return,
            Some((count, Refusal::Full)) => (&self.inner.traces.dropped_queue_full, count),
            Some((count, Refusal::Closed)) => (&self.inner.traces.dropped_shutdown, count),
        };
        counter.0.fetch_add(counter.1, Relaxed);
    }

    /// Sends the daemon's own metrics, too, from now on. To be called once; later ones are ignored.
    pub fn report_own(&self, own: OwnMetrics) {
        let _ = self.inner.own.set(own);
    }

    /// Whether spans are exported at all, so that nobody needs to make them otherwise.
    pub fn exports_spans(&self) -> bool {
        self.inner.queue.is_some()
    }

    /// Whether a task has ended though it should run: what it would send is lost from now on.
    pub fn is_broken(&self) -> bool {
        let tasks = self
            .inner
            .tasks
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        !*self.inner.closing.borrow() && tasks.iter().any(JoinHandle::is_finished)
    }

    /// Sends what is queued and a last collection of metrics, for at most `deadline`; the rest is counted as
    /// dropped. Spans that come later are dropped and counted.
    pub async fn shutdown(self, deadline: Duration) {
        let until = Instant::now() + deadline.min(LONGEST_SHUTDOWN);
        self.inner.close();
        let tasks = {
            let mut tasks = self
                .inner
                .tasks
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            std::mem::take(&mut *tasks)
        };
        for mut task in tasks {
            match timeout_at(until, &mut task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "an OTLP task failed"),
                Err(_) => {
                    task.abort();
                    // Its guards have counted what was in flight once it is gone.
                    let _ = task.await;
                }
            }
        }
        let Some(queue) = &self.inner.queue else {
            return;
        };
        let lost = queue.clear();
        self.inner.traces.dropped_shutdown.fetch_add(lost, Relaxed);
        let dropped = self.inner.traces.dropped_shutdown.load(Relaxed);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "spans were not delivered before the shutdown's deadline"
            );
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> ExportCounters {
        let usage = self
            .inner
            .queue
            .as_ref()
            .map(|queue| (queue.usage(), queue.limit_bytes()));
        let ((queue_spans, queue_bytes), queue_limit_bytes) = usage.unwrap_or_default();
        ExportCounters {
            traces: self.inner.traces.read(),
            metrics: self.inner.metrics.read(),
            queue_bytes: queue_bytes as u64,
            queue_limit_bytes: queue_limit_bytes as u64,
            queue_spans: queue_spans as u64,
        }
    }
}

impl Inner {
    fn close(&self) {
        if let Some(queue) = &self.queue {
            queue.close();
        }
        self.closing.send_replace(true);
    }
}
