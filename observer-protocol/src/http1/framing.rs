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
        for item in value.split(|byte| *byte == b',') {
            let length = number(item.trim_ascii()).ok_or(Malformed::ContentLength);
            self.length = Some(match self.length {
                Some(before) if before != length => Err(Malformed::ContentLength),
                _ => length,
            });
        }
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
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        byte.is_ascii_digit().then_some(())?;
        value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(values: &[&str]) -> Result<Option<u64>, Malformed> {
        let mut headers = LengthHeaders::default();
        values
            .iter()
            .for_each(|value| headers.content_length(value.as_bytes()));
        headers.length()
    }

    #[test]
    fn equal_lengths_are_one_and_others_are_malformed() {
        assert_eq!(lengths(&[]), Ok(None));
        assert_eq!(lengths(&["0"]), Ok(Some(0)));
        assert_eq!(lengths(&["18446744073709551615"]), Ok(Some(u64::MAX)));
        assert_eq!(lengths(&["5", "5"]), Ok(Some(5)));
        assert_eq!(lengths(&["5, 5,5"]), Ok(Some(5)));
        assert_eq!(lengths(&["05", "5"]), Ok(Some(5)));
        for bad in [
            &["5", "6"][..],
            &["6", "5", "6"],
            &["5,6"],
            &["-1"],
            &["+1"],
            &[""],
            &["5,"],
            &["0x5"],
            &["5 5"],
        ] {
            assert_eq!(lengths(bad), Err(Malformed::ContentLength), "{bad:?}");
        }
        assert_eq!(
            lengths(&["18446744073709551616"]),
            Err(Malformed::ContentLength)
        );
        assert_eq!(lengths(&[&"9".repeat(1000)]), Err(Malformed::ContentLength));
        assert_eq!(lengths(&["x", "5"]), Err(Malformed::ContentLength));
    }

    #[test]
    fn the_last_transfer_coding_counts() {
        for (values, coding) in [
            (&["chunked"][..], Some(Coding::Chunked)),
            (&["gzip, Chunked"], Some(Coding::Chunked)),
            (&["gzip", "chunked"], Some(Coding::Chunked)),
            (&["chunked, gzip"], Some(Coding::Other)),
            (&["xchunked"], Some(Coding::Other)),
            (&["identity"], None),
            (&[" ,"], None),
        ] {
            let mut headers = LengthHeaders::default();
            values
                .iter()
                .for_each(|value| headers.transfer_encoding(value.as_bytes()));
            assert_eq!(headers.coding(), coding, "{values:?}");
        }
    }
}
