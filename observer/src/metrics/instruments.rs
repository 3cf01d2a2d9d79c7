//! The instruments: names, units and buckets of OpenTelemetry's HTTP and DNS conventions, and one of our own.

use super::Instrument;

/// Buckets of durations, seconds: the conventions' advice.
pub const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Buckets of body sizes, bytes: none, then powers of four from 64 B to 256 MiB. The conventions advise nothing.
pub const BYTES: &[f64] = &[
    0.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
];

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
pub static SERVER_REQUEST_SIZE: Instrument = Instrument {
    name: "http.server.request.body.size",
    unit: "By",
    description: "Size of HTTP server request bodies.",
    bounds: BYTES,
};

/// `http.server.response.body.size`.
pub static SERVER_RESPONSE_SIZE: Instrument = Instrument {
    name: "http.server.response.body.size",
    unit: "By",
    description: "Size of HTTP server response bodies.",
    bounds: BYTES,
};

/// `http.client.request.body.size`.
pub static CLIENT_REQUEST_SIZE: Instrument = Instrument {
    name: "http.client.request.body.size",
    unit: "By",
    description: "Size of HTTP client request bodies.",
    bounds: BYTES,
};

/// `http.client.response.body.size`.
pub static CLIENT_RESPONSE_SIZE: Instrument = Instrument {
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

/// `dns.lookup.duration`: from the first query of a lookup to its answer, or until the client gave it up.
pub static LOOKUP_DURATION: Instrument = Instrument {
    name: "dns.lookup.duration",
    unit: "s",
    description: "Measures the time taken to perform a DNS lookup.",
    bounds: SECONDS,
};

/// `observer.exchanges.incomplete`, by `observer.incomplete` (the reason).
pub static INCOMPLETE: Instrument = Instrument {
    name: "observer.exchanges.incomplete",
    unit: "{exchange}",
    description: "Exchanges of which a part was not seen or did not happen, by reason.",
    bounds: &[],
};
