//! Calls whose parent can't be known: a link says what they may have been made for, and nothing else does.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use observer_tests::{Client, Environment, Folder, Observer, Receiver, Server, Span};
use serde_json::{Value, json};

/// A trace that somebody else began, and the span in it that asks.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// What a service did for one request.
struct Request {
    served: Span,
    first_call: Span,
    second_call: Span,
}

/// Two requests, the second of them with a header, to a service that asks its backend twice for each while a timer fires.
fn ask(environment: &Environment, arguments: &[&str]) -> [Request; 2] {
    let backend = Server::stdlib("threads");
    let server = Server::node_twice(&backend);
    let port = format!("--port={}", server.port());
    let observer = Observer::start(environment, &[&[port.as_str()], arguments].concat());
    let mut client = Client::connect(server.port()).unwrap();
    let header = format!("traceparent: 00-{TRACE}-{CALLER}-01\r\n");
    client.request("GET", "/twice/20", "").unwrap();
    client.request("GET", "/twice/30", &header).unwrap();
    let page = observer.page_with(2);
    let spans = observer.stop();
    let links = spans.iter().filter(|span| span.link().is_some()).count();
    let counted = page.sum("observer_inferred_links", &["method=\"last_resumed\""]);
    assert_eq!(counted as usize, links);
    let of_kind = |kind: &str, path: &str| {
        let is_wanted = |span: &&Span| {
            let url = span.attribute("url.full").as_str().unwrap_or(span.path());
            span.kind() == kind && url.contains(path)
        };
        let mut found: Vec<Span> = spans.iter().filter(is_wanted).cloned().collect();
        found.sort_by_key(Span::start_unix_nano);
        assert_eq!(found.len(), 2, "{kind} {path} in {spans:?}");
        found
    };
    let served = of_kind("server", "/twice/");
    let (first, second) = (of_kind("client", "/sleep/"), of_kind("client", "/status/"));
    [0, 1].map(|at| Request {
        served: served[at].clone(),
        first_call: first[at].clone(),
        second_call: second[at].clone(),
    })
}

#[test]
fn a_call_after_others_ran_has_a_link_and_no_parent() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let receiver = Receiver::start(&environment);
    let endpoint = format!("--otlp-endpoint=http://127.0.0.1:{}", receiver.port());
    let requests = ask(&environment, &[&endpoint, "--otlp-protocol=http/protobuf"]);
    let calls: Vec<&str> = requests
        .iter()
        .map(|request| request.second_call.span_id())
        .collect();
    let received = receiver.received(&calls);
    let exported: Vec<Value> = received
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    for request in &requests {
        let (served, call) = (&request.served, &request.second_call);
        assert_eq!(request.first_call.parent_span_id(), Some(served.span_id()));
        assert_eq!(request.first_call.link(), None);
        assert_eq!(call.parent_span_id(), None);
        assert_ne!(call.trace_id(), served.trace_id());
        assert_eq!(call.link(), Some((served.trace_id(), served.span_id())));
        let exported = exported
            .iter()
            .find(|span| span["spanId"] == call.span_id());
        let exported = exported.unwrap();
        assert_eq!(exported["parentSpanId"], "");
        assert_eq!(
            exported["links"],
            json!([{
                "traceId": served.trace_id(),
                "spanId": served.span_id(),
                "traceState": "",
                "attributes": [
                    {"key": "observer.link.inferred", "value": {"boolValue": true}},
                    {"key": "observer.link.method", "value": {"stringValue": "last_resumed"}},
                ],
                "droppedAttributesCount": 0,
                "flags": 0x101,
            }])
        );
    }
    assert_eq!(requests[1].served.trace_id(), TRACE, "the header's");
}

#[test]
fn there_are_no_links_where_none_are_wanted() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let file = folder.file("observer.yaml", "spans: {inferred_links: off}\n");
    for request in ask(&environment, &[&format!("--config={}", file.display())]) {
        let parent = request.first_call.parent_span_id();
        assert_eq!(parent, Some(request.served.span_id()));
        assert_eq!(request.second_call.parent_span_id(), None);
        assert_eq!(request.second_call.link(), None);
    }
}
