//! One direction's records, out of what was shipped of its bytes.
//!
//! In: pieces, and how far the direction moved without bytes. Out: records, whole or with a middle that is missing, and losses, in
//! stream order. Owns: the one record that has begun and not ended.

use observer_protocol::tls::{HEADER, Record};

use crate::exchange::Call;

/// The longest record behind its header (RFC 5246 section 6.2.3).
const LONGEST: usize = (1 << 14) + 2048;
/// What is kept of a record from one to the next one, bytes: else each record of a connection would allocate.
const KEPT: usize = 2048;

/// Bytes of one call that were shipped, and how far the call moved behind them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// Position of the first byte.
    pub(crate) start: u64,
    /// The bytes.
    pub(crate) bytes: &'a [u8],
    /// Bytes up to here moved; what lies behind `bytes` was not to be shipped.
    pub(crate) end: u64,
    /// What lies between the direction's last piece and this one was not to be shipped.
    pub(crate) counted: bool,
    /// The call.
    pub(crate) call: Call,
}

/// What a direction's bytes are.
pub(super) enum Assembled<'a> {
    Record {
        record: Record<'a>,
        /// The call that moved its first byte.
        begun: Call,
        /// The call that moved its last byte.
        ended: Call,
        /// Bytes in its middle were to be shipped and are missing.
        broken: bool,
    },
    /// So many bytes of which no header is known.
    Lost(u64),
}

/// The record that has begun.
struct Partial {
    at: u64,
    begun: Call,
    header: [u8; HEADER],
    /// How much of the header is there.
    have: usize,
    length: usize,
    /// Its first bytes, from the header on without a gap.
    first: Vec<u8>,
    /// A gap followed these.
    cut: bool,
    /// The bytes behind the last gap.
    last: Vec<u8>,
    broken: bool,
}

/// A direction.
pub(super) struct Assembler {
    /// Position of the next byte; `None` before the first.
    position: Option<u64>,
    /// A record begins at the position, or one is open.
    synced: bool,
    open: bool,
    partial: Partial,
    /// The last call.
    call: Call,
}

impl Assembler {
    /// A direction of which nothing was seen.
    pub(super) fn new(call: Call) -> Self {
        Self {
            position: None,
            synced: true,
            open: false,
            partial: Partial {
                at: 0,
                begun: call,
                header: [0; HEADER],
                have: 0,
                length: 0,
                first: Vec::new(),
                cut: false,
                last: Vec::new(),
                broken: false,
            },
            call,
        }
    }

    /// Bytes of it that are kept.
    pub(super) const fn held(&self) -> usize {
        self.partial.first.len() + self.partial.last.len()
    }

    /// No record is open.
    pub(super) const fn is_between(&self) -> bool {
        !self.open
    }

