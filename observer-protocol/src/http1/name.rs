//! The header lines that observer reads, by name.

/// A header's name, of those that are read in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    B3,
    B3Flags,
    B3Sampled,
    B3SpanId,
    B3TraceId,
    ContentLength,
    ContentType,
    Expect,
    Host,
    TraceParent,
    TraceState,
    TransferEncoding,
    Upgrade,
    UserAgent,
}

impl Name {
    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Self; 14] = [
        Self::B3,
        Self::B3Flags,
        Self::B3Sampled,
        Self::B3SpanId,
        Self::B3TraceId,
        Self::ContentLength,
        Self::ContentType,
        Self::Expect,
        Self::Host,
        Self::TraceParent,
        Self::TraceState,
        Self::TransferEncoding,
        Self::Upgrade,
        Self::UserAgent,
    ];

    /// In lower case.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::B3 => "b3",
            Self::B3Flags => "x-b3-flags",
            Self::B3Sampled => "x-b3-sampled",
            Self::B3SpanId => "x-b3-spanid",
            Self::B3TraceId => "x-b3-traceid",
            Self::ContentLength => "content-length",
            Self::ContentType => "content-type",
            Self::Expect => "expect",
            Self::Host => "host",
            Self::TraceParent => "traceparent",
            Self::TraceState => "tracestate",
            Self::TransferEncoding => "transfer-encoding",
            Self::Upgrade => "upgrade",
            Self::UserAgent => "user-agent",
        }
    }

    /// The name that a line without control characters begins with, whatever its case, and its length. What follows it is
    /// not looked at: none of them is the beginning of another.
    #[inline(always)]
    pub(super) fn before(line: &[u8]) -> Option<(Self, usize)> {
        const INITIALS: u32 = initials(b"bcehtux");
        let initial = *line.first()?;
        if INITIALS >> (initial & 31) & 1 == 0 {
            return None;
        }
        let name = Self::among(initial | 0x20, line)?;
        Some((name, name.as_str().len()))
    }

    #[inline(never)]
    fn among(initial: u8, line: &[u8]) -> Option<Self> {
        let found = match initial {
            b'b' if begins(line, b"b3") => Self::B3,
            b'c' if begins(line, b"content-length") => Self::ContentLength,
            b'c' if begins(line, b"content-type") => Self::ContentType,
            b'e' if begins(line, b"expect") => Self::Expect,
            b'h' if begins(line, b"host") => Self::Host,
            b't' if begins(line, b"traceparent") => Self::TraceParent,
            b't' if begins(line, b"tracestate") => Self::TraceState,
            b't' if begins(line, b"transfer-encoding") => Self::TransferEncoding,
            b'u' if begins(line, b"user-agent") => Self::UserAgent,
            b'u' if begins(line, b"upgrade") => Self::Upgrade,
            b'x' if begins(line, b"x-b3-traceid") => Self::B3TraceId,
            b'x' if begins(line, b"x-b3-spanid") => Self::B3SpanId,
            b'x' if begins(line, b"x-b3-sampled") => Self::B3Sampled,
            b'x' if begins(line, b"x-b3-flags") => Self::B3Flags,
            _ => return None,
        };
        Some(found)
    }

    /// The one that is written so, whatever its case.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let (found, length) = Self::before(name)?;
        (length == name.len()).then_some(found)
    }
}

/// A set of lower-case letters, as bits: some other characters stand for them, too.
const fn initials(letters: &[u8]) -> u32 {
    let (mut set, mut index) = (0, 0);
    while index < letters.len() {
        set |= 1 << (letters[index] & 31);
        index += 1;
    }
    set
}

/// Whether a line without control characters begins with a name in lower-case letters, digits and hyphens: setting the bit
/// that makes a letter small leaves the others as they are.
#[inline]
fn begins<const N: usize>(line: &[u8], name: &[u8; N]) -> bool {
    let Some(line) = line.first_chunk::<N>() else {
        return false;
    };
    if N >= 8 {
        // Three words, which overlap, hold up to 24 bytes.
        differ::<N, 8>(line, name, 0)
            | differ::<N, 8>(line, name, if N > 16 { 8 } else { 0 })
            | differ::<N, 8>(line, name, N - 8)
            == 0
    } else if N >= 4 {
        differ::<N, 4>(line, name, 0) | differ::<N, 4>(line, name, N - 4) == 0
    } else {
        (0..N).all(|at| line[at] | 0x20 == name[at])
    }
}

/// The bits in which `WIDTH` bytes, of at most eight, are not the name's.
#[inline]
fn differ<const N: usize, const WIDTH: usize>(line: &[u8; N], name: &[u8; N], at: usize) -> u64 {
    const LOWER: u64 = u64::MAX / 255 * 0x20;
    let word = |bytes: &[u8; N]| {
        let mut word = [0; 8];
        word[..WIDTH].copy_from_slice(&bytes[at..at + WIDTH]);
        u64::from_le_bytes(word)
    };
    (word(line) | LOWER) ^ (word(name) | LOWER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_itself_in_any_case_and_nothing_else() {
        for expected in Name::ALL {
            let known = expected.as_str().as_bytes();
            assert_eq!(Name::of(known), Some(expected));
            assert_eq!(Name::of(&known.to_ascii_uppercase()), Some(expected));
            for index in 0..known.len() {
                for byte in 0x20..=0xff {
                    let mut other = known.to_vec();
                    other[index] = byte;
                    let same = other.eq_ignore_ascii_case(known);
                    let shown = other.escape_ascii();
                    assert_eq!(Name::of(&other), same.then_some(expected), "{shown}");
                }
                assert_eq!(Name::of(&known[..index]), None);
            }
            assert_eq!(Name::of(&[known, b"s"].concat()), None);
            assert_eq!(Name::of(&[b"x", known].concat()), None);
        }
        assert_eq!(Name::of(b""), None);
    }

    #[test]
    fn none_is_the_beginning_of_another() {
        for one in Name::ALL {
            let begun = |other: &&Name| one != **other && one.as_str().starts_with(other.as_str());
            assert_eq!(Name::ALL.iter().find(begun), None, "{one:?}");
            let line = format!("{}: value", one.as_str());
            assert_eq!(
                Name::before(line.as_bytes()),
                Some((one, one.as_str().len()))
            );
        }
    }
}
