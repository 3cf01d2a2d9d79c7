//! A span from an exchange.
//!
//! Name and attributes are the protocol's; all spans carry `observer.parent.method`, and where something is missing
//! `observer.incomplete` says why.
//!
//! A link to the request that a call may have been made for, where its parent can't be known:
//!
//! | attribute | what |
//! |---|---|
//! | `observer.link.inferred` | always true: it is no parent |
//! | `observer.link.method` | how it was found |

use std::sync::Arc;

use super::{Clock, Span};
use crate::{
    exchange::{Exchange, Incomplete, InferredLink},
    process::{Service, Value},
    protocol::SpanBuilder,
};

/// The span of `exchange`, or `None` where its end is not known: a duration is never invented.
///
/// `route` is the server's route, where it has one.
pub fn synthesize(
    exchange: &Exchange,
    service: &Arc<Service>,
    route: Option<&Arc<str>>,
    clock: Clock,
) -> Option<Span> {
    if exchange.incomplete == Some(Incomplete::Abandoned) {
        return None;
    }
    let start = clock.unix_nano(exchange.times.request_start);
    let end = start.saturating_add(exchange.duration_ns()?);
    let detail = exchange.detail.describe();
    let SpanBuilder { name, attributes } = detail.span(exchange, route);
    let context = &exchange.context;
    Some(Span {
        service: service.clone(),
        protocol: exchange.detail.id(),
        trace_id: context.trace_id,
        span_id: context.span_id,
        parent_span_id: context.parent_span_id,
        link: context.link,
        trace_state: context.trace_state.clone(),
        name,
        kind: detail.kind(exchange),
        start_unix_nano: start,
        end_unix_nano: end,
        attributes: attributes.into_vec(),
        // The description stays empty: status code and error.type say it all.
        error: detail.outcome(exchange).failed.then(|| "".into()),
        flags: u8::from(context.sampled.unwrap_or(true)),
    })
}

/// The attributes of a link.
pub fn link_attributes(link: &InferredLink) -> [(&'static str, Value); 2] {
    let method = Value::Text(link.method.as_str().into());
    [
        ("observer.link.inferred", Value::Bool(true)),
        ("observer.link.method", method),
    ]
}

#[cfg(test)]
#[path = "synthesize_tests.rs"]
mod tests;
