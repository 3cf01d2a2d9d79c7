//! The daemon: every stage put together, started, and stopped in order.
//!
//! In: [`Settings`](crate::config::Settings) and, for what is shown on this machine, a [`SpanSink`].
//! Out: spans and metrics at the exporters until it is stopped.
//! Owns: the threads. One reads each ring and takes its records all the way to metrics and spans; one follows
//! processes; one feeds the sink; the exporters share a small runtime.

mod choices;
mod departures;
mod feed;
mod injection;
mod lineage;
mod memory;
mod page;
mod pipeline;
mod processes;
mod registries;
mod runtimes;
mod shard;
mod show;
mod signals;
mod sink;
mod tcp_option;
mod threads;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::sync_channel,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

pub use self::sink::SpanSink;
use self::{
    departures::Departures,
    feed::Feed,
    page::Page,
    pipeline::{Local, Pipeline, Shared},
    registries::Registries,
    signals::Signals,
    threads::spawn,
};
use crate::{
    config::{self, Settings},
    export::{
        otlp::{OtlpExporter, OwnMetrics},
        prometheus,
    },
    kernel::{self, Features, Kernel, KernelTypes, LoadOptions, Tier},
    metrics::{Snapshot, routes::Routes},
    process::{self, Identifier, PolicyPlan, ProcFs, Table},
    stream::{Shard, StreamConfig, StreamCounters},
    trace::{Clock, Sampler, SamplerConfig},
};

/// Routes learned for one service name.
const MOST_ROUTES: usize = 200;
/// Spans that may wait for the sink.
const LOCAL_QUEUE: usize = 65_536;
/// How long the exporters may take to drain.
const DRAIN: Duration = Duration::from_secs(4);
/// How often the sink is given all metrics.
const SHOW_METRICS: Duration = Duration::from_secs(3);
/// How often the offset between the clocks is measured and idle state looked through.
const HOUSEKEEPING_NS: u64 = 1_000_000_000;

/// What shows spans on this machine.
pub struct Show {
    /// Takes them.
    pub sink: Box<dyn SpanSink>,
    /// Every exchange, not only those that the sampler keeps.
    pub all: bool,
}

/// A running daemon.
pub struct Daemon {
    stop: Arc<AtomicBool>,
    closed: watch::Receiver<bool>,
    shards: Vec<JoinHandle<()>>,
    processes: Option<JoinHandle<()>>,
    shower: Option<JoinHandle<()>>,
    exporter: Option<OtlpExporter>,
    runtime: Option<tokio::runtime::Runtime>,
    signals: Mutex<Signals>,
    page_stop: Option<tokio::sync::oneshot::Sender<()>>,
    page_address: Option<std::net::SocketAddr>,
    page: Arc<Page>,
    kernel: Arc<Mutex<Kernel>>,
    tier: Tier,
    started: Instant,
    ready: Duration,
    collect: Arc<dyn Fn() -> Snapshot + Send + Sync>,
}

