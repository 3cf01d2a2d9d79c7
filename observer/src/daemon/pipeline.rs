//! What becomes of an exchange: metrics for each, a span for some.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
    mpsc::{SyncSender, TrySendError},
};

use foldhash::HashMap;
use observer_abi::context::method;

use super::{
    departures::Notice,
    feed::Feed,
    identities::Finder,
    lineage::Lineage,
    recognition,
    waiting::{Released, Waiting},
};
use crate::{
    config::{Instrumented, Settings},
    exchange::{Exchange, HeaderContext, LinkMethod, ParentMethod, Sink, Started, TraceContext},
    export::otlp::OtlpExporter,
    identity::{Address, ConnectionKey, ProcessKey, Role},
    kernel::ConnectionMaps,
    metrics::{Registry, routes::Routes},
    process::{Service, Table},
    protocol::Detail,
    trace::{Clock, Sampler, Span, synthesize},
};

/// Services that a shard remembers before it asks the table again.
const MOST_SERVICES: usize = 8192;

/// Where spans go on this machine, and how many did not fit.
#[derive(Clone)]
pub(super) struct Local {
    pub(super) spans: SyncSender<Span>,
    pub(super) dropped: Arc<AtomicU64>,
    /// Every exchange, not only the sampled ones.
    pub(super) all: bool,
}

/// Exchanges by how their parent was found; indexed like [`METHODS`].
#[derive(Default)]
pub(super) struct Edges {
    counts: [AtomicU64; METHODS.len()],
}

/// In the order of [`Edges`].
pub(super) const METHODS: [ParentMethod; method::COUNT] = [
    ParentMethod::None,
    ParentMethod::Handoff,
    ParentMethod::Thread,
    ParentMethod::Header,
    ParentMethod::EventLoop,
    ParentMethod::Goroutine,
    ParentMethod::PythonContext,
    ParentMethod::TcpOption,
    ParentMethod::RubyFiber,
    ParentMethod::TokioTask,
];

