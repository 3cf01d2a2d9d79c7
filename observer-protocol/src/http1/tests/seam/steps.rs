//! Which steps bytes make, and which are lost.

use super::{
    super::corpus::{REQUESTS, RESPONSES},
    Connection, GET, OK, Step, open,
};
use crate::{
    http1::Http1,
    protocol::{Ending, Protocol, Shape, Side, Sniff, Why},
};

#[test]
fn requests_are_answered_in_order() {
    let mut connection = Connection::new();
    let twice = [GET, GET].concat();
    let requests = [
        open(0, "GET"),
        Step::End(Side::Request, 18, Some(0)),
        open(18, "GET"),
        Step::End(Side::Request, 36, Some(0)),
    ];
    assert_eq!(connection.asks(&twice), requests);
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(connection.answers(interim), [Step::Interim]);
    let end = 25 + OK.len() as u64;
    let answer = [
        Step::Reply(25, 200, true),
        Step::End(Side::Response, end, Some(2)),
    ];
    assert_eq!(connection.answers(OK), answer);
}

#[test]
fn an_answer_is_read_by_what_was_asked() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let end = ok.len() as u64;
    let head = Step::Reply(0, 200, true);
    for (method, then) in [
        ("GET", vec![]),
        ("HEAD", vec![Step::End(Side::Response, end, Some(0))]),
        (
            "CONNECT",
            vec![Step::End(Side::Response, end, Some(0)), Step::Tunnel(end)],
        ),
    ] {
        let mut connection = Connection::new();
        connection.asks(format!("{method} a:1 HTTP/1.1\r\n\r\n").as_bytes());
        let said = connection.answers(ok);
        assert_eq!(said[0], head, "{method}");
        assert_eq!(said[1..], then, "{method}");
    }
    // A run that begins with an answer shows that the one before had no body, but only where it may have been to HEAD.
    let next = b"HTTP/1.1 204 No Content\r\n\r\n";
    for (seen, ended) in [
        (false, Step::End(Side::Response, end, Some(0))),
        (true, Step::End(Side::Response, end + 2, Some(2))),
    ] {
        let mut connection = Connection::new();
        if seen {
            connection.asks(GET);
        }
        assert_eq!(connection.answers(ok).len(), 1);
        connection.run_start(Side::Response);
        assert_eq!(connection.answers(next)[0], ended, "{seen}");
    }
}

