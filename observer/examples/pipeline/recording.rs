//! Ring records as the kernel programs write them, for connections that go on and on.

use observer_abi::{
    connection::{INBOUND, OUTBOUND, family, role},
    context::Context,
    record::{Datagram, NAME_SERVER_PORT, RecordHeader, RunData, RunOpened, flag, kind},
};

/// Connections that speak in turn, half of them at the server's end.
const CONNECTIONS: usize = 64;
/// Exchanges of each connection in a round.
const EACH: usize = 32;

/// A client of every day, and one with a trace of its own.
const REQUESTS: [&str; 2] = [
    "GET /api/orders/17?verbose=1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n",
    "GET /static/app.js HTTP/1.1\r\nHost: shop.example\r\n\
     User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: */*\r\n\
     Accept-Language: de,en-US;q=0.7,en;q=0.3\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
     traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
     Cookie: session=0123456789abcdef; theme=dark\r\n\r\n",
];
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n\
     Content-Type: text/html\r\nContent-Length: 13\r\nLast-Modified: Tue, 04 Feb 2025 12:00:00 GMT\r\n\
     Connection: keep-alive\r\nETag: \"67a1f2c0-267\"\r\nAccept-Ranges: bytes\r\n\r\nHello, world!";
const QUESTION: &[u8] = b"\x04shop\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01";

/// One direction of a connection, as its entry would have it.
#[derive(Clone, Copy, Default)]
struct Direction {
    end: u64,
    last_ns: u64,
    runs: u32,
}

/// The records of one round, and the connections as they stand behind it.
#[derive(Default)]
pub(crate) struct Recording {
    bytes: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
    connections: Vec<[Direction; 2]>,
    exchanges: u64,
    now_ns: u64,
}

impl Recording {
    /// Drops the records of the round before.
    pub(crate) fn begin(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.exchanges = 0;
        self.connections.resize_with(CONNECTIONS, Default::default);
    }

    /// Exchanges of this round.
    pub(crate) const fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// The records as they lie in the ring.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[*start..*end])
    }

    fn push<T: aya::Pod>(&mut self, fixed: &T, payload: &[u8]) {
        let pointer = std::ptr::from_ref(fixed).cast::<u8>();
        // SAFETY: `fixed` is a live reference to `size_of::<T>()` bytes; the structs of `observer-abi` have no padding.
        let fixed = unsafe { std::slice::from_raw_parts(pointer, size_of::<T>()) };
        self.bytes.extend_from_slice(fixed);
        self.bytes.extend_from_slice(payload);
        // Records begin at multiples of eight bytes.
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.ends.push(self.bytes.len());
    }

    fn header(&mut self, sock: usize, kind: u8, direction: u8, payload: &[u8]) -> RecordHeader {
        self.now_ns += 1000;
        RecordHeader {
            sock: 0xffff_8881_0000_0000 + sock as u64 * 4096,
            generation: 7,
            time_ns: 1_000_000_000 + self.now_ns,
            captured: payload.len() as u32,
            kind,
            direction,
            flags: flag::FROM_START,
            role: role::CLIENT,
        }
    }

    /// One call that begins a run.
    fn run(&mut self, connection: usize, direction: u8, payload: &[u8]) {
        let is_server = connection & 1 == 0;
        let header = RecordHeader {
            role: if is_server {
                role::SERVER
            } else {
                role::CLIENT
            },
            ..self.header(connection, kind::RUN_OPENED, direction, payload)
        };
        let (index, other) = (usize::from(direction), 1 - usize::from(direction));
        let other = self.connections[connection][other];
        let own = &mut self.connections[connection][index];
        let previous = *own;
        own.end += payload.len() as u64;
        own.last_ns = header.time_ns;
        own.runs += 1;
        let run = RunOpened {
            data: RunData {
                header,
                start: previous.end,
                end: own.end,
                tid: 43,
                tgid: 42,
            },
            previous_end: previous.end,
            previous_last_ns: previous.last_ns,
            other_end: other.end,
            other_last_ns: other.last_ns,
            start_ns: 77,
            netns: 4_026_531_840,
            run: own.runs,
            context: Context {
                trace_id: [1; 16],
                span_id: header.time_ns.to_ne_bytes(),
                ..Context::default()
            },
            ..RunOpened::default()
        };
        self.push(&run, payload);
    }

    fn datagram(&mut self, sock: usize, direction: u8, received: u32, message: &[u8]) {
        let header = self.header(sock, kind::DATAGRAM, direction, message);
        let datagram = Datagram {
            header,
            family: family::INET,
            local_port: 40_000,
            peer_port: NAME_SERVER_PORT,
            netns: 4_026_531_840,
            length: message.len() as u32,
            tid: 43,
            tgid: 42,
            start_ns: 77,
            received,
            ..Datagram::default()
        };
        self.push(&datagram, message);
    }
}

/// Requests and responses of one call each; every fourth request carries a trace context.
pub(crate) fn http1(recording: &mut Recording) {
    for exchange in 0..EACH {
        for connection in 0..CONNECTIONS {
            let request = if connection & 1 == 0 {
                INBOUND
            } else {
                OUTBOUND
            };
            let kind = usize::from((exchange + connection / 2) & 3 == 0);
            recording.run(connection, request, REQUESTS[kind].as_bytes());
            recording.exchanges += 1;
        }
        for connection in 0..CONNECTIONS {
            let response = if connection & 1 == 0 {
                OUTBOUND
            } else {
                INBOUND
            };
            recording.run(connection, response, RESPONSE.as_bytes());
        }
    }
}

/// Lookups of one query and one answer, each on a socket of its own.
pub(crate) fn dns(recording: &mut Recording) {
    for exchange in 0..EACH {
        for sock in 0..CONNECTIONS {
            recording.datagram(sock, OUTBOUND, 0, &message(sock, exchange, 0x0100));
            recording.exchanges += 1;
        }
        for sock in 0..CONNECTIONS {
            recording.datagram(sock, INBOUND, 1, &message(sock, exchange, 0x8180));
        }
    }
}

/// A DNS message with one question.
fn message(sock: usize, exchange: usize, flags: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [(sock * EACH + exchange) as u16, flags, 1, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(QUESTION);
    bytes
}
