//! The conventions of HTTP (stable set), whatever version carries it.
//!
//! | span attribute beyond the conventions | unit | what |
//! |---|---|---|
//! | `observer.response.first_byte` | s | request's first byte to response's first byte |
//! | `observer.accept.wait` | s | server: connection established to accepted |
//!
//! No query, fragment or credential is ever in a span: a URL ends at its path.

mod method;
mod metrics;
mod span;
mod summary;
mod target;

use std::{borrow::Cow, sync::Arc};

use observer_protocol::{http1::Texts, http2::error_name, protocol::Side};

pub use self::{
    method::Method,
    metrics::{CLIENT, CLIENT_DURATION, GROUPS, SERVER, SERVER_ACTIVE, SERVER_DURATION},
    summary::summary,
    target::path,
};
use crate::{
    identity::Role,
    protocol::exchange::{Common, Incomplete},
    protocol::{
        Attributes, Delivery, Describe, ErrorType, Group, Open, Outcome, RouteInput, SeriesKey,
        SpanBuilder,
    },
};
pub(in crate::protocol) use target::server;

/// Where OTLP/HTTP takes traces, at the end of whatever path leads to it (OTLP specification, "OTLP/HTTP Request").
const TRACES: &str = "/v1/traces";
/// How the OpenTelemetry Collector's exporters begin their `User-Agent`, whichever distribution it is.
const COLLECTOR: &str = "OpenTelemetry Collector";

/// What an HTTP exchange adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpExchange {
    /// Method token as it was sent.
    pub method: Cow<'static, str>,
    /// Request target as it was sent (origin, absolute, authority or asterisk form), **query included**: what leaves the daemon
    /// must cut it off at the `?`. `Host` header (or the authority of an absolute target), as it was sent; `User-Agent`.
    pub texts: Texts,
    /// The request's version; `None` where its head was not seen.
    pub version: Option<HttpVersion>,
    /// Status code of the final response; `None` when none was seen.
    pub status: Option<u16>,
    /// Body bytes of the request; `None` where the framing was not seen whole.
    pub request_body_size: Option<u64>,
    /// Body bytes of the response; `None` where the framing was not seen whole.
    pub response_body_size: Option<u64>,
    /// The connection became a tunnel (101, or 2xx to CONNECT).
    pub upgraded: bool,
    /// The response is a stream of server-sent events.
    pub event_stream: bool,
    /// Why one of the ends gave it up before its response had ended (RFC 9113 section 7); HTTP/2 and later.
    pub reset: Option<u64>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.0.
    V1_0,
    /// HTTP/1.1.
    V1_1,
    /// HTTP/2.
    V2,
}

impl HttpVersion {
    /// The version of a request line that ends in `HTTP/1.{minor}`.
    pub const fn of_minor(minor: u8) -> Self {
        if minor == 0 { Self::V1_0 } else { Self::V1_1 }
    }

    /// `network.protocol.version`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V2 => "2",
        }
    }
}

/// `url.scheme`.
const fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// The port that a URL of that scheme leaves out (RFC 9110 section 4.2).
const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl HttpExchange {
    /// Forgets what became of an earlier request, whose room is used again.
    pub(in crate::protocol) fn restart(&mut self) {
        self.status = None;
        self.request_body_size = None;
        self.response_body_size = None;
        self.upgraded = false;
        self.event_stream = false;
        self.reset = None;
    }

    /// Writes the size of a side's body.
    pub(in crate::protocol) fn set_size(&mut self, side: Side, size: Option<u64>) {
        match side {
            Side::Request => self.request_body_size = size,
            Side::Response => self.response_body_size = size,
        }
    }

    /// How it went where one of the ends gave it up.
    pub(in crate::protocol) fn reset(&self, common: &Common) -> Option<Outcome> {
        let code = self.reset?;
        let error = match error_name(code) {
            Some(name) => ErrorType::Named(name),
            None => ErrorType::Code(u16::try_from(code).unwrap_or(u16::MAX)),
        };
        (common.incomplete == Some(Incomplete::Reset)).then_some(Outcome::failure(error))
    }
}

#[cfg(test)]
impl HttpExchange {
    /// The same with another target.
    pub(crate) fn set_target(&mut self, target: &str) {
        self.texts = Texts::new(target, self.texts.host(), self.texts.user_agent());
    }

