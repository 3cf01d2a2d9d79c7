//! A protocol that nobody speaks, for tests: many exchanges at once, each with an id. It is in the tests' builds only, and in those
//! of the daemon that ask for it.
//!
//! Every message is a frame: `F7 6D`, a [kind], an id of four bytes, a length of four bytes, and so many bytes. The kernel ships
//! short frames whole, and of others the first sixteen bytes and the last four.

use std::sync::Arc;

use observer_protocol::{
    Segment,
    detection::{Row as Begins, Sender},
    frames::{Form, Layout},
    http1::Http1,
    protocol::{
        Cancel, End, Ending, Input, Joined, Key, Lost, Number, Open, Progress, Protocol, Replies,
        Reply, Scope, Shape, Side, Sniff, Steps, Switch, Why,
    },
};

use super::{
    Account, Attributes, Carried, Describe, Detail, Group, Instrument, Measure, Outcome, Row,
    SECONDS, SeriesKey, SpanBuilder, SpanKind, Status, Summary,
    attributes::text,
    conventions::network::{server_end, socket},
};
use crate::{
    process::{Text, Value},
    protocol::exchange::Common,
};

/// What a frame is.
pub mod kind {
    /// Asks, and is answered once.
    pub const CALL: u8 = 1;
    /// Asks nothing.
    pub const TELL: u8 = 2;
    /// Asks for as many answers as come.
    pub const WATCH: u8 = 3;
    /// Answers.
    pub const REPLY: u8 = 4;
    /// One of many answers; the first begins them.
    pub const MORE: u8 = 5;
    /// Ends them.
    pub const DONE: u8 = 6;
    /// Takes a request back.
    pub const CANCEL: u8 = 7;
    /// Answers; from here on the connection speaks HTTP/1.
    pub const UPGRADE: u8 = 8;
    /// Both, in [`turns`](crate::protocol::turns).
    pub const TURN: u8 = 9;
}

const MAGIC: [u8; 2] = [0xf7, b'm'];
const HEADER: usize = 11;

/// How its frames lie.
static FRAMES: Layout = Layout {
    same: (
        [0xf7, b'm', 0, 0, 0, 0, 0, 0],
        [0xff, 0xff, 0xf0, 0, 0, 0, 0, 0],
    ),
    header: HEADER as u8,
    length: (7, 4),
    form: Form::BigEndian,
    type_at: 2,
    counted: 0,
    trailer: 0,
    whole: &[kind::UPGRADE],
    whole_to: 0,
    short: 64,
    first: 16,
    last: 4,
    run: 0,
    begins_whole: false,
    longest: 1 << 24,
    turns: None,
};

/// How its messages begin.
pub const ROWS: &[Begins] = &[
    row(kind::CALL, Sender::Client, true),
    row(kind::TELL, Sender::Client, true),
    row(kind::WATCH, Sender::Client, true),
    row(kind::CANCEL, Sender::Client, false),
    row(kind::REPLY, Sender::Server, true),
    row(kind::MORE, Sender::Server, true),
    row(kind::DONE, Sender::Server, true),
    row(kind::UPGRADE, Sender::Server, true),
];

const fn row(kind: u8, sender: Sender, message: bool) -> Begins {
    Begins {
        message,
        layout: Some(&FRAMES),
        ..Begins::prefix(&[MAGIC[0], MAGIC[1], kind], sender, Shape::Frames)
    }
}

/// What one of its exchanges adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MadeUpExchange {
    /// What the request is, one of [`kind`]; 0 where that is not known.
    pub kind: u8,
    /// Its id.
    pub id: u32,
    /// What answered.
    pub reply: Option<u8>,
    /// Bytes that were asked with.
    pub request_size: Option<u64>,
    /// Bytes that were answered.
    pub response_size: Option<u64>,
}

/// Its groups.
pub static GROUPS: &[&Group] = &[&CALLS];

/// Calls, by their ids: there are as many series as calls.
pub static CALLS: Group = Group {
    kind: "made up",
    measures: &[Measure::duration(&CALL_DURATION)],
    open: None,
    row: |labels| Row {
        verb: text(labels, "made_up.kind").unwrap_or("-").to_owned(),
        place: text(labels, "made_up.id").unwrap_or("-").to_owned(),
    },
};

/// From a request's first byte to its last answer's last.
pub static CALL_DURATION: Instrument = Instrument {
    name: "made_up.call.duration",
    unit: "s",
    description: "Duration of calls in a protocol that nobody speaks.",
    bounds: SECONDS,
};

impl MadeUpExchange {
    fn name(&self) -> &'static str {
        match self.kind {
            kind::CALL => "call",
            kind::TELL => "tell",
            kind::WATCH => "watch",
            kind::TURN => "turn",
            _ => "unknown",
        }
    }
}

impl Describe for MadeUpExchange {
    fn outcome(&self, common: &Common) -> Outcome {
        Outcome::of_connection(common)
    }

