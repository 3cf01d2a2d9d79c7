//! Spans that hang together, and counts that are exact.

use std::collections::HashMap;

use observer_tests::{Client, Span};

use crate::behaviour::{Behaviour, Drive};
use crate::connections::{BEGAN_BEFORE, YOUNGER};
use crate::rings::WAYS;
use crate::stage::Stage;

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "traceparent honoured",
        drive: header,
    },
    Behaviour {
        name: "one trace over gateway and backend",
        drive: handoff,
    },
    Behaviour {
        name: "one trace across TLS",
        drive: over_tls,
    },
    Behaviour {
        name: "metrics count every exchange, nothing is lost",
        drive: exact,
    },
];

fn header(stage: &Stage) -> Drive {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";
    let port = stage.python.port();
    let mut client = Client::connect(port).unwrap();
    let headers = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    client.request("GET", "/status/418", &headers).unwrap();
    Drive::check(1, move |evidence| {
        let spans = evidence.served(port, "/status/418");
        assert_eq!(spans.len(), 1);
        let ids = (spans[0].trace_id(), spans[0].parent_span_id());
        assert_eq!(ids, (TRACE, Some(PARENT)));
    })
}

const CONNECTIONS: usize = 4;
const EACH: usize = 10;

fn handoff(stage: &Stage) -> Drive {
    let port = stage.gateway.port();
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Client::connect(port).unwrap();
                for request in 0..EACH {
                    let path = format!("/call/{}", connection * EACH + request);
                    assert_eq!(client.request("GET", &path, "").unwrap().status, 200);
                }
            });
        }
    });
    // Each request is served by the gateway and by its backend.
    Drive::check(2 * CONNECTIONS * EACH, |evidence| {
        let mut by_request: HashMap<&str, Vec<&Span>> = HashMap::new();
        for span in &evidence.spans {
            if let Some(id) = id(span) {
                by_request.entry(id).or_default().push(span);
            }
        }
        assert_eq!(by_request.len(), CONNECTIONS * EACH, "requests seen");
        for (id, spans) in by_request {
            assert_chain(id, &spans);
        }
    })
}

/// The hop over TLS is seen as the others: each request is one trace, from the gateway to the backend behind it.
fn over_tls(stage: &Stage) -> Drive {
    let port = stage.tls_gateway.port();
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Client::connect(port).unwrap();
                for request in 0..EACH {
                    let path = format!("/over-tls/{}", connection * EACH + request);
                    assert_eq!(client.request("GET", &path, "").unwrap().status, 200);
                }
            });
        }
    });
    let (ender, backend) = (stage.tls_ender.port(), stage.prefork.port());
    // Served in the open, over TLS, and in the open.
    Drive::check(3 * CONNECTIONS * EACH, move |evidence| {
        let [before, over, behind] = [port, ender, backend].map(|port| {
            let served = by_path(evidence.served(port, "/over-tls/"));
            assert_eq!(served.len(), CONNECTIONS * EACH, "requests on {port}");
            served
        });
        let spans = evidence.spans.iter();
        let by_id: HashMap<&str, &Span> = spans.map(|span| (span.span_id(), span)).collect();
        // The call that a served request came by, and what that was made for.
        let caller = |span: &Span| {
            let call = by_id[span.parent_span_id().unwrap_or_default()];
            (call, call.parent_span_id())
        };
        for (path, served) in behind {
            let (call, made_for) = caller(served);
            let method = call.attribute("observer.parent.method");
            let joined = made_for == Some(over[path].span_id());
            assert!(joined, "{path}: the parent is lost, method {method}");
            let (call, made_for) = caller(over[path]);
            let method = call.attribute("observer.parent.method");
            let joined = made_for == Some(before[path].span_id())
                && served.trace_id() == before[path].trace_id();
            assert!(
                joined,
                "{path} over TLS: the parent is lost, method {method}"
            );
        }
    })
}

fn by_path(spans: Vec<&Span>) -> HashMap<&str, &Span> {
    spans.into_iter().map(|span| (span.path(), span)).collect()
}

/// The request that a span belongs to, for those of the gateway and its backend.
fn id(span: &Span) -> Option<&str> {
    let path = match span.kind() {
        "client" => span.attribute("url.full").as_str()?,
        _ => span.path(),
    };
    let (start, id) = path.rsplit_once('/')?;
    ["/call", "/id"]
        .iter()
        .any(|end| start.ends_with(end))
        .then_some(id)
}

/// Gateway, its call, backend: one trace, each the parent of the next.
fn assert_chain(id: &str, spans: &[&Span]) {
    let find = |kind: &str, is_gateway: bool| {
        let fits = |span: &&&Span| {
            span.kind() == kind
                && (kind == "client" || span.path().starts_with("/call") == is_gateway)
        };
        let found = spans.iter().find(fits);
        *found.unwrap_or_else(|| panic!("request {id}: no {kind} span of {spans:?}"))
    };
    assert_eq!(spans.len(), 3, "request {id}: {spans:?}");
    let (gateway, call, backend) = (
        find("server", true),
        find("client", false),
        find("server", false),
    );
    for (name, child, parent) in [("call", call, gateway), ("backend", backend, call)] {
        let joined = child.trace_id() == parent.trace_id()
            && child.parent_span_id() == Some(parent.span_id());
        let method = child.attribute("observer.parent.method");
        assert!(
            joined,
            "request {id}: the {name}'s parent is lost, method {method}"
        );
    }
}

/// All but those that tiers may miss, which are looked at by themselves.
fn exact(stage: &Stage) -> Drive {
    let rings: Vec<u16> = WAYS
        .iter()
        .filter_map(|way| Some(stage.raw[way].as_ref().ok()?.port()))
        .collect();
    Drive::check(0, move |evidence| {
        let served = evidence.spans.iter().filter(|span| span.kind() == "server");
        let is_apart = |span: &&Span| {
            let is_ring = rings
                .iter()
                .any(|port| span.attribute("server.port") == *port);
            is_ring || [YOUNGER, BEGAN_BEFORE].contains(&span.path())
        };
        let (apart, others): (Vec<&Span>, Vec<&Span>) = served.partition(is_apart);
        // What was not seen, the daemon must have said; nothing else may be lost.
        let mut losses = evidence.page.losses();
        losses.retain(|(series, count)| {
            // In the syscall tier the one read that began before the daemon.
            let began_before = series.contains("descriptor_changed") && *count <= 1.0;
            !series.contains("program_missed") && !began_before
        });
        let seen = others.len() as u64;
        assert!(
            seen <= evidence.driven && seen + evidence.missed() >= evidence.driven,
            "{seen} spans, {} exchanges driven; {} calls missed, lost: {losses:?}",
            evidence.driven,
            evidence.missed()
        );
        let all = (apart.len() + others.len()) as u64;
        assert_eq!(evidence.page.served(&[]), all, "counted, spans");
        assert!(losses.is_empty(), "{losses:?}");
    })
}
