//! Numbers and vectors as TLS writes them (RFC 8446 section 3). Of what is cut short, the rest is empty or nothing.

/// What is left to read.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// So many bytes, if there are.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes, at most four.
    pub(crate) fn number(&mut self, bytes: usize) -> Option<usize> {
        let bytes = self.take(bytes)?;
        Some(
            bytes
                .iter()
                .fold(0, |number, &byte| number << 8 | usize::from(byte)),
        )
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(self.number(2)? as u16)
    }

    /// A vector whose length has so many bytes, if all of it is there.
    pub(crate) fn vector(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(length)
    }

    /// A vector of which the end may be missing.
    pub(crate) fn vector_or_part(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(length.min(self.0.len()))
    }
}
