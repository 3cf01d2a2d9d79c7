//! A small kernel for tests: turns what the two ends say into records, by the rules of the kernel programs.

use observer_abi::{
    connection::{Connection, Direction, INBOUND, OUTBOUND, family, role},
    context::Context,
    control::shape,
    record::{
        ConnectionClosed, ConnectionOpened, MAX_PAYLOAD, RecordHeader, RunData, RunOpened, flag,
        kind,
    },
};

use super::{Shard, Sink, Started, StreamConfig};
use crate::exchange::{Exchange, HeaderContext};
use crate::identity::{ConnectionKey, ProcessKey, Role};

pub(super) const MS: u64 = 1_000_000;

/// The bytes of a plain struct.
pub(super) fn bytes_of<T: aya::Pod>(value: &T) -> Vec<u8> {
    let pointer = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: `value` is a live reference to `size_of::<T>()` bytes, none of which is padding (`plain!` asserts it).
    unsafe { std::slice::from_raw_parts(pointer, size_of::<T>()) }.to_vec()
}

/// Keeps what a shard gives on, and checks that starts and ends pair.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) modes: Vec<(ConnectionKey, u8)>,
    pub(super) processes: Vec<(ProcessKey, u32)>,
    pub(super) closed: Vec<ProcessKey>,
    pub(super) headers: Vec<([u8; 8], [u8; 16])>,
    pub(super) started: usize,
    pub(super) active: Vec<(ProcessKey, String)>,
}

fn method(started: &Started<'_>) -> String {
    let http = started.detail.http();
    http.map_or_else(String::new, |http| http.method.clone().into_owned())
}

impl Sink for Collected {
    fn exchange(&mut self, exchange: &mut Exchange) {
        self.exchanges.push(exchange.clone());
    }

    fn request_started(&mut self, started: &Started<'_>) {
        self.started += 1;
        self.active.push((started.process, method(started)));
    }

    fn request_ended(&mut self, started: &Started<'_>) {
        let found = (started.process, method(started));
        let index = self.active.iter().position(|active| *active == found);
        self.active.remove(index.expect("an end without a start"));
    }

    fn set_mode(&mut self, key: ConnectionKey, mode: u8, _protocol: u8) {
        self.modes.push((key, mode));
    }

    fn process_seen(&mut self, process: ProcessKey, tid: u32) {
        self.processes.push((process, tid));
    }

    fn stays_closed(&mut self, process: ProcessKey) {
        self.closed.push(process);
    }

    fn header_seen(&mut self, _process: ProcessKey, _role: Role, header: &HeaderContext) {
        self.headers.push((header.span_id, header.trace_id));
    }
}

/// One connection, as the kernel programs at one end see it, and the shard that hears of it.
pub(super) struct Script {
    pub(super) shard: Shard,
    pub(super) seen: Collected,
    /// The kernel's entry.
    pub(super) entry: Connection,
    pub(super) sock: u64,
    /// The clock: each call takes a millisecond.
    pub(super) now: u64,
    /// Role that records carry.
    pub(super) role: u8,
    pub(super) from_start: bool,
    /// Records do not reach the ring.
    pub(super) losing: bool,
    /// Records are kept back, as if the ring had not been read.
    pub(super) holding: bool,
    pub(super) held: Vec<Vec<u8>>,
    /// Ids of the next request run; all zero: the kernel assigned none.
    pub(super) context: Context,
    pub(super) tgid: u32,
    pub(super) heeds_modes: bool,
    /// Flags of the next record.
    pub(super) flags: u8,
    request: u8,
    records: usize,
    /// As the flag of that name.
    head_ended: bool,
}

impl Script {
    pub(super) fn server() -> Self {
        Self::new(role::SERVER, INBOUND)
    }

    pub(super) fn client() -> Self {
        Self::new(role::CLIENT, OUTBOUND)
    }

    /// A connection older than observer, of which the kernel does not know the end. `request` is the direction in
    /// which requests really go.
    pub(super) fn unknown(request: u8) -> Self {
        let mut script = Self::new(role::UNKNOWN, request);
        script.from_start = false;
        for direction in &mut script.entry.directions {
            direction.end = 1_000_000;
        }
        script
    }

