//! Spans against the conventions' tables.

use observer_protocol::dns::ResponseCode;

use super::*;
use crate::{
    exchange::ParentMethod,
    identity::{Address, Role},
    trace::{
        SpanKind,
        samples::{dns, exchange, http, lookup, service},
    },
};

const CLOCK: Clock = Clock {
    offset_ns: 1_700_000_000_000_000_000,
};

fn span(exchange: &Exchange, route: Option<&str>) -> Span {
    synthesize(
        exchange,
        &service("api"),
        route.map(Arc::from).as_ref(),
        CLOCK,
    )
    .unwrap()
}

/// `key=value` lines, sorted.
fn table(span: &Span) -> Vec<String> {
    let mut lines: Vec<String> = span
        .attributes
        .iter()
        .map(|(key, value)| match value {
            Value::Text(text) => format!("{key}={text}"),
            Value::Int(int) => format!("{key}={int}"),
            Value::Double(double) => format!("{key}={double}"),
            other => panic!("{other:?}"),
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_server_span_follows_the_conventions() {
    let span = span(&exchange(Role::Server), Some("/users/{id}"));
    assert_eq!(&*span.name, "GET /users/{id}");
    assert_eq!(span.kind, SpanKind::Server);
    assert_eq!(span.start_unix_nano, 1_700_000_001_000_000_000);
    assert_eq!(span.end_unix_nano, 1_700_000_001_030_000_000);
    assert_eq!((span.error.as_deref(), span.flags), (None, 1));
    assert_eq!(
        table(&span),
        [
            "client.address=10.0.0.2",
            "client.port=40000",
            "http.request.body.size=0",
            "http.request.method=GET",
            "http.response.body.size=512",
            "http.response.status_code=200",
            "http.route=/users/{id}",
            "network.peer.address=10.0.0.2",
            "network.peer.port=40000",
            "network.protocol.version=1.1",
            "network.transport=tcp",
            "observer.parent.method=none",
            "observer.response.first_byte=0.02",
            "server.address=api.example.com",
            "server.port=8080",
            "url.path=/users/42",
            "url.scheme=http",
            "user_agent.original=curl/8",
        ]
    );
}

#[test]
fn a_client_span_has_a_full_url_and_no_route() {
    let span = span(&exchange(Role::Client), Some("/users/{id}"));
    assert_eq!(&*span.name, "GET");
    assert_eq!(span.kind, SpanKind::Client);
    let table = table(&span);
    for expected in [
        "url.full=http://api.example.com:8080/users/42",
        "server.address=api.example.com",
        "server.port=8080",
        "network.peer.address=10.0.0.1",
        "network.peer.port=8080",
    ] {
        assert!(
            table.iter().any(|line| line == expected),
            "{expected} in {table:#?}"
        );
    }
    for absent in ["http.route", "url.path", "client.address"] {
        assert!(
            !table.iter().any(|line| line.starts_with(absent)),
            "{absent}"
        );
    }
}

#[test]
fn a_lookup_tells_what_was_asked_and_how_it_went() {
    let mut exchange = lookup();
    let found = span(&exchange, None);
    assert_eq!((&*found.name, found.kind), ("DNS AAAA", SpanKind::Client));
    assert_eq!(found.end_unix_nano - found.start_unix_nano, 2_000_000);
    assert_eq!(
        table(&found),
        [
            "dns.question.name=example.com",
            "network.peer.address=10.0.0.53",
            "network.peer.port=53",
            "network.protocol.name=dns",
            "network.transport=udp",
            "observer.dns.question.type=AAAA",
            "observer.dns.response_code=NOERROR",
            "observer.parent.method=none",
            "server.address=10.0.0.53",
            "server.port=53",
        ]
    );
    dns(&mut exchange).response_code = Some(ResponseCode(3));
    let missing = span(&exchange, None);
    assert!(table(&missing).contains(&"error.type=NXDOMAIN".to_owned()));
    assert_eq!(
        missing.error, None,
        "that there is no such name is an answer"
    );
    dns(&mut exchange).response_code = None;
    dns(&mut exchange).attempts = 2;
    exchange.incomplete = Some(Incomplete::Unanswered);
    exchange.times.response_start = None;
    let silent = span(&exchange, None);
    assert_eq!(silent.error.as_deref(), Some(""));
    let attributes = table(&silent);
    for expected in [
        "error.type=timeout",
        "observer.dns.attempts=2",
        "observer.incomplete=unanswered",
    ] {
        assert!(attributes.contains(&expected.to_owned()), "{attributes:?}");
    }
}

#[test]
fn status_is_error_where_the_conventions_say_so() {
    for (role, status, error) in [
        (Role::Server, 404, false),
        (Role::Client, 404, true),
        (Role::Server, 500, true),
        (Role::Client, 502, true),
        (Role::Client, 302, false),
    ] {
        let mut exchange = exchange(role);
        http(&mut exchange).status = Some(status);
        let span = span(&exchange, None);
        assert_eq!(
            span.error.as_deref(),
            error.then_some(""),
            "{role:?} {status}"
        );
        let typed = table(&span).contains(&format!("error.type={status}"));
        assert_eq!(typed, error, "{role:?} {status}");
    }
}

#[test]
fn a_cut_exchange_is_an_error_without_a_status() {
    let mut exchange = exchange(Role::Client);
    exchange.incomplete = Some(Incomplete::Reset);
    exchange.times.response_start = None;
    http(&mut exchange).status = None;
    let span = span(&exchange, None);
    let table = table(&span);
    assert!(span.error.is_some());
    assert!(table.contains(&"error.type=connection_reset".into()));
    assert!(table.contains(&"observer.incomplete=reset".into()));
    assert!(
        !table
            .iter()
            .any(|line| line.starts_with("http.response.status_code"))
    );
    assert!(
        !table
            .iter()
            .any(|line| line.starts_with("observer.response.first_byte"))
    );
}

#[test]
fn an_exchange_without_end_has_no_span() {
    let mut unfinished = exchange(Role::Server);
    unfinished.times.response_end = None;
    assert!(synthesize(&unfinished, &service("api"), None, CLOCK).is_none());
    let mut abandoned = exchange(Role::Server);
    abandoned.incomplete = Some(Incomplete::Abandoned);
    assert!(synthesize(&abandoned, &service("api"), None, CLOCK).is_none());
}

#[test]
fn nothing_secret_is_in_a_span() {
    for target in [
        "/users/42?q=secret",
        "/a#secret",
        "http://user:secret@h/a?token=secret",
        "http://user:secret@h:81?secret",
        "//user:x@h/a?secret",
    ] {
        for role in [Role::Server, Role::Client] {
            let mut exchange = exchange(role);
            http(&mut exchange).set_target(target);
            let span = span(&exchange, None);
            assert!(
                !format!("{:?}", span.attributes).contains("secret"),
                "{target}"
            );
        }
    }
}

#[test]
fn an_unknown_method_is_kept_as_original_only() {
    let mut exchange = exchange(Role::Server);
    http(&mut exchange).method = "PURGE".into();
    let span = span(&exchange, Some("/x"));
    assert_eq!(&*span.name, "HTTP /x");
    assert!(table(&span).contains(&"http.request.method=_OTHER".into()));
    assert!(table(&span).contains(&"http.request.method_original=PURGE".into()));
}

#[test]
fn connect_asterisk_and_ipv6_have_their_urls() {
    for (method, target, host, expected) in [
        (
            "CONNECT",
            "example.com:443",
            None,
            Some("//example.com:443"),
        ),
        ("OPTIONS", "*", Some("h"), Some("http://h:8080")),
        ("GET", "/a", Some("[::1]:9"), Some("http://[::1]:9/a")),
        ("GET", "/a", None, Some("http://10.0.0.1:8080/a")),
        ("GET", "/a", Some("h:80"), Some("http://h/a")),
        ("GET", "http://up:81/b?c", Some("h"), Some("http://up:81/b")),
        ("GET", "junk", Some("h"), None),
    ] {
        let mut exchange = exchange(Role::Client);
        let parts = http(&mut exchange);
        parts.method = method.into();
        parts.set_target(target);
        parts.set_host(host);
        let table = table(&span(&exchange, None));
        let found = table.iter().find_map(|line| line.strip_prefix("url.full="));
        assert_eq!(found, expected, "{method} {target}");
    }
}

#[test]
fn unix_sockets_and_lost_announcements_add_nothing_untrue() {
    let mut exchange = exchange(Role::Server);
    (exchange.local, exchange.peer) = (
        Address::Unix("/run/app.sock".into()),
        Address::Unix("".into()),
    );
    http(&mut exchange).set_host(None);
    let with_path = table(&span(&exchange, None));
    assert!(with_path.contains(&"server.address=/run/app.sock".into()));
    assert!(with_path.contains(&"network.transport=unix".into()));
    (exchange.local, exchange.peer) = (Address::Unknown, Address::Unknown);
    let unknown = table(&span(&exchange, None));
    for absent in ["server.", "client.", "network.peer", "network.transport"] {
        assert!(
            !unknown.iter().any(|line| line.starts_with(absent)),
            "{absent} in {unknown:?}"
        );
    }
}

#[test]
fn parent_flags_and_accept_wait_are_handed_on() {
    let mut exchange = exchange(Role::Server);
    exchange.context.parent_span_id = Some([1; 8]);
    exchange.context.parent_method = ParentMethod::Header;
    exchange.context.sampled = Some(false);
    exchange.context.trace_state = Some("a=b".into());
    exchange.times.connection_established = Some(900_000_000);
    exchange.times.connection_accepted = Some(950_000_000);
    let span = span(&exchange, None);
    assert_eq!(
        (span.parent_span_id, span.flags, span.trace_state.as_deref()),
        (Some([1; 8]), 0, Some("a=b"))
    );
    assert!(table(&span).contains(&"observer.parent.method=header".into()));
    assert!(table(&span).contains(&"observer.accept.wait=0.05".into()));
}
