//! Frames (RFC 6455 section 5.2), and how they lie for the kernel programs.

use crate::{
    frames::{Form, Layout},
    framing::{Found, Header},
};

/// What a frame is (section 5.2).
pub(super) mod opcode {
    pub(in super::super) const CONTINUATION: u8 = 0;
    pub(in super::super) const BINARY: u8 = 2;
    pub(in super::super) const CLOSE: u8 = 8;
    pub(in super::super) const PONG: u8 = 10;
}

/// The longest control frame's content (section 5.5).
const MOST_OF_CONTROL: u64 = 125;

/// The last of a message, and that it closes: the type of a frame is its first byte.
const CLOSE: u8 = 0x80 | opcode::CLOSE;

/// Frames. Short ones are shipped whole, as most messages are: what surrounds them would cost more.
pub(super) static FRAMES: Layout = Layout {
    // No extension of today uses these bits; the one in front of them says that a message is compressed.
    same: ([0; 8], [0x30, 0, 0, 0, 0, 0, 0, 0]),
    header: 2,
    length: (1, 1),
    form: Form::WebSocket,
    type_at: 0,
    counted: 0,
    trailer: 0,
    whole: &[CLOSE],
    whole_to: 0,
    short: 256,
    first: 14,
    last: 0,
    run: 0,
    begins_whole: false,
    longest: 0,
    turns: None,
};

/// The header of a frame of one side: those of clients are masked, those of servers never (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<const MASKED: bool> {
    /// The first byte.
    first: u8,
    length: u8,
    content: u64,
    /// 0 where it is not masked.
    pub(super) mask: [u8; 4],
}

impl<const MASKED: bool> Frame<MASKED> {
    pub(super) const fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// It is a message, or a part of one.
    pub(super) const fn is_data(&self) -> bool {
        self.opcode() <= opcode::BINARY
    }

    /// It is a message's last.
    pub(super) const fn is_last(&self) -> bool {
        self.first & 0x80 != 0
    }
}

impl<const MASKED: bool> Header for Frame<MASKED> {
    fn read(bytes: &[u8]) -> Found<Self> {
        let Some(&first) = bytes.first() else {
            return Found::More;
        };
        let opcode = first & 0x0f;
        let is_control = opcode >= opcode::CLOSE;
        let is_known = matches!(
            opcode,
            opcode::CONTINUATION..=opcode::BINARY | opcode::CLOSE..=opcode::PONG
        );
        let is_whole = first & 0x80 != 0 && first & 0x40 == 0;
        if !is_known || first & 0x30 != 0 || (is_control && !is_whole) {
            return Found::None;
        }
        let Some(&second) = bytes.get(1) else {
            return Found::More;
        };
        if (second & 0x80 != 0) != MASKED {
            return Found::None;
        }
        let short = u64::from(second & 0x7f);
        let width = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(written) = bytes.get(2..2 + width) else {
            return Found::More;
        };
        let content = match width {
            0 => short,
            _ => written
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        // The shortest form is the one that is sent.
        let is_shortest = match width {
            2 => content > MOST_OF_CONTROL,
            8 => content > u64::from(u16::MAX) && content < 1 << 63,
            _ => true,
        };
        if !is_shortest || (is_control && content > MOST_OF_CONTROL) {
            return Found::None;
        }
        let mut length = 2 + width;
        let mut mask = [0; 4];
        if MASKED {
            let Some(there) = bytes.get(length..length + 4) else {
                return Found::More;
            };
            mask.copy_from_slice(there);
            length += 4;
        }
        Found::Frame(Self {
            first,
            length: length as u8,
            content,
            mask,
        })
    }

    fn length(&self) -> usize {
        self.length.into()
    }

    fn content(&self) -> u64 {
        self.content
    }

    fn padding(&self) -> u64 {
        0
    }
}
