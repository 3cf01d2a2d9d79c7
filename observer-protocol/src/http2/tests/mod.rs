//! What frames make it say.

mod loss;
mod streams;

use super::{
    Http2,
    frame::{PREFACE, flag, kind},
};
use crate::{
    Segment,
    protocol::{
        Cancel, End, Input, Joined, Key, Lost, Missing, Open, Progress, Protocol, Reply, Side,
        Sniff, Steps, Switch, Why,
    },
};

/// A step, with what matters of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Stream, method, path.
    Open(u64, String, String),
    /// Stream, status, gRPC's status, whether they are trailers.
    Reply(u64, Option<u16>, Option<u32>, bool),
    /// Stream, side, messages, bytes, whether exactly so many.
    Messages(u64, Side, u64, u64, bool),
    /// Stream, side, size.
    End(u64, Side, Option<u64>),
    /// Stream, by whom, code.
    Cancel(u64, Side, u64),
    /// A head that is not whole.
    Broken(u64),
    Lost(Side, Why),
    Foreign(Side),
}

use Step::{Broken, Foreign, Messages, Reply as Replied};

#[derive(Default)]
struct Said(Vec<Step>);

fn id(key: Key) -> u64 {
    match key {
        Key::Id(id) => id,
        Key::Fifo => panic!("streams have numbers"),
    }
}

impl Steps<Http2> for Said {
    fn open(&mut self, open: Open<<Http2 as Protocol>::Request<'_>>) {
        let (method, path) = (open.head.method.to_string(), open.head.texts.target());
        self.0
            .push(Step::Open(id(open.key), method, path.to_owned()));
        if !open.whole {
            self.0.push(Broken(id(open.key)));
        }
    }
    fn reply(&mut self, reply: Reply<<Http2 as Protocol>::Response<'_>>) {
        let head = reply.head;
        let (status, grpc) = (head.status, head.grpc_status);
        self.0
            .push(Replied(id(reply.key), status, grpc, head.is_trailer));
        if !reply.whole {
            self.0.push(Broken(id(reply.key)));
        }
    }
    fn progress(&mut self, it: Progress) {
        let (id, exact) = (id(it.key), it.exact);
        self.0
            .push(Messages(id, it.side, it.messages, it.bytes, exact));
    }
    fn end(&mut self, end: End) {
        self.0.push(Step::End(id(end.key), end.side, end.size));
    }
    fn cancel(&mut self, it: Cancel) {
        self.0.push(Step::Cancel(id(it.key), it.side, it.code));
    }
    fn lost(&mut self, lost: Lost) {
        self.0.push(Step::Lost(lost.side, lost.why));
    }
    fn foreign(&mut self, side: Side) {
        self.0.push(Foreign(side));
    }
    fn switch(&mut self, switch: Switch) {
        panic!("{switch:?}");
    }
    fn asked(&self, _key: Key) -> Option<u64> {
        None
    }
}

/// A frame as it is sent.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field that is not to be pointed at later.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0, name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes.push(value.len() as u8);
    bytes.extend(value.as_bytes());
    bytes
}

/// A request's HEADERS.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let block = [vec![0x82, 0x86], field(":path", path)].concat();
    frame(
        kind::HEADERS,
        flag::END_STREAM | flag::END_HEADERS,
        stream,
        &block,
    )
}

fn post(stream: u32, path: &str, content: &str) -> Vec<u8> {
    let block = [
        vec![0x83, 0x86],
        field(":path", path),
        field("content-type", content),
    ];
    frame(kind::HEADERS, flag::END_HEADERS, stream, &block.concat())
}

/// An answer's HEADERS, its status by index.
fn ok(stream: u32, flags: u8) -> Vec<u8> {
    frame(kind::HEADERS, flags | flag::END_HEADERS, stream, &[0x88])
}

fn data(stream: u32, flags: u8, content: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, content)
}

fn trailers(stream: u32, grpc_status: &str) -> Vec<u8> {
    let block = field("grpc-status", grpc_status);
    frame(
        kind::HEADERS,
        flag::END_STREAM | flag::END_HEADERS,
        stream,
        &block,
    )
}

fn message(size: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend((size as u32).to_be_bytes());
    bytes.resize(5 + size, b'm');
    bytes
}

/// One connection, and what it said.
struct Connection {
    http2: Http2,
    said: Said,
    at: [u64; 2],
}

impl Connection {
    fn new() -> Self {
        Self {
            http2: Http2::new(4096, Joined::AtStart),
            said: Said::default(),
            at: [1000, 5000],
        }
    }

    /// One whose client has greeted.
    fn greeted() -> Self {
        let mut connection = Self::new();
        let settings = frame(kind::SETTINGS, 0, 0, &[]);
        connection.request(&[&PREFACE[..], &settings].concat());
        connection.response(&settings);
        assert_eq!(connection.take(), []);
        connection
    }

    fn bytes(&mut self, side: Side, bytes: &[u8]) {
        self.partly(side, bytes, bytes.len());
    }

    /// A call of which only the first bytes are captured.
    fn partly(&mut self, side: Side, bytes: &[u8], captured: usize) {
        let start = self.at[side.index()];
        let end = start + bytes.len() as u64;
        let segment = Segment {
            start,
            bytes: &bytes[..captured],
            end,
        };
        self.http2.feed(side, Input::Bytes(segment), &mut self.said);
        self.at[side.index()] = end;
    }

    fn request(&mut self, bytes: &[u8]) {
        self.bytes(Side::Request, bytes);
    }

    fn response(&mut self, bytes: &[u8]) {
        self.bytes(Side::Response, bytes);
    }

    fn gap(&mut self, side: Side, count: u64, why: Missing) {
        let to = self.at[side.index()] + count;
        self.http2
            .feed(side, Input::Gap { to, why }, &mut self.said);
        self.at[side.index()] = to;
    }

    fn take(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.said.0)
    }
}

fn open(stream: u64, method: &str, path: &str) -> Step {
    Step::Open(stream, method.into(), path.into())
}

fn asked(stream: u64, size: u64) -> Step {
    Step::End(stream, Side::Request, Some(size))
}

fn answered(stream: u64, size: u64) -> Step {
    Step::End(stream, Side::Response, Some(size))
}

#[test]
fn beginnings_are_recognised() {
    assert_eq!(Http2::sniff(Side::Request, PREFACE), Sniff::Yes);
    assert_eq!(Http2::sniff(Side::Request, b"PRI"), Sniff::More);
    assert_eq!(Http2::sniff(Side::Response, PREFACE), Sniff::No);
    let settings = frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    assert_eq!(Http2::sniff(Side::Response, &settings), Sniff::Yes);
    assert_eq!(Http2::sniff(Side::Request, &settings), Sniff::No);
    assert_eq!(Http2::sniff(Side::Request, &get(7, "/")), Sniff::Yes);
    assert_eq!(Http2::sniff(Side::Response, &get(7, "/")), Sniff::No);
    assert_eq!(Http2::sniff(Side::Response, &ok(7, 0)), Sniff::Yes);
    assert_eq!(Http2::sniff(Side::Request, &ok(7, 0)), Sniff::No);
    for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"\0\0\0", &[0; 32]] {
        for side in [Side::Request, Side::Response] {
            assert_eq!(Http2::sniff(side, other), Sniff::No, "{other:?}");
        }
    }
}

#[test]
fn what_is_none_is_foreign() {
    let mut connection = Connection::new();
    connection.response(b"\x4a\0\0\0\x0a8.4.0\0\x08\0\0\0");
    assert_eq!(connection.take(), [Foreign(Side::Response)]);
}
