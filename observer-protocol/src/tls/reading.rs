//! A connection with what waits of it.
//!
//! Comes in: records of both sides, losses, and that a secret was told. Goes out: what was said. Owns: the connection's keys,
//! and ciphertext that no key opens yet, up to a limit of bytes and for as long as the caller has patience.

use std::collections::VecDeque;

use super::{
    candidates::Candidates,
    connection::Connection,
    event::{Event, Outcome, Reason},
    record::{ContentType, Record, Side},
};

/// What a record or a loss costs besides its bytes.
const EACH: usize = 96;

/// Something of a side that waits for its turn.
enum Waiting {
    Record {
        at: u64,
        content_type: ContentType,
        version: u16,
        length: usize,
        /// The first bytes, and the last.
        bytes: Box<[u8]>,
        first: usize,
        since: u64,
    },
    /// So many bytes were not seen.
    Lost(u64),
}

impl Waiting {
    /// What it counts as, in bytes.
    fn size(&self) -> usize {
        match self {
            Self::Record { bytes, .. } => EACH + bytes.len(),
            Self::Lost(_) => EACH,
        }
    }

    fn record(&self) -> Option<Record<'_>> {
        match self {
            Self::Record {
                at,
                content_type,
                version,
                length,
                bytes,
                first,
                ..
            } => {
                let (first, last) = bytes.split_at(*first);
                Some(Record {
                    at: *at,
                    content_type: *content_type,
                    version: *version,
                    length: *length,
                    first,
                    last,
                })
            }
            Self::Lost(_) => None,
        }
    }
}

/// A [`Connection`], and what waits for a secret, for the other side, or for a record that proves its key and number.
///
/// Times are of the caller's clock, the one of its [`Candidates`].
pub struct Reading {
    connection: Connection,
    waiting: [VecDeque<Waiting>; 2],
    /// Bytes that wait, of both sides.
    held: usize,
    limit: usize,
}

impl Reading {
    /// A connection of which nothing has been seen, and of which at most so many bytes wait.
    pub fn new(limit: usize) -> Self {
        Self {
            connection: Connection::new(),
            waiting: Default::default(),
            held: 0,
            limit,
        }
    }

    /// What is known of the connection.
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Position of the first record of a side that waits.
    pub fn waits_at(&self, from: Side) -> Option<u64> {
        let waiting = &self.waiting[from as usize];
        waiting
            .iter()
            .find_map(|waiting| Some(waiting.record()?.at))
    }

    /// Bytes that the application of a side said, as far as its records were taken; see [`Event::Data`].
    pub fn position(&self, from: Side) -> u64 {
        self.connection.position(from)
    }

    /// How many bytes wait.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Takes the next record of a side. What can be said of it and of what waited for it is said, in the order of each side, with
    /// the position of the record that says it.
    pub fn record(
        &mut self,
        from: Side,
        record: &Record<'_>,
        candidates: &mut Candidates,
        now: u64,
        say: &mut impl FnMut(u64, Event),
    ) {
        if self.waiting[from as usize].is_empty() {
            let outcome = self
                .connection
                .record(from, record, candidates, now, &mut |event| {
                    say(record.at, event);
                });
            if outcome != Outcome::Waits {
                told(from, record, outcome, say);
                return self.told(candidates, now, say);
            }
        }
        self.wait(
            from,
            Waiting::Record {
                at: record.at,
                content_type: record.content_type,
                version: record.version,
                length: record.length,
                bytes: [record.first, record.last].concat().into(),
                first: record.first.len(),
                since: now,
            },
        );
        self.told(candidates, now, say);
        while self.held > self.limit && self.pass_one(from, say) {
            self.told(candidates, now, say);
        }
    }

    /// So many bytes of a side were not seen.
    pub fn lost(&mut self, from: Side, bytes: u64) {
        match self.waiting[from as usize].back_mut() {
            None => self.connection.lost(from, bytes),
            Some(Waiting::Lost(lost)) => *lost = lost.saturating_add(bytes),
            Some(_) => self.wait(from, Waiting::Lost(bytes)),
        }
    }

