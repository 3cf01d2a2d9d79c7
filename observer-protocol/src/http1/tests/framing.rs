//! What headers say about a body's length, alone and together.

use super::{only_request, only_response, request_end, requests, response_end, responses};
use crate::http1::{
    Framing, Limits, Malformed, RequestEvent, RequestKind, RequestParser, ResponseEvent, Segment,
    framing::{Coding, LengthHeaders},
};

fn length(values: &[&str]) -> Result<Option<u64>, Malformed> {
    let mut headers = LengthHeaders::default();
    for value in values {
        headers.content_length(value.as_bytes());
    }
    let length = headers.length();
    assert_eq!(headers.valid_length(), length.ok().flatten());
    assert_eq!(headers.coding(), None);
    length
}

#[test]
fn a_length_is_decimal_digits_that_fit_64_bits() {
    let table: [(&str, u64); 8] = [
        ("0", 0),
        ("1", 1),
        ("9", 9),
        ("10", 10),
        ("007", 7),
        (" \t42 ", 42),
        ("18446744073709551615", u64::MAX),
        ("00018446744073709551615", u64::MAX),
    ];
    for (value, expected) in table {
        assert_eq!(length(&[value]), Ok(Some(expected)), "{value:?}");
    }
    for bad in [
        "",
        " ",
        "-1",
        "+1",
        "0x5",
        "5 5",
        "5.0",
        "1e3",
        "/",
        ":",
        "5;a",
        "\u{661}",
        "18446744073709551616",
        "18446744073709551620",
        "99999999999999999999999999999999999999999",
    ] {
        assert_eq!(length(&[bad]), Err(Malformed::ContentLength), "{bad:?}");
    }
}

#[test]
fn equal_lengths_are_one_and_others_are_malformed() {
    assert_eq!(length(&[]), Ok(None));
    for same in [
        &["5", "5"][..],
        &["5, 5,5"],
        &["05", "5"],
        &["5,5", "5 ,\t5"],
    ] {
        assert_eq!(length(same), Ok(Some(5)), "{same:?}");
    }
    for bad in [
        &["5", "6"][..],
        &["6", "5", "6"],
        &["5,6"],
        &["5,"],
        &[",5"],
        &["5", ""],
        &["x", "5"],
        &["5", "x", "5"],
        &["x", "5", "5"],
    ] {
        assert_eq!(length(bad), Err(Malformed::ContentLength), "{bad:?}");
    }
}

#[test]
fn the_last_transfer_coding_counts() {
    for (values, coding) in [
        (&[][..], None),
        (&["chunked"], Some(Coding::Chunked)),
        (&[" \tCHUNKED "], Some(Coding::Chunked)),
        (&["gzip, Chunked"], Some(Coding::Chunked)),
        (&["gzip,chunked,"], Some(Coding::Chunked)),
        (&["gzip", "chunked"], Some(Coding::Chunked)),
        (&["chunked", ""], Some(Coding::Chunked)),
        (&["chunked, gzip"], Some(Coding::Other)),
        (&["chunked", "gzip"], Some(Coding::Other)),
        (&["gzip"], Some(Coding::Other)),
        (&["xchunked"], Some(Coding::Other)),
        (&["chunkedx"], Some(Coding::Other)),
        (&["chunked;q=1"], Some(Coding::Other)),
        // What RFC 2616 had for no coding.
        (&["identity"], None),
        (&["Identity, chunked"], Some(Coding::Chunked)),
        (&["chunked, identity"], Some(Coding::Chunked)),
        (&["gzip, identity"], Some(Coding::Other)),
        (&["", " ,"], None),
    ] {
        let mut headers = LengthHeaders::default();
        for value in values {
            headers.transfer_encoding(value.as_bytes());
        }
        assert_eq!(headers.coding(), coding, "{values:?}");
        assert_eq!(headers.length(), Ok(None));
    }
}

/// What follows a request's head with these header lines.
enum Body {
    /// Nothing.
    None,
    /// A body that goes on, and its framing.
    Open(Framing),
    Malformed(Malformed),
}

