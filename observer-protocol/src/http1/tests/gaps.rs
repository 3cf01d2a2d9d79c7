//! Bytes that were not captured: counted, lost, or beyond the budget.

use super::{
    corpus::{REQUESTS, RESPONSES},
    *,
};
use crate::http1::Framing;

fn poll_request(
    parser: &mut RequestParser,
    start: u64,
    bytes: &[u8],
    end: u64,
) -> Vec<RequestEvent> {
    let mut segment = Segment { start, bytes, end };
    std::iter::from_fn(|| parser.poll(&mut segment)).collect()
}

fn poll_response(
    parser: &mut ResponseParser,
    start: u64,
    bytes: &[u8],
    end: u64,
) -> Vec<ResponseEvent> {
    let mut segment = Segment { start, bytes, end };
    std::iter::from_fn(|| parser.poll(&mut segment, RequestKind::Other)).collect()
}

const POST: &[u8] = b"POST /up HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_body_with_a_length_is_crossed_arithmetically() {
    let head = POST.len() as u64;
    let end = head + 20_000_000;
    let mut parser = RequestParser::new(Limits::default());
    let events = poll_request(&mut parser, 0, &[POST, b"abc"].concat(), head + 65536);
    assert!(matches!(events[..], [RequestEvent::Head(_)]));
    assert_eq!(parser.framing(), Some(Framing::Length(20_000_000)));
    assert_eq!(parser.body_remaining(), Some(20_000_000 - 65536));
    // A record in between is missing, the next one was counted only, and the last is learned from the next run.
    assert_eq!(poll_request(&mut parser, end - 5000, b"", end - 4000), []);
    assert_eq!(
        parser.skip_to(end),
        Some(request_end(end as usize, Some(20_000_000)))
    );
    assert_eq!(parser.skip_to(end), None);
    let events = poll_request(&mut parser, end, b"GET / HTTP/1.1\r\n\r\n", end + 18);
    assert!(matches!(
        events[..],
        [RequestEvent::Head(_), RequestEvent::End(_)]
    ));
}

#[test]
fn a_chunked_body_keeps_its_framing_over_a_gap_inside_a_chunk_only() {
    let head = CHUNKED.len() as u64;
    let mut parser = ResponseParser::new(Limits::default());
    let begin = [CHUNKED, b"100000\r\nabc"].concat();
    let data_end = head + 8 + 0x10_0000;
    assert_eq!(poll_response(&mut parser, 0, &begin, data_end).len(), 1);
    assert_eq!(parser.framing(), Some(Framing::Chunked));
    let end = poll_response(&mut parser, data_end, b"\r\n0\r\n\r\n", data_end + 7);
    assert_eq!(end, [response_end(data_end as usize + 7, Some(0x10_0000))]);

    let start = data_end + 7;
    assert_eq!(
        poll_response(&mut parser, start, &begin, start + 2 * 0x10_0000).len(),
        1
    );
    assert_eq!(parser.framing(), Some(Framing::Unknown));
    let end = start + 2 * 0x10_0000;
    assert_eq!(
        parser.end_of_run(end),
        Some(response_end(end as usize, None))
    );
    assert_eq!(parser.end_of_run(end), None);
    assert!(parser.is_between_messages());
}

#[test]
fn the_size_of_a_single_counted_chunk_follows_from_where_the_message_ends() {
    let begin = [CHUNKED, b"100000\r\nabc"].concat();
    let end = CHUNKED.len() as u64 + 8 + 0x10_0000 + 7;
    for (told, size) in [(end, Some(0x10_0000)), (end + 1, None), (end + 100, None)] {
        let mut parser = ResponseParser::new(Limits::default());
        assert_eq!(poll_response(&mut parser, 0, &begin, end - 1).len(), 1);
        assert_eq!(parser.skip_to(told), None);
        assert_eq!(
            parser.end_of_run(told),
            Some(response_end(told as usize, size))
        );
    }
    let mut parser = ResponseParser::new(Limits::default());
    assert_eq!(poll_response(&mut parser, 0, &begin, end).len(), 1);
    parser.run_started(end);
    let events = poll_response(
        &mut parser,
        end,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        end + 27,
    );
    assert_eq!(events[0], response_end(end as usize, Some(0x10_0000)));
    assert_eq!(events.len(), 3);
}

#[test]
fn a_run_that_goes_on_with_a_body_does_not_end_it() {
    let mut parser = RequestParser::new(Limits::default());
    let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n";
    assert_eq!(poll_request(&mut parser, 0, head, 100_000).len(), 1);
    parser.run_started(100_000);
    assert_eq!(
        poll_request(&mut parser, 100_000, b"\x1f\x8b\x08 binary", 200_000),
        []
    );
    assert_eq!(parser.framing(), Some(Framing::Unknown));
    parser.run_started(200_000);
    let events = poll_request(&mut parser, 200_000, b"GET / HTTP/1.1\r\n\r\n", 200_018);
    assert_eq!(events[0], request_end(200_000, None));
    assert_eq!(events.len(), 3);
}

