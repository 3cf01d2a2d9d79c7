//! One connection's exchanges, whatever its protocol.
//!
//! In: positions, bytes and gaps of both directions, with times. Out: exchanges, to the sink.
//! Owns: the protocol's state, positions, and which exchanges are open.
//!
//! Where order tells ([`Key::Fifo`](observer_protocol::protocol::Key)), an answer belongs to the oldest request that has
//! none. That holds while every head was seen; once one may be missing, the requests that are open go out as incomplete,
//! and a later answer counts only for a request that was sent before it began. Where exchanges have ids, the id tells; what
//! was lost may have been any open one's end. A status is never put to a request that may not be its own.

mod book;
mod steps;

use observer_abi::context::Context;
use observer_protocol::{
    Segment,
    protocol::{Ending, Input, Joined, Key, Missing, Next, Shape, Side, Switch},
};

use self::{
    book::{Book, started},
    steps::Taking,
};
use super::{Call, Ends, Incomplete, InferredLink, Output, Sink, Slab, open::Progress, slab::Slot};
use crate::protocol::Account;

/// What was found out about the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Findings {
    /// Bytes that are not the protocol's, by [`Side::index`].
    pub(crate) foreign: [bool; 2],
    /// A request that did not wait for the answer to the one before, where order tells.
    pub(crate) pipelined: bool,
    /// A head that was not captured whole.
    pub(crate) head_too_large: bool,
    /// Another protocol follows.
    pub(crate) switch: Option<Switch>,
}

/// Bytes that moved without being captured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unseen {
    /// Position after the last of them.
    pub(crate) to: u64,
    /// When that one moved, ns; 0 where it is not known.
    pub(crate) time_ns: u64,
    /// Why they were not.
    pub(crate) why: Missing,
    /// What that makes of a head which they cut off.
    pub(crate) missing: Incomplete,
}

/// Where a step comes from.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Position of the first byte that the protocol was given; what it tells of earlier ones began before.
    from: u64,
    /// Position after the last byte that was captured.
    captured_to: u64,
    /// The call that moved the bytes; the time is 0 where it is not known.
    call: Call,
    /// What bytes that were not captured make of a head.
    missing: Incomplete,
}

impl Seen {
    /// Bytes that came with a record. What it does not carry is more than the kernel captures.
    const fn bytes(segment: &Segment<'_>, call: Call) -> Self {
        Self {
            from: segment.start,
            captured_to: segment.start.saturating_add(segment.bytes.len() as u64),
            call,
            missing: Incomplete::HeadTooLarge,
        }
    }

    /// No bytes, at the position that was reached.
    const fn none(at: u64, call: Call, missing: Incomplete) -> Self {
        Self {
            from: at,
            captured_to: at,
            call,
            missing,
        }
    }
}

/// The exchanges of one connection in one protocol.
#[derive(Debug)]
pub(crate) struct Ledger<P> {
    protocol: P,
    book: Book,
    /// Position after the last byte that is accounted for, by side.
    positions: [Option<u64>; 2],
    /// What the protocol keeps of unfinished messages, bytes, by side: a part of what the shard keeps.
    held: [usize; 2],
}

impl<P: Account> Ledger<P> {
    pub(crate) fn new(head_bytes: usize, joined: Joined) -> Self {
        Self {
            protocol: P::new(head_bytes, joined),
            book: Book::default(),
            positions: [None; 2],
            held: [0; 2],
        }
    }

    /// Whether something of the protocol was read since it was last asked.
    pub(crate) fn take_understood(&mut self) -> bool {
        std::mem::take(&mut self.book.understood)
    }

    /// What else was found out since it was last asked.
    pub(crate) fn take_findings(&mut self) -> Option<Findings> {
        std::mem::take(&mut self.book.found).then(|| std::mem::take(&mut self.book.findings))
    }

    /// Position after the last byte that is accounted for.
    pub(crate) fn position(&self, side: Side) -> u64 {
        self.positions[side.index()].unwrap_or(0)
    }

