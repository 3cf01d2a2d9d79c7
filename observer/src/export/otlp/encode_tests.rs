use crate::exchange::LinkMethod;
use opentelemetry_proto::tonic::metrics::v1::Metric as OtlpMetric;

use super::*;
use crate::export::otlp::delta::cumulative;
use crate::export::otlp::interval::Began;
use crate::export::otlp::receiver::{DURATION, histogram, route, service, snapshot, span};
use crate::metrics::{Metric, ServiceMetrics, Snapshot};

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn decode_traces(encoded: &[Encoded]) -> Vec<ExportTraceServiceRequest> {
    encoded
        .iter()
        .map(|it| ExportTraceServiceRequest::decode(it.body.clone()).unwrap())
        .collect()
}

fn decode_metrics(encoded: &[Encoded]) -> Vec<ExportMetricsServiceRequest> {
    encoded
        .iter()
        .map(|it| ExportMetricsServiceRequest::decode(it.body.clone()).unwrap())
        .collect()
}

#[test]
fn spans_are_grouped_by_service_with_equal_services_together() {
    let (shop, same, other) = (
        service("shop", "1"),
        service("shop", "1"),
        service("shop", "2"),
    );
    let changed = Arc::new(Service {
        name: "shop".into(),
        instance_id: "1".into(),
        attributes: Vec::new(),
        extra_attributes: Vec::new(),
        instrumentation: crate::process::Instrumentation::default(),
    });
    let spans = [
        span(&shop, 1),
        span(&other, 2),
        span(&same, 3),
        span(&shop, 4),
        span(&changed, 5),
    ];
    let request = trace_request(&spans);
    let ids: Vec<Vec<u8>> = request
        .resource_spans
        .iter()
        .map(|resource| {
            resource.scope_spans[0]
                .spans
                .iter()
                .map(|span| span.span_id[7])
                .collect()
        })
        .collect();
    assert_eq!(ids, [vec![1, 3, 4], vec![2], vec![5]]);
    let attributes = &request.resource_spans[0]
        .resource
        .as_ref()
        .unwrap()
        .attributes;
    assert_eq!(text(attributes, "service.name").as_deref(), Some("shop"));
    assert_eq!(
        text(attributes, "team").as_deref(),
        Some("blue"),
        "extra attributes are there"
    );
    let scope = request.resource_spans[0].scope_spans[0]
        .scope
        .as_ref()
        .unwrap();
    assert_eq!(
        (scope.name.as_str(), scope.version.as_str()),
        ("observer", env!("CARGO_PKG_VERSION"))
    );
    let schema = "https://opentelemetry.io/schemas/1.45.0";
    assert_eq!(request.resource_spans[0].schema_url, schema);
    assert_eq!(request.resource_spans[0].scope_spans[0].schema_url, schema);
}

#[test]
fn every_field_of_a_span_is_carried_over() {
    let service = service("shop", "1");
    let mut server = span(&service, 9);
    server.parent_span_id = Some([3; 8]);
    server.trace_state = Some("a=b".into());
    server.error = Some("".into());
    server.attributes = vec![
        ("t", Value::Text("x".into())),
        ("i", Value::Int(-1)),
        ("d", Value::Double(0.5)),
        ("b", Value::Bool(true)),
        (
            "a",
            Value::Texts(Arc::from([Arc::from("p"), Arc::from("q")])),
        ),
    ];
    let mut client = server.clone();
    client.kind = SpanKind::Client;
    client.error = None;
    let root = span(&service, 1);
    let converted = otlp_span(&server);
    assert_eq!(converted.trace_id, [7; 16]);
    assert_eq!(converted.span_id, [0, 0, 0, 0, 0, 0, 1, 9]);
    assert_eq!(converted.parent_span_id, [3; 8]);
    assert_eq!(converted.trace_state, "a=b");
    assert_eq!(converted.name, "GET /users/{id}");
    assert_eq!(converted.kind, span::SpanKind::Server as i32);
    assert_eq!(
        converted.end_time_unix_nano - converted.start_time_unix_nano,
        1_000_000
    );
    assert_eq!(
        converted.status.unwrap().code,
        status::StatusCode::Error as i32
    );
    assert_eq!(converted.flags, 0x301, "sampled, with a remote parent");
    use any_value::Value::{ArrayValue as Array, BoolValue, DoubleValue, IntValue, StringValue};
    let texts = |text: &str| AnyValue {
        value: Some(StringValue(text.to_owned())),
    };
    let values: Vec<_> = converted
        .attributes
        .into_iter()
        .map(|it| it.value.unwrap().value.unwrap())
        .collect();
    let array = Array(ArrayValue {
        values: vec![texts("p"), texts("q")],
    });
    assert_eq!(
        values,
        [
            StringValue("x".into()),
            IntValue(-1),
            DoubleValue(0.5),
            BoolValue(true),
            array
        ]
    );

    let converted = otlp_span(&client);
    assert_eq!(
        (converted.flags, converted.kind),
        (0x101, span::SpanKind::Client as i32)
    );
    assert!(converted.status.is_none(), "unset");
    let converted = otlp_span(&root);
    assert_eq!(converted.flags, 1);
    assert!(converted.parent_span_id.is_empty());
    assert!(converted.links.is_empty());
}

