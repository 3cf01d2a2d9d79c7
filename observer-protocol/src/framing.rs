//! One direction of a framed stream: where each frame begins and ends, whatever calls split, and what of it was not captured.
//!
//! In: segments in order, and gaps. Out: the header of each frame, pieces of its content, its end, and losses, pulled one by one.
//! Owns: a header that is not complete, and where in the current frame the stream is.
//!
//! Where a header was not seen it is not known where the next frame begins. It is looked for at the beginning of each segment and
//! each run from there on.

use crate::Segment;

/// The longest header.
const LONGEST: usize = 16;

/// What the bytes at a frame's beginning are.
pub(crate) enum Found<H> {
    /// More are needed.
    More,
    /// No frame begins like this.
    None,
    /// A frame.
    Frame(H),
}

/// The header of a protocol's frames.
pub(crate) trait Header: Copy {
    /// Reads one at the beginning of these bytes, at most sixteen.
    fn read(bytes: &[u8]) -> Found<Self>;
    /// Its own bytes, at most sixteen.
    fn length(&self) -> usize;
    /// Bytes of content.
    fn content(&self) -> u64;
    /// Bytes behind the content.
    fn padding(&self) -> u64;
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a, H> {
    /// A frame begins at this position.
    Frame(H, u64),
    /// Content of the frame moved: `moved` bytes, of which these are the first.
    Content(H, &'a [u8], u64),
    /// The frame ended in front of this position.
    End(H, u64),
    /// Frames from this position on may have passed unseen.
    Lost(u64),
    /// The same; and what was to be a header is none.
    Malformed(u64),
}

/// What is left of a frame.
#[derive(Clone, Copy, Debug)]
struct Left<H> {
    header: H,
    content: u64,
    padding: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Framing<H> {
    position: Option<u64>,
    /// Of a header that is not complete.
    partial: [u8; LONGEST],
    held: usize,
    current: Option<Left<H>>,
    lost: bool,
}

impl<H: Header> Framing<H> {
    /// A direction whose next byte begins a frame.
    pub(crate) const fn new() -> Self {
        Self {
            position: None,
            partial: [0; LONGEST],
            held: 0,
            current: None,
            lost: false,
        }
    }

    /// Bytes of a header that is not complete.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Position up to which all was taken.
    #[cfg(test)]
    pub(crate) fn position(&self) -> u64 {
        self.position.unwrap_or(0)
    }

    /// A run begins at `at`: where the way was lost it begins with a frame, or what it begins with tells.
    pub(crate) fn run_started(&mut self, at: u64) {
        self.position.get_or_insert(at);
    }

    /// The next of what the segment's bytes bring, which are taken from it. `None`: all are taken.
    pub(crate) fn next<'a>(&mut self, segment: &mut Segment<'a>) -> Option<Event<'a, H>> {
        loop {
            if let Some(event) = self.finished() {
                return Some(event);
            }
            let fresh = self.position.is_none();
            let position = *self.position.get_or_insert(segment.start);
            let begins = fresh || segment.start >= position;
            segment.advance_to(position);
            if segment.is_empty() {
                return None;
            }
            let bytes = segment.captured();
            if segment.start > position {
                return self.skip_to(segment.start);
            }
            if bytes.is_empty() {
                return self.skip_to(segment.end);
            }
            if self.lost {
                if begins && Self::may_begin(bytes) {
                    self.lost = false;
                } else {
                    self.position = Some(segment.end);
                    return None;
                }
            }
            if let Some(left) = &mut self.current {
                let there = bytes.len() as u64;
                if left.content == 0 {
                    let moved = left.padding.min(there);
                    left.padding -= moved;
                    self.position = Some(position + moved);
                    continue;
                }
                let moved = left.content.min(there);
                left.content -= moved;
                self.position = Some(position + moved);
                let bytes = &bytes[..usize::try_from(moved).unwrap_or(bytes.len())];
                return Some(Event::Content(left.header, bytes, moved));
            }
            let all = LONGEST.min(self.held + bytes.len());
            let mut header = self.partial;
            header[self.held..all].copy_from_slice(&bytes[..all - self.held]);
            match H::read(&header[..all]) {
                Found::Frame(found) => {
                    let at = position - self.held as u64;
                    self.position = Some(at + found.length() as u64);
                    self.held = 0;
                    self.current = Some(Left {
                        header: found,
                        content: found.content(),
                        padding: found.padding(),
                    });
                    return Some(Event::Frame(found, at));
                }
                Found::More if all < LONGEST && bytes.len() == all - self.held => {
                    self.partial = header;
                    self.held = all;
                    self.position = Some(position + bytes.len() as u64);
                }
                Found::More | Found::None => {
                    let at = position - self.held as u64;
                    self.held = 0;
                    self.lost = true;
                    self.position = Some(segment.end);
                    return Some(Event::Malformed(at));
                }
            }
        }
    }

    /// Bytes up to `to` moved without being captured.
    pub(crate) fn skip_to<'a>(&mut self, to: u64) -> Option<Event<'a, H>> {
        if let Some(event) = self.finished() {
            return Some(event);
        }
        let position = *self.position.get_or_insert(to);
        let missing = to.checked_sub(position).filter(|missing| *missing != 0)?;
        if let Some(left) = &mut self.current {
            if left.content != 0 {
                let moved = left.content.min(missing);
                left.content -= moved;
                self.position = Some(position + moved);
                return Some(Event::Content(left.header, &[], moved));
            }
            let moved = left.padding.min(missing);
            left.padding -= moved;
            self.position = Some(position + moved);
            return self.skip_to(to);
        }
        self.position = Some(to);
        let at = position - self.held as u64;
        self.held = 0;
        (!std::mem::replace(&mut self.lost, true)).then_some(Event::Lost(at))
    }

    /// What is kept of a header is let go.
    pub(crate) fn release(&mut self) -> bool {
        if self.held == 0 {
            return false;
        }
        self.held = 0;
        self.lost = true;
        true
    }

    /// A frame of which nothing is left.
    fn finished<'a>(&mut self) -> Option<Event<'a, H>> {
        let left = self
            .current
            .take_if(|left| left.content == 0 && left.padding == 0)?;
        Some(Event::End(left.header, self.position.unwrap_or(0)))
    }

    /// Whether a frame may begin here, where the way was lost.
    fn may_begin(bytes: &[u8]) -> bool {
        let first = &bytes[..bytes.len().min(LONGEST)];
        matches!(H::read(first), Found::Frame(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length, a number of bytes behind the content, and `!` in front of both.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Short(u8, u8);

    impl Header for Short {
        fn read(bytes: &[u8]) -> Found<Self> {
            match *bytes {
                [b'!', content, padding, ..] => Found::Frame(Self(content, padding)),
                [b'!', ..] | [] => Found::More,
                _ => Found::None,
            }
        }
        fn length(&self) -> usize {
            3
        }
        fn content(&self) -> u64 {
            self.0.into()
        }
        fn padding(&self) -> u64 {
            self.1.into()
        }
    }

    /// All that segments that end at these positions bring; content is put together.
    fn read(stream: &[u8], ends: impl IntoIterator<Item = usize>) -> Vec<String> {
        let (mut framing, mut start, mut said) = (Framing::<Short>::new(), 0, Vec::new());
        let mut content = Vec::new();
        for end in ends {
            let mut segment = Segment::whole(start as u64, &stream[start..end]);
            while let Some(event) = framing.next(&mut segment) {
                match event {
                    Event::Content(_, bytes, moved) => {
                        assert_eq!(bytes.len() as u64, moved);
                        content.extend_from_slice(bytes);
                    }
                    Event::End(_, at) => {
                        let text = String::from_utf8(std::mem::take(&mut content)).unwrap();
                        said.push(format!("{text} to {at}"));
                    }
                    other => said.push(format!("{other:?}")),
                }
            }
            start = end;
        }
        said
    }

    const STREAM: &[u8] = b"!\x03\x02abc__!\0\0!\x01\0d!\0\x01_";

    #[test]
    fn frames_are_the_same_wherever_calls_split_the_stream() {
        let whole = read(STREAM, [STREAM.len()]);
        assert_eq!(
            whole,
            [
                "Frame(Short(3, 2), 0)",
                "abc to 8",
                "Frame(Short(0, 0), 8)",
                " to 11",
                "Frame(Short(1, 0), 11)",
                "d to 15",
                "Frame(Short(0, 1), 15)",
                " to 19"
            ]
        );
        for split in 0..=STREAM.len() {
            assert_eq!(read(STREAM, [split, STREAM.len()]), whole, "{split}");
        }
        assert_eq!(read(STREAM, 1..=STREAM.len()), whole);
    }

    #[test]
    fn what_was_not_captured_of_a_frame_is_counted_and_in_a_header_the_way_is_lost() {
        let mut framing = Framing::<Short>::new();
        // Five bytes moved, of which the header was captured.
        let mut segment = Segment {
            start: 0,
            bytes: b"!\x05\x01",
            end: 6,
        };
        assert_eq!(
            framing.next(&mut segment),
            Some(Event::Frame(Short(5, 1), 0))
        );
        let missing = Event::Content(Short(5, 1), &[][..], 3);
        assert_eq!(framing.next(&mut segment), Some(missing));
        assert_eq!(framing.next(&mut segment), None);
        assert_eq!(
            framing.skip_to(9),
            Some(Event::Content(Short(5, 1), &[], 2))
        );
        assert_eq!(framing.skip_to(9), Some(Event::End(Short(5, 1), 9)));
        assert_eq!(framing.skip_to(9), None);
        assert_eq!(framing.skip_to(12), Some(Event::Lost(9)));
        assert_eq!(framing.skip_to(20), None, "it is said once");
        // In the middle of something, then at a frame.
        let mut segment = Segment::whole(20, b"abc!\0\0");
        assert_eq!(framing.next(&mut segment), None);
        let mut segment = Segment::whole(26, b"!\0\0");
        assert_eq!(
            framing.next(&mut segment),
            Some(Event::Frame(Short(0, 0), 26))
        );
        assert_eq!(
            framing.next(&mut segment),
            Some(Event::End(Short(0, 0), 29))
        );
        assert_eq!(framing.position(), 29);
    }

    #[test]
    fn what_is_no_frame_is_told_once_and_again_behind_one() {
        let mut framing = Framing::<Short>::new();
        let mut segment = Segment::whole(0, b"abc");
        assert_eq!(framing.next(&mut segment), Some(Event::Malformed(0)));
        assert_eq!(framing.next(&mut segment), None);
        assert_eq!(framing.next(&mut Segment::whole(3, b"def")), None);
        let mut segment = Segment::whole(6, b"!\0\0x");
        for expected in [
            Event::Frame(Short(0, 0), 6),
            Event::End(Short(0, 0), 9),
            Event::Malformed(9),
        ] {
            assert_eq!(framing.next(&mut segment), Some(expected));
        }
        assert_eq!(framing.next(&mut segment), None);
    }

    #[test]
    fn a_header_that_is_let_go_loses_the_way() {
        let mut framing = Framing::<Short>::new();
        assert!(!framing.release());
        assert_eq!(framing.next(&mut Segment::whole(0, b"!\x01")), None);
        assert_eq!(framing.held(), 2);
        assert!(framing.release());
        assert_eq!(
            (framing.held(), framing.next(&mut Segment::whole(2, b"\0a"))),
            (0, None)
        );
    }
}
