//! Exchanges and services for tests of spans and metrics.

use std::sync::Arc;

use observer_protocol::{
    dns::{Question, RecordType, ResponseCode},
    http1::Texts,
};

use crate::{
    identity::{Address, ConnectionKey, ProcessKey, Role},
    process::{Service, Value},
    protocol::exchange::{Common, Exchange, Times, TraceContext},
    protocol::{
        dns::{self, DnsExchange},
        http1::{self, HttpExchange, HttpVersion},
    },
};

/// A GET of `/users/42?q=secret` that took 30 ms and got 200.
pub(crate) fn exchange(role: Role) -> Exchange {
    let (a, b) = (
        "10.0.0.1:8080".parse().unwrap(),
        "10.0.0.2:40000".parse().unwrap(),
    );
    let (local, peer) = if role == Role::Server { (a, b) } else { (b, a) };
    Exchange {
        common: Common {
            role,
            process: ProcessKey {
                tgid: 7,
                start_ns: 1,
            },
            tid: 7,
            connection: ConnectionKey {
                sock: 1,
                generation: 1,
            },
            netns: 0,
            local: Address::Inet(local),
            peer: Address::Inet(peer),
            peer_service: None,
            tls: false,
            session: None,
            times: Times {
                request_start: 1_000_000_000,
                request_end: 1_001_000_000,
                response_start: Some(1_020_000_000),
                response_end: Some(1_030_000_000),
                connection_established: None,
                connection_accepted: None,
            },
            context: TraceContext::root([0xab; 16], [0xcd; 8]),
            incomplete: None,
        },
        detail: HttpExchange {
            method: "GET".into(),
            texts: Texts::new(
                "/users/42?q=secret",
                Some("api.example.com"),
                Some("curl/8"),
            ),
            version: Some(HttpVersion::V1_1),
            status: Some(200),
            request_body_size: Some(0),
            response_body_size: Some(512),
            ..Default::default()
        }
        .into(),
    }
}

/// A lookup of `example.com` that took 2 ms and found it.
pub(crate) fn lookup() -> Exchange {
    let mut exchange = exchange(Role::Client);
    exchange.peer = Address::Inet("10.0.0.53:53".parse().unwrap());
    exchange.times.response_start = Some(1_002_000_000);
    exchange.times.response_end = exchange.times.response_start;
    exchange.detail = DnsExchange {
        question: Question {
            name: "example.com".into(),
            kind: RecordType(28),
            class: 1,
        },
        response_code: Some(ResponseCode::NO_ERROR),
        attempts: 1,
    }
    .into();
    exchange
}

/// Its DNS part, to be changed.
pub(crate) fn dns(exchange: &mut Exchange) -> &mut DnsExchange {
    dns::of(&mut exchange.detail)
}

/// The HTTP part, to be changed.
pub(crate) fn http(exchange: &mut Exchange) -> &mut HttpExchange {
    http1::of(&mut exchange.detail)
}

/// A service of that name, with instance id `{name}-1`.
pub(crate) fn service(name: &str) -> Arc<Service> {
    instance(name, &format!("{name}-1"))
}

/// A service of that name and instance id.
pub(crate) fn instance(name: &str, instance_id: &str) -> Arc<Service> {
    let (name, instance_id): (Arc<str>, Arc<str>) = (name.into(), instance_id.into());
    Arc::new(Service {
        attributes: vec![
            (
                "service.instance.id",
                Value::Text(instance_id.clone().into()),
            ),
            ("service.name", Value::Text(name.clone().into())),
        ],
        name,
        instance_id,
        extra_attributes: Vec::new(),
        instrumentation: crate::process::Instrumentation::default(),
    })
}
