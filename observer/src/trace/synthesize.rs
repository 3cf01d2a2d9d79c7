//! A span from an exchange, by the OpenTelemetry conventions for HTTP spans; for DNS, which has none for spans, by the
//! registry's attributes (`dns.question.name`).
//!
//! Beyond the conventions, all spans carry `observer.parent.method`, and where known:
//!
//! | attribute | unit | what |
//! |---|---|---|
//! | `observer.incomplete` | – | why the exchange is not whole |
//! | `observer.response.first_byte` | s | request's first byte to response's first byte |
//! | `observer.accept.wait` | s | server: connection established to accepted |
//! | `observer.dns.question.type` | – | DNS: the type of record that was asked for |
//! | `observer.dns.response_code` | – | DNS: what the name server answered |
//! | `observer.dns.attempts` | – | DNS: how often the query was sent, where more than once |
//!
//! A link to the request that a call may have been made for, where its parent can't be known:
//!
//! | attribute | what |
//! |---|---|
//! | `observer.link.inferred` | always true: it is no parent |
//! | `observer.link.method` | how it was found |
//!
//! No query, fragment or credential is ever in a span: a URL ends at its path.

use std::sync::Arc;

use super::{
    Clock, Span, SpanKind,
    conventions::{self, ErrorType, Method},
};
use crate::{
    exchange::{Exchange, Incomplete, InferredLink},
    identity::{Address, Role},
    process::{Service, Value},
    protocol::{Detail, dns::DnsExchange, http1::HttpExchange},
};

/// The span of `exchange`, or `None` where its end is not known: a duration is never invented.
///
/// `route` is the server's route (`http.route`); it is ignored for a client, whose spans have none.
pub fn synthesize(
    exchange: &Exchange,
    service: &Arc<Service>,
    route: Option<&Arc<str>>,
    clock: Clock,
) -> Option<Span> {
    if exchange.incomplete == Some(Incomplete::Abandoned) {
        return None;
    }
    let start = clock.unix_nano(exchange.times.request_start);
    let end = start.saturating_add(exchange.duration_ns()?);
    let kind = match exchange.role {
        Role::Server => SpanKind::Server,
        Role::Client => SpanKind::Client,
    };
    let route = route.filter(|_| kind == SpanKind::Server);
    let error = ErrorType::of(exchange);
    let (name, attributes) = match &exchange.detail {
        Detail::Http1(http) => {
            let method = Method::of(&http.method);
            let name = match route {
                Some(route) => format!("{} {route}", method.in_span_name()).into(),
                None => method.in_span_name().into(),
            };
            (name, http_attributes(exchange, http, method, route, error))
        }
        Detail::Dns(dns) => (
            format!("DNS {}", dns.question.kind).into(),
            dns_attributes(exchange, dns, error),
        ),
    };
    let context = &exchange.context;
    Some(Span {
        service: service.clone(),
        trace_id: context.trace_id,
        span_id: context.span_id,
        parent_span_id: context.parent_span_id,
        link: context.link,
        trace_state: context.trace_state.clone(),
        name,
        kind,
        start_unix_nano: start,
        end_unix_nano: end,
        attributes,
        // The description stays empty: status code and error.type say it all.
        error: error.filter(|error| error.is_failure()).map(|_| "".into()),
        flags: u8::from(context.sampled.unwrap_or(true)),
    })
}

