//! Connections of frames made by hand.

use super::WebSocket;
use crate::{
    Segment,
    fuzzing::{self, Said},
    mutation::{Random, keeps_its_word},
    protocol::{Input, Joined, Missing, Protocol, Side},
};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const LAST: u8 = 0x80;
const COMPRESSED: u8 = 0x40;

/// A frame whose first byte is this.
fn frame(first: u8, masked: bool, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let bit = if masked { 0x80 } else { 0 };
    match content.len() {
        length @ 0..=125 => bytes.push(bit | length as u8),
        length @ 126..=0xffff => {
            bytes.push(bit | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(bit | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [0x11, 0x22, 0x33, 0x44];
    if masked {
        bytes.extend(mask);
    }
    let mask = if masked { mask } else { [0; 4] };
    let content = content.iter().enumerate();
    bytes.extend(content.map(|(at, byte)| byte ^ mask[at & 3]));
    bytes
}

fn client(first: u8, content: &[u8]) -> Vec<u8> {
    frame(first, true, content)
}

fn server(first: u8, content: &[u8]) -> Vec<u8> {
    frame(first, false, content)
}

struct Connection {
    protocol: WebSocket,
    said: Said,
    at: [u64; 2],
}

impl Connection {
    fn new() -> Self {
        let mut connection = Self {
            protocol: WebSocket::new(4096, Joined::AtStart),
            said: Said::default(),
            at: [0; 2],
        };
        for side in [Side::Request, Side::Response] {
            connection
                .protocol
                .run_started(side, 0, &mut connection.said);
        }
        connection
    }

    /// What an input makes it say.
    fn tell(&mut self, side: Side, input: Input<'_>) -> Vec<String> {
        self.protocol.feed(side, input, &mut self.said);
        std::mem::take(&mut self.said.steps)
    }

    fn moved(&mut self, side: Side, bytes: &[u8]) -> Vec<String> {
        let segment = Segment::whole(self.at[side.index()], bytes);
        self.at[side.index()] = segment.end;
        self.tell(side, Input::Bytes(segment))
    }

    fn lost(&mut self, side: Side, count: u64) -> Vec<String> {
        self.at[side.index()] += count;
        let to = self.at[side.index()];
        let why = Missing::Lost;
        self.tell(side, Input::Gap { to, why })
    }
}

/// That messages moved.
fn moved(side: Side, messages: u64, bytes: u64) -> String {
    format!(
        "Progress {{ key: Fifo, side: {side:?}, messages: {messages}, bytes: {bytes}, exact: true }}"
    )
}

/// What says how it is closed.
fn close(by: Side, code: Option<u16>) -> String {
    format!("Close {{ by: {by:?}, code: {code:?} }}")
}

#[test]
fn messages_are_counted_and_what_keeps_a_connection_alive_is_none() {
    let mut connection = Connection::new();
    let sent = [
        client(LAST | TEXT, b"hello"),
        client(LAST | PING, b"are you there"),
        client(LAST | BINARY, &[b'x'; 300]),
    ]
    .concat();
    assert_eq!(
        connection.moved(Side::Request, &sent),
        [moved(Side::Request, 2, 305)]
    );
    let sent = [
        server(LAST | PONG, b"yes"),
        server(LAST | COMPRESSED | TEXT, &[b'y'; 70_000]),
    ]
    .concat();
    assert_eq!(
        connection.moved(Side::Response, &sent),
        [moved(Side::Response, 1, 70_000)]
    );
    assert!(
        connection
            .moved(Side::Response, &server(LAST | PING, b""))
            .is_empty()
    );
}

/// What comes between is none of it (RFC 6455 section 5.4).
#[test]
fn a_message_in_pieces_is_one() {
    let mut connection = Connection::new();
    let pieces = [
        server(TEXT, b"one"),
        server(LAST | PING, b"?"),
        server(0, b"two"),
    ];
    assert_eq!(
        connection.moved(Side::Response, &pieces.concat()),
        [moved(Side::Response, 0, 6)]
    );
    assert_eq!(
        connection.moved(Side::Response, &server(LAST, b"three")),
        [moved(Side::Response, 1, 5)]
    );
}

#[test]
fn a_close_says_who_and_why_and_ends_when_it_is_answered() {
    for (content, code) in [
        (&b"\x03\xe8bye"[..], Some(1000)),
        (b"\x0f\xa0", Some(4000)),
        (b"", Some(1005)),
        // One byte is no code.
        (b"\x03", None),
    ] {
        let mut connection = Connection::new();
        let said = connection.moved(Side::Request, &client(LAST | CLOSE, content));
        assert_eq!(said.len(), 1);
        assert!(said[0].contains(&close(Side::Request, code)), "{said:?}");
        // What comes behind a close is no message.
        assert!(
            connection
                .moved(Side::Request, &client(LAST | TEXT, b"x"))
                .is_empty()
        );
        let said = connection.moved(Side::Response, &server(LAST | CLOSE, content));
        assert!(said.len() == 1 && said[0].starts_with("End"), "{said:?}");
        let ended = Input::Close { reset: true };
        assert!(connection.tell(Side::Request, ended).is_empty());
    }
}

#[test]
fn a_connection_that_ends_behind_one_close_has_ended_and_without_one_was_cut() {
    let ended = || Input::Close { reset: false };
    let mut connection = Connection::new();
    connection.moved(Side::Response, &server(LAST | CLOSE, b"\x03\xe9"));
    let said = connection.tell(Side::Request, ended());
    assert!(said.len() == 1 && said[0].starts_with("End"), "{said:?}");
    assert!(connection.tell(Side::Response, ended()).is_empty());
    let mut connection = Connection::new();
    connection.moved(Side::Response, &server(LAST | TEXT, b"x"));
    for side in [Side::Request, Side::Response] {
        assert!(connection.tell(side, ended()).is_empty());
    }
}

#[test]
fn what_is_only_counted_of_a_message_is_counted() {
    let mut connection = Connection::new();
    let all = client(LAST | BINARY, &[b'x'; 5000]);
    let segment = Segment {
        start: 0,
        bytes: &all[..14],
        end: 100,
    };
    let said = connection.tell(Side::Request, Input::Bytes(segment));
    assert_eq!(said, [moved(Side::Request, 0, 92)]);
    connection.at[0] = 100;
    let rest = all.len() as u64 - 100;
    let said = connection.lost(Side::Request, rest);
    assert_eq!(said, [moved(Side::Request, 1, 4908)]);
}

#[test]
fn behind_a_loss_it_goes_on_with_what_begins_a_call() {
    let mut connection = Connection::new();
    connection.moved(Side::Request, &client(LAST | TEXT, b"one"));
    let said = connection.lost(Side::Request, 50);
    assert!(said.len() == 1 && said[0].contains("Unseen"), "{said:?}");
    // In the middle of something; a server's frame is none of a client's.
    assert!(connection.moved(Side::Request, b"\xff\xff\xff").is_empty());
    assert!(
        connection
            .moved(Side::Request, &server(LAST | TEXT, b"x"))
            .is_empty()
    );
    // What may be a frame is one where another follows.
    assert!(
        connection
            .moved(Side::Request, &client(LAST | TEXT, b"two"))
            .is_empty()
    );
    let said = connection.moved(Side::Request, &client(LAST | TEXT, b"three"));
    assert_eq!(said, [moved(Side::Request, 2, 8)]);
    let said = connection.moved(Side::Request, &client(LAST | TEXT, b"four"));
    assert_eq!(said, [moved(Side::Request, 1, 4)]);
}

#[test]
fn what_was_taken_for_a_message_behind_a_loss_and_is_none_is_not_counted() {
    let mut connection = Connection::new();
    connection.lost(Side::Request, 50);
    assert!(
        connection
            .moved(Side::Request, &client(LAST | TEXT, b"two"))
            .is_empty()
    );
    let said = connection.moved(Side::Request, b"\xff\xff\xff");
    assert!(said.len() == 1 && said[0].contains("Unseen"), "{said:?}");
    assert!(
        connection
            .moved(Side::Request, &client(LAST | TEXT, b"x"))
            .is_empty()
    );
    // A close with a code that there is none of is none, either.
    assert!(connection.lost(Side::Response, 50)[0].contains("Unseen"));
    assert!(
        connection
            .moved(Side::Response, &server(LAST | CLOSE, b"xx"))
            .is_empty()
    );
    connection.lost(Side::Response, 50);
    let said = connection.moved(Side::Response, &server(LAST | CLOSE, b"\x03\xe8"));
    assert!(
        said[0].contains(&close(Side::Response, Some(1000))),
        "{said:?}"
    );
}

#[test]
fn what_is_no_frame_is_told_once() {
    for bytes in [
        &b"\xb1\x80\0\0\0\0"[..],
        // An operation that there is none of; a ping in pieces; a length that is shorter than it is written.
        b"\x83\x80\0\0\0\0",
        b"\x09\x80\0\0\0\0",
        b"\x81\xfe\0\x7d\0\0\0\0",
    ] {
        let mut connection = Connection::new();
        let said = connection.moved(Side::Request, bytes);
        assert!(said.len() == 1 && said[0].contains("Unseen"), "{said:?}");
        assert!(connection.moved(Side::Request, b"\xff\xff").is_empty());
    }
}

#[test]
fn every_prefix_of_a_connection_is_incomplete_and_nothing_else() {
    let sent = [
        client(TEXT, b"hello, "),
        client(LAST, &[b'x'; 200]),
        client(LAST | BINARY, &[b'x'; 70_000]),
        client(LAST | CLOSE, b"\x03\xe8"),
    ];
    let (stream, close_at) = (sent.concat(), sent[..3].concat().len());
    for end in (0..600).chain(close_at - 20..stream.len()) {
        let mut connection = Connection::new();
        let said = connection.moved(Side::Request, &stream[..end]).concat();
        assert!(!said.contains("Unseen") && !said.contains("Close"), "{end}");
        let messages = [sent[..2].concat().len(), close_at];
        let whole = messages.iter().filter(|message| end >= **message).count();
        assert!(
            said.is_empty() || said.contains(&format!("messages: {whole},")),
            "{end}: {said}"
        );
        let rest = connection.moved(Side::Request, &stream[end..]).concat();
        assert!(rest.contains("code: Some(1000)"), "{end}: {rest}");
    }
}

#[test]
fn no_mutation_breaks_the_parsers_word() {
    let script = |random: &mut Random| {
        let mut data = Vec::new();
        for _ in 0..random.below(8) {
            let side = random.below(2) as u8;
            let first = [0x81, 0x82, 1, 0, 0x80, 0x88, 0x89, 0x8a][random.below(8)];
            let content = vec![b'x'; random.below(300)];
            let mut bytes = frame(first, side == 0, &content);
            random.mutate(
                &mut bytes,
                &[0, 1, 0x7e, 0x7f, 0x80, 0x81, 0x88, 0xfe, 0xff],
            );
            let choice = if random.below(4) == 0 {
                random.byte() & 0x1e
            } else {
                0x0c
            };
            let size = (bytes.len() as u16 & 0x0fff).to_be_bytes();
            data.extend([choice | side, size[0], size[1]]);
            data.extend(bytes);
        }
        data
    };
    keeps_its_word(Random(7), 3000, script, fuzzing::websocket);
}
