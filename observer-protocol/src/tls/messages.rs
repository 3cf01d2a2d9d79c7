//! Handshake messages, put together from the records that carry them.

use super::wire::Reader;

/// What is kept of a message's body: hellos are shorter, the end of a server's own certificate lies before.
const KEPT: usize = 4096;

/// A message of a handshake (RFC 8446 section 4).
pub(crate) struct Message<'a> {
    /// 1 is ClientHello, 2 ServerHello, 20 Finished.
    pub(crate) kind: u8,
    /// Its first bytes: all up to 4096, fewer where some were not captured.
    pub(crate) body: &'a [u8],
    /// All of it is there.
    pub(crate) whole: bool,
}

/// The messages of one direction under one key.
#[derive(Default)]
pub(crate) struct Messages {
    /// The header and what is kept of the body of the message that is open.
    kept: Vec<u8>,
    /// How many bytes of the open message have passed, header included.
    passed: usize,
    /// A byte of the open message was missing, after which no more of it is kept.
    cut: bool,
    /// Where the next message begins is not known.
    lost: bool,
}

impl Messages {
    /// Takes bytes, and that `missing` ones follow them which nobody saw; says each message that ends there.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut missing: usize,
        mut say: impl FnMut(Message<'_>),
    ) {
        while !self.lost && (!bytes.is_empty() || missing > 0) {
            if self.passed < 4 {
                let Some((&byte, rest)) = bytes.split_first() else {
                    // A header is missing, in whole or in part.
                    self.lost = true;
                    self.kept = Vec::new();
                    return;
                };
                bytes = rest;
                self.kept.push(byte);
                self.passed += 1;
            } else {
                let left = 4 + self.length() - self.passed;
                let here = left.min(bytes.len());
                let (taken, rest) = bytes.split_at(here);
                if !self.cut {
                    let room = (4 + KEPT).saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&taken[..here.min(room)]);
                }
                self.passed += here;
                bytes = rest;
                if bytes.is_empty() && here < left {
                    let skipped = missing.min(left - here);
                    self.cut |= skipped > 0;
                    self.passed += skipped;
                    missing -= skipped;
                }
            }
            if self.passed >= 4 && self.passed == 4 + self.length() {
                say(Message {
                    kind: self.kept[0],
                    body: &self.kept[4..],
                    whole: self.kept.len() == 4 + self.length(),
                });
                *self = Self::default();
            }
        }
    }

    /// Bytes that nobody saw, and how many is not known: no message is found any more under this key.
    pub(crate) fn lose(&mut self) {
        *self = Self {
            lost: true,
            ..Self::default()
        };
    }

    /// A whole record's content: if it is nothing but whole messages, the next one begins with it, whatever was lost before.
    pub(crate) fn find_again(&mut self, content: &[u8]) {
        if self.lost && are_messages(content) {
            *self = Self::default();
        }
    }

    /// Messages may have passed that nobody saw.
    pub(crate) const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Bytes of the open message's body.
    fn length(&self) -> usize {
        self.kept[1..4]
            .iter()
            .fold(0, |length, &byte| length << 8 | usize::from(byte))
    }
}

/// The kinds of messages that are in use (RFC 8446 section 4, RFC 5246 section 7.4, RFC 6066, RFC 8879), each as long as it says.
fn are_messages(content: &[u8]) -> bool {
    let mut left = Reader(content);
    while !left.0.is_empty() {
        let known = matches!(
            left.number(1),
            Some(0..=2 | 4..=5 | 8 | 11..=16 | 20..=22 | 24 | 25)
        );
        if !known || left.vector(3).is_none() {
            return false;
        }
    }
    !content.is_empty()
}
