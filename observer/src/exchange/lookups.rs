//! DNS lookups: which answer belongs to which query.
//!
//! A lookup begins with the first query of its id and question on a socket and ends with the answer to that. It ends
//! without one when the client shows that it no longer waits: it asks the same elsewhere, takes the id for something else,
//! or closes the socket. An answer that came but was not seen is no timeout: the kernel counts what each socket received, and
//! a lookup during which more came than was seen has lost it.

use foldhash::HashMap;
use observer_abi::{
    connection::OUTBOUND,
    record::{self, Datagram},
};
use observer_protocol::dns::{self, Message, Question};

use super::{Common, Exchange, Incomplete, Output, Sink, Times, TraceContext, context};
use crate::{
    identity::{Address, ConnectionKey, ProcessKey, Role},
    protocol::dns::DnsExchange,
};

/// Lookups that may be open; beyond, the oldest are given on as abandoned.
const MOST_OPEN: usize = 4096;
/// Silence after which no answer comes any more, ns: longer than resolvers wait (glibc 5 s at most four times, Go and c-ares
/// less).
const PATIENCE_NS: u64 = 30_000_000_000;

/// The lookups of one ring's processes.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    /// By sock address, those with open lookups.
    sockets: HashMap<u64, Socket>,
    /// By process and id, where it was asked last.
    asked: HashMap<(u32, u16), u64>,
    open: usize,
}

/// A socket that asks.
#[derive(Debug)]
struct Socket {
    key: ConnectionKey,
    /// Datagrams received, see [`Datagram::received`].
    received: u32,
    open: Vec<Lookup>,
}

/// A query that has no answer yet.
#[derive(Debug)]
struct Lookup {
    id: u16,
    question: Question,
    process: ProcessKey,
    tid: u32,
    netns: u32,
    local: Address,
    /// The name server, where there is only one.
    server: Address,
    attempts: u32,
    times: Times,
    context: TraceContext,
    /// A datagram that may have been the answer was not seen.
    lost: bool,
}

impl Lookups {
    /// A datagram was sent or received. What is not DNS is counted and dropped.
    pub(crate) fn datagram<S: Sink>(
        &mut self,
        datagram: &Datagram,
        payload: &[u8],
        out: &mut Output<'_, S>,
    ) {
        let outbound = datagram.header.direction == OUTBOUND;
        let unreadable = datagram.header.flags & record::flag::NO_PAYLOAD != 0;
        self.count_received(datagram, unreadable, out);
        if unreadable {
            return;
        }
        match dns::parse(payload) {
            Ok(message) if outbound && is_query(&message) => {
                if let Some(question) = message.question {
                    self.asked(datagram, message.id, question, out);
                }
            }
            Ok(message) if !outbound && message.is_response => {
                self.answered(datagram, &message, out);
            }
            Ok(_) | Err(_) => out.counters.not_dns += 1,
        }
    }

    /// The socket was closed.
    pub(crate) fn closed<S: Sink>(&mut self, datagram: &Datagram, out: &mut Output<'_, S>) {
        self.count_received(datagram, false, out);
        let time_ns = datagram.header.time_ns;
        self.end(
            datagram.header.sock,
            |_| true,
            out,
            |lookup, key, out| {
                lookup.end(key, time_ns, Incomplete::Unanswered, out);
            },
        );
    }

    /// Gives on what has waited too long. To be called every second or so.
    pub(crate) fn expire<S: Sink>(&mut self, now_ns: u64, out: &mut Output<'_, S>) {
        if self.open == 0 {
            return;
        }
        let old = |lookup: &Lookup| lookup.times.request_end.saturating_add(PATIENCE_NS) <= now_ns;
        let sockets = self.sockets.iter();
        let waiting = sockets.filter(|(_, socket)| socket.open.iter().any(old));
        let waiting: Vec<u64> = waiting.map(|(sock, _)| *sock).collect();
        for sock in waiting {
            self.end(sock, old, out, |lookup, key, out| {
                lookup.forsake(key, Incomplete::Unanswered, out);
            });
        }
    }

