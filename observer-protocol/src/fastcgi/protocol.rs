//! Records become requests and answers.

use super::{
    answer::Head,
    parameters::{Asked, Parameters, RequestHead},
    record::{HEADER, Record, kind},
};
use crate::{
    Segment,
    framing::{Event, Framing},
    protocol::{
        Cancel, End, Ending, Input, Joined, Key, Lost, Number, Open, Protocol, Replies, Reply,
        Scope, Shape, Side, Sniff, Steps, Why,
    },
};

/// Requests of one connection that are followed at once.
const MOST: usize = 1024;

/// What an answer says: first its head, then how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its head.
    Head {
        /// The status; `None` where that was not seen.
        status: Option<u16>,
    },
    /// It ended.
    End {
        /// What the application says of itself, for a program its exit status; `None` where that was not seen.
        application: Option<u32>,
        /// Whether it was answered at all; 0 where it was.
        protocol: Option<u8>,
        /// Bytes that it complained with.
        complaints: u64,
    },
}

/// What is read of an answer.
#[derive(Debug)]
enum Reading {
    /// Its head, if anything.
    Head(Head),
    /// Its body, behind a head of so many bytes, where that is known.
    Body(Option<u64>),
    /// Its head may have passed unseen.
    Unseen,
}

/// A request that has not ended.
#[derive(Debug)]
struct Request {
    id: u16,
    /// Position of its first byte.
    at: u64,
    asks_for: Asked,
    /// Its parameters, until it is told.
    parameters: Option<Box<Parameters>>,
    /// They are all there.
    is_complete: bool,
    /// Bytes of its body; `None` where some may have passed unseen.
    body: Option<u64>,
    /// Bytes that it was said to have.
    announced: u64,
    has_ended: bool,
    answer: Reading,
    /// Bytes of the answer.
    answered: Option<u64>,
    complaints: u64,
}

/// One direction.
#[derive(Debug)]
struct Direction {
    records: Framing<Record>,
    /// Where the current record began.
    at: u64,
    /// The content of a record that has eight bytes, and how many are there.
    body: [u8; 8],
    body_bytes: usize,
    /// A record was read.
    known: bool,
}

/// One connection.
#[derive(Debug)]
pub struct FastCgi {
    head_bytes: usize,
    directions: [Direction; 2],
    /// In the order in which they began.
    requests: Vec<Request>,
    /// A request began.
    asked: bool,
}

impl Protocol for FastCgi {
    const NUMBER: Number = Number(6);
    const MULTIPLEXED: bool = true;
    const SHARED: bool = false;
    type Request<'a> = &'a mut RequestHead;
    type Response<'a> = Answer;

    fn new(head_bytes: usize, _joined: Joined) -> Self {
        let direction = || Direction {
            records: Framing::new(),
            at: 0,
            body: [0; 8],
            body_bytes: 0,
            known: false,
        };
        Self {
            head_bytes,
            directions: [direction(), direction()],
            requests: Vec::new(),
            asked: false,
        }
    }

    fn sniff(side: Side, first: &[u8]) -> Sniff {
        let is = |pattern: &[Option<u8>]| {
            let both = first.iter().zip(pattern);
            let mut both = both.filter_map(|(byte, wanted)| Some((byte, (*wanted)?)));
            both.all(|(byte, wanted)| *byte == wanted)
        };
        let begin = [1, kind::BEGIN_REQUEST, 0, 0, 0, 8, 0, 0].map(Some);
        let begin = [
            begin[0], begin[1], None, None, begin[4], begin[5], begin[6], begin[7],
        ];
        let answers = [kind::STDOUT, kind::STDERR, kind::END_REQUEST];
        let answer = |kind| {
            [
                Some(1),
                Some(kind),
                Some(0),
                None,
                None,
                None,
                None,
                Some(0),
            ]
        };
        match side {
            Side::Request if is(&begin) && first.len() >= HEADER => Sniff::Yes,
            Side::Request if is(&begin) => Sniff::More,
            Side::Response if answers.into_iter().any(|kind| is(&answer(kind))) => Sniff::More,
            _ => Sniff::No,
        }
    }

    fn shape(&self) -> Shape {
        Shape::Frames
    }

