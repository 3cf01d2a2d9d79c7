//! From our types to OTLP messages, grouped by resource and split by encoded size.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::metrics::v1::{
    self as otlp_metrics, AggregationTemporality, Histogram, HistogramDataPoint, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    self as otlp_trace, ResourceSpans, ScopeSpans, SpanFlags, Status, span, status,
};
use prost::Message;
use prost::bytes::Bytes;

use super::config::Temporality;
use super::delta::Series;
use crate::exchange::InferredLink;
use crate::metrics::{Exemplar, Instrument, Point};
use crate::process::{Service, Value};
use crate::trace::{Span, SpanKind, link_attributes};

/// Version of the semantic conventions that attribute and metric names follow (`tests/conventions.rs`).
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.45.0";

/// An encoded request and the number of items in it.
pub(super) struct Encoded {
    pub(super) body: Bytes,
    pub(super) items: u64,
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "observer".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn resource(service: &Service) -> Resource {
    let own = service
        .attributes
        .iter()
        .map(|(key, value)| key_value(key, value));
    let extra = service
        .extra_attributes
        .iter()
        .map(|(key, value)| key_value(key, value));
    Resource {
        attributes: own.chain(extra).collect(),
        ..Resource::default()
    }
}

pub(super) fn key_value(key: &str, value: &Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(any_value(value)),
        ..KeyValue::default()
    }
}

fn key_values(attributes: &[(&'static str, Value)]) -> Vec<KeyValue> {
    attributes
        .iter()
        .map(|(key, value)| key_value(key, value))
        .collect()
}

fn any_value(value: &Value) -> AnyValue {
    let text = |text: &str| any_value::Value::StringValue(text.to_owned());
    AnyValue {
        value: Some(match value {
            Value::Text(value) => text(value),
            Value::Int(value) => any_value::Value::IntValue(*value),
            Value::Double(value) => any_value::Value::DoubleValue(*value),
            Value::Bool(value) => any_value::Value::BoolValue(*value),
            Value::Texts(values) => any_value::Value::ArrayValue(ArrayValue {
                values: values
                    .iter()
                    .map(|value| AnyValue {
                        value: Some(text(value)),
                    })
                    .collect(),
            }),
        }),
    }
}

// === Spans ===

/// Encodes spans into as few requests of at most `max_bytes` as halving gives; a single span goes in any case.
pub(super) fn encode_spans(spans: &[Span], max_bytes: usize) -> Vec<Encoded> {
    let mut encoded = Vec::with_capacity(1);
    encode_spans_into(spans, max_bytes, &mut encoded);
    encoded
}

fn encode_spans_into(spans: &[Span], max_bytes: usize, encoded: &mut Vec<Encoded>) {
    if spans.is_empty() {
        return;
    }
    let request = trace_request(spans);
    if spans.len() > 1 && request.encoded_len() > max_bytes {
        let (first, second) = spans.split_at(spans.len() / 2);
        drop(request);
        encode_spans_into(first, max_bytes, encoded);
        encode_spans_into(second, max_bytes, encoded);
        return;
    }
    encoded.push(Encoded {
        body: request.encode_to_vec().into(),
        items: spans.len() as u64,
    });
}

/// One `ResourceSpans` for each distinct service, in order of first appearance.
pub(super) fn trace_request(spans: &[Span]) -> ExportTraceServiceRequest {
    let mut groups: Vec<(&Arc<Service>, Vec<otlp_trace::Span>)> = Vec::new();
    // A process whose attributes changed has several services with one instance id.
    let mut by_instance: HashMap<&str, Vec<usize>> = HashMap::new();
    for span in spans {
        let candidates = by_instance.entry(&span.service.instance_id).or_default();
        let known = candidates.iter().copied().find(|&group| {
            groups.get(group).is_some_and(|(service, _)| {
                Arc::ptr_eq(service, &span.service) || **service == span.service
            })
        });
        let group = known.unwrap_or_else(|| {
            groups.push((&span.service, Vec::new()));
            candidates.push(groups.len() - 1);
            groups.len() - 1
        });
        if let Some((_, members)) = groups.get_mut(group) {
            members.push(otlp_span(span));
        }
    }
    let resource_spans = groups.into_iter().map(|(service, spans)| ResourceSpans {
        resource: Some(resource(service)),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope()),
            spans,
            schema_url: SCHEMA_URL.to_owned(),
        }],
        schema_url: SCHEMA_URL.to_owned(),
    });
    ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    }
}