#[test]
fn an_upload_that_goes_on_after_its_supposed_end_is_passed_over_silently() {
    let mut parser = RequestParser::new(Limits::default());
    let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n";
    assert_eq!(poll_request(&mut parser, 0, head, 100_000).len(), 1);
    assert_eq!(parser.end_of_run(100_000), Some(request_end(100_000, None)));
    parser.run_started(100_000);
    assert_eq!(
        poll_request(&mut parser, 100_000, b"\x1f\x8b\x08 binary", 200_000),
        []
    );
    parser.run_started(200_000);
    assert_eq!(
        poll_request(&mut parser, 200_000, b"GET / HTTP/1.1\r\n\r\n", 200_018).len(),
        2
    );
}

#[test]
fn a_head_beyond_the_budget_is_truncated() {
    let line = b"GET /long HTTP/1.1\r\nHost: x\r\nCookie: abc";
    let mut parser = RequestParser::new(Limits::default());
    let events = poll_request(&mut parser, 0, line, 9000);
    let [RequestEvent::Head(head)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(head.truncated);
    assert_eq!(
        (head.texts.target(), head.texts.host(), head.end),
        ("/long", Some("x"), 29)
    );
    assert_eq!(
        (parser.framing(), parser.position()),
        (Some(Framing::Unknown), 9000)
    );
    assert_eq!(parser.end_of_run(9500), Some(request_end(9500, None)));

    let mut parser = ResponseParser::new(Limits::default());
    let events = poll_response(
        &mut parser,
        0,
        b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\nX: ",
        9000,
    );
    let [ResponseEvent::Head(head)] = events[..] else {
        panic!("{events:?}")
    };
    assert!(head.truncated && head.status == 503 && head.framing == Framing::Unknown);
    assert_eq!(parser.close(), Some(response_end(9000, None)));
}

#[test]
fn a_first_line_that_was_not_seen_whole_is_lost() {
    for line in [&b"GET /long HTTP/1.1\r"[..], b"G", b"GET /a"] {
        let mut parser = RequestParser::new(Limits::default());
        assert_eq!(
            poll_request(&mut parser, 50, line, 9000),
            [RequestEvent::Lost { from: 50, to: 9000 }]
        );
        assert!(parser.is_out_of_sync() && parser.buffered() == 0);
        assert_eq!(
            poll_request(&mut parser, 9000, b"GET / HTTP/1.1\r\n\r\n", 9018),
            []
        );
        parser.run_started(9018);
        assert_eq!(
            poll_request(&mut parser, 9018, b"GET / HTTP/1.1\r\n\r\n", 9036).len(),
            2
        );
    }
}

#[test]
fn a_missing_record_between_messages_is_lost_until_the_next_run() {
    let get = b"GET / HTTP/1.1\r\n\r\n";
    let mut parser = RequestParser::new(Limits::default());
    assert_eq!(poll_request(&mut parser, 0, get, 18).len(), 2);
    parser.run_started(100);
    let events = poll_request(&mut parser, 100, get, 118);
    assert_eq!(events[0], RequestEvent::Lost { from: 18, to: 100 });
    assert!(matches!(
        events[1..],
        [RequestEvent::Head(_), RequestEvent::End(_)]
    ));
    assert_eq!(
        poll_request(&mut parser, 200, get, 218),
        [RequestEvent::Lost { from: 118, to: 200 }]
    );
}

#[test]
fn overlap_is_skipped() {
    let get = b"GET / HTTP/1.1\r\n\r\n";
    let mut parser = RequestParser::new(Limits::default());
    assert_eq!(poll_request(&mut parser, 0, get, 18).len(), 2);
    assert_eq!(poll_request(&mut parser, 0, get, 18), []);
    let twice = [&get[..], get].concat();
    assert_eq!(poll_request(&mut parser, 0, &twice, 36).len(), 2);
    assert_eq!(parser.position(), 36);
}

#[test]
fn a_body_that_never_came_does_not_swallow_the_next_request() {
    let head = b"POST / HTTP/1.1\r\nContent-Length: 500\r\nExpect: 100-continue\r\n\r\n";
    let end = head.len() as u64;
    let mut parser = RequestParser::new(Limits::default());
    assert_eq!(poll_request(&mut parser, 0, head, end).len(), 1);
    parser.run_started(end);
    let events = poll_request(&mut parser, end, b"GET / HTTP/1.1\r\n\r\n", end + 18);
    assert_eq!(events[0], request_end(head.len(), Some(0)));
    assert_eq!(events.len(), 3);
}

#[test]
fn the_answer_to_an_unseen_head_does_not_swallow_the_next_response() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
    let end = head.len() as u64;
    let mut parser = ResponseParser::new(Limits::default());
    let mut segment = Segment::whole(0, head);
    assert!(parser.poll(&mut segment, RequestKind::Unknown).is_some());
    assert!(parser.poll(&mut segment, RequestKind::Unknown).is_none());
    parser.run_started(end);
    let events = poll_response(&mut parser, end, head, 2 * end);
    assert_eq!(events[0], response_end(head.len(), Some(0)));
    assert_eq!(events.len(), 2);
}