    fn group(&self, _: &Common) -> &'static Group {
        &CALLS
    }

    fn series(&self, common: &Common, _: Option<&Arc<str>>, key: &mut SeriesKey<'_>) {
        key.number(u64::from(self.kind));
        key.number(u64::from(self.id));
        key.number(u64::from(self.kind(common).is_outgoing()));
    }

    fn labels(&self, common: &Common, _: Option<&Arc<str>>, out: &mut Attributes) {
        out.text("made_up.kind", self.name());
        out.text("made_up.id", self.id.to_string());
        out.text("made_up.end", self.kind(common).as_str());
    }

    fn span(&self, common: &Common, _: Option<&Arc<str>>) -> SpanBuilder {
        let mut out = Attributes::with_capacity(12);
        out.text("made_up.kind", self.name());
        out.text("made_up.id", self.id.to_string());
        out.int("made_up.reply", self.reply);
        out.int("made_up.request.size", self.request_size);
        out.int("made_up.response.size", self.response_size);
        let (server, port) = socket(server_end(common));
        out.some_text("server.address", server);
        out.int("server.port", port);
        out.text("network.protocol.name", "made_up");
        out.observed(common);
        SpanBuilder {
            name: Text::from(format!("made up {}", self.name())),
            attributes: out,
        }
    }
}

/// Its kind and id.
pub fn summary<'a>(_: SpanKind, attributes: &'a [(&'static str, Value)]) -> Summary<'a> {
    let answered = attributes.iter().any(|(key, _)| *key == "made_up.reply");
    Summary {
        verb: text(attributes, "made_up.kind"),
        target: text(attributes, "made_up.id"),
        is_named_without_target: false,
        status: answered.then_some(Status {
            shown: "answered".into(),
            is_fine: true,
        }),
        bytes: None,
    }
}

/// A frame as it is sent.
pub fn frame(kind: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(kind);
    bytes.extend(id.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The beginning of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Head {
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
pub struct MadeUp {
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
            Input::Bytes(segment) => {
                if direction.lost && segment.captured().starts_with(&MAGIC) {
                    direction.lost = false;
                    direction.position = Some(segment.start);
                }
                self.bytes(side, segment, out);
            }
            Input::Gap { to, .. } => self.skip(side, to, out),
            Input::RunStart { at } => {
                direction.position.get_or_insert(at);
                // A run begins with a frame.
                direction.lost = false;
            }
            Input::Release => direction.lose(side, direction.position.unwrap_or(0), out),
            Input::RunEnd { .. } | Input::Close { .. } => {}
        }
    }

    fn run_started(&mut self, side: Side, at: u64, out: &mut impl Steps<Self>) {
        self.feed(side, Input::RunStart { at }, out);
    }

    fn ending(&self) -> Ending {
        // What comes behind a frame's first bytes may only be counted.
        let is_in_frame = self.directions.iter().any(|side| side.current.is_some());
        if is_in_frame {
            Ending::AskEntry
        } else {
            Ending::Known
        }
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
                let to = if bytes.is_empty() {
                    segment.end
                } else {
                    segment.start
                };
                self.skip(side, to, out);
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
            self.finish(side, out);
        }
    }

    /// Ends the frame of which nothing is left.
    fn finish(&mut self, side: Side, out: &mut impl Steps<Self>) {
        let direction = &mut self.directions[side.index()];
        if let Some((head, 0)) = direction.current {
            direction.current = None;
            let at = direction.position.unwrap_or(0);
            self.switched |= end(side, head, at, out);
        }
    }

    fn skip(&mut self, side: Side, to: u64, out: &mut impl Steps<Self>) {
        let direction = &mut self.directions[side.index()];
        let position = *direction.position.get_or_insert(to);
        let missing = to.saturating_sub(position);
        direction.position = Some(to.max(position));
        match &mut direction.current {
            // The rest of the frame is not shorter than what is missing.
            Some((_, left)) if *left >= missing => *left -= missing,
            _ if missing > 0 && !direction.lost => direction.lose(side, position, out),
            _ => {}
        }
        self.finish(side, out);
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
        (Side::Request, kind::CANCEL) => out.cancel(Cancel { key, side, code: 0 }),
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
                exact: true,
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
            continues: None,
        });
    }
    switches
}

impl Account for MadeUp {
    fn opened(detail: &mut Detail, head: Head) {
        *detail = Detail::MadeUp(MadeUpExchange {
            kind: head.kind,
            id: head.id,
            ..MadeUpExchange::default()
        });
    }

    fn unread(detail: &mut Detail) {
        *detail = Detail::MadeUp(MadeUpExchange::default());
    }

    fn replied(detail: &mut Detail, head: Head) {
        if let Detail::MadeUp(facts) = detail {
            facts.reply = Some(head.kind);
        }
    }

    fn progressed(detail: &mut Detail, progress: &Progress) {
        if let Detail::MadeUp(facts) = detail {
            let before = facts.response_size.unwrap_or(0);
            facts.response_size = Some(before + progress.bytes);
        }
    }

    fn ended(detail: &mut Detail, side: Side, size: Option<u64>) {
        if let Detail::MadeUp(facts) = detail {
            match side {
                Side::Request => facts.request_size = size,
                Side::Response => facts.response_size = size.or(facts.response_size),
            }
        }
    }

    fn carried<'h>(_head: &'h Head) -> Carried<'h> {
        Carried::default()
    }
}

/// Its facts, of an exchange that is one.
#[cfg(test)]
pub(crate) fn of(detail: &Detail) -> &MadeUpExchange {
    match detail {
        Detail::MadeUp(facts) => facts,
        other => panic!("not made up: {other:?}"),
    }
}
