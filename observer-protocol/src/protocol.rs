//! The seam of all protocols: what a parser is told of a connection, and what it says.
//!
//! In: [`Input`]s of both directions of one connection, in order. Out: steps of exchanges, to a [`Steps`].
//! Owns: the vocabulary. A protocol keeps what it needs to read messages; which exchange a message belongs to, time and
//! positions are kept by whoever takes the steps, for all protocols alike.
//!
//! | protocol | [`Key`] | [`Replies`] | remarks |
//! |---|---|---|---|
//! | HTTP/1, Redis, PostgreSQL, MySQL, Memcached | [`Fifo`](Key::Fifo) | one | answers come in the order of the requests |
//! | HTTP/2, Kafka, MongoDB, AMQP | [`Id`](Key::Id) | one | many are open, and end in any order |
//! | Kafka's produce with `acks=0`, AMQP's publish | either | [`None`](Replies::None) | over once it is sent |
//! | WebSocket, server-sent events, streaming gRPC | either | [`Many`](Replies::Many) | messages are [progress](Steps::progress) |
//! | h2c, CONNECT, STARTTLS-like upgrades | | | [`Steps::switch`], with the position from which it holds |
//!
//! A server may speak first (MySQL's greeting): a protocol reads that and says nothing.

use crate::{Segment, frames::Layout};

/// A protocol's number: as in the kernel programs, stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Number(pub u8);

/// Which end's messages a direction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Of the end that asks.
    Request,
    /// Of the end that answers.
    Response,
}

impl Side {
    /// For tables of both: 0 and 1.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Whether bytes begin a message of a protocol: the surer, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sniff {
    /// They do not.
    No,
    /// They may: more are needed.
    More,
    /// They do, for certain.
    Yes,
}

/// What the kernel is to ship of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The first bytes of each run, enough for a head.
    Head,
    /// The same, and the last bytes of each call behind them, so those of the run: [`Input::Bytes`] behind a [`Input::Gap`].
    HeadTail,
    /// Of each frame what the protocol's [`Layout`](crate::frames::Layout) says: the rest is a gap, or the end of a
    /// [`Segment`] that is longer than its bytes.
    Frames,
    /// Everything, up to a budget a run.
    Full,
    /// Nothing.
    Ignore,
}

/// How observer came to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Its first byte was seen or is known to be missing.
    AtStart,
    /// In its middle: the first bytes may be any part of a message.
    Late,
}

/// Why bytes are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The kernel counted them, as the connection's [`Shape`] wants it. With [`Shape::Frames`] all that the row of the protocol's
    /// frames wants was shipped of each frame in them.
    Counted,
    /// They may have been anything.
    Lost,
}

/// What a protocol is told of one direction. Positions are of the stream, and only grow.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// What one call moved.
    Bytes(Segment<'a>),
    /// Bytes up to `to` moved and were not captured.
    Gap {
        /// Position after the last of them.
        to: u64,
        /// Why.
        why: Missing,
    },
    /// A run begins here: the other direction spoke since the last one. Comes before the run's first bytes, and after the
    /// gap, if any, up to them.
    RunStart {
        /// Its position.
        at: u64,
    },
    /// The last byte so far may have been a message's last.
    RunEnd {
        /// Position after it.
        at: u64,
        /// The last eight bytes, newest in the highest byte; 0 where they are not known.
        tail: u64,
        /// What comes next.
        next: Next<'a>,
    },
    /// There is no room for what is kept of an unfinished message: what cannot be read without it is lost.
    Release,
    /// The direction ended.
    Close {
        /// Not in order.
        reset: bool,
    },
}

/// What is known of what follows a run.
#[derive(Clone, Copy, Debug)]
pub enum Next<'a> {
    /// Nothing.
    Unknown,
    /// A run of `side` begins with these bytes.
    Run {
        /// Whose it is.
        side: Side,
        /// Its first bytes.
        first: &'a [u8],
    },
    /// The connection ended in order.
    End,
}

/// Which exchange a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Of the requesting side the last, of the answering side the oldest that is not answered.
    Fifo,
    /// The one with this number: a stream, a correlation id.
    Id(u64),
}

/// How many answers a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// One.
    One,
    /// None: the exchange is over with its request.
    None,
    /// As many as come before the answer's end.
    Many,
}

/// A request began.
#[derive(Debug)]
pub struct Open<R> {
    /// Which exchange it begins.
    pub key: Key,
    /// Position of its first byte.
    pub at: u64,
    /// What it says.
    pub head: R,
    /// How many answers it gets.
    pub replies: Replies,
    /// What reading the answer depends on, see [`Steps::asked`].
    pub asked: u64,
    /// Its head was seen whole.
    pub whole: bool,
}

/// An answer began.
#[derive(Debug)]
pub struct Reply<R> {
    /// Whose it is.
    pub key: Key,
    /// Position of its first byte.
    pub at: u64,
    /// What it says.
    pub head: R,
    /// Its head was seen whole.
    pub whole: bool,
}

/// Messages of a request or an answer moved, or an interim answer.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Whose.
    pub key: Key,
    /// Which way.
    pub side: Side,
    /// How many.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// No fewer and no more; else there were at least so many.
    pub exact: bool,
}

/// An exchange was given up by one of the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// Which one.
    pub key: Key,
    /// By which end.
    pub side: Side,
    /// Why, as the protocol numbers it; 0 where it does not say.
    pub code: u64,
}

