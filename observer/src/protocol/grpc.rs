//! Remote procedure calls over HTTP: gRPC, gRPC-Web and Connect, by the conventions of RPC.
//!
//! | span attribute beyond the conventions | unit | what |
//! |---|---|---|
//! | `observer.rpc.request.messages` | | messages that the client sent, where all were counted |
//! | `observer.rpc.response.messages` | | messages that the server sent, where all were counted |
//! | `observer.rpc.request.messages.at_least` | | the same, where some may not have been |
//! | `observer.rpc.response.messages.at_least` | | the same |
//! | `observer.rpc.request.size` | By | bytes of the request's messages, what delimits them included |
//! | `observer.rpc.response.size` | By | the same of the answer's |
//! | `observer.rpc.timeout` | s | how long the client waits (`grpc-timeout`) |
//! | `observer.response.first_byte` | s | request's first byte to response's first byte |
//!
//! A call lasts from its request's first byte to its answer's last, trailers included, however many messages go each way.

use std::sync::Arc;

use observer_protocol::protocol::Side;

use super::{
    Attributes, Describe, ErrorType, Group, Instrument, Measure, Open, Outcome, Row, SECONDS,
    SeriesKey, SpanBuilder, SpanKind, Status, Summary,
    attributes::{int, is_overflow, text},
    conventions::http::{HttpExchange, path, server},
};
use crate::{
    identity::Role,
    process::{Text, Value},
    protocol::exchange::Common,
};

/// Which system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum System {
    /// gRPC, over the web or not.
    Grpc,
    /// Connect.
    Connect,
}

impl System {
    /// `rpc.system.name`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Connect => "connectrpc",
        }
    }
}

/// What a call adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcExchange {
    /// The request and answer that carry it: the method is the path.
    pub http: HttpExchange,
    /// Which system's it is.
    pub system: System,
    /// `grpc-status`; `None` where none was seen.
    pub status: Option<u32>,
    /// Messages that moved, by [`Side::index`], and whether none besides; `None` where they are not counted.
    pub moved: [Option<(u64, bool)>; 2],
    /// `grpc-timeout`, ns.
    pub timeout_ns: Option<u64>,
    /// It was taken for plain HTTP when it began.
    is_late: bool,
}

impl GrpcExchange {
    /// A call that begins.
    pub(super) const fn new(system: System, http: HttpExchange) -> Self {
        Self {
            http,
            system,
            status: None,
            moved: [None; 2],
            timeout_ns: None,
            is_late: false,
        }
    }

    /// One of which only the answer shows what it is.
    pub(super) fn late(http: HttpExchange) -> Self {
        Self {
            is_late: true,
            ..Self::new(System::Grpc, http)
        }
    }

    /// `rpc.method`: service and method, as they were asked for.
    fn method(&self) -> Option<&str> {
        path(self.http.texts.target())?
            .strip_prefix('/')
            .filter(|method| !method.is_empty())
    }

    /// The same for a series: what a server does not know is not told apart, so that nobody makes series by inventing methods.
    fn bounded_method(&self, common: &Common) -> Option<&str> {
        let is_unknown = common.role == Role::Server && self.status == Some(UNIMPLEMENTED);
        self.method()
            .map(|method| if is_unknown { "_OTHER" } else { method })
    }

    /// `rpc.response.status_code`.
    fn status_name(&self) -> Option<Text> {
        let status = self.status?;
        Some(match status_name(status) {
            Some(name) => name.into(),
            None => status.to_string().into(),
        })
    }
}

const UNIMPLEMENTED: u32 = 12;

/// A status of gRPC by its name.
const fn status_name(status: u32) -> Option<&'static str> {
    Some(match status {
        0 => "OK",
        1 => "CANCELLED",
        2 => "UNKNOWN",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        _ => return None,
    })
}

/// Whether a status is an error of the server (the conventions of gRPC); to a client, all but OK are.
const fn is_servers_fault(status: u32) -> bool {
    matches!(status, 2 | 4 | 12 | 13 | 14 | 15)
}

/// Its groups.
pub static GROUPS: &[&Group] = &[&SERVER, &CLIENT];

/// Calls that a service answers.
pub static SERVER: Group = Group {
    kind: "server",
    measures: &[Measure::duration(&SERVER_DURATION)],
    open: None,
    row,
};

/// Calls that it makes.
pub static CLIENT: Group = Group {
    kind: "client",
    measures: &[Measure::duration(&CLIENT_DURATION)],
    open: None,
    row,
};

/// `rpc.server.call.duration`.
pub static SERVER_DURATION: Instrument = Instrument {
    name: "rpc.server.call.duration",
    unit: "s",
    description: "Measures the duration of an incoming Remote Procedure Call (RPC).",
    bounds: SECONDS,
};

/// `rpc.client.call.duration`.
pub static CLIENT_DURATION: Instrument = Instrument {
    name: "rpc.client.call.duration",
    unit: "s",
    description: "Measures the duration of an outgoing Remote Procedure Call (RPC).",
    bounds: SECONDS,
};

impl Describe for GrpcExchange {
    /// The call's own status, else HTTP's, else who gave it up or what became of the connection.
    fn outcome(&self, common: &Common) -> Outcome {
        let named = |status| match status_name(status) {
            Some(name) => ErrorType::Named(name),
            None => ErrorType::Code(u16::try_from(status).unwrap_or(u16::MAX)),
        };
        match (self.status, self.http.status) {
            (Some(0), _) => Outcome::FINE,
            (Some(status), _) if common.role == Role::Client || is_servers_fault(status) => {
                Outcome::failure(named(status))
            }
            (Some(_), _) => Outcome::FINE,
            (None, Some(status)) if status >= 400 => Outcome::failure(ErrorType::Code(status)),
            _ => self
                .http
                .reset(common)
                .unwrap_or_else(|| Outcome::of_connection(common)),
        }
    }

