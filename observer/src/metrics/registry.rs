//! The metrics that one thread owns.
//!
//! Each shard records into a registry of its own, behind a mutex that a collection takes for as long as it needs to copy a
//! few pointers; [`Merge`](super::Merge) adds the numbers behind them up. A hit costs a comparison with the exchange
//! before, or one lookup by a small key, and no allocation.
//!
//! Everything is bounded. A service's series beyond the cap go to the conventions' overflow series. Services beyond
//! theirs (a server that forks for each connection makes thousands) are added up by name under the instance
//! `overflow`, and beyond 256 names in one service `overflow`: totals stay exact, detail is lost.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use foldhash::HashMap;

use super::{
    cells::Series,
    series::{Measured, OpenCount, Reasons, Room, ServiceSeries},
};
use crate::{
    exchange::{Exchange, Incomplete},
    process::{Service, Value},
    protocol::Open,
};

/// Name and instance of what found no room.
const OVERFLOW: &str = "overflow";
/// Names of services that found no room.
const OVERFLOW_NAMES: usize = 256;
/// Arcs that may stand for one process at a time: its identity may be learned in steps.
const ALIASES: usize = 4;

/// The bounds of a [`Registry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Series of each metric of each service; further ones go to `otel.metric.overflow`.
    pub series: usize,
    /// Series of all services on one thread, about 500 bytes each and three histograms.
    pub total_series: usize,
    /// Services on one thread.
    pub services: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series: 500,
            total_series: 10_000,
            services: 1_000,
        }
    }
}

/// One service's state.
pub(super) struct Entry {
    pub(super) service: Arc<Service>,
    /// First seen, ns since the Unix epoch: where its cumulative series start.
    pub(super) start: u64,
    /// When `service` was last replaced by a newer Arc.
    pub(super) renewed: u64,
    pub(super) series: ServiceSeries,
    /// What stands for it in `by_pointer`. Kept alive, so that no other service gets the same address.
    aliases: Vec<Arc<Service>>,
    folded: bool,
}

/// Where a service's metrics are, to be asked for once and not for each exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    index: usize,
    generation: u64,
}

impl Handle {
    /// Whether no service has left since.
    pub const fn is_of(self, generation: u64) -> bool {
        self.generation == generation
    }
}

/// What a collection reads of one service.
pub(super) struct View {
    pub(super) service: Arc<Service>,
    pub(super) start: u64,
    pub(super) renewed: u64,
    pub(super) series: Arc<Vec<Arc<Series>>>,
    pub(super) reasons: Arc<Reasons>,
    pub(super) open: Arc<Vec<Arc<OpenCount>>>,
}

/// A thread's metrics as a collection reads them: pointers to numbers that the thread goes on to write.
pub struct Views(pub(super) Vec<View>);

/// The metrics of one thread.
#[derive(Default)]
pub struct Registry {
    limits: Limits,
    pub(super) entries: Vec<Option<Entry>>,
    /// Goes up when services leave: a [`Handle`] from before may lead to another.
    generation: Arc<AtomicU64>,
    by_pointer: HashMap<usize, usize>,
    /// By name, then instance.
    by_name: HashMap<Arc<str>, HashMap<Arc<str>, usize>>,
    services: usize,
    folded: usize,
    series: usize,
}

impl Registry {
    /// An empty registry.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Counts an exchange. To be called once for each, before any sampling decides what else becomes of it.
    ///
    /// - A duration that is known goes to the duration and size histograms, unless the exchange was abandoned or its
    ///   head lost (no method). A status that was not seen is absent, never invented.
    /// - What is incomplete is counted by reason as well.
    /// - `exemplar`: the exchange's span is kept, so the duration's bucket may point at it.
    /// - `route` is the server's route; a client's is ignored. Give the same `Arc` for the same route.
    pub fn record(
        &mut self,
        service: &Arc<Service>,
        exchange: &Exchange,
        route: Option<&Arc<str>>,
        exemplar: bool,
        now_unix_ns: u64,
    ) {
        let handle = self.handle(service, now_unix_ns);
        self.record_at(handle, exchange, route, exemplar, now_unix_ns);
    }

    /// [`record`](Self::record) for the service that a [valid](Self::is_valid) handle leads to.
    pub fn record_at(
        &mut self,
        handle: Handle,
        exchange: &Exchange,
        route: Option<&Arc<str>>,
        exemplar: bool,
        now_unix_ns: u64,
    ) {
        let room = Room {
            cap: self.limits.series,
            spare: self.limits.total_series.saturating_sub(self.series),
        };
        let Some(entry) = self.at(handle) else {
            return;
        };
        if let Some(reason) = exchange.incomplete {
            entry.series.reasons.count(reason);
        }
        let detail = exchange.detail.describe();
        let known = exchange.incomplete != Some(Incomplete::Abandoned) && detail.is_measurable();
        if let Some(duration) = exchange.duration_ns().filter(|_| known) {
            let measured = Measured {
                exchange,
                detail,
                duration_ns: duration,
                route,
                exemplar: exemplar.then_some(now_unix_ns),
            };
            self.series += entry.series.record(measured, now_unix_ns, room);
        }
    }

    /// Where a service's metrics are.
    pub fn handle(&mut self, service: &Arc<Service>, now_unix_ns: u64) -> Handle {
        let index = match self.by_pointer.get(&pointer(service)) {
            Some(index) => *index,
            None => self.admit(service, now_unix_ns),
        };
        Handle {
            index,
            generation: self.generation.load(Relaxed),
        }
    }

    /// Whether a handle still leads to the service that it was asked for.
    pub fn is_valid(&self, handle: Handle) -> bool {
        handle.is_of(self.generation.load(Relaxed))
    }

