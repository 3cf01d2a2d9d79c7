//! The metrics that one thread owns.
//!
//! Each shard records into a registry of its own, behind a mutex that only the collection contends for; [`Merge`]
//! (super::Merge) adds them up. A hit costs two lookups by small keys and no allocation.
//!
//! Everything is bounded. A service's series beyond the cap go to the conventions' overflow series. Services beyond
//! theirs (a server that forks for each connection makes thousands) are added up by name under the instance
//! `overflow`, and beyond 256 names in one service `overflow`: totals stay exact, detail is lost.

use std::sync::Arc;

use foldhash::HashMap;

use super::series::{REASONS, ServiceSeries};
use crate::{
    exchange::{Exchange, Incomplete},
    identity::Role,
    process::{Service, Value},
    trace::conventions::Method,
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

/// The metrics of one thread.
#[derive(Default)]
pub struct Registry {
    limits: Limits,
    pub(super) entries: Vec<Option<Entry>>,
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
        let limits = self.limits;
        let spare = limits.total_series.saturating_sub(self.series);
        let Some(entry) = self.entry(service, now_unix_ns) else {
            return;
        };
        if let Some(reason) = exchange.incomplete {
            entry.series.incomplete[reason_index(reason)] += 1;
        }
        let known = exchange.incomplete != Some(Incomplete::Abandoned)
            && exchange.http().is_none_or(|http| !http.method.is_empty());
        if let Some(duration) = exchange.duration_ns().filter(|_| known) {
            let bounds = (limits.series, spare);
            self.series +=
                entry
                    .series
                    .record(exchange, duration, route, exemplar, now_unix_ns, bounds);
        }
    }

    /// Counts a server's request as active. A client's is ignored: the conventions' stable set has no such metric.
    ///
    /// `scheme` is `http` or `https`.
    pub fn request_started(
        &mut self,
        service: &Arc<Service>,
        role: Role,
        method: &str,
        scheme: &str,
        now_unix_ns: u64,
    ) {
        if let Some(active) = self.active(service, role, method, scheme, now_unix_ns) {
            *active.get_or_insert(0) += 1;
        }
    }

    /// The counterpart of [`request_started`](Self::request_started); to be called with the same values, however the
    /// request ended. Without a start it changes nothing.
    pub fn request_ended(
        &mut self,
        service: &Arc<Service>,
        role: Role,
        method: &str,
        scheme: &str,
        now_unix_ns: u64,
    ) {
        if let Some(Some(active)) = self.active(service, role, method, scheme, now_unix_ns)
            && *active > 0
        {
            *active -= 1;
        }
    }

    /// Drops the services that `dead` names: those whose process ended long enough ago that its last values were
    /// exported. To be called for the registries of all threads, with the same answers, before they are merged: a
    /// service that is dropped in one only would seem to count backwards.
    pub fn expire(&mut self, dead: &dyn Fn(&Service) -> bool) {
        for slot in &mut self.entries {
            let Some(entry) = slot.take_if(|entry| !entry.folded && dead(&entry.service)) else {
                continue;
            };
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

    fn active(
        &mut self,
        service: &Arc<Service>,
        role: Role,
        method: &str,
        scheme: &str,
        now: u64,
    ) -> Option<&mut Option<i64>> {
        if role == Role::Client {
            return None;
        }
        let series = &mut self.entry(service, now)?.series;
        series.active[usize::from(scheme == "https")].get_mut(Method::of(method) as usize)
    }

    fn entry(&mut self, service: &Arc<Service>, now: u64) -> Option<&mut Entry> {
        let index = match self.by_pointer.get(&pointer(service)) {
            Some(index) => *index,
            None => self.admit(service, now),
        };
        self.entries.get_mut(index)?.as_mut()
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
            ("service.name", Value::Text(name.clone())),
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

/// Every reason, by its number.
pub(super) const ALL_REASONS: [Incomplete; REASONS] = [
    Incomplete::LostBytes,
    Incomplete::HeadTooLarge,
    Incomplete::Closed,
    Incomplete::Reset,
    Incomplete::Abandoned,
    Incomplete::Malformed,
    Incomplete::Unanswered,
];

const fn reason_index(reason: Incomplete) -> usize {
    match reason {
        Incomplete::LostBytes => 0,
        Incomplete::HeadTooLarge => 1,
        Incomplete::Closed => 2,
        Incomplete::Reset => 3,
        Incomplete::Abandoned => 4,
        Incomplete::Malformed => 5,
        Incomplete::Unanswered => 6,
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
