//! What is no HTTP, or HTTP that nobody should send.

use super::*;
use crate::http1::{Detection, Malformed, detect};

const NOT_HTTP: &[(&str, &[u8])] = &[
    (
        "TLS ClientHello",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh",
    ),
    (
        "TLS ServerHello",
        b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03",
    ),
    (
        "HTTP/2 preface",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0",
    ),
    ("HTTP/2 settings", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80"),
    ("Redis command", b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"),
    ("Redis inline", b"GET key\r\n"),
    ("Redis inline with two arguments", b"SET key value\r\n"),
    ("Redis reply", b"+OK\r\n"),
    ("Redis error", b"-ERR unknown command\r\n"),
    ("Redis bulk", b"$5\r\nhello\r\n"),
    (
        "PostgreSQL startup",
        b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0app\0\0",
    ),
    ("PostgreSQL query", b"Q\0\0\0\x0dSELECT 1\0"),
    ("PostgreSQL reply", b"R\0\0\0\x08\0\0\0\0S\0\0\0\x16"),
    ("MySQL greeting", b"J\0\0\0\x0a8.0.39\0\x0b\0\0\0"),
    ("MySQL query", b"\x09\0\0\0\x03SELECT 1"),
    ("memcached", b"get key\r\n"),
    ("memcached set", b"set key 0 60 5\r\nhello\r\n"),
    ("SSH", b"SSH-2.0-OpenSSH_10.0p2 Debian-7\r\n"),
    ("SMTP greeting", b"220 mail.example ESMTP Postfix\r\n"),
    ("SMTP command", b"EHLO client.example\r\n"),
    (
        "RTSP",
        b"OPTIONS rtsp://example/x RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    ),
    ("SIP", b"INVITE sip:bob@example SIP/2.0\r\n"),
    ("NATS", b"CONNECT {\"verbose\":false,\"lang\":\"go\"}\r\n"),
    ("AMQP", b"AMQP\0\0\x09\x01"),
    ("Kafka", b"\0\0\0\x23\0\x12\0\x03\0\0\0\x01\0\x06client"),
    ("MongoDB", b"\x3f\x01\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0"),
    ("HTTP/0.9", b"GET /\r\n"),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\n\r\n"),
    ("HTTP/2 by name", b"HTTP/2 200 OK\r\n\r\n"),
    ("lower-case version", b"GET / http/1.1\r\n\r\n"),
    ("no target", b"GET HTTP/1.1\r\n\r\n"),
    ("two spaces", b"GET  / HTTP/1.1\r\n\r\n"),
    ("space in the target", b"GET /a b HTTP/1.1\r\n\r\n"),
    ("NUL in the target", b"GET /\0 HTTP/1.1\r\n\r\n"),
    (
        "method too long",
        b"AVERYLONGMETHODNAMETHATNOBODYWOULDUSE / HTTP/1.1\r\n\r\n",
    ),
    ("no method", b" / HTTP/1.1\r\n\r\n"),
    ("status below 100", b"HTTP/1.1 099 X\r\n\r\n"),
    ("status of four digits", b"HTTP/1.1 2000 X\r\n\r\n"),
    ("status of letters", b"HTTP/1.1 OK\r\n\r\n"),
    ("text", b"the quick brown fox jumps over the lazy dog\n"),
];

#[test]
fn other_protocols_are_not_http() {
    for (name, bytes) in NOT_HTTP {
        assert_eq!(detect(bytes), Detection::No, "{name}");
        assert_eq!(requests(&[bytes]), [RequestEvent::NotHttp], "{name}");
        assert_eq!(
            requests(&bytes.chunks(1).collect::<Vec<_>>()),
            [RequestEvent::NotHttp],
            "{name}"
        );
        assert_eq!(
            responses(&[bytes], RequestKind::Other),
            [ResponseEvent::NotHttp],
            "{name}"
        );
        for cut in 0..bytes.len() {
            let found = detect(&bytes[..cut]);
            assert!(
                matches!(found, Detection::No | Detection::Incomplete),
                "{name} at {cut}: {found:?}"
            );
        }
    }
    assert_eq!(
        requests(&[b"HTTP/1.1 200 OK\r\n\r\n"]),
        [RequestEvent::NotHttp]
    );
    assert_eq!(
        responses(&[b"GET / HTTP/1.1\r\n\r\n"], RequestKind::Other),
        [ResponseEvent::NotHttp]
    );
}

#[test]
fn text_without_end_is_not_kept_beyond_the_limit() {
    let limit = Limits::new(1024);
    assert_eq!(limit.head_bytes(), 1024);
    assert_eq!(
        (
            Limits::new(0).head_bytes(),
            Limits::new(usize::MAX).head_bytes()
        ),
        (256, 65536)
    );
    let target = [&b"GET /"[..], &vec![b'a'; 1 << 20]].concat();
    let mut parser = RequestParser::new(limit);
    let mut segment = Segment::whole(0, &target);
    assert_eq!(
        parser.poll(&mut segment),
        Some(RequestEvent::HeadTooLarge { at: 0 })
    );
    assert_eq!(parser.poll(&mut segment), None);
    assert!(
        parser.is_out_of_sync()
            && parser.buffered() == 0
            && parser.position() == target.len() as u64
    );
}

#[test]
fn a_head_of_a_megabyte_is_truncated() {
    let head = [
        &b"GET /x HTTP/1.1\r\nHost: x\r\nA: "[..],
        &vec![b'a'; 1 << 20],
        b"\r\n\r\n",
    ]
    .concat();
    for size in [head.len(), 1000, 7] {
        let events = requests(&head.chunks(size).collect::<Vec<_>>());
        let [RequestEvent::Head(found)] = &events[..] else {
            panic!("{events:?}")
        };
        assert!(found.truncated && found.texts.target() == "/x" && found.texts.host() == Some("x"));
    }
    let head = [
        &b"HTTP/1.1 200 OK\r\nA: "[..],
        &vec![b'a'; 1 << 20],
        b"\r\n\r\n",
    ]
    .concat();
    let events = responses(&[&head], RequestKind::Other);
    assert!(
        matches!(events[..], [ResponseEvent::Head(found)] if found.truncated && found.status == 200)
    );
    let head = [
        &b"HTTP/1.1 103 Early Hints\r\nLink: "[..],
        &vec![b'a'; 1 << 20],
        b"\r\n\r\n",
    ]
    .concat();
    let events = responses(&[&head], RequestKind::Other);
    let expected = [
        ResponseEvent::Interim {
            status: 103,
            at: 26,
        },
        ResponseEvent::HeadTooLarge { at: 0 },
    ];
    assert_eq!(events, expected);
}

#[test]
fn many_headers_are_parsed_and_too_many_are_malformed() {
    for (count, ok) in [
        (64, true),
        (65, true),
        (256, true),
        (257, false),
        (1000, false),
    ] {
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
        let events = requests(&[head.as_bytes()]);
        let RequestEvent::Head(found) = &events[0] else {
            panic!("{events:?}")
        };
        assert_eq!(found.truncated, !ok);
        let end = if ok {
            request_end(head.len(), Some(0))
        } else {
            RequestEvent::Malformed {
                at: head.len() as u64,
                reason: Malformed::TooManyHeaders,
            }
        };
        assert_eq!(events[1..], [end]);
        let head = head.replace("GET / HTTP/1.1", "HTTP/1.1 204 No Content");
        let events = responses(&[head.as_bytes()], RequestKind::Other);
        assert!(
            matches!(events[0], ResponseEvent::Head(found) if found.status == 204 && found.truncated != ok)
        );
    }
}

#[test]
fn a_request_whose_framing_is_wrong_is_known_but_malformed() {
    for (header, reason) in [
        ("Content-Length: -1", Malformed::ContentLength),
        (
            "Content-Length: 18446744073709551616",
            Malformed::ContentLength,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6",
            Malformed::ContentLength,
        ),
        (
            "Transfer-Encoding: chunked, gzip",
            Malformed::TransferEncoding,
        ),
        ("A: b\0c", Malformed::Header),
        ("A: b\rc", Malformed::Header),
    ] {
        let bytes = format!("POST /p HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n");
        let at = bytes.len() as u64;
        for pieces in [vec![bytes.as_bytes()], bytes.as_bytes().chunks(1).collect()] {
            let events = requests(&pieces);
            let [RequestEvent::Head(head), end] = &events[..] else {
                panic!("{header:?}: {events:?}")
            };
            assert_eq!((&*head.method, head.texts.target()), ("POST", "/p"));
            assert_eq!(*end, RequestEvent::Malformed { at, reason }, "{header:?}");
        }
    }
    let bytes = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n";
    assert_eq!(
        requests(&[bytes])[1],
        RequestEvent::Malformed {
            at: 48,
            reason: Malformed::ChunkSize
        }
    );
}

#[test]
fn a_huge_length_waits_for_its_bytes() {
    let head = b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n";
    let mut parser = RequestParser::new(Limits::default());
    let mut segment = Segment {
        start: u64::MAX - 100,
        bytes: head,
        end: u64::MAX,
    };
    assert!(matches!(
        parser.poll(&mut segment),
        Some(RequestEvent::Head(_))
    ));
    assert_eq!(parser.poll(&mut segment), None);
    assert_eq!(parser.close(), Some(RequestEvent::Cut { at: u64::MAX }));
}

#[test]
fn a_split_response_is_what_the_wire_says() {
    let bytes = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi\r\n\r\n";
    let events = responses(&[bytes], RequestKind::Other);
    assert_eq!(
        events.len(),
        4,
        "the injected one is a response like any other: {events:?}"
    );
}

#[test]
fn after_something_malformed_the_next_run_is_understood() {
    let mut parser = RequestParser::new(Limits::default());
    let mut poll = |start: u64, bytes: &[u8], run: bool| {
        if run {
            parser.run_started(start);
        }
        let mut segment = Segment::whole(start, bytes);
        std::iter::from_fn(|| parser.poll(&mut segment)).collect::<Vec<_>>()
    };
    let get = b"GET / HTTP/1.1\r\n\r\n";
    assert_eq!(poll(0, get, true).len(), 2);
    let reason = Malformed::FirstLine;
    assert_eq!(
        poll(18, b"\0garbage", true),
        [RequestEvent::Malformed { at: 18, reason }]
    );
    assert_eq!(poll(26, get, false), [], "not at the beginning of a run");
    assert_eq!(poll(44, b"\0", true), []);
    assert_eq!(poll(45, get, true).len(), 2);
}
