//! What changed since the last export that arrived, for backends that want deltas.
//!
//! The state moves on only when a request was taken, so a failed export is not lost but part of the next delta. An
//! export that arrived although its answer was lost is counted twice there, as retries are.
//!
//! No interval ends before it begins, also where the time of day was set back between two exports: see
//! [`interval`](super::interval).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::interval::{Began, Moment};
use crate::metrics::{Attributes, HistogramPoint, Instrument, Point, Snapshot};
use crate::process::Service;

/// One point to be sent.
pub(super) struct Series<'a> {
    pub(super) service: &'a Arc<Service>,
    pub(super) instrument: &'static Instrument,
    pub(super) attributes: &'a Attributes,
    /// ns since the Unix epoch.
    pub(super) start_unix_nano: u64,
    pub(super) point: Cow<'a, Point>,
    /// Start and value of the cumulative point that this was made from.
    whole: (u64, &'a Point),
}

/// All series of a snapshot as they are.
pub(super) fn cumulative<'a>(snapshot: &'a Snapshot, began: &mut Began) -> Vec<Series<'a>> {
    began.keep(snapshot.services.iter().map(|it| &it.service));
    let mut all = Vec::new();
    for service in &snapshot.services {
        let start_unix_nano = began.before(
            &service.service,
            service.start_unix_nano,
            snapshot.time_unix_nano,
        );
        for metric in &service.metrics {
            all.extend(metric.points.iter().map(|(attributes, point)| Series {
                service: &service.service,
                instrument: metric.instrument,
                attributes,
                start_unix_nano,
                point: Cow::Borrowed(point),
                whole: (service.start_unix_nano, point),
            }));
        }
    }
    all
}

/// Values at the last export that arrived.
#[derive(Default)]
pub(super) struct Previous {
    points: HashMap<Key, Sent>,
}

struct Sent {
    start_unix_nano: u64,
    collected: Moment,
    point: Point,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    service: Arc<str>,
    instance_id: Arc<str>,
    name: &'static str,
    attributes: Attributes,
}

fn key(series: &Series<'_>) -> Key {
    Key {
        service: Arc::clone(&series.service.name),
        instance_id: Arc::clone(&series.service.instance_id),
        name: series.instrument.name,
        attributes: Arc::clone(series.attributes),
    }
}

impl Previous {
    /// The series that changed, as differences; sums that go both ways as they are. Forgets series that are gone.
    pub(super) fn difference<'a>(
        &mut self,
        snapshot: &'a Snapshot,
        collected: Moment,
        began: &mut Began,
    ) -> Vec<Series<'a>> {
        let mut all = cumulative(snapshot, began);
        let present: HashSet<Key> = all.iter().map(key).collect();
        self.points.retain(|key, _| present.contains(key));
        all.retain_mut(|series| self.subtract(series, collected));
        all
    }

    /// False if nothing happened.
    fn subtract(&self, series: &mut Series<'_>, collected: Moment) -> bool {
        let (start, whole) = series.whole;
        let sent = self
            .points
            .get(&key(series))
            .filter(|sent| sent.start_unix_nano == start);
        let difference = match (whole, sent.map(|sent| &sent.point)) {
            (Point::UpDown(_), _) => return true,
            (Point::Counter(now), Some(Point::Counter(before))) => {
                now.checked_sub(*before).map(Point::Counter)
            }
            (Point::Histogram(now), Some(Point::Histogram(before))) => {
                histogram_difference(now, before).map(Point::Histogram)
            }
            _ => None,
        };
        // Without a difference the series is new or began again: then its whole value is what happened.
        if let (Some(difference), Some(sent)) = (difference, sent) {
            series.start_unix_nano = collected.since(sent.collected);
            series.point = Cow::Owned(difference);
        }
        match series.point.as_ref() {
            Point::Counter(value) => *value > 0,
            Point::Histogram(histogram) => histogram.count > 0,
            Point::UpDown(_) => true,
        }
    }

    /// These series arrived.
    pub(super) fn sent(&mut self, series: &[Series<'_>], collected: Moment) {
        for series in series {
            let (start_unix_nano, point) = series.whole;
            if matches!(point, Point::UpDown(_)) {
                continue;
            }
            let mut point = point.clone();
            if let Point::Histogram(histogram) = &mut point {
                histogram.exemplars = Vec::new();
            }
            self.points.insert(
                key(series),
                Sent {
                    start_unix_nano,
                    collected,
                    point,
                },
            );
        }
    }
}

/// `None` if the later one doesn't continue the earlier one. Smallest and largest value of the time between aren't
/// known from cumulative data, so they are left out.
fn histogram_difference(now: &HistogramPoint, before: &HistogramPoint) -> Option<HistogramPoint> {
    if now.buckets.len() != before.buckets.len() {
        return None;
    }
    let pairs = now.buckets.iter().zip(&before.buckets);
    Some(HistogramPoint {
        count: now.count.checked_sub(before.count)?,
        sum: now.sum - before.sum,
        min: None,
        max: None,
        buckets: pairs
            .map(|(now, before)| now.checked_sub(*before))
            .collect::<Option<_>>()?,
        exemplars: now.exemplars.clone(),
    })
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
