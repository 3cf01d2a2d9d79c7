//! What the services of a chain do while they are watched: the modes and delays that the load asks for.

/// Services between the load and the leaf. Each makes calls.
const CALLERS: usize = 2;

/// One kind of work, with the requests of the load cycling through its modes.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// For people, in the report.
    pub(super) about: &'static str,
    /// `MODES` of `path.rs`.
    modes: &'static [&'static str],
    /// Milliseconds that the leaf takes: fast and slow children interleave.
    delays: &'static [u32],
    /// Whether services make calls that nothing caused: then some of them must be seen, or nothing was proven.
    pub(super) background: bool,
    /// Whether the load writes requests in two pieces, or two in one.
    pub(super) in_pieces: bool,
}

/// A proxy can do nothing else.
pub(super) const PROXY: Case = Case {
    name: "proxy",
    about: "each request is passed on",
    modes: &["direct"],
    delays: &[0, 0, 0, 1, 5, 20],
    background: false,
    in_pieces: false,
};

pub(super) const SUBREQUESTS: Case = Case {
    name: "subrequests",
    about: "each proxy asks whether it may, and then passes the request on; among requests that are only passed on",
    // A proxy passes all modes on.
    modes: &["twice-twice", "direct"],
    delays: &[0, 0, 0, 1, 5, 20],
    background: false,
    in_pieces: false,
};

pub(super) const CALLS: Case = Case {
    name: "calls",
    about: "one call or two in turn, some after a sleep, all interleaved",
    modes: &["direct", "twice", "sleep", "direct-twice", "twice-sleep"],
    delays: &[0, 0, 0, 1, 5, 20],
    background: false,
    in_pieces: false,
};

pub(super) const PARALLEL: Case = Case {
    name: "parallel",
    about: "two calls at once for each request",
    modes: &["parallel", "parallel-sleep"],
    delays: &[0, 1, 5],
    background: false,
    in_pieces: false,
};

pub(super) const HANDOFF: Case = Case {
    name: "handoff",
    about: "a pool that began before any request, or a new thread or task, makes the call",
    modes: &["handoff", "handoff-handoff", "thread", "direct-thread"],
    delays: &[0, 0, 1, 5],
    background: false,
    in_pieces: false,
};

pub(super) const SPIN: Case = Case {
    name: "spin",
    about: "the loop turns without waiting, so that polls with a timeout of zero come between request and call",
    modes: &["spin", "direct-spin", "spin-twice"],
    delays: &[0, 0, 1, 5],
    background: false,
    in_pieces: false,
};

pub(super) const PIECES: Case = Case {
    name: "pieces",
    about: "by turns, the load writes two requests in one piece (pipelining), and one request in two pieces",
    modes: &["direct", "sleep", "twice"],
    delays: &[0, 0, 1, 5],
    background: false,
    in_pieces: true,
};

/// The same for a proxy.
pub(super) const PROXY_PIECES: Case = Case {
    modes: &["direct"],
    ..PIECES
};

pub(super) const AFTER: Case = Case {
    name: "after",
    about: "calls made when the response is out, which must have no parent, among ordinary ones",
    modes: &["after", "direct", "direct-after"],
    delays: &[0, 1, 10],
    background: true,
    in_pieces: false,
};

pub(super) const TIMER: Case = Case {
    name: "timer",
    about: "a timer asks every 5 ms while requests are in flight; its calls must have no parent",
    modes: &["timer", "timer-timer"],
    delays: &[30, 10],
    background: true,
    in_pieces: false,
};

pub(super) const LIMITED: Case = Case {
    name: "limited",
    about: "limiters, queues and locks that requests share: what ends for one of them starts what waits for another",
    modes: &[
        "limited",
        "fan",
        "guarded",
        "queued-limited",
        "locked",
        "twice-locked",
        "sleep-guarded",
    ],
    delays: &[0, 1, 5, 10],
    background: false,
    in_pieces: false,
};

pub(super) const CALLBACKS: Case = Case {
    name: "callbacks",
    about: "the call is made by the callback of a timer, of an immediate, or when a file was read",
    modes: &["timeout", "immediate", "file", "files", "direct-immediate"],
    delays: &[0, 0, 1, 5],
    background: false,
    in_pieces: false,
};

pub(super) const LOOP: Case = Case {
    name: "loop",
    about: "a loop that began before any request makes calls of its own, by turns through a limiter that requests use; they must have no parent",
    modes: &["loop", "loop-limited", "loop-guarded", "loop-twice"],
    delays: &[1, 10],
    background: true,
    in_pieces: false,
};

impl Case {
    /// `MODES` of the load's n-th request.
    pub(super) fn modes(&self, number: usize) -> &'static str {
        self.modes[number % self.modes.len()]
    }

    /// The leaf's delay for the load's n-th request, in ms. Every mode meets every delay.
    pub(super) fn delay(&self, number: usize) -> u32 {
        self.delays[(number / self.modes.len()) % self.delays.len()]
    }

    /// The calls that each service makes for the load's n-th request, from the first service on.
    pub(super) fn calls(&self, number: usize) -> [usize; CALLERS] {
        let mut modes = self.modes(number).split('-');
        std::array::from_fn(|_| match modes.next().unwrap_or("direct") {
            "twice" | "parallel" | "guarded" | "queued" => 2,
            "fan" => 3,
            // Its only call is nobody's child.
            "after" => 0,
            _ => 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_service() {
        let calls: Vec<_> = (0..5).map(|number| CALLS.calls(number)).collect();
        assert_eq!(calls, [[1, 1], [2, 1], [1, 1], [1, 2], [2, 1]]);
        assert_eq!(LIMITED.calls(1), [3, 1]);
        assert_eq!(LIMITED.calls(3), [2, 1]);
        assert_eq!(AFTER.calls(0), [0, 1]);
        assert_eq!(AFTER.calls(2), [1, 0]);
    }

    #[test]
    fn every_mode_meets_every_delay() {
        let mut pairs: Vec<_> = (0..30)
            .map(|number| (CALLS.modes(number), CALLS.delay(number)))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        // 0 stands three times among the six delays.
        assert_eq!(pairs.len(), 5 * 4);
    }
}