    fn group(&self, common: &Common) -> &'static Group {
        match common.role {
            Role::Server => &SERVER,
            Role::Client => &CLIENT,
        }
    }

    fn series(&self, common: &Common, _: Option<&Arc<str>>, key: &mut SeriesKey<'_>) {
        let method = self.bounded_method(common).map_or(0, |name| key.name(name));
        // A status is a number of its own; where there is none, 0 is not one.
        let status = self.status.map_or(0, |status| u64::from(status) + 1);
        key.number(method | (self.system as u64) << 32 | u64::from(common.tls) << 33);
        let error = self.outcome(common).error.map_or(0, ErrorType::number);
        key.number(status);
        key.number(error);
        if common.role == Role::Client {
            self.http.server_key(common, key);
        }
    }

    fn labels(&self, common: &Common, _: Option<&Arc<str>>, out: &mut Attributes) {
        let error = self.outcome(common).error;
        out.some_text("error.type", error.map(ErrorType::value));
        let method = self.bounded_method(common).map(Arc::<str>::from);
        out.some_text("rpc.method", method);
        out.some_text("rpc.response.status_code", self.status_name());
        out.text("rpc.system.name", self.system.as_str());
        if common.role == Role::Client {
            let (address, port) = server(&self.http, common);
            out.some_text("server.address", address);
            out.int("server.port", port);
        }
    }

    /// One that was taken for HTTP is counted as that as long as it lasts.
    fn open(&self, role: Role, tls: bool) -> Option<Open> {
        self.is_late.then(|| self.http.open(role, tls))?
    }

    fn span(&self, common: &Common, _: Option<&Arc<str>>) -> SpanBuilder {
        let mut out = Attributes::with_capacity(24);
        out.text("rpc.system.name", self.system.as_str());
        let method = self.method().map(Arc::<str>::from);
        out.some_text("rpc.method", method.clone());
        out.some_text("rpc.response.status_code", self.status_name());
        let error = self.outcome(common).error;
        out.some_text("error.type", error.map(ErrorType::value));
        let (server_address, server_port) = server(&self.http, common);
        out.some_text("server.address", server_address);
        out.int("server.port", server_port);
        out.peer(common);
        out.int(
            "http.response.status_code",
            self.http.status.filter(|status| *status != 200),
        );
        let agent = self.http.texts.user_agent();
        out.some_text("user_agent.original", agent.map(Arc::from));
        let version = self.http.version.map(|version| version.as_str());
        out.some_text("network.protocol.version", version);
        out.transport(common);
        let moved = |side: Side, is_exact| {
            let moved = self.moved[side.index()].filter(|(_, exact)| *exact == is_exact);
            moved.map(|(messages, _)| messages)
        };
        out.int("observer.rpc.request.messages", moved(Side::Request, true));
        out.int(
            "observer.rpc.request.messages.at_least",
            moved(Side::Request, false),
        );
        out.int(
            "observer.rpc.response.messages",
            moved(Side::Response, true),
        );
        out.int(
            "observer.rpc.response.messages.at_least",
            moved(Side::Response, false),
        );
        out.int("observer.rpc.request.size", self.http.request_body_size);
        out.int("observer.rpc.response.size", self.http.response_body_size);
        out.seconds("observer.rpc.timeout", Some(0), self.timeout_ns);
        out.observed(common);
        out.seconds(
            "observer.response.first_byte",
            Some(common.times.request_start),
            common.times.response_start,
        );
        if let Some(session) = &common.session {
            session.describe(&mut out);
        }
        SpanBuilder {
            name: method.map_or_else(|| self.system.as_str().into(), Text::from),
            attributes: out,
        }
    }
}

/// A call's system, method and status.
pub fn summary<'a>(_: SpanKind, attributes: &'a [(&'static str, Value)]) -> Summary<'a> {
    let status = text(attributes, "rpc.response.status_code");
    let http = || int(attributes, "http.response.status_code");
    let bytes = int(attributes, "observer.rpc.response.size");
    Summary {
        verb: text(attributes, "rpc.system.name"),
        target: text(attributes, "rpc.method").or_else(|| text(attributes, "server.address")),
        is_named_without_target: false,
        status: match status {
            Some(status) => Some(Status {
                shown: status.into(),
                is_fine: status == "OK",
            }),
            None => http().map(|status| Status {
                shown: status.to_string().into(),
                is_fine: status < 400,
            }),
        },
        bytes: bytes.and_then(|size| u64::try_from(size).ok()),
    }
}

/// A line a method; of calls a method and server.
fn row(labels: &[(&'static str, Value)]) -> Row {
    if is_overflow(labels) {
        return Row::others();
    }
    let method = text(labels, "rpc.method").unwrap_or("-");
    let server = match (text(labels, "server.address"), int(labels, "server.port")) {
        (Some(address), Some(port)) => Some(format!("{address}:{port}")),
        (Some(address), None) => Some(address.to_owned()),
        (None, _) => None,
    };
    Row {
        verb: text(labels, "rpc.system.name").unwrap_or("-").to_owned(),
        place: match server {
            Some(server) => format!("{server}/{method}"),
            None => method.to_owned(),
        },
    }
}
