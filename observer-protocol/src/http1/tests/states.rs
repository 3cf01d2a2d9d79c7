//! What a parser says of itself while a message goes by.

use crate::http1::{
    Framing, Limits, RequestEvent, RequestKind, RequestParser, ResponseEvent, ResponseParser,
    Segment,
};

/// What a parser says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Says {
    position: u64,
    between: bool,
    tunnel: bool,
    out_of_sync: bool,
    framing: Option<Framing>,
    remaining: Option<u64>,
    buffered: usize,
}

/// Between messages, at this position.
const fn between(position: u64) -> Says {
    Says {
        position,
        between: true,
        tunnel: false,
        out_of_sync: false,
        framing: None,
        remaining: None,
        buffered: 0,
    }
}

/// In a head of which so much is kept.
const fn head(position: u64, buffered: usize) -> Says {
    Says {
        between: false,
        buffered,
        ..between(position)
    }
}

/// In a body.
const fn body(position: u64, framing: Framing, remaining: Option<u64>) -> Says {
    Says {
        framing: Some(framing),
        remaining,
        ..head(position, 0)
    }
}

/// In a tunnel.
const fn tunnel(position: u64) -> Says {
    Says {
        tunnel: true,
        ..body(position, Framing::Tunnel, None)
    }
}

/// Out of sync.
const fn out_of_sync(position: u64) -> Says {
    Says {
        out_of_sync: true,
        ..head(position, 0)
    }
}

macro_rules! says {
    ($parser:expr) => {
        Says {
            position: $parser.position(),
            between: $parser.is_between_messages(),
            tunnel: $parser.is_tunnel(),
            out_of_sync: $parser.is_out_of_sync(),
            framing: $parser.framing(),
            remaining: $parser.body_remaining(),
            buffered: $parser.buffered(),
        }
    };
}

/// A stream that is fed piece by piece.
struct Requests(RequestParser, u64);

impl Requests {
    fn feed(&mut self, bytes: &[u8]) -> Says {
        let mut segment = Segment::whole(self.1, bytes);
        self.1 = segment.end;
        while self.0.poll(&mut segment).is_some() {}
        says!(self.0)
    }
}

struct Responses(ResponseParser, u64, RequestKind);

impl Responses {
    fn feed(&mut self, bytes: &[u8]) -> Says {
        let mut segment = Segment::whole(self.1, bytes);
        self.1 = segment.end;
        while self.0.poll(&mut segment, self.2).is_some() {}
        says!(self.0)
    }
}

#[test]
fn a_request_goes_by() {
    let mut requests = Requests(RequestParser::new(Limits::default()), 100);
    assert_eq!(says!(requests.0), between(0), "nothing came yet");
    assert_eq!(requests.feed(b"\r\n"), between(102));
    assert_eq!(requests.feed(b"POST / HTTP/1.1\r\n"), head(119, 17));
    assert_eq!(
        requests.feed(b"Content-Length: 5\r\n\r\n"),
        body(140, Framing::Length(5), Some(5))
    );
    assert_eq!(
        requests.feed(b"hell"),
        body(144, Framing::Length(5), Some(1))
    );
    assert_eq!(requests.feed(b"o"), between(145));
    let chunked = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5";
    assert_eq!(requests.feed(chunked), body(192, Framing::Chunked, None));
    assert_eq!(requests.feed(b"\r\nhello\r\n0\r\n\r\n"), between(206));
    assert_eq!(requests.feed(b"\0"), out_of_sync(207));
    assert_eq!(requests.feed(b"GET / HTTP/1.1\r\n"), out_of_sync(223));
    requests.0.run_started(223);
    assert_eq!(requests.feed(b"GET / HTTP/1.1\r\n\r\n"), between(241));
}

#[test]
fn a_response_goes_by() {
    let parser = ResponseParser::new(Limits::default());
    let mut responses = Responses(parser, 100, RequestKind::Other);
    assert_eq!(says!(responses.0), between(0), "nothing came yet");
    assert_eq!(
        responses.feed(b"HTTP/1.1 100 Continue\r\n\r\n"),
        between(125)
    );
    assert_eq!(responses.feed(b"HTTP/1.1 200 OK\r\n"), head(142, 17));
    assert_eq!(
        responses.feed(b"Content-Length: 5\r\n\r\nhe"),
        body(165, Framing::Length(5), Some(3))
    );
    assert_eq!(responses.feed(b"llo"), between(168));
    assert_eq!(
        responses.feed(b"HTTP/1.1 200 OK\r\n\r\nhello"),
        body(192, Framing::UntilClose, None)
    );
    responses.0 = ResponseParser::new(Limits::default());
    assert_eq!(
        responses.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        tunnel(228)
    );
    assert_eq!(responses.feed(b"HTTP/1.1 200 OK\r\n\r\n"), tunnel(247));
    assert_eq!(responses.0.close(), None);
    responses.0 = ResponseParser::new(Limits::default());
    assert_eq!(responses.feed(b"\0"), out_of_sync(248));
}

#[test]
fn a_tunnel_that_the_response_opens_ends_a_request_that_has_a_body_and_no_other() {
    let limits = Limits::default();
    let mut requests = Requests(RequestParser::new(limits), 0);
    requests.feed(b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe");
    requests.0.enter_tunnel();
    let end = requests.0.poll(&mut Segment::whole(39, b"x"));
    let Some(RequestEvent::End(end)) = end else {
        panic!("{end:?}")
    };
    assert_eq!((end.at, end.body_size), (39, None));
    assert_eq!(requests.feed(b"x"), tunnel(40));

    for before in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"GET /", b"\0"] {
        let mut requests = Requests(RequestParser::new(limits), 0);
        requests.feed(before);
        requests.0.enter_tunnel();
        let position = before.len() as u64;
        let mut segment = Segment::whole(position, b"x");
        assert_eq!(requests.0.poll(&mut segment), None);
        assert_eq!(says!(requests.0), tunnel(position + 1));
    }

    let mut closed = RequestParser::new(limits);
    assert_eq!(closed.close(), None);
    closed.enter_tunnel();
    assert!(!closed.is_tunnel() && !closed.is_between_messages());
}

#[test]
fn the_kind_of_a_request_is_told_by_its_method() {
    for (method, kind) in [
        ("HEAD", RequestKind::Head),
        ("CONNECT", RequestKind::Connect),
        ("GET", RequestKind::Other),
        ("head", RequestKind::Other),
        ("HEADS", RequestKind::Other),
    ] {
        let bytes = format!("{method} x:1 HTTP/1.1\r\n\r\n");
        assert_eq!(super::only_request(bytes.as_bytes()).kind(), kind);
    }
}

#[test]
fn a_response_is_framed_by_the_request_of_each_call() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let mut parser = ResponseParser::new(Limits::default());
    let mut segment = Segment::whole(0, bytes);
    let head = parser.poll(&mut segment, RequestKind::Head);
    assert!(matches!(head, Some(ResponseEvent::Head(head)) if head.framing == Framing::None));
    let end = parser.poll(&mut segment, RequestKind::Other);
    assert!(matches!(end, Some(ResponseEvent::End(_))));
    let start = segment.end;
    let mut segment = Segment::whole(start, bytes);
    let head = parser.poll(&mut segment, RequestKind::Other);
    assert!(matches!(head, Some(ResponseEvent::Head(head)) if head.framing == Framing::Length(2)));
}
