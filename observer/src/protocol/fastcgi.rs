//! FastCGI: what a web server asks php-fpm, and its like.
//!
//! There are no conventions for it. It carries a request of HTTP, and is none: an attribute that begins with `http.` would have it
//! counted among those that came from outside, a second time. So what says the same of HTTP has names of its own.
//!
//! | span attribute beyond the conventions | unit | what |
//! |---|---|---|
//! | `fastcgi.request.method` | | `REQUEST_METHOD`, one of those that HTTP's conventions know, else `_OTHER` |
//! | `fastcgi.response.status_code` | | `Status` of the answer's head; of a head without one 200, or 302 where it leads elsewhere |
//! | `fastcgi.script_filename` | | `SCRIPT_FILENAME`, without a query |
//! | `fastcgi.server_protocol` | | `SERVER_PROTOCOL`: in which the web server was asked |
//! | `fastcgi.request.body.size`, `fastcgi.response.body.size` | By | what STDIN carried; what STDOUT did, behind the head |
//! | `fastcgi.request.content_length` | By | `CONTENT_LENGTH`, where STDIN carried something else |
//! | `fastcgi.stderr.size` | By | what STDERR carried, if anything |
//! | `fastcgi.app_status` | | what the application said of itself |
//! | `fastcgi.role` | | what was asked for, where that is no answer: `authorizer`, `filter` |
//! | `url.template` | | server: the route of the path |
//! | `url.domain` | | `HTTP_HOST`, without its port |
//! | `observer.response.first_byte` | s | request's first byte to response's first byte |
//!
//! `error.type` is the status, or why nobody answered: `cant_mpx_conn`, `overloaded`, `unknown_role`.

use std::sync::Arc;

use observer_protocol::{
    fastcgi::{Answer, Asked, FastCgi, RequestHead},
    protocol::Side,
};

use super::{
    Account, Attributes, Carried, Describe, Detail, ErrorType, Group, Instrument, Measure, Outcome,
    RouteInput, Row, SECONDS, SeriesKey, SpanBuilder, SpanKind, Status, Summary,
    attributes::{int, is_overflow, text},
    conventions::{
        http::Method,
        network::{server_end, socket, split_authority},
    },
};
use crate::{
    identity::{Address, Role},
    process::{Text, Value},
    protocol::exchange::Common,
};

/// What one of its exchanges adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FastCgiExchange {
    /// What the request says.
    pub head: RequestHead,
    /// The answer's status; `None` where there was none, or it was not seen.
    pub status: Option<u16>,
    /// What the application said of itself.
    pub application: Option<u32>,
    /// Why nobody answered; 0 where somebody did.
    pub refused: u8,
    /// Bytes that it complained with.
    pub complaints: u64,
    /// Bytes of the request's body; `None` where they were not all seen or counted.
    pub request_body_size: Option<u64>,
    /// The same of the answer's.
    pub response_body_size: Option<u64>,
}

/// Its groups.
pub static GROUPS: &[&Group] = &[&SERVER, &CLIENT];

/// Requests that an application answers.
pub static SERVER: Group = Group {
    kind: "fastcgi server",
    measures: &[Measure::duration(&SERVER_DURATION)],
    open: None,
    row,
};

/// Requests that a web server makes.
pub static CLIENT: Group = Group {
    kind: "fastcgi client",
    measures: &[Measure::duration(&CLIENT_DURATION)],
    open: None,
    row,
};

/// `fastcgi.server.request.duration`.
pub static SERVER_DURATION: Instrument = Instrument {
    name: "fastcgi.server.request.duration",
    unit: "s",
    description: "Duration of FastCGI requests, as the application answers them.",
    bounds: SECONDS,
};

/// `fastcgi.client.request.duration`.
pub static CLIENT_DURATION: Instrument = Instrument {
    name: "fastcgi.client.request.duration",
    unit: "s",
    description: "Duration of FastCGI requests, as the web server sees them.",
    bounds: SECONDS,
};

impl FastCgiExchange {
    fn method(&self) -> Method {
        Method::of(self.head.method.as_deref().unwrap_or_default())
    }

    /// The host that the web server was asked for.
    fn domain(&self) -> Option<&str> {
        split_authority(self.head.host.as_deref()?).map(|named| named.host)
    }

    /// What its series has of the server: that is the connection's other end.
    fn server_key(common: &Common, key: &mut SeriesKey<'_>) {
        let (number, port) = match &common.peer {
            Address::Inet(address) => (key.address(address.ip()), address.port()),
            Address::Unix(path) => (key.name(path), 0),
            Address::Unknown => (0, 0),
        };
        key.number(number | u64::from(port) << 32);
    }
}

impl Describe for FastCgiExchange {
    /// A status that is an error, as HTTP has it, wins over a cut; what was refused has none.
    fn outcome(&self, common: &Common) -> Outcome {
        let first_error = match common.role {
            Role::Server => 500,
            Role::Client => 400,
        };
        let refused = match self.refused {
            0 => None,
            1 => Some("cant_mpx_conn"),
            2 => Some("overloaded"),
            3 => Some("unknown_role"),
            _ => Some("refused"),
        };
        match (self.status, refused) {
            (_, Some(reason)) => Outcome::failure(ErrorType::Named(reason)),
            (Some(status), None) if status >= first_error => {
                Outcome::failure(ErrorType::Code(status))
            }
            _ => Outcome::of_connection(common),
        }
    }

