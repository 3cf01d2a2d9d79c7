//! Framed streams: each message begins with a header that says how long it is. A protocol's header is a row of numbers,
//! and one walker follows them all.
//!
//! The kernel programs and the tests use the same functions. Lengths are bytes, positions those of the stream.

use crate::plain;

/// Rows that the kernel programs have room for. The first is that of TLS records.
pub const MAX_LAYOUTS: usize = 16;

/// The longest header.
pub const MAX_HEADER: u32 = 16;

/// Frames of a direction that are shipped whole where [`Layout::begins_whole`] says so, and
pub const FIRST: u32 = 12;
/// how many after each loss.
pub const AFTER_LOSS: u32 = 2;

/// See [`Walk::alike`].
pub const DIFFER: u16 = u16::MAX;

/// A frame longer than this is none: the walker lost its way.
const LONGEST: u64 = 1 << 40;

/// How a header's length is written: [`Layout::form`].
pub mod form {
    /// A number of [`Layout::width`](super::Layout::width) bytes, most significant first.
    pub const BIG_ENDIAN: u8 = 0;
    /// The same, least significant first.
    pub const LITTLE_ENDIAN: u8 = 1;
    /// WebSocket (RFC 6455 section 5.2): seven bits, or 16 or 64 that follow them; the byte's highest bit says that a mask of
    /// four bytes follows.
    pub const WEB_SOCKET: u8 = 2;
    /// As [`BIG_ENDIAN`]; the byte behind the number says how many bytes follow the content (FastCGI's padding).
    pub const PADDED: u8 = 3;
}

/// How the frames of one protocol lie in a stream.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Bits of the header's first eight bytes, the first one highest, that are the same in each frame, and
    pub same: u64,
    /// which they are: what does not fit is no frame. Where a walker has lost its way, a run that begins with what fits
    /// begins a frame.
    pub same_mask: u64,
    /// Types of frames that are shipped whole, up to [`whole_to`](Self::whole_to), a bit each.
    pub whole: [u64; 4],
    /// Bytes that a header has at least, at most [`MAX_HEADER`].
    pub header: u8,
    /// Where in it the length stands, and
    pub length_at: u8,
    /// in how many bytes, 1 to 8.
    pub width: u8,
    /// One of [`form`].
    pub form: u8,
    /// Where in the header the frame's type stands.
    pub type_at: u8,
    /// Bytes of the frame that the length counts besides what follows the header: all of the header where the length
    /// is that of the frame, 0 where it is that of the content.
    pub counted: u8,
    /// Bytes that follow the content and that the length does not count.
    pub trailer: u8,
    /// 1 where a direction's [`FIRST`] frames are shipped whole, and [`AFTER_LOSS`] behind each loss.
    pub begins_whole: u8,
    /// The first bytes of each frame that are shipped; its header is in any case.
    pub first: u32,
    /// The last bytes of each frame that are shipped.
    pub last: u32,
    /// Frames of up to so many bytes are shipped whole.
    pub short: u32,
    /// So many first bytes are shipped of the types that are [`whole`](Self::whole); 0 for all.
    pub whole_to: u32,
    /// So many bytes of each run are shipped, whatever its frames are.
    pub run: u32,
    /// The longest frame, header and trailer included; 0 for any. A longer one is none.
    pub longest: u32,
    /// The type of a frame that begins a request, where a connection as a rule has one at a time; 0 where that is not so.
    pub opens: u8,
    /// The type of a frame that ends it.
    pub closes: u8,
    /// Nothing.
    pub reserved: [u8; 6],
}
plain!(Layout, 16 + 32 + 8 + 24 + 8);

/// All rows, as the kernel programs have them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Layouts {
    /// The rows.
    pub rows: [Layout; MAX_LAYOUTS],
    /// The row of each protocol, by its number, counted from 1; 0 where it has no frames.
    pub of: [u8; 256],
}
plain!(Layouts, 88 * MAX_LAYOUTS + 256);

/// How far a direction's frames have been followed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Position where the next frame begins.
    pub next: u64,
    /// The first bytes of its header where a call ended in it, the first one highest.
    pub held: [u64; 2],
    /// Position up to which the frame before that is shipped from its first byte on (of a header that is held, all that is there).
    pub ships_to: u64,
    /// Position after the last byte that a call moved.
    pub seen: u64,
    /// How many bytes are held.
    pub held_bytes: u32,
    /// One of [`walk`].
    pub state: u32,
    /// The frame's last bytes that are shipped, too; 0 where it is shipped whole.
    pub last: u32,
    /// 1 where bytes went by since the last record of which it is not known whether they were to be shipped, or that record did
    /// not fit into its ring.
    pub broken: u32,
    /// Frames whose header was read; fewer after a loss, so that the next ones are shipped whole.
    pub frames: u32,
    /// How often the way was lost.
    pub gaps: u16,
    /// How long each of the frames since this was set to 0 was; [`DIFFER`] where not all were alike.
    pub alike: u16,
}
plain!(Walk, 8 + 16 + 16 + 16 + 8);