impl Edges {
    fn count(&self, method: ParentMethod) {
        if let Some(index) = METHODS.iter().position(|known| *known == method) {
            self.counts[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> impl Iterator<Item = (ParentMethod, u64)> + '_ {
        METHODS
            .iter()
            .zip(&self.counts)
            .map(|(method, count)| (*method, count.load(Ordering::Relaxed)))
    }
}

/// Calls by how it was found what they may have been made for.
#[derive(Default)]
pub(super) struct Links {
    last_resumed: AtomicU64,
}

impl Links {
    fn count(&self, method: LinkMethod) {
        match method {
            LinkMethod::LastResumed => self.last_resumed.fetch_add(1, Ordering::Relaxed),
        };
    }

    pub(super) fn read(&self) -> [(LinkMethod, u64); 1] {
        let last_resumed = self.last_resumed.load(Ordering::Relaxed);
        [(LinkMethod::LastResumed, last_resumed)]
    }
}

/// What the shards share.
pub(super) struct Shared {
    pub(super) table: Arc<Table>,
    pub(super) finder: Finder,
    pub(super) feed: Feed,
    pub(super) lineage: Lineage,
    /// Leave spans to services that make their own.
    pub(super) leave_to_sdk: bool,
    /// Spans that were left to them.
    pub(super) left_to_sdk: AtomicU64,
    pub(super) edges: Edges,
    pub(super) links: Links,
    /// Services whose metrics were dropped.
    pub(super) departed: Notice,
    /// observer's own exchanges with whoever asked for its page: left out.
    pub(super) own_left_out: AtomicU64,
    /// Port of observer's own page, if it is served.
    pub(super) own_port: Option<u16>,
    /// Processes that were named as the kernel calls them, since it took too long to find out what they are.
    pub(super) provisional: AtomicU64,
}

impl Shared {
    /// `own_port` is that of observer's own page.
    pub(super) fn new(
        settings: &Settings,
        table: Arc<Table>,
        finder: Finder,
        feed: Feed,
        own_port: Option<u16>,
    ) -> Self {
        Self {
            table,
            finder,
            feed,
            lineage: Lineage::default(),
            leave_to_sdk: settings.spans.instrumented == Instrumented::Skip,
            left_to_sdk: AtomicU64::new(0),
            edges: Edges::default(),
            links: Links::default(),
            departed: Notice::default(),
            own_left_out: AtomicU64::new(0),
            own_port,
            provisional: AtomicU64::new(0),
        }
    }
}

/// One shard's end of the flow.
pub(super) struct Pipeline {
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Arc<Mutex<Registry>>,
    pub(super) routes: Routes,
    pub(super) sampler: Sampler,
    pub(super) exporter: Option<OtlpExporter>,
    pub(super) local: Option<Local>,
    pub(super) maps: ConnectionMaps,
    pub(super) clock: Clock,
    /// CLOCK_MONOTONIC ns of this batch.
    pub(super) now_ns: u64,
    services: HashMap<ProcessKey, Arc<Service>>,
    services_generation: u64,
    departed_seen: u64,
    last_service: Option<(ProcessKey, Arc<Service>)>,
    waiting: Waiting<Held>,
    out: Vec<Span>,
}

impl Pipeline {
    #[allow(clippy::too_many_arguments)] // Each is one stage; a struct of them would be this struct.
    pub(super) fn new(
        shared: Arc<Shared>,
        registry: Arc<Mutex<Registry>>,
        routes: Routes,
        sampler: Sampler,
        exporter: Option<OtlpExporter>,
        local: Option<Local>,
        maps: ConnectionMaps,
    ) -> Self {
        Self {
            shared,
            registry,
            routes,
            sampler,
            exporter: exporter.filter(OtlpExporter::exports_spans),
            local,
            maps,
            clock: Clock::measure(),
            now_ns: 0,
            services: HashMap::default(),
            services_generation: 0,
            departed_seen: 0,
            last_service: None,
            waiting: Waiting::default(),
            out: Vec::new(),
        }
    }

    /// Hands the spans of a batch on.
    pub(super) fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        match &self.exporter {
            Some(exporter) => exporter.enqueue(std::mem::take(&mut self.out)),
            None => self.out.clear(),
        }
    }

    /// Lets go of the services that left the metrics.
    pub(super) fn forget_departed(&mut self) {
        let Some(departed) = self.shared.departed.read(&mut self.departed_seen) else {
            return;
        };
        self.routes.expire(&|service| departed.contains(service));
        self.services
            .retain(|_, service| !departed.contains(service));
        self.last_service = None;
    }

    /// The service of a process, if it is known; else somebody looks at it, and what is found of it has to [wait](Self::hold).
    fn service(&mut self, process: ProcessKey) -> Option<Arc<Service>> {
        let generation = self.shared.table.generation();
        if generation != self.services_generation || self.services.len() > MOST_SERVICES {
            self.services.clear();
            self.last_service = None;
            self.services_generation = generation;
        }
        if let Some((known, service)) = &self.last_service
            && *known == process
        {
            return Some(Arc::clone(service));
        }
        if let Some(service) = self.services.get(&process) {
            let service = Arc::clone(service);
            self.last_service = Some((process, Arc::clone(&service)));
            return Some(service);
        }
        if self.waiting.has(process) {
            // What came first goes first.
            return None;
        }
        // Forked or exec'd since this batch began.
        self.shared.feed.take_in(&self.shared.table);
        let Some(service) = self.shared.table.known(process) else {
            self.shared.finder.service(process);
            self.waiting.begin(process, self.now_ns);
            return None;
        };
        self.remember(process, &service);
        Some(service)
    }

    fn remember(&mut self, process: ProcessKey, service: &Arc<Service>) {
        self.services.insert(process, Arc::clone(service));
        self.last_service = Some((process, Arc::clone(service)));
    }

    fn hold(&mut self, process: ProcessKey, item: Held) {
        self.waiting.hold(process, item);
        if self.waiting.is_full() {
            self.release(self.now_ns);
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
            self.remember(process, &service);
            for item in items {
                self.settle(process, item, &service);
            }
        }
        // The finder may have had too much to do when it was asked.
        for process in self.waiting.processes() {
            self.shared.finder.service(*process);
        }
        !self.waiting.is_empty()
    }

    fn settle(&mut self, process: ProcessKey, item: Held, service: &Arc<Service>) {
        match item {
            Held::Exchange(mut exchange) => self.exchanged(&mut exchange, service),
            Held::Started(request) => self.started(&request.borrow(process), service),
            Held::Ended(request) => self.ended(&request.borrow(process), service),
            Held::Header(role, header) => self.had_header(process, role, &header, service),
        }
    }

    /// Metrics for it, and a span where one is wanted.
    fn exchanged(&mut self, exchange: &mut Exchange, service: &Arc<Service>) {
        self.correct(&mut exchange.context);
        self.correct_link(&mut exchange.context);
        recognition::learn(&self.shared.lineage, exchange, service);
        self.shared.edges.count(exchange.context.parent_method);
        let route = match (exchange.role, exchange.http()) {
            (Role::Server, Some(http)) => self.routes.route(service, &http.target, http.status),
            _ => None,
        };
        // SDKs make no spans of lookups.
        let own_spans = exchange.http().is_some() && self.makes_own_spans(service);
        if own_spans {
            self.shared.left_to_sdk.fetch_add(1, Ordering::Relaxed);
        }
        let wanted = !own_spans && is_worth_a_span(exchange);
        let kept = wanted && self.sampler.keep(exchange, route.as_ref(), self.now_ns);
        let now = self.clock.unix_nano(self.now_ns);
        self.registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(service, exchange, route.as_ref(), kept, now);
        let exported = kept && self.exporter.is_some();
        let shown = !own_spans && self.local.as_ref().is_some_and(|local| local.all || kept);
        if !exported && !shown {
            return;
        }
        let Some(mut span) = synthesize(exchange, service, route.as_ref(), self.clock) else {
            return;
        };
        if shown && let Some(local) = &self.local {
            let mut span = span.clone();
            if !local.all {
                self.drop_dangling(&mut span);
            }
            match local.spans.try_send(span) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(_)) => {
                    local.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        if exported {
            self.drop_dangling(&mut span);
            self.out.push(span);
        }
    }

    fn started(&self, started: &Started<'_>, service: &Arc<Service>) {
        let now = self.clock.unix_nano(self.now_ns);
        self.registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .request_started(service, started.role, method_of(started), "http", now);
    }

    fn ended(&self, started: &Started<'_>, service: &Arc<Service>) {
        let now = self.clock.unix_nano(self.now_ns);
        self.registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .request_ended(service, started.role, method_of(started), "http", now);
    }

    fn had_header(
        &self,
        process: ProcessKey,
        role: Role,
        header: &HeaderContext,
        service: &Service,
    ) {
        let left_out = self.makes_own_spans(service);
        self.shared
            .lineage
            .header_seen(process, role, header, left_out);
    }

    /// Puts right what the kernel could not know: headers that were read, and headers that were only handed on.
    fn correct(&self, context: &mut TraceContext) {
        let lineage = &self.shared.lineage;
        let Some(parent) = context.parent_span_id else {
            return;
        };
        if context.parent_method == ParentMethod::Header {
            if let Some((own, method)) = context.own_parent
                && lineage.handed_on(own, parent)
            {
                context.parent_span_id = Some(own);
                context.parent_method = method;
            }
        } else if let Some(trace) = lineage.resolve(context.trace_id, parent) {
            context.trace_id = trace;
        }
    }

    /// As [`correct`](Self::correct) for a link, of which a span with a parent needs none.
    fn correct_link(&self, context: &mut TraceContext) {
        let link = context.link.filter(|_| context.parent_span_id.is_none());
        context.link = link.map(|link| self.shared.lineage.correct_link(link));
        if let Some(link) = link {
            self.shared.links.count(link.method);
        }
    }

    /// Takes away a link to a span that is not kept: the request is in a trace of its own, and sampled by that. (One that
    /// is kept all the same, being slow or failed, ends later than its call.)
    fn drop_dangling(&self, span: &mut Span) {
        span.link = span
            .link
            .filter(|link| self.sampler.keeps_trace(&link.trace_id));
    }

    /// Whether the service's spans are left to its own SDK.
    fn makes_own_spans(&self, service: &Service) -> bool {
        self.shared.leave_to_sdk && service.instrumentation.evidence().is_some()
    }

    /// Somebody asked for observer's own page.
    fn is_own(&self, exchange: &Exchange) -> bool {
        let Some(port) = self.shared.own_port else {
            return false;
        };
        exchange.role == Role::Client
            && matches!(exchange.peer, Address::Inet(peer) if peer.port() == port && is_local(exchange, peer))
    }
}

/// A lookup that belongs to no request would be a trace of its own: metrics tell of it.
fn is_worth_a_span(exchange: &Exchange) -> bool {
    exchange.http().is_some() || exchange.context.parent_span_id.is_some()
}

/// Loopback, or this host's own address.
fn is_local(exchange: &Exchange, peer: std::net::SocketAddr) -> bool {
    peer.ip().is_loopback()
        || matches!(exchange.local, Address::Inet(local) if local.ip() == peer.ip())
}

/// The method of a request that is being answered.
fn method_of<'a>(started: &Started<'a>) -> &'a str {
    started.detail.http().map_or("", |http| &http.method)
}

