//! W3C trace context, level 1 and 2 (<https://www.w3.org/TR/trace-context/>): what a `traceparent` header says.

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

/// Bytes of a `tracestate` that are carried on; the specification asks for at least this many.
pub const MAX_TRACE_STATE: usize = 512;

/// Joins the `tracestate` headers of a request, in order, into one value of at most `limit` bytes. Where there is more,
/// entries above 128 bytes go first and then those at the end (section 3.3.1.5). `None` where nothing is left, and
/// where an entry is not `key=value` in printable ASCII, since then the whole is to be discarded.
pub fn join_trace_state<'v>(
    values: impl Iterator<Item = &'v [u8]>,
    limit: usize,
) -> Option<Box<str>> {
    const LARGE: usize = 128;
    let mut entries = Vec::new();
    for entry in values
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
    {
        if entry.is_empty() {
            continue;
        }
        let printable = entry.iter().all(|byte| matches!(byte, b' '..=b'~'));
        if !printable || !entry.iter().skip(1).any(|byte| *byte == b'=') || entry[0] == b'=' {
            return None;
        }
        entries.push(std::str::from_utf8(entry).ok()?);
    }
    let size = |entries: &[&str]| {
        entries
            .iter()
            .map(|entry| entry.len() + 1)
            .sum::<usize>()
            .saturating_sub(1)
    };
    while size(&entries) > limit {
        match entries.iter().rposition(|entry| entry.len() > LARGE) {
            Some(large) => entries.remove(large),
            None => entries.pop()?,
        };
    }
    (!entries.is_empty()).then(|| entries.join(",").into())
}

/// Two lower-case hex digits.
fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_valid_traceparent_is_read() {
        let parsed = parse_traceparent(VALID).unwrap();
        assert_eq!(parsed.trace_id[..3], [0x0a, 0xf7, 0x65]);
        assert_eq!(
            parsed.parent_id,
            [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
        );
        assert!(parsed.sampled());
        assert!(
            !parse_traceparent(&VALID.replace("-01", "-00"))
                .unwrap()
                .sampled()
        );
        assert_eq!(
            parse_traceparent(&VALID.replace("-01", "-ff"))
                .unwrap()
                .flags,
            0xff
        );
        assert_eq!(
            parse_traceparent(&format!(" {VALID}\t")),
            Some(parsed),
            "optional whitespace around the value"
        );
    }

    #[test]
    fn a_future_version_is_read_by_its_prefix() {
        let future = VALID.replacen("00-", "cc-", 1);
        assert!(parse_traceparent(&future).is_some());
        assert!(parse_traceparent(&format!("{future}-what-comes-then")).is_some());
        assert!(parse_traceparent(&format!("{future}-")).is_some());
        assert_eq!(parse_traceparent(&format!("{future}.what")), None);
    }

    #[test]
    fn a_malformed_traceparent_is_none() {
        for bad in [
            "",
            "00",
            &VALID[..54],
            &format!("{VALID}-"),
            &format!("{VALID}-extra"),
            &format!("{VALID}0"),
            &VALID.replacen("00-", "ff-", 1),
            &VALID.replacen("00-", "0x-", 1),
            &VALID.replacen("00-", ".0-", 1),
            &VALID.to_uppercase(),
            &VALID.replace("0af765", "0AF765"),
            &VALID.replace('-', "_"),
            &VALID.replace("-01", "-0g"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319cb7ad6b716920-3331-01",
            "00-0af7651916cd43dd8448eb211c8031é-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{bad:?}");
        }
        for cut in 0..VALID.len() {
            assert_eq!(parse_traceparent(&VALID[..cut]), None, "cut at {cut}");
        }
    }

    fn join(values: &[&str]) -> Option<Box<str>> {
        join_trace_state(values.iter().map(|value| value.as_bytes()), 64)
    }

    #[test]
    fn trace_states_are_joined_in_order() {
        assert_eq!(join(&[]), None);
        assert_eq!(join(&["", " , "]), None);
        assert_eq!(
            join(&["a=1, b=2 ", "c@d=x=y"]).as_deref(),
            Some("a=1,b=2,c@d=x=y")
        );
    }

    #[test]
    fn a_malformed_trace_state_is_discarded_whole() {
        for bad in ["a", "a=1,b", "=1", "a=\u{e9}", "a=\0"] {
            assert_eq!(join(&["x=1", bad]), None, "{bad:?}");
        }
    }

    #[test]
    fn a_long_trace_state_loses_large_entries_first_and_then_the_last() {
        let large = format!("large={}", "x".repeat(130));
        assert_eq!(join(&["a=1", &large, "b=2"]).as_deref(), Some("a=1,b=2"));
        let small = format!("c={}", "x".repeat(40));
        assert_eq!(
            join(&[&small, "b=2", &small]).as_deref(),
            Some(&*format!("{small},b=2"))
        );
        assert_eq!(join(&[&format!("c={}", "x".repeat(70))]), None);
    }
}
