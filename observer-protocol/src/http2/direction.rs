//! One direction: where its frames begin, and the field block that is being read.

use super::{
    frame::{HEADER, Header, PREFACE, flag, kind},
    head::Fields,
    hpack::{Broken, Decoder},
};

/// A frame of which bytes are still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) header: Header,
    /// Position of its first byte.
    pub(super) at: u64,
    /// Bytes of its payload that went by.
    pub(super) passed: u32,
    /// Of the padding at its end.
    pub(super) padding: u32,
    /// The first bytes of its payload, of which [`wanted`](Self::wanted) are read.
    pub(super) first: [u8; 8],
    pub(super) have: u8,
    /// Some bytes that had to be read were not captured.
    pub(super) torn: bool,
}

impl Frame {
    fn new(header: Header, at: u64) -> Self {
        Self {
            header,
            at,
            passed: 0,
            padding: 0,
            first: [0; 8],
            have: 0,
            torn: false,
        }
    }

    pub(super) const fn left(&self) -> u32 {
        self.header.length - self.passed
    }

    /// How many first bytes of the payload are read as numbers: what comes before a block or before data, or all of a short frame.
    pub(super) const fn wanted(&self) -> u8 {
        let padded = self.header.has(flag::PADDED) as u8;
        match self.header.kind {
            kind::DATA => padded,
            kind::HEADERS => padded + 5 * self.header.has(flag::PRIORITY) as u8,
            kind::PUSH_PROMISE => padded + 4,
            kind::RST_STREAM => 4,
            kind::GOAWAY => 8,
            kind::SETTINGS => 6,
            _ => 0,
        }
    }

    /// Whether the rest is a part of a field block.
    pub(super) const fn is_block(&self) -> bool {
        matches!(
            self.header.kind,
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION
        )
    }

    /// Bytes of the payload that are neither its first ones nor padding: a block's or data's.
    pub(super) const fn content(&self) -> u32 {
        let around = self.wanted() as u32 + self.padding;
        self.header.length.saturating_sub(around)
    }

    /// Four of the first bytes as a number.
    pub(super) const fn number(&self, at: usize) -> u32 {
        let first = self.first;
        u32::from_be_bytes([first[at], first[at + 1], first[at + 2], first[at + 3]])
    }
}

/// A field block of which the end is still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    /// Position of the first byte of its first frame.
    pub(super) at: u64,
    /// The stream's direction ends with it.
    pub(super) ends: bool,
    /// A server promises what it describes.
    pub(super) promised: bool,
    /// It cannot be read.
    pub(super) broken: Option<Broken>,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Direction {
    /// Position of the next byte; `None` before the first.
    pub(super) position: Option<u64>,
    /// Of a header that is not complete.
    pub(super) header: [u8; HEADER],
    pub(super) have: usize,
    pub(super) frame: Option<Frame>,
    pub(super) block: Option<Block>,
    pub(super) fields: Fields,
    pub(super) decoder: Decoder,
    /// It is not known where frames begin.
    pub(super) lost: bool,
    /// A frame was read.
    pub(super) understood: bool,
}

impl Direction {
    pub(super) fn new(head_bytes: usize) -> Self {
        Self {
            position: None,
            header: [0; HEADER],
            have: 0,
            frame: None,
            block: None,
            fields: Fields::default(),
            decoder: Decoder::new(head_bytes),
            lost: false,
            understood: false,
        }
    }

    /// Bytes that are kept of what is not complete.
    pub(super) fn held(&self) -> usize {
        self.have + self.decoder.held() + usize::from(self.block.is_some())
    }

    /// A frame that began before with these bytes of its header, and what it is once they are all. `None` where they are none.
    pub(super) fn begin(&mut self, end: u64) -> Option<Frame> {
        let at = end - HEADER as u64;
        self.have = 0;
        if self.header == PREFACE[..HEADER] {
            let rest = Header {
                length: (PREFACE.len() - HEADER) as u32,
                kind: kind::PREFACE,
                flags: 0,
                stream: 0,
            };
            return Some(Frame::new(rest, at));
        }
        let header = Header::read(&self.header);
        let fits = if self.understood {
            header.is_possible()
        } else {
            Header::is_usual(&self.header, &header)
        };
        // Nothing may come between the frames of a block (section 6.10).
        let continues = match &self.block {
            Some(block) => header.kind == kind::CONTINUATION && header.stream == block.stream,
            None => true,
        };
        (fits && continues).then(|| Frame::new(header, at))
    }

    /// Where frames begin is not known any more, nor what was sent before.
    pub(super) fn lose(&mut self) {
        self.have = 0;
        self.frame = None;
        self.lost = true;
        self.decoder.forget();
        self.block = None;
    }
}
