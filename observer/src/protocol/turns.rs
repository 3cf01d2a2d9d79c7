//! Another protocol that nobody speaks, for tests: one answer after the other, which says with its last bytes that it is whole. Its
//! exchanges are [`made_up`]'s.
//!
//! A request is `F7 74`, an id and the answer's size, four bytes each. An answer is `F7 54`, anything, and `END` with a line's end.

use observer_protocol::{
    detection::{Row, Sender},
    protocol::{
        End, Ending, Input, Joined, Key, Number, Open, Protocol, Replies, Reply, Shape, Side,
        Sniff, Steps,
    },
};

use super::{
    Account, Carried, Detail,
    made_up::{self, MadeUpExchange},
};

const ASKS: [u8; 2] = [0xf7, b't'];
const ANSWERS: [u8; 2] = [0xf7, b'T'];
const REQUEST: usize = 10;
const LAST: [u8; 4] = *b"END\n";

/// How its messages begin.
pub const ROWS: &[Row] = &[
    Row::prefix(&ASKS, Sender::Client, Shape::HeadTail),
    Row::prefix(&ANSWERS, Sender::Server, Shape::HeadTail),
];

/// One connection.
#[derive(Debug, Default)]
pub struct Turns {
    /// Position of the answer's first byte.
    answer: Option<u64>,
    /// The last bytes of it that were seen, and the position after them.
    last: ([u8; 4], u64),
}

impl Protocol for Turns {
    const NUMBER: Number = Number(201);
    const MULTIPLEXED: bool = false;
    type Request<'a> = u32;
    type Response<'a> = ();

    fn new(_head_bytes: usize, _joined: Joined) -> Self {
        Self::default()
    }

    fn sniff(side: Side, first: &[u8]) -> Sniff {
        let begins = match side {
            Side::Request => ASKS,
            Side::Response => ANSWERS,
        };
        if first.starts_with(&begins) {
            Sniff::Yes
        } else {
            Sniff::No
        }
    }

    fn shape(&self) -> Shape {
        Shape::HeadTail
    }

    fn feed(&mut self, side: Side, input: Input<'_>, out: &mut impl Steps<Self>) {
        match (side, input) {
            (Side::Request, Input::Bytes(segment)) => {
                let Some(request) = segment.captured().first_chunk::<REQUEST>() else {
                    return;
                };
                let id = u32::from_be_bytes([request[2], request[3], request[4], request[5]]);
                out.open(Open {
                    key: Key::Fifo,
                    at: segment.start,
                    head: id,
                    replies: Replies::One,
                    asked: 0,
                    whole: true,
                });
                out.end(End {
                    key: Key::Fifo,
                    side,
                    at: segment.end,
                    size: Some(REQUEST as u64),
                });
            }
            (Side::Response, Input::Bytes(segment)) => {
                let bytes = segment.captured();
                if self.answer.is_none() && bytes.starts_with(&ANSWERS) {
                    self.answer = Some(segment.start);
                    out.reply(Reply {
                        key: Key::Fifo,
                        at: segment.start,
                        head: (),
                        whole: true,
                    });
                }
                if self.last.1 != segment.start {
                    self.last.0 = [0; 4];
                }
                // The last may lie in several calls.
                for byte in &bytes[bytes.len().saturating_sub(LAST.len())..] {
                    self.last.0.rotate_left(1);
                    self.last.0[3] = *byte;
                }
                self.last.1 = segment.start + bytes.len() as u64;
            }
            (Side::Response, Input::RunEnd { at, .. }) if self.last == (LAST, at) => {
                if let Some(began) = self.answer.take() {
                    out.end(End {
                        key: Key::Fifo,
                        side,
                        at,
                        size: Some(at - began),
                    });
                }
            }
            _ => {}
        }
    }

    fn run_started(&mut self, side: Side, at: u64, out: &mut impl Steps<Self>) {
        self.feed(side, Input::RunStart { at }, out);
    }

    fn ending(&self) -> Ending {
        Ending::AskEntry
    }

    fn awaits_run_end(&self, side: Side) -> bool {
        side == Side::Response && self.answer.is_some()
    }

    fn held(&self, _side: Side) -> usize {
        0
    }
}

impl Account for Turns {
    fn opened(detail: &mut Detail, id: u32) {
        *detail = Detail::MadeUp(MadeUpExchange {
            kind: made_up::kind::TURN,
            id,
            ..MadeUpExchange::default()
        });
    }

    fn unread(detail: &mut Detail) {
        *detail = Detail::MadeUp(MadeUpExchange::default());
    }

    fn replied(detail: &mut Detail, (): ()) {
        if let Detail::MadeUp(facts) = detail {
            facts.reply = Some(made_up::kind::TURN);
        }
    }

    fn ended(detail: &mut Detail, side: Side, size: Option<u64>) {
        if let Detail::MadeUp(facts) = detail {
            match side {
                Side::Request => facts.request_size = size,
                Side::Response => facts.response_size = size,
            }
        }
    }

    fn carried<'h>(_id: &'h u32) -> Carried<'h> {
        Carried::default()
    }
}
