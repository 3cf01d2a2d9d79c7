//! HTTP/2 as a [`Protocol`]: frames of both directions become steps of streams.

use super::{
    RequestHead, ResponseHead,
    direction::{Block, Direction, Frame},
    frame::{HEADER, Header, PREFACE, flag, kind},
    head::Fields,
    hpack::Broken,
    stream::{Stream, Streams},
};
use crate::{
    Segment,
    protocol::{
        Cancel, End, Ending, Input, Joined, Key, Lost, Missing, Number, Open, Progress, Protocol,
        Replies, Reply, Scope, Shape, Side, Sniff, Steps, Why,
    },
};

/// SETTINGS_HEADER_TABLE_SIZE (RFC 9113 section 6.5.2).
const TABLE_SIZE: u16 = 1;

/// Why a stream was given up that a GOAWAY says was never looked at: REFUSED_STREAM (RFC 9113 section 8.7).
const REFUSED: u64 = 7;

/// One connection of HTTP/2.
#[derive(Debug)]
pub struct Http2 {
    directions: Box<[Direction; 2]>,
    streams: Streams,
    /// The last stream that the client opened.
    last: u32,
    head: Box<RequestHead>,
}

impl Protocol for Http2 {
    const NUMBER: Number = Number(4);
    const MULTIPLEXED: bool = true;
    const ALPN: &'static [&'static [u8]] = &[b"h2"];
    type Request<'a> = &'a mut RequestHead;
    type Response<'a> = ResponseHead;

    fn new(head_bytes: usize, _joined: Joined) -> Self {
        Self {
            directions: Box::new([Direction::new(head_bytes), Direction::new(head_bytes)]),
            streams: Streams::default(),
            last: 0,
            head: Box::default(),
        }
    }

    fn sniff(side: Side, first: &[u8]) -> Sniff {
        let preface = first.len().min(PREFACE.len());
        if side == Side::Request && preface > 0 && first[..preface] == PREFACE[..preface] {
            // `PRI` is no method, and no other protocol's beginning: so many bytes tell.
            return if preface >= 5 {
                Sniff::Yes
            } else {
                Sniff::More
            };
        }
        let Some(bytes) = first.first_chunk::<HEADER>() else {
            return Sniff::No;
        };
        let header = Header::read(bytes);
        if !Header::is_usual(bytes, &header) {
            return Sniff::No;
        }
        match header.kind {
            // A server's that greets, of a connection whose beginning is seen; a client's has the preface before.
            kind::SETTINGS if side == Side::Response && header.flags == 0 => Sniff::Yes,
            kind::HEADERS if header.stream % 2 == 1 => begins(side, &header, &first[HEADER..]),
            _ => Sniff::No,
        }
    }

    fn shape(&self) -> Shape {
        Shape::Frames
    }

    fn feed(&mut self, side: Side, input: Input<'_>, out: &mut impl Steps<Self>) {
        match input {
            Input::Bytes(segment) => self.bytes(side, segment, out),
            Input::Gap { to, why } => self.gap(side, to, why, out),
            Input::RunStart { at } => {
                self.directions[side.index()].position.get_or_insert(at);
            }
            Input::Release => {
                let from = self.directions[side.index()].position.unwrap_or(0);
                self.lose(side, Why::Unseen(from), out);
            }
            Input::RunEnd { .. } => {}
            Input::Close { .. } if side == Side::Response => {
                // What they have moved so far is all that is ever known.
                let open: Vec<(u32, Stream)> = self.streams.drain().collect();
                for (id, stream) in open {
                    for side in [Side::Request, Side::Response] {
                        told(id, &stream, side, out);
                    }
                }
            }
            Input::Close { .. } => {}
        }
    }

    fn run_started(&mut self, side: Side, at: u64, out: &mut impl Steps<Self>) {
        self.feed(side, Input::RunStart { at }, out);
    }

    fn ending(&self) -> Ending {
        // What comes behind a frame's first bytes may only be counted.
        let is_in_frame = self.directions.iter().any(|side| side.frame.is_some());
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
        self.directions[side.index()].held()
    }
}

/// Whether a field block begins as a request's or an answer's does: its first field tells.
fn begins(side: Side, header: &Header, payload: &[u8]) -> Sniff {
    let around =
        usize::from(header.has(flag::PADDED)) + 5 * usize::from(header.has(flag::PRIORITY));
    match (side, payload.get(around)) {
        (_, None) => Sniff::No,
        (Side::Request, Some(0x82..=0x87 | 0x41 | 0x44)) => Sniff::Yes,
        (Side::Response, Some(0x88..=0x8e | 0x48 | 0x08)) => Sniff::Yes,
        _ => Sniff::No,
    }
}

