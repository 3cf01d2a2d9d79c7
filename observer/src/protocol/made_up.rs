//! A protocol that nobody speaks, for tests: many exchanges at once, each with an id.
//!
//! Every message is a frame: `F7 6D`, a [kind], an id of four bytes, a length of four bytes, and so many bytes. Its facts are
//! kept as those of an HTTP exchange: the kind as method, the id as target, the first byte of the answer as status.

use observer_protocol::{
    Segment,
    http1::{Http1, Texts},
    protocol::{
        End, Ending, Input, Joined, Key, Lost, Number, Open, Progress, Protocol, Replies, Reply,
        Scope, Shape, Side, Sniff, Steps, Switch, Why,
    },
};

use super::{Account, Carried, Detail, http1::HttpExchange};

/// What a frame is.
pub(crate) mod kind {
    /// Asks, and is answered once.
    pub(crate) const CALL: u8 = 1;
    /// Asks nothing.
    pub(crate) const TELL: u8 = 2;
    /// Asks for as many answers as come.
    pub(crate) const WATCH: u8 = 3;
    /// Answers.
    pub(crate) const REPLY: u8 = 4;
    /// One of many answers; the first begins them.
    pub(crate) const MORE: u8 = 5;
    /// Ends them.
    pub(crate) const DONE: u8 = 6;
    /// Takes a request back.
    pub(crate) const CANCEL: u8 = 7;
    /// Answers; from here on the connection speaks HTTP/1.
    pub(crate) const UPGRADE: u8 = 8;
}

const MAGIC: [u8; 2] = [0xf7, b'm'];
const HEADER: usize = 11;