    fn feed(&mut self, side: Side, input: Input<'_>, out: &mut impl Steps<Self>) {
        match input {
            Input::Bytes(mut segment) => {
                while let Some(event) = self.next(side, &mut segment) {
                    self.event(side, event, out);
                }
            }
            Input::Gap { to, .. } => {
                while let Some(event) = self.directions[side.index()].records.skip_to(to) {
                    self.event(side, event, out);
                }
            }
            Input::RunStart { at } => self.run_started(side, at, out),
            Input::Release => self.release(side, out),
            Input::RunEnd { .. } | Input::Close { .. } => {}
        }
    }

    fn run_started(&mut self, side: Side, at: u64, _out: &mut impl Steps<Self>) {
        self.directions[side.index()].records.run_started(at);
    }

    /// Its last record is shipped whole.
    fn ending(&self) -> Ending {
        Ending::Known
    }

    fn awaits_run_end(&self, _side: Side) -> bool {
        false
    }

    fn held(&self, side: Side) -> usize {
        let kept = |request: &Request| match side {
            Side::Request => request.parameters.as_ref().map_or(0, |kept| kept.kept()),
            Side::Response => match &request.answer {
                Reading::Head(head) => head.kept(),
                Reading::Body(_) | Reading::Unseen => 0,
            },
        };
        let kept: usize = self.requests.iter().map(kept).sum();
        self.directions[side.index()].records.held() + kept
    }
}

