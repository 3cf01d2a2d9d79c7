//! What of an exchange reaches metrics and spans.

use std::sync::mpsc::{Receiver, sync_channel};

use super::*;
use crate::{
    metrics::{Limits, Point, snapshot},
    process::Value,
    trace::{
        SamplerConfig,
        samples::{exchange, http, lookup, service},
    },
};

fn flow(exports: bool, local: Option<Local>) -> Flow {
    flow_in(None, exports, local)
}

fn flow_in(peers: Option<Arc<Peers>>, exports: bool, local: Option<Local>) -> Flow {
    let shared = FlowShared {
        lineage: Lineage::new(1 << 20),
        leave_to_sdk: true,
        tallies: Tallies::new(1),
        own_port: None,
        certificates: Certificates::default(),
        peers,
    };
    let keep_all = SamplerConfig {
        spans_per_second: None,
        slow_ns: None,
    };
    Flow::new(
        Arc::new(shared),
        0,
        Arc::new(Mutex::new(Registry::new(Limits::default()))),
        Routes::new::<&str>(&[], 200).unwrap(),
        Sampler::new(keep_all),
        exports,
        local,
    )
}

fn printed(all: bool) -> (Option<Local>, Receiver<Span>) {
    let (spans, printed) = sync_channel(16);
    let local = Local {
        spans,
        dropped: Arc::default(),
        all,
    };
    (Some(local), printed)
}

/// Spans that the duration histograms' exemplars name.
fn exemplars(flow: &Flow) -> Vec<[u8; 8]> {
    let snapshot = snapshot(&[&flow.registry.lock().unwrap()], 100, 1);
    let metrics = snapshot.services.iter().flat_map(|it| &it.metrics);
    let points = metrics.flat_map(|metric| &metric.points);
    let exemplars = points.filter_map(|(_, point)| match point {
        Point::Histogram(histogram) => Some(&histogram.exemplars),
        _ => None,
    });
    exemplars.flatten().map(|it| it.span_id).collect()
}

#[test]
fn exemplars_name_only_spans_that_are_exported() {
    let mut exporting = flow(true, None);
    exporting.exchange(&mut Known::new(service("api")), &mut exchange(Role::Server));
    let [span] = &exporting.out[..] else {
        panic!("{:?}", exporting.out)
    };
    assert_eq!(exemplars(&exporting), [span.span_id]);

    let (local, shown) = printed(false);
    let mut printing = flow(false, local);
    printing.exchange(&mut Known::new(service("api")), &mut exchange(Role::Server));
    assert!(shown.try_recv().is_ok(), "it is shown here");
    assert!(exemplars(&printing).is_empty(), "but nobody can look it up");

    let mut nowhere = flow(false, None);
    nowhere.exchange(&mut Known::new(service("api")), &mut exchange(Role::Server));
    assert!(exemplars(&nowhere).is_empty() && nowhere.out.is_empty());
}

#[test]
fn a_span_that_is_not_sampled_is_no_exemplar() {
    let mut flow = flow(true, None);
    flow.sampler = Sampler::new(SamplerConfig {
        spans_per_second: Some(0),
        slow_ns: None,
    });
    flow.exchange(&mut Known::new(service("api")), &mut exchange(Role::Server));
    assert!(exemplars(&flow).is_empty() && flow.out.is_empty());
}

#[test]
fn a_lookup_alone_is_a_metric_and_no_span() {
    let mut flow = flow(true, None);
    let mut api = Known::new(service("api"));
    flow.exchange(&mut api, &mut lookup());
    assert!(flow.out.is_empty());
    let mut called = lookup();
    called.context.parent_span_id = Some([1; 8]);
    flow.exchange(&mut api, &mut called);
    assert_eq!(flow.out.len(), 1);
}

#[test]
fn open_requests_tell_whether_tls_lies_below() {
    let flow = flow(false, None);
    let mut api = Known::new(service("api"));
    let request = exchange(Role::Server);
    let detail = request.detail.describe();
    let open = detail.open(Role::Server, true).unwrap();
    flow.started(&mut api, open);
    flow.started(&mut api, open);
    flow.ended(&mut api, open);
    let snapshot = snapshot(&[&flow.registry.lock().unwrap()], 100, 1);
    let [metric] = &snapshot.services[0].metrics[..] else {
        panic!("{snapshot:?}")
    };
    assert_eq!(metric.instrument.name, "http.server.active_requests");
    let (labels, point) = &metric.points[0];
    assert!(labels.contains(&("url.scheme", Value::Text("https".into()))));
    assert_eq!(*point, Point::UpDown(1));
}

