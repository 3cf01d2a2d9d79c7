//! Heads: parsed in place, or gathered from pieces; and what remains of one that was cut off.

use super::{Machine, Next, Note, Parsed, State, Step, Syntax, Unseen};
use crate::http1::{
    Malformed, MessageEnd, Segment,
    body::Body,
    detect::leading_line_ends,
    head::{self, HeadBuffer},
};

impl Machine {
    /// The usual: a message that begins with the segment, where the last one ended, and whose head is here whole. Its head;
    /// and its end, where that is here too. Takes of the segment what [`poll`](Machine::poll) would, which goes on from
    /// there; nothing where this is not the usual.
    pub(in crate::http1) fn begin<S: Syntax>(
        &mut self,
        segment: &mut Segment<'_>,
        syntax: &S,
    ) -> Option<(S::Head, Option<MessageEnd>)> {
        let start = segment.start;
        let at_rest = matches!(self.state, State::Between) && self.pending.is_none();
        let in_step = self.position == Some(start) && self.run_start.is_none_or(|at| at == start);
        let bytes = segment.captured();
        let bytes = &bytes[..bytes.len().min(self.limit)];
        if !at_rest || !in_step || matches!(bytes.first()?, b'\r' | b'\n') {
            return None;
        }
        let Some(parsed) = syntax.parse(bytes, start) else {
            // It comes in pieces, or cannot be understood.
            self.state = State::Head {
                start,
                buffer: HeadBuffer::default(),
            };
            return None;
        };
        self.run_start = None;
        let at = start.saturating_add(parsed.length as u64);
        let body_size = match &parsed.next {
            Next::End => Some(0),
            Next::Body {
                body: Body::Length { size, .. },
                ..
            } if segment.end.saturating_sub(at) >= *size => Some(*size),
            _ => None,
        };
        let Some(size) = body_size else {
            let head = self.enter(parsed, start);
            segment.advance_to(self.position());
            return Some((head, None));
        };
        let at = at.saturating_add(size);
        self.position = Some(at);
        self.seen_head = true;
        self.end_assumed = false;
        segment.advance_to(at);
        Some((parsed.head, Some(MessageEnd { at, body_size })))
    }

    /// Bytes where a message begins: in the usual case its whole head, parsed in place.
    pub(super) fn begin_head<S: Syntax>(
        &mut self,
        position: u64,
        bytes: &[u8],
        syntax: &S,
    ) -> Option<Step<S::Head>> {
        let line_ends = leading_line_ends(bytes);
        if line_ends > 0 {
            self.position = Some(position.saturating_add(line_ends as u64));
            return None;
        }
        if let Some(parsed) = syntax.parse(&bytes[..bytes.len().min(self.limit)], position) {
            return Some(self.parsed(parsed, position));
        }
        self.state = State::Head {
            start: position,
            buffer: HeadBuffer::default(),
        };
        self.continue_head(position, bytes, syntax)
    }

    /// More bytes of a head that came in pieces, or that cannot be understood.
    pub(super) fn continue_head<S: Syntax>(
        &mut self,
        position: u64,
        bytes: &[u8],
        syntax: &S,
    ) -> Option<Step<S::Head>> {
        let State::Head { start, buffer } = &mut self.state else {
            return None;
        };
        let start = *start;
        let taken = buffer.push(bytes, self.limit);
        self.position = Some(position.saturating_add(taken as u64));
        if !buffer.first_line {
            match S::first_line(buffer.bytes()) {
                Some(true) => buffer.first_line = true,
                Some(false) => return self.no_first_line(start),
                None => {}
            }
        }
        if let Some(length) = buffer.head_length() {
            let lines = &buffer.bytes()[..length];
            let parsed = syntax
                .parse(lines, start)
                .or_else(|| syntax.parse_part(lines, start, length));
            return match parsed {
                Some(parsed) => Some(self.parsed(parsed, start)),
                None => {
                    self.state = State::OutOfSync;
                    Some(Step::Note(Note::Malformed {
                        at: start,
                        reason: Malformed::FirstLine,
                    }))
                }
            };
        }
        if buffer.len() < self.limit {
            return None;
        }
        let State::Head { start, buffer } = std::mem::replace(&mut self.state, State::OutOfSync)
        else {
            return None;
        };
        match self.part(buffer.bytes(), start, syntax) {
            Some(parsed) => {
                let step = self.parsed(
                    Parsed {
                        length: buffer.len(),
                        ..parsed
                    },
                    start,
                );
                if matches!(self.state, State::Between) {
                    // An interim head: where the final one begins is not known.
                    self.state = State::OutOfSync;
                    self.pending = Some(Note::HeadTooLarge { at: start });
                }
                Some(step)
            }
            None => Some(Step::Note(Note::HeadTooLarge { at: start })),
        }
    }

