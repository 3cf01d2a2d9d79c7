//! What both directions share: positions, gaps, runs, and the order head, body, end.

mod heads;

use super::{
    Framing, Limits, Malformed, MessageEnd, Segment,
    body::{Body, Passed},
    detect::leading_line_ends,
    head::HeadBuffer,
};

/// What tells the two directions apart.
pub(super) trait Syntax {
    /// A parsed head.
    type Head;

    /// Whether `bytes` begin with a first line of this direction: `Some(true)` yes, `None` too short to say.
    fn first_line(bytes: &[u8]) -> Option<bool>;

    /// Parses a head that ends within `bytes`. `start` is the position of the first. `None`: it does not end there,
    /// or it cannot be told whether it is one.
    fn parse(&self, bytes: &[u8], start: u64) -> Option<Parsed<Self::Head>>;

    /// Parses a head that cannot be understood, or whose rest was not seen, as far as it goes: `bytes` are its
    /// complete lines and an empty one. `length` is the length of the lines.
    fn parse_part(&self, bytes: &[u8], start: u64, length: usize) -> Option<Parsed<Self::Head>>;
}

/// A head and what follows it.
#[derive(Debug)]
pub(super) struct Parsed<H> {
    pub(super) head: H,
    /// Bytes of the head.
    pub(super) length: usize,
    pub(super) next: Next,
}

/// What follows a head.
#[derive(Debug)]
pub(super) enum Next {
    /// Another head: this one was interim.
    Head,
    /// Nothing: the message has no body.
    End,
    /// A tunnel.
    Tunnel,
    /// A body. `doubtful`: a run that begins with a head proves that there is none after all.
    Body { body: Body, doubtful: bool },
    /// Nothing that could be told.
    Malformed(Malformed),
}

/// An event of either direction.
#[derive(Debug)]
pub(super) enum Step<H> {
    Head(H),
    Note(Note),
}

/// An event that is no head.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    End(MessageEnd),
    Cut { at: u64 },
    Malformed { at: u64, reason: Malformed },
    Lost { from: u64, to: u64 },
    HeadTooLarge { at: u64 },
    NotHttp,
}

/// Bytes that were not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unseen {
    /// More than is captured of a run.
    Counted,
    /// A record is missing.
    Gap,
}

