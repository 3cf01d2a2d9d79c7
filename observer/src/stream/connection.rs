//! One connection: from records and entries to positions and runs. What is spoken on it is found by [recognition](super::recognition).

use observer_abi::{
    connection::{self as entry, INBOUND, OUTBOUND, role},
    record::{
        ConnectionClosed, ConnectionOpened, LinkFound, RecordHeader, RunData, RunOpened, flag,
    },
};
use observer_protocol::{
    Segment,
    protocol::{Joined, Missing, Next, Side},
};

use super::{
    StreamConfig,
    conversation::Conversation,
    direction::Direction,
    recognition::{Foreign, RoleSource},
};
use crate::{
    exchange::{
        Bases, Call, Ends, Incomplete, InferredLink, Joins, LinkMethod, Output, Sink, Slab, Unseen,
    },
    identity::{Address, ConnectionKey, ProcessKey, Role},
    tls::session::Session,
};

/// Readings of an entry that is gone, or ahead of the records, before the records are taken for lost: more than a second.
/// Where kernel code can be preempted, a task that loses its CPU while it writes a record keeps back all that lie behind it
/// in the ring until it goes on.
pub(super) const PATIENCE: u8 = 6;
/// Readings of the entry after which the rest of a request is no longer awaited where its response has ended: more
/// than a second.
const UNFINISHED_REQUEST_READINGS: u8 = 6;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: Ends,
    /// How it is known which end this is.
    pub(super) role: RoleSource,
    /// Indexed by `INBOUND` and `OUTBOUND`.
    pub(super) directions: [Direction; 2],
    /// What is spoken; `None` while that is not known, and once nothing is read any more.
    pub(super) conversation: Option<Conversation>,
    /// Something of that was understood.
    pub(super) understood: bool,
    /// When the connection was established and accepted, until its first request is about to come.
    pub(super) established_ns: (u64, u64),
    /// Process and thread of the last call.
    pub(super) call: Call,
    pub(super) from_start: bool,
    /// Nothing is read any more: a tunnel, or nothing that is understood.
    pub(super) ignored: bool,
    /// The kernel was asked for more than the first bytes of each run,
    pub(super) full: bool,
    /// for the headers and first bytes of frames, that is.
    pub(super) framed: bool,
    pub(super) foreign: Foreign,
    /// Where the kernel has its entry; `None` while that was not told.
    pub(super) place: Option<u32>,
    /// Last sign of life, CLOCK_MONOTONIC ns.
    pub(super) last_ns: u64,
    /// Readings of the entry since the last record.
    pub(super) readings: u8,
    /// The connection waits in the queue of entries to be read.
    pub(super) queued: bool,
    /// Its entry is to be read even if no exchange is open: does it still exist?
    pub(super) check: bool,
    /// Its bytes are TLS's: positions of records and entries are those of the ciphertext, and
    pub(super) sealed: bool,
    /// this reads them, unless nothing is read any more.
    pub(super) session: Option<Box<Session>>,
}

impl Connection {
    /// A connection of which `header` is the first record.
    pub(super) fn new(header: &RecordHeader) -> Self {
        let mut connection = Self {
            ends: Ends {
                key: ConnectionKey {
                    sock: header.sock,
                    generation: header.generation,
                },
                role: Role::Client,
                netns: 0,
                local: Address::Unknown,
                peer: Address::Unknown,
                bases: None,
                tls: false,
                session: None,
            },
            role: RoleSource::Unknown,
            directions: [Direction::default(); 2],
            conversation: None,
            understood: false,
            established_ns: (0, 0),
            call: Call {
                time_ns: header.time_ns,
                process: ProcessKey {
                    tgid: 0,
                    start_ns: 0,
                },
                tid: 0,
            },
            from_start: header.flags & flag::FROM_START != 0,
            ignored: false,
            full: false,
            framed: false,
            foreign: Foreign::default(),
            place: None,
            last_ns: header.time_ns,
            readings: 0,
            queued: false,
            check: false,
            sealed: false,
            session: None,
        };
        connection.learn_role(header.role);
        connection
    }

    pub(super) const fn key(&self) -> ConnectionKey {
        self.ends.key
    }

