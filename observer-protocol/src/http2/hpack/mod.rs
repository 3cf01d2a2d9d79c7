//! HPACK (RFC 7541): header fields, of which those that were sent before are only pointed at.
//!
//! In: fragments of one direction's header blocks, in order. Out: the fields that are read, by [`Name`].
//! Owns: the direction's table of fields that were sent before, as far as it is known.
//!
//! The table counts from the newest field, so what was never seen (the connection is older than observer, or bytes were lost)
//! lies behind all that was: a pointer there is [`Name::Unknown`], and each later field is exact. For the same reason the table may
//! hold more than the sender's does, never less: a sender does not point at what it has dropped.

mod fixed;
mod huffman;
mod name;
mod table;
#[cfg(test)]
mod tests;

pub(super) use name::Name;
pub(super) use table::Table;

/// A block is not HPACK's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Why a block cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is not HPACK's.
    Malformed,
    /// One of its fields is larger than what is kept.
    TooLarge,
}

impl From<Malformed> for Broken {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// Numbers are no larger: a table may be allowed so many bytes.
const MOST: usize = u32::MAX as usize;

/// Reads the blocks of one direction.
#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
    /// The beginning of a field whose rest is in the next fragment.
    partial: Vec<u8>,
    /// Where strings are decoded.
    name: Vec<u8>,
    value: Vec<u8>,
    /// Most bytes of a field.
    most: usize,
}

/// What stands at the beginning of a field's bytes.
enum Read<T> {
    /// This, in so many bytes.
    Whole(T, usize),
    /// More bytes are needed.
    Partial,
}

/// A string as it lies in a block.
#[derive(Clone, Copy)]
struct Literal<'b> {
    bytes: &'b [u8],
    coded: bool,
}

impl Literal<'_> {
    /// How long it is at least once it is decoded.
    const fn least(&self) -> usize {
        if self.coded {
            // The longest code has 30 bits.
            self.bytes.len() * 8 / 30
        } else {
            self.bytes.len()
        }
    }
}

/// A field's name, from wherever.
enum Named<'b> {
    Indexed(usize),
    Written(Literal<'b>),
}

