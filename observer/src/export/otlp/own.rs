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

use super::Temporality;
use super::encode::{Encoded, key_value, resource_metrics};
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
#[derive(Default)]
pub(super) struct PreviousOwn {
    values: HashMap<(&'static str, Labels), f64>,
    time_unix_nano: u64,
}

impl PreviousOwn {
    /// They arrived.
    pub(super) fn sent(&mut self, families: &[Family], time_unix_nano: u64) {
        self.time_unix_nano = time_unix_nano;
        self.values = counters(families)
            .flat_map(|family| {
                let key = |labels: &Labels| (family.name, labels.clone());
                family
                    .samples
                    .iter()
                    .map(move |(it, value)| (key(it), *value))
            })
            .collect();
    }

    fn of(&self, family: &Family, labels: &Labels) -> f64 {
        let before = self.values.get(&(family.name, labels.clone()));
        before.copied().unwrap_or_default()
    }
}

fn counters(families: &[Family]) -> impl Iterator<Item = &Family> {
    families
        .iter()
        .filter(|family| family.kind == Kind::Counter)
}

/// One request with all of them.
pub(super) fn encode_own(
    own: &OwnMetrics,
    families: &[Family],
    time_unix_nano: u64,
    temporality: Temporality,
    previous: &PreviousOwn,
) -> Encoded {
    let mut resource = resource_metrics(&own.service);
    let mut items = 0;
    let metrics = families.iter().map(|family| {
        let delta = temporality == Temporality::Delta && family.kind == Kind::Counter;
        let start = match (delta, previous.time_unix_nano) {
            (true, time) if time != 0 => time,
            _ => own.start_unix_nano,
        };
        let points = family.samples.iter().map(|(labels, value)| {
            let before = if delta {
                previous.of(family, labels)
            } else {
                0.0
            };
            NumberDataPoint {
                attributes: attributes(labels),
                start_time_unix_nano: start,
                time_unix_nano,
                value: Some(number_data_point::Value::AsDouble(value - before)),
                ..NumberDataPoint::default()
            }
        });
        let data_points: Vec<_> = points.collect();
        items += data_points.len() as u64;
        Metric {
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
        }
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
    let text = |value: &String| Value::Text(value.as_str().into());
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
        let previous = PreviousOwn::default();
        let encoded = encode_own(
            &own(),
            &families(3.0),
            200,
            Temporality::Cumulative,
            &previous,
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

    #[test]
    fn differences_are_taken_from_what_arrived() {
        let mut previous = PreviousOwn::default();
        let encode = |count, time, previous: &PreviousOwn| {
            read(&encode_own(
                &own(),
                &families(count),
                time,
                Temporality::Delta,
                previous,
            ))
        };
        assert_eq!(encode(3.0, 200, &previous)[1].3, [3.0, 0.0]);
        previous.sent(&families(3.0), 200);
        let second = encode(5.0, 300, &previous);
        assert_eq!((second[1].2, &second[1].3), (200, &vec![2.0, 0.0]));
        assert_eq!((second[0].2, &second[0].3), (100, &vec![7.0]), "a gauge");
    }
}
