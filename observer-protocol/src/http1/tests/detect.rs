//! Detection: from which byte on it is sure, and what it takes for nothing.

use super::corpus::{REQUESTS, RESPONSES};
use crate::http1::{Detection, detect, detect::MAX_METHOD};

/// Where the first line ends that is not empty, its LF included.
fn first_line(bytes: &[u8]) -> usize {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte));
    let start = start.unwrap();
    let end = bytes[start..].iter().position(|byte| *byte == b'\n');
    start + end.unwrap() + 1
}

#[test]
fn a_request_is_one_once_its_first_line_has_ended() {
    for case in REQUESTS {
        let line = first_line(case.bytes);
        for length in 0..=case.bytes.len() {
            let expected = match length < line {
                true => Detection::Incomplete,
                false => Detection::Request,
            };
            let found = detect(&case.bytes[..length]);
            assert_eq!(found, expected, "{} at {length}", case.name);
        }
    }
}

#[test]
fn a_response_is_one_with_the_byte_behind_its_status() {
    for case in RESPONSES {
        for length in 0..=case.bytes.len() {
            let expected = match length < "HTTP/1.1 200 ".len() {
                true => Detection::Incomplete,
                false => Detection::Response,
            };
            let found = detect(&case.bytes[..length]);
            assert_eq!(found, expected, "{} at {length}", case.name);
        }
    }
}

#[test]
fn every_status_of_three_digits_from_100_on_is_one() {
    for status in 0..1000 {
        let expected = match status {
            100.. => Detection::Response,
            _ => Detection::No,
        };
        for end in [" ", "\r", "\n"] {
            let line = format!("HTTP/1.1 {status:03}{end}");
            assert_eq!(detect(line.as_bytes()), expected, "{line:?}");
        }
    }
    for line in [
        "HTTP/1.1 2000",
        "HTTP/1.1 20 ",
        "HTTP/1.1 2x0 ",
        "HTTP/1.1 20x ",
        "HTTP/1.1 x00 ",
        "HTTP/1.1  200 ",
        "HTTP/1.1\t200 ",
        "HTTP/1.1 200\t",
        "HTTP/1.2 200 ",
        "HTTP/2.0 200 ",
        "HTTP/0.9 200 ",
        "http/1.1 200 ",
        "ICY 200 OK\r\n",
    ] {
        assert_eq!(detect(line.as_bytes()), Detection::No, "{line:?}");
    }
    assert_eq!(detect(b"HTTP/1.0 200\n"), Detection::Response);
}

#[test]
fn a_method_is_a_token() {
    // RFC 9110 section 5.6.2.
    let marks = b"!#$%&'*+-.^_`|~";
    for byte in 0..=255u8 {
        let token = byte.is_ascii_alphanumeric() || marks.contains(&byte);
        let expected = match token {
            true => Detection::Request,
            false => Detection::No,
        };
        let line = [b"G", &[byte][..], b"T / HTTP/1.1\r\n"].concat();
        let found = detect(&line);
        match byte {
            b' ' => assert_eq!(found, Detection::No, "the target is T, the version is /"),
            _ => assert_eq!(found, expected, "{}", line.escape_ascii()),
        }
    }
    assert_eq!(detect(b" / HTTP/1.1\r\n"), Detection::No, "no method");
}

#[test]
fn a_method_has_32_bytes_at_most() {
    assert_eq!(MAX_METHOD, 32);
    for length in 1..=40 {
        let method = "M".repeat(length);
        let (alone, line) = match length {
            ..=32 => (Detection::Incomplete, Detection::Request),
            _ => (Detection::No, Detection::No),
        };
        assert_eq!(detect(method.as_bytes()), alone, "{length}");
        let whole = format!("{method} / HTTP/1.1\r\n");
        assert_eq!(detect(whole.as_bytes()), line, "{length}");
    }
}

#[test]
fn a_target_is_not_empty_and_has_neither_space_nor_control_characters() {
    assert_eq!(detect(b"GET  HTTP/1.1\r\n"), Detection::No);
    assert_eq!(detect(b"GET /a b HTTP/1.1\r\n"), Detection::No);
    for byte in 0..=255u8 {
        let line = [b"GET /", &[byte][..], b"b HTTP/1.1\r\n"].concat();
        let expected = match byte {
            0..=0x20 | 0x7f => Detection::No,
            _ => Detection::Request,
        };
        assert_eq!(detect(&line), expected, "{}", line.escape_ascii());
    }
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000));
    assert_eq!(detect(long.as_bytes()), Detection::Request);
}

#[test]
fn a_request_line_ends_in_version_1_0_or_1_1_and_a_line_end() {
    for (end, expected) in [
        ("HTTP/1.0\n", Detection::Request),
        ("HTTP/1.1\r\n", Detection::Request),
        ("HTTP/1.1\r\nHost: x", Detection::Request),
        ("HTTP/1.0\nHost: x", Detection::Request),
        ("", Detection::Incomplete),
        ("HTTP", Detection::Incomplete),
        ("HTTP/1.", Detection::Incomplete),
        ("HTTP/1.0", Detection::Incomplete),
        ("HTTP/1.1\r", Detection::Incomplete),
        ("HTTP/1.2", Detection::No),
        ("HTTP/1.2\r\n", Detection::No),
        ("HTTP/1.\r\n", Detection::No),
        ("HTTP/1.11\r\n", Detection::No),
        ("HTTP/1.1 \r\n", Detection::No),
        ("HTTP/1.1\rx", Detection::No),
        ("HTTP/1.1\r\r\n", Detection::No),
        ("HTTP/2.0\r\n", Detection::No),
        ("HTTP/2", Detection::No),
        ("HTTP ", Detection::No),
        ("http/1.1\r\n", Detection::No),
        ("RTSP/1.0\r\n", Detection::No),
        ("SIP/2.0\r\n", Detection::No),
        ("\r\n", Detection::No),
    ] {
        let line = format!("GET / {end}");
        assert_eq!(detect(line.as_bytes()), expected, "{line:?}");
    }
    assert_eq!(detect(b"GET /\r\n"), Detection::No, "HTTP/0.9");
    assert_eq!(detect(b"GET\r\n"), Detection::No);
}

#[test]
fn line_ends_before_the_first_line_are_passed_over() {
    for before in ["", "\n", "\r\n", "\r\n\r\n", "\r\r"] {
        let detect = |line: &str| detect(format!("{before}{line}").as_bytes());
        assert_eq!(detect(""), Detection::Incomplete);
        assert_eq!(detect("GET / HTTP/1.1\r\n"), Detection::Request);
        assert_eq!(detect("HTTP/1.1 200 OK"), Detection::Response);
        assert_eq!(detect("\0"), Detection::No);
    }
}

#[test]
fn other_protocols_are_none() {
    let table: [(&str, &[u8]); 9] = [
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("SSH", b"SSH-2.0-OpenSSH_10.0\r\n"),
        ("SMTP", b"220 mail.example ESMTP\r\n"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("memcached", b"get key\r\n"),
        ("PostgreSQL", b"\x00\x00\x00\x08\x04\xd2\x16\x2f"),
        ("RTSP", b"OPTIONS rtsp://x RTSP/1.0\r\n"),
        ("SIP", b"INVITE sip:x SIP/2.0\r\n"),
    ];
    for (name, bytes) in table {
        assert_eq!(detect(bytes), Detection::No, "{name}");
    }
}
