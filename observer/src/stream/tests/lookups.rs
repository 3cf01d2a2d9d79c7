//! DNS lookups: queries and answers of sockets.

use observer_abi::{
    connection::{INBOUND, OUTBOUND, family},
    context::method,
    record::{Datagram, MAX_DATAGRAM, RecordHeader, flag, kind},
};

use super::super::{
    Shard, StreamConfig,
    script::{Collected, MS, bytes_of},
};
use crate::{
    exchange::{Exchange, Incomplete, ParentMethod},
    identity::{Address, Role},
    protocol::{Detail, dns::DnsExchange},
};

/// A name, what the answer said, what is missing, and how long it took, ms.
type Outcome<'a> = (
    &'a str,
    Option<&'static str>,
    Option<Incomplete>,
    Option<u64>,
);

/// A process with sockets, as the kernel programs see them.
struct Asker {
    shard: Shard,
    seen: Collected,
    now: u64,
    /// Datagrams that each socket received.
    received: Vec<u32>,
}

impl Asker {
    fn new() -> Self {
        Self {
            shard: Shard::new(StreamConfig::default()),
            seen: Collected::default(),
            now: 1_000 * MS,
            received: vec![0; 8],
        }
    }

    fn record(&self, socket: usize, direction: u8, kind: u8) -> Datagram {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[10, 0, 0, socket as u8]);
        Datagram {
            header: RecordHeader {
                sock: 0x1000 + socket as u64,
                generation: 70 + socket as u64,
                time_ns: self.now,
                kind,
                direction,
                ..RecordHeader::default()
            },
            peer_address: address,
            family: family::INET,
            local_port: 40_000,
            peer_port: 53,
            tid: 8,
            tgid: 7,
            start_ns: 99,
            received: self.received[socket],
            ..Datagram::default()
        }
    }

    fn tell(&mut self, mut record: Datagram, payload: &[u8]) {
        record.header.captured = payload.len() as u32;
        record.length = payload.len() as u32;
        let mut bytes = bytes_of(&record);
        bytes.extend(payload);
        self.shard.record(&bytes, &mut self.seen);
        self.now += MS;
    }

    fn asks(&mut self, socket: usize, id: u16, name: &str) {
        let record = self.record(socket, OUTBOUND, kind::DATAGRAM);
        self.tell(record, &message(id, 0x0100, name));
    }

    fn is_told(&mut self, socket: usize, id: u16, code: u16, name: &str) {
        self.received[socket] += 1;
        let record = self.record(socket, INBOUND, kind::DATAGRAM);
        self.tell(record, &message(id, 0x8180 | code, name));
    }

    fn closes(&mut self, socket: usize) {
        let record = self.record(socket, INBOUND, kind::DATAGRAMS_CLOSED);
        self.tell(record, b"");
    }

    fn waits(&mut self, ms: u64) {
        self.now += ms * MS;
        self.shard.sweep(self.now, &mut self.seen);
    }

    /// What became of the lookups.
    fn outcomes(&self) -> Vec<Outcome<'_>> {
        self.seen.exchanges.iter().map(outcome).collect()
    }
}

fn outcome(exchange: &Exchange) -> Outcome<'_> {
    let dns = dns(exchange);
    (
        &dns.question.name,
        dns.response_code.and_then(|code| code.as_str()),
        exchange.incomplete,
        exchange.duration_ns().map(|ns| ns / MS),
    )
}

fn dns(exchange: &Exchange) -> &DnsExchange {
    match &exchange.detail {
        Detail::Dns(dns) => dns,
        other => panic!("not DNS: {other:?}"),
    }
}

