//! A connection whose bytes are TLS's: its session reads them, and what was said goes to the conversation as if it had been
//! plaintext.
//!
//! Positions that the conversation is told are the plaintext's; those of records and entries are the ciphertext's. A run begins
//! where the application of the other side said something since.

use std::sync::Arc;

use observer_abi::{
    connection::{self as entry, INBOUND, OUTBOUND},
    control::shape,
    record::{ConnectionClosed, RunData, RunOpened, flag},
};
use observer_protocol::{
    Segment,
    protocol::{Next, Side},
    tls::Reason,
};

use super::{
    StreamConfig,
    connection::{Connection, PATIENCE},
    conversation::Conversation,
    direction::Direction,
    recognition::{Foreign, RoleSource},
};
use crate::{
    exchange::{Call, Exchange, Output, Sink, Times, TraceContext},
    identity::Role,
    protocol::tls::{self, Tls},
    tls::session::{Data, Handshake, Piece, Said, Session},
};

/// How long ciphertext waits for its key, ns.
const PATIENCE_NS: u64 = 2_000_000_000;

impl Connection {
    /// A run began, in the ciphertext.
    #[cold]
    pub(super) fn sealed_run<S: Sink>(
        &mut self,
        run: &RunOpened,
        payload: &[u8],
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let direction = usize::from(run.data.header.direction);
        if !self.sealed {
            self.seal(out);
        }
        self.directions[direction].start_run(run.run);
        if let Some(session) = &mut self.session {
            session.pass(1 - direction, run.other_end, self.call.time_ns, out.secrets);
            session.set_context(direction, run.data.start, &run.context);
        }
        self.sealed_data(&run.data, payload, config, out);
    }

    /// Bytes of one call, or of a part of it.
    pub(super) fn sealed_data<S: Sink>(
        &mut self,
        data: &RunData,
        payload: &[u8],
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let direction = usize::from(data.header.direction);
        if !self.sealed {
            self.seal(out);
        }
        self.directions[direction].take_frames(payload.len(), data.end - data.start);
        let Some(session) = &mut self.session else {
            return;
        };
        let captured = data.start + payload.len() as u64;
        let pending = data.header.flags & flag::SEND_PENDING != 0;
        let unread = data.header.flags & flag::NO_PAYLOAD != 0;
        let piece = Piece {
            start: data.start,
            bytes: payload,
            // What a send announces is not certain to have been sent, and what could not be read is missing.
            end: if pending || unread {
                captured
            } else {
                data.end
            },
            counted: data.header.flags & flag::COUNTED != 0,
            call: self.call,
        };
        session.piece(direction, &piece, out.secrets);
        self.hear(data.header.time_ns, config, out);
    }

    /// A secret was told.
    pub(super) fn told<S: Sink>(
        &mut self,
        now_ns: u64,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        if let Some(session) = &mut self.session {
            session.told(out.secrets, now_ns);
            self.hear(now_ns, config, out);
        }
    }

    /// What waits for its key for longer than [`PATIENCE_NS`] is given up.
    pub(super) fn expire_sealed<S: Sink>(
        &mut self,
        now_ns: u64,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        if let Some(session) = &mut self.session {
            session.expire(now_ns.saturating_sub(PATIENCE_NS), out.secrets, now_ns);
            self.hear(now_ns, config, out);
        }
    }

