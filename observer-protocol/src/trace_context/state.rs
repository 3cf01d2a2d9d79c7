//! `tracestate`: what vendors add to a `traceparent`, carried on as it is.

/// Bytes of a `tracestate` that are carried on; the specification asks for at least this many.
pub const MAX_TRACE_STATE: usize = 512;

/// Most entries that a `tracestate` may have (section 3.3.1).
pub(crate) const MOST_ENTRIES: usize = 32;
/// Above so many bytes, an entry is among the first to go where not all fit (section 3.3.1.5).
const LARGE: usize = 128;

/// Joins the `tracestate` headers of a request, in order, into one value of at most `limit` bytes. Where there is more,
/// entries above 128 bytes go first and then those at the end (section 3.3.1.5). `None` where nothing is left; and
/// where an entry is not `key=value` in printable ASCII or there are more than 32, since then the whole is discarded.
pub fn join_trace_state<'v>(
    values: impl Iterator<Item = &'v [u8]>,
    limit: usize,
) -> Option<Box<str>> {
    let members = values
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty());
    let mut entries = Vec::new();
    for member in members {
        if entries.len() == MOST_ENTRIES {
            return None;
        }
        entries.push(entry(member)?);
    }
    while size(&entries) > limit {
        match entries.iter().rposition(|entry| entry.len() > LARGE) {
            Some(large) => entries.remove(large),
            None => entries.pop()?,
        };
    }
    (!entries.is_empty()).then(|| entries.join(",").into())
}

/// The member, if it is a key, `=`, and a value. Which characters a key may have is its writers' affair.
fn entry(member: &[u8]) -> Option<&str> {
    let printable = member.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let key = member.iter().position(|byte| *byte == b'=')?;
    (printable && key > 0).then(|| std::str::from_utf8(member).ok())?
}

/// Bytes of the entries with a comma between them.
fn size(entries: &[&str]) -> usize {
    let each = entries.iter().map(|entry| entry.len() + 1);
    each.sum::<usize>().saturating_sub(1)
}
