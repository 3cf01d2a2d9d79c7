//! Which exchanges of a connection are open, and what becomes of them.

use std::collections::VecDeque;

use foldhash::HashMap;
use observer_abi::context::Context;
use observer_protocol::protocol::{Key, Replies};

use super::Findings;
use crate::exchange::{
    Call, Ends, Incomplete, Output, ParentMethod, Sink, Started,
    open::{Open, Progress},
    slab::Slot,
};

/// Requests of one connection that may wait for their answers where order tells; what is sent beyond is counted as
/// incomplete.
const MOST_IN_ORDER: usize = 512;
/// The same where exchanges have ids.
const MOST_BY_ID: usize = 10_000;
/// How long an exchange whose end may have been lost is still waited for, ns.
const DOUBT_NS: u64 = 30_000_000_000;

/// The open exchanges of one connection.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// In the order in which they began. Where order tells, only the first may have an answer, only the last may be
    /// unfinished.
    queue: VecDeque<Slot>,
    /// Those with an id.
    by_id: HashMap<u64, Slot>,
    /// The call with the first byte of a message that is not complete, by side.
    pub(super) begun: [Option<Call>; 2],
    /// Ids for the first request of the current run.
    pub(super) context: Option<Context>,
    /// When the connection was established and accepted, for its first request.
    pub(super) established_ns: (u64, u64),
    /// Requests may have passed unseen, so the next answers may be theirs.
    pub(super) requests_missing: bool,
    /// The current answer's request is not known.
    pub(super) orphan: bool,
    /// A step was taken since that was last unset.
    pub(super) stepped: bool,
    /// Something of the protocol was read since that was last asked.
    pub(super) understood: bool,
    /// That the client's end is seen was said.
    pub(super) is_learned: bool,
    /// Exchanges whose end may have been lost.
    doubted: bool,
    pub(super) findings: Findings,
    /// Something was found out since that was last asked.
    pub(super) found: bool,
}

impl Book {
    /// Notes something that is found out.
    pub(super) const fn find(&mut self) -> &mut Findings {
        self.found = true;
        &mut self.findings
    }

    /// The oldest open exchange where order tells.
    pub(super) fn front(&self) -> Option<Slot> {
        self.queue.front().copied()
    }

    /// Exchanges with ids are open.
    pub(super) fn has_ids(&self) -> bool {
        !self.by_id.is_empty()
    }

