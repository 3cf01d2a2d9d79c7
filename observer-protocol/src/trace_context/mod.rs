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
    let (high, low) = (word(&fixed[3..19])?, word(&fixed[19..35])?);
    let parent = word(&fixed[36..52])?;
    let flags = hex(&fixed[53..55])?;
    if (high, low) == (0, 0) || parent == 0 {
        return None;
    }
    let mut trace_id = [0; 16];
    trace_id[..8].copy_from_slice(&high.to_be_bytes());
    trace_id[8..].copy_from_slice(&low.to_be_bytes());
    Some(TraceParent {
        trace_id,
        parent_id: parent.to_be_bytes(),
        flags,
    })
}

/// Sixteen lower-case hex digits.
fn word(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    let mut unlike = false;
    for digit in digits {
        let nibble = NIBBLES[usize::from(*digit)];
        unlike |= nibble > 15;
        value = value * 16 + u64::from(nibble % 16);
    }
    (!unlike).then_some(value)
}

/// What a lower-case hex digit stands for; 255 where a byte is none.
const NIBBLES: [u8; 256] = {
    let mut table = [255; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    table
};

/// Two lower-case hex digits.
fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    Some(digit(digits[0])? * 16 + digit(digits[1])?)
}
