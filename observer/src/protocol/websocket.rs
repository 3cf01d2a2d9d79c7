//! WebSocket: the handshake's exchange, as HTTP's conventions have it, for as long as the connection lives. There are no conventions
//! for the rest.
//!
//! | span attribute beyond the conventions | unit | what |
//! |---|---|---|
//! | `observer.websocket.request.messages`, `observer.websocket.response.messages` | | messages that client and server sent; of one in several frames, one |
//! | `observer.websocket.request.bytes`, `observer.websocket.response.bytes` | By | what they carried, as it was sent (compressed, where it is) |
//! | the four of them with `.at_least` behind | | the same, where some may not have been seen |
//! | `observer.websocket.close.code` | | why the end that began to close did; 1005 where it does not say, 1006 where nobody closed |
//! | `observer.websocket.close.by` | | which end that was: `client`, `server` |
//!
//! `error.type` is the code, where it is not 1000, 1001 or 1005; where nobody closed it is what cut the connection off.

use std::{borrow::Cow, sync::Arc};

use observer_protocol::{
    protocol::{Progress, Side},
    websocket::{Said, WebSocket},
};

use super::{
    Account, Attributes, Carried, Describe, Detail, ErrorType, Group, Instrument, Measure, Outcome,
    RouteInput, Row, SeriesKey, SpanBuilder, SpanKind, Status, Summary,
    attributes::{int, text},
    conventions::http::{self, HttpExchange},
};
use crate::{
    identity::Role,
    process::Value,
    protocol::exchange::{Common, Incomplete},
};

/// The connection was cut off (RFC 6455 section 7.4.1).
const ABNORMAL: u16 = 1006;

/// What one of its exchanges adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocketExchange {
    /// The handshake.
    pub handshake: HttpExchange,
    /// Messages of client and server.
    pub messages: [u64; 2],
    /// Their bytes.
    pub bytes: [u64; 2],
    /// There may have been more.
    pub unseen: bool,
    /// Which end began to close, and with which code.
    pub closed: Option<(Side, Option<u16>)>,
}

/// Its groups.
pub static GROUPS: &[&Group] = &[&SERVER, &CLIENT];

/// Connections that a server has.
pub static SERVER: Group = Group {
    kind: "websocket server",
    measures: &[Measure {
        instrument: &SERVER_DURATION,
        limits: &NANOSECONDS,
        scale: 1_000_000_000,
    }],
    open: None,
    row,
};

/// Connections that a client makes.
pub static CLIENT: Group = Group {
    kind: "websocket client",
    measures: &[Measure {
        instrument: &CLIENT_DURATION,
        limits: &NANOSECONDS,
        scale: 1_000_000_000,
    }],
    open: None,
    row,
};

/// `observer.websocket.server.connection.duration`.
pub static SERVER_DURATION: Instrument = Instrument {
    name: "observer.websocket.server.connection.duration",
    unit: "s",
    description: "Duration of WebSocket connections, from the handshake to the end, at the server.",
    bounds: SECONDS,
};

/// `observer.websocket.client.connection.duration`.
pub static CLIENT_DURATION: Instrument = Instrument {
    name: "observer.websocket.client.connection.duration",
    unit: "s",
    description: "Duration of WebSocket connections, from the handshake to the end, at the client.",
    bounds: SECONDS,
};

/// From a moment to a day: they live as long as somebody has a page open.
static SECONDS: &[f64] = &[
    0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 14_400.0, 86_400.0,
];

/// The same.
static NANOSECONDS: [u64; 10] = [
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    60_000_000_000,
    300_000_000_000,
    1_800_000_000_000,
    3_600_000_000_000,
    14_400_000_000_000,
    86_400_000_000_000,
];

