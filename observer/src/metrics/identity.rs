//! What tells one series of a service from another.

use std::sync::Arc;

use super::Attributes;
use crate::{
    exchange::Exchange,
    identity::Role,
    process::Value,
    protocol::{Detail, http1::HttpVersion},
    trace::conventions::{ErrorType, Method},
};

/// A series of the request instruments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// By the conventions' attributes.
    Http(Http),
    /// The same for a DNS lookup.
    Dns(Dns),
    /// What found no room: `otel.metric.overflow`.
    Overflow(Group),
}

/// What has instruments of its own, and room for so many series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// Requests that a service answers.
    Server,
    /// Requests that it makes.
    Client,
    /// Its DNS lookups.
    Lookups,
}

impl Group {
    /// How many there are.
    pub(super) const COUNT: usize = 3;

    pub(super) fn of(exchange: &Exchange) -> Self {
        match (&exchange.detail, exchange.role) {
            (Detail::Dns(_), _) => Self::Lookups,
            (Detail::Http1(_), Role::Server) => Self::Server,
            (Detail::Http1(_), Role::Client) => Self::Client,
        }
    }
}

/// The conventions' attributes of a DNS lookup.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Dns {
    pub(super) name: Box<str>,
    pub(super) error: Option<ErrorType>,
}

/// The conventions' attributes of an HTTP exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Http {
    pub(super) role: Role,
    pub(super) method: Method,
    pub(super) status: Option<u16>,
    pub(super) error: Option<ErrorType>,
    pub(super) version: Option<HttpVersion>,
    pub(super) scheme: &'static str,
    /// Server only.
    pub(super) route: Option<Arc<str>>,
    /// Client only: address and port.
    pub(super) server: (Option<Arc<str>>, Option<u16>),
}

impl Identity {
    pub(super) fn group(&self) -> Group {
        match self {
            Self::Http(http) if http.role == Role::Server => Group::Server,
            Self::Http(_) => Group::Client,
            Self::Dns(_) => Group::Lookups,
            Self::Overflow(group) => *group,
        }
    }

    /// Sorted by key, as the contract has it.
    pub(super) fn attributes(&self) -> Attributes {
        let http = match self {
            Self::Http(http) => http,
            Self::Dns(dns) => {
                let name = ("dns.question.name", Value::Text((&*dns.name).into()));
                return match dns.error {
                    None => Arc::new([name]),
                    Some(error) => Arc::new([name, ("error.type", Value::Text(error.value()))]),
                };
            }
            Self::Overflow(_) => return Arc::new([("otel.metric.overflow", Value::Bool(true))]),
        };
        let mut out = Vec::with_capacity(8);
        if let Some(error) = http.error {
            out.push(("error.type", Value::Text(error.value())));
        }
        out.push((
            "http.request.method",
            Value::Text(http.method.as_str().into()),
        ));
        if let Some(status) = http.status {
            out.push(("http.response.status_code", Value::Int(i64::from(status))));
        }
        if let Some(route) = &http.route {
            out.push(("http.route", Value::Text(route.clone())));
        }
        // network.protocol.name is only wanted where it is not `http`.
        if let Some(version) = http.version {
            out.push((
                "network.protocol.version",
                Value::Text(version.as_str().into()),
            ));
        }
        if let Some(address) = &http.server.0 {
            out.push(("server.address", Value::Text(address.clone())));
        }
        if let Some(port) = http.server.1 {
            out.push(("server.port", Value::Int(i64::from(port))));
        }
        out.push(("url.scheme", Value::Text(http.scheme.into())));
        out.into()
    }
}
