//! What the first bytes of a protocol's messages look like, as rows of plain numbers.
//!
//! Each protocol's folder has its rows as constants. The daemon hands them to the kernel programs, which have no list of
//! protocols of their own.

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
        assert!(row.fits(b"PRI * HTTP/2.0\r\n"));
        assert!(row.fits(b"PRI * "));
        assert!(!row.fits(b"PRI *"));
        assert!(!row.fits(b"PRI / HTTP/2.0\r\n"));
    }
}