impl Http2 {
    /// How many streams are followed.
    #[cfg(test)]
    pub(super) fn open_streams(&self) -> usize {
        self.streams.len()
    }

    fn bytes(&mut self, side: Side, mut segment: Segment<'_>, out: &mut impl Steps<Self>) {
        let direction = &mut self.directions[side.index()];
        if direction.lost {
            segment.advance_to(direction.position.unwrap_or(0));
            if segment.is_empty() {
                return;
            }
            let Some(at) = self.streams.resumes(segment.captured()) else {
                direction.position = Some(segment.end);
                // Streams that were opened since may have had their ends in it.
                self.doubt(side, out);
                return;
            };
            let at = segment.start + at as u64;
            direction.lost = false;
            direction.position = Some(at);
            self.doubt(side, out);
            segment.advance_to(at);
        }
        loop {
            let direction = &mut self.directions[side.index()];
            let position = *direction.position.get_or_insert(segment.start);
            segment.advance_to(position);
            if segment.is_empty() {
                return;
            }
            if segment.start > position {
                self.gap(side, segment.start, Missing::Lost, out);
            }
            if self.directions[side.index()].lost {
                self.directions[side.index()].position = Some(segment.end);
                return;
            }
            let bytes = segment.captured();
            if bytes.is_empty() {
                self.gap(side, segment.end, Missing::Counted, out);
                return;
            }
            let taken = self.take(side, segment.start, bytes, out);
            let direction = &mut self.directions[side.index()];
            direction.position = Some(segment.start + taken as u64);
            self.finish(side, out);
        }
    }

    /// Takes some bytes from `at` on, at least one of them: of a header, or of a frame's payload. Returns how many.
    fn take(&mut self, side: Side, at: u64, bytes: &[u8], out: &mut impl Steps<Self>) -> usize {
        let direction = &mut self.directions[side.index()];
        if direction.frame.is_some() {
            return self.payload(side, bytes);
        }
        let taken = bytes.len().min(HEADER - direction.have);
        direction.header[direction.have..direction.have + taken].copy_from_slice(&bytes[..taken]);
        direction.have += taken;
        if direction.have < HEADER {
            return taken;
        }
        let end = at + taken as u64;
        match direction.begin(end) {
            Some(frame) => {
                direction.frame = Some(frame);
                direction.frame_begins();
            }
            None if direction.understood => self.lose(side, Why::Malformed, out),
            None => {
                direction.lose();
                out.foreign(side);
            }
        }
        taken
    }

    /// Takes bytes of the current frame's payload; how many.
    fn payload(&mut self, side: Side, bytes: &[u8]) -> usize {
        let direction = &mut self.directions[side.index()];
        let Some(frame) = &mut direction.frame else {
            return 0;
        };
        let bytes = &bytes[..bytes.len().min(frame.left() as usize)];
        let wanted = frame.wanted();
        if frame.have < wanted && !frame.torn {
            let taken = bytes.len().min(usize::from(wanted - frame.have));
            let from = usize::from(frame.have);
            frame.first[from..from + taken].copy_from_slice(&bytes[..taken]);
            frame.have += taken as u8;
            frame.passed += taken as u32;
            if frame.have == wanted {
                if frame.header.has(flag::PADDED)
                    && matches!(
                        frame.header.kind,
                        kind::DATA | kind::HEADERS | kind::PUSH_PROMISE
                    )
                {
                    frame.padding = u32::from(frame.first[0]);
                }
                if frame.header.kind == kind::SETTINGS {
                    let setting = u16::from_be_bytes([frame.first[0], frame.first[1]]);
                    let value = frame.number(2);
                    // The next one.
                    frame.have = 0;
                    if setting == TABLE_SIZE {
                        // What this end allows is for the other end's table.
                        let other = &mut self.directions[1 - side.index()];
                        other.decoder.allow(value as usize);
                    }
                }
            }
            return taken;
        }
        let before = frame.passed - u32::from(wanted).min(frame.passed);
        frame.passed += bytes.len() as u32;
        let content = &bytes[..bytes
            .len()
            .min(frame.content().saturating_sub(before) as usize)];
        if content.is_empty() {
            return bytes.len();
        }
        if frame.is_block() {
            direction.fragment(content, false);
        } else if frame.header.kind == kind::DATA {
            let (stream, length) = (frame.header.stream, u64::from(frame.content()));
            if let Some(stream) = self
                .streams
                .get(stream)
                .filter(|stream| stream.has_messages)
            {
                let messages = &mut stream.flow(side).messages;
                if before == 0 {
                    messages.frame(length, content);
                }
                messages.bytes(content);
            }
        }
        bytes.len()
    }