impl WebSocketExchange {
    /// What is known of its end: where messages may have passed unseen, a close may be among them.
    fn known<'c>(&self, common: &'c Common) -> Cow<'c, Common> {
        let ended = common.incomplete == Some(Incomplete::Closed);
        if !(self.unseen && self.closed.is_none() && ended) {
            return Cow::Borrowed(common);
        }
        let mut common = common.clone();
        common.incomplete = Some(Incomplete::LostBytes);
        Cow::Owned(common)
    }

    /// The code, where it is an error.
    const fn error(&self) -> Option<u16> {
        match self.closed {
            Some((_, Some(code))) if !matches!(code, 1000 | 1001 | 1005) => Some(code),
            _ => None,
        }
    }
}

impl Describe for WebSocketExchange {
    fn outcome(&self, common: &Common) -> Outcome {
        match self.error() {
            Some(code) => Outcome::failure(ErrorType::Code(code)),
            None => Outcome::of_connection(&self.known(common)),
        }
    }

    fn is_measurable(&self) -> bool {
        self.handshake.is_measurable()
    }

    fn is_endless(&self) -> bool {
        true
    }

    fn group(&self, common: &Common) -> &'static Group {
        match common.role {
            Role::Server => &SERVER,
            Role::Client => &CLIENT,
        }
    }

    fn series(&self, common: &Common, route: Option<&Arc<str>>, key: &mut SeriesKey<'_>) {
        self.handshake.series(&self.known(common), route, key);
        key.number(self.error().map_or(0, u64::from));
    }

    fn labels(&self, common: &Common, route: Option<&Arc<str>>, out: &mut Attributes) {
        let common = &*self.known(common);
        self.handshake.labels(common, route, out);
        self.error_beside_https(common, out);
    }

    fn span(&self, common: &Common, route: Option<&Arc<str>>) -> SpanBuilder {
        let common = &*self.known(common);
        let mut span = self.handshake.span(common, route);
        let out = &mut span.attributes;
        self.error_beside_https(common, out);
        for (number, exact, at_least) in [
            (
                self.messages[0],
                "observer.websocket.request.messages",
                "observer.websocket.request.messages.at_least",
            ),
            (
                self.bytes[0],
                "observer.websocket.request.bytes",
                "observer.websocket.request.bytes.at_least",
            ),
            (
                self.messages[1],
                "observer.websocket.response.messages",
                "observer.websocket.response.messages.at_least",
            ),
            (
                self.bytes[1],
                "observer.websocket.response.bytes",
                "observer.websocket.response.bytes.at_least",
            ),
        ] {
            out.int(if self.unseen { at_least } else { exact }, Some(number));
        }
        let cut = matches!(
            common.incomplete,
            Some(Incomplete::Closed | Incomplete::Reset)
        );
        let (by, code) = match self.closed {
            Some((by, code)) => (Some(by), code),
            None => (None, cut.then_some(ABNORMAL)),
        };
        out.int("observer.websocket.close.code", code);
        out.some_text(
            "observer.websocket.close.by",
            by.map(|by| match by {
                Side::Request => "client",
                Side::Response => "server",
            }),
        );
        span
    }

    fn route(&self, common: &Common) -> Option<RouteInput<'_>> {
        self.handshake.route(common)
    }
}

impl WebSocketExchange {
    /// `error.type`, where HTTP has none.
    fn error_beside_https(&self, common: &Common, out: &mut Attributes) {
        if self.handshake.outcome(common).error.is_none() {
            let error = self.outcome(common).error;
            out.some_text("error.type", error.map(ErrorType::value));
        }
    }
}