    /// The connection's entry may tell how an open exchange ended.
    pub(crate) fn needs_entry(&self, opens: &Slab) -> bool {
        let (request, response) = match self.book.front() {
            Some(slot) => (opens[slot].request, opens[slot].response),
            None => return self.book.has_ids() && self.protocol.ending() == Ending::AskEntry,
        };
        match response {
            Progress::Ended => request != Progress::Ended,
            Progress::Begun => self.protocol.ending() == Ending::AskEntry,
            Progress::Awaited => self.held[Side::Response.index()] > 0,
        }
    }

    /// The connection's first request is about to come.
    pub(crate) fn set_established(&mut self, established: (u64, u64)) {
        self.book.established_ns = established;
    }

    /// The kernel's ids for the first request of the run that begins now.
    pub(crate) fn set_context(&mut self, context: &Context) {
        self.book.context = Some(*context);
    }

    /// The kernel says what the open call with the span id `call` may have been made for. Where that call is not known
    /// (its record was lost) nobody is linked.
    pub(crate) fn link(&mut self, call: [u8; 8], link: InferredLink, opens: &mut Slab) {
        self.book
            .slots()
            .any(|slot| opens[slot].set_link(call, link));
    }

    /// Takes the oldest exchange that has not ended out, for the protocol that follows. As one of this protocol it is no longer open.
    pub(crate) fn hand_over<S: Sink>(
        &mut self,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) -> Option<Slot> {
        let slot = self.book.awaiting(Key::Fifo, out)?;
        self.book.remove(Key::Fifo, slot);
        let open = &mut out.opens[slot];
        if std::mem::take(&mut open.announced) {
            out.sink.request_ended(&started(open, ends));
        }
        Some(slot)
    }

    /// Goes on with an exchange that began in another protocol.
    pub(crate) fn take_over<S: Sink>(
        &mut self,
        key: Key,
        slot: Slot,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let open = &mut out.opens[slot];
        P::continued(&mut open.exchange.detail);
        open.announce(ends);
        out.sink.request_started(&started(open, ends));
        self.book.insert(key, slot, out);
    }

    /// What the kernel is to ship.
    pub(crate) fn shape(&self) -> Shape {
        self.protocol.shape()
    }

    /// A run of `side` begins at `at`.
    #[inline]
    pub(crate) fn run_started<S: Sink>(
        &mut self,
        side: Side,
        at: u64,
        call: Call,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        self.positions[side.index()].get_or_insert(at);
        let response_at = self.position(Side::Response);
        let mut taking = Taking {
            book: &mut self.book,
            seen: Seen::none(at, call, Incomplete::LostBytes),
            ends,
            out,
            response_at,
        };
        // What it keeps is looked at when the run's bytes come.
        self.protocol.run_started(side, at, &mut taking);
    }

    /// Bytes that one call moved.
    #[inline]
    pub(crate) fn bytes<S: Sink>(
        &mut self,
        side: Side,
        segment: Segment<'_>,
        call: Call,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let position = self.positions[side.index()].get_or_insert(segment.start);
        *position = segment.end.max(*position);
        let seen = Seen::bytes(&segment, call);
        let partial = self.held[side.index()] > 0;
        self.book.stepped = false;
        self.feed_now(side, Input::Bytes(segment), seen, ends, out);
        match (self.held[side.index()] > 0, partial && !self.book.stepped) {
            (true, true) => {}
            (true, false) => self.book.begun[side.index()] = Some(call),
            (false, _) => self.book.begun[side.index()] = None,
        }
        if side == Side::Request {
            self.book.request_moved(call.time_ns, out);
        }
        self.bound(side, call, ends, out);
    }

    /// Bytes that moved without being captured.
    pub(crate) fn skip<S: Sink>(
        &mut self,
        side: Side,
        unseen: Unseen,
        call: Call,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let at = self.position(side);
        self.positions[side.index()] = Some(at.max(unseen.to));
        let call = Call {
            time_ns: unseen.time_ns,
            ..call
        };
        let seen = Seen::none(at, call, unseen.missing);
        self.feed(
            side,
            Input::Gap {
                to: unseen.to,
                why: unseen.why,
            },
            seen,
            ends,
            out,
        );
        if side == Side::Request {
            self.book.request_moved(unseen.time_ns, out);
        }
    }