impl Decoder {
    /// For fields of up to `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self {
            table: Table::default(),
            partial: Vec::new(),
            name: Vec::new(),
            value: Vec::new(),
            most,
        }
    }

    /// The other end allows a table of so many bytes.
    pub(super) fn allow(&mut self, size: usize) {
        self.table.allow(size);
    }

    /// Fields may have been sent that were not seen.
    pub(super) fn forget(&mut self) {
        self.table.clear();
        self.partial.clear();
    }

    /// Bytes that are kept of a field that is not complete.
    pub(super) fn held(&self) -> usize {
        self.partial.len()
    }

    /// Reads a fragment of a block, the block's `last` or not. `found` is given each field; without a value where that is not
    /// known.
    pub(super) fn feed(
        &mut self,
        fragment: &[u8],
        last: bool,
        found: &mut impl FnMut(Name, Option<&[u8]>),
    ) -> Result<(), Broken> {
        let result = if self.partial.is_empty() {
            self.fields(fragment, found).map(|read| &fragment[read..])
        } else {
            let mut bytes = std::mem::take(&mut self.partial);
            bytes.extend_from_slice(fragment);
            let result = self.fields(&bytes, found);
            if let Ok(read) = result {
                bytes.drain(..read);
            }
            self.partial = bytes;
            result.map(|_| &[][..])
        };
        let left = match result {
            Ok(left) => left,
            Err(Malformed) => {
                self.forget();
                return Err(Broken::Malformed);
            }
        };
        self.partial.extend_from_slice(left);
        let broken = match self.partial.len() {
            0 => return Ok(()),
            _ if last => Broken::Malformed,
            length if length > self.most => Broken::TooLarge,
            _ => return Ok(()),
        };
        self.forget();
        Err(broken)
    }

    /// Reads whole fields; how many bytes they are.
    fn fields(
        &mut self,
        bytes: &[u8],
        found: &mut impl FnMut(Name, Option<&[u8]>),
    ) -> Result<usize, Malformed> {
        let mut at = 0;
        while let Some(first) = bytes.get(at) {
            let rest = &bytes[at..];
            let read = match first {
                0x80.. => self.indexed(rest, found)?,
                0x40..=0x7f => self.literal(rest, 6, true, found)?,
                0x20..=0x3f => match integer(rest, 5)? {
                    Read::Whole(size, length) => {
                        self.table.allow(size);
                        Some(length)
                    }
                    Read::Partial => None,
                },
                _ => self.literal(rest, 4, false, found)?,
            };
            match read {
                Some(length) => at += length,
                None => break,
            }
        }
        Ok(at)
    }

    /// A field that was sent before. Returns its length; `None` where more bytes are needed.
    fn indexed(
        &self,
        bytes: &[u8],
        found: &mut impl FnMut(Name, Option<&[u8]>),
    ) -> Result<Option<usize>, Malformed> {
        let Read::Whole(index, length) = integer(bytes, 7)? else {
            return Ok(None);
        };
        if let Some((name, value, _)) = fixed::field(index) {
            if name.is_read() {
                found(name, Some(value.as_bytes()));
            }
            return Ok(Some(length));
        }
        let back = index.checked_sub(fixed::COUNT + 1).ok_or(Malformed)?;
        match self.table.get(back) {
            Some((Name::Other, _)) => {}
            Some((name, value)) => found(name, value),
            None => found(Name::Unknown, None),
        }
        Ok(Some(length))
    }

    /// A field that is written out, of which `prefix` bits of the first byte are its name's index.
    fn literal(
        &mut self,
        bytes: &[u8],
        prefix: u32,
        indexing: bool,
        found: &mut impl FnMut(Name, Option<&[u8]>),
    ) -> Result<Option<usize>, Malformed> {
        let Read::Whole(index, mut at) = integer(bytes, prefix)? else {
            return Ok(None);
        };
        let named = if index == 0 {
            let Read::Whole(name, length) = string(&bytes[at..])? else {
                return Ok(None);
            };
            at += length;
            Named::Written(name)
        } else {
            Named::Indexed(index)
        };
        let Read::Whole(value, length) = string(&bytes[at..])? else {
            return Ok(None);
        };
        at += length;
        let (name, name_length) = self.named(named)?;
        let mut known = None;
        if name.is_read() {
            self.value.clear();
            let text = if value.coded {
                huffman::decode(value.bytes, &mut self.value)?;
                self.value.as_slice()
            } else {
                value.bytes
            };
            found(name, Some(text));
            known = Some(text);
        } else if name == Name::Unknown {
            found(name, None);
        }
        if indexing {
            let size = name_length + known.map_or(value.least(), <[u8]>::len);
            self.table.insert(name, known, size);
        }
        Ok(Some(at))
    }

    /// What a name is, and how long at least.
    fn named(&mut self, named: Named<'_>) -> Result<(Name, usize), Malformed> {
        Ok(match named {
            Named::Written(name) if name.coded => {
                self.name.clear();
                huffman::decode(name.bytes, &mut self.name)?;
                (Name::of(&self.name), self.name.len())
            }
            Named::Written(name) => (Name::of(name.bytes), name.bytes.len()),
            Named::Indexed(index) => match fixed::field(index) {
                Some((name, _, length)) => (name, length),
                None => match self.table.get(index - fixed::COUNT - 1) {
                    Some((name, _)) => (name, 0),
                    None => (Name::Unknown, 0),
                },
            },
        })
    }
}

/// A number of which the first byte has `prefix` bits (RFC 7541 section 5.1).
fn integer(bytes: &[u8], prefix: u32) -> Result<Read<usize>, Malformed> {
    let Some(first) = bytes.first() else {
        return Ok(Read::Partial);
    };
    let full = (1usize << prefix) - 1;
    let mut value = usize::from(*first) & full;
    if value < full {
        return Ok(Read::Whole(value, 1));
    }
    for (index, byte) in bytes[1..].iter().enumerate() {
        // Five bytes hold all that is allowed.
        if index > 4 {
            return Err(Malformed);
        }
        value += (usize::from(*byte) & 0x7f) << (7 * index);
        if value > MOST {
            return Err(Malformed);
        }
        if byte & 0x80 == 0 {
            return Ok(Read::Whole(value, index + 2));
        }
    }
    Ok(Read::Partial)
}

/// A string (RFC 7541 section 5.2).
fn string(bytes: &[u8]) -> Result<Read<Literal<'_>>, Malformed> {
    let Read::Whole(length, at) = integer(bytes, 7)? else {
        return Ok(Read::Partial);
    };
    let Some(text) = bytes.get(at..at + length) else {
        return Ok(Read::Partial);
    };
    let literal = Literal {
        bytes: text,
        coded: bytes[0] & 0x80 != 0,
    };
    Ok(Read::Whole(literal, at + length))
}