    /// A number that goes up when services leave, to be read without a lock.
    pub fn generation(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.generation)
    }

    /// Counts a request as open.
    pub fn request_started(&mut self, service: &Arc<Service>, open: Open, now_unix_ns: u64) {
        let handle = self.handle(service, now_unix_ns);
        if let Some(count) = self.open_requests(handle, open) {
            count.started();
        }
    }

    /// The counterpart of [`request_started`](Self::request_started); to be called with the same values, however the
    /// request ended. Without a start it changes nothing.
    pub fn request_ended(&mut self, service: &Arc<Service>, open: Open, now_unix_ns: u64) {
        let handle = self.handle(service, now_unix_ns);
        if let Some(count) = self
            .at(handle)
            .and_then(|entry| entry.series.open(&open).cloned())
        {
            count.ended();
        }
    }

    /// The count of open requests of that kind, for the thread that records here. It counts until the service leaves.
    pub fn open_requests(&mut self, handle: Handle, open: Open) -> Option<Arc<OpenCount>> {
        Some(self.at(handle)?.series.open_or_new(open))
    }

    /// What a collection reads. Takes as long as copying a few pointers for each service.
    pub fn views(&self) -> Views {
        let entries = self.entries.iter().flatten();
        let view = |entry: &Entry| View {
            service: Arc::clone(&entry.service),
            start: entry.start,
            renewed: entry.renewed,
            series: Arc::clone(&entry.series.series),
            reasons: Arc::clone(&entry.series.reasons),
            open: Arc::clone(&entry.series.open),
        };
        Views(entries.map(view).collect())
    }

    /// Drops the services that `dead` names: those whose process ended long enough ago that its last values were
    /// exported. To be called for the registries of all threads, with the same answers, before they are merged: a
    /// service that is dropped in one only would seem to count backwards.
    pub fn expire(&mut self, dead: &dyn Fn(&Service) -> bool) {
        for slot in &mut self.entries {
            let Some(entry) = slot.take_if(|entry| !entry.folded && dead(&entry.service)) else {
                continue;
            };
            self.generation.fetch_add(1, Relaxed);
            for alias in &entry.aliases {
                self.by_pointer.remove(&pointer(alias));
            }
            if let Some(instances) = self.by_name.get_mut(&entry.service.name) {
                instances.remove(&entry.service.instance_id);
                if instances.is_empty() {
                    self.by_name.remove(&entry.service.name);
                }
            }
            self.services -= 1;
            self.series -= entry.series.len();
        }
    }

    /// The services that have metrics here, without those that others were added up in.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        let entries = self.entries.iter().flatten();
        entries
            .filter(|entry| !entry.folded)
            .map(|entry| &entry.service)
    }

    /// How many series there are, for the daemon's own metrics; overflow series are not counted.
    pub fn series_count(&self) -> usize {
        self.series
    }

    fn at(&mut self, handle: Handle) -> Option<&mut Entry> {
        if !self.is_valid(handle) {
            return None;
        }
        self.entries.get_mut(handle.index)?.as_mut()
    }

    /// The place of a service whose Arc was not seen yet.
    fn admit(&mut self, service: &Arc<Service>, now: u64) -> usize {
        let known = self
            .by_name
            .get(&service.name)
            .and_then(|instances| instances.get(&service.instance_id));
        if let Some(&index) = known {
            if let Some(entry) = self.entries.get_mut(index).and_then(Option::as_mut) {
                if entry.aliases.len() >= ALIASES {
                    self.by_pointer.remove(&pointer(&entry.aliases.remove(0)));
                }
                entry.aliases.push(service.clone());
                entry.service = service.clone();
                entry.renewed = now;
                self.by_pointer.insert(pointer(service), index);
            }
            return index;
        }
        if self.services < self.limits.services {
            self.services += 1;
            let index = self.insert(service.clone(), false, now);
            self.by_pointer.insert(pointer(service), index);
            return index;
        }
        let folded = self
            .by_name
            .get(&service.name)
            .and_then(|instances| instances.get(OVERFLOW));
        if let Some(&index) = folded {
            return index;
        }
        if self.folded < OVERFLOW_NAMES {
            self.folded += 1;
            return self.insert(overflow(service.name.clone()), true, now);
        }
        let last = self
            .by_name
            .get(OVERFLOW)
            .and_then(|instances| instances.get(OVERFLOW))
            .copied();
        last.unwrap_or_else(|| self.insert(overflow(OVERFLOW.into()), true, now))
    }

    fn insert(&mut self, service: Arc<Service>, folded: bool, now: u64) -> usize {
        let index = self
            .entries
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.entries.len());
        if index == self.entries.len() {
            self.entries.push(None);
        }
        self.by_name
            .entry(service.name.clone())
            .or_default()
            .insert(service.instance_id.clone(), index);
        self.entries[index] = Some(Entry {
            aliases: if folded {
                Vec::new()
            } else {
                vec![service.clone()]
            },
            service,
            start: now,
            renewed: now,
            series: ServiceSeries::default(),
            folded,
        });
        index
    }
}

/// The service under which those of a name are added up that found no room.
fn overflow(name: Arc<str>) -> Arc<Service> {
    Arc::new(Service {
        attributes: vec![
            ("otel.metric.overflow", Value::Bool(true)),
            ("service.instance.id", Value::Text(OVERFLOW.into())),
            ("service.name", Value::Text(name.clone().into())),
        ],
        name,
        instance_id: OVERFLOW.into(),
        extra_attributes: Vec::new(),
        instrumentation: crate::process::Instrumentation::default(),
    })
}

fn pointer(service: &Arc<Service>) -> usize {
    Arc::as_ptr(service) as usize
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
