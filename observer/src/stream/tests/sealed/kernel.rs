//! The kernel at one end of a TLS connection: ships what the programs ship of it.

use observer_abi::{
    connection::{Connection, INBOUND, OUTBOUND, UPGRADED, family, role},
    context::Context,
    control::shape,
    record::{
        ConnectionClosed, ConnectionOpened, MAX_PAYLOAD, RecordHeader, RunData, RunOpened, flag,
        kind,
    },
};
use observer_protocol::tls::{HEADER, records};

use super::wire::{From, Wire};
use crate::{
    identity::{ConnectionKey, Role},
    stream::{
        Shard, StreamConfig,
        script::{Collected, MS, bytes_of},
    },
};

/// Records that are shipped whole at a direction's beginning, and the length up to which all are.
const FIRST: usize = 12;
const SHORT: usize = 512;
/// Bytes of a run that are shipped whole.
const BUDGETS: [usize; 2] = [16 * 1024, 4 * 1024];

/// How bytes are cut into calls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// Each turn is one call.
    Turns,
    /// A record's header, then the record, as OpenSSL reads.
    Headers,
    /// So many bytes a call.
    Every(usize),
}

pub(super) struct Kernel {
    pub(super) shard: Shard,
    pub(super) seen: Collected,
    pub(super) entry: Connection,
    pub(super) now: u64,
    pub(super) role: Role,
    pub(super) from_start: bool,
    /// Which of the records in the ring do not reach it, by their number.
    pub(super) loses: Box<dyn FnMut(usize) -> bool>,
    /// Every record is shipped whole.
    pub(super) all: bool,
    /// Its bytes are TLS's.
    sealed: bool,
    /// When each ciphertext byte moved, by direction.
    pub(super) moved: [Vec<u64>; 2],
    /// Which bytes are shipped, by direction, as far as they are known.
    shipped: [Vec<bool>; 2],
    whole: [usize; 2],
    broken: [bool; 2],
    sent: usize,
    runs: u8,
}

