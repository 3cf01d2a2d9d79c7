//! What is read of a head, and where it is cut. Each head is read twice: as nearly all peers write it, and with LF alone,
//! which is read another way.

use super::{only_request, only_response, requests};
use crate::http1::{RequestEvent, RequestHead, RequestKind, ResponseHead};

/// Both ways must give the same, but for positions.
fn request(line: &str, headers: &[&str]) -> RequestHead {
    let bytes = |end: &str| {
        let lines = [&[line], headers].concat().join(end);
        format!("{lines}{end}{end}")
    };
    let usual = only_request(bytes("\r\n").as_bytes());
    let uncommon = only_request(bytes("\n").as_bytes());
    assert_eq!(uncommon.end as usize, bytes("\n").len());
    assert_eq!(usual.end as usize, bytes("\r\n").len());
    let end = usual.end;
    assert_eq!(usual, RequestHead { end, ..uncommon });
    usual
}

fn response(line: &str, headers: &[&str]) -> ResponseHead {
    let bytes = |end: &str| {
        let lines = [&[line], headers].concat().join(end);
        format!("{lines}{end}{end}")
    };
    let usual = only_response(bytes("\r\n").as_bytes(), RequestKind::Other);
    let uncommon = only_response(bytes("\n").as_bytes(), RequestKind::Other);
    assert_eq!(uncommon.end as usize, bytes("\n").len());
    assert_eq!(usual.end as usize, bytes("\r\n").len());
    let end = usual.end;
    assert_eq!(usual, ResponseHead { end, ..uncommon });
    usual
}

#[test]
fn a_request_line_is_method_target_and_version() {
    for method in [
        "GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND",
        "M-SEARCH", "get", "G", "GETS",
    ] {
        for (version, minor) in [("HTTP/1.0", 0), ("HTTP/1.1", 1)] {
            let head = request(&format!("{method} /a?b=c {version}"), &[]);
            assert_eq!((&*head.method, head.texts.target()), (method, "/a?b=c"));
            assert_eq!((head.minor_version, head.truncated), (minor, false));
        }
    }
    let longest = "M".repeat(32);
    assert_eq!(
        request(&format!("{longest} / HTTP/1.1"), &[]).method,
        longest
    );
    for end in ["\r\n\r\n", "\n\n"] {
        let longer = format!("M{longest} / HTTP/1.1{end}");
        assert_eq!(requests(&[longer.as_bytes()]), [RequestEvent::NotHttp]);
    }
}

#[test]
fn a_target_has_2048_bytes_at_most_and_whole_characters() {
    for (target, kept) in [
        (format!("/{}", "x".repeat(2046)), 2047),
        (format!("/{}", "x".repeat(2047)), 2048),
        (format!("/{}", "x".repeat(2048)), 2048),
        (format!("/{}", "é".repeat(1023)), 2047),
        (format!("/{}", "é".repeat(1024)), 2047),
        (format!("/x{}", "é".repeat(1024)), 2048),
    ] {
        let head = request(&format!("GET {target} HTTP/1.1"), &[]);
        assert_eq!(head.texts.target(), &target[..kept]);
    }
}

/// A header's value as it is kept, of so many bytes sent.
type Kept = fn(&RequestHead) -> Option<&str>;

#[test]
fn values_are_cut_at_their_bounds() {
    let table: [(&str, usize, Kept); 4] = [
        ("Host", 256, |head| head.texts.host()),
        ("User-Agent", 256, |head| head.texts.user_agent()),
        ("traceparent", 256, |head| head.texts.traceparent()),
        ("b3", 128, |head| head.b3.as_deref()),
    ];
    for (name, most, kept) in table {
        for length in [0, 1, most - 1, most, most + 1, 2 * most] {
            let value = "v".repeat(length);
            let head = request("GET / HTTP/1.1", &[&format!("{name}: {value}")]);
            assert_eq!(kept(&head), Some(&value[..length.min(most)]), "{name}");
        }
    }
    let authority = format!("GET http://{}/ HTTP/1.1", "h".repeat(257));
    assert_eq!(
        request(&authority, &[]).texts.host().map(str::len),
        Some(256)
    );
}

