//! The registries of all threads, added up.

use std::{collections::HashMap, sync::Arc};

use super::{
    Attributes, Instrument, Metric, Point, Registry, ServiceMetrics, Snapshot,
    cells::Sum,
    registry::{View, Views},
    series::{ALL_REASONS, REASONS, overflow_labels},
};
use crate::{
    process::{Service, Value},
    protocol::{self, Group},
};

/// `observer.exchanges.incomplete`, by `observer.incomplete` (the reason).
static INCOMPLETE: Instrument = Instrument {
    name: "observer.exchanges.incomplete",
    unit: "{exchange}",
    description: "Exchanges of which a part was not seen or did not happen, by reason.",
    bounds: &[],
};

/// Adds registries up, one at a time. A thread's lock is held only while pointers to its numbers are copied:
///
/// ```ignore
/// let mut merge = Merge::new(limits.series);
/// for shard in &shards {
///     let views = shard.registry.lock()?.views();
///     merge.add_views(&views);
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
    groups: Vec<GroupTotal>,
    incomplete: [u64; REASONS],
}

/// One group's values so far.
struct GroupTotal {
    group: &'static Group,
    series: HashMap<Attributes, Sum>,
    /// Open requests by their key, in its order.
    open: Vec<(u16, i64)>,
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
        self.add_views(&registry.views());
    }

    /// The same for what was [taken](Registry::views) of it.
    pub fn add_views(&mut self, views: &Views) {
        for view in &views.0 {
            let key = (view.service.name.clone(), view.service.instance_id.clone());
            let total = self.services.entry(key).or_insert_with(|| Total {
                service: view.service.clone(),
                start: view.start,
                renewed: view.renewed,
                groups: Vec::new(),
                incomplete: [0; REASONS],
            });
            total.add(view);
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

impl Total {
    fn add(&mut self, view: &View) {
        self.start = self.start.min(view.start);
        if self.renewed < view.renewed {
            (self.renewed, self.service) = (view.renewed, view.service.clone());
        }
        for series in view.series.iter() {
            let sums = &mut self.group(series.group).series;
            let sum = sums.entry(series.labels.clone()).or_insert_with(|| {
                let labels = series.labels.clone();
                Sum::new(series.group, labels, series.is_overflow, series.born)
            });
            sum.add(series);
        }
        for (mine, more) in self.incomplete.iter_mut().zip(view.reasons.read()) {
            *mine += more;
        }
        for count in view.open.iter() {
            let open = &mut self.group(count.open.group).open;
            match open.binary_search_by_key(&count.open.key, |(key, _)| *key) {
                Ok(at) => open[at].1 += count.now(),
                Err(at) => open.insert(at, (count.open.key, count.now())),
            }
        }
    }

    fn group(&mut self, group: &'static Group) -> &mut GroupTotal {
        let at = match self.groups.iter().position(|known| known.group == group) {
            Some(at) => at,
            None => {
                self.groups.push(GroupTotal {
                    group,
                    series: HashMap::new(),
                    open: Vec::new(),
                });
                self.groups.len() - 1
            }
        };
        &mut self.groups[at]
    }

    fn metrics(mut self, cap: usize) -> ServiceMetrics {
        let order = protocol::groups();
        let place = |group: &Group| order.iter().position(|known| *known == group);
        self.groups.sort_by_key(|total| place(total.group));
        let mut metrics = Vec::new();
        let mut gauges = Vec::new();
        for total in self.groups {
            total.open(&mut gauges);
            total.histograms(cap, &mut metrics);
        }
        metrics.append(&mut gauges);
        push(&mut metrics, &INCOMPLETE, incomplete(&self.incomplete));
        ServiceMetrics {
            service: self.service,
            start_unix_nano: self.start,
            metrics,
        }
    }
}

impl GroupTotal {
    fn histograms(self, cap: usize, metrics: &mut Vec<Metric>) {
        let series = capped(self.series.into_values().collect(), self.group, cap);
        for (at, measure) in self.group.measures.iter().enumerate() {
            let point = |sum: &Sum| Some((sum.labels.clone(), Point::Histogram(sum.point(at)?)));
            push(
                metrics,
                measure.instrument,
                series.iter().filter_map(point).collect(),
            );
        }
    }

    fn open(&self, metrics: &mut Vec<Metric>) {
        let Some(gauge) = &self.group.open else {
            return;
        };
        let point = |(key, open): &(u16, i64)| {
            let mut labels = protocol::Attributes::with_capacity(4);
            (gauge.labels)(*key, &mut labels);
            (labels.into_sorted().into(), Point::UpDown(*open))
        };
        push(
            metrics,
            gauge.instrument,
            self.open.iter().map(point).collect(),
        );
    }
}

/// At most `cap` series besides the overflow series. The oldest stay, so that the same ones do in every snapshot and
/// no sum ever falls; each thread alone keeps to the cap, but together they may hold more.
fn capped(mut series: Vec<Sum>, group: &'static Group, cap: usize) -> Vec<Sum> {
    series.sort_by_cached_key(|sum| (sum.is_overflow, sum.born, format!("{:?}", sum.labels)));
    let own = series.partition_point(|sum| !sum.is_overflow);
    if own > cap {
        // The overflow series of a thread, where there is one, is the last.
        let surplus: Vec<Sum> = series.drain(cap..).collect();
        let born = surplus.last().map_or(0, |sum| sum.born);
        let mut overflow = Sum::new(group, overflow_labels(), true, born);
        surplus.iter().for_each(|sum| overflow.add_sum(sum));
        series.push(overflow);
    }
    series
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