    fn is_measurable(&self) -> bool {
        self.head.method.is_some()
    }

    fn group(&self, common: &Common) -> &'static Group {
        match common.role {
            Role::Server => &SERVER,
            Role::Client => &CLIENT,
        }
    }

    fn series(&self, common: &Common, route: Option<&Arc<str>>, key: &mut SeriesKey<'_>) {
        let error = self.outcome(common).error.map_or(0, ErrorType::number);
        key.number(u64::from(self.status.unwrap_or(0)) | (self.method() as u64) << 16);
        key.number(error);
        match common.role {
            Role::Server => key.pointer(route),
            Role::Client => Self::server_key(common, key),
        }
    }

    fn labels(&self, common: &Common, route: Option<&Arc<str>>, out: &mut Attributes) {
        let error = self.outcome(common).error;
        out.some_text("error.type", error.map(ErrorType::value));
        out.text("fastcgi.request.method", self.method().as_str());
        out.int("fastcgi.response.status_code", self.status);
        match common.role {
            Role::Server => out.some_text("url.template", route.cloned()),
            Role::Client => {
                let (address, port) = socket(server_end(common));
                out.some_text("server.address", address);
                out.int("server.port", port);
            }
        }
    }

    /// `{method} {route}` or `{method}`, as of HTTP.
    fn span(&self, common: &Common, route: Option<&Arc<str>>) -> SpanBuilder {
        let route = route.filter(|_| common.role == Role::Server);
        let method = self.method();
        let in_name = match method {
            Method::Other => "FastCGI",
            known => known.in_span_name(),
        };
        let name: Text = match route {
            Some(route) => format!("{in_name} {route}").into(),
            None => in_name.into(),
        };
        let mut out = Attributes::with_capacity(24);
        if self.head.method.is_some() {
            out.text("fastcgi.request.method", method.as_str());
        }
        out.int("fastcgi.response.status_code", self.status);
        let error = self.outcome(common).error;
        out.some_text("error.type", error.map(ErrorType::value));
        let owned = |text: &Option<Box<str>>| text.as_deref().map(Arc::<str>::from);
        out.some_text("url.path", owned(&self.head.path));
        out.some_text("url.template", route.cloned());
        out.some_text("url.domain", self.domain().map(Arc::<str>::from));
        out.some_text("fastcgi.script_filename", owned(&self.head.script_filename));
        out.some_text("fastcgi.server_protocol", owned(&self.head.server_protocol));
        out.some_text("user_agent.original", owned(&self.head.user_agent));
        let role = match self.head.asks_for {
            Asked::Authorization => Some("authorizer"),
            Asked::Filter => Some("filter"),
            Asked::Answer | Asked::Other => None,
        };
        out.some_text("fastcgi.role", role);
        out.int("fastcgi.request.body.size", self.request_body_size);
        let announced = self.head.content_length;
        out.int(
            "fastcgi.request.content_length",
            announced.filter(|length| self.request_body_size != Some(*length)),
        );
        out.int("fastcgi.response.body.size", self.response_body_size);
        out.int(
            "fastcgi.stderr.size",
            Some(self.complaints).filter(|bytes| *bytes != 0),
        );
        out.int("fastcgi.app_status", self.application);
        let (server, port) = socket(server_end(common));
        out.some_text("server.address", server);
        out.int("server.port", port);
        out.peer(common);
        out.text("network.protocol.name", "fastcgi");
        out.transport(common);
        out.observed(common);
        out.seconds(
            "observer.response.first_byte",
            Some(common.times.request_start),
            common.times.response_start,
        );
        if common.role == Role::Server {
            out.seconds(
                "observer.accept.wait",
                common.times.connection_established,
                common.times.connection_accepted,
            );
        }
        SpanBuilder {
            name,
            attributes: out,
        }
    }

    fn route(&self, common: &Common) -> Option<RouteInput<'_>> {
        if common.role != Role::Server {
            return None;
        }
        Some(RouteInput {
            path: self.head.path.as_deref()?,
            is_served: !matches!(self.status, None | Some(400 | 404 | 405 | 501)),
        })
    }
}

