//! A name in a question (RFC 1035 section 3.1): from labels to text.

use std::fmt::Write as _;

use super::Malformed;

/// Most bytes of a name as it is sent, lengths and the root included (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 255;
/// Most bytes of a label. A larger length is no length: its upper bits mark a pointer, or are not assigned.
const MAX_LABEL: u8 = 63;

/// Takes a name from the front of `rest`.
pub(super) fn name(rest: &mut &[u8]) -> Result<Box<str>, Malformed> {
    let (sent, behind) = rest.split_at(length(rest)?);
    *rest = behind;
    Ok(plain(sent).unwrap_or_else(|| written(sent)))
}

/// Bytes of the name that `bytes` begin with, lengths and the root included.
fn length(bytes: &[u8]) -> Result<usize, Malformed> {
    let mut length = 0;
    loop {
        let size = *bytes.get(length).ok_or(Malformed::Truncated)?;
        length += 1 + usize::from(size);
        // Two bits tell labels from pointers; nothing lies before a question that one could point to.
        if size > MAX_LABEL || length > MAX_NAME {
            return Err(Malformed::Name);
        }
        if length > bytes.len() {
            return Err(Malformed::Truncated);
        }
        if size == 0 {
            return Ok(length);
        }
    }
}

/// The text of a name with nothing in it that has to be written otherwise than it is sent: dots where lengths stood.
fn plain(sent: &[u8]) -> Option<Box<str>> {
    let (first, [labels @ .., _]) = sent.split_first()? else {
        return None;
    };
    let mut text = labels.to_vec();
    let (mut at, mut dots) = (usize::from(*first), 0);
    while let Some(length) = labels.get(at) {
        text[at] = b'.';
        dots += 1;
        at += 1 + usize::from(*length);
    }
    let (words, rest) = text.as_chunks_mut::<8>();
    let (mut odd, mut found) = (0, 0);
    for word in words {
        let bytes = u64::from_le_bytes(*word);
        odd |= unwritten(bytes);
        found += marked(bytes, b'.').count_ones();
        *word = lower(bytes).to_le_bytes();
    }
    // What is left, among bytes that change nothing.
    let mut last = [b'a'; 8];
    last[..rest.len()].copy_from_slice(rest);
    let bytes = u64::from_le_bytes(last);
    odd |= unwritten(bytes);
    found += marked(bytes, b'.').count_ones();
    rest.copy_from_slice(&lower(bytes).to_le_bytes()[..rest.len()]);
    if odd != 0 || found != dots {
        return None;
    }
    String::from_utf8(text).ok().map(String::into_boxed_str)
}

const ONES: u64 = u64::MAX / 255;
/// The highest bit of each of eight bytes: what marks it.
const HIGH: u64 = ONES * 0x80;

/// Marks the bytes that are `byte`.
const fn marked(bytes: u64, byte: u8) -> u64 {
    let other = bytes ^ (ONES * byte as u64);
    // Nothing is carried from one byte to the next.
    !(((other & !HIGH) + !HIGH) | other) & HIGH
}

/// Marks the bytes that are not written as they are: beyond ASCII, controls, the space and the backslash.
const fn unwritten(bytes: u64) -> u64 {
    let ascii = bytes & !HIGH;
    let space_or_below = !(ascii + ONES * (0x80 - b'!' as u64)) & HIGH;
    let delete = (ascii + ONES) & HIGH;
    (bytes & HIGH) | space_or_below | delete | marked(bytes, b'\\')
}

/// The bytes, which are ASCII, in lower case.
const fn lower(bytes: u64) -> u64 {
    let ascii = bytes & !HIGH;
    let from_a = ascii + ONES * (0x80 - b'A' as u64);
    let beyond_z = ascii + ONES * (0x80 - b'Z' as u64 - 1);
    bytes | (from_a & !beyond_z & HIGH) >> 2
}

/// The text of any name.
#[cold]
fn written(sent: &[u8]) -> Box<str> {
    let mut name = String::new();
    let mut rest = sent;
    while let Some((size, behind)) = rest.split_first() {
        let (label, behind) = behind.split_at(usize::from(*size).min(behind.len()));
        rest = behind;
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
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_is_written_as_any_other() {
        // Every byte at every place of three labels, and every number of labels.
        let mut names = vec![vec![0]];
        for byte in 0..=255 {
            for place in 0..9 {
                let mut sent = b"\x03aBc\x01D\x05fghij\0".to_vec();
                let content: Vec<usize> = (0..sent.len())
                    .filter(|at| ![0, 4, 6, 12].contains(at))
                    .collect();
                sent[content[place]] = byte;
                names.push(sent);
            }
        }
        for count in 1..100 {
            names.push([b"\x01x".repeat(count), vec![0]].concat());
        }
        let mut plain_ones = 0;
        for sent in names {
            assert_eq!(length(&sent), Ok(sent.len()));
            if let Some(text) = plain(&sent) {
                plain_ones += 1;
                assert_eq!(text, written(&sent), "{}", sent.escape_ascii());
            }
        }
        // Printable ASCII but the dot and the backslash, nine times; and by count.
        assert_eq!(plain_ones, 92 * 9 + 99);
    }
}