    /// Gives on what is open: observer stops.
    pub(crate) fn abandon<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        let sockets: Vec<u64> = self.sockets.keys().copied().collect();
        for sock in sockets {
            self.abandon_all_of(sock, out);
        }
    }

    fn abandon_all_of<S: Sink>(&mut self, sock: u64, out: &mut Output<'_, S>) {
        self.end(
            sock,
            |_| true,
            out,
            |lookup, key, out| {
                lookup.forsake(key, Incomplete::Abandoned, out);
            },
        );
    }

    /// Ends the socket's lookups that are `such`.
    fn end<S: Sink>(
        &mut self,
        sock: u64,
        such: impl Fn(&Lookup) -> bool,
        out: &mut Output<'_, S>,
        how: impl Fn(Lookup, ConnectionKey, &mut Output<'_, S>),
    ) {
        let Some(socket) = self.sockets.get_mut(&sock) else {
            return;
        };
        for lookup in socket.open.extract_if(.., |lookup| such(lookup)) {
            self.open -= 1;
            let asked = (lookup.process.tgid, lookup.id);
            if self.asked.get(&asked) == Some(&sock) {
                self.asked.remove(&asked);
            }
            how(lookup, socket.key, out);
        }
        if socket.open.is_empty() {
            self.sockets.remove(&sock);
        }
    }

    /// Notices what was received but not seen. What is known of an earlier socket at the same address ends.
    fn count_received<S: Sink>(
        &mut self,
        datagram: &Datagram,
        unreadable: bool,
        out: &mut Output<'_, S>,
    ) {
        let sock = datagram.header.sock;
        let Some(socket) = self.sockets.get_mut(&sock) else {
            return;
        };
        if socket.key != key(datagram) {
            self.abandon_all_of(sock, out);
            return;
        }
        let of_a_datagram = datagram.header.kind == record::kind::DATAGRAM;
        let seen = of_a_datagram && datagram.header.direction != OUTBOUND && !unreadable;
        let expected = socket.received.saturating_add(u32::from(seen));
        if datagram.received > expected {
            socket.open.iter_mut().for_each(|lookup| lookup.lost = true);
        }
        // Two threads that read at once may tell in another order.
        socket.received = socket.received.max(datagram.received);
    }

    fn asked<S: Sink>(
        &mut self,
        datagram: &Datagram,
        id: u16,
        question: Question,
        out: &mut Output<'_, S>,
    ) {
        let time_ns = datagram.header.time_ns;
        let sock = datagram.header.sock;
        let give_up = |lookup: Lookup, key, out: &mut Output<'_, S>| {
            lookup.end(key, time_ns, Incomplete::Unanswered, out);
        };
        if let Some(&other) = self.asked.get(&(datagram.tgid, id))
            && other != sock
        {
            let same = |open: &Lookup| open.id == id && open.question == question;
            self.end(other, same, out, give_up);
        }
        let reused = |open: &Lookup| open.id == id && open.question != question;
        self.end(sock, reused, out, give_up);
        if self.open >= MOST_OPEN {
            self.make_room(out);
        }
        self.asked.insert((datagram.tgid, id), sock);
        let server = peer(datagram);
        let socket = self.sockets.entry(sock).or_insert_with(|| Socket {
            key: key(datagram),
            received: datagram.received,
            open: Vec::new(),
        });
        if let Some(again) = socket.open.iter_mut().find(|open| open.id == id) {
            again.attempts = again.attempts.saturating_add(1);
            again.times.request_end = again.times.request_end.max(time_ns);
            if again.server != server {
                again.server = Address::Unknown;
            }
            return;
        }
        self.open += 1;
        socket.open.push(Lookup {
            id,
            question,
            process: ProcessKey {
                tgid: datagram.tgid,
                start_ns: datagram.start_ns,
            },
            tid: datagram.tid,
            netns: datagram.netns,
            local: Address::of_kernel(datagram.family, datagram.local_address, datagram.local_port),
            server,
            attempts: 1,
            times: Times {
                request_start: time_ns,
                request_end: time_ns,
                ..Times::default()
            },
            context: context::of_call(
                datagram.trace_id,
                datagram.parent_span_id,
                u8::try_from(datagram.parent_method).unwrap_or_default(),
                out.ids,
            ),
            lost: false,
        });
    }

    fn answered<S: Sink>(
        &mut self,
        datagram: &Datagram,
        message: &Message,
        out: &mut Output<'_, S>,
    ) {
        let sock = datagram.header.sock;
        let answers = |open: &Lookup| {
            let question = message.question.as_ref();
            open.id == message.id && question.is_none_or(|question| *question == open.question)
        };
        let socket = self.sockets.get(&sock);
        if !socket.is_some_and(|socket| socket.open.iter().any(answers)) {
            // It came late or twice, or was asked for before observer began.
            out.counters.answers_without_query += 1;
            return;
        }
        self.end(sock, answers, out, |mut lookup, key, out| {
            let time_ns = datagram.header.time_ns.max(lookup.times.request_start);
            lookup.times.response_start = Some(time_ns);
            lookup.times.response_end = Some(time_ns);
            if datagram.peer_port != 0 {
                lookup.server = peer(datagram);
            }
            lookup.give_on(key, Some(message.response_code), None, out);
        });
    }

    /// Gives on the lookups of the socket that has waited longest.
    fn make_room<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        let waiting = |socket: &Socket| socket.open.first().map(|open| open.times.request_end);
        let oldest = self
            .sockets
            .iter()
            .min_by_key(|(_, socket)| waiting(socket));
        if let Some((&sock, _)) = oldest {
            self.abandon_all_of(sock, out);
        }
    }
}