    /// Tries again what waits: to be called when `candidates` were told another secret.
    pub fn told(
        &mut self,
        candidates: &mut Candidates,
        now: u64,
        say: &mut impl FnMut(u64, Event),
    ) {
        while self.turn(Side::Client, candidates, now, say)
            | self.turn(Side::Server, candidates, now, say)
        {}
    }

    /// Gives up what waits since before `before`, and what waits behind it until something can be read again.
    pub fn expire(
        &mut self,
        before: u64,
        candidates: &mut Candidates,
        now: u64,
        say: &mut impl FnMut(u64, Event),
    ) {
        for side in [Side::Client, Side::Server] {
            while let Some(Waiting::Record { since, .. }) = self.waiting[side as usize].front()
                && *since < before
            {
                self.pass_one(side, say);
                self.told(candidates, now, say);
            }
        }
    }

    fn wait(&mut self, from: Side, waiting: Waiting) {
        self.held += waiting.size();
        self.waiting[from as usize].push_back(waiting);
    }

    fn next(&mut self, from: Side) -> Option<Waiting> {
        let waiting = self.waiting[from as usize].pop_front()?;
        self.held -= waiting.size();
        Some(waiting)
    }

    /// Gives up the first record of a side that waits; false where none does.
    fn pass_one(&mut self, from: Side, say: &mut impl FnMut(u64, Event)) -> bool {
        while let Some(waiting) = self.next(from) {
            match (&waiting, waiting.record()) {
                (_, Some(record)) => {
                    self.connection.pass(from, &record);
                    let reason = if record.is_whole() {
                        Reason::NoKey
                    } else {
                        Reason::Unproven
                    };
                    told(from, &record, Outcome::Unopened(reason), say);
                    return true;
                }
                (Waiting::Lost(bytes), None) => self.connection.lost(from, *bytes),
                (Waiting::Record { .. }, None) => {}
            }
        }
        false
    }

    /// Takes of a side what can be taken; false where nothing was.
    fn turn(
        &mut self,
        from: Side,
        candidates: &mut Candidates,
        now: u64,
        say: &mut impl FnMut(u64, Event),
    ) -> bool {
        let (mut any, mut looked) = (false, false);
        while let Some(waiting) = self.waiting[from as usize].front() {
            if let Waiting::Lost(bytes) = waiting {
                self.connection.lost(from, *bytes);
            } else if let Some(record) = waiting.record() {
                let outcome =
                    self.connection
                        .record(from, &record, candidates, now, &mut |event| {
                            say(record.at, event);
                        });
                if outcome == Outcome::Waits {
                    if looked || record.is_whole() || !self.look_ahead(from, candidates, now, say) {
                        return any;
                    }
                    looked = true;
                    continue;
                }
                told(from, &record, outcome, say);
            }
            self.next(from);
            (any, looked) = (true, false);
        }
        any
    }

    /// The first whole record behind parts that wait may prove their key and their numbers.
    fn look_ahead(
        &mut self,
        from: Side,
        candidates: &mut Candidates,
        now: u64,
        say: &mut impl FnMut(u64, Event),
    ) -> bool {
        let records = self.waiting[from as usize]
            .iter()
            .map_while(Waiting::record)
            .filter(|record| self.connection.is_counted(record));
        let first = (0..).zip(records).find(|(_, record)| record.is_whole());
        first.is_some_and(|(ahead, record)| {
            self.connection
                .look_ahead(from, ahead, &record, candidates, now, &mut |event| {
                    say(record.at, event);
                })
        })
    }
}

/// Says of a record that it stays closed.
fn told(from: Side, record: &Record<'_>, outcome: Outcome, say: &mut impl FnMut(u64, Event)) {
    if let Outcome::Unopened(reason) = outcome {
        let event = Event::Unopened {
            from,
            at: record.at,
            length: record.length,
            reason,
        };
        say(record.at, event);
    }
}
