//! The registries of all threads, added up.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::{
    Attributes, Histogram, Instrument, Metric, Point, Registry, ServiceMetrics, Snapshot,
    identity::{Group, Identity},
    instruments as i,
    registry::ALL_REASONS,
    series::{REASONS, Series},
};
use crate::{
    process::{Service, Value},
    trace::conventions::Method,
};

/// Adds registries up, one at a time, so that each thread's lock is held only while its own is read:
///
/// ```ignore
/// let mut merge = Merge::new(limits.series);
/// for shard in &shards {
///     merge.add(&shard.registry.lock()?);
/// }
/// let snapshot = merge.finish(now);
/// ```
pub struct Merge {
    cap: usize,
    services: HashMap<(Arc<str>, Arc<str>), Total>,
}

/// One service's values so far.
struct Total {
    service: Arc<Service>,
    start: u64,
    renewed: u64,
    series: HashMap<Identity, Series>,
    incomplete: [u64; REASONS],
    active: [[Option<i64>; Method::COUNT]; 2],
}

impl Merge {
    /// Nothing yet; `cap` is the number of series of each metric of each service ([`Limits`](super::Limits)).
    pub fn new(cap: usize) -> Self {
        Self {
            cap,
            services: HashMap::new(),
        }
    }

    /// Adds a thread's registry. Services with the same name and instance are one.
    pub fn add(&mut self, registry: &Registry) {
        for entry in registry.entries.iter().flatten() {
            let key = (
                entry.service.name.clone(),
                entry.service.instance_id.clone(),
            );
            let total = self.services.entry(key).or_insert_with(|| Total {
                service: entry.service.clone(),
                start: entry.start,
                renewed: entry.renewed,
                series: HashMap::new(),
                incomplete: [0; REASONS],
                active: Default::default(),
            });
            total.start = total.start.min(entry.start);
            if total.renewed < entry.renewed {
                (total.renewed, total.service) = (entry.renewed, entry.service.clone());
            }
            for series in &entry.series.series {
                match total.series.entry(series.identity.clone()) {
                    Entry::Occupied(mut mine) => merge(mine.get_mut(), series),
                    Entry::Vacant(entry) => drop(entry.insert(series.clone())),
                }
            }
            for (mine, more) in total.incomplete.iter_mut().zip(entry.series.incomplete) {
                *mine += more;
            }
            for (mine, more) in total
                .active
                .iter_mut()
                .flatten()
                .zip(entry.series.active.iter().flatten())
            {
                if let Some(more) = more {
                    *mine.get_or_insert(0) += more;
                }
            }
        }
    }

    /// All metrics at `now`, ns since the Unix epoch; services by name and instance, series by age.
    pub fn finish(self, now_unix_ns: u64) -> Snapshot {
        let mut services: Vec<ServiceMetrics> = self
            .services
            .into_values()
            .map(|total| total.metrics(self.cap))
            .filter(|s| !s.metrics.is_empty())
            .collect();
        services.sort_by(|a, b| {
            let key = |s: &ServiceMetrics| (s.service.name.clone(), s.service.instance_id.clone());
            key(a).cmp(&key(b))
        });
        Snapshot {
            time_unix_nano: now_unix_ns,
            services,
        }
    }
}

/// All metrics of some registries at `now`, ns since the Unix epoch.
pub fn snapshot(registries: &[&Registry], cap: usize, now_unix_ns: u64) -> Snapshot {
    let mut merge = Merge::new(cap);
    registries.iter().for_each(|registry| merge.add(registry));
    merge.finish(now_unix_ns)
}

fn merge(mine: &mut Series, more: &Series) {
    mine.born = mine.born.min(more.born);
    mine.duration.merge(&more.duration);
    mine.request_size.merge(&more.request_size);
    mine.response_size.merge(&more.response_size);
}

