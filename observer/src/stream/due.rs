//! When to read which connection's entry.
//!
//! Deadlines of one delay come in the order in which they were set, so a queue for each delay is already sorted and
//! asking what is due costs nothing where nothing is. Entries are not taken back: a connection that no longer needs
//! to be read is passed over when its turn comes.

use std::collections::VecDeque;

use crate::identity::ConnectionKey;

/// Delays from a connection's last sign of life to the reading of its entry, and between later readings, ns.
const DELAYS: [u64; 7] = [
    20_000_000,
    40_000_000,
    80_000_000,
    160_000_000,
    320_000_000,
    640_000_000,
    1_000_000_000,
];

/// Connections by the time at which their entry is to be read.
#[derive(Debug, Default)]
pub(super) struct Due {
    queues: [VecDeque<(u64, ConnectionKey)>; DELAYS.len()],
}

impl Due {
    /// The delay after `attempt` readings that settled nothing, ns.
    pub(super) fn delay(attempt: u8) -> u64 {
        DELAYS[usize::from(attempt).min(DELAYS.len() - 1)]
    }

    /// Notes that `key` is to be read after the delay for `attempt`, counted from `now_ns`.
    pub(super) fn push(&mut self, key: ConnectionKey, attempt: u8, now_ns: u64) {
        let level = usize::from(attempt).min(DELAYS.len() - 1);
        self.queues[level].push_back((now_ns.saturating_add(DELAYS[level]), key));
    }

    /// When [`pop`](Self::pop) has the next one, ns.
    pub(super) fn next(&self) -> Option<u64> {
        let fronts = self.queues.iter().filter_map(VecDeque::front);
        fronts.map(|(at, _)| *at).min()
    }

    /// Takes one connection whose time has passed. What is pushed at `now_ns` is never taken at `now_ns`, so taking
    /// and pushing back ends.
    pub(super) fn pop(&mut self, now_ns: u64) -> Option<ConnectionKey> {
        let queue = self
            .queues
            .iter_mut()
            .find(|queue| queue.front().is_some_and(|(at, _)| *at < now_ns))?;
        queue.pop_front().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn key(sock: u64) -> ConnectionKey {
        ConnectionKey {
            sock,
            generation: 1,
        }
    }

    #[test]
    fn nothing_is_due_before_its_delay() {
        let mut due = Due::default();
        due.push(key(1), 0, 1000);
        assert_eq!(due.next(), Some(20_001_000));
        assert_eq!(due.pop(20_001_000), None);
        assert_eq!(due.pop(20_001_001), Some(key(1)));
        assert_eq!(due.pop(u64::MAX), None);
    }

    #[test]
    fn a_short_delay_passes_a_long_one_and_the_longest_is_a_second() {
        let mut due = Due::default();
        due.push(key(1), 200, 0);
        due.push(key(2), 1, 0);
        assert_eq!(due.next(), Some(40_000_000));
        assert_eq!(due.pop(40_000_001), Some(key(2)));
        assert_eq!(due.pop(1_000_000_000), None);
        assert_eq!(due.pop(1_000_000_001), Some(key(1)));
    }
}
