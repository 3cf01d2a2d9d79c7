//! Trace contexts in headers, and the services that write them.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use observer_tests::{
    Client, Environment, Folder, Observer, Receiver, Server, Span, free_port, nginx_with, until,
};

/// What the caller of request `id` says; its trace and its span end in the request's number.
fn traceparent(id: usize) -> (String, String) {
    let trace = format!("4bf92f3577b34da6a3ce929d{id:08x}");
    let span = format!("00f067aa{id:08x}");
    (trace, span)
}

fn of<'s>(spans: &'s [Span], trace: &str, kind: &str, port: u16) -> &'s Span {
    let fits = |span: &&Span| {
        span.trace_id() == trace
            && span.kind() == kind
            && span.attribute("server.port").as_u64() == Some(port.into())
    };
    let mut found = spans.iter().filter(fits);
    let first = found.next();
    assert!(found.next().is_none(), "two {kind} spans in {trace}");
    first.unwrap_or_else(|| panic!("no {kind} span in {trace}: {spans:?}"))
}

#[test]
fn a_header_that_is_only_handed_on_hides_no_edge() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let backend = Server::stdlib("threads");
    let gateway = Server::stdlib_gateway("threads", &backend);
    let ports = [&gateway, &backend].map(|server| format!("--port={}", server.port()));
    let observer = Observer::start(&environment, &[&ports[0], &ports[1]]);
    let mut client = Client::connect(gateway.port()).unwrap();
    let all = 20;
    for id in 0..all {
        let (trace, parent) = traceparent(id);
        let header = format!("traceparent: 00-{trace}-{parent}-01\r\n");
        let answer = client.request("GET", &format!("/call/{id}"), &header);
        assert_eq!(answer.unwrap().status, 200);
    }
    observer.page_with(2 * all as u64);
    let spans = observer.stop();
    assert_eq!(spans.len(), 3 * all);
    for id in 0..all {
        let (trace, caller) = traceparent(id);
        let serving = of(&spans, &trace, "server", gateway.port());
        let calling = of(&spans, &trace, "client", backend.port());
        let behind = of(&spans, &trace, "server", backend.port());
        assert_eq!(serving.parent_span_id(), Some(&*caller));
        assert_eq!(calling.parent_span_id(), Some(serving.span_id()));
        assert_eq!(behind.parent_span_id(), Some(calling.span_id()));
    }
}

#[test]
fn b3_headers_are_honoured_single_and_multiple() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::stdlib("threads");
    let observer = Observer::watch(&environment, &server);
    let mut client = Client::connect(server.port()).unwrap();
    let (trace, parent) = traceparent(7);
    for headers in [
        format!("b3: {trace}-{parent}-1\r\n"),
        format!("X-B3-TraceId: {trace}\r\nX-B3-SpanId: {parent}\r\nX-B3-Sampled: 1\r\n"),
    ] {
        client.request("GET", "/status/200", &headers).unwrap();
    }
    observer.page_with(2);
    let spans = observer.stop();
    assert_eq!(spans.len(), 2);
    for span in spans {
        assert_eq!(span.trace_id(), trace);
        assert_eq!(span.parent_span_id(), Some(&*parent));
        assert_eq!(span.attribute("observer.parent.method"), "header");
    }
}

/// Calls through a gateway that carries the SDK, and the spans that are made after it was recognised.
fn through_sdk(environment: &Environment, arguments: &[&str]) -> (Vec<Span>, u16, u16) {
    let receiver = Receiver::start(environment);
    let backend = Server::stdlib("threads");
    let gateway = Server::sdk_gateway(environment, &backend, &receiver);
    let ports = [&gateway, &backend].map(|server| format!("--port={}", server.port()));
    let observer = Observer::start(environment, &[arguments, &[&ports[0], &ports[1]]].concat());
    let mut client = Client::connect(gateway.port()).unwrap();
    for id in 0..10 {
        client.request("GET", &format!("/call/{id}"), "").unwrap();
    }
    receiver.received(&["gateway"]);
    until("the first calls are finished", || {
        (observer.page().served(&[]) >= 20).then_some(())
    });
    for id in 10..20 {
        client.request("GET", &format!("/call/{id}"), "").unwrap();
    }
    let page = observer.page_with(40);
    assert_eq!(page.served(&["\"sdk_gateway\""]), 20, "metrics count all");
    let spans = observer.stop();
    let late = spans.into_iter().filter(|span| {
        let url = span.attribute("url.full").as_str();
        let path = url.unwrap_or_else(|| span.path());
        let id = path.rsplit('/').next().unwrap();
        id.parse::<u32>().is_ok_and(|id| id >= 10)
    });
    (late.collect(), gateway.port(), backend.port())
}

#[test]
fn a_service_with_an_sdk_keeps_its_metrics_and_its_own_spans() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (spans, _, backend) = through_sdk(&environment, &[]);
    assert_eq!(spans.len(), 10, "{spans:?}");
    for span in spans {
        assert_eq!(span.kind(), "server");
        assert_eq!(span.attribute("server.port"), backend);
        assert_eq!(span.attribute("observer.parent.method"), "header");
        assert!(span.parent_span_id().is_some());
    }
}

#[test]
fn an_instrumented_services_spans_are_made_where_that_is_asked_for() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let file = folder.file("observer.yaml", "spans: {instrumented: keep}\n");
    let file = format!("--config={}", file.display());
    let (spans, gateway, _) = through_sdk(&environment, &[&file]);
    let own = spans
        .iter()
        .filter(|span| span.attribute("server.port") == gateway)
        .count();
    assert_eq!(own, 10, "{spans:?}");
}

/// A gateway that has no SDK, behind which traces are taken at another path than in front of it.
#[test]
fn a_gateway_that_relays_traces_keeps_its_spans() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (front, back) = (Folder::new(), Folder::new());
    let (port, behind) = (free_port(), free_port());
    let http = format!("server {{ listen 127.0.0.1:{behind}; location / {{ return 200 \"\"; }} }}");
    let _collector = Server::start(&mut nginx_with(&back, &http), behind);
    let http = format!(
        "server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 \"\"; }}
        location = /v1/traces {{ proxy_pass http://127.0.0.1:{behind}; }}
        location = /collect {{ proxy_pass http://127.0.0.1:{behind}/v1/traces; }}
    }}"
    );
    for path in ["/v1/traces", "/collect"] {
        // Each time anew: what is known of a service ends with it.
        let gateway = Server::start(&mut nginx_with(&front, &http), port);
        let observer = Observer::watch(&environment, &gateway);
        let mut client = Client::connect(port).unwrap();
        for _ in 0..3 {
            assert_eq!(
                client.post(path, b"spans of the client's").unwrap().status,
                200
            );
        }
        for id in 0..10 {
            client.request("GET", &format!("/id/{id}"), "").unwrap();
        }
        observer.page_with(13);
        let spans = observer.stop();
        let own = spans.iter().filter(|span| span.path().starts_with("/id/"));
        assert_eq!(own.count(), 10, "{path}: {spans:?}");
    }
}