impl FastCgi {
    fn next<'a>(&mut self, side: Side, segment: &mut Segment<'a>) -> Option<Event<'a, Record>> {
        self.directions[side.index()].records.next(segment)
    }

    fn event(&mut self, side: Side, event: Event<'_, Record>, out: &mut impl Steps<Self>) {
        let direction = &mut self.directions[side.index()];
        match event {
            Event::Frame(record, at) => {
                direction.known = true;
                direction.at = at;
                direction.body_bytes = 0;
                if (side, record.kind) == (Side::Request, kind::BEGIN_REQUEST) {
                    self.begin(record.id, at, out);
                }
            }
            Event::Content(record, bytes, moved) => {
                if matches!(record.kind, kind::BEGIN_REQUEST | kind::END_REQUEST) {
                    direction.keep(bytes, moved);
                } else {
                    self.content(side, record, bytes, moved, out);
                }
            }
            Event::End(record, at) => self.record_ended(side, record, at, out),
            Event::Malformed(_) if !direction.known => out.foreign(side),
            Event::Malformed(_) => self.lost(side, Why::Malformed, out),
            Event::Lost(from) => self.lost(side, Why::Unseen(from), out),
        }
    }

    fn find(&mut self, id: u16) -> Option<&mut Request> {
        self.requests.iter_mut().find(|request| request.id == id)
    }

    fn begin(&mut self, id: u16, at: u64, out: &mut impl Steps<Self>) {
        self.asked = true;
        // Where the end of one with the same number was not seen, it is over: whoever takes the steps ends it.
        self.requests.retain(|request| request.id != id);
        if self.requests.len() >= MOST {
            let oldest = self.requests.remove(0);
            out.lost(Lost {
                side: Side::Request,
                scope: Scope::One(key(oldest.id)),
                why: Why::TooLarge,
            });
        }
        self.requests.push(Request {
            id,
            at,
            asks_for: Asked::Other,
            parameters: Some(Box::new(Parameters::new(self.head_bytes))),
            is_complete: false,
            body: Some(0),
            announced: 0,
            has_ended: false,
            answer: Reading::Head(Head::default()),
            answered: Some(0),
            complaints: 0,
        });
    }

    /// Content of a record that is more than eight bytes.
    fn content(
        &mut self,
        side: Side,
        record: Record,
        bytes: &[u8],
        moved: u64,
        out: &mut impl Steps<Self>,
    ) {
        let at = self.directions[side.index()].at;
        let most = self.head_bytes;
        let Some(request) = self.find(record.id) else {
            return;
        };
        let missing = moved > bytes.len() as u64;
        match (side, record.kind) {
            (Side::Request, kind::PARAMS) => {
                if let Some(parameters) = &mut request.parameters {
                    parameters.take(bytes);
                    if missing {
                        parameters.missed();
                    }
                }
            }
            (Side::Request, kind::STDIN) => {
                request.body = request.body.map(|body| body.saturating_add(moved));
            }
            (Side::Response, kind::STDERR) => {
                request.complaints = request.complaints.saturating_add(moved);
            }
            (Side::Response, kind::STDOUT) => {
                request.answered = request.answered.map(|all| all.saturating_add(moved));
                if matches!(request.answer, Reading::Unseen) {
                    request.answer = Reading::Body(None);
                    self.answer(record.id, at, Answer::Head { status: None }, false, out);
                } else if let Reading::Head(head) = &mut request.answer {
                    let room = most.saturating_sub(head.kept());
                    let read = &bytes[..bytes.len().min(room)];
                    let length = head.take(read);
                    let gives_up = missing || read.len() < bytes.len();
                    if length.is_some() || gives_up {
                        let status = head.status(length.is_some());
                        request.answer = Reading::Body(length.map(|length| length as u64));
                        let whole = length.is_some() || status.is_some();
                        self.answer(record.id, at, Answer::Head { status }, whole, out);
                    }
                }
            }
            _ => {}
        }
    }

    fn record_ended(&mut self, side: Side, record: Record, at: u64, out: &mut impl Steps<Self>) {
        let body = self.directions[side.index()].body();
        match (side, record.kind) {
            (Side::Request, kind::BEGIN_REQUEST) => {
                if let Some(request) = self.find(record.id) {
                    request.asks_for = body.map_or(Asked::Other, |body| {
                        Asked::of(u16::from_be_bytes([body[0], body[1]]))
                    });
                }
            }
            (Side::Request, kind::PARAMS) if record.content == 0 => {
                if let Some(request) = self.find(record.id) {
                    request.is_complete = true;
                    // Whoever only allows it gets no body.
                    request.has_ended |= request.asks_for == Asked::Authorization;
                }
                self.tell(None, at, out);
            }
            (Side::Request, kind::STDIN) if record.content == 0 => {
                let Some(request) = self.find(record.id) else {
                    return;
                };
                if request.asks_for != Asked::Filter {
                    request.has_ended = true;
                    if request.parameters.is_none() {
                        out.end(request_end(request, at));
                    }
                }
            }
            (Side::Request, kind::DATA) if record.content == 0 => {
                let Some(request) = self.find(record.id) else {
                    return;
                };
                request.has_ended = true;
                if request.parameters.is_none() {
                    out.end(request_end(request, at));
                }
            }
            (Side::Request, kind::ABORT_REQUEST) => {
                self.tell(Some(record.id), at, out);
                let before = self.requests.len();
                self.requests.retain(|request| request.id != record.id);
                if self.requests.len() < before {
                    out.cancel(Cancel {
                        key: key(record.id),
                        side,
                        code: 0,
                    });
                }
            }
            (Side::Response, kind::END_REQUEST) => self.answer_ended(record.id, body, at, out),
            _ => {}
        }
    }

    /// Tells of requests in the order in which they began, as the first of a run is the one that the kernel knows: of those whose
    /// parameters are all there, up to the first of which they are not; with `through` of all up to that one.
    fn tell(&mut self, through: Option<u16>, at: u64, out: &mut impl Steps<Self>) {
        let last = through.and_then(|id| self.requests.iter().position(|it| it.id == id));
        for (index, request) in self.requests.iter_mut().enumerate() {
            if request.parameters.is_some()
                && !request.is_complete
                && last.is_none_or(|last| index > last)
            {
                return;
            }
            let is_complete = request.is_complete;
            let Some(parameters) = request.parameters.take() else {
                continue;
            };
            let (mut head, whole) = parameters.finish(request.asks_for);
            request.announced = head.content_length.unwrap_or(0);
            out.open(Open {
                key: key(request.id),
                at: request.at,
                head: &mut head,
                replies: Replies::One,
                asked: 0,
                whole: whole && is_complete,
            });
            if request.has_ended {
                out.end(request_end(request, at));
            }
        }
    }

    /// An answer goes on with the record that begins at `at`.
    fn answer(&mut self, id: u16, at: u64, head: Answer, whole: bool, out: &mut impl Steps<Self>) {
        self.tell(Some(id), at, out);
        out.reply(Reply {
            key: key(id),
            at,
            head,
            whole,
        });
    }

    fn answer_ended(
        &mut self,
        id: u16,
        body: Option<[u8; 8]>,
        end: u64,
        out: &mut impl Steps<Self>,
    ) {
        let at = self.directions[Side::Response.index()].at;
        let known = self.requests.iter().position(|request| request.id == id);
        if known.is_none() && self.asked {
            // It was given up.
            return;
        }
        let complaints = known.map_or(0, |index| self.requests[index].complaints);
        let status = match known.map(|index| &self.requests[index].answer) {
            // A head that nothing followed is none, but its lines say what they say.
            Some(Reading::Head(head)) if head.kept() != 0 => Some(head.status(false)),
            Some(Reading::Unseen) => Some(None),
            _ => None,
        };
        if let Some(status) = status {
            self.answer(id, at, Answer::Head { status }, status.is_some(), out);
        }
        let said = Answer::End {
            application: body.map(|body| u32::from_be_bytes([body[0], body[1], body[2], body[3]])),
            protocol: body.map(|body| body[4]),
            complaints,
        };
        self.answer(id, at, said, body.is_some(), out);
        let request = known.map(|index| self.requests.remove(index));
        let Some(request) = request else {
            return;
        };
        if !request.has_ended {
            // Nobody wants the rest of it; php-fpm does not read that nothing follows, either.
            out.end(End {
                key: key(id),
                side: Side::Request,
                at: end,
                size: request.body.filter(|body| *body == request.announced),
            });
        }
        let size = match request.answer {
            Reading::Body(Some(head)) => request.answered.and_then(|all| all.checked_sub(head)),
            Reading::Head(head) if head.kept() == 0 => request.answered.filter(|all| *all == 0),
            _ => None,
        };
        out.end(End {
            key: key(id),
            side: Side::Response,
            at: end,
            size,
        });
    }

    /// Records of a side may have passed unseen.
    fn lost(&mut self, side: Side, why: Why, out: &mut impl Steps<Self>) {
        let at = self.directions[side.index()].at;
        match side {
            Side::Request => {
                for request in &mut self.requests {
                    request.body = None;
                }
                let last = self.requests.last().map(|request| request.id);
                self.tell(last, at, out);
            }
            Side::Response => {
                for request in &mut self.requests {
                    request.answered = None;
                    if matches!(request.answer, Reading::Head(_)) {
                        request.answer = Reading::Unseen;
                    }
                }
            }
        }
        out.lost(Lost {
            side,
            scope: Scope::All,
            why,
        });
    }

    /// What is kept of a side is let go.
    fn release(&mut self, side: Side, out: &mut impl Steps<Self>) {
        if self.directions[side.index()].records.release() {
            self.lost(side, Why::TooLarge, out);
        }
        let at = self.directions[side.index()].at;
        match side {
            Side::Request => {
                let last = self.requests.last().map(|request| request.id);
                self.tell(last, at, out);
            }
            Side::Response => {
                let mut told = Vec::new();
                for request in &mut self.requests {
                    if let Reading::Head(head) = &request.answer
                        && head.kept() != 0
                    {
                        told.push((request.id, head.status(false)));
                        request.answer = Reading::Body(None);
                    }
                }
                for (id, status) in told {
                    self.answer(id, at, Answer::Head { status }, status.is_some(), out);
                }
            }
        }
    }
}

impl Direction {
    /// Keeps the content of a record that has eight bytes.
    fn keep(&mut self, bytes: &[u8], moved: u64) {
        if moved > bytes.len() as u64 {
            // More than fits: it is not whole.
            self.body_bytes = self.body.len() + 1;
        }
        for byte in bytes {
            if let Some(place) = self.body.get_mut(self.body_bytes) {
                *place = *byte;
            }
            self.body_bytes = self.body_bytes.saturating_add(1);
        }
    }

    /// That content, where it was all seen.
    fn body(&self) -> Option<[u8; 8]> {
        (self.body_bytes == self.body.len()).then_some(self.body)
    }
}

const fn key(id: u16) -> Key {
    Key::Id(id as u64)
}

fn request_end(request: &Request, at: u64) -> End {
    End {
        key: key(request.id),
        side: Side::Request,
        at,
        size: request.body,
    }
}
