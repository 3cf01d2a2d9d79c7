//! What a protocol says of its exchanges.

use std::sync::Arc;

use super::{
    attributes::Attributes,
    group::{Group, Open},
    outcome::Outcome,
    series::SeriesKey,
};
use crate::{identity::Role, process::Text, protocol::exchange::Common};

/// OTLP span kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Works on its own.
    Internal,
    /// Answers a request.
    Server,
    /// Sends a request.
    Client,
    /// Sends a message that nobody answers at once.
    Producer,
    /// Takes such a message.
    Consumer,
}

impl SpanKind {
    /// The kind of a protocol in which requests are answered.
    pub const fn of(role: Role) -> Self {
        match role {
            Role::Server => Self::Server,
            Role::Client => Self::Client,
        }
    }

    /// Its name, lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// Whether it calls somebody else.
    pub const fn is_outgoing(self) -> bool {
        matches!(self, Self::Client | Self::Producer)
    }
}

/// What a span is called, and its attributes, in the making.
#[derive(Debug)]
pub struct SpanBuilder {
    /// Name, low cardinality.
    pub name: Text,
    /// Its attributes.
    pub attributes: Attributes,
}

/// What the route of a server's request is learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteInput<'a> {
    /// The path, without query.
    pub path: &'a str,
    /// Whether the server serves it: what it does not teaches nothing.
    pub is_served: bool,
}

/// Traces were sent to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// They were taken.
    pub is_accepted: bool,
    /// The sender calls itself a collector: they are others'.
    pub is_a_collectors: bool,
}

/// The conventions of one protocol, over its facts of one exchange.
///
/// `route` is the server's route of an exchange that [has one](Self::route).
pub trait Describe {
    /// The kind of its span.
    fn kind(&self, common: &Common) -> SpanKind {
        SpanKind::of(common.role)
    }

    /// How it went.
    fn outcome(&self, common: &Common) -> Outcome;

    /// Whether enough of it was seen to measure it.
    fn is_measurable(&self) -> bool {
        true
    }

    /// Whether it lasts as long as somebody listens: then its duration says nothing about its speed.
    fn is_endless(&self) -> bool {
        false
    }

    /// The instruments that it is measured by.
    fn group(&self, common: &Common) -> &'static Group;

    /// What tells its series from the others of its group. Asked for every exchange: no allocation.
    fn series(&self, common: &Common, route: Option<&Arc<str>>, key: &mut SeriesKey<'_>);

    /// The attributes of its series. Asked once a series.
    fn labels(&self, common: &Common, route: Option<&Arc<str>>, out: &mut Attributes);

    /// The value for the group's measure `at` (the duration is 0 and not asked for), where it is known.
    fn measure(&self, at: usize) -> Option<u64> {
        let _ = at;
        None
    }

    /// The gauge of open requests that a request at this end belongs to while it waits.
    fn open(&self, role: Role, tls: bool) -> Option<Open> {
        let _ = (role, tls);
        None
    }

    /// Name and attributes of its span. Asked for spans that are kept or shown.
    fn span(&self, common: &Common, route: Option<&Arc<str>>) -> SpanBuilder;

    /// What its route is learned from, where it has one.
    fn route(&self, common: &Common) -> Option<RouteInput<'_>> {
        let _ = common;
        None
    }

    /// Whether it is worth a span at all.
    fn has_span(&self) -> bool {
        true
    }

    /// Whether it is worth a span where it belongs to no other's trace.
    fn stands_alone(&self) -> bool {
        true
    }

    /// Whether it is a handshake, in which a server shows its certificate.
    fn shows_certificate(&self) -> bool {
        false
    }

    /// Whether a service's own SDK makes spans of such exchanges.
    fn is_made_by_sdks(&self) -> bool {
        true
    }

    /// What it tells of whose traces a service sends, where it is a delivery of traces.
    fn delivery(&self) -> Option<Delivery> {
        None
    }
}
