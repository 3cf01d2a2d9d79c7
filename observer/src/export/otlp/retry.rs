//! Exponential backoff with jitter.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::config::Backoff;

/// The waits between one request's attempts.
pub(super) struct Waits {
    backoff: Backoff,
    next: Duration,
    seed: RandomState,
    count: u64,
}

impl Waits {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            next: backoff.initial,
            seed: RandomState::new(),
            count: 0,
        }
    }

    /// Between half and one and a half of the exponential value, so that many agents don't come back together.
    pub(super) fn next(&mut self) -> Duration {
        self.count += 1;
        // The upper 32 bits of a randomly keyed hash, as a fraction.
        let random = (self.seed.hash_one(self.count) >> 32) as f64 / f64::from(u32::MAX);
        let wait = self.next.mul_f64(0.5 + random);
        self.next = (self.next * 2).min(self.backoff.max);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_differ() {
        let backoff = Backoff {
            initial: Duration::from_millis(100),
            max: Duration::from_millis(800),
        };
        let mut seen = std::collections::HashSet::new();
        for _ in 0..20 {
            let mut waits = Waits::new(backoff);
            for base in [100, 200, 400, 800, 800] {
                let wait = waits.next();
                let base = Duration::from_millis(base);
                assert!(
                    wait >= base / 2 && wait <= base * 3 / 2,
                    "{wait:?} around {base:?}"
                );
                seen.insert(wait);
            }
        }
        assert!(seen.len() > 50, "there is jitter");
    }
}
