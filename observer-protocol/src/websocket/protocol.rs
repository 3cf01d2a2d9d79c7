//! Frames become messages of one exchange.

use std::ops::RangeInclusive;

use super::frame::{FRAMES, Frame, opcode};
use crate::{
    Segment,
    frames::Layout,
    framing::{Event, Framing, Header},
    protocol::{
        End, Ending, Input, Joined, Key, Number, Progress, Protocol, Reply, Shape, Side, Sniff,
        Steps,
    },
};

/// What is said of the connection besides its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Messages may have passed uncounted.
    Unseen,
    /// It is being closed.
    Close {
        /// By which end.
        by: Side,
        /// Why (section 7.4), 1005 where it does not say; `None` where that was not seen.
        code: Option<u16>,
    },
}

/// A close that says nothing (section 7.1.5).
const NO_STATUS: u16 = 1005;

/// What codes there are (section 7.4.2).
const CODES: RangeInclusive<u16> = 1000..=4999;

/// One direction.
#[derive(Debug)]
struct Direction<const MASKED: bool> {
    frames: Framing<Frame<MASKED>>,
    /// The first bytes of the content of a close.
    code: [u8; 2],
    code_bytes: usize,
    /// Content of the current frame so far.
    moved: u64,
    closed: bool,
    /// Where the way was lost: what was taken for frames since. One may be none, behind which there is hardly another.
    supposed: Option<Supposed>,
}

/// What is only believed once another frame follows.
#[derive(Debug, Default)]
struct Supposed {
    frames: u32,
    brought: Brought,
}

/// One connection.
#[derive(Debug)]
pub struct WebSocket {
    client: Direction<true>,
    server: Direction<false>,
    /// Position of the answering side.
    response_at: u64,
    ended: bool,
}

/// What an input brought.
#[derive(Debug, Default)]
struct Brought {
    messages: u64,
    bytes: u64,
}

impl Protocol for WebSocket {
    const NUMBER: Number = Number(7);
    const MULTIPLEXED: bool = false;
    const SHARED: bool = true;
    const LAYOUT: Option<&'static Layout> = Some(&FRAMES);
    type Request<'a> = ();
    type Response<'a> = Said;

    fn new(_head_bytes: usize, _joined: Joined) -> Self {
        Self {
            client: Direction::new(),
            server: Direction::new(),
            response_at: 0,
            ended: false,
        }
    }

    /// Nobody begins with it.
    fn sniff(_side: Side, _first: &[u8]) -> Sniff {
        Sniff::No
    }

    fn shape(&self) -> Shape {
        Shape::Frames
    }

    fn feed(&mut self, side: Side, input: Input<'_>, out: &mut impl Steps<Self>) {
        if side == Side::Response {
            let at = match input {
                Input::Bytes(segment) => segment.end,
                Input::Gap { to, .. } => to,
                _ => 0,
            };
            self.response_at = self.response_at.max(at);
        }
        let at = self.response_at;
        let mut brought = Brought::default();
        let closes = match (side, input) {
            (Side::Request, input) => self.client.feed(input, side, at, &mut brought, out),
            (Side::Response, input) => self.server.feed(input, side, at, &mut brought, out),
        };
        brought.tell(side, out);
        if let Some(code) = closes
            && !(self.client.closed && self.server.closed)
        {
            let head = Said::Close { by: side, code };
            out.reply(Reply {
                key: Key::Fifo,
                at,
                head,
                whole: true,
            });
        }
        let over = self.client.closed && self.server.closed;
        let gone =
            matches!(input, Input::Close { .. }) && (self.client.closed || self.server.closed);
        if (over || gone) && !std::mem::replace(&mut self.ended, true) {
            out.end(End {
                key: Key::Fifo,
                side: Side::Response,
                at,
                size: None,
            });
        }
    }

    fn run_started(&mut self, side: Side, at: u64, _out: &mut impl Steps<Self>) {
        match side {
            Side::Request => self.client.frames.run_started(at),
            Side::Response => {
                self.response_at = self.response_at.max(at);
                self.server.frames.run_started(at);
            }
        }
    }

    /// With the connection.
    fn ending(&self) -> Ending {
        Ending::Never
    }

    fn awaits_run_end(&self, _side: Side) -> bool {
        false
    }

    fn held(&self, side: Side) -> usize {
        match side {
            Side::Request => self.client.frames.held(),
            Side::Response => self.server.frames.held(),
        }
    }
}

