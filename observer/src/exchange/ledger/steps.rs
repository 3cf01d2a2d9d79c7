//! What a protocol says becomes open exchanges, and their ends.

use observer_protocol::protocol::{
    self, Cancel, End, Key, Lost, Progress as Moved, Replies, Reply, Scope, Side, Steps, Switch,
    Why,
};

use super::{
    Seen,
    book::{Book, finish, started},
};
use crate::{
    exchange::{
        Ends, Incomplete, JoinKey, Output, ParentMethod, Sink, context, open::Progress, slab::Slot,
    },
    identity::Role,
    protocol::Account,
};

/// Takes the steps of one input.
pub(super) struct Taking<'a, 'o, S> {
    pub(super) book: &'a mut Book,
    pub(super) seen: Seen,
    pub(super) ends: &'a Ends,
    pub(super) out: &'a mut Output<'o, S>,
    /// Position of the answering side.
    pub(super) response_at: u64,
}

impl<P: Account, S: Sink> Steps<P> for Taking<'_, '_, S> {
    fn open(&mut self, request: protocol::Open<P::Request<'_>>) {
        self.understood();
        let seen = self.seen;
        let begun = self.book.begun[Side::Request.index()]
            .filter(|_| request.at < seen.from)
            .unwrap_or(seen.call);
        // The first request of a run need not be whose bytes the kernel gave ids to, where others share the connection.
        let kernel = self.book.context.take().filter(|_| !P::SHARED);
        let carried = P::carried(&request.head);
        let (context, header) = context::decide(kernel.as_ref(), &carried, self.out.ids);
        let slot = self.out.opens.take();
        let open = &mut self.out.opens[slot];
        open.begin(begun, context);
        open.asked = request.asked;
        open.replies = request.replies;
        if request.replies == Replies::None {
            open.response = Progress::Ended;
        }
        P::opened(&mut open.exchange.detail, request.head);
        open.request_moved(seen.call.time_ns);
        if let (true, Key::Id(stream)) = (P::SHARED, request.key)
            && open.exchange.common.context.parent_method == ParentMethod::None
        {
            let key = JoinKey::of(self.ends, stream);
            match (self.ends.role, key) {
                (Role::Client, Some(key)) => {
                    if !std::mem::replace(&mut self.book.is_learned, true) {
                        self.out.joins.learn(key.wire);
                    }
                    let made = self.out.joins.made(key);
                    let context = &mut open.exchange.common.context;
                    (context.trace_id, context.span_id) = (made.trace_id, made.span_id);
                }
                (Role::Server, key) => open.join = key,
                (Role::Client, None) => {}
            }
        }
        if !request.whole {
            self.book.find().head_too_large = true;
            open.mark(seen.missing);
        }
        if let Some(header) = header {
            let process = open.exchange.common.process;
            self.out.sink.header_seen(process, self.ends.role, &header);
        }
        open.announce(self.ends);
        self.out.sink.request_started(&started(open, self.ends));
        self.push(request.key, slot);
    }

    fn reply(&mut self, reply: Reply<P::Response<'_>>) {
        self.understood();
        let begun_ns = self.book.begun[Side::Response.index()]
            .take()
            .filter(|_| reply.at < self.seen.from)
            .map_or(self.seen.call.time_ns, |call| call.time_ns);
        if !reply.whole {
            self.book.find().head_too_large = true;
        }
        let awaiting = self.book.awaiting(reply.key, self.out);
        let Some(slot) = awaiting.filter(|slot| reply.at >= self.out.opens[*slot].response_from)
        else {
            self.book.orphan = true;
            self.out.counters.responses_without_request += 1;
            return;
        };
        let open = &mut self.out.opens[slot];
        if open.response == Progress::Awaited {
            open.response_began(begun_ns);
        }
        P::replied(&mut open.exchange.detail, reply.head);
        if !reply.whole {
            open.mark(self.seen.missing);
        }
        self.book.orphan = false;
    }

    fn progress(&mut self, progress: Moved) {
        self.understood();
        self.book.begun[progress.side.index()] = None;
        if let Some(slot) = self.book.awaiting(progress.key, self.out) {
            P::progressed(&mut self.out.opens[slot].exchange.detail, &progress);
        }
    }

    fn end(&mut self, end: End) {
        self.book.stepped = true;
        match end.side {
            Side::Request => self.end_request::<P>(end.key, Some(end.size), None),
            Side::Response => self.end_response::<P>(end),
        }
    }

    fn cancel(&mut self, cancel: Cancel) {
        self.understood();
        let Some(slot) = self.book.awaiting(cancel.key, self.out) else {
            return;
        };
        self.book.remove(cancel.key, slot);
        let open = &mut self.out.opens[slot];
        if open.response == Progress::Ended {
            open.request_ended();
        } else {
            open.cut(Incomplete::Reset, self.seen.call.time_ns);
            P::cancelled(&mut open.exchange.detail, &cancel);
        }
        finish(slot, self.ends, self.out);
    }

