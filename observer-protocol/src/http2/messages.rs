//! The messages in a stream's data: each behind five bytes, a flag and its length (gRPC over HTTP/2, "Length-Prefixed-Message").

/// How far a stream's messages have been followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Messages {
    /// Of the current message.
    left: u64,
    /// Of the next one's five bytes.
    prefix: [u8; 5],
    have: u8,
    /// It is not known where the next one begins.
    lost: bool,
    /// How many have begun.
    pub(super) count: u64,
    /// There may have been more.
    pub(super) missed: bool,
}

impl Messages {
    /// A frame of `length` bytes of data begins, with these: where the way was lost, it is found again in one that holds exactly one
    /// message.
    pub(super) fn frame(&mut self, length: u64, first: &[u8]) {
        if self.lost
            && let Some([0 | 1, size @ ..]) = first.first_chunk::<5>()
            && u64::from(u32::from_be_bytes(*size)) + 5 == length
        {
            (self.lost, self.have, self.left) = (false, 0, 0);
        }
    }

    /// These bytes follow.
    pub(super) fn bytes(&mut self, mut bytes: &[u8]) {
        while !self.lost && !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len() as u64);
                self.left -= taken;
                bytes = &bytes[taken as usize..];
                continue;
            }
            self.prefix[usize::from(self.have)] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == 5 {
                let [_, a, b, c, d] = self.prefix;
                self.left = u64::from(u32::from_be_bytes([a, b, c, d]));
                self.have = 0;
                self.count += 1;
            }
        }
    }

    /// So many bytes follow that were not captured.
    pub(super) fn unseen(&mut self, count: u64) {
        if self.lost || count == 0 {
            return;
        }
        if self.left >= count {
            self.left -= count;
        } else {
            self.lose();
        }
    }

    /// Any number of bytes may have passed.
    pub(super) fn lose(&mut self) {
        (self.lost, self.missed, self.have, self.left) = (true, true, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(size: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend((size as u32).to_be_bytes());
        bytes.resize(5 + size, 7);
        bytes
    }

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let stream = [message(0), message(3), message(300), message(1)].concat();
        for cut in 1..stream.len() {
            let mut messages = Messages::default();
            for piece in stream.chunks(cut) {
                messages.bytes(piece);
            }
            assert_eq!((messages.count, messages.missed), (4, false), "{cut}");
        }
    }

    #[test]
    fn what_is_not_captured_of_a_message_does_no_harm() {
        let mut messages = Messages::default();
        messages.bytes(&message(300)[..10]);
        messages.unseen(295);
        messages.bytes(&message(1));
        assert_eq!((messages.count, messages.missed), (2, false));
    }

    #[test]
    fn what_may_hide_messages_is_said_until_a_frame_is_one() {
        let mut messages = Messages::default();
        messages.bytes(&message(300)[..10]);
        messages.unseen(296);
        assert_eq!((messages.count, messages.missed), (1, true));
        let next = message(20);
        messages.frame(26, &next);
        messages.bytes(&next);
        assert_eq!(messages.count, 1, "a frame that holds more than one");
        messages.frame(25, &next);
        messages.bytes(&next);
        messages.bytes(&next);
        assert_eq!((messages.count, messages.missed), (3, true));
    }
}