    /// Bytes up to `to` were not captured.
    fn gap(&mut self, side: Side, to: u64, why: Missing, out: &mut impl Steps<Self>) {
        let direction = &mut self.directions[side.index()];
        let position = *direction.position.get_or_insert(to);
        let Some(missing) = to.checked_sub(position).filter(|missing| *missing > 0) else {
            return;
        };
        direction.position = Some(to);
        if direction.lost {
            self.doubt(side, out);
            return;
        }
        let Some(frame) = &mut direction.frame else {
            self.lose(side, Why::Unseen(position), out);
            return;
        };
        if missing > u64::from(frame.left()) {
            self.lose(side, Why::Unseen(position), out);
            return;
        }
        let missing = missing as u32;
        let wanted = u32::from(frame.wanted());
        let before = frame.passed - wanted.min(frame.passed);
        let reads_first = frame.have < frame.wanted() && frame.header.kind != kind::SETTINGS;
        frame.torn |= reads_first;
        frame.passed += missing;
        let is_content = before < frame.content();
        if frame.header.kind == kind::DATA {
            let unseen = u64::from(missing.min(frame.content().saturating_sub(before)));
            let (id, torn) = (frame.header.stream, frame.torn);
            if let Some(stream) = self.streams.get(id) {
                let flow = stream.flow(side);
                // How much of it is padding is not known.
                flow.missed |= torn;
                flow.messages.unseen(unseen);
            }
        } else if frame.is_block() && (is_content || reads_first) {
            let broken = if why == Missing::Counted {
                Broken::TooLarge
            } else {
                Broken::Malformed
            };
            direction.decoder.forget();
            if let Some(block) = &mut direction.block {
                block.broken.get_or_insert(broken);
            }
        }
        self.finish(side, out);
    }

    /// Ends the frame of which nothing is left.
    fn finish(&mut self, side: Side, out: &mut impl Steps<Self>) {
        let direction = &mut self.directions[side.index()];
        let Some(frame) = direction.frame.filter(|frame| frame.left() == 0) else {
            return;
        };
        let at = direction.position.unwrap_or(0);
        direction.frame = None;
        match frame.header.kind {
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION
                if frame.header.has(flag::END_HEADERS) =>
            {
                self.block_ends(side, at, out);
            }
            kind::DATA => self.data_ends(side, &frame, at, out),
            kind::RST_STREAM if !frame.torn => {
                let code = u64::from(frame.number(0));
                self.cancel(frame.header.stream, side, code, out);
            }
            kind::GOAWAY if !frame.torn && side == Side::Response => {
                let last = frame.number(0) & 0x7fff_ffff;
                for id in self.streams.above(last) {
                    self.cancel(id, side, REFUSED, out);
                }
            }
            _ => {}
        }
    }

    /// A DATA frame ended at `at`.
    fn data_ends(&mut self, side: Side, frame: &Frame, at: u64, out: &mut impl Steps<Self>) {
        let id = frame.header.stream;
        if let Some(stream) = self.streams.get(id) {
            stream.flow(side).bytes += u64::from(frame.content());
        }
        if frame.header.has(flag::END_STREAM) {
            self.end(id, side, at, out);
        }
    }

    /// A field block ended at `at`.
    fn block_ends(&mut self, side: Side, at: u64, out: &mut impl Steps<Self>) {
        let direction = &mut self.directions[side.index()];
        direction.fragment(&[], true);
        let Some(block) = direction.block.take() else {
            return;
        };
        let broken = block.broken;
        if block.promised || block.stream.is_multiple_of(2) {
            // What a server sends unasked is read for its table's sake only.
            return;
        }
        let fields = std::mem::take(&mut direction.fields);
        match side {
            Side::Request => self.request(&block, broken, &fields, out),
            Side::Response => self.response(&block, broken, &fields, out),
        }
        self.directions[side.index()].fields = fields;
        if block.ends {
            self.end(block.stream, side, at, out);
        }
    }

    fn request(
        &mut self,
        block: &Block,
        broken: Option<Broken>,
        fields: &Fields,
        out: &mut impl Steps<Self>,
    ) {
        let is_new = block.stream > self.last;
        // Of a stream that began before observer came these may be trailers: a request says what it asks for, and by what scheme,
        // in fields that are always known.
        if !is_new || (broken.is_none() && !fields.is_request()) {
            return;
        }
        self.last = block.stream;
        fields.request(&mut self.head);
        self.streams.open(
            block.stream,
            Stream {
                has_messages: self.head.content.has_messages(),
                ..Stream::default()
            },
        );
        out.open(Open {
            key: Key::Id(u64::from(block.stream)),
            at: block.at,
            head: &mut self.head,
            replies: Replies::One,
            asked: 0,
            whole: broken.is_none(),
        });
    }

