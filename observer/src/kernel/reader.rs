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

/// Pause between two drains when the last one found [`MANY`] records or more.
const BUSY: Duration = Duration::from_millis(1);
/// Pause after a drain that found fewer: each waking-up costs the machine some 10 µs.
const STEADY: Duration = Duration::from_millis(4);
/// Records in one drain that call for the next one soon; a ring holds some thousands of the largest.
const MANY: usize = 512;
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
        wait = match seen {
            0 => (wait * 2).min(IDLE),
            MANY.. => BUSY,
            _ => STEADY,
        };
        sleep(&ring, wait);
    }
}

/// Busy: a plain pause, since `poll` would return at once for a single record. Idle: a pause that the kernel can cut
/// short when the ring fills.
fn sleep(ring: &RingBuf<MapData>, wait: Duration) {
    if wait < IDLE {
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
