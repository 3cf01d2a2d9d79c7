//! Where runs begin: whoever is out of step looks there, and nobody else.

use super::*;
use crate::http1::{Framing, Malformed};

const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// A parser and where its stream is.
struct Stream {
    parser: RequestParser,
    position: u64,
}

impl Stream {
    fn new() -> Self {
        Self {
            parser: RequestParser::new(Limits::default()),
            position: 0,
        }
    }

    /// Bytes of which all were captured.
    fn feed(&mut self, bytes: &[u8]) -> Vec<RequestEvent> {
        self.feed_part(bytes, bytes.len())
    }

    /// So many bytes, of which only the first ones were captured.
    fn feed_part(&mut self, bytes: &[u8], moved: usize) -> Vec<RequestEvent> {
        let start = self.position;
        self.position += moved as u64;
        let mut segment = Segment {
            start,
            bytes,
            end: self.position,
        };
        std::iter::from_fn(|| self.parser.poll(&mut segment)).collect()
    }

    /// The next bytes begin a run.
    fn run(&mut self) -> &mut Self {
        self.parser.run_started(self.position);
        self
    }
}

fn is_get(events: &[RequestEvent]) -> bool {
    matches!(events, [RequestEvent::Head(head), RequestEvent::End(_)] if head.method == "GET")
}

#[test]
fn a_run_that_was_announced_early_is_still_known_when_it_comes() {
    let mut stream = Stream::new();
    assert_eq!(stream.feed(b"\0"), [RequestEvent::NotHttp]);
    stream.parser.run_started(11);
    assert_eq!(stream.feed(b"01234"), []);
    assert_eq!(stream.feed(b"56789"), []);
    assert!(is_get(&stream.feed(GET)));

    let mut stream = Stream::new();
    assert_eq!(stream.feed(b"\0"), [RequestEvent::NotHttp]);
    stream.parser.run_started(11);
    let crossing = [b"0123456789", GET].concat();
    assert!(is_get(&stream.feed(&crossing)), "within one segment");
}

#[test]
fn a_run_that_lies_behind_is_none() {
    let mut stream = Stream::new();
    assert_eq!(stream.feed(b"\0garbage"), [RequestEvent::NotHttp]);
    stream.parser.run_started(7);
    assert_eq!(stream.feed(GET), [], "not where the run began");
    assert!(is_get(&stream.run().feed(GET)));
}

#[test]
fn a_run_whose_first_bytes_were_not_captured_says_nothing() {
    let mut stream = Stream::new();
    assert!(is_get(&stream.feed(GET)));
    let malformed = stream.feed(b"\0");
    assert!(matches!(malformed[..], [RequestEvent::Malformed { .. }]));
    assert_eq!(stream.run().feed_part(b"", 100), []);
    assert!(stream.parser.is_out_of_sync());
    assert_eq!(stream.feed(GET), [], "no run begins here");
}

#[test]
fn a_run_that_may_yet_become_a_request_is_waited_for() {
    let mut stream = Stream::new();
    assert_eq!(stream.feed(b"\0"), [RequestEvent::NotHttp]);
    assert_eq!(stream.run().feed(&GET[..1]), []);
    assert!(is_get(&stream.feed(&GET[1..])));
}

/// A head whose rest was not captured, so that nobody knows where its body ends.
fn unknown() -> Stream {
    let mut stream = Stream::new();
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nCookie: a";
    let events = stream.feed_part(head, 1000);
    assert!(matches!(events[..], [RequestEvent::Head(_)]));
    assert_eq!(stream.parser.framing(), Some(Framing::Unknown));
    stream
}

#[test]
fn a_body_of_unknown_length_ends_where_a_run_begins_with_a_request() {
    let mut stream = unknown();
    assert_eq!(stream.run().feed(b"\x1f\x8b\x08\0\0\0"), []);
    let events = stream.run().feed(GET);
    assert_eq!(events[0], request_end(1006, None));
    assert!(is_get(&events[1..]));

    let mut stream = unknown();
    stream.parser.run_started(1010);
    let crossing = [b"0123456789", GET].concat();
    let events = stream.feed(&crossing);
    assert_eq!(events[0], request_end(1010, None), "within one segment");
    assert!(is_get(&events[1..]));

    let mut stream = unknown();
    let events = stream.run().feed(&GET[..1]);
    assert_eq!(
        events,
        [request_end(1000, None)],
        "a first letter is enough"
    );
    assert!(is_get(&stream.feed(&GET[1..])));
}