    /// Its entry may tell how an open exchange ended.
    pub(super) fn needs_entry(&self, opens: &Slab) -> bool {
        let conversation = self.conversation.as_ref();
        conversation.is_some_and(|conversation| conversation.needs_entry(opens))
    }

    /// The addresses were told.
    pub(super) fn opened(&mut self, record: &ConnectionOpened, joins: &Joins) {
        self.place = Some(record.place);
        self.learn_role(record.header.role);
        self.ends.netns = record.netns;
        self.ends.tls |= record.header.flags & flag::KERNEL_TLS != 0;
        self.ends.local =
            Address::of_kernel(record.family, record.local_address, record.local_port);
        self.ends.peer = Address::of_kernel(record.family, record.peer_address, record.peer_port);
        let bases = Bases {
            outbound: record.outbound_base,
            inbound: record.inbound_base,
            from_start: self.from_start,
        };
        self.ends.bases = matches!(self.ends.local, Address::Inet(_)).then_some(bases);
        if let (RoleSource::Certain, Role::Client, Some(wire)) =
            (self.role, self.ends.role, self.ends.wire())
        {
            joins.learn(wire);
        }
    }

    /// A run began.
    pub(super) fn run_opened<S: Sink>(
        &mut self,
        run: &RunOpened,
        payload: &[u8],
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let data = &run.data;
        let direction = usize::from(data.header.direction);
        let other = 1 - direction;
        if run.netns != 0 {
            self.ends.netns = run.netns;
        }
        self.ends.tls |= data.header.flags & flag::KERNEL_TLS != 0;
        self.call = Call {
            time_ns: data.header.time_ns,
            process: ProcessKey {
                tgid: data.tgid,
                start_ns: run.start_ns,
            },
            tid: data.tid,
        };
        self.learn_role(data.header.role);
        if run.established_ns != 0 {
            self.established_ns = (run.established_ns, run.accepted_ns);
        }
        if data.header.flags & flag::TLS != 0 {
            self.sealed_run(run, payload, config, out);
            return;
        }
        if self.ignored || !self.recognise(data.header.direction, payload, config, out) {
            self.directions[direction].start_run(run.run);
            return;
        }
        let next = Next::Run {
            side: self.side(direction),
            first: payload,
        };
        if self.directions[direction].known {
            let previous_end = run.previous_end.min(data.start);
            self.advance(direction, previous_end, run.previous_last_ns, config, out);
            self.end_of_run(direction, 0, next, out);
        }
        // A direction that was never seen may not have its position yet.
        if self.from_start || run.other_end != 0 {
            self.advance(other, run.other_end, run.other_last_ns, config, out);
            self.end_of_run(other, run.other_tail, next, out);
        }

        self.directions[direction].start_run(run.run);
        let side = self.side(direction);
        if let Some(conversation) = &mut self.conversation {
            if self.established_ns != (0, 0) {
                conversation.set_established(std::mem::take(&mut self.established_ns));
            }
            conversation.run_started(side, data.start, self.call, &self.ends, out);
            if side == Side::Request {
                conversation.set_context(&run.context);
            }
        }
        self.data(data, payload, config, out);
    }

    /// An open call may have been made for a request.
    pub(super) fn link_found(&mut self, found: &LinkFound, opens: &mut Slab) {
        if found.trace_id == [0; 16] || found.span_id == [0; 8] {
            return;
        }
        let link = InferredLink {
            trace_id: found.trace_id,
            span_id: found.span_id,
            sampled: true,
            method: LinkMethod::LastResumed,
        };
        if let Some(conversation) = &mut self.conversation {
            conversation.link(found.call_span_id, link, opens);
        }
    }

    /// More of a run.
    pub(super) fn run_data<S: Sink>(
        &mut self,
        data: &RunData,
        payload: &[u8],
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        self.call.time_ns = data.header.time_ns;
        self.call.tid = data.tid;
        if self.call.process.tgid != data.tgid {
            self.call.process = ProcessKey {
                tgid: data.tgid,
                start_ns: 0,
            };
        }
        self.learn_role(data.header.role);
        if data.header.flags & flag::TLS != 0 {
            self.sealed_data(data, payload, config, out);
        } else if self.conversation.is_some() {
            self.data(data, payload, config, out);
        }
    }