#[test]
fn the_middle_of_a_body_is_not_http_and_the_next_run_is() {
    let mut parser = ResponseParser::new(Limits::default());
    assert_eq!(
        poll_response(&mut parser, 777, b"<p>middle</p>", 4000),
        [ResponseEvent::NotHttp]
    );
    parser.run_started(4000);
    assert_eq!(
        poll_response(&mut parser, 4000, b"\0\0binary", 5000),
        [ResponseEvent::NotHttp]
    );
    parser.run_started(5000);
    assert_eq!(
        poll_response(&mut parser, 5000, b"HTTP/1.1 204 No Content\r\n\r\n", 5027).len(),
        2
    );
}

/// With any byte range missing, whatever is told of the message is true, and the message after it is found.
#[test]
fn every_position_may_be_a_gap() {
    let next = b"GET /next HTTP/1.1\r\n\r\n";
    for case in REQUESTS {
        let length = case.bytes.len();
        for from in 0..length {
            for to in [from + 1, (from + 9).min(length), length] {
                let mut parser = RequestParser::new(Limits::default());
                parser.run_started(0);
                let mut events = poll_request(&mut parser, 0, &case.bytes[..from], from as u64);
                events.extend(poll_request(
                    &mut parser,
                    to as u64,
                    &case.bytes[to..],
                    length as u64,
                ));
                events.extend(std::iter::from_fn(|| parser.skip_to(length as u64)));
                events.extend(std::iter::from_fn(|| parser.end_of_run(length as u64)));
                for event in &events {
                    match event {
                        RequestEvent::Head(head) => {
                            assert_eq!(
                                (&*head.method, head.texts.target()),
                                (case.method, case.target)
                            )
                        }
                        RequestEvent::End(end) => {
                            assert!(end.body_size.is_none_or(|size| size == case.body))
                        }
                        RequestEvent::Lost {
                            from: lost,
                            to: found,
                        } => {
                            assert!(
                                *lost <= from as u64 && *found == to as u64,
                                "{}: {events:?}",
                                case.name
                            );
                        }
                        RequestEvent::Malformed { .. } | RequestEvent::Cut { .. } => {
                            panic!("{}: {events:?}", case.name)
                        }
                        RequestEvent::HeadTooLarge { .. } | RequestEvent::NotHttp => {
                            panic!("{}: {events:?}", case.name)
                        }
                    }
                }
                parser.run_started(length as u64);
                let events = poll_request(
                    &mut parser,
                    length as u64,
                    next,
                    (length + next.len()) as u64,
                );
                let heads = events.iter().filter(
                    |event| matches!(event, RequestEvent::Head(head) if head.texts.target() == "/next"),
                );
                assert_eq!(heads.count(), 1, "{} {from}..{to}: {events:?}", case.name);
            }
        }
    }
    let next = b"HTTP/1.1 299 Next\r\nContent-Length: 0\r\n\r\n";
    for case in RESPONSES.iter().filter(|case| {
        case.body.is_some() && case.status != 101 && case.request == RequestKind::Other
    }) {
        let length = case.bytes.len();
        for from in 0..length {
            for to in [from + 1, (from + 9).min(length), length] {
                let mut parser = ResponseParser::new(Limits::default());
                parser.run_started(0);
                let mut events = poll_response(&mut parser, 0, &case.bytes[..from], from as u64);
                events.extend(poll_response(
                    &mut parser,
                    to as u64,
                    &case.bytes[to..],
                    length as u64,
                ));
                events.extend(std::iter::from_fn(|| parser.end_of_run(length as u64)));
                for event in &events {
                    match event {
                        ResponseEvent::Head(head) => assert_eq!(head.status, case.status),
                        ResponseEvent::End(end) => {
                            assert!(end.body_size.is_none_or(|size| Some(size) == case.body))
                        }
                        ResponseEvent::Interim { status, .. } => {
                            assert!(case.interim.contains(status))
                        }
                        ResponseEvent::Lost { .. } => {}
                        other => panic!("{} {from}..{to}: {other:?}", case.name),
                    }
                }
                parser.run_started(length as u64);
                let events = poll_response(
                    &mut parser,
                    length as u64,
                    next,
                    (length + next.len()) as u64,
                );
                let heads = events.iter().filter(
                    |event| matches!(event, ResponseEvent::Head(head) if head.status == 299),
                );
                assert_eq!(heads.count(), 1, "{} {from}..{to}: {events:?}", case.name);
            }
        }
    }
}
