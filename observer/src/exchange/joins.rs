//! Which request at a server is which call at a client of this host, where a connection carries many at once.
//!
//! In: what both ends see of a request: the connection, by the sequence numbers with which its directions begin, and the stream. Out: the call's span, once, which is the request's parent.
//! Owns: the calls that no server of this host has claimed, shared by all shards, since the ends of a connection may be two shards'.
//!
//! The kernel does the same for connections that carry one request at a time, and hands over as the bytes go. Here the daemon can,
//! since no decision waits for it: nobody is said to work for a request that shares its connection. A server's end is looked up when
//! its exchange is over: by then the client's beginning was seen, whatever the order of rings.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use foldhash::{HashMap, fast::RandomState};
use std::hash::BuildHasher;

use super::{Bases, Ends};
use crate::identity::Role;

/// Shelves, each with a lock of its own.
const SHELVES: usize = 16;
/// Calls that a shelf keeps: then the oldest goes, whose server is elsewhere.
const MOST: usize = 1024;

/// What both ends of a connection see of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JoinKey {
    /// Where each direction begins, on the wire.
    connection: [u32; 2],
    stream: u64,
}

impl JoinKey {
    /// That of a request. `None` where the ends have no such numbers in common.
    pub(super) fn of(ends: &Ends, stream: u64) -> Option<Self> {
        let Bases {
            outbound,
            inbound,
            from_start,
        } = ends.bases?;
        let connection = match ends.role {
            Role::Client if from_start => [outbound, inbound],
            // Of an older one the SYN counts as a byte that was acknowledged.
            Role::Client => [outbound.wrapping_add(1), inbound],
            Role::Server => [inbound, outbound],
        };
        Some(Self { connection, stream })
    }
}

/// A call's place in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
}

/// The calls that may be some server's request on this host.
#[derive(Debug, Default)]
pub struct Joins {
    hasher: RandomState,
    shelves: [Mutex<Shelf>; SHELVES],
}

#[derive(Debug, Default)]
struct Shelf {
    made: HashMap<JoinKey, Made>,
    order: VecDeque<JoinKey>,
}

impl Joins {
    /// A client made this call.
    pub(crate) fn offer(&self, key: JoinKey, made: Made) {
        self.with(key, |shelf| {
            if shelf.order.len() >= MOST
                && let Some(oldest) = shelf.order.pop_front()
            {
                shelf.made.remove(&oldest);
            }
            shelf.order.push_back(key);
            shelf.made.insert(key, made);
        });
    }

    /// The call that is this request, once.
    pub(crate) fn claim(&self, key: JoinKey) -> Option<Made> {
        self.with(key, |shelf| shelf.made.remove(&key))
    }

    fn with<R>(&self, key: JoinKey, work: impl FnOnce(&mut Shelf) -> R) -> R {
        let at = self.hasher.hash_one(key) as usize % SHELVES;
        // What it holds is whole between any two steps.
        let shelf = self.shelves[at].lock();
        work(&mut shelf.unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Address, ConnectionKey};

    fn ends(role: Role, outbound: u32, inbound: u32, from_start: bool) -> Ends {
        Ends {
            key: ConnectionKey {
                sock: 1,
                generation: 1,
            },
            role,
            netns: 0,
            local: Address::Unknown,
            peer: Address::Unknown,
            bases: Some(Bases {
                outbound,
                inbound,
                from_start,
            }),
            tls: false,
            session: None,
        }
    }

    #[test]
    fn both_ends_have_the_same_key_whatever_they_count_from() {
        let client = ends(Role::Client, 1000, 5000, true);
        let key = JoinKey::of(&client, 3);
        // An older one counts its SYN as a byte.
        let older = ends(Role::Client, 999, 5000, false);
        assert_eq!(key, JoinKey::of(&older, 3));
        for from_start in [false, true] {
            let server = ends(Role::Server, 5000, 1000, from_start);
            assert_eq!(key, JoinKey::of(&server, 3));
        }
        let server = ends(Role::Server, 5000, 1000, true);
        assert_ne!(key, JoinKey::of(&server, 5), "another stream");
        for other in [
            ends(Role::Server, 5001, 1000, true),
            ends(Role::Server, 5000, 999, true),
        ] {
            assert_ne!(key, JoinKey::of(&other, 3), "another connection");
        }
        let unix = Ends {
            bases: None,
            ..client
        };
        assert_eq!(JoinKey::of(&unix, 3), None);
    }

    #[test]
    fn a_call_is_claimed_once_and_the_oldest_go() {
        let joins = Joins::default();
        let key = |stream| JoinKey::of(&ends(Role::Client, 1, 2, true), stream).unwrap();
        let made = |stream: u64| Made {
            trace_id: [1; 16],
            span_id: stream.to_be_bytes(),
        };
        joins.offer(key(1), made(1));
        assert_eq!(joins.claim(key(3)), None);
        assert_eq!(joins.claim(key(1)), Some(made(1)));
        assert_eq!(joins.claim(key(1)), None);
        let many = (SHELVES * MOST * 4) as u64;
        for stream in 0..many {
            joins.offer(key(stream), made(stream));
        }
        let kept = (0..many).filter(|stream| joins.claim(key(*stream)).is_some());
        assert_eq!(kept.count(), SHELVES * MOST);
    }
}