/// A frame as it is sent.
pub(crate) fn frame(kind: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(kind);
    bytes.extend(id.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The beginning of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    kind: u8,
    id: u32,
    length: u32,
    at: u64,
}

#[derive(Debug, Default)]
struct Direction {
    position: Option<u64>,
    /// Of a header that is not complete.
    partial: Vec<u8>,
    /// The current frame, and what of it is still to come.
    current: Option<(Head, u64)>,
    /// Where frames begin is not known.
    lost: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct MadeUp {
    directions: [Direction; 2],
    switched: bool,
}

impl Protocol for MadeUp {
    const NUMBER: Number = Number(200);
    const MULTIPLEXED: bool = true;
    type Request<'a> = Head;
    type Response<'a> = Head;

    fn new(_head_bytes: usize, _joined: Joined) -> Self {
        Self {
            directions: Default::default(),
            switched: false,
        }
    }

    fn sniff(_side: Side, first: &[u8]) -> Sniff {
        let common = first.len().min(MAGIC.len());
        match first[..common] == MAGIC[..common] {
            true if common == MAGIC.len() => Sniff::Yes,
            true => Sniff::More,
            false => Sniff::No,
        }
    }

    fn shape(&self) -> Shape {
        Shape::Frames
    }

    fn feed(&mut self, side: Side, input: Input<'_>, out: &mut impl Steps<Self>) {
        let direction = &mut self.directions[side.index()];
        match input {
            Input::Bytes(segment) => self.bytes(side, segment, out),
            Input::Gap { to } => direction.skip(side, to, out),
            Input::RunStart { at } => {
                direction.position.get_or_insert(at);
                // A run begins with a frame.
                direction.lost = false;
            }
            Input::Release => direction.lose(side, direction.position.unwrap_or(0), out),
            Input::RunEnd { .. } | Input::Close { .. } => {}
        }
    }

    fn ending(&self) -> Ending {
        Ending::Known
    }

    fn awaits_run_end(&self, _side: Side) -> bool {
        false
    }

    fn held(&self, side: Side) -> usize {
        self.directions[side.index()].partial.len()
    }
}

impl MadeUp {
    fn bytes(&mut self, side: Side, mut segment: Segment<'_>, out: &mut impl Steps<Self>) {
        while !self.switched {
            let direction = &mut self.directions[side.index()];
            let position = *direction.position.get_or_insert(segment.start);
            segment.advance_to(position);
            if segment.is_empty() {
                return;
            }
            let bytes = segment.captured();
            if segment.start > position || bytes.is_empty() {
                direction.skip(side, segment.end, out);
                continue;
            }
            if direction.lost {
                direction.position = Some(segment.end);
                continue;
            }
            if let Some((head, left)) = direction.current {
                let taken = left.min(bytes.len() as u64);
                direction.position = Some(position + taken);
                direction.current = Some((head, left - taken));
            } else {
                let taken = bytes.len().min(HEADER - direction.partial.len());
                direction.partial.extend_from_slice(&bytes[..taken]);
                direction.position = Some(position + taken as u64);
                let Some(head) = direction.head(position + taken as u64) else {
                    if direction.partial.len() == HEADER {
                        direction.lose(side, position, out);
                    }
                    continue;
                };
                direction.current = Some((head, u64::from(head.length)));
                begin(side, head, out);
            }
            let direction = &mut self.directions[side.index()];
            if let Some((head, 0)) = direction.current {
                direction.current = None;
                let at = direction.position.unwrap_or(0);
                self.switched = end(side, head, at, out);
            }
        }
    }
}

impl Direction {
    /// The header, once it is complete and is one.
    fn head(&mut self, end: u64) -> Option<Head> {
        let header: [u8; HEADER] = self.partial.as_slice().try_into().ok()?;
        let word = |at: usize| header[at..at + 4].try_into().map(u32::from_be_bytes).ok();
        let head = Head {
            kind: header[2],
            id: word(3)?,
            length: word(7)?,
            at: end - HEADER as u64,
        };
        let is_one = header[..2] == MAGIC && (kind::CALL..=kind::UPGRADE).contains(&head.kind);
        is_one.then(|| {
            self.partial.clear();
            head
        })
    }

    fn skip(&mut self, side: Side, to: u64, out: &mut impl Steps<MadeUp>) {
        let position = *self.position.get_or_insert(to);
        let missing = to.saturating_sub(position);
        self.position = Some(to.max(position));
        match &mut self.current {
            // The rest of the frame is longer than what is missing.
            Some((_, left)) if *left > missing => *left -= missing,
            _ if missing > 0 && !self.lost => self.lose(side, position, out),
            _ => {}
        }
    }

    fn lose(&mut self, side: Side, from: u64, out: &mut impl Steps<MadeUp>) {
        self.partial.clear();
        self.current = None;
        self.lost = true;
        out.lost(Lost {
            side,
            scope: Scope::All,
            why: Why::Unseen(from),
        });
    }
}

fn begin(side: Side, head: Head, out: &mut impl Steps<MadeUp>) {
    let key = Key::Id(u64::from(head.id));
    match (side, head.kind) {
        (Side::Request, kind::CALL | kind::TELL | kind::WATCH) => out.open(Open {
            key,
            at: head.at,
            head,
            replies: match head.kind {
                kind::CALL => Replies::One,
                kind::TELL => Replies::None,
                _ => Replies::Many,
            },
            asked: u64::from(head.kind),
            whole: true,
        }),
        (Side::Request, kind::CANCEL) => out.cancel(key),
        (Side::Response, kind::REPLY | kind::UPGRADE) => out.reply(Reply {
            key,
            at: head.at,
            head,
            whole: true,
        }),
        (Side::Response, kind::MORE) if out.asked(key) == Some(u64::from(kind::WATCH)) => {
            out.reply(Reply {
                key,
                at: head.at,
                head,
                whole: true,
            });
            out.progress(Progress {
                key,
                side,
                messages: 1,
                bytes: u64::from(head.length),
            });
        }
        _ => {}
    }
}

/// A frame ended at `at`. Returns whether another protocol follows.
fn end(side: Side, head: Head, at: u64, out: &mut impl Steps<MadeUp>) -> bool {
    let size = match (side, head.kind) {
        (Side::Request, kind::CALL | kind::TELL | kind::WATCH)
        | (Side::Response, kind::REPLY | kind::UPGRADE) => Some(u64::from(head.length)),
        // What was sent in all is counted message by message.
        (Side::Response, kind::DONE) => None,
        _ => return false,
    };
    out.end(End {
        key: Key::Id(u64::from(head.id)),
        side,
        at,
        size,
    });
    let switches = head.kind == kind::UPGRADE;
    if switches {
        out.switch(Switch {
            to: Some(Http1::NUMBER),
            from: [None, Some(at)],
        });
    }
    switches
}

impl Account for MadeUp {
    fn opened(detail: &mut Detail, head: Head) {
        *detail = Detail::Http1(HttpExchange {
            method: head.kind.to_string().into(),
            texts: Texts::new(&head.id.to_string(), None, None),
            ..HttpExchange::default()
        });
    }

    fn unread(detail: &mut Detail) {
        *detail = Detail::Http1(HttpExchange::default());
    }

    fn replied(detail: &mut Detail, head: Head) {
        if let Detail::Http1(facts) = detail {
            facts.status = Some(u16::from(head.kind));
        }
    }

    fn progressed(detail: &mut Detail, progress: &Progress) {
        if let Detail::Http1(facts) = detail {
            let before = facts.response_body_size.unwrap_or(0);
            facts.response_body_size = Some(before + progress.bytes);
        }
    }

    fn ended(detail: &mut Detail, side: Side, size: Option<u64>) {
        if let Detail::Http1(facts) = detail {
            match side {
                Side::Request => facts.request_body_size = size,
                Side::Response => facts.response_body_size = size.or(facts.response_body_size),
            }
        }
    }

    fn carried<'h>(_head: &'h Head) -> Carried<'h> {
        Carried::default()
    }
}
