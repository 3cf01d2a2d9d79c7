//! What happened to everything that was handed over: sent, refused or lost, and why.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The exporter's counters at one moment. All but `queue_*` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportCounters {
    /// Of spans.
    pub traces: SignalCounters,
    /// Of metrics; items are data points.
    pub metrics: SignalCounters,
    /// Memory of spans that are neither sent nor dropped yet, bytes.
    pub queue_bytes: u64,
    /// Its bound, bytes; zero if spans are not exported.
    pub queue_limit_bytes: u64,
    /// Number of those spans.
    pub queue_spans: u64,
}

/// One signal's counters. For spans, `sent + rejected + every dropped + queued` is the number that was enqueued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalCounters {
    /// Items that the backend accepted.
    pub sent: u64,
    /// Items that the backend accepted a request without (`partial_success`).
    pub rejected: u64,
    /// Items that found the queue full.
    pub dropped_queue_full: u64,
    /// Items whose request was refused for good.
    pub dropped_refused: u64,
    /// Items whose request failed until its time was up. Cumulative metrics are superseded by the next export.
    pub dropped_unreachable: u64,
    /// Items that were not delivered by the deadline of the shutdown, or came after it.
    pub dropped_shutdown: u64,
    /// Answers with a `partial_success`, warnings without rejected items included.
    pub partial_responses: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Times that metrics could not be collected or were held back at the backend's wish.
    pub skipped_collections: u64,
}

impl SignalCounters {
    /// Dropped items by reason, for a `reason` label.
    pub fn dropped(&self) -> [(&'static str, u64); 4] {
        [
            ("queue_full", self.dropped_queue_full),
            ("refused", self.dropped_refused),
            ("unreachable", self.dropped_unreachable),
            ("shutdown", self.dropped_shutdown),
        ]
    }
}

/// The same, counted by several threads.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) sent: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) dropped_queue_full: AtomicU64,
    pub(super) dropped_refused: AtomicU64,
    pub(super) dropped_unreachable: AtomicU64,
    pub(super) dropped_shutdown: AtomicU64,
    pub(super) partial_responses: AtomicU64,
    pub(super) failed_attempts: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) skipped_collections: AtomicU64,
}

impl Counting {
    pub(super) fn read(&self) -> SignalCounters {
        SignalCounters {
            sent: self.sent.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            dropped_queue_full: self.dropped_queue_full.load(Relaxed),
            dropped_refused: self.dropped_refused.load(Relaxed),
            dropped_unreachable: self.dropped_unreachable.load(Relaxed),
            dropped_shutdown: self.dropped_shutdown.load(Relaxed),
            partial_responses: self.partial_responses.load(Relaxed),
            failed_attempts: self.failed_attempts.load(Relaxed),
            retries: self.retries.load(Relaxed),
            skipped_collections: self.skipped_collections.load(Relaxed),
        }
    }
}

/// Items on their way. If the task is stopped before they are settled, they count as lost to the shutdown.
pub(super) struct InFlight<'a> {
    counting: &'a Counting,
    items: u64,
}

impl<'a> InFlight<'a> {
    pub(super) fn new(counting: &'a Counting, items: u64) -> Self {
        Self { counting, items }
    }

    /// The backend took the request, without `rejected` of its items.
    pub(super) fn accepted(mut self, rejected: u64) {
        let items = std::mem::take(&mut self.items);
        let rejected = rejected.min(items);
        self.counting.sent.fetch_add(items - rejected, Relaxed);
        self.counting.rejected.fetch_add(rejected, Relaxed);
    }

    /// They are given up.
    pub(super) fn dropped(mut self, counter: impl FnOnce(&Counting) -> &AtomicU64) {
        counter(self.counting).fetch_add(std::mem::take(&mut self.items), Relaxed);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.counting
            .dropped_shutdown
            .fetch_add(self.items, Relaxed);
    }
}