/// The attributes of a link.
pub fn link_attributes(link: &InferredLink) -> [(&'static str, Value); 2] {
    let method = Value::Text(link.method.as_str().into());
    [
        ("observer.link.inferred", Value::Bool(true)),
        ("observer.link.method", method),
    ]
}

/// The attributes of a DNS lookup.
fn dns_attributes(
    exchange: &Exchange,
    dns: &DnsExchange,
    error: Option<ErrorType>,
) -> Vec<(&'static str, Value)> {
    let mut out = Attributes(Vec::with_capacity(12));
    out.text("dns.question.name", &*dns.question.name);
    out.text("observer.dns.question.type", dns.question.kind.to_string());
    if let Some(code) = dns.response_code {
        out.text(
            "observer.dns.response_code",
            code.as_str().unwrap_or("_OTHER"),
        );
    }
    out.int(
        "observer.dns.attempts",
        Some(dns.attempts).filter(|attempts| *attempts > 1),
    );
    if let Some(error) = error {
        out.0.push(("error.type", Value::Text(error.value())));
    }
    let (server, port) = conventions::socket(&exchange.peer);
    if let Some(server) = server {
        out.0.push(("server.address", Value::Text(server.clone())));
        out.int("server.port", port);
        out.0.push(("network.peer.address", Value::Text(server)));
        out.int("network.peer.port", port);
    }
    out.text("network.protocol.name", "dns");
    out.text("network.transport", "udp");
    out.observed(exchange);
    out.0
}

/// The attributes of an HTTP exchange, in the conventions' order of importance.
fn http_attributes(
    exchange: &Exchange,
    http: &HttpExchange,
    method: Method,
    route: Option<&Arc<str>>,
    error: Option<ErrorType>,
) -> Vec<(&'static str, Value)> {
    let mut out = Attributes(Vec::with_capacity(24));
    // Where a lost head took the method with it there is none to report.
    if !http.method.is_empty() {
        out.text("http.request.method", method.as_str());
        if method == Method::Other {
            out.text("http.request.method_original", &*http.method);
        }
    }
    out.int("http.response.status_code", http.status);
    if let Some(error) = error {
        out.0.push(("error.type", Value::Text(error.value())));
    }
    let (server_address, server_port) = conventions::server(exchange);
    let path = conventions::path(&http.target);
    match exchange.role {
        Role::Server => {
            out.text("url.scheme", conventions::scheme(exchange));
            if let Some(path) = path {
                out.text("url.path", path);
            }
            if let Some(route) = route {
                out.0.push(("http.route", Value::Text(route.clone())));
            }
        }
        Role::Client => {
            if let Some(url) =
                full_url(exchange, http, path, server_address.as_deref(), server_port)
            {
                out.text("url.full", url);
            }
        }
    }
    if let Some(address) = server_address {
        out.0.push(("server.address", Value::Text(address)));
    }
    out.int("server.port", server_port);
    let (peer, peer_port) = conventions::socket(&exchange.peer);
    if let Some(peer) = peer {
        if exchange.role == Role::Server {
            out.0.push(("client.address", Value::Text(peer.clone())));
            out.int("client.port", peer_port);
        }
        out.0.push(("network.peer.address", Value::Text(peer)));
        out.int("network.peer.port", peer_port);
    }
    if let Some(version) = http.version {
        out.text("network.protocol.version", version.as_str());
    }
    match exchange.local {
        Address::Inet(_) => out.text("network.transport", "tcp"),
        Address::Unix(_) => out.text("network.transport", "unix"),
        Address::Unknown => {}
    }
    if let Some(agent) = &http.user_agent {
        out.text("user_agent.original", &**agent);
    }
    out.int("http.request.body.size", http.request_body_size);
    out.int("http.response.body.size", http.response_body_size);
    out.observed(exchange);
    let times = &exchange.times;
    out.seconds(
        "observer.response.first_byte",
        Some(times.request_start),
        times.response_start,
    );
    if exchange.role == Role::Server {
        out.seconds(
            "observer.accept.wait",
            times.connection_established,
            times.connection_accepted,
        );
    }
    out.0
}

/// `url.full` without query, fragment and credentials. A CONNECT has only an authority: `//host:port`.
fn full_url(
    exchange: &Exchange,
    http: &HttpExchange,
    path: Option<&str>,
    address: Option<&str>,
    port: Option<u16>,
) -> Option<String> {
    let address = address?;
    let scheme = conventions::scheme(exchange);
    let authority = match (address.starts_with('/'), address.contains(':'), port) {
        // A Unix socket's path is no authority; without a Host there is no URL to tell.
        (true, ..) => return None,
        (_, true, Some(port)) => format!("[{address}]:{port}"),
        (_, true, None) => format!("[{address}]"),
        (_, false, Some(port)) if port != conventions::default_port(exchange) => {
            format!("{address}:{port}")
        }
        _ => address.to_owned(),
    };
    match path {
        Some(path) => Some(format!("{scheme}://{authority}{path}")),
        None if &*http.method == "CONNECT" => Some(format!("//{authority}")),
        None if &*http.target == "*" => Some(format!("{scheme}://{authority}")),
        None => None,
    }
}

/// A span's attributes in the making.
struct Attributes(Vec<(&'static str, Value)>);

impl Attributes {
    fn text(&mut self, key: &'static str, value: impl Into<Arc<str>>) {
        self.0.push((key, Value::Text(value.into())));
    }

    fn int<T: TryInto<i64>>(&mut self, key: &'static str, value: Option<T>) {
        if let Some(value) = value.and_then(|v| v.try_into().ok()) {
            self.0.push((key, Value::Int(value)));
        }
    }

    /// How it was seen.
    fn observed(&mut self, exchange: &Exchange) {
        self.text(
            "observer.parent.method",
            exchange.context.parent_method.as_str(),
        );
        if let Some(incomplete) = exchange.incomplete {
            self.text("observer.incomplete", incomplete.as_str());
        }
    }

    /// A difference of two monotonic times in seconds, where both are known and in order.
    fn seconds(&mut self, key: &'static str, from: Option<u64>, to: Option<u64>) {
        if let Some(ns) = from.zip(to).and_then(|(from, to)| to.checked_sub(from)) {
            self.0.push((key, Value::Double(ns as f64 / 1e9)));
        }
    }
}

#[cfg(test)]
#[path = "synthesize_tests.rs"]
mod tests;
