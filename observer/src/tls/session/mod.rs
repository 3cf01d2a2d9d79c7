//! One connection's TLS: between what the kernel ships of its ciphertext and the protocol inside.
//!
//! In: pieces of both directions with their calls, and that a secret was told. Out: [what was said](Said), in the order in which it
//! went over the wire, with plaintext positions and the times of the calls that moved it. Owns: the connection's keys; ciphertext
//! that waits for one; which of the kernel's ids belong to which position.
//!
//! What is said of one direction is kept back while the other has something older that waits for its key: an answer is never told
//! before its request.

mod assembler;
mod handshake;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc};

use observer_abi::context::Context;
use observer_protocol::tls::{
    Alert, Candidates, Event, Plain, Reading, Reason, Record, Side, says_hello,
};

pub(crate) use self::{assembler::Piece, handshake::Handshake};
use self::{
    assembler::{Assembled, Assembler},
    handshake::Progress,
};
use crate::{exchange::Call, protocol::tls::Tls};

/// Ciphertext of a connection that waits for its key, bytes. A key comes some 10 ms after its handshake, in which a connection on this
/// host may have dozens of requests and answers; all connections together have a bound of their own.
const WAITING: usize = 1024 * 1024;
/// Ciphertext that waits whole. Of longer records behind it, ends alone wait: a large upload may come before its key, and what it
/// begins with tells what it is.
const WAITING_WHOLE: usize = 768 * 1024;
/// Records up to so many bytes wait whole wherever they stand.
const SHORT: usize = 512;
/// Of others, the first bytes, which hold TLS 1.2's nonce, and the last ones.
const ENDS: (usize, usize) = (8, 32);
/// Runs of a direction whose ids wait for the record that they belong to.
const MOST_CONTEXTS: usize = 64;
/// Records in a row that stay closed before the connection is given up: its numbers are not found again.
const MOST_CLOSED: u32 = 64;

/// What the application of one side said in one record.
#[derive(Debug)]
pub(crate) struct Data {
    /// Which way it went.
    pub(crate) direction: usize,
    /// Its plaintext position.
    pub(crate) start: u64,
    /// Its length; where `is_certain` is not set, at most.
    pub(crate) length: u64,
    /// Its first bytes.
    pub(crate) first: Vec<u8>,
    /// What is missing of it was not to be shipped, and its length is known.
    pub(crate) is_certain: bool,
    /// The call that moved the first byte of its record.
    pub(crate) begun: Call,
    /// The call that moved the last byte.
    pub(crate) ended: Call,
    /// Position of its record in the ciphertext.
    pub(crate) at: u64,
}

/// What a connection says, in the order of the wire.
#[derive(Debug)]
pub(crate) enum Said {
    /// The application of a side said something.
    Data(Data),
    /// A record that stays closed moved this way, or bytes of which no record is known.
    Closed(usize),
    /// The handshake is over.
    Handshake(Handshake),
    /// A side ended the connection with an error, at this time.
    Failed(Alert, u64),
}

/// A record that was given to the reading.
#[derive(Clone, Copy)]
struct Stamp {
    at: u64,
    /// Counts up over both directions.
    sequence: u64,
    begun: Call,
    ended: Call,
    broken: bool,
}

/// What is to be said in its turn.
enum Heard {
    Event(Event),
    /// So many bytes, of which no record is known.
    Lost(u64),
}

/// One way of the connection.
struct Way {
    assembler: Assembler,
    /// Records that wait, or of which something is to be said.
    stamps: VecDeque<Stamp>,
    /// What is to be said, with the place of its record, by its sequence.
    events: VecDeque<(Stamp, Heard)>,
    /// The kernel's ids, by the position from which on they hold.
    contexts: VecDeque<(u64, Context)>,
    /// The last bytes of the plaintext, newest in the highest byte; 0 where they are not known.
    tail: u64,
    /// Plaintext position after what was said or stayed closed.
    position: u64,
    /// Early data that the server refused, bytes: its client said it again.
    refused: u64,
    /// Records that stayed closed since the last that was opened.
    closed: u32,
    /// It said that nothing more comes.
    ended: bool,
}