/// A message with one question, of type A.
fn message(id: u16, flags: u16, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [id, flags, 1, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

#[test]
fn answers_end_the_lookups_that_they_belong_to() {
    let mut asker = Asker::new();
    asker.asks(1, 1, "a.test");
    asker.asks(1, 2, "b.test");
    asker.is_told(1, 2, 3, "b.test");
    asker.is_told(1, 1, 0, "A.test");
    assert_eq!(
        asker.outcomes(),
        [
            ("b.test", Some("NXDOMAIN"), None, Some(1)),
            ("a.test", Some("NOERROR"), None, Some(3)),
        ]
    );
    let exchange = &asker.seen.exchanges[0];
    assert_eq!(exchange.role, Role::Client);
    assert_eq!(exchange.peer, Address::Inet("10.0.0.1:53".parse().unwrap()));
    assert_eq!(
        (
            exchange.process.tgid,
            exchange.process.start_ns,
            exchange.tid
        ),
        (7, 99, 8)
    );
    assert_eq!(asker.seen.processes.len(), 1);
}

#[test]
fn an_answer_to_nothing_is_counted_and_not_shown() {
    let mut asker = Asker::new();
    asker.is_told(1, 1, 0, "a.test");
    asker.asks(1, 1, "a.test");
    asker.is_told(1, 2, 0, "a.test");
    asker.is_told(1, 1, 0, "forged.test");
    assert_eq!(asker.outcomes(), []);
    asker.is_told(1, 1, 0, "a.test");
    asker.is_told(1, 1, 0, "a.test");
    assert_eq!(asker.seen.exchanges.len(), 1);
    assert_eq!(asker.shard.counters().answers_without_query, 4);
}

#[test]
fn a_query_that_is_sent_again_is_one_lookup() {
    let mut asker = Asker::new();
    asker.asks(1, 1, "a.test");
    asker.waits(100);
    asker.asks(1, 1, "a.test");
    asker.is_told(1, 1, 0, "a.test");
    assert_eq!(
        asker.outcomes(),
        [("a.test", Some("NOERROR"), None, Some(102))]
    );
    assert_eq!(dns(&asker.seen.exchanges[0]).attempts, 2);
}

#[test]
fn whoever_asks_elsewhere_or_something_else_waited_in_vain() {
    let unanswered = Some(Incomplete::Unanswered);
    let mut asker = Asker::new();
    asker.asks(1, 1, "a.test");
    asker.waits(5_000);
    asker.asks(2, 1, "a.test");
    assert_eq!(
        asker.outcomes(),
        [("a.test", None, unanswered, Some(5_001))]
    );
    asker.asks(2, 1, "b.test");
    asker.closes(2);
    assert_eq!(
        asker.outcomes()[1..],
        [
            ("a.test", None, unanswered, Some(1)),
            ("b.test", None, unanswered, Some(1)),
        ]
    );
}

#[test]
fn a_lookup_that_nobody_answers_ends_without_a_duration() {
    let mut asker = Asker::new();
    asker.asks(1, 1, "a.test");
    asker.waits(29_000);
    assert_eq!(asker.outcomes(), []);
    asker.waits(2_000);
    let unanswered = Some(Incomplete::Unanswered);
    assert_eq!(asker.outcomes(), [("a.test", None, unanswered, None)]);
    assert_eq!(asker.shard.counters().unanswered, 1);
}

#[test]
fn an_answer_that_was_lost_is_no_timeout() {
    let lost = Some(Incomplete::LostBytes);
    // Its record did not fit into the ring.
    let mut asker = Asker::new();
    asker.asks(1, 1, "a.test");
    asker.received[1] += 1;
    asker.closes(1);
    assert_eq!(asker.outcomes(), [("a.test", None, lost, None)]);
    // Its bytes could not be read.
    let mut asker = Asker::new();
    asker.asks(1, 1, "a.test");
    asker.received[1] += 1;
    let mut record = asker.record(1, INBOUND, kind::DATAGRAM);
    record.header.flags = flag::NO_PAYLOAD;
    asker.tell(record, b"");
    asker.asks(2, 1, "a.test");
    assert_eq!(asker.outcomes(), [("a.test", None, lost, None)]);
    // What comes after it shows it.
    let mut asker = Asker::new();
    asker.asks(1, 1, "a.test");
    asker.received[1] += 1;
    asker.asks(1, 2, "b.test");
    asker.is_told(1, 2, 0, "b.test");
    asker.closes(1);
    assert_eq!(
        asker.outcomes(),
        [
            ("b.test", Some("NOERROR"), None, Some(1)),
            ("a.test", None, lost, None),
        ]
    );
}

#[test]
fn a_socket_at_the_address_of_another_one_is_another_one() {
    let mut asker = Asker::new();
    asker.asks(1, 1, "a.test");
    let mut record = asker.record(1, INBOUND, kind::DATAGRAM);
    record.header.generation += 100;
    record.received = 1;
    asker.tell(record, &message(1, 0x8180, "a.test"));
    let abandoned = Some(Incomplete::Abandoned);
    assert_eq!(asker.outcomes(), [("a.test", None, abandoned, None)]);
}

#[test]
fn the_request_that_a_query_is_made_for_is_its_parent() {
    let mut asker = Asker::new();
    let mut record = asker.record(1, OUTBOUND, kind::DATAGRAM);
    record.trace_id = [1; 16];
    record.parent_span_id = [2; 8];
    record.parent_method = u16::from(method::THREAD);
    asker.tell(record, &message(1, 0x0100, "a.test"));
    asker.asks(1, 2, "b.test");
    asker.is_told(1, 1, 0, "a.test");
    asker.is_told(1, 2, 0, "b.test");
    let [child, root] = &asker.seen.exchanges[..] else {
        panic!("two lookups");
    };
    assert_eq!(child.context.trace_id, [1; 16]);
    assert_eq!(child.context.parent_span_id, Some([2; 8]));
    assert_eq!(child.context.parent_method, ParentMethod::Thread);
    assert_eq!(root.context.parent_span_id, None);
    assert_ne!(root.context.trace_id, [0; 16]);
}

#[test]
fn what_is_no_dns_is_counted() {
    let mut asker = Asker::new();
    for payload in [&b"hello, this is something else"[..], b"", &[0xff; 512]] {
        let record = asker.record(1, OUTBOUND, kind::DATAGRAM);
        asker.tell(record, payload);
    }
    // A dynamic update.
    let record = asker.record(1, OUTBOUND, kind::DATAGRAM);
    asker.tell(record, &message(1, 0x2800, "a.test"));
    assert_eq!(asker.shard.counters().not_dns, 4);
    let record = asker.record(1, OUTBOUND, kind::DATAGRAM);
    asker.tell(record, &[0; MAX_DATAGRAM + 1]);
    assert_eq!(asker.shard.counters().malformed_records, 1);
    asker.shard.drain(asker.now, &mut asker.seen);
    assert_eq!(asker.outcomes(), []);
}

#[test]
fn the_open_ones_are_bounded_and_given_on_at_the_end() {
    let mut asker = Asker::new();
    for id in 0..5_000 {
        asker.asks(usize::from(id % 8), id, "a.test");
    }
    let open = 5_000 - asker.seen.exchanges.len();
    assert!((1..=4_096).contains(&open), "{open}");
    asker.shard.drain(asker.now, &mut asker.seen);
    assert_eq!(asker.seen.exchanges.len(), 5_000);
    let abandoned = |exchange: &Exchange| exchange.incomplete == Some(Incomplete::Abandoned);
    assert!(asker.seen.exchanges.iter().all(abandoned));
}
