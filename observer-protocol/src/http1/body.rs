//! A message's body: where it ends, over bytes that were seen and bytes that were not.

use super::{
    Framing, Malformed,
    chunked::{Chunked, Progress},
};

/// A body that has not ended.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// So many bytes in all, so many left (never 0).
    Length { size: u64, left: u64 },
    /// Chunked, and seen without a hole in its framing.
    Chunked(Chunked),
    /// Ends with the connection; so many bytes until now.
    UntilClose { size: u64 },
    /// Nobody can tell where it ends. If that is said to be at the first of these positions, its size is the second.
    Unknown { supposed: Option<(u64, u64)> },
}

/// What became of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// It goes on after all of the bytes.
    On,
    /// It ended after so many bytes; its size.
    Ended(u64, Option<u64>),
    /// It cannot be understood, noticed after so many bytes.
    Malformed(u64, Malformed),
}

impl Body {
    /// A body with this `Content-Length`, more than 0.
    pub(super) const fn length(size: u64) -> Self {
        Self::Length { size, left: size }
    }

    pub(super) const fn framing(&self) -> Framing {
        match self {
            Self::Length { size, .. } => Framing::Length(*size),
            Self::Chunked(_) => Framing::Chunked,
            Self::UntilClose { .. } => Framing::UntilClose,
            Self::Unknown { .. } => Framing::Unknown,
        }
    }

    /// The next bytes must be looked at; otherwise counting them is enough.
    pub(super) const fn needs_bytes(&self) -> bool {
        matches!(self, Self::Chunked(_))
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8], position: u64) -> Passed {
        let Self::Chunked(chunked) = self else {
            return self.skip(bytes.len() as u64, position);
        };
        match chunked.feed(bytes) {
            Progress::More => Passed::On,
            Progress::Done(taken) => Passed::Ended(taken as u64, Some(chunked.size())),
            Progress::Malformed(taken, reason) => Passed::Malformed(taken as u64, reason),
        }
    }

    /// Counts `count` bytes from `position` on, which need not have been seen.
    pub(super) fn skip(&mut self, count: u64, position: u64) -> Passed {
        match self {
            Self::Length { size, left } => {
                if *left <= count {
                    return Passed::Ended(*left, Some(*size));
                }
                *left -= count;
            }
            Self::UntilClose { size } => *size = size.saturating_add(count),
            Self::Chunked(chunked) => {
                let end = chunked.shortest_end();
                if !chunked.skip(count) {
                    let supposed = end
                        .and_then(|(distance, size)| Some((position.checked_add(distance)?, size)));
                    *self = Self::Unknown { supposed };
                }
            }
            Self::Unknown { .. } => {}
        }
        Passed::On
    }
}
