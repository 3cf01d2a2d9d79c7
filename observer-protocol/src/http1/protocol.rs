//! HTTP/1 as a [`Protocol`]: both parsers, and what one of them has to know of the other.

use super::{
    Detection, Framing, Limits, MessageEnd, RequestEvent, RequestHead, RequestKind, RequestParser,
    ResponseEvent, ResponseHead, ResponseParser, detect, response_head::StatusHead,
    tail_ends_chunked,
};
use crate::protocol::{
    End, Ending, Input, Joined, Key, Lost, Next, Number, Open, Progress, Protocol, Replies, Reply,
    Scope, Shape, Side, Sniff, Steps, Switch, Why,
};

/// One connection of HTTP/1.0 or 1.1. Answers come in the order of the requests (RFC 9112 section 9.3.2).
#[derive(Debug)]
pub struct Http1 {
    requests: RequestParser,
    responses: ResponseParser,
    /// The last request's body is chunked, the last response's.
    chunked: [bool; 2],
    /// What the last response leads to.
    upgrades_to: Option<Number>,
}

impl RequestKind {
    /// As [`Open::asked`].
    const fn word(self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Head => 1,
            Self::Connect => 2,
            Self::Other => 3,
        }
    }

    /// From [`Steps::asked`].
    const fn of(asked: Option<u64>) -> Self {
        match asked {
            Some(1) => Self::Head,
            Some(2) => Self::Connect,
            Some(3) => Self::Other,
            _ => Self::Unknown,
        }
    }
}

impl Protocol for Http1 {
    const NUMBER: Number = Number(1);
    const MULTIPLEXED: bool = false;
    const ALPN: &'static [&'static [u8]] = &[b"http/1.1", b"http/1.0"];
    type Request<'a> = &'a mut RequestHead;
    type Response<'a> = ResponseHead;

    fn new(head_bytes: usize, _joined: Joined) -> Self {
        let limits = Limits::new(head_bytes);
        Self {
            requests: RequestParser::new(limits),
            responses: ResponseParser::new(limits),
            chunked: [false; 2],
            upgrades_to: None,
        }
    }

    fn sniff(side: Side, first: &[u8]) -> Sniff {
        match (detect::of_side(side, first), side) {
            (Detection::Request, Side::Request) | (Detection::Response, Side::Response) => {
                Sniff::Yes
            }
            (Detection::Incomplete, _) => Sniff::More,
            _ => Sniff::No,
        }
    }

    fn shape(&self) -> Shape {
        Shape::Head
    }

    fn feed(&mut self, side: Side, input: Input<'_>, out: &mut impl Steps<Self>) {
        match side {
            Side::Request => self.feed_request(input, out),
            Side::Response => self.feed_response(input, out),
        }
    }

    #[inline]
    fn run_started(&mut self, side: Side, at: u64, _out: &mut impl Steps<Self>) {
        match side {
            Side::Request => self.requests.run_started(at),
            Side::Response => self.responses.run_started(at),
        }
    }

    fn ending(&self) -> Ending {
        match self.responses.framing() {
            Some(Framing::UntilClose | Framing::Tunnel) => Ending::Never,
            Some(Framing::Unknown) if !self.chunked[Side::Response.index()] => Ending::Never,
            _ => Ending::AskEntry,
        }
    }

    fn awaits_run_end(&self, side: Side) -> bool {
        let framing = match side {
            Side::Request => self.requests.framing(),
            Side::Response => self.responses.framing(),
        };
        framing == Some(Framing::Unknown)
    }

    fn held(&self, side: Side) -> usize {
        match side {
            Side::Request => self.requests.buffered(),
            Side::Response => self.responses.buffered(),
        }
    }
}

