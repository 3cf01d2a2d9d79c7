//! A message's head: finding its end, its lines, and text from it.

use std::mem::MaybeUninit;

use super::{Malformed, name::Name, plain::Field};

/// Header lines that are parsed at most.
const MOST_HEADERS: usize = 256;

/// Room for header lines; it is not initialised, which would cost more than parsing a small head.
pub(super) const fn room<'b>() -> [MaybeUninit<httparse::Header<'b>>; MOST_HEADERS] {
    [const { MaybeUninit::uninit() }; MOST_HEADERS]
}

/// As lenient as httparse can be: this watches others' traffic. A header line that is no header is passed over.
pub(super) fn lenient() -> httparse::ParserConfig {
    let mut config = httparse::ParserConfig::default();
    config
        .ignore_invalid_headers_in_requests(true)
        .ignore_invalid_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    config
}

/// The lines that are asked for, as httparse found them.
pub(super) fn fields<'b>(
    headers: &[httparse::Header<'b>],
) -> impl Iterator<Item = Field<'b>> + Clone {
    headers
        .iter()
        .filter_map(|header| Some((Name::of(header.name.as_bytes())?, header.value)))
}

/// What an error of httparse means once the first line is known to be one.
pub(super) const fn reason(error: httparse::Error) -> Malformed {
    match error {
        httparse::Error::TooManyHeaders => Malformed::TooManyHeaders,
        httparse::Error::Version | httparse::Error::Status | httparse::Error::Token => {
            Malformed::FirstLine
        }
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            Malformed::Header
        }
    }
}

/// Length of the head, its empty line included, where it ends in `bytes` after the first `from` of them.
pub(super) fn length(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == b'\n')? + 1;
        match bytes.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

/// The unfinished head of a message.
#[derive(Debug, Default)]
pub(super) struct HeadBuffer {
    bytes: Vec<u8>,
    /// No end of the head begins before this.
    searched: usize,
    /// The first line was seen to be one.
    pub(super) first_line: bool,
}

impl HeadBuffer {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends what fits below `limit`; how much that was.
    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) -> usize {
        let count = bytes.len().min(limit.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(&bytes[..count]);
        count
    }

    /// Length of the head, if all of it is here. Looks at each byte once (and at two of them again).
    pub(super) fn head_length(&mut self) -> Option<usize> {
        let found = length(&self.bytes, self.searched);
        self.searched = self.bytes.len().saturating_sub(2);
        found
    }
}

/// The complete lines of a head that was cut off, closed with an empty line; `None` where not even one is complete.
/// The number is the length of the lines.
pub(super) fn close(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let lines = bytes.iter().rposition(|byte| *byte == b'\n')? + 1;
    let mut closed = Vec::with_capacity(lines + 2);
    closed.extend_from_slice(&bytes[..lines]);
    closed.extend_from_slice(b"\r\n");
    Some((closed, lines))
}

/// Text of at most `limit` bytes; bytes that are not UTF-8 become U+FFFD.
pub(super) fn text(value: &[u8], limit: usize) -> String {
    let mut text = String::new();
    push_text(&mut text, value, limit);
    text
}

/// The same, behind what is there.
pub(super) fn push_text(to: &mut String, value: &[u8], limit: usize) {
    let cut = &value[..value.len().min(limit)];
    match std::str::from_utf8(cut) {
        Ok(text) => to.push_str(text),
        // Only the last character was cut.
        Err(error) if error.error_len().is_none() && value.len() > limit => {
            to.push_str(&String::from_utf8_lossy(&cut[..error.valid_up_to()]));
        }
        Err(_) => {
            let lossy = String::from_utf8_lossy(cut);
            to.push_str(&lossy[..lossy.floor_char_boundary(limit)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_first_empty_line() {
        assert_eq!(length(b"a\r\n\r\nb\r\n\r\n", 0), Some(5));
        assert_eq!(length(b"a\n\nb", 0), Some(3));
        assert_eq!(length(b"a\n\r\nb", 0), Some(4));
        assert_eq!(length(b"a\r\nb\r\n\r", 0), None);
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
        let mut buffer = HeadBuffer::default();
        for (index, byte) in head.iter().enumerate() {
            assert_eq!(buffer.push(&[*byte], 100), 1);
            assert_eq!(
                buffer.head_length(),
                (index + 1 == head.len()).then_some(head.len())
            );
        }
        assert_eq!(buffer.push(b"xyz", head.len() + 1), 1);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(&*text(b"abc", 2), "ab");
        assert_eq!(&*text("aé".as_bytes(), 2), "a");
        assert_eq!(&*text("aé".as_bytes(), 3), "aé");
        assert_eq!(&*text("a😀".as_bytes(), 4), "a", "three of its four bytes");
        assert_eq!(
            &*text(b"a\xf0\x9f\x98", 4),
            "a\u{fffd}",
            "not cut, and no UTF-8"
        );
        assert_eq!(
            &*text(b"\xff\xc3\xa9", 4),
            "\u{fffd}",
            "what replaces it is longer"
        );
        assert_eq!(&*text(b"a\xff", 8), "a\u{fffd}");
        assert_eq!(&*text(b"a\xff", 2), "a");
        assert_eq!(&*text(b"a\xc3", 8), "a\u{fffd}");
    }
}
