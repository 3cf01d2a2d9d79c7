//! Requests and answers in datagrams: which answer belongs to which request.
//!
//! A lookup begins with the first request of its id and question on a socket and ends with the answer to that. It ends
//! without one when the client shows that it no longer waits: it asks the same elsewhere, takes the id for something else,
//! or closes the socket. An answer that came but was not seen is no timeout: the kernel counts what each socket received, and
//! a lookup during which more came than was seen has lost it.

use foldhash::HashMap;
use observer_abi::{
    connection::OUTBOUND,
    record::{self, Datagram},
};
use observer_protocol::protocol::Message;

use super::{Common, Exchange, Incomplete, Output, Sink, Times, TraceContext, context};
use crate::{
    identity::{Address, ConnectionKey, ProcessKey, Role},
    protocol::DatagramAccount,
};

/// Lookups that may be open; beyond, the oldest go out as abandoned.
const MOST_OPEN: usize = 4096;
/// Silence after which no answer comes any more, ns: longer than resolvers wait (glibc 5 s at most four times, Go and c-ares
/// less).
const SILENCE_NS: u64 = 30_000_000_000;

/// The lookups of one ring's processes.
#[derive(Debug)]
pub(crate) struct Lookups<P: DatagramAccount> {
    /// By sock address, those with open lookups.
    sockets: HashMap<u64, Socket<P::Request>>,
    /// By process and id, where it was asked last.
    asked: HashMap<(u32, u64), u64>,
    open: usize,
}

/// A socket that asks.
#[derive(Debug)]
struct Socket<Q> {
    key: ConnectionKey,
    /// Datagrams received, see [`Datagram::received`].
    received: u32,
    open: Vec<Lookup<Q>>,
}

/// A request that has no answer yet.
#[derive(Debug)]
struct Lookup<Q> {
    id: u64,
    request: Q,
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

impl<P: DatagramAccount> Default for Lookups<P> {
    fn default() -> Self {
        Self {
            sockets: HashMap::default(),
            asked: HashMap::default(),
            open: 0,
        }
    }
}

impl<P: DatagramAccount> Lookups<P> {
    /// A datagram was sent or received. What neither asks nor answers is counted and dropped.
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
        match P::read(payload) {
            Some(Message::Request { id, request }) if outbound => {
                self.asked(datagram, id, request, out);
            }
            Some(Message::Response { id, response }) if !outbound => {
                self.answered(datagram, id, &response, out);
            }
            _ => out.counters.not_dns += 1,
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
                lookup.end::<P, S>(key, time_ns, Incomplete::Unanswered, out);
            },
        );
    }

    /// Ends what has waited too long. To be called every second or so.
    pub(crate) fn expire<S: Sink>(&mut self, now_ns: u64, out: &mut Output<'_, S>) {
        if self.open == 0 {
            return;
        }
        let old = |lookup: &Lookup<P::Request>| {
            lookup.times.request_end.saturating_add(SILENCE_NS) <= now_ns
        };
        let sockets = self.sockets.iter();
        let waiting = sockets.filter(|(_, socket)| socket.open.iter().any(old));
        let waiting: Vec<u64> = waiting.map(|(sock, _)| *sock).collect();
        for sock in waiting {
            self.end(sock, old, out, |lookup, key, out| {
                lookup.give_up::<P, S>(key, Incomplete::Unanswered, out);
            });
        }
    }

    /// Ends what is open: observer stops.
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
                lookup.give_up::<P, S>(key, Incomplete::Abandoned, out);
            },
        );
    }

    /// Ends the socket's lookups that are `such`.
    fn end<S: Sink>(
        &mut self,
        sock: u64,
        such: impl Fn(&Lookup<P::Request>) -> bool,
        out: &mut Output<'_, S>,
        how: impl Fn(Lookup<P::Request>, ConnectionKey, &mut Output<'_, S>),
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
        id: u64,
        request: P::Request,
        out: &mut Output<'_, S>,
    ) {
        let time_ns = datagram.header.time_ns;
        let sock = datagram.header.sock;
        let give_up = |lookup: Lookup<P::Request>, key, out: &mut Output<'_, S>| {
            lookup.end::<P, S>(key, time_ns, Incomplete::Unanswered, out);
        };
        if let Some(&other) = self.asked.get(&(datagram.tgid, id))
            && other != sock
        {
            let same = |open: &Lookup<P::Request>| open.id == id && open.request == request;
            self.end(other, same, out, give_up);
        }
        let reused = |open: &Lookup<P::Request>| open.id == id && open.request != request;
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
            request,
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
        id: u64,
        response: &P::Response,
        out: &mut Output<'_, S>,
    ) {
        let sock = datagram.header.sock;
        let answers =
            |open: &Lookup<P::Request>| open.id == id && P::answers(&open.request, response);
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
            lookup.finish::<P, S>(key, Some(response), None, out);
        });
    }

    /// Ends the lookups of the socket that has waited longest.
    fn make_room<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        let waiting =
            |socket: &Socket<P::Request>| socket.open.first().map(|open| open.times.request_end);
        let oldest = self
            .sockets
            .iter()
            .min_by_key(|(_, socket)| waiting(socket));
        if let Some((&sock, _)) = oldest {
            self.abandon_all_of(sock, out);
        }
    }
}

impl<Q> Lookup<Q> {
    /// It ended at `time_ns` without an answer, unless that was lost.
    fn end<P: DatagramAccount<Request = Q>, S: Sink>(
        mut self,
        key: ConnectionKey,
        time_ns: u64,
        incomplete: Incomplete,
        out: &mut Output<'_, S>,
    ) {
        if !self.lost {
            self.times.response_end = Some(time_ns.max(self.times.request_start));
        }
        self.give_up::<P, S>(key, incomplete, out);
    }

    /// Nobody waits for its answer any more.
    fn give_up<P: DatagramAccount<Request = Q>, S: Sink>(
        self,
        key: ConnectionKey,
        incomplete: Incomplete,
        out: &mut Output<'_, S>,
    ) {
        let lost = self.lost && incomplete != Incomplete::Abandoned;
        let incomplete = if lost {
            Incomplete::LostBytes
        } else {
            incomplete
        };
        self.finish::<P, S>(key, None, Some(incomplete), out);
    }

    fn finish<P: DatagramAccount<Request = Q>, S: Sink>(
        self,
        connection: ConnectionKey,
        response: Option<&P::Response>,
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
                peer_service: None,
                tls: false,
                session: None,
                times: self.times,
                context: self.context,
                incomplete,
            },
            detail: P::detail(self.request, response, self.attempts),
        });
    }
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