#[test]
fn a_link_says_that_it_is_inferred_and_how() {
    let mut call = span(&service("shop", "1"), 9);
    let link = InferredLink {
        trace_id: [5; 16],
        span_id: [6; 8],
        sampled: true,
        method: LinkMethod::LastResumed,
    };
    call.link = Some(link);
    let converted = otlp_span(&call);
    assert!(converted.parent_span_id.is_empty());
    let [linked] = &converted.links[..] else {
        panic!("{:?}", converted.links);
    };
    assert_eq!(
        (&linked.trace_id[..], &linked.span_id[..]),
        (&[5; 16][..], &[6; 8][..])
    );
    assert_eq!(linked.flags, 0x101, "sampled, of the same process");
    let method = text(&linked.attributes, "observer.link.method");
    assert_eq!(method.as_deref(), Some("last_resumed"));
    let inferred = Some(any_value::Value::BoolValue(true));
    assert_eq!(linked.attributes[0].key, "observer.link.inferred");
    assert_eq!(linked.attributes[0].value.clone().unwrap().value, inferred);
    call.link = Some(InferredLink {
        sampled: false,
        ..link
    });
    assert_eq!(otlp_span(&call).links[0].flags, 0x100);
}

#[test]
fn span_requests_are_split_by_encoded_size_without_loss_or_reordering() {
    let service = service("shop", "1");
    let spans: Vec<_> = (0..100).map(|id| span(&service, id)).collect();
    let encoded = encode_spans(&spans, 2000);
    assert!(encoded.len() > 4);
    assert!(
        encoded.iter().all(|it| it.body.len() <= 2000),
        "no request is above the bound"
    );
    let requests = decode_traces(&encoded);
    let ids: Vec<u8> = requests
        .iter()
        .flat_map(|request| &request.resource_spans[0].scope_spans[0].spans)
        .map(|span| span.span_id[7])
        .collect();
    assert_eq!(ids, (0..100).collect::<Vec<u8>>());
    assert_eq!(encoded.iter().map(|it| it.items).sum::<u64>(), 100);
    assert_eq!(
        encode_spans(&spans[..1], 1).len(),
        1,
        "one large span goes alone"
    );
    assert!(encode_spans(&[], 1).is_empty());
}

fn metrics_of(request: &ExportMetricsServiceRequest) -> &[OtlpMetric] {
    &request.resource_metrics[0].scope_metrics[0].metrics
}

const COLLECTION: Collection = Collection {
    time_unix_nano: 5000,
    temporality: Temporality::Cumulative,
    exemplars_after: Some(0),
};

#[test]
fn each_kind_of_instrument_becomes_its_otlp_kind() {
    let snapshot = snapshot(5000, 7, -2, histogram([1, 2, 0], &[4000]));
    let encoded = encode_metrics(
        &cumulative(&snapshot, &mut Began::default()),
        COLLECTION,
        usize::MAX,
    );
    assert_eq!((encoded.len(), encoded[0].items), (1, 3));
    let requests = decode_metrics(&encoded);
    let [duration, requests_metric, active] = metrics_of(&requests[0]) else {
        panic!("three metrics")
    };
    let cumulative = AggregationTemporality::Cumulative as i32;

    assert_eq!(
        (duration.name.as_str(), duration.unit.as_str()),
        ("http.server.request.duration", "s")
    );
    let Some(metric::Data::Histogram(histogram)) = &duration.data else {
        panic!("a histogram")
    };
    assert_eq!(histogram.aggregation_temporality, cumulative);
    let point = &histogram.data_points[0];
    assert_eq!(
        (point.start_time_unix_nano, point.time_unix_nano),
        (1000, 5000)
    );
    assert_eq!(
        (point.count, point.sum, point.min, point.max),
        (3, Some(1.5), Some(0.5), Some(0.5))
    );
    assert_eq!(
        (
            point.bucket_counts.as_slice(),
            point.explicit_bounds.as_slice()
        ),
        (&[1, 2, 0][..], &[0.1, 1.0][..])
    );
    assert_eq!(text(&point.attributes, "http.route").as_deref(), Some("/a"));
    let exemplar = &point.exemplars[0];
    assert_eq!(
        (exemplar.trace_id.as_slice(), exemplar.span_id.as_slice()),
        (&[1; 16][..], &[2; 8][..])
    );
    assert_eq!(
        (exemplar.time_unix_nano, &exemplar.value),
        (4000, &Some(exemplar::Value::AsDouble(0.5)))
    );

    let Some(metric::Data::Sum(sum)) = &requests_metric.data else {
        panic!("a sum")
    };
    assert!(sum.is_monotonic && sum.aggregation_temporality == cumulative);
    assert_eq!(
        sum.data_points[0].value,
        Some(number_data_point::Value::AsInt(7))
    );
    let Some(metric::Data::Sum(sum)) = &active.data else {
        panic!("a sum")
    };
    assert!(!sum.is_monotonic && sum.aggregation_temporality == cumulative);
    assert_eq!(
        sum.data_points[0].value,
        Some(number_data_point::Value::AsInt(-2))
    );
}

