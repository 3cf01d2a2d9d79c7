//! Reading a ring: drain, then sleep for as long as the traffic allows.
//!
//! The programs submit without wake-ups, since a wake-up costs the traced service more than everything else
//! together; the reader polls every 1 to 10 ms, and the kernel wakes it only when a quarter of the ring is full.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Shortest pause between two drains.
const BUSY: Duration = Duration::from_millis(1);
/// Longest pause.
const IDLE: Duration = Duration::from_millis(10);
/// Records handled before the caller gets its turn again, so that a flood cannot starve timers.
const BATCH: usize = 4096;

/// Reads `ring` until `stop`: `record` for each record, `pause` after each drain (with whether there was anything).
pub fn run<S>(
    mut ring: RingBuf<MapData>,
    stop: &AtomicBool,
    state: &mut S,
    mut record: impl FnMut(&mut S, &[u8]),
    mut pause: impl FnMut(&mut S),
) {
    let mut wait = IDLE;
    loop {
        let stopping = stop.load(Ordering::Acquire);
        let mut seen = 0;
        while seen < BATCH {
            let Some(item) = ring.next() else { break };
            record(state, &item);
            seen += 1;
        }
        pause(state);
        if seen == BATCH {
            continue;
        }
        if stopping {
            return;
        }
        wait = if seen > 0 { BUSY } else { (wait * 2).min(IDLE) };
        sleep(&ring, wait);
    }
}

/// Busy: a plain pause, since `poll` would return at once for a single record. Idle: a pause that the kernel can cut
/// short when the ring fills.
fn sleep(ring: &RingBuf<MapData>, wait: Duration) {
    if wait <= BUSY {
        std::thread::sleep(wait);
        return;
    }
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    let mut waiting = [PollFd::new(ring, PollFlags::IN)];
    // An interrupted or refused poll only shortens the pause.
    if poll(&mut waiting, Some(&timeout)).is_err() {
        std::thread::sleep(BUSY);
    }
}
