//! The head of an answer, as CGI has it (RFC 3875 section 6): lines of a name and a value, up to an empty one.

/// A head as it comes.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
    /// Where lines were looked for already.
    seen: usize,
}

impl Head {
    /// Bytes that are kept.
    pub(super) fn kept(&self) -> usize {
        self.bytes.len()
    }

    /// Takes more of the answer. The number of bytes of the head, the empty line included, once it is whole.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        self.bytes.extend_from_slice(bytes);
        while let Some(length) = self.bytes[self.seen..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let line = &self.bytes[self.seen..self.seen + length];
            self.seen += length + 1;
            if matches!(line, b"" | b"\r") {
                return Some(self.seen);
            }
        }
        None
    }

    /// What its whole lines say: the status, that without one is 200, or 302 where it leads elsewhere (section 6.2.3); of a head that
    /// is not whole only what it says itself.
    pub(super) fn status(&self, is_whole: bool) -> Option<u16> {
        let lines = &self.bytes[..self.seen];
        let mut leads_elsewhere = false;
        for line in lines.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"status") {
                return code(value);
            }
            leads_elsewhere |= name.eq_ignore_ascii_case(b"location");
        }
        is_whole.then_some(if leads_elsewhere { 302 } else { 200 })
    }
}

/// The code that a status begins with.
fn code(value: &[u8]) -> Option<u16> {
    let (digits, rest) = value.split_first_chunk::<3>()?;
    let ends = rest.first().is_none_or(|byte| !byte.is_ascii_digit());
    let is_one = ends && digits[0] != b'0' && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_one)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, piece: usize) -> Option<(usize, Option<u16>)> {
        let mut head = Head::default();
        let mut read = None;
        for piece in text.as_bytes().chunks(piece) {
            read = read.or_else(|| head.take(piece).map(|length| (length, head.status(true))));
        }
        read
    }

    #[test]
    fn a_head_says_its_status_however_it_is_cut() {
        let table = [
            (
                "Status: 404 Not Found\r\nContent-type: text/html\r\n\r\n",
                Some(404),
            ),
            ("Content-type: text/html\r\n\r\n", Some(200)),
            ("Content-type: text/html\nstatus:500\n\n", Some(500)),
            ("Location: /elsewhere\r\n\r\n", Some(302)),
            ("Location: /elsewhere\r\nStatus: 301\r\n\r\n", Some(301)),
            ("\r\n", Some(200)),
            ("Status: none\r\n\r\n", None),
            ("Status: 2000\r\n\r\n", None),
        ];
        for (text, status) in table {
            for piece in 1..=text.len() {
                assert_eq!(read(text, piece), Some((text.len(), status)), "{text:?}");
            }
            for end in 1..text.len() {
                assert_eq!(read(&text[..end], end), None, "{end} of {text:?}");
            }
        }
    }

    #[test]
    fn a_head_that_is_not_whole_says_what_its_lines_say() {
        let status = |text: &str| {
            let mut head = Head::default();
            assert_eq!(head.take(text.as_bytes()), None);
            head.status(false)
        };
        assert_eq!(status("Status: 404 Not"), None);
        assert_eq!(status("Status: 404 Not Found\r\nX-"), Some(404));
        assert_eq!(status("X-Powered-By: PHP\r\nX-"), None);
    }
}
