//! A context in several headers: `X-B3-TraceId`, `X-B3-SpanId`, `X-B3-Sampled`, `X-B3-Flags`.

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
        let Some((prefix, rest)) = name.split_first_chunk::<5>() else {
            return;
        };
        if !prefix.eq_ignore_ascii_case(b"x-b3-") {
            return;
        }
        let value = value.trim_ascii();
        if rest.eq_ignore_ascii_case(b"traceid") {
            self.trace_id = Some(value);
        } else if rest.eq_ignore_ascii_case(b"spanid") {
            self.span_id = Some(value);
        } else if rest.eq_ignore_ascii_case(b"sampled") {
            self.sampled = Some(value);
        } else if rest.eq_ignore_ascii_case(b"flags") {
            self.debug = value == b"1";
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