#[test]
fn a_head_that_was_not_read_has_no_version() {
    let (local, shown) = printed(true);
    let mut flow = flow(false, local);
    let mut unread = exchange(Role::Server);
    let facts = http(&mut unread);
    (facts.method, facts.version) = ("".into(), None);
    flow.exchange(&mut Known::new(service("api")), &mut unread);
    let span = shown.try_recv().unwrap();
    let versions = span.attributes.iter().map(|(key, _)| *key);
    assert!(
        !versions
            .clone()
            .any(|key| key == "network.protocol.version")
    );
    assert!(
        versions
            .clone()
            .any(|key| key == "http.response.status_code")
    );
}

#[test]
fn where_a_service_is_counted_is_asked_again_once_it_left() {
    let mut flow = flow(false, None);
    let mut api = Known::new(service("api"));
    flow.exchange(&mut api, &mut exchange(Role::Server));
    flow.registry.lock().unwrap().expire(&|_| true);
    flow.exchange(&mut api, &mut exchange(Role::Server));
    let snapshot = snapshot(&[&flow.registry.lock().unwrap()], 100, 1);
    assert_eq!(snapshot.services.len(), 1);
}

#[test]
fn a_call_to_a_service_of_the_cluster_has_its_name_in_metric_and_span() {
    let peers = Arc::<Peers>::default();
    let tell = |name: &str| {
        let json = serde_json::json!({
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 8080}]}
        });
        let mut object: crate::kubernetes::ServiceObject = serde_json::from_value(json).unwrap();
        (object.metadata.name, object.metadata.namespace) = ("svc".into(), name.into());
        peers.apply_service(&object);
    };
    let mut flow = flow_in(Some(Arc::clone(&peers)), true, None);
    let mut web = Known::new(service("web"));
    flow.exchange(&mut web, &mut exchange(Role::Client));
    tell("shop");
    flow.exchange(&mut web, &mut exchange(Role::Client));
    flow.exchange(&mut web, &mut exchange(Role::Client));
    // Who is called is at the address of the service; who is served is not.
    flow.exchange(&mut web, &mut exchange(Role::Server));
    let of = |attributes: &[(&'static str, Value)]| -> Vec<String> {
        let all = attributes.iter();
        all.filter(|(key, _)| key.starts_with("service.peer."))
            .map(|(key, value)| match value {
                Value::Text(text) => format!("{key}={}", &**text),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let named = vec![
        "service.peer.name=svc".to_owned(),
        "service.peer.namespace=shop".to_owned(),
    ];
    let spans: Vec<_> = flow.out.iter().map(|span| of(&span.attributes)).collect();
    assert_eq!(spans, [vec![], named.clone(), named.clone(), vec![]]);
    // The address is another's by now.
    let gone = peers.name("10.0.0.1".parse().unwrap(), 8080).unwrap();
    peers.remove_service(&gone.namespace, &gone.name);
    tell("stock");
    flow.exchange(&mut web, &mut exchange(Role::Client));
    let snapshot = snapshot(&[&flow.registry.lock().unwrap()], 100, 1);
    let metrics = snapshot.services.iter().flat_map(|it| &it.metrics);
    let durations = metrics.filter(|it| it.instrument.name == "http.client.request.duration");
    let mut counts: Vec<(Vec<String>, u64)> = durations
        .flat_map(|metric| &metric.points)
        .map(|(labels, point)| match point {
            Point::Histogram(histogram) => (of(labels), histogram.count),
            other => panic!("{other:?}"),
        })
        .collect();
    counts.sort();
    let stock = vec![
        "service.peer.name=svc".to_owned(),
        "service.peer.namespace=stock".to_owned(),
    ];
    assert_eq!(counts, [(vec![], 1), (named, 2), (stock, 1)]);
}