/// A connection's frames, in both directions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framed {
    /// The connection's generation.
    pub generation: u64,
    /// The protocol's number; 0 for TLS records.
    pub protocol: u32,
    /// The row among the layouts, counted from 0.
    pub layout: u32,
    /// Requests that frames began and none ended, see [`Layout::opens`].
    pub requests: u64,
    /// By [`INBOUND`](crate::connection::INBOUND) and [`OUTBOUND`](crate::connection::OUTBOUND).
    pub walks: [Walk; 2],
}
plain!(Framed, 24 + 2 * 64);

/// Values of [`Walk::state`].
pub mod walk {
    /// It is known where the next frame begins.
    pub const FOLLOWED: u32 = 0;
    /// It is not: looked for at each call's first byte.
    pub const LOST: u32 = 1;
}

/// What [`read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// So many bytes are needed, more than there are.
    Needs(u32),
    /// No frame begins like this.
    None,
    /// A frame of so many bytes in all.
    Frame {
        /// Its header's.
        header: u32,
        /// Header, content and trailer.
        length: u64,
        /// Its type.
        kind: u8,
    },
}

/// One byte of a header.
#[inline(always)]
const fn byte(bytes: [u64; 2], at: u32) -> u64 {
    let word = if at < 8 { bytes[0] } else { bytes[1] };
    (word >> (56 - 8 * (at & 7))) & 0xff
}

/// `width` bytes of a header from `at` on, the first one most significant.
#[inline(always)]
const fn number(bytes: [u64; 2], at: u32, width: u32) -> u64 {
    // All from `at` on, left-aligned, then down to as many as the number has.
    let at = if at > 15 { 15 } else { at };
    let shift = 8 * (at & 7);
    let word = if at >= 8 {
        bytes[1] << shift
    } else if shift == 0 {
        bytes[0]
    } else {
        (bytes[0] << shift) | (bytes[1] >> (64 - shift))
    };
    let width = if width < 1 {
        1
    } else if width > 8 {
        8
    } else {
        width
    };
    word >> (64 - 8 * width)
}

/// Reads the header at the beginning of these bytes, of which `there` are there.
///
/// `settle` gives back what it is given. In the kernel programs it does so by way of memory: there the verifier takes what was
/// computed in different ways for one state, and does not look at all that follows once for each (5.10 took minutes).
#[inline(always)]
#[must_use]
pub fn read(layout: &Layout, bytes: [u64; 2], there: u32, settle: impl Fn(u64) -> u64) -> Header {
    let mut header = layout.header as u32;
    if there < header {
        return Header::Needs(header);
    }
    if (bytes[0] ^ layout.same) & layout.same_mask != 0 {
        return Header::None;
    }
    let at = layout.length_at as u32;
    let content = if layout.form == form::WEB_SOCKET {
        let first = byte(bytes, at);
        let mask = if first & 0x80 != 0 { 4 } else { 0 };
        let width = match first & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let (mask, width) = (settle(mask) as u32, settle(width) as u32);
        header += mask + width;
        if there < at + 1 + width {
            return Header::Needs(at + 1 + width);
        }
        if width == 0 {
            first & 0x7f
        } else {
            number(bytes, at + 1, width)
        }
    } else {
        let width = layout.width as u32;
        let found = settle(number(bytes, at, width));
        if layout.form == form::LITTLE_ENDIAN {
            found.swap_bytes() >> (64 - 8 * width.clamp(1, 8))
        } else {
            found
        }
    };
    let content = settle(content);
    let header = settle(header as u64) as u32;
    let counted = layout.counted as u64;
    if content < counted || content > LONGEST {
        return Header::None;
    }
    let padding = if layout.form == form::PADDED {
        byte(bytes, (at + layout.width as u32) & 15)
    } else {
        0
    };
    let trailer = settle(padding + layout.trailer as u64);
    let length = settle(header as u64 + (content - counted) + trailer);
    if layout.longest != 0 && length > layout.longest as u64 {
        return Header::None;
    }
    Header::Frame {
        header,
        length,
        kind: byte(bytes, layout.type_at as u32 & 15) as u8,
    }
}

/// What is shipped of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ships {
    /// So many of its first bytes,
    pub first: u64,
    /// and so many of its last; 0 where the first are all.
    pub last: u64,
}

