//! What both directions have in common: limits, framing, a message's end.

use std::fmt;

/// Bounds of a parser's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    head_bytes: usize,
}

impl Limits {
    /// The least and the most bytes of a head that can be configured.
    pub const HEAD_BYTES: std::ops::RangeInclusive<usize> = 256..=64 * 1024;

    /// Heads of up to `head_bytes` bytes, forced into [`HEAD_BYTES`](Self::HEAD_BYTES), are parsed whole; of larger
    /// ones the lines that fit.
    pub fn new(head_bytes: usize) -> Self {
        Self {
            head_bytes: head_bytes.clamp(*Self::HEAD_BYTES.start(), *Self::HEAD_BYTES.end()),
        }
    }

    /// Most bytes of a head, first line and final empty line included.
    pub const fn head_bytes(&self) -> usize {
        self.head_bytes
    }
}

impl Default for Limits {
    /// 16 KiB, twice what one record carries.
    fn default() -> Self {
        Self::new(16 * 1024)
    }
}

/// How a message's body is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// `Content-Length`: so many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The body ends when the connection does. Responses only.
    UntilClose,
    /// The connection is a tunnel after this head: 101, or 2xx to CONNECT. Responses only.
    Tunnel,
    /// Not known: the head was cut off, or a gap went through the framing of a chunked body.
    Unknown,
}

/// A message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageEnd {
    /// Position after its last byte.
    pub at: u64,
    /// Bytes of the body without chunked framing; `None` where the framing was not seen whole.
    pub body_size: Option<u64>,
}

/// The kind of the request that a response answers, as far as it decides the response's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// HEAD: the response has no body.
    Head,
    /// CONNECT: a 2xx makes the connection a tunnel.
    Connect,
    /// Any other method.
    Other,
    /// The request was not seen.
    Unknown,
}

/// Why a message is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Not a request line or status line where one was due.
    FirstLine,
    /// A NUL or a bare CR in a header line.
    Header,
    /// More header lines than are parsed (256).
    TooManyHeaders,
    /// `Content-Length` is not a number, does not fit 64 bits, or is there twice with different values.
    ContentLength,
    /// A request's `Transfer-Encoding` does not end in `chunked`.
    TransferEncoding,
    /// A chunk size is not a hexadecimal number, does not fit 64 bits, or its line is too long.
    ChunkSize,
    /// A chunk is not followed by a line end.
    ChunkEnd,
    /// The trailer section is too long.
    Trailer,
}

impl Malformed {
    /// The name under which it is counted.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstLine => "first_line",
            Self::Header => "header",
            Self::TooManyHeaders => "too_many_headers",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::ChunkSize => "chunk_size",
            Self::ChunkEnd => "chunk_end",
            Self::Trailer => "trailer",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a stream's last bytes (newest in the highest byte, as the kernel's `tail` has them) end a chunked body
/// without trailers: `CRLF 0 CRLF CRLF`. With [`end_of_run`](super::ResponseParser::end_of_run) this ends a message
/// whose middle was only counted.
pub const fn tail_ends_chunked(tail: u64) -> bool {
    matches!(
        tail.to_le_bytes(),
        [_, b'\r', b'\n', b'0', b'\r', b'\n', b'\r', b'\n']
    )
}
