//! The daemon's own metrics, beside those of the services: the same that its Prometheus page tells.
//!
//! DESIGN wanted the OpenTelemetry SDK for them. They go with the services' instead: one connection, one set of
//! credentials and retries, and what a backend refuses is counted in one place.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, Sum, metric, number_data_point,
};
use prost::Message;

use super::config::Temporality;
use super::encode::{Encoded, key_value, resource_metrics};
use super::interval::{Began, Moment};
use crate::export::{Family, Kind, Labels};
use crate::process::{Service, Value};

/// Where the daemon's own metrics come from.
pub struct OwnMetrics {
    /// The daemon as a resource.
    pub service: Arc<Service>,
    /// When its counters began, ns since the Unix epoch.
    pub start_unix_nano: u64,
    /// Gives them. Called on a blocking thread.
    pub families: Box<dyn Fn() -> Vec<Family> + Send + Sync>,
}

/// What counters were when they last arrived, for differences.
///
/// A counter that could not be read for a while keeps what it was, so that its next difference is what came since.
#[derive(Default)]
pub(super) struct PreviousOwn {
    sent: HashMap<(&'static str, Labels), Sent>,
    began: Began,
}

#[derive(Clone, Copy)]
struct Sent {
    value: f64,
    collected: Moment,
}

impl PreviousOwn {
    /// They arrived.
    pub(super) fn sent(&mut self, families: &[Family], collected: Moment) {
        for family in families.iter().filter(|it| it.kind == Kind::Counter) {
            for (labels, value) in &family.samples {
                let sent = Sent {
                    value: *value,
                    collected,
                };
                let before = self.sent.get(&(family.name, labels.clone()));
                if before.is_none_or(|before| before.value <= *value) {
                    self.sent.insert((family.name, labels.clone()), sent);
                }
            }
        }
    }

    /// Since when, and how much more; `None` where it seems less than it was, as nothing that the daemon counts ever is.
    fn difference(
        &self,
        family: &Family,
        labels: &Labels,
        value: f64,
        start: u64,
        now: Moment,
    ) -> Option<(u64, f64)> {
        let Some(before) = self.sent.get(&(family.name, labels.clone())) else {
            return Some((start, value));
        };
        (value >= before.value).then(|| (now.since(before.collected), value - before.value))
    }
}

/// One request with all of them.
pub(super) fn encode_own(
    own: &OwnMetrics,
    families: &[Family],
    now: Moment,
    temporality: Temporality,
    previous: &mut PreviousOwn,
) -> Encoded {
    let mut resource = resource_metrics(&own.service);
    let mut items = 0;
    let began = previous
        .began
        .before(&own.service, own.start_unix_nano, now.unix_nano);
    let metrics = families.iter().filter_map(|family| {
        let delta = temporality == Temporality::Delta && family.kind == Kind::Counter;
        let points = family.samples.iter().filter_map(|(labels, value)| {
            let (start, value) = if delta {
                previous.difference(family, labels, *value, began, now)?
            } else {
                (began, *value)
            };
            Some(NumberDataPoint {
                attributes: attributes(labels),
                start_time_unix_nano: start,
                time_unix_nano: now.unix_nano,
                value: Some(number_data_point::Value::AsDouble(value)),
                ..NumberDataPoint::default()
            })
        });
        let data_points: Vec<_> = points.collect();
        if data_points.is_empty() {
            return None;
        }
        items += data_points.len() as u64;
        Some(Metric {
            name: name(family.name),
            description: family.help.to_owned(),
            unit: unit(family.name).to_owned(),
            data: Some(match family.kind {
                Kind::Gauge => metric::Data::Gauge(Gauge { data_points }),
                Kind::Counter => metric::Data::Sum(Sum {
                    data_points,
                    aggregation_temporality: if delta {
                        AggregationTemporality::Delta
                    } else {
                        AggregationTemporality::Cumulative
                    } as i32,
                    is_monotonic: true,
                }),
            }),
            ..Metric::default()
        })
    });
    if let Some(scope) = resource.scope_metrics.first_mut() {
        scope.metrics = metrics.collect();
    }
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![resource],
    };
    Encoded {
        body: request.encode_to_vec().into(),
        items,
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    let text = |value: &String| Value::Text(value.clone().into());
    labels
        .iter()
        .map(|(key, value)| key_value(key, &text(value)))
        .collect()
}

/// `observer.queue_bytes` for `observer_queue_bytes`, so that both become the same name in a Prometheus.
fn name(family: &str) -> String {
    family.replacen('_', ".", 1)
}

/// The unit that a name ends in, by UCUM.
fn unit(family: &str) -> &'static str {
    match family.rsplit('_').next() {
        Some("bytes") => "By",
        Some("seconds") => "s",
        Some("nanoseconds") => "ns",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn families(count: f64) -> Vec<Family> {
        vec![
            Family::single("observer_resident_bytes", "Memory.", Kind::Gauge, 7.0),
            Family::by(
                "observer_lost",
                "Losses.",
                Kind::Counter,
                "reason",
                [("ring_full".to_owned(), count), ("other".to_owned(), 0.0)],
            ),
        ]
    }

    /// At that time of day.
    fn at(unix_nano: u64) -> Moment {
        Moment {
            unix_nano,
            monotonic: Instant::now(),
        }
    }

    fn own() -> OwnMetrics {
        OwnMetrics {
            service: crate::export::otlp::receiver::service("observer", "1"),
            start_unix_nano: 100,
            families: Box::new(Vec::new),
        }
    }

    /// (name, unit, start, values)
    fn read(encoded: &Encoded) -> Vec<(String, String, u64, Vec<f64>)> {
        let request = ExportMetricsServiceRequest::decode(encoded.body.clone()).unwrap();
        let value = |point: &NumberDataPoint| match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            ref other => panic!("{other:?}"),
        };
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        metrics
            .iter()
            .map(|metric| {
                let points = match metric.data.as_ref().unwrap() {
                    metric::Data::Gauge(gauge) => &gauge.data_points,
                    metric::Data::Sum(sum) => &sum.data_points,
                    other => panic!("{other:?}"),
                };
                let values = points.iter().map(value).collect();
                let start = points[0].start_time_unix_nano;
                (metric.name.clone(), metric.unit.clone(), start, values)
            })
            .collect()
    }

