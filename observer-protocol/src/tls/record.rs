//! Records as they lie on the wire, whole or in part.

/// Bytes of a record's header.
pub const HEADER: usize = 5;

/// The longest content of a record: TLS 1.2's 2^14 + 2048 bytes (RFC 5246 section 6.2.3).
const LONGEST: usize = (1 << 14) + 2048;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that sent the first hello.
    Client,
    /// The one that answered it.
    Server,
}

/// What a record carries (RFC 8446 section 5.1, RFC 5246 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// 20: what follows has the keys that were agreed on. (TLS 1.3 sends it for the looks and it says nothing.)
    ChangeCipherSpec,
    /// 21
    Alert,
    /// 22
    Handshake,
    /// 23: what the application says; in TLS 1.3 the outside of everything that is encrypted.
    ApplicationData,
}

impl ContentType {
    /// The type of that number; nothing for others (heartbeats among them).
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::ApplicationData,
            _ => return None,
        })
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
        }
    }
}

/// One record, of which the middle may be missing.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Position of its header in the stream of its direction.
    pub at: u64,
    /// What the header says that it carries.
    pub content_type: ContentType,
    /// The version in its header, which says little: 0x0301 to 0x0303.
    pub version: u16,
    /// Bytes behind the header.
    pub length: usize,
    /// The first of these; all, some or none.
    pub first: &'a [u8],
    /// The last of these; may overlap the first, may be none.
    pub last: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the header at the beginning of `bytes`, which stand at `at`; what follows it there is the record's first bytes,
    /// and `last` its last. Nothing where there is no whole header or none of TLS.
    pub fn new(at: u64, bytes: &'a [u8], last: &'a [u8]) -> Option<Self> {
        let (&[content_type, major, minor, high, low], first) =
            bytes.split_first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if major != 3 || minor > 4 || length > LONGEST {
            return None;
        }
        Some(Self {
            at,
            content_type: ContentType::of(content_type)?,
            version: u16::from_be_bytes([major, minor]),
            length,
            first: &first[..first.len().min(length)],
            last: &last[last.len().saturating_sub(length)..],
        })
    }

    /// Position after its last byte.
    pub const fn end(&self) -> u64 {
        self.at.saturating_add((HEADER + self.length) as u64)
    }

    /// No byte of it is missing.
    pub const fn is_whole(&self) -> bool {
        self.first.len() == self.length
    }
}

/// Cuts `bytes`, which stand at `at`, into records; the last may have only its first bytes. Ends where there is no header.
pub fn records(at: u64, bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let record = Record::new(at.saturating_add(from as u64), bytes.get(from..)?, &[])?;
        from += HEADER + record.length;
        Some(record)
    })
}