impl Daemon {
    /// Loads, attaches, starts everything; capturing when it returns.
    ///
    /// # Errors
    /// What stands in the way, with what to do: no tier that works, an address in use, settings that cannot be.
    pub fn start(settings: &Settings, show: Option<Show>, began: Instant) -> Result<Self> {
        // Signals first: a SIGTERM while programs are being verified must end us in order, too.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4)
            .thread_name("observer-export")
            .enable_all()
            .build()
            .context("cannot start the export runtime")?;
        let signals = Signals::register(&runtime)?;
        let selectors = choices::selectors(settings)?;
        let otlp = choices::otlp(settings)?;
        let private = process::is_own_pid_namespace_private().unwrap_or(false);
        if private && !settings.selection.is_selective() {
            bail!(
                "observer runs in a pid namespace of its own and could not tell itself apart from what it traces: \
                 share the host's pid namespace (hostPID: true, --pid=host), or select what to trace with --exe or --port"
            );
        }
        let types = KernelTypes::of_running_kernel()?;
        let features = Features::probe(&types);
        let rings = choices::rings();
        let sizes = choices::map_sizes(&settings.limits, choices::host_memory());
        let injection = injection::Plan::of(settings.inject_headers, &features)?;
        let options = LoadOptions {
            inject: injection.is_possible(),
            tier: choices::tier(settings.tier),
            selected_only: settings.selection.is_selective(),
            observer_tgid: if private { 0 } else { std::process::id() },
            rings,
            ring_bytes: sizes.ring_bytes,
            connections: sizes.connections,
            option_peers: settings
                .tcp_option
                .peers
                .iter()
                .copied()
                .map(Into::into)
                .collect(),
            inferred_links: settings.spans.breakpoints == config::Breakpoints::On
                && settings.spans.inferred_links == config::InferredLinks::On,
            dns: settings.dns == config::Dns::On,
            ..LoadOptions::default()
        };
        let mut kernel = Kernel::load(&types, &features, &options)?;
        let can_adopt = kernel::tcp_option::can_adopt(&types);
        let breakpoints =
            settings.spans.breakpoints == config::Breakpoints::On && load_breakpoints(&mut kernel);
        // Takes maps out of the object, which programs that are loaded need to find there.
        let leaving = injection.begin(&mut kernel)?;
        drop(types);
        memory::trim();
        let tier = kernel.tier();
        for (refused, reason) in kernel.refused() {
            let reason = reason.lines().next().unwrap_or_default();
            tracing::info!(tier = %refused, reason, "tier not available");
        }

        tcp_option::begin(&mut kernel, &settings.tcp_option.peers, can_adopt);

        let table = Table::new(Identifier::new(
            ProcFs::default(),
            settings
                .resource
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        ));
        // Processes first: a shard's first record must find the table filled and the policy written.
        let map_bytes = kernel.map_bytes();
        tracing::debug!(
            load_time = ?kernel.load_time(),
            instructions = ?kernel.verified_instructions(),
            "programs verified"
        );
        let mut policy = kernel.policy()?;
        let records = kernel.take_rings(rings, sizes.ring_bytes)?;
        let process_ring = kernel.take_process_events()?;
        table
            .scan()
            .context("cannot read the processes from /proc")?;
        let mut plan = PolicyPlan::new(ProcFs::default(), selectors, std::process::id());
        let verdicts = plan
            .rescan()
            .context("cannot read the processes from /proc")?;
        if plan.selected_only() && !verdicts.iter().any(|(_, capture)| *capture) {
            tracing::warn!("no running process matches the selectors yet; waiting for one");
        }
        policy.apply(verdicts)?;
        let (begun, to_look_at) = sync_channel(runtimes::QUEUE);
        let shared = Arc::new(Shared {
            table,
            feed: Feed::new(process_ring, plan, policy, begun, now_ns()),
            lineage: lineage::Lineage::default(),
            leave_to_sdk: settings.spans.instrumented == config::Instrumented::Skip,
            left_to_sdk: AtomicU64::new(0),
            edges: pipeline::Edges::default(),
            links: pipeline::Links::default(),
            departed: departures::Notice::default(),
            own_left_out: AtomicU64::new(0),
            own_port: settings.prometheus.map(|address| address.port()),
        });
        let registries = Arc::new(Registries::new(
            rings,
            choices::limits(settings),
            settings.metrics.max_series.0,
        ));
        let collect: Arc<dyn Fn() -> Snapshot + Send + Sync> = {
            let registries = Arc::clone(&registries);
            Arc::new(move || registries.collect())
        };

        let interval = otlp.as_ref().and_then(|config| config.metrics.as_ref());
        let departures = Departures::new(departures::keep(interval.map(|it| it.interval)));
        let exporter = match otlp {
            Some(config) => Some(OtlpExporter::start(
                config,
                runtime.handle().clone(),
                Arc::clone(&collect),
            )?),
            None => None,
        };

        let stop = Arc::new(AtomicBool::new(false));
        let (closing, closed) = watch::channel(false);
        let (local, shower) = match show {
            Some(show) => {
                let (spans, waiting) = sync_channel(LOCAL_QUEUE);
                let local = Local {
                    spans,
                    dropped: Arc::default(),
                    all: show.all,
                };
                let collect = Arc::clone(&collect);
                let thread = spawn("observer-show", move || {
                    show::run_sink(show.sink, &waiting, &collect, &closing)
                })?;
                (Some(local), Some(thread))
            }
            None => (None, None),
        };

        let sampler = Sampler::new(SamplerConfig {
            spans_per_second: settings.spans.rate.0,
            ..SamplerConfig::default()
        });
        let routes = Routes::new(
            &settings
                .metrics
                .routes
                .iter()
                .map(config::RoutePattern::as_str)
                .collect::<Vec<_>>(),
            MOST_ROUTES,
        )
        .context("a route pattern cannot be used")?;

        let counters: Vec<Arc<Mutex<StreamCounters>>> =
            (0..rings).map(|_| Arc::default()).collect();
        let mut shards = Vec::new();
        for (index, ring) in records.into_iter().enumerate() {
            let pipeline = Pipeline::new(
                Arc::clone(&shared),
                Arc::clone(&registries.shards()[index]),
                routes.clone(),
                sampler.clone(),
                exporter.clone(),
                local.clone(),
                kernel.connections(index as u32)?,
            );
            let config = StreamConfig {
                max_connections: settings.limits.max_connections.0 as usize,
                request_budget: options.request_budget,
                response_budget: options.response_budget,
                ..StreamConfig::default()
            };
            let stop = Arc::clone(&stop);
            let published = Arc::clone(&counters[index]);
            shards.push(spawn(&format!("observer-shard{index}"), move || {
                shard::run_shard(ring, &stop, Shard::new(config), pipeline, &published);
            })?);
        }
        shared.feed.enable(true)?;
        let kernel = Arc::new(Mutex::new(kernel));
        let processes = {
            let kernel = Arc::clone(&kernel);
            let stop = Arc::clone(&stop);
            let shared = Arc::clone(&shared);
            spawn("observer-process", move || {
                processes::run(&stop, &shared, &registries, departures, leaving, &kernel);
            })?
        };

        if breakpoints {
            let stop = Arc::clone(&stop);
            let shared = Arc::clone(&shared);
            let kernel = Arc::clone(&kernel);
            let (looked, has_looked) = sync_channel(1);
            shards.push(spawn("observer-runtime", move || {
                runtimes::run(&stop, kernel, &to_look_at, &looked, &shared);
            })?);
            // Who waits for us to be ready sends requests next.
            let _ = has_looked.recv_timeout(runtimes::FIRST_LOOK);
        }
        let page = Arc::new(Page {
            collect: Arc::clone(&collect),
            kernel: Arc::clone(&kernel),
            shared,
            counters,
            sampler,
            exporter: exporter.clone(),
            local_dropped: local.as_ref().map(|local| Arc::clone(&local.dropped)),
            tier,
            map_bytes,
            lost_calls: AtomicU64::new(0),
        });
        if let Some(exporter) = &exporter {
            report_own(exporter, &page)?;
        }
        drop(local);
        let (page_stop, page_address) = match settings.prometheus {
            Some(address) => {
                let (stop, bound) = serve(&runtime, address, Arc::clone(&page))?;
                (Some(stop), Some(bound))
            }
            None => (None, None),
        };
        Ok(Self {
            stop,
            closed,
            shards,
            processes: Some(processes),
            shower,
            exporter,
            runtime: Some(runtime),
            signals: Mutex::new(signals),
            page_stop,
            page_address,
            page,
            kernel,
            tier,
            started: Instant::now(),
            ready: began.elapsed(),
            collect,
        })
    }

