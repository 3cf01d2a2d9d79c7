//! Messages that were captured whole, in one piece or many.

use super::{
    corpus::{REQUESTS, RESPONSES},
    *,
};
use crate::http1::{Detection, Framing, detect};

#[test]
fn every_request_of_the_corpus_is_understood() {
    for case in REQUESTS {
        let events = requests(&[case.bytes]);
        let [RequestEvent::Head(head), end] = &events[..] else {
            panic!("{}: {events:?}", case.name)
        };
        assert_eq!(
            (&*head.method, head.texts.target(), head.truncated),
            (case.method, case.target, false),
            "{}",
            case.name
        );
        assert_eq!(
            *end,
            request_end(case.bytes.len(), Some(case.body)),
            "{}",
            case.name
        );
        assert_eq!(detect(case.bytes), Detection::Request, "{}", case.name);
        assert_eq!(
            case.bytes[head.start as usize..][..3],
            case.method.as_bytes()[..3]
        );
    }
}

#[test]
fn every_response_of_the_corpus_is_understood() {
    for case in RESPONSES {
        let mut events = responses(&[case.bytes], case.request);
        for (index, interim) in case.interim.iter().enumerate() {
            assert!(
                matches!(events[index], ResponseEvent::Interim { status, .. } if status == *interim),
                "{events:?}"
            );
        }
        events.drain(..case.interim.len());
        let ResponseEvent::Head(head) = events[0] else {
            panic!("{}: {events:?}", case.name)
        };
        assert_eq!(head.status, case.status, "{}", case.name);
        let end = case
            .body
            .map(|size| response_end(case.bytes.len(), Some(size)));
        assert_eq!(events.get(1), end.as_ref(), "{}", case.name);
        assert_eq!(
            case.body.is_none(),
            head.framing == Framing::UntilClose,
            "{}",
            case.name
        );
        assert_eq!(detect(case.bytes), Detection::Response, "{}", case.name);
    }
}

#[test]
fn every_prefix_is_incomplete() {
    for case in REQUESTS {
        let all = requests(&[case.bytes]);
        for cut in 0..case.bytes.len() {
            let prefix = &case.bytes[..cut];
            assert!(
                matches!(detect(prefix), Detection::Incomplete | Detection::Request),
                "{} at {cut}",
                case.name
            );
            let events = requests(&[prefix]);
            assert!(
                events.len() < all.len() && all.starts_with(&events),
                "{} at {cut}: {events:?}",
                case.name
            );
        }
    }
    for case in RESPONSES {
        let all = responses(&[case.bytes], case.request);
        for cut in 0..case.bytes.len() {
            let prefix = &case.bytes[..cut];
            assert!(
                matches!(detect(prefix), Detection::Incomplete | Detection::Response),
                "{} at {cut}",
                case.name
            );
            let events = responses(&[prefix], case.request);
            assert!(
                all.starts_with(&events),
                "{} at {cut}: {events:?}",
                case.name
            );
            assert!(
                events.len() < all.len() || case.body.is_none(),
                "{} at {cut}: {events:?}",
                case.name
            );
        }
    }
}

#[test]
fn every_split_gives_the_same_events() {
    for case in REQUESTS {
        let whole = requests(&[case.bytes]);
        for cut in 0..=case.bytes.len() {
            let (one, two) = case.bytes.split_at(cut);
            assert_eq!(requests(&[one, two]), whole, "{} at {cut}", case.name);
        }
        assert_eq!(
            requests(&case.bytes.chunks(1).collect::<Vec<_>>()),
            whole,
            "{}",
            case.name
        );
    }
    for case in RESPONSES {
        let whole = responses(&[case.bytes], case.request);
        for cut in 0..=case.bytes.len() {
            let (one, two) = case.bytes.split_at(cut);
            assert_eq!(
                responses(&[one, two], case.request),
                whole,
                "{} at {cut}",
                case.name
            );
        }
        assert_eq!(
            responses(&case.bytes.chunks(1).collect::<Vec<_>>(), case.request),
            whole,
            "{}",
            case.name
        );
    }
}

#[test]
fn pipelined_messages_are_told_apart() {
    let all: Vec<u8> = REQUESTS
        .iter()
        .flat_map(|case| case.bytes)
        .copied()
        .collect();
    let events = requests(&[&all]);
    assert_eq!(events.len(), 2 * REQUESTS.len());
    let targets = events.iter().filter_map(|event| match event {
        RequestEvent::Head(head) => Some(head.texts.target()),
        _ => None,
    });
    assert!(
        targets
            .into_iter()
            .eq(REQUESTS.iter().map(|case| case.target))
    );
    assert_eq!(requests(&all.chunks(7).collect::<Vec<_>>()), events);

    let kept = RESPONSES.iter().filter(|case| {
        case.request == RequestKind::Other && case.body.is_some() && case.status != 101
    });
    let (bytes, statuses): (Vec<_>, Vec<_>) = kept.map(|case| (case.bytes, case.status)).unzip();
    let all = bytes.concat();
    let events = responses(&[&all], RequestKind::Other);
    let seen: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ResponseEvent::Head(head) => Some(head.status),
            _ => None,
        })
        .collect();
    assert_eq!(seen, statuses);
    assert_eq!(
        responses(&all.chunks(7).collect::<Vec<_>>(), RequestKind::Other),
        events
    );
}

