//! Which exchanges are slow, compared with others of their kind.
//!
//! For each kind (a server's route, else the process and its role) an estimate of the 99th percentile follows the
//! durations in constant space: one that is longer raises it by 5 %, one that is shorter lowers it by a 99th of
//! that. Slow is what takes more than three times the estimate, once 200 exchanges were seen and above 5 ms: below
//! that nobody is woken up. The table is direct-mapped: two kinds that meet in a slot start over in turns, which
//! makes them never slow instead of wrongly slow.

/// Slots, a power of two; 24 KiB.
const SLOTS: usize = 1024;
/// Exchanges of a kind before any is called slow.
const WARM_UP: u32 = 200;
/// ns below which nothing is slow.
const FLOOR_NS: f64 = 5e6;
/// How many times the estimate is slow.
const FACTOR: f64 = 3.0;
/// Step of the estimate.
const STEP: f64 = 0.05;

#[derive(Clone, Copy, Default)]
struct Slot {
    kind: u64,
    estimate_ns: f64,
    seen: u32,
}

/// Estimates by kind.
pub(super) struct Slowness(Box<[Slot]>);

impl Slowness {
    /// Knows nothing yet.
    pub(super) fn new() -> Self {
        Self(vec![Slot::default(); SLOTS].into())
    }

    /// Takes a duration into account and says whether it is slow for its kind.
    pub(super) fn observe(&mut self, kind: u64, duration_ns: u64) -> bool {
        let index = (kind.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (SLOTS - 1);
        let slot = &mut self.0[index];
        let duration = duration_ns as f64;
        if slot.kind != kind || slot.seen == 0 {
            *slot = Slot {
                kind,
                estimate_ns: duration.max(1.0),
                seen: 1,
            };
            return false;
        }
        let slow =
            slot.seen >= WARM_UP && duration > FACTOR * slot.estimate_ns && duration > FLOOR_NS;
        slot.estimate_ns *= if duration > slot.estimate_ns {
            1.0 + STEP
        } else {
            1.0 - STEP / 99.0
        };
        slot.seen = slot.seen.saturating_add(1);
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_outliers_are_slow_and_only_after_the_warm_up() {
        let mut slowness = Slowness::new();
        assert!(!slowness.observe(1, 10_000_000));
        assert!(!slowness.observe(1, 900_000_000));
        let mut slow = 0;
        for i in 0..5_000u64 {
            // 10 to 20 ms.
            slow += u32::from(slowness.observe(1, 10_000_000 + i * 7_919 % 10_000_000));
        }
        assert_eq!(slow, 0);
        assert!(slowness.observe(1, 100_000_000));
        assert!(!slowness.observe(2, 100_000_000));
    }

    #[test]
    fn fast_kinds_are_never_slow_below_the_floor() {
        let mut slowness = Slowness::new();
        for _ in 0..1_000 {
            slowness.observe(1, 50_000);
        }
        assert!(!slowness.observe(1, 4_000_000));
        assert!(slowness.observe(1, 6_000_000));
    }

    #[test]
    fn the_estimate_follows_a_service_that_became_slower() {
        let mut slowness = Slowness::new();
        for _ in 0..1_000 {
            slowness.observe(1, 10_000_000);
        }
        let slow = (0..1_000)
            .filter(|_| slowness.observe(1, 100_000_000))
            .count();
        assert!(slow < 60, "{slow}");
    }
}
