//! HTTP/1 behind the seam: what each input makes it say.

mod ends;
mod steps;

use crate::{
    Segment,
    http1::Http1,
    protocol::{
        Cancel, End, Input, Joined, Key, Lost, Missing, Next, Open, Progress, Protocol, Replies,
        Reply, Scope, Side, Steps, Switch, Why,
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
        let method = open.head.method.to_string();
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
    fn cancel(&mut self, cancel: Cancel) {
        panic!("HTTP/1 cannot cancel {cancel:?}");
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
        // What is read goes on with the exchange.
        assert_eq!(switch.to.is_some(), switch.continues == Some(Key::Fifo));
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
        self.tell(
            side,
            Input::Gap {
                to,
                why: Missing::Lost,
            },
        )
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
