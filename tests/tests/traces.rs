//! Spans that hang together, and never wrongly.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::HashMap;

use observer_tests::{Client, Environment, Observer, Server, Span, until};

const CONNECTIONS: usize = 8;
const EACH: usize = 40;

/// Sends requests `/call/ID` over several connections at once and returns all spans of both services.
fn trace(environment: &Environment, gateway: &Server, backend: &Server) -> Vec<Span> {
    let ports = [gateway, backend].map(|server| format!("--port={}", server.port()));
    let observer = Observer::start(environment, &[&ports[0], &ports[1]]);
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Client::connect(gateway.port()).unwrap();
                for request in 0..EACH {
                    let id = connection * EACH + request;
                    let answer = client.request("GET", &format!("/call/{id}"), "").unwrap();
                    assert_eq!(answer.status, 200);
                }
            });
        }
    });
    let all = (CONNECTIONS * EACH) as u64;
    observer.page_with(2 * all);
    until("the gateway's calls are counted", || {
        let page = observer.page();
        let calls = page.sum("http_client_request_duration_seconds_count", &[]);
        (calls as u64 >= all).then_some(())
    });
    let spans = observer.stop();
    assert_eq!(spans.len() as u64, 3 * all);
    spans
}

/// The request that a span belongs to, as the test numbered it.
fn id(span: &Span) -> &str {
    let path = match span.kind() {
        "client" => span.attribute("url.full").as_str().unwrap(),
        _ => span.path(),
    };
    path.rsplit('/').next().unwrap()
}

/// How many spans have a parent. A parent of another request, which would be a lie, fails the test.
fn assert_parents_are_true(spans: &[Span]) -> usize {
    let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id(), span)).collect();
    let mut traces: HashMap<&str, &str> = HashMap::new();
    for span in spans {
        let first = traces.entry(span.trace_id()).or_insert(id(span));
        assert_eq!(*first, id(span), "one trace, two requests: {span:?}");
    }
    let parent = |span: &Span| {
        let parent = by_id[span.parent_span_id()?];
        assert_eq!(id(parent), id(span), "{parent:?} is no parent of {span:?}");
        assert_eq!(parent.trace_id(), span.trace_id());
        assert!(parent.start_unix_nano() <= span.start_unix_nano());
        Some(())
    };
    spans.iter().filter_map(parent).count()
}

/// Every request is one trace: gateway, its call, backend.
fn assert_whole_traces(spans: &[Span]) {
    let all = CONNECTIONS * EACH;
    assert_eq!(assert_parents_are_true(spans), 2 * all);
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    for span in spans {
        *sizes.entry(span.trace_id()).or_default() += 1;
    }
    assert_eq!(sizes.len(), all);
    assert!(sizes.values().all(|size| *size == 3));
}

#[test]
fn a_threaded_gateway_and_its_backend_give_whole_traces() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let backend = Server::stdlib("threads");
    let gateway = Server::stdlib_gateway("threads", &backend);
    assert_whole_traces(&trace(&environment, &gateway, &backend));
}

#[test]
fn a_gateway_before_an_epoll_backend_gives_whole_traces() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let backend = Server::go(&environment);
    let gateway = Server::stdlib_gateway("pool", &backend);
    assert_whole_traces(&trace(&environment, &gateway, &backend));
}

#[test]
fn an_event_loop_gateway_gets_no_wrong_parent() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let backend = Server::stdlib("threads");
    let gateway = Server::node_gateway(&backend);
    let spans = trace(&environment, &gateway, &backend);
    // Which request a call belongs to may stay unknown, but call and backend are two ends of one connection.
    assert!(assert_parents_are_true(&spans) >= CONNECTIONS * EACH);
}
