//! How long to wait after an error.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kube::runtime::{utils::Backoff, watcher::DefaultBackoff};

/// Pauses that grow from 0.8 s to 30 s while errors follow each other, with jitter.
///
/// A place in the watch that is lost (410 Gone) is an answer: who comes back after an outage is told so, since the server has
/// forgotten, and would list anew only after another of the longest pauses. It begins with the shortest again; but not twice in
/// a row, so that a server that says nothing else is not asked ever faster.
pub(super) struct Pause {
    growing: DefaultBackoff,
    is_gone: Arc<AtomicBool>,
    was_gone: bool,
}

impl Pause {
    /// With the mark that is set before the pause after a 410.
    pub(super) fn new(is_gone: Arc<AtomicBool>) -> Self {
        Self {
            growing: DefaultBackoff::default(),
            is_gone,
            was_gone: false,
        }
    }
}

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let is_gone = self.is_gone.swap(false, Ordering::Relaxed);
        if is_gone && !self.was_gone {
            self.growing.reset();
        }
        self.was_gone = is_gone;
        self.growing.next()
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {
        self.was_gone = false;
        self.growing.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest pause at most, with its jitter.
    const SHORT: Duration = Duration::from_millis(1600);

    #[test]
    fn a_lost_place_after_an_outage_waits_for_the_shortest_pause_and_only_once() {
        let is_gone = Arc::<AtomicBool>::default();
        let mut pause = Pause::new(Arc::clone(&is_gone));
        let mut next = |gone: bool| {
            is_gone.store(gone, Ordering::Relaxed);
            pause.next().unwrap()
        };
        assert!(next(false) <= SHORT);
        for _ in 0..6 {
            next(false);
        }
        assert!(next(false) > 4 * SHORT, "they grew");
        assert!(next(true) <= SHORT);
        for _ in 0..6 {
            next(true);
        }
        assert!(next(true) > 4 * SHORT, "nothing but 410 is an outage, too");
        pause.reset();
        assert!(pause.next().unwrap() <= SHORT);
    }
}
