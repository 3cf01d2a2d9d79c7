//! What the headers say about a body's length (RFC 9112 section 6).

use super::Malformed;

/// `Content-Length` and `Transfer-Encoding` headers, gathered one by one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LengthHeaders {
    length: Option<Result<u64, Malformed>>,
    coding: Option<Coding>,
}

/// The last transfer coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Chunked,
    Other,
}

impl LengthHeaders {
    /// A `Content-Length` header's value: a number, or a list of the same one.
    pub(super) fn content_length(&mut self, value: &[u8]) {
        if let Some(length) = number(value) {
            return self.one_length(Ok(length));
        }
        for item in value.split(|byte| *byte == b',') {
            self.one_length(number(item.trim_ascii()).ok_or(Malformed::ContentLength));
        }
    }

    fn one_length(&mut self, length: Result<u64, Malformed>) {
        self.length = Some(match self.length {
            Some(before) if before != length => Err(Malformed::ContentLength),
            _ => length,
        });
    }

    /// A `Transfer-Encoding` header's value. `identity`, which RFC 2616 had, says nothing.
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) {
        for item in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if item.eq_ignore_ascii_case(b"chunked") {
                self.coding = Some(Coding::Chunked);
            } else if !item.is_empty() && !item.eq_ignore_ascii_case(b"identity") {
                self.coding = Some(Coding::Other);
            }
        }
    }

    /// The last transfer coding; with one, `Content-Length` means nothing.
    pub(super) const fn coding(&self) -> Option<Coding> {
        self.coding
    }

    /// `Content-Length`, where it is valid.
    pub(super) fn valid_length(&self) -> Option<u64> {
        self.length.and_then(Result::ok)
    }

    /// `Content-Length`, for the framing.
    pub(super) fn length(&self) -> Result<Option<u64>, Malformed> {
        self.length.transpose()
    }
}

/// Decimal digits only: no sign, no space, no overflow.
fn number(digits: &[u8]) -> Option<u64> {
    /// Most digits of a number that fits whatever they are.
    const FIT: usize = 19;
    if digits.is_empty() {
        return None;
    }
    if digits.len() <= FIT {
        return digits.iter().try_fold(0u64, |value, byte| {
            let digit = byte.wrapping_sub(b'0');
            (digit < 10).then(|| value * 10 + u64::from(digit))
        });
    }
    digits.iter().try_fold(0u64, |value, byte| {
        byte.is_ascii_digit().then_some(())?;
        value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    })
}