impl Lookup {
    /// It ended at `time_ns` without an answer, unless that was lost.
    fn end<S: Sink>(
        mut self,
        key: ConnectionKey,
        time_ns: u64,
        incomplete: Incomplete,
        out: &mut Output<'_, S>,
    ) {
        if !self.lost {
            self.times.response_end = Some(time_ns.max(self.times.request_start));
        }
        self.forsake(key, incomplete, out);
    }

    /// Nobody waits for its answer any more.
    fn forsake<S: Sink>(self, key: ConnectionKey, incomplete: Incomplete, out: &mut Output<'_, S>) {
        let lost = self.lost && incomplete != Incomplete::Abandoned;
        let incomplete = if lost {
            Incomplete::LostBytes
        } else {
            incomplete
        };
        self.give_on(key, None, Some(incomplete), out);
    }

    fn give_on<S: Sink>(
        self,
        connection: ConnectionKey,
        response_code: Option<dns::ResponseCode>,
        incomplete: Option<Incomplete>,
        out: &mut Output<'_, S>,
    ) {
        out.counters.lookups += 1;
        out.counters.count_exchange(incomplete);
        out.sink.exchange(&mut Exchange {
            common: Common {
                role: Role::Client,
                process: self.process,
                tid: self.tid,
                connection,
                netns: self.netns,
                local: self.local,
                peer: self.server,
                tls: false,
                times: self.times,
                context: self.context,
                incomplete,
            },
            detail: DnsExchange {
                question: self.question,
                response_code,
                attempts: self.attempts,
            }
            .into(),
        });
    }
}

/// A standard query (not a dynamic update, nor a notification).
const fn is_query(message: &Message) -> bool {
    !message.is_response && message.opcode == 0 && message.question.is_some()
}

const fn key(datagram: &Datagram) -> ConnectionKey {
    ConnectionKey {
        sock: datagram.header.sock,
        generation: datagram.header.generation,
    }
}

fn peer(datagram: &Datagram) -> Address {
    match datagram.peer_port {
        0 => Address::Unknown,
        port => Address::of_kernel(datagram.family, datagram.peer_address, port),
    }
}