#[test]
fn of_headers_that_are_repeated_the_first_counts() {
    let head = request(
        "GET / HTTP/1.1",
        &[
            "Host: a",
            "host: b",
            "User-Agent: c",
            "user-agent: d",
            "b3: e",
            "B3: f",
        ],
    );
    assert_eq!(head.texts.host(), Some("a"));
    assert_eq!(head.texts.user_agent(), Some("c"));
    assert_eq!(head.b3.as_deref(), Some("e"));
}

#[test]
fn a_body_may_wait_where_the_expectation_is_100_continue() {
    for (headers, expected) in [
        (&[][..], false),
        (&["Expect: 100-continue"], true),
        (&["expect: 100-CONTINUE"], true),
        (&["Expect: 100-continue", "Expect: 100-continue"], true),
        (&["Expect: 100-continue", "Expect: other"], true),
        (&["Expect: other", "Expect: 100-continue"], true),
        (&["Expect: other"], false),
        (&["Expect:"], false),
        (&["Expected: 100-continue"], false),
    ] {
        let head = request("PUT / HTTP/1.1", headers);
        assert_eq!(head.expect_continue, expected, "{headers:?}");
    }
}

#[test]
fn a_header_is_its_whole_name() {
    // Names of other headers, each as long as one that is read.
    let names = [
        "b4",
        "hast",
        "expext",
        "upgrage",
        "user_agent",
        "tracestat3",
        "trace-state",
        "traceparen_",
        "content_length",
        "xontent-length",
        "transfer_encoding",
        "hosts",
        "x-b3-traceidx",
    ];
    for name in names {
        for value in ["1", "chunked", "100-continue"] {
            let head = request(
                "GET / HTTP/1.1",
                &["traceparent: 00-x", &format!("{name}: {value}")],
            );
            let nothing = RequestHead {
                end: head.end,
                ..request("GET / HTTP/1.1", &["traceparent: 00-x"])
            };
            assert_eq!(head, nothing, "{name}: {value}");
        }
    }
    for name in ["content-typo", "content_length", "transfer_encoding"] {
        for value in ["1", "chunked", "text/event-stream"] {
            let head = response("HTTP/1.1 200 OK", &[&format!("{name}: {value}")]);
            let nothing = ResponseHead {
                end: head.end,
                ..response("HTTP/1.1 200 OK", &[])
            };
            assert_eq!(head, nothing, "{name}: {value}");
        }
    }
}

#[test]
fn b3_headers_are_read_in_either_form_and_the_single_one_is_preferred() {
    let (trace, span) = ("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1");
    let ids = [
        &*format!("X-B3-TraceId: {trace}"),
        &*format!("x-b3-spanid: {span}"),
    ];
    let b3 = |more: &[&str]| request("GET / HTTP/1.1", &[&ids, more].concat()).b3;
    assert_eq!(b3(&[]), Some(format!("{trace}-{span}").into()));
    assert_eq!(
        b3(&["X-B3-Sampled: 0"]),
        Some(format!("{trace}-{span}-0").into())
    );
    assert_eq!(
        b3(&["X-B3-Flags: 1"]),
        Some(format!("{trace}-{span}-d").into())
    );
    assert_eq!(b3(&["b3: 0"]).as_deref(), Some("0"));
    assert_eq!(request("GET / HTTP/1.1", &ids[..1]).b3, None);
    assert_eq!(request("GET / HTTP/1.1", &ids[1..]).b3, None);
}

