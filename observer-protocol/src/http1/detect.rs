//! Is this HTTP/1? From the first bytes of a direction.

use crate::protocol::Side;

/// What the first bytes of a direction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// A request line of HTTP/1.0 or 1.1.
    Request,
    /// A status line of HTTP/1.0 or 1.1.
    Response,
    /// Could become either: more bytes are needed.
    Incomplete,
    /// Something else.
    No,
}

/// The longest method that is taken for one, in bytes; the longest registered one has 17.
pub(super) const MAX_METHOD: usize = 32;

/// What `bytes`, the first of a direction or of a run, begin with. Line ends before the first line are passed over.
pub fn detect(bytes: &[u8]) -> Detection {
    let bytes = &bytes[leading_line_ends(bytes)..];
    match response(bytes) {
        Detection::No => request(bytes),
        found => found,
    }
}

/// Whether `bytes`, the first of a run, begin a message of that side: the message, [`Detection::Incomplete`] or
/// [`Detection::No`].
pub(super) fn of_side(side: Side, bytes: &[u8]) -> Detection {
    let bytes = &bytes[leading_line_ends(bytes)..];
    match side {
        Side::Request => request(bytes),
        Side::Response => response(bytes),
    }
}

/// How many of the first bytes are CR or LF (RFC 9112 section 2.2 has servers ignore them before a request line).
pub(super) fn leading_line_ends(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(bytes.len())
}

/// A status line: version, space, a status from 100 on, then space or line end.
pub(super) fn response(bytes: &[u8]) -> Detection {
    const PATTERN: &[u8] = b"HTTP/1.vscdde";
    for (index, class) in PATTERN.iter().enumerate() {
        let Some(byte) = bytes.get(index) else {
            return Detection::Incomplete;
        };
        let fits = match class {
            b'v' => matches!(byte, b'0' | b'1'),
            b's' => *byte == b' ',
            b'c' => matches!(byte, b'1'..=b'9'),
            b'd' => byte.is_ascii_digit(),
            b'e' => matches!(byte, b' ' | b'\r' | b'\n'),
            literal => byte == literal,
        };
        if !fits {
            return Detection::No;
        }
    }
    Detection::Response
}

/// A request line: method token, space, target, space, version, line end.
pub(super) fn request(bytes: &[u8]) -> Detection {
    let Some(method) = bytes
        .iter()
        .take(MAX_METHOD + 1)
        .position(|byte| !is_token(*byte))
    else {
        return if bytes.len() > MAX_METHOD {
            Detection::No
        } else {
            Detection::Incomplete
        };
    };
    if method == 0 || bytes[method] != b' ' {
        return Detection::No;
    }
    let rest = &bytes[method + 1..];
    let Some(target) = rest.iter().position(|byte| *byte <= b' ' || *byte == 0x7f) else {
        return Detection::Incomplete;
    };
    if target == 0 || rest[target] != b' ' {
        return Detection::No;
    }
    let rest = &rest[target + 1..];
    const VERSION: &[u8] = b"HTTP/1.";
    let common = rest.len().min(VERSION.len());
    if rest[..common] != VERSION[..common] {
        return Detection::No;
    }
    match rest.get(VERSION.len()..).unwrap_or_default() {
        [] | [b'0' | b'1'] | [b'0' | b'1', b'\r'] => Detection::Incomplete,
        [b'0' | b'1', b'\n', ..] | [b'0' | b'1', b'\r', b'\n', ..] => Detection::Request,
        _ => Detection::No,
    }
}

/// RFC 9110 section 5.6.2: `tchar`.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