    /// The capture tier in use.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Where the Prometheus page is served, if it is.
    pub fn page_address(&self) -> Option<std::net::SocketAddr> {
        self.page_address
    }

    /// How long it took from `began` to capturing.
    pub fn ready_after(&self) -> Duration {
        self.ready
    }

    /// When it began to capture.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// All metrics now.
    pub fn snapshot(&self) -> Snapshot {
        (self.collect)()
    }

    /// Whether the sink's reader has gone.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits for SIGTERM, SIGINT, the end of `duration`, or a sink that nobody reads any more.
    pub fn wait(&self, duration: Option<Duration>) -> Result<()> {
        let Some(runtime) = &self.runtime else {
            return Ok(());
        };
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.block_on(async {
            let end = async {
                match duration {
                    Some(duration) => tokio::time::sleep(duration).await,
                    None => std::future::pending().await,
                }
            };
            let mut closed = self.closed.clone();
            let unread = async {
                // With nothing shown there is nobody to close it.
                if closed.wait_for(|closed| *closed).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = signals.any() => {}
                () = end => {}
                () = unread => {}
            }
        });
        Ok(())
    }

    /// Stops in the order of the flow: nothing more is captured, what was captured is finished, the exporters drain.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        self.page.shared.feed.nudge();
        for thread in self.shards.drain(..).chain(self.processes.take()) {
            if thread.join().is_err() {
                tracing::error!("a thread of the daemon panicked");
            }
        }
        if let Some(thread) = self.shower.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that shows spans panicked");
        }
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        if let Some(exporter) = self.exporter.take() {
            runtime.block_on(exporter.shutdown(DRAIN));
        }
        if let Some(stop) = self.page_stop.take() {
            let _ = stop.send(());
        }
        runtime.shutdown_timeout(Duration::from_millis(500));
        drop(self.kernel);
    }
}

/// The daemon's own metrics go where the services' go.
fn report_own(exporter: &OtlpExporter, page: &Arc<Page>) -> Result<()> {
    let own = process::own_key().context("cannot find observer's own process")?;
    // The exporter must not keep the page, which keeps the exporter.
    let page_of = Arc::downgrade(page);
    exporter.report_own(OwnMetrics {
        service: page.shared.table.service(own),
        start_unix_nano: Clock::measure().unix_nano(now_ns()),
        families: Box::new(move || page_of.upgrade().map_or_else(Vec::new, |it| it.families())),
    });
    Ok(())
}

fn serve(
    runtime: &tokio::runtime::Runtime,
    address: std::net::SocketAddr,
    page: Arc<Page>,
) -> Result<(tokio::sync::oneshot::Sender<()>, std::net::SocketAddr)> {
    let server = runtime.block_on(prometheus::Server::bind(address))?;
    let bound = server.local_addr().unwrap_or(address);
    let (stop, stopped) = tokio::sync::oneshot::channel();
    runtime.spawn(async move {
        let make: prometheus::MakePage = Arc::new(move |format| page.render(format));
        if let Err(error) = server.run(make, async { drop(stopped.await) }).await {
            tracing::error!(%error, "the Prometheus page is gone");
        }
    });
    Ok((stop, bound))
}

/// CLOCK_MONOTONIC, ns.
fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}

/// Loads the programs that executables get breakpoints for; says why there are none.
fn load_breakpoints(kernel: &mut Kernel) -> bool {
    match kernel.load_uprobes(kernel::uprobes::PROGRAMS) {
        Ok(()) => true,
        Err(error) => {
            tracing::info!(
                error = kernel::brief(&error),
                "no breakpoints: calls of event loops, goroutines, asyncio, puma and tokio have no parents"
            );
            false
        }
    }
}
