//! Warnings that a broken backend can't turn into a flood.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Lets one message through per interval and counts the others.
#[derive(Debug)]
pub(super) struct Limited {
    interval: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Limited {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            state: Mutex::new((None, 0)),
        }
    }

    /// `Some(number of messages kept back since the last)` if one may be written now.
    pub(super) fn allow(&self) -> Option<u64> {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let (last, suppressed) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < self.interval) {
            *suppressed += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_message_within_the_interval_is_counted_instead() {
        let limited = Limited::new(Duration::from_secs(3600));
        assert_eq!(limited.allow(), Some(0));
        assert_eq!(limited.allow(), None);
        let always = Limited::new(Duration::ZERO);
        assert_eq!(always.allow(), Some(0));
        assert_eq!(always.allow(), Some(0));
    }
}
