//! W3C trace context, level 1 and 2 (<https://www.w3.org/TR/trace-context/>): what a `traceparent` header says.
//!
//! In: the values of a request's `traceparent` and `tracestate` headers. Out: the caller's trace, span and decision, and
//! the state that goes with them. Owns: nothing.

mod state;
#[cfg(test)]
mod tests;

pub use state::{MAX_TRACE_STATE, join_trace_state};

/// A valid `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Trace id, never all zero.
    pub trace_id: [u8; 16],
    /// Span id of the caller, never all zero.
    pub parent_id: [u8; 8],
    /// Trace flags: bit 0 sampled, bit 1 random (level 2).
    pub flags: u8,
}

impl TraceParent {
    /// The caller may have recorded its span.
    pub const fn sampled(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// Reads a `traceparent` header's value. `None` where the text of the specification says to start a new trace:
/// version `ff`, wrong length, upper-case or other non-hex digits, all-zero ids. Versions above `00` are read by
/// their first 55 characters, which must be followed by nothing or by `-`.
pub fn parse_traceparent(value: &str) -> Option<TraceParent> {
    let bytes = value.trim_matches([' ', '\t']).as_bytes();
    let (fixed, rest) = bytes.split_at_checked(55)?;
    let version = hex(&fixed[..2])?;
    match (version, rest.first()) {
        (0xff, _) => return None,
        (_, None) => {}
        (0, Some(_)) => return None,
        (_, Some(b'-')) => {}
        (_, Some(_)) => return None,
    }
    if fixed[2] != b'-' || fixed[35] != b'-' || fixed[52] != b'-' {
        return None;
    }
    let mut parsed = TraceParent {
        trace_id: [0; 16],
        parent_id: [0; 8],
        flags: hex(&fixed[53..55])?,
    };
    for (byte, digits) in parsed.trace_id.iter_mut().zip(fixed[3..35].chunks_exact(2)) {
        *byte = hex(digits)?;
    }
    for (byte, digits) in parsed
        .parent_id
        .iter_mut()
        .zip(fixed[36..52].chunks_exact(2))
    {
        *byte = hex(digits)?;
    }
    (parsed.trace_id != [0; 16] && parsed.parent_id != [0; 8]).then_some(parsed)
}

/// Two lower-case hex digits.
fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    Some(digit(digits[0])? * 16 + digit(digits[1])?)
}