    fn new(role: u8, request: u8) -> Self {
        Self {
            shard: Shard::new(StreamConfig::default()),
            seen: Collected::default(),
            entry: Connection {
                generation: 7,
                ..Connection::default()
            },
            sock: 0xffff_8881_0000_4000,
            now: 1_000_000 * MS,
            role,
            from_start: true,
            losing: false,
            holding: false,
            held: Vec::new(),
            context: Context::default(),
            tgid: 42,
            heeds_modes: true,
            flags: 0,
            request,
            records: 0,
            head_ended: false,
        }
    }

    pub(super) fn key(&self) -> ConnectionKey {
        ConnectionKey {
            sock: self.sock,
            generation: self.entry.generation,
        }
    }

    /// The same connection goes on, older than observer: as a daemon sees it that has just started.
    pub(super) fn picked_up(mut self) -> Self {
        self.from_start = false;
        for direction in &mut self.entry.directions {
            direction.end += 1_000_000;
        }
        self
    }

    /// Bytes of the request direction, one call.
    pub(super) fn request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.call(self.request, bytes.as_ref())
    }

    /// Bytes of the response direction, one call.
    pub(super) fn response(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.call(1 - self.request, bytes.as_ref())
    }

    /// A request and its response, one call each.
    pub(super) fn exchange(&mut self) -> &mut Self {
        self.request(GET).response(OK)
    }

    /// One socket call that moves `bytes`.
    fn call(&mut self, direction: u8, bytes: &[u8]) -> &mut Self {
        self.now += MS;
        let flags = std::mem::take(&mut self.flags);
        let pending = flags & flag::SEND_PENDING != 0;
        let (index, other) = (usize::from(direction), 1 - usize::from(direction));
        let other = self.entry.directions[other];
        let previous = self.entry.directions[index];
        let opens = previous.runs == 0 || other.end != previous.other_at_start;
        let (now, mode) = (self.now, self.mode());
        let state = &mut self.entry.directions[index];
        if opens {
            state.runs += 1;
            state.shipped = 0;
            state.run_start = state.end;
            state.first_ns = now;
            state.other_at_start = other.end;
        }
        let start = state.end;
        let end = start + bytes.len() as u64;
        if !pending {
            state.end = end;
        }
        state.last_ns = now;
        state.tail = bytes
            .iter()
            .fold(state.tail, |tail, byte| tail >> 8 | u64::from(*byte) << 56);
        let budget = match mode {
            shape::FULL | shape::FRAMES => usize::MAX,
            shape::IGNORE => return self,
            _ if direction == self.request => 16 * 1024,
            _ => 4096,
        };
        let responds = direction != self.request && self.role != role::UNKNOWN;
        let begins = bytes.starts_with(b"HTTP/1.");
        if opens && responds {
            let interim = bytes.get(9) == Some(&b'1');
            self.head_ended = begins && bytes.ends_with(b"\r\n\r\n") && !interim;
        }
        let is_body = responds && self.head_ended && mode != shape::FULL;
        let left = if is_body && !opens && !begins {
            0
        } else {
            budget.saturating_sub(state.shipped as usize)
        };
        let flags = if is_body {
            flags | flag::HEAD_ENDED
        } else {
            flags
        };
        let captured = bytes.len().min(left).min(MAX_PAYLOAD);
        state.shipped += captured as u32;
        let runs = state.runs;
        if captured == 0 && !opens {
            return self;
        }
        let header = self.header(if opens {
            kind::RUN_OPENED
        } else {
            kind::RUN_DATA
        });
        let header = RecordHeader {
            captured: captured as u32,
            direction,
            flags: header.flags | flags,
            ..header
        };
        let data = RunData {
            header,
            start,
            end,
            tid: self.tgid + 1,
            tgid: self.tgid,
        };
        let mut record = if opens {
            bytes_of(&RunOpened {
                data,
                previous_end: previous.end,
                previous_last_ns: previous.last_ns,
                other_end: other.end,
                other_last_ns: other.last_ns,
                other_tail: other.tail,
                start_ns: 77,
                established_ns: if runs == 1 && self.from_start {
                    999_000 * MS
                } else {
                    0
                },
                accepted_ns: if runs == 1 && self.from_start {
                    999_500 * MS
                } else {
                    0
                },
                netns: 4_026_531_840,
                run: runs,
                context: self.context,
                ..RunOpened::default()
            })
        } else {
            bytes_of(&data)
        };
        record.extend_from_slice(&bytes[..captured]);
        self.emit(record);
        self
    }

    pub(super) fn opened(&mut self, local: [u8; 16], peer: [u8; 16], family: u16) -> &mut Self {
        let record = ConnectionOpened {
            header: self.header(kind::CONNECTION_OPENED),
            local_address: local,
            peer_address: peer,
            family,
            local_port: 8080,
            peer_port: 40000,
            netns: 4_026_531_840,
            ..ConnectionOpened::default()
        };
        self.emit(bytes_of(&record));
        self
    }

    pub(super) fn opened_v4(&mut self) -> &mut Self {
        let address = |last| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&[10, 0, 0, last]);
            bytes
        };
        self.opened(address(1), address(2), family::INET)
    }

    pub(super) fn close(&mut self) -> &mut Self {
        self.end(0)
    }

    pub(super) fn reset(&mut self) -> &mut Self {
        self.end(flag::RESET)
    }

    fn end(&mut self, flags: u8) -> &mut Self {
        self.now += MS;
        let header = self.header(kind::CONNECTION_CLOSED);
        let header = RecordHeader {
            flags: header.flags | flags,
            ..header
        };
        self.emit(bytes_of(&ConnectionClosed {
            header,
            connection: self.entry,
        }));
        self
    }

    /// The socket's address is used again.
    pub(super) fn next_generation(&mut self) -> &mut Self {
        self.entry = Connection {
            generation: self.now,
            ..Connection::default()
        };
        self
    }

    pub(super) fn header(&self, kind: u8) -> RecordHeader {
        RecordHeader {
            sock: self.sock,
            generation: self.entry.generation,
            time_ns: self.now,
            kind,
            flags: if self.from_start { flag::FROM_START } else { 0 },
            role: self.role,
            ..RecordHeader::default()
        }
    }

    fn mode(&self) -> u8 {
        let told = self.seen.modes.iter().rfind(|(key, _)| *key == self.key());
        told.filter(|_| self.heeds_modes)
            .map_or(shape::PROBE, |(_, mode)| *mode)
    }

    pub(super) fn emit(&mut self, record: Vec<u8>) {
        if self.losing {
            return;
        }
        self.records += 1;
        if self.holding {
            self.held.push(record);
        } else {
            self.shard.record(&record, &mut self.seen);
        }
    }

    /// The ring is read at last.
    pub(super) fn release(&mut self) -> &mut Self {
        self.holding = false;
        for record in std::mem::take(&mut self.held) {
            self.shard.record(&record, &mut self.seen);
        }
        self
    }

    /// The next record does not reach the ring.
    pub(super) fn lost(&mut self, say: impl FnOnce(&mut Self) -> &mut Self) -> &mut Self {
        self.losing = true;
        say(self);
        self.losing = false;
        self
    }

    /// Time passes, and the daemon reads the entries that are due. Gives how many were.
    pub(super) fn wait(&mut self, ns: u64) -> usize {
        let mut read = 0;
        let until = self.now + ns;
        while self.now < until {
            self.now += 5 * MS.min(until - self.now);
            let mut due = Vec::new();
            self.shard.due(self.now, &mut due);
            read += due.len();
            for (key, _) in due {
                let entry = (key == self.key()).then_some(&self.entry);
                self.shard.observe(key, entry, self.now, &mut self.seen);
            }
        }
        read
    }

    pub(super) fn directions(&mut self) -> &mut [Direction; 2] {
        &mut self.entry.directions
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Exchanges so far, complete or not.
    pub(super) fn count(&self) -> usize {
        self.seen.exchanges.len()
    }

    /// The last exchange.
    pub(super) fn last(&self) -> &Exchange {
        self.seen.exchanges.last().expect("an exchange")
    }

    /// Statuses of all exchanges.
    pub(super) fn statuses(&self) -> Vec<Option<u16>> {
        self.seen
            .exchanges
            .iter()
            .map(|exchange| exchange.http().unwrap().status)
            .collect()
    }

    /// Every exchange so far was seen whole.
    pub(super) fn is_whole(&self) -> bool {
        let exchanges = &self.seen.exchanges;
        exchanges
            .iter()
            .all(|exchange| exchange.incomplete.is_none())
    }

    /// Everything that started has ended.
    pub(super) fn assert_settled(&self) {
        assert!(
            self.seen.active.is_empty(),
            "{:?} never ended",
            self.seen.active
        );
    }
}

pub(super) const GET: &str =
    "GET /items/7?x=1 HTTP/1.1\r\nHost: shop\r\nUser-Agent: curl/8\r\n\r\n";
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
