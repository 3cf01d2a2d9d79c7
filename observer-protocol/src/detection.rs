//! What the first bytes of a protocol's messages look like, as rows of plain numbers.
//!
//! Each protocol's folder has its rows as constants. The daemon hands them to the kernel programs, which have no list of
//! protocols of their own.

use crate::frames::Layout;
pub use crate::protocol::Shape;

/// Which end sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The end that connected.
    Client,
    /// The end that was connected to.
    Server,
    /// Either.
    Either,
}

/// How a row is held against a run's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// They are the row's, where its mask says so.
    Bytes,
    /// They are a line of text: a word, a space, then `/`, `*`, `http` or, behind `CONNECT`, anything. The row's first eight
    /// bytes, under its mask, stand further on in the line.
    StartLine,
}

/// One way in which a message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// How it is compared.
    pub test: Test,
    /// The bytes.
    pub value: [u8; 16],
    /// Which of their bits count.
    pub mask: [u8; 16],
    /// So many bytes must be there.
    pub least: u8,
    /// Which end sends it.
    pub sender: Sender,
    /// What is shipped from here on.
    pub shape: Shape,
    /// Nothing else begins like this: the connection's role may be taken from it.
    pub certain: bool,
    /// What begins like this is a request of its own, or the answer to one.
    pub message: bool,
    /// How its frames lie, where that is what is shipped.
    pub layout: Option<&'static Layout>,
    /// Bytes at the beginning of what fits that come before its first frame.
    pub preface: u8,
    /// The client asks for something else on the same connection, which may be TLS. (Where the protocol is not known, TLS may begin
    /// behind anything.)
    pub tls_follows: bool,
}

impl Row {
    /// A row for a message that begins with these bytes, at most sixteen.
    pub const fn prefix(bytes: &[u8], sender: Sender, shape: Shape) -> Self {
        let (mut value, mut mask) = ([0; 16], [0; 16]);
        let mut index = 0;
        while index < bytes.len() && index < 16 {
            value[index] = bytes[index];
            mask[index] = 0xff;
            index += 1;
        }
        Self {
            test: Test::Bytes,
            value,
            mask,
            least: index as u8,
            sender,
            shape,
            certain: true,
            message: true,
            layout: None,
            preface: 0,
            tls_follows: false,
        }
    }

    /// Whether a run that begins with `first`, of which that is all there is, fits. A line of text is compared by the kernel
    /// programs only.
    pub fn fits(&self, first: &[u8]) -> bool {
        self.test == Test::Bytes
            && first.len() >= usize::from(self.least)
            && (0..16).all(|at| {
                let byte = first.get(at).copied().unwrap_or(0);
                (byte ^ self.value[at]) & self.mask[at] == 0
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_fits_what_begins_with_it_and_nothing_shorter() {
        let row = Row::prefix(b"PRI * ", Sender::Client, Shape::Frames);
        assert_eq!(
            (row.least, row.sender, row.shape),
            (6, Sender::Client, Shape::Frames)
        );
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for length in 0..=preface.len() {
            assert_eq!(row.fits(&preface[..length]), length >= 6, "{length}");
        }
        for index in 0..6 {
            for bit in 0..8 {
                let mut other = *preface;
                other[index] ^= 1 << bit;
                assert!(!row.fits(&other), "bit {bit} of byte {index}");
            }
        }
    }

    #[test]
    fn a_row_has_sixteen_bytes() {
        let bytes = b"0123456789abcdefghi";
        let row = Row::prefix(bytes, Sender::Either, Shape::Full);
        assert_eq!(
            (&row.value[..], row.mask, row.least),
            (&bytes[..16], [0xff; 16], 16)
        );
        assert!(row.fits(bytes) && row.fits(&bytes[..16]) && !row.fits(&bytes[..15]));
        let whole = Row::prefix(&bytes[..16], Sender::Either, Shape::Full);
        assert_eq!(whole, row);
        let none = Row::prefix(b"", Sender::Either, Shape::Full);
        assert!(none.fits(b"") && none.fits(bytes));
    }

    #[test]
    fn bits_outside_of_the_mask_do_not_count_and_bytes_that_are_missing_are_zero() {
        let row = Row {
            mask: Row::prefix(b"\xff\xf0", Sender::Either, Shape::Full).value,
            ..Row::prefix(b"\x16\x03\0", Sender::Client, Shape::Frames)
        };
        assert!(!row.fits(b"\x16\x03"), "three bytes must be there");
        assert!(row.fits(b"\x16\x03\x01") && row.fits(b"\x16\x0f\xff"));
        assert!(!row.fits(b"\x17\x03\x01") && !row.fits(b"\x16\x13\x01"));
        let short = Row { least: 1, ..row };
        assert!(!short.fits(b"\x17") && short.fits(b"\x16"));
    }

    #[test]
    fn a_line_is_compared_by_the_kernel_programs_only() {
        let row = Row {
            test: Test::StartLine,
            ..Row::prefix(b"HTTP/1.", Sender::Client, Shape::Head)
        };
        assert!(!row.fits(b"HTTP/1.1"));
    }
}
