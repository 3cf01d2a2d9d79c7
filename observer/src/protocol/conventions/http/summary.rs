//! HTTP in a line.

use crate::{
    process::Value,
    protocol::{
        Row, SpanKind, Status, Summary,
        attributes::{int, is_overflow, text},
    },
};

/// A span's method, path (of a call: host and path), status and response.
pub fn summary<'a>(kind: SpanKind, attributes: &'a [(&'static str, Value)]) -> Summary<'a> {
    let text = |key| text(attributes, key);
    let path = text("url.path");
    let full = || text("url.full").map(|url| url.split_once("://").map_or(url, |(_, rest)| rest));
    let method = text("http.request.method_original").or_else(|| text("http.request.method"));
    let status = int(attributes, "http.response.status_code");
    let bytes = int(attributes, "http.response.body.size");
    Summary {
        verb: method,
        target: match kind {
            SpanKind::Client => full().or(path).or_else(|| text("server.address")),
            _ => path.or_else(|| text("http.route")),
        },
        is_named_without_target: false,
        status: status.map(|status| Status {
            shown: status.to_string().into(),
            is_fine: status < 400,
        }),
        bytes: bytes.and_then(|size| u64::try_from(size).ok()),
    }
}

/// A line a method and route, of calls a method and server.
pub(super) fn row(labels: &[(&'static str, Value)]) -> Row {
    if is_overflow(labels) {
        return Row::others();
    }
    let text = |key| text(labels, key);
    let server = || match (text("server.address")?, int(labels, "server.port")) {
        (address, Some(port)) => Some(format!("{address}:{port}")),
        (address, None) => Some(address.to_owned()),
    };
    let place = text("http.route").or_else(|| text("url.template"));
    let place = place.map(str::to_owned).or_else(server);
    Row {
        verb: text("http.request.method").unwrap_or("-").to_owned(),
        place: place.unwrap_or_else(|| "-".to_owned()),
    }
}
