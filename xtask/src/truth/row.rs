//! One row of the table: a case under one load.

use std::fmt;

use super::case::Case;
use super::path::Key;

/// How connections are used, by the load and by every service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Connections {
    /// Connections are kept and used again
    Keep,
    /// A new connection for each request
    Fresh,
}

impl Connections {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Fresh => "fresh",
        }
    }
}

#[derive(Debug)]
pub(super) struct Row {
    /// Unique within a run of the daemon; every tag of this row begins with it.
    pub(super) number: usize,
    pub(super) runtime: &'static str,
    /// The way from the first service to the second is TLS: its two spans cannot be.
    pub(super) over_tls: bool,
    pub(super) case: &'static Case,
    /// Requests that the load has open at once.
    pub(super) concurrency: usize,
    pub(super) connections: Connections,
    /// Requests that the load sends in all.
    pub(super) requests: usize,
    /// The least share of parents that must be right.
    pub(super) floor: f64,
}

impl Row {
    pub(super) fn keeps_alive(&self) -> bool {
        self.connections == Connections::Keep
    }

    fn key(&self, number: usize) -> Key {
        Key {
            tag: format!("{}.{number}.{}", self.number, self.case.delay(number)),
            hop: "0".to_owned(),
        }
    }

    /// The path of the load's n-th request.
    pub(super) fn path(&self, number: usize) -> String {
        let (connections, modes) = (self.connections.as_str(), self.case.modes(number));
        let Key { tag, hop } = self.key(number);
        format!("/{connections}/{modes}/{tag}/{hop}")
    }

    /// Every request that the load's requests make, at any service; each has a client and a server span.
    pub(super) fn expected(&self) -> Vec<Key> {
        let mut all = Vec::new();
        for number in 0..self.requests {
            let mut level = vec![self.key(number)];
            for calls in self.case.calls(number) {
                let of_one = |key: &Key| (0..calls).map(|call| key.call(call)).collect::<Vec<_>>();
                let next = level.iter().flat_map(of_one).collect();
                all.append(&mut level);
                level = next;
            }
            all.append(&mut level);
        }
        all.retain(|key| !self.hides(key));
        all
    }

    /// Whether nothing of this request can be seen, since it goes over TLS: what the first service asks the second.
    fn hides(&self, key: &Key) -> bool {
        let calls = key.hop.matches('.').count();
        // A call that nothing caused has no hop before it: `TAG~0` is the first service's.
        let first = if key.tag.ends_with("~0") { 0 } else { 1 };
        self.over_tls && calls == first && !key.is_tick()
    }

    /// The served request that a call was made for; where that cannot be seen, the one that it was made for in turn.
    pub(super) fn cause(&self, call: &Key) -> Option<Key> {
        let cause = call.cause()?;
        // A timer's call over TLS is all that there is of it at the second service.
        let hidden = self.hides(&cause) || (self.over_tls && cause.is_tick());
        if hidden { cause.cause() } else { Some(cause) }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (case, connections) = (self.case.name, self.connections.as_str());
        write!(
            out,
            "{} {case} {} {connections}",
            self.runtime, self.concurrency
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::CALLS;
    use super::*;

    #[test]
    fn the_tree_of_a_request_follows_its_modes() {
        let row = Row {
            number: 4,
            runtime: "python-threads",
            over_tls: false,
            case: &CALLS,
            concurrency: 1,
            connections: Connections::Keep,
            requests: 2,
            floor: 1.0,
        };
        assert_eq!(row.path(1), "/keep/twice/4.1.0/0");
        let hops: Vec<String> = row.expected().into_iter().map(|key| key.hop).collect();
        // `direct`, then `twice`.
        let direct = ["0", "0.0", "0.0.0"];
        let twice = ["0", "0.0", "0.1", "0.0.0", "0.1.0"];
        assert_eq!(hops, [&direct[..], &twice[..]].concat());
    }
}
