//! The quick way of reading a head: what it reads, what it leaves to httparse, and that the usual is not left.

use crate::http1::{
    name::Name,
    plain::{FEW_HEADERS, Field, Lines, Plain},
    request_head::request_line,
    response_head::status_line,
};

#[test]
fn a_line_ends_before_its_crlf_and_nowhere_else() {
    let line_end = |bytes: &[u8]| Lines::of(bytes).next_end();
    for length in 0..140 {
        let text = "x".repeat(length);
        let whole = format!("{text}\r\nyyyyyyyyyyyyyyyyyyyy");
        assert_eq!(line_end(whole.as_bytes()), Some(length));
        assert_eq!(line_end(text.as_bytes()), None);
        for other in [
            "\n", "\t\r\n", "\0\r\n", "\x7f\r\n", "\r", "\rx\n", "\x1f\r\n",
        ] {
            let whole = format!("{text}{other}yyyyyyyyyyyyyyyyyyyy\r\n");
            assert_eq!(line_end(whole.as_bytes()), None, "{whole:?}");
        }
    }
    for length in 0..140 {
        let text = "x".repeat(length);
        // Nothing behind it, so that the last bytes are less than a word.
        for last in ["", " ", "~", "é", "\u{80}", " !~ÿ"] {
            let line = format!("{text}{last}\r\n");
            let end = Some(line.len() - 2);
            assert_eq!(line_end(line.as_bytes()), end, "{line:?}");
        }
        for other in ["\0", "\t", "\x1f", "\x7f", "\n"] {
            let line = format!("{text}{other}\r\n");
            assert_eq!(line_end(line.as_bytes()), None, "{line:?}");
        }
    }
    for byte in 0..=255u8 {
        let line = [b"0123", &[byte][..], b"56789\r\n"].concat();
        let end = (byte >= 0x20 && byte != 0x7f).then_some(10);
        assert_eq!(line_end(&line), end, "{byte:#04x}");
    }
    assert_eq!(line_end(b""), None);
}

#[test]
fn the_ends_of_lines_are_found_one_by_one_wherever_blocks_begin() {
    for first in 0..140 {
        for second in [0, 1, 2, 20, 61, 62, 63, 64, 65, 126, 127, 128, 129] {
            for behind in ["", "x", "\n", "y\r\n", &"z".repeat(100)] {
                let (one, two) = ("x".repeat(first), "x".repeat(second));
                let text = format!("{one}\r\n{two}\r\n{behind}");
                let mut lines = Lines::of(text.as_bytes());
                assert_eq!(lines.next_end(), Some(first), "{text:?}");
                assert_eq!(lines.next_end(), Some(first + 2 + second), "{text:?}");
            }
        }
    }
}

/// The head, and the lines that are asked for.
fn read(head: &[u8]) -> Option<(Plain<'_>, Vec<Field<'_>>)> {
    let mut fields = Vec::new();
    Some((Plain::read(head, |field| fields.push(field))?, fields))
}

#[test]
fn fields_are_those_asked_for() {
    let head =
        b"first\r\nHosts: 1\r\nHOST:  2 \r\nno header\r\nhost\r\nb3:\r\nexpect:x:y\r\n\r\nbody";
    let (plain, fields) = read(head).unwrap();
    let expected = Plain {
        first_line: b"first",
        length: head.len() - 4,
    };
    assert_eq!(plain, expected);
    let expected: [Field<'_>; 3] = [(Name::Host, b"2"), (Name::B3, b""), (Name::Expect, b"x:y")];
    assert_eq!(fields, expected);
}

#[test]
fn what_is_uncommon_is_left_to_others() {
    for head in [
        "first\r\nHost: d\r\n",
        "first\r\nHost: d\r\n\r",
        "first\r\nHost: d\r\n\rx\r\n\r\n",
        "first\r\n\r\r\n",
        "first\nHost: d\r\n\r\n",
        "first\r\nHost: d\r\n e\r\n\r\n",
        "first\r\nHost: d\r\n\te\r\n\r\n",
        "first\r\nHost : d\r\n\r\n",
        "first\r\nX: d\te\r\n\r\n",
        "first",
        "",
    ] {
        assert_eq!(read(head.as_bytes()), None, "{head:?}");
    }
    for line in ["Host: d\r\n", "X: d\r\n"] {
        let lines = |count: usize| format!("first\r\n{}\r\n", line.repeat(count));
        assert!(read(lines(FEW_HEADERS).as_bytes()).is_some());
        assert!(read(lines(FEW_HEADERS + 1).as_bytes()).is_none());
    }
}

/// Method, target and minor version.
type Parts = (&'static str, &'static str, u8);

#[test]
fn the_usual_request_line_is_read_at_once_and_any_other_is_left() {
    let table: [(&str, Option<Parts>); 20] = [
        ("GET / HTTP/1.1", Some(("GET", "/", 1))),
        ("GET /a?b=c#d HTTP/1.0", Some(("GET", "/a?b=c#d", 0))),
        ("OPTIONS * HTTP/1.1", Some(("OPTIONS", "*", 1))),
        ("G x HTTP/1.1", Some(("G", "x", 1))),
        ("get / HTTP/1.1", None),
        ("M-SEARCH * HTTP/1.1", None),
        ("GET / HTTP/1.2", None),
        ("GET / HTTP/2.0", None),
        ("GET / http/1.1", None),
        ("GET  / HTTP/1.1", None),
        ("GET /  HTTP/1.1", None),
        ("GET /a b HTTP/1.1", None),
        ("GET  HTTP/1.1", None),
        ("GET HTTP/1.1", None),
        (" / HTTP/1.1", None),
        (" HTTP/1.1", None),
        ("GET HTTP/1.1 HTTP/1.1", Some(("GET", "HTTP/1.1", 1))),
        ("GET /\u{e9} HTTP/1.1", None),
        ("GET", None),
        ("", None),
    ];
    for (line, read) in table {
        let read = read.map(|(method, target, minor)| (method, target.as_bytes(), minor));
        assert_eq!(request_line(line.as_bytes()), read, "{line:?}");
    }
}

#[test]
fn the_usual_status_line_is_read_at_once_and_any_other_is_left() {
    let table: [(&str, Option<(u16, u8)>); 19] = [
        ("HTTP/1.1 200 OK", Some((200, 1))),
        ("HTTP/1.0 404 Not Found", Some((404, 0))),
        ("HTTP/1.1 123", Some((123, 1))),
        ("HTTP/1.1 987 ", Some((987, 1))),
        ("HTTP/1.1 100 ", Some((100, 1))),
        ("HTTP/1.1 099 ", None),
        ("HTTP/1.1 000", None),
        ("HTTP/1.1 20", None),
        ("HTTP/1.1 2000", None),
        ("HTTP/1.1 200OK", None),
        ("HTTP/1.1 200\t", None),
        ("HTTP/1.1 2/0 ", None),
        ("HTTP/1.1 2:0 ", None),
        ("HTTP/1.1 x00 ", None),
        ("HTTP/1.1  200 ", None),
        ("HTTP/1.2 200 ", None),
        ("HTTP/2 200 ", None),
        ("http/1.1 200 ", None),
        ("", None),
    ];
    for (line, read) in table {
        assert_eq!(status_line(line.as_bytes()), read, "{line:?}");
    }
}