impl Layout {
    /// A frame of this type was seen, in either direction of a connection on which `requests` are open. Returns whether a request
    /// began with it while another one is.
    #[inline(always)]
    pub const fn turn(&self, requests: &mut u64, kind: u8) -> bool {
        if self.opens == 0 {
            return false;
        }
        if kind == self.opens {
            *requests += 1;
            return *requests > 1;
        }
        if kind == self.closes && *requests != 0 {
            *requests -= 1;
        }
        false
    }

    /// What is shipped of a frame of `length` bytes, `header` among them, that begins where `left` bytes of the run are to be
    /// shipped, whatever its frames are.
    #[inline(always)]
    #[must_use]
    pub const fn ships(&self, length: u64, header: u32, kind: u8, left: u64) -> Ships {
        let mut first = if self.first < header {
            header as u64
        } else {
            self.first as u64
        };
        if self.whole[(kind >> 6) as usize & 3] >> (kind & 63) & 1 != 0 {
            if self.whole_to == 0 {
                first = length;
            } else if first < self.whole_to as u64 {
                first = self.whole_to as u64;
            }
        }
        if first < left {
            first = left;
        }
        let last = self.last as u64;
        if length <= self.short as u64 || first + last >= length {
            Ships {
                first: length,
                last: 0,
            }
        } else {
            Ships { first, last }
        }
    }
}

/// Bytes of a call that are shipped in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How many.
    pub bytes: u64,
    /// Position up to which the bytes behind them are not shipped.
    pub until: u64,
}

/// What a step of the walk found in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing begins in the rest of the call.
    Done,
    /// A frame begins at this position (which may lie before the call, where its header was split).
    Frame {
        /// Position of its first byte.
        at: u64,
        /// Bytes in all.
        length: u64,
        /// Its type.
        kind: u8,
    },
    /// It is not known any more where frames begin.
    Lost,
}

impl Walk {
    /// A direction that begins with a frame at `position`.
    #[must_use]
    pub const fn from(position: u64) -> Self {
        Self {
            next: position,
            held: [0; 2],
            ships_to: position,
            seen: position,
            held_bytes: 0,
            state: walk::FOLLOWED,
            last: 0,
            broken: 0,
            frames: 0,
            gaps: 0,
            alike: 0,
        }
    }

    /// A call moved the bytes from `start` to `end`: looked at before its steps. Where it does not begin where the last one ended
    /// inside of what was looked for, the way is lost; where it was lost, it begins anew here.
    #[inline(always)]
    pub fn begin(&mut self, start: u64, end: u64) {
        let expected = self.next.wrapping_add(self.held_bytes as u64);
        let split = self.held_bytes != 0 && start != expected;
        let missed = start > self.next && self.held_bytes == 0;
        if start > self.seen && self.seen < self.ships_to {
            self.missed();
        }
        self.seen = end;
        if self.state == walk::LOST || split || missed {
            if self.state != walk::LOST {
                self.gaps = self.gaps.wrapping_add(1);
                self.missed();
            }
            self.state = walk::LOST;
            self.held_bytes = 0;
            self.next = start;
            self.ships_to = start;
            self.last = 0;
        }
    }

    /// The position from which [`step`](Self::step) wants to see up to [`MAX_HEADER`] bytes of the call.
    #[inline(always)]
    #[must_use]
    pub const fn wants(&self) -> u64 {
        self.next.wrapping_add(self.held_bytes as u64)
    }

    /// Whether what is shipped from `at` on goes on behind the frame.
    #[inline(always)]
    #[must_use]
    pub const fn continues(&self, at: u64) -> bool {
        self.ships_to >= self.next || at >= self.next.wrapping_sub(self.last as u64)
    }

    /// What is shipped from `at` on in a call that ends at `end`, as far as frames were followed: at most `most` bytes.
    #[inline(always)]
    #[must_use]
    pub fn piece(&self, at: u64, end: u64, most: u64) -> Piece {
        let resumes = self.next.wrapping_sub(self.last as u64);
        let to = if at < self.ships_to {
            self.ships_to
        } else if at >= resumes && at < self.next {
            self.next
        } else {
            at
        };
        let to = if to > end { end } else { to };
        let to = if to - at > most { at + most } else { to };
        let until = if to < self.ships_to || to >= resumes {
            to
        } else if resumes < end {
            resumes
        } else {
            end
        };
        Piece {
            bytes: to - at,
            until,
        }
    }

