//! From the kernel's monotonic times to times of day.

use rustix::time::{ClockId, clock_gettime};

/// How far CLOCK_REALTIME is ahead of CLOCK_MONOTONIC. It changes when the time of day is set or slewed: measure it
/// again every second or so, never for each span (two spans of one trace must not swap).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Unix time minus monotonic time, ns.
    pub offset_ns: i64,
}

impl Clock {
    /// Reads both clocks; of a few attempts the one that was disturbed least.
    pub fn measure() -> Self {
        let mut best = (i64::MAX, 0);
        for _ in 0..4 {
            let before = now(ClockId::Monotonic);
            let unix = now(ClockId::Realtime);
            let after = now(ClockId::Monotonic);
            let gap = after - before;
            if gap < best.0 {
                best = (gap, unix - (before + gap / 2));
            }
        }
        Self { offset_ns: best.1 }
    }

    /// The Unix time, ns, of a monotonic time, ns.
    pub const fn unix_nano(self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_add_signed(self.offset_ns)
    }
}

/// ns of a clock; fits until the year 2262.
fn now(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_monotonic_time_becomes_the_time_of_day() {
        let unix = Clock::measure().unix_nano(now(ClockId::Monotonic) as u64) as i128;
        let expected = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_nanos() as i128;
        assert!((unix - expected).abs() < 1_000_000_000, "{unix} {expected}");
    }

    #[test]
    fn an_absurd_offset_saturates() {
        assert_eq!(Clock { offset_ns: -5 }.unix_nano(3), 0);
        assert_eq!(Clock { offset_ns: 5 }.unix_nano(u64::MAX), u64::MAX);
    }
}