    /// The rest of a head was not seen.
    pub(super) fn cut_head<S: Syntax>(
        &mut self,
        to: u64,
        unseen: Unseen,
        syntax: &S,
    ) -> Option<Step<S::Head>> {
        let State::Head { start, buffer } = std::mem::replace(&mut self.state, State::OutOfSync)
        else {
            return None;
        };
        let Some(parsed) = self.part(buffer.bytes(), start, syntax) else {
            self.position = Some(to);
            return Some(Step::Note(Note::Lost { from: start, to }));
        };
        let from = self.position();
        let step = self.parsed(
            Parsed {
                length: buffer.len(),
                ..parsed
            },
            start,
        );
        // Nothing tells where the next message is: after an interim head, or where it could be that whole records
        // are missing, not only the rest of this message.
        let interim = matches!(self.state, State::Between);
        if interim || (unseen == Unseen::Gap && matches!(self.state, State::Body { .. })) {
            self.position = Some(to);
            self.state = State::OutOfSync;
            self.pending = Some(Note::Lost { from, to });
        }
        Some(step)
    }

    /// The lines of a head that were seen, where the first is among them.
    pub(super) fn part<S: Syntax>(
        &self,
        bytes: &[u8],
        start: u64,
        syntax: &S,
    ) -> Option<Parsed<S::Head>> {
        if S::first_line(bytes) != Some(true) {
            return None;
        }
        let (lines, length) = head::close(bytes)?;
        syntax.parse_part(&lines, start, length)
    }

    pub(super) fn no_first_line<H>(&mut self, start: u64) -> Option<Step<H>> {
        self.state = State::OutOfSync;
        if self.end_assumed {
            return None;
        }
        Some(Step::Note(match self.seen_head {
            true => Note::Malformed {
                at: start,
                reason: Malformed::FirstLine,
            },
            false => Note::NotHttp,
        }))
    }

    fn parsed<H>(&mut self, parsed: Parsed<H>, start: u64) -> Step<H> {
        Step::Head(self.enter(parsed, start))
    }

    /// Goes on with what follows a head.
    fn enter<H>(&mut self, parsed: Parsed<H>, start: u64) -> H {
        let at = start.saturating_add(parsed.length as u64);
        self.position = Some(at);
        self.seen_head = true;
        self.end_assumed = false;
        (self.state, self.pending) = match parsed.next {
            Next::Head => (State::Between, None),
            Next::End => (
                State::Between,
                Some(Note::End(MessageEnd {
                    at,
                    body_size: Some(0),
                })),
            ),
            Next::Tunnel => (
                State::Tunnel,
                Some(Note::End(MessageEnd {
                    at,
                    body_size: Some(0),
                })),
            ),
            Next::Body { body, doubtful } => (
                State::Body {
                    start: at,
                    body,
                    doubtful,
                },
                None,
            ),
            Next::Malformed(reason) => (State::OutOfSync, Some(Note::Malformed { at, reason })),
        };
        parsed.head
    }
}