    /// Goes on by one frame in a call that ends at `end`. `bytes` are the first of the stream from [`wants`](Self::wants) on, of
    /// which `there` could be read, at most [`MAX_HEADER`]. Of the run `left` bytes are to be shipped whatever its frames are.
    /// `settle` is [`read`]'s.
    #[inline(always)]
    pub fn step(
        &mut self,
        layout: &Layout,
        end: u64,
        bytes: [u64; 2],
        there: u32,
        left: u64,
        settle: impl Fn(u64) -> u64,
    ) -> Step {
        let wants = self.wants();
        if wants >= end {
            return Step::Done;
        }
        let behind = end - wants;
        let there = settle(if behind < there as u64 {
            behind
        } else {
            there as u64
        }) as u32;
        let held = self.held_bytes & 15;
        let joined = join(self.held, held, bytes);
        let joined = [settle(joined[0]), settle(joined[1])];
        let have = settle(if held + there > MAX_HEADER {
            MAX_HEADER
        } else {
            held + there
        } as u64) as u32;
        match read(layout, joined, have, &settle) {
            Header::Needs(_) if (there as u64) < behind => self.lose(),
            Header::Needs(_) => {
                self.held = joined;
                self.held_bytes = have;
                self.ships_to = end;
                self.last = 0;
                Step::Done
            }
            Header::None => self.lose(),
            Header::Frame {
                header,
                length,
                kind,
            } => {
                let at = self.next;
                let whole = layout.begins_whole != 0 && self.frames < FIRST;
                let left = settle(if whole { LONGEST } else { left });
                let ships = layout.ships(length, header, kind, left);
                self.ships_to = at.wrapping_add(settle(ships.first));
                self.last = settle(ships.last) as u32;
                self.next = at.wrapping_add(length);
                self.held_bytes = 0;
                self.state = walk::FOLLOWED;
                self.frames += 1;
                let known = self.alike as u64;
                self.alike = if length < DIFFER as u64 && (known == 0 || known == length) {
                    length as u16
                } else {
                    DIFFER
                };
                Step::Frame { at, length, kind }
            }
        }
    }

    /// The way is lost in this call.
    #[inline(always)]
    pub fn lose(&mut self) -> Step {
        if self.state != walk::LOST {
            self.gaps = self.gaps.wrapping_add(1);
        }
        self.state = walk::LOST;
        self.held_bytes = 0;
        self.missed();
        Step::Lost
    }

    /// Bytes that were to be shipped were not, or may not have been.
    #[inline(always)]
    pub const fn missed(&mut self) {
        self.broken = 1;
        if self.frames > FIRST - AFTER_LOSS {
            self.frames = FIRST - AFTER_LOSS;
        }
    }
}

/// `held` bytes, then others.
#[inline(always)]
const fn join(first: [u64; 2], held: u32, then: [u64; 2]) -> [u64; 2] {
    let bits = 8 * (held & 7);
    // The others, moved back by as many bytes as are held.
    let (mut high, mut low) = if bits == 0 {
        (then[0], then[1])
    } else {
        (
            then[0] >> bits,
            (then[1] >> bits) | (then[0] << (64 - bits)),
        )
    };
    if held >= 8 {
        low = high;
        high = 0;
    }
    let first_mask = mask(held);
    let second_mask = if held > 8 { mask(held - 8) } else { 0 };
    [
        (first[0] & first_mask) | (high & !first_mask),
        (first[1] & second_mask) | (low & !second_mask),
    ]
}