    /// All open exchanges.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.queue.iter().chain(self.by_id.values()).copied()
    }

    /// Where order tells, the oldest exchange whose answer has not ended; else the one with the id.
    pub(super) fn awaiting<S>(&self, key: Key, out: &Output<'_, S>) -> Option<Slot> {
        match key {
            Key::Fifo => {
                let such = |slot: &Slot| out.opens[*slot].response != Progress::Ended;
                // Nearly always it is the first.
                let first = self.front()?;
                if such(&first) {
                    return Some(first);
                }
                self.queue.iter().copied().find(such)
            }
            Key::Id(id) => self.by_id.get(&id).copied(),
        }
    }

    /// The request whose end is still to come: the last, or the one with the id.
    pub(super) fn unfinished<S>(&self, key: Key, out: &Output<'_, S>) -> Option<Slot> {
        let slot = match key {
            Key::Fifo => self.queue.back().copied(),
            Key::Id(id) => self.by_id.get(&id).copied(),
        };
        slot.filter(|slot| out.opens[*slot].request != Progress::Ended)
    }

    /// More of the last request moved.
    pub(super) fn request_moved<S>(&self, time_ns: u64, out: &mut Output<'_, S>) {
        if let Some(slot) = self.unfinished(Key::Fifo, out) {
            out.opens[slot].request_moved(time_ns);
        }
    }

    /// Adds an exchange to those that wait for an answer that begins at `response_from` or later.
    pub(super) fn push<S: Sink>(
        &mut self,
        key: Key,
        slot: Slot,
        response_from: u64,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        out.opens[slot].set_established(std::mem::take(&mut self.established_ns));
        let crowded = out.opens.is_crowded();
        if let Key::Id(id) = key {
            if let Some(before) = self.by_id.remove(&id) {
                // Its end was not seen, and the id is used again.
                out.opens[before].mark(Incomplete::LostBytes);
                finish(before, ends, out);
            }
            if crowded || self.by_id.len() >= MOST_BY_ID {
                out.counters.exchanges_refused += 1;
                out.opens[slot].mark(Incomplete::LostBytes);
                finish(slot, ends, out);
                return;
            }
            out.opens[slot].key = id;
            self.by_id.insert(id, slot);
            return;
        }
        let waiting = self.queue.len();
        if waiting > 0 {
            self.find().pipelined = true;
        }
        self.requests_missing &= waiting > 0;
        if self.requests_missing || crowded || waiting >= MOST_IN_ORDER {
            // Its answer cannot be told from those of requests that were not seen.
            out.counters.exchanges_refused += u64::from(!self.requests_missing);
            self.requests_missing = true;
            out.opens[slot].mark(Incomplete::LostBytes);
            finish(slot, ends, out);
            return;
        }
        out.opens[slot].response_from = response_from;
        self.queue.push_back(slot);
    }

    /// Lets the exchange go if it is over, and those behind it that waited for it only.
    pub(super) fn settle<S: Sink>(
        &mut self,
        key: Key,
        slot: Slot,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        if let Key::Id(id) = key {
            if out.opens[slot].is_over() {
                self.by_id.remove(&id);
                finish(slot, ends, out);
            }
            return;
        }
        if out.opens[slot].replies == Replies::None && out.opens[slot].is_over() {
            // It stands behind those that are waited for, and waits for none.
            self.queue.retain(|other| *other != slot);
            finish(slot, ends, out);
        }
        while let Some(slot) = self.front().filter(|slot| out.opens[*slot].is_over()) {
            self.queue.pop_front();
            finish(slot, ends, out);
        }
    }

    /// Where order tells, no open request's answer is known any more: the first gets `incomplete`, the others lost bytes.
    pub(super) fn give_up_order<S: Sink>(
        &mut self,
        incomplete: Incomplete,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        self.orphan = false;
        let mut incomplete = incomplete;
        while let Some(slot) = self.queue.pop_front() {
            let open = &mut out.opens[slot];
            if open.response != Progress::Ended {
                open.mark(std::mem::replace(&mut incomplete, Incomplete::LostBytes));
            }
            finish(slot, ends, out);
        }
    }

    /// Of those with ids, each open one may have lost its end at `time_ns`.
    pub(super) fn doubt<S>(&mut self, time_ns: u64, out: &mut Output<'_, S>) {
        for slot in self.by_id.values() {
            self.doubted = true;
            let open = &mut out.opens[*slot];
            if open.doubted_ns == 0 {
                open.doubted_ns = time_ns.max(open.exchange.common.times.request_start).max(1);
            }
        }
    }

    /// Ends those whose end was lost long ago.
    pub(super) fn expire<S: Sink>(&mut self, now_ns: u64, ends: &Ends, out: &mut Output<'_, S>) {
        if !self.doubted {
            return;
        }
        let mut left = false;
        let lost: Vec<(u64, Slot)> = self
            .by_id
            .iter()
            .filter(|(_, slot)| {
                let doubted_ns = out.opens[**slot].doubted_ns;
                let old = doubted_ns != 0 && doubted_ns.saturating_add(DOUBT_NS) <= now_ns;
                left |= doubted_ns != 0 && !old;
                old
            })
            .map(|(id, slot)| (*id, *slot))
            .collect();
        self.doubted = left;
        for (id, slot) in lost {
            self.by_id.remove(&id);
            out.opens[slot].mark(Incomplete::LostBytes);
            finish(slot, ends, out);
        }
    }

    /// Those whose answer has ended end without the rest of their requests.
    pub(super) fn stop_awaiting_request<S: Sink>(&mut self, ends: &Ends, out: &mut Output<'_, S>) {
        let answered = |slot: &Slot, out: &Output<'_, S>| {
            let open = &out.opens[*slot];
            open.response == Progress::Ended && open.request != Progress::Ended
        };
        if let Some(slot) = self
            .queue
            .back()
            .copied()
            .filter(|slot| answered(slot, out))
        {
            out.opens[slot].request_ended();
            self.settle(Key::Fifo, slot, ends, out);
        }
    }

    /// Ends all; `how` is told of those whose answer has not ended.
    pub(super) fn finish_all<S: Sink>(
        &mut self,
        ends: &Ends,
        out: &mut Output<'_, S>,
        how: impl Fn(&mut Open),
    ) {
        let by_id = std::mem::take(&mut self.by_id);
        for slot in self.queue.drain(..).chain(by_id.into_values()) {
            let open = &mut out.opens[slot];
            if open.response != Progress::Ended {
                how(open);
            }
            finish(slot, ends, out);
        }
    }

    /// Takes in an exchange that began in another protocol.
    pub(super) fn insert<S>(&mut self, key: Key, slot: Slot, out: &mut Output<'_, S>) {
        let open = &mut out.opens[slot];
        open.response_from = 0;
        match key {
            Key::Fifo => self.queue.push_back(slot),
            Key::Id(id) => {
                open.key = id;
                self.by_id.insert(id, slot);
            }
        }
    }

    /// Takes an exchange out, whatever its state.
    pub(super) fn remove(&mut self, key: Key, slot: Slot) {
        match key {
            Key::Fifo => self.queue.retain(|other| *other != slot),
            Key::Id(id) => drop(self.by_id.remove(&id)),
        }
    }
}

pub(super) fn started<'a>(open: &'a Open, ends: &Ends) -> Started<'a> {
    let common = &open.exchange.common;
    Started {
        role: common.role,
        process: common.process,
        tls: common.tls,
        connection: ends.key,
        detail: &open.exchange.detail,
    }
}

/// Hands an exchange to the sink, from where it lies.
pub(super) fn finish<S: Sink>(slot: Slot, ends: &Ends, out: &mut Output<'_, S>) {
    let open = &mut out.opens[slot];
    // Its end is told with the role that its start was told with, whatever was learned of the connection since.
    if open.announced {
        out.sink.request_ended(&started(open, ends));
    }
    open.set_ends(ends);
    if let Some(key) = open.join.take()
        && out.joins.is_known(key.wire)
    {
        let made = out.joins.made(key);
        let context = &mut open.exchange.common.context;
        context.trace_id = made.trace_id;
        context.parent_span_id = Some(made.span_id);
        context.parent_method = ParentMethod::Handoff;
    }
    out.counters.count_exchange(open.exchange.common.incomplete);
    out.sink.exchange(&mut open.exchange);
    out.opens.give(slot);
}
