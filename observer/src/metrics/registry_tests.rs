//! What is counted, where it overflows, what threads add up to.

use observer_protocol::dns::ResponseCode;

use super::*;
use crate::{
    identity::{Address, Role},
    metrics::{HistogramPoint, Metric, Point, ServiceMetrics, Snapshot, snapshot},
    protocol::http1::HttpVersion,
    trace::samples::{dns, exchange, http, instance, lookup, service},
};

const NOW: u64 = 1_700_000_000_000_000_000;

fn taken(registries: &[&Registry]) -> Snapshot {
    snapshot(registries, Limits::default().series, NOW + 5)
}

fn metric<'a>(service: &'a ServiceMetrics, name: &str) -> Option<&'a Metric> {
    service
        .metrics
        .iter()
        .find(|metric| metric.instrument.name == name)
}

fn histogram(point: &Point) -> &HistogramPoint {
    match point {
        Point::Histogram(histogram) => histogram,
        other => panic!("{other:?}"),
    }
}

fn texts(attributes: &[(&'static str, Value)]) -> Vec<String> {
    attributes
        .iter()
        .map(|(key, value)| match value {
            Value::Text(text) => format!("{key}={text}"),
            Value::Int(int) => format!("{key}={int}"),
            Value::Bool(truth) => format!("{key}={truth}"),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_server_exchange_fills_the_conventions_instruments() {
    let mut registry = Registry::default();
    let route: Arc<str> = "/users/{id}".into();
    let api = service("api");
    for _ in 0..2 {
        registry.record(&api, &exchange(Role::Server), Some(&route), false, NOW);
    }
    let snapshot = taken(&[&registry]);
    let [service] = &snapshot.services[..] else {
        panic!("{snapshot:?}")
    };
    assert_eq!(
        (service.start_unix_nano, snapshot.time_unix_nano),
        (NOW, NOW + 5)
    );
    let duration = metric(service, "http.server.request.duration").unwrap();
    assert_eq!(duration.instrument.unit, "s");
    let [(attributes, point)] = &duration.points[..] else {
        panic!("{duration:?}")
    };
    assert_eq!(
        texts(attributes),
        [
            "http.request.method=GET",
            "http.response.status_code=200",
            "http.route=/users/{id}",
            "network.protocol.version=1.1",
            "url.scheme=http",
        ]
    );
    let point = histogram(point);
    assert_eq!(
        (point.count, point.buckets[3], point.buckets.len()),
        (2, 2, 15)
    );
    assert!((point.sum - 0.06).abs() < 1e-9 && point.exemplars.is_empty());
    let size = metric(service, "http.server.response.body.size").unwrap();
    assert_eq!(histogram(&size.points[0].1).sum, 1024.0);
    let size = metric(service, "http.server.request.body.size").unwrap();
    assert_eq!(histogram(&size.points[0].1).buckets[0], 2);
    assert!(metric(service, "http.client.request.duration").is_none());
}

#[test]
fn a_client_series_names_its_server_and_error_but_no_route() {
    let mut registry = Registry::default();
    let mut failed = exchange(Role::Client);
    http(&mut failed).status = Some(404);
    registry.record(&service("web"), &failed, Some(&"/x".into()), false, NOW);
    let snapshot = taken(&[&registry]);
    let duration = metric(&snapshot.services[0], "http.client.request.duration").unwrap();
    assert_eq!(
        texts(&duration.points[0].0),
        [
            "error.type=404",
            "http.request.method=GET",
            "http.response.status_code=404",
            "network.protocol.version=1.1",
            "server.address=api.example.com",
            "server.port=8080",
            "url.scheme=http",
        ]
    );
}

#[test]
fn lookups_are_counted_by_name_and_error_and_have_room_of_their_own() {
    let limits = Limits {
        series: 2,
        ..Limits::default()
    };
    let mut registry = Registry::new(limits);
    let api = service("api");
    let record = |registry: &mut Registry, exchange: &Exchange| {
        registry.record(&api, exchange, None, false, NOW);
    };
    let mut missing = lookup();
    dns(&mut missing).response_code = Some(ResponseCode::NAME_ERROR);
    let mut silent = lookup();
    dns(&mut silent).response_code = None;
    silent.incomplete = Some(Incomplete::Unanswered);
    silent.times.response_end = None;
    for exchange in [&lookup(), &lookup(), &missing, &silent] {
        record(&mut registry, exchange);
    }
    let mut other = lookup();
    dns(&mut other).question.name = "example.org".into();
    record(&mut registry, &other);
    record(&mut registry, &exchange(Role::Client));
    let snapshot = taken(&[&registry]);
    let [service] = &snapshot.services[..] else {
        panic!("{snapshot:?}")
    };
    let lookups = metric(service, "dns.lookup.duration").unwrap();
    let points = lookups.points.iter();
    let points: Vec<_> = points
        .map(|(attributes, point)| (texts(attributes).join(" "), histogram(point).count))
        .collect();
    let expected = [
        ("dns.question.name=example.com", 2),
        ("dns.question.name=example.com error.type=NXDOMAIN", 1),
        ("otel.metric.overflow=true", 1),
    ];
    for (attributes, count) in expected {
        assert!(
            points.contains(&(attributes.to_owned(), count)),
            "{points:?}"
        );
    }
    assert_eq!(points.len(), expected.len());
    let client = metric(service, "http.client.request.duration").unwrap();
    assert_eq!(client.points.len(), 1);
    let incomplete = metric(service, "observer.exchanges.incomplete").unwrap();
    assert_eq!(
        texts(&incomplete.points[0].0),
        ["observer.incomplete=unanswered"]
    );
}

#[test]
fn series_differ_exactly_where_their_attributes_do() {
    let mut registry = Registry::default();
    let web = service("web");
    let base = exchange(Role::Client);
    let mut variants = vec![base.clone()];
    let mut vary = |change: &dyn Fn(&mut Exchange)| {
        let mut variant = base.clone();
        change(&mut variant);
        variants.push(variant);
    };
    vary(&|e| http(e).status = Some(201));
    vary(&|e| http(e).status = None);
    vary(&|e| http(e).method = "POST".into());
    vary(&|e| http(e).version = Some(HttpVersion::V1_0));
    vary(&|e| http(e).set_host(Some("other")));
    vary(&|e| http(e).set_host(None));
    vary(&|e| e.peer = Address::Inet("10.0.0.1:81".parse().unwrap()));
    vary(&|e| e.incomplete = Some(Incomplete::Reset));
    vary(&|e| e.incomplete = Some(Incomplete::Closed));
    vary(&|e| {
        http(e).set_host(None);
        e.peer = Address::Unix("/a".into());
    });
    vary(&|e| {
        http(e).set_host(None);
        e.peer = Address::Unknown;
    });
    vary(&|e| e.role = Role::Server);
    for exchange in variants.iter().chain(&variants) {
        registry.record(&web, exchange, None, false, NOW);
    }
    assert_eq!(registry.series_count(), variants.len());
    // The same after the cache: other pointers to the same route, other ways to write the same server.
    let mut same = base.clone();
    http(&mut same).set_host(Some("api.example.com:8080"));
    registry.record(&web, &same, None, false, NOW);
    assert_eq!(registry.series_count(), variants.len());
    let snapshot = taken(&[&registry]);
    let points = |name| metric(&snapshot.services[0], name).unwrap().points.clone();
    let counts: Vec<u64> = points("http.client.request.duration")
        .iter()
        .map(|p| histogram(&p.1).count)
        .collect();
    assert_eq!(counts.iter().sum::<u64>(), 2 * 12 + 1);
    assert_eq!(points("http.server.request.duration").len(), 1);
}

#[test]
fn incomplete_exchanges_are_counted_and_nothing_is_invented() {
    let mut registry = Registry::default();
    let api = service("api");
    let mut abandoned = exchange(Role::Server);
    abandoned.incomplete = Some(Incomplete::Abandoned);
    let mut lost_head = exchange(Role::Server);
    lost_head.incomplete = Some(Incomplete::LostBytes);
    http(&mut lost_head).method = "".into();
    let mut cut = exchange(Role::Server);
    cut.incomplete = Some(Incomplete::Closed);
    http(&mut cut).status = None;
    http(&mut cut).response_body_size = None;
    let mut unfinished = cut.clone();
    unfinished.incomplete = Some(Incomplete::Reset);
    unfinished.times.response_end = None;
    for exchange in [&abandoned, &lost_head, &cut, &unfinished] {
        registry.record(&api, exchange, None, false, NOW);
    }
    let snapshot = taken(&[&registry]);
    let service = &snapshot.services[0];
    let duration = metric(service, "http.server.request.duration").unwrap();
    let [(attributes, point)] = &duration.points[..] else {
        panic!("{duration:?}")
    };
    assert_eq!(histogram(point).count, 1);
    let attributes = texts(attributes);
    assert!(attributes.contains(&"error.type=connection_closed".into()));
    assert!(
        !attributes
            .iter()
            .any(|a| a.starts_with("http.response.status_code"))
    );
    assert!(metric(service, "http.server.response.body.size").is_none());
    let incomplete = metric(service, "observer.exchanges.incomplete").unwrap();
    let reasons: Vec<_> = incomplete
        .points
        .iter()
        .map(|(a, p)| (texts(a)[0].clone(), p.clone()))
        .collect();
    let one = |reason: &str| (format!("observer.incomplete={reason}"), Point::Counter(1));
    assert_eq!(
        reasons,
        [
            one("lost_bytes"),
            one("closed"),
            one("reset"),
            one("abandoned")
        ]
    );
}

#[test]
fn beyond_the_cap_everything_goes_to_the_overflow_series() {
    let mut registry = Registry::new(Limits {
        series: 10,
        ..Limits::default()
    });
    let api = service("api");
    for n in 0..1_000 {
        let route: Arc<str> = format!("/{n}").into();
        registry.record(&api, &exchange(Role::Server), Some(&route), false, NOW);
        let mut call = exchange(Role::Client);
        http(&mut call).set_host(Some(&format!("host-{n}")));
        registry.record(&api, &call, None, false, NOW);
    }
    assert_eq!(registry.series_count(), 20);
    let snapshot = snapshot(&[&registry], 10, NOW);
    for name in [
        "http.server.request.duration",
        "http.client.request.duration",
    ] {
        let points = &metric(&snapshot.services[0], name).unwrap().points;
        assert_eq!(points.len(), 11);
        let (attributes, overflow) = points.last().unwrap();
        assert_eq!(texts(attributes), ["otel.metric.overflow=true"]);
        assert_eq!(histogram(overflow).count, 990);
        assert_eq!(
            points.iter().map(|p| histogram(&p.1).count).sum::<u64>(),
            1_000
        );
    }
}

#[test]
fn threads_together_keep_to_the_cap_and_never_count_backwards() {
    let limits = Limits {
        series: 10,
        ..Limits::default()
    };
    let (mut a, mut b) = (Registry::new(limits), Registry::new(limits));
    let api = service("api");
    let mut before: HashMap<String, u64> = HashMap::default();
    for n in 0..40u64 {
        let route: Arc<str> = format!("/{}", n % 15).into();
        let registry = if n % 2 == 0 { &mut a } else { &mut b };
        registry.record(&api, &exchange(Role::Server), Some(&route), false, NOW + n);
        let snapshot = snapshot(&[&a, &b], 10, NOW + n);
        let points = &metric(&snapshot.services[0], "http.server.request.duration")
            .unwrap()
            .points;
        assert!(points.len() <= 11);
        let now: HashMap<String, u64> = points
            .iter()
            .map(|(key, point)| (texts(key).join(","), histogram(point).count))
            .collect();
        assert_eq!(now.values().sum::<u64>(), n + 1);
        for (key, count) in &before {
            assert!(now.get(key).is_some_and(|now| now >= count), "{key}");
        }
        before = now;
    }
}

#[test]
fn two_threads_add_up_and_the_newest_identity_is_told() {
    let (mut a, mut b) = (Registry::default(), Registry::default());
    let early = service("api");
    let mut late = Arc::into_inner(service("api")).unwrap();
    late.attributes
        .push(("telemetry.sdk.language", Value::Text("go".into())));
    a.record(&early, &exchange(Role::Server), None, false, NOW);
    b.record(
        &Arc::new(late),
        &exchange(Role::Server),
        None,
        true,
        NOW + 1,
    );
    let snapshot = taken(&[&a, &b]);
    let [service] = &snapshot.services[..] else {
        panic!("{snapshot:?}")
    };
    assert_eq!(
        (service.service.attributes.len(), service.start_unix_nano),
        (3, NOW)
    );
    let point = histogram(
        &metric(service, "http.server.request.duration")
            .unwrap()
            .points[0]
            .1,
    );
    assert_eq!((point.count, point.exemplars.len()), (2, 1));
    assert_eq!(
        (
            point.exemplars[0].trace_id,
            point.exemplars[0].time_unix_nano
        ),
        ([0xab; 16], NOW + 1)
    );
}

#[test]
fn active_requests_go_up_and_down_but_never_below_zero() {
    let mut registry = Registry::default();
    let api = service("api");
    let open = |role, method: &str, tls| {
        let mut request = exchange(role);
        http(&mut request).method = method.to_owned().into();
        request.detail.describe().open(role, tls)
    };
    let get = open(Role::Server, "GET", false).unwrap();
    let brew = open(Role::Server, "BREW", true).unwrap();
    registry.request_ended(&api, get, NOW);
    registry.request_started(&api, get, NOW);
    registry.request_started(&api, get, NOW);
    registry.request_started(&api, brew, NOW);
    assert_eq!(open(Role::Client, "GET", false), None);
    registry.request_ended(&api, get, NOW);
    registry.request_ended(&api, brew, NOW);
    registry.request_ended(&api, brew, NOW);
    let snapshot = taken(&[&registry]);
    let points = &metric(&snapshot.services[0], "http.server.active_requests")
        .unwrap()
        .points;
    let points: Vec<_> = points
        .iter()
        .map(|(key, point)| (texts(key).join(" "), point.clone()))
        .collect();
    assert_eq!(
        points,
        [
            (
                "http.request.method=GET url.scheme=http".into(),
                Point::UpDown(1)
            ),
            (
                "http.request.method=_OTHER url.scheme=https".into(),
                Point::UpDown(0)
            ),
        ]
    );
}

#[test]
fn services_beyond_their_cap_are_added_up_by_name() {
    let mut registry = Registry::new(Limits {
        services: 3,
        ..Limits::default()
    });
    for child in 0..1_000 {
        registry.record(
            &instance("forker", &format!("{child}")),
            &exchange(Role::Server),
            None,
            false,
            NOW,
        );
    }
    for name in 0..1_000 {
        registry.record(
            &service(&format!("name-{name}")),
            &exchange(Role::Server),
            None,
            false,
            NOW,
        );
    }
    let snapshot = taken(&[&registry]);
    let count = |s: &ServiceMetrics| {
        histogram(&metric(s, "http.server.request.duration").unwrap().points[0].1).count
    };
    assert_eq!(snapshot.services.len(), 3 + 256 + 1);
    assert_eq!(snapshot.services.iter().map(count).sum::<u64>(), 2_000);
    let folded = snapshot
        .services
        .iter()
        .find(|s| &*s.service.name == "forker" && &*s.service.instance_id == OVERFLOW);
    assert_eq!(folded.map(count), Some(997));
}

#[test]
fn dead_services_leave_with_all_they_held() {
    let mut registry = Registry::default();
    let (old, young) = (service("old"), service("young"));
    registry.record(&old, &exchange(Role::Server), None, false, NOW);
    registry.record(&young, &exchange(Role::Server), None, false, NOW);
    registry.expire(&|service| &*service.name == "old");
    assert_eq!((Arc::strong_count(&old), registry.series_count()), (1, 1));
    let snapshot = taken(&[&registry]);
    assert_eq!(snapshot.services.len(), 1);
    assert_eq!(&*snapshot.services[0].service.name, "young");
    // Its place is taken again, and it may come back.
    registry.record(&old, &exchange(Role::Server), None, false, NOW + 1);
    assert_eq!(registry.entries.len(), 2);
    assert_eq!(taken(&[&registry]).services[0].start_unix_nano, NOW + 1);
}

#[test]
fn many_arcs_of_one_process_stay_one_service() {
    let mut registry = Registry::default();
    let arcs: Vec<_> = (0..100).map(|_| service("api")).collect();
    for arc in &arcs {
        registry.record(arc, &exchange(Role::Server), None, false, NOW);
    }
    assert_eq!(
        (registry.series_count(), registry.by_pointer.len()),
        (1, ALIASES)
    );
    assert_eq!(
        arcs.iter().filter(|arc| Arc::strong_count(arc) > 1).count(),
        ALIASES
    );
}
