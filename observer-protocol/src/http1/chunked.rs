//! The chunked transfer coding (RFC 9112 section 7.1): where it ends and how much it carries.

use super::Malformed;

/// Most bytes of a chunk-size line with its extensions.
const MAX_LINE: u32 = 8 * 1024;
/// Most bytes of the trailer section.
const MAX_TRAILER: u32 = 64 * 1024;
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
        self.phase = match (self.phase, byte) {
            (Phase::SizeStart | Phase::Size(_), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digit(byte)?
            }
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
            _ => return Err(Malformed::ChunkSize),
        };
        match self.phase {
            Phase::TrailerStart | Phase::Trailer | Phase::End if self.line > MAX_TRAILER => {
                Err(Malformed::Trailer)
            }
            Phase::TrailerStart | Phase::Trailer | Phase::End => Ok(false),
            _ if self.line > MAX_LINE => Err(Malformed::ChunkSize),
            _ => Ok(false),
        }
    }

    fn digit(&self, byte: u8) -> Result<Phase, Malformed> {
        let size = if let Phase::Size(size) = self.phase {
            size
        } else {
            0
        };
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        let size = size.checked_mul(16).ok_or(Malformed::ChunkSize)?;
        Ok(Phase::Size(size | u64::from(digit)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(bytes: &[u8]) -> (Progress, u64) {
        let mut chunked = Chunked::new();
        (chunked.feed(bytes), chunked.size())
    }

    #[test]
    fn chunks_extensions_and_trailers_are_crossed() {
        for (body, size) in [
            (&b"0\r\n\r\n"[..], 0),
            (b"5\r\nhello\r\n0\r\n\r\n", 5),
            (
                b"5;a=b;c=\"d\"\r\nhello\r\n00a \r\n0123456789\r\n0;x\r\n\r\n",
                15,
            ),
            (b"3\r\n\r\n\r\r\n0\r\nA: b\r\nC: d\r\n\r\n", 3),
            (b"5\nhello\n0\n\n", 5),
            (b"A\r\n0123456789\r\n0\r\n\r\n", 10),
        ] {
            assert_eq!(
                feed(body),
                (Progress::Done(body.len()), size),
                "{}",
                body.escape_ascii()
            );
            let followed = [body, b"GET"].concat();
            assert_eq!(
                feed(&followed).0,
                Progress::Done(body.len()),
                "stops at its end"
            );
            for cut in 0..body.len() {
                let mut chunked = Chunked::new();
                assert_eq!(chunked.feed(&body[..cut]), Progress::More);
                assert_eq!(chunked.feed(&body[cut..]), Progress::Done(body.len() - cut));
                assert_eq!(chunked.size(), size);
            }
        }
    }

    #[test]
    fn what_is_not_chunked_is_malformed() {
        for (body, reason) in [
            (&b"\r\n"[..], Malformed::ChunkSize),
            (b"g\r\n", Malformed::ChunkSize),
            (b"-1\r\n", Malformed::ChunkSize),
            (b"+1\r\n", Malformed::ChunkSize),
            (b"0x5\r\n", Malformed::ChunkSize),
            (b"5 5\r\n", Malformed::ChunkSize),
            (b"5\rX", Malformed::ChunkSize),
            (b"10000000000000000\r\n", Malformed::ChunkSize),
            (b"1\r\naX", Malformed::ChunkEnd),
            (b"1\r\na\rX", Malformed::ChunkEnd),
            (b"0\r\n\rX", Malformed::Trailer),
        ] {
            assert_eq!(
                feed(body).0,
                Progress::Malformed(body.trim_ascii_end().len().max(1), reason).min_taken(body)
            );
        }
        assert!(matches!(feed(b"ffffffffffffffff\r\n").0, Progress::More));
        assert!(matches!(
            feed(&vec![b'0'; 10_000]).0,
            Progress::Malformed(_, Malformed::ChunkSize)
        ));
        let long = [&b"0\r\n"[..], &vec![b'a'; 70_000]].concat();
        assert!(matches!(
            feed(&long).0,
            Progress::Malformed(_, Malformed::Trailer)
        ));
    }

    impl Progress {
        /// The same outcome with what feeding `body` really took: only the reason is compared.
        fn min_taken(self, body: &[u8]) -> Self {
            match (self, feed(body).0) {
                (Self::Malformed(_, reason), Self::Malformed(taken, _)) => {
                    Self::Malformed(taken, reason)
                }
                (other, _) => other,
            }
        }
    }

    #[test]
    fn sizes_that_do_not_add_up_to_64_bits_are_malformed() {
        let mut chunked = Chunked::new();
        assert_eq!(chunked.feed(b"ffffffffffffffff\r\n"), Progress::More);
        assert!(chunked.skip(u64::MAX));
        assert!(matches!(
            chunked.feed(b"\r\n1\r\n"),
            Progress::Malformed(_, Malformed::ChunkSize)
        ));
    }

    #[test]
    fn a_gap_inside_a_chunk_keeps_the_framing_and_a_larger_one_does_not() {
        let mut chunked = Chunked::new();
        chunked.feed(b"a\r\n01");
        assert_eq!(chunked.shortest_end(), Some((8 + 7, 10)));
        let mut over = chunked.clone();
        assert!(!over.skip(9));
        assert!(chunked.skip(8));
        assert_eq!(chunked.shortest_end(), None);
        assert_eq!(chunked.feed(b"\r\n0\r\n\r\n"), Progress::Done(7));
        assert_eq!(chunked.size(), 10);
        assert!(!Chunked::new().skip(1));
    }
}