impl Brought {
    const fn add(&mut self, other: &Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn tell(&self, side: Side, out: &mut impl Steps<WebSocket>) {
        if (self.messages, self.bytes) != (0, 0) {
            out.progress(Progress {
                exact: true,
                key: Key::Fifo,
                side,
                messages: self.messages,
                bytes: self.bytes,
            });
        }
    }
}

impl<const MASKED: bool> Direction<MASKED> {
    const fn new() -> Self {
        Self {
            frames: Framing::new(),
            code: [0; 2],
            code_bytes: 0,
            moved: 0,
            closed: false,
            supposed: None,
        }
    }

    /// Takes an input. The code of a close that is the direction's first.
    fn feed(
        &mut self,
        input: Input<'_>,
        side: Side,
        at: u64,
        brought: &mut Brought,
        out: &mut impl Steps<WebSocket>,
    ) -> Option<Option<u16>> {
        let mut closes = None;
        match input {
            Input::Bytes(segment) => {
                let mut segment: Segment<'_> = segment;
                while let Some(event) = self.frames.next(&mut segment) {
                    closes = closes.or(self.event(event, side, at, brought, out));
                }
            }
            Input::Gap { to, .. } => {
                while let Some(event) = self.frames.skip_to(to) {
                    closes = closes.or(self.event(event, side, at, brought, out));
                }
            }
            Input::RunStart { at } => self.frames.run_started(at),
            Input::Release => {
                if self.frames.release() {
                    self.supposed = Some(Supposed::default());
                    unseen(at, out);
                }
            }
            Input::RunEnd { .. } | Input::Close { .. } => {}
        }
        closes
    }

    fn event(
        &mut self,
        event: Event<'_, Frame<MASKED>>,
        side: Side,
        at: u64,
        brought: &mut Brought,
        out: &mut impl Steps<WebSocket>,
    ) -> Option<Option<u16>> {
        // Behind a close nothing is sent (section 5.5.1).
        let counts = !self.closed;
        if let (Event::Frame(..), Some(supposed)) = (&event, &mut self.supposed) {
            supposed.frames += 1;
            if supposed.frames > 1 {
                brought.add(&supposed.brought);
                self.supposed = None;
            }
        }
        let counted = match &mut self.supposed {
            Some(supposed) => &mut supposed.brought,
            None => &mut *brought,
        };
        match event {
            Event::Frame(..) => {
                self.moved = 0;
                self.code_bytes = 0;
            }
            Event::Content(frame, bytes, moved) => {
                if frame.is_data() && counts {
                    counted.bytes = counted.bytes.saturating_add(moved);
                } else if frame.opcode() == opcode::CLOSE {
                    self.keep(&frame, bytes);
                }
                self.moved = self.moved.saturating_add(moved);
            }
            Event::End(frame, _) => {
                if frame.is_data() && frame.is_last() && counts {
                    counted.messages += 1;
                } else if frame.opcode() == opcode::CLOSE && counts {
                    let code = self.said(&frame);
                    if self.supposed.is_none() || code.is_some_and(|code| CODES.contains(&code)) {
                        self.closed = true;
                        return Some(code);
                    }
                }
            }
            Event::Lost(_) | Event::Malformed(_) => {
                // What was counted comes first.
                std::mem::take(brought).tell(side, out);
                self.supposed = Some(Supposed::default());
                unseen(at, out);
            }
        }
        None
    }

    /// Keeps the code of a close. What follows bytes that were not captured is not it.
    fn keep(&mut self, frame: &Frame<MASKED>, bytes: &[u8]) {
        if self.moved != self.code_bytes as u64 {
            return;
        }
        for byte in bytes {
            let at = self.code_bytes;
            if let Some(place) = self.code.get_mut(at) {
                *place = byte ^ frame.mask[at];
                self.code_bytes += 1;
            }
        }
    }

    /// What a close says that has ended.
    fn said(&self, frame: &Frame<MASKED>) -> Option<u16> {
        match frame.content() {
            0 => Some(NO_STATUS),
            _ if self.code_bytes == 2 => Some(u16::from_be_bytes(self.code)),
            _ => None,
        }
    }
}

fn unseen(at: u64, out: &mut impl Steps<WebSocket>) {
    out.reply(Reply {
        key: Key::Fifo,
        at,
        head: Said::Unseen,
        whole: true,
    });
}
