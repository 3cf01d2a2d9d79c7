//! Percent-encoding (RFC 3986 section 2.1) as the lists in `OTEL_*` variables have it: one reading of it for all of them.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What a value may not hold as it is (W3C baggage, `baggage-octet`), and what would end it.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b',')
    .add(b';')
    .add(b'=')
    .add(b'\\');

/// A text that is not percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a % is not followed by two hexadecimal digits (a % itself is written %25)")]
pub(crate) struct BadEscape;

/// The bytes that a text stands for.
///
/// # Errors
/// Where a `%` has no two hexadecimal digits behind it: nobody knows whether it means itself.
pub(crate) fn decode(text: &str) -> Result<Cow<'_, [u8]>, BadEscape> {
    let is_whole = |rest: &str| match rest.as_bytes() {
        [high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    };
    if text.split('%').skip(1).all(is_whole) {
        Ok(percent_decode_str(text).into())
    } else {
        Err(BadEscape)
    }
}

/// The text that stands for a value.
pub(crate) fn encode(value: &str) -> String {
    utf8_percent_encode(value, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let every: String = (0..0x180u32).filter_map(char::from_u32).collect();
        let encoded = encode(&every);
        assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!encoded.contains([',', ';', '=', '"', '\\']), "{encoded}");
        assert_eq!(decode(&encoded).unwrap(), every.as_bytes());
        assert_eq!(encode("a b,c=%é"), "a%20b%2Cc%3D%25%C3%A9");
    }

    #[test]
    fn escapes_are_two_hexadecimal_digits_of_either_case() {
        assert_eq!(decode("a%2Cb%2c%ff").unwrap().as_ref(), b"a,b,\xff");
        assert_eq!(decode("").unwrap().as_ref(), b"");
        for wrong in ["%", "50%", "%4", "%zz", "%+1", "% 1", "%%20", "a%2", "%é0"] {
            assert_eq!(decode(wrong), Err(BadEscape), "{wrong}");
        }
    }
}