#[test]
fn a_tunnel_is_told_with_the_position_from_which_it_holds() {
    let mut connection = Connection::new();
    connection.asks(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    let said = connection.answers(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x00");
    assert_eq!(
        said,
        [
            Step::Reply(0, 101, true),
            Step::End(Side::Response, 36, Some(0)),
            Step::Tunnel(36),
        ]
    );
    assert_eq!(connection.http1.ending(), Ending::Never);
}

/// The exchange lasts as long as what it led to.
#[test]
fn a_switch_to_what_is_read_does_not_end_the_exchange() {
    for (name, ends) in [("websocket", false), ("WebSocket ", false), ("tcp", true)] {
        let mut connection = Connection::new();
        connection.asks(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: {name}\r\n\r\n");
        let said = connection.answers(head.as_bytes());
        let end = Step::End(Side::Response, head.len() as u64, Some(0));
        assert_eq!(said.contains(&end), ends, "{name}");
        assert_eq!(said.last(), Some(&Step::Tunnel(head.len() as u64)));
    }
    let mut connection = Connection::new();
    connection.asks(GET);
    let ok = b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        connection.answers(ok).len(),
        2,
        "it only says that it could"
    );
}

#[test]
fn what_cannot_be_read_is_lost_and_why() {
    let lost = |why| [Step::Lost(Side::Request, why)];
    let mut connection = Connection::new();
    connection.asks(GET);
    assert_eq!(connection.asks(b"\0"), lost(Why::Malformed));

    let mut connection = Connection::new();
    connection.asks(GET);
    assert_eq!(connection.counted(Side::Request, 9), lost(Why::Unseen(18)));

    let mut connection = Connection::new();
    let long = format!("GET /{}", "x".repeat(16 * 1024));
    assert_eq!(connection.asks(long.as_bytes()), lost(Why::TooLarge));

    let lost = |why| [Step::Lost(Side::Response, why)];
    let mut connection = Connection::new();
    connection.answers(OK);
    let end = OK.len() as u64;
    assert_eq!(connection.answers(b"\0"), lost(Why::Malformed));
    connection.run_start(Side::Response);
    connection.answers(OK);
    let end = 2 * end + 1;
    assert_eq!(
        connection.counted(Side::Response, 9),
        lost(Why::Unseen(end))
    );

    for side in [Side::Request, Side::Response] {
        let mut connection = Connection::new();
        assert_eq!(connection.moved(side, b"\0"), [Step::Foreign(side)]);
    }
    // A status line has no length of its own: one that is larger than what is kept has a reason without end.
    let mut connection = Connection::new();
    let long = format!("HTTP/1.1 200 {}", "x".repeat(16 * 1024));
    assert_eq!(connection.answers(long.as_bytes()), lost(Why::TooLarge));
}

#[test]
fn a_head_that_was_cut_off_is_not_whole() {
    let mut connection = Connection::new();
    let head = b"GET / HTTP/1.1\r\nCookie: a";
    assert_eq!(connection.asks(head), []);
    let said = connection.counted(Side::Request, 100);
    assert_eq!(said, [Step::Open(0, "GET".into(), false)]);
    connection.answers(b"HTTP/1.1 200 OK\r\nServer");
    let said = connection.counted(Side::Response, 100);
    assert_eq!(said, [Step::Reply(0, 200, false)]);
    assert_eq!(connection.http1.ending(), Ending::Never);
}

#[test]
fn a_run_brings_a_side_back_into_step() {
    for (side, message) in [(Side::Request, GET), (Side::Response, OK)] {
        let mut connection = Connection::new();
        connection.moved(side, b"\0");
        assert_eq!(connection.moved(side, message), []);
        assert_eq!(connection.run_start(side), []);
        assert_eq!(connection.moved(side, message).len(), 2);
    }
}

#[test]
fn each_side_sniffs_its_own_messages() {
    use Side::{Request, Response};
    for (side, first, sniff) in [
        (Request, &b""[..], Sniff::More),
        (Response, b"", Sniff::More),
        (Request, b"\r\n", Sniff::More),
        (Request, b"G", Sniff::More),
        (Request, GET, Sniff::Yes),
        (Request, b"\r\nGET / HTTP/1.1\r\n", Sniff::Yes),
        (Request, b"\0", Sniff::No),
        (Request, OK, Sniff::No),
        (Response, b"HTT", Sniff::More),
        (Response, OK, Sniff::Yes),
        (Response, b"\r\nHTTP/1.1 200 OK", Sniff::Yes),
        (Response, b"G", Sniff::No),
        (Response, GET, Sniff::No),
    ] {
        assert_eq!(
            Http1::sniff(side, first),
            sniff,
            "{side:?} {}",
            first.escape_ascii()
        );
    }
    assert_eq!(Connection::new().http1.shape(), Shape::Head);
}

/// What a message makes the seam say is what its prefixes said, and more.
#[test]
fn every_prefix_says_less_and_nothing_else() {
    let requests = REQUESTS
        .iter()
        .map(|case| (Side::Request, case.name, case.bytes));
    let responses = RESPONSES
        .iter()
        .map(|case| (Side::Response, case.name, case.bytes));
    for (side, name, bytes) in requests.chain(responses) {
        let all = Connection::new().moved(side, bytes);
        for cut in 0..bytes.len() {
            assert_ne!(
                Http1::sniff(side, &bytes[..cut]),
                Sniff::No,
                "{name} at {cut}"
            );
            let said = Connection::new().moved(side, &bytes[..cut]);
            assert!(all.starts_with(&said), "{name} at {cut}: {said:?}");
        }
        assert_eq!(Http1::sniff(side, bytes), Sniff::Yes, "{name}");
    }
}
