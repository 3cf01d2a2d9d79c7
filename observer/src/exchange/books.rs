//! What all connections of a shard share, and where results go.

use std::{collections::VecDeque, sync::Arc};

use observer_protocol::tls::Candidates;

use super::{Ids, Joins, StreamCounters, slab::Slab};
use crate::identity::ConnectionKey;

/// Secrets of TLS 1.3's connections that are kept: those of 1,000 handshakes. Nearly all are used within a second.
const TRAFFIC_SECRETS: usize = 4 * 1024;
/// Master secrets of TLS 1.2 that are kept, for resumptions.
const MASTER_SECRETS: usize = 4 * 1024;

/// Shared by the connections of a shard.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) ids: Ids,
    pub(crate) counters: StreamCounters,
    pub(crate) opens: Slab,
    pub(crate) held: Held,
    pub(crate) secrets: Candidates,
    pub(crate) sealed: Sealed,
    /// All shards'.
    pub(crate) joins: Arc<Joins>,
}

impl Books {
    /// Room for so many open exchanges, bytes of unfinished heads, and bytes of ciphertext.
    pub(crate) fn new(
        exchanges: usize,
        held_bytes: usize,
        ciphertext_bytes: usize,
        joins: Arc<Joins>,
    ) -> Self {
        Self {
            ids: Ids::new(),
            counters: StreamCounters::default(),
            opens: Slab::new(exchanges),
            held: Held {
                bytes: 0,
                most: held_bytes,
            },
            secrets: Candidates::new(TRAFFIC_SECRETS, MASTER_SECRETS),
            sealed: Sealed {
                bytes: 0,
                most: ciphertext_bytes,
                waiting: VecDeque::new(),
            },
            joins,
        }
    }

    pub(crate) fn output<'a, S>(&'a mut self, sink: &'a mut S) -> Output<'a, S> {
        Output {
            sink,
            ids: &mut self.ids,
            counters: &mut self.counters,
            opens: &mut self.opens,
            held: &mut self.held,
            secrets: &mut self.secrets,
            sealed: &mut self.sealed,
            joins: &self.joins,
        }
    }
}

/// Where results go, and what all connections of a shard share.
pub(crate) struct Output<'a, S> {
    pub(crate) sink: &'a mut S,
    pub(crate) ids: &'a mut Ids,
    pub(crate) counters: &'a mut StreamCounters,
    pub(crate) opens: &'a mut Slab,
    pub(crate) held: &'a mut Held,
    pub(crate) secrets: &'a mut Candidates,
    pub(crate) sealed: &'a mut Sealed,
    pub(crate) joins: &'a Joins,
}

/// Ciphertext that all connections of a shard keep: what waits for its key, and records that have not come whole.
#[derive(Debug)]
pub(crate) struct Sealed {
    bytes: usize,
    most: usize,
    /// Connections of which some waits for a key.
    pub(crate) waiting: VecDeque<ConnectionKey>,
}

impl Sealed {
    /// A connection kept `before` bytes and keeps `now`. Says whether all together are more than there is room for.
    pub(crate) const fn change(&mut self, before: usize, now: usize) -> bool {
        self.bytes = self.bytes.saturating_sub(before).saturating_add(now);
        self.bytes > self.most
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Bytes of unfinished heads that all connections of a shard keep.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: usize,
    most: usize,
}

impl Held {
    /// A connection kept `before` bytes and keeps `now`.
    pub(super) const fn change(&mut self, before: usize, now: usize) {
        self.bytes = self.bytes.saturating_sub(before).saturating_add(now);
    }

    /// They are more than there is room for.
    pub(super) const fn is_exceeded(&self) -> bool {
        self.bytes > self.most
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}