    fn response(
        &mut self,
        block: &Block,
        broken: Option<Broken>,
        fields: &Fields,
        out: &mut impl Steps<Self>,
    ) {
        let key = Key::Id(u64::from(block.stream));
        let answered = self
            .streams
            .get(block.stream)
            .is_some_and(|stream| stream.answered);
        let is_interim = !answered && matches!(fields.status(), Some(100..=199));
        if is_interim {
            return;
        }
        // Trailers have no status, and end their stream.
        let is_trailer = answered || (fields.status().is_none() && block.ends && broken.is_none());
        let head = fields.response(is_trailer);
        if let Some(stream) = self.streams.get(block.stream) {
            stream.answered = true;
            stream.has_messages |= head.content.has_messages();
        }
        out.reply(Reply {
            key,
            at: block.at,
            head,
            whole: broken.is_none(),
        });
    }

    /// A side of a stream ended at `at`.
    fn end(&mut self, id: u32, side: Side, at: u64, out: &mut impl Steps<Self>) {
        if id.is_multiple_of(2) {
            // A server's own, which nobody asked for.
            return;
        }
        let mut size = None;
        if let Some(stream) = self.streams.get(id) {
            let flow = stream.flow(side);
            flow.ended = true;
            size = (!flow.missed).then_some(flow.bytes);
            let stream = *stream;
            told(id, &stream, side, out);
            if stream.flows.iter().all(|flow| flow.ended) {
                self.streams.remove(id);
            }
        }
        out.end(End {
            key: Key::Id(u64::from(id)),
            side,
            at,
            size,
        });
    }

    /// A stream was given up by `side`.
    fn cancel(&mut self, id: u32, side: Side, code: u64, out: &mut impl Steps<Self>) {
        if let Some(stream) = self.streams.remove(id) {
            for side in [Side::Request, Side::Response] {
                if !stream.flows[side.index()].ended {
                    told(id, &stream, side, out);
                }
            }
        }
        out.cancel(Cancel {
            key: Key::Id(u64::from(id)),
            side,
            code,
        });
    }

    /// What passed of the side while it was not known where frames begin may have been any stream's.
    fn doubt(&mut self, side: Side, out: &mut impl Steps<Self>) {
        self.streams.lose(side);
        out.lost(Lost {
            side,
            scope: Scope::All,
            why: Why::Unframed,
        });
    }

    /// Where the side's frames begin is not known any more.
    fn lose(&mut self, side: Side, why: Why, out: &mut impl Steps<Self>) {
        self.directions[side.index()].lose();
        self.streams.lose(side);
        out.lost(Lost {
            side,
            scope: Scope::All,
            why,
        });
    }
}

/// Says how many messages a side of a stream has moved, and their bytes.
fn told(id: u32, stream: &Stream, side: Side, out: &mut impl Steps<Http2>) {
    let flow = &stream.flows[side.index()];
    if !stream.has_messages {
        return;
    }
    out.progress(Progress {
        key: Key::Id(u64::from(id)),
        side,
        messages: flow.messages.count,
        bytes: flow.bytes,
        exact: !flow.messages.missed && !flow.missed,
    });
}

impl Direction {
    /// The header of the frame was read.
    fn frame_begins(&mut self) {
        let Some(frame) = &self.frame else {
            return;
        };
        self.understood |= frame.header.kind != kind::PREFACE;
        if matches!(frame.header.kind, kind::HEADERS | kind::PUSH_PROMISE) {
            self.block = Some(Block {
                stream: frame.header.stream,
                at: frame.at,
                ends: frame.header.kind == kind::HEADERS && frame.header.has(flag::END_STREAM),
                promised: frame.header.kind == kind::PUSH_PROMISE,
                broken: None,
            });
            self.fields.clear();
        }
    }

    /// A part of the current field block, the `last` or not.
    fn fragment(&mut self, bytes: &[u8], last: bool) {
        let Some(block) = &mut self.block else {
            return;
        };
        if block.broken.is_some() {
            return;
        }
        let fields = &mut self.fields;
        let fed = self
            .decoder
            .feed(bytes, last, &mut |name, value| fields.note(name, value));
        block.broken = fed.err();
    }
}