impl Total {
    fn metrics(self, cap: usize) -> ServiceMetrics {
        let mut groups: HashMap<Group, Vec<Series>> = HashMap::new();
        for series in self.series.into_values() {
            let group = series.identity.group();
            groups.entry(group).or_default().push(series);
        }
        let mut of = |group| capped(groups.remove(&group).unwrap_or_default(), group, cap);
        let server = of(Group::Server);
        let client = of(Group::Client);
        let lookups = of(Group::Lookups);
        let mut metrics = Vec::new();
        histograms(&mut metrics, &i::SERVER_DURATION, &server, |series| {
            &series.duration
        });
        histograms(&mut metrics, &i::SERVER_REQUEST_SIZE, &server, |series| {
            &series.request_size
        });
        histograms(&mut metrics, &i::SERVER_RESPONSE_SIZE, &server, |series| {
            &series.response_size
        });
        histograms(&mut metrics, &i::CLIENT_DURATION, &client, |series| {
            &series.duration
        });
        histograms(&mut metrics, &i::CLIENT_REQUEST_SIZE, &client, |series| {
            &series.request_size
        });
        histograms(&mut metrics, &i::CLIENT_RESPONSE_SIZE, &client, |series| {
            &series.response_size
        });
        histograms(&mut metrics, &i::LOOKUP_DURATION, &lookups, |series| {
            &series.duration
        });
        push(&mut metrics, &i::SERVER_ACTIVE, active(&self.active));
        push(&mut metrics, &i::INCOMPLETE, incomplete(&self.incomplete));
        ServiceMetrics {
            service: self.service,
            start_unix_nano: self.start,
            metrics,
        }
    }
}

/// At most `cap` series besides the overflow series. The oldest stay, so that the same ones do in every snapshot and
/// no sum ever falls; each thread alone keeps to the cap, but together they may hold more.
fn capped(mut series: Vec<Series>, group: Group, cap: usize) -> Vec<Series> {
    let place = |series: &Series| {
        (
            matches!(series.identity, Identity::Overflow(_)),
            series.born,
        )
    };
    series.sort_by_cached_key(|series| (place(series), format!("{:?}", series.identity)));
    let own = series.partition_point(|series| !matches!(series.identity, Identity::Overflow(_)));
    if own > cap {
        let surplus: Vec<Series> = series.drain(cap..).collect();
        let born = surplus.last().map_or(0, |series| series.born);
        let mut overflow = Series::new(Identity::Overflow(group), born);
        surplus
            .iter()
            .for_each(|series| merge(&mut overflow, series));
        series.push(overflow);
    }
    series
}

fn histograms<const N: usize>(
    metrics: &mut Vec<Metric>,
    instrument: &'static Instrument,
    series: &[Series],
    of: impl Fn(&Series) -> &Histogram<N>,
) {
    let point = |series: &Series| {
        Some((
            series.attributes.clone(),
            Point::Histogram(of(series).point()?),
        ))
    };
    push(
        metrics,
        instrument,
        series.iter().filter_map(point).collect(),
    );
}

fn push(
    metrics: &mut Vec<Metric>,
    instrument: &'static Instrument,
    points: Vec<(Attributes, Point)>,
) {
    if !points.is_empty() {
        metrics.push(Metric { instrument, points });
    }
}

fn active(active: &[[Option<i64>; Method::COUNT]; 2]) -> Vec<(Attributes, Point)> {
    let mut points = Vec::new();
    for (scheme, methods) in ["http", "https"].into_iter().zip(active) {
        for (method, open) in Method::ALL.into_iter().zip(methods) {
            let Some(open) = *open else { continue };
            let attributes: Attributes = Arc::new([
                ("http.request.method", Value::Text(method.as_str().into())),
                ("url.scheme", Value::Text(scheme.into())),
            ]);
            points.push((attributes, Point::UpDown(open)));
        }
    }
    points
}

fn incomplete(counts: &[u64; REASONS]) -> Vec<(Attributes, Point)> {
    let counts = ALL_REASONS
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| **count > 0);
    counts
        .map(|(reason, count)| {
            let attributes: Attributes =
                Arc::new([("observer.incomplete", Value::Text(reason.as_str().into()))]);
            (attributes, Point::Counter(*count))
        })
        .collect()
}
