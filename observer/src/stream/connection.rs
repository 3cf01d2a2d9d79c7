//! One connection: from records and entries to positions, and from positions to messages.

use observer_abi::{
    connection::{self as entry, INBOUND, OUTBOUND, role},
    control::mode,
    record::{
        ConnectionClosed, ConnectionOpened, LinkFound, RecordHeader, RunData, RunOpened, flag,
    },
};
use observer_protocol::http1::{Detection, Limits, Segment, detect};

use super::{StreamConfig, direction::Direction};
use crate::exchange::{
    Between, Call, Ends, Incomplete, InferredLink, LinkMethod, Output, Pairing, Side, Sink, Unseen,
};
use crate::identity::{Address, ConnectionKey, ProcessKey, Role};

/// Runs that are no HTTP before a connection that was picked up in its middle is left alone: it may be in a body.
const FOREIGN_RUNS: u32 = 16;
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
    ends: Ends,
    /// The end was told by the kernel or by a message, not merely assumed from a message's first bytes.
    role: RoleSource,
    /// Indexed by `INBOUND` and `OUTBOUND`.
    directions: [Direction; 2],
    pairing: Pairing,
    /// Process and thread of the last call.
    call: Call,
    from_start: bool,
    /// Nothing is read any more: a tunnel, or not HTTP.
    ignored: bool,
    /// The kernel was asked for everything.
    full: bool,
    /// Runs that were no HTTP, by direction, since the last that was.
    foreign: [u32; 2],
    /// Last sign of life, CLOCK_MONOTONIC ns.
    pub(super) last_ns: u64,
    /// Readings of the entry since the last record.
    pub(super) readings: u8,
    /// The connection waits in the queue of entries to be read.
    pub(super) queued: bool,
    /// Its entry is to be read even if no exchange is open: does it still exist?
    pub(super) check: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoleSource {
    Unknown,
    Assumed,
    Certain,
}