/// A span's method, path, status and response.
pub fn summary<'a>(_: SpanKind, attributes: &'a [(&'static str, Value)]) -> Summary<'a> {
    let status = int(attributes, "fastcgi.response.status_code");
    let bytes = int(attributes, "fastcgi.response.body.size");
    Summary {
        verb: text(attributes, "fastcgi.request.method"),
        target: text(attributes, "url.path"),
        is_named_without_target: false,
        status: status.map(|status| Status {
            shown: status.to_string().into(),
            is_fine: status < 400,
        }),
        bytes: bytes.and_then(|size| u64::try_from(size).ok()),
    }
}

/// A line a method and route, of calls a method and server.
fn row(labels: &[(&'static str, Value)]) -> Row {
    if is_overflow(labels) {
        return Row::others();
    }
    let server = || match (text(labels, "server.address")?, int(labels, "server.port")) {
        (address, Some(port)) => Some(format!("{address}:{port}")),
        (address, None) => Some(address.to_owned()),
    };
    let route = text(labels, "url.template").map(str::to_owned);
    Row {
        verb: text(labels, "fastcgi.request.method")
            .unwrap_or("-")
            .to_owned(),
        place: route.or_else(server).unwrap_or_else(|| "-".to_owned()),
    }
}

impl Account for FastCgi {
    fn opened(detail: &mut Detail, head: &mut RequestHead) {
        *detail = Detail::FastCgi(FastCgiExchange {
            head: std::mem::take(head),
            ..FastCgiExchange::default()
        });
    }

    fn unread(detail: &mut Detail) {
        *detail = Detail::FastCgi(FastCgiExchange::default());
    }

    fn replied(detail: &mut Detail, answer: Answer) {
        let Detail::FastCgi(facts) = detail else {
            return;
        };
        match answer {
            Answer::Head { status } => facts.status = status,
            Answer::End {
                application,
                protocol,
                complaints,
            } => {
                facts.application = application;
                facts.refused = protocol.unwrap_or(0);
                facts.complaints = complaints;
            }
        }
    }

    fn ended(detail: &mut Detail, side: Side, size: Option<u64>) {
        if let Detail::FastCgi(facts) = detail {
            match side {
                Side::Request => facts.request_body_size = size,
                Side::Response => facts.response_body_size = size,
            }
        }
    }

    fn carried<'h>(head: &'h &mut RequestHead) -> Carried<'h> {
        Carried {
            traceparent: head.traceparent.as_deref(),
            tracestate: head.tracestate.as_deref(),
            b3: head.b3.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{
        exchange::{Exchange, Incomplete},
        samples::exchange,
    };

    fn asked(role: Role) -> (Exchange, FastCgiExchange) {
        let head = RequestHead {
            method: Some("GET".into()),
            path: Some("/users/42".into()),
            host: Some("example.com:8080".into()),
            content_length: Some(9),
            ..RequestHead::default()
        };
        let facts = FastCgiExchange {
            head,
            status: Some(200),
            request_body_size: Some(4),
            ..FastCgiExchange::default()
        };
        (exchange(role), facts)
    }

    #[test]
    fn an_exchange_fails_by_its_status_by_being_refused_or_by_a_cut() {
        use Incomplete::{Closed, LostBytes};
        let table = [
            (Role::Server, Some(200), 0, None, None),
            (Role::Server, Some(404), 0, None, None),
            (Role::Client, Some(404), 0, None, Some("404")),
            (Role::Server, Some(500), 0, Some(Closed), Some("500")),
            (Role::Server, None, 2, None, Some("overloaded")),
            (Role::Client, None, 1, Some(Closed), Some("cant_mpx_conn")),
            (Role::Client, None, 9, None, Some("refused")),
            (
                Role::Client,
                None,
                0,
                Some(Closed),
                Some("connection_closed"),
            ),
            (Role::Server, None, 0, Some(LostBytes), None),
        ];
        for (role, status, refused, incomplete, expected) in table {
            let (mut exchange, mut facts) = asked(role);
            (facts.status, facts.refused) = (status, refused);
            exchange.incomplete = incomplete;
            let outcome = facts.outcome(&exchange);
            let found = outcome.error.map(ErrorType::value);
            assert_eq!(found.as_deref(), expected, "{role:?} {status:?} {refused}");
            assert_eq!(outcome.failed, expected.is_some());
        }
    }

    #[test]
    fn nothing_of_it_is_called_http() {
        let route: Arc<str> = "/users/{id}".into();
        for role in [Role::Server, Role::Client] {
            let (exchange, facts) = asked(role);
            let span = facts.span(&exchange, Some(&route));
            let mut labels = Attributes::default();
            facts.labels(&exchange, Some(&route), &mut labels);
            let attributes = span.attributes.into_vec();
            let all = [attributes, labels.into_vec()].concat();
            assert!(
                all.iter().all(|(key, _)| !key.starts_with("http.")),
                "{all:?}"
            );
            assert_eq!(text(&all, "network.protocol.name"), Some("fastcgi"));
            assert_eq!(text(&all, "url.domain"), Some("example.com"));
            assert_eq!(int(&all, "fastcgi.request.content_length"), Some(9));
            let (name, route) = match role {
                Role::Server => ("GET /users/{id}", Some("/users/{id}")),
                Role::Client => ("GET", None),
            };
            assert_eq!((&*span.name, text(&all, "url.template")), (name, route));
            assert_eq!(row(&all).verb, "GET");
            let place = if role == Role::Server {
                "/users/{id}"
            } else {
                "10.0.0.1:8080"
            };
            assert_eq!(row(&all).place, place);
        }
    }
}
