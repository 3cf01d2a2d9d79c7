//! One direction of a connection: which of its bytes the kernel ships, and which are missing.

use observer_abi::connection;

/// A direction as the records and entries showed it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Direction {
    /// A position was told.
    pub(super) known: bool,
    /// Number of the current run, as the kernel counts them.
    pub(super) run: u32,
    /// Bytes of the current run that came with records.
    shipped: u32,
    /// The kernel only counts the rest of the current run.
    counting: bool,
    /// When its last known byte moved, ns.
    pub(super) last_ns: u64,
}

impl Direction {
    /// A run began.
    pub(super) fn start_run(&mut self, run: u32) {
        (self.run, self.shipped, self.counting) = (run, 0, false);
    }

    /// A record brought `captured` of `moved` bytes.
    pub(super) fn take(&mut self, captured: usize, moved: u64, budget: u32) {
        self.shipped = self
            .shipped
            .saturating_add(u32::try_from(captured).unwrap_or(u32::MAX));
        self.counting |= (captured as u64) < moved || self.shipped >= budget;
    }

    /// The same where frames are shipped: what follows this record up to the next is counted if its last frame was not shipped
    /// whole.
    pub(super) fn take_frames(&mut self, captured: usize, moved: u64) {
        self.shipped = self
            .shipped
            .saturating_add(u32::try_from(captured).unwrap_or(u32::MAX));
        self.counting = (captured as u64) < moved;
    }

    /// The kernel only counts the rest of the run.
    pub(super) const fn count_rest(&mut self) {
        self.counting = true;
    }

    /// Bytes that no record brings are explained by the kernel's budget.
    pub(super) const fn is_counting(&self) -> bool {
        self.counting
    }

    /// Records of this direction that `entry` knows of have not been read yet.
    pub(super) const fn is_behind(&self, entry: &connection::Direction) -> bool {
        entry.runs > self.run || (entry.runs == self.run && entry.shipped > self.shipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_bytes_are_explained_only_once_the_budget_is_used_up() {
        let mut direction = Direction::default();
        direction.start_run(1);
        direction.take(100, 100, 4096);
        assert!(!direction.is_counting());
        direction.take(3996, 3996, 4096);
        assert!(direction.is_counting(), "the budget is used up");
        direction.start_run(2);
        assert!(!direction.is_counting());
        direction.take(4000, 20_000_000, 4096);
        assert!(
            direction.is_counting(),
            "a call larger than what was captured"
        );
    }

    #[test]
    fn an_entry_that_counts_more_than_came_is_ahead() {
        let mut direction = Direction::default();
        direction.start_run(2);
        direction.take(100, 100, 4096);
        let entry = |runs, shipped| connection::Direction {
            runs,
            shipped,
            ..connection::Direction::default()
        };
        assert!(!direction.is_behind(&entry(2, 100)));
        assert!(direction.is_behind(&entry(2, 101)));
        assert!(direction.is_behind(&entry(3, 10)));
        assert!(
            !direction.is_behind(&entry(1, 4096)),
            "an entry read before the run began"
        );
    }
}