fn otlp_span(span: &Span) -> otlp_trace::Span {
    // Who answers or takes a message has its parent in another process, the others in their own.
    let parent_flags = match (span.parent_span_id, span.kind) {
        (None, _) => 0,
        (Some(_), SpanKind::Server | SpanKind::Consumer) => {
            SpanFlags::ContextHasIsRemoteMask as u32 | SpanFlags::ContextIsRemoteMask as u32
        }
        (Some(_), _) => SpanFlags::ContextHasIsRemoteMask as u32,
    };
    otlp_trace::Span {
        trace_id: span.trace_id.to_vec(),
        span_id: span.span_id.to_vec(),
        trace_state: span.trace_state.as_deref().unwrap_or_default().to_owned(),
        parent_span_id: span
            .parent_span_id
            .map(|id| id.to_vec())
            .unwrap_or_default(),
        flags: u32::from(span.flags) | parent_flags,
        name: span.name.to_string(),
        kind: match span.kind {
            SpanKind::Internal => span::SpanKind::Internal,
            SpanKind::Server => span::SpanKind::Server,
            SpanKind::Client => span::SpanKind::Client,
            SpanKind::Producer => span::SpanKind::Producer,
            SpanKind::Consumer => span::SpanKind::Consumer,
        } as i32,
        start_time_unix_nano: span.start_unix_nano,
        end_time_unix_nano: span.end_unix_nano,
        attributes: key_values(&span.attributes),
        links: span.link.iter().map(otlp_link).collect(),
        status: span.error.as_deref().map(|description| Status {
            message: description.to_owned(),
            code: status::StatusCode::Error as i32,
        }),
        ..otlp_trace::Span::default()
    }
}

/// The linked request was served by the process that made the call.
fn otlp_link(link: &InferredLink) -> span::Link {
    span::Link {
        trace_id: link.trace_id.to_vec(),
        span_id: link.span_id.to_vec(),
        attributes: key_values(&link_attributes(link)),
        flags: SpanFlags::ContextHasIsRemoteMask as u32 | u32::from(link.sampled),
        ..span::Link::default()
    }
}

// === Metrics ===

/// What all points of a collection share.
#[derive(Clone, Copy)]
pub(super) struct Collection {
    /// ns since the Unix epoch.
    pub(super) time_unix_nano: u64,
    /// Of counters and histograms.
    pub(super) temporality: Temporality,
    /// Exemplars that are newer than this are sent, ns since the Unix epoch; `None` is none.
    pub(super) exemplars_after: Option<u64>,
}

/// Encodes series into requests of at most about `max_bytes`, in order; a single point goes in any case.
pub(super) fn encode_metrics(
    series: &[Series<'_>],
    collection: Collection,
    max_bytes: usize,
) -> Vec<Encoded> {
    let mut builder = Builder::new(collection, max_bytes);
    for series in series {
        builder.add(series);
    }
    builder.flush();
    builder.encoded
}

struct Builder<'a> {
    collection: Collection,
    max_bytes: usize,
    encoded: Vec<Encoded>,
    request: ExportMetricsServiceRequest,
    bytes: usize,
    items: u64,
    /// Where the last point went.
    last: Option<(&'a Arc<Service>, &'static Instrument)>,
}

enum DataPoint {
    Number(NumberDataPoint),
    Histogram(HistogramDataPoint),
}

impl DataPoint {
    fn belongs_to(&self, metric: &otlp_metrics::Metric) -> bool {
        matches!(
            (self, &metric.data),
            (Self::Number(_), Some(metric::Data::Sum(_)))
                | (Self::Histogram(_), Some(metric::Data::Histogram(_)))
        )
    }
}

impl<'a> Builder<'a> {
    fn new(collection: Collection, max_bytes: usize) -> Self {
        let request = ExportMetricsServiceRequest::default();
        Self {
            collection,
            max_bytes,
            encoded: Vec::new(),
            request,
            bytes: 0,
            items: 0,
            last: None,
        }
    }

