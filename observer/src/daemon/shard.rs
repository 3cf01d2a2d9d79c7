//! One shard's thread: from its ring to metrics and spans.

use std::{
    sync::{Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use super::{HOUSEKEEPING_NS, now_ns, pipeline::Pipeline};
use crate::{
    identity::ConnectionKey,
    kernel::reader::RecordRing,
    stream::{Shard, StreamCounters},
    trace::Clock,
};

struct ShardState<'a> {
    shard: Shard,
    pipeline: Pipeline,
    due: Vec<ConnectionKey>,
    last_housekeeping: u64,
    published: &'a Mutex<StreamCounters>,
}

pub(super) fn run_shard(
    ring: RecordRing,
    stop: &AtomicBool,
    shard: Shard,
    pipeline: Pipeline,
    published: &Mutex<StreamCounters>,
) {
    let mut state = ShardState {
        shard,
        pipeline,
        due: Vec::new(),
        last_housekeeping: 0,
        published,
    };
    state.pipeline.now_ns = now_ns();
    ring.run(
        stop,
        &mut state,
        |state, record| state.shard.record(record, &mut state.pipeline),
        ShardState::pause,
    );
    let now = now_ns();
    // What had its last byte before we stopped is finished from the kernel's entries; the rest is abandoned.
    for _ in 0..3 {
        state.settle(u64::MAX / 2);
    }
    state.shard.drain(now, &mut state.pipeline);
    state.pipeline.flush();
    state.publish();
}

impl ShardState<'_> {
    /// Between two drains of the ring. Returns when something is to be done though no record comes.
    fn pause(&mut self) -> Duration {
        let now = now_ns();
        self.pipeline.now_ns = now;
        self.pipeline.shared.feed.drain(&self.pipeline.shared.table);
        self.settle(now);
        if now.saturating_sub(self.last_housekeeping) >= HOUSEKEEPING_NS {
            self.last_housekeeping = now;
            self.pipeline.clock = Clock::measure();
            self.pipeline.forget_departed();
            self.shard.sweep(now, &mut self.pipeline);
            self.publish();
        }
        self.pipeline.flush();
        let housekeeping = self.last_housekeeping + HOUSEKEEPING_NS;
        let next = self.shard.next_due().unwrap_or(u64::MAX);
        Duration::from_nanos(next.min(housekeeping).saturating_sub(now))
    }

    /// Finishes exchanges whose last bytes were only counted.
    fn settle(&mut self, now: u64) {
        self.due.clear();
        self.shard.due(now, &mut self.due);
        for key in &self.due {
            let entry = self.pipeline.maps.entry(*key);
            self.shard
                .observe(*key, entry.as_ref(), now, &mut self.pipeline);
        }
    }

    fn publish(&self) {
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = *self.shard.counters();
    }
}