/// What waits until its process is known.
enum Held {
    Exchange(Box<Exchange>),
    Started(Request),
    Ended(Request),
    Header(Role, HeaderContext),
}

/// A request that is being answered by a server.
struct Request {
    connection: ConnectionKey,
    detail: Box<Detail>,
}

impl Request {
    fn of(started: &Started<'_>) -> Self {
        Self {
            connection: started.connection,
            detail: Box::new(started.detail.clone()),
        }
    }

    fn borrow(&self, process: ProcessKey) -> Started<'_> {
        Started {
            role: Role::Server,
            process,
            connection: self.connection,
            detail: &self.detail,
        }
    }
}

impl Sink for Pipeline {
    fn exchange(&mut self, exchange: &mut Exchange) {
        if self.is_own(exchange) {
            self.shared.own_left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match self.service(exchange.process) {
            Some(service) => self.exchanged(exchange, &service),
            None => self.hold(exchange.process, Held::Exchange(Box::new(exchange.clone()))),
        }
    }

    fn request_started(&mut self, started: &Started<'_>) {
        if started.role != Role::Server {
            return;
        }
        match self.service(started.process) {
            Some(service) => self.started(started, &service),
            None => self.hold(started.process, Held::Started(Request::of(started))),
        }
    }

    fn request_ended(&mut self, started: &Started<'_>) {
        if started.role != Role::Server {
            return;
        }
        match self.service(started.process) {
            Some(service) => self.ended(started, &service),
            None => self.hold(started.process, Held::Ended(Request::of(started))),
        }
    }

    fn set_mode(&mut self, key: ConnectionKey, mode: u8) {
        self.maps.set_mode(key, mode);
    }

    fn process_seen(&mut self, process: ProcessKey, _tid: u32) {
        // Looked at while it is most likely still there.
        self.service(process);
    }

    fn header_seen(&mut self, process: ProcessKey, role: Role, header: &HeaderContext) {
        if let Some(service) = self.service(process) {
            self.had_header(process, role, header, &service);
            return;
        }
        // Others' spans depend on it. Whether it gets one itself is told later.
        self.shared.lineage.header_seen(process, role, header, true);
        self.hold(process, Held::Header(role, *header));
    }
}
