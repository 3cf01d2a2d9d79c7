//! A name in a question (RFC 1035 section 3.1): from labels to text.

use std::fmt::Write as _;

use super::Malformed;

/// Most bytes of a name as it is sent, lengths and the root included (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 255;
/// Most bytes of a label. A larger length is no length: its upper bits mark a pointer, or are not assigned.
const MAX_LABEL: u8 = 63;

/// Takes a name from the front of `rest`.
pub(super) fn name(rest: &mut &[u8]) -> Result<Box<str>, Malformed> {
    let mut name = String::new();
    let mut length = 0;
    loop {
        let (&size, behind) = rest.split_first().ok_or(Malformed::Truncated)?;
        length += 1 + usize::from(size);
        // Two bits tell labels from pointers; nothing lies before a question that one could point to.
        if size > MAX_LABEL || length > MAX_NAME {
            return Err(Malformed::Name);
        }
        let (label, behind) = behind
            .split_at_checked(usize::from(size))
            .ok_or(Malformed::Truncated)?;
        *rest = behind;
        if label.is_empty() {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for &byte in label {
            match byte {
                b'.' | b'\\' => name.extend(['\\', char::from(byte)]),
                b'!'..=b'~' => name.push(char::from(byte.to_ascii_lowercase())),
                // Writing to a String does not fail.
                _ => drop(write!(name, "\\{byte:03}")),
            }
        }
    }
    if name.is_empty() {
        name.push('.');
    }
    Ok(name.into())
}