#[test]
fn a_requests_body_is_framed_by_its_headers() {
    let (length, coding) = (Malformed::ContentLength, Malformed::TransferEncoding);
    for (lines, body) in [
        ("", Body::None),
        ("Content-Length: 0\r\n", Body::None),
        ("Content-Length: 1\r\n", Body::Open(Framing::Length(1))),
        ("Transfer-Encoding: identity\r\n", Body::None),
        (
            "Transfer-Encoding: chunked\r\n",
            Body::Open(Framing::Chunked),
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
            Body::Open(Framing::Chunked),
        ),
        ("Content-Length: x\r\n", Body::Malformed(length)),
        (
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            Body::Malformed(length),
        ),
        // RFC 9112 section 6.3: what a server cannot delimit.
        ("Transfer-Encoding: gzip\r\n", Body::Malformed(coding)),
        (
            "Transfer-Encoding: gzip\r\nContent-Length: 1\r\n",
            Body::Malformed(coding),
        ),
    ] {
        let bytes = format!("POST / HTTP/1.1\r\n{lines}\r\n");
        let events = requests(&[bytes.as_bytes()]);
        let head = only_request(bytes.as_bytes());
        let at = bytes.len();
        let chunked = matches!(body, Body::Open(Framing::Chunked));
        assert_eq!((head.chunked, head.end), (chunked, at as u64), "{lines:?}");
        let next: &[RequestEvent] = match body {
            Body::None => &[request_end(at, Some(0))],
            Body::Open(_) => &[],
            Body::Malformed(reason) => &[RequestEvent::Malformed {
                at: at as u64,
                reason,
            }],
        };
        assert_eq!(&events[1..], next, "{lines:?}");
        let mut parser = RequestParser::new(Limits::default());
        let mut segment = Segment::whole(0, bytes.as_bytes());
        while parser.poll(&mut segment).is_some() {}
        let framing = match body {
            Body::Open(framing) => Some(framing),
            _ => None,
        };
        assert_eq!(parser.framing(), framing, "{lines:?}");
    }
}

#[test]
fn a_responses_body_is_framed_by_its_status_its_headers_and_the_request() {
    use RequestKind::{Connect, Head, Other, Unknown};
    let one = "Content-Length: 1\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let gzip = "Transfer-Encoding: gzip\r\n";
    let bad = "Content-Length: x\r\n";
    for (request, status, lines, framing, ended) in [
        (Other, 200, "", Framing::UntilClose, false),
        (Other, 200, one, Framing::Length(1), false),
        (
            Other,
            200,
            "Content-Length: 0\r\n",
            Framing::Length(0),
            true,
        ),
        (Other, 200, chunked, Framing::Chunked, false),
        (Other, 200, gzip, Framing::UntilClose, false),
        (Other, 203, one, Framing::Length(1), false),
        (Other, 204, one, Framing::None, true),
        (Other, 205, one, Framing::Length(1), false),
        (Other, 303, chunked, Framing::Chunked, false),
        (Other, 304, chunked, Framing::None, true),
        (Other, 304, bad, Framing::None, true),
        (Other, 305, chunked, Framing::Chunked, false),
        (Other, 999, one, Framing::Length(1), false),
        (Head, 200, one, Framing::None, true),
        (Head, 500, chunked, Framing::None, true),
        (Head, 200, "", Framing::None, true),
        (Connect, 199 + 1, one, Framing::Tunnel, true),
        (Connect, 299, chunked, Framing::Tunnel, true),
        (Connect, 300, one, Framing::Length(1), false),
        (Connect, 407, one, Framing::Length(1), false),
        (Other, 299, one, Framing::Length(1), false),
        (Other, 101, one, Framing::Tunnel, true),
        (Unknown, 200, one, Framing::Length(1), false),
        (Unknown, 204, one, Framing::None, true),
    ] {
        let bytes = format!("HTTP/1.1 {status} x\r\n{lines}\r\n");
        let head = only_response(bytes.as_bytes(), request);
        assert_eq!(head.framing, framing, "{request:?} {status} {lines:?}");
        let tunnel = framing == Framing::Tunnel;
        assert_eq!(head.upgrade, tunnel, "{request:?} {status} {lines:?}");
        let told = lines.starts_with("Content-Length") && lines != bad;
        assert_eq!(
            head.content_length.is_some(),
            told,
            "with or without a body"
        );
        let events = responses(&[bytes.as_bytes()], request);
        let next: &[ResponseEvent] = match ended {
            true => &[response_end(bytes.len(), Some(0))],
            false => &[],
        };
        assert_eq!(&events[1..], next, "{request:?} {status} {lines:?}");
    }
    let bytes = format!("HTTP/1.1 200 x\r\n{bad}\r\n");
    let events = responses(&[bytes.as_bytes()], Other);
    let reason = Malformed::ContentLength;
    let at = bytes.len() as u64;
    assert_eq!(events[1], ResponseEvent::Malformed { at, reason });
}

#[test]
fn statuses_below_200_but_101_are_interim() {
    for status in [100, 102, 103, 199] {
        for request in [RequestKind::Other, RequestKind::Head, RequestKind::Connect] {
            let bytes = format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n");
            let at = bytes.len() as u64;
            assert_eq!(
                responses(&[bytes.as_bytes()], request),
                [ResponseEvent::Interim { status, at }]
            );
        }
    }
}