    #[test]
    fn every_family_is_a_metric_with_its_unit() {
        let mut previous = PreviousOwn::default();
        let encoded = encode_own(
            &own(),
            &families(3.0),
            at(200),
            Temporality::Cumulative,
            &mut previous,
        );
        assert_eq!(encoded.items, 3);
        assert_eq!(
            read(&encoded),
            [
                (
                    "observer.resident_bytes".into(),
                    "By".into(),
                    100,
                    vec![7.0]
                ),
                ("observer.lost".into(), "".into(), 100, vec![3.0, 0.0]),
            ]
        );
    }

    /// The differences at a moment, told as arrived.
    fn step(previous: &mut PreviousOwn, families: &[Family], now: Moment) -> Vec<(u64, Vec<f64>)> {
        let encoded = encode_own(&own(), families, now, Temporality::Delta, previous);
        previous.sent(families, now);
        let metrics = read(&encoded).into_iter();
        metrics
            .map(|(_, _, start, values)| (start, values))
            .collect()
    }

    #[test]
    fn differences_are_taken_from_what_arrived() {
        let mut previous = PreviousOwn::default();
        let first = step(&mut previous, &families(3.0), at(200));
        assert_eq!(first[1], (100, vec![3.0, 0.0]));
        let lost = encode_own(
            &own(),
            &families(4.0),
            at(250),
            Temporality::Delta,
            &mut previous,
        );
        assert_eq!(read(&lost)[1].3, [1.0, 0.0]);
        let second = step(&mut previous, &families(5.0), at(300));
        assert_eq!(second[1], (200, vec![2.0, 0.0]));
        assert_eq!(second[0], (100, vec![7.0]), "a gauge");
    }

    #[test]
    fn a_counter_that_could_not_be_read_for_a_while_does_not_jump() {
        let mut previous = PreviousOwn::default();
        step(&mut previous, &families(1000.0), at(200));
        let gauge = &families(0.0)[..1];
        assert_eq!(step(&mut previous, gauge, at(300)), [(100, vec![7.0])]);
        let back = step(&mut previous, &families(1002.0), at(400));
        assert_eq!(back[1], (200, vec![2.0, 0.0]), "since it was last told");
    }

    #[test]
    fn a_counter_that_seems_to_fall_is_left_out_until_it_is_what_it_was() {
        let mut previous = PreviousOwn::default();
        step(&mut previous, &families(1000.0), at(200));
        assert_eq!(step(&mut previous, &families(0.0), at(300))[1].1, [0.0]);
        let back = step(&mut previous, &families(1005.0), at(400));
        assert_eq!(back[1], (200, vec![5.0, 0.0]));
    }

    #[test]
    fn no_difference_begins_after_it_ends_when_the_clock_is_set_back() {
        let mut previous = PreviousOwn::default();
        let early = at(2_000);
        step(&mut previous, &families(1.0), early);
        let now = Moment {
            unix_nano: 900,
            monotonic: early.monotonic + Duration::from_nanos(300),
        };
        assert_eq!(
            step(&mut previous, &families(3.0), now)[1],
            (600, vec![2.0, 0.0])
        );
        let now = Moment {
            unix_nano: 50,
            monotonic: now.monotonic + Duration::from_nanos(20),
        };
        let set_back = step(&mut previous, &families(4.0), now);
        assert_eq!(set_back[0].0, 49, "a gauge's, before the daemon began");
        assert_eq!(set_back[1].0, 30);
    }
}