/// See the module.
pub(crate) struct Session {
    reading: Reading,
    /// By direction of the socket.
    ways: [Way; 2],
    /// The direction in which the client's bytes go.
    client: Option<usize>,
    sequence: u64,
    /// The server takes early data; `None` while it has not said so.
    takes_early: Option<bool>,
    handshake: Progress,
    /// Which way the last that was said went.
    moved: Option<usize>,
    /// What makes the connection unreadable.
    unreadable: Option<Reason>,
    /// Something was said by the application.
    spoke: bool,
    /// In the shard's queue of connections that wait.
    pub(crate) queued: bool,
    /// Its part in what the shard's connections keep.
    pub(crate) counted: usize,
    /// The kernel was told what is inside.
    pub(crate) announced: bool,
    /// Records that were assembled and those that stayed closed, by reason, since that was last asked.
    pub(crate) records: u64,
    pub(crate) closed: [u64; 5],
    /// Secrets were proven, since that was last asked.
    pub(crate) bound: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A connection of which nothing was seen. `client` is the direction of the client's bytes, where that is known.
    pub(crate) fn new(client: Option<usize>, call: Call) -> Self {
        let way = || Way {
            assembler: Assembler::new(call),
            stamps: VecDeque::new(),
            events: VecDeque::new(),
            contexts: VecDeque::new(),
            tail: 0,
            position: 0,
            refused: 0,
            closed: 0,
            ended: false,
        };
        Self {
            reading: Reading::new(WAITING),
            ways: [way(), way()],
            client,
            sequence: 0,
            takes_early: None,
            handshake: Progress::default(),
            moved: None,
            unreadable: None,
            spoke: false,
            queued: false,
            counted: 0,
            announced: false,
            records: 0,
            closed: [0; 5],
            bound: 0,
        }
    }

    /// Bytes that are kept.
    pub(crate) fn held(&self) -> usize {
        let partial: usize = self.ways.iter().map(|way| way.assembler.held()).sum();
        self.reading.held() + partial
    }

    /// Ciphertext waits for its key.
    pub(crate) const fn waits(&self) -> bool {
        self.reading.held() > 0
    }

    /// The direction of the client's bytes.
    pub(crate) const fn client(&self) -> Option<usize> {
        self.client
    }

    /// What is known of the session.
    pub(crate) fn facts(&mut self) -> Arc<Tls> {
        self.handshake.facts(self.reading.connection())
    }