impl Http1 {
    fn feed_request(&mut self, input: Input<'_>, out: &mut impl Steps<Self>) {
        match input {
            Input::Bytes(mut segment) => {
                if let Some((head, end)) = self.requests.begin(&mut segment) {
                    self.request_head(head, out);
                    end.into_iter().for_each(|end| request_end(end, out));
                }
                while !segment.is_empty() || self.requests.has_more() {
                    let Some(event) = self.requests.poll(&mut segment) else {
                        break;
                    };
                    self.request_event(event, out);
                }
            }
            Input::Gap { to, .. } => {
                while let Some(event) = self.requests.skip_to(to) {
                    self.request_event(event, out);
                }
            }
            Input::RunStart { at } => self.run_started(Side::Request, at, out),
            Input::RunEnd { at, tail, next } => {
                if self.ends_here(Side::Request, self.requests.framing(), tail, next) {
                    while let Some(event) = self.requests.end_of_run(at) {
                        self.request_event(event, out);
                    }
                }
            }
            Input::Release => {
                while let Some(event) = self.requests.release() {
                    self.request_event(event, out);
                }
            }
            Input::Close { .. } => {
                while let Some(event) = self.requests.close() {
                    self.request_event(event, out);
                }
            }
        }
    }

    fn request_event(&mut self, event: RequestEvent, out: &mut impl Steps<Self>) {
        match event {
            RequestEvent::Head(head) => self.request_head(head, out),
            RequestEvent::End(end) => request_end(end, out),
            RequestEvent::Cut { .. } => {}
            RequestEvent::Malformed { .. } => lost(Side::Request, Why::Malformed, out),
            RequestEvent::Lost { from, .. } => lost(Side::Request, Why::Unseen(from), out),
            RequestEvent::HeadTooLarge { .. } => lost(Side::Request, Why::TooLarge, out),
            RequestEvent::NotHttp => out.foreign(Side::Request),
        }
    }

    fn request_head(&mut self, mut head: Box<RequestHead>, out: &mut impl Steps<Self>) {
        self.chunked[Side::Request.index()] = head.chunked;
        out.open(Open {
            key: Key::Fifo,
            at: head.start,
            replies: Replies::One,
            asked: head.kind().word(),
            whole: !head.truncated,
            head: &mut *head,
        });
        self.requests.take_back(head);
    }

    fn feed_response(&mut self, input: Input<'_>, out: &mut impl Steps<Self>) {
        match input {
            Input::Bytes(mut segment) => {
                let asked = |responses: &ResponseParser, out: &_| match responses.framing() {
                    None => RequestKind::of(Steps::asked(out, Key::Fifo)),
                    // No head begins before the body has ended.
                    Some(_) => RequestKind::Unknown,
                };
                let request = asked(&self.responses, &*out);
                if let Some((head, end)) = self.responses.begin(&mut segment, request) {
                    self.status_head(head, out);
                    end.into_iter().for_each(|end| self.response_end(end, out));
                }
                while !segment.is_empty() || self.responses.has_more() {
                    let request = asked(&self.responses, &*out);
                    let Some(event) = self.responses.poll(&mut segment, request) else {
                        break;
                    };
                    self.response_event(event, out);
                }
            }
            Input::Gap { to, .. } => {
                while let Some(event) = self.responses.skip_to(to) {
                    self.response_event(event, out);
                }
            }
            Input::RunStart { at } => self.run_started(Side::Response, at, out),
            Input::RunEnd { at, tail, next } => {
                if self.ends_here(Side::Response, self.responses.framing(), tail, next) {
                    while let Some(event) = self.responses.end_of_run(at) {
                        self.response_event(event, out);
                    }
                }
            }
            Input::Release => {
                while let Some(event) = self.responses.release() {
                    self.response_event(event, out);
                }
            }
            Input::Close { reset } => {
                let cut_short = match self.responses.framing() {
                    Some(Framing::UntilClose) => reset,
                    framing => framing == Some(Framing::Unknown),
                };
                while let Some(event) = self.responses.close() {
                    if !(cut_short && matches!(event, ResponseEvent::End(_))) {
                        self.response_event(event, out);
                    }
                }
            }
        }
    }