    fn add(&mut self, series: &Series<'a>) {
        let point = self.data_point(series);
        // Tag and length of nested messages are at most these bytes each.
        const NESTED: usize = 8;
        let size = NESTED
            + match &point {
                DataPoint::Number(point) => point.encoded_len(),
                DataPoint::Histogram(point) => point.encoded_len(),
            };
        if self.items > 0 && self.bytes + size > self.max_bytes {
            self.flush();
        }
        let last = self.last.replace((series.service, series.instrument));
        if !last.is_some_and(|(service, _)| Arc::ptr_eq(service, series.service)) {
            let added = resource_metrics(series.service);
            self.bytes += added.encoded_len() + NESTED;
            self.request.resource_metrics.push(added);
        }
        let metrics = self
            .request
            .resource_metrics
            .last_mut()
            .and_then(|it| it.scope_metrics.last_mut());
        let Some(metrics) = metrics.map(|it| &mut it.metrics) else {
            return;
        };
        let same_instrument = last.is_some_and(|(service, instrument)| {
            Arc::ptr_eq(service, series.service) && std::ptr::eq(instrument, series.instrument)
        });
        if !same_instrument
            || !metrics
                .last()
                .is_some_and(|metric| point.belongs_to(metric))
        {
            let added = empty_metric(series, self.collection.temporality);
            self.bytes += added.encoded_len() + NESTED;
            metrics.push(added);
        }
        match (metrics.last_mut().and_then(|it| it.data.as_mut()), point) {
            (Some(metric::Data::Sum(sum)), DataPoint::Number(point)) => sum.data_points.push(point),
            (Some(metric::Data::Histogram(histogram)), DataPoint::Histogram(point)) => {
                histogram.data_points.push(point);
            }
            _ => return,
        }
        self.bytes += size;
        self.items += 1;
    }

    fn flush(&mut self) {
        let request = std::mem::take(&mut self.request);
        if self.items > 0 {
            self.encoded.push(Encoded {
                body: request.encode_to_vec().into(),
                items: self.items,
            });
        }
        (self.bytes, self.items, self.last) = (0, 0, None);
    }

    fn data_point(&self, series: &Series<'_>) -> DataPoint {
        let number = |value| {
            DataPoint::Number(NumberDataPoint {
                attributes: key_values(series.attributes),
                start_time_unix_nano: series.start_unix_nano,
                time_unix_nano: self.collection.time_unix_nano,
                value: Some(number_data_point::Value::AsInt(value)),
                ..NumberDataPoint::default()
            })
        };
        match series.point.as_ref() {
            Point::Counter(value) => number(i64::try_from(*value).unwrap_or(i64::MAX)),
            Point::UpDown(value) => number(*value),
            Point::Histogram(histogram) => DataPoint::Histogram(HistogramDataPoint {
                attributes: key_values(series.attributes),
                start_time_unix_nano: series.start_unix_nano,
                time_unix_nano: self.collection.time_unix_nano,
                count: histogram.count,
                sum: Some(histogram.sum),
                bucket_counts: histogram.buckets.clone(),
                explicit_bounds: series.instrument.bounds.to_vec(),
                exemplars: self.exemplars(&histogram.exemplars),
                flags: 0,
                min: histogram.min,
                max: histogram.max,
            }),
        }
    }

    fn exemplars(&self, exemplars: &[Exemplar]) -> Vec<otlp_metrics::Exemplar> {
        let Some(after) = self.collection.exemplars_after else {
            return Vec::new();
        };
        let fresh = exemplars
            .iter()
            .filter(|exemplar| exemplar.time_unix_nano > after);
        fresh
            .map(|exemplar| otlp_metrics::Exemplar {
                filtered_attributes: Vec::new(),
                time_unix_nano: exemplar.time_unix_nano,
                span_id: exemplar.span_id.to_vec(),
                trace_id: exemplar.trace_id.to_vec(),
                value: Some(exemplar::Value::AsDouble(exemplar.value)),
            })
            .collect()
    }
}

pub(super) fn resource_metrics(service: &Service) -> ResourceMetrics {
    ResourceMetrics {
        resource: Some(resource(service)),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(scope()),
            metrics: Vec::new(),
            schema_url: SCHEMA_URL.to_owned(),
        }],
        schema_url: SCHEMA_URL.to_owned(),
    }
}

fn empty_metric(series: &Series<'_>, temporality: Temporality) -> otlp_metrics::Metric {
    let temporality = match temporality {
        Temporality::Cumulative => AggregationTemporality::Cumulative,
        Temporality::Delta => AggregationTemporality::Delta,
    } as i32;
    let sum = |aggregation_temporality, is_monotonic| {
        metric::Data::Sum(Sum {
            data_points: Vec::new(),
            aggregation_temporality,
            is_monotonic,
        })
    };
    otlp_metrics::Metric {
        name: series.instrument.name.to_owned(),
        description: series.instrument.description.to_owned(),
        unit: series.instrument.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(match series.point.as_ref() {
            Point::Histogram(_) => metric::Data::Histogram(Histogram {
                data_points: Vec::new(),
                aggregation_temporality: temporality,
            }),
            Point::Counter(_) => sum(temporality, true),
            Point::UpDown(_) => sum(AggregationTemporality::Cumulative as i32, false),
        }),
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