/// A handshake's line, with the code of the close behind it.
pub fn summary<'a>(kind: SpanKind, attributes: &'a [(&'static str, Value)]) -> Summary<'a> {
    let code = int(attributes, "observer.websocket.close.code");
    let mut summary = http::summary(kind, attributes);
    if let Some(code) = code {
        summary.status = Some(Status {
            shown: code.to_string().into(),
            is_fine: text(attributes, "error.type").is_none(),
        });
    }
    summary
}

fn row(labels: &[(&'static str, Value)]) -> Row {
    (http::SERVER.row)(labels)
}

impl Account for WebSocket {
    /// It begins with none.
    fn opened(detail: &mut Detail, (): ()) {
        *detail = Detail::WebSocket(WebSocketExchange::default());
    }

    fn unread(detail: &mut Detail) {
        *detail = Detail::WebSocket(WebSocketExchange::default());
    }

    fn continued(detail: &mut Detail) {
        if let Detail::Http(http) = detail {
            let handshake = std::mem::take(http);
            *detail = Detail::WebSocket(WebSocketExchange {
                handshake,
                ..WebSocketExchange::default()
            });
        }
    }

    fn progressed(detail: &mut Detail, progress: &Progress) {
        if let Detail::WebSocket(facts) = detail {
            let side = progress.side.index();
            facts.messages[side] = facts.messages[side].saturating_add(progress.messages);
            facts.bytes[side] = facts.bytes[side].saturating_add(progress.bytes);
        }
    }

    fn replied(detail: &mut Detail, said: Said) {
        if let Detail::WebSocket(facts) = detail {
            match said {
                Said::Unseen => facts.unseen = true,
                Said::Close { by, code } => facts.closed = Some((by, code)),
            }
        }
    }

    fn ended(_: &mut Detail, _: Side, _: Option<u64>) {}

    fn carried<'h>((): &'h ()) -> Carried<'h> {
        Carried::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{
        exchange::Exchange,
        samples::{exchange, http},
    };

    fn connection(role: Role) -> (Exchange, WebSocketExchange) {
        let mut exchange = exchange(role);
        let mut handshake = std::mem::take(http(&mut exchange));
        handshake.status = Some(101);
        let facts = WebSocketExchange {
            handshake,
            messages: [3, 4],
            bytes: [30, 40],
            ..WebSocketExchange::default()
        };
        (exchange, facts)
    }

    #[test]
    fn a_connection_fails_by_its_code_or_where_nobody_closed_it() {
        let by_client = |code| Some((Side::Request, code));
        let table = [
            (by_client(Some(1000)), None, false, None, Some(1000)),
            (by_client(Some(1005)), None, false, None, Some(1005)),
            (by_client(Some(1011)), None, false, Some("1011"), Some(1011)),
            (by_client(None), None, false, None, None),
            (
                None,
                Some(Incomplete::Closed),
                false,
                Some("connection_closed"),
                Some(1006),
            ),
            (
                None,
                Some(Incomplete::Reset),
                true,
                Some("connection_reset"),
                Some(1006),
            ),
            // The close may be what was not seen.
            (None, Some(Incomplete::Closed), true, None, None),
            (None, Some(Incomplete::Abandoned), false, None, None),
        ];
        for (closed, incomplete, unseen, error, code) in table {
            let (mut exchange, mut facts) = connection(Role::Server);
            exchange.incomplete = incomplete;
            (facts.closed, facts.unseen) = (closed, unseen);
            let found = facts.outcome(&exchange).error.map(ErrorType::value);
            assert_eq!(found.as_deref(), error, "{closed:?} {incomplete:?}");
            let span = facts.span(&exchange, None).attributes.into_vec();
            assert_eq!(int(&span, "observer.websocket.close.code"), code);
            let errors: Vec<&Value> = span
                .iter()
                .filter_map(|(key, value)| (*key == "error.type").then_some(value))
                .collect();
            assert_eq!(errors.len(), usize::from(error.is_some()), "{span:?}");
            assert_eq!(text(&span, "error.type"), error);
            let mut labels = Attributes::default();
            facts.labels(&exchange, None, &mut labels);
            assert_eq!(text(&labels.into_vec(), "error.type"), error);
            let exact = int(&span, "observer.websocket.request.messages");
            let at_least = int(&span, "observer.websocket.request.messages.at_least");
            let expected = if unseen {
                (None, Some(3))
            } else {
                (Some(3), None)
            };
            assert_eq!((exact, at_least), expected);
        }
    }
}
