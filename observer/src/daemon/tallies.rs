//! What the shards count of the exchanges that pass: each for itself, summed up by who asks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use observer_abi::context::method;

use crate::exchange::{LinkMethod, ParentMethod};

/// In the order of their numbers.
const METHODS: [ParentMethod; method::COUNT] = [
    ParentMethod::None,
    ParentMethod::Handoff,
    ParentMethod::Thread,
    ParentMethod::Header,
    ParentMethod::EventLoop,
    ParentMethod::Goroutine,
    ParentMethod::PythonContext,
    ParentMethod::TcpOption,
    ParentMethod::RubyFiber,
    ParentMethod::TokioTask,
];

/// A number that one thread writes and any reads.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// One more. By one thread only.
    pub(super) fn add(&self) {
        self.0.store(self.0.load(Relaxed) + 1, Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One shard's counts, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Tally {
    /// Exchanges by how their parent was found; indexed like [`METHODS`].
    edges: [Count; METHODS.len()],
    /// Calls of which a link says what they may have been made for.
    last_resumed: Count,
    /// Spans that were left to the services' own SDKs.
    pub(super) left_to_sdk: Count,
    /// observer's own exchanges with whoever asked for its page: left out.
    pub(super) own_left_out: Count,
}

impl Tally {
    pub(super) fn edge(&self, method: ParentMethod) {
        if let Some(count) = self.edges.get(method as usize) {
            count.add();
        }
    }

    pub(super) fn link(&self, method: LinkMethod) {
        match method {
            LinkMethod::LastResumed => self.last_resumed.add(),
        }
    }
}

/// All shards'.
#[derive(Debug)]
pub(super) struct Tallies(Box<[Tally]>);

impl Tallies {
    /// Zeros, for so many shards.
    pub(super) fn new(shards: usize) -> Self {
        Self((0..shards.max(1)).map(|_| Tally::default()).collect())
    }

    /// One shard's.
    pub(super) fn of(&self, shard: usize) -> &Tally {
        &self.0[shard % self.0.len()]
    }

    fn sum(&self, of: impl Fn(&Tally) -> &Count) -> u64 {
        self.0.iter().map(|tally| of(tally).read()).sum()
    }

    /// Exchanges by how their parent was found.
    pub(super) fn edges(&self) -> impl Iterator<Item = (ParentMethod, u64)> + '_ {
        let sum = |at: usize| self.sum(|tally| &tally.edges[at]);
        METHODS
            .iter()
            .enumerate()
            .map(move |(at, method)| (*method, sum(at)))
    }

    /// Links by how they were found.
    pub(super) fn links(&self) -> [(LinkMethod, u64); 1] {
        [(LinkMethod::LastResumed, self.sum(|it| &it.last_resumed))]
    }

    /// Spans that were left to the services' own SDKs.
    pub(super) fn left_to_sdk(&self) -> u64 {
        self.sum(|tally| &tally.left_to_sdk)
    }

    /// observer's own exchanges that were left out.
    pub(super) fn own_left_out(&self) -> u64 {
        self.sum(|tally| &tally.own_left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_and_methods_stand_at_their_numbers() {
        let tallies = Tallies::new(2);
        for method in METHODS {
            assert_eq!(METHODS[method as usize], method);
            tallies.of(0).edge(method);
            tallies.of(1).edge(method);
        }
        assert!(tallies.edges().all(|(_, count)| count == 2));
    }
}
