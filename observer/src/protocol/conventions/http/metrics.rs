//! Instruments, and what tells their series apart.

use std::sync::Arc;

use super::{
    HttpExchange, Method, scheme, summary,
    target::{raw_authority, server},
};
use crate::{
    identity::{Address, Role},
    protocol::exchange::Common,
    protocol::{
        Attributes, BYTES, Describe, ErrorType, Group, Instrument, Measure, Open, OpenRequests,
        SECONDS, SeriesKey,
    },
};

/// The groups of any version of HTTP.
pub static GROUPS: &[&Group] = &[&SERVER, &CLIENT];

/// Requests that a service answers.
pub static SERVER: Group = Group {
    kind: "server",
    measures: &[
        Measure::duration(&SERVER_DURATION),
        Measure::size(&SERVER_REQUEST_SIZE),
        Measure::size(&SERVER_RESPONSE_SIZE),
    ],
    open: Some(OpenRequests {
        instrument: &SERVER_ACTIVE,
        labels: open_labels,
    }),
    row: summary::row,
};

/// Requests that it makes. The conventions' stable set has no gauge of those that are open.
pub static CLIENT: Group = Group {
    kind: "client",
    measures: &[
        Measure::duration(&CLIENT_DURATION),
        Measure::size(&CLIENT_REQUEST_SIZE),
        Measure::size(&CLIENT_RESPONSE_SIZE),
    ],
    open: None,
    row: summary::row,
};

/// `http.server.request.duration`.
pub static SERVER_DURATION: Instrument = Instrument {
    name: "http.server.request.duration",
    unit: "s",
    description: "Duration of HTTP server requests.",
    bounds: SECONDS,
};

/// `http.client.request.duration`.
pub static CLIENT_DURATION: Instrument = Instrument {
    name: "http.client.request.duration",
    unit: "s",
    description: "Duration of HTTP client requests.",
    bounds: SECONDS,
};

/// `http.server.request.body.size`.
static SERVER_REQUEST_SIZE: Instrument = Instrument {
    name: "http.server.request.body.size",
    unit: "By",
    description: "Size of HTTP server request bodies.",
    bounds: BYTES,
};

/// `http.server.response.body.size`.
static SERVER_RESPONSE_SIZE: Instrument = Instrument {
    name: "http.server.response.body.size",
    unit: "By",
    description: "Size of HTTP server response bodies.",
    bounds: BYTES,
};

/// `http.client.request.body.size`.
static CLIENT_REQUEST_SIZE: Instrument = Instrument {
    name: "http.client.request.body.size",
    unit: "By",
    description: "Size of HTTP client request bodies.",
    bounds: BYTES,
};

/// `http.client.response.body.size`.
static CLIENT_RESPONSE_SIZE: Instrument = Instrument {
    name: "http.client.response.body.size",
    unit: "By",
    description: "Size of HTTP client response bodies.",
    bounds: BYTES,
};

/// `http.server.active_requests`.
pub static SERVER_ACTIVE: Instrument = Instrument {
    name: "http.server.active_requests",
    unit: "{request}",
    description: "Number of active HTTP server requests.",
    bounds: &[],
};

/// A server's open requests are counted by method and scheme.
pub(super) fn open(method: Method, tls: bool) -> Open {
    Open {
        group: &SERVER,
        key: method as u16 | u16::from(tls) << 8,
    }
}

fn open_labels(key: u16, out: &mut Attributes) {
    let [method, tls] = key.to_le_bytes();
    out.text("http.request.method", Method::of_number(method).as_str());
    out.text("url.scheme", scheme(tls != 0));
}

impl HttpExchange {
    pub(super) fn key(&self, common: &Common, route: Option<&Arc<str>>, key: &mut SeriesKey<'_>) {
        // A status that is an error is its own error.type; beside one, only a cut is.
        let error = self.outcome(common).error.map_or(0, ErrorType::number);
        let version = self.version.map_or(0, |version| version as u64 + 1);
        key.number(
            u64::from(self.status.unwrap_or(0))
                | (Method::of(&self.method) as u64) << 16
                | version << 24
                | u64::from(common.tls) << 32,
        );
        key.number(error);
        match common.role {
            Role::Server => key.pointer(route),
            Role::Client => self.server_key(common, key),
        }
    }

    /// What a client calls its server, and the connection's port.
    pub(in crate::protocol) fn server_key(&self, common: &Common, key: &mut SeriesKey<'_>) {
        let session = common.session.as_ref();
        let named = session.and_then(|session| session.server_name.as_deref());
        let written = raw_authority(self).or(named);
        let (number, port) = match (written, &common.peer) {
            (Some(written), Address::Inet(address)) => (key.name(written), address.port()),
            (Some(written), _) => (key.name(written), 0),
            (None, Address::Inet(address)) => (key.address(address.ip()), address.port()),
            (None, Address::Unix(path)) => (key.name(path), 0),
            (None, Address::Unknown) => (0, 0),
        };
        // Whether it is a Unix socket: its path may be somebody else's Host.
        let unix = u64::from(matches!(common.peer, Address::Unix(_)) && written.is_none());
        key.number(number | u64::from(port) << 32 | unix << 48);
    }

    pub(super) fn series_labels(
        &self,
        common: &Common,
        route: Option<&Arc<str>>,
        out: &mut Attributes,
    ) {
        let error = self.outcome(common).error;
        out.some_text("error.type", error.map(ErrorType::value));
        out.text("http.request.method", Method::of(&self.method).as_str());
        out.int("http.response.status_code", self.status);
        // network.protocol.name is only wanted where it is not `http`.
        let version = self.version.map(|version| version.as_str());
        out.some_text("network.protocol.version", version);
        match common.role {
            Role::Server => out.some_text("http.route", route.cloned()),
            Role::Client => {
                let (address, port) = server(self, common);
                out.some_text("server.address", address);
                out.int("server.port", port);
            }
        }
        out.text("url.scheme", scheme(common.tls));
    }
}
