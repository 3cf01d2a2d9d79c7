//! One service's series on one thread.

use std::{collections::hash_map::Entry, net::IpAddr, sync::Arc};

use foldhash::HashMap;

use super::{
    Attributes, Exemplar,
    histogram::Histogram,
    identity::{Dns, Group, Http, Identity},
    instruments::{BYTES, SECONDS},
};
use crate::{
    exchange::Exchange,
    identity::{Address, Role},
    protocol::{Detail, http1::HttpExchange},
    trace::conventions::{self, ErrorType, Method},
};

/// Reasons of incomplete exchanges, by number.
pub(super) const REASONS: usize = 7;

/// The instruments that share the attributes of a request.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) identity: Identity,
    pub(super) attributes: Attributes,
    /// When it was made, ns since the Unix epoch: decides who stays when threads together exceed the cap.
    pub(super) born: u64,
    pub(super) duration: Histogram<{ SECONDS.len() + 1 }>,
    pub(super) request_size: Histogram<{ BYTES.len() + 1 }>,
    pub(super) response_size: Histogram<{ BYTES.len() + 1 }>,
}

impl Series {
    pub(super) fn new(identity: Identity, born: u64) -> Self {
        Self {
            attributes: identity.attributes(),
            identity,
            born,
            duration: Histogram::new(),
            request_size: Histogram::new(),
            response_size: Histogram::new(),
        }
    }

    fn record(&mut self, exchange: &Exchange, duration_ns: u64, exemplar: bool, now: u64) {
        let seconds = duration_ns as f64 / 1e9;
        let bucket = self.duration.record(SECONDS, seconds);
        if let Some(http) = exchange.http() {
            if let Some(size) = http.request_body_size {
                self.request_size.record(BYTES, size as f64);
            }
            if let Some(size) = http.response_body_size {
                self.response_size.record(BYTES, size as f64);
            }
        }
        if exemplar {
            let (trace_id, span_id) = (exchange.context.trace_id, exchange.context.span_id);
            self.duration.exemplify(
                bucket,
                Exemplar {
                    value: seconds,
                    time_unix_nano: now,
                    trace_id,
                    span_id,
                },
            );
        }
    }
}

/// What leads to a series without building its attributes. A pointer stands for its route: the cache keeps the
/// route alive, so no other can take its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct CacheKey {
    route: usize,
    server: u32,
    port: u16,
    status: u16,
    /// Role, method, kind of error, version.
    packed: u32,
}

/// The series of one service.
#[derive(Default)]
pub(super) struct ServiceSeries {
    pub(super) series: Vec<Series>,
    by_identity: HashMap<Identity, usize>,
    cache: HashMap<CacheKey, (usize, Option<Arc<str>>)>,
    /// `Host` values of a client, numbered.
    hosts: HashMap<Box<str>, u32>,
    addresses: HashMap<IpAddr, u32>,
    /// Series of each group, without the overflow series.
    count: [usize; Group::COUNT],
    pub(super) incomplete: [u64; REASONS],
    /// Open requests of a server by scheme (`http`, `https`) and method; `None` where there never was one.
    pub(super) active: [[Option<i64>; Method::COUNT]; 2],
}

impl ServiceSeries {
    /// Adds an exchange whose duration is known. `cap` is the number of series of each group, `spare` how many more
    /// the thread may make. Returns how many series it made, the overflow series not counted.
    pub(super) fn record(
        &mut self,
        exchange: &Exchange,
        duration_ns: u64,
        route: Option<&Arc<str>>,
        exemplar: bool,
        now: u64,
        (cap, spare): (usize, usize),
    ) -> usize {
        let http = match &exchange.detail {
            Detail::Http1(http) => http,
            Detail::Dns(dns) => {
                let before = self.len();
                let error = ErrorType::of(exchange);
                let name = dns.question.name.clone();
                let index = self.find(Identity::Dns(Dns { name, error }), cap, spare, now);
                self.series[index].record(exchange, duration_ns, exemplar, now);
                return self.len() - before;
            }
        };
        let route = route.filter(|_| exchange.role == Role::Server);
        let key = self.key(exchange, http, route, cap);
        if let Some((index, _)) = key.and_then(|key| self.cache.get(&key)) {
            self.series[*index].record(exchange, duration_ns, exemplar, now);
            return 0;
        }
        let before = self.len();
        let index = match key {
            Some(key) => {
                let index = self.find(identity(exchange, http, route), cap, spare, now);
                // Routes may come as ever new pointers to the same text: forget them all rather than grow.
                if self.cache.len() >= 4 * cap.max(16) {
                    self.cache.clear();
                }
                self.cache.insert(key, (index, route.cloned()));
                index
            }
            None => self.overflow(Group::of(exchange), now),
        };
        self.series[index].record(exchange, duration_ns, exemplar, now);
        self.len() - before
    }

