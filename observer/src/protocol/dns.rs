//! DNS over UDP: lookups, seen where they are made.
//!
//! The conventions have a metric (`dns.lookup.duration`) and no span, so the span's attributes are the registry's
//! (`dns.question.name`) and:
//!
//! | attribute | what |
//! |---|---|
//! | `observer.dns.question.type` | the type of record that was asked for |
//! | `observer.dns.response_code` | what the name server answered |
//! | `observer.dns.attempts` | how often the query was sent, where more than once |

use std::sync::Arc;

use observer_protocol::dns::{Dns, Message, Question, ResponseCode};

use super::{
    Attributes, DatagramAccount, Describe, Detail, ErrorType, Group, Instrument, Measure, Outcome,
    Row, SECONDS, SeriesKey, SpanBuilder, SpanKind, Status, Summary, attributes::text,
    conventions::network::socket,
};
use crate::{process::Value, protocol::exchange::Common};

/// What a DNS lookup adds: a query and its answer over UDP, seen where it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsExchange {
    /// What was asked.
    pub question: Question,
    /// What the name server answered; `None` where no answer was seen.
    pub response_code: Option<ResponseCode>,
    /// How often the query was sent.
    pub attempts: u32,
}

/// Its groups.
pub static GROUPS: &[&Group] = &[&LOOKUPS];

/// A service's lookups.
pub static LOOKUPS: Group = Group {
    kind: "dns",
    measures: &[Measure::duration(&LOOKUP_DURATION)],
    open: None,
    row: |_| Row {
        verb: "-".into(),
        place: "(all names)".into(),
    },
};

/// `dns.lookup.duration`: from the first query of a lookup to its answer, or until the client gave it up.
pub static LOOKUP_DURATION: Instrument = Instrument {
    name: "dns.lookup.duration",
    unit: "s",
    description: "Measures the time taken to perform a DNS lookup.",
    bounds: SECONDS,
};

impl DatagramAccount for Dns {
    fn detail(question: Question, answer: Option<&Message>, attempts: u32) -> Detail {
        Detail::Dns(DnsExchange {
            question,
            response_code: answer.map(|answer| answer.response_code),
            attempts,
        })
    }
}

impl Describe for DnsExchange {
    /// That a name does not exist is an answer, and the usual one while a resolver goes through its search domains.
    fn outcome(&self, common: &Common) -> Outcome {
        match self.response_code {
            Some(code) if code != ResponseCode::NO_ERROR => Outcome {
                error: Some(ErrorType::Named(code.as_str().unwrap_or("_OTHER"))),
                failed: code != ResponseCode::NAME_ERROR,
            },
            _ => Outcome::of_connection(common),
        }
    }

    fn group(&self, _: &Common) -> &'static Group {
        &LOOKUPS
    }

    fn series(&self, common: &Common, _: Option<&Arc<str>>, key: &mut SeriesKey<'_>) {
        let name = key.name(&self.question.name);
        key.number(name);
        key.number(self.outcome(common).error.map_or(0, ErrorType::number));
    }

    fn labels(&self, common: &Common, _: Option<&Arc<str>>, out: &mut Attributes) {
        out.text("dns.question.name", self.question.name.to_string());
        let error = self.outcome(common).error;
        out.some_text("error.type", error.map(ErrorType::value));
    }

    fn span(&self, common: &Common, _: Option<&Arc<str>>) -> SpanBuilder {
        let mut out = Attributes::with_capacity(12);
        out.text("dns.question.name", self.question.name.to_string());
        out.text("observer.dns.question.type", self.question.kind.to_string());
        let code = self.response_code;
        out.some_text(
            "observer.dns.response_code",
            code.map(|code| code.as_str().unwrap_or("_OTHER")),
        );
        let attempts = Some(self.attempts).filter(|attempts| *attempts > 1);
        out.int("observer.dns.attempts", attempts);
        let error = self.outcome(common).error;
        out.some_text("error.type", error.map(ErrorType::value));
        let (server, port) = socket(&common.peer);
        if let Some(server) = server {
            out.text("server.address", server.clone());
            out.int("server.port", port);
            out.text("network.peer.address", server);
            out.int("network.peer.port", port);
        }
        out.text("network.protocol.name", "dns");
        out.text("network.transport", "udp");
        out.observed(common);
        SpanBuilder {
            name: format!("DNS {}", self.question.kind).into(),
            attributes: out,
        }
    }

    /// A lookup that belongs to no request would be a trace of its own: metrics tell of it.
    fn stands_alone(&self) -> bool {
        false
    }

    /// They make none of lookups.
    fn is_made_by_sdks(&self) -> bool {
        false
    }
}

/// A lookup's type and name.
pub fn summary<'a>(_: SpanKind, attributes: &'a [(&'static str, Value)]) -> Summary<'a> {
    let found = text(attributes, "observer.dns.response_code") == Some("NOERROR");
    Summary {
        verb: text(attributes, "observer.dns.question.type"),
        target: text(attributes, "dns.question.name"),
        is_named_without_target: true,
        status: found.then_some(Status {
            shown: "ok".into(),
            is_fine: true,
        }),
        bytes: None,
    }
}

/// Its facts, of an exchange that is one.
#[cfg(test)]
pub(crate) fn of(detail: &mut Detail) -> &mut DnsExchange {
    match detail {
        Detail::Dns(dns) => dns,
        other => panic!("not DNS: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        protocol::exchange::Incomplete,
        protocol::samples::{dns, lookup},
    };

    #[test]
    fn a_lookup_fails_by_its_answer_or_by_having_none() {
        let code = |code| Some(ResponseCode(code));
        let table = [
            (code(0), None, None, false),
            (code(3), None, Some("NXDOMAIN"), false),
            (code(2), None, Some("SERVFAIL"), true),
            (code(14), None, Some("_OTHER"), true),
            (None, Some(Incomplete::Unanswered), Some("timeout"), true),
            (None, Some(Incomplete::LostBytes), None, false),
        ];
        for (response_code, incomplete, expected, fails) in table {
            let mut exchange = lookup();
            exchange.incomplete = incomplete;
            dns(&mut exchange).response_code = response_code;
            let found = exchange.outcome();
            let value = found.error.map(ErrorType::value);
            assert_eq!(value.as_deref(), expected, "{response_code:?}");
            assert_eq!(found.failed, fails, "{response_code:?}");
        }
    }
}