impl Connection {
    /// A connection of which `header` is the first record.
    pub(super) fn new(header: &RecordHeader, config: &StreamConfig) -> Self {
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
                tls: false,
            },
            role: RoleSource::Unknown,
            directions: [Direction::default(); 2],
            pairing: Pairing::new(Limits::new(config.head_bytes)),
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
            foreign: [0; 2],
            last_ns: header.time_ns,
            readings: 0,
            queued: false,
            check: false,
        };
        connection.learn_role(header.role);
        connection
    }

    pub(super) const fn key(&self) -> ConnectionKey {
        self.ends.key
    }

    /// Its entry may tell how an open exchange ended.
    pub(super) fn needs_entry(&self) -> bool {
        !self.ignored && self.pairing.needs_entry()
    }

    /// The addresses were told.
    pub(super) fn opened(&mut self, record: &ConnectionOpened) {
        self.learn_role(record.header.role);
        self.ends.netns = record.netns;
        self.ends.tls = record.header.flags & flag::KERNEL_TLS != 0;
        self.ends.local =
            Address::of_kernel(record.family, record.local_address, record.local_port);
        self.ends.peer = Address::of_kernel(record.family, record.peer_address, record.peer_port);
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
        if self.ignored || !self.assume_role(data.header.direction, payload, out) {
            self.directions[direction].start_run(run.run);
            return;
        }
        if run.established_ns != 0 {
            self.pairing
                .set_established(run.established_ns, run.accepted_ns);
        }

        let message = match self.side(direction) {
            Side::Request => Detection::Request,
            Side::Response => Detection::Response,
        };
        let begins = || match detect(payload) {
            found if found == message => Between::Yes,
            Detection::Incomplete if !payload.is_empty() => Between::Perhaps,
            _ => Between::No,
        };
        if self.directions[direction].known {
            let previous_end = run.previous_end.min(data.start);
            self.advance(direction, previous_end, run.previous_last_ns, out);
            self.end_of_run(direction, 0, begins, out);
        }
        // A direction that was never seen may not have its position yet.
        if self.from_start || run.other_end != 0 {
            self.advance(other, run.other_end, run.other_last_ns, out);
            self.end_of_run(other, run.other_tail, begins, out);
        }

        self.directions[direction].start_run(run.run);
        let side = self.side(direction);
        self.pairing.run_started(side, data.start);
        if side == Side::Request {
            self.pairing.set_context(run.context);
        }
        self.data(data, payload, config, out);
    }

    /// An open call may have been made for a request.
    pub(super) fn link_found(&mut self, found: &LinkFound) {
        if found.trace_id == [0; 16] || found.span_id == [0; 8] {
            return;
        }
        let link = InferredLink {
            trace_id: found.trace_id,
            span_id: found.span_id,
            sampled: true,
            method: LinkMethod::LastResumed,
        };
        self.pairing.link(found.call_span_id, link);
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
        if self.ignored || self.role == RoleSource::Unknown {
            return;
        }
        self.data(data, payload, config, out);
    }

    /// Feeds the bytes of one call.
    fn data<S: Sink>(
        &mut self,
        data: &RunData,
        payload: &[u8],
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let direction = usize::from(data.header.direction);
        let side = self.side(direction);
        self.advance(direction, data.start, data.header.time_ns, out);
        if self.ignored {
            return;
        }
        let budget = match (self.full, side) {
            (true, _) => u32::MAX,
            (false, Side::Request) => config.request_budget,
            (false, Side::Response) => config.response_budget,
        };
        self.directions[direction].take(payload.len(), data.end - data.start, budget);
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
        match side {
            Side::Request => self
                .pairing
                .request_bytes(segment, self.call, &self.ends, out),
            Side::Response => {
                self.pairing
                    .response_bytes(segment, self.call, &self.ends, out);
            }
        }
        self.heed_findings(out);
    }

    /// The kernel counted bytes of `direction` up to `end`, the last of them at `last_ns` (0: not known).
    fn advance<S: Sink>(
        &mut self,
        direction: usize,
        end: u64,
        last_ns: u64,
        out: &mut Output<'_, S>,
    ) {
        let side = self.side(direction);
        let state = &mut self.directions[direction];
        let position = self.pairing.position(side);
        if !std::mem::replace(&mut state.known, true) {
            // Where the direction begins, as far as observer can tell.
            self.pairing.run_started(side, end);
            return;
        }
        if end <= position {
            return;
        }
        let counted = state.is_counting();
        let missing = if counted {
            Incomplete::HeadTooLarge
        } else {
            Incomplete::LostBytes
        };
        if !counted {
            out.counters.gaps += 1;
            out.counters.lost_bytes += end - position;
        }
        state.last_ns = state.last_ns.max(last_ns);
        let unseen = Unseen {
            to: end,
            time_ns: state.last_ns,
            missing,
        };
        self.pairing.skip(side, unseen, self.call, &self.ends, out);
        self.heed_findings(out);
    }

    /// The current message of `direction` may have ended; `between` is asked only where its framing does not tell.
    fn end_of_run<S: Sink>(
        &mut self,
        direction: usize,
        tail: u64,
        between: impl FnOnce() -> Between,
        out: &mut Output<'_, S>,
    ) {
        let side = self.side(direction);
        if !self.pairing.is_endless(side) {
            return;
        }
        let last = Call {
            time_ns: self.directions[direction].last_ns,
            ..self.call
        };
        self.pairing
            .end_of_run(side, last, tail, between(), &self.ends, out);
    }

    /// The entry was read at `now_ns`.
    pub(super) fn observe<S: Sink>(&mut self, entry: &entry::Connection, out: &mut Output<'_, S>) {
        if !self.needs_entry() {
            return;
        }
        let pending = entry.flags & entry::flag::SEND_PENDING != 0;
        for direction in [INBOUND, OUTBOUND].map(usize::from) {
            let state = &entry.directions[direction];
            let behind = self.directions[direction].is_behind(state);
            if !self.directions[direction].known || (behind && self.readings < PATIENCE) {
                continue;
            }
            self.advance(direction, state.end, state.last_ns, out);
            if !(behind || (pending && direction == usize::from(OUTBOUND))) {
                self.end_of_run(direction, state.tail, || Between::No, out);
            }
        }
        if self.needs_entry() && self.readings >= UNFINISHED_REQUEST_READINGS {
            self.pairing.stop_awaiting_request(&self.ends, out);
        }
    }

    /// The connection ended.
    pub(super) fn closed<S: Sink>(&mut self, record: &ConnectionClosed, out: &mut Output<'_, S>) {
        if self.ignored || self.role == RoleSource::Unknown {
            return;
        }
        let reset = record.header.flags & flag::RESET != 0;
        let ended = if reset { Between::No } else { Between::Yes };
        for direction in [INBOUND, OUTBOUND].map(usize::from) {
            let state = &record.connection.directions[direction];
            if self.directions[direction].known {
                self.advance(direction, state.end, state.last_ns, out);
                self.end_of_run(direction, state.tail, || ended, out);
            }
        }
        let response = match self.ends.role {
            Role::Client => INBOUND,
            Role::Server => OUTBOUND,
        };
        let response_ns = self.directions[usize::from(response)].last_ns;
        let time_ns = record.header.time_ns;
        self.pairing
            .close(time_ns, response_ns, reset, self.call, &self.ends, out);
    }

    /// Gives on what is open.
    pub(super) fn abandon<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        self.pairing.abandon(&self.ends, out);
    }

    fn side(&self, direction: usize) -> Side {
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

    /// Where the kernel does not know which end this is, the first bytes of a run tell. `false` when they do not.
    fn assume_role<S: Sink>(
        &mut self,
        direction: u8,
        payload: &[u8],
        out: &mut Output<'_, S>,
    ) -> bool {
        if self.role != RoleSource::Unknown {
            return true;
        }
        const VERSION: &[u8] = b"HTTP/1.";
        let detection = detect(payload);
        let response = match detection {
            Detection::Request => false,
            Detection::Response => true,
            Detection::Incomplete if payload.is_empty() => return false,
            Detection::Incomplete => payload.starts_with(VERSION) || VERSION.starts_with(payload),
            Detection::No => {
                self.foreign[usize::from(direction)] += 1;
                self.ignore_foreign(out);
                return false;
            }
        };
        self.ends.role = if response == (direction == INBOUND) {
            Role::Client
        } else {
            Role::Server
        };
        self.role = if detection == Detection::Incomplete {
            RoleSource::Assumed
        } else {
            RoleSource::Certain
        };
        true
    }

    fn heed_findings<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        let findings = self.pairing.take_findings();
        if findings.http {
            self.foreign = [0; 2];
            if self.role == RoleSource::Assumed {
                self.role = RoleSource::Certain;
            }
        }
        if findings.tunnel {
            out.counters.tunnels += 1;
            self.ignore(out);
            return;
        }
        if (findings.pipelined || findings.head_too_large) && !self.full {
            out.counters.pipelined += u64::from(findings.pipelined);
            self.full = true;
            out.sink.set_mode(self.ends.key, mode::FULL);
        }
        for (side, foreign) in [Side::Request, Side::Response]
            .into_iter()
            .zip(findings.not_http)
        {
            if foreign {
                let direction = usize::from(self.side(usize::from(INBOUND)) != side);
                self.foreign[direction] += 1;
                if self.role == RoleSource::Assumed {
                    self.role = RoleSource::Unknown;
                    self.directions
                        .iter_mut()
                        .for_each(|direction| direction.known = false);
                    self.pairing.restart();
                }
                self.ignore_foreign(out);
            }
        }
    }

    /// Leaves the connection alone once both directions have shown that they are not HTTP.
    fn ignore_foreign<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        let [inbound, outbound] = self.foreign;
        let enough = if self.from_start { 2 } else { FOREIGN_RUNS };
        if inbound > 0 && outbound > 0 && inbound + outbound >= enough && !self.ignored {
            out.counters.not_http += 1;
            self.ignore(out);
        }
    }

    fn ignore<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        self.pairing.abandon(&self.ends, out);
        self.ignored = true;
        out.sink.set_mode(self.ends.key, mode::IGNORE);
    }
}