    /// Takes a piece.
    pub(super) fn piece(&mut self, piece: &Piece<'_>, say: &mut impl FnMut(Assembled<'_>)) {
        let position = *self.position.get_or_insert(piece.start);
        let mut left = piece.bytes;
        if let Some(twice) = position.checked_sub(piece.start) {
            left = left
                .get(usize::try_from(twice).unwrap_or(usize::MAX)..)
                .unwrap_or_default();
        } else {
            // Missing bytes moved before this call, at the latest with it.
            self.pass(piece.start, piece.counted, say);
        }
        self.call = piece.call;
        while !left.is_empty() {
            left = self.take(left, say);
        }
        self.pass(piece.end, true, say);
    }

    /// The direction moved up to `to` and no bytes of that come. `counted`: they were not to be shipped.
    pub(super) fn pass(&mut self, to: u64, counted: bool, say: &mut impl FnMut(Assembled<'_>)) {
        let Some(mut position) = self.position.filter(|position| *position < to) else {
            return;
        };
        if self.open && self.partial.have == HEADER {
            let partial = &mut self.partial;
            partial.cut = true;
            partial.last.clear();
            partial.broken |= !counted;
            position = to.min(partial.end());
            self.position = Some(position);
            self.finish(say);
        } else if std::mem::take(&mut self.open) {
            say(Assembled::Lost(self.partial.have as u64));
        }
        if position < to {
            self.synced = false;
            self.position = Some(to);
            say(Assembled::Lost(to - position));
        }
    }

    /// Takes some of what follows; gives what is left.
    fn take<'a>(&mut self, bytes: &'a [u8], say: &mut impl FnMut(Assembled<'_>)) -> &'a [u8] {
        let at = self.position.unwrap_or(0);
        if !self.synced {
            let skipped = begins(bytes).unwrap_or(bytes.len());
            self.synced = skipped < bytes.len();
            self.position = Some(at + skipped as u64);
            if skipped > 0 {
                say(Assembled::Lost(skipped as u64));
            }
            return &bytes[skipped..];
        }
        if !self.open {
            if let Some(record) = Record::new(at, bytes, &[]).filter(Record::is_whole) {
                self.position = Some(record.end());
                let length = HEADER + record.length;
                let (begun, ended) = (self.call, self.call);
                say(Assembled::Record {
                    record,
                    begun,
                    ended,
                    broken: false,
                });
                return &bytes[length..];
            }
            self.open = true;
            let partial = &mut self.partial;
            partial.at = at;
            partial.begun = self.call;
            partial.have = 0;
            partial.cut = false;
            partial.first.clear();
            partial.last.clear();
            partial.broken = false;
        }
        let partial = &mut self.partial;
        if partial.have < HEADER {
            let count = bytes.len().min(HEADER - partial.have);
            partial.header[partial.have..][..count].copy_from_slice(&bytes[..count]);
            partial.have += count;
            self.position = Some(at + count as u64);
            if partial.have == HEADER {
                match Record::new(partial.at, &partial.header, &[]) {
                    Some(record) => partial.length = record.length,
                    None => {
                        // No record begins here, so the way was lost before.
                        self.open = false;
                        self.synced = false;
                        say(Assembled::Lost(HEADER as u64));
                    }
                }
                self.finish(say);
            }
            return &bytes[count..];
        }
        let rest = usize::try_from(partial.end().saturating_sub(at)).unwrap_or(usize::MAX);
        let (more, left) = bytes.split_at(bytes.len().min(rest));
        self.position = Some(at + more.len() as u64);
        if more.len() == partial.length {
            // Its header was read alone.
            let record = Record::new(partial.at, &partial.header, &[]);
            self.open = false;
            if let Some(record) = record {
                say(Assembled::Record {
                    record: Record {
                        first: more,
                        ..record
                    },
                    begun: partial.begun,
                    ended: self.call,
                    broken: false,
                });
            }
            return left;
        }
        if partial.cut {
            partial.last.extend_from_slice(more);
        } else {
            partial.first.extend_from_slice(more);
        }
        self.finish(say);
        left
    }

    /// Says the open record if it has ended.
    fn finish(&mut self, say: &mut impl FnMut(Assembled<'_>)) {
        let partial = &mut self.partial;
        if !self.open || partial.have < HEADER || self.position != Some(partial.end()) {
            return;
        }
        self.open = false;
        if let Some(record) = Record::new(partial.at, &partial.header, &[]) {
            say(Assembled::Record {
                record: Record {
                    first: &partial.first,
                    last: &partial.last,
                    ..record
                },
                begun: partial.begun,
                ended: self.call,
                broken: partial.broken,
            });
        }
        for bytes in [&mut partial.first, &mut partial.last] {
            bytes.clear();
            bytes.shrink_to(KEPT);
        }
    }
}

impl Partial {
    /// Position after its last byte.
    const fn end(&self) -> u64 {
        self.at + (HEADER + self.length) as u64
    }
}

/// Where in bytes whose beginning is in doubt a record begins: where another one follows it, else where a piece with a record in it
/// may have its header: at its beginning, or behind the last bytes of the record before.
fn begins(bytes: &[u8]) -> Option<usize> {
    let follows = |at: usize| match length_at(bytes, at) {
        Some(length) => {
            let end = at + HEADER + length;
            end == bytes.len() || (end < bytes.len() && length_at(bytes, end).is_some())
        }
        None => false,
    };
    (0..bytes.len()).find(|at| follows(*at)).or_else(|| {
        [0, 32]
            .into_iter()
            .find(|at| length_at(bytes, *at).is_some())
    })
}

/// The length of the record that may begin there.
fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let &[kind @ 20..=23, 3, 1..=3, high, low] = bytes.get(at..)?.first_chunk::<HEADER>()? else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    (kind >= 20 && length > 0 && length <= LONGEST).then_some(length)
}
