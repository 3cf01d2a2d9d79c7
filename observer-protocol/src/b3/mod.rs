//! B3 propagation (<https://github.com/openzipkin/b3-propagation>): what Zipkin's headers say, in terms of W3C's ids.
//!
//! In: the value of a `b3` header, or the `X-B3-*` headers of one request. Out: the caller's trace, span and decision.
//! Owns: nothing.

mod multiple;
#[cfg(test)]
mod tests;

pub(crate) use multiple::Multiple;

use crate::trace_context::TraceParent;

/// Reads a `b3` header: `{trace id}-{span id}[-{sampling state}[-{parent span id}]]`, in hex digits of either case; a
/// trace id of 64 bits is the lower half of one of 128. `None` for a lone sampling state, which names no parent, and
/// for everything malformed.
pub fn parse_b3(value: &str) -> Option<TraceParent> {
    let mut fields = value.trim_matches([' ', '\t']).split('-');
    let trace_id = trace_id(fields.next()?)?;
    let parent_id = span_id(fields.next()?)?;
    let sampled = match fields.next() {
        // Deferred: the sender leaves the decision to us.
        None => true,
        Some("1" | "d") => true,
        Some("0") => false,
        Some(_) => return None,
    };
    if let Some(grandparent) = fields.next() {
        span_id(grandparent)?;
    }
    fields.next().is_none().then_some(TraceParent {
        trace_id,
        parent_id,
        flags: u8::from(sampled),
    })
}

fn trace_id(digits: &str) -> Option<[u8; 16]> {
    let id = match digits.len() {
        16 | 32 => number(digits)?,
        _ => return None,
    };
    (id != 0).then(|| id.to_be_bytes())
}

fn span_id(digits: &str) -> Option<[u8; 8]> {
    let id = match digits.len() {
        16 => u64::try_from(number(digits)?).ok()?,
        _ => return None,
    };
    (id != 0).then(|| id.to_be_bytes())
}

/// Hex digits and nothing else (`from_str_radix` would take a sign).
fn number(digits: &str) -> Option<u128> {
    digits
        .bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then(|| u128::from_str_radix(digits, 16).ok())
        .flatten()
}
