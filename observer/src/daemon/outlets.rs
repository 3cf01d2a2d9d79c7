//! Where spans and metrics leave the daemon, but for the page: OTLP, and what is shown on this machine.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::AtomicU64,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{runtime::Runtime, sync::watch};

use super::{
    flow::Local,
    health::Health,
    registries::Collect,
    show::{self, Show},
    threads::{self, spawn},
};
use crate::{
    export::otlp::{OtlpConfig, OtlpExporter},
    trace::Span,
};

/// How long a slow reader may take for what is left to be shown.
const READER: Duration = Duration::from_secs(20);
/// Spans that may wait for the sink.
const LOCAL_QUEUE: usize = 65_536;

/// The runtime of the exporters and the signals.
///
/// # Errors
/// When the system has no room for another thread.
pub(super) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(4)
        .thread_name("observer-export")
        .enable_all()
        .build()
        .context("cannot start the export runtime")
}

/// All of them.
pub(super) struct Outlets {
    pub(super) exporter: Option<OtlpExporter>,
    shown: Option<Shown>,
    runtime: Runtime,
}

/// The way to the sink.
struct Shown {
    spans: SyncSender<Span>,
    dropped: Arc<AtomicU64>,
    all: bool,
    thread: JoinHandle<()>,
}

impl Outlets {
    /// Opens what is wanted. What is returned beside says when the sink's reader has gone.
    ///
    /// # Errors
    /// OTLP as it is configured can't be, or there is no room for a thread.
    pub(super) fn open(
        runtime: Runtime,
        otlp: Option<OtlpConfig>,
        show: Option<Show>,
        collect: &Collect,
        health: &Arc<Health>,
    ) -> Result<(Self, watch::Receiver<bool>)> {
        let handle = runtime.handle();
        let exporter = otlp
            .map(|config| OtlpExporter::start(config, handle.clone(), Arc::clone(collect)))
            .transpose()?;
        if let Some(exporter) = exporter.clone() {
            health.probe("the OTLP exporter", move || {
                exporter.is_broken().then_some("panicked")
            });
        }
        let (closing, closed) = watch::channel(false);
        let shown = show
            .map(|show| Shown::start(show, Arc::clone(collect), closing, health))
            .transpose()?;
        let outlets = Self {
            exporter,
            shown,
            runtime,
        };
        Ok((outlets, closed))
    }

    /// One shard's way to the sink.
    pub(super) fn local(&self) -> Option<Local> {
        self.shown.as_ref().map(|shown| Local {
            spans: shown.spans.clone(),
            dropped: Arc::clone(&shown.dropped),
            all: shown.all,
        })
    }

    /// Counts spans that did not fit on their way to the sink.
    pub(super) fn local_dropped(&self) -> Option<Arc<AtomicU64>> {
        self.shown.as_ref().map(|shown| Arc::clone(&shown.dropped))
    }

    /// Runs something on the runtime until it is over.
    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Shows and sends what is there, for at most so long. Nobody may write to it any more.
    pub(super) fn close(self, longest: Duration) {
        if let Some(Shown { spans, thread, .. }) = self.shown {
            drop(spans);
            threads::join([thread], READER);
        }
        if let Some(exporter) = self.exporter {
            self.runtime.block_on(exporter.shutdown(longest));
        }
        self.runtime.shutdown_timeout(Duration::from_millis(500));
    }
}

impl Shown {
    fn start(
        show: Show,
        collect: Collect,
        closing: watch::Sender<bool>,
        health: &Arc<Health>,
    ) -> Result<Self> {
        let (spans, waiting) = sync_channel(LOCAL_QUEUE);
        // It may wait for a slow reader for as long as that likes.
        let thread = spawn(health, "observer-show", None, move |_| {
            show::run_sink(show.sink, &waiting, &collect, &closing);
        })?;
        Ok(Self {
            spans,
            dropped: Arc::default(),
            all: show.all,
            thread,
        })
    }
}