#[derive(Debug)]
enum State {
    /// The next byte begins a message.
    Between,
    /// Inside a head that began at `start`.
    Head { start: u64, buffer: HeadBuffer },
    /// Inside a body that began at `start`.
    Body {
        start: u64,
        body: Body,
        doubtful: bool,
    },
    /// Ignoring all.
    Tunnel,
    /// Ignoring all up to a run that begins with a head.
    OutOfSync,
    /// Ended.
    Closed,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Machine {
    limit: usize,
    /// Position after the last byte that was taken; `None` before the first.
    position: Option<u64>,
    state: State,
    /// A run begins here, not reached yet.
    run_start: Option<u64>,
    /// To be told before anything else.
    pending: Option<Note>,
    /// At least one head was parsed.
    seen_head: bool,
    /// The last message ended because the caller said so: what follows may still be its body.
    end_assumed: bool,
}

impl Machine {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limit: limits.head_bytes(),
            position: None,
            state: State::Between,
            run_start: None,
            pending: None,
            seen_head: false,
            end_assumed: false,
        }
    }

    pub(super) fn poll<S: Syntax>(
        &mut self,
        segment: &mut Segment<'_>,
        syntax: &S,
    ) -> Option<Step<S::Head>> {
        loop {
            if let Some(note) = self.pending.take() {
                return Some(Step::Note(note));
            }
            let position = *self.position.get_or_insert(segment.start);
            segment.advance_to(position);
            if segment.is_empty() {
                return None;
            }
            let step = if segment.start > position {
                self.unseen(
                    position,
                    self.up_to_run(position, segment.start),
                    Unseen::Gap,
                    syntax,
                )
            } else {
                let bytes = segment.captured();
                match self.enter_run::<S>(position, bytes) {
                    Some(note) => Some(Step::Note(note)),
                    None => self.take(position, bytes, segment.end, syntax),
                }
            };
            if step.is_some() {
                segment.advance_to(self.position());
                return step;
            }
        }
    }

    #[inline]
    pub(super) fn run_started(&mut self, at: u64) {
        let position = *self.position.get_or_insert(at);
        if at >= position {
            self.run_start = Some(at);
        }
    }

    pub(super) fn skip_to<S: Syntax>(&mut self, to: u64, syntax: &S) -> Option<Step<S::Head>> {
        loop {
            if let Some(note) = self.pending.take() {
                return Some(Step::Note(note));
            }
            let position = self.position.unwrap_or(to);
            if position >= to {
                return None;
            }
            if matches!(self.state, State::OutOfSync) {
                // Another message may have been in it: one that is awaited is not the next one that is seen.
                self.position = Some(to);
                return Some(Step::Note(Note::Lost { from: position, to }));
            }
            if let Some(step) = self.unseen(position, to, Unseen::Counted, syntax) {
                return Some(step);
            }
        }
    }

    pub(super) fn end_of_run<S: Syntax>(&mut self, at: u64, syntax: &S) -> Option<Step<S::Head>> {
        if let Some(step) = self.skip_to(at, syntax) {
            return Some(step);
        }
        if let State::Body {
            body: Body::Unknown { supposed },
            ..
        } = &self.state
        {
            let body_size = supposed.and_then(|(end, size)| (end == at).then_some(size));
            self.state = State::Between;
            self.end_assumed = true;
            return Some(Step::Note(Note::End(MessageEnd {
                at: self.position(),
                body_size,
            })));
        }
        None
    }

    pub(super) fn release<S: Syntax>(&mut self, syntax: &S) -> Option<Step<S::Head>> {
        match self.pending.take() {
            Some(note) => Some(Step::Note(note)),
            None if matches!(self.state, State::Head { .. }) => {
                self.cut_head(self.position(), Unseen::Counted, syntax)
            }
            None => None,
        }
    }

    pub(super) fn close<S: Syntax>(&mut self, syntax: &S) -> Option<Step<S::Head>> {
        if let Some(note) = self.pending.take() {
            return Some(Step::Note(note));
        }
        let at = self.position();
        let end = |body_size| Some(Step::Note(Note::End(MessageEnd { at, body_size })));
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Head { start, buffer } => {
                self.pending = Some(Note::Cut { at });
                self.part(buffer.bytes(), start, syntax)
                    .map(|parsed| Step::Head(parsed.head))
                    .or_else(|| self.pending.take().map(Step::Note))
            }
            State::Body {
                body: Body::UntilClose { size },
                ..
            } => end(Some(size)),
            State::Body {
                body: Body::Unknown { .. },
                ..
            } => end(None),
            State::Body { .. } => Some(Step::Note(Note::Cut { at })),
            State::Between | State::Tunnel | State::OutOfSync | State::Closed => None,
        }
    }

    pub(super) fn enter_tunnel(&mut self) {
        if matches!(self.state, State::Body { .. }) {
            self.pending = Some(Note::End(MessageEnd {
                at: self.position(),
                body_size: None,
            }));
        }
        if !matches!(self.state, State::Closed) {
            self.state = State::Tunnel;
        }
    }

    pub(super) const fn has_more(&self) -> bool {
        self.pending.is_some()
    }

    pub(super) fn position(&self) -> u64 {
        self.position.unwrap_or(0)
    }

    pub(super) fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Between)
    }

    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Tunnel)
    }

    pub(super) fn is_out_of_sync(&self) -> bool {
        matches!(self.state, State::OutOfSync)
    }

    pub(super) fn framing(&self) -> Option<Framing> {
        match &self.state {
            State::Body { body, .. } => Some(body.framing()),
            State::Tunnel => Some(Framing::Tunnel),
            _ => None,
        }
    }

    pub(super) fn body_remaining(&self) -> Option<u64> {
        match &self.state {
            State::Body {
                body: Body::Length { left, .. },
                ..
            } => Some(*left),
            _ => None,
        }
    }

    pub(super) fn buffered(&self) -> usize {
        match &self.state {
            State::Head { buffer, .. } => buffer.len(),
            _ => 0,
        }
    }

    /// `to`, or where a run begins before it.
    fn up_to_run(&self, position: u64, to: u64) -> u64 {
        self.run_start
            .filter(|at| *at > position)
            .map_or(to, |at| at.min(to))
    }

    /// At the beginning of a run: whoever does not know where a message ends looks whether one begins here.
    fn enter_run<S: Syntax>(&mut self, position: u64, bytes: &[u8]) -> Option<Note> {
        if self.run_start? > position || (self.run_start == Some(position) && bytes.is_empty()) {
            return None;
        }
        if self.run_start.take() != Some(position) {
            return None;
        }
        let first_line = || S::first_line(&bytes[leading_line_ends(bytes)..]);
        match &self.state {
            State::OutOfSync if first_line() != Some(false) => {
                self.state = State::Between;
                None
            }
            State::OutOfSync => (!self.seen_head).then_some(Note::NotHttp),
            State::Body {
                start,
                body,
                doubtful,
            } => {
                let ended = match body {
                    Body::Unknown { .. } => first_line() != Some(false),
                    _ => *doubtful && first_line() == Some(true),
                };
                let supposed = match body {
                    Body::Unknown {
                        supposed: Some((end, size)),
                    } if *end == position => Some(*size),
                    Body::Unknown { .. } => None,
                    _ => (*start == position).then_some(0),
                };
                ended.then(|| {
                    self.state = State::Between;
                    Note::End(MessageEnd {
                        at: position,
                        body_size: supposed,
                    })
                })
            }
            _ => None,
        }
    }

    /// Takes the piece of stream `position..end`, of which `bytes` were captured.
    fn take<S: Syntax>(
        &mut self,
        position: u64,
        bytes: &[u8],
        end: u64,
        syntax: &S,
    ) -> Option<Step<S::Head>> {
        let counting = match &self.state {
            State::Between | State::Head { .. } => false,
            State::Body { body, .. } => !body.needs_bytes(),
            State::Tunnel | State::OutOfSync | State::Closed => true,
        };
        if counting || bytes.is_empty() {
            return self.unseen(
                position,
                self.up_to_run(position, end),
                Unseen::Counted,
                syntax,
            );
        }
        match &mut self.state {
            State::Body { body, .. } => {
                let passed = body.feed(bytes, position);
                self.passed(passed, position.saturating_add(bytes.len() as u64))
            }
            State::Head { .. } => self.continue_head(position, bytes, syntax),
            _ => self.begin_head(position, bytes, syntax),
        }
    }

    /// Counts bytes that were not seen, or need not be looked at.
    fn unseen<S: Syntax>(
        &mut self,
        from: u64,
        to: u64,
        unseen: Unseen,
        syntax: &S,
    ) -> Option<Step<S::Head>> {
        match &mut self.state {
            State::Body { body, .. } => {
                let passed = body.skip(to - from, from);
                self.passed(passed, to)
            }
            State::Head { .. } => self.cut_head(to, unseen, syntax),
            State::Between => {
                self.position = Some(to);
                self.state = State::OutOfSync;
                Some(Step::Note(Note::Lost { from, to }))
            }
            State::Tunnel | State::OutOfSync | State::Closed => {
                self.position = Some(to);
                None
            }
        }
    }

    /// What became of a body between the position and `to`.
    fn passed<H>(&mut self, passed: Passed, to: u64) -> Option<Step<H>> {
        let from = self.position();
        match passed {
            Passed::On => {
                self.position = Some(to);
                None
            }
            Passed::Ended(taken, body_size) => {
                let at = from.saturating_add(taken);
                self.position = Some(at);
                self.state = State::Between;
                self.end_assumed = false;
                Some(Step::Note(Note::End(MessageEnd { at, body_size })))
            }
            Passed::Malformed(taken, reason) => {
                let at = from.saturating_add(taken);
                self.position = Some(at);
                self.state = State::OutOfSync;
                Some(Step::Note(Note::Malformed { at, reason }))
            }
        }
    }
}
