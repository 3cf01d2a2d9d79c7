//! TLS: what a session agrees on, which the spans of what is inside tell, and its handshakes, which are measured.
//!
//! The conventions have attributes of TLS (`tls.*`) and no metric. Ours:
//!
//! | instrument | unit | what |
//! |---|---|---|
//! | `observer.tls.handshake.duration` | s | first byte of the client's hello to the later of both sides' ends, or to what failed it |
//!
//! `error.type` is the alert by its name in RFC 8446 section 6, or `closed` or `reset` where the connection ended without one. A
//! handshake that failed has a span, too.

use std::sync::Arc;

use super::{
    Attributes, Describe, ErrorType, Group, Instrument, Measure, Outcome, Row, SECONDS, SeriesKey,
    SpanBuilder, SpanKind, Status, Summary,
    attributes::{is_overflow, text},
    conventions::network::{server_end, socket},
};
use crate::{
    identity::Role,
    process::{Text, Value},
    protocol::exchange::Common,
};

/// What both sides of a session agreed on, as far as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `1.2`, `1.3`.
    pub version: Option<&'static str>,
    /// The cipher suite by its name in the registry.
    pub cipher: Option<&'static str>,
    /// The application protocol that was chosen (ALPN).
    pub protocol: Option<Box<str>>,
    /// The host that the client asks for (SNI), in lower case.
    pub server_name: Option<Arc<str>>,
    /// When the server's certificate ends, in seconds since 1970.
    pub not_after: Option<u64>,
    /// The alert by which a side ended the session behind its handshake.
    pub alert: Option<&'static str>,
}

impl Tls {
    /// Adds the attributes that spans tell.
    pub(super) fn describe(&self, out: &mut Attributes) {
        out.text("tls.protocol.name", "tls");
        out.some_text("tls.protocol.version", self.version);
        out.some_text("tls.cipher", self.cipher);
        out.some_text(
            "tls.next_protocol",
            self.protocol.as_deref().map(str::to_owned),
        );
        out.some_text("tls.server.not_after", self.not_after.and_then(timestamp));
    }
}

/// A handshake: it has a client and a server as exchanges do, and no request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// Why it failed: the alert that ended it by its name, or `closed` or `reset`, as the connection was.
    pub error: Option<&'static str>,
}

/// Its groups.
pub static GROUPS: &[&Group] = &[&HANDSHAKES];

/// A service's handshakes, of both ends.
pub static HANDSHAKES: Group = Group {
    kind: "tls",
    measures: &[Measure::duration(&HANDSHAKE_DURATION)],
    open: None,
    row: |labels| {
        if is_overflow(labels) {
            return Row::others();
        }
        Row {
            verb: "TLS".into(),
            place: text(labels, "server.address").unwrap_or("(clients)").into(),
        }
    },
};

/// `observer.tls.handshake.duration`.
pub static HANDSHAKE_DURATION: Instrument = Instrument {
    name: "observer.tls.handshake.duration",
    unit: "s",
    description: "Duration of TLS handshakes.",
    bounds: SECONDS,
};

/// What the client calls its server: the host it asks for, else the server's address.
pub(crate) fn server(common: &Common) -> (Option<Text>, Option<u16>) {
    let (address, port) = socket(server_end(common));
    let named = common
        .session
        .as_ref()
        .and_then(|session| session.server_name.clone());
    (named.map(Into::into).or(address), port)
}

impl Describe for Handshake {
    fn outcome(&self, _: &Common) -> Outcome {
        self.error.map_or(Outcome::FINE, |error| {
            Outcome::failure(ErrorType::Named(error))
        })
    }

    fn group(&self, _: &Common) -> &'static Group {
        &HANDSHAKES
    }

    fn series(&self, common: &Common, _: Option<&Arc<str>>, key: &mut SeriesKey<'_>) {
        let session = common.session.as_deref();
        let version = session.and_then(|session| session.version);
        key.number(
            u64::from(common.role == Role::Client)
                | version.map_or(0, |version| u64::from(version.as_bytes()[2])) << 8,
        );
        key.number(self.outcome(common).error.map_or(0, ErrorType::number));
        if common.role == Role::Client {
            let (address, port) = server(common);
            let name = address.map_or(0, |address| key.name(&address));
            key.number(name | u64::from(port.unwrap_or(0)) << 32);
        }
    }

    fn labels(&self, common: &Common, _: Option<&Arc<str>>, out: &mut Attributes) {
        let error = self.outcome(common).error;
        out.some_text("error.type", error.map(ErrorType::value));
        let session = common.session.as_deref();
        out.some_text(
            "tls.protocol.version",
            session.and_then(|session| session.version),
        );
        out.text("observer.role", SpanKind::of(common.role).as_str());
        if common.role == Role::Client {
            let (address, port) = server(common);
            out.some_text("server.address", address);
            out.int("server.port", port);
        }
    }

    fn span(&self, common: &Common, _: Option<&Arc<str>>) -> SpanBuilder {
        let mut out = Attributes::with_capacity(16);
        let error = self.outcome(common).error;
        out.some_text("error.type", error.map(ErrorType::value));
        let (address, port) = server(common);
        out.some_text("server.address", address);
        out.int("server.port", port);
        let (peer, port) = socket(&common.peer);
        out.some_text("network.peer.address", peer);
        out.int("network.peer.port", port);
        if let Some(session) = &common.session {
            session.describe(&mut out);
        }
        out.observed(common);
        SpanBuilder {
            name: "TLS handshake".into(),
            attributes: out,
        }
    }

    /// One that went well is a part of what the first request waits for. One that failed is all there is.
    fn has_span(&self) -> bool {
        self.error.is_some()
    }

    fn shows_certificate(&self) -> bool {
        true
    }

    /// They make none of handshakes.
    fn is_made_by_sdks(&self) -> bool {
        false
    }
}

/// A handshake's server and what failed it.
pub fn summary<'a>(_: SpanKind, attributes: &'a [(&'static str, Value)]) -> Summary<'a> {
    Summary {
        verb: Some("TLS"),
        target: text(attributes, "server.address"),
        is_named_without_target: true,
        status: text(attributes, "error.type").map(|error| Status {
            shown: error.into(),
            is_fine: false,
        }),
        bytes: None,
    }
}

/// Seconds since 1970 as the conventions write a time (RFC 3339, UTC).
pub(crate) fn timestamp(seconds: u64) -> Option<String> {
    let (days, of_day) = (i64::try_from(seconds / 86_400).ok()?, seconds % 86_400);
    // The civil calendar in eras of 400 years, each from a first of March on.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    (year <= 9999)
        .then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (2_524_607_999, "2049-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (seconds, written) in table {
            assert_eq!(timestamp(seconds).as_deref(), Some(written));
        }
        assert_eq!(timestamp(u64::MAX), None);
    }
}
