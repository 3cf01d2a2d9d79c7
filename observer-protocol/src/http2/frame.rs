//! Frames (RFC 9113 section 4): nine bytes of header, then so many as they say.

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;

/// What a client's direction begins with, before its first frame.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub(super) mod kind {
    pub(in crate::http2) const DATA: u8 = 0;
    pub(in crate::http2) const HEADERS: u8 = 1;
    pub(in crate::http2) const PRIORITY: u8 = 2;
    pub(in crate::http2) const RST_STREAM: u8 = 3;
    pub(in crate::http2) const SETTINGS: u8 = 4;
    pub(in crate::http2) const PUSH_PROMISE: u8 = 5;
    pub(in crate::http2) const PING: u8 = 6;
    pub(in crate::http2) const GOAWAY: u8 = 7;
    pub(in crate::http2) const WINDOW_UPDATE: u8 = 8;
    pub(in crate::http2) const CONTINUATION: u8 = 9;
    /// Not a frame: what is left of the preface.
    pub(in crate::http2) const PREFACE: u8 = 255;
}

/// Flags of frames.
pub(super) mod flag {
    pub(in crate::http2) const END_STREAM: u8 = 0x1;
    pub(in crate::http2) const ACK: u8 = 0x1;
    pub(in crate::http2) const END_HEADERS: u8 = 0x4;
    pub(in crate::http2) const PADDED: u8 = 0x8;
    pub(in crate::http2) const PRIORITY: u8 = 0x20;
    /// All that mean something.
    pub(in crate::http2) const ALL: u8 = END_STREAM | END_HEADERS | PADDED | PRIORITY;
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes behind it.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// 0: the connection.
    pub(super) stream: u32,
}

impl Header {
    /// These nine bytes as one.
    pub(super) fn read(bytes: &[u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, d, e, f, g] = *bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff,
        }
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether there can be such a frame: on a stream or on the connection, and as long as its type is.
    pub(super) const fn is_possible(&self) -> bool {
        let on_stream = self.stream != 0;
        match self.kind {
            kind::DATA | kind::CONTINUATION => on_stream,
            kind::HEADERS => {
                let least = self.has(flag::PADDED) as u32 + 5 * self.has(flag::PRIORITY) as u32;
                on_stream && self.length >= least
            }
            kind::PRIORITY => on_stream && self.length == 5,
            kind::RST_STREAM => on_stream && self.length == 4,
            kind::SETTINGS => {
                let empty = !self.has(flag::ACK) || self.length == 0;
                !on_stream && self.length.is_multiple_of(6) && empty
            }
            kind::PUSH_PROMISE => on_stream && self.length >= 4,
            kind::PING => !on_stream && self.length == 8,
            kind::GOAWAY => !on_stream && self.length >= 8,
            kind::WINDOW_UPDATE => self.length == 4,
            // A type that observer does not know: to be passed over (section 4.1).
            _ => true,
        }
    }

    /// Whether bytes of which nothing is known are one: nothing in it is unusual.
    pub(super) const fn is_usual(bytes: &[u8; HEADER], header: &Self) -> bool {
        header.kind <= kind::CONTINUATION
            && bytes[5] & 0x80 == 0
            && header.flags & !flag::ALL == 0
            && header.length <= 1 << 22
            && header.is_possible()
    }
}

/// How a stream or a connection was given up (RFC 9113 section 7).
pub const fn error_name(code: u64) -> Option<&'static str> {
    Some(match code {
        0x0 => "NO_ERROR",
        0x1 => "PROTOCOL_ERROR",
        0x2 => "INTERNAL_ERROR",
        0x3 => "FLOW_CONTROL_ERROR",
        0x4 => "SETTINGS_TIMEOUT",
        0x5 => "STREAM_CLOSED",
        0x6 => "FRAME_SIZE_ERROR",
        0x7 => "REFUSED_STREAM",
        0x8 => "CANCEL",
        0x9 => "COMPRESSION_ERROR",
        0xa => "CONNECT_ERROR",
        0xb => "ENHANCE_YOUR_CALM",
        0xc => "INADEQUATE_SECURITY",
        0xd => "HTTP_1_1_REQUIRED",
        _ => return None,
    })
}
