//! Heads as nearly all peers write them, read in one pass that looks only at what observer asks for.
//!
//! httparse judges every header line, which was a fifth of what the daemon did for an exchange. Here the ends of lines are
//! found 64 bytes at a time, and a line is looked at only where it begins with a [name](Name) that is asked for. What this
//! is not sure of, it leaves to httparse: a head that comes in pieces, line ends other than CRLF, control characters,
//! folded lines, space before a colon, bytes beyond ASCII in the first line, more lines than are usual. A test compares
//! the two over mutated heads.

use super::{
    name::Name,
    wide::{self, BLOCK},
};

/// Header lines that are usual; a head with more is left to httparse.
pub(super) const FEW_HEADERS: usize = 64;

/// A name and its value, without the space around it.
pub(super) type Field<'b> = (Name, &'b [u8]);

/// A head that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain<'b> {
    /// Without its line end.
    pub(super) first_line: &'b [u8],
    /// Bytes of the head, its empty line included.
    pub(super) length: usize,
}

impl<'b> Plain<'b> {
    /// Reads a head that ends within `bytes`, and hands over the lines that are asked for. `None`: it does not end there, or
    /// is not plain; what was handed over means nothing then.
    #[inline]
    pub(super) fn read(bytes: &'b [u8], mut field: impl FnMut(Field<'b>)) -> Option<Self> {
        let mut lines = Lines::of(bytes);
        let first_line = lines.next_end()?;
        let mut at = first_line + 2;
        let mut left = FEW_HEADERS;
        loop {
            let end = lines.next_end()?;
            if end == at {
                let first_line = bytes.get(..first_line)?;
                let length = end + 2;
                return Some(Self { first_line, length });
            }
            left = left.checked_sub(1)?;
            let line = bytes.get(at..end)?;
            at = end + 2;
            let Some((name, length)) = Name::before(line) else {
                if line.first() == Some(&b' ') {
                    return None;
                }
                continue;
            };
            match line.get(length..)? {
                [b':', value @ ..] => field((name, value.trim_ascii())),
                [b' ', ..] => return None,
                // Another name, or no header, which httparse passes over.
                _ => {}
            }
        }
    }
}

/// Where the lines of a head end.
pub(super) struct Lines<'b> {
    bytes: &'b [u8],
    /// Position of the block that was looked at last.
    block: usize,
    /// Its control characters that were not passed yet.
    controls: u64,
}

impl<'b> Lines<'b> {
    #[inline]
    pub(super) fn of(bytes: &'b [u8]) -> Self {
        Self {
            bytes,
            block: 0,
            controls: controls(bytes, 0).unwrap_or(0),
        }
    }

    /// Where the next line ends, if that is before a CR and an LF and no control character comes before (TAB is one, and
    /// so is DEL).
    #[inline]
    pub(super) fn next_end(&mut self) -> Option<usize> {
        while self.controls == 0 {
            self.next_block()?;
        }
        let bit = self.controls.trailing_zeros() as usize;
        let end = self.block + bit;
        if !self.bytes.get(end..)?.starts_with(b"\r\n") {
            return None;
        }
        self.controls &= self.controls - 1;
        if bit == BLOCK - 1 {
            self.next_block()?;
        }
        // The LF, which is the next one.
        self.controls &= self.controls.wrapping_sub(1);
        Some(end)
    }

    #[inline]
    fn next_block(&mut self) -> Option<()> {
        self.block += BLOCK;
        self.controls = controls(self.bytes, self.block)?;
        Some(())
    }
}

/// The control characters among the 64 bytes from `at` on; `None` where there are no bytes any more.
#[inline(never)]
fn controls(bytes: &[u8], at: usize) -> Option<u64> {
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
    if let Some(block) = rest.first_chunk() {
        return Some(wide::controls(block));
    }
    // Less than a block is left.
    if let Some(last) = bytes.last_chunk() {
        return Some(wide::controls(last) >> (BLOCK - rest.len()));
    }
    let mut block = [b' '; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    Some(wide::controls(&block))
}