/// A request or an answer ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Whose.
    pub key: Key,
    /// Which of the two.
    pub side: Side,
    /// Position after its last byte.
    pub at: u64,
    /// Bytes of its body; `None` where they were not all seen or counted.
    pub size: Option<u64>,
}

/// Which open exchanges a loss touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of the connection. With [`Key::Fifo`] answers can no longer be told apart; with [`Key::Id`] each may have lost
    /// its end.
    All,
    /// That one.
    One(Key),
}

/// Why something cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It cannot be understood.
    Malformed,
    /// Its head is larger than what is kept.
    TooLarge,
    /// Bytes from this position on were not seen.
    Unseen(u64),
    /// A message ended where nobody saw it end: others may hide in it. The direction itself is read on.
    Unframed,
}

/// Messages of a side may have passed unread.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// Which side's.
    pub side: Side,
    /// Whose.
    pub scope: Scope,
    /// Why.
    pub why: Why,
}

/// The connection goes on in another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Which one; `None`: one that is not read.
    pub to: Option<Number>,
    /// From which position of each direction on, by [`Side::index`]; `None`: from where it is now.
    pub from: [Option<u64>; 2],
    /// The oldest exchange that has not ended goes on in it, under this key.
    pub continues: Option<Key>,
}

/// Takes what a protocol says. Each call is one step of one exchange.
pub trait Steps<P: Protocol> {
    /// A request began.
    fn open(&mut self, open: Open<P::Request<'_>>);
    /// An answer began.
    fn reply(&mut self, reply: Reply<P::Response<'_>>);
    /// More of either.
    fn progress(&mut self, progress: Progress);
    /// Either ended.
    fn end(&mut self, end: End);
    /// An exchange was given up by one of the ends (HTTP/2's RST_STREAM). Where its answer has ended, that only ends its request.
    fn cancel(&mut self, cancel: Cancel);
    /// Messages may have passed unread.
    fn lost(&mut self, lost: Lost);
    /// Bytes are not this protocol's, and none of the side were before.
    fn foreign(&mut self, side: Side);
    /// Another protocol follows. What is told after it is not taken.
    fn switch(&mut self, switch: Switch);
    /// [`Open::asked`] of the exchange that an answer with this key is for; `None`: its request was not seen.
    fn asked(&self, key: Key) -> Option<u64>;
}

/// When an answer that has begun ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With bytes that the kernel ships.
    Known,
    /// Perhaps with bytes that the kernel only counts: the connection's entry tells.
    AskEntry,
    /// With the next message, or the connection.
    Never,
}

/// A protocol: reads both directions of one connection.
///
/// Pure: no clock, no I/O. What it keeps is bounded by what it is made with. It never panics, whatever it is told.
pub trait Protocol: Sized {
    /// Its number.
    const NUMBER: Number;
    /// Its exchanges have ids ([`Key::Id`]), else order tells which answer is whose.
    const MULTIPLEXED: bool;
    /// Several requests are under way on a connection as a rule: none of them is then what the thread that read it works on. Where
    /// that is the exception, [`turns`](crate::frames::Layout::turns) tells it.
    const SHARED: bool = Self::MULTIPLEXED;
    /// How its frames lie, where no row of bytes says so: it is only ever [switched](Steps::switch) to.
    const LAYOUT: Option<&'static Layout> = None;
    /// What it is called where both ends agree on a protocol within TLS (ALPN, RFC 7301).
    const ALPN: &'static [&'static [u8]] = &[];
    /// What the head of a request says.
    type Request<'a>;
    /// What the head of an answer says.
    type Response<'a>;

    /// A connection of which nothing was told yet. Heads of up to `head_bytes` are read whole.
    fn new(head_bytes: usize, joined: Joined) -> Self;

    /// Whether these bytes, the first of a run, begin a message of that side.
    fn sniff(side: Side, first: &[u8]) -> Sniff;

    /// What the kernel is to ship from here on.
    fn shape(&self) -> Shape;

    /// Takes an input of one direction.
    fn feed(&mut self, side: Side, input: Input<'_>, out: &mut impl Steps<Self>);

    /// The same as [`Input::RunStart`], which comes with each run: for who only notes it. Others feed it.
    fn run_started(&mut self, side: Side, at: u64, out: &mut impl Steps<Self>);

    /// When the answer that is being read ends.
    fn ending(&self) -> Ending;

    /// Whether [`Input::RunEnd`] may say something new of that side: it is told only then.
    fn awaits_run_end(&self, side: Side) -> bool;

    /// Bytes that are kept of an unfinished message of that side.
    fn held(&self, side: Side) -> usize;
}

/// What a datagram is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<Q, A> {
    /// It asks.
    Request {
        /// What the answer will carry, too.
        id: u64,
        /// What it asks.
        request: Q,
    },
    /// It answers.
    Response {
        /// What the request carried.
        id: u64,
        /// What it says.
        response: A,
    },
}

/// A protocol of datagrams: each is read alone. An answer belongs to the open request of its socket that has its id.
pub trait Datagrams {
    /// Its number.
    const NUMBER: Number;
    /// What a request says. The same one that is sent again is equal.
    type Request: std::fmt::Debug + PartialEq;
    /// What an answer says.
    type Response;

    /// Reads a datagram, or its beginning. `None`: it is none of this protocol's, or neither asks nor answers.
    fn read(bytes: &[u8]) -> Option<Message<Self::Request, Self::Response>>;

    /// Whether the answer, which has its id, may be this request's.
    fn answers(request: &Self::Request, response: &Self::Response) -> bool;
}
