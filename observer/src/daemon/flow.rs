//! What becomes of an exchange: metrics for each, a span for some.
//!
//! In: exchanges, and whose they are. Out: numbers in the shard's registry, spans to the exporter and to who shows them.
//! Owns: the shard's routes, sampler and clock. It knows neither the kernel nor where services come from.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
    mpsc::{SyncSender, TrySendError},
};

use super::{
    certificates::Certificates,
    lineage::Lineage,
    recognition,
    tallies::{Tallies, Tally},
};
use crate::{
    exchange::{Exchange, ParentMethod, TraceContext},
    identity::{Address, Role},
    kubernetes::Peers,
    metrics::{Handle, OpenCount, Registry, routes::Routes},
    process::{Service, Value},
    protocol::Open,
    trace::{Clock, Sampler, Span, synthesize},
};

/// Where spans go on this machine, and how many did not fit.
#[derive(Clone)]
pub(super) struct Local {
    pub(super) spans: SyncSender<Span>,
    pub(super) dropped: Arc<AtomicU64>,
    /// Every exchange, not only the sampled ones.
    pub(super) all: bool,
}

/// What the shards' flows share.
pub(super) struct FlowShared {
    pub(super) lineage: Lineage,
    /// Leave spans to services that make their own.
    pub(super) leave_to_sdk: bool,
    pub(super) tallies: Tallies,
    /// Port of observer's own page, if it is served.
    pub(super) own_port: Option<u16>,
    /// When servers' certificates end.
    pub(super) certificates: Certificates,
    /// Whose an address is, in a cluster.
    pub(super) peers: Option<Arc<Peers>>,
}

/// A service as one shard knows it: where its numbers are is looked up once.
pub(super) struct Known {
    pub(super) service: Arc<Service>,
    handle: Option<Handle>,
    open: Vec<(Open, Arc<OpenCount>)>,
}

impl Known {
    pub(super) const fn new(service: Arc<Service>) -> Self {
        Self {
            service,
            handle: None,
            open: Vec::new(),
        }
    }
}

/// One shard's end of the flow.
pub(super) struct Flow {
    pub(super) shared: Arc<FlowShared>,
    /// Which shard it is.
    pub(super) shard: usize,
    pub(super) registry: Arc<Mutex<Registry>>,
    /// [`Registry::generation`], to be read without its lock.
    generation: Arc<AtomicU64>,
    pub(super) routes: Routes,
    pub(super) sampler: Sampler,
    /// Kept spans are collected here for an exporter.
    exports: bool,
    pub(super) local: Option<Local>,
    pub(super) clock: Clock,
    /// CLOCK_MONOTONIC ns of this batch.
    pub(super) now_ns: u64,
    /// Spans for the exporter.
    pub(super) out: Vec<Span>,
}

impl Flow {
    /// A flow of shard `shard`; with `exports` kept spans are put into [`out`](Self::out). Its
    /// [`clock`](Self::clock) is to be set.
    pub(super) fn new(
        shared: Arc<FlowShared>,
        shard: usize,
        registry: Arc<Mutex<Registry>>,
        routes: Routes,
        sampler: Sampler,
        exports: bool,
        local: Option<Local>,
    ) -> Self {
        let generation = registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .generation();
        Self {
            shared,
            shard,
            registry,
            generation,
            routes,
            sampler,
            exports,
            local,
            clock: Clock { offset_ns: 0 },
            now_ns: 0,
            out: Vec::new(),
        }
    }

    fn tally(&self) -> &Tally {
        self.shared.tallies.of(self.shard)
    }

    /// One exchange of a service.
    pub(super) fn exchange(&mut self, known: &mut Known, exchange: &mut Exchange) {
        self.name_peer(exchange);
        self.correct(&mut exchange.context);
        self.correct_link(&mut exchange.context);
        let detail = exchange.detail.describe();
        recognition::learn(&self.shared.lineage, exchange, &known.service);
        self.tally().edge(exchange.context.parent_method);
        let route = detail
            .route(exchange)
            .and_then(|input| self.routes.of(&known.service, input));
        let has_span = detail.has_span();
        let own_spans = detail.is_made_by_sdks() && self.makes_own_spans(&known.service);
        if own_spans {
            self.tally().left_to_sdk.add();
        }
        // What belongs to no trace but its own may be told by metrics alone.
        let wanted = has_span
            && !own_spans
            && (detail.stands_alone() || exchange.context.parent_span_id.is_some());
        let kept = wanted && self.sampler.keep(exchange, route.as_ref(), self.now_ns);
        let exported = kept && self.exports;
        let now = self.clock.unix_nano(self.now_ns);
        if detail.shows_certificate() {
            self.shared.certificates.see(&known.service, exchange, now);
        }
        {
            let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
            let handle = place(&mut registry, known, now);
            // An exemplar names a span that somebody can look up.
            registry.record_at(handle, exchange, route.as_ref(), exported, now);
        }
        let shown =
            has_span && !own_spans && self.local.as_ref().is_some_and(|local| local.all || kept);
        if exported || shown {
            self.span(exchange, &known.service, route.as_ref(), exported, shown);
        }
    }