#[test]
fn headers_are_read_in_any_case_and_anywhere() {
    let filler = "X-Filler: 0123456789\r\n".repeat(70);
    let head = only_request(
        format!(
            "POST /a?b HTTP/1.1\r\nhOsT: h\r\n{filler}TRACEPARENT:  00-x \r\nTraceState: a=1\r\nTRACESTATE: b=2\r\n\
             B3: 1-2-1\r\nuser-AGENT: me\r\nEXPECT: 100-Continue\r\nUPGRADE: h2c\r\ncontent-length: 7\r\n\r\n"
        )
        .as_bytes(),
    );
    assert_eq!(head.texts.host(), Some("h"));
    assert_eq!(head.texts.user_agent(), Some("me"));
    assert_eq!(head.texts.traceparent(), Some("00-x"));
    assert_eq!(head.tracestate.as_deref(), Some("a=1,b=2"));
    assert_eq!(head.b3.as_deref(), Some("1-2-1"));
    assert_eq!((head.content_length, head.chunked), (Some(7), false));
    assert!(head.expect_continue && head.upgrade);
}

#[test]
fn a_target_that_is_not_utf_8_is_made_legible() {
    let bytes = b"GET /caf\xe9 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok";
    for pieces in [vec![&bytes[..]], bytes.chunks(1).collect()] {
        let events = requests(&pieces);
        let [RequestEvent::Head(head), end] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(
            (head.texts.target(), head.texts.host()),
            ("/caf\u{fffd}", Some("x"))
        );
        assert_eq!(*end, request_end(bytes.len(), Some(2)));
        assert_eq!(head.end as usize, bytes.len() - 2);
    }
}

#[test]
fn transfer_encoding_wins_over_content_length() {
    let bytes = b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let events = requests(&[bytes]);
    assert_eq!(events.len(), 4);
    assert_eq!(events[1], request_end(bytes.len() - 18, Some(1)));
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(
        responses(&[bytes], RequestKind::Other)[1],
        response_end(bytes.len(), Some(0))
    );
    let head = only_response(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\n",
        RequestKind::Other,
    );
    assert_eq!(head.framing, Framing::UntilClose);
}

#[test]
fn a_body_that_ends_with_the_connection_ends_at_close() {
    let mut parser = ResponseParser::new(Limits::default());
    let mut segment = Segment::whole(100, b"HTTP/1.0 200 OK\r\n\r\nhello");
    assert!(matches!(
        parser.poll(&mut segment, RequestKind::Other),
        Some(ResponseEvent::Head(_))
    ));
    assert_eq!(parser.poll(&mut segment, RequestKind::Other), None);
    assert_eq!(
        (parser.framing(), parser.body_remaining()),
        (Some(Framing::UntilClose), None)
    );
    assert_eq!(parser.skip_to(1_000_119), None);
    assert_eq!(
        parser.close(),
        Some(response_end(1_000_119, Some(1_000_000)))
    );
    assert_eq!(parser.close(), None);
    assert_eq!(
        parser.poll(
            &mut Segment::whole(1_000_119, b"HTTP/1.0 200 OK\r\n\r\n"),
            RequestKind::Other
        ),
        None
    );
}

#[test]
fn a_tunnel_ignores_what_follows() {
    for (kind, bytes) in [
        (
            RequestKind::Other,
            &b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"[..],
        ),
        (
            RequestKind::Connect,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ),
    ] {
        let events = responses(&[bytes], kind);
        let [ResponseEvent::Head(head), end] = events[..] else {
            panic!("{events:?}")
        };
        assert!(head.upgrade && head.framing == Framing::Tunnel);
        assert_eq!(end, response_end(bytes.len() - 19, Some(0)));
    }
    let mut parser = RequestParser::new(Limits::default());
    parser.enter_tunnel();
    parser.run_started(0);
    let mut segment = Segment::whole(0, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(parser.poll(&mut segment), None);
    assert!(parser.is_tunnel() && parser.position() == 18 && parser.close().is_none());
}

#[test]
fn a_connection_that_ends_inside_a_message_cuts_it() {
    for case in REQUESTS {
        for cut in 1..case.bytes.len() {
            let mut parser = RequestParser::new(Limits::default());
            let mut segment = Segment::whole(0, &case.bytes[..cut]);
            let mut events: Vec<_> = std::iter::from_fn(|| parser.poll(&mut segment)).collect();
            let between = parser.is_between_messages();
            events.extend(std::iter::from_fn(|| parser.close()));
            match &events[..] {
                [] => assert!(between),
                [RequestEvent::Cut { at }] | [RequestEvent::Head(_), RequestEvent::Cut { at }] => {
                    assert_eq!(*at, cut as u64);
                }
                _ => panic!("{} at {cut}: {events:?}", case.name),
            }
            let line = case
                .bytes
                .windows(1)
                .skip(4)
                .position(|byte| byte == b"\n")
                .unwrap()
                + 5;
            assert_eq!(
                events.len() == 2,
                cut >= line,
                "{} at {cut}: the request line is known",
                case.name
            );
        }
    }
}