    /// Feeds the bytes of one call.
    #[inline]
    fn data<S: Sink>(
        &mut self,
        data: &RunData,
        payload: &[u8],
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let direction = usize::from(data.header.direction);
        let side = self.side(direction);
        // Where frames are shipped, the kernel says of each record whether all was shipped before it that should be.
        let counted = data.header.flags & flag::COUNTED != 0
            || (!self.framed && self.directions[direction].is_counting());
        self.skip_to(
            direction,
            data.start,
            data.header.time_ns,
            counted,
            config,
            out,
        );
        let Some(conversation) = &mut self.conversation else {
            return;
        };
        let budget = match (self.full, side) {
            (true, _) => u32::MAX,
            (false, Side::Request) => config.request_budget,
            (false, Side::Response) => config.response_budget,
        };
        let moved = data.end - data.start;
        if self.framed {
            self.directions[direction].take_frames(payload.len(), moved);
        } else {
            self.directions[direction].take(payload.len(), moved, budget);
        }
        if data.header.flags & flag::HEAD_ENDED != 0 {
            self.directions[direction].count_rest();
        }
        self.directions[direction].known = true;
        // What a send announces is not certain to have been sent; the entry tells the rest.
        let end = if data.header.flags & flag::SEND_PENDING != 0 {
            data.start + payload.len() as u64
        } else {
            data.end
        };
        let segment = Segment {
            start: data.start,
            bytes: payload,
            end,
        };
        self.directions[direction].last_ns = data.header.time_ns;
        conversation.bytes(side, segment, self.call, &self.ends, out);
        self.take_findings(Some((side, segment)), config, out);
    }

    /// The kernel counted bytes of `direction` up to `end`, the last of them at `last_ns` (0: not known).
    #[inline]
    fn advance<S: Sink>(
        &mut self,
        direction: usize,
        end: u64,
        last_ns: u64,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let counted = self.directions[direction].is_counting();
        self.skip_to(direction, end, last_ns, counted, config, out);
    }

    /// The same. `counted`: what no record brought of them was not to be shipped.
    #[inline]
    pub(super) fn skip_to<S: Sink>(
        &mut self,
        direction: usize,
        end: u64,
        last_ns: u64,
        counted: bool,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let side = self.side(direction);
        let Some(conversation) = &self.conversation else {
            return;
        };
        if !self.directions[direction].known || end > conversation.position(side) {
            self.pass(direction, end, last_ns, counted, config, out);
        }
    }

    /// Bytes of `direction` up to `end` moved that were not told of yet.
    #[cold]
    fn pass<S: Sink>(
        &mut self,
        direction: usize,
        end: u64,
        last_ns: u64,
        counted: bool,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let side = self.side(direction);
        let Some(conversation) = &mut self.conversation else {
            return;
        };
        let state = &mut self.directions[direction];
        let position = conversation.position(side);
        if !std::mem::replace(&mut state.known, true) {
            // Where the direction begins, as far as observer can tell.
            conversation.run_started(side, end, self.call, &self.ends, out);
            return;
        }
        let (why, missing) = if counted {
            (Missing::Counted, Incomplete::HeadTooLarge)
        } else {
            (Missing::Lost, Incomplete::LostBytes)
        };
        if !counted {
            out.counters.gaps += 1;
            out.counters.lost_bytes += end - position;
        }
        state.last_ns = state.last_ns.max(last_ns);
        let unseen = Unseen {
            to: end,
            time_ns: state.last_ns,
            why,
            missing,
        };
        conversation.skip(side, unseen, self.call, &self.ends, out);
        self.take_findings(None, config, out);
    }

    /// The current message of `direction` may have ended.
    #[inline]
    pub(super) fn end_of_run<S: Sink>(
        &mut self,
        direction: usize,
        tail: u64,
        next: Next<'_>,
        out: &mut Output<'_, S>,
    ) {
        let side = self.side(direction);
        if let Some(conversation) = &mut self.conversation
            && conversation.awaits_run_end(side)
        {
            let last = Call {
                time_ns: self.directions[direction].last_ns,
                ..self.call
            };
            conversation.end_of_run(side, last, tail, next, &self.ends, out);
        }
    }