    /// Makes the span, and hands it on.
    fn span(
        &mut self,
        exchange: &Exchange,
        service: &Arc<Service>,
        route: Option<&Arc<str>>,
        exported: bool,
        shown: bool,
    ) {
        let Some(mut span) = synthesize(exchange, service, route, self.clock) else {
            return;
        };
        if let Some(peer) = &exchange.peer_service {
            let text = |text: &Arc<str>| Value::Text(Arc::clone(text).into());
            for (key, value) in [
                ("service.peer.name", &peer.name),
                ("service.peer.namespace", &peer.namespace),
            ] {
                span.attributes.push((key, text(value)));
            }
        }
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

    /// Says which service a call went to, where the cluster tells.
    fn name_peer(&self, exchange: &mut Exchange) {
        if let (Some(peers), Role::Client, Address::Inet(peer)) =
            (&self.shared.peers, exchange.role, &exchange.peer)
        {
            exchange.peer_service = peers.name(peer.ip(), peer.port());
        }
    }

    /// A request of a service waits for its answer.
    pub(super) fn started(&self, known: &mut Known, open: Open) {
        if let Some(count) = self.open_count(known, open) {
            count.started();
        }
    }

    /// It no longer does.
    pub(super) fn ended(&self, known: &mut Known, open: Open) {
        if let Some(count) = self.open_count(known, open) {
            count.ended();
        }
    }

    /// The count of open requests of a kind: found without a lock but for the first time.
    fn open_count<'a>(&self, known: &'a mut Known, open: Open) -> Option<&'a OpenCount> {
        let generation = self.generation.load(Ordering::Relaxed);
        let valid = known.handle.is_some_and(|handle| handle.is_of(generation));
        let found = |(it, _): &(Open, Arc<OpenCount>)| *it == open;
        let at = match known.open.iter().position(found).filter(|_| valid) {
            Some(at) => at,
            None => {
                let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
                let now = self.clock.unix_nano(self.now_ns);
                let handle = place(&mut registry, known, now);
                let count = registry.open_requests(handle, open)?;
                known.open.push((open, count));
                known.open.len() - 1
            }
        };
        known.open.get(at).map(|(_, count)| &**count)
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
        let Some(link) = context.link.take() else {
            return;
        };
        if context.parent_span_id.is_none() {
            context.link = Some(self.shared.lineage.correct_link(link));
            self.tally().link(link.method);
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
    pub(super) fn makes_own_spans(&self, service: &Service) -> bool {
        self.shared.leave_to_sdk && service.instrumentation.evidence().is_some()
    }

    /// Whether somebody asked for observer's own page: counted, and left out.
    pub(super) fn is_own(&self, exchange: &Exchange) -> bool {
        let Some(port) = self.shared.own_port else {
            return false;
        };
        let own = exchange.role == Role::Client
            && matches!(exchange.peer, Address::Inet(peer) if peer.port() == port && is_local(exchange, peer));
        if own {
            self.tally().own_left_out.add();
        }
        own
    }
}

/// Where a service's numbers are, looked up anew if it may have left since.
fn place(registry: &mut Registry, known: &mut Known, now: u64) -> Handle {
    match known.handle {
        Some(handle) if registry.is_valid(handle) => handle,
        _ => {
            let handle = registry.handle(&known.service, now);
            known.handle = Some(handle);
            known.open.clear();
            handle
        }
    }
}

/// Loopback, or this host's own address.
fn is_local(exchange: &Exchange, peer: std::net::SocketAddr) -> bool {
    peer.ip().is_loopback()
        || matches!(exchange.local, Address::Inet(local) if local.ip() == peer.ip())
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