    /// Ciphertext waits for its key.
    pub(super) fn waits(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.waits())
    }

    /// It is in the queue of those that wait, or no longer.
    pub(super) fn set_queued(&mut self, queued: bool) {
        if let Some(session) = &mut self.session {
            session.queued = queued;
        }
    }

    fn seal<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        // Whatever it was until now.
        self.abandon(out);
        (self.ignored, self.full, self.framed, self.understood) = (false, false, false, false);
        self.foreign = Foreign::default();
        self.directions = <[Direction; 2]>::default();
        self.sealed = true;
        self.ends.tls = true;
        out.counters.tls.connections += 1;
        let client = match (self.role, self.ends.role) {
            (RoleSource::Unknown, _) => None,
            (_, Role::Client) => Some(OUTBOUND),
            (_, Role::Server) => Some(INBOUND),
        };
        let session = Session::new(client.map(usize::from), self.call);
        self.session = Some(Box::new(session));
    }

    /// Its session ends, and with it its keys.
    pub(super) fn unseal<S>(&mut self, out: &mut Output<'_, S>) {
        if let Some(session) = self.session.take() {
            count(&session, out);
            out.sealed.change(session.counted, 0);
        }
    }

    /// Takes what the session says, and looks at what it keeps.
    fn hear<S: Sink>(&mut self, now_ns: u64, config: &StreamConfig, out: &mut Output<'_, S>) {
        self.take_said(config, out);
        let Some(session) = &mut self.session else {
            return;
        };
        let held = session.held();
        if out
            .sealed
            .change(std::mem::replace(&mut session.counted, held), held)
            && session.waits()
        {
            out.counters.tls.released += 1;
            session.expire(u64::MAX, out.secrets, now_ns);
            self.take_said(config, out);
            if let Some(session) = &mut self.session {
                let held = session.held();
                out.sealed
                    .change(std::mem::replace(&mut session.counted, held), held);
            }
        }
        let key = self.ends.key;
        if let Some(session) = &mut self.session
            && session.waits()
            && !std::mem::replace(&mut session.queued, true)
        {
            out.sealed.waiting.push_back(key);
        }
    }

    /// Takes what the session says.
    fn take_said<S: Sink>(&mut self, config: &StreamConfig, out: &mut Output<'_, S>) {
        // It is put back below; what is said needs both.
        let Some(mut session) = self.session.take() else {
            return;
        };
        while let Some(said) = session.next() {
            match said {
                Said::Data(data) => self.said(&mut session, &data, config, out),
                Said::Closed(direction) => self.said_closed(&mut session, direction, config, out),
                Said::Handshake(handshake) => {
                    self.learn_client(session.client());
                    self.shake_hands(&mut session, &handshake, "closed", 0, out);
                }
                // Nobody answers any more.
                Said::Failed(alert, time_ns) => {
                    let facts = session.facts();
                    self.ends.session = Some(Arc::new(Tls {
                        alert: Some(alert.name().unwrap_or("_OTHER")),
                        ..(*facts).clone()
                    }));
                    self.end_conversation(time_ns, true, out);
                }
            }
        }
        self.session = Some(session);
        if self.ignored {
            self.unseal(out);
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        take_counts(session, out);
        if let Some(reason) = session.unreadable() {
            let counters = &mut out.counters.tls;
            match reason {
                Reason::NoKey => {
                    counters.no_key += 1;
                    out.sink.stays_closed(self.call.process);
                }
                Reason::NoHandshake => counters.no_handshake += 1,
                Reason::Suite(_) | Reason::Version(_) => counters.unknown_cipher += 1,
                _ => counters.lost += 1,
            }
            self.ignore(out);
            self.unseal(out);
        } else if session.is_established()
            && let Some(name) = session.protocol()
            && Conversation::agreed(name).is_none()
        {
            out.counters.tls.other_protocol += 1;
            self.ignore(out);
            self.unseal(out);
        } else if self.understood
            && !session.announced
            && let Some(conversation) = &self.conversation
        {
            session.announced = true;
            let number = conversation.number().0;
            out.sink.set_mode(self.ends.key, shape::RECORDS, number);
        }
    }

    /// The client's end is where the first hello came from, where nothing else told.
    fn learn_client(&mut self, client: Option<usize>) {
        if let Some(client) = client
            && self.role == RoleSource::Unknown
        {
            self.ends.role = if client == usize::from(OUTBOUND) {
                Role::Client
            } else {
                Role::Server
            };
            self.role = RoleSource::Certain;
        }
    }

    /// The application of a side said something.
    fn said<S: Sink>(
        &mut self,
        session: &mut Session,
        data: &Data,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        if self.ignored {
            return;
        }
        let direction = data.direction;
        let begins = session.moves(direction);
        if self.ends.session.is_none() {
            self.learn_client(session.client());
            self.ends.session = Some(session.facts());
            out.counters.tls.connections_read += 1;
        }
        let now = std::mem::replace(&mut self.call, data.begun);
        if begins && !self.begin_run(session, data, config, out) {
            self.call = now;
            return;
        }
        self.skip_to(
            direction,
            data.start,
            data.begun.time_ns,
            false,
            config,
            out,
        );
        self.directions[direction].last_ns = data.ended.time_ns;
        let end = data.start + data.length;
        if data.first.is_empty() {
            // As what the kernel only counts: a message may have begun in it.
            let counted = data.is_certain;
            self.skip_to(direction, end, data.ended.time_ns, counted, config, out);
            self.call = now;
            return;
        }
        let certain = if data.is_certain {
            end
        } else {
            data.start + data.first.len() as u64
        };
        let mut segment = Segment {
            start: data.start,
            bytes: &data.first,
            end: certain,
        };
        if data.begun.time_ns != data.ended.time_ns && data.first.len() > 1 {
            // The message that begins here began with the record's first byte, the one that ends here ended with its last.
            let (first, rest) = data.first.split_at(1);
            self.feed(
                direction,
                Segment::whole(data.start, first),
                data.begun,
                config,
                out,
            );
            segment.start += 1;
            segment.bytes = rest;
        }
        self.feed(direction, segment, data.ended, config, out);
        self.skip_to(direction, end, data.ended.time_ns, false, config, out);
        self.call = now;
    }

    /// Something moved that stays closed, up to where the session is.
    fn said_closed<S: Sink>(
        &mut self,
        session: &mut Session,
        direction: usize,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let side = self.side(direction);
        let begins = session.moves(direction);
        if let (true, Some(conversation)) = (begins, &self.conversation) {
            // A message may have begun with it.
            let start = conversation.position(side);
            self.end_runs(session, direction, start, &[], config, out);
            if let Some(conversation) = &mut self.conversation {
                conversation.run_started(side, start, self.call, &self.ends, out);
            }
        }
        self.catch_up(direction, session.frontier(direction), config, out);
    }

    /// A run of `direction` begins at `start` with the bytes `first`: what was said before may have ended.
    fn end_runs<S: Sink>(
        &mut self,
        session: &Session,
        direction: usize,
        start: u64,
        first: &[u8],
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let other = 1 - direction;
        let next = Next::Run {
            side: self.side(direction),
            first,
        };
        self.catch_up(direction, start, config, out);
        self.end_of_run(direction, 0, next, out);
        self.catch_up(other, session.frontier(other), config, out);
        self.end_of_run(other, session.tail(other), next, out);
    }

    /// A run begins with what was said. False where it is not known what is spoken.
    fn begin_run<S: Sink>(
        &mut self,
        session: &mut Session,
        data: &Data,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) -> bool {
        let (direction, other) = (data.direction, 1 - data.direction);
        if self.conversation.is_some() {
            self.end_runs(session, direction, data.start, &data.first, config, out);
        } else {
            let agreed = session.protocol().and_then(Conversation::agreed);
            let conversation = agreed
                .and_then(|number| Conversation::new(number, config.head_bytes, self.joined()));
            match conversation {
                Some(conversation) => self.begin(conversation),
                None if session.protocol().is_some() => return false,
                None => {
                    if !self.recognise(direction as u8, &data.first, config, out) {
                        return false;
                    }
                }
            }
            let side = self.side(other);
            let frontier = session.frontier(other);
            if let Some(conversation) = &mut self.conversation {
                conversation.run_started(side, frontier, self.call, &self.ends, out);
            }
            for direction in &mut self.directions {
                direction.known = true;
            }
        }
        let side = self.side(direction);
        let context = session.take_context(direction, data.at);
        let Some(conversation) = &mut self.conversation else {
            return false;
        };
        if self.established_ns != (0, 0) {
            conversation.set_established(std::mem::take(&mut self.established_ns));
        }
        conversation.run_started(side, data.start, self.call, &self.ends, out);
        if side == Side::Request
            && let Some(context) = context
        {
            conversation.set_context(&context);
        }
        true
    }

    /// What was lost of a direction before a plaintext position is told.
    fn catch_up<S: Sink>(
        &mut self,
        direction: usize,
        to: u64,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let last_ns = self.directions[direction].last_ns;
        self.skip_to(direction, to, last_ns, false, config, out);
    }

    fn feed<S: Sink>(
        &mut self,
        direction: usize,
        segment: Segment<'_>,
        call: Call,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let side = self.side(direction);
        if let Some(conversation) = &mut self.conversation {
            self.call = call;
            conversation.bytes(side, segment, call, &self.ends, out);
            self.take_findings(Some((side, segment)), config, out);
        }
    }

    /// Gives on a handshake that is over. One that was cut off ended at `cut_ns`, and failed by what is called `cut`.
    fn shake_hands<S: Sink>(
        &mut self,
        session: &mut Session,
        handshake: &Handshake,
        cut: &'static str,
        cut_ns: u64,
        out: &mut Output<'_, S>,
    ) {
        let error = match (handshake.alert, handshake.ended_ns) {
            (Some(alert), _) => Some(alert.name().unwrap_or("_OTHER")),
            (None, None) => Some(cut),
            (None, Some(_)) => None,
        };
        let facts = session.facts();
        out.counters.tls.handshakes += 1;
        out.counters.tls.handshakes_failed += u64::from(error.is_some());
        let begun = handshake.begun;
        let mut exchange = Exchange::empty();
        exchange.detail = tls::Handshake { error }.into();
        exchange.process = begun.process;
        exchange.tid = begun.tid;
        self.ends.write(&mut exchange.common);
        exchange.session = Some(facts);
        exchange.times = Times {
            request_start: begun.time_ns,
            request_end: begun.time_ns,
            response_end: Some(handshake.ended_ns.unwrap_or(cut_ns).max(begun.time_ns)),
            ..Times::default()
        };
        exchange.context = TraceContext::root(out.ids.trace_id(), out.ids.span_id());
        out.sink.exchange(&mut exchange);
    }

    /// The entry was read: what is known of each direction's end ends what is open.
    pub(super) fn sealed_entry<S: Sink>(
        &mut self,
        entry: &entry::Connection,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        if !self.needs_entry(out.opens) {
            return;
        }
        let pending = entry.flags & entry::flag::SEND_PENDING != 0;
        for direction in [INBOUND, OUTBOUND].map(usize::from) {
            let state = &entry.directions[direction];
            let behind = self.directions[direction].is_behind(state);
            if behind && self.readings < PATIENCE {
                continue;
            }
            if let Some(session) = &mut self.session {
                session.pass(direction, state.end, state.last_ns, out.secrets);
            }
            self.hear(self.last_ns, config, out);
            let ended = !(behind || (pending && direction == usize::from(OUTBOUND)));
            self.end_sealed_run(direction, Next::Unknown, ended, config, out);
        }
        self.stop_awaiting(out);
    }

    /// All that moved in a direction was told, unless something of it waits.
    fn end_sealed_run<S: Sink>(
        &mut self,
        direction: usize,
        next: Next<'_>,
        ended: bool,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let Some(session) = self.session.take() else {
            return;
        };
        if session.is_settled(direction) {
            let frontier = session.frontier(direction);
            self.catch_up(direction, frontier, config, out);
            if ended {
                self.end_of_run(direction, session.tail(direction), next, out);
            }
        }
        self.session = Some(session);
    }

    /// The connection ended.
    pub(super) fn sealed_closed<S: Sink>(
        mut self,
        record: &ConnectionClosed,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let time_ns = record.header.time_ns;
        let mut reset = record.header.flags & flag::RESET != 0;
        if let Some(session) = &mut self.session {
            for direction in [INBOUND, OUTBOUND].map(usize::from) {
                let end = record.connection.directions[direction].end;
                session.pass(direction, end, time_ns, out.secrets);
            }
            session.expire(u64::MAX, out.secrets, time_ns);
        }
        self.take_said(config, out);
        let response = self.response();
        // Once the kernel ships no more of a connection, as where it encrypts one itself, nobody knows how a handshake went on.
        let shipped = record.connection.shape == shape::RECORDS;
        if let Some(mut session) = self.session.take() {
            if shipped && let Some(handshake) = session.cut_off() {
                self.learn_client(session.client());
                let cut = if reset { "reset" } else { "closed" };
                self.shake_hands(&mut session, &handshake, cut, time_ns, out);
            }
            // What comes behind the end of an answer is not the answer's.
            reset &= !session.has_ended(response);
            self.session = Some(session);
        }
        let next = if reset { Next::Unknown } else { Next::End };
        for direction in [INBOUND, OUTBOUND].map(usize::from) {
            self.end_sealed_run(direction, next, true, config, out);
        }
        self.end_conversation(time_ns, reset, out);
        self.unseal(out);
    }
}

/// Adds what the session counted to what the shard counts.
fn take_counts<S>(session: &mut Session, out: &mut Output<'_, S>) {
    count(session, out);
    session.records = 0;
    session.bound = 0;
    session.closed = [0; 5];
}

fn count<S>(session: &Session, out: &mut Output<'_, S>) {
    let counters = &mut out.counters.tls;
    counters.records += session.records;
    counters.secrets_proven += session.bound;
    let [no_key, unproven, lost, content, other] = session.closed;
    counters.records_no_key += no_key;
    counters.records_unproven += unproven;
    counters.records_lost += lost;
    counters.records_unknown_content += content;
    counters.records_unreadable += other;
}
