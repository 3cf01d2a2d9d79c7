//! Which request at a server is which call at a client of this host, where a connection carries many at once.
//!
//! In: connections of which the client's end is seen, by the sequence numbers with which their directions begin; requests, by connection
//! and stream. Out: the ids of a call, the same at both ends.
//! Owns: the list of such connections, shared by all shards, since a connection's ends may be two shards'.
//!
//! The kernel hands over as the bytes go, for connections that carry one request at a time. Here nobody waits for that: who shares
//! a connection is not said to work for one of its requests. So ids are computed from what both ends know, in whatever order they are
//! read (one end's secrets may come later). The server's end asks when its exchange is over: by then the client's connection was seen.

use std::{
    collections::{HashSet, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

use super::{Bases, Ends};
use crate::identity::Role;

/// Shelves, each with a lock of its own.
const SHELVES: usize = 16;
/// Connections that a shelf keeps: then the oldest goes.
const MOST: usize = 4096;

/// A connection, as both of its ends see it: where each direction begins, on the wire.
pub(crate) type Wire = [u32; 2];

/// A request, as both ends of its connection see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JoinKey {
    pub(super) wire: Wire,
    stream: u64,
}

impl JoinKey {
    /// That of a request. `None` where the ends have no such numbers in common.
    pub(super) fn of(ends: &Ends, stream: u64) -> Option<Self> {
        let wire = ends.wire()?;
        Some(Self { wire, stream })
    }
}

impl Ends {
    /// What both ends of the connection know it by; `None` of a Unix socket, and where that was not told.
    pub(crate) fn wire(&self) -> Option<Wire> {
        let Bases {
            outbound,
            inbound,
            from_start,
        } = self.bases?;
        Some(match self.role {
            Role::Client if from_start => [outbound, inbound],
            // Of an older one the SYN counts as a byte that was acknowledged.
            Role::Client => [outbound.wrapping_add(1), inbound],
            Role::Server => [inbound, outbound],
        })
    }
}

/// A call's place in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
}

/// The connections of which the client's end is seen on this host, and the ids of what is asked on them.
#[derive(Debug, Default)]
pub struct Joins {
    /// Keys of the ids: of a trace's halves, and of a span's.
    ids: [RandomState; 3],
    shelves: [Mutex<Shelf>; SHELVES],
}

#[derive(Debug, Default)]
struct Shelf {
    known: HashSet<Wire, foldhash::fast::RandomState>,
    order: VecDeque<Wire>,
}

impl Joins {
    /// The client's end of a connection is seen.
    pub(crate) fn learn(&self, wire: Wire) {
        let mut shelf = self.shelf(wire);
        if !shelf.known.insert(wire) {
            return;
        }
        shelf.order.push_back(wire);
        if shelf.order.len() > MOST
            && let Some(oldest) = shelf.order.pop_front()
        {
            shelf.known.remove(&oldest);
        }
    }

    /// Nothing is read of it any more.
    pub(crate) fn forget(&self, wire: Wire) {
        let mut shelf = self.shelf(wire);
        if shelf.known.remove(&wire) {
            shelf.order.retain(|other| *other != wire);
        }
    }

    /// Whether the client's end of a connection is seen.
    pub(crate) fn is_known(&self, wire: Wire) -> bool {
        self.shelf(wire).known.contains(&wire)
    }

    /// The ids of a call.
    pub(crate) fn made(&self, key: JoinKey) -> Made {
        let [high, low, span] = self.ids.each_ref().map(|ids| ids.hash_one(key));
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&high.to_be_bytes());
        // Neither id is all zeros.
        trace_id[8..].copy_from_slice(&low.max(1).to_be_bytes());
        Made {
            trace_id,
            span_id: span.max(1).to_be_bytes(),
        }
    }

    fn shelf(&self, wire: Wire) -> std::sync::MutexGuard<'_, Shelf> {
        let at = (wire[0] ^ wire[1]) as usize % SHELVES;
        // What it holds is whole between any two steps.
        self.shelves[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
    fn ids_are_a_requests_own() {
        let joins = Joins::default();
        let key = |outbound, stream| JoinKey::of(&ends(Role::Client, outbound, 2, true), stream);
        let made = |outbound, stream| joins.made(key(outbound, stream).unwrap());
        assert_eq!(made(1, 1), made(1, 1));
        let all: Vec<Made> = (0..100)
            .flat_map(|outbound| (0..100).map(move |stream| (outbound, stream)))
            .map(|(outbound, stream)| made(outbound, stream))
            .collect();
        let traces: HashSet<_> = all.iter().map(|made| made.trace_id).collect();
        let spans: HashSet<_> = all.iter().map(|made| made.span_id).collect();
        assert_eq!((traces.len(), spans.len()), (10_000, 10_000));
        assert_ne!(Joins::default().made(key(1, 1).unwrap()), made(1, 1));
    }

    #[test]
    fn connections_are_known_until_they_are_forgotten_or_many_came() {
        let joins = Joins::default();
        assert!(!joins.is_known([1, 2]));
        joins.learn([1, 2]);
        joins.learn([1, 2]);
        assert!(joins.is_known([1, 2]) && !joins.is_known([2, 1]));
        joins.forget([1, 2]);
        assert!(!joins.is_known([1, 2]));
        let many = (SHELVES * MOST * 2) as u32;
        for outbound in 0..many {
            joins.learn([outbound, 0]);
        }
        let kept = (0..many).filter(|outbound| joins.is_known([*outbound, 0]));
        assert_eq!(kept.count(), SHELVES * MOST);
        assert!(joins.is_known([many - 1, 0]) && !joins.is_known([0, 0]));
    }
}
