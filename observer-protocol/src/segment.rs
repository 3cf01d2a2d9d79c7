//! What one socket call moved.

/// Bytes of one socket call: positions `start..end` of the stream moved, of which only the first `bytes.len()` were
/// captured (maybe none). A parser consumes a segment by advancing `start` and `bytes`.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Position of the first byte.
    pub start: u64,
    /// The captured bytes, from `start` on; never more than `end - start` (what is more is ignored).
    pub bytes: &'a [u8],
    /// Position after the last byte.
    pub end: u64,
}

impl<'a> Segment<'a> {
    /// A segment that was captured whole.
    pub const fn whole(start: u64, bytes: &'a [u8]) -> Self {
        Self {
            start,
            bytes,
            end: start.saturating_add(bytes.len() as u64),
        }
    }

    /// Nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Drops what lies before `position`, captured or not.
    pub fn advance_to(&mut self, position: u64) {
        let position = position.min(self.end);
        let Some(count) = position.checked_sub(self.start) else {
            return;
        };
        let count = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(self.bytes.len());
        self.bytes = &self.bytes[count..];
        self.start = position;
    }

    /// The captured bytes, cut to what moved.
    pub fn captured(&self) -> &'a [u8] {
        let moved = usize::try_from(self.end.saturating_sub(self.start)).unwrap_or(usize::MAX);
        &self.bytes[..self.bytes.len().min(moved)]
    }
}