/// The first so many bytes of eight.
#[inline(always)]
const fn mask(bytes: u32) -> u64 {
    if bytes >= 8 {
        u64::MAX
    } else if bytes == 0 {
        0
    } else {
        u64::MAX << (64 - 8 * bytes)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    const TLS: Layout = Layout {
        same: 0x14_03_00_00_00_00_00_00,
        same_mask: 0xfc_ff_f8_00_00_00_00_00,
        header: 5,
        length_at: 3,
        width: 2,
        longest: 5 + 16384 + 2048,
        ..EMPTY
    };
    const EMPTY: Layout = Layout {
        same: 0,
        same_mask: 0,
        whole: [0; 4],
        header: 0,
        length_at: 0,
        width: 0,
        form: form::BIG_ENDIAN,
        type_at: 0,
        counted: 0,
        trailer: 0,
        begins_whole: 0,
        first: 0,
        last: 0,
        short: 0,
        whole_to: 0,
        run: 0,
        longest: 0,
        opens: 0,
        closes: 0,
        reserved: [0; 6],
    };
    /// The length counts itself, behind a type (PostgreSQL).
    const SELF_COUNTING: Layout = Layout {
        header: 5,
        length_at: 1,
        width: 4,
        counted: 4,
        ..EMPTY
    };
    /// Three bytes, least significant first, then a number (MySQL).
    const LITTLE: Layout = Layout {
        header: 4,
        length_at: 0,
        width: 3,
        form: form::LITTLE_ENDIAN,
        type_at: 4,
        ..EMPTY
    };
    /// The length is the frame's (MongoDB).
    const WHOLE: Layout = Layout {
        header: 16,
        length_at: 0,
        width: 4,
        form: form::LITTLE_ENDIAN,
        counted: 16,
        type_at: 12,
        ..EMPTY
    };
    /// A byte follows the content (AMQP 0-9-1).
    const TRAILED: Layout = Layout {
        header: 7,
        length_at: 3,
        width: 4,
        trailer: 1,
        ..EMPTY
    };
    /// A byte of the header says what follows the content (FastCGI).
    const PADDED: Layout = Layout {
        same: 0x01_00_00_00_00_00_00_00,
        same_mask: 0xff_f0_00_00_00_00_00_ff,
        header: 8,
        length_at: 4,
        width: 2,
        form: form::PADDED,
        type_at: 1,
        longest: 8 + 65_535 + 255,
        opens: 1,
        closes: 3,
        ..EMPTY
    };
    const EIGHT: Layout = Layout {
        header: 9,
        length_at: 1,
        width: 8,
        ..EMPTY
    };
    const WEB_SOCKET: Layout = Layout {
        header: 2,
        length_at: 1,
        form: form::WEB_SOCKET,
        ..EMPTY
    };

    fn words(bytes: &[u8]) -> [u64; 2] {
        let mut all = [0; 16];
        let there = bytes.len().min(16);
        all[..there].copy_from_slice(&bytes[..there]);
        let all = u128::from_be_bytes(all);
        [(all >> 64) as u64, all as u64]
    }

    /// What a walk found in a stream that came in calls that end at these positions: each frame's position, length and type.
    fn walk(layout: &Layout, stream: &[u8], ends: &[usize]) -> (Vec<(u64, u64, u8)>, Walk) {
        let mut found = Vec::new();
        let mut walk = Walk::from(0);
        let mut start = 0;
        for &end in ends {
            call(layout, stream, start, end, &mut walk, &mut found);
            start = end;
        }
        (found, walk)
    }

    fn call(
        layout: &Layout,
        stream: &[u8],
        start: usize,
        end: usize,
        walk: &mut Walk,
        found: &mut Vec<(u64, u64, u8)>,
    ) {
        walk.begin(start as u64, end as u64);
        loop {
            let wants = walk.wants() as usize;
            let bytes = if wants < end {
                &stream[wants..end]
            } else {
                &[]
            };
            match walk.step(
                layout,
                end as u64,
                words(bytes),
                bytes.len().min(16) as u32,
                0,
                |word| word,
            ) {
                Step::Frame { at, length, kind } => found.push((at, length, kind)),
                Step::Done | Step::Lost => return,
            }
        }
    }

    fn frame(header: &[u8], content: usize) -> Vec<u8> {
        let mut bytes = header.to_vec();
        bytes.resize(header.len() + content, 0xee);
        bytes
    }

    /// A name, a layout, three frames and their types.
    type Case = (&'static str, Layout, Vec<Vec<u8>>, [u8; 3]);

    /// A stream of three frames for each layout, and what they are.
    fn streams() -> Vec<Case> {
        let long = {
            let mut header = [0x82, 126, 0, 0].to_vec();
            header[2..4].copy_from_slice(&300u16.to_be_bytes());
            frame(&header, 300)
        };
        let longest = {
            let mut header = [0x81, 127 | 0x80].to_vec();
            header.extend(70_000u64.to_be_bytes());
            header.extend([1, 2, 3, 4]);
            frame(&header, 70_000)
        };
        std::vec![
            (
                "tls",
                TLS,
                std::vec![
                    frame(&[22, 3, 1, 0, 30], 30),
                    frame(&[20, 3, 3, 0, 1], 1),
                    frame(&[23, 3, 3, 1, 4], 260)
                ],
                [22, 20, 23]
            ),
            (
                "self-counting",
                SELF_COUNTING,
                std::vec![
                    frame(b"Q\0\0\0\x14", 16),
                    frame(b"D\0\0\0\x04", 0),
                    frame(b"Z\0\0\0\x05", 1)
                ],
                *b"QDZ"
            ),
            (
                "little endian",
                LITTLE,
                std::vec![
                    frame(&[3, 0, 0, 0], 3),
                    frame(&[0, 1, 0, 1], 256),
                    frame(&[1, 0, 0, 2], 1)
                ],
                [0xee; 3]
            ),
            (
                "whole",
                WHOLE,
                std::vec![
                    frame(&[20, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 9, 0, 0, 0], 4),
                    frame(&[16, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 8, 0, 0, 0], 0),
                    frame(&[17, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 7, 0, 0, 0], 1)
                ],
                [9, 8, 7]
            ),
            (
                "trailed",
                TRAILED,
                std::vec![
                    frame(&[1, 0, 1, 0, 0, 0, 4], 5),
                    frame(&[8, 0, 0, 0, 0, 0, 0], 1),
                    frame(&[3, 0, 1, 0, 0, 0, 2], 3)
                ],
                [1, 8, 3]
            ),
            (
                "padded",
                PADDED,
                std::vec![
                    frame(&[1, 1, 0, 1, 0, 8, 0, 0], 8),
                    frame(&[1, 4, 0, 1, 1, 2, 6, 0], 258 + 6),
                    frame(&[1, 5, 0, 1, 0, 0, 255, 0], 255)
                ],
                [1, 4, 5]
            ),
            (
                "eight bytes",
                EIGHT,
                std::vec![
                    frame(&[1, 0, 0, 0, 0, 0, 0, 0, 2], 2),
                    frame(&[2, 0, 0, 0, 0, 0, 0, 1, 0], 256),
                    frame(&[3, 0, 0, 0, 0, 0, 0, 0, 0], 0)
                ],
                [1, 2, 3]
            ),
            (
                "web socket",
                WEB_SOCKET,
                std::vec![frame(&[0x81, 5 | 0x80, 1, 2, 3, 4], 5), long, longest],
                [0x81, 0x82, 0x81]
            ),
        ]
    }

    #[test]
    fn frames_are_found_wherever_calls_split_the_stream() {
        for (name, layout, frames, kinds) in streams() {
            let stream = frames.concat();
            let mut at = 0;
            let mut expected = Vec::new();
            for (frame, kind) in frames.iter().zip(kinds) {
                expected.push((at, frame.len() as u64, kind));
                at += frame.len() as u64;
            }
            // A type that stands behind the header's least length is not always there to be read.
            let told = |found: &[(u64, u64, u8)]| {
                found
                    .iter()
                    .map(|frame| (frame.0, frame.1))
                    .collect::<Vec<_>>()
            };
            let all = stream.len();
            for split in 0..all.min(700) {
                let (found, walk) = super::tests::walk(&layout, &stream, &[split, all]);
                assert_eq!(told(&found), told(&expected), "{name}, split at {split}");
                assert_eq!(
                    (walk.frames, walk.gaps, walk.next),
                    (3, 0, all as u64),
                    "{name}, split at {split}"
                );
                if name != "little endian" {
                    assert_eq!(found, expected, "{name}, split at {split}");
                }
            }
            let each: Vec<usize> = (1..=all.min(700)).chain([all]).collect();
            let (found, walk) = super::tests::walk(&layout, &stream, &each);
            assert_eq!(told(&found), told(&expected), "{name}, byte by byte");
            assert_eq!(walk.gaps, 0, "{name}, byte by byte");
        }
    }

    #[test]
    fn bytes_that_were_missed_lose_the_way_until_a_call_begins_with_a_frame() {
        let (first, second) = (frame(&[23, 3, 3, 0, 10], 10), frame(&[23, 3, 3, 0, 20], 20));
        let stream = [&first[..], &second, &first, &second].concat();
        let (mut walk, mut found) = (Walk::from(0), Vec::new());
        call(&TLS, &stream, 0, 15, &mut walk, &mut found);
        // The second frame was missed, and a call begins in the middle of the third.
        call(&TLS, &stream, 47, 55, &mut walk, &mut found);
        assert_eq!((found.len(), walk.state, walk.gaps), (1, walk::LOST, 1));
        // The fourth begins with a call.
        call(&TLS, &stream, 55, 80, &mut walk, &mut found);
        assert_eq!(found[1], (55, 25, 23));
        assert_eq!((walk.state, walk.gaps, walk.frames), (walk::FOLLOWED, 1, 2));
    }

    #[test]
    fn bytes_that_were_missed_inside_of_a_frame_do_no_harm() {
        let stream = [frame(&[23, 3, 3, 0, 100], 100), frame(&[21, 3, 3, 0, 2], 2)].concat();
        let (mut walk, mut found) = (Walk::from(0), Vec::new());
        call(&TLS, &stream, 0, 20, &mut walk, &mut found);
        call(&TLS, &stream, 60, 112, &mut walk, &mut found);
        assert_eq!(found, [(0, 105, 23), (105, 7, 21)]);
        assert_eq!(walk.gaps, 0);
    }

    #[test]
    fn what_is_no_frame_loses_the_way_once() {
        let stream = [&frame(&[23, 3, 3, 0, 4], 4)[..], b"GET / HTTP/1.1"].concat();
        let (mut walk, mut found) = (Walk::from(0), Vec::new());
        call(&TLS, &stream, 0, stream.len(), &mut walk, &mut found);
        call(&TLS, &stream, 12, stream.len(), &mut walk, &mut found);
        assert_eq!((found.len(), walk.state, walk.gaps), (1, walk::LOST, 1));
    }

    #[test]
    fn frames_of_one_length_are_told_from_others() {
        let stream = [30, 30, 40].map(|content| frame(&[23, 3, 3, 0, content], content as usize));
        let stream = stream.concat();
        let (mut walk, mut found) = (Walk::from(0), Vec::new());
        for (start, end, alike) in [(0, 20, 35), (20, 70, 35), (70, 115, DIFFER)] {
            call(&TLS, &stream, start, end, &mut walk, &mut found);
            assert_eq!(walk.alike, alike);
        }
        walk.alike = 0;
        call(&TLS, &stream, 80, 115, &mut walk, &mut found);
        assert_eq!(walk.alike, 0);
    }

    #[test]
    fn lengths_that_cannot_be_are_no_frames() {
        assert_eq!(
            read(&TLS, words(&[23, 3, 3, 0xff, 0xff]), 5, |word| word),
            Header::None
        );
        assert_eq!(
            read(&SELF_COUNTING, words(b"Q\0\0\0\x03"), 5, |word| word),
            Header::None
        );
        assert_eq!(
            read(&EIGHT, words(&[1, 0xff, 0, 0, 0, 0, 0, 0, 0]), 9, |word| {
                word
            }),
            Header::None
        );
        assert_eq!(
            read(&TLS, words(&[23, 3, 3, 0]), 4, |word| word),
            Header::Needs(5)
        );
    }

    #[test]
    fn a_padded_frame_is_as_long_as_its_content_and_what_the_byte_behind_the_length_says() {
        let length = |header: [u8; 8]| match read(&PADDED, words(&header), 8, |word| word) {
            Header::Frame { length, .. } => Some(length),
            _ => None,
        };
        assert_eq!(length([1, 6, 0, 1, 0, 0, 0, 0]), Some(8));
        assert_eq!(length([1, 6, 0, 1, 0, 3, 5, 0]), Some(16));
        assert_eq!(
            length([1, 6, 0xff, 0xff, 0xff, 0xff, 0xff, 0]),
            Some(8 + 65_535 + 255)
        );
        // Another version, and a byte that is nought in every record.
        assert_eq!(length([2, 6, 0, 1, 0, 3, 5, 0]), None);
        assert_eq!(length([1, 6, 0, 1, 0, 3, 5, 1]), None);
        // Where the form is another, the byte says nothing.
        let plain = Layout {
            form: form::BIG_ENDIAN,
            ..PADDED
        };
        assert!(matches!(
            read(&plain, words(&[1, 6, 0, 1, 0, 3, 5, 0]), 8, |word| word),
            Header::Frame { length: 11, .. }
        ));
    }

    #[test]
    fn a_request_that_begins_while_another_is_open_is_told() {
        let (opens, other, closes) = (1, 5, 3);
        let told = |layout: &Layout, kinds: &[u8]| {
            let mut requests = 0;
            let turn = |kind: &u8| layout.turn(&mut requests, *kind);
            let told: Vec<bool> = kinds.iter().map(turn).collect();
            (told, requests)
        };
        assert_eq!(
            told(&PADDED, &[opens, other, closes, opens, closes]),
            (std::vec![false; 5], 0)
        );
        // The second, and the third while the second is still open; then all are over.
        let kinds = [opens, opens, closes, opens, closes, closes, opens];
        assert_eq!(
            told(&PADDED, &kinds).0,
            [false, true, false, true, false, false, false]
        );
        // An end whose beginning was not seen.
        assert_eq!(told(&PADDED, &[closes, opens]), (std::vec![false; 2], 1));
        let none = Layout { opens: 0, ..PADDED };
        assert_eq!(told(&none, &[0, opens, opens]), (std::vec![false; 3], 0));
    }

    #[test]
    fn what_of_a_frame_is_shipped_depends_on_its_type_and_its_length() {
        let layout = Layout {
            whole: [1 << 22, 0, 0, 1 << 63],
            first: 32,
            last: 16,
            short: 100,
            ..TLS
        };
        let ships = |layout: &Layout, length, kind| {
            let ships = layout.ships(length, 5, kind, 0);
            (ships.first, ships.last)
        };
        assert_eq!(ships(&layout, 2000, 22), (2000, 0));
        assert_eq!(ships(&layout, 2000, 255), (2000, 0));
        assert_eq!(ships(&layout, 2000, 23), (32, 16));
        assert_eq!(ships(&layout, 101, 23), (32, 16));
        assert_eq!(ships(&layout, 100, 23), (100, 0));
        let bounded = Layout {
            whole_to: 1000,
            short: 0,
            ..layout
        };
        assert_eq!(ships(&bounded, 2000, 22), (1000, 16));
        assert_eq!(ships(&bounded, 1016, 22), (1016, 0));
        assert_eq!(
            ships(&bounded, 48, 23),
            (48, 0),
            "first and last are all of it"
        );
        assert_eq!(ships(&bounded, 49, 23), (32, 16));
        // The header is shipped in any case.
        assert_eq!(
            ships(
                &Layout {
                    first: 0,
                    last: 0,
                    ..bounded
                },
                49,
                23
            ),
            (5, 0)
        );
        assert_eq!(bounded.ships(2000, 5, 23, 600).first, 600);
        assert_eq!(bounded.ships(2000, 5, 23, 100).first, 100);
        assert_eq!(bounded.ships(2000, 5, 23, 0).first, 32);
    }

    /// What is shipped of a stream that came in calls that end at these positions, as the kernel programs do it: each piece's first
    /// position, the one after its last, and that up to which nothing more is.
    fn pieces(layout: &Layout, stream: &[u8], ends: &[usize], most: u64) -> Vec<(u64, u64, u64)> {
        let (mut walk, mut start) = (Walk::from(0), 0);
        let mut told = Vec::new();
        for &end in ends {
            let end = end as u64;
            walk.begin(start, end);
            let mut at = start;
            loop {
                let mut lost = false;
                while walk.wants() < end && walk.continues(at) && walk.wants() - at < most {
                    let wants = walk.wants() as usize;
                    let bytes = &stream[wants..end as usize];
                    let there = bytes.len().min(16) as u32;
                    lost =
                        walk.step(layout, end, words(bytes), there, 0, |word| word) == Step::Lost;
                    if lost {
                        break;
                    }
                }
                let piece = walk.piece(at, end, most);
                if piece.bytes != 0 {
                    told.push((at, at + piece.bytes, piece.until));
                }
                assert!(lost || piece.until > at, "{walk:?} at {at}");
                at = piece.until;
                if lost || at >= end {
                    break;
                }
            }
            start = end;
        }
        told
    }

    #[test]
    fn the_shipped_bytes_are_the_same_however_calls_split_the_stream() {
        for (name, layout, frames, _) in streams() {
            let layout = Layout {
                first: 20,
                last: 7,
                ..layout
            };
            let stream = frames.concat();
            let mut wanted = Vec::new();
            let mut at = 0;
            for frame in &frames {
                let length = frame.len() as u64;
                // Headers are shorter.
                for byte in 0..length {
                    if length <= 27 || byte < 20 || byte >= length - 7 {
                        wanted.push(at + byte);
                    }
                }
                at += length;
            }
            let all = stream.len();
            let shipped = |ends: &[usize], most| {
                let mut shipped = Vec::new();
                for (from, to, until) in pieces(&layout, &stream, ends, most) {
                    assert!(from < to && to <= until);
                    shipped.extend(from..to);
                }
                shipped
            };
            assert_eq!(shipped(&[all], 8192), wanted, "{name}");
            assert_eq!(shipped(&[all], 9), wanted, "{name}, in small pieces");
            for split in 1..all.min(700) {
                assert_eq!(
                    shipped(&[split, all], 8192),
                    wanted,
                    "{name}, split at {split}"
                );
            }
            let mut each: Vec<usize> = (1..=all.min(700)).chain([all]).collect();
            each.dedup();
            assert_eq!(shipped(&each, 8192), wanted, "{name}, byte by byte");
        }
    }

    #[test]
    fn frames_that_are_shipped_whole_are_one_piece_and_what_follows_is_counted() {
        let layout = Layout {
            first: 16,
            short: 30,
            ..TLS
        };
        let short = frame(&[23, 3, 3, 0, 20], 20);
        let long = frame(&[23, 3, 3, 1, 0], 256);
        let stream = [&short[..], &short, &long, &short, &long].concat();
        // Two short ones and the third's first bytes; the fourth, and the fifth's first bytes.
        assert_eq!(
            pieces(&layout, &stream, &[stream.len()], 8192),
            [(0, 66, 311), (311, 352, 597)]
        );
        // What only continues a counted frame is no piece.
        assert_eq!(
            pieces(&layout, &stream, &[100, 200, 300, 597], 8192),
            [(0, 66, 100), (311, 352, 597)]
        );
    }

    #[test]
    fn bytes_that_were_to_be_shipped_and_were_missed_are_not_taken_for_counted_ones() {
        let layout = Layout { first: 50, ..TLS };
        let stream = frame(&[23, 3, 3, 0, 200], 200);
        let (mut walk, mut found) = (Walk::from(0), Vec::new());
        call(&layout, &stream, 0, 20, &mut walk, &mut found);
        let mut counted = walk;
        call(&layout, &stream, 100, 110, &mut walk, &mut found);
        assert_eq!((walk.broken, walk.gaps), (1, 0));
        call(&layout, &stream, 20, 60, &mut counted, &mut found);
        call(&layout, &stream, 100, 110, &mut counted, &mut found);
        assert_eq!((counted.broken, counted.gaps), (0, 0));
    }
}