#[test]
fn a_body_of_known_length_does_not_end_at_a_run_whatever_that_begins_with() {
    let head = b"POST / HTTP/1.1\r\nContent-Length: 18\r\n\r\n";
    let end = head.len() + 18;
    let mut stream = Stream::new();
    assert_eq!(stream.feed(head).len(), 1);
    assert_eq!(stream.run().feed(GET), [request_end(end, Some(18))]);

    let mut stream = Stream::new();
    let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n";
    assert_eq!(stream.feed(head).len(), 1);
    assert_eq!(stream.run().feed(GET), []);
    let end = head.len() + 18 + 7;
    let events = stream.run().feed(b"\r\n0\r\n\r\n");
    assert_eq!(events, [request_end(end, Some(18))]);
}

/// A request whose body may wait until the server asks for it, and may never come.
fn doubtful() -> (Stream, usize) {
    let head = b"POST / HTTP/1.1\r\nContent-Length: 500\r\nExpect: 100-continue\r\n\r\n";
    let mut stream = Stream::new();
    assert_eq!(stream.feed(head).len(), 1);
    (stream, head.len())
}

#[test]
fn a_body_that_was_waited_for_is_one_unless_the_run_begins_with_a_request() {
    let (mut stream, start) = doubtful();
    assert_eq!(stream.run().feed(&[b'x'; 499]), []);
    assert_eq!(stream.feed(b"x"), [request_end(start + 500, Some(500))]);

    for first in [&b"G"[..], b"GET /", b"GET / HTTP/1.1"] {
        let (mut stream, _) = doubtful();
        assert_eq!(stream.run().feed(first), [], "may as well be the body");
        assert_eq!(stream.parser.framing(), Some(Framing::Length(500)));
    }

    let (mut stream, start) = doubtful();
    let events = stream.run().feed(GET);
    assert_eq!(events[0], request_end(start, Some(0)), "it never came");
    assert!(is_get(&events[1..]));

    let (mut stream, start) = doubtful();
    assert_eq!(stream.run().feed(b"some"), []);
    let events = stream.run().feed(GET);
    assert_eq!(
        events[0],
        request_end(start + 4, None),
        "how much of it there is, nobody said"
    );
    assert!(is_get(&events[1..]));
}

#[test]
fn what_is_no_request_is_told_once_until_one_was_seen_and_then_by_its_first_line() {
    let mut stream = Stream::new();
    assert_eq!(stream.feed(b"\0"), [RequestEvent::NotHttp]);
    assert_eq!(stream.feed(b"\0"), []);
    assert_eq!(stream.run().feed(b"\0"), [RequestEvent::NotHttp]);
    assert!(is_get(&stream.run().feed(GET)));
    let (at, reason) = (stream.position, Malformed::FirstLine);
    assert_eq!(stream.feed(b"\0"), [RequestEvent::Malformed { at, reason }]);
    assert_eq!(stream.run().feed(b"\0"), []);
}

#[test]
fn what_was_supposed_to_be_the_end_is_corrected_by_what_follows() {
    let mut stream = unknown();
    assert_eq!(
        stream.parser.end_of_run(1000),
        Some(request_end(1000, None))
    );
    assert_eq!(stream.feed(b"\0more of the body"), []);
    assert!(stream.parser.is_out_of_sync());
    assert!(is_get(&stream.run().feed(GET)));
    let (at, reason) = (stream.position, Malformed::FirstLine);
    assert_eq!(
        stream.feed(b"\0"),
        [RequestEvent::Malformed { at, reason }],
        "this end was seen"
    );
}

#[test]
fn an_end_that_is_said_to_be_later_counts_what_lies_before_it() {
    let mut stream = unknown();
    assert_eq!(
        stream.parser.end_of_run(1200),
        Some(request_end(1200, None))
    );
    assert_eq!(stream.parser.position(), 1200);
    for (bytes, end) in [(&b""[..], 0), (GET, 18)] {
        let mut stream = Stream::new();
        stream.feed(bytes);
        assert_eq!(stream.parser.end_of_run(end), None, "nothing was open");
        assert!(stream.parser.is_between_messages());
    }
    let mut stream = Stream::new();
    stream.feed(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe");
    assert_eq!(stream.parser.end_of_run(stream.position), None);
    assert_eq!(stream.parser.body_remaining(), Some(3), "left alone");
}

#[test]
fn a_closed_direction_ignores_all() {
    let mut stream = Stream::new();
    assert_eq!(stream.parser.close(), None);
    assert_eq!(stream.run().feed(GET), []);
    assert_eq!(stream.parser.position(), 18);
    assert_eq!(stream.parser.skip_to(100), None);
    assert_eq!(stream.parser.end_of_run(100), None);
    assert_eq!(stream.parser.close(), None);
}
