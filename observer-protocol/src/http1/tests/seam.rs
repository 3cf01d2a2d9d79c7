//! HTTP/1 behind the seam: what each input makes it say.

use super::corpus::{REQUESTS, RESPONSES};
use crate::{
    Segment,
    http1::Http1,
    protocol::{
        End, Ending, Input, Joined, Key, Lost, Next, Open, Progress, Protocol, Replies, Reply,
        Scope, Shape, Side, Sniff, Steps, Switch, Why,
    },
};

/// A step, with what matters of its head.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Position, method, and whether the head is whole.
    Open(u64, String, bool),
    /// Position, status, and whether the head is whole.
    Reply(u64, u16, bool),
    Interim,
    /// Side, position and size.
    End(Side, u64, Option<u64>),
    Lost(Side, Why),
    Foreign(Side),
    /// From where on in the answers.
    Tunnel(u64),
}

/// Keeps the steps, and pairs as a ledger does: answers come in order.
#[derive(Default)]
struct Said {
    steps: Vec<Step>,
    open: Vec<u64>,
}

impl Steps<Http1> for Said {
    fn open(&mut self, open: Open<<Http1 as Protocol>::Request<'_>>) {
        assert_eq!((open.key, open.replies), (Key::Fifo, Replies::One));
        self.open.push(open.asked);
        let method = open.head.method.into_owned();
        self.steps.push(Step::Open(open.at, method, open.whole));
    }
    fn reply(&mut self, reply: Reply<<Http1 as Protocol>::Response<'_>>) {
        assert_eq!(reply.key, Key::Fifo);
        let status = reply.head.status;
        self.steps.push(Step::Reply(reply.at, status, reply.whole));
    }
    fn progress(&mut self, progress: Progress) {
        assert_eq!((progress.key, progress.side), (Key::Fifo, Side::Response));
        assert_eq!((progress.messages, progress.bytes), (1, 0));
        self.steps.push(Step::Interim);
    }
    fn end(&mut self, end: End) {
        assert_eq!(end.key, Key::Fifo);
        if end.side == Side::Response && !self.open.is_empty() {
            self.open.remove(0);
        }
        self.steps.push(Step::End(end.side, end.at, end.size));
    }
    fn cancel(&mut self, key: Key) {
        panic!("HTTP/1 cannot cancel {key:?}");
    }
    fn lost(&mut self, lost: Lost) {
        assert_eq!(lost.scope, Scope::All, "all that come in order");
        self.steps.push(Step::Lost(lost.side, lost.why));
    }
    fn foreign(&mut self, side: Side) {
        self.steps.push(Step::Foreign(side));
    }
    fn switch(&mut self, switch: Switch) {
        let [None, Some(at)] = switch.from else {
            panic!("{switch:?}")
        };
        assert_eq!(switch.to, None);
        self.steps.push(Step::Tunnel(at));
    }
    fn asked(&self, key: Key) -> Option<u64> {
        assert_eq!(key, Key::Fifo);
        self.open.first().copied()
    }
}

/// A connection: a parser, and where each direction is.
struct Connection {
    http1: Http1,
    said: Said,
    at: [u64; 2],
}

impl Connection {
    fn new() -> Self {
        Self {
            http1: Http1::new(16 * 1024, Joined::AtStart),
            said: Said::default(),
            at: [0; 2],
        }
    }

    /// What an input makes it say.
    fn tell(&mut self, side: Side, input: Input<'_>) -> Vec<Step> {
        self.http1.feed(side, input, &mut self.said);
        std::mem::take(&mut self.said.steps)
    }

    /// What bytes make it say that were all captured.
    fn moved(&mut self, side: Side, bytes: &[u8]) -> Vec<Step> {
        let segment = Segment::whole(self.at[side.index()], bytes);
        self.at[side.index()] = segment.end;
        self.tell(side, Input::Bytes(segment))
    }

    fn asks(&mut self, bytes: &[u8]) -> Vec<Step> {
        self.moved(Side::Request, bytes)
    }

    fn answers(&mut self, bytes: &[u8]) -> Vec<Step> {
        self.moved(Side::Response, bytes)
    }

    /// What so many bytes make it say that were only counted.
    fn counted(&mut self, side: Side, count: u64) -> Vec<Step> {
        self.at[side.index()] += count;
        let to = self.at[side.index()];
        self.tell(side, Input::Gap { to })
    }

    fn run_start(&mut self, side: Side) -> Vec<Step> {
        let at = self.at[side.index()];
        self.tell(side, Input::RunStart { at })
    }

    fn run_end(&mut self, side: Side, tail: u64, next: Next<'_>) -> Vec<Step> {
        let at = self.at[side.index()];
        self.tell(side, Input::RunEnd { at, tail, next })
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn open(at: u64, method: &str) -> Step {
    Step::Open(at, method.to_owned(), true)
}

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
    // Of a request that was not seen, the answer may be one to HEAD; and of one that was, not.
    for (seen, size) in [(false, Some(0)), (true, None)] {
        let mut connection = Connection::new();
        if seen {
            connection.asks(GET);
        }
        assert_eq!(connection.answers(ok), std::slice::from_ref(&head));
        connection.run_start(Side::Response);
        let said = connection.answers(b"HTTP/1.1 204 No Content\r\n\r\n");
        match size {
            Some(_) => assert_eq!(said[0], Step::End(Side::Response, end, size)),
            None => assert_eq!(said[0], Step::End(Side::Response, end + 2, Some(2))),
        }
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
