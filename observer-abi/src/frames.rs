//! Framed streams: each message begins with a header that says how long it is. A protocol's header is a row of numbers,
//! and one walker follows them all.
//!
//! The kernel programs and the tests use the same functions. Lengths are bytes, positions those of the stream.

use crate::plain;

/// Rows that the kernel programs have room for. The first is that of TLS records.
pub const MAX_LAYOUTS: usize = 16;

/// The longest header.
pub const MAX_HEADER: u32 = 16;

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
    /// Types of frames that are shipped whole, a bit each.
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
    /// Explicit padding.
    pub reserved: u8,
    /// Bytes of a frame that are shipped where its type is not shipped whole.
    pub shipped: u32,
    /// The longest frame, header and trailer included; 0 for any. A longer one is none.
    pub longest: u32,
}
plain!(Layout, 16 + 32 + 8 + 8);

/// All rows, as the kernel programs have them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Layouts {
    /// The rows.
    pub rows: [Layout; MAX_LAYOUTS],
}
plain!(Layouts, 64 * MAX_LAYOUTS);

/// How far a direction's frames have been followed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Position where the next frame begins.
    pub next: u64,
    /// The first bytes of its header where a call ended in it, the first one highest, and
    pub held: [u64; 2],
    /// how many.
    pub held_bytes: u32,
    /// One of [`walk`].
    pub state: u32,
    /// Frames whose header was read.
    pub frames: u64,
    /// How often the way was lost.
    pub gaps: u64,
}
plain!(Walk, 8 + 16 + 8 + 16);

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
#[inline(always)]
#[must_use]
pub fn read(layout: &Layout, bytes: [u64; 2], there: u32) -> Header {
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
        let found = number(bytes, at, width);
        if layout.form == form::LITTLE_ENDIAN {
            found.swap_bytes() >> (64 - 8 * width.clamp(1, 8))
        } else {
            found
        }
    };
    let counted = layout.counted as u64;
    if content < counted || content > LONGEST {
        return Header::None;
    }
    let length = header as u64 + (content - counted) + layout.trailer as u64;
    if layout.longest != 0 && length > layout.longest as u64 {
        return Header::None;
    }
    Header::Frame {
        header,
        length,
        kind: byte(bytes, layout.type_at as u32 & 15) as u8,
    }
}

impl Layout {
    /// How many of a frame's first bytes are shipped.
    #[inline(always)]
    #[must_use]
    pub const fn shipped_of(&self, length: u64, kind: u8) -> u64 {
        let whole = self.whole[(kind >> 6) as usize & 3] >> (kind & 63) & 1 != 0;
        if whole || length < self.shipped as u64 {
            length
        } else {
            self.shipped as u64
        }
    }
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
            held_bytes: 0,
            state: walk::FOLLOWED,
            frames: 0,
            gaps: 0,
        }
    }

    /// A call moved the bytes from `start`: looked at before its steps. Where it does not begin where the last one ended
    /// inside of what was looked for, the way is lost; where it was lost, it begins anew here.
    #[inline(always)]
    pub fn begin(&mut self, start: u64) {
        let expected = self.next.wrapping_add(self.held_bytes as u64);
        let split = self.held_bytes != 0 && start != expected;
        let missed = start > self.next && self.held_bytes == 0;
        if self.state == walk::LOST || split || missed {
            if self.state != walk::LOST {
                self.gaps += 1;
            }
            self.state = walk::LOST;
            self.held_bytes = 0;
            self.next = start;
        }
    }

    /// The position from which [`step`](Self::step) wants to see up to [`MAX_HEADER`] bytes of the call.
    #[inline(always)]
    #[must_use]
    pub const fn wants(&self) -> u64 {
        self.next.wrapping_add(self.held_bytes as u64)
    }

    /// Goes on by one frame in a call that ends at `end`. `bytes` are the first of the stream from [`wants`](Self::wants) on, of
    /// which `there` could be read, at most [`MAX_HEADER`].
    #[inline(always)]
    pub fn step(&mut self, layout: &Layout, end: u64, bytes: [u64; 2], there: u32) -> Step {
        let wants = self.wants();
        if wants >= end {
            return Step::Done;
        }
        let left = end - wants;
        let there = if left < there as u64 {
            left as u32
        } else {
            there
        };
        let held = self.held_bytes & 15;
        let joined = join(self.held, held, bytes);
        let have = if held + there > MAX_HEADER {
            MAX_HEADER
        } else {
            held + there
        };
        match read(layout, joined, have) {
            Header::Needs(_) if (there as u64) < left => self.lose(),
            Header::Needs(_) => {
                self.held = joined;
                self.held_bytes = have;
                Step::Done
            }
            Header::None => self.lose(),
            Header::Frame { length, kind, .. } => {
                let at = self.next;
                self.next = at.wrapping_add(length);
                self.held_bytes = 0;
                self.state = walk::FOLLOWED;
                self.frames += 1;
                Step::Frame { at, length, kind }
            }
        }
    }

    /// The way is lost in this call.
    #[inline(always)]
    pub fn lose(&mut self) -> Step {
        if self.state != walk::LOST {
            self.gaps += 1;
        }
        self.state = walk::LOST;
        self.held_bytes = 0;
        Step::Lost
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
