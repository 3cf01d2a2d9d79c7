//! The shards' threads: each from its ring to metrics and spans.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Result;
use observer_protocol::tls::wipe_stack;

use super::{
    flow::Flow,
    health::{Health, Pulse},
    outlets::Outlets,
    pipeline::{Pipeline, Shared},
    registries::Registries,
    secrets::Inlet,
    threads::spawn,
    time::{HOUSEKEEPING_NS, now_ns},
};
use crate::{
    config::Settings,
    export::otlp::OtlpExporter,
    identity::ConnectionKey,
    kernel::{Kernel, LoadOptions, reader::RecordRing},
    metrics::routes::Routes,
    stream::{Shard, StreamConfig, StreamCounters},
    trace::{Clock, Sampler},
};

/// Longest time without a sign of life. A shard rests for a second at most.
const PULSE: Duration = Duration::from_secs(10);

/// Rest while a process is looked at, or so.
const SOON: Duration = Duration::from_millis(1);
/// How long the end waits for processes that are looked at.
const LAST_NAMES: Duration = Duration::from_millis(500);

/// What one shard has counted, for the page.
pub(super) type Published = Arc<Mutex<StreamCounters>>;

/// What the shards share.
pub(super) struct Shards<'a> {
    pub(super) stop: &'a Arc<AtomicBool>,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) registries: &'a Registries,
    pub(super) routes: &'a Routes,
    pub(super) sampler: &'a Sampler,
    pub(super) outlets: &'a Outlets,
    pub(super) config: StreamConfig,
}

/// How streams are followed.
pub(super) fn config(settings: &Settings, options: &LoadOptions) -> StreamConfig {
    StreamConfig {
        max_connections: settings.limits.max_connections.0 as usize,
        request_budget: options.request_budget,
        response_budget: options.response_budget,
        ..StreamConfig::default()
    }
}

impl Shards<'_> {
    /// Starts a thread for each ring.
    ///
    /// # Errors
    /// There is no room for a thread, or the kernel's maps can't be reached.
    pub(super) fn start(
        &self,
        rings: Vec<RecordRing>,
        secrets: Vec<Inlet>,
        kernel: &mut Kernel,
        health: &Arc<Health>,
    ) -> Result<(Vec<JoinHandle<()>>, Vec<Published>)> {
        let (mut threads, mut counters) = (Vec::new(), Vec::new());
        // None where TLS is not read.
        let mut secrets = secrets.into_iter();
        let joins = Arc::default();
        for ((ring, registry), index) in rings.into_iter().zip(self.registries.shards()).zip(0..) {
            let exporter = self.outlets.exporter.clone();
            let exporter = exporter.filter(OtlpExporter::exports_spans);
            let flow = Flow::new(
                Arc::clone(&self.shared.flow),
                index as usize,
                Arc::clone(registry),
                self.routes.clone(),
                self.sampler.clone(),
                exporter.is_some(),
                self.outlets.local(),
            );
            let maps = kernel.connections(index)?;
            let pipeline = Pipeline::new(Arc::clone(self.shared), flow, exporter, maps);
            let shard = Shard::among(self.config, Arc::clone(&joins));
            let published = Published::default();
            counters.push(Arc::clone(&published));
            let stop = Arc::clone(self.stop);
            let secrets = secrets.next();
            let ring = match &secrets {
                Some(inlet) => ring.woken_by(Arc::clone(&inlet.news)),
                None => ring,
            };
            let name = format!("observer-shard{index}");
            threads.push(spawn(health, &name, Some(PULSE), move |pulse| {
                run_shard(ring, secrets, &stop, shard, pipeline, &published, pulse);
            })?);
        }
        Ok((threads, counters))
    }
}

struct ShardState<'a> {
    shard: Shard,
    secrets: Option<Inlet>,
    pipeline: Pipeline,
    due: Vec<(ConnectionKey, Option<u32>)>,
    last_housekeeping: u64,
    published: &'a Mutex<StreamCounters>,
    pulse: &'a Pulse,
}

fn run_shard(
    ring: RecordRing,
    secrets: Option<Inlet>,
    stop: &AtomicBool,
    shard: Shard,
    pipeline: Pipeline,
    published: &Mutex<StreamCounters>,
    pulse: &Pulse,
) {
    let mut state = ShardState {
        shard,
        secrets,
        pipeline,
        due: Vec::new(),
        last_housekeeping: 0,
        published,
        pulse,
    };
    state.pipeline.flow.clock = Clock::measure();
    state.pipeline.flow.now_ns = now_ns();
    ring.run(
        stop,
        &mut state,
        |state, record| state.shard.record(record, &mut state.pipeline),
        ShardState::pause,
    );
    state.take_secrets();
    let now = now_ns();
    // What had its last byte before we stopped is finished from the kernel's entries; the rest is abandoned.
    for _ in 0..3 {
        state.settle(u64::MAX / 2);
    }
    state.shard.drain(now, &mut state.pipeline);
    state.release();
    state.pipeline.flush();
    state.publish();
}

impl ShardState<'_> {
    /// Between two drains of the ring. Returns when something is to be done though no record comes.
    fn pause(&mut self) -> Duration {
        self.pulse.beat();
        let now = now_ns();
        self.pipeline.flow.now_ns = now;
        let shared = &self.pipeline.shared;
        shared.feed.take_in(&shared.table);
        self.take_secrets();
        let some_waits = self.pipeline.release(now);
        self.settle(now);
        if now.saturating_sub(self.last_housekeeping) >= HOUSEKEEPING_NS {
            self.last_housekeeping = now;
            self.pipeline.flow.clock = Clock::measure();
            self.pipeline.forget_departed();
            self.shard.sweep(now, &mut self.pipeline);
            wipe_stack();
            self.publish();
        }
        self.pipeline.flush();
        if some_waits {
            return SOON;
        }
        let housekeeping = self.last_housekeeping + HOUSEKEEPING_NS;
        let next = self.shard.next_due().unwrap_or(u64::MAX);
        Duration::from_nanos(next.min(housekeeping).saturating_sub(now))
    }

    /// Takes the TLS secrets that came.
    fn take_secrets(&mut self) {
        let Some(inlet) = &self.secrets else { return };
        let mut last_ns = None;
        while let Ok(arriving) = inlet.secrets.try_recv() {
            self.shard
                .told(arriving.told, arriving.secret, arriving.at_ns);
            last_ns = last_ns.max(Some(arriving.at_ns));
        }
        if let Some(now) = last_ns {
            self.shard.open_waiting(now, &mut self.pipeline);
        }
    }

    /// Goes on with everything that waits for its process to be known.
    fn release(&mut self) {
        let until = Instant::now() + LAST_NAMES;
        while self.pipeline.release(now_ns()) && Instant::now() < until {
            std::thread::sleep(SOON);
        }
        self.pipeline.release(u64::MAX);
    }

    /// Finishes exchanges whose last bytes were only counted.
    fn settle(&mut self, now: u64) {
        self.due.clear();
        self.shard.due(now, &mut self.due);
        for (key, place) in &self.due {
            let entry = self.pipeline.maps.entry(*key, *place);
            self.shard
                .observe(*key, entry.as_ref(), now, &mut self.pipeline);
        }
    }

    fn publish(&self) {
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = *self.shard.counters();
    }
}