    /// Whether [`end_of_run`](Self::end_of_run) may say something new.
    pub(crate) fn awaits_run_end(&self, side: Side) -> bool {
        self.protocol.awaits_run_end(side)
    }

    /// Something tells that the message of `side` may have ended with its last byte, which the call `last` moved. `tail`
    /// are the stream's last bytes, 0 where they are not known.
    pub(crate) fn end_of_run<S: Sink>(
        &mut self,
        side: Side,
        last: Call,
        tail: u64,
        next: Next<'_>,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let at = self.position(side);
        let seen = Seen::none(at, last, Incomplete::HeadTooLarge);
        self.feed(side, Input::RunEnd { at, tail, next }, seen, ends, out);
    }

    /// The answer has ended but the request has not, and nothing moves any more: the exchange ends without the rest of the
    /// request.
    pub(crate) fn stop_awaiting_request<S: Sink>(&mut self, ends: &Ends, out: &mut Output<'_, S>) {
        self.book.stop_awaiting_request(ends, out);
    }

    /// What was lost so long ago that no end comes any more is no longer awaited.
    pub(crate) fn expire<S: Sink>(&mut self, now_ns: u64, ends: &Ends, out: &mut Output<'_, S>) {
        self.book.expire(now_ns, ends, out);
    }

    /// The connection ended at `time_ns`; the last byte of an answer moved at `response_ns`.
    pub(crate) fn close<S: Sink>(
        mut self,
        time_ns: u64,
        response_ns: u64,
        reset: bool,
        call: Call,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let incomplete = if reset {
            Incomplete::Reset
        } else {
            Incomplete::Closed
        };
        for (side, time_ns) in [(Side::Request, time_ns), (Side::Response, response_ns)] {
            let seen = Seen::none(self.position(side), Call { time_ns, ..call }, incomplete);
            self.feed(side, Input::Close { reset }, seen, ends, out);
        }
        self.book
            .finish_all(ends, out, |open| open.cut(incomplete, time_ns));
        self.dismiss(out);
    }

    /// Ends what is open: observer stops, or the connection is forgotten.
    pub(crate) fn abandon<S: Sink>(mut self, ends: &Ends, out: &mut Output<'_, S>) {
        self.book
            .finish_all(ends, out, |open| open.mark(Incomplete::Abandoned));
        self.dismiss(out);
    }

    fn dismiss<S>(&mut self, out: &mut Output<'_, S>) {
        for held in &mut self.held {
            out.held.change(std::mem::take(held), 0);
        }
    }

    #[inline(never)]
    fn feed<S: Sink>(
        &mut self,
        side: Side,
        input: Input<'_>,
        seen: Seen,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        self.feed_now(side, input, seen, ends, out);
    }

    /// The same for where most time goes.
    #[inline(always)]
    fn feed_now<S: Sink>(
        &mut self,
        side: Side,
        input: Input<'_>,
        seen: Seen,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let response_at = self.position(Side::Response);
        let mut taking = Taking {
            book: &mut self.book,
            seen,
            ends,
            out,
            response_at,
        };
        self.protocol.feed(side, input, &mut taking);
        let held = self.protocol.held(side);
        let before = std::mem::replace(&mut self.held[side.index()], held);
        out.held.change(before, held);
    }

    /// Where all connections together keep more of unfinished messages than there is room for, this one's is let go.
    fn bound<S: Sink>(&mut self, side: Side, call: Call, ends: &Ends, out: &mut Output<'_, S>) {
        if self.held[side.index()] == 0 || !out.held.is_exceeded() {
            return;
        }
        out.counters.heads_released += 1;
        let seen = Seen::none(self.position(side), call, Incomplete::LostBytes);
        self.feed(side, Input::Release, seen, ends, out);
        self.book.begun[side.index()] = None;
    }
}
