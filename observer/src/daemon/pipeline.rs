//! A shard's sink: whose exchanges they are, and what the kernel is told.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use foldhash::HashMap;

use super::{
    certificates::Certificates,
    choices,
    cluster::Cluster,
    departures::Notice,
    feed::Feed,
    flow::{Flow, FlowShared, Known},
    identities::Finder,
    lineage::Lineage,
    tallies::Tallies,
    waiting::{Released, Waiting},
};
use crate::{
    config::{Instrumented, Settings},
    exchange::{Exchange, HeaderContext, Sink, Started},
    export::otlp::OtlpExporter,
    identity::{ConnectionKey, ProcessKey, Role},
    kernel::ConnectionMaps,
    kubernetes::Store,
    process::{Service, Table},
    protocol::Open,
};

/// Processes that a shard remembers before it asks the table again.
const MOST_PROCESSES: usize = 8192;

/// How often processes that wait are asked for again, ns.
const ASK_AGAIN_NS: u64 = 100_000_000;

/// What the shards share.
pub(super) struct Shared {
    pub(super) table: Arc<Table>,
    pub(super) finder: Finder,
    pub(super) feed: Feed,
    pub(super) flow: Arc<FlowShared>,
    /// Services whose metrics were dropped.
    pub(super) departed: Notice,
    /// The cluster, where there is one.
    pub(super) cluster: Option<Cluster>,
    /// Processes that were named as the kernel calls them, since it took too long to find out what they are.
    pub(super) provisional: AtomicU64,
}

impl Shared {
    /// `own_port` is that of observer's own page, `shards` how many there are.
    pub(super) fn new(
        settings: &Settings,
        table: Arc<Table>,
        finder: Finder,
        feed: Feed,
        own_port: Option<u16>,
        shards: usize,
        cluster: Option<Cluster>,
    ) -> Self {
        Self {
            table,
            finder,
            feed,
            flow: Arc::new(FlowShared {
                lineage: Lineage::new(choices::lineage_bytes(choices::host_memory())),
                leave_to_sdk: settings.spans.instrumented == Instrumented::Skip,
                tallies: Tallies::new(shards),
                own_port,
                certificates: Certificates::default(),
                peers: cluster.as_ref().map(|it| Arc::clone(&it.peers)),
            }),
            cluster,
            departed: Notice::default(),
            provisional: AtomicU64::new(0),
        }
    }

    /// The pods of this node, where there is a cluster.
    pub(super) fn pods(&self) -> Option<&Arc<Store>> {
        self.cluster.as_ref().map(|cluster| &cluster.store)
    }

    /// Has who decides on processes hear of pods that change.
    pub(super) fn hear_of_pods(self: &Arc<Self>) {
        if let Some(pods) = self.pods() {
            // The store belongs to what is called here.
            let shared = Arc::downgrade(self);
            pods.on_change(move || {
                if let Some(shared) = shared.upgrade() {
                    shared.feed.tell();
                }
            });
        }
    }
}

/// One shard's sink.
pub(super) struct Pipeline {
    pub(super) shared: Arc<Shared>,
    pub(super) flow: Flow,
    pub(super) exporter: Option<OtlpExporter>,
    pub(super) maps: ConnectionMaps,
    services: Services,
    waiting: Waiting<Held>,
    /// When all that wait were asked for again, CLOCK_MONOTONIC ns.
    asked_ns: u64,
    departed_seen: u64,
}

/// What waits until its process is known.
enum Held {
    Exchange(Box<Exchange>),
    Started(Open),
    Ended(Open),
    Header(Role, HeaderContext),
}

/// The services that a shard knows.
#[derive(Default)]
struct Services {
    known: Vec<Known>,
    by_process: HashMap<ProcessKey, usize>,
    generation: u64,
    last: Option<(ProcessKey, usize)>,
}

impl Services {
    fn forget(&mut self) {
        self.known.clear();
        self.by_process.clear();
        self.last = None;
    }

    fn remember(&mut self, process: ProcessKey, service: Arc<Service>) -> usize {
        let at = self.known.len();
        self.known.push(Known::new(service));
        self.by_process.insert(process, at);
        self.last = Some((process, at));
        at
    }

    /// The place of a process's service, as long as what the table knows is of this generation.
    fn find(&mut self, process: ProcessKey, generation: u64) -> Option<usize> {
        if generation != self.generation || self.known.len() > MOST_PROCESSES {
            self.forget();
            self.generation = generation;
        }
        if let Some((last, at)) = self.last
            && last == process
        {
            return Some(at);
        }
        let at = *self.by_process.get(&process)?;
        self.last = Some((process, at));
        Some(at)
    }
}

impl Pipeline {
    pub(super) fn new(
        shared: Arc<Shared>,
        flow: Flow,
        exporter: Option<OtlpExporter>,
        maps: ConnectionMaps,
    ) -> Self {
        Self {
            shared,
            flow,
            exporter,
            maps,
            services: Services::default(),
            waiting: Waiting::default(),
            asked_ns: 0,
            departed_seen: 0,
        }
    }

    /// Hands the spans of a batch on.
    pub(super) fn flush(&mut self) {
        if self.flow.out.is_empty() {
            return;
        }
        match &self.exporter {
            Some(exporter) => exporter.enqueue(std::mem::take(&mut self.flow.out)),
            None => self.flow.out.clear(),
        }
    }

