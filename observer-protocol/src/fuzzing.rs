//! What the fuzz targets and a test of every build run: bytes are read as a script of what a kernel could tell of one
//! direction, and what a parser must never do is asserted.
//!
//! Not for use by others; the functions panic where a parser is wrong.

use crate::{
    b3::parse_b3,
    dns,
    fastcgi::FastCgi,
    http1::{
        Limits, RequestEvent, RequestKind, RequestParser, ResponseEvent, ResponseParser, Segment,
        detect,
    },
    http2::Http2,
    protocol::{
        Cancel, End, Input, Joined, Key, Lost, Missing, Next, Open, Progress, Protocol, Reply,
        Side as Sender, Steps, Switch,
    },
    tls::{Candidates, Event, Label, Reading, Record, Secret, Side, Told, not_after, records},
    trace_context::{TraceParent, join_trace_state, parse_traceparent},
    websocket::WebSocket,
};

/// Most of the head that the parsers keep here: small, so that short inputs reach the limit.
const HEAD_BYTES: usize = 512;

/// Most ciphertext of a TLS connection that waits here.
const HELD: usize = 2048;

/// A DNS message from a name server that means no good.
pub fn dns(bytes: &[u8]) {
    let read = dns::parse(bytes);
    let early = dns::parse(&bytes[..bytes.len() / 2]);
    assert!(
        early == Err(dns::Malformed::Truncated) || early == read,
        "more bytes change what was understood"
    );
    let Ok(message) = read else {
        return;
    };
    if let Some(question) = message.question {
        // Each byte of the 255 is written with four characters at most.
        assert!(!question.name.is_empty() && question.name.len() <= 4 * 255);
        assert!(question.name.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!question.name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
}

/// The value of a header with a trace context, from a caller that means no good: what is read of it says the same when it
/// is written as the specification has it.
pub fn context(value: &[u8]) {
    if let Ok(text) = std::str::from_utf8(value) {
        if let Some(parent) = parse_traceparent(text) {
            let (trace_id, parent_id) = ids(&parent);
            let written = format!("00-{trace_id}-{parent_id}-{:02x}", parent.flags);
            assert_eq!(parse_traceparent(&written), Some(parent));
        }
        if let Some(parent) = parse_b3(text) {
            let (trace_id, parent_id) = ids(&parent);
            let written = format!("{trace_id}-{parent_id}-{}", u8::from(parent.sampled()));
            assert_eq!(parse_b3(&written), Some(parent));
        }
    }
    // The first byte chooses how much there is room for.
    let limit = value.first().copied().map_or(0, usize::from);
    let join = |value, limit| join_trace_state(std::iter::once(value), limit);
    if let Some(all) = join(value, usize::MAX) {
        let some = join(value, limit);
        assert_eq!(join(all.as_bytes(), limit), some);
        let some = some.unwrap_or_default();
        assert!(some.len() <= limit && all.split(',').count() <= 32);
        let mut entries = all.split(',');
        let kept = some.split(',').filter(|entry| !entry.is_empty());
        assert!(
            kept.into_iter()
                .all(|kept| entries.any(|entry| entry == kept)),
            "{some} is not of {all}"
        );
    }
}

/// Both in hex digits, of which neither is all zeros.
fn ids(parent: &TraceParent) -> (String, String) {
    let trace_id = u128::from_be_bytes(parent.trace_id);
    let parent_id = u64::from_be_bytes(parent.parent_id);
    assert!(trace_id != 0 && parent_id != 0);
    (format!("{trace_id:032x}"), format!("{parent_id:016x}"))
}

/// Both sides of a TLS connection that mean no good: `data` is a script of records, parts of them, losses and secrets.
pub fn tls(data: &[u8]) {
    let _ = not_after(data);
    let mut reading = Reading::new(HELD);
    let mut candidates = Candidates::new(8, 4);
    let mut at = [0u64; 2];
    let mut said = [0u64; 2];
    let mut left = data;
    let mut now = 0;
    // Some bytes of a record follow, or of a secret.
    while let Some((&[choice, high, low], rest)) = left.split_first_chunk() {
        let size = usize::from(u16::from_be_bytes([high & 0x0f, low]));
        let (piece, rest) = rest.split_at(size.min(rest.len()));
        left = rest;
        now += 1;
        let from = [Side::Client, Side::Server][usize::from(choice & 1)];
        let side = usize::from(choice & 1);
        match choice >> 1 & 7 {
            0 => {
                reading.lost(from, size as u64);
                at[side] += size as u64;
            }
            1 => {
                let length = if choice & 0x40 == 0 { 32 } else { 48 };
                let labels = [
                    Some(Label::Master),
                    Some(Label::ServerHandshake),
                    Some(Label::ClientTraffic),
                    None,
                ];
                let told = Told {
                    label: labels[usize::from(choice >> 4 & 3)],
                    client_random: None,
                    handshake: u64::from(high >> 6),
                };
                if let Some(secret) = piece.get(..length).and_then(Secret::new) {
                    candidates.add(told, secret, now);
                }
                candidates.expire(now.saturating_sub(20), now.saturating_sub(40));
                assert!(candidates.len() <= 12);
            }
            // The end of some record is all there is.
            2 => {
                let (first, last) = piece.split_at(piece.len() / 2);
                let Some(record) = Record::new(at[side], first, last) else {
                    continue;
                };
                at[side] = record.end();
                offer(&mut reading, from, &record, &mut candidates, now, &mut said);
            }
            _ => {
                for record in records(at[side], piece) {
                    at[side] = record.end();
                    offer(&mut reading, from, &record, &mut candidates, now, &mut said);
                }
            }
        }
    }
}

/// Offers a record and asserts what holds for what is said of it.
fn offer(
    reading: &mut Reading,
    from: Side,
    record: &Record<'_>,
    candidates: &mut Candidates,
    now: u64,
    said: &mut [u64; 2],
) {
    assert!(record.first.len() <= record.length && record.last.len() <= record.length);
    let mut say = |_, event| {
        let Event::Data {
            from,
            position,
            plain,
            ..
        } = event
        else {
            return;
        };
        let said = &mut said[from as usize];
        assert!(position >= *said, "the position went back");
        *said = position + plain.length as u64;
        assert!(plain.first.len() <= plain.last_at || plain.last.is_empty());
        assert!(plain.first.len() <= plain.length);
        assert!(plain.last_at + plain.last.len() <= plain.length);
        assert!(!plain.proven || plain.first.len() == plain.length);
    };
    reading.record(from, record, candidates, now, &mut say);
    reading.expire(now.saturating_sub(10), candidates, now, &mut say);
    assert!(reading.held() <= HELD, "too much waits");
}

/// A connection of FastCGI, see [`conversation`].
pub fn fastcgi(data: &[u8]) {
    conversation::<FastCgi>(data);
}

/// A connection of WebSocket behind its handshake, see [`conversation`].
pub fn websocket(data: &[u8]) {
    conversation::<WebSocket>(data);
}

/// A connection of HTTP/2, see [`conversation`]: but where its frames are lost, it looks for them where calls begin, so what it says
/// then depends on those.
pub fn http2(data: &[u8]) {
    told::<Http2>(data);
}

/// What a protocol says, as text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// One step a line, the switch last: what is said behind it is not taken.
    pub steps: Vec<String>,
    /// Messages and bytes of each side.
    moved: [[u64; 2]; 2],
    switched: bool,
    open: Vec<(Key, u64)>,
}

impl Said {
    /// What is said besides what moved, which may be told at once or bit by bit; without the places that go with that.
    fn beside(&self) -> Vec<String> {
        let steps = self.steps.iter();
        let steps = steps.filter(|step| !step.starts_with("Progress"));
        let without = |step: &String| match (step.find("at: "), step.starts_with("Open")) {
            (Some(at), false) => {
                let rest = step[at..].find(',').map_or("", |end| &step[at + end..]);
                format!("{}{rest}", &step[..at])
            }
            _ => step.clone(),
        };
        steps.map(without).collect()
    }

    fn say(&mut self, step: String) {
        if !self.switched {
            self.steps.push(step);
        }
    }
}

impl<P> Steps<P> for Said
where
    P: Protocol,
    for<'a> P::Request<'a>: std::fmt::Debug,
    for<'a> P::Response<'a>: std::fmt::Debug,
{
    fn open(&mut self, open: Open<P::Request<'_>>) {
        self.open.retain(|(key, _)| *key != open.key);
        self.open.push((open.key, open.asked));
        self.say(format!("{open:?}"));
    }
    fn reply(&mut self, reply: Reply<P::Response<'_>>) {
        self.say(format!("{reply:?}"));
    }
    fn progress(&mut self, progress: Progress) {
        let moved = &mut self.moved[progress.side.index()];
        moved[0] = moved[0].saturating_add(progress.messages);
        moved[1] = moved[1].saturating_add(progress.bytes);
        self.say(format!("{progress:?}"));
    }
    fn end(&mut self, end: End) {
        if end.side == Sender::Response {
            self.open.retain(|(key, _)| *key != end.key);
        }
        self.say(format!("{end:?}"));
    }
    fn cancel(&mut self, cancel: Cancel) {
        self.open.retain(|(open, _)| *open != cancel.key);
        self.say(format!("{cancel:?}"));
    }
    fn lost(&mut self, lost: Lost) {
        self.say(format!("{lost:?}"));
    }
    fn foreign(&mut self, side: Sender) {
        self.say(format!("foreign {side:?}"));
    }
    fn switch(&mut self, switch: Switch) {
        self.say(format!("{switch:?}"));
        self.switched = true;
    }
    fn asked(&self, key: Key) -> Option<u64> {
        let open = self.open.iter().find(|(open, _)| *open == key);
        open.map(|(_, asked)| *asked)
    }
}

/// Both directions of a connection whose ends mean no good: `data` is a script of bytes that move, in whole or in part, of losses
/// and of ends. What is kept stays bounded, and what is said does not depend on how what moves is cut.
pub fn conversation<P>(data: &[u8])
where
    P: Protocol,
    for<'a> P::Request<'a>: std::fmt::Debug,
    for<'a> P::Response<'a>: std::fmt::Debug,
{
    same_however_cut::<P>(&told::<P>(data), data);
}

/// Tells a protocol what the script says, and asserts that what it keeps stays bounded. Returns the bytes that moved whole.
fn told<P>(data: &[u8]) -> [Vec<u8>; 2]
where
    P: Protocol,
    for<'a> P::Request<'a>: std::fmt::Debug,
    for<'a> P::Response<'a>: std::fmt::Debug,
{
    let mut protocol = P::new(HEAD_BYTES, Joined::AtStart);
    let mut said = Said::default();
    let mut at = [0u64; 2];
    let mut whole: [Vec<u8>; 2] = Default::default();
    let mut left = data;
    while let Some((&[choice, high, low], rest)) = left.split_first_chunk() {
        let size = usize::from(u16::from_be_bytes([high & 0x0f, low]));
        let (piece, rest) = rest.split_at(size.min(rest.len()));
        left = rest;
        let side = [Sender::Request, Sender::Response][usize::from(choice & 1)];
        let (start, index) = (at[side.index()], side.index());
        let end = start + piece.len() as u64;
        let before = said.steps.len();
        let input = match choice >> 1 & 15 {
            0 => Input::Gap {
                to: start + size as u64,
                why: Missing::Counted,
            },
            1 => Input::Gap {
                to: start + size as u64,
                why: Missing::Lost,
            },
            2 => Input::RunStart { at: start },
            3 => Input::RunEnd {
                at: start,
                tail: 0,
                next: Next::Unknown,
            },
            4 => Input::Release,
            // The first half was captured.
            5 => Input::Bytes(Segment {
                start,
                bytes: &piece[..piece.len() / 2],
                end,
            }),
            _ => {
                whole[index].extend_from_slice(piece);
                Input::Bytes(Segment::whole(start, piece))
            }
        };
        at[index] = match input {
            Input::Gap { to, .. } => to,
            Input::Bytes(segment) => segment.end,
            _ => start,
        };
        let released = matches!(input, Input::Release);
        protocol.feed(side, input, &mut said);
        assert!(!released || protocol.held(side) == 0, "something is kept");
        assert!(protocol.held(side) <= MOST_HELD, "too much is kept");
        let steps = said.steps.len() - before;
        assert!(
            steps <= 8 * piece.len() + 8 * before + 64,
            "steps without end"
        );
    }
    for side in [Sender::Request, Sender::Response] {
        protocol.feed(side, Input::Close { reset: false }, &mut said);
    }
    whole
}

/// Most that a protocol may keep for [`conversation`], whose messages it keeps [`HEAD_BYTES`] of each.
const MOST_HELD: usize = 64 * 1024;

/// What is said of a request's bytes, and then of an answer's, is the same in whole and in pieces that `cuts` says the sizes of.
fn same_however_cut<P>(whole: &[Vec<u8>; 2], cuts: &[u8])
where
    P: Protocol,
    for<'a> P::Request<'a>: std::fmt::Debug,
    for<'a> P::Response<'a>: std::fmt::Debug,
{
    let said = |size: &dyn Fn(usize) -> usize| {
        let mut protocol = P::new(HEAD_BYTES, Joined::AtStart);
        let mut said = Said::default();
        for side in [Sender::Request, Sender::Response] {
            let mut start = 0;
            protocol.run_started(side, 0, &mut said);
            let mut left = whole[side.index()].as_slice();
            while !left.is_empty() {
                let (piece, rest) = left.split_at(size(start as usize).clamp(1, left.len()));
                protocol.feed(side, Input::Bytes(Segment::whole(start, piece)), &mut said);
                start += piece.len() as u64;
                left = rest;
            }
        }
        said
    };
    let all = said(&|_| usize::MAX);
    let cut = |at: usize| usize::from(cuts.get(at % cuts.len().max(1)).copied().unwrap_or(1));
    // Behind what is none of the protocol's messages it is looked for the next where a call begins.
    let breaks = |step: &String| {
        step.starts_with("Lost") || step.starts_with("foreign") || step.contains("Unseen")
    };
    if !all.steps.iter().any(breaks) {
        let cut = said(&cut);
        assert_eq!(
            all.moved, cut.moved,
            "what is counted depends on how the stream is cut"
        );
        assert_eq!(
            all.beside(),
            cut.beside(),
            "what is said depends on how the stream is cut"
        );
    }
}

/// A parser of either direction.
trait Parser {
    type Event: std::fmt::Debug + PartialEq;
    fn poll(&mut self, segment: &mut Segment<'_>) -> Option<Self::Event>;
    fn run_started(&mut self, at: u64);
    fn skip_to(&mut self, to: u64) -> Option<Self::Event>;
    fn end_of_run(&mut self, at: u64) -> Option<Self::Event>;
    fn close(&mut self) -> Option<Self::Event>;
    fn position(&self) -> u64;
    fn buffered(&self) -> usize;
    /// What an event does to the message that is open.
    fn role(event: &Self::Event) -> Role;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Opens,
    /// Ends the message that is open, of which there must be one.
    Ends(u64),
    /// Ends it, if there is one.
    Breaks,
    Neither,
}

/// Asserts what holds for every parser, whatever it is told.
struct Checked<P> {
    parser: P,
    open: bool,
}

impl<P: Parser> Checked<P> {
    /// Pulls events until there are none; `work` bounds their number.
    fn pull(
        &mut self,
        work: u64,
        mut next: impl FnMut(&mut P) -> Option<P::Event>,
    ) -> Vec<P::Event> {
        let mut events = Vec::new();
        loop {
            let before = self.parser.position();
            let event = next(&mut self.parser);
            assert!(self.parser.position() >= before, "the position went back");
            assert!(
                self.parser.buffered() <= HEAD_BYTES,
                "the buffer outgrew its limit"
            );
            let Some(event) = event else { return events };
            match P::role(&event) {
                Role::Opens => {
                    assert!(!self.open, "{event:?} before the message's end");
                    self.open = true;
                }
                Role::Ends(at) => {
                    assert!(self.open, "{event:?} without a head");
                    assert!(
                        at <= self.parser.position(),
                        "{event:?} ahead of the position"
                    );
                    self.open = false;
                }
                Role::Breaks => self.open = false,
                Role::Neither => {}
            }
            events.push(event);
            assert!(events.len() as u64 <= 2 * work + 4, "events without end");
        }
    }

    fn feed(&mut self, start: u64, bytes: &[u8], end: u64) -> Vec<P::Event> {
        let mut segment = Segment { start, bytes, end };
        let events = self.pull(bytes.len() as u64, |parser| parser.poll(&mut segment));
        assert!(segment.is_empty(), "the segment was not used up");
        assert!(
            start == end || self.parser.position() >= end,
            "the segment was not taken"
        );
        events
    }

    /// Two bytes of `script` choose what happens, over and over.
    fn run(&mut self, script: &[u8], stream: &[u8]) {
        let mut from = 0;
        let mut base = 0u64;
        for pair in script.chunks_exact(2) {
            let size = usize::from(pair[1]);
            let to = (from + size).min(stream.len());
            let (start, end) = (base + from as u64, base + to as u64);
            match pair[0] % 16 {
                0 => drop(self.pull(1, |parser| parser.skip_to(end))),
                1 => drop(self.pull(1, |parser| parser.end_of_run(start))),
                2 => self.parser.run_started(start),
                3 => drop(self.feed(start, &stream[from..from + (to - from) / 2], end)),
                4 => drop(self.feed(
                    start.saturating_sub(9),
                    &stream[from.saturating_sub(9)..to],
                    end.max(start),
                )),
                // As many bytes as a body may have, in one leap.
                5 => {
                    base = base
                        .saturating_add(1 << (size % 64))
                        .min(u64::MAX - (1 << 32))
                }
                _ => {
                    self.feed(start, &stream[from..to], end);
                }
            }
            if !matches!(pair[0] % 16, 1 | 2 | 5) {
                from = to;
            }
        }
        self.feed(
            base + from as u64,
            &stream[from..],
            base + stream.len() as u64,
        );
        self.pull(1, P::close);
        assert!(
            self.pull(1, P::close).is_empty() && !self.open,
            "a message stayed open"
        );
    }
}

/// Runs both parsers over `data`: its first byte says how many pairs of script bytes come next, the rest is the stream.
/// Panics where a parser breaks its word.
pub fn http1(data: &[u8]) {
    let Some((pairs, rest)) = data.split_first() else {
        return;
    };
    let (script, stream) = rest.split_at((usize::from(*pairs % 64) * 2).min(rest.len()));
    let _ = detect(stream);
    let limits = Limits::new(HEAD_BYTES);
    let kinds = [
        RequestKind::Other,
        RequestKind::Head,
        RequestKind::Connect,
        RequestKind::Unknown,
    ];
    let kind = kinds[usize::from(*pairs >> 6)];
    Checked {
        parser: RequestParser::new(limits),
        open: false,
    }
    .run(script, stream);
    Checked {
        parser: Responses(ResponseParser::new(limits), kind),
        open: false,
    }
    .run(script, stream);

    let pieces = |index: usize| {
        usize::from(
            script
                .get(index % script.len().max(1))
                .copied()
                .unwrap_or(0),
        )
        .max(1)
    };
    same_in_pieces(|| RequestParser::new(limits), stream, pieces);
    same_in_pieces(
        || Responses(ResponseParser::new(limits), kind),
        stream,
        pieces,
    );
}

/// However a stream is cut into segments, the events are the same.
fn same_in_pieces<P: Parser>(new: impl Fn() -> P, stream: &[u8], pieces: impl Fn(usize) -> usize) {
    let whole = Checked {
        parser: new(),
        open: false,
    }
    .feed(0, stream, stream.len() as u64);
    let mut checked = Checked {
        parser: new(),
        open: false,
    };
    let mut cut = Vec::new();
    let (mut from, mut index) = (0, 0);
    while from < stream.len() {
        let to = (from + pieces(index)).min(stream.len());
        cut.extend(checked.feed(from as u64, &stream[from..to], to as u64));
        (from, index) = (to, index + 1);
    }
    assert_eq!(whole, cut, "events depend on how the stream is cut");
}

impl Parser for RequestParser {
    type Event = RequestEvent;
    fn poll(&mut self, segment: &mut Segment<'_>) -> Option<RequestEvent> {
        RequestParser::poll(self, segment)
    }
    fn run_started(&mut self, at: u64) {
        RequestParser::run_started(self, at);
    }
    fn skip_to(&mut self, to: u64) -> Option<RequestEvent> {
        RequestParser::skip_to(self, to)
    }
    fn end_of_run(&mut self, at: u64) -> Option<RequestEvent> {
        RequestParser::end_of_run(self, at)
    }
    fn close(&mut self) -> Option<RequestEvent> {
        RequestParser::close(self)
    }
    fn position(&self) -> u64 {
        RequestParser::position(self)
    }
    fn buffered(&self) -> usize {
        RequestParser::buffered(self)
    }
    fn role(event: &RequestEvent) -> Role {
        match event {
            RequestEvent::Head(_) => Role::Opens,
            RequestEvent::End(end) => Role::Ends(end.at),
            RequestEvent::Cut { .. }
            | RequestEvent::Malformed { .. }
            | RequestEvent::Lost { .. } => Role::Breaks,
            RequestEvent::HeadTooLarge { .. } | RequestEvent::NotHttp => Role::Neither,
        }
    }
}

/// A response parser with the kind of request that all of its messages answer.
struct Responses(ResponseParser, RequestKind);

impl Parser for Responses {
    type Event = ResponseEvent;
    fn poll(&mut self, segment: &mut Segment<'_>) -> Option<ResponseEvent> {
        self.0.poll(segment, self.1)
    }
    fn run_started(&mut self, at: u64) {
        self.0.run_started(at);
    }
    fn skip_to(&mut self, to: u64) -> Option<ResponseEvent> {
        self.0.skip_to(to)
    }
    fn end_of_run(&mut self, at: u64) -> Option<ResponseEvent> {
        self.0.end_of_run(at)
    }
    fn close(&mut self) -> Option<ResponseEvent> {
        self.0.close()
    }
    fn position(&self) -> u64 {
        self.0.position()
    }
    fn buffered(&self) -> usize {
        self.0.buffered()
    }
    fn role(event: &ResponseEvent) -> Role {
        match event {
            ResponseEvent::Head(_) => Role::Opens,
            ResponseEvent::End(end) => Role::Ends(end.at),
            ResponseEvent::Cut { .. }
            | ResponseEvent::Malformed { .. }
            | ResponseEvent::Lost { .. } => Role::Breaks,
            ResponseEvent::Interim { .. }
            | ResponseEvent::HeadTooLarge { .. }
            | ResponseEvent::NotHttp => Role::Neither,
        }
    }
}
