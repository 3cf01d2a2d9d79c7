//! The daemon: every stage put together, started, and stopped in order.
//!
//! In: [`Settings`](crate::config::Settings) and, for what is shown on this machine, a [`SpanSink`].
//! Out: spans and metrics at the exporters until it is stopped.
//! Owns: the threads. One reads each ring and takes its records all the way to metrics and spans; one follows
//! processes; one looks at executables; one arms key
//! points, and one takes TLS secrets to the shards; one feeds the sink; one serves the page; the exporters share a small runtime. Each
//! has a pulse, so that one that is gone is not missed silently ([`health`]).

mod capture;
mod certificates;
mod choices;
mod cluster;
mod departures;
mod ending;
mod feed;
mod flow;
mod health;
mod identities;
mod injection;
mod key_points;
mod lineage;
mod memory;
mod outlets;
mod page;
mod pipeline;
mod processes;
mod recognition;
mod registries;
mod rehearsal;
mod runtimes;
mod secrets;
mod server;
mod shard;
mod show;
mod signals;
mod sink;
mod tallies;
mod tcp_option;
mod threads;
mod time;
mod waiting;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use self::{
    capture::Capture,
    cluster::Cluster,
    departures::Departures,
    feed::Feed,
    health::{Health, Stage},
    identities::Finder,
    key_points::{Armer, Beginnings, Tellers},
    outlets::Outlets,
    page::{Page, Readings, SecretCounts},
    pipeline::Shared,
    processes::Follower,
    registries::{Collect, Registries},
    runtimes::Looker,
    secrets::Distributor,
    server::PageServer,
    shard::Shards,
    signals::Signals,
    time::now_ns,
};
pub use self::{rehearsal::Rehearsal, show::Show, sink::SpanSink};
use crate::{
    config::Settings,
    export::otlp::OwnMetrics,
    kernel::{Kernel, Tier},
    metrics::Snapshot,
    process,
    tls::ArmedCounts,
    trace::{Clock, Sampler, SamplerConfig},
};

/// How long the shards may take to finish what was captured.
const FINISH: Duration = Duration::from_secs(10);
/// How long the exporters may take to drain.
const DRAIN: Duration = Duration::from_secs(4);

/// A running daemon.
pub struct Daemon {
    stop: Arc<AtomicBool>,
    health: Arc<Health>,
    signals: Mutex<Signals>,
    /// Those that make what the outlets let out.
    threads: Vec<JoinHandle<()>>,
    outlets: Outlets,
    closed: watch::Receiver<bool>,
    server: Option<PageServer>,
    shared: Arc<Shared>,
    kernel: Arc<Mutex<Kernel>>,
    tier: Tier,
    started: Instant,
    ready: Duration,
    collect: Collect,
}

