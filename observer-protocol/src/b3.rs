//! B3 propagation (<https://github.com/openzipkin/b3-propagation>): what Zipkin's headers say, in terms of W3C's ids.

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

/// The `X-B3-*` headers of one request.
#[derive(Debug, Default)]
pub(crate) struct Multiple<'h> {
    trace_id: Option<&'h [u8]>,
    span_id: Option<&'h [u8]>,
    sampled: Option<&'h [u8]>,
    debug: bool,
}

impl<'h> Multiple<'h> {
    /// Notes a header if it is one of them, whatever its case.
    pub(crate) fn note(&mut self, name: &[u8], value: &'h [u8]) {
        let value = value.trim_ascii();
        match name.get("x-b3-".len()..) {
            Some(rest) if rest.eq_ignore_ascii_case(b"traceid") => self.trace_id = Some(value),
            Some(rest) if rest.eq_ignore_ascii_case(b"spanid") => self.span_id = Some(value),
            Some(rest) if rest.eq_ignore_ascii_case(b"sampled") => self.sampled = Some(value),
            Some(rest) if rest.eq_ignore_ascii_case(b"flags") => self.debug = value == b"1",
            _ => {}
        }
    }

    /// The same as one `b3` header; `None` without both ids.
    pub(crate) fn single(&self) -> Option<Box<str>> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let (trace_id, span_id) = (text(self.trace_id?)?, text(self.span_id?)?);
        if trace_id.len() > 32 || span_id.len() > 16 {
            return None;
        }
        let state = match self.sampled {
            _ if self.debug => "-d",
            // Older senders write words.
            Some(b"1" | b"true") => "-1",
            Some(b"0" | b"false") => "-0",
            _ => "",
        };
        Some(format!("{trace_id}-{span_id}{state}").into())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    #[test]
    fn all_forms_of_the_single_header_are_read() {
        for (state, flags) in [("", 1), ("-1", 1), ("-d", 1), ("-0", 0)] {
            let parsed = parse_b3(&format!("{TRACE}-{SPAN}{state}")).unwrap();
            assert_eq!(parsed.trace_id[..2], [0x80, 0xf1]);
            assert_eq!(parsed.parent_id[..2], [0xe4, 0x57]);
            assert_eq!(parsed.flags, flags, "{state}");
        }
        let with_parent = format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90");
        assert!(parse_b3(&with_parent).is_some());
        assert!(parse_b3(&with_parent.to_uppercase()).is_some());
    }

    #[test]
    fn a_short_trace_id_is_the_lower_half() {
        let parsed = parse_b3(&format!("{}-{SPAN}", &TRACE[16..])).unwrap();
        assert_eq!(parsed.trace_id[..8], [0; 8]);
        assert_eq!(parsed.trace_id[8..10], [0x64, 0xfe]);
    }

    #[test]
    fn what_names_no_parent_or_is_malformed_is_none() {
        let zero_trace = format!("{}-{SPAN}", "0".repeat(32));
        let zero_span = format!("{TRACE}-{}", "0".repeat(16));
        let strange_state = format!("{TRACE}-{SPAN}-2");
        let short_parent = format!("{TRACE}-{SPAN}-1-05e3");
        let more = format!("{TRACE}-{SPAN}-1-{SPAN}-1");
        let sign = format!("+{}-{SPAN}", &TRACE[1..]);
        for bad in [
            "",
            "0",
            "1",
            "d",
            "-",
            TRACE,
            &zero_trace,
            &zero_span,
            &strange_state,
            &short_parent,
            &more,
            &sign,
            "1-2-1",
        ] {
            assert_eq!(parse_b3(bad), None, "{bad:?}");
        }
        let whole = format!("{TRACE}-{SPAN}-1-{SPAN}");
        for cut in 0..whole.len() {
            if ![49, 51].contains(&cut) {
                assert_eq!(parse_b3(&whole[..cut]), None, "cut at {cut}");
            }
        }
    }

    #[test]
    fn many_headers_become_one() {
        let mut multiple = Multiple::default();
        multiple.note(b"X-B3-TraceId", TRACE.as_bytes());
        assert_eq!(multiple.single(), None, "no span id yet");
        multiple.note(b"x-b3-spanid", SPAN.as_bytes());
        multiple.note(b"x-b3-other", b"?");
        assert_eq!(multiple.single(), Some(format!("{TRACE}-{SPAN}").into()));
        multiple.note(b"X-B3-SAMPLED", b" 0 ");
        assert_eq!(multiple.single(), Some(format!("{TRACE}-{SPAN}-0").into()));
        multiple.note(b"X-B3-Flags", b"1");
        assert_eq!(multiple.single(), Some(format!("{TRACE}-{SPAN}-d").into()));
    }
}
