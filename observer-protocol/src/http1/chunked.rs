//! The chunked transfer coding (RFC 9112 section 7.1): where it ends and how much it carries.

use super::Malformed;

/// Most bytes of a chunk-size line, its extensions and its line end included.
pub(super) const MAX_LINE: u32 = 8 * 1024;
/// Most bytes of the trailer section, the empty line that ends it included.
pub(super) const MAX_TRAILER: u32 = 64 * 1024;
/// What follows the data of the last chunk that carries any, where there are no trailers: `CRLF 0 CRLF CRLF`.
const SHORTEST_END: u64 = 7;

/// How far a chunked body was read.
#[derive(Clone, Debug)]
pub(super) struct Chunked {
    phase: Phase,
    /// Data bytes of the finished chunks and of the current one, those to come included.
    size: u64,
    /// Bytes of the current size line or trailer section.
    line: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first digit of a chunk size.
    SizeStart,
    /// Further digits.
    Size(u64),
    /// White space after them.
    SizeSpace(u64),
    /// Extensions, passed over up to the line's end.
    Extension(u64),
    /// The LF of a size line.
    SizeEnd(u64),
    /// Data, so many bytes of it left.
    Data(u64),
    /// The CR after data.
    DataEnd,
    /// The LF after data.
    DataEndLf,
    /// The beginning of a trailer line, or the CR of the empty line that ends the body.
    TrailerStart,
    /// Inside a trailer line.
    Trailer,
    /// The LF of the last line.
    End,
}

/// Where feeding bytes led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All bytes were taken, the body goes on.
    More,
    /// The body ended after so many of the bytes.
    Done(usize),
    /// It cannot be understood, noticed after so many of the bytes.
    Malformed(usize, Malformed),
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self {
            phase: Phase::SizeStart,
            size: 0,
            line: 0,
        }
    }

    /// Data bytes, without the framing; the body's size once it is done.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes of the stream.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Progress {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            if let Phase::Data(left) = self.phase {
                let count = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len() - taken);
                taken += count;
                self.data(left - count as u64);
                continue;
            }
            taken += 1;
            match self.step(byte) {
                Ok(false) => {}
                Ok(true) => return Progress::Done(taken),
                Err(reason) => return Progress::Malformed(taken, reason),
            }
        }
        Progress::More
    }

    /// Passes over bytes that were not seen. `false` when the framing went with them.
    pub(super) fn skip(&mut self, count: u64) -> bool {
        match self.phase {
            Phase::Data(left) if count <= left => {
                self.data(left - count);
                true
            }
            _ => false,
        }
    }

    /// Where the body ends, in bytes from here, if this chunk is its last with data and no trailers follow, and its
    /// size then. A message that is known to end exactly there has that size: nothing else fits.
    pub(super) fn shortest_end(&self) -> Option<(u64, u64)> {
        match self.phase {
            Phase::Data(left) => Some((left.checked_add(SHORTEST_END)?, self.size)),
            _ => None,
        }
    }

    fn data(&mut self, left: u64) {
        self.phase = if left == 0 {
            Phase::DataEnd
        } else {
            Phase::Data(left)
        };
    }

    /// One byte outside of data; `true` when it is the body's last.
    fn step(&mut self, byte: u8) -> Result<bool, Malformed> {
        self.line += 1;
        let trailer = matches!(
            self.phase,
            Phase::TrailerStart | Phase::Trailer | Phase::End
        );
        match trailer {
            true if self.line > MAX_TRAILER => return Err(Malformed::Trailer),
            false if self.line > MAX_LINE => return Err(Malformed::ChunkSize),
            _ => {}
        }
        self.phase = match (self.phase, byte) {
            (Phase::SizeStart, _) => Phase::Size(digit(byte)?),
            (Phase::Size(size) | Phase::SizeSpace(size), b' ' | b'\t') => Phase::SizeSpace(size),
            (Phase::Size(size) | Phase::SizeSpace(size), b';') => Phase::Extension(size),
            (Phase::Size(size) | Phase::SizeSpace(size), b'\r') => Phase::SizeEnd(size),
            (
                Phase::Size(size)
                | Phase::SizeSpace(size)
                | Phase::Extension(size)
                | Phase::SizeEnd(size),
                b'\n',
            ) => {
                return self.chunk(size).map(|()| false);
            }
            (Phase::Size(size), _) => {
                let size = size.checked_mul(16).ok_or(Malformed::ChunkSize)?;
                Phase::Size(size + digit(byte)?)
            }
            (Phase::SizeSpace(_) | Phase::SizeEnd(_), _) => return Err(Malformed::ChunkSize),
            (Phase::Extension(size), _) => Phase::Extension(size),
            (Phase::DataEnd, b'\r') => Phase::DataEndLf,
            (Phase::DataEnd | Phase::DataEndLf, b'\n') => {
                self.line = 0;
                Phase::SizeStart
            }
            (Phase::DataEnd | Phase::DataEndLf, _) => return Err(Malformed::ChunkEnd),
            (Phase::TrailerStart, b'\r') => Phase::End,
            (Phase::TrailerStart | Phase::End, b'\n') => return Ok(true),
            (Phase::Trailer, b'\n') => Phase::TrailerStart,
            (Phase::TrailerStart | Phase::Trailer, _) => Phase::Trailer,
            (Phase::End, _) => return Err(Malformed::Trailer),
            // Data is taken elsewhere.
            (Phase::Data(_), _) => return Err(Malformed::ChunkSize),
        };
        Ok(false)
    }

    /// A size line ended.
    fn chunk(&mut self, size: u64) -> Result<(), Malformed> {
        self.line = 0;
        self.size = self.size.checked_add(size).ok_or(Malformed::ChunkSize)?;
        self.phase = if size == 0 {
            Phase::TrailerStart
        } else {
            Phase::Data(size)
        };
        Ok(())
    }
}

/// A hexadecimal digit of either case.
fn digit(byte: u8) -> Result<u64, Malformed> {
    let digit = char::from(byte).to_digit(16);
    digit.map(u64::from).ok_or(Malformed::ChunkSize)
}