impl Daemon {
    /// Loads, attaches, starts everything; capturing when it returns.
    ///
    /// # Errors
    /// What stands in the way, with what to do: no tier that works, an address in use, settings that cannot be.
    pub fn start(settings: &Settings, show: Option<Show>, began: Instant) -> Result<Self> {
        memory::bound();
        // Signals first: a SIGTERM while programs are being verified must end us in order, too.
        let runtime = outlets::runtime()?;
        let signals = Signals::register(&runtime)?;
        let selectors = choices::selectors(settings)?;
        let otlp = choices::otlp(settings)?;
        let routes = choices::routes(settings)?;
        let cluster = Cluster::join(settings, &runtime)?;
        let health = Health::new();
        let server = settings
            .prometheus
            .map(|address| PageServer::start(address, &health))
            .transpose()?;

        let Capture {
            mut kernel,
            rings,
            process_events,
            mut policy,
            leaving,
            breakpoints,
            secrets,
            map_bytes,
            options,
        } = Capture::begin(settings)?;
        let tier = kernel.tier();
        if secrets.is_some() {
            secrets::keep_to_ourselves();
        }
        if let Some(cluster) = &cluster {
            cluster.first_list(&runtime);
        }
        // Processes first: a shard's first record must find the table filled and the policy written.
        let pods = cluster.as_ref().map(|cluster| &cluster.store);
        let (table, plan) = processes::look(settings, selectors, pods, &mut policy)?;
        let table = Arc::new(table);
        let finder = Finder::start(Arc::clone(&table), &health)?;
        let (begun, to_look_at) = sync_channel(runtimes::QUEUE);
        let (tellers, beginnings) = secrets.is_some().then(Beginnings::new).transpose()?.unzip();
        let (of_feed, hashing) = tellers
            .map(
                |Tellers {
                     begun,
                     hashing,
                     closed,
                 }| ((begun, closed), hashing),
            )
            .unzip();
        let (mapping, closed) = of_feed.unzip();
        let feed = Feed::new(
            process_events,
            plan,
            policy,
            finder.clone(),
            begun,
            mapping,
            now_ns(),
        )
        .telling(closed);
        let own_port = server.as_ref().map(|server| server.address().port());
        let shared = Arc::new(Shared::new(
            settings,
            table,
            finder,
            feed,
            own_port,
            rings.len(),
            cluster,
        ));
        shared.hear_of_pods();
        let registries = Arc::new(Registries::new(
            rings.len(),
            choices::limits(settings),
            settings.metrics.max_series.0,
        ));
        let collect: Collect = {
            let registries = Arc::clone(&registries);
            Arc::new(move || registries.collect())
        };

        let departures = Departures::for_exports(otlp.as_ref());
        let (outlets, closed) = Outlets::open(runtime, otlp, show, &collect, &health)?;
        let sampler = Sampler::new(SamplerConfig {
            spans_per_second: settings.spans.rate.0,
            ..SamplerConfig::default()
        });
        let stop = Arc::new(AtomicBool::new(false));
        let shards = Shards {
            stop: &stop,
            shared: &shared,
            registries: &registries,
            routes: &routes,
            sampler: &sampler,
            outlets: &outlets,
            config: shard::config(settings, &options),
        };
        let (distributor, inlets) = secrets
            .zip(hashing)
            .map(|(slots, hashing)| Distributor::new(slots, rings.len(), hashing))
            .transpose()?
            .unzip();
        let (mut threads, counters) =
            shards.start(rings, inlets.unwrap_or_default(), &mut kernel, &health)?;
        let secrets_dropped = distributor.as_ref().map(Distributor::dropped);
        if let Some(distributor) = distributor {
            threads.push(distributor.start(Arc::clone(&stop), &health)?);
        }
        shared.feed.enable(true)?;
        let places = kernel.places()?;
        let kernel = Arc::new(Mutex::new(kernel));
        let readings = Readings::new(Arc::clone(&kernel), map_bytes);
        let follower = Follower {
            stop: Arc::clone(&stop),
            shared: Arc::clone(&shared),
            registries,
            departures,
            leaving,
            places,
            kernel: Arc::clone(&kernel),
        };
        threads.push(follower.start(&health)?);
        let armed = Arc::new(ArmedCounts::default());
        let looked = match beginnings {
            Some(begun) => {
                let armer = Armer {
                    stop: Arc::clone(&stop),
                    shared: Arc::clone(&shared),
                    kernel: Arc::clone(&kernel),
                    begun,
                    counts: Arc::clone(&armed),
                    selective: settings.selection.is_selective(),
                };
                let (thread, looked) = armer.start(&health)?;
                threads.push(thread);
                Some(looked)
            }
            None => None,
        };
        if breakpoints {
            let looker = Looker {
                stop: Arc::clone(&stop),
                shared: Arc::clone(&shared),
                kernel: Arc::clone(&kernel),
                begun: to_look_at,
            };
            threads.push(looker.start(&health)?);
        }
        if let Some(looked) = looked {
            looked.wait();
        }
        let page = Arc::new(Page {
            collect: Arc::clone(&collect),
            readings,
            shared: Arc::clone(&shared),
            counters,
            sampler,
            exporter: outlets.exporter.clone(),
            local_dropped: outlets.local_dropped(),
            secrets: secrets_dropped.map(|dropped| SecretCounts { dropped, armed }),
            tier,
        });
        report_own(&outlets, &page)?;
        if let Some(server) = &server {
            server.show(page);
        }
        tracing::debug!("executables are looked at");
        health.reached(Stage::Capturing);
        Ok(Self {
            stop,
            health,
            signals: Mutex::new(signals),
            threads,
            outlets,
            closed,
            server,
            shared,
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
    pub fn page_address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(PageServer::address)
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

    /// Waits for SIGTERM, SIGINT, the end of `duration`, or a sink that nobody reads any more. Calls `alive` every second
    /// while no part is stuck.
    ///
    /// # Errors
    /// A part of the daemon is gone. It is to be stopped then as ever.
    pub fn wait(&self, duration: Option<Duration>, alive: impl FnMut()) -> Result<()> {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = self.closed.clone();
        self.outlets.block_on(ending::ending(
            signals.any(),
            duration,
            closed,
            &self.health,
            alive,
        ))
    }

    /// Stops in the order of the flow: nothing more is captured, what was captured is finished, the exporters drain.
    pub fn stop(self) {
        self.health.reached(Stage::Stopping);
        self.stop.store(true, Ordering::Release);
        self.shared.feed.nudge();
        threads::join(self.threads, FINISH);
        self.outlets.close(DRAIN);
        if let Some(server) = self.server {
            server.stop();
        }
        drop(self.kernel);
    }
}

/// The daemon's own metrics go where the services' go.
fn report_own(outlets: &Outlets, page: &Arc<Page>) -> Result<()> {
    let Some(exporter) = &outlets.exporter else {
        return Ok(());
    };
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
