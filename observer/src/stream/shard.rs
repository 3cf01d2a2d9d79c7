//! A shard: the connections of one ring.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use observer_abi::{
    connection,
    record::{ConnectionClosed, RecordHeader},
};
use observer_protocol::tls::{Secret, Told};

use super::{
    Sink, StreamConfig, StreamCounters,
    connection::{Connection, PATIENCE},
    due::Due,
    record::{self, Aligned, Record},
};
use crate::{
    exchange::{Books, Joins, Lookups, Output},
    identity::{ConnectionKey, ProcessKey},
    protocol::NameService,
};

/// Processes that are remembered as seen.
const MAX_PROCESSES: usize = 16 * 1024;
/// Least time between two looks at all connections, ns.
const SWEEP_NS: u64 = 10_000_000_000;

/// Connections that may have ended and wait for their key.
const MAX_PARKED: usize = 4096;
/// How long a secret of TLS 1.3 is kept that opens nothing, ns.
const TRAFFIC_SECRET_NS: u64 = 30_000_000_000;
/// How long a master secret of TLS 1.2 is kept behind its last use, ns: a resumption tells none.
const MASTER_SECRET_NS: u64 = 3_600_000_000_000;

/// Turns the records of one ring into exchanges. Owns everything about its connections: no other thread takes part.
#[derive(Debug)]
pub struct Shard {
    config: StreamConfig,
    /// By sock address; boxed, so that growing the table moves pointers only.
    connections: HashMap<u64, Box<Connection>>,
    processes: HashSet<ProcessKey>,
    last_process: Option<ProcessKey>,
    due: Due,
    lookups: Lookups<NameService>,
    books: Books,
    /// Connections that ended while ciphertext waited for its key, with their end.
    parked: HashMap<ConnectionKey, (Box<Connection>, Box<ConnectionClosed>)>,
    swept_ns: u64,
    aligned: Aligned,
}

impl Shard {
    /// The only shard, without connections.
    pub fn new(config: StreamConfig) -> Self {
        Self::among(config, Arc::default())
    }

    /// One of several, without connections; `joins` are those of all.
    pub fn among(config: StreamConfig, joins: Arc<Joins>) -> Self {
        Self {
            config,
            connections: HashMap::default(),
            processes: HashSet::default(),
            last_process: None,
            due: Due::default(),
            lookups: Lookups::default(),
            books: Books::new(
                config.max_exchanges,
                config.held_bytes,
                config.ciphertext_bytes,
                joins,
            ),
            parked: HashMap::default(),
            swept_ns: 0,
            aligned: Aligned::default(),
        }
    }

    /// What was counted so far.
    pub const fn counters(&self) -> &StreamCounters {
        &self.books.counters
    }

    /// Bytes of unfinished heads that are kept.
    #[cfg(test)]
    pub(super) const fn held_bytes(&self) -> usize {
        self.books.held.bytes()
    }

    /// Bytes of ciphertext that are kept.
    #[cfg(test)]
    pub(super) const fn kept_ciphertext(&self) -> usize {
        self.books.sealed.bytes()
    }

    /// Takes one record as it lies in the ring. One that cannot be read is counted and dropped.
    pub fn record(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        if record::is_aligned(bytes) {
            self.take(bytes, sink);
        } else {
            let mut aligned = std::mem::take(&mut self.aligned);
            aligned.with(bytes, |bytes| self.take(bytes, sink));
            self.aligned = aligned;
        }
    }

    /// The same of one at an aligned place.
    fn take(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        self.books.counters.records += 1;
        match record::read(bytes) {
            Ok(Record::RunOpened(run, payload)) => {
                self.count_unreadable(&run.data.header);
                let process = ProcessKey {
                    tgid: run.data.tgid,
                    start_ns: run.start_ns,
                };
                self.see(process, run.data.tid, sink);
                self.with(&run.data.header, sink, |connection, config, out| {
                    connection.run_opened(run, payload, config, out);
                });
            }
            Ok(Record::RunData(data, payload)) => {
                self.count_unreadable(&data.header);
                self.with(&data.header, sink, |connection, config, out| {
                    connection.run_data(data, payload, config, out);
                });
            }
            Ok(Record::ConnectionOpened(opened)) => {
                self.with(&opened.header, sink, |connection, _, out| {
                    connection.opened(opened, out.joins);
                });
            }
            Ok(Record::LinkFound(link)) => {
                self.with(&link.header, sink, |connection, _, out| {
                    connection.link_found(link, out.opens);
                });
            }
            Ok(Record::ConnectionClosed(closed)) => {
                let header = &closed.header;
                let known = self.connections.get(&header.sock);
                if known.is_some_and(|known| known.key().generation == header.generation) {
                    let connection = self.connections.remove(&header.sock);
                    let mut out = self.books.output(sink);
                    match connection {
                        Some(connection)
                            if connection.waits() && self.parked.len() < MAX_PARKED =>
                        {
                            let parked = (connection, Box::new(*closed));
                            self.parked.insert(parked.0.key(), parked);
                        }
                        Some(connection) => connection.closed(closed, &self.config, &mut out),
                        None => {}
                    }
                } else if known.is_some() {
                    self.books.counters.stale_records += 1;
                }
            }
            Ok(Record::Datagram(datagram, payload)) => {
                self.count_unreadable(&datagram.header);
                let process = ProcessKey {
                    tgid: datagram.tgid,
                    start_ns: datagram.start_ns,
                };
                self.see(process, datagram.tid, sink);
                let mut out = self.books.output(sink);
                self.lookups.datagram(datagram, payload, &mut out);
            }
            Ok(Record::DatagramsClosed(datagram)) => {
                let mut out = self.books.output(sink);
                self.lookups.closed(datagram, &mut out);
            }
            Err(_) => self.books.counters.malformed_records += 1,
        }
        self.books.counters.connections = self.connections.len() as u64;
    }

