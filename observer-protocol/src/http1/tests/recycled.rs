//! A head that was taken back: the next one is written into it, and says nothing of the last.

use super::*;

/// All that a request may say.
const FULL: &[u8] =
    b"POST /a-target-that-is-longer-than-the-next HTTP/1.1\r\nHost: one.example\r\nUser-Agent: one/1.0\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1\r\n\
    b3: 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1\r\nExpect: 100-continue\r\nUpgrade: h2c\r\n\
    Content-Length: 2\r\n\r\nok";
const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\n\n",
    b"M-SEARCH * HTTP/1.1\r\nHost: two.example\r\nHost: three.example\r\n\r\n",
    b"GET http://two.example/ HTTP/1.1\r\nUser-Agent: 2\r\n\r\n",
    b"GET / HTTP/1.1\r\ntraceparent: 00-x\r\ntraceparent: 00-y\r\ntracestate: b=2\r\n\r\n",
    b"GET /caf\xe9 HTTP/1.1\r\nb3: 0\r\n\r\n",
    b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    FULL,
];

/// Feeds bytes; the head among the events, which come first.
fn head(parser: &mut RequestParser, start: u64, bytes: &[u8]) -> Box<RequestHead> {
    let mut segment = Segment::whole(start, bytes);
    let first = parser.poll(&mut segment);
    let Some(RequestEvent::Head(head)) = first else {
        panic!("{first:?} from {}", bytes.escape_ascii())
    };
    while parser.poll(&mut segment).is_some() {}
    head
}

#[test]
fn a_head_in_used_room_is_the_same_as_one_in_new_room() {
    for first in REQUESTS {
        for second in REQUESTS {
            let mut parser = RequestParser::new(Limits::default());
            let used = head(&mut parser, 0, first);
            parser.take_back(used);
            let start = first.len() as u64;
            let again = head(&mut parser, start, second);
            let mut fresh = RequestParser::new(Limits::default());
            let expected = head(&mut fresh, start, second);
            assert_eq!(again, expected, "after {}", first.escape_ascii());
        }
    }
}

#[test]
fn the_room_of_a_head_and_its_texts_is_used_again() {
    let mut parser = RequestParser::new(Limits::default());
    let first = head(&mut parser, 0, FULL);
    let (place, texts) = (std::ptr::from_ref(&*first), first.texts.place());
    parser.take_back(first);
    let second = head(&mut parser, FULL.len() as u64, FULL);
    assert_eq!(std::ptr::from_ref(&*second), place);
    assert_eq!(second.texts.place(), texts);
}
