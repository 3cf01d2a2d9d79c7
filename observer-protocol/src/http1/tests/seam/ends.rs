//! What ends a message that bytes alone do not: runs, the connection's end, and no room.

use super::{Connection, GET, OK, Step};
use crate::protocol::{Ending, Input, Next, Protocol, Side, Why};

/// Of both sides, a head whose body is chunked and whose framing is lost in the middle, or one that was cut off.
fn unframed(side: Side, chunked: bool) -> Connection {
    let mut connection = Connection::new();
    let line = match side {
        Side::Request => "POST / HTTP/1.1\r\n",
        Side::Response => "HTTP/1.1 200 OK\r\n",
    };
    let rest = match chunked {
        true => "Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
        false => "Server: x",
    };
    if side == Side::Response {
        connection.asks(GET);
    }
    connection.moved(side, format!("{line}{rest}").as_bytes());
    assert_eq!(connection.counted(side, 500).len(), usize::from(!chunked));
    connection
}

/// The end of chunks, an empty line behind trailers, something else, and nothing that is known.
const TAILS: [u64; 4] = [
    u64::from_le_bytes(*b"x\r\n0\r\n\r\n"),
    u64::from_le_bytes(*b"b: c\r\n\r\n"),
    u64::from_le_bytes(*b"01234567"),
    0,
];

#[test]
fn a_message_whose_framing_is_not_known_ends_where_its_tail_or_the_next_message_says_so() {
    let sides = [(Side::Request, GET, OK), (Side::Response, OK, GET)];
    for (side, same, other) in sides {
        let another = match side {
            Side::Request => Side::Response,
            Side::Response => Side::Request,
        };
        let run = |side, first| Next::Run { side, first };
        // What comes next; whether a message without chunks has ended then; and one with chunks, by its tail.
        let table = [
            (Next::Unknown, false, [true, false, false, false]),
            (run(another, &b""[..]), false, [true, false, false, false]),
            (run(another, &other[..1]), false, [true, true, false, false]),
            (run(another, other), true, [true, true, false, true]),
            (run(side, same), true, [true, true, false, true]),
            (run(side, &same[..3]), false, [true, true, false, false]),
            (run(another, b"\0\0\0"), false, [true, false, false, false]),
            (Next::End, true, [true, true, false, true]),
        ];
        for (next, plain, chunked) in table {
            let check = |has_chunks: bool, tail: u64, ended: bool| {
                let mut connection = unframed(side, has_chunks);
                let at = connection.at[side.index()];
                let end = [Step::End(side, at, None), Step::Lost(side, Why::Unframed)];
                let expected = if ended { &end[..] } else { &[] };
                let said = connection.run_end(side, tail, next);
                assert_eq!(said, expected, "{side:?} {next:?} {tail:#x}");
            };
            for (tail, chunked) in TAILS.into_iter().zip(chunked) {
                check(false, tail, plain);
                check(true, tail, chunked);
            }
        }
    }
}

#[test]
fn a_message_whose_framing_is_known_does_not_end_with_a_run() {
    for (side, head) in [
        (Side::Request, "POST / HTTP/1.1"),
        (Side::Response, "HTTP/1.1 200 OK"),
    ] {
        for header in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let mut connection = Connection::new();
            connection.asks(GET);
            let bytes = format!("{head}\r\n{header}\r\n\r\n");
            connection.moved(side, bytes.as_bytes());
            for tail in TAILS {
                assert_eq!(connection.run_end(side, tail, Next::End), []);
            }
        }
        let mut connection = Connection::new();
        assert_eq!(connection.run_end(side, TAILS[0], Next::End), []);
    }
}

