//! Heads as nearly all peers write them, read in one pass that looks only at what observer asks for.
//!
//! httparse judges every header line, which was a fifth of what the daemon did for an exchange. Here a line is looked at
//! only where its first letter may begin a name that is asked for. What this is not sure of, it leaves to httparse: a
//! head that comes in pieces, line ends other than CRLF, control characters, folded lines, space before a colon, bytes
//! beyond ASCII in the first line, more lines than are usual. A test compares the two over mutated heads.

/// Header lines that are usual; a head with more is left to httparse.
pub(super) const FEW_HEADERS: usize = 64;
/// Header lines of interest for which there is room; a head with more is left to httparse.
pub(super) const MOST_FIELDS: usize = 16;

/// A name and its value, without the space around it.
pub(super) type Field<'b> = (&'b [u8], &'b [u8]);

/// A head that was understood.
#[derive(Debug)]
pub(super) struct Plain<'b> {
    bytes: &'b [u8],
    /// Where the first line ends.
    first_line: u16,
    /// Where the head ends, its empty line included.
    end: u16,
    /// Where a line that was asked for begins, where its colon is, where it ends.
    fields: [[u16; 3]; MOST_FIELDS],
    count: usize,
}

impl<'b> Plain<'b> {
    /// Reads a head that ends within `bytes`; of its lines those whose first letter is one of `initials`. `None`: it does
    /// not end there, or is not plain.
    #[inline]
    pub(super) fn read(bytes: &'b [u8], initials: Initials) -> Option<Self> {
        let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
        let end = line_end(bytes, 0)?;
        let mut plain = Self {
            bytes,
            first_line: end as u16,
            end: 0,
            fields: [[0; 3]; MOST_FIELDS],
            count: 0,
        };
        let mut at = end + 2;
        for _ in 0..=FEW_HEADERS {
            match bytes.get(at)? {
                b'\r' if bytes.get(at + 1) == Some(&b'\n') => {
                    plain.end = (at + 2) as u16;
                    return Some(plain);
                }
                b' ' => return None,
                initial => {
                    let end = line_end(bytes, at)?;
                    if initials.have(*initial) {
                        plain.field(at, end)?;
                    }
                    at = end + 2;
                }
            }
        }
        None
    }

    /// Notes a line; `None` where it may be meant otherwise than it looks.
    fn field(&mut self, start: usize, end: usize) -> Option<()> {
        let line = &self.bytes[start..end];
        let Some(colon) = colon(line) else {
            // No header, which httparse passes over.
            return Some(());
        };
        if line[..colon].ends_with(b" ") {
            return None;
        }
        *self.fields.get_mut(self.count)? = [start, start + colon, end].map(|at| at as u16);
        self.count += 1;
        Some(())
    }

    /// All of it, where it is UTF-8.
    pub(super) fn text(&self) -> Option<&'b str> {
        std::str::from_utf8(&self.bytes[..self.length()]).ok()
    }

    /// Without its line end.
    pub(super) fn first_line(&self) -> &'b [u8] {
        &self.bytes[..usize::from(self.first_line)]
    }

    /// Bytes of the head, its empty line included.
    pub(super) fn length(&self) -> usize {
        usize::from(self.end)
    }

    /// The same as [`fields`](Self::fields), of a head that is UTF-8.
    pub(super) fn texts(&self, head: &'b str) -> impl Iterator<Item = (&'b [u8], &'b str)> + Clone {
        self.fields[..self.count].iter().filter_map(move |places| {
            let [start, colon, end] = places.map(usize::from);
            let name = head.get(start..colon)?.as_bytes();
            Some((name, head.get(colon + 1..end)?.trim_ascii()))
        })
    }

    /// The lines that were asked for.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field<'b>> + Clone + '_ {
        self.fields[..self.count].iter().map(|places| {
            let [start, colon, end] = places.map(usize::from);
            (
                &self.bytes[start..colon],
                self.bytes[colon + 1..end].trim_ascii(),
            )
        })
    }
}

/// A set of letters, in either case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Initials(u32);

impl Initials {
    /// Of lower-case letters.
    pub(super) const fn new(letters: &[u8]) -> Self {
        let (mut set, mut index) = (0, 0);
        while index < letters.len() {
            set |= 1 << (letters[index] & 31);
            index += 1;
        }
        Self(set)
    }

    /// Says yes to some bytes that are no letters, too.
    pub(super) const fn have(self, byte: u8) -> bool {
        self.0 >> (byte & 31) & 1 != 0
    }
}

const ONES: u64 = u64::MAX / 255;

/// Where the first colon is.
#[inline]
pub(super) fn colon(line: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = line[at..].first_chunk::<8>() {
        let other = u64::from_le_bytes(*word) ^ (ONES * b':' as u64);
        // Above the lowest one that is marked, bytes may be marked that are none.
        let found = other.wrapping_sub(ONES) & !other & (ONES * 0x80);
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = line[at..].iter().position(|byte| *byte == b':')?;
    Some(at + rest)
}

/// Whether a header's name, which has no control characters, is this one: lower-case letters, digits and hyphens.
#[inline]
pub(super) fn is_name(name: &[u8], known: &[u8]) -> bool {
    const LOWER: u64 = ONES * 0x20;
    let word = |bytes: &[u8], at: usize| {
        let word = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>)?;
        Some(u64::from_le_bytes(*word) | LOWER)
    };
    let same = |at| word(name, at).is_some_and(|found| word(known, at) == Some(found));
    if name.len() != known.len() {
        return false;
    }
    // Three words, which overlap, hold up to 24 bytes.
    let Some(last) = name.len().checked_sub(8).filter(|last| *last <= 16) else {
        return name.eq_ignore_ascii_case(known);
    };
    same(0) && same(last.min(8)) && same(last)
}

/// Where the line that begins at `from` ends, if that is before a CR and an LF and no control character comes before
/// (TAB is one, and so is DEL).
#[inline]
pub(super) fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        // Above the lowest one that is marked, bytes may be marked that are neither.
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let other = word ^ (ONES * 0x7f);
        let delete = other.wrapping_sub(ONES) & !other;
        let found = (control | delete) & (ONES * 0x80);
        if found != 0 {
            at += (found.trailing_zeros() / 8) as usize;
            return bytes[at..].starts_with(b"\r\n").then_some(at);
        }
        at += 8;
    }
    let control = |byte: &u8| *byte < 0x20 || *byte == 0x7f;
    at += bytes.get(at..)?.iter().position(control)?;
    bytes[at..].starts_with(b"\r\n").then_some(at)
}
