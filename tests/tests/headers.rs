//! Trace contexts in headers, and the services that write them.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::io::{IoSlice, Write};
use std::net::TcpStream;

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

/// How a client writes a head.
#[derive(Clone, Copy, Debug)]
enum Ways {
    /// In one call.
    Once,
    /// In so many calls, one after the other.
    Calls(usize),
    /// In one call, from so many buffers.
    Buffers(usize),
}

fn write(stream: &mut TcpStream, head: &[u8], way: Ways) {
    let pieces = |count: usize| head.chunks(head.len().div_ceil(count));
    match way {
        Ways::Once => stream.write_all(head).unwrap(),
        Ways::Calls(count) => pieces(count).for_each(|piece| stream.write_all(piece).unwrap()),
        Ways::Buffers(count) => {
            let buffers: Vec<IoSlice<'_>> = pieces(count).map(IoSlice::new).collect();
            assert_eq!(stream.write_vectored(&buffers).unwrap(), head.len());
        }
    }
}

#[test]
fn a_trace_context_behind_15_kilobytes_is_found_however_the_head_is_written() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    // Node reads up to 64 KiB at once, Python 8.
    let servers = [Server::node(), Server::stdlib("threads")];
    let own = format!("--pid={}", std::process::id());
    let ports = [&servers[0], &servers[1]].map(|server| format!("--port={}", server.port()));
    // This process writes its contexts itself, as one with an SDK does.
    let folder = Folder::new();
    let file = folder.file("observer.yaml", "spans: {instrumented: keep}\n");
    let file = format!("--config={}", file.display());
    let observer = Observer::start(&environment, &[&file, &own, &ports[0], &ports[1]]);
    let mut sent = Vec::new();
    for server in &servers {
        for kilobytes in [1, 7, 9, 12, 15] {
            for way in [
                Ways::Once,
                Ways::Calls(324),
                Ways::Buffers(9),
                Ways::Buffers(324),
            ] {
                let (trace, parent) = traceparent(sent.len());
                let cookies = "c".repeat(kilobytes << 10);
                let head = format!(
                    "GET /bytes/{kilobytes} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\n\
                     traceparent: 00-{trace}-{parent}-01\r\n\r\n"
                );
                let mut client = Client::connect(server.port()).unwrap();
                write(client.stream(), head.as_bytes(), way);
                assert_eq!(client.read_response("GET").unwrap().0, 200, "{way:?}");
                sent.push((trace, parent, server.port(), kilobytes, way));
            }
        }
    }
    observer.page_with(sent.len() as u64);
    let spans = observer.stop();
    for (trace, parent, port, kilobytes, way) in sent {
        for kind in ["client", "server"] {
            let fits = |span: &&Span| span.kind() == kind && span.trace_id() == trace;
            let found: Vec<&Span> = spans.iter().filter(fits).collect();
            let what = format!("{kind} of port {port}, {kilobytes} KiB, {way:?}");
            assert_eq!(found.len(), 1, "{what}: {found:?}");
            assert!(!found[0].is_incomplete(), "{what}: {:?}", found[0]);
            assert_eq!(found[0].method(), "GET", "{what}");
            if kind == "client" {
                assert_eq!(found[0].parent_span_id(), Some(&*parent), "{what}");
            }
        }
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