    /// Lets go of the services that left the metrics.
    pub(super) fn forget_departed(&mut self) {
        let Some(departed) = self.shared.departed.read(&mut self.departed_seen) else {
            return;
        };
        self.flow
            .routes
            .expire(&|service| departed.contains(service));
        // Whoever is still there is asked for again.
        self.services.forget();
    }

    /// The place of a process's service, if it is known; else somebody looks at it, and what is found of it has to
    /// [wait](Self::hold).
    fn service(&mut self, process: ProcessKey) -> Option<usize> {
        let generation = self.shared.table.generation();
        if let Some(at) = self.services.find(process, generation) {
            return Some(at);
        }
        if self.waiting.has(process) {
            // What came first goes first.
            return None;
        }
        // Forked or exec'd since this batch began.
        self.shared.feed.take_in(&self.shared.table);
        let Some(service) = self.shared.table.known(process) else {
            self.shared.finder.service(process);
            self.waiting.begin(process, self.flow.now_ns);
            return None;
        };
        Some(self.services.remember(process, service))
    }

    fn hold(&mut self, process: ProcessKey, item: Held) {
        self.waiting.hold(process, item);
        if self.waiting.is_full() {
            self.release(self.flow.now_ns);
        }
    }

    /// Goes on with what waited for its process to be known, at this time, CLOCK_MONOTONIC ns. Returns whether some still
    /// waits.
    pub(super) fn release(&mut self, now_ns: u64) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let table = &self.shared.table;
        let released =
            self.waiting
                .release(now_ns, |it| table.known(it), |it| table.provisional(it));
        for Released {
            process,
            service,
            provisional,
            items,
        } in released
        {
            if provisional {
                self.shared.provisional.fetch_add(1, Ordering::Relaxed);
            }
            let at = self.services.remember(process, service);
            for item in items {
                self.settle(process, item, at);
            }
        }
        // The finder may have had too much to do when it was asked.
        if now_ns.saturating_sub(self.asked_ns) >= ASK_AGAIN_NS {
            self.asked_ns = now_ns;
            for process in self.waiting.processes() {
                self.shared.finder.service(*process);
            }
        }
        !self.waiting.is_empty()
    }

    fn settle(&mut self, process: ProcessKey, item: Held, at: usize) {
        let Some(known) = self.services.known.get_mut(at) else {
            return;
        };
        match item {
            Held::Exchange(mut exchange) => self.flow.exchange(known, &mut exchange),
            Held::Started(open) => self.flow.started(known, open),
            Held::Ended(open) => self.flow.ended(known, open),
            Held::Header(role, header) => self.had_header(process, role, &header, at),
        }
    }

    fn had_header(&self, process: ProcessKey, role: Role, header: &HeaderContext, at: usize) {
        let known = self.services.known.get(at);
        let left_out = known.is_some_and(|known| self.flow.makes_own_spans(&known.service));
        let lineage = &self.flow.shared.lineage;
        lineage.header_seen(process, role, header, left_out, self.flow.now_ns);
    }

    /// Settles it now, or once its process is known.
    fn settle_or_hold(&mut self, process: ProcessKey, item: Held) {
        match self.service(process) {
            Some(at) => self.settle(process, item, at),
            None => self.hold(process, item),
        }
    }
}

/// The gauge of open requests that a request belongs to, if any.
fn gauge(started: &Started<'_>) -> Option<Open> {
    let request = started.detail.describe();
    request.open(started.role, started.tls)
}

impl Sink for Pipeline {
    fn exchange(&mut self, exchange: &mut Exchange) {
        if self.flow.is_own(exchange) {
            return;
        }
        match self.service(exchange.process) {
            Some(at) => self.flow.exchange(&mut self.services.known[at], exchange),
            None => self.hold(exchange.process, Held::Exchange(Box::new(exchange.clone()))),
        }
    }

    fn request_started(&mut self, started: &Started<'_>) {
        if let Some(open) = gauge(started) {
            self.settle_or_hold(started.process, Held::Started(open));
        }
    }

    fn request_ended(&mut self, started: &Started<'_>) {
        if let Some(open) = gauge(started) {
            self.settle_or_hold(started.process, Held::Ended(open));
        }
    }

    fn set_mode(&mut self, key: ConnectionKey, mode: u8, protocol: u8) {
        self.maps.set_mode(key, mode, protocol);
    }

    fn process_seen(&mut self, process: ProcessKey, _tid: u32) {
        // Looked at while it is most likely still there.
        self.service(process);
    }

    fn stays_closed(&mut self, process: ProcessKey) {
        self.shared.feed.stays_closed(process.tgid);
    }

    fn header_seen(&mut self, process: ProcessKey, role: Role, header: &HeaderContext) {
        if let Some(at) = self.service(process) {
            self.had_header(process, role, header, at);
            return;
        }
        // Others' spans depend on it. Whether it gets one itself is told later.
        let lineage = &self.flow.shared.lineage;
        lineage.header_seen(process, role, header, true, self.flow.now_ns);
        self.hold(process, Held::Header(role, *header));
    }
}