#[test]
fn delta_is_for_counters_and_histograms_and_never_for_up_down_sums() {
    let snapshot = snapshot(5000, 7, -2, histogram([1, 2, 0], &[]));
    let collection = Collection {
        temporality: Temporality::Delta,
        ..COLLECTION
    };
    let requests = decode_metrics(&encode_metrics(
        &cumulative(&snapshot, &mut Began::default()),
        collection,
        usize::MAX,
    ));
    let temporalities: Vec<i32> = metrics_of(&requests[0])
        .iter()
        .map(|metric| match metric.data.as_ref().unwrap() {
            metric::Data::Histogram(it) => it.aggregation_temporality,
            metric::Data::Sum(it) => it.aggregation_temporality,
            _ => panic!("no such kind"),
        })
        .collect();
    assert_eq!(temporalities, [1, 1, 2]);
}

#[test]
fn only_exemplars_since_the_last_export_are_sent_and_none_if_switched_off() {
    let snapshot = snapshot(5000, 1, 0, histogram([1, 0, 0], &[100, 200, 300]));
    let times = |exemplars_after| {
        let collection = Collection {
            exemplars_after,
            ..COLLECTION
        };
        let requests = decode_metrics(&encode_metrics(
            &cumulative(&snapshot, &mut Began::default()),
            collection,
            usize::MAX,
        ));
        let Some(metric::Data::Histogram(histogram)) = &metrics_of(&requests[0])[0].data else {
            panic!()
        };
        histogram.data_points[0]
            .exemplars
            .iter()
            .map(|it| it.time_unix_nano)
            .collect::<Vec<_>>()
    };
    assert_eq!(times(Some(0)), [100, 200, 300]);
    assert_eq!(times(Some(200)), [300]);
    assert!(times(None).is_empty());
}

#[test]
fn metric_requests_are_split_by_size_and_every_part_names_its_resource() {
    let services = ["1", "2"].map(|instance| ServiceMetrics {
        service: service("shop", instance),
        start_unix_nano: 1000,
        metrics: vec![Metric {
            instrument: &DURATION,
            points: (0..50)
                .map(|n| (route(&format!("/{n}")), histogram([n, 0, 0], &[])))
                .collect(),
        }],
    });
    let snapshot = Snapshot {
        time_unix_nano: 5000,
        services: services.to_vec(),
    };
    let whole = decode_metrics(&encode_metrics(
        &cumulative(&snapshot, &mut Began::default()),
        COLLECTION,
        usize::MAX,
    ));
    assert_eq!(
        whole[0].resource_metrics.len(),
        2,
        "many resources in one request"
    );

    let encoded = encode_metrics(
        &cumulative(&snapshot, &mut Began::default()),
        COLLECTION,
        2000,
    );
    assert!(encoded.len() > 3);
    assert!(
        encoded.iter().all(|it| it.body.len() <= 2000 + 500),
        "headers come on top of the last point"
    );
    let mut routes = Vec::new();
    for request in decode_metrics(&encoded) {
        for resource in &request.resource_metrics {
            let instance = text(
                &resource.resource.as_ref().unwrap().attributes,
                "service.instance.id",
            )
            .unwrap();
            for metric in &resource.scope_metrics[0].metrics {
                assert_eq!(metric.name, DURATION.name);
                let Some(metric::Data::Histogram(histogram)) = &metric.data else {
                    panic!()
                };
                assert!(
                    !histogram.data_points.is_empty(),
                    "no empty metric is left behind"
                );
                routes.extend(histogram.data_points.iter().map(|point| {
                    format!(
                        "{instance}{}",
                        text(&point.attributes, "http.route").unwrap()
                    )
                }));
            }
        }
    }
    let expected: Vec<String> = ["1", "2"]
        .iter()
        .flat_map(|i| (0..50).map(move |n| format!("{i}/{n}")))
        .collect();
    assert_eq!(routes, expected);
    assert_eq!(encoded.iter().map(|it| it.items).sum::<u64>(), 100);
    let empty = Snapshot::default();
    assert!(
        encode_metrics(&cumulative(&empty, &mut Began::default()), COLLECTION, 2000).is_empty(),
        "nothing to say, nothing sent"
    );
}