    /// The entry was read.
    pub(super) fn observe<S: Sink>(
        &mut self,
        entry: &entry::Connection,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        if self.sealed {
            self.sealed_entry(entry, config, out);
            return;
        }
        if !self.needs_entry(out.opens) {
            return;
        }
        let pending = entry.flags & entry::flag::SEND_PENDING != 0;
        for direction in [INBOUND, OUTBOUND].map(usize::from) {
            let state = &entry.directions[direction];
            let behind = self.directions[direction].is_behind(state);
            if !self.directions[direction].known || (behind && self.readings < PATIENCE) {
                continue;
            }
            self.advance(direction, state.end, state.last_ns, config, out);
            if !(behind || (pending && direction == usize::from(OUTBOUND))) {
                self.end_of_run(direction, state.tail, Next::Unknown, out);
            }
        }
        self.stop_awaiting(out);
    }

    /// Where the entry was read so often that the rest of a request comes no more, it is no longer awaited.
    pub(super) fn stop_awaiting<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        if self.needs_entry(out.opens)
            && self.readings >= UNFINISHED_REQUEST_READINGS
            && let Some(conversation) = &mut self.conversation
        {
            conversation.stop_awaiting_request(&self.ends, out);
        }
    }

    /// The connection ended.
    pub(super) fn closed<S: Sink>(
        mut self,
        record: &ConnectionClosed,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        if self.sealed {
            self.sealed_closed(record, config, out);
            return;
        }
        let reset = record.header.flags & flag::RESET != 0;
        let next = if reset { Next::Unknown } else { Next::End };
        for direction in [INBOUND, OUTBOUND].map(usize::from) {
            let state = &record.connection.directions[direction];
            if self.directions[direction].known {
                self.advance(direction, state.end, state.last_ns, config, out);
                self.end_of_run(direction, state.tail, next, out);
            }
        }
        self.end_conversation(record.header.time_ns, reset, out);
    }

    /// The connection ended at `time_ns`, and with it what is spoken.
    pub(super) fn end_conversation<S: Sink>(
        &mut self,
        time_ns: u64,
        reset: bool,
        out: &mut Output<'_, S>,
    ) {
        let response_ns = self.directions[self.response()].last_ns;
        if let Some(conversation) = self.conversation.take() {
            conversation.close(time_ns, response_ns, reset, self.call, &self.ends, out);
        }
    }

    /// The direction of answers.
    pub(super) fn response(&self) -> usize {
        usize::from(match self.ends.role {
            Role::Client => INBOUND,
            Role::Server => OUTBOUND,
        })
    }

    /// It is forgotten: ends what is open.
    pub(super) fn forget<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        self.abandon(out);
        self.unseal(out);
    }

    /// Ends what is open.
    pub(super) fn abandon<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        if let Some(conversation) = self.conversation.take() {
            conversation.abandon(&self.ends, out);
        }
    }

    /// Ends exchanges whose end was lost long ago.
    pub(super) fn expire<S: Sink>(&mut self, now_ns: u64, out: &mut Output<'_, S>) {
        if let Some(conversation) = &mut self.conversation {
            conversation.expire(now_ns, &self.ends, out);
        }
    }

    /// Begins a conversation: positions are told anew.
    pub(super) fn begin(&mut self, conversation: Conversation) {
        self.conversation = Some(conversation);
        self.understood = false;
        for direction in &mut self.directions {
            direction.known = false;
        }
    }

    pub(super) const fn joined(&self) -> Joined {
        if self.from_start {
            Joined::AtStart
        } else {
            Joined::Late
        }
    }

    pub(super) fn side(&self, direction: usize) -> Side {
        match (self.ends.role, direction == usize::from(INBOUND)) {
            (Role::Client, false) | (Role::Server, true) => Side::Request,
            (Role::Client, true) | (Role::Server, false) => Side::Response,
        }
    }

    fn learn_role(&mut self, told: u8) {
        if self.role != RoleSource::Unknown {
            return;
        }
        self.ends.role = match told {
            role::CLIENT => Role::Client,
            role::SERVER => Role::Server,
            _ => return,
        };
        self.role = RoleSource::Certain;
    }
}