    fn status_head(&mut self, head: StatusHead, out: &mut impl Steps<Self>) {
        match head {
            StatusHead::Interim { .. } => interim(out),
            StatusHead::Final(head) => self.response_head(head, out),
        }
    }

    fn response_head(&mut self, head: ResponseHead, out: &mut impl Steps<Self>) {
        self.chunked[Side::Response.index()] = head.framing == Framing::Chunked;
        self.upgrades_to = head.upgrades_to;
        out.reply(Reply {
            key: Key::Fifo,
            at: head.start,
            whole: !head.truncated,
            head,
        });
    }

    fn response_end(&self, end: MessageEnd, out: &mut impl Steps<Self>) {
        if self.responses.is_tunnel() && self.upgrades_to.is_some() {
            // The exchange lasts as long as what it led to.
            out.switch(Switch {
                to: self.upgrades_to,
                from: [None, Some(end.at)],
                continues: Some(Key::Fifo),
            });
            return;
        }
        out.end(End {
            key: Key::Fifo,
            side: Side::Response,
            at: end.at,
            size: end.body_size,
        });
        if self.responses.is_tunnel() {
            out.switch(Switch {
                to: None,
                from: [None, Some(end.at)],
                continues: None,
            });
        } else if end.body_size.is_none() {
            lost(Side::Response, Why::Unframed, out);
        }
    }

    fn response_event(&mut self, event: ResponseEvent, out: &mut impl Steps<Self>) {
        match event {
            ResponseEvent::Interim { .. } => interim(out),
            ResponseEvent::Head(head) => self.response_head(head, out),
            ResponseEvent::End(end) => self.response_end(end, out),
            ResponseEvent::Cut { .. } => {}
            ResponseEvent::Malformed { .. } => lost(Side::Response, Why::Malformed, out),
            ResponseEvent::Lost { from, .. } => lost(Side::Response, Why::Unseen(from), out),
            ResponseEvent::HeadTooLarge { .. } => lost(Side::Response, Why::TooLarge, out),
            ResponseEvent::NotHttp => out.foreign(Side::Response),
        }
    }

    /// Whether a message whose framing is not known has ended with the last byte.
    fn ends_here(&self, side: Side, framing: Option<Framing>, tail: u64, next: Next<'_>) -> bool {
        if framing != Some(Framing::Unknown) {
            return false;
        }
        // The next message is certain to have begun, or may have: of so few bytes that they are not known for its head.
        let (surely, perhaps) = match next {
            Next::Unknown => (false, false),
            Next::Run { side, first } => match Self::sniff(side, first) {
                Sniff::Yes => (true, true),
                Sniff::More => (false, !first.is_empty()),
                Sniff::No => (false, false),
            },
            Next::End => (true, true),
        };
        match (self.chunked[side.index()], tail) {
            (false, _) | (true, 0) => surely,
            (true, tail) => {
                // Behind trailers stands an empty line.
                let empty_line = tail.to_le_bytes().ends_with(b"\r\n\r\n");
                tail_ends_chunked(tail) || (perhaps && empty_line)
            }
        }
    }
}

fn request_end(end: MessageEnd, out: &mut impl Steps<Http1>) {
    out.end(End {
        key: Key::Fifo,
        side: Side::Request,
        at: end.at,
        size: end.body_size,
    });
    if end.body_size.is_none() {
        lost(Side::Request, Why::Unframed, out);
    }
}

fn interim(out: &mut impl Steps<Http1>) {
    out.progress(Progress {
        exact: true,
        key: Key::Fifo,
        side: Side::Response,
        messages: 1,
        bytes: 0,
    });
}

fn lost(side: Side, why: Why, out: &mut impl Steps<Http1>) {
    out.lost(Lost {
        side,
        scope: Scope::All,
        why,
    });
}
