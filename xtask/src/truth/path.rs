//! What a request's path says: everything that the harness knows about a span, it knows from here.
//!
//! `/CONNECTIONS/MODES/TAG/HOP`
//!
//! - CONNECTIONS: `keep` or `fresh`, how each service connects to the next.
//! - MODES: what the services do, the first of them here, the rest (or `direct`) passed on:
//!   - `direct`: asks the next service, then answers
//!   - `twice`: asks it twice, one after the other
//!   - `parallel`: asks it twice at once
//!   - `sleep`: waits up to 20 ms, then asks
//!   - `handoff`: another thread (task, goroutine) of a pool asks, and this one waits for it
//!   - `thread`: a new thread (task, goroutine) asks, and this one waits for it
//!   - `spin`: gives way to others twenty times without waiting for anything, so that the loop polls with a timeout of
//!     zero, then asks
//!   - `after`: answers, and asks when the response is out; that call is nobody's child
//!   - `timer`: asks, while a timer that began before any request asks on its own every 5 ms
//!   - `limited`, `fan`, `guarded`: asks through a limiter that all requests share; once, three times at once, once beside
//!     a call without it
//!   - `queued`: asks twice through a list of paths, the next of which whatever ends starts
//!   - `locked`: asks when the one before has let go of a lock
//!   - `timeout`, `immediate`, `file`, `files`: asks in a timer's or immediate's callback, when a file was read by callback
//!     or promise
//!   - `loop`: asks, while a loop that began before any request asks on its own
//!
//!   A service to which one of these means nothing takes it as `direct`.
//! - TAG: `ROW.NUMBER.DELAY`, the same in all requests that one request of the load causes. The last service of a chain
//!   answers after DELAY ms. A call that nothing causes has a tag of its own: `TAG~HOP` where a service asks after its
//!   response, `ROW.tickPID-NUMBER.DELAY` where a timer does.
//! - HOP: `0` where a tag begins; the calls made for `0` are `0.0` and `0.1`, and so on.
//!
//! So the parent of a server span is the client span with the same tag and hop, the parent of a client span is the
//! server span with the same tag and the hop less its last number, and a client span with hop `0` has none.

/// Which request of which chain a span is about. Its client and its server span have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) tag: String,
    pub(super) hop: String,
}

impl Key {
    /// Reads a path. `None` for one that no service of ours was asked for.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut words = path.strip_prefix('/')?.split('/');
        let (connections, _modes, tag, hop) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        let known = ["keep", "fresh"].contains(&connections) && words.next().is_none();
        known.then(|| Self {
            tag: tag.to_owned(),
            hop: hop.to_owned(),
        })
    }

    /// The request of the service that made this call; `None` for a call that nothing caused.
    pub(super) fn cause(&self) -> Option<Self> {
        let (hop, _) = self.hop.rsplit_once('.')?;
        Some(Self {
            tag: self.tag.clone(),
            hop: hop.to_owned(),
        })
    }

    /// The n-th request that the service answering this one makes for it.
    pub(super) fn call(&self, number: usize) -> Self {
        Self {
            tag: self.tag.clone(),
            hop: format!("{}.{number}", self.hop),
        }
    }

    /// The row of the table that this belongs to.
    pub(super) fn row(&self) -> Option<usize> {
        self.tag.split('.').next()?.parse().ok()
    }

    /// Whether no request of the load caused this.
    pub(super) fn is_background(&self) -> bool {
        self.tag.contains('~') || self.is_tick()
    }

    /// Whether a timer caused this.
    pub(super) fn is_tick(&self) -> bool {
        self.tag.contains("tick")
    }
}

/// Milliseconds that the last service of a chain takes to answer.
pub(super) fn delay(path: &str) -> u64 {
    let tag = path.split('/').nth(3).unwrap_or_default();
    let delay = tag.split('~').next().and_then(|tag| tag.rsplit('.').next());
    delay.and_then(|delay| delay.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_cause_and_its_calls() {
        let key = Key::parse("/keep/twice-direct/3.17.20/0.1").unwrap();
        assert_eq!(key.row(), Some(3));
        assert_eq!(key.call(1).hop, "0.1.1");
        assert_eq!(key.call(1).cause(), Some(key.clone()));
        assert_eq!(key.cause().unwrap().cause(), None);
        assert_eq!(Key::parse("/metrics"), None);
        assert_eq!(Key::parse("/keep/direct/3.17.20/0/more"), None);
    }

    #[test]
    fn calls_that_nothing_caused_have_tags_of_their_own() {
        for path in [
            "/keep/direct/3.17.20~0.1/0",
            "/fresh/direct/3.tick812-4.0/0",
        ] {
            let key = Key::parse(path).unwrap();
            assert!(key.is_background());
            assert_eq!((key.row(), key.cause()), (Some(3), None));
        }
    }

    #[test]
    fn the_delay_is_the_tags_last_number() {
        assert_eq!(delay("/keep/direct/3.17.20/0.1"), 20);
        assert_eq!(delay("/keep/direct/3.17.20~0.1/0"), 20);
        assert_eq!(delay("/keep/direct/3.tick812-4.0/0"), 0);
        assert_eq!(delay("/"), 0);
    }
}
