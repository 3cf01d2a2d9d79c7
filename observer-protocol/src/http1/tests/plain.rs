//! The quick way of reading a head: what it reads, what it leaves to httparse, and that the usual is not left.

use crate::http1::{
    plain::{FEW_HEADERS, Field, Initials, MOST_FIELDS, Plain, colon, is_name, line_end},
    request_head::{Line, request_line},
    response_head::status_line,
};

#[test]
fn a_line_ends_before_its_crlf_and_nowhere_else() {
    for length in 0..40 {
        let text = "x".repeat(length);
        let whole = format!("{text}\r\nyyyyyyyyyyyyyyyyyyyy");
        assert_eq!(line_end(whole.as_bytes(), 0), Some(length));
        assert_eq!(
            line_end(format!("ab{whole}").as_bytes(), 2),
            Some(length + 2)
        );
        assert_eq!(line_end(text.as_bytes(), 0), None);
        for other in [
            "\n", "\t\r\n", "\0\r\n", "\x7f\r\n", "\r", "\rx\n", "\x1f\r\n",
        ] {
            let whole = format!("{text}{other}yyyyyyyyyyyyyyyyyyyy\r\n");
            assert_eq!(line_end(whole.as_bytes(), 0), None, "{whole:?}");
        }
    }
    for length in 0..40 {
        let text = "x".repeat(length);
        // Nothing behind it, so that the last bytes are less than a word.
        for last in ["", " ", "~", "é", "\u{80}", " !~ÿ"] {
            let line = format!("{text}{last}\r\n");
            let end = Some(line.len() - 2);
            assert_eq!(line_end(line.as_bytes(), 0), end, "{line:?}");
        }
        for other in ["\0", "\t", "\x1f", "\x7f", "\n"] {
            let line = format!("{text}{other}\r\n");
            assert_eq!(line_end(line.as_bytes(), 0), None, "{line:?}");
        }
    }
    for byte in 0..=255u8 {
        let line = [b"0123", &[byte][..], b"56789\r\n"].concat();
        let end = (byte >= 0x20 && byte != 0x7f).then_some(10);
        assert_eq!(line_end(&line, 0), end, "{byte:#04x}");
    }
    assert_eq!(line_end(b"", 0), None);
    assert_eq!(line_end(b"a", 2), None);
}

#[test]
fn a_colon_is_found_wherever_it_is() {
    for byte in 0..=255u8 {
        let line = [b"01", &[byte][..], b"3456789:"].concat();
        let expected = if byte == b':' { 2 } else { 10 };
        assert_eq!(colon(&line), Some(expected), "{byte:#04x}");
        assert_eq!(colon(&line[..10]), (byte == b':').then_some(2));
    }
    for length in 0..40 {
        let text = "x;9".repeat(length);
        assert_eq!(colon(text.as_bytes()), None);
        let line = format!("{text}:y::zzzzzzzzzzzzzz");
        assert_eq!(colon(line.as_bytes()), Some(text.len()));
        let line = format!("{text}:");
        assert_eq!(colon(line.as_bytes()), Some(text.len()), "the last byte");
    }
}

#[test]
fn a_name_is_itself_in_any_case_and_nothing_else() {
    let known = [
        "b3",
        "host",
        "upgrade",
        "user-agent",
        "content-type",
        "content-length",
        "transfer-encoding",
        "access-control-max-age",
        "a-name-of-twenty-four-le",
        "a-name-of-twenty-five-let",
    ];
    for name in known {
        let known = name.as_bytes();
        assert!(is_name(known, known));
        assert!(is_name(name.to_uppercase().as_bytes(), known));
        for index in 0..known.len() {
            for byte in 0x20..0x7f {
                let mut other = known.to_vec();
                other[index] = byte;
                assert_eq!(
                    is_name(&other, known),
                    other.eq_ignore_ascii_case(known),
                    "{:?}",
                    other.escape_ascii().to_string()
                );
            }
        }
        assert!(!is_name(&known[1..], known));
        assert!(!is_name(b"", known));
    }
}

#[test]
fn fields_are_those_asked_for() {
    let head = b"first\r\nAb: 1\r\nCd:  2 \r\nno header\r\ncolon\r\nca:\r\nC:x:y\r\n\r\nbody";
    let plain = Plain::read(head, Initials::new(b"c")).unwrap();
    assert_eq!(
        (plain.first_line(), plain.length()),
        (&b"first"[..], head.len() - 4)
    );
    let fields: Vec<_> = plain.fields().collect();
    let expected: [Field<'_>; 3] = [(b"Cd", b"2"), (b"ca", b""), (b"C", b"x:y")];
    assert_eq!(fields, expected);
}

#[test]
fn what_is_uncommon_is_left_to_others() {
    let initials = Initials::new(b"c");
    for head in [
        "first\r\nC: d\r\n",
        "first\r\nC: d\r\n\r",
        "first\r\nC: d\r\n\rx\r\n\r\n",
        "first\r\n\r\r\n",
        "first\nC: d\r\n\r\n",
        "first\r\nC: d\r\n e\r\n\r\n",
        "first\r\nC: d\r\n\te\r\n\r\n",
        "first\r\nC : d\r\n\r\n",
        "first\r\nX: d\te\r\n\r\n",
        "first",
        "",
    ] {
        assert!(Plain::read(head.as_bytes(), initials).is_none(), "{head:?}");
    }
    let lines = |count: usize| format!("first\r\n{}\r\n", "C: d\r\n".repeat(count));
    assert!(Plain::read(lines(MOST_FIELDS).as_bytes(), initials).is_some());
    assert!(Plain::read(lines(MOST_FIELDS + 1).as_bytes(), initials).is_none());
    let other = Initials::new(b"x");
    assert!(Plain::read(lines(FEW_HEADERS).as_bytes(), other).is_some());
    assert!(Plain::read(lines(FEW_HEADERS + 1).as_bytes(), other).is_none());
}

#[test]
fn letters_are_asked_for_in_either_case() {
    let initials = Initials::new(b"acz");
    for byte in b'a'..=b'z' {
        let expected = matches!(byte, b'a' | b'c' | b'z');
        assert_eq!(initials.have(byte), expected, "{}", char::from(byte));
        let upper = byte.to_ascii_uppercase();
        assert_eq!(initials.have(upper), expected, "{}", char::from(upper));
    }
    assert!(!(0..=255).any(|byte| Initials::new(b"").have(byte)));
}

#[test]
fn a_head_is_read_within_its_first_64_kib() {
    let head = |length: usize| {
        let fill = "x".repeat(length - "first\r\nX: \r\n\r\n".len());
        format!("first\r\nX: {fill}\r\n\r\nbody")
    };
    let most = usize::from(u16::MAX);
    let (whole, over) = (head(most), head(most + 1));
    let read = Plain::read(whole.as_bytes(), Initials::new(b"x")).unwrap();
    assert_eq!(read.length(), most);
    assert_eq!(
        read.fields().next().map(|(_, value)| value.len()),
        Some(most - 14)
    );
    assert!(Plain::read(over.as_bytes(), Initials::new(b"x")).is_none());
}

#[test]
fn the_usual_request_line_is_read_at_once_and_any_other_is_left() {
    let table: [(&str, Option<Line<'_>>); 20] = [
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
