//! How the frames of a protocol lie in a stream and what of them is shipped, as a row of plain numbers: the kernel programs
//! walk over them.

/// How a frame's length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A number, most significant byte first.
    BigEndian,
    /// A number, least significant byte first.
    LittleEndian,
    /// WebSocket's (RFC 6455 section 5.2): seven bits, or 16 or 64 that follow them, and a bit that says that a mask follows.
    WebSocket,
    /// As [`BigEndian`](Self::BigEndian); the byte behind it says how many bytes follow the content (FastCGI).
    Padded,
}

/// The frames of one protocol. Places and lengths are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bits of the header's first eight bytes that are the same in each frame, under a mask.
    pub same: ([u8; 8], [u8; 8]),
    /// The header, at least; at most 16.
    pub header: u8,
    /// Where in it the length stands, and in how many bytes.
    pub length: (u8, u8),
    /// How the length is written.
    pub form: Form,
    /// Where in the header the frame's type stands.
    pub type_at: u8,
    /// How many bytes the length counts besides what follows the header.
    pub counted: u8,
    /// What follows the content and is not counted.
    pub trailer: u8,
    /// Types of which all is shipped,
    pub whole: &'static [u8],
    /// up to so many bytes; 0 for any.
    pub whole_to: u32,
    /// Frames that are no longer than this are shipped whole. (Two records for what surrounds fewer than some hundred bytes cost
    /// more than these.)
    pub short: u32,
    /// The first bytes of the others that are shipped, at least the header,
    pub first: u32,
    /// and the last.
    pub last: u32,
    /// So many bytes of each run are shipped, whatever its frames are.
    pub run: u32,
    /// The first dozen frames of a direction are shipped whole, and two behind each loss.
    pub begins_whole: bool,
    /// The longest frame, header and trailer included; 0 for any.
    pub longest: u32,
    /// The types of the frames that begin and end a request, where a connection as a rule has one at a time: the kernel then takes
    /// a request for what its thread works on, until another one begins before it has ended.
    pub turns: Option<(u8, u8)>,
}