    /// The application protocol that both agreed on.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.handshake.protocol()
    }

    /// The handshake is over, or nobody can tell when it was.
    pub(crate) const fn is_established(&self) -> bool {
        self.handshake.is_over()
    }

    /// The handshake that has not ended, as it is cut off by the connection's end.
    pub(crate) fn cut_off(&mut self) -> Option<Handshake> {
        // Where something waits it may have ended, or have failed otherwise.
        if self.waits() || self.spoke {
            return None;
        }
        self.handshake.cut_off()
    }

    /// Why nothing of it can be read, as soon as that is certain.
    pub(crate) const fn unreadable(&self) -> Option<Reason> {
        self.unreadable
    }

    /// The side that sends this way said that it is done.
    pub(crate) const fn has_ended(&self, direction: usize) -> bool {
        self.ways[direction].ended
    }

    /// All that moved this way was read: no record is open, none waits.
    pub(crate) fn is_settled(&self, direction: usize) -> bool {
        let way = &self.ways[direction];
        way.assembler.is_between()
            && way.events.is_empty()
            && self.reading.waits_at(self.side(direction)).is_none()
    }

    /// The last bytes of what was said this way.
    pub(crate) const fn tail(&self, direction: usize) -> u64 {
        self.ways[direction].tail
    }

    /// Plaintext position up to which this way was said or lost.
    pub(crate) fn frontier(&self, direction: usize) -> u64 {
        let way = &self.ways[direction];
        if way.events.is_empty() && way.stamps.is_empty() {
            self.read_to(direction)
        } else {
            way.position
        }
    }

    /// Plaintext position up to which this way's records were taken.
    fn read_to(&self, direction: usize) -> u64 {
        let position = self.reading.position(self.side(direction));
        position.saturating_sub(self.ways[direction].refused)
    }

    /// Notes that something was said this way; true where the other way was the last, so that a run begins.
    pub(crate) fn moves(&mut self, direction: usize) -> bool {
        self.moved.replace(direction) != Some(direction)
    }

    /// The kernel gives ids to what the application says this way from this ciphertext position on.
    pub(crate) fn set_context(&mut self, direction: usize, at: u64, context: &Context) {
        let contexts = &mut self.ways[direction].contexts;
        if context.trace_id == [0; 16] {
            return;
        }
        if contexts.len() >= MOST_CONTEXTS {
            contexts.pop_front();
        }
        contexts.push_back((at, *context));
    }

    /// The ids of a run whose first record stands at this ciphertext position.
    pub(crate) fn take_context(&mut self, direction: usize, at: u64) -> Option<Context> {
        let contexts = &mut self.ways[direction].contexts;
        let mut last = None;
        while let Some((_, context)) = contexts.pop_front_if(|(from, _)| *from <= at) {
            last = Some(context);
        }
        last
    }

    /// Takes a piece of a direction.
    pub(crate) fn piece(&mut self, direction: usize, piece: &Piece<'_>, secrets: &mut Candidates) {
        self.assemble(
            direction,
            secrets,
            piece.call.time_ns,
            |assembler, mut say| {
                assembler.piece(piece, &mut say);
            },
        );
    }

    /// A direction moved up to a position, and what is not there of it does not come.
    pub(crate) fn pass(
        &mut self,
        direction: usize,
        to: u64,
        now_ns: u64,
        secrets: &mut Candidates,
    ) {
        self.assemble(direction, secrets, now_ns, |assembler, mut say| {
            assembler.pass(to, true, &mut say);
        });
    }

    /// Tries what waits with a secret that was told.
    pub(crate) fn told(&mut self, secrets: &mut Candidates, now_ns: u64) {
        let Self { reading, ways, .. } = self;
        let client = self.client.unwrap_or(0);
        let mut events = Vec::new();
        reading.told(secrets, now_ns, &mut |at, event| events.push((at, event)));
        for (at, event) in events {
            keep(ways, client, at, event);
        }
        self.collected();
    }

    /// Gives up what waits since before `before`.
    pub(crate) fn expire(&mut self, before: u64, secrets: &mut Candidates, now_ns: u64) {
        let client = self.client.unwrap_or(0);
        let Self { reading, ways, .. } = self;
        let mut no_key = false;
        reading.expire(before, secrets, now_ns, &mut |at, event| {
            no_key |= matches!(
                event,
                Event::Unopened {
                    reason: Reason::NoKey,
                    ..
                }
            );
            keep(ways, client, at, event);
        });
        self.collected();
        // What the server refused of early data has a key that nobody tells.
        if no_key && self.takes_early != Some(false) {
            self.unreadable.get_or_insert(Reason::NoKey);
        }
        if !self.waits() {
            self.takes_early.get_or_insert(false);
        }
    }

    /// What is said next.
    pub(crate) fn next(&mut self) -> Option<Said> {
        loop {
            let (direction, (stamp, heard)) = self.next_event()?;
            let said = match heard {
                Heard::Event(event) => self.say(direction, stamp, event),
                Heard::Lost(bytes) => Some(self.closed(direction, bytes)),
            };
            if said.is_some() {
                return said;
            }
        }
    }

    const fn side(&self, direction: usize) -> Side {
        match self.client {
            Some(client) if client != direction => Side::Server,
            _ => Side::Client,
        }
    }

    fn assemble(
        &mut self,
        direction: usize,
        secrets: &mut Candidates,
        now_ns: u64,
        take: impl FnOnce(&mut Assembler, &mut dyn FnMut(Assembled<'_>)),
    ) {
        let mut assembler =
            std::mem::replace(&mut self.ways[direction].assembler, Assembler::new(NO_CALL));
        take(&mut assembler, &mut |assembled| match assembled {
            Assembled::Record {
                record,
                begun,
                ended,
                broken,
            } => {
                self.sequence += 1;
                let stamp = Stamp {
                    at: record.at,
                    sequence: self.sequence,
                    begun,
                    ended,
                    broken,
                };
                self.record(direction, &record, stamp, secrets, now_ns);
            }
            Assembled::Lost(bytes) => {
                self.sequence += 1;
                let stamp = Stamp {
                    at: 0,
                    sequence: self.sequence,
                    begun: NO_CALL,
                    ended: NO_CALL,
                    broken: true,
                };
                self.reading.lost(self.side(direction), bytes);
                let events = &mut self.ways[direction].events;
                events.push_back((stamp, Heard::Lost(bytes)));
            }
        });
        self.ways[direction].assembler = assembler;
    }

    fn record(
        &mut self,
        direction: usize,
        record: &Record<'_>,
        stamp: Stamp,
        secrets: &mut Candidates,
        now_ns: u64,
    ) {
        self.records += 1;
        if self.client.is_none() {
            self.client = Some(match says_hello(record) {
                Some(Side::Server) => 1 - direction,
                _ => direction,
            });
        }
        let client = self.client.unwrap_or(0);
        let side = self.side(direction);
        let Self { reading, ways, .. } = self;
        ways[direction].stamps.push_back(stamp);
        let mut record = *record;
        if reading.held() > WAITING_WHOLE
            && reading.waits_at(side).is_some()
            // Behind a loss, whole records are what proves the others.
            && ways[direction].position == 0
            && record.length > SHORT
        {
            if record.is_whole() {
                record.last = record.first;
            }
            record.first = &record.first[..record.first.len().min(ENDS.0)];
            record.last = &record.last[record.last.len().saturating_sub(ENDS.1)..];
        }
        reading.record(side, &record, secrets, now_ns, &mut |at, event| {
            keep(ways, client, at, event)
        });
        self.collected();
    }

    /// Forgets the stamps of records that were taken, and looks at what does not wait for its turn.
    fn collected(&mut self) {
        for direction in [0, 1] {
            let waits = self.reading.waits_at(self.side(direction));
            let way = &mut self.ways[direction];
            while way
                .stamps
                .pop_front_if(|stamp| waits.is_none_or(|at| stamp.at < at))
                .is_some()
            {}
            for (_, heard) in &way.events {
                if let Heard::Event(Event::EncryptedExtensions { early_data, .. }) = heard {
                    self.takes_early.get_or_insert(*early_data);
                }
            }
        }
    }

    /// The oldest event, unless something older waits.
    fn next_event(&mut self) -> Option<(usize, (Stamp, Heard))> {
        let front = |way: &Way| way.events.front().map(|(stamp, _)| stamp.sequence);
        let direction = match (front(&self.ways[0]), front(&self.ways[1])) {
            (Some(one), Some(other)) => usize::from(other < one),
            (Some(_), None) => 0,
            (None, Some(_)) => 1,
            (None, None) => return None,
        };
        let (stamp, heard) = self.ways[direction].events.front()?;
        // What was taken has no stamp any more: the first is of what waits.
        let waits = |way: &Way| {
            let first = way.stamps.front();
            first.is_some_and(|waits| waits.sequence < stamp.sequence)
        };
        if self.ways.iter().any(waits) {
            return None;
        }
        if self.takes_early.is_none()
            && matches!(heard, Heard::Event(Event::Data { early: true, .. }))
        {
            return None;
        }
        Some((direction, self.ways[direction].events.pop_front()?))
    }

    /// Bytes of the ciphertext stay closed.
    fn closed(&mut self, direction: usize, length: u64) -> Said {
        let read_to = self.read_to(direction);
        let way = &mut self.ways[direction];
        let next = way.events.iter().find_map(|(_, heard)| match heard {
            Heard::Event(Event::Data { position, .. }) => {
                Some(position.saturating_sub(way.refused))
            }
            _ => None,
        });
        // What is inside is shorter.
        let end = way.position.saturating_add(length);
        way.position = end.min(next.unwrap_or(read_to)).max(way.position);
        way.tail = 0;
        self.handshake.give_up();
        Said::Closed(direction)
    }

    fn say(&mut self, direction: usize, stamp: Stamp, event: Event) -> Option<Said> {
        let way = &mut self.ways[direction];
        match event {
            Event::Data {
                position,
                early,
                plain,
                ..
            } => {
                if early && self.takes_early == Some(false) {
                    way.refused += plain.length as u64;
                    return None;
                }
                way.closed = 0;
                way.tail = tail(way.tail, &plain);
                self.spoke = true;
                let start = position.saturating_sub(way.refused);
                way.position = start.saturating_add(plain.length as u64);
                Some(Said::Data(Data {
                    direction,
                    start,
                    length: plain.length as u64,
                    is_certain: plain.exact && !stamp.broken,
                    first: plain.first,
                    begun: stamp.begun,
                    ended: stamp.ended,
                    at: stamp.at,
                }))
            }
            Event::Unopened { reason, length, .. } => {
                let closed = self.closed(direction, length as u64);
                let way = &mut self.ways[direction];
                way.closed += 1;
                let kind = match reason {
                    Reason::NoKey => 0,
                    Reason::Unproven => 1,
                    Reason::Lost => 2,
                    Reason::ContentType => 3,
                    Reason::NoHandshake
                    | Reason::Suite(_)
                    | Reason::Version(_)
                    | Reason::Malformed => 4,
                };
                self.closed[kind] += 1;
                let never = matches!(
                    reason,
                    Reason::NoHandshake | Reason::Suite(_) | Reason::Version(_)
                );
                if never || way.closed >= MOST_CLOSED {
                    self.unreadable.get_or_insert(reason);
                }
                Some(closed)
            }
            Event::Alert { alert, fatal, .. } => {
                way.ended |= alert.is_close_notify();
                let time_ns = stamp.ended.time_ns;
                if fatal && !self.handshake.is_over() {
                    return self.handshake.failed(alert, time_ns).map(Said::Handshake);
                }
                fatal.then_some(Said::Failed(alert, time_ns))
            }
            Event::Bound { .. } => {
                self.bound += 1;
                None
            }
            event => self
                .handshake
                .event(&event, stamp.begun, stamp.ended)
                .map(Said::Handshake),
        }
    }
}

/// The call of an assembler that is never asked.
const NO_CALL: Call = Call {
    time_ns: 0,
    process: crate::identity::ProcessKey {
        tgid: 0,
        start_ns: 0,
    },
    tid: 0,
};

/// Keeps an event in its direction, with the stamp of its record.
fn keep(ways: &mut [Way; 2], client: usize, at: u64, event: Event) {
    let direction = match side_of(&event) {
        Side::Client => client,
        Side::Server => 1 - client,
    };
    let Way { stamps, events, .. } = &mut ways[direction];
    // Nearly always the last.
    let Some(stamp) = stamps.iter().rev().find(|stamp| stamp.at == at).copied() else {
        return;
    };
    let behind = events
        .iter()
        .rev()
        .take_while(|(other, _)| other.sequence > stamp.sequence);
    let place = events.len() - behind.count();
    events.insert(place, (stamp, Heard::Event(event)));
}

const fn side_of(event: &Event) -> Side {
    match event {
        Event::ClientHello(_) | Event::Renegotiation => Side::Client,
        Event::ServerHello(_) | Event::EncryptedExtensions { .. } | Event::Ticket => Side::Server,
        Event::Certificate { from, .. }
        | Event::Finished { from }
        | Event::KeyUpdate { from }
        | Event::Bound { from }
        | Event::Found { from, .. }
        | Event::Data { from, .. }
        | Event::Unopened { from, .. }
        | Event::Alert { from, .. } => *from,
    }
}

/// The last eight bytes behind what a record said, newest in the highest byte; 0 where they are not known.
fn tail(before: u64, plain: &Plain) -> u64 {
    let (mut before, first, last) = (before, &plain.first[..], &plain.last[..]);
    let ends_with_last = plain.exact && plain.last_at + last.len() == plain.length;
    if first.len() < plain.length && !(ends_with_last && plain.last_at == first.len()) {
        if !ends_with_last || last.len() < 8 {
            return 0;
        }
        before = 0;
    }
    let bytes = first.iter().chain(last);
    let skipped = (first.len() + last.len()).saturating_sub(8);
    bytes
        .skip(skipped)
        .fold(before, |tail, byte| tail >> 8 | u64::from(*byte) << 56)
}