    /// A library told a secret at `now_ns`. Whose it is shows when it opens a record: of this shard's connections or of others', so
    /// each shard is told. What waits for it is [opened](Self::open_waiting) once all that came are told.
    pub fn told(&mut self, told: Told, secret: Secret, now_ns: u64) {
        self.books.counters.tls.secrets += 1;
        self.books.secrets.add(told, secret, now_ns);
    }

    /// Tries what waits with the secrets that were told since.
    pub fn open_waiting(&mut self, now_ns: u64, sink: &mut impl Sink) {
        self.waiting(sink, |connection, config, out| {
            connection.told(now_ns, config, out);
        });
    }

    /// Goes through the connections of which some ciphertext waits. Those that wait no longer go, those that have ended meanwhile end.
    fn waiting<S: Sink>(
        &mut self,
        sink: &mut S,
        mut each: impl FnMut(&mut Connection, &StreamConfig, &mut Output<'_, S>),
    ) {
        for _ in 0..self.books.sealed.waiting.len() {
            let Some(key) = self.books.sealed.waiting.pop_front() else {
                return;
            };
            let mut out = self.books.output(sink);
            let connection = match find(&mut self.connections, key) {
                Some(connection) => connection,
                None => match self.parked.get_mut(&key) {
                    Some((connection, _)) => &mut **connection,
                    None => continue,
                },
            };
            each(connection, &self.config, &mut out);
            if connection.waits() {
                out.sealed.waiting.push_back(key);
                continue;
            }
            connection.set_queued(false);
            if let Some((connection, closed)) = self.parked.remove(&key) {
                connection.closed(&closed, &self.config, &mut out);
            }
        }
    }

    /// Connections whose entry is to be read now and given to [`observe`](Self::observe): their last record is some
    /// 20 ms old and has left an exchange open. With each its entry's place, where that is known. Asked again later, where
    /// reading did not settle it.
    pub fn due(&mut self, now_ns: u64, out: &mut Vec<(ConnectionKey, Option<u32>)>) {
        while let Some(key) = self.due.pop(now_ns) {
            let Some(connection) = find(&mut self.connections, key) else {
                continue;
            };
            connection.queued = false;
            if !connection.check && !connection.needs_entry(&self.books.opens) {
                continue;
            }
            if connection.readings == 0 && now_ns < connection.last_ns.saturating_add(Due::delay(0))
            {
                // It has spoken since; its time is yet to come.
                connection.queued = true;
                self.due.push(
                    key,
                    0,
                    connection.last_ns.max(now_ns.saturating_sub(Due::delay(0))),
                );
                continue;
            }
            connection.readings = connection.readings.saturating_add(1);
            connection.queued = true;
            self.due.push(key, connection.readings, now_ns);
            out.push((key, connection.place));
        }
    }

    /// When [`due`](Self::due) has something next, CLOCK_MONOTONIC ns; `None` while no exchange is open.
    pub fn next_due(&self) -> Option<u64> {
        self.due.next()
    }

    /// Takes a connection's entry as the kernel has it; `None` when there is none any more.
    pub fn observe(
        &mut self,
        key: ConnectionKey,
        entry: Option<&connection::Connection>,
        now_ns: u64,
        sink: &mut impl Sink,
    ) {
        let Some(connection) = find(&mut self.connections, key) else {
            return;
        };
        let mut out = self.books.output(sink);
        match entry.filter(|entry| entry.generation == key.generation) {
            Some(entry) => {
                if std::mem::take(&mut connection.check) {
                    connection.last_ns = connection.last_ns.max(now_ns);
                }
                connection.observe(entry, &self.config, &mut out);
            }
            // The record of its end may be on its way.
            None if connection.readings < PATIENCE => connection.check = true,
            None => {
                connection.forget(&mut out);
                out.counters.closes_lost += 1;
                self.connections.remove(&key.sock);
                self.books.counters.connections = self.connections.len() as u64;
            }
        }
    }

    /// Has the entries of connections that were silent for long read, to find those whose end was not told, and gives
    /// up requests in datagrams that nobody answers. To be called every second or so.
    pub fn sweep(&mut self, now_ns: u64, sink: &mut impl Sink) {
        let mut out = self.books.output(sink);
        self.lookups.expire(now_ns, &mut out);
        self.waiting(sink, |connection, config, out| {
            connection.expire_sealed(now_ns, config, out);
        });
        let mut out = self.books.output(sink);
        if now_ns.saturating_sub(self.swept_ns) < SWEEP_NS {
            return;
        }
        self.swept_ns = now_ns;
        let unused = out.secrets.expire(
            now_ns.saturating_sub(TRAFFIC_SECRET_NS),
            now_ns.saturating_sub(MASTER_SECRET_NS),
        );
        out.counters.tls.secrets_unused += unused as u64;
        for connection in self.connections.values_mut() {
            connection.expire(now_ns, &mut out);
            if now_ns.saturating_sub(connection.last_ns) >= self.config.idle_check_ns {
                connection.check = true;
                if !connection.queued {
                    connection.queued = true;
                    self.due.push(connection.key(), 0, now_ns);
                }
            }
        }
    }

    /// Gives on every open exchange, as [`Incomplete::Abandoned`](crate::exchange::Incomplete::Abandoned) where its
    /// response has not ended, and forgets all connections: observer stops.
    pub fn drain(&mut self, _now_ns: u64, sink: &mut impl Sink) {
        let mut out = self.books.output(sink);
        for (_, mut connection) in self.connections.drain() {
            connection.forget(&mut out);
        }
        for (_, (connection, closed)) in self.parked.drain() {
            connection.closed(&closed, &self.config, &mut out);
        }
        self.lookups.abandon(&mut out);
        self.books.counters.connections = 0;
    }

    /// Gives a record to its connection, and sees to it that the entry is read where that leaves an exchange open.
    fn with<S: Sink>(
        &mut self,
        header: &RecordHeader,
        sink: &mut S,
        take: impl FnOnce(&mut Connection, &StreamConfig, &mut Output<'_, S>),
    ) {
        let connection = match self.connections.get_mut(&header.sock) {
            Some(known) if known.key().generation == header.generation => known,
            Some(known) if known.key().generation > header.generation => {
                self.books.counters.stale_records += 1;
                return;
            }
            _ => {
                self.insert(header, sink);
                match self.connections.get_mut(&header.sock) {
                    Some(connection) => connection,
                    None => return,
                }
            }
        };
        connection.last_ns = connection.last_ns.max(header.time_ns);
        connection.readings = 0;
        let mut out = self.books.output(sink);
        take(connection, &self.config, &mut out);
        if !connection.queued && connection.needs_entry(&self.books.opens) {
            connection.queued = true;
            self.due.push(connection.key(), 0, header.time_ns);
        }
    }

    /// Begins a connection, in the place of an older one at its address.
    fn insert<S: Sink>(&mut self, header: &RecordHeader, sink: &mut S) {
        if self.connections.len() >= self.config.max_connections.max(1) {
            self.evict(sink);
        }
        self.books.counters.connections_seen += 1;
        let connection = Box::new(Connection::new(header));
        if let Some(mut replaced) = self.connections.insert(header.sock, connection) {
            self.books.counters.closes_lost += 1;
            replaced.forget(&mut self.books.output(sink));
        }
    }

    /// Forgets the sixteenth of the connections that was silent longest: many at once, since finding them looks at all.
    fn evict<S: Sink>(&mut self, sink: &mut S) {
        let mut ages: Vec<(u64, u64)> = self
            .connections
            .iter()
            .map(|(sock, connection)| (connection.last_ns, *sock))
            .collect();
        let count = (ages.len() / 16).max(1);
        ages.select_nth_unstable(count - 1);
        for (_, sock) in &ages[..count] {
            if let Some(mut connection) = self.connections.remove(sock) {
                self.books.counters.connections_evicted += 1;
                connection.forget(&mut self.books.output(sink));
            }
        }
    }

    /// Tells of a process that was not seen before.
    fn see(&mut self, process: ProcessKey, tid: u32, sink: &mut impl Sink) {
        if self.last_process == Some(process) {
            return;
        }
        self.last_process = Some(process);
        if self.processes.len() >= MAX_PROCESSES {
            self.processes.clear();
        }
        if self.processes.insert(process) {
            sink.process_seen(process, tid);
        }
    }

    fn count_unreadable(&mut self, header: &RecordHeader) {
        let unreadable = header.flags & observer_abi::record::flag::NO_PAYLOAD != 0;
        self.books.counters.unreadable_records += u64::from(unreadable);
    }
}

fn find(
    connections: &mut HashMap<u64, Box<Connection>>,
    key: ConnectionKey,
) -> Option<&mut Connection> {
    let connection = connections.get_mut(&key.sock)?;
    (connection.key() == key).then_some(connection)
}
