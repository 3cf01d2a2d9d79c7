//! Reading a ring: drain, then rest for as long as the traffic allows.
//!
//! The programs submit without wake-ups, since a wake-up for each record costs the traced service more than everything
//! else together. The reader polls instead, and since each time it wakes costs the machine some 10 µs to 60 µs, it does
//! so as seldom as the ring's room allows: every 40 ms, sooner while much comes in, and at once when half of the ring
//! is full. When nothing came for a while it says so (`SLEEPING`) and sleeps; then the next record wakes it.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aya::maps::{Array, MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Rest while few records come.
const STEADY: Duration = Duration::from_millis(40);
/// Shortest rest.
const BUSY: Duration = Duration::from_millis(1);
/// Longest sleep: a record that was on its way when the reader fell asleep does not wake it, and waits for so long.
const ASLEEP: Duration = Duration::from_millis(100);
/// Drains that find nothing before the reader falls asleep.
const QUIET: u32 = 4;
/// Of the ring, what one rest may let come in.
const SHARE: usize = 4;
/// Records handled before the caller gets its turn again, so that a flood cannot starve timers.
const BATCH: usize = 4096;

/// A ring of records and the word that says that its reader sleeps.
pub struct RecordRing {
    pub(super) ring: RingBuf<MapData>,
    pub(super) sleeping: Array<MapData, u32>,
    /// Its place in [`sleeping`](Self::sleeping).
    pub(super) index: u32,
    /// Its room, bytes.
    pub(super) room: usize,
    /// Readable where something else than a record waits for the reader (an eventfd).
    pub(super) news: Option<Arc<OwnedFd>>,
}

impl RecordRing {
    /// The reader's rest ends, too, when this eventfd is written to.
    #[must_use]
    pub fn woken_by(mut self, news: Arc<OwnedFd>) -> Self {
        self.news = Some(news);
        self
    }

    /// Reads until `stop`: `record` for each record, `pause` after each drain, which returns how long it can be left
    /// alone when nothing comes.
    pub fn run<S>(
        mut self,
        stop: &AtomicBool,
        state: &mut S,
        mut record: impl FnMut(&mut S, &[u8]),
        mut pause: impl FnMut(&mut S) -> Duration,
    ) {
        let (mut rest, mut quiet, mut disturbed) = (BUSY, 0, false);
        loop {
            let stopping = stop.load(Ordering::Acquire);
            let (mut seen, mut bytes) = (0, 0);
            while seen < BATCH {
                let Some(item) = self.ring.next() else { break };
                record(state, &item);
                seen += 1;
                bytes += item.len();
            }
            let alone = pause(state);
            if seen == BATCH {
                continue;
            }
            if stopping {
                return;
            }
            quiet = if seen == 0 { quiet + 1 } else { 0 };
            rest = next_rest(rest, bytes, self.room);
            if quiet > QUIET && alone > STEADY {
                self.sleep(alone.min(ASLEEP));
                rest = BUSY;
            } else if rest == STEADY && !disturbed {
                // A flood that begins now cuts it short. So does a record that came since the drain.
                disturbed = self.rest(rest, true);
            } else {
                disturbed = false;
                self.rest(rest, false);
            }
        }
    }

    /// Rests until there is news or, where `records` says so, a record; at most for so long. Returns whether it was shorter.
    fn rest(&self, longest: Duration, records: bool) -> bool {
        let mut waiting = Vec::with_capacity(2);
        if let Some(news) = &self.news {
            waiting.push(PollFd::new(news, PollFlags::IN));
        }
        if records {
            waiting.push(PollFd::new(&self.ring, PollFlags::IN));
        }
        let shorter = wait_for(&mut waiting, longest);
        if shorter && let Some(news) = &self.news {
            // Empty or not, it is read.
            let _ = rustix::io::read(news, &mut [0; 8]);
        }
        shorter
    }

    /// Sleeps until a record comes, at most for so long.
    fn sleep(&mut self, longest: Duration) {
        if self.sleeping.set(self.index, 1, 0).is_err() {
            std::thread::sleep(STEADY);
            return;
        }
        self.rest(longest, true);
        if self.sleeping.set(self.index, 0, 0).is_err() {
            tracing::warn!("the kernel goes on waking a reader that is awake");
        }
    }
}

/// Waits until the kernel wakes who waits on one of these rings, or of whatever else can be waited for, at most for so long.
/// Returns whether it was shorter: at once, where a record is there already, or the wait was interrupted or refused.
pub fn wait_for_any<const N: usize>(rings: [impl AsFd; N], longest: Duration) -> bool {
    let mut waiting = rings
        .each_ref()
        .map(|ring| PollFd::new(ring, PollFlags::IN));
    wait_for(&mut waiting, longest)
}

/// The same for what is waited for already.
pub(crate) fn wait_for(waiting: &mut [PollFd<'_>], longest: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: longest.as_secs() as i64,
        tv_nsec: i64::from(longest.subsec_nanos()),
    };
    poll(waiting, Some(&timeout)) != Ok(0)
}

/// How long to rest after a rest of `last` in which `bytes` came into a ring with `room` for so many.
fn next_rest(last: Duration, bytes: usize, room: usize) -> Duration {
    let most = room / SHARE;
    if bytes <= most {
        // Twice as long lets twice as much in.
        let longer = if bytes * 2 <= most { last * 2 } else { last };
        return longer.clamp(BUSY, STEADY);
    }
    let share = most as f64 / bytes as f64;
    last.mul_f64(share).clamp(BUSY, STEADY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_shrinks_with_what_came_and_grows_back() {
        let room = 4 << 20;
        assert_eq!(next_rest(STEADY, 0, room), STEADY);
        let most = room / SHARE;
        assert_eq!(next_rest(STEADY, most, room), STEADY);
        assert_eq!(next_rest(STEADY, 2 * most, room), STEADY / 2);
        assert_eq!(next_rest(STEADY, 32 * most, room), STEADY / 32);
        assert_eq!(next_rest(STEADY, 64 * most, room), BUSY);
        assert_eq!(next_rest(BUSY, room, room), BUSY);
        assert_eq!(next_rest(BUSY, most, room), BUSY);
        assert_eq!(next_rest(BUSY, most / 2, room), BUSY * 2);
        assert_eq!(next_rest(BUSY * 8, 0, room), BUSY * 16);
        assert_eq!(next_rest(BUSY * 32, 0, room), STEADY);
    }
}