    /// The cache's key; `None` when there are too many servers to number.
    fn key(
        &mut self,
        exchange: &Exchange,
        http: &HttpExchange,
        route: Option<&Arc<str>>,
        cap: usize,
    ) -> Option<CacheKey> {
        let (server, port) = match exchange.role {
            Role::Server => (0, 0),
            Role::Client => self.server(exchange, http, cap)?,
        };
        let error = match ErrorType::of(exchange) {
            None => 0,
            Some(ErrorType::Status(_)) => 1,
            Some(ErrorType::ConnectionClosed) => 2,
            Some(ErrorType::ConnectionReset) => 3,
            // Of lookups only.
            Some(ErrorType::Dns(_) | ErrorType::Timeout) => return None,
        };
        let method = Method::of(&http.method) as u32;
        let role = u32::from(exchange.role == Role::Client);
        let version = http.version.map_or(0, |version| version as u32 + 1);
        Some(CacheKey {
            route: route.map_or(0, |route| Arc::as_ptr(route).cast::<u8>() as usize),
            server,
            port,
            status: http.status.unwrap_or(0),
            packed: role | error << 1 | version << 3 | method << 8,
        })
    }

    /// A number for what a client calls its server, and the connection's port.
    fn server(
        &mut self,
        exchange: &Exchange,
        http: &HttpExchange,
        cap: usize,
    ) -> Option<(u32, u16)> {
        let (ip, port) = match &exchange.peer {
            Address::Inet(address) => (Some(address.ip()), address.port()),
            _ => (None, 0),
        };
        let written = conventions::raw_authority(http);
        let written = written.or(match &exchange.peer {
            Address::Unix(path) => Some(path),
            _ => None,
        });
        // Even numbers are names, odd ones addresses, 0 is neither.
        let number = match (written, ip) {
            (Some(written), _) => match self.hosts.get(written) {
                Some(number) => *number,
                None if self.hosts.len() >= 2 * cap => return None,
                None => {
                    let number = 2 * (self.hosts.len() as u32 + 1);
                    self.hosts.insert(written.into(), number);
                    number
                }
            },
            (None, Some(ip)) => {
                let next = 2 * self.addresses.len() as u32 + 1;
                let full = self.addresses.len() >= 2 * cap;
                match self.addresses.entry(ip) {
                    Entry::Occupied(number) => *number.get(),
                    Entry::Vacant(_) if full => return None,
                    Entry::Vacant(entry) => *entry.insert(next),
                }
            }
            (None, None) => 0,
        };
        Some((number, port))
    }

    fn find(&mut self, identity: Identity, cap: usize, spare: usize, now: u64) -> usize {
        if let Some(index) = self.by_identity.get(&identity) {
            return *index;
        }
        let group = identity.group();
        let count = &mut self.count[group as usize];
        if *count >= cap || spare == 0 {
            return self.overflow(group, now);
        }
        *count += 1;
        self.add(identity, now)
    }

    fn overflow(&mut self, group: Group, now: u64) -> usize {
        match self.by_identity.get(&Identity::Overflow(group)) {
            Some(index) => *index,
            None => self.add(Identity::Overflow(group), now),
        }
    }

    fn add(&mut self, identity: Identity, now: u64) -> usize {
        let index = self.series.len();
        self.by_identity.insert(identity.clone(), index);
        self.series.push(Series::new(identity, now));
        index
    }

    /// How many series there are, the overflow series not counted.
    pub(super) fn len(&self) -> usize {
        self.count.iter().sum()
    }
}

fn identity(exchange: &Exchange, http: &HttpExchange, route: Option<&Arc<str>>) -> Identity {
    Identity::Http(Http {
        role: exchange.role,
        method: Method::of(&http.method),
        status: http.status,
        error: ErrorType::of(exchange),
        version: http.version,
        scheme: conventions::scheme(exchange),
        route: route.cloned(),
        server: match exchange.role {
            Role::Client => conventions::server(exchange),
            Role::Server => (None, None),
        },
    })
}
