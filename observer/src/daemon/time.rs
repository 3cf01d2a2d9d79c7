//! The clock that the kernel's records are told by.

use rustix::time::{ClockId, clock_gettime};

/// How often the offset between the clocks is measured and idle state looked through.
pub(super) const HOUSEKEEPING_NS: u64 = 1_000_000_000;

/// CLOCK_MONOTONIC, ns.
pub(super) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}