    /// The same with another host.
    pub(crate) fn set_host(&mut self, host: Option<&str>) {
        self.texts = Texts::new(self.texts.target(), host, self.texts.user_agent());
    }

    /// The same with another user agent.
    pub(crate) fn set_user_agent(&mut self, user_agent: Option<&str>) {
        self.texts = Texts::new(self.texts.target(), self.texts.host(), user_agent);
    }
}

impl Describe for HttpExchange {
    /// A status that is an error wins over a cut, as it is the more telling of the two.
    fn outcome(&self, common: &Common) -> Outcome {
        let first_error = match common.role {
            Role::Server => 500,
            Role::Client => 400,
        };
        match self.status {
            Some(status) if status >= first_error => Outcome::failure(ErrorType::Code(status)),
            _ => self
                .reset(common)
                .unwrap_or_else(|| Outcome::of_connection(common)),
        }
    }

    /// Where a lost head took the method with it, nothing can be told apart.
    fn is_measurable(&self) -> bool {
        !self.method.is_empty()
    }

    /// Streams and tunnels.
    fn is_endless(&self) -> bool {
        self.event_stream || self.upgraded
    }

    fn group(&self, common: &Common) -> &'static Group {
        match common.role {
            Role::Server => &SERVER,
            Role::Client => &CLIENT,
        }
    }

    fn series(&self, common: &Common, route: Option<&Arc<str>>, key: &mut SeriesKey<'_>) {
        self.key(common, route, key);
    }

    fn labels(&self, common: &Common, route: Option<&Arc<str>>, out: &mut Attributes) {
        self.series_labels(common, route, out);
    }

    fn measure(&self, at: usize) -> Option<u64> {
        match at {
            1 => self.request_body_size,
            2 => self.response_body_size,
            _ => None,
        }
    }

    fn open(&self, role: Role, tls: bool) -> Option<Open> {
        (role == Role::Server).then(|| metrics::open(Method::of(&self.method), tls))
    }

    fn span(&self, common: &Common, route: Option<&Arc<str>>) -> SpanBuilder {
        self.describe_span(common, route)
    }

    fn route(&self, common: &Common) -> Option<RouteInput<'_>> {
        if common.role != Role::Server {
            return None;
        }
        Some(RouteInput {
            path: path(self.texts.target())?,
            // Not what was not found, was not understood, or had no answer at all.
            is_served: !matches!(self.status, None | Some(400 | 404 | 405 | 501)),
        })
    }

    /// OTLP over HTTP.
    fn delivery(&self) -> Option<Delivery> {
        if &*self.method != "POST" {
            return None;
        }
        let path = self.texts.target().split('?').next().unwrap_or_default();
        if !path.ends_with(TRACES) {
            return None;
        }
        let agent = self.texts.user_agent();
        Some(Delivery {
            is_accepted: self.status.is_some_and(|status| status / 100 == 2),
            is_a_collectors: agent.is_some_and(|agent| agent.starts_with(COLLECTOR)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::samples::{exchange, http};

    #[test]
    fn error_type_follows_role_status_and_cut() {
        use Incomplete::*;
        let table = [
            (Role::Server, Some(200), None, None),
            (Role::Server, Some(404), None, None),
            (Role::Client, Some(404), None, Some("404")),
            (Role::Client, Some(399), None, None),
            (Role::Server, Some(503), None, Some("503")),
            (Role::Client, Some(500), None, Some("500")),
            (Role::Server, None, Some(Closed), Some("connection_closed")),
            (
                Role::Client,
                Some(200),
                Some(Reset),
                Some("connection_reset"),
            ),
            (Role::Server, Some(500), Some(Reset), Some("500")),
            (Role::Server, None, Some(LostBytes), None),
            (Role::Client, None, Some(Abandoned), None),
        ];
        for (role, status, incomplete, expected) in table {
            let mut exchange = exchange(role);
            exchange.incomplete = incomplete;
            http(&mut exchange).status = status;
            let found = exchange.outcome().error.map(ErrorType::value);
            assert_eq!(
                found.as_deref(),
                expected,
                "{role:?} {status:?} {incomplete:?}"
            );
        }
    }
}