#[test]
fn a_tracestate_comes_with_one_traceparent_only() {
    let (parent, state) = ("traceparent: 00-x", "tracestate: a=1");
    for (headers, traceparent, tracestate) in [
        (&[parent, state][..], Some("00-x"), Some("a=1")),
        (&[state, parent], Some("00-x"), Some("a=1")),
        (
            &[state, parent, "TraceState: b=2"],
            Some("00-x"),
            Some("a=1,b=2"),
        ),
        (&[parent], Some("00-x"), None),
        (&[state], None, None),
        (&[parent, parent, state], None, None),
        (&[parent, state, parent, parent], None, None),
        (&[parent, "tracestate: a"], Some("00-x"), None),
    ] {
        let head = request("GET / HTTP/1.1", headers);
        assert_eq!(head.texts.traceparent(), traceparent, "{headers:?}");
        assert_eq!(head.tracestate.as_deref(), tracestate, "{headers:?}");
    }
    let long = format!("tracestate: {}", vec!["a=123456"; 32].join(","));
    let head = request("GET / HTTP/1.1", &[parent, &long, "tracestate: "]);
    assert_eq!(head.tracestate.map(|state| state.len()), Some(32 * 9 - 1));
}

#[test]
fn the_authority_of_a_target_stands_in_for_a_host() {
    for (method, target, host) in [
        ("GET", "http://a.example/x", Some("a.example")),
        ("GET", "http://a.example:81", Some("a.example:81")),
        ("GET", "http://a.example#x", Some("a.example")),
        ("GET", "http://a.example?http://b/", Some("a.example")),
        ("GET", "http://u:p@a.example/@b", Some("a.example")),
        ("GET", "http://u@v@a.example/", Some("a.example")),
        ("GET", "ws://a.example/", Some("a.example")),
        ("GET", "http://[::1]:80/", Some("[::1]:80")),
        ("GET", "http:///x", None),
        ("GET", "http://u@/x", None),
        ("GET", "/http://a.example/", None),
        ("GET", "a.example:443", None),
        ("OPTIONS", "*", None),
        ("CONNECT", "a.example:443", Some("a.example:443")),
    ] {
        let head = request(&format!("{method} {target} HTTP/1.1"), &[]);
        assert_eq!(head.texts.host(), host, "{target}");
        let head = request(&format!("{method} {target} HTTP/1.1"), &["Host: h"]);
        assert_eq!(head.texts.host(), Some("h"), "{target}");
    }
}

#[test]
fn an_upgrade_is_asked_for_by_its_header() {
    assert!(request("GET / HTTP/1.1", &["upgrade: h2c"]).upgrade);
    assert!(!request("GET / HTTP/1.1", &["Connection: upgrade"]).upgrade);
}

#[test]
fn a_status_line_is_version_status_and_perhaps_a_reason() {
    for (line, status, minor) in [
        ("HTTP/1.1 200 OK", 200, 1),
        ("HTTP/1.0 200 OK", 200, 0),
        ("HTTP/1.1 404", 404, 1),
        ("HTTP/1.1 404 ", 404, 1),
        ("HTTP/1.1 999 odd reason: x", 999, 1),
        ("HTTP/1.1 987 x", 987, 1),
        ("HTTP/1.1 200 tr\u{e8}s bien", 200, 1),
    ] {
        let head = response(line, &["Content-Length: 0"]);
        assert_eq!((head.status, head.minor_version), (status, minor), "{line}");
        assert_eq!((head.content_length, head.truncated), (Some(0), false));
    }
}

#[test]
fn an_event_stream_is_told_by_its_content_type() {
    for (headers, expected) in [
        (&["Content-Type: text/event-stream"][..], true),
        (&["content-type: TEXT/Event-Stream ; charset=utf-8"], true),
        (&["Content-Type: text/event-stream;"], true),
        (&["Content-Type: text/event-streams"], false),
        (&["Content-Type: text/html; x=text/event-stream"], false),
        (&["Content-Type:"], false),
        (&["Content-Typo: text/event-stream"], false),
        (&[], false),
    ] {
        let head = response("HTTP/1.1 200 OK", headers);
        assert_eq!(head.event_stream, expected, "{headers:?}");
    }
}