#[test]
fn a_head_without_room_is_what_was_seen_of_it() {
    let mut connection = Connection::new();
    assert_eq!(connection.tell(Side::Request, Input::Release), []);
    connection.asks(b"GET / HTTP/1.1\r\nHost: x\r\nCook");
    assert_eq!(connection.http1.held(Side::Request), 29);
    assert_eq!(connection.http1.held(Side::Response), 0);
    let said = connection.tell(Side::Request, Input::Release);
    assert_eq!(said, [Step::Open(0, "GET".into(), false)]);
    assert_eq!(connection.http1.held(Side::Request), 0);

    let mut connection = Connection::new();
    assert_eq!(connection.tell(Side::Response, Input::Release), []);
    connection.answers(b"HTTP/1.1 200 OK\r\nServ");
    assert_eq!(connection.http1.held(Side::Response), 21);
    assert_eq!(connection.http1.held(Side::Request), 0);
    let said = connection.tell(Side::Response, Input::Release);
    assert_eq!(said, [Step::Reply(0, 200, false)]);
    assert_eq!(connection.http1.held(Side::Response), 0);

    let mut connection = Connection::new();
    connection.asks(b"GET /");
    let lost = Step::Lost(Side::Request, Why::Unseen(0));
    assert_eq!(connection.tell(Side::Request, Input::Release), [lost]);
    let mut connection = Connection::new();
    connection.asks(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe");
    assert_eq!(connection.tell(Side::Request, Input::Release), []);
    assert_eq!(connection.asks(b"llo").len(), 1, "a body needs no room");
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole_where_that_ended_in_order() {
    let until_close = "HTTP/1.1 200 OK\r\n\r\nhello";
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";
    let cut_off = "HTTP/1.1 200 OK\r\nServer";
    let end = until_close.len() as u64;
    for (answer, counted, reset, ended) in [
        (until_close, 0, false, Some((end, 5))),
        (until_close, 7, false, Some((end + 7, 12))),
        (until_close, 0, true, None),
        (length, 0, false, None),
        (length, 0, true, None),
        // Nobody knows whether this was all of it.
        (cut_off, 50, false, None),
        (cut_off, 50, true, None),
    ] {
        let mut connection = Connection::new();
        connection.asks(GET);
        connection.answers(answer.as_bytes());
        connection.counted(Side::Response, counted);
        let said = connection.tell(Side::Response, Input::Close { reset });
        let expected: Vec<_> = ended
            .map(|(at, size)| Step::End(Side::Response, at, Some(size)))
            .into_iter()
            .collect();
        assert_eq!(said, expected, "{answer:?} {reset}");
        let again = connection.tell(Side::Response, Input::Close { reset });
        assert_eq!(again, [], "ended once");
    }
}

#[test]
fn a_head_that_the_end_cuts_off_is_told_as_far_as_it_was_seen() {
    for reset in [false, true] {
        let mut connection = Connection::new();
        connection.asks(b"GET / HTTP/1.1\r\nHost");
        let said = connection.tell(Side::Request, Input::Close { reset });
        assert_eq!(said, [Step::Open(0, "GET".into(), false)]);

        let mut connection = Connection::new();
        connection.answers(b"HTTP/1.1 200 OK\r\nServ");
        let said = connection.tell(Side::Response, Input::Close { reset });
        assert_eq!(said, [Step::Reply(0, 200, false)]);
    }
}

#[test]
fn when_an_answer_ends_depends_on_its_framing() {
    for (answer, counted, ending) in [
        ("", 0, Ending::AskEntry),
        ("HTTP/1.1 200 OK\r\n\r\n", 0, Ending::Never),
        ("HTTP/1.1 200 OK\r\nServer", 0, Ending::AskEntry),
        ("HTTP/1.1 200 OK\r\nServer", 9, Ending::Never),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            0,
            Ending::AskEntry,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            0,
            Ending::AskEntry,
        ),
        // Its framing is lost, and its last bytes will show its end.
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            9,
            Ending::AskEntry,
        ),
        ("HTTP/1.1 101 x\r\n\r\n", 0, Ending::Never),
    ] {
        let mut connection = Connection::new();
        connection.asks(GET);
        connection.answers(answer.as_bytes());
        if counted > 0 {
            connection.counted(Side::Response, counted);
        }
        assert_eq!(connection.http1.ending(), ending, "{answer:?} {counted}");
    }
}