    fn lost(&mut self, lost: Lost) {
        self.book.stepped = true;
        let incomplete = match (lost.why, lost.side) {
            (Why::Malformed, _) => Incomplete::Malformed,
            (Why::TooLarge, _) => Incomplete::HeadTooLarge,
            (Why::Unseen(_), Side::Request) => self.seen.missing,
            (Why::Unseen(_), Side::Response) | (Why::Unframed, _) => Incomplete::LostBytes,
        };
        self.out.counters.resyncs += u64::from(lost.why != Why::Unframed);
        if lost.why == Why::TooLarge {
            self.book.find().head_too_large = true;
        }
        if let Scope::One(key) = lost.scope {
            if let Some(slot) = self.book.awaiting(key, self.out) {
                self.book.remove(key, slot);
                self.out.opens[slot].mark(incomplete);
                finish(slot, self.ends, self.out);
            }
            return;
        }
        if P::MULTIPLEXED {
            self.book.doubt(self.seen.call.time_ns, self.out);
            return;
        }
        match lost.side {
            Side::Response => self.book.give_up_order(incomplete, self.ends, self.out),
            Side::Request if lost.why == Why::Unframed => self.book.requests_missing = true,
            Side::Request => {
                // Captured bytes in front of the missing ones are a head's.
                let evidence = match lost.why {
                    Why::Unseen(from) => from < self.seen.captured_to,
                    _ => true,
                };
                self.break_request::<P>(incomplete, evidence);
            }
        }
    }

    fn foreign(&mut self, side: Side) {
        self.book.stepped = true;
        self.book.find().foreign[side.index()] = true;
        if side == Side::Response {
            let malformed = Incomplete::Malformed;
            self.book.give_up_order(malformed, self.ends, self.out);
        }
    }

    fn switch(&mut self, switch: Switch) {
        self.book.find().switch = Some(switch);
        // The answer that made it ends the request, too.
        self.book.stop_awaiting_request(self.ends, self.out);
    }

    fn asked(&self, key: Key) -> Option<u64> {
        let slot = self.book.awaiting(key, self.out)?;
        Some(self.out.opens[slot].asked)
    }
}

impl<S: Sink> Taking<'_, '_, S> {
    fn understood(&mut self) {
        self.book.stepped = true;
        self.book.understood = true;
    }

    fn push(&mut self, key: Key, slot: Slot) {
        let (ends, at) = (self.ends, self.response_at);
        self.book.push(key, slot, at, ends, self.out);
    }

    /// `size`: that of the body; `None` where the request's end was not seen.
    fn end_request<P: Account>(
        &mut self,
        key: Key,
        size: Option<Option<u64>>,
        incomplete: Option<Incomplete>,
    ) {
        let Some(slot) = self.book.unfinished(key, self.out) else {
            return;
        };
        let open = &mut self.out.opens[slot];
        open.request_moved(self.seen.call.time_ns);
        open.request_ended();
        P::ended(&mut open.exchange.detail, Side::Request, size.flatten());
        if let Some(incomplete) = incomplete {
            open.mark(incomplete);
        }
        self.book.settle(key, slot, self.ends, self.out);
    }

    fn end_response<P: Account>(&mut self, end: End) {
        if std::mem::take(&mut self.book.orphan) && end.key == Key::Fifo {
            return;
        }
        let Some(slot) = self.book.awaiting(end.key, self.out) else {
            return;
        };
        let open = &mut self.out.opens[slot];
        match (open.response, end.key) {
            (Progress::Begun, _) => {}
            // Its beginning was lost.
            (_, Key::Id(_)) => open.mark(Incomplete::LostBytes),
            (_, Key::Fifo) => return,
        }
        open.response_ended(self.seen.call.time_ns);
        P::ended(&mut open.exchange.detail, Side::Response, end.size);
        self.book.settle(end.key, slot, self.ends, self.out);
    }

    /// A request cannot be read further. With `evidence` there was one, even where its head is not known.
    fn break_request<P: Account>(&mut self, incomplete: Incomplete, evidence: bool) {
        if self.book.unfinished(Key::Fifo, self.out).is_some() {
            self.book.requests_missing = true;
            self.end_request::<P>(Key::Fifo, None, Some(incomplete));
        } else if evidence {
            let begun = self.book.begun[Side::Request.index()].take();
            let kernel = self.book.context.take();
            let none = crate::protocol::Carried::default();
            let (context, _) = context::decide(kernel.as_ref(), &none, self.out.ids);
            let slot = self.out.opens.take();
            let open = &mut self.out.opens[slot];
            open.begin(begun.unwrap_or(self.seen.call), context);
            open.request_ended();
            open.mark(incomplete);
            P::unread(&mut open.exchange.detail);
            self.push(Key::Fifo, slot);
        }
        self.book.requests_missing = true;
    }
}