impl Kernel {
    pub(super) fn new(role: Role) -> Self {
        let mut kernel = Self {
            shard: Shard::new(StreamConfig::default()),
            seen: Collected::default(),
            entry: Connection {
                generation: 7,
                ..Connection::default()
            },
            now: 1_000_000 * MS,
            role,
            from_start: true,
            loses: Box::new(|_| false),
            all: false,
            sealed: true,
            moved: Default::default(),
            shipped: Default::default(),
            whole: [0; 2],
            broken: [false; 2],
            sent: 0,
            runs: 0,
        };
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[10, 0, 0, 1]);
        let record = ConnectionOpened {
            header: kernel.header(kind::CONNECTION_OPENED),
            local_address: address,
            peer_address: address,
            family: family::INET,
            local_port: 443,
            peer_port: 443,
            ..ConnectionOpened::default()
        };
        kernel.emit(bytes_of(&record));
        kernel
    }

    pub(super) const fn key(&self) -> ConnectionKey {
        ConnectionKey {
            sock: 0xffff_8881_0000_8000,
            generation: self.entry.generation,
        }
    }

    /// Tells the shard all secrets.
    pub(super) fn tell(&mut self, wire: &Wire) {
        for (told, secret) in wire.told() {
            self.shard.told(told, secret, self.now);
            self.shard.open_waiting(self.now, &mut self.seen);
        }
    }

    /// All that went over the wire.
    pub(super) fn carry(&mut self, wire: &Wire, cut: Cut) {
        for (from, bytes) in &wire.turns {
            self.turn(*from, bytes, cut);
        }
    }

    pub(super) fn direction(&self, from: From) -> usize {
        let outbound = (from == From::Client) == (self.role == Role::Client);
        usize::from(if outbound { OUTBOUND } else { INBOUND })
    }

    /// Something is said before TLS begins, in one call.
    pub(super) fn in_the_open(&mut self, from: From, bytes: &[u8]) {
        self.sealed = false;
        let direction = self.direction(from);
        self.shipped[direction].extend(bytes.iter().map(|_| true));
        self.call(direction, bytes);
    }

    /// TLS begins.
    pub(super) fn upgrade(&mut self) {
        self.sealed = true;
        for direction in &mut self.entry.directions {
            direction.runs = UPGRADED;
            direction.other_at_start = u64::MAX;
            direction.shipped = 0;
        }
    }

    /// Whole records of one end, in calls.
    pub(super) fn turn(&mut self, from: From, bytes: &[u8], cut: Cut) {
        let direction = self.direction(from);
        let mut budget = BUDGETS[usize::from(from == From::Server)];
        for record in records(0, bytes) {
            let whole = self.all
                || self.whole[direction] < FIRST
                || record.length <= SHORT
                || record.content_type.number() != 23;
            self.whole[direction] += 1;
            let first = if whole {
                record.length
            } else {
                record.length.min(budget.max(8))
            };
            budget = budget.saturating_sub(first);
            let shipped = &mut self.shipped[direction];
            let tail = record.length.saturating_sub(32);
            shipped.extend((0..HEADER).map(|_| true));
            shipped.extend((0..record.length).map(|at| at < first || at >= tail));
        }
        let mut cuts: Vec<usize> = match cut {
            Cut::Turns => vec![0],
            Cut::Headers => records(0, bytes)
                .flat_map(|record| [record.at as usize, record.at as usize + HEADER])
                .collect(),
            Cut::Every(size) => (0..bytes.len()).step_by(size).collect(),
        };
        cuts.push(bytes.len());
        for pair in cuts.windows(2) {
            if pair[0] < pair[1] {
                self.call(direction, &bytes[pair[0]..pair[1]]);
            }
        }
    }

    fn call(&mut self, direction: usize, bytes: &[u8]) {
        self.now += MS;
        let other = self.entry.directions[1 - direction];
        let previous = self.entry.directions[direction];
        let opens = previous.runs == 0 || other.end != previous.other_at_start;
        let state = &mut self.entry.directions[direction];
        if opens {
            state.runs += 1;
            state.shipped = 0;
            state.other_at_start = other.end;
        }
        let start = state.end as usize;
        let end = start + bytes.len();
        state.end = end as u64;
        state.last_ns = self.now;
        let run = state.runs;
        self.moved[direction].extend(bytes.iter().map(|_| self.now));
        let shipped = &self.shipped[direction][start..end];
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < shipped.len() {
            let from = at;
            let most = shipped.len().min(from + MAX_PAYLOAD);
            while at < most && shipped[at] {
                at += 1;
            }
            let to = at;
            while at < shipped.len() && !shipped[at] {
                at += 1;
            }
            pieces.push((from, to, at));
        }
        if !opens && pieces.first().is_some_and(|(from, to, _)| from == to) {
            pieces.remove(0);
        }
        for (number, (from, to, until)) in pieces.into_iter().enumerate() {
            let opens = opens && number == 0;
            self.entry.directions[direction].shipped += (to - from) as u32;
            let header = RecordHeader {
                captured: (to - from) as u32,
                direction: direction as u8,
                ..self.header(if opens {
                    kind::RUN_OPENED
                } else {
                    kind::RUN_DATA
                })
            };
            let sure = !std::mem::take(&mut self.broken[direction]);
            let data = RunData {
                header: RecordHeader {
                    flags: header.flags
                        | if self.sealed { flag::TLS } else { 0 }
                        | if sure { flag::COUNTED } else { 0 },
                    ..header
                },
                start: (start + from) as u64,
                end: (start + until) as u64,
                tid: 43,
                tgid: 42,
            };
            let mut record = if opens {
                self.runs += 1;
                bytes_of(&RunOpened {
                    data,
                    previous_end: previous.end,
                    previous_last_ns: previous.last_ns,
                    other_end: other.end,
                    other_last_ns: other.last_ns,
                    start_ns: 77,
                    established_ns: if self.runs == 1 { 999_000 * MS } else { 0 },
                    run,
                    context: Context {
                        trace_id: [self.runs; 16],
                        span_id: [self.runs; 8],
                        ..Context::default()
                    },
                    ..RunOpened::default()
                })
            } else {
                bytes_of(&data)
            };
            record.extend_from_slice(&bytes[from..to]);
            self.sent += 1;
            if (self.loses)(self.sent) {
                self.broken[direction] = true;
            } else {
                self.emit(record);
            }
        }
    }

    fn header(&self, kind: u8) -> RecordHeader {
        RecordHeader {
            sock: self.key().sock,
            generation: self.entry.generation,
            time_ns: self.now,
            kind,
            flags: if self.from_start { flag::FROM_START } else { 0 },
            role: match self.role {
                Role::Client => role::CLIENT,
                Role::Server => role::SERVER,
            },
            ..RecordHeader::default()
        }
    }

    fn emit(&mut self, record: Vec<u8>) {
        self.shard.record(&record, &mut self.seen);
    }

    pub(super) fn close(&mut self, reset: bool) {
        self.close_as(reset, shape::RECORDS);
    }

    /// The same of a connection of which this was shipped last.
    pub(super) fn close_as(&mut self, reset: bool, shape: u8) {
        self.now += MS;
        self.entry.shape = shape;
        let header = self.header(kind::CONNECTION_CLOSED);
        let record = ConnectionClosed {
            header: RecordHeader {
                flags: header.flags | if reset { flag::RESET } else { 0 },
                ..header
            },
            connection: self.entry,
        };
        self.emit(bytes_of(&record));
    }

    /// Time passes: entries that are due are read, and what waits too long is given up.
    pub(super) fn wait(&mut self, ns: u64) {
        let until = self.now + ns;
        while self.now < until {
            self.now += 50 * MS;
            let mut due = Vec::new();
            self.shard.due(self.now, &mut due);
            for (key, _) in due {
                let entry = (key == self.key()).then_some(&self.entry);
                self.shard.observe(key, entry, self.now, &mut self.seen);
            }
            self.shard.sweep(self.now, &mut self.seen);
        }
    }
}
